"""How files and words from strangers are taken: bounded, and refused in one line.

Only Python's own modules are imported here; both sides stand on it.
"""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

#: A text file of a study, a corpus or a run holds less.
LARGEST = 64 * 2**20
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


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """Read a regular file that is not larger than expected.

    Raises
    ------
    OSError
        If it is neither, or cannot be read; the path may be too long, or hold a null byte. A pipe
        or a device is refused before it is opened, since that could wait for ever.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("not a regular file")
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except ValueError as error:
        raise OSError(str(error)) from None
    if len(content) > largest:
        raise OSError(f"larger than {largest / 2**20:g} MB")
    return content


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
