"""The explorer: what it shows, its addresses, and its use by keyboard and screen reader."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from browser import Page, browser
from synthetic import make_study

from analysis.figures.explorer import explorer
from analysis.planning.simulate import simulate_scores
from analysis.profiles.curves import fit_curves
from reports import explorer_page
from reports.paper import scores_of
from study import HOME

CSS = (HOME / "reports" / "theme.css").read_text(encoding="utf-8")
STATUS = "document.querySelector('[role=status]').textContent"
CLAIM = {
    "claim": "It is so",
    **{"verdict": "undecided", "quantity": "share", "estimate": 0.5, "p_holm": 0.01, "n": 3},
    **{"verdict_these": "supported", "quantity_these": "share", "estimate_these": 0.5},
    **{"p_holm_these": 0.02, "reason": "few families", "reason_these": "it is seen"},
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Return a study of three models with claims and examples, and a small one without."""
    folder = make_study(tmp_path_factory.mktemp("scores") / "three", families=(2, 1), n_emotions=4)
    three, two = (
        scores_of(folder, str(folder)),
        simulate_scores(families=(1, 1), n_emotions=3, n_replicates=40),
    )
    claims = pd.DataFrame([CLAIM])
    example = {"model": "gpt-2-1", "regime": "surgical", "emotion": "e1", "strength": 0.2}
    examples = pd.DataFrame([{**example, "text": "so\nit  begins"}])
    return [
        explorer(three, fit_curves(three, weights=None), claims, examples),
        explorer(two, fit_curves(two)) | {"name": "two"},
    ]


@pytest.fixture(scope="module")
def file(studies: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "explore.html"
    head = f'<meta charset="utf-8">{explorer_page.policy()}<style>{CSS}</style><title>x</title>'
    body = explorer_page.page(studies)
    path.write_text(f'<html lang="en"><head>{head}</head><body>{body}</body></html>', "utf-8")
    return path


@pytest.fixture(scope="module")
def session() -> Iterator[Page]:
    if shutil.which("chromedriver") is None:
        pytest.skip("no chromedriver: the explorer was built but not opened")
    with browser() as page:
        yield page


def opened(page: Page, file: Path, view: str = "") -> None:
    """Open the page at an address, and wait until its charts are drawn."""
    page.open(Path("/"))
    page.send("POST", "/url", {"url": f"{file.as_uri()}#{view}"})
    drawn(page)


def drawn(page: Page) -> None:
    page.wait("return document.querySelector('#explorer')?.dataset.drawn")


def press(page: Page, key: str) -> None:
    """Press a key, by its code in the protocol."""
    keys = [{"type": way, "value": key} for way in ("keyDown", "keyUp")]
    page.send("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": keys}]})


def test_the_page_is_small_and_its_data_are_those_of_the_tables(
    studies: list[dict], file: Path
) -> None:
    assert file.stat().st_size < 5_000_000
    three = studies[0]
    assert three["models"][0]["family"] == "GPT-2"
    assert len({model["color"] for model in three["models"]}) == 3
    curve = next(c for c in three["curves"] if c["trained"])
    assert len(curve["scores"]) == len(curve["emotions"]) == 4
    assert len(curve["scores"][0]) == len(curve["depths"]) == len(curve["low"])
    assert three["claims"] == [
        ["It is so", "models like these", "undecided", "share 0.50", "0.010", "3", "few families"],
        ["It is so", "these models", "supported", "share 0.50", "0.020", "3", "it is seen"],
    ]
    assert three["examples"] == [["gpt-2-1", "surgical", "e1", "0.2", "so it begins"]]
    located = [peak for peak in three["peaks"] if peak["peak"] is not None]
    assert located
    assert all(peak["shape"] == "hump" and peak["low"] <= peak["high"] for peak in located)


def test_menus_models_and_concepts_change_what_is_shown(session: Page, file: Path) -> None:
    opened(session, file)
    lines = "[...document.querySelectorAll('.mark-line path')].map(p => p.getAttribute('d'))"
    bands = "document.querySelectorAll('.mark-area path').length"
    heads = "[...document.querySelectorAll('h2')].map(h => h.textContent).join()"
    assert session.run(f"return {lines}.length") == 6
    assert session.run(f"return {bands}") == 3
    assert "held-out AUC by depth" in session.run(f"return {heads}")
    before = session.run(f"return JSON.stringify({lines})")
    session.choose(2, "generation")
    session.wait(f"return JSON.stringify({lines}) !== {json.dumps(before)}")
    session.choose(1, "crossnobis")
    session.choose(3, "gpt-2-1")
    session.wait(f"return ({heads}).includes('crossnobis distance by depth')")
    assert "Emotions in gpt-2-1" in session.run(f"return {heads}")
    session.run("document.querySelector('input[value=\"gpt-2-2\"]').click()")
    session.wait(f"return {lines}.length === 4")
    assert "2 of 3 models" in session.run(f"return {STATUS}")
    cell = "document.querySelectorAll('.mark-rect path[aria-label*=emotion]')[5]"
    session.point(f"return {cell}")
    tip = "document.querySelector('#vg-tooltip-element')"
    assert "emotion" in session.wait(f"return {tip} && {tip}.textContent")
    session.point(f"return {cell}", press=True)
    session.wait(f"return {bands} === 0 && ({STATUS}).includes('1 of 4 emotions')")
    session.choose(0, "two")
    session.wait(f"return {lines}.length === 2")
    assert session.run("return document.activeElement.id") == "explorer-study"


def test_an_address_brings_back_the_view(session: Page, file: Path) -> None:
    view = "study=two&measure=score&model=m2&concept=e1&concept=e3&numbers=yes&theme=dark"
    opened(session, file, view)
    assert "1 of 2 models, 2 of 3 emotions" in session.run(f"return {STATUS}")
    assert session.run("return document.querySelectorAll('#explorer-tables table').length") == 2
    assert session.run("return document.documentElement.dataset.theme") == "dark"
    address = session.run("return location.hash")
    assert session.run("return document.querySelector('a').hash") == address
    session.run("document.querySelector('input[value=e2]').click()")
    assert session.run("return location.hash") != address
    session.run("location.hash = arguments[0]", address)
    session.wait(f"return ({STATUS}).includes('2 of 3 emotions')")


def test_an_address_that_names_what_is_not_here_says_so(session: Page, file: Path) -> None:
    opened(session, file, "measure=no-such&model=gone")
    assert "measure “no-such”, model “gone”" in session.run(f"return {STATUS}")
    assert session.run("return document.querySelectorAll('.mark-line path').length") == 6


def test_the_tables_hold_the_numbers_of_the_charts(
    session: Page, file: Path, studies: list[dict]
) -> None:
    opened(session, file, "numbers=yes&model=gpt-2-1&twins=no")
    rows = session.run(
        "return [...document.querySelectorAll('#explorer-tables table')[0].tBodies[0].rows]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    models = [model["name"] for model in studies[0]["models"]]
    curve = next(
        c for c in studies[0]["curves"] if c["trained"] and models[c["model"]] == "gpt-2-1"
    )
    assert (curve["metric"], curve["method"]) == (0, 0)
    assert [row[:2] for row in rows] == [["gpt-2-1", "trained"]] * len(curve["depths"])
    for row, layer, depth, low, *scores in zip(
        rows, curve["layers"], curve["depths"], curve["low"], *curve["scores"], strict=True
    ):
        assert row[2:5] == [str(layer), f"{depth:.2f}", f"{sum(scores) / len(scores):.4f}"]
        assert row[5] == f"{low:.4f}"


def test_it_can_be_used_by_keyboard_and_screen_reader(session: Page, file: Path) -> None:
    opened(session, file)
    unnamed = """
    const named = e => e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label');
    return [...document.querySelectorAll('#explorer :is(select, input, button, a, [role=region])')]
      .filter(e => !named(e)).map(e => e.outerHTML);
    """
    assert session.run(unnamed) == []
    assert session.run(
        "return [...document.querySelectorAll('.chart')]"
        ".every(chart => chart.role === 'img' && chart.ariaLabel)"
    )
    assert session.run("return document.querySelectorAll('fieldset > legend').length") == 2
    assert session.run("return document.querySelectorAll('th:not([scope])').length") == 0
    assert session.run("return document.querySelectorAll('table:not(:has(caption))').length") == 0
    session.run("document.activeElement.blur()")
    reached = []
    for _ in range(5):
        press(session, "\ue004")
        reached.append(
            session.run("return document.activeElement.id || document.activeElement.tagName")
        )
    assert reached[:4] == [f"explorer-{name}" for name in ("study", "measure", "method", "heat")]
    session.run("document.querySelector('#explorer-numbers').focus()")
    press(session, "\ue007")
    session.wait("return document.querySelectorAll('#explorer-tables table').length === 2")
    expanded = "return document.querySelector('#explorer-numbers').getAttribute('aria-expanded')"
    assert session.run(expanded) == "true"
    assert session.run("return document.activeElement.id") == "explorer-numbers"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(session: Page, file: Path, theme: str) -> None:
    opened(session, file, f"theme={theme}")
    contrast = """
    const light = color => {
      const parts = color.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const page = light(getComputedStyle(document.body).backgroundColor);
    const ratio = element => {
      const own = light(getComputedStyle(element).color);
      return (Math.max(own, page) + 0.05) / (Math.min(own, page) + 0.05);
    };
    const least = names => Math.min(...[...document.querySelectorAll(names)].map(ratio));
    return [page, least('p, h2, th, td, caption, legend, a'), least('.swatch')];
    """
    page, text, mark = session.run(contrast)
    assert (page < 0.2) == (theme == "dark")
    assert text >= 4.5
    assert mark >= 2


def test_nothing_is_asked_of_a_network(session: Page, file: Path) -> None:
    opened(session, file)
    assert session.run("return performance.getEntriesByType('resource').length") == 0
