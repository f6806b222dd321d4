"""Reserve memory for the keys and values of new tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


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
            cache.layers[index] = Buffer(layer.keys, layer.values, more)
        elif type(layer) is DynamicSlidingWindowLayer and layer.is_initialized:
            cache.layers[index] = _SlidingBuffer(layer, more)


def select(cache: Any, rows: Tensor) -> bool:
    """Keep some rows of a cache with reserved room; return False for another, left unchanged."""
    layers = getattr(cache, "layers", [])
    if not layers or not all(isinstance(layer, Buffer | _SlidingBuffer) for layer in layers):
        return False
    cache.batch_select_indices(rows)
    return True


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

    def select(self, rows: Tensor) -> _Room:
        """Return room of the same size that holds some rows."""
        keys, values = (part[rows.to(part.device)] for part in self.shown())
        return _Room(keys, values, self._tensors[0].shape[-2] - self.used)


class _Reserved(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """A layer with reserved room, until that is full."""

    _room: _Room | None

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the rows at `indices`, and the room."""
        if self._room is None:
            super().batch_select_indices(indices)
        else:
            self._room = self._room.select(indices)
            self.keys, self.values = self._room.shown()


class Buffer(_Reserved):
    """Keys and values in reserved memory; concatenated like any others once that is full.

    Parameters
    ----------
    keys, values : Tensor, shape (batch, heads, positions, width)
    more : int
        Number of positions to reserve.
    """

    def __init__(self, keys: Tensor, values: Tensor, more: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._room = _Room(keys, values, more)
        self.keys, self.values = self._room.shown()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values, each (batch, heads, positions, width); return all of them."""
        if self._room is not None and self._room.append(key_states, value_states):
            self.keys, self.values = self._room.shown()
            return self.keys, self.values
        self._room = None
        both: tuple[Tensor, Tensor] = super().update(key_states, value_states, *args, **kwargs)
        return both


class _SlidingBuffer(_Reserved, DynamicSlidingWindowLayer):  # type: ignore[misc]
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
        if seen >= self.sliding_window:
            self._room = None
        if self._room is not None and self._room.append(key_states, value_states):
            self.cumulative_length = seen
            self.keys, self.values = self._room.shown()
            return self.keys, self.values
        self._room = None
        both: tuple[Tensor, Tensor] = super().update(key_states, value_states, *args, **kwargs)
        return both
