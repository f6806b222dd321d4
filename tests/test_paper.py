"""The paper and the explorer are computed from the tables, and readable with few or many models."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pypandoc
import pytest
from browser import browser
from paper_text import looked_at
from synthetic import make_study

from reports import (
    calibration_text,
    elsewhere_text,
    paper,
    paper_tables,
    qmd,
    render,
    steering_text,
    story,
    summary_text,
)
from study.read import InputError
from tests import forms

TESTS = Path(__file__).parent
REPORTS = TESTS.parent / "reports"


#: Digits allowed in the prose: facts of the published study and of others, and names.
CONSTANTS = (
    r"50%",
    r"92%",
    r"124M",
    r"3B",
    r"0\.007",
    r"−107\.5",
    r"layer zero",
    r"SmolLM2",
    r"Gemma 3",
    r"arXiv:2609\.22208",
    r"https://arxiv\.org/abs/2609\.22208",
    r"95%",
    r"90%",
    r"distinct-2",
    r"et al\. 2026",
    r"SHA-256",
)
CLAIMS = (
    "every model",
    "over models",
    "50% of the depth",
    "every architecture",
    "every scale",
    "Generation separates",
    "Steering succeeds",
    "three regimes",
    "Regimes follow",
    "from training",
    "layer 0",
    "Valence is early",
    "Instruction tuning",
    "Numerical precision",
)


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("scores") / "nine", n_emotions=4)


@dataclass
class Pages:
    """Both reports of the study of nine models, made by the light renderer."""

    paper: Path
    pdf: Path
    explorer: Path
    word: list[Path]  # both reports
    shown: list[set[str]]  # the types of each output that a cell displayed


@pytest.fixture(scope="module")
def pages(nine: Path, tmp_path_factory: pytest.TempPathFactory) -> Pages:
    folder, shown = tmp_path_factory.mktemp("pages"), []
    display = render._display

    def note(report: qmd.Report, chunk: qmd.Chunk, data: dict[str, str], target: Path) -> str:
        shown.append(set(data))
        return display(report, chunk, data, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "_display", note)
        for name, formats in (("paper", ["html", "typst", "docx"]), ("explore", ["html", "docx"])):
            render.render(REPORTS / f"{name}.qmd", {"study": str(nine)}, folder, formats)
    paper, pdf, explorer = (folder / name for name in ("paper.html", "paper.pdf", "explore.html"))
    return Pages(paper, pdf, explorer, [folder / "paper.docx", folder / "explore.docx"], shown)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html.split("<body>")[1]))


def rendered(study: Path, folder: Path) -> tuple[str, Path]:
    """Render the paper for a study; return the text of the HTML and the path of the PDF."""
    html, pdf = render.render(REPORTS / "paper.qmd", {"study": str(study)}, folder)
    return text_of(html.read_text(encoding="utf-8")), pdf


def test_no_result_is_typed_into_the_paper() -> None:
    report = qmd.parse(REPORTS / "paper.qmd")
    texts = []
    for chunk in report.chunks:
        if chunk.is_cell:
            texts.append(" ".join(str(chunk.options.get(k, "")) for k in ("fig-cap", "tbl-cap")))
            texts += sentences(chunk.text)
        else:
            texts.append(re.sub(r"`[^`]*`|\{[^}]*\}|\[?@[\w-]+", "", qmd._prose(chunk.text)))
    for module in (paper, steering_text, calibration_text, elsewhere_text, story, summary_text):
        assert module.__file__ is not None
        texts += sentences(Path(module.__file__).read_text(encoding="utf-8"))
    for text in texts:
        text = re.sub(r"\[?@[\w-]+", "", text)
        for constant in CONSTANTS:
            text = re.sub(constant, "", text)
        assert not re.search(r"\d", text), text


def sentences(code: str) -> list[str]:
    """Return the strings of at least three words in some code, without docstrings."""
    tree = ast.parse(code)
    described = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and isinstance(node.body[0], ast.Expr)
    }
    strings = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and n not in described]
    texts = [n.value for n in strings if isinstance(n.value, str) and n.value.count(" ") > 1]
    return [re.sub(r"\{[^}]*\}", "", text) for text in texts]


def test_sentences_of_the_paper_have_the_numbers_of_its_table(pages: Pages) -> None:
    html = pages.paper.read_text(encoding="utf-8")
    text, html = (unescape(part).replace("\xa0", " ") for part in (text_of(html), html))
    table = re.search(r'id="tbl-claims".*?</table>', html, re.DOTALL)
    assert table is not None
    compared = 0
    for row in re.findall(r"<tr.*?</tr>", table[0], re.DOTALL)[1:]:
        cells = [
            re.sub(r"<[a-z/][^>]*>|\s+", " ", c) for c in re.findall(r"<td.*?</td>", row, re.DOTALL)
        ]
        claim, *scopes = (" ".join(c.split()) for c in cells)
        start = text.find(f"{claim}: ")
        for value, p, verdict in (scopes[:3], scopes[3:]):
            if p == "–":
                continue
            said = re.compile(rf": {verdict}[;,] .*? n = \d+ models?\)\.").search(text, start)
            assert said is not None, claim
            estimate, _, inside = value.partition(" ")
            assert f" = {estimate}, " in said[0], said[0]
            assert inside in said[0], said[0]
            assert f"adjusted p {p if p.startswith('<') else f'= {p}'}, n = " in said[0]
            compared += 1
            start = said.end()
    assert compared >= 10


def test_typed_numbers_would_be_found() -> None:
    code = 'def f():\n    "Doc of 3 words."\n    return f"of {x} models, 12 are so"'
    assert sentences(code) == [" models, 12 are so"]


def test_paper_of_nine_models(pages: Pages) -> None:
    text, pdf = text_of(pages.paper.read_text(encoding="utf-8")), pages.pdf
    assert "This study (nine) has nine models of five families" in text
    assert not re.search(r"\b(nan|NaN|inf|None)\b", text)
    assert all(word in text for word in ("supported", "undecided", "not testable"))
    assert "families with both kinds" in text
    assert pdf.stat().st_size > 50_000
    if shutil.which("pdftotext"):
        command = ["pdftotext", "-l", "3", "-layout", str(pdf), "-"]
        first = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert [claim for claim in CLAIMS if claim not in first] == []


def test_the_word_version_has_the_same_words_and_numbers(pages: Pages) -> None:
    page = pages.paper.read_text(encoding="utf-8")
    word = pypandoc.convert_file(str(pages.word[0]), "html", extra_args=["--standalone"])
    claims = page.index('id="tbl-claims"'), word.index("Each claim and its verdict in two scopes")
    cells = cells_after(page, claims[0]), cells_after(word, word.rindex("<table", 0, claims[1]))
    assert len(cells[0]) > 40
    assert cells[0] == cells[1]
    title, abstract = r'<h1 class="title">(.*?)</h1>', r">Abstract</h\d>(.*?)<h1"
    for part, length in ((title, 200), (abstract, 1500)):
        texts = [re.search(part, html, re.DOTALL) for html in (page, word)]
        said = [plain(text[1])[:length] for text in texts if text is not None]
        assert said[0] == said[1]
    with zipfile.ZipFile(pages.word[0]) as parts:
        media = [parts.read(name) for name in parts.namelist() if "/media/" in name]
        document = parts.read("word/document.xml").decode()
    assert len(media) == page.count("<img") > 5
    assert all(picture.startswith(b"\x89PNG") for picture in media)
    assert document.count("<w:tbl>") == page.count("<table") > 5


def cells_after(html: str, start: int) -> list[str]:
    """Return the cells of the table that follows a place."""
    table = html[html.index("<table", start) : html.index("</table>", start)]
    return [plain(cell) for cell in re.findall(r"<t[dh]\b.*?</t[dh]>", table, re.DOTALL)]


def plain(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())


def test_the_explorer_for_word_says_where_it_is(pages: Pages) -> None:
    text = pypandoc.convert_file(str(pages.word[1]), "plain")
    assert " ".join(text.split()) == "The explorer is a page for browsers: explore.html."


def test_no_page_is_more_than_a_third_empty_and_nothing_is_in_its_margins(pages: Pages) -> None:
    if shutil.which("pdftoppm") is None:
        pytest.skip("no pdftoppm: the pages were made but not looked at")
    *pages_before, last = looked_at(pages.pdf)
    assert len(pages_before) > 10
    for page in (*pages_before, last):
        assert 0.1 < page.left < page.right < 0.9, page
        assert page.gap < 1 / 3 or page == last, page


def test_the_certificates_of_a_run_are_shown() -> None:
    checks = [
        {"check": "layers", "value": 0.0, "limit": 0.0},
        {"check": "padding", "value": 2e-7, "limit": 1e-3},
        {"check": "repetition", "value": 1e-7, "limit": 1e-3},
    ]
    one = {"model": "m", "weights": "trained", "precision": "float32", "checks": checks}
    found = SimpleNamespace(scores=SimpleNamespace(run={"certificates": [one]}))
    shown = str(paper_tables.certificates_table(found))
    assert "| m | trained | float32 | 3 | padding | 2e-07 | 1e-03 |" in shown
    found.scores.run = {}
    assert paper_tables.certificates_table(found) is elsewhere_text.ABSENT


def test_paper_of_one_model_says_what_is_missing(tmp_path: Path) -> None:
    study = make_study(tmp_path / "one", families=(1,), methods=("comprehension",), n_emotions=3)
    text, _ = rendered(study, tmp_path / "out")
    assert "one model of one family" in text
    page = (tmp_path / "out" / "paper.html").read_text(encoding="utf-8")
    for place in ("fig-success", "tbl-steering", "sec-steering"):  # there are no trials
        assert f'id="{place}"' not in page
    assert 'id="sec-invariance"' in page


def test_numbers_follow_the_tables(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", families=(1, 1, 1), n_emotions=2)
    before = words(study)
    table = pd.read_parquet(study / "scores.parquet")
    row = table[(table["metric"] == "auc") & (table["weights"] == "trained")].index[0]
    table.loc[row, "score"] += 1.0
    table.to_parquet(study / "scores.parquet", index=False)
    after = words(study)
    numbers = [re.findall(r"\d\.\d\d", text) for text in (before, after)]
    assert numbers[0] != numbers[1]


def words(study: Path) -> str:
    """Execute the paper up to its introduction: the abstract and the claims."""
    report = qmd.parse(REPORTS / "paper.qmd")
    end = next(i for i, c in enumerate(report.chunks) if "# Introduction" in c.text)
    first = qmd.Chunk(report.chunks[end].line, report.chunks[end].text.split("# Introduction")[0])
    some = [*report.chunks[:end], first]
    for chunk in some:
        if chunk.is_cell and "tbl-cap" in chunk.options:
            chunk.options["tbl-cap"] = "Claims."
        elif not chunk.is_cell:
            chunk.text = chunk.text.replace("@tbl-reasons", "The appendix")
    cut = qmd.Report(report.path, report.meta, some)
    return str(render.execute(cut, {"study": str(study)}, study))


def test_unknown_study_lists_those_that_exist(nine: Path) -> None:
    folder = nine.parent.parent / "data"
    (folder / "scores").mkdir(parents=True)
    shutil.copytree(nine, folder / "scores" / "nine")
    with pytest.raises(InputError, match=r"no such study folder; there are nine$"):
        paper.findings(folder, "ten")


def test_every_output_is_of_a_type_that_quarto_embeds(pages: Pages) -> None:
    """In the page and in the PDF; beside HTML or JavaScript, Quarto loads scripts from a CDN."""
    assert len(pages.shown) > 20
    for types in pages.shown:
        assert types & {"text/markdown", "image/svg+xml", "image/png"}, types
        assert not types & {"text/html", "application/javascript"}, types
        assert not any("widget" in name for name in types), types


def test_no_page_loads_anything_from_elsewhere(pages: Pages) -> None:
    for file in (pages.paper, pages.explorer):
        html = file.read_text(encoding="utf-8")
        markup = re.sub(r"(<script[^>]*>).*?</script>", r"\1", html, flags=re.DOTALL)
        loads = r'<(script|link|img|iframe|source|object)[^>]*(src|href|data)="(?!data:|#)'
        assert not re.search(loads, markup)
        styles = " ".join(re.findall(r"<style[^>]*>(.*?)</style>", html, flags=re.DOTALL))
        assert not re.search(r"@import|url\([\"']?(?!data:|#)", styles)


#: Elements that extend beyond the page on either side, outside any box that scrolls.
OUTSIDE = """
const width = document.documentElement.clientWidth, found = [];
for (const element of document.querySelectorAll('body *')) {
  const {left, right, width: own} = element.getBoundingClientRect();
  if (!own || (left > -1 && right < width + 1)) continue;
  let box = element.parentElement;
  const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
  while (box && !scrolls(box)) box = box.parentElement;
  if (!box) found.push(`${element.tagName} ${element.id} ${Math.round(left)} ${Math.round(right)}`);
}
return found;
"""
#: Boxes that hide wider content, or scroll vertically.
CUT = """
return [...document.querySelectorAll('body :not(svg, svg *)')].filter(element => {
  const {overflowX, overflowY} = getComputedStyle(element);
  return overflowX === 'hidden' && element.scrollWidth > element.clientWidth + 1
    || ['auto', 'scroll'].includes(overflowY) && element.scrollHeight > element.clientHeight + 1;
}).map(element => `${element.tagName} ${element.id}`);
"""
#: Quarto's wrappers of a cell's output, and its rule for them (always a bar), round every table.
AS_QUARTO = """
const style = document.createElement('style');
style.textContent = '.cell-output-display { overflow-x: scroll; }';
document.head.prepend(style);
for (const table of document.querySelectorAll('table')) {
  const box = document.createElement('div');
  box.className = 'cell-output cell-output-display cell-output-markdown';
  table.replaceWith(box);
  box.append(table);
}
"""


@pytest.mark.parametrize("width", [400, 800, 1200, 1600])
def test_pages_fit_every_width(pages: Pages, width: int) -> None:
    if shutil.which("chromedriver") is None:
        pytest.skip("no chromedriver: the pages were made but not opened")
    with browser() as page:
        for file in (pages.paper, pages.explorer):
            page.resize(width)
            page.open(file)
            if file == pages.explorer:
                page.wait("return document.querySelectorAll('.mark-rect path').length > 10")
            for change in ("", AS_QUARTO):
                page.run(change)
                assert page.run("return document.documentElement.scrollWidth") <= width
                assert page.run(OUTSIDE) == []
                assert page.run(CUT) == []
            assert page.run("return performance.getEntriesByType('resource').length") == 0


def test_captions_and_equations_look_as_in_the_pdf(pages: Pages) -> None:
    if shutil.which("chromedriver") is None:
        pytest.skip("no chromedriver: the pages were made but not opened")
    look = """
    const [caption, table] = ['figcaption', 'table'].map(
      name => document.querySelector('#tbl-claims ' + name));
    const label = caption.querySelector('strong');
    const equation = document.querySelector('#eq-curve'), place = e => e.getBoundingClientRect();
    return {
      label: label.textContent, weight: +getComputedStyle(label).fontWeight,
      align: getComputedStyle(caption).textAlign,
      above: place(caption).bottom <= place(table).top + 1,
      numbers: document.querySelectorAll('.equation > .number').length,
      gap: place(equation).right - place(equation.querySelector('.number')).right,
    };
    """
    with browser() as page:
        page.resize(1200)
        page.open(pages.paper)
        found = page.run(look)
    assert found["label"] == "Table\u00a01:"
    assert found["weight"] >= 600
    assert found["align"] == "left"
    assert found["above"]
    assert found["numbers"] == 4
    assert abs(found["gap"]) < 1


POLITE = """
source = "folds.csv"
name = "polite"
[columns]
concept = "politeness"
[preregistered]
target = 0.6
delta = 0.2
[words]
concept = "level of politeness"
concepts = "levels of politeness"
"""


def test_the_paper_of_a_strangers_table_has_no_word_that_does_not_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    parts = [
        forms.truth().assign(
            politeness=level,
            fold=fold,
            accuracy=lambda t: t["accuracy"] + 0.01 * rng.standard_normal(len(t)),
        )
        for level in ("formal", "casual", "rude")
        for fold in range(5)
    ]
    pd.concat(parts).to_csv(tmp_path / "folds.csv", index=False)
    (tmp_path / "polite.toml").write_text(POLITE)
    source = tmp_path / "polite.toml"
    text, pdf = rendered(source, tmp_path / "out")
    for word in (
        *("emotion", "comprehension", "SmolLM2", "steering", "passage", "topic", "crossnobis"),
        *("anisotropy", "untrained", "generation separates", "valence is", "nan"),
    ):
        assert not re.search(rf"\b{word}", text, flags=re.IGNORECASE), word
    for said in (
        "separate levels of politeness?",
        "three levels of politeness",
        "Levels of politeness",
        "5 folds of one data set",
        "Separation peaks at 60% of the depth: supported",
        "a hump in 6 of 6 models",
    ):
        assert said in text, said
    assert pdf.stat().st_size > 30_000
    (page,) = render.render(REPORTS / "explore.qmd", {"study": str(source)}, tmp_path / "out")
    html = page.read_text(encoding="utf-8")
    shown = html.split("<body>")[1].split("<script")[0]
    assert "emotion" not in shown.lower()
    assert "levels of politeness" in html
