"""One run at a time in a folder, and the proof that it can be written to.

On a disk the lock is the operating system's, which ends with its process. An object store has none.
There a mark shows that a run is at work, which other machines see; two runs in one place do work
twice and harm nothing, since units are written whole, and alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from upath import UPath

from study.read import InputError, refusing
from study.write import SCRATCH, Place


@contextmanager
def only_run(folder: Place) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if need be.

    Parameters
    ----------
    folder : Path or UPath

    Raises
    ------
    InputError
        If another run is at work in a folder on disk, or it cannot be written to.
    """
    if not isinstance(folder, Path):
        with _marked(folder):
            yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder}: another run is at work there; wait for it to end") from None
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written to ({error.strerror or error}); "
            "choose another folder with --out"
        ) from None
    try:
        for left in folder.rglob(f".*{SCRATCH}"):  # of a run that was killed
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@contextmanager
def _marked(folder: UPath) -> Iterator[None]:
    path = folder / ".lock"
    remedy = "look at the URL and at your rights, or choose another folder with --out"
    with refusing(folder, "cannot be written to", remedy):
        path.fs.pipe_file(path.path, b"")
    try:
        yield
    finally:
        with suppress(Exception):  # it is a mark, and in nobody's way
            path.fs.rm_file(path.path)
