"""The text of the paper without its figures: its cells run here, and pandoc applies its filter."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotnine as p9
import pypandoc
import pytest

from reports import paper, qmd, render
from study.text import Markdown, markdown

REPORTS = Path(render.__file__).parent


class NoFigures:
    """Stands for `analysis.figures`: drawing takes most of the time, and has no sentences."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: Markdown("figure")


def text_of_paper(source: Path | str, monkeypatch: pytest.MonkeyPatch, n_boot: int = 60) -> str:
    """Return the paper of a source as plain text, with fewer bootstraps and one specification."""
    _hurry(monkeypatch, n_boot)
    names: dict[str, Any] = {}
    parts = []
    with chdir(REPORTS):
        for chunk, value in _ran(qmd.parse(REPORTS / "paper.qmd"), source, names):
            if not chunk.is_cell:
                parts.append(value)
            elif chunk.options.get("include", True):
                label = chunk.options.get("label", "")
                caption = chunk.options.get("tbl-cap", "")
                parts.append(f"\n\n::: {{#{label}}}\n\n{_shown(value)}\n\n{caption}\n\n:::\n\n")
            names["figures"] = NoFigures()
    text = "\n".join(parts)
    arguments = ["--wrap=none", f"--lua-filter={REPORTS / 'adapt.lua'}", "--standalone"]
    plain = " ".join(pypandoc.convert_text(text, "plain", render.MARKDOWN, arguments).split())
    return re.sub(r"@[\w-]+|\{#[\w-]+\}", "", plain)  # references are numbers in the end


def slides(source: Path | str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the two slides of a source as a page and a PDF, made with fewer bootstraps."""
    _hurry(monkeypatch, n_boot=9)
    report = qmd.parse(REPORTS / "summary.qmd")
    parts = []
    with chdir(REPORTS):
        for chunk, value in _ran(report, source, {}):
            if isinstance(value, p9.ggplot):
                value.save(folder / "figure.svg", verbose=False)
                parts.append(f'\n![](figure.svg){{fig-alt="{chunk.options["fig-alt"]}"}}\n')
            elif value is not None:
                parts.append(f"\n{_shown(value)}\n" if chunk.is_cell else value)
    return render.write(report, "\n".join(parts), folder, folder / "out")


def _hurry(monkeypatch: pytest.MonkeyPatch, n_boot: int) -> None:
    """Make the evidence of a paper with fewer bootstraps and one specification."""
    monkeypatch.setattr(paper, "evidence_of", partial(paper.evidence_of, n_boot=n_boot))
    one = pd.DataFrame({"verdict": ["undecided"]})
    monkeypatch.setattr(paper, "specification_table", lambda _: one)


def _ran(
    report: qmd.Report, source: Path | str, names: dict[str, Any]
) -> Iterator[tuple[qmd.Chunk, Any]]:
    """Yield each text with its inline code evaluated, and each cell with its value."""
    for chunk in report.chunks:
        if not chunk.is_cell:
            yield chunk, qmd.INLINE.sub(lambda m: _shown(eval(m[1], names)), chunk.text)
            continue
        value = _run(chunk.text, names)
        if "parameters" in (chunk.options.get("tags") or []):
            names["study"] = str(source)
        else:
            yield chunk, value


def _run(code: str, names: dict[str, Any]) -> Any:
    """Run a cell; return the value of its last line."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None


def _shown(value: Any) -> str:
    return str(value if isinstance(value, Markdown) else markdown(str(value)))


class Look(NamedTuple):
    """A page: its largest blank gap (share of the height), and where its ink begins and ends."""

    name: str
    gap: float
    left: float
    right: float


def looked_at(pdf: Path) -> list[Look]:
    """Return how each page of a PDF is filled, by pdftoppm."""
    command = ["pdftoppm", "-r", "36", "-png", str(pdf), str(pdf.with_suffix(""))]
    subprocess.run(command, check=True, capture_output=True)
    found = []
    for image in sorted(pdf.parent.glob(f"{pdf.stem}-*.png")):
        colors = plt.imread(image)
        height, width = colors.shape[:2]
        inked = colors.reshape(height, width, -1)[..., :3].min(axis=2) < 0.8
        start, end = round(0.08 * height), round(0.92 * height)  # the margins are 2.4 of 29.7 cm
        rows = start + np.flatnonzero(inked[start:end].any(axis=1))
        gap = np.diff([start, *rows, end]).max() / (end - start)
        columns = np.flatnonzero(inked.any(axis=0)) / width
        found.append(Look(image.name, float(gap), float(columns.min()), float(columns.max())))
    return found
