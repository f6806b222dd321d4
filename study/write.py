"""Files that are whole or absent: atomic writes of tables and texts, here or at a URL.

A place is a local path, or a URL of any store that fsspec knows (s3, gs, abfs, memory ...) and
that puts whole objects: there what is written appears when its last byte has arrived.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from upath import UPath

from study.read import InputError
from study.read import is_there as is_there
from study.read import locate as locate

#: A file or folder, local or at a URL.
Place = Path | UPath

#: What ends the names of files that are being written.
SCRATCH = ".unfinished"

#: Rows of a group in a Parquet file: what is read at least, to find one model's.
ROWS = 16_384


@contextmanager
def answering(path: Place) -> Iterator[None]:
    """Turn what a store's own library raises, of which there is no common kind, into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(path, Path):
            raise
        raise InputError(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


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


@contextmanager
def writing(path: Place) -> Iterator[None]:
    """Turn what the disk says while a file is written into one line."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose "
            "another folder with --out. What is finished is kept"
        ) from error


def _put(path: UPath, write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            write(Path(scratch, path.name))
            path.fs.put_file(str(Path(scratch, path.name)), path.path)
        except Exception as error:  # each store has its own kinds
            raise InputError(
                f"{path}: cannot be written ({_reason(error)}); look at the URL and at your rights "
                "to write there, or choose another folder with --out. What is finished is kept"
            ) from error


def files_in(folder: Place) -> dict[str, Place]:
    """Return what a folder holds now, by name; nothing if it is not there.

    Raises
    ------
    InputError
        If its store does not answer.
    """
    with answering(folder):
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
    try:
        with answering(path):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written anew ({error.strerror or error}); choose another folder "
            "with --out"
        ) from error


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
    try:
        with answering(path), path.open("rb") as file:
            return pd.read_parquet(file)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's errors are one or the other
        raise InputError(f"{path}: damaged ({_reason(error)}); delete it and run again") from None


def read_text(path: Place) -> str:
    """Read a text file.

    Raises
    ------
    InputError
        If its store does not answer.
    """
    with answering(path):
        return path.read_text(encoding="utf-8")


def read_json(path: Place) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        If the file is damaged, or its store does not answer.
    """
    try:
        return json.loads(read_text(path))
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({_reason(error)}); delete it and run again") from None


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
