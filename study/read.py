"""Read untrusted files and names; reject bad ones with a one-line error.

This module imports only the standard library, until a URL is used.
"""

from __future__ import annotations

import os.path
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.text import visible

#: Upper limit for a text file of a study, a corpus or a run.
MAX_BYTES = 64 * 2**20
#: Message and remedy for a store that fails.
SILENT = ("its store does not answer", "check the URL and your permissions")
#: Stores in which a file appears as a whole or not at all, and whose packages fsspec names.
STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory")
#: Longer messages lose their middle; the beginning (what, where) and the end (remedy) remain.
LONGEST = 1000


class InputError(ValueError):
    """Bad input. The message is one line that says what is wrong, where, and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    r"""Return a text as one printable line of limited length, control characters as escapes.

    Examples
    --------
    >>> one_line("a\nb\x1b[31m c")
    'a b\\x1b[31m c'
    """
    line = " ".join(visible(" ".join(text.split())).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 300]} ... {line[-295:]}"


def locate(name: Any) -> Any:
    """Return the folder or file that a path or URL names.

    Parameters
    ----------
    name : str, Path or UPath
        For instance ``data/scores/demo``, or ``s3://bucket/scores/demo``: a store of whole
        objects, by one of the protocols of `STORES`.

    Returns
    -------
    Path or UPath

    Raises
    ------
    InputError
        For a URL of another kind, or if its package is not installed.

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
    if protocol not in STORES:
        raise InputError(
            f"{name}: {protocol}:// is not a store that is read and written here; give a local "
            f"folder, or a URL of {', '.join(STORES)}"
        )
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
    """Turn any error of a store's library into an OSError; these libraries share no error class.

    Errors of local files pass unchanged, as do ValueErrors (including InputErrors).
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
    """Turn errors of a file or its store into one line: the path, what failed, why, and a remedy.

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
    """Return the shortest description of an error."""
    said = error.strerror if isinstance(error, OSError) else None
    return " ".join(str(said or error).split()) or type(error).__name__


def is_there(path: Any) -> bool:
    """Say whether a file or folder exists; False for impossible names.

    Raises
    ------
    InputError
        If the path is a URL and its store does not answer.
    """
    if isinstance(path, Path):
        return os.path.exists(path)
    with refusing(path, *SILENT):
        return bool(path.exists())


def read_bytes(path: Any, largest: int = MAX_BYTES) -> bytes:
    """Read a regular file of limited size.

    Raises
    ------
    OSError
        If it is not a regular file, is too large, or cannot be read; also if the path is too long
        or has a null byte. A pipe or device is rejected before it is opened, which could block
        forever.
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
        Message if the file does not exist.

    Returns
    -------
    raw : bytes
        The bytes of the file, for hashing.
    content : dict

    Raises
    ------
    InputError
        If it is missing, cannot be read, or is not TOML.
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
        If the text is not UTF-8 or not TOML, has a number with thousands of digits, or is nested
        too deeply to parse.
    """
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
