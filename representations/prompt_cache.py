"""Read the shared beginning of prompts once, and reserve memory for keys and values.

The prompts of a study differ only in their last words: the chat template, the instructions and the
topic come first. A batch is laid out as if padded on the left. The first `cut` positions of a row
hold its padding and the beginning of its prompt. Rows with the same beginning get their keys and
values from a single reading, shifted past their padding. Only the positions after the cut are read
for each prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from representations.activations import pad
from representations.models.loading import LoadedModel

Tokens = tuple[int, ...]

#: How many cuts to try on a batch.
CUTS = 128


def stems(prompts: Sequence[Tokens], cut: int) -> tuple[list[Tokens], list[int]]:
    """Return the beginnings to read, and which of them holds each prompt's first positions.

    Parameters
    ----------
    prompts : sequence of tuple of int
    cut : int
        Number of first positions of the left-padded batch.

    Returns
    -------
    stems : list of tuple of int
        No stem is the beginning of another.
    which : list of int
        One per prompt.

    Examples
    --------
    >>> stems([(1, 2, 3, 4), (1, 2, 5), (9, 2, 3, 4)], cut=3)
    ([(9, 2, 3), (1, 2, 3)], [1, 1, 0])
    """
    longest = max(map(len, prompts))
    heads = [prompt[: max(cut - longest + len(prompt), 0)] for prompt in prompts]
    found: list[Tokens] = []
    which = [0] * len(prompts)
    # In this order, a head directly follows those that begin with it.
    for index in sorted(range(len(heads)), key=heads.__getitem__, reverse=True):
        if not found or found[-1][: len(heads[index])] != heads[index]:
            found.append(heads[index])
        which[index] = len(found) - 1
    return found, which


def best_cut(prompts: Sequence[Tokens]) -> int:
    """Return the cut with the fewest tokens to read; 0 if sharing does not save half of them.

    Examples
    --------
    >>> best_cut([(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 7), (1, 2, 3, 4, 5, 8)])
    5
    >>> best_cut([(1, 2, 3), (4, 5, 6)])
    0
    """
    longest = max(map(len, prompts))
    costs = {
        cut: sum(map(len, stems(prompts, cut)[0])) + len(prompts) * (longest - cut)
        for cut in range(longest - 1, 0, -max(1, longest // CUTS))
    }
    best = min(costs, key=costs.__getitem__, default=0)
    return best if best and 2 * costs[best] <= len(prompts) * longest else 0


def read_stems(loaded: LoadedModel, prompts: Sequence[Tokens], cut: int) -> Any:
    """Return a cache of the first positions of left-padded prompts, or None if it cannot be shared.

    Parameters
    ----------
    loaded : LoadedModel
    prompts : sequence of tuple of int
    cut : int
        From `best_cut`.

    Returns
    -------
    transformers.Cache or None
        None for a model whose cache holds something other than keys and values, or no longer holds
        those of the first tokens.
    """
    heads, which = stems(prompts, cut)
    ids, mask = pad(heads, loaded.tokenizer.pad_token_id, "right")
    output = loaded.run(
        loaded.body,
        input_ids=ids.to(loaded.device),
        attention_mask=mask.to(loaded.device),
        use_cache=True,
    )
    cache: Any = getattr(output, "past_key_values", None)
    if not has_only_keys(cache) or any(
        layer.get_seq_length() != ids.shape[1] or layer.keys.shape[-2] != ids.shape[1]
        for layer in cache.layers
    ):
        return None
    longest = max(map(len, prompts))
    padding = torch.tensor([longest - len(prompt) for prompt in prompts])
    place = (torch.arange(cut) - padding[:, None]).clamp(0, ids.shape[1] - 1)
    rows = torch.tensor(which)[:, None]
    for layer in cache.layers:
        moved = [
            part.transpose(1, 2)[rows.to(part.device), place.to(part.device)].transpose(1, 2)
            for part in (layer.keys, layer.values)
        ]
        layer.reset()
        layer.update(*moved)
    return cache


def has_only_keys(cache: Any) -> bool:
    """Return whether a cache holds keys and values of single tokens and no other state."""
    kinds = (DynamicLayer, DynamicSlidingWindowLayer)
    return all(type(layer) in kinds for layer in getattr(cache, "layers", [None]))


def reserve(cache: Any, more: int) -> None:
    """Reserve room in a cache for `more` tokens, to avoid copying it.

    transformers' own cache concatenates, which copies all keys and values for every token.

    Parameters
    ----------
    cache : transformers.Cache
        Left unchanged unless it `has_only_keys`.
    more : int
    """
    if not has_only_keys(cache):
        return
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            cache.layers[index] = _Buffer(layer, more)
        elif type(layer) is DynamicSlidingWindowLayer and layer.is_initialized:
            cache.layers[index] = _SlidingBuffer(layer, more)


class _Room:
    """Tensors with room for more keys and values, of which the first positions are in use."""

    def __init__(self, keys: Tensor, values: Tensor, more: int) -> None:
        self._tensors = []
        for part in (keys, values):
            rows, heads, length, width = part.shape
            tensor = part.new_empty(rows, heads, length + more, width)
            tensor[:, :, :length] = part
            self._tensors.append(tensor)
        self.used = keys.shape[-2]

    def append(self, keys: Tensor, values: Tensor) -> bool:
        """Add keys and values of new tokens; return False if there is no room."""
        end = self.used + keys.shape[-2]
        if end > self._tensors[0].shape[-2]:
            return False
        for tensor, new in zip(self._tensors, (keys, values), strict=True):
            tensor[:, :, self.used : end] = new
        self.used = end
        return True

    def shown(self) -> list[Tensor]:
        """Return the keys and the values in use."""
        return [tensor[:, :, : self.used] for tensor in self._tensors]


class _Buffer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """Keys and values in reserved memory; concatenated like any others once that is full."""

    def __init__(self, layer: DynamicLayer, more: int) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self._room = _Room(layer.keys, layer.values, more)
        self.keys, self.values = self._room.shown()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values, each (batch, heads, positions, width); return all of them."""
        if self.keys.shape[-2] == self._room.used and self._room.append(key_states, value_states):
            self.keys, self.values = self._room.shown()
            return self.keys, self.values
        both: tuple[Tensor, Tensor] = super().update(key_states, value_states, *args, **kwargs)
        return both


class _SlidingBuffer(DynamicSlidingWindowLayer):  # type: ignore[misc]
    """The same for a sliding window, until the window is full."""

    def __init__(self, layer: DynamicSlidingWindowLayer, more: int) -> None:
        super().__init__(layer.sliding_window)
        self.lazy_initialization(layer.keys, layer.values)
        self.cumulative_length = layer.cumulative_length
        more = min(more, max(layer.sliding_window - layer.cumulative_length, 0))
        self._room = _Room(layer.keys, layer.values, more)
        self.keys, self.values = self._room.shown()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values, each (batch, heads, positions, width); return all that are seen."""
        seen = self.cumulative_length + key_states.shape[-2]
        if seen < self.sliding_window and self._room.append(key_states, value_states):
            self.cumulative_length = seen
            self.keys, self.values = self._room.shown()
            return self.keys, self.values
        both: tuple[Tensor, Tensor] = super().update(key_states, value_states, *args, **kwargs)
        return both
