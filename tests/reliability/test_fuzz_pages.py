"""Generated strings in the pages of paper and explorer appear unchanged, as text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pypandoc
from hostile import texts
from hostile_names import FORMS
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.figures.explorer import explorer
from analysis.planning.simulate import simulate_scores
from analysis.profiles.curves import fit_curves
from analysis.wording import typeset
from reports import explorer_page
from reports.paper import claim_sentence
from study.text import Markdown, html_text, visible

signs = st.text("`{}<>[]()!|*_~^$#@\\&;:=-+'\"./%\n\t ae1\u202e", min_size=1, max_size=24)
names = signs | st.sampled_from(FORMS) | texts.filter(str.strip)
names = names.filter(lambda name: visible(name).strip() == visible(name) and len(name) < 200)
STUDY = simulate_scores(families=(1, 1), n_emotions=2, n_layers=(4, 6))
FITS = fit_curves(STUDY)


class Page(HTMLParser):
    """Collects a page's elements and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts = 0
        self.data: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.scripts += tag == "script"

    def handle_data(self, data: str) -> None:
        self.data.append(data)

    @property
    def text(self) -> str:
        return shown("".join(self.data))


def shown(text: str) -> str:
    return re.sub(r"\s+", "", text)


TABLE = {"table", "colgroup", "col", "thead", "tbody", "tr", "th", "td", "p", "em", "strong"}


@given(some=st.lists(names, min_size=5, max_size=20))
@settings(max_examples=settings.default.max_examples // 2)
def test_names_in_the_paper(guard: Any, some: list[str]) -> None:
    row = {"claim": some[0], "verdict": some[1], "reason": some[2], "quantity": some[3]}
    row |= {"estimate": 0.5, "low": 0.4, "high": 0.6, "p_holm": 0.2, "n": 3}

    def written() -> str:
        table = typeset(pd.DataFrame({"a": some, "b": some[::-1]}), {"a": some[0], "b": some[1]})
        sentence = claim_sentence(pd.DataFrame([row]))
        return str(Markdown("{}\n\n{}").format(table, sentence))

    text, _ = guard("pages, paper", written)
    assert "{{<" not in text
    extended = "markdown+emoji+autolink_bare_uris+mark"
    for dialect in (extended, "markdown-raw_html-raw_tex-latex_macros-raw_attribute"):
        page = Page(pypandoc.convert_text(text, "html", dialect))
        assert page.elements <= TABLE, text
        assert page.attributes <= {"style", "class"}, text
        missing = [name for name in some if shown(visible(name)) not in page.text]
        assert not missing, text


@given(some=st.lists(names, min_size=4, max_size=4, unique=True))
@settings(max_examples=settings.default.max_examples // 5)
def test_names_in_the_explorer(guard: Any, some: list[str]) -> None:
    models = dict(zip(sorted(STUDY.table["model"].unique()), some[:2], strict=True))
    emotions = dict(zip(sorted(STUDY.table["emotion"].unique()), some[2:], strict=True))
    table = STUDY.table.assign(
        model=STUDY.table["model"].map(models), emotion=STUDY.table["emotion"].map(emotions)
    )
    study = type(STUDY)(table, None, STUDY.directions, STUDY.run)
    fits = FITS.assign(model=FITS["model"].map(models))
    html, _ = guard("pages, explorer", lambda: explorer_page.page([explorer(study, fits)]))
    page = Page(html)
    assert page.elements == {"div", "script", "style"}
    assert page.scripts == 2
    data = json.loads(re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html)[0])
    (found,) = data["studies"]
    assert set(found["emotions"]) == set(some[2:])
    assert {model["name"] for model in found["models"]} == set(some[:2])


@given(some=st.lists(names, min_size=1, max_size=5))
def test_names_in_html(some: list[str]) -> None:
    page = Page("".join(f"<p>{html_text(name)}</p>" for name in some))
    assert page.elements == {"p"}
    assert page.text == shown("".join(map(visible, some)))
