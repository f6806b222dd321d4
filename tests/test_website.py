"""The documentation as a website: the input for Quarto, and what pandoc makes of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pypandoc
import pytest
import yaml
from test_quarto import entries, undocumented

from tests.scripts import script

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = ROOT / "tests" / "stand_in_quarto.py"
SETTINGS = yaml.safe_load((ROOT / "docs" / "_quarto.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site() -> ModuleType:
    return script("docs/website.py")


@pytest.fixture(scope="module")
def staged(site: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the copies, as deep below its root as build/site is."""
    folder = tmp_path_factory.mktemp("root") / "build" / "site"
    site.stage(folder)
    return folder


@pytest.fixture(scope="module")
def trees(staged: Path) -> dict[str, Any]:
    """Return each copy as pandoc reads it."""
    return {
        path.relative_to(staged).as_posix(): json.loads(
            pypandoc.convert_file(path, "json", "markdown")
        )
        for path in staged.glob("**/*.qmd")
    }


def parts(tree: Any, kind: str) -> list[Any]:
    """Return the contents of all elements of a kind."""
    if isinstance(tree, list):
        return [found for branch in tree for found in parts(branch, kind)]
    if not isinstance(tree, dict):
        return []
    here = [tree.get("c")] if tree.get("t") == kind else []
    return here + [found for branch in tree.values() for found in parts(branch, kind)]


def test_every_option_of_the_website_is_one_that_quarto_documents(staged: Path) -> None:
    assert undocumented(SETTINGS) == set()
    assert yaml.safe_load((staged / "_quarto.yml").read_text(encoding="utf-8")) == SETTINGS


def test_without_a_theme_there_would_be_no_sidebar() -> None:
    """Quarto draws a website's navigation with Bootstrap only."""
    assert SETTINGS["format"]["html"].get("theme") not in ("none", "pandoc")


def test_the_sidebar_names_pages_that_there_are(staged: Path) -> None:
    named = [item["href"] for item in entries(SETTINGS["website"]["sidebar"]) if "href" in item]
    assert [name for name in named if not (staged / name).exists()] == []
    assert len(named) == len(set(named))
    own = {p.relative_to(staged).as_posix() for p in (staged / "docs").glob("**/*.qmd")}
    assert own <= set(named)


def test_every_link_leads_to_a_page_or_a_file(staged: Path, trees: dict[str, Any]) -> None:
    anchors = {name: {h[1][0] for h in parts(tree, "Header")} for name, tree in trees.items()}
    seen = 0
    for name, tree in trees.items():
        for target in [c[2][0] for kind in ("Link", "Image") for c in parts(tree, kind)]:
            if re.match(r"(https?|mailto):", target):
                continue
            seen += 1
            path, _, anchor = target.partition("#")
            rendered = staged / "_site" / name
            if path.startswith("../") and not (staged / name).parent.joinpath(path).exists():
                from_root = os.path.relpath(rendered.parent / path, staged.parents[1])
                assert (ROOT / from_root).exists(), f"{name}: {target}"
                continue
            page = os.path.normpath((staged / name).parent / path) if path else staged / name
            assert Path(page).exists(), f"{name}: {target}"
            if anchor:
                assert anchor in anchors[Path(page).relative_to(staged).as_posix()], (
                    f"{name}: {target}"
                )
    assert seen > 100


def test_prose_is_not_taken_for_formulas_or_citations(trees: dict[str, Any]) -> None:
    for name, tree in trees.items():
        assert parts(tree, "Math") == [], name
        assert parts(tree, "Cite") == [], name
        assert parts(tree, "Header")[0][0] == 1, name
        # To pandoc, a list directly after a paragraph, without an empty line, is not a list.
        for paragraph in parts(tree, "Para"):
            text = "".join(
                p["c"] if p["t"] == "Str" else "\n" if p["t"] == "SoftBreak" else " "
                for p in paragraph
            )
            assert not re.search(r"^([-*]|\d+\.) ", text, re.M), f"{name}: {text[:80]}"


def test_github_and_quarto_both_draw_the_diagram(staged: Path) -> None:
    original = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    copy = (staged / "docs" / "architecture.qmd").read_text(encoding="utf-8")
    assert len(re.findall(r"^```mermaid$", original, re.M)) == 1
    assert len(re.findall(r"^```\{mermaid\}$", copy, re.M)) == 1
    assert "```mermaid" not in copy


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "docs/website.py", *arguments, "--output", str(folder)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_quarto_is_called_on_the_copies(tmp_path: Path) -> None:
    quarto, calls = tmp_path / "quarto", tmp_path / "calls.json"
    command = f"exec {shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))}"
    quarto.write_text(f'#!/bin/sh\n{command} "$@"\n', encoding="utf-8")
    quarto.chmod(0o755)
    done = run(tmp_path / "site", str(quarto), QUARTO_CALLS=str(calls))
    assert done.returncode == 0, done.stderr
    assert json.loads(calls.read_text(encoding="utf-8"))["folder"] == str(tmp_path / "site")
    old = run(tmp_path / "none", str(quarto), QUARTO_VERSION="1.4.5")
    assert old.returncode == 0
    assert old.stderr.splitlines() == [
        "docs: no website, because Quarto 1.4.5 is too old, 1.10.0 or later is needed"
    ]
    assert not (tmp_path / "none").exists()


def test_without_quarto_one_line_says_so(tmp_path: Path) -> None:
    done = run(tmp_path / "site", str(tmp_path / "no-quarto"))
    assert done.returncode == 0
    assert done.stderr.splitlines() == ["docs: no website, because Quarto is not installed"]
    assert not (tmp_path / "site").exists()
