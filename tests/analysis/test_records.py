"""Records of a study: its preregistration, its deposit, and figures and tables by name."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pypandoc
import pytest
import yaml

import analysis
from analysis import InputError, load_scores, preregistration, say
from analysis import __main__ as command
from analysis.__main__ import main
from analysis.claims.table import decided, evidence_of
from analysis.deposit import analysis_log, citation, crate, result_of, result_schema, write_deposit
from analysis.named import FIGURES, RESULTS, Source, check, drawn_from, write_figure, write_result
from analysis.planning.preregistration import models_of, write_preregistration
from reports import qmd
from study import load_study
from tests.browser import browser

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


def test_the_power_of_a_preregistration_is_that_of_its_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {"delta": 0.2, "curve_delta": 0.3, "amplitude_delta": 0.4, "alpha": 0.01}
    lines = [f"{name} = {value}" for name, value in rules.items()] + ['peak = "center"']
    text = "\n".join(['models = ["gpt2"]', "[preregistered]", *lines])
    (tmp_path / "s.toml").write_text(text, encoding="utf-8")
    seen = []

    def simulated(**settings: Any) -> pd.DataFrame:
        seen.append({name: settings.get(name) for name in (*rules, "peak")})
        return analysis.design_power(**settings)

    monkeypatch.setitem(preregistration.__globals__, "design_power", simulated)
    preregistration(tmp_path / "s.toml", n_sim=1)
    assert seen == [rules | {"peak": "center"}] * 2


def test_a_preregistration_needs_no_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(preregistration("jeong2026", n_sim=0), encoding="utf-8")
    assert "Power" not in page.read_text(encoding="utf-8")
    assert main([str(tmp_path / "none.toml"), "--preregister", str(page)]) == 2
    assert "none.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("topics = -1", "topics = -1: .*topics.toml has 24; ask for 1 to 24"),
        ("topics = 25", "topics = 25: .*topics.toml has 24; ask for 1 to 24"),
        ('topics = ["nope"]', "topics: .*topics.toml has no 'nope'; it has phone_call, "),
        ('emotions = ["sadd"]', "emotions: .*emotions.toml has no 'sadd'; it has happy, "),
    ],
)
def test_a_preregistration_asks_no_more_than_its_corpus_has(
    line: str, message: str, tmp_path: Path
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(f'name = "x"\nmodels = ["smollm2-135m-instruct"]\n{line}\n')
    with pytest.raises(InputError, match=message):
        preregistration(study)


def test_a_preregistration_as_a_page_has_the_same_content(tmp_path: Path) -> None:
    text = preregistration("demo", n_sim=0)
    for name in ("page.md", "page.html"):
        write_preregistration("demo", tmp_path / name, n_sim=0)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == text
    assert "<title>Preregistration: demo</title>" in page
    assert page.count("<h2") == text.count("\n## ")
    assert page.count("<table") == 3
    assert "Content-Security-Policy" in page
    read = [
        pypandoc.convert_text(t, "plain", f, extra_args=["--wrap=none", "--columns=400"]).split()
        for t, f in ((text, "markdown"), (page.split("<body>")[1], "html"))
    ]
    words = [[w for w in side if set(w) - set("-")] for side in read]  # without rules of tables
    assert words[0] == words[1]


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    text = (HOME / "data" / "studies" / "demo.toml").read_text(encoding="utf-8")
    (tmp_path / "s.toml").write_text(text.replace('"gemma-3-270m-q4"', '"gema"'), encoding="utf-8")
    with pytest.raises(InputError, match="unknown model 'gema'"):
        preregistration(tmp_path / "s.toml", n_sim=0)


MINE = {"model_type": "llama", "num_hidden_layers": 6}


@pytest.mark.parametrize("config", [MINE, {"model_type": "seen", "text_config": MINE}])
def test_a_folder_with_a_model_says_its_family_and_layers(
    config: dict[str, object], tmp_path: Path
) -> None:
    folder = tmp_path / "mine-chat"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "s.toml").write_text(f"models = ['{folder}']", encoding="utf-8")
    (row,) = models_of(load_study(tmp_path / "s.toml")).to_dict("records")
    expected = {"family": "llama", "model": "mine-chat", "kind": "instruction-tuned", "n_layers": 6}
    assert row == expected
    assert "one model of one family" in preregistration(tmp_path / "s.toml", n_sim=0)


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ('models = ["x"]\n[[model]]\nname = "x"\nsource = "a/b"', "'x': field 'family' is missing"),
        ('models = ["x"]\n[[model]]\nfamily = "F"\nsource = "a/b"', "field 'name' is missing"),
        ('models = ["a/b"]', r"which family the model 'a/b' is of; add a \[\[model\]\] table"),
    ],
)
def test_a_model_without_a_family_or_name_is_named(
    study: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text(study, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        preregistration(tmp_path / "s.toml", n_sim=0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", r"config\.json: not readable as JSON"),
        ("[" * 100_000, r"config\.json: not readable as JSON"),
        ("3", "which family"),
        ('{"text_config": 3}', "which family"),
    ],
)
def test_a_folder_with_another_config_is_named(config: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    (tmp_path / "s.toml").write_text(f"models = ['{tmp_path}']", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        preregistration(tmp_path / "s.toml", n_sim=0)


@pytest.mark.parametrize("n_layers", ["'six'", "-1", "1", "1000000000", "true"])
def test_a_config_s_number_of_layers_may_be_anything(n_layers: str, tmp_path: Path) -> None:
    entry = (
        f'name = "x"\nfamily = "F"\nsource = "a/b"\nconfig = {{ num_hidden_layers = {n_layers} }}'
    )
    (tmp_path / "s.toml").write_text(f'models = ["x"]\n[[model]]\n{entry}', encoding="utf-8")
    assert "## Power" in preregistration(tmp_path / "s.toml", n_sim=1)


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
    assert not {"authors", "license"} & set(cited)
    assert not {"author", "license"} & set(parts["./"])


def test_a_deposit_names_its_authors_and_license(tmp_path: Path) -> None:
    authors = ["Curie, Marie", 'The "Radium" group']
    result = result_of(source().evidence, claims())
    cited = yaml.safe_load(citation(result, authors, "CC-BY-4.0"))
    assert cited["license"] == "CC-BY-4.0"
    assert cited["authors"] == [
        {"family-names": "Curie", "given-names": "Marie"},
        {"name": 'The "Radium" group'},
    ]
    assert "license-url" in yaml.safe_load(citation(result, authors, "https://example.org/l"))
    parts = {one["@id"]: one for one in crate(tmp_path, result, authors, "CC-BY-4.0")["@graph"]}
    named = [parts[one["@id"]] for one in parts["./"]["author"]]
    assert [one["name"] for one in named] == authors
    assert [one["@type"] for one in named] == ["Person", "Organization"]
    assert parts["./"]["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("license", "my own license", "give an identifier of SPDX, such as CC-BY-4.0"),
        ("license", "", "give an identifier of SPDX"),
        ("license", "https://example.org/my own", "or an address"),
        ("author", "", "give 'FAMILY, GIVEN' or the name of a group"),
        ("author", "Curie, ", "give 'FAMILY, GIVEN'"),
    ],
)
def test_a_deposit_with_invalid_metadata_is_refused(
    option: str,
    value: str,
    remedy: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "evidence_of", lambda *_, **__: source().evidence)
    assert main([str(DEMO), "--deposit", str(tmp_path / "d"), f"--{option}", value]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"analysis: {option} {value!r}: ")
    assert remedy in line
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("given", [[], ["--author", "Curie, Marie"], None])
def test_the_command_says_what_a_deposit_lacks(
    given: list[str] | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "evidence_of", lambda *_, **__: source().evidence)
    options = ["--author", "Curie, Marie", "--license", "MIT"] if given is None else given
    assert main([str(DEMO), "--deposit", str(tmp_path / "d"), *options]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == (given is not None)
    assert ("no authors" in said, "no license" in said) == (given == [], given is not None)


@pytest.mark.parametrize("place", ["taken", "taken/inner"])
def test_a_deposit_does_not_replace_a_file(place: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError, match=r"cannot be written.*choose another place") as error:
        write_deposit(tmp_path / place, source().evidence, claims(), "python -m analysis demo")
    assert "--out" not in str(error.value)  # an option of the runs alone
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("what", ["preregister", "html", "figure", "table", "deposit"])
def test_a_url_is_no_place_to_write_to(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(DEMO), f"--{what}", "s3://bucket/claims.csv"]) == 2
    said = f"analysis: --{what} s3://bucket/claims.csv: give a path on this machine, not a URL\n"
    assert capsys.readouterr().err == said
    assert list(tmp_path.iterdir()) == []


def test_a_deposit_beside_a_file_that_cannot_be_read_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", closed)
    with pytest.raises(InputError, match=r"CITATION\.cff: cannot be read \(Permission denied\)"):
        write_deposit(tmp_path, source().evidence, claims(), "python -m analysis demo")


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


def test_a_figure_opens_in_a_browser_and_names_its_data(tmp_path: Path) -> None:
    if shutil.which("chromedriver") is None:
        pytest.skip("no chromedriver: the figure was not opened")
    svg, csv, alt = write_figure(source(), tmp_path / "methods.svg")
    data = pd.read_csv(csv)
    with browser() as page:
        page.open(svg)
        assert page.run("return document.documentElement.tagName") == "svg"
        texts = page.run(
            "return [...document.querySelectorAll('text')].map(t => t.textContent.trim())"
        )
        box = page.run(
            "const b = document.documentElement.getBoundingClientRect(); return [b.width, b.height]"
        )
        outside = page.run(
            "const all = document.documentElement.getBoundingClientRect();"
            "return [...document.querySelectorAll('text')].filter(t => {"
            "const b = t.getBoundingClientRect();"
            "return b.left < all.left - 1 || b.right > all.right + 1 || b.bottom > all.bottom + 1"
            "}).map(t => t.textContent)"
        )
        lines = page.run("return document.querySelectorAll('path').length")
    assert min(box) > 100
    assert outside == []
    assert lines > len(data)
    for column in ("family", "method"):  # as the description says: methods, colored by family
        assert set(data[column]) <= set(texts), column
        assert column in alt.read_text(encoding="utf-8")


def test_a_figure_of_another_name_is_the_overview_alone(tmp_path: Path) -> None:
    assert write_figure(source(), tmp_path / "mine.svg") == [tmp_path / "mine.svg"]


def test_a_figure_makes_its_folder_and_does_not_replace_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "mine.svg"
    assert write_figure(source(), path) == [path]
    assert [p.name for p in path.parent.iterdir()] == ["mine.svg"]
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=r"folder\.png: cannot be written"):
        write_figure(source(), tmp_path / "folder.png")


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
