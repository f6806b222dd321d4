"""Say in one line what Quarto lacks to render the reports, before it starts.

Quarto runs this before every render (`pre-render` in _quarto.yml), with the Python that is about to
run the cells, and includes what this writes in the explorer's header. `python reports/ready.py
QUARTO` asks how old that Quarto is, and needs no library.
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
#: The content security policy of the explorer, which names its script by its hash.
POLICY = "_policy.html"
#: What Quarto itself imports, and the top of what the cells import.
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
    """Return what this Python lacks to run the cells."""
    names = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not names:
        return None
    return (
        f"{sys.executable} has no {', '.join(names)}: run `make report` once, after which Quarto "
        "finds .venv by itself, or set QUARTO_PYTHON to a Python that has `pip install '.[report]'`"
    )


def too_old(quarto: str) -> str | None:
    """Return why a Quarto cannot be used; _quarto.yml says which can."""
    settings = (HERE / "_quarto.yml").read_text(encoding="utf-8")
    needed = re.search(r'quarto-required: ">=([\d.]+)"', settings)
    assert needed is not None
    done = subprocess.run([quarto, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"\d+(\.\d+)+", done.stdout)
    remedy = "install a later one, or run `make report QUARTO=none` to render without it"
    if done.returncode or not found:
        return f"{quarto} --version does not say a version: {remedy}"
    if numbers(found[0]) < numbers(needed[1]):
        return f"Quarto {found[0]} is too old, {needed[1]} or later is needed: {remedy}"
    return None


def numbers(version: str) -> list[int]:
    """Return a version's parts, for comparison."""
    return [int(part) for part in version.split(".")]


def closed_home() -> str | None:
    """Return why kernels cannot start: their files lie in the home folder."""
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
    """Write the explorer's policy, with this Python's libraries; return why it cannot be."""
    from reports.explorer_page import policy

    try:
        (folder / POLICY).write_text(policy(), encoding="utf-8")
    except OSError as error:
        return f"cannot write {folder / POLICY} ({error.strerror}): make the folder writable"
    return None


def main(arguments: list[str]) -> int:
    """Return 0, or 1 after one line that says what is wrong."""
    wrong = too_old(arguments[0]) if arguments else missing() or closed_home() or write_policy(HERE)
    if wrong:
        print(f"reports: {wrong}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
