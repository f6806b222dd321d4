"""End an interrupted script with one clear line and the usual exit code.

Ctrl-C and SIGTERM become an exception that runs every `finally`; this removes locks, temporary
files and kernels. A full disk or a read-only folder becomes one line, like other bad input. This
module imports only the standard library, which lets a script call it before its libraries load.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import sys
import unicodedata
from types import FrameType, TracebackType

#: Errors of a disk or folder, as opposed to faults of the code.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}

#: What stands for characters that have no plain form of their own.
PLAIN = {"\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00d7": "x", "\u00b7": "-"}


class Stopped(KeyboardInterrupt):
    """A signal asked the script to end. Not an Exception, so error handlers do not catch it."""

    def __init__(self, number: int) -> None:
        self.number = number


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Return plain characters for those that cannot be encoded: a minus must not become a "?"."""
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start : error.end]
    forms = (PLAIN.get(one) or unicodedata.normalize("NFKD", one) for one in lost)
    return "".join(form.encode("ascii", "ignore").decode() or "?" for form in forms), error.end


def listen(name: str, kept: str) -> None:
    """Make signals and failing disks end this script with one line; hide progress bars in files.

    Characters that standard output cannot encode (Windows code pages, the locale C) become plain
    ones, or "?".

    Parameters
    ----------
    name : str
        Name of the script, which begins the line.
    kept : str
        What is kept, and what the user can do next.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # standard error has escapes anyway
        codecs.register_error("plain", _plain)
        sys.stdout.reconfigure(errors="plain")
    if not sys.stderr.isatty():  # tqdm and huggingface_hub read this on import
        for switch in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(switch, "1")

    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise Stopped(number)

    def last(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        # A library whose import is cut off may turn the exception into one of its own.
        if received or isinstance(error, KeyboardInterrupt):
            number = received[0] if received else int(signal.SIGINT)
            _end(f"{name}: {WORDS[signal.Signals(number)]}; {kept}", 128 + number)
        if isinstance(error, BrokenPipeError):  # `| head` closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            _end("", 128 + signal.SIGPIPE)
        if isinstance(error, OSError) and error.errno in DISK:
            where = f"{error.filename}: " if error.filename else ""
            _end(f"{name}: {where}{error.strerror}; {kept}", 2)
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = last
    for number in WORDS:
        signal.signal(number, stop)


def _end(line: str, code: int) -> None:
    if line:
        print(line, file=sys.stderr, flush=True)
    raise SystemExit(code)
