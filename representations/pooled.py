"""Pooled activations of texts, written text by text and read layer by layer.

Layers are consecutive in a file and are read and written one at a time, so memory holds a batch of
texts or one layer of them, never everything.
"""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from study.arrays import Float32Array
from study.write import SCRATCH, Place, writing


class Activations(Protocol):
    """Pooled activations of texts: an array, or an object indexed like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(texts, layers + 1, width)."""

    def __getitem__(self, key: tuple[slice, int]) -> Any:
        """Return ``activations[:, layer]``, shape (texts, width)."""


@dataclass(frozen=True)
class PooledUnit:
    """The pooled activations of one unit.

    Attributes
    ----------
    activations : Activations, shape (texts, layers + 1, width), float32
    neutral : Activations, shape (neutral texts, layers + 1, width), float32
    facts : mapping
        Labels of the texts (emotions, topics, neutral_topics), facts of the model, tokens, seconds,
        and the stories if the unit wrote some.
    """

    activations: Activations
    neutral: Activations
    facts: Mapping[str, Any]


class Spool:
    """Activations in an unnamed file that disappears when nothing refers to it.

    Parameters
    ----------
    shape : tuple of int
        (texts, layers + 1, width).
    near : Path or UPath
        The file is in the same folder; for a URL, in the system's temporary folder.

    Raises
    ------
    InputError
        If the disk is full or the folder is not writable.

    Examples
    --------
    >>> spool = Spool((3, 2, 4), Path(tempfile.gettempdir(), "unit"))
    >>> spool[[2, 0]] = np.ones((2, 2, 4))
    >>> spool[:, 1].sum(axis=1).tolist()
    [4.0, 0.0, 4.0]
    """

    def __init__(self, shape: tuple[int, int, int], near: Place) -> None:
        self.shape, self._near = shape, near
        folder = near.parent if isinstance(near, Path) else Path(tempfile.gettempdir())
        with writing(near):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(  # noqa: SIM115, it lives as long as the spool
                prefix=".", suffix=SCRATCH, dir=folder
            )
            weakref.finalize(self, self._file.close)
            self._file.truncate(4 * math.prod(shape))

    def __setitem__(self, texts: Sequence[int], values: ArrayLike) -> None:
        """Store the activations of some texts, shape (texts, layers + 1, width)."""
        n_texts, n_layers, width = self.shape
        values = np.asarray(values, dtype=np.float32)
        with writing(self._near):
            for text, layers in zip(texts, values, strict=True):
                for layer in range(n_layers):
                    self._file.seek(4 * width * (layer * n_texts + text))
                    self._file.write(layers[layer].tobytes())
            self._file.flush()

    def __getitem__(self, key: tuple[slice, int]) -> Float32Array:
        """Return ``spool[:, layer]``, shape (texts, width)."""
        n_texts, _, width = self.shape
        self._file.seek(4 * width * n_texts * key[1])
        values = np.frombuffer(self._file.read(4 * width * n_texts), dtype=np.float32)
        return values.reshape(n_texts, width)


@dataclass(frozen=True)
class Part:
    """The activations of some of the texts.

    Attributes
    ----------
    whole : Activations
    texts : ndarray of int
        Which ones.
    """

    whole: Activations
    texts: NDArray[np.integer]

    @property
    def shape(self) -> tuple[int, ...]:
        """(texts, layers + 1, width)."""
        return len(self.texts), *self.whole.shape[1:]

    def __getitem__(self, key: tuple[slice, int]) -> Float32Array:
        """Return ``part[:, layer]``, shape (texts, width)."""
        values: Float32Array = np.asarray(self.whole[key])[self.texts]
        return values


@dataclass(frozen=True)
class Joined:
    """The concatenated activations of several groups of texts.

    Attributes
    ----------
    parts : sequence of Activations
        With equal numbers of layers and equal widths.
    """

    parts: Sequence[Activations]

    @property
    def shape(self) -> tuple[int, ...]:
        """(texts, layers + 1, width)."""
        return sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:]

    def __getitem__(self, key: tuple[slice, int]) -> Float32Array:
        """Return ``joined[:, layer]``, shape (texts, width)."""
        return np.concatenate([part[key] for part in self.parts])
