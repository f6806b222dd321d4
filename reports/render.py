"""Render a Quarto report without Quarto.

    python reports/render.py [paper|summary|explore] [-P study:NAME] [--to docx]

The script reads the same .qmd as `quarto render reports`, runs its cells in a Jupyter kernel of
this Python, and writes reports/_output/NAME.html (pandoc: self-contained, MathML), for a report
with that format NAME.pdf (Typst), and on request NAME.docx (Word). It gives the constructs that the
reports use (`qmd.py`) the same meaning as Quarto, and rejects all others with the file and the
line. Quarto renders whatever this renderer accepts.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import base64
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.interruption import listen

if __name__ == "__main__":  # before importing the libraries, which takes a while
    listen("render.py", "the reports are as they were")

import nbformat
import pypandoc
import typst
import yaml
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from reports.qmd import (
    FORMATS,
    INLINE,
    METADATA,
    Chunk,
    RenderError,
    Report,
    check,
    known_names,
    parse,
)
from reports.ready import POLICY, write_policy
from study.text import markdown

HERE = Path(__file__).resolve().parent

#: What pandoc writes for each of Quarto's formats, and the ending of the report. Without reveal.js,
#: slides are sections of a page.
WRITERS = {
    "html": ("html", ".html"),
    "revealjs": ("html", ".html"),
    "typst": ("typst", ".pdf"),
    "docx": ("docx", ".docx"),
}
#: Pixels per inch of a figure in Word, which does not show every SVG.
PPI = 220
#: Pandoc's markdown as Quarto reads it, without raw HTML and TeX: the other format would lose them.
MARKDOWN = "markdown-raw_html-raw_tex-latex_macros"


class Loop(asyncio.SelectorEventLoop):
    """Leaves signals to this script; nbclient would handle them and report a dead kernel."""

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Any, *args: Any
    ) -> None:
        """Refuse, as a loop outside the main thread does."""
        raise RuntimeError


class ThisPython(KernelSpecManager):
    """Knows one kernel, this Python, whatever a user may have registered as python3."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the command that starts the kernel."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, language="python", display_name="Python")


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
        raise RenderError(
            f"{report.path.name}: -P {next(iter(params))}: no cell is tagged parameters"
        )
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    # Keep the kernel's files out of the home folder, which may be read-only or hold settings.
    manager = AsyncKernelManager(
        kernel_spec_manager=ThisPython(), connection_file=str(figures / "kernel.json")
    )
    environment = os.environ | {"IPYTHONDIR": str(figures / "ipython")}
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=600,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(report.path.parent)}},
    )
    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            try:
                runner.run(client.async_execute(env=environment))
            except KeyboardInterrupt:  # do not report the shutdown of the kernel as an error
                runner.get_loop().set_exception_handler(lambda loop, context: None)
                raise
    except CellExecutionError as error:
        line = lines[
            next(i for i, c in enumerate(cells) if any(o.output_type == "error" for o in c.outputs))
        ]
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
    """Return the cell that Papermill would inject: the parameters from the command line."""
    names = {
        t.id
        for s in ast.walk(ast.parse(chunk.text))
        if isinstance(s, ast.Assign)
        for t in s.targets
        if isinstance(t, ast.Name)
    }
    for name in params:
        if name not in names:
            raise report.fail(chunk.line, f"-P {name}: no such parameter; {known_names(names)}")
    return "\n".join(f"{name} = {value!r}" for name, value in params.items())


def _inline(report: Report, line: int, outputs: list[Any]) -> str:
    """Return the value of an inline expression: Markdown unchanged, anything else escaped."""
    data: dict[str, str] = next((o.data for o in outputs if "data" in o), {})
    if not data:
        raise report.fail(line, "this inline expression has no value")
    if "text/markdown" in data:
        return str(data["text/markdown"])
    text = data["text/plain"]
    if text[:1] in "'\"":
        text = ast.literal_eval(text)
    return str(markdown(text))


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
    """Return one displayed object as markdown; images go to a file."""
    for mime, suffix in (("image/svg+xml", ".svg"), ("image/png", ".png")):
        if mime in data:
            alt = chunk.options.get("fig-alt")
            if not alt:
                raise report.fail(chunk.line, "this figure needs a fig-alt")
            image = data[mime]
            content = image.encode() if suffix == ".svg" else base64.b64decode(image)
            target.with_suffix(suffix).write_bytes(content)
            quoted = " ".join(str(alt).split()).replace('"', "'")
            return f'![]({target.with_suffix(suffix).name}){{fig-alt="{quoted}"}}'
    if "text/markdown" in data:
        return data["text/markdown"]
    if "text/html" in data:
        if set(report.meta.get("format", {})) != {"html"}:
            raise report.fail(chunk.line, "a report that is also a PDF cannot have HTML output")
        return f"```{{=html}}\n{data['text/html']}\n```"
    return f"```\n{data.get('text/plain', '')}\n```"


def write(
    report: Report, text: str, folder: Path, output: Path, to: Sequence[str] = ()
) -> list[Path]:
    """Write the report in each of its formats, or in those asked for; return the files."""
    written = []
    # Allow raw HTML only in a report without a PDF: the explorer.
    source_format = MARKDOWN + ("" if set(report.meta["format"]) == {"html"} else "-raw_attribute")
    for name, options in report.formats(to).items():
        writer, ending = WRITERS[name]
        defaults: dict[str, Any] = {
            "standalone": True,
            "section-divs": writer == "html",
            "embed-resources": writer == "html",
            "dpi": PPI,
            "resource-path": [str(folder)],
            "html-math-method": {"method": "mathml"},
            "highlight-style": "monochrome",
            "filters": [str(HERE / "crossref.lua"), "citeproc"],
            "metadata": {k: report.meta[k] for k in METADATA & set(report.meta)},
            "number-sections": report.meta.get("number-sections", False),
        }
        if "bibliography" in report.meta:
            defaults["bibliography"] = [str(report.path.with_name(report.meta["bibliography"]))]
        for key, value in options.items():
            match FORMATS[name][key]:
                case "file":
                    defaults[key] = str(report.path.with_name(value))
                case "files":
                    defaults[key] = [str(report.path.with_name(value))]
                case "variables":
                    defaults.setdefault("variables", {})[key] = value
                case "itself":
                    defaults[key] = value
                case "filters":  # before or after crossref.lua, which stands in for Quarto's own
                    early = {f["path"] for f in value if f["at"] == "pre-ast"}
                    before = [str(report.path.with_name(path)) for path in sorted(early)]
                    after = [
                        str(report.path.with_name(f["path"]))
                        for f in value
                        if f["path"] not in early
                    ]
                    crossref, *rest = defaults["filters"]
                    defaults["filters"] = [*before, crossref, *after, *rest]
        (folder / "defaults.yaml").write_text(yaml.safe_dump(defaults), encoding="utf-8")
        target = (folder / report.path.stem).with_suffix(ending)
        source = target.with_suffix(".typ") if name == "typst" else target
        arguments = [f"--defaults={folder / 'defaults.yaml'}"]
        try:
            if name == "docx":
                _draw_as_png(folder)
            pypandoc.convert_text(text, writer, source_format, arguments, outputfile=str(source))
            if name == "typst":
                typst.compile(source, output=target, root=folder)
        except RuntimeError as error:
            raise RenderError(f"{report.path.name}: converting to {name}: {error}") from None
        written.append(target)
    output.mkdir(parents=True, exist_ok=True)
    # Copy to the same disk first, then move into place: a page is never half written.
    with tempfile.TemporaryDirectory(dir=output, prefix=".unfinished.") as scratch:
        for file in written:
            os.replace(shutil.copy(file, scratch), output / file.name)
    return [output / file.name for file in written]


def _draw_as_png(folder: Path) -> None:
    """Draw the figures again as PNG."""
    for svg in folder.glob("*.svg"):
        source, target = svg.with_suffix(".typ"), svg.with_suffix(".png")
        page = f'#set page(width: auto, height: auto, margin: 0pt)\n#image("{svg.name}")'
        source.write_text(page, encoding="utf-8")
        typst.compile(source, output=target, root=folder, format="png", ppi=PPI)


def render(path: Path, params: dict[str, Any], output: Path, to: Sequence[str] = ()) -> list[Path]:
    """Render one report; write nothing unless every format succeeds."""
    report = parse(path)
    if report.meta["format"].get("html", {}).get("include-in-header") == POLICY:
        write_policy(path.parent)
    with tempfile.TemporaryDirectory() as name:
        return write(report, execute(report, params, Path(name)), Path(name), output, to)


def side_by_side(reports: Sequence[str], arguments: Sequence[str]) -> int:
    """Render each report in a process of its own; return 0, or the code of the first that fails."""
    children = [
        subprocess.Popen(
            [sys.executable, __file__, report, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for report in reports
    ]
    try:
        for child in children:
            files, errors = child.communicate()
            print(files, end="", flush=True)
            print(errors, end="", file=sys.stderr, flush=True)
            if child.returncode:
                return child.returncode
    finally:  # after an error or an interruption, the others stop too
        for child in children:
            child.terminate()
        for child in children:
            child.communicate()
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Render the named reports; return 0, or 2 after a one-line error."""
    parser = argparse.ArgumentParser(description="Render the reports without Quarto.")
    parser.add_argument("reports", nargs="*", metavar="paper|summary|explore", help="default: all")
    parser.add_argument(
        "-P",
        dest="params",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="set a parameter, such as study:NAME or study:FILE.csv; may be repeated",
    )
    parser.add_argument("--to", choices=list(WRITERS), help="default: the formats of the report")
    parser.add_argument(
        "--output",
        type=Path,
        default=HERE / "_output",
        metavar="FOLDER",
        help="where the reports go (default: reports/_output)",
    )
    options = parser.parse_args(arguments)
    try:
        for given in options.params:
            if not all(given.partition(":")):
                raise RenderError(f"-P {given}: give NAME:VALUE, for instance -P study:demo")
        pairs = dict(given.split(":", 1) for given in options.params)
        params = {name: yaml.safe_load(value) for name, value in pairs.items()}
        known = sorted(p.stem for p in HERE.glob("*.qmd"))
        paths = []
        for name in options.reports or known:
            paths.append(HERE / f"{name}.qmd" if not Path(name).suffix else Path(name).resolve())
            if not paths[-1].exists():
                raise RenderError(f"{name}: no such report; there are {', '.join(known)}")
        to = [options.to] if options.to else []
        if len(paths) > 1:
            given = [f"--output={options.output}", *(f"-P{p}" for p in options.params)]
            return side_by_side([*map(str, paths)], given + [f"--to={name}" for name in to])
        for file in render(paths[0], params, options.output, to):
            print(file)
    except RenderError as error:
        print(f"render.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
