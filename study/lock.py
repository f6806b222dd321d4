"""One run at a time in a folder, and the proof that it can be written to.

Locally the lock is the operating system's, which ends with its process. In an object store it is
an object that is created only where there is none. Its run renews it every minute; one that was
not renewed for five, or whose process on this machine is gone, belongs to a run that was killed,
and the next takes it over. Clocks must agree to within a minute or two. Should two runs meet all
the same, they do work twice and harm nothing: units are put whole, and alike.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout
from upath import UPath

from study.read import InputError
from study.write import SCRATCH, Place

#: Seconds between renewals, and after which a lock that was not renewed has lapsed.
RENEWED, LAPSED = 60, 300


@contextmanager
def only_run(folder: Place) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if need be.

    Parameters
    ----------
    folder : Path or UPath

    Raises
    ------
    InputError
        If another run is at work there, or it cannot be written to.
    """
    if not isinstance(folder, Path):
        with _held(folder):
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
def _held(folder: UPath) -> Iterator[None]:
    path = folder / ".lock"
    owner = {"host": socket.gethostname(), "process": os.getpid(), "run": uuid4().hex}
    content = json.dumps(owner).encode()
    _take(path, content)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEWED):
            with suppress(Exception):  # the next may go through; no unit is lost without
                path.fs.pipe_file(path.path, content)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(Exception):  # it lapses
            path.fs.rm_file(path.path)


def _take(path: UPath, content: bytes) -> None:
    """Create the lock, or take over one whose run is gone."""
    try:
        try:
            path.fs.pipe_file(path.path, content, mode="create")
        except FileExistsError:
            owner = json.loads(path.fs.cat_file(path.path))
            age = (datetime.now(UTC) - path.fs.modified(path.path)).total_seconds()
            if age < LAPSED and not _is_gone(owner):
                raise InputError(
                    f"{path.parent}: another run is at work there (process {owner['process']} on "
                    f"{owner['host']}); wait for it to end. If it was killed, its lock lapses in "
                    f"{LAPSED - age:.0f} seconds"
                ) from None
            path.fs.pipe_file(path.path, content)
    except InputError:
        raise
    except Exception as error:  # each store has its own kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path.parent}: cannot be written to ({reason}); look at the URL and at your rights "
            "to write there, or choose another folder with --out"
        ) from error


def _is_gone(owner: dict[str, object]) -> bool:
    """Say whether the owner was a process of this machine that has ended."""
    if owner["host"] != socket.gethostname():
        return False
    try:
        os.kill(int(str(owner["process"])), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
