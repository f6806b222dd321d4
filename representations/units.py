"""The store of finished units: pooled activations that come by texts and go by layers.

A unit is one model x weights x precision x method. Its pooled activations, with what is known
about how they came about, are one safetensors file, whose name carries a hash of the settings
that made it: a unit that is there is finished, and a changed setting makes a new one.

Layers stand one after the other in that file, and are read and written one at a time, so that
memory holds a batch of texts or a layer of them, and never all.
"""

from __future__ import annotations

import json
import math
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from upath import UPath

from representations.errors import InputError
from representations.store import SCRATCH, Place, answering, write_atomically, writing

Array = NDArray[np.float32]

#: The longest header that safetensors allows.
HEADER = 100_000_000


class Activations(Protocol):
    """Pooled activations of texts: an array, or what can be indexed like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(texts, layers + 1, width)."""

    def __getitem__(self, key: tuple[slice, int]) -> Any:
        """Return ``activations[:, layer]``, shape (texts, width)."""


@dataclass(frozen=True)
class Unit:
    """The pooled activations of one unit.

    Attributes
    ----------
    activations : Activations, shape (texts, layers + 1, width), float32
    neutral : Activations, shape (neutral texts, layers + 1, width), float32
    facts : mapping
        Labels of the texts (emotions, topics, neutral_topics), the model's facts, tokens,
        seconds, and the stories of a unit that wrote some.
    """

    activations: Activations
    neutral: Activations
    facts: Mapping[str, Any]


class Spool:
    """Activations in a file without a name, that is gone when nothing refers to it any more.

    Parameters
    ----------
    shape : tuple of int
        (texts, layers + 1, width).
    near : Path or UPath
        In whose folder the file is; for a URL, in the system's folder for temporary files.

    Raises
    ------
    InputError
        If the disk is full, or the folder cannot be written to.

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
        """Keep the activations of some texts, shape (texts, layers + 1, width)."""
        n_texts, n_layers, width = self.shape
        values = np.asarray(values, dtype=np.float32)
        with writing(self._near):
            for text, layers in zip(texts, values, strict=True):
                for layer in range(n_layers):
                    self._file.seek(4 * width * (layer * n_texts + text))
                    self._file.write(layers[layer].tobytes())
            self._file.flush()

    def __getitem__(self, key: tuple[slice, int]) -> Array:
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

    def __getitem__(self, key: tuple[slice, int]) -> Array:
        """Return ``part[:, layer]``, shape (texts, width)."""
        values: Array = np.asarray(self.whole[key])[self.texts]
        return values


@dataclass(frozen=True)
class Joined:
    """The activations of several runs of texts, one after the other.

    Attributes
    ----------
    parts : sequence of Activations
        Of as many layers and the same width.
    """

    parts: Sequence[Activations]

    @property
    def shape(self) -> tuple[int, ...]:
        """(texts, layers + 1, width)."""
        return sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:]

    def __getitem__(self, key: tuple[slice, int]) -> Array:
        """Return ``joined[:, layer]``, shape (texts, width)."""
        return np.concatenate([part[key] for part in self.parts])


class Stored:
    """Activations in a unit's file.

    Parameters
    ----------
    path : Path
    name : str
        The tensor, shape (layers + 1, texts, width).
    """

    def __init__(self, path: Path, name: str) -> None:
        from safetensors import safe_open

        self._path, self._tensor = path, name
        with safe_open(path, framework="np") as file:
            tensor = file.get_slice(name)
            layers, texts, width = tensor.get_shape()
            if tensor.get_dtype() != "F32":
                raise ValueError(f"{name} is in {tensor.get_dtype()}")
        self.shape = (texts, layers, width)

    def __getitem__(self, key: tuple[slice, int]) -> Array:
        """Return ``stored[:, layer]``, shape (texts, width)."""
        from safetensors import safe_open

        # Opened anew, since all that was ever looked at of an open file counts as memory.
        with _undamaged(self._path), safe_open(self._path, framework="np") as file:
            return np.asarray(file.get_slice(self._tensor)[key[1]])


def save_unit(path: Place, unit: Unit) -> None:
    """Write a unit atomically.

    Parameters
    ----------
    path : Path or UPath
    unit : Unit

    Raises
    ------
    InputError
        If the disk is full, or the folder cannot be written to.

    Notes
    -----
    The format is that of safetensors, whose own `save_file` takes whole tensors only: the length
    of a header, the header in JSON, and the tensors.
    """
    header: dict[str, Any] = {"__metadata__": {"facts": json.dumps(unit.facts)}}
    tensors = {"activations": unit.activations, "neutral": unit.neutral}
    end = 0
    for name, tensor in tensors.items():
        texts, layers, width = tensor.shape
        start, end = end, end + 4 * texts * layers * width
        shape = [layers, texts, width]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)

    def write(place: Path) -> None:
        with place.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for tensor in tensors.values():
                for layer in range(tensor.shape[1]):
                    file.write(np.asarray(tensor[:, layer], dtype="<f4").tobytes())

    write_atomically(path, write)


@contextmanager
def open_unit(path: Place) -> Iterator[Unit]:
    """Open a unit, whose layers are then read as they are asked for.

    Parameters
    ----------
    path : Path or UPath
        What is at a URL is fetched once, and kept on disk until the context ends.

    Yields
    ------
    Unit

    Raises
    ------
    InputError
        If the file is damaged, or its store does not answer.
    """
    if isinstance(path, Path):
        yield _opened(path, path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch, "unit")
        with answering(path):
            path.fs.get_file(path.path, str(here))
        yield _opened(here, path)


def _opened(here: Path, path: Place) -> Unit:
    with _undamaged(path):
        return Unit(Stored(here, "activations"), Stored(here, "neutral"), _facts(here))


def load_facts(path: Place) -> dict[str, Any]:
    """Read what is known about a unit, without its activations.

    Raises
    ------
    InputError
        If the file is damaged, or its store does not answer.
    """
    with _undamaged(path):
        if isinstance(path, Path):
            return _facts(path)
        return _parsed(json.loads(_header(path))["__metadata__"])


def _facts(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return _parsed(file.metadata())


def _parsed(metadata: Mapping[str, str]) -> dict[str, Any]:
    facts = json.loads(metadata["facts"])
    if not isinstance(facts, dict):
        raise ValueError("its facts are no table")
    return facts


@contextmanager
def _undamaged(path: Place) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except InputError:
        raise
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); delete it and run again") from None


def _header(path: UPath) -> bytes:
    """Fetch the header of a safetensors file, and no more: the library reads local files only."""
    with answering(path):
        length = int.from_bytes(path.fs.cat_file(path.path, start=0, end=8), "little")
        if length > HEADER:
            raise InputError(f"{path}: damaged (too long a header); delete it and run again")
        header: bytes = path.fs.cat_file(path.path, start=8, end=8 + length)
    return header
