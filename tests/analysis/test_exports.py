"""Result tables for other programs: each export opens there and holds the same numbers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pandas as pd
import pypandoc
import pytest

from analysis import InputError, say, to_csv, to_docx, to_latex, to_markdown
from analysis.reporting.exports import laid_out
from analysis.reporting.say import KINDS
from analysis.reporting.shown import PRINTED
from tests.analysis.test_sentences import RESULTS, located, numbers_in

#: Names that mean something to Markdown, LaTeX or a spreadsheet.
HOSTILE = ("=cmd()", "50% & more_x^2 {a} #1 $y$ ~ \\input{x}", "a|b *c* <b>d</b> [e](f)")


@cache
def claims() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "key": ["a", "b"],
            "claim": ["It peaks at 50% of the depth", "The curve is the same in every family"],
            "source": ["Jeong 2026", "control"],
            "quantity": ["pooled depth", None],
            "estimate": [-0.1234, None],
            "low": [-0.2, None],
            "high": [0.0049, None],
            "confidence": [0.95, None],
            "p": [0.0004, None],
            "p_holm": [0.0008, None],
            "n": [9, None],
            "rule": ["r", "r"],
            "verdict": ["contradicted", "not testable"],
            "reason": ["it is elsewhere", "there is one family"],
        }
    )


@pytest.mark.parametrize("name", ["method_test", "invariance_test"])
def test_a_printed_table_has_the_numbers_of_its_sentences(name: str) -> None:
    result = RESULTS[name]().head(6)
    layout = laid_out(result)
    text = " ".join([*layout.table.to_numpy().ravel(), *layout.notes])
    for said, row in zip(say(result), layout.table.to_dict("records"), strict=True):
        shown = " ".join(row.values())
        for found in re.findall(r"\[[^\]]+\]", said):
            assert found in text
        assert set(re.findall(r"(?<=p = )\.\d{3}", said)) <= set(re.findall(r"\.\d{3}", shown))


def test_every_kind_of_result_is_printed() -> None:
    assert {kind.name for kind in KINDS} == set(PRINTED)


def test_what_all_rows_share_is_said_once() -> None:
    two = pd.concat([located(), located(method="generation")])
    layout = laid_out(two, names={"auc": "AUC"}, notes=["AUC: larger is better"])
    assert "Metric" not in layout.table
    assert layout.table["Method"].tolist() == ["comprehension", "generation"]
    assert layout.table["Depth"].tolist() == ["0.50 [0.41, 0.58]"] * 2
    assert layout.notes[1:] == [
        "95% intervals in brackets.",
        "Metric: AUC.",
        "AUC: larger is better.",
    ]


def test_levels_that_differ_are_said_in_each_row() -> None:
    two = pd.concat([located(), located(confidence=0.9)])
    assert laid_out(two).table["Depth"].tolist() == [
        "0.50 [0.41, 0.58] 95%",
        "0.50 [0.41, 0.58] 90%",
    ]


def test_markdown_and_word_hold_the_same_numbers(tmp_path: Path) -> None:
    text = to_markdown(claims(), tmp_path / "t.md", caption="Claims of 2026", notes=["n is small"])
    assert (tmp_path / "t.md").read_text(encoding="utf-8") == text
    assert to_docx(claims(), tmp_path / "t.docx", caption="Claims of 2026") == tmp_path / "t.docx"
    word = pypandoc.convert_file(str(tmp_path / "t.docx"), "plain", extra_args=["--columns=300"])
    plain = pypandoc.convert_text(text, "plain", "markdown", extra_args=["--columns=300"])
    for shown in (
        "−0.12 [−0.20, 0.00]",
        "< .001",
        "Claims of 2026",
        "not testable",
        "95% intervals",
    ):
        assert shown in word
        assert shown in plain
    assert "n is small." in plain
    assert sorted(numbers_in(word)) == sorted(numbers_in(plain))


def test_latex_is_a_table_of_booktabs() -> None:
    text = to_latex(claims(), caption="Where 50% lie", label="tab:c")
    assert r"\caption{Where 50\% lie}" in text
    assert r"\label{tab:c}" in text
    assert r"$-$0.12 [$-$0.20, 0.00] & $<$ .001 & 9 & contradicted \\" in text
    assert text.count(r"\midrule") == 1


def test_latex_compiles_and_shows_the_numbers(tmp_path: Path) -> None:
    latex = shutil.which("pdflatex") or shutil.which("tectonic")
    if latex is None:
        pytest.skip("neither pdflatex nor tectonic is installed (apt install texlive-latex-base)")
    tables = to_latex(claims(), caption=HOSTILE[1]) + to_latex(located(metric=HOSTILE[1]))
    tables += to_latex(located(verdict="a verdict of many words that wrap in a narrow column"))
    head = r"\documentclass{article}\usepackage{booktabs,array}\begin{document}"
    (tmp_path / "t.tex").write_text(f"{head}\n{tables}\n\\end{{document}}", encoding="utf-8")
    command = [latex] if "tectonic" in latex else [latex, "-interaction=nonstopmode"]
    done = subprocess.run([*command, "t.tex"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 5000
    reader = shutil.which("pdftotext")
    if reader:
        shown = subprocess.check_output([reader, "-layout", "t.pdf", "-"], cwd=tmp_path, text=True)
        assert "−0.12 [−0.20, 0.00]" in shown


def test_csv_has_every_column_unrounded(tmp_path: Path) -> None:
    text = to_csv(claims(), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == text
    again = pd.read_csv(tmp_path / "t.csv")
    assert list(again) == list(claims())
    assert again["estimate"].iloc[0] == claims()["estimate"].iloc[0]
    assert say(again) == say(claims())


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_and_mean_nothing(name: str, tmp_path: Path) -> None:
    table = pd.concat([located(metric=name), located(metric="auc")])
    to_docx(table, tmp_path / "t.docx")
    word = pypandoc.convert_file(str(tmp_path / "t.docx"), "plain", extra_args=["--columns=400"])
    assert name in word
    assert r"\input{x}" not in to_latex(table)
    assert "\n=" not in to_csv(table.assign(first=name)[["first"]])


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pypandoc", None)
    with pytest.raises(InputError, match="Word files need pandoc: pip install"):
        to_docx(claims(), tmp_path / "t.docx")
    with pytest.raises(InputError, match="keep all of its columns"):
        to_markdown(pd.DataFrame({"estimate": [1.0]}))
