"""Files that are whole or absent: atomic writes, and the store of finished units.

A unit is one model x weights x precision x method. Its pooled activations, with what is known
about how they came about, are one safetensors file, whose name carries a hash of the settings
that made it: a unit that is there is finished, and a changed setting makes a new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from representations.errors import InputError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Unit:
    """The pooled activations of one unit.

    Attributes
    ----------
    activations : ndarray, shape (texts, layers + 1, width), float32
    neutral : ndarray, shape (neutral texts, layers + 1, width), float32
    facts : mapping
        Labels of the texts (emotions, topics, neutral_topics), the model's facts, tokens,
        seconds, and the stories of a unit that wrote some.
    """

    activations: Array
    neutral: Array
    facts: Mapping[str, Any]


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, then rename it, so that it is never seen half-written.

    Parameters
    ----------
    path : Path
    write : callable
        Called with the path to write to.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written to.
    """
    scratch = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        write(Path(scratch))
        with open(scratch, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose "
            "another folder with --out. What is finished is kept"
        ) from error
    finally:
        if scratch and os.path.exists(scratch):
            os.unlink(scratch)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a Parquet file atomically."""
    write_atomically(path, lambda p: table.to_parquet(p, index=False, compression="zstd"))


def fingerprint(settings: Any) -> str:
    """Return 12 hexadecimal digits that change with any of the settings."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def slug(*names: object) -> str:
    """Return a file name for a unit; names that differ in odd characters only stay apart.

    Examples
    --------
    >>> slug("gpt2", "trained", 0)
    'gpt2.trained.0'
    >>> slug("a/b") == slug("a:b")
    False
    """
    plain = ".".join(map(str, names))
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", plain)[:120].lstrip(".")
    return safe if safe == plain else f"{safe}-{fingerprint(plain)}"


def save_unit(path: Path, unit: Unit) -> None:
    """Write a unit atomically.

    Parameters
    ----------
    path : Path
    unit : Unit
    """
    from safetensors.numpy import save_file

    arrays = {"activations": unit.activations, "neutral": unit.neutral}
    metadata = {"facts": json.dumps(unit.facts)}
    write_atomically(path, lambda p: save_file(arrays, p, metadata=metadata))


def load_unit(path: Path) -> Unit:
    """Read a unit.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Unit

    Raises
    ------
    InputError
        If the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            facts = json.loads(file.metadata()["facts"])
            return Unit(file.get_tensor("activations"), file.get_tensor("neutral"), facts)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); delete it and run again") from None


def load_facts(path: Path) -> dict[str, Any]:
    """Read what is known about a unit, without its activations."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            facts = json.loads(file.metadata()["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); delete it and run again") from None
    assert isinstance(facts, dict)
    return facts
