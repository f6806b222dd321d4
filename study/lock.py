"""Allow one run at a time in a folder, and check that the folder is writable.

On a disk, the operating system holds the lock and releases it when the process ends. An object
store has no locks. There, a mark file tells other machines that a run is active. Two runs in one
place do the work twice but do no harm, because units are written whole and are identical.
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
    """Keep other runs out of a folder; create it if needed.

    Parameters
    ----------
    folder : Path or UPath

    Raises
    ------
    InputError
        If another run is active in a folder on disk, or the folder is not writable.
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
        for left in folder.rglob(f".*{SCRATCH}"):  # left by a run that was killed
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@contextmanager
def _marked(folder: UPath) -> Iterator[None]:
    path = folder / ".lock"
    remedy = "check the URL and your permissions, or choose another folder with --out"
    with refusing(folder, "cannot be written to", remedy):
        path.fs.pipe_file(path.path, b"")
    try:
        yield
    finally:
        with suppress(Exception):  # only a mark; it blocks nobody
            path.fs.rm_file(path.path)
