"""Turn errors of libraries into one line: what happened, and the remedy.

Hub, network, parser and tensor errors share no base class, so their chain of causes tells them
apart.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from study.read import InputError
from study.registry import ModelSpec

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def oneline(error: BaseException) -> str:
    """Return an error's message as one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then its causes."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def disk_error(error: BaseException) -> int | None:
    """Return the system's error number if a disk error is the cause, else None."""
    for one in causes(error):
        if isinstance(one, OSError) and one.errno in (*FULL, *CLOSED):
            return one.errno
    return None


@contextmanager
def loading_errors(spec: ModelSpec, folder: str) -> Iterator[None]:
    """Turn any error raised while loading from a folder into one line.

    Parameters
    ----------
    spec : ModelSpec
    folder : str

    Raises
    ------
    InputError
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # they share no base class
        text = oneline(error)
        if isinstance(error, MemoryError) or "can't allocate memory" in text:
            raise
        if "trust_remote_code" in text:
            text = "its architecture is code in its repository, which is not run"
            remedy = "choose a model whose architecture is a part of transformers"
        elif isinstance(error, ImportError):
            remedy = "install what it names"
        elif re.search(r"\b(GPU|CUDA|accelerator)\b", text):
            remedy = "load it on a machine with a GPU, or get another form of the weights"
        else:
            remedy = "the folder's files are incomplete or damaged; get them again"
        raise InputError(f"model {spec.name!r} ({folder}): {text}; {remedy}") from error
