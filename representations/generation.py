"""Sample stories in batches, and read and steer them while they are written.

Every story has its own seed and random numbers, so it depends neither on its batch nor on the order
of the work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from representations.activations import (
    Hook,
    Window,
    check_layers,
    finite,
    halving,
    residual_stream,
)
from representations.key_cache import reserve, select
from representations.models.chat_templates import Thoughts, render
from representations.models.loading import LoadedModel
from representations.models.tokenizers import Prompted, tokens_of
from representations.prompt_cache import read_prompts
from representations.shared_attention import CannotShare, attention_to, may_share
from study.read import InputError

#: Finished stories leave a batch when no more than this share of it goes on.
FULL = 0.75
#: Tokens per block in the search for the highest logits.
BLOCK = 64
#: Writing a token takes about as long as reading this many.
WRITTEN = 3


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes
    ----------
    max_new_tokens : int
    temperature : float
        0 is greedy.
    top_k : int
        Only the k most likely tokens can be drawn.
    min_new_tokens : int
        No end of text before this many tokens.
    """

    max_new_tokens: int = 48
    temperature: float = 1.0
    top_k: int = 50
    min_new_tokens: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 2:
            raise InputError("max_new_tokens must be at least 2: the last token has no activation")
        if self.temperature < 0 or self.top_k < 1 or self.min_new_tokens < 0:
            raise InputError(
                "temperature and min_new_tokens must not be negative, top_k at least 1"
            )


@dataclass(frozen=True)
class Stories:
    """What a model wrote, and its mean activations while writing.

    Attributes
    ----------
    token_ids : list of list of int
        The new tokens of each story, without the end token.
    texts : list of str
    activations : Tensor, shape (stories, layers + 1, width), float32
        Means over the window; zeros for a story that is not longer than the skip. Or the `out` that
        was given.
    pooled_tokens : list of int
        Number of tokens in each mean.
    """

    token_ids: list[list[int]]
    texts: list[str]
    activations: Any
    pooled_tokens: list[int]


def prompt_ids(loaded: Prompted, prompt: str) -> list[int]:
    """Turn a prompt into tokens, as `prompts_ids` does with many."""
    return prompts_ids(loaded, [prompt])[0]


def prompts_ids(loaded: Prompted, prompts: Sequence[str]) -> list[list[int]]:
    """Turn prompts into tokens, through the chat template of an instruct model.

    Parameters
    ----------
    loaded : LoadedModel or Tokenized
    prompts : sequence of str

    Returns
    -------
    list of list of int

    Raises
    ------
    InputError
        If the chat template or the tokenizer fails or does not end.
    """
    tokenizer, spec = loaded.tokenizer, loaded.spec
    if spec.instruct and tokenizer.chat_template:
        texts = render(spec.name, tokenizer, prompts, thinking=spec.thinking)
        found = tokens_of(loaded, texts, special=False)
    else:
        found = tokens_of(loaded, prompts)
    return [_begun_once(tokenizer, ids.tolist()) for ids in found]


def _begun_once(tokenizer: Any, ids: list[int]) -> list[int]:
    """Give a prompt one begin-of-sequence token, if the tokenizer puts one before plain texts.

    Templates leave it out or write it; some tokenizers add one to a template's own.
    """
    begin = tokenizer.bos_token_id
    if begin is None:
        return ids
    n = next((i for i, token in enumerate(ids) if token != begin), len(ids))
    plain = tokenizer("a")["input_ids"]
    wanted = 1 if list(plain[:1]) == [begin] else min(n, 1)
    return [begin] * wanted + ids[n:]


@torch.inference_mode()
def write(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    sampling: Sampling,
    window: Window,
    *,
    hook: Callable[[list[int]], Hook] | None = None,
    hook_layers: Sequence[int] = (),
    max_texts: int = 32,
    progress: Callable[[int], object] = lambda tokens: None,
    out: Any = None,
) -> Stories:
    """Let a model write, and average its residual stream over the tokens that it writes.

    Activations are recorded during decoding, without a second pass. A story of n tokens has n - 1
    of them, because its last token is never fed back.

    Parameters
    ----------
    loaded : LoadedModel
    prompts : sequence of sequences of int
    seeds : sequence of int
        One for each prompt.
    sampling : Sampling
    window : Window
        Positions are counted from the first new token.
    hook : callable, optional
        Takes the indices of a batch's prompts and returns a hook that acts on the new tokens (not
        on the prompt) before they are read, for instance to steer.
    hook_layers : sequence of int
        Layers at which `hook` acts.
    max_texts : int
        Texts per batch. A batch that does not fit in memory is halved.
    progress : callable
        Called with the number of tokens written, after each batch.
    out : optional
        Receives the means, as in `representations.activations.read`.

    Returns
    -------
    Stories

    Raises
    ------
    InputError
        If prompts and seeds differ in number, or a single text does not fit in memory.
    """
    n = len(prompts)
    if n == 0 or n != len(seeds):
        raise InputError(
            f"{n} prompts and {len(seeds)} seeds; there must be one for each, and some"
        )
    loaded.check_known(prompts)
    # Neighbors in this order share the longest beginnings.
    order = sorted(range(n), key=lambda i: (tuple(prompts[i]), i))
    batches = [order[i : i + max_texts] for i in range(0, n, max_texts)]
    # Longest first: memory runs out at once or never.
    batches.sort(key=lambda batch: -max(len(prompts[i]) for i in batch))
    tokens: list[list[int]] = [[] for _ in range(n)]
    pooled = torch.empty(n, loaded.n_layers + 1, loaded.width) if out is None else out
    counts = [0] * n

    # Keep beginnings once, and let stories leave: where a model allows it.
    once, leave = may_share(loaded), True

    def do(batch: list[int]) -> tuple[list[list[int]], Tensor, list[int]]:
        nonlocal once, leave
        if not leave:
            return write_batch(batch)
        try:
            return write_batch(batch)
        except CannotShare:
            once = False
        except InputError:
            once = leave = False  # or it fails in any case
        return do(batch)

    def write_batch(batch: list[int]) -> tuple[list[list[int]], Tensor, list[int]]:
        return _write_batch(
            loaded,
            [prompts[i] for i in batch],
            [seeds[i] for i in batch],
            sampling,
            window,
            (lambda rows: hook([batch[row] for row in rows])) if hook else None,
            hook_layers,
            once,
            leave,
        )

    for batch, (new, means, used) in halving(batches, do, loaded):
        pooled[batch] = finite(means, batch, loaded)
        for index, ids, count in zip(batch, new, used, strict=True):
            tokens[index], counts[index] = ids, count
        progress(sum(map(len, new)))
    texts = loaded.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return Stories(tokens, texts, pooled, counts)


def _write_batch(
    loaded: LoadedModel,
    prompts: list[Sequence[int]],
    seeds: list[int],
    sampling: Sampling,
    window: Window,
    hook: Callable[[list[int]], Hook] | None,
    hook_layers: Sequence[int],
    once: bool,
    leave: bool,
) -> tuple[list[list[int]], Tensor, list[int]]:
    device, n = loaded.device, len(prompts)
    more = sampling.max_new_tokens if once else None
    logits, cache, mask = read_prompts(loaded, prompts, more=more)
    reserve(cache, sampling.max_new_tokens)
    uniform = _uniform(seeds, sampling.max_new_tokens).to(device)
    ends = end_tokens(loaded, logits.shape[1]).to(device)
    last = mask.sum(dim=1, keepdim=True) - 1
    rows = torch.arange(n, device=device)
    open_ = torch.ones(n, dtype=torch.bool, device=device)
    thoughts = Thoughts(loaded.tokenizer, prompts, device)
    new: list[Tensor] = []
    alive: list[Tensor] = []
    pool = RunningMean(loaded.n_layers, n)
    change: Hook = hook(list(range(n))) if hook else pool
    with ExitStack() as stack:
        stack.enter_context(attention_to(cache))
        if hook is not None:
            act: Hook = lambda layer, hidden: change(layer, hidden)  # noqa: E731
            stack.enter_context(residual_stream(loaded.blocks, act, hook_layers))
        stack.enter_context(residual_stream(loaded.blocks, pool))
        for step in range(sampling.max_new_tokens):
            if step < sampling.min_new_tokens:
                logits[:, ends] = -torch.inf
            token = draw(logits, uniform[rows, step], sampling)
            open_ = open_ & ~torch.isin(token, ends)
            spoken = thoughts.after(token)
            new.append(token.new_zeros(n).index_copy(0, rows, token))
            alive.append(open_.new_zeros(n).index_copy(0, rows, open_ & spoken))
            if not open_.any() or step + 1 == sampling.max_new_tokens:
                break
            kept = open_.nonzero()[:, 0]
            if leave and len(kept) <= FULL * len(open_) and select(cache, kept):
                rows, token, open_, spoken = rows[kept], token[kept], open_[kept], spoken[kept]
                mask, last = mask[kept], last[kept]
                thoughts.select(kept)
                if hook is not None:
                    change = hook(rows.tolist())
            # Positions are counted over what is said, from 1 for its first token.
            inside = spoken & (thoughts.said > window.skip)
            if window.size is not None:
                inside &= thoughts.said <= window.skip + window.size
            pool.expect(rows, (open_ & inside).to(torch.float32))
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            last = last + 1
            output = loaded.run(
                loaded.model,
                input_ids=token[:, None],
                attention_mask=mask,
                position_ids=last,
                past_key_values=cache,
                use_cache=True,
            )
            logits, cache = output.logits[:, -1].float(), output.past_key_values
    kept = torch.stack(alive, dim=1).cpu()
    drawn = torch.stack(new, dim=1).cpu()
    stories = [row[keep].tolist() for row, keep in zip(drawn, kept, strict=True)]
    if not pool.counts:  # every story ended with its first token
        empty = torch.zeros(n, loaded.n_layers + 1, loaded.width)
        return stories, empty, [0] * n
    return stories, pool.means(), pool.counts


class RunningMean:
    """A hook that averages one position per pass over the passes of a decoding loop.

    Parameters
    ----------
    n_layers, n_texts : int
    """

    def __init__(self, n_layers: int, n_texts: int) -> None:
        self._n_texts = n_texts
        self._came = [0] * (n_layers + 1)
        self._sums: dict[int, Tensor] = {}
        self._counts: dict[int, Tensor] = {}

    def expect(self, texts: Tensor, weights: Tensor) -> None:
        """Say which texts the rows of the next pass are, and which of them count (1 or 0)."""
        self._texts, self._weights = texts, weights

    def __call__(self, layer: int, hidden: Tensor) -> None:
        """Add the last position of `hidden`, shape (rows, 1, width)."""
        texts, weights = self._texts.to(hidden.device), self._weights.to(hidden.device)
        part = hidden[:, -1].float() * weights[:, None]
        if layer not in self._sums:
            self._sums[layer] = part.new_zeros(self._n_texts, part.shape[1])
            self._counts[layer] = part.new_zeros(self._n_texts)
        self._sums[layer].index_add_(0, texts, part)
        self._counts[layer].index_add_(0, texts, weights)
        self._came[layer] += 1

    def means(self) -> Tensor:
        """Return the means, shape (texts, layers + 1, width), on the CPU.

        Raises
        ------
        InputError
            If a layer was not seen in every pass.
        """
        check_layers(self._came, max(self._came))
        return torch.stack(
            [
                (self._sums[layer] / self._counts[layer].clamp(min=1)[:, None]).cpu()
                for layer in sorted(self._sums)
            ],
            dim=1,
        )

    @property
    def counts(self) -> list[int]:
        """Number of tokens in each mean; empty before the first pass."""
        return [int(count) for count in self._counts[0]] if self._counts else []


def draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """Draw one token per text by inverting the distribution at its random number.

    Parameters
    ----------
    logits : Tensor, shape (batch, vocabulary)
    uniform : Tensor, shape (batch,)
        In [0, 1).
    sampling : Sampling

    Returns
    -------
    Tensor, shape (batch,), int64

    Examples
    --------
    >>> draw(torch.tensor([[0.0, 9.0, 1.0]]), torch.tensor([0.5]), Sampling(temperature=0)).item()
    1
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    best, index = highest(logits, min(sampling.top_k, logits.shape[-1]))
    mass = (best / sampling.temperature).softmax(dim=-1).cumsum(dim=-1)
    chosen = (mass <= uniform[:, None] * mass[:, -1:]).sum(dim=-1, keepdim=True)
    return index.gather(1, chosen.clamp(max=index.shape[1] - 1)).squeeze(1)


def highest(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k highest logits and their tokens, as `topk` does, in less time.

    The k highest logits lie in the k blocks of tokens that have the highest maxima.

    Examples
    --------
    >>> highest(torch.arange(2000.0)[None], 2)
    (tensor([[1999., 1998.]]), tensor([[1999, 1998]]))
    """
    texts, vocabulary = logits.shape
    blocks = vocabulary // BLOCK
    if blocks < 4 * k:
        best = logits.topk(k, dim=-1)
        return best.values, best.indices
    whole, device = blocks * BLOCK, logits.device
    maxima = logits[:, :whole].view(texts, blocks, BLOCK).amax(dim=-1)
    first = maxima.topk(k, dim=-1).indices[:, :, None] * BLOCK
    tokens = (first + torch.arange(BLOCK, device=device)).flatten(1)
    rest = torch.arange(whole, vocabulary, device=device).expand(texts, -1)
    tokens = torch.cat([tokens, rest], dim=1)
    best = logits.gather(1, tokens).topk(k, dim=-1)
    return best.values, tokens.gather(1, best.indices)


def derived_seed(*parts: object) -> int:
    """Return a seed that depends on all parts and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _uniform(seeds: Sequence[int], steps: int) -> Tensor:
    """Draw each text's random numbers from its own seed, shape (texts, steps)."""
    rows = [torch.rand(steps, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.stack(rows)


def end_tokens(loaded: LoadedModel, n_tokens: int) -> Tensor:
    """Return the tokens that end a text, by tokenizer and generation config.

    Only tokens that can be drawn: some configs use -1 for none, which would index the last token.
    """
    declared = getattr(loaded.model.generation_config, "eos_token_id", None)
    found = [
        loaded.tokenizer.eos_token_id,
        *(declared if isinstance(declared, list) else [declared]),
    ]
    drawn = {token for token in found if isinstance(token, int) and 0 <= token < n_tokens}
    return torch.tensor(sorted(drawn), dtype=torch.int64)
