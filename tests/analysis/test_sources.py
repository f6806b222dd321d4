"""Tables from elsewhere: every form gives the same numbers and verdicts; others are refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import InputError, SourceWarning, fit_curves, read_scores, u_shape_test
from analysis.loading.scores import Scores
from tests import forms

pytestmark = pytest.mark.filterwarnings("ignore::analysis.loading.options.SourceWarning")


def read(name: str) -> Scores:
    return read_scores(forms.source_of(name), **forms.OPTIONS.get(name, {}))


def in_order(scores: Scores) -> pd.DataFrame:
    main = scores.select(metric=scores.run["study"]["preregistered"]["metric"])
    return main.table.sort_values(["model", "depth"], ignore_index=True)


@pytest.fixture(scope="module")
def verdicts() -> dict[bytes, list[str]]:
    """Verdicts by set of numbers, to test each set once."""
    return {}


def test_there_are_forms_enough_and_the_script_makes_them(tmp_path: Path) -> None:
    assert len(forms.FORMS) >= 25
    for name in ("comma.csv", "nested_by_pooling.json", "table.md"):
        forms.FORMS[name](forms.truth(), tmp_path / name)
        assert (tmp_path / name).read_bytes() == (forms.DATA / name).read_bytes()


@pytest.mark.parametrize("name", forms.FORMS)
def test_every_form_gives_the_same_numbers_and_verdicts(
    name: str, verdicts: dict[bytes, list[str]]
) -> None:
    assert len(forms.OPTIONS.get(name, {})) <= 1
    truth = forms.truth().assign(depth=lambda t: t["layer"] / t["n_layers"])
    if name == "blocks_from_zero.csv":  # has no embedding
        truth = truth[truth["layer"] > 0]
    truth = truth.sort_values(["model", "depth"], ignore_index=True)
    found = read(name)
    table = in_order(found)
    score = table["score"] / (100 if table["score"].max() > 2 else 1)
    assert table["model"].tolist() == truth["model"].tolist()
    np.testing.assert_allclose(table["depth"], truth["depth"], atol=1e-9)
    np.testing.assert_allclose(score, truth["accuracy"], atol=1e-9)
    assert table.groupby("model")["family"].first().tolist() == [
        *("Qwen", "Qwen", *["GPT-2" if name != "families" else "Gpt"] * 2, "Pythia", "Pythia")
    ]
    assert table.groupby("model")["instruct"].first().tolist() == [False, True, *[False] * 4]
    key = score.round(6).to_numpy().tobytes()
    if key not in verdicts:
        tests = u_shape_test(Scores(table, None, found.directions, found.run))
        verdicts[key] = tests["verdict"].tolist()
    assert verdicts[key] == ["hump"] * 7  # six models, and all of them


class OnlyArrow:
    """A frame of an unknown library, with only the Arrow interface."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def frames() -> dict[str, Any]:
    import polars as pl
    import pyarrow as pa

    table = forms.truth()
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    return {
        "pandas": table,
        "polars": pl.from_pandas(table),
        "lazy polars": pl.from_pandas(table).lazy(),
        "pyarrow": arrow,
        "the interface": OnlyArrow(arrow),
    }


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy polars", "pyarrow", "the interface"])
def test_every_kind_of_frame_goes_straight_into_a_test(kind: str) -> None:
    frame = frames()[kind]
    pd.testing.assert_frame_equal(
        in_order(read_scores(frame)), in_order(read_scores(forms.truth()))
    )
    found = fit_curves(frame)
    assert found["extremum"].between(0.5, 0.7).all()


def test_a_url_a_path_and_a_glob_are_sources_too() -> None:
    from study.read import locate

    there = locate("memory://numbers/probe.csv")
    there.fs.pipe_file(there.path, (forms.DATA / "comma.csv").read_bytes())
    for source in ("memory://numbers/probe.csv", forms.DATA / "comma.csv"):
        pd.testing.assert_frame_equal(
            read_scores(source).table.drop(columns="study"),
            read("comma.csv").table.drop(columns="study"),
        )
    with pytest.raises(InputError, match=r"no such file or folder; in .* there are"):
        read_scores(forms.DATA / "coma.csv")


MAPPING = """
source = "lists_by_column.json"
name = "mine"
layer_zero = "embedding"
[n_layers]
pythia-70m = 12
pythia-410m = 24
[preregistered]
metric = "accuracy"
target = 0.6
delta = 0.15
[words]
concept = "level of politeness"
concepts = "levels of politeness"
[metrics.accuracy]
label = "probe accuracy"
chance = 0.5
"""


def test_a_mapping_is_a_study_with_a_preregistration_of_its_own(tmp_path: Path) -> None:
    text = (forms.DATA / "lists_by_column.json").read_text()
    (tmp_path / "lists_by_column.json").write_text(text)
    (tmp_path / "mine.toml").write_text(MAPPING)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SourceWarning)  # nothing is left to assume
        scores = read_scores(tmp_path / "mine.toml")
    rules = scores.run["study"]["preregistered"]
    assert (scores.name, rules["target"], rules["delta"]) == ("mine", 0.6, 0.15)
    assert scores.run["words"]["concepts"] == "levels of politeness"
    assert scores.run["metrics"]["accuracy"]["chance"] == 0.5
    (tmp_path / "mine.toml").write_text(MAPPING.replace("[words]", "[word]"))
    with pytest.raises(InputError, match="unknown field 'word'"):
        read_scores(tmp_path / "mine.toml")


def test_a_score_keeps_its_columns_name_and_metrics_must_be_there(tmp_path: Path) -> None:
    mapping = 'source = "t.csv"\n[columns]\nscore = "held out"\nlayer = "where"\n'
    (tmp_path / "t.csv").write_text((forms.DATA / "columns.csv").read_text())
    (tmp_path / "t.toml").write_text(mapping + '[metrics."held out"]\nlabel = "accuracy"\n')
    run = read_scores(tmp_path / "t.toml").run
    assert run["metrics"]["held out"]["label"] == "accuracy"
    (tmp_path / "t.toml").write_text(mapping + "[metrics.accuracy]\nchance = 0.5\n")
    with pytest.raises(InputError, match=r"\[metrics.'accuracy'\]: the table has held out"):
        read_scores(tmp_path / "t.toml")


def test_two_files_of_one_model_are_refused_by_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "gpt2").mkdir(parents=True)
        mine = forms.truth().query("model == 'gpt2'").drop(columns="model")
        mine.to_csv(tmp_path / folder / "gpt2" / "run.csv", index=False)
    with pytest.raises(InputError, match=r"two models are called 'gpt2'; rename one"):
        read_scores(f"{tmp_path}/*/{{model}}/run.csv")
    scores = read_scores(f"{tmp_path}/{{method}}/{{model}}/run.csv")
    assert sorted(scores.table["method"].unique()) == ["a", "b"]
    assert "2 files are read as one method and model each" in scores.run["notes"]


def test_concepts_that_lack_layers_are_left_out_and_said() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for i, concept in enumerate(["joy", "fear", "calm", "anger"]):
        t = forms.truth().assign(concept=concept)
        t["accuracy"] += 0.15 * i + 0.005 * rng.normal(size=len(t))
        parts.append(t)
    whole = pd.concat(parts, ignore_index=True)
    gone = (whole["model"] == "gpt2") & (whole["concept"] == "anger") & (whole["layer"] > 6)
    with pytest.warns(SourceWarning, match=r"gpt2 .*: anger is not there at every layer"):
        holed = read_scores(whole[~gone])
    kept = read_scores(whole[~((whole["model"] == "gpt2") & (whole["concept"] == "anger"))])
    for test in (fit_curves, u_shape_test):
        pd.testing.assert_frame_equal(test(holed), test(kept))
    with pytest.raises(InputError, match="anger is not there at every layer"):
        read_scores(whole[~gone], strict=True)


BAD = {
    "mixed decimals": (
        'model,layer,accuracy\nm,0,"0,53"\nm,1,0.54\n',
        {},
        r"t\.csv: column 'accuracy': '0,53' has a decimal comma.*--decimal ,",
    ),
    "thousands or decimals": (
        "model;layer;accuracy\nm;0;1,530\nm;1;1,540\n",
        {},
        r"column 'accuracy': '1,530' may be a decimal comma or separate thousands.*--decimal ,",
    ),
    "no layers": ("model,accuracy\nm,0.5\n", {}, r"t\.csv: no column of layers.*--columns layer="),
    "layers by another name": (
        "model,n_layers,where,accuracy\n" + "".join(f"m,12,{i},0.5\n" for i in range(8)),
        {},
        r"no column of layers.*--columns layer=where \(",
    ),
    "no scores": ("model,layer,why\nm,0,so\n", {}, r"no column of scores.*--columns score="),
    "two layers": (
        "model,block,layer_idx,accuracy\nm,0,1,0.5\n",
        {},
        r"columns 'block' and 'layer_idx' may each be the layer; give --columns layer=block",
    ),
    "depth in layers": (
        "model,depth,accuracy\n" + "".join(f"m,{i},0.5\n" for i in range(13)),
        {},
        r"column depth goes from 0 to 12, outside \[0, 1\]; give --depth layer .*or 'percent'",
    ),
    "depth in percent": (
        "model,depth,accuracy\n" + "".join(f"m,{i * 12.5},0.5\n" for i in range(9)),
        {},
        r"column depth goes from 0 to 100, outside \[0, 1\]; give --depth percent",
    ),
    "depth below 0": (
        "model,depth,accuracy\n" + "".join(f"m,{i / 8 - 0.5},0.5\n" for i in range(9)),
        {},
        r"column depth goes from -0.5 to 0.5, below 0$",
    ),
    "from 0 and from 1": (
        "model,layer,accuracy\n"
        + "".join(f"a,{i},0.5\n" for i in range(8))
        + "".join(f"b,{i + 1},0.5\n" for i in range(8)),
        {},
        r"layers of 'a' are counted from 0, of 'b' from 1; .*--layer-zero embedding",
    ),
    "direction": (
        "model,layer,loss\n" + "".join(f"m,{i},0.5\n" for i in range(8)),
        {},
        r"metric 'loss': is larger better separated\? give --higher-is-better loss=False",
    ),
    "cosine": (
        "model,layer,cosine\n" + "".join(f"m,{i},0.5\n" for i in range(8)),
        {},
        r"metric 'cosine': is larger better",
    ),
    "missing": (
        "model,layer,accuracy\n" + "".join(f"m,{i},{'' if i == 3 else 0.5}\n" for i in range(8)),
        {},
        r"scores \(accuracy\): none for 'm' at layer 3; complete it.*--missing drop",
    ),
    "no number": (
        "model,layer,accuracy\n" + "".join(f"m,{i},{'-' if i == 3 else 0.5}\n" for i in range(8)),
        {},
        r"none for 'm' at layer 3 \(cells with '-' count as empty\); complete it",
    ),
    "no finite number": (
        "fold,layer,f1\n" + "".join(f"{i % 2},{i},{'-inf' if i == 3 else 0.5}\n" for i in range(8)),
        {},
        r"-inf is not finite for 't' at layer 3, fold 1; complete it, or give --missing drop",
    ),
    "duplicates": (
        "model,layer,accuracy,pooling,note\n"
        + "".join(f"m,{i},0.5,mean,{p}\n" for i in range(8) for p in "xy"),
        {},
        r"2 rows for 'm', accuracy, layer 0; they differ in column 'note' \(x, y\).*--where note=x",
    ),
    "duplicates that nothing tells apart": (
        "model,layer,accuracy\n" + "".join(f"m,{i},0.5\n" for i in (0, 1, 2, 3, 4, 4)),
        {},
        r"2 rows for 'm', accuracy, layer 4 that no column tells apart",
    ),
    "few layers": ("model,layer,accuracy\nm,0,0.5\nm,1,0.6\n", {}, r"'m' has 2 layers; .*least 5"),
    "beyond n_layers": (
        "model,layer,n_layers,accuracy\n" + "".join(f"m,{i},6,0.5\n" for i in range(9)),
        {},
        r"model 'm' has layer 8, but 6 layers",
    ),
    "two totals": (
        "model,layer,accuracy\n" + "".join(f"m,{i}/{12 + i % 2},0.5\n" for i in range(6)),
        {},
        r"'m' has more than one number of layers \(12, 13\);.*or give --n-layers m=12",
    ),
    "another total than n_layers": (
        "model,layer,n_layers,accuracy\n" + "".join(f"m,{i}/12,24,0.5\n" for i in range(6)),
        {},
        r"'m' has more than one number of layers \(24, 12\);.*or give --n-layers m=24",
    ),
    "beyond the total": (
        "model,layer,accuracy\n" + "".join(f"m,{i}/6,0.5\n" for i in range(9)),
        {},
        r"model 'm' has layer 8, but 6 layers",
    ),
    "one name twice": (
        "model,layer,n_layers,accuracy\n" + "".join(f"m,{i},{6 + i % 2},0.5\n" for i in range(6)),
        {},
        r"model 'm' has more than one number of layers.*two models called so",
    ),
    "columns side by side": (
        "layer,red,blue\n" + "".join(f"{i},0.5,0.6\n" for i in range(8)),
        {},
        r"columns red, blue: is each a model, a concept, a metric or a method\? give --wide model",
    ),
    "wrong column": (
        "model,layer,accuracy\nm,0,0.5\n",
        {"columns": {"score": "acc"}},
        r"no column 'acc' for the score; there are model, layer, accuracy",
    ),
    "wrong role": (
        "a,b\n1,2\n",
        {"columns": {"depht": "a"}},
        r"no role 'depht'; choose from model",
    ),
    "cells beyond the header": ("a,b\n1,2,3\n", {}, r"line 2 has 3 cells, the header 2"),
    "empty": ("", {}, r"t\.csv: is empty"),
    "fraction of a layer": (
        "model,layer,accuracy\nm,0.5,0.5\n",
        {},
        r"layer 0\.5 is not a whole number; is it a depth\? give --columns depth=layer",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_every_refusal_says_what_where_and_what_would_help(what: str, tmp_path: Path) -> None:
    text, options, message = BAD[what]
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_scores(path, **options)


def test_bad_files_of_other_kinds(tmp_path: Path) -> None:
    import openpyxl

    merged = forms.DATA / "two_row_header.xlsx"
    with pytest.raises(InputError, match=r"header has merged cells \(A1:B1\).*--header 2"):
        read_scores(merged)
    with pytest.raises(InputError, match=r"sheets controls, probes: which one\? give --sheet"):
        read_scores(forms.DATA / "one_sheet_of_two.xlsx")
    book = openpyxl.load_workbook(forms.DATA / "sheet.xlsx")
    book.create_sheet("notes")
    book.save(tmp_path / "two.xlsx")
    with pytest.raises(InputError, match="sheet 'notes' is empty; with numbers: Sheet1"):
        read_scores(tmp_path / "two.xlsx", sheet="notes")
    lists = {"layers": [0, 1, 2], "accuracy": [0.5, 0.6]}
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    with pytest.raises(
        InputError, match=r"lists of different lengths \(layers has 3, accuracy has 2"
    ):
        read_scores(tmp_path / "lists.json")
    with pytest.raises(InputError, match=r"numbers in several places .*--records"):
        read_scores(_written(tmp_path / "two.json", {"a": [{"x": 1}] * 6, "b": [{"y": 1}] * 6}))
    (tmp_path / "folder").mkdir()
    for name in ("a.csv", "b.json"):
        (tmp_path / "folder" / name).write_text("x")
    with pytest.raises(InputError, match=r"files of several kinds \(\.csv, \.json\); choose one"):
        read_scores(tmp_path / "folder")
    (tmp_path / "a.pkl").write_bytes(b"x")
    with pytest.raises(InputError, match=r"\.pkl is not a table; can be read: \.csv"):
        read_scores(tmp_path / "a.pkl")
    for name in ("b.npz", "b.xlsx", "b.safetensors", "b.parquet", "b.feather", "b.json"):
        (tmp_path / name).write_bytes(b"\x89 no such thing")
        with pytest.raises(InputError, match=f"{name}: not readable as"):
            read_scores(tmp_path / name)


def _written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_what_differs_between_models_is_said_or_refused() -> None:
    table = forms.truth().melt(["model", "layer", "n_layers"], ["accuracy"], "metric", "score")
    both = pd.concat([table, table[table["model"] == "gpt2"].assign(metric="f1")])
    with pytest.warns(SourceWarning, match="metric 'f1' is there for 1 of 6 models"):
        assert read_scores(both).run["study"]["preregistered"]["metric"] == "accuracy"
    with pytest.raises(InputError, match="metric 'f1' is there for 1 of 6"):
        read_scores(both, strict=True)
    concepts = pd.concat([table.assign(concept=c) for c in ("joy", "fear")])
    some = concepts[(concepts["model"] != "gpt2") | (concepts["concept"] == "joy")]
    with pytest.warns(SourceWarning, match=r"models differ in their concepts \(gpt2: fear\)"):
        read_scores(some)
