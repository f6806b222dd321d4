"""Write files atomically: tables and texts, on disk or at a URL.

A place is a local path, or a URL of a store that writes whole objects (`study.read.STORES`): a file
appears there only when its last byte has arrived.
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

#: Suffix of files that are being written.
SCRATCH = ".unfinished"

#: Message and remedy for one of our files that cannot be read.
DAMAGED = ("damaged", "delete it and run again")

#: Rows per group in a Parquet file: the least that must be read to find one model's rows.
ROWS = 16_384


def write_atomically(path: Place, write: Callable[[Path], object]) -> None:
    """Write a file that is never visible half-written.

    A local file is written under a temporary name, then renamed. A file at a URL is written to a
    temporary folder, then uploaded as a whole.

    Parameters
    ----------
    path : Path or UPath
    write : callable
        Called with the local path to write to.

    Raises
    ------
    InputError
        If the disk is full or the folder is not writable.
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
    """Turn errors of a disk or store during writing into one line."""
    where = "free some space" if isinstance(path, Path) else "check the URL and your permissions"
    remedy = f"{where} or choose another place. What is finished is kept"
    kinds = (OSError,) if isinstance(path, Path) else (OSError, ValueError)
    return refusing(path, "cannot be written", remedy, kinds)


def _put(path: UPath, write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as scratch, writing(path):
        write(Path(scratch, path.name))
        path.fs.put_file(str(Path(scratch, path.name)), path.path)


def files_in(folder: Place) -> dict[str, Place]:
    """Return the current contents of a folder by name; empty if it does not exist.

    Raises
    ------
    InputError
        If its store does not answer.
    """
    with refusing(folder, *SILENT):
        if isinstance(folder, Path):
            return {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
        folder.fs.invalidate_cache()  # others may have changed what the store has cached
        found: dict[str, Place] = {}
        if folder.exists():
            found = {path.name: path for path in folder.iterdir()}
        folder.fs.invalidate_cache()
        return found


def remove(path: Place) -> None:
    """Delete a file if it exists.

    Raises
    ------
    InputError
        If its folder is not writable.
    """
    with refusing(path, "cannot be replaced", "choose another place"):
        path.unlink(missing_ok=True)


def write_text(path: Place, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_table(path: Place, table: pd.DataFrame) -> None:
    """Write a Parquet file atomically, in row groups that can be read separately."""
    write_tables_as_one(path, [table])


def write_tables_as_one(path: Place, tables: Iterable[pd.DataFrame]) -> None:
    """Write several tables to one Parquet file, atomically.

    Parameters
    ----------
    path : Path or UPath
    tables : iterable of DataFrame
        At least one; all have the same columns. No row group spans two tables.
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
    """Return a hash of settings: 12 hexadecimal digits."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def slug(*names: object) -> str:
    """Return a file name for a unit; names that differ only in odd characters stay distinct.

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
