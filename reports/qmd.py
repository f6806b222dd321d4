"""Parse the Quarto constructs that the reports use, and check them before and after a run.

Anything else is an error with the file and the line. Quarto renders whatever is accepted here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pypandoc
import yaml

#: Quarto's cross-reference prefixes for numbered elements.
KINDS = {"fig", "tbl", "eq", "sec"}
CALLOUTS = {f"callout-{name}" for name in ("note", "tip", "important", "warning", "caution")}
#: Classes that `adapt.lua` reads.
ADAPTED = {"absent", "title", "subtitle", "author"}
CELL_OPTIONS = {"label", "fig-cap", "tbl-cap", "fig-alt", "echo", "output", "include", "tags"}
#: Quarto's conditional content, by the format.
CONDITIONAL = {"content-visible", "content-hidden"}
CLASSES = {"unnumbered", "unlisted", "abstract"} | CALLOUTS | ADAPTED | CONDITIONAL
ATTRIBUTES = {"title", "fig-alt", "when-format"}
METADATA = {"title", "pagetitle", "subtitle", "author", "date", "lang", "link-citations"}
TOP_LEVEL = METADATA | {
    "bibliography",
    "format",
    "execute",
    "jupyter",
    "project",
    "number-sections",
    "quarto-required",
}
#: The options of each format, and how each is passed to pandoc (None: fixed here).
FORMATS: dict[str, dict[str, str | None]] = {
    "html": {
        "embed-resources": None,
        "html-math-method": None,
        "theme": None,
        "css": "files",
        "include-in-header": "files",
        "toc": "itself",
        "filters": "filters",
    },
    "typst": {
        "citeproc": None,
        "filters": "filters",
        "include-in-header": "files",
        "papersize": "variables",
        "mainfont": "variables",
        "fontsize": "variables",
        "margin": "variables",
        "section-numbering": "variables",
        "page-numbering": "variables",
    },
    "revealjs": {
        **dict.fromkeys(("theme", "embed-resources", "slide-level", "width", "height")),
        **dict.fromkeys(("margin", "center", "controls", "auto-stretch")),
        "css": "files",
        "filters": "filters",
    },
    "docx": {"filters": "filters", "reference-doc": "file"},
}

FENCE = re.compile(r"^(`{3,}|~{3,})\s*(.*?)\s*$")
INLINE = re.compile(r"(?<!`)`\{python\}[ \t]+([^`]+)`(?!`)")
REFERENCE = re.compile(r"(?<![\w.])@((fig|tbl|eq|sec)-[\w-]*\w)")
CITATION = re.compile(r"(?<![\w.@])@\{?([A-Za-z][\w:.-]*\w)")
BRACES = re.compile(r"\{((?:[#.][\w-]|[\w-]+=)[^{}]*)\}")
TOKEN = re.compile(r'#([\w-]+)|\.([\w-]+)|([\w-]+)=(?:"[^"]*"|\S+)|(\S+)')


class RenderError(Exception):
    """An error that stops a rendering: one line with the file, the line and the remedy."""


@dataclass
class Chunk:
    """Consecutive lines of markdown, or one code cell."""

    line: int
    text: str
    is_cell: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Report:
    """A parsed .qmd: its front matter merged over the project's, and its chunks.

    `project_formats` has the options of formats that any report can be rendered to on request.
    """

    path: Path
    meta: dict[str, Any]
    chunks: list[Chunk]
    project_formats: dict[str, Any] = field(default_factory=dict)

    def formats(self, to: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """Return the formats to write with their options: its own, or those asked for."""
        own, shared = self.meta["format"], self.project_formats
        return {name: (shared.get(name) or {}) | (own.get(name) or {}) for name in to or own}

    def fail(self, line: int, message: str) -> RenderError:
        """Return an error that names the file and the line."""
        return RenderError(f"{self.path.name}:{line}: {message}")


def parse(path: Path) -> Report:
    """Split a .qmd into front matter, markdown and cells; unknown keys and options are errors."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        raise RenderError(f"{path.name}:1: begin with YAML front matter between two lines of ---")
    end = lines.index("---", 1)
    project = path.with_name("_quarto.yml")
    shared = yaml.safe_load(project.read_text(encoding="utf-8")) if project.exists() else {}
    own = _yaml(path, "\n".join(lines[1:end]), 2)
    report = Report(path, shared | own, [], shared.get("format") or {})
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
                raise report.fail(i + 1, f"only {{python}} cells can run, not {fence[2]}")
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
    formats = report.project_formats | report.meta.get("format", {})
    known = [
        ("front matter", TOP_LEVEL, report.meta),
        ("format", set(FORMATS), formats),
        ("execute", {"echo", "warning"}, report.meta.get("execute", {})),
    ]
    known += [(f"format {f}", set(FORMATS[f]), o) for f, o in formats.items() if f in FORMATS]
    for where, allowed, found in known:
        for key in found:
            if key not in allowed:
                line = next((n for n, text in enumerate(lines, 1) if f"{key}:" in text), 1)
                raise report.fail(line, f"unknown {where} key {key!r}; {known_names(allowed)}")


def _cell(report: Report, fence: int, body: list[str]) -> Chunk:
    n = next((i for i, text in enumerate(body) if not text.startswith("#|")), len(body))
    options = _yaml(
        report.path, "\n".join(text[2:].removeprefix(" ") for text in body[:n]), fence + 2
    )
    for key in options:
        if key not in CELL_OPTIONS:
            line = fence + 2 + next(i for i, text in enumerate(body) if key in text)
            raise report.fail(line, f"unknown cell option {key!r}; {known_names(CELL_OPTIONS)}")
    if options.get("output", True) not in (True, False, "asis"):
        raise report.fail(fence + 1, "output must be true, false or asis")
    return Chunk(fence + 1, "\n".join(body[n:]), True, report.meta.get("execute", {}) | options)


def known_names(names: set[str]) -> str:
    """Return the end of a message about an unknown name: the known ones."""
    return f"known are {', '.join(sorted(names))}"


def check(report: Report, parts: list[str]) -> None:
    """Reject unknown constructs, and references and citations without a target.

    `parts` is the markdown of each chunk. The check runs before the cells, to catch mistakes
    early, and again on their output.
    """
    bibliography = report.meta.get("bibliography")
    entries = []
    if bibliography:
        source = report.path.with_name(bibliography)
        entries = json.loads(pypandoc.convert_file(source, "csljson", "biblatex"))
    keys = {entry["id"] for entry in entries}
    lines = [
        (chunk.line + (0 if chunk.is_cell else offset), line)
        for chunk, part in zip(report.chunks, parts, strict=True)
        for offset, line in enumerate(_prose(part).split("\n"))
    ]
    labels = {str(chunk.options.get("label")) for chunk in report.chunks if chunk.is_cell}
    for number, line in lines:
        labels |= _check_line(report, number, line)
    for number, line in lines:
        for found in REFERENCE.finditer(line):
            if found[1] not in labels:
                raise report.fail(number, f"@{found[1]} refers to nothing")
            if line[found.end() :].lstrip().startswith("["):
                raise report.fail(
                    number, f"put a word between @{found[1]} and the bracket; pandoc joins them"
                )
        for found in CITATION.finditer(REFERENCE.sub("", line)):
            if found[1] not in keys:
                raise report.fail(number, f"@{found[1]} is not in {bibliography}")


def _prose(text: str) -> str:
    """Remove code, math and escaped characters; keep the line breaks."""
    pattern = r"\\[^\w\s]|^(`{3,}).*?^\1\s*$|(?<!`)`[^`\n]+`|\$\$.*?\$\$|(?<!\\)\$(?!\s)[^$\n]+\$"
    return re.sub(pattern, lambda m: "\n" * m[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)


def _check_line(report: Report, number: int, line: str) -> set[str]:
    """Return the labels that a line of markdown defines."""
    if "{{<" in line:
        raise report.fail(
            number, "a shortcode ({{< ... >}}) works only in Quarto itself; remove it"
        )
    if re.search(r"(?<!\\)<[A-Za-z/!]", line) and not re.search(r"<(https?|mailto):", line):
        raise report.fail(number, "raw HTML would be lost in the PDF; write Markdown")
    named = re.match(r"^:{3,}\s*([\w-]+)\s*:*$", line)
    groups = [f".{named[1]}"] if named else BRACES.findall(line)
    labels = set()
    for identifier, name, attribute, other in (t for g in groups for t in TOKEN.findall(g)):
        prefix = identifier.partition("-")[0]
        if identifier and prefix not in KINDS and identifier != "refs":
            raise report.fail(number, f"unknown kind of label #{identifier}; {known_names(KINDS)}")
        if name and name not in CLASSES:
            raise report.fail(number, f"unknown class .{name}; {known_names(CLASSES)}")
        if (attribute and attribute not in ATTRIBUTES) or other:
            raise report.fail(number, f"unknown attribute {attribute or other!r}")
        if identifier:
            labels.add(identifier)
    return labels
