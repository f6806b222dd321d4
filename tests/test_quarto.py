"""Check reports and Makefile against what Quarto documents."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plotnine
import pypandoc
import pytest
import yaml

from reports import pictures, qmd, ready, render

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "reports"
STAND_IN = ROOT / "tests" / "stand_in_quarto.py"
DOCUMENTED = {
    key: set(names.split())
    for key, names in tomllib.loads(
        (ROOT / "tests/reference/quarto_options.toml").read_text(encoding="utf-8")
    ).items()
}


def settings(text: str) -> dict[str, Any]:
    content = yaml.safe_load(text)
    assert isinstance(content, dict)
    return content


def entries(group: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the items of a sidebar; an item may be the bare name of a page."""
    for entry in group.get("contents", []):
        item = {"href": entry} if isinstance(entry, str) else entry
        yield item
        yield from entries(item)


def undocumented(meta: dict[str, Any]) -> set[str]:
    """Return the options of a document or project that Quarto does not document."""
    common = DOCUMENTED["document"] | DOCUMENTED["pandoc"]
    formats = meta.get("format", {})
    supported = ("html", "typst", "docx", "revealjs")
    known = common.union(*(DOCUMENTED[name] for name in supported))
    if meta.get("project", {}).get("type") == "website":
        known = known | {"website"}
    found = set(meta) - known
    found |= {f"format: {name}" for name in formats if name not in supported}
    for name in set(supported) & set(formats):
        found |= set(formats[name]) - DOCUMENTED[name]
        for entry in formats[name].get("filters", []):
            found |= set(entry) - {"at", "path"} | {entry["at"]} - DOCUMENTED["filter"]
    found |= set(meta.get("execute", {})) - DOCUMENTED["execute"]
    website = meta.get("website", {})
    sidebar = website.get("sidebar", {})
    found |= set(website) - DOCUMENTED["website"] | set(sidebar) - DOCUMENTED["sidebar"]
    for entry in entries(sidebar):
        found |= set(entry) - DOCUMENTED["item"]
    return found | set(meta.get("project", {})) - DOCUMENTED["project"]


@pytest.mark.parametrize("name", ["paper", "explore", "summary"])
def test_every_option_is_one_that_quarto_documents(name: str) -> None:
    text = (REPORTS / f"{name}.qmd").read_text(encoding="utf-8")
    assert undocumented(settings(text.split("---")[1])) == set()
    project = settings((REPORTS / "_quarto.yml").read_text(encoding="utf-8"))
    assert undocumented(project) == set()
    report = qmd.parse(REPORTS / f"{name}.qmd")
    conditions = set(re.findall(r'when-format="(.*?)"', text))
    assert conditions <= DOCUMENTED["when-format"]
    assert report.meta["format"].get("html", {"theme": "none"})["theme"] == "none"
    for chunk in report.chunks:
        options = set(chunk.options) - set(project["execute"])
        assert not chunk.is_cell or options <= DOCUMENTED["cell"], chunk.line


def test_what_the_light_renderer_accepts_quarto_documents() -> None:
    for name, options in qmd.FORMATS.items():
        assert set(options) <= DOCUMENTED[name]
    assert DOCUMENTED["cell"] >= qmd.CELL_OPTIONS
    assert set(qmd.FORMATS) == set(render.WRITERS)
    known = set().union(*(DOCUMENTED[key] for key in ("html", "document", "pandoc")))
    assert known >= qmd.TOP_LEVEL


def test_reports_have_the_same_formats_for_both_renderers() -> None:
    """For Word, Quarto merges the project's options into every report, whatever its own formats."""
    for file in REPORTS.glob("*.qmd"):
        report = qmd.parse(file)
        assert report.formats() == report.meta["format"]
        options = report.formats(["docx"])["docx"]
        assert [entry["path"] for entry in options["filters"]] == ["adapt.lua"]
        assert (REPORTS / options["reference-doc"]).exists()


def test_pictures_are_png_where_quarto_renders_for_word(tmp_path: Path) -> None:
    """By the file that Quarto documents in advanced/quarto-execute-info.html."""
    before = plotnine.options.figure_format
    try:
        for target, chosen in (("docx", "retina"), ("html", "svg"), ("typst", "svg")):
            info = {"format": {"identifier": {"target-format": target}}}
            (tmp_path / "info.json").write_text(json.dumps(info), encoding="utf-8")
            pictures.choose({"QUARTO_EXECUTE_INFO": str(tmp_path / "info.json")})
            assert plotnine.options.figure_format == chosen
    finally:
        plotnine.options.figure_format = before


def test_undocumented_options_would_be_found() -> None:
    meta = {
        "titel": "x",
        "format": {"pdf": {}, "html": {"section-numbering": "1", "filters": [{"at": "end"}]}},
    }
    assert undocumented(meta) == {"titel", "format: pdf", "section-numbering", "end"}
    contents = [{"section": "x", "contents": [{"file": "a.qmd"}, "b.qmd"]}]
    site = {
        "project": {"type": "website"},
        "website": {"titel": "x", "sidebar": {"contents": contents, "styl": 1}},
    }
    assert undocumented(site) == {"titel", "styl", "file"}
    assert undocumented({"website": {}}) == {"website"}


def test_the_pdf_has_no_contents() -> None:
    formats = qmd.parse(REPORTS / "paper.qmd").meta["format"]
    assert formats["html"]["toc"] is True
    assert "toc" not in formats["typst"]
    assert "toc" not in qmd.TOP_LEVEL


def test_the_owners_command_finds_the_project() -> None:
    """Run `quarto render report` in the root of a clone."""
    link = ROOT / "report"
    assert link.is_symlink()
    assert os.readlink(link) == "reports"
    assert (link / "_quarto.yml").exists()


def test_git_ignores_what_quarto_leaves() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: git has nothing to say here")
    left = [
        ".quarto/x",
        "_environment.local",
        "paper_files/x.svg",
        "_output/paper.html",
        "paper.quarto_ipynb",
    ]
    paths = [f"reports/{name}" for name in left]
    done = subprocess.run(
        ["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == paths
    # Lines that Quarto would otherwise add.
    written = (REPORTS / ".gitignore").read_text(encoding="utf-8").split()
    assert {"/.quarto/", "**/*.quarto_ipynb", "/_*.local"} <= set(written)


# Test the Makefile with a stand-in.


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a machine with a stand-in for Quarto and a ready .venv."""
    tools, venv = tmp_path / "bin", tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    tools.mkdir()
    script = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))} "$@"\n'
    python = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n'
    for path, text in ((tools / "quarto", script), (venv / "bin" / "python", python)):
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    for part in ("base", "extract", "judges", "report", "render", "dev"):
        (venv / f".{part}").touch()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLA"))}
    kept |= {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "VENV": str(venv)}
    return kept | {"QUARTO_CALLS": str(tmp_path / "calls.json")}


def make(machine: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", f"VENV={machine['VENV']}", *arguments],
        cwd=ROOT,
        env=machine,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def called(machine: dict[str, str]) -> Any:
    return json.loads(Path(machine["QUARTO_CALLS"]).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("study", "to"), [("demo", None), ("packaged", "docx")])
def test_make_report_calls_quarto_as_it_asks(
    machine: dict[str, str], study: str, to: str | None
) -> None:
    done = make(machine, "report", f"STUDY={study}", *([f"TO={to}"] if to else []))
    assert done.returncode == 0, done.stderr
    assert called(machine) == {
        "folder": str(REPORTS),
        "parameters": {"study": study},
        "python": f"{machine['VENV']}/bin/python",
        "to": to,
    }


def test_make_report_for_word_without_quarto(machine: dict[str, str]) -> None:
    done = make(machine, "--dry-run", "report", "TO=docx", "QUARTO=none")
    assert done.returncode == 0, done.stderr
    assert "render.py -P 'study:demo' --to docx" in done.stdout


@pytest.mark.parametrize("folder", ["reports", "report"])
def test_quarto_by_hand_finds_the_environment_without_activation(
    machine: dict[str, str], folder: str, tmp_path: Path
) -> None:
    """The set-up writes the file that Quarto documents; here in a copy of the project."""
    copy = tmp_path / "clone" / "reports"
    copy.mkdir(parents=True)
    (copy.parent / "report").symlink_to("reports")
    for name in ("_quarto.yml", "ready.py"):
        (copy / name).write_text((REPORTS / name).read_text(encoding="utf-8"), encoding="utf-8")
    (copy / "_environment.local").write_text(
        f"QUARTO_PYTHON='{machine['VENV']}/bin/python'\n", encoding="utf-8"
    )
    machine.pop("QUARTO_PYTHON", None)
    command = ["quarto", "render", folder, "-P", "study:packaged"]
    subprocess.run(command, cwd=copy.parent, env=machine, check=True, timeout=300)
    assert called(machine)["python"] == f"{machine['VENV']}/bin/python"
    assert called(machine)["folder"] == str(copy)


def test_a_python_without_the_libraries_is_named_in_one_line(
    machine: dict[str, str], tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S -I "$@"\n', encoding="utf-8")
    bare.chmod(0o755)
    done = subprocess.run(
        ["quarto", "render", "reports"],
        cwd=ROOT,
        env=machine | {"QUARTO_PYTHON": str(bare)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("reports: ")]
    assert len(said) == 1
    assert all(word in said[0] for word in ("papermill", "make report", "QUARTO_PYTHON"))


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("1.4.553", "Quarto 1.4.553 is too old, 1.10.0 or later is needed"),
        ("1.9.99", "Quarto 1.9.99 is too old"),
        ("none at all", "does not print a version"),
    ],
)
def test_a_quarto_that_is_too_old_is_named_in_one_line(
    machine: dict[str, str], version: str, says: str
) -> None:
    done = make(machine | {"QUARTO_VERSION": version}, "report")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    assert says in lines[0]
    assert "QUARTO=none" in lines[0]


def test_later_versions_are_compared_as_numbers() -> None:
    assert ready.numbers("1.10.18") >= ready.numbers("1.10.0") > ready.numbers("1.9.37")


def test_a_quarto_that_cannot_run_is_named_in_one_line(tmp_path: Path) -> None:
    said = ready.too_old(str(tmp_path / "quarto"))
    assert said
    assert said.startswith(f"{tmp_path / 'quarto'} cannot be run (")


def test_a_closed_home_is_named_in_one_line(machine: dict[str, str]) -> None:
    closed = {key: value for key, value in machine.items() if not key.startswith("JUPYTER")}
    done = make(closed | {"HOME": "/dev/null/home"}, "report")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("reports: ")]
    assert len(lines) == 1
    assert "set HOME" in lines[0]


def test_without_quarto_the_light_renderer_is_called(machine: dict[str, str]) -> None:
    for arguments in (("QUARTO=none",), ()):
        environment = machine if arguments else machine | {"PATH": os.environ["PATH"]}
        if not arguments and subprocess.call(["sh", "-c", "command -v quarto"], stdout=-3) == 0:
            continue
        done = make(environment, "--dry-run", "report", *arguments)
        assert done.returncode == 0, done.stderr
        assert "render.py" in done.stdout
        assert "quarto render" not in done.stdout


# Test the filter that Quarto runs after its own.


def test_labels_are_bold_and_numbers_at_the_right() -> None:
    """Apply the filter to Quarto's output at that point."""
    quarto = """
::: {#tbl-x}

```{=html}
<figure class="quarto-float quarto-float-tbl">
```

```{=html}
<figcaption class="quarto-float-caption" id="tbl-x-caption">
```

Table\u00a01: Of *models*: two.

```{=html}
</figcaption>
```

:::

[$$a + b \\qquad(12)$$]{#eq-x}
"""
    html = pypandoc.convert_text(
        quarto, "html", "markdown", ["--mathml", f"--lua-filter={REPORTS / 'house.lua'}"]
    )
    html = " ".join(html.split())  # pandoc wraps lines
    assert "<strong>Table 1:</strong> Of <em>models</em>: two." in html
    assert '<span id="eq-x" class="equation">' in html
    assert '<span class="number">(12)</span></span>' in html
    assert "qquad" not in html
