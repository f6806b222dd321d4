"""Read from and write to the residual stream of any causal language model.

Layer 0 is the embedding output (the input of the first block); layer l is the residual stream after
block l, before the final norm. Only the context manager `residual_stream` touches a model's hooks;
pooling and steering are functions passed to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from representations.models.loading import LoadedModel, is_of_memory
from study.read import InputError

#: Called with a layer and its residual stream, shape (batch, positions, width). It returns None
#: to leave it unchanged, or a tensor of the same shape that replaces it.
Hook = Callable[[int, Tensor], Tensor | None]


@contextmanager
def residual_stream(
    blocks: nn.ModuleList, hook: Hook, layers: Iterable[int] | None = None
) -> Iterator[None]:
    """Call `hook` on the residual stream at the given layers during every forward pass inside.

    Contexts nest: an outer one acts first, so inner ones read what it writes. The hooks are removed
    when the block ends, even by an exception.

    Parameters
    ----------
    blocks : ModuleList
        The transformer blocks, as `find_blocks` returns them.
    hook : callable
        ``hook(layer, hidden)`` with `hidden` of shape (batch, positions, width).
    layers : iterable of int, optional
        Layers from 0 to ``len(blocks)``; all of them by default.

    Raises
    ------
    InputError
        For a layer out of range.

    Examples
    --------
    >>> norms = {}
    >>> def norm(layer, hidden):
    ...     norms[layer] = hidden.norm(dim=-1).mean().item()
    >>> blocks = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    >>> with residual_stream(blocks, norm):
    ...     _ = blocks[1](blocks[0](torch.ones(1, 2, 3)))
    >>> sorted(norms)
    [0, 1, 2]
    """
    n_layers = len(blocks)
    wanted = sorted(set(range(n_layers + 1) if layers is None else layers))
    if wanted and not 0 <= wanted[0] <= wanted[-1] <= n_layers:
        raise InputError(f"layers {wanted} are not all within 0 to {n_layers}")
    with ExitStack() as stack:
        for layer in wanted:
            handle: Any
            if layer == 0:
                handle = blocks[0].register_forward_pre_hook(_before(hook), with_kwargs=True)
            else:
                handle = blocks[layer - 1].register_forward_hook(_after(hook, layer))
            stack.callback(handle.remove)
        yield


def _before(hook: Hook) -> Any:
    def run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        changed = hook(0, _stream(0, args[0] if args else kwargs.get("hidden_states")))
        if changed is None:
            return None
        if args:
            return (changed, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": changed}

    return run


def _after(hook: Hook, layer: int) -> Any:
    def run(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple | list):
            changed = hook(layer, _stream(layer, output[0] if output else None))
            return None if changed is None else type(output)((changed, *output[1:]))
        return hook(layer, _stream(layer, output))

    return run


def _stream(layer: int, given: Any) -> Tensor:
    if not isinstance(given, Tensor):
        raise InputError(
            f"layer {layer} of the residual stream is not a tensor but {type(given).__name__}; "
            "such an architecture cannot be read"
        )
    return given


# -- pooling ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """Which tokens of a text enter its mean.

    Attributes
    ----------
    skip : int
        Leading tokens to leave out, counted over the text's own tokens. At least 1: the first token
        of a sequence is an attention sink with a norm many times that of the others.
    size : int or None
        At most this many tokens after the skip; None for all.
    """

    skip: int = 8
    size: int | None = None

    def __post_init__(self) -> None:
        if self.skip < 1:
            raise InputError("pooling skip must be at least 1: the first token never enters a mean")
        if self.size is not None and self.size < 1:
            raise InputError("pooling size must be at least 1, or be left out")

    def weights(self, mask: Tensor) -> Tensor:
        """Return each token's weight in its text's mean.

        Parameters
        ----------
        mask : Tensor, shape (batch, positions)
            1 for a text's tokens, 0 for padding on either side.

        Returns
        -------
        Tensor, shape (batch, positions)
            Rows sum to 1, or are all 0 if a text is not longer than the skip.
        """
        position = mask.long().cumsum(dim=1)  # 1 for the first token, with padding on either side
        inside = (position > self.skip) & (mask > 0)
        if self.size is not None:
            inside &= position <= self.skip + self.size
        chosen = inside.to(torch.float32)
        return chosen / chosen.sum(dim=1, keepdim=True).clamp(min=1)


def token_batches(lengths: Sequence[int], max_texts: int, max_tokens: int) -> list[list[int]]:
    """Group texts of similar length into batches with little padding.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each text.
    max_texts, max_tokens : int
        Limits of a batch; tokens include padding. A longer text forms its own batch.

    Returns
    -------
    list of list of int
        Indices of texts, longest first: if memory runs out, it does so at once.

    Examples
    --------
    >>> token_batches([3, 9, 4, 8], max_texts=2, max_tokens=100)
    [[1, 3], [2, 0]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches:
            last = batches[-1]
            if len(last) < max_texts and (len(last) + 1) * lengths[last[0]] <= max_tokens:
                last.append(index)
                continue
        batches.append([index])
    return batches


@torch.inference_mode()
def read(
    loaded: LoadedModel,
    token_ids: Sequence[Sequence[int]],
    window: Window,
    *,
    own: Sequence[Sequence[bool]] | None = None,
    max_texts: int = 16,
    max_tokens: int = 4096,
    progress: Callable[[int], object] = lambda tokens: None,
    out: Any = None,
) -> Any:
    """Mean residual-stream activations of texts that the model reads, at every layer.

    The body runs without the language-model head, on right-padded batches without an attention
    mask: attention is causal, so padding on the right cannot affect a text.

    Parameters
    ----------
    loaded : LoadedModel
    token_ids : sequence of sequences of int
        The texts' tokens. Each text has at least ``window.skip + 1`` of its own.
    window : Window
        Positions are counted over a text's own tokens.
    own : sequence of sequences of bool, optional
        Which tokens are a text's own, for instance those after a prompt; all by default. The
        others are read, but enter neither the count nor the mean.
    max_texts, max_tokens : int
        Limits of a batch. A batch that does not fit in memory is halved.
    progress : callable
        Called with the number of tokens read, after each batch.
    out : optional
        Receives the means by ``out[texts] = means`` with a list of texts; a
        `representations.pooled.Spool` keeps them out of memory.

    Returns
    -------
    Tensor, shape (texts, layers + 1, width), float32, on the CPU
        Or `out`, if given.

    Raises
    ------
    InputError
        For a text with no tokens in the window, a token that the model does not know, or
        activations that are not finite.
    """
    lengths = [sum(flags) for flags in own] if own is not None else [len(i) for i in token_ids]
    short = [i for i, length in enumerate(lengths) if length <= window.skip]
    if short:
        raise InputError(
            f"text {short[0]} has {lengths[short[0]]} tokens and the pooling skips "
            f"{window.skip}; leave it out or lower the skip"
        )
    if not token_ids:
        raise InputError("no texts to read")
    loaded.check_known(token_ids)
    shape = len(token_ids), loaded.n_layers + 1, loaded.width
    pooled = torch.empty(shape) if out is None else out

    def do(batch: list[int]) -> tuple[Tensor, Tensor]:
        ids, mask = pad([token_ids[i] for i in batch], loaded.tokenizer.pad_token_id, "right")
        counted = mask if own is None else pad([own[i] for i in batch], 0, "right")[0]
        weights = window.weights(counted)
        pool = PooledMean(weights, loaded.n_layers, loaded.width, loaded.device)
        with residual_stream(loaded.blocks, pool):
            loaded.run(loaded.body, input_ids=ids.to(loaded.device), use_cache=False)
        return pool.means.cpu(), mask

    batches = token_batches([len(ids) for ids in token_ids], max_texts, max_tokens)
    for batch, (means, mask) in halving(batches, do, loaded):
        pooled[batch] = finite(means, batch, loaded)
        progress(int(mask.sum()))
    return pooled


Result = TypeVar("Result")


def halving(
    batches: Iterable[list[int]], do: Callable[[list[int]], Result], loaded: LoadedModel
) -> Iterator[tuple[list[int], Result]]:
    """Process batches in turn; halve those that do not fit in memory.

    Parameters
    ----------
    batches : iterable of list of int
        The text indices of each batch.
    do : callable
        Takes a batch and returns its result.
    loaded : LoadedModel
        For the message.

    Yields
    ------
    batch : list of int
    result

    Raises
    ------
    InputError
        If a single text does not fit.
    """
    pending = list(batches)
    while pending:
        batch = pending.pop(0)
        try:
            result = do(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_of_memory(error):
                raise
            if len(batch) == 1:
                raise InputError(
                    f"model {loaded.spec.name!r}: out of memory on one text; shorten it, or the "
                    "texts that are written, or use a larger device"
                ) from None
            pending[:0] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        else:
            yield batch, result
            continue
        torch.cuda.empty_cache()  # only now, when nothing refers to the failed batch


class PooledMean:
    """A hook that averages the residual stream of one batch over weighted tokens.

    Parameters
    ----------
    weights : Tensor, shape (batch, positions)
        From `Window.weights`.
    n_layers, width : int
    device : device

    Attributes
    ----------
    means : Tensor, shape (batch, layers + 1, width), float32, on `device`
        Once every layer has been seen.
    """

    def __init__(self, weights: Tensor, n_layers: int, width: int, device: torch.device) -> None:
        self._weights = weights.to(device)
        # Allocate in advance: small results that outlive their pass would fragment the memory
        # that the large results of the next layer could reuse.
        self._means = torch.empty(len(weights), n_layers + 1, width, device=device)
        self._came = [0] * (n_layers + 1)

    def __call__(self, layer: int, hidden: Tensor) -> None:
        """Store the weighted mean of `hidden` for the layer."""
        weights = self._weights.to(hidden.device).unsqueeze(1)
        self._means[:, layer] = torch.bmm(weights, hidden.float()).squeeze(1)
        self._came[layer] += 1

    @property
    def means(self) -> Tensor:
        """The means, once every layer has been seen exactly once.

        Raises
        ------
        InputError
            If a layer was not seen (its values are then uninitialized memory), or was seen twice.
        """
        check_layers(self._came)
        return self._means


def check_layers(came: Sequence[int], passes: int = 1) -> None:
    """Reject passes in which a layer was not seen exactly once.

    Parameters
    ----------
    came : sequence of int
        How often each layer was seen, from layer 0.
    passes : int

    Raises
    ------
    InputError
    """
    odd = [layer for layer, times in enumerate(came) if times != passes]
    if odd:
        raise InputError(
            f"layer {odd[0]} of the residual stream comes {came[odd[0]]} times in {passes} passes "
            'over texts; name the list of blocks with blocks = "dotted.path" in the model\'s '
            "[[model]] entry"
        )


def pad(token_ids: Sequence[Sequence[int]], pad_id: int, side: str) -> tuple[Tensor, Tensor]:
    """Pad texts of different lengths into one array.

    Parameters
    ----------
    token_ids : sequence of sequences of int
    pad_id : int
    side : {"left", "right"}
        Side of the padding.

    Returns
    -------
    ids, mask : Tensor, shape (batch, positions), int64
        The mask is 1 for tokens and 0 for padding.

    Examples
    --------
    >>> pad([[5, 6], [7]], 0, "left")[0].tolist()
    [[5, 6], [0, 7]]
    """
    length = max(map(len, token_ids))
    ids = torch.full((len(token_ids), length), pad_id, dtype=torch.int64)
    mask = torch.zeros(len(token_ids), length, dtype=torch.int64)
    for row, tokens in enumerate(token_ids):
        place = slice(length - len(tokens), length) if side == "left" else slice(len(tokens))
        ids[row, place] = torch.as_tensor(tokens)
        mask[row, place] = 1
    return ids, mask


def finite(means: Tensor, texts: Sequence[int], loaded: LoadedModel) -> Tensor:
    """Return the means of some texts (texts, layers + 1, width); raise if any is not finite."""
    bad = ~torch.isfinite(means).all(dim=2)
    if bad.any():
        row, layer = map(int, bad.nonzero()[0])
        wide = loaded.precision.endswith(("float32", "bfloat16"))
        remedy = (
            "its weights are damaged or not its config's; get them again, or leave it out"
            if wide
            else "set precisions to float32 (or bfloat16 on a GPU)"
        )
        raise InputError(
            f"model {loaded.spec.name!r} in {loaded.precision}: activations of text {texts[row]} "
            f"at layer {layer} are not finite; {remedy}"
        )
    return means


# -- writing ----------------------------------------------------------------------------------


class Steer:
    """A hook that adds one vector per text to the residual stream.

    Parameters
    ----------
    vectors : Tensor, shape (batch, width)
        A row of zeros leaves its text unchanged.

    Examples
    --------
    >>> Steer(torch.ones(1, 3))(4, torch.zeros(1, 2, 3)).sum().item()
    6.0
    """

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors

    def __call__(self, layer: int, hidden: Tensor) -> Tensor:
        """Return `hidden` with each text's vector added at every position."""
        return hidden + self._vectors.to(hidden.device, hidden.dtype).unsqueeze(1)
