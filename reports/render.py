"""Render a Quarto report where Quarto itself is not installed.

    python reports/render.py [paper|explore] [-P study:NAME]

reads the same .qmd that `quarto render reports` reads, runs its cells in a Jupyter kernel of this
Python, and writes reports/_output/NAME.html (pandoc: self-contained, MathML) and, for a report
that has the format, NAME.pdf (Typst). It knows the constructs that the reports use, with the
meaning that Quarto gives them, and stops at any other with the file and the line: what this
renderer accepts, Quarto renders too.
"""

from __future__ import annotations

import argparse
import ast
import base64
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pypandoc
import typst
import yaml
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

HERE = Path(__file__).resolve().parent

#: Quarto's names for what is numbered, in its cross-reference prefixes.
KINDS = {"fig", "tbl", "eq", "sec"}
CALLOUTS = {f"callout-{name}" for name in ("note", "tip", "important", "warning", "caution")}
CELL_OPTIONS = {"label", "fig-cap", "tbl-cap", "fig-alt", "echo", "output", "include", "tags"}
CLASSES = {"unnumbered", "unlisted", "abstract"} | CALLOUTS
ATTRIBUTES = {"title", "fig-alt"}
METADATA = {"title", "subtitle", "author", "date", "lang", "link-citations"}
TOP_LEVEL = METADATA | {"bibliography", "format", "execute", "jupyter", "project",
                        "number-sections", "toc"}  # fmt: skip
#: Options of a format, and what pandoc takes each as (None: so here whatever it says).
FORMATS: dict[str, dict[str, str | None]] = {
    "html": {"embed-resources": None, "html-math-method": None, "theme": None, "css": "files",
             "toc-depth": None, "page-layout": None},
    "typst": {"citeproc": None, "include-in-header": "files", "papersize": "variables",
              "mainfont": "variables", "fontsize": "variables", "margin": "variables",
              "section-numbering": "variables", "page-numbering": "variables"},
}  # fmt: skip
#: Pandoc's markdown as Quarto reads it: raw HTML and TeX would vanish in the other format.
MARKDOWN = "markdown-raw_html-raw_tex-latex_macros"

FENCE = re.compile(r"^(`{3,}|~{3,})\s*(.*?)\s*$")
INLINE = re.compile(r"(?<!`)`\{python\}[ \t]+([^`]+)`(?!`)")
REFERENCE = re.compile(r"(?<![\w.])@((fig|tbl|eq|sec)-[\w-]*\w)")
CITATION = re.compile(r"(?<![\w.@])@\{?([A-Za-z][\w:.-]*\w)")
BRACES = re.compile(r"\{((?:[#.][\w-]|[\w-]+=)[^{}]*)\}")
TOKEN = re.compile(r'#([\w-]+)|\.([\w-]+)|([\w-]+)=(?:"[^"]*"|\S+)|(\S+)')


class RenderError(Exception):
    """What cannot be rendered: one line with the file, the line and the remedy."""


@dataclass
class Chunk:
    """A run of markdown lines or one code cell."""

    line: int
    text: str
    is_cell: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Report:
    """A parsed .qmd: its front matter over the project's, and its chunks."""

    path: Path
    meta: dict[str, Any]
    chunks: list[Chunk]

    def fail(self, line: int, message: str) -> RenderError:
        """Return the error that names the place."""
        return RenderError(f"{self.path.name}:{line}: {message}")


def parse(path: Path) -> Report:
    """Split a .qmd into front matter, markdown and cells; unknown keys and options are errors."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        raise RenderError(f"{path.name}:1: no YAML front matter between two lines of ---")
    end = lines.index("---", 1)
    project = path.with_name("_quarto.yml")
    shared = yaml.safe_load(project.read_text(encoding="utf-8")) if project.exists() else {}
    report = Report(path, shared | _yaml(path, "\n".join(lines[1:end]), 2), [])
    _check_meta(report, lines)
    start, i = end + 1, end + 1
    while i < len(lines):
        fence = FENCE.match(lines[i])
        if not fence:
            i += 1
            continue
        close = next((j for j in range(i + 1, len(lines)) if lines[j].rstrip() == fence[1]), None)
        if close is None:
            raise report.fail(i + 1, "the code block that starts here has no end")
        if fence[2].startswith("{"):
            if fence[2] != "{python}":
                raise report.fail(i + 1, f"only {{python}} cells can be run, not {fence[2]}")
            report.chunks.append(Chunk(start + 1, "\n".join(lines[start:i]) + "\n"))
            report.chunks.append(_cell(report, i, lines[i + 1 : close]))
            start = close + 1
        i = close + 1
    report.chunks.append(Chunk(start + 1, "\n".join(lines[start:]) + "\n"))
    return report


def _yaml(path: Path, text: str, first: int) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text) or {}
    except yaml.MarkedYAMLError as error:
        line = first + (error.problem_mark.line if error.problem_mark else 0)
        raise RenderError(f"{path.name}:{line}: not YAML ({error.problem})") from None
    if not isinstance(content, dict):
        raise RenderError(f"{path.name}:{first}: expected 'key: value' lines")
    return content


def _check_meta(report: Report, lines: list[str]) -> None:
    formats = report.meta.get("format", {})
    known = [("front matter", TOP_LEVEL, report.meta), ("format", set(FORMATS), formats),
             ("execute", {"echo", "warning"}, report.meta.get("execute", {}))]  # fmt: skip
    known += [(f"format {f}", set(FORMATS[f]), o) for f, o in formats.items() if f in FORMATS]
    for where, allowed, found in known:
        for key in found:
            if key not in allowed:
                line = next((n for n, text in enumerate(lines, 1) if f"{key}:" in text), 1)
                raise report.fail(line, f"unknown {where} key {key!r}; {_known(allowed)}")


def _cell(report: Report, fence: int, body: list[str]) -> Chunk:
    n = next((i for i, text in enumerate(body) if not text.startswith("#|")), len(body))
    options = _yaml(report.path, "\n".join(text[2:].removeprefix(" ") for text in body[:n]),
                    fence + 2)  # fmt: skip
    for key in options:
        if key not in CELL_OPTIONS:
            line = fence + 2 + next(i for i, text in enumerate(body) if key in text)
            raise report.fail(line, f"unknown cell option {key!r}; {_known(CELL_OPTIONS)}")
    if options.get("output", True) not in (True, False, "asis"):
        raise report.fail(fence + 1, "output is true, false or asis")
    return Chunk(fence + 1, "\n".join(body[n:]), True, report.meta.get("execute", {}) | options)


def _known(names: set[str]) -> str:
    return f"known are {', '.join(sorted(names))}"


def execute(report: Report, params: dict[str, Any], figures: Path) -> str:
    """Run the cells and inline expressions in order; return the markdown with their output."""
    check(report, ["" if chunk.is_cell else chunk.text for chunk in report.chunks])
    cells: list[nbformat.NotebookNode] = []
    lines: list[int] = []

    def add(source: str, line: int) -> None:
        cells.append(nbformat.v4.new_code_cell(source))  # type: ignore[no-untyped-call]
        lines.append(line)

    for chunk in report.chunks:
        if chunk.is_cell:
            add(chunk.text, chunk.line)
            if "parameters" in (chunk.options.get("tags") or []):
                add(_injected(report, chunk, params), chunk.line)
                params = {}
        else:
            for found in INLINE.finditer(chunk.text):
                add(found[1], chunk.line + chunk.text.count("\n", 0, found.start()))
    if params:
        raise RenderError(f"{report.path.name}: -P {next(iter(params))}: no cell is tagged "
                          "parameters")  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    manager = AsyncKernelManager(kernel_name="python3")
    assert manager.kernel_spec is not None
    manager.kernel_spec.argv[0] = sys.executable  # not whichever python3 kernel a user registered
    client = NotebookClient(notebook, km=manager, timeout=600,
                            extra_arguments=["--IPKernelApp.log_level=ERROR"],
                            resources={"metadata": {"path": str(report.path.parent)}})  # fmt: skip
    try:
        client.execute()
    except CellExecutionError as error:
        line = lines[next(i for i, c in enumerate(cells) if any(
            o.output_type == "error" for o in c.outputs))]  # fmt: skip
        raise report.fail(line, f"{error.ename}: {error.evalue}") from None
    except (CellTimeoutError, DeadKernelError) as error:
        raise RenderError(f"{report.path.name}: {error}") from None
    outputs = zip(lines, [cell.outputs for cell in cells], strict=True)
    parts = []
    for chunk in report.chunks:
        if chunk.is_cell:
            parts.append(_cell_markdown(report, chunk, next(outputs)[1], figures))
            if "parameters" in (chunk.options.get("tags") or []):
                next(outputs)
        else:
            parts.append(INLINE.sub(lambda _: _inline(report, *next(outputs)), chunk.text))
    check(report, parts)
    return "\n".join(parts)


def _injected(report: Report, chunk: Chunk, params: dict[str, Any]) -> str:
    """Return Papermill's injected cell: the parameters given on the command line."""
    names = {t.id for s in ast.walk(ast.parse(chunk.text)) if isinstance(s, ast.Assign)
             for t in s.targets if isinstance(t, ast.Name)}  # fmt: skip
    for name in params:
        if name not in names:
            raise report.fail(chunk.line, f"-P {name}: no such parameter; {_known(names)}")
    return "\n".join(f"{name} = {value!r}" for name, value in params.items())


def _inline(report: Report, line: int, outputs: list[Any]) -> str:
    """Return an inline expression's value: Markdown as it is, anything else escaped."""
    data: dict[str, str] = next((o.data for o in outputs if "data" in o), {})
    if not data:
        raise report.fail(line, "an inline expression without a value")
    if "text/markdown" in data:
        return str(data["text/markdown"])
    text = data["text/plain"]
    if text[:1] in "'\"":
        text = ast.literal_eval(text)
    return re.sub(r"([\\`*_{}\[\]()<>#+!|$@~^-])", r"\\\1", text)


def _cell_markdown(report: Report, chunk: Chunk, outputs: list[Any], figures: Path) -> str:
    options = chunk.options
    parts = []
    if not options.get("include", True):
        return ""
    if options.get("echo", True):
        parts.append(f"```python\n{chunk.text}\n```")
    shown = outputs if options.get("output", True) else []
    for i, output in enumerate(shown):
        if output.output_type == "stream":
            if output.name == "stderr":
                print(output.text, file=sys.stderr, end="")
            elif options.get("output") == "asis":
                parts.append(output.text)
            else:
                parts.append(f"```\n{output.text}\n```")
        else:
            name = f"{options.get('label', f'cell-{chunk.line}')}-{i}"
            parts.append(_display(report, chunk, output.data, figures / name))
    label = str(options.get("label", ""))
    kind = label.partition("-")[0]
    if kind in ("fig", "tbl"):
        caption = options.get(f"{kind}-cap")
        if not caption or len(parts) != 1 + bool(options.get("echo", True)):
            raise report.fail(chunk.line, f"{label} needs one output and a {kind}-cap")
        parts[-1] = f"::: {{#{label}}}\n\n{parts[-1]}\n\n{caption}\n\n:::"
    return "\n" + "\n\n".join(parts) + "\n"


def _display(report: Report, chunk: Chunk, data: dict[str, str], target: Path) -> str:
    """Return what one displayed object is in markdown; images go to a file."""
    for mime, suffix in (("image/svg+xml", ".svg"), ("image/png", ".png")):
        if mime in data:
            alt = chunk.options.get("fig-alt")
            if not alt:
                raise report.fail(chunk.line, "a figure without fig-alt")
            image = data[mime]
            content = image.encode() if suffix == ".svg" else base64.b64decode(image)
            target.with_suffix(suffix).write_bytes(content)
            quoted = " ".join(str(alt).split()).replace('"', "'")
            return f'![]({target.with_suffix(suffix).name}){{fig-alt="{quoted}"}}'
    if "text/markdown" in data:
        return data["text/markdown"]
    if "text/html" in data:
        if set(report.meta.get("format", {})) != {"html"}:
            raise report.fail(chunk.line, "HTML output in a report that is also a PDF")
        return f"```{{=html}}\n{data['text/html']}\n```"
    return f"```\n{data.get('text/plain', '')}\n```"


def check(report: Report, parts: list[str]) -> None:
    """Stop at what is not known, and at references and citations that lead nowhere.

    `parts` is the markdown of each chunk: before the cells run, so that a mistake costs no time,
    and again with their output.
    """
    bibliography = report.meta.get("bibliography")
    entries = []
    if bibliography:
        source = report.path.with_name(bibliography)
        entries = json.loads(pypandoc.convert_file(source, "csljson", "biblatex"))
    keys = {entry["id"] for entry in entries}
    texts = [(c.line, c.is_cell, _prose(p)) for c, p in zip(report.chunks, parts, strict=True)]
    labels = {str(chunk.options.get("label")) for chunk in report.chunks if chunk.is_cell}
    for start, is_cell, text in texts:
        for offset, line in enumerate(text.split("\n")):
            number = start if is_cell else start + offset
            labels |= _check_line(report, number, line)
    for start, is_cell, text in texts:
        for offset, line in enumerate(text.split("\n")):
            number = start if is_cell else start + offset
            for found in REFERENCE.finditer(line):
                if found[1] not in labels:
                    raise report.fail(number, f"@{found[1]} refers to nothing")
                if line[found.end() :].lstrip().startswith("["):
                    raise report.fail(number, f"pandoc joins @{found[1]} and the bracket after it")
            for found in CITATION.finditer(REFERENCE.sub("", line)):
                if found[1] not in keys:
                    raise report.fail(number, f"@{found[1]} is not in {bibliography}")


def _prose(text: str) -> str:
    """Blank out code and maths, which have braces and signs of their own; keep the lines."""
    pattern = r"^(`{3,}).*?^\1\s*$|(?<!`)`[^`\n]+`|\$\$.*?\$\$|(?<!\\)\$(?!\s)[^$\n]+\$"
    return re.sub(pattern, lambda m: "\n" * m[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)


def _check_line(report: Report, number: int, line: str) -> set[str]:
    """Return the labels that a line of markdown defines."""
    if "{{<" in line:
        raise report.fail(number, "a shortcode ({{< ... >}}), which only Quarto itself knows")
    if re.search(r"(?<!\\)<[A-Za-z/!]", line) and not re.search(r"<(https?|mailto):", line):
        raise report.fail(number, "raw HTML, which the PDF would lose")
    named = re.match(r"^:{3,}\s*([\w-]+)\s*:*$", line)
    groups = [f".{named[1]}"] if named else BRACES.findall(line)
    labels = set()
    for identifier, name, attribute, other in (t for g in groups for t in TOKEN.findall(g)):
        prefix = identifier.partition("-")[0]
        if identifier and prefix not in KINDS and identifier != "refs":
            raise report.fail(number, f"unknown kind of label #{identifier}; {_known(KINDS)}")
        if name and name not in CLASSES:
            raise report.fail(number, f"unknown class .{name}; {_known(CLASSES)}")
        if (attribute and attribute not in ATTRIBUTES) or other:
            raise report.fail(number, f"unknown attribute {attribute or other!r}")
        if identifier:
            labels.add(identifier)
    return labels


def write(report: Report, markdown: str, folder: Path, output: Path) -> list[Path]:
    """Write each of the report's formats; return the files."""
    written = []
    for name, options in report.meta["format"].items():
        defaults: dict[str, Any] = {
            "standalone": True, "embed-resources": name == "html", "resource-path": [str(folder)],
            "html-math-method": {"method": "mathml"}, "highlight-style": "monochrome",
            "filters": [str(HERE / "crossref.lua"), "citeproc"],
            "metadata": {k: report.meta[k] for k in METADATA & set(report.meta)},
            "number-sections": report.meta.get("number-sections", False),
            "table-of-contents": report.meta.get("toc", False) and name == "html",
        }  # fmt: skip
        if "bibliography" in report.meta:
            defaults["bibliography"] = [str(report.path.with_name(report.meta["bibliography"]))]
        for key, value in (options or {}).items():
            match FORMATS[name][key]:
                case "files":
                    defaults[key] = [str(report.path.with_name(value))]
                case "variables":
                    defaults.setdefault("variables", {})[key] = value
        (folder / "defaults.yaml").write_text(yaml.safe_dump(defaults), encoding="utf-8")
        source = folder / f"{report.path.stem}.{'typ' if name == 'typst' else 'html'}"
        arguments = [f"--defaults={folder / 'defaults.yaml'}"]
        try:
            pypandoc.convert_text(markdown, name, MARKDOWN, arguments, outputfile=str(source))
            if name == "typst":
                typst.compile(source, output=source.with_suffix(".pdf"), root=folder)
        except RuntimeError as error:
            raise RenderError(f"{report.path.name}: to {name}: {error}") from None
        written.append(source.with_suffix(".pdf") if name == "typst" else source)
    output.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(file, output)) for file in written]


def render(path: Path, params: dict[str, Any], output: Path) -> list[Path]:
    """Render one report; nothing is written unless all of it can be."""
    report = parse(path)
    with tempfile.TemporaryDirectory() as name:
        return write(report, execute(report, params, Path(name)), Path(name), output)


def main(arguments: list[str] | None = None) -> int:
    """Render the named reports; 0, or 1 after one line that says what is wrong."""
    parser = argparse.ArgumentParser(description="Render the reports without Quarto.")
    parser.add_argument("reports", nargs="*", metavar="paper|explore", help="default: all")
    parser.add_argument("-P", dest="params", action="append", default=[], metavar="NAME:VALUE")
    parser.add_argument("--output", type=Path, default=HERE / "_output", metavar="FOLDER")
    options = parser.parse_args(arguments)
    try:
        pairs = dict(p.split(":", 1) if ":" in p else (p, "") for p in options.params)
        params = {name: yaml.safe_load(value) for name, value in pairs.items()}
        for name in options.reports or sorted(p.stem for p in HERE.glob("*.qmd")):
            path = HERE / f"{name}.qmd" if not Path(name).suffix else Path(name).resolve()
            if not path.exists():
                names = ", ".join(sorted(p.stem for p in HERE.glob("*.qmd")))
                raise RenderError(f"{name}: no such report; there are {names}")
            for file in render(path, params, options.output):
                print(file)
    except RenderError as error:
        print(f"render.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
