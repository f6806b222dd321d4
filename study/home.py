"""Where files lie: in a checkout, or in the working folder with what the wheel brings.

A name that begins with `data/` means one's own file where there is one, and else the one that
ships. Only Python's own modules are imported here.
"""

from __future__ import annotations

import os.path
import shlex
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Whether this code lies in a checkout, and not among the packages of an environment.
IS_CHECKOUT = (ROOT / "data" / "studies").is_dir()
#: Where one's own files are looked for and results go: the checkout, or else the working folder.
HOME = ROOT if IS_CHECKOUT else Path(os.path.abspath(os.curdir))


def find(name: str | Path) -> Path:
    """Return one's own file or folder, or else the one of this name that ships.

    Parameters
    ----------
    name : str or Path
        Relative to the working folder or to `HOME`, for instance ``data/corpus``.

    Returns
    -------
    Path
        The name itself, if there is neither.

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
    """Return the names of the studies that there are, one's own and those that ship."""
    folders = HOME / "data" / "studies", Path(str(files("study") / "data" / "studies"))
    return sorted({path.stem for folder in folders for path in folder.glob("*.toml")})


def command(script: str) -> str:
    """Return how a user starts a script: ``python extraction.py``, or the command of the wheel.

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
    """Return what an extra of the project adds, as words for ``pip install``.

    The packages and not ``emotion-depth[...]``, which pip would look for on its index.

    Examples
    --------
    >>> requirements("cluster")
    "'ray>=2.50' 's3fs>=2025.9'"
    """
    from importlib.metadata import requires  # it takes longer than all else here

    of_extra = [r.partition(";") for r in requires("emotion-depth") or ()]
    names = [name.strip() for name, _, marker in of_extra if f'"{extra}"' in marker]
    return shlex.join(names)
