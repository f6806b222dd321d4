"""Run what comes with a model and computes, a chat template or a tokenizer, within bounds.

It runs in a process of its own, which the system ends when it takes too much time or memory: code
that is compiled, as a tokenizer's, cannot be interrupted from Python.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from representations.models.errors import oneline

#: Processor time for a few lines; real templates and tokenizers take milliseconds.
SECONDS = 8.0
#: Memory beyond what the process has.
MEMORY = 2**30

_TOO_LONG = "takes too long"
_TOO_LARGE = "takes too much memory"


class OutOfBounds(Exception):
    """Why a process was ended or failed, as the rest of a sentence."""


def bounded(work: Callable[..., Iterator[Any]], *arguments: Any, seconds: float) -> list[Any]:
    """Run a function in a process of its own, and return the list of what it yields.

    Parameters
    ----------
    work : callable
        Defined in a module. It raises `OutOfBounds` for bounds of its own.
    *arguments
    seconds : float
        Processor time, or on systems that do not bound it the time that passes.

    Returns
    -------
    list

    Raises
    ------
    OutOfBounds
        If it fails, or takes more than `seconds` or `MEMORY`.
    """
    context = multiprocessing.get_context()
    ours, theirs = context.Pipe(duplex=False)
    worker = context.Process(target=_run, args=(theirs, seconds, work, arguments), daemon=True)
    worker.start()
    theirs.close()
    # Where processor time is bounded, this is for a process that waits and computes nothing.
    passing = 60 + 10 * seconds if hasattr(signal, "setitimer") else seconds
    end = time.monotonic() + passing
    parts: list[Any] = []
    said: str | None = None
    try:
        while said is None:
            if not ours.poll(max(end - time.monotonic(), 0)):
                said = _TOO_LONG
                break
            said, part = ours.recv()
            parts.append(part)
    except EOFError:
        worker.join()
        by_time = hasattr(signal, "SIGPROF") and worker.exitcode == -signal.SIGPROF
        said = _TOO_LONG if by_time else _TOO_LARGE
    finally:
        worker.kill()
        worker.join()
        ours.close()
    if said:
        raise OutOfBounds(said)
    return parts[:-1]


def _run(
    pipe: Connection, seconds: float, work: Callable[..., Iterator[Any]], arguments: tuple[Any, ...]
) -> None:
    # What compiled code says when it ends is many lines; the parent says it in one.
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    # One thread: threads reserve memory that they do not take, and a fork has lost its parent's.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _limit(seconds)
    try:
        for part in work(*arguments):
            pipe.send((None, part))
    except MemoryError:
        pipe.send((_TOO_LARGE, None))
    except OutOfBounds as reason:
        pipe.send((str(reason), None))
    except BaseException as error:  # what a template raises, and what a tokenizer's panic becomes
        pipe.send((f"fails ({oneline(error)})", None))
    else:
        pipe.send(("", None))


def _limit(seconds: float) -> None:
    """Bound what this process may take, where the system can."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        import resource

        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    except (ImportError, OSError, ValueError):  # not on this system; the time is still bounded
        pass
