"""Write the reference from the docstrings: `docs/api.md`, and the table in `docs/architecture.md`.

    python docs/reference.py            writes both
    python docs/reference.py --html     and the full reference, as pages in build/docs

The two files are committed, so that the functions can be found where the code is read; a test
compares them with the code.
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
API, ARCHITECTURE = HOME / "docs" / "api.md", HOME / "docs" / "architecture.md"
START, END = "<!-- modules: written by docs/reference.py -->", "<!-- end of modules -->"
#: What a user of the torch side calls; the statistics side says it in `analysis.__all__`.
EXTRACTION = {
    "study": ("load_study",),
    "representations.corpus.corpus": ("load_corpus",),
    "representations.corpus.checks": ("check_corpus",),
    "representations.models.registry": ("registry", "find_model"),
    "representations.models.loading": ("load",),
    "representations.activations": ("read",),
    "representations.generation": ("write",),
    "representations.separation": ("separation_scores",),
    "representations.steering.judges": ("load_judge",),
}
#: Folders of modules in the order in which the data pass through them.
PARTS = (".", "study", "representations", "pipeline", "analysis", "reports", "benchmarks")


def api_page() -> str:
    """Return the page with one line for each public function and class."""
    analysis = importlib.import_module("analysis")
    public = [getattr(analysis, name) for name in analysis.__all__]
    extraction = [
        getattr(importlib.import_module(module), name)
        for module, names in EXTRACTION.items()
        for name in names
    ]
    lines = [
        "# The functions", "",
        "Written from the docstrings by `make docs`, which also makes pages with all of their "
        "text, `build/docs/index.html`.", "",
        "## Statistics: `from analysis import ...`", "", *_rows(public), "",
        "## Extraction", "", *_rows(extraction),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _rows(things: list[object]) -> list[str]:
    rows = ["| name | what it does |", "|---|---|"]
    for thing in sorted(things, key=lambda t: (inspect.isclass(t), t.__module__, t.__name__)):
        module = thing.__module__
        name = thing.__name__ if module.startswith("analysis.") else f"{module}.{thing.__name__}"
        path = module.replace(".", "/") + ".py"
        rows.append(f"| [`{name}`](../{path}) | {_first_line(inspect.getdoc(thing))} |")
    return rows


def modules_table() -> str:
    """Return a table of all modules with the first lines of their docstrings."""
    lines = ["| module | what it does |", "|---|---|"]
    for part in PARTS:
        for path in sorted((HOME / part).glob("*.py" if part == "." else "**/*.py")):
            if path.name == "__init__.py":
                continue
            said = _first_line(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))))
            where = path.relative_to(HOME)
            lines.append(f"| [`{where}`](../{where}) | {said} |")
    return "\n".join(lines)


def architecture_page() -> str:
    """Return `docs/architecture.md` with its table of modules renewed."""
    before, _, rest = ARCHITECTURE.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{modules_table()}\n\n{END}{after}"


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
    ARCHITECTURE.write_text(architecture_page(), encoding="utf-8")
    if not html:
        return 0
    command = [
        sys.executable, "-m", "pdoc", "--docformat", "numpy", "--math",
        "--output-directory", str(HOME / "build" / "docs"),
        "analysis", "pipeline", "representations", "study", "extraction", "steering",
        "!analysis.__main__",
    ]  # fmt: skip
    return subprocess.run(command, cwd=HOME, check=False).returncode


if __name__ == "__main__":
    sys.path.insert(0, str(HOME))
    raise SystemExit(main())
