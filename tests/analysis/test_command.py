"""`python -m analysis`: its output for readers and for programs."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.__main__ import main, parsed, reading, show_models
from study.terminal import Terminal

DEMO = Path(__file__).parents[2] / "data" / "scores" / "demo"
STEERING = "Steering succeeds in 92% of scenarios"


def verdicts(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Return verdicts by claim."""
    assert main([*arguments, "--json"]) == 0
    return {row["claim"]: row["verdict"] for row in json.loads(capsys.readouterr().out)}


def test_the_trials_beside_the_scores_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdicts(capsys, str(DEMO))[STEERING] != "not testable"
    alone = tmp_path / "scores" / "demo"
    shutil.copytree(DEMO, alone, ignore=shutil.ignore_patterns("units", "stories.jsonl"))
    assert verdicts(capsys, str(alone))[STEERING] == "not testable"
    trials = str(DEMO.parents[1] / "steering" / "demo")
    assert verdicts(capsys, str(alone), "--trials", trials)[STEERING] != "not testable"


def test_a_study_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data/scores/none"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("analysis: ")
    assert shown.err.count("\n") == 1


def test_a_study_can_be_given_by_its_name_and_fits_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(
        DEMO, tmp_path / "data" / "scores" / "mine", ignore=shutil.ignore_patterns("units")
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["mine"]) == 0
    shown = capsys.readouterr().out
    assert "Models, by auc" in shown
    assert "…" not in shown.partition("Models, by auc")[2]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_table_of_models_breaks_names_and_no_numbers(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"HuggingFaceTB/SmolLM2-{size}M-Instruct" for size in (135, 360)]
    ends = {"vertex": 0.57, "vertex_low": -0.51, "vertex_high": 0.65, "p": 0.0001}
    rows = [{"model": n, "method": "all", "metric": "accuracy", **ends} for n in names]
    models = pd.DataFrame(rows).assign(verdict="several peaks")
    show_models(Terminal(width=columns), models)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    shown = [line for line in lines if "several peaks" in line]
    assert len(shown) == 2
    assert all("0.57\xa0[−0.51,\xa00.65]" in line and "<\xa00.001" in line for line in shown)
    assert "accuracy" in "".join(lines)
    said = "".join(re.sub(r"(accuracy)? +0\.57.*", "", line).strip() for line in lines)
    assert all(name in said for name in names)


def test_a_study_of_untrained_models_alone_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(DEMO.parent / "untrained")]) == 2
    error = capsys.readouterr().err
    assert "every model is untrained" in error
    assert error.count("\n") == 1


FORM = str(Path(__file__).parents[1] / "data" / "forms" / "wide_by_model.csv")


def test_a_table_from_elsewhere_gives_what_can_be_tested(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([FORM, "--layer-zero", "embedding"]) == 0
    shown = capsys.readouterr().out
    assert "supported" in shown
    assert "not testable" not in shown
    assert "Not testable here: 3 of 9" in shown
    assert "one model each" in shown
    assert f"make report STUDY={FORM}" in " ".join(shown.split()).replace(" /", "/")
    for word in ("emotion", "comprehension", "SmolLM2", "Steering"):
        assert word not in shown
    assert main([FORM, "--csv"]) == 0
    assert capsys.readouterr().out.startswith("key,claim,source")
    page = tmp_path / "page.html"
    assert main([FORM, "--html", str(page)]) == 0
    content = page.read_text(encoding="utf-8")
    assert "<svg" in content
    assert "How the table was read: " in content
    assert "(in Python: " not in content
    assert main([FORM, "--figure", str(tmp_path / "f.png")]) == 0
    assert (tmp_path / "f.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--columns", "score"], "'score' is not of the form NAME=VALUE"),
        (["--n-layers", "many"], "'many' is not a whole number"),
        (["--higher-is-better", "maybe"], "neither true nor false"),
        (["--columns", "score=accuracy"], "no column 'accuracy' for the score; there are layer"),
    ],
)
def test_bad_options_are_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([FORM, *options]) == 2
    assert message in capsys.readouterr().err


CLAIMS = """
[[claim]]
key = "late"
test = "peak at"
sentence = "Probes are best at {target:.0%}"
target = 0.6
delta = 0.15
[[claim]]
key = "humps"
test = "hump in every model"
sentence = "They fall again"
"""


def test_names_of_models_and_metrics_may_have_an_equals_sign() -> None:
    given = "--family|lr=0.1=Mine|--n-layers|lr=0.1=12|--higher-is-better|f(k=1)=no"
    found = reading(parsed(["t.csv", *given.split("|"), "--columns", "score=acc=1"]))
    assert found["family"] == {"lr=0.1": "Mine"}
    assert found["n_layers"] == {"lr=0.1": 12}
    assert found["higher_is_better"] == {"f(k=1)": False}
    assert found["columns"] == {"score": "acc=1"}


def test_claims_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(CLAIMS)
    assert verdicts(capsys, FORM, "--claims", str(path), "--layer-zero", "embedding") == {
        "Probes are best at 60%": "supported",
        "They fall again": "supported",
    }
    for change, message in (
        ('test = "peak at"', "no test 'peek'"),
        ('key = "late"', "two claims have this key"),
        ("target = 0.6", "unknown field 'traget'"),
        ("{target:.0%}", "braces hold the rule's numbers"),
    ):
        new = {"no test": 'test = "peek"', "two": 'key = "humps"', "unk": "traget = 0.6"}
        path.write_text(
            CLAIMS.replace(change, new.get(message[:7].strip(), new.get(message[:3], "{x}")))
        )
        assert main([FORM, "--claims", str(path)]) == 2
        assert message in capsys.readouterr().err


def test_a_verdict_that_hangs_on_what_layer_zero_is_asks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import numpy as np
    import pandas as pd

    from analysis import claims_table
    from analysis.loading.options import SourceWarning

    rng = np.random.default_rng(5)
    layer = np.arange(8)
    parts = [
        pd.DataFrame(
            {
                "model": f"{family}-{i}",
                "layer": layer,
                "acc": 0.9 - 0.9 * (layer / 7 - 0.41) ** 2 + 0.002 * rng.standard_normal(8),
            }
        )
        for family in ("gpt2", "pythia", "qwen", "gemma")
        for i in range(3)
    ]
    table = pd.concat(parts)
    with pytest.warns(SourceWarning, match="layer 0 of .* is taken as the embedding"):
        row = claims_table(table, n_boot=20).set_index("key").loc["peak"]
    assert row["verdict"] == "undecided"
    assert "set layer_zero to say which" in row["reason"]
