"""How a script ends when it is ended from outside: in one clear line, with the usual exit code.

Ctrl-C and SIGTERM become an exception that runs through every `finally`, so that locks, scratch
files and kernels are cleared away; a disk that is full, or a folder that cannot be written to,
becomes a line as other bad input does. Only Python's own modules are imported here, so that a
script can listen before the seconds that its libraries take to load.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType, TracebackType

#: What a disk or folder does, and not a fault of the code.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Stopped(KeyboardInterrupt):
    """A signal asked the script to end; not an Exception, so that no handler of errors keeps it."""

    def __init__(self, number: int) -> None:
        self.number = number


def listen(name: str, kept: str) -> None:
    """Let signals and failing disks end this script in one line; no bars of libraries in a file.

    Parameters
    ----------
    name : str
        The script, which the line begins with.
    kept : str
        What the user has and can do now.
    """
    if not sys.stderr.isatty():  # tqdm and huggingface_hub look when they are imported
        for switch in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(switch, "1")

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    def last(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            number = error.number if isinstance(error, Stopped) else int(signal.SIGINT)
            _end(f"{name}: {WORDS[signal.Signals(number)]}; {kept}", 128 + number)
        if isinstance(error, BrokenPipeError):  # `| head` has seen enough
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
