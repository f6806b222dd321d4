"""Finish the partial downloads of a killed process, or clear them away.

The library writes each download to a new file (`blobs/HASH.RANDOM.incomplete`) and never returns
to it.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

#: Seconds without a new byte after which a download counts as dead; the library waits ten.
SETTLED = 15.0
#: Seconds after which an unclaimed partial download is cleared away.
KEPT = 3600.0


def clear(cache: Path) -> None:
    """Remove old partial downloads from a repository's cache.

    Parameters
    ----------
    cache : Path
        The repository's folder in the library's cache.
    """
    for path in _left(cache, "", KEPT):
        with suppress(OSError):  # another process was faster, or the cache is read only
            path.unlink()


def finish(cache: Path, url: str, sha256: str, size: int) -> None:
    """Finish the partial download of a file; without one, do nothing.

    If the hash does not match, the file is removed and the library fetches it from the beginning.

    Parameters
    ----------
    cache : Path
        The repository's folder in the library's cache.
    url : str
        The file's address.
    sha256 : str
        Its hash, which is its name in the cache.
    size : int
        Its length in bytes.
    """
    from filelock import Timeout
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._fixes import WeakFileLock
    from huggingface_hub.utils._headers import build_hf_headers

    blob = cache / "blobs" / sha256
    if blob.exists() or not _left(cache, sha256, SETTLED):
        return
    lock = cache.parent / ".locks" / cache.name / f"{sha256}.lock"  # the library's own
    lock.parent.mkdir(parents=True, exist_ok=True)
    with suppress(Timeout), WeakFileLock(lock, timeout=1):
        parts = sorted(_left(cache, sha256, SETTLED), key=lambda path: path.stat().st_size)
        if blob.exists() or not parts:
            return
        part = blob.with_name(f"{sha256}.{os.getpid()}.incomplete")
        parts.pop().rename(part)
        for path in parts:
            path.unlink()
        with part.open("r+b") as file:
            here = file.seek(0, os.SEEK_END)
            whole = here <= size and not _has_holes(file.fileno(), here)
            if whole:
                http_get(
                    url, file, resume_size=here, headers=build_hf_headers(), expected_size=size
                )
                file.seek(0)
                whole = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        if whole:
            part.rename(blob)
        else:
            part.unlink()


def _left(cache: Path, sha256: str, seconds: float) -> list[Path]:
    """Return the partial downloads without a new byte for `seconds`."""
    found = []
    for path in (cache / "blobs").glob(f"{sha256}*.incomplete"):
        with suppress(OSError):  # it is whole by now
            if time.time() - path.stat().st_mtime > seconds:
                found.append(path)
    return found


def _has_holes(descriptor: int, size: int) -> bool:
    """Return whether a file has holes, as left by transfers that write in several places."""
    hole = getattr(os, "SEEK_HOLE", None)
    if hole is None or not size:
        return False
    return os.lseek(descriptor, 0, hole) < size
