"""Downloads that a killed process left: finished from where they are, or cleared away.

The library writes each download to a file of its own (`blobs/HASH.RANDOM.incomplete`), which it
never looks at again.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

#: Seconds without a new byte after which nothing writes to a file: the library waits ten.
SETTLED = 15.0
#: Seconds after which a part that no download asks for is cleared away.
KEPT = 3600.0


def clear(cache: Path) -> None:
    """Remove the parts of downloads in a repository's cache that nothing has written to for long.

    Parameters
    ----------
    cache : Path
        The repository's folder in the library's cache.
    """
    for path in _left(cache, "", KEPT):
        with suppress(OSError):  # another process was faster, or the cache is read only
            path.unlink()


def finish(cache: Path, url: str, sha256: str, size: int) -> None:
    """Finish the download of a file of which a part is here; without a part, do nothing.

    What the hash does not confirm is removed, and the library fetches the file from its beginning.

    Parameters
    ----------
    cache : Path
        The repository's folder in the library's cache.
    url : str
        Where the file is.
    sha256 : str
        Its hash, by which the cache names it.
    size : int
        Its length, in bytes.
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
    """Return the parts of downloads that nothing has written to for so long."""
    found = []
    for path in (cache / "blobs").glob(f"{sha256}*.incomplete"):
        with suppress(OSError):  # it is whole by now
            if time.time() - path.stat().st_mtime > seconds:
                found.append(path)
    return found


def _has_holes(descriptor: int, size: int) -> bool:
    """Whether a file was written in several places at once, as some transfers do."""
    hole = getattr(os, "SEEK_HOLE", None)
    if hole is None or not size:
        return False
    return os.lseek(descriptor, 0, hole) < size
