"""The checks of a certificate: compute the same numbers in different ways and compare them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from representations.activations import PooledMean, Steer, Window, pad, read, residual_stream
from representations.generation import Sampling, Stories, prompts_ids, write
from representations.models.loading import LoadedModel
from representations.models.tokenizers import tokens_of
from representations.separation import separation_scores
from study.read import InputError

#: The numbers of tokens to read and to write.
LENGTHS, WRITTEN = (24, 17, 10), 5


@dataclass(frozen=True)
class Check:
    """One result of a certificate.

    Attributes
    ----------
    check : str
        What was compared.
    value : float
        The largest relative difference, or the number of failures.
    limit : float
        The largest value that passes.
    says : str
        What was found, in a few words.
    """

    check: str
    value: float
    limit: float
    says: str

    @property
    def passes(self) -> bool:
        """Whether the value is within the limit; NaN is not."""
        return self.value <= self.limit


@dataclass(frozen=True)
class Trial:
    """The input of all checks: a model, a few texts as tokens, and prompts."""

    loaded: LoadedModel
    passages: Sequence[str]
    ids: list[list[int]]
    prompts: Sequence[str]
    contains: Sequence[str]
    prompt_ids: list[list[int]]
    means: list[Tensor]
    limit: float


# -- comparing --------------------------------------------------------------------------------


def apart(a: Tensor, b: Tensor) -> tuple[float, int]:
    """Return the largest relative difference between two sets of means, and its layer.

    The larger of two measures counts: the difference of whole vectors, and that of their median
    entries, which a few massive dimensions cannot mask.

    Parameters
    ----------
    a, b : Tensor, shape (texts, layers, width)

    Examples
    --------
    >>> apart(torch.ones(1, 2, 4), torch.tensor([[[1.0] * 4, [1.1] * 4]]))[1]
    1
    """
    a, b = a.double(), b.double()
    tiny = torch.finfo(torch.float32).tiny
    whole = (a - b).norm(dim=-1) / a.norm(dim=-1).clamp(min=tiny)
    middle = (a - b).abs().median(dim=-1).values / a.abs().median(dim=-1).values.clamp(min=tiny)
    # If half of the entries are 0, as in an untrained model's embedding, the median says nothing.
    sparse = a.abs().median(dim=-1).values <= 1e-6 * a.abs().amax(dim=-1)
    both = torch.where(sparse, whole, torch.maximum(whole, middle)).amax(dim=0)
    both = torch.where(both.isnan(), torch.inf, both)
    return float(both.max()), int(both.argmax())


def _compared(name: str, a: Tensor, b: Tensor, limit: float, says: str) -> Check:
    value, layer = apart(a, b)
    return Check(name, value, limit, f"{says} by {value:.1e} at layer {layer} (limit {limit:.0e})")


# -- reading ----------------------------------------------------------------------------------


def tokenizer(trial: Trial) -> Iterator[Check]:
    """Check that a passage can be recovered from its tokens, letter by letter."""
    for text, tokens in zip(trial.passages, tokens_of(trial.loaded, trial.passages), strict=True):
        ids = tokens.tolist()
        back = trial.loaded.tokenizer.decode(ids, skip_special_tokens=True)
        lost = 1 - _common(text, back)
        begins = " ".join(back.split())[:40]
        yield Check("tokenizer", lost, 0.01, f"{text[:40]!r}... comes back as {begins!r}...")
        trial.ids.append(ids[: LENGTHS[len(trial.ids) % len(LENGTHS)]])


def _common(text: str, back: str) -> float:
    """Return the share of a text's letters that occur in another text in the same order."""
    import difflib

    a, b = _letters(text), _letters(back)
    if a == b:
        return 1.0
    blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(len(a), 1)


def _letters(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if c.isalnum())


class _Watch:
    """A hook that counts the calls of each layer and keeps the last residual stream."""

    def __init__(self) -> None:
        self.times: dict[int, int] = {}
        self.kept: dict[int, Tensor] = {}

    def __call__(self, layer: int, hidden: Tensor) -> None:
        self.times[layer] = self.times.get(layer, 0) + 1
        self.kept[layer] = hidden.detach().float().cpu()


@torch.inference_mode()
def layers(trial: Trial) -> Iterator[Check]:
    """Check that each layer occurs once per pass and equals the library's hidden state."""
    loaded, watch = trial.loaded, _Watch()
    ids = torch.tensor([trial.ids[0]], device=loaded.device)
    ends: list[tuple[Tensor, Tensor]] = []

    def end(module: Any, args: tuple[Any, ...], output: Any) -> None:
        both = (*args[:1], output)
        if len(both) == 2 and all(isinstance(x, Tensor) and not x.is_complex() for x in both):
            ends.append((args[0].detach().float().cpu(), output.detach().float().cpu()))

    handles = [
        child.register_forward_hook(end)
        for child in loaded.body.children()
        if child is not loaded.blocks
    ]
    into: dict[int, Tensor] = {}
    handles += [
        block.register_forward_pre_hook(_entered(into, layer), with_kwargs=True)
        for layer, block in enumerate(loaded.blocks)
    ]
    try:
        with residual_stream(loaded.blocks, watch):
            output = loaded.run(
                loaded.model, input_ids=ids, output_hidden_states=True, use_cache=False
            )
    finally:
        for handle in handles:
            handle.remove()
    n = loaded.n_layers
    odd_shapes = [
        (layer, list(kept.shape))
        for layer, kept in sorted(watch.kept.items())
        if kept.shape != (*ids.shape, loaded.width)
    ]
    if odd_shapes:
        layer, shape = odd_shapes[0]
        wanted = [*ids.shape, loaded.width]
        raise InputError(
            f"layer {layer} has the shape {shape}, where texts x tokens x width is {wanted}; "
            "several residual streams, or positions without a token, have no stated reading; "
            "choose another model"
        )
    odd = [layer for layer in range(n + 1) if watch.times.get(layer, 0) != 1]
    times = watch.times.get(odd[0], 0) if odd else 1
    says = f"layer {odd[0]} comes {times} times in a pass" if odd else "each comes once in a pass"
    yield Check("layers", float(len(odd)), 0.0, says)
    stream = _stacked([watch.kept[layer] for layer in range(n)])
    says = "a block does not go on from what the block before it returned; they differ"
    entered = _stacked([into.get(layer, watch.kept[layer]) for layer in range(n)])
    yield _compared("stream", stream, entered, trial.limit, says)
    theirs = getattr(output, "hidden_states", None)
    if not theirs or len(theirs) != n + 1 or theirs[0].shape != watch.kept[0].shape:
        return  # some architectures have none, or others
    known = _stacked([state.float().cpu() for state in theirs[:-1]])
    after_blocks = _stacked([watch.kept[layer] for layer in range(1, n + 1)])
    if apart(known, after_blocks)[0] < apart(known, stream)[0]:  # some leave out the embedding
        stream = after_blocks
    says = "hooks and the library's hidden states differ"
    yield _compared("hidden states", known, stream, trial.limit, says)
    last = theirs[-1].float().cpu()
    # The library's last is after the final norm, ours goes into it.
    after = [
        out for before, out in ends if _same(before, watch.kept[n]) and out.shape == last.shape
    ]
    candidates = [*after, watch.kept[n]]
    if last.shape == watch.kept[n].shape:
        value = min(apart(last, candidate)[0] for candidate in candidates)
        says = f"the final norm does not go on from the last layer; they differ by {value:.1e}"
        yield Check("last layer", value, trial.limit, says)


def _entered(into: dict[int, Tensor], layer: int) -> Any:
    """Return a hook that keeps the input of a block."""

    def run(module: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        hidden = args[0] if args else given.get("hidden_states")
        if isinstance(hidden, Tensor):
            into[layer] = hidden.detach().float().cpu()

    return run


def _stacked(states: Sequence[Tensor]) -> Tensor:
    """Stack states of shape (texts, positions, width) into (tokens, layers, width)."""
    return torch.stack([state.flatten(0, 1) for state in states], dim=1)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def _read(trial: Trial, texts: Sequence[Sequence[int]]) -> Tensor:
    means: Tensor = read(trial.loaded, texts, Window(1))
    return means


def padding(trial: Trial) -> Iterator[Check]:
    """Check that a text has the same activations alone and beside longer ones."""
    trial.means.append(_read(trial, trial.ids))
    alone = torch.cat([_read(trial, [ids]) for ids in trial.ids])
    says = "a text alone and the same beside longer ones differ"
    yield _compared("padding", alone, trial.means[0], trial.limit, says)


def repetition(trial: Trial) -> Iterator[Check]:
    """Check that a second pass gives the same activations and the same scores."""
    # The two halves of each text stand for two emotions, and each text for a topic.
    halves = [ids[part] for ids in trial.ids for part in _halves(ids)]
    first, again = _read(trial, halves), _read(trial, halves)
    yield _compared("repetition", first, again, trial.limit, "two passes over texts differ")
    if len(trial.ids) > 1:
        value = _scores_apart(first, again)
        says = f"scores of two passes differ by {value:.1e} (limit {trial.limit:.0e})"
        yield Check("scores", value, trial.limit, says)


def _halves(ids: Sequence[int]) -> tuple[slice, slice]:
    middle = len(ids) // 2
    return slice(middle), slice(middle, None)


def _scores_apart(a: Tensor, b: Tensor) -> float:
    """Return the largest difference between the scores of two passes, relative to the metric.

    Only metrics without ranks are used: ranks jump when two texts nearly tie.
    """
    topics = [str(number) for number in range(len(a) // 2) for _ in range(2)]
    worst = 0.0
    for metric in ("crossnobis", "cosine"):
        one, two = (
            separation_scores(
                means.numpy(), ["a", "b"] * (len(a) // 2), topics, metrics=[metric], replicates=0
            )[0]["score"].to_numpy()
            for means in (a, b)
        )
        size = max(float(np.nanmax(np.abs(one), initial=0)), 1e-30)
        gap = np.where(np.isnan(one) & np.isnan(two), 0, np.abs(one - two))
        worst = max(worst, float(gap.max()) / size)
    return worst


def steering(trial: Trial) -> Iterator[Check]:
    """Check that a vector added at a layer is there and reaches the next layer."""
    loaded, plain = trial.loaded, trial.means[0]
    for layer in sorted({0, loaded.n_layers // 2}):
        size = float(plain[:, layer].norm(dim=-1).mean())
        vector = torch.randn(loaded.width, generator=torch.Generator().manual_seed(layer))
        vector *= size / vector.norm()
        with residual_stream(loaded.blocks, Steer(vector.expand(len(trial.ids), -1)), [layer]):
            moved = _read(trial, trial.ids)
        here = slice(layer, layer + 1)
        says = f"a vector that is added at layer {layer} is not there"
        yield _compared("steering", plain[:, here] + vector, moved[:, here], trial.limit, says)
        if layer < loaded.n_layers:
            on = slice(layer + 1, layer + 2)
            value = 1.0 if apart(plain[:, on], moved[:, on])[0] < 1e-6 else 0.0
            says = f"what is added at layer {layer} does not reach the next"
            yield Check("steering goes on", value, 0.0, says)


# -- writing ----------------------------------------------------------------------------------


def prompt(trial: Trial) -> Iterator[Check]:
    """Check that a prompt still contains its text after the chat template."""
    trial.prompt_ids.extend(prompts_ids(trial.loaded, trial.prompts))
    for ids, text in zip(trial.prompt_ids, trial.contains, strict=True):
        back = trial.loaded.tokenizer.decode(ids)
        absent = 0.0 if _letters(text) in _letters(back) else 1.0
        begins = " ".join(back.split())[:60]
        yield Check("prompt", absent, 0.0, f"{text[:40]!r}... became {begins!r}..., without it")


def _write(trial: Trial, prompts: Sequence[Sequence[int]], temperature: float = 0) -> Stories:
    sampling = Sampling(max_new_tokens=WRITTEN, min_new_tokens=WRITTEN, temperature=temperature)
    return write(trial.loaded, prompts, [0] * len(prompts), sampling, Window(1))


def writing(trial: Trial) -> Iterator[Check]:
    """Check that a story is the same in a batch, alone, and when it is read again."""
    # Stories with the same prompt share its reading.
    loaded, prompts = trial.loaded, [*trial.prompt_ids, trial.prompt_ids[0]]
    together = _write(trial, prompts)
    alone = [_write(trial, [ids]) for ids in trial.prompt_ids]
    same = []
    for number, (ids, one) in enumerate(zip(prompts, [*alone, alone[0]], strict=True)):
        a, b = together.token_ids[number], one.token_ids[0]
        if a == b:
            same.append(number)
            continue
        value = _gap(trial, ids, a, b)
        says = f"a story begins with {_words(loaded, a)!r} in a batch, {_words(loaded, b)!r} alone"
        yield Check("writing in a batch", value, trial.limit, says)
    # Stories that diverged at a tie cannot be compared.
    if same:
        means = torch.cat([alone[number % len(alone)].activations for number in same])
        says = "activations while writing differ between a batch and alone"
        yield _compared("writing in a batch", means, together.activations[same], trial.limit, says)
    again = torch.cat(
        [_reread(loaded, prompts[n], one.token_ids[0]) for n, one in enumerate(alone)]
    )
    means = torch.cat([one.activations for one in alone])
    says = "activations while writing, and of the same text read, differ"
    yield _compared("written and read", again, means, trial.limit, says)
    first, second = (_write(trial, trial.prompt_ids, temperature=1) for _ in range(2))
    odd = [n for n, ids in enumerate(first.token_ids) if ids != second.token_ids[n]]
    says = "stories that are drawn twice from one seed differ"
    yield Check("drawn again", float(len(odd)), 0.0, says)


def _words(loaded: LoadedModel, ids: Sequence[int]) -> str:
    text: str = loaded.tokenizer.decode(list(ids))
    return text[:30]


@torch.inference_mode()
def _gap(trial: Trial, ids: Sequence[int], a: Sequence[int], b: Sequence[int]) -> float:
    """Return how far from a tie two stories diverged, relative to the spread of the logits."""
    at = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    text = torch.tensor([[*ids, *b[:at]]], device=trial.loaded.device)
    output = trial.loaded.run(trial.loaded.model, input_ids=text, use_cache=False)
    logits = output.logits[0, -1].float()
    return float((logits[a[at]] - logits[b[at]]).abs() / logits.std())


@torch.inference_mode()
def _reread(loaded: LoadedModel, ids: Sequence[int], story: Sequence[int]) -> Tensor:
    """Read a prompt with its story, and average over the same tokens as `_write`."""
    text = [*ids, *story[:-1]]
    tokens, mask = pad([text], loaded.tokenizer.pad_token_id, "right")
    weights = mask.float()
    weights[0, : len(ids) + 1] = 0
    pool = PooledMean(weights / weights.sum(), loaded.n_layers, loaded.width, loaded.device)
    with residual_stream(loaded.blocks, pool):
        # Not by `loaded.run`: with the library's own products, to which ours are compared.
        loaded.body(input_ids=tokens.to(loaded.device), use_cache=False)
    return pool.means.cpu()
