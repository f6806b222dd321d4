"""Read untrusted files and names; reject bad ones with a one-line error.

Only Python's own modules are imported here, until a URL is asked for.
"""

from __future__ import annotations

import os.path
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: A text file of a study, a corpus or a run holds less.
LARGEST = 64 * 2**20
#: What is said of a store, and what to do.
SILENT = ("its store does not answer", "look at the URL, and at your rights there")
#: Longer messages lose their middle, so that what and where, and the remedy, remain.
LONGEST = 1000


class InputError(ValueError):
    """Bad input. The message is one line that names what, where and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    r"""Return a text as one printable line: no breaks, no control characters, not endless.

    Examples
    --------
    >>> one_line("a\nb\x1b[31m c")
    'a b [31m c'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 300]} ... {line[-295:]}"


def locate(name: Any) -> Any:
    """Return the folder or file that a path or a URL names.

    Parameters
    ----------
    name : str, Path or UPath
        For instance ``data/scores/demo``, or ``s3://bucket/scores/demo``: any store that fsspec
        knows.

    Returns
    -------
    Path or UPath

    Raises
    ------
    InputError
        For a URL of an unknown kind, or whose package is not installed.

    Examples
    --------
    >>> locate("memory://bucket/scores") / "run.json"
    MemoryPath('/bucket/scores/run.json', protocol='memory')
    """
    protocol, mark, rest = str(name).partition("://")
    if not mark or isinstance(name, Path):
        return Path(name)
    if protocol in ("file", "local"):
        return Path(rest)
    from upath import UPath

    try:
        found = UPath(name)
        assert found.fs is not None
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{name}: {error}; give a local folder, or a URL of another kind"
        ) from None
    return found


@contextmanager
def store_errors(path: Any) -> Iterator[None]:
    """Turn what the library of a URL's store raises into OSError; it has no common kind.

    Errors of local files pass as they are, and so do ValueErrors (InputErrors among them).
    """
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        if isinstance(path, Path):
            raise
        raise OSError(reason(error)) from error


@contextmanager
def refusing(
    path: Any, what: str, remedy: str, kinds: tuple[type[Exception], ...] = (OSError, ValueError)
) -> Iterator[None]:
    """Turn errors of a file or its store into one line: the path, what failed and why, a remedy.

    Raises
    ------
    InputError
    """
    try:
        with store_errors(path):
            yield
    except InputError:
        raise
    except kinds as error:
        raise InputError(f"{path}: {what} ({reason(error)}); {remedy}") from error


def reason(error: BaseException) -> str:
    """Return why something failed, in the shortest words of the error."""
    said = error.strerror if isinstance(error, OSError) else None
    return " ".join(str(said or error).split()) or type(error).__name__


def is_there(path: Any) -> bool:
    """Say whether a file or folder is there; a name that none can have is of none.

    Raises
    ------
    InputError
        If the path is a URL and its store does not answer.
    """
    if isinstance(path, Path):
        return os.path.exists(path)
    with refusing(path, *SILENT):
        return bool(path.exists())


def read_bytes(path: Any, largest: int = LARGEST) -> bytes:
    """Read a regular file that is not larger than expected.

    Raises
    ------
    OSError
        If it is neither, or cannot be read; the path may be too long, or hold a null byte. A pipe
        or a device is refused before it is opened, since that could wait for ever.
    """
    try:
        with store_errors(path):
            if not stat.S_ISREG(path.stat().st_mode):
                raise OSError("not a regular file")
            with path.open("rb") as file:
                content: bytes = file.read(largest + 1)
    except ValueError as error:
        raise OSError(str(error)) from None
    if len(content) > largest:
        raise OSError(f"larger than {largest / 2**20:g} MB")
    return content


def read_toml(path: Any, missing: str) -> tuple[bytes, dict[str, Any]]:
    """Read a TOML file.

    Parameters
    ----------
    path : Path or UPath
    missing : str
        What to say where there is none.

    Returns
    -------
    raw : bytes
        As it stands in the file, to be hashed.
    content : dict

    Raises
    ------
    InputError
        If it is missing, cannot be read, or is no TOML.
    """
    try:
        raw = read_bytes(path)
        return raw, parse_toml(raw)
    except FileNotFoundError:
        raise InputError(f"{path}: {missing}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as TOML ({error})") from None


def parse_toml(raw: bytes) -> dict[str, Any]:
    """Parse TOML.

    Raises
    ------
    ValueError
        For what is no UTF-8 or no TOML, holds a number of thousands of digits, or is nested too
        deeply to be parsed.
    """
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
