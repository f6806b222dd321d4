"""Attend to the beginning that texts share, without a copy of its keys and values for each text.

Most of the keys and values of a batch of stories are those of their prompts, which begin alike. A
cache of this module keeps them once per beginning, and those of everything that follows once per
text. A softmax over the scores of both is the attention to the whole text:

    softmax(q [K_beginning, K_own]^T / sqrt(width)) [V_beginning, V_own]

Texts with the same beginning multiply it together (compare Hydragen [1]_).

.. [1] Juravsky, J. et al. (2024). Hydragen: high-throughput LLM inference with shared prefixes.
   arXiv:2402.05099.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import DynamicSlidingWindowLayer

from representations.key_cache import Buffer
from representations.models.loading import LoadedModel


class CannotShare(Exception):
    """A model attends in a way that shared beginnings do not fit."""


def may_share(loaded: LoadedModel) -> bool:
    """Return whether it is worth trying to let a model attend to shared beginnings.

    On a GPU, copies cost less than the launches of several small kernels. Scores in half precision
    would lose digits that torch's attention keeps.
    """
    return (
        loaded.device.type == "cpu"
        and loaded.model.dtype in (torch.float32, torch.float64)
        and getattr(loaded.model.config, "_attn_implementation", None) == "sdpa"
    )


def keep_once(cache: Any, which: Tensor, shift: Tensor, cut: int, more: int) -> Beginnings:
    """Let texts share the beginnings that a cache holds, without copies of them.

    Parameters
    ----------
    cache : transformers.Cache
        The keys and values of the beginnings, padded on the left. Its layers are replaced by those
        of the texts, without any position after the cut.
    which : Tensor, shape (texts,), int64
        The beginning of each text.
    shift : Tensor, shape (texts,), int64
        The position of the batch at which the first column of a text's beginning lies; negative if
        it begins before the batch does.
    cut : int
        Number of first positions of the left-padded batch that the beginnings hold.
    more : int
        Number of positions after the cut to reserve.

    Returns
    -------
    Beginnings

    Raises
    ------
    CannotShare
        If a sliding window is shorter than the texts.
    """
    for layer in cache.layers:
        if isinstance(layer, DynamicSlidingWindowLayer) and cut + more > layer.sliding_window:
            raise CannotShare("a window that moves")
    held = [
        (layer.keys.transpose(0, 1).contiguous(), layer.values.transpose(0, 1).contiguous())
        for layer in cache.layers
    ]
    beginnings = Beginnings(held, which, shift, cut)
    cache.layers = [_Own(beginnings, index, more) for index in range(len(held))]
    return beginnings


def attention_to(cache: Any) -> AbstractContextManager[Beginnings | None]:
    """Return the context in which a model can run on a cache, shared or not."""
    layers = getattr(cache, "layers", [])
    return layers[0].beginnings if layers and isinstance(layers[0], _Own) else nullcontext()


class Beginnings:
    """The beginnings of a batch's texts, and the attention to them within a `with` block.

    Parameters
    ----------
    held : list of pairs of Tensor, shape (heads, beginnings, positions, width)
        The keys and values of each layer.
    which, shift, cut
        As in `keep_once`.
    """

    def __init__(
        self, held: list[tuple[Tensor, Tensor]], which: Tensor, shift: Tensor, cut: int
    ) -> None:
        self.held, self.cut = held, cut
        self._due: _Own | None = None
        self._masks: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._arrange(which, shift)

    def _arrange(self, which: Tensor, shift: Tensor) -> None:
        self.which, self._shift = which, shift
        _, beginnings, length, _ = self.held[0][0].shape
        place = torch.arange(length) + shift[:, None]
        self._inside = (place >= 0) & (place < self.cut)
        self._place = place.clamp(0, self.cut - 1)
        # Texts are put in a grid with one row per beginning, and taken out of it again.
        sizes = torch.bincount(which, minlength=beginnings)
        rank = torch.empty_like(which)
        rank[which.argsort(stable=True)] = torch.cat([torch.arange(n) for n in sizes.tolist()])
        self._slot = which * sizes.max() + rank
        self._grid = torch.zeros(beginnings * int(sizes.max()), dtype=torch.int64)
        self._grid[self._slot] = torch.arange(len(which))

    def select(self, rows: Tensor) -> None:
        """Keep only some of the texts."""
        self._arrange(self.which[rows], self._shift[rows])

    def __enter__(self) -> Beginnings:
        self._before = AttentionInterface()["sdpa"]
        AttentionInterface.register("sdpa", self.attend)
        return self

    def __exit__(self, *exception: object) -> None:
        AttentionInterface.register("sdpa", self._before)

    def expect(self, layer: _Own | None) -> None:
        """Note that attention to a layer comes next, or that none does.

        Raises
        ------
        CannotShare
            If the attention to the previous layer went another way.
        """
        if self._due is not None:
            raise CannotShare("attention that does not go through transformers' interface")
        self._due = layer
        if layer is None or layer.index == 0:
            self._masks.clear()

    def attend(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """Attend to the beginnings and to a layer's own keys, as transformers' `sdpa` does.

        Parameters
        ----------
        module : nn.Module
        query : Tensor, shape (texts, heads, queries, width)
        key, value : Tensor, shape (texts, key heads, positions after the cut, width)
        attention_mask : Tensor, shape (texts, 1, queries, positions), bool, optional
        scaling : float, optional
        **kwargs

        Returns
        -------
        output : Tensor, shape (texts, queries, heads, width)
        None

        Raises
        ------
        CannotShare
            If the keys are not those of the layer that is due, or there is more than a mask.
        """
        layer, self._due = self._due, None
        more = [kwargs.get(name) for name in ("position_bias", "softcap", "cache")]
        if layer is None or key is not layer.keys or any(part is not None for part in more):
            raise CannotShare("attention with terms of its own")
        keys, values = self.held[layer.index]
        texts, heads, queries, width = query.shape
        scale = width**-0.5 if scaling is None else scaling
        grouped = (query * scale).reshape(texts, key.shape[1], -1, width)
        scores = torch.cat(
            [
                self._by_beginning(grouped, keys.transpose(2, 3)),
                grouped @ key.transpose(2, 3),
            ],
            dim=-1,
        )
        hidden = self._hidden(attention_mask, queries, key.shape[2])
        if hidden is not None:
            lowest = torch.finfo(scores.dtype).min
            scores.view(texts, heads, queries, -1).masked_fill_(hidden, lowest)
        weights = scores.softmax(dim=-1)
        length = keys.shape[2]
        found = weights[..., length:] @ value
        found += self._by_beginning(weights[..., :length], values)
        return found.view(texts, heads, queries, -1).transpose(1, 2).contiguous(), None

    def _by_beginning(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """Multiply each text's rows with its beginning's matrix, all texts of one together.

        Rows are (texts, heads, rows, inner), matrices (heads, beginnings, inner, outer).
        """
        heads, beginnings, inner, outer = matrices.shape
        together = rows.transpose(0, 1).index_select(1, self._grid)
        product = together.view(heads, beginnings, -1, inner) @ matrices
        product = product.view(heads, len(self._grid), -1, outer)
        return product.index_select(1, self._slot).transpose(0, 1)

    def _hidden(self, mask: Tensor | None, queries: int, own: int) -> Tensor | None:
        """Return which columns of the beginnings and of the own positions a mask hides; or None."""
        if mask is None:
            if queries > 1 or not bool(self._inside.all()):
                raise CannotShare("no mask where one is needed")
            return None
        if id(mask) not in self._masks:
            if mask.dtype != torch.bool or mask.shape[1:] != (1, queries, self.cut + own):
                raise CannotShare("a mask of another kind")
            whole = mask.expand(len(self._place), -1, -1, -1)
            place = self._place[:, None, None].expand(-1, -1, queries, -1)
            begun = whole[..., : self.cut].gather(3, place) & self._inside[:, None, None]
            seen = torch.cat([begun, whole[..., self.cut :]], dim=-1)
            # The mask is kept, so that no other gets its number.
            self._masks[id(mask)] = (mask, None if bool(seen.all()) else ~seen)
        return self._masks[id(mask)][1]


class _Own(Buffer):
    """The keys and values after the cut, one row per text."""

    def __init__(self, beginnings: Beginnings, index: int, more: int) -> None:
        texts = len(beginnings.which)
        keys, values = (
            part.new_empty(texts, part.shape[0], 0, part.shape[3])
            for part in beginnings.held[index]
        )
        super().__init__(keys, values, more)
        self.beginnings = beginnings
        self.index = index

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values, each (texts, heads, positions, width); return the own ones."""
        self.beginnings.expect(self)
        return super().update(key_states, value_states, *args, **kwargs)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the texts at `indices`."""
        super().batch_select_indices(indices)
        if self.index == 0:
            self.beginnings.select(indices)

    def get_seq_length(self) -> int:
        """Return the number of positions, with those of the beginnings."""
        return self.beginnings.cut + int(self.keys.shape[-2])
