"""Locate files: in a checkout, or in the working folder and the installed package.

A name that begins with `data/` means the user's own file if it exists, and otherwise the file that
ships with the project. This module imports only the standard library.
"""

from __future__ import annotations

import os.path
import shlex
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Whether this code is in a checkout rather than an installed package.
IS_CHECKOUT = (ROOT / "data" / "studies").is_dir()
#: Folder of the user's files and results: the checkout, or the working folder of an installation.
HOME = ROOT if IS_CHECKOUT else Path(os.path.abspath(os.curdir))


def find(name: str | Path) -> Path:
    """Return the user's file or folder of this name, or the one that ships with the project.

    Parameters
    ----------
    name : str or Path
        Relative to the working folder or to `HOME`, for instance ``data/corpus``.

    Returns
    -------
    Path
        The name itself, if neither exists.

    Examples
    --------
    >>> find("data/corpus/emotions.toml").is_file()
    True
    """
    own = Path(name)
    if os.path.exists(own):
        return own
    first, *rest = (own.relative_to(HOME) if own.is_relative_to(HOME) else own).parts or ("",)
    ships = Path(str(files("study") / "data"), *rest)
    return ships if first == "data" and os.path.exists(ships) else own


def studies() -> list[str]:
    """Return the names of all studies: the user's and those that ship with the project."""
    folders = HOME / "data" / "studies", Path(str(files("study") / "data" / "studies"))
    return sorted({path.stem for folder in folders for path in folder.glob("*.toml")})


def command(script: str) -> str:
    """Return the command that starts a script: ``python extraction.py``, or that of the wheel.

    Examples
    --------
    >>> command("extraction.py")
    'python extraction.py'
    """
    if IS_CHECKOUT:
        return f"python {script}"
    words = {"extraction.py": "emotion-depth extract", "steering.py": "emotion-depth steer"}
    return words.get(script, script)


def requirements(extra: str) -> str:
    """Return the packages of one of the project's extras, as arguments for ``pip install``.

    Names the packages instead of ``emotion-depth[...]``, which pip would look up on its index.

    Examples
    --------
    >>> requirements("cluster")
    "'ray>=2.50' 's3fs>=2025.9'"
    """
    from importlib.metadata import requires  # it takes longer than all else here

    of_extra = [r.partition(";") for r in requires("emotion-depth") or ()]
    names = [name.strip() for name, _, marker in of_extra if f'"{extra}"' in marker]
    return shlex.join(names)
