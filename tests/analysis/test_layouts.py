"""Tables of several layouts: what columns side by side are, and which of their cells are empty."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import InputError, read_scores

pytestmark = pytest.mark.filterwarnings("ignore::analysis.loading.options.SourceWarning")


def side_by_side(names: list[str], layers: int = 9) -> pd.DataFrame:
    """Return a table with a column of scores for each name, each of its own level."""
    rises = {name: 0.5 + 0.1 * i + 0.01 * np.arange(layers) for i, name in enumerate(names)}
    return pd.DataFrame({"layer": np.arange(layers), **rises})


def test_concepts_and_models_may_have_words_of_spread_in_their_names() -> None:
    concepts = ["joy", "high_arousal", "low_arousal", "joy-max"]
    found = read_scores(side_by_side(concepts).assign(model="m"), wide="concept")
    assert sorted(found.table["emotion"].unique()) == ["high_arousal", "joy", "low_arousal"]
    assert any(note.startswith("column joy-max is not used") for note in found.run["notes"])
    models = ["qwen2.5-max", "qwen2.5-7b", "gemma-2-2b", "llama-3-low"]
    for wide in (None, "model"):
        found = read_scores(side_by_side(models).assign(acc_std=0.1), wide=wide)
        assert sorted(found.table["model"].unique()) == sorted(models)
        assert any(note.startswith("column acc_std is not used") for note in found.run["notes"])


MODELS = ["gpt2", "pythia-70m"]


def emptied(table: pd.DataFrame, column: str, layers: list[int], model: str = "") -> pd.DataFrame:
    """Return a table with empty cells in a column at some layers, of one model or all."""
    mine = table["layer"].isin(layers)
    if model:
        mine &= table["model"] == model
    return table.assign(**{column: table[column].mask(mine)})


def of_models(names: list[str]) -> pd.DataFrame:
    """Return a table with rows for each of two models and a column for each name."""
    return pd.concat([side_by_side(names).assign(model=m) for m in MODELS], ignore_index=True)


@pytest.mark.parametrize(
    ("whole", "column", "model", "wide"),
    [
        (side_by_side(MODELS), "gpt2", "", None),
        (of_models(["joy", "fear"]), "fear", "gpt2", "concept"),
        (of_models(["accuracy", "f1"]), "f1", "gpt2", None),
    ],
)
def test_empty_cells_in_a_wide_table_are_refused_as_in_a_long_one(
    whole: pd.DataFrame, column: str, model: str, wide: str | None
) -> None:
    with pytest.raises(InputError, match=r"none for 'gpt2' at layer 3.*--missing drop"):
        read_scores(emptied(whole, column, [3], model), wide=wide)
    found = read_scores(emptied(whole, column, [3, 5], model), wide=wide, missing="drop")
    assert "rows without a score left out: 2" in found.run["notes"]


def test_what_a_model_lacks_wholly_is_not_missing() -> None:
    shorter = read_scores(emptied(side_by_side(MODELS), "gpt2", [7, 8]))
    assert shorter.table.groupby("model")["layer"].max().to_dict() == {"gpt2": 6, "pythia-70m": 8}
    layers = list(range(9))
    concepts = emptied(of_models(["joy", "fear"]), "fear", layers, "gpt2")
    found = read_scores(concepts, wide="concept").table.groupby("model")["emotion"].unique()
    assert [len(found[m]) for m in MODELS] == [1, 2]
    metrics = emptied(of_models(["accuracy", "f1"]), "f1", layers, "gpt2")
    found = read_scores(metrics).table.groupby("model")["metric"].unique()
    assert [len(found[m]) for m in MODELS] == [1, 2]
    with pytest.raises(InputError, match="none for 'gpt2' at layer 0"):
        read_scores(emptied(metrics, "accuracy", layers, "gpt2"))


def test_models_side_by_side_have_depths_of_their_own() -> None:
    tables = [
        pd.DataFrame({"depth": np.linspace(0, 1, n), m: 0.5})
        for m, n in zip(MODELS, (7, 9), strict=True)
    ]
    found = read_scores(tables[0].merge(tables[1], "outer"))
    assert found.table.groupby("model").size().to_dict() == {"gpt2": 7, "pythia-70m": 9}
    assert "empty cells are at depths that a model does not have" in found.run["notes"]


def test_one_model_alone_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"gpt2": side_by_side(["gpt2"], 13)["gpt2"].tolist()}))
    for source in (path, side_by_side(["gpt2"], 13)):
        found = read_scores(source)
        facts = found.table[["model", "family", "metric", "n_layers"]].drop_duplicates()
        assert facts.to_numpy().tolist() == [["gpt2", "GPT-2", "score", 12]]
        assert "column gpt2 is taken as one model" in found.run["notes"]
    mine = side_by_side(["mine"])
    assert read_scores(mine).table["metric"].unique().tolist() == ["mine"]
    assert read_scores(mine, wide="model").table["model"].unique().tolist() == ["mine"]


def test_names_in_json_are_models_if_the_caller_says_so(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"mine": [0.5] * 9, "yours": [0.6] * 9}))
    with pytest.raises(InputError, match=r"what are mine, yours\? give --columns model='key 1'"):
        read_scores(tmp_path / "t.json")
    for role in ("model", "method"):
        found = read_scores(tmp_path / "t.json", columns={role: "key 1"})
        assert found.table[role].unique().tolist() == ["mine", "yours"]


@pytest.mark.parametrize("metric", ["", "_test_score", "_test_f1"])
@pytest.mark.parametrize("kind", ["fold", "split"])
def test_repetitions_side_by_side_are_those_of_a_long_table(kind: str, metric: str) -> None:
    rng = np.random.default_rng(0)
    names = [f"{kind}{i}{metric}" for i in range(5)]
    table = of_models(names)
    table[names] += 0.1 * rng.standard_normal((len(table), 5))
    table = table.assign(split0_train_score=1.0, mean_test_score=table[names].mean(axis=1))
    long = table.melt(["model", "layer"], names, kind, "score")
    long[kind] = long[kind].str[len(kind)].astype(int)
    found, told = read_scores(table), read_scores(long)
    shown = f"columns {kind}0{metric}, {kind}1{metric}, {kind}2{metric}, {kind}3{metric} and 1 more"
    assert f"{shown} are taken as one {kind} each" in found.run["notes"]
    said = f"not used beside the {kind}s: split0_train_score, mean_test_score"
    assert said in found.run["notes"]
    assert found.table["metric"].unique().tolist() == ["test_f1" if "f1" in metric else "score"]
    for mine, theirs in ((found.table, told.table), (found.replicates, told.replicates)):
        for table in (mine, theirs):
            table["metric"] = "score"
        pd.testing.assert_frame_equal(mine, theirs)


@pytest.mark.parametrize("is_wide", [True, False])
@pytest.mark.parametrize(
    ("embedding", "other", "n"),
    [
        ("emb", "block_{before}", 12),
        ("emb", "L{layer}", 12),
        ("hidden_state_0", "hidden_state_{layer}", 12),
        ("transformer.wte", "transformer.h.{before}", 12),
        ("layer 0/24", "layer {layer}/24", 24),
    ],
)
def test_layers_by_many_names(embedding: str, other: str, n: int, is_wide: bool) -> None:
    names = [embedding, *(other.format(before=i, layer=i + 1) for i in range(12))]
    wide = pd.DataFrame(np.linspace(0.5, 0.7, 26).reshape(2, 13), columns=names)
    wide.insert(0, "model", ["a", "b"])
    found = read_scores(wide if is_wide else wide.melt("model", names, "layer", "accuracy")).table
    assert found.groupby("model")["layer"].agg(list).tolist() == [list(range(13))] * 2
    assert found["n_layers"].unique().tolist() == [n]
    scores = found.sort_values(["model", "layer"])["score"]
    assert scores.tolist() == wide[names].to_numpy().ravel().tolist()


def test_each_model_numbers_its_layers() -> None:
    layers = [*("emb", *range(12)), *("emb", *range(1, 13))]
    table = pd.DataFrame({"model": ["a"] * 13 + ["b"] * 13, "layer": layers, "accuracy": 0.5})
    found = read_scores(table.astype({"layer": str})).table
    assert found.groupby("model")["layer"].agg(list).tolist() == [list(range(13))] * 2
