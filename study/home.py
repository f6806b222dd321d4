"""Locate files: in the working folder, in a checkout, or in the installed package.

A name means the user's own file if it exists. Otherwise, a name that begins with `data/` means the
file that ships with the project. This module imports only the standard library.
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
        For instance ``data/corpus``: in the working folder, else in `HOME`, else as it ships.

    Returns
    -------
    Path
        The name itself, if none of them exists.

    Examples
    --------
    >>> find("data/corpus/emotions.toml").is_file()
    True
    """
    return next((place for place in _places(name) if os.path.exists(place)), Path(name))


def tried(name: str | Path) -> str:
    """Return where `find` looks for a name, for a message that it is not there.

    Examples
    --------
    >>> tried("/there/corpus")
    '/there/corpus'
    """
    return " or ".join(dict.fromkeys(os.path.abspath(place) for place in _places(name)))


def _places(name: str | Path) -> list[Path]:
    own = Path(name)
    inner = own.relative_to(HOME) if own.is_relative_to(HOME) else own
    places = [own, HOME / own]
    if inner.parts[:1] == ("data",) and not IS_CHECKOUT:  # what ships is in the checkout's own data
        places.append(Path(str(files("study") / "data"), *inner.parts[1:]))
    return places


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
