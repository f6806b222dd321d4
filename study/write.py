"""Write files whole or not at all: tables and texts, on this disk or at a URL.

A place is a local path, or a URL of any store that fsspec knows (s3, gs, abfs, memory ...) and
that puts whole objects: there what is written appears when its last byte has arrived.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from upath import UPath

from study.read import SILENT, refusing
from study.read import is_there as is_there
from study.read import locate as locate

#: A file or folder, local or at a URL.
Place = Path | UPath

#: What ends the names of files that are being written.
SCRATCH = ".unfinished"

#: What is said of a file of ours that cannot be read, and what to do.
DAMAGED = ("damaged", "delete it and run again")

#: Rows of a group in a Parquet file: what is read at least, to find one model's.
ROWS = 16_384


def write_atomically(path: Place, write: Callable[[Path], object]) -> None:
    """Write a file so that it is never seen half-written.

    A local one is written beside its place, then renamed; one at a URL is written to a temporary
    folder, then put as a whole.

    Parameters
    ----------
    path : Path or UPath
    write : callable
        Called with the local path to write to.

    Raises
    ------
    InputError
        If the disk is full, or the folder cannot be written to.
    """
    if not isinstance(path, Path):
        _put(path, write)
        return
    scratch = ""
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(SCRATCH, f".{path.name}.", path.parent)
            os.close(handle)
            write(Path(scratch))
            with open(scratch, "rb") as file:
                os.fsync(file.fileno())
            os.chmod(scratch, 0o644)
            os.replace(scratch, path)
    finally:
        if scratch and os.path.exists(scratch):
            os.unlink(scratch)


def writing(path: Place) -> AbstractContextManager[None]:
    """Turn what a disk or a store says while a file is written into one line."""
    where = "free some space" if isinstance(path, Path) else "look at the URL and at your rights"
    remedy = f"{where} or choose another folder with --out. What is finished is kept"
    kinds = (OSError,) if isinstance(path, Path) else (OSError, ValueError)
    return refusing(path, "cannot be written", remedy, kinds)


def _put(path: UPath, write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as scratch, writing(path):
        write(Path(scratch, path.name))
        path.fs.put_file(str(Path(scratch, path.name)), path.path)


def files_in(folder: Place) -> dict[str, Place]:
    """Return what a folder holds now, by name; nothing if it is not there.

    Raises
    ------
    InputError
        If its store does not answer.
    """
    with refusing(folder, *SILENT):
        if isinstance(folder, Path):
            return {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
        folder.fs.invalidate_cache()  # what a store remembers, others may have changed
        found: dict[str, Place] = {}
        if folder.exists():
            found = {path.name: path for path in folder.iterdir()}
        folder.fs.invalidate_cache()
        return found


def remove(path: Place) -> None:
    """Delete a file, if it is there.

    Raises
    ------
    InputError
        If its folder cannot be written to.
    """
    with refusing(path, "cannot be replaced", "choose another folder with --out"):
        path.unlink(missing_ok=True)


def write_text(path: Place, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_table(path: Place, table: pd.DataFrame) -> None:
    """Write a Parquet file atomically, in groups of rows that can be read alone."""
    write_tables_as_one(path, [table])


def write_tables_as_one(path: Place, tables: Iterable[pd.DataFrame]) -> None:
    """Write tables one after the other to one Parquet file, atomically.

    Parameters
    ----------
    path : Path or UPath
    tables : iterable of DataFrame
        At least one, with the same columns. No group of rows spans two of them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(place: Path) -> None:
        parts = (pa.Table.from_pandas(table, preserve_index=False) for table in tables)
        first = next(parts)
        with pq.ParquetWriter(place, first.schema, compression="zstd") as writer:
            for part in chain([first], parts):
                writer.write_table(part.cast(first.schema), row_group_size=ROWS)

    write_atomically(path, write)


def read_table(path: Place) -> pd.DataFrame:
    """Read a Parquet file.

    Raises
    ------
    InputError
        If the file is damaged, or its store does not answer.
    """
    with refusing(path, *DAMAGED), path.open("rb") as file:
        return pd.read_parquet(file)  # pyarrow's errors are OSErrors or ValueErrors


def read_text(path: Place) -> str:
    """Read a text file.

    Raises
    ------
    InputError
        If it cannot be read, or its store does not answer.
    """
    with refusing(path, "cannot be read", "delete it and run again"):
        return path.read_text(encoding="utf-8")


def read_json(path: Place) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        If the file is damaged, or its store does not answer.
    """
    with refusing(path, *DAMAGED):
        return json.loads(read_text(path))


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
