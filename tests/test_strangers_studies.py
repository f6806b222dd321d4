"""Run files with values of other types, names with control characters, studies too small to fit."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic import make_study

from analysis import as_scores, figures, load_scores
from analysis.__main__ import main
from analysis.figures.explorer import explorer
from reports import explorer_page, paper, paper_tables
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
    """Models of one block: two layers, through which no quadratic is determined."""
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
    assert "explorer-chart" in explorer_page.page(explorer(found.scores, found.fits))


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
