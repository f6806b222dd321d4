"""Check that Quarto has what it needs to render the reports, and say in one line what is missing.

Quarto runs this script before every render (`pre-render` in _quarto.yml), with the Python that will
run the cells, and includes the file that the script writes in the explorer's header.
`python reports/ready.py QUARTO` checks the version of that Quarto and needs no library.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: The content security policy of the explorer, which allows its script by hash.
POLICY = "_policy.html"
#: The modules that Quarto itself imports, and the top-level modules that the cells import.
NEEDED = (
    "yaml",
    "nbformat",
    "nbclient",
    "ipykernel",
    "papermill",
    "plotnine",
    "altair",
    "analysis",
)


def missing() -> str | None:
    """Return a message if this Python lacks a module that the cells need."""
    names = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not names:
        return None
    return (
        f"{sys.executable} has no {', '.join(names)}: run `make report` once, and Quarto will find "
        ".venv by itself, or set QUARTO_PYTHON to a Python with `pip install '.[report]'`"
    )


def too_old(quarto: str) -> str | None:
    """Return a message if a Quarto is older than _quarto.yml requires."""
    settings = (HERE / "_quarto.yml").read_text(encoding="utf-8")
    needed = re.search(r'quarto-required: ">=([\d.]+)"', settings)
    assert needed is not None
    remedy = "install a later one, or run `make report QUARTO=none` to render without it"
    try:
        done = subprocess.run([quarto, "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{quarto} cannot be run ({error.strerror}): {remedy}"
    found = re.match(r"\d+(\.\d+)+", done.stdout)
    if done.returncode or not found:
        return f"{quarto} --version does not print a version: {remedy}"
    if numbers(found[0]) < numbers(needed[1]):
        return f"Quarto {found[0]} is too old, {needed[1]} or later is needed: {remedy}"
    return None


def numbers(version: str) -> list[int]:
    """Return the parts of a version as numbers, for comparison."""
    return [int(part) for part in version.split(".")]


def closed_home() -> str | None:
    """Return a message if kernels cannot start because their folder is not writable."""
    folder = Path(os.environ.get("JUPYTER_RUNTIME_DIR") or Path.home() / ".local/share/jupyter")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return (
            f"cannot write to {folder} ({error.strerror}): set HOME to a folder that you can write"
        )
    return None


def write_policy(folder: Path) -> str | None:
    """Write the explorer's policy for this Python's libraries; return a message if that fails."""
    from reports.explorer_page import policy

    try:
        (folder / POLICY).write_text(policy(), encoding="utf-8")
    except OSError as error:
        return f"cannot write {folder / POLICY} ({error.strerror}): make the folder writable"
    return None


def main(arguments: list[str]) -> int:
    """Run the checks; return 0, or 1 after a one-line error."""
    wrong = too_old(arguments[0]) if arguments else missing() or closed_home() or write_policy(HERE)
    if wrong:
        print(f"reports: {wrong}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
