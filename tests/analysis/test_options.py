"""Options of how a table from elsewhere is read: names and values that are wrong are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import InputError, read_scores, u_shape_test
from analysis.__main__ import main
from analysis.loading.options import SourceWarning
from analysis.loading.scores import as_scores
from analysis.planning.simulate import simulate_scores
from tests import forms

pytestmark = pytest.mark.filterwarnings("ignore::analysis.loading.options.SourceWarning")

MODELS = "gpt2, gpt2-medium, pythia-70m, pythia-410m, Qwen2.5-0.5B, Qwen2.5-1.5B-Instruct"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"higher_is_better": {"acuracy": True}}, "no metric 'acuracy'; there are accuracy"),
        ({"n_layers": {"gpt2": 12, "gtp2-medium": 24}}, f"no model 'gtp2-medium'; .* {MODELS}"),
        ({"layer_zero": {"gtp2": "block"}}, f"no model 'gtp2'; there are {MODELS}"),
        ({"family": {"gtp2": "GPT-2"}}, f"no model 'gtp2'; there are {MODELS}"),
    ],
)
def test_names_that_are_not_there_are_refused(
    options: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (option, pairs), path = next(iter(options.items())), tmp_path / "t.csv"
    with pytest.raises(InputError, match=f"^{option}: {message}$"):
        read_scores(forms.truth(), **options)
    forms.truth().to_csv(path, index=False)
    said = [f"{name}={value}" for name, value in pairs.items()]
    assert main([str(path), f"--{option.replace('_', '-')}", *said]) == 2
    assert capsys.readouterr().err.startswith(f"analysis: {option}: no ")


@pytest.mark.parametrize("given", ["no", "false", 0.5, {"score": "no"}])
@pytest.mark.parametrize("columns", [["model", "layer"], ["model", "family", "depth"]])
def test_a_direction_that_is_neither_true_nor_false_is_refused(
    given: Any, columns: list[str]
) -> None:
    table = forms.truth().assign(depth=lambda t: t["layer"] / t["n_layers"], family="f")
    table = table.rename(columns={"accuracy": "score"})[[*columns, "score"]]
    with pytest.raises(InputError, match=r"higher_is_better is .*; choose from True, False$"):
        u_shape_test(table, higher_is_better=given)


def test_a_direction_may_be_given_by_metric_for_any_table() -> None:
    table = forms.truth().assign(depth=lambda t: t["layer"] / t["n_layers"], family="f")
    table = table.rename(columns={"accuracy": "score"})[["model", "family", "depth", "score"]]
    given: Any = {"score": False}
    assert as_scores(table, given).directions == {"score": -1}
    given = {"scores": False}
    with pytest.raises(InputError, match="higher_is_better: no metric 'scores'; there are score"):
        as_scores(table, given)


def test_names_may_be_those_of_any_file(tmp_path: Path) -> None:
    for model, rows in forms.truth().groupby("model"):
        rows.drop(columns=["model", "n_layers"]).to_csv(tmp_path / f"{model}.csv", index=False)
    scores = read_scores(tmp_path, n_layers=forms.MODELS, layer_zero={"gpt2": "embedding"})
    assert scores.table.groupby("model")["n_layers"].first().to_dict() == forms.MODELS
    with pytest.raises(InputError, match="n_layers: no model 'gtp2'"):
        read_scores(tmp_path, n_layers={**forms.MODELS, "gtp2": 12})


def test_a_mapping_files_metric_that_is_not_there_is_refused_by_the_files_name(
    tmp_path: Path,
) -> None:
    forms.truth().to_csv(tmp_path / "t.csv", index=False)
    path = tmp_path / "mine.toml"
    path.write_text('source = "t.csv"\n[metrics.auc]\nhigher_is_better = true\n')
    with pytest.raises(InputError, match=r"mine\.toml: \[metrics\.'auc'\]: the table has accuracy"):
        read_scores(path)
    path.write_text('source = "t.csv"\n[metrics.accuracy]\nhigher_is_better = false\n')
    assert read_scores(path).directions == {"accuracy": -1}


@pytest.mark.parametrize("n_layers", ["many", 0, 12.5, {"gpt2": "12"}])
def test_a_number_of_layers_is_a_whole_number(n_layers: Any) -> None:
    with pytest.raises(InputError, match=r"^n_layers is .*; give a whole number, 1 or more$"):
        read_scores(forms.truth(), n_layers=n_layers)


def test_options_that_a_study_has_no_use_for_are_named() -> None:
    study = simulate_scores(families=(1, 1))
    with pytest.warns(SourceWarning, match="not used: higher_is_better, n_layers$"):
        assert read_scores(study, higher_is_better=False, n_layers=3) is study


def test_a_plain_table_with_a_spread_keeps_it() -> None:
    table = pd.DataFrame({"model": "gpt2", "family": "GPT-2", "depth": np.linspace(0, 1, 13)})
    table = table.assign(score=4 * table["depth"] * (1 - table["depth"]), score_sd=0.02, n=4)
    scores = as_scores(table, higher_is_better=True)
    assert scores.replicates is not None


ASKED = "logloss EER misclassification_rate wer bce false_positive_rate neg_log_likelihood p_value"


@pytest.mark.parametrize("metric", [*ASKED.split(), "surprisal", "JSD", "wasserstein", "hingeloss"])
def test_what_is_smaller_where_better_is_asked_for(metric: str) -> None:
    table = forms.truth().rename(columns={"accuracy": metric})
    with pytest.raises(InputError, match=f"metric '{metric}': is larger better separated"):
        read_scores(table, columns={"score": metric})
    assert read_scores(table, columns={"score": metric}, higher_is_better=False)


def test_a_direction_that_no_list_has_is_said_to_be_assumed() -> None:
    said = "larger mine is taken as better separated; otherwise give --higher-is-better mine=False"
    table = forms.truth().rename(columns={"accuracy": "mine"}).drop(columns="n_layers")
    assert any(note.startswith(said) for note in read_scores(table).run["assumed"])
    for metric, given in (("mine", True), ("probe-acc held out", None)):
        found = read_scores(table.rename(columns={"mine": metric}), higher_is_better=given)
        assert "larger" not in " ".join(found.run["assumed"])


@pytest.mark.parametrize("higher", [True, False, None])
def test_a_metric_may_be_named_by_a_number(higher: bool | None) -> None:
    table = simulate_scores().table.assign(metric=3)
    assert list(as_scores(table, higher).directions.values()) == [-1 if higher is False else 1]
