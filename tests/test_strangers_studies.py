"""Run files with values of wrong types, names with control characters, studies too small to fit."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pypandoc
import pytest
from hostile_names import FORMS
from synthetic import make_study

from analysis import as_scores, figures, load_scores, read_scores
from analysis.__main__ import main
from analysis.figures.explorer import explorer
from analysis.loading.options import hint
from reports import elsewhere_text, paper, paper_tables, story
from study.read import InputError


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("studies") / "small", families=(1, 1), n_emotions=2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("emotions", [5]),
        ("emotions", 5),
        ("emotions", [None]),
        ("emotions", [{"name": 5}]),
        ("command", [5]),
        ("command", 5),
        ("versions", [1]),
        ("versions", {"a": [1]}),
        ("judges", [1]),
        ("judges", {"a": {"accuracy": "much"}}),
        ("topics", "abc"),
        ("certificates", [{"model": "m"}]),
        ("certificates", [{"model": 5, "weights": "w", "precision": "p", "checks": []}]),
        ("certificates", {"a": 1}),
    ],
)
def test_a_run_file_of_other_types_is_refused_in_one_line(
    field: str, value: Any, small: Path, tmp_path: Path
) -> None:
    run = json.loads((small / "run.json").read_text(encoding="utf-8"))
    shutil.copy(small / "scores.parquet", tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(run | {field: value}), encoding="utf-8")
    with pytest.raises(InputError, match=rf"run\.json: (field ')?{field}") as caught:
        load_scores(tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb", "\x9b2J", "a\x00", "\x7f"])
def test_names_with_control_characters_are_refused(name: str) -> None:
    depth = [0, 0.25, 0.5, 0.75, 1]
    table = pd.DataFrame({"model": name, "family": "f", "depth": depth, "score": depth})
    with pytest.raises(InputError, match="control characters; rename it") as caught:
        as_scores(table)
    assert str(caught.value).isprintable()


def test_a_study_in_which_no_profile_fits_has_its_paper(small: Path, tmp_path: Path) -> None:
    """Models of one block have two layers, which do not determine a quadratic."""
    for name in ("scores", "replicates"):
        rows = pd.read_parquet(small / f"{name}.parquet")
        rows = rows[rows["layer"] < 2].assign(depth=lambda t: t["layer"].astype(float))
        if name == "scores":
            rows["n_layers"] = 1
        rows.to_parquet(tmp_path / f"{name}.parquet", index=False)
    shutil.copy(small / "run.json", tmp_path)
    found = paper.findings(tmp_path, str(tmp_path))
    for metric in (found.primary_metric, None):
        assert "undecided" in paper_tables.shape_table(found, metric)
    assert "undecided" in paper_tables.claims_overview(found)
    figures.specification_curve(found.specifications, 0.5, 0.1, found.titles)
    assert explorer(found.scores, found.fits)["curves"]


def test_a_run_file_names_no_file_of_claims_and_poses_as_no_table_from_elsewhere(
    small: Path, tmp_path: Path
) -> None:
    run = json.loads((small / "run.json").read_text(encoding="utf-8"))
    shutil.copy(small / "scores.parquet", tmp_path)
    added = {"claims": "s3://bucket/claims.toml", "notes": ["n"], "words": {"concepts": 5}}
    (tmp_path / "run.json").write_text(json.dumps(run | added), encoding="utf-8")
    scores = load_scores(tmp_path)
    assert not scores.is_foreign
    assert not set(added) & set(scores.run)


CLAIM = '[[claim]]\nkey = "k"\ntest = "hump in every model"\nsentence = {}\n'


def test_claims_print_no_formula_and_no_escape_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    depth = [0, 0.25, 0.5, 0.75, 1]
    rows = pd.DataFrame({"model": "=1+1", "family": "@f", "depth": depth, "score": depth})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "claims.toml").write_text(CLAIM.format('"=cmd()\\u001b[31m"'))
    arguments = [str(tmp_path / "rows.csv"), "--claims", str(tmp_path / "claims.toml")]
    for option in ("--csv", "--json", ""):
        assert main([*arguments, *filter(None, [option])]) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out
        if option == "--csv":
            (row,) = csv.DictReader(io.StringIO(out))
            assert row["claim"] == r"'=cmd()\x1b[31m"
            assert all(cell[:1] not in ("=", "+", "@") for cell in row.values())


HOSTILE = [form for form in FORMS if "/" not in form and "\u202e" not in form]
MAPPING = """
source = "models/*.csv"
name = {name}
[columns]
concept = "what"
[metrics.accuracy]
label = {label}
[words]
concept = {concept}
concepts = {concepts}
"""


class Page(HTMLParser):
    """What elements and attributes a page has, and what it shows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.shown = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.shown += re.sub(r"\s", "", data)


def test_a_strangers_folder_and_mapping_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of files, concepts, words, labels and claims, in sentences, a page and a terminal."""
    monkeypatch.setenv("COLUMNS", "1000")
    left = iter(HOSTILE)
    names = {key: next(left) for key in ("name", "label", "concept", "concepts")}
    models, concepts, claim = [next(left), next(left)], [next(left), next(left)], next(left)
    (tmp_path / "models").mkdir()
    depth = np.linspace(0, 1, 9)
    for number, model in enumerate(models):
        score = 0.9 - (depth - 0.5) ** 2 + 0.01 * np.cos(7 * np.arange(9) + number)
        rows = [pd.DataFrame({"what": c, "layer": range(9), "accuracy": score}) for c in concepts]
        pd.concat(rows).to_csv(tmp_path / "models" / f"{model}.csv", index=False)
    mapping, claims = tmp_path / "mine.toml", tmp_path / "claims.toml"
    mapping.write_text(MAPPING.format(**{k: json.dumps(v) for k, v in names.items()}))
    said = claim.replace("{", "{{").replace("}", "}}")
    claims.write_text(CLAIM.format(json.dumps(said)))
    found = paper.findings(tmp_path, str(mapping))
    sentences = [story.front(found), elsewhere_text.read_sentence(found)]
    sentences += [story.summary(found), elsewhere_text.measure_sentence(found)]
    sentences += [paper.emotions_sentence(found), paper_tables.models_table(found)]
    text = "\n\n".join(map(str, sentences))
    assert "{{<" not in text
    dialect = "markdown+emoji+autolink_bare_uris+mark"
    sentences_page = Page(pypandoc.convert_text(text, "html", dialect))
    arguments = [str(mapping), "--claims", str(claims)]
    assert main([*arguments, "--html", str(tmp_path / "page.html")]) == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8").split("<svg")[0])
    rest = Page((tmp_path / "page.html").read_text(encoding="utf-8").split("</svg>")[1])
    assert main([*arguments, "--figure", str(tmp_path / "figure.svg")]) == 0
    capsys.readouterr()
    assert main(arguments) == 0
    terminal = re.sub(r"\s", "", capsys.readouterr().out)
    bare = {name: re.sub(r"\s", "", name) for name in [*names.values(), *models, *concepts, claim]}
    for one in (sentences_page, page, rest):
        assert not {"script", "img", "iframe", "a", "svg"} & {*one.elements}
        assert not {name for name in one.attributes if name.startswith("on")}
    for name in models:
        assert bare[name] in sentences_page.shown
        assert bare[name] in rest.shown
        assert bare[name] in terminal
    for name in (*names.values(), *concepts):
        assert bare[name] in sentences_page.shown, name
    assert bare[claim] in page.shown
    assert bare[claim] in terminal
    assert bare[names["name"]] in page.shown


def test_a_message_that_quotes_a_file_is_one_printable_line(tmp_path: Path) -> None:
    evil = "\x1b[31m[bold]<script>\u202e"
    for name, content in {
        "a.toml": f'source = "x.csv"\nnonsense = "{evil}"',
        "b.csv": f"model,layer,score\nm,0,{evil}\n",
        "c.json": f'{{"a": "{evil}"',
        f"{evil.replace('/', '')}.csv": "nothing",
    }.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError) as caught:
            read_scores(tmp_path / name)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) <= 1000


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"source": "a.csv"}, "The numbers were read from a.csv."),
        (
            {
                "source": "a.csv",
                "notes": ["depth in percent"],
                "assumed": [f"one family; otherwise give {hint('family', {'m': 'F'})}"],
            },
            "The numbers were read from a.csv: depth in percent. Assumed or left out: one family.",
        ),
    ],
)
def test_the_paper_says_how_a_table_was_read(run, said):
    found = SimpleNamespace(scores=SimpleNamespace(run=run))
    assert str(elsewhere_text.read_sentence(found)).strip() == said
