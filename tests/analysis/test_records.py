"""Records of a study: its preregistration, its deposit, and figures and tables by name."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import jsonschema
import pandas as pd
import pypandoc
import pytest
import yaml

import analysis
from analysis import InputError, load_scores, preregistration, say
from analysis.__main__ import main
from analysis.claims.table import decided, evidence_of
from analysis.deposit import analysis_log, result_of, result_schema, write_deposit
from analysis.named import FIGURES, RESULTS, Source, check, drawn_from, write_figure, write_result
from reports import qmd
from study import load_study

HOME = Path(analysis.__file__).parent.parent
DEMO = HOME / "data" / "scores" / "demo"


@cache
def source() -> Source:
    scores = load_scores(DEMO)
    study = scores.select(
        metric=["auc", "crossnobis"], method=["comprehension", "generation", "rereading"]
    )
    return Source(scores, study, evidence_of(study, n_boot=39))


@cache
def claims() -> pd.DataFrame:
    return decided(source().evidence)


# -- before the data --------------------------------------------------------------------------


def test_a_preregistration_has_the_numbers_of_its_study_file(tmp_path: Path) -> None:
    text = (HOME / "data" / "studies" / "demo.toml").read_text(encoding="utf-8")
    assert "target = 0.5" in text
    file = tmp_path / "mine.toml"
    file.write_text(text.replace("target = 0.5", "target = 0.4"), encoding="utf-8")
    page = pypandoc.convert_text(
        preregistration(file, n_sim=2), "plain", "markdown", extra_args=["--columns=400"]
    )
    assert load_study(file).sha256 in page
    assert "Separation peaks at 40% of the depth" in page
    assert "within 0.1 of 0.4" in page
    assert "two models of two families" in page
    assert "12 topics" in page
    assert "Families: 1 1." in page.split("Power")[1]
    assert "Shares of simulated studies" in page


def test_a_preregistration_needs_no_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(preregistration("jeong2026", n_sim=0), encoding="utf-8")
    assert "Power" not in page.read_text(encoding="utf-8")
    assert main([str(tmp_path / "none.toml"), "--preregister", str(page)]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    text = (HOME / "data" / "studies" / "demo.toml").read_text(encoding="utf-8")
    (tmp_path / "s.toml").write_text(text.replace('"gemma-3-270m-q4"', '"gema"'), encoding="utf-8")
    with pytest.raises(InputError, match="no model 'gema'"):
        preregistration(tmp_path / "s.toml", n_sim=0)


# -- after the analysis -----------------------------------------------------------------------


def test_a_deposit_is_complete_and_valid(tmp_path: Path) -> None:
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")
    paths = write_deposit(tmp_path, source().evidence, claims(), "python -m analysis demo")
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    schema = json.loads((tmp_path / "result.schema.json").read_text(encoding="utf-8"))
    assert schema == result_schema()
    jsonschema.validate(result, schema)
    assert [row["sentence"] for row in result["claims"]] == say(claims())
    for name in ("verdict", "verdict_these"):
        assert [row[name] for row in result["claims"]] == claims()[name].tolist()
    crate = json.loads((tmp_path / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    parts = {one["@id"]: one for one in crate["@graph"]}
    assert parts["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    named = {one["@id"] for one in parts["./"]["hasPart"]}
    assert named == {"scores.parquet", *(p.name for p in paths)} - {"ro-crate-metadata.json"}
    assert named <= set(parts)
    assert parts["result.json"]["contentSize"] == str((tmp_path / "result.json").stat().st_size)
    cited = yaml.safe_load((tmp_path / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["type"] == "dataset"
    assert "demo" in cited["title"]


def test_a_result_that_breaks_the_schema_would_be_found() -> None:
    result = result_of(source().evidence, claims())
    result["claims"][0]["verdict"] = "perhaps"
    with pytest.raises(jsonschema.ValidationError, match="perhaps"):
        jsonschema.validate(result, result_schema())


def test_the_log_says_what_was_run() -> None:
    log = analysis_log(result_of(source().evidence, claims()), "python -m analysis demo")
    for said in (
        *("python -m analysis demo", "delta = 0.1", "numpy ", "Study file (SHA-256)"),
        *("## Claims in models like these", "## Claims in these models, over topics like these"),
    ):
        assert said in log


# -- figures and tables by name ---------------------------------------------------------------


@pytest.mark.parametrize("ending", [".svg", ".pdf", ".png"])
def test_a_figure_by_name_has_its_data_and_text(ending: str, tmp_path: Path) -> None:
    paths = write_figure(source(), tmp_path / f"methods{ending}")
    assert [p.suffix for p in paths] == [ending, ".csv", ".txt"]
    start = {".svg": b"<?xml", ".pdf": b"%PDF", ".png": b"\x89PNG"}[ending]
    assert paths[0].read_bytes().startswith(start)
    data = pd.read_csv(paths[1])
    assert set(data["model"]) == set(source().scores.table["model"])
    assert paths[2].read_text(encoding="utf-8") == FIGURES["methods"].alt + "\n"


def test_a_figure_of_another_name_is_the_overview_alone(tmp_path: Path) -> None:
    assert write_figure(source(), tmp_path / "mine.svg") == [tmp_path / "mine.svg"]


def test_data_of_several_tables_are_told_apart() -> None:
    table = drawn_from(FIGURES["peaks"].draw(source()))
    assert set(table["part"]) >= {1, 2}


def test_descriptions_are_those_of_the_paper() -> None:
    cells = qmd.parse(HOME / "reports" / "paper.qmd").chunks
    shown = {" ".join(c.options["fig-alt"].split()) for c in cells if "fig-alt" in c.options}
    ours = {figure.alt for name, figure in FIGURES.items() if name != "overview"}
    assert ours <= shown
    assert len(shown - ours) <= 1  # the calibration has no study


@pytest.mark.parametrize("ending", [".docx", ".tex", ".md", ".csv", ".txt"])
def test_a_result_by_name_in_every_format(ending: str, tmp_path: Path) -> None:
    (path,) = write_result(source(), tmp_path / f"scale{ending}")
    text = (
        pypandoc.convert_file(str(path), "plain")
        if ending == ".docx"
        else path.read_text(encoding="utf-8")
    )
    assert "undecided" in text
    if ending == ".md":
        assert "auc\\: larger is better separated" in text


def test_unknown_names_and_formats_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no result 'peeks'; there are claims, "):
        write_result(source(), tmp_path / "peeks.md")
    with pytest.raises(InputError, match=r"no format '\.gif'; there are \.svg, \.pdf, \.png"):
        write_figure(source(), tmp_path / "peaks.gif")
    check(Path("peaks.md"), tuple(RESULTS), (".md",), "result")
