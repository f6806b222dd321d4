"""Write the reference from the docstrings: `docs/api.md`, and the modules in each folder's README.

    python docs/reference.py            writes them
    python docs/reference.py --html     and the full reference, as pages in build/docs

What it writes is committed, to be found where the code is read; a test compares it with the code.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
API = HOME / "docs" / "api.md"
START, END = "<!-- modules: written by docs/reference.py -->", "<!-- end of modules -->"
#: Folders with a README that lists their modules.
FOLDERS = (
    "study",
    "representations",
    "representations/corpus",
    "representations/models",
    "representations/survey",
    "representations/steering",
    "pipeline",
    "analysis",
    "analysis/loading",
    "analysis/profiles",
    "analysis/over_models",
    "analysis/trials",
    "analysis/claims",
    "analysis/planning",
    "analysis/figures",
    "analysis/reporting",
    "reports",
    "benchmarks",
)


def api_page() -> str:
    """Return the page with one line for each public function and class."""
    packages = [importlib.import_module(name) for name in ("analysis", "representations", "study")]
    statistics, extraction, settings = (
        [thing for name in package.__all__ if callable(thing := getattr(package, name))]
        for package in packages
    )
    lines = [
        "# The functions",
        "",
        "Written from the docstrings by `make docs`, which also makes pages with all of their "
        "text, `build/docs/index.html`.",
        "",
        "## Statistics: `from analysis import ...`",
        "",
        *_rows(statistics),
        "",
        "## Models and texts: `from representations import ...`",
        "",
        *_rows(extraction),
        "",
        "## Studies: `from study import ...`",
        "",
        *_rows(settings),
    ]
    return "\n".join(lines) + "\n"


def _rows(things: list[object]) -> list[str]:
    rows = ["| name | what it does |", "|---|---|"]
    for thing in sorted(things, key=lambda t: (inspect.isclass(t), t.__module__, t.__name__)):
        module = thing.__module__
        path = module.replace(".", "/") + ".py"
        rows.append(f"| [`{thing.__name__}`](../{path}) | {_first_line(inspect.getdoc(thing))} |")
    return rows


def modules_table(folder: str) -> str:
    """Return a table of a folder's modules with the first lines of their docstrings."""
    lines = ["| module | what it does |", "|---|---|"]
    for path in sorted((HOME / folder).glob("*.py")):
        if path.name != "__init__.py":
            said = _first_line(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))))
            lines.append(f"| [`{path.name}`]({path.name}) | {said} |")
    return "\n".join(lines)


def readme(folder: str) -> str:
    """Return a folder's README with its table of modules renewed."""
    before, _, rest = (HOME / folder / "README.md").read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{modules_table(folder)}\n\n{END}{after}"


def _first_line(text: str | None) -> str:
    paragraph = (text or "").split("\n\n")[0]
    line = " ".join(paragraph.split())
    return line.replace("``", "`").replace("|", "\\|")


def main() -> int:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--html", action="store_true", help="make build/docs as well")
    html = parser.parse_args().html
    API.write_text(api_page(), encoding="utf-8")
    for folder in FOLDERS:
        (HOME / folder / "README.md").write_text(readme(folder), encoding="utf-8")
    if not html:
        return 0
    command = [
        sys.executable,
        "-m",
        "pdoc",
        "--docformat",
        "numpy",
        "--math",
        "--output-directory",
        str(HOME / "build" / "docs"),
        "analysis",
        "pipeline",
        "representations",
        "study",
        "extraction",
        "steering",
        "!analysis.__main__",
    ]
    return subprocess.run(command, cwd=HOME, check=False).returncode


if __name__ == "__main__":
    sys.path.insert(0, str(HOME))
    raise SystemExit(main())
