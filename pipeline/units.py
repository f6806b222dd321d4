"""Store finished units: pooled activations written text by text and read layer by layer.

A unit is one model x weights x precision x method. Its pooled activations and its facts are in one
safetensors file, whose name contains a hash of the settings that made it: a unit that exists is
finished, and a changed setting makes a new one.

Layers are consecutive in that file and are read and written one at a time, so memory holds a batch
of texts or one layer of them, never everything.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from upath import UPath

from representations.facts import UnitFacts
from representations.pooled import PooledUnit
from study.arrays import Float32Array
from study.read import SILENT, InputError, refusing
from study.write import Place, write_atomically

#: Longest header that safetensors allows.
HEADER = 100_000_000


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

    def __getitem__(self, key: tuple[slice, int]) -> Float32Array:
        """Return ``stored[:, layer]``, shape (texts, width)."""
        from safetensors import safe_open

        # Open the file for each layer: everything read from an open file counts as memory.
        with _undamaged(self._path), safe_open(self._path, framework="np") as file:
            return np.asarray(file.get_slice(self._tensor)[key[1]])


def save_unit(path: Place, unit: PooledUnit) -> None:
    """Write a unit atomically.

    Parameters
    ----------
    path : Path or UPath
    unit : PooledUnit

    Raises
    ------
    InputError
        If the disk is full or the folder is not writable.

    Notes
    -----
    The format is safetensors: the length of the header, the header in JSON, and the tensors. Its
    own `save_file` accepts only whole tensors.
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
def open_unit(path: Place) -> Iterator[PooledUnit]:
    """Open a unit; its layers are read on demand.

    Parameters
    ----------
    path : Path or UPath
        A unit at a URL is fetched once and kept on disk until the context ends.

    Yields
    ------
    PooledUnit

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
        with refusing(path, *SILENT):
            path.fs.get_file(path.path, str(here))
        yield _opened(here, path)


def _opened(here: Path, path: Place) -> PooledUnit:
    with _undamaged(path):
        return PooledUnit(Stored(here, "activations"), Stored(here, "neutral"), _facts(here))


def load_facts(path: Place) -> UnitFacts:
    """Read the facts of a unit without its activations.

    Raises
    ------
    InputError
        If the file is damaged, or its store does not answer.
    """
    with _undamaged(path):
        if isinstance(path, Path):
            return _facts(path)
        return _parsed(json.loads(_header(path))["__metadata__"])


def _facts(path: Path) -> UnitFacts:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return _parsed(file.metadata())


def _parsed(metadata: Mapping[str, str]) -> UnitFacts:
    facts: UnitFacts = json.loads(metadata["facts"])
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
    """Fetch only the header of a safetensors file at a URL; the library reads only local files."""
    with refusing(path, *SILENT):
        length = int.from_bytes(path.fs.cat_file(path.path, start=0, end=8), "little")
        if length > HEADER:
            raise InputError(f"{path}: damaged (too long a header); delete it and run again")
        header: bytes = path.fs.cat_file(path.path, start=8, end=8 + length)
    return header
