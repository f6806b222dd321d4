"""One plain test per fault in a table found by fuzzing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import InputError, as_scores, as_trials, load_scores, load_trials, steering_summary
from analysis.loading.parquet import read_table
from analysis.planning.simulate import simulate_scores
from study import HOME


def bare(**columns: Any) -> pd.DataFrame:
    depth = np.linspace(0, 1, 9)
    table = pd.DataFrame({"model": "m", "family": "f", "depth": depth, "score": depth**2})
    return table.assign(**columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"model": [*"mmmmmmmm", None]}, "'model' has no value in row 8"),
        ({"family": np.nan}, "'family' has no value"),
        ({"emotion": np.nan}, "'emotion' has no value"),
        ({"model": ["m", 1, *"mmmmmmm"]}, "texts, or numbers, and not both"),
        ({"model": [["m"]] * 9}, "texts, or numbers"),
        ({"model": b"m"}, "texts, or numbers"),
        ({"study": [{}] * 9}, "texts, or numbers"),
        ({"seed": pd.Timestamp("2020-01-01")}, "no names"),
        ({"score": 1j}, "'score' is not numeric"),
        ({"score": True}, "'score' is not numeric"),
        ({"n_params": "1B"}, "'n_params' is not numeric"),
        ({"n_params": -5}, "n_params must be above 0"),
        ({"n_params": range(1, 10)}, "more than one number of parameters"),
        ({"instruct": "maybe"}, "'instruct' must hold true or false"),
        ({"layer": np.linspace(0, 1, 9)}, "layer is not a whole number"),
        ({"layer": np.arange(9) * 1e30}, "layer is not a whole number"),
        ({"layer": np.arange(9)[::-1]}, "depth does not grow with the layer"),
        ({"score": np.arange(9) * 1e300}, r"beyond 1e\+60"),
        ({"score": np.arange(9) * 1e-300}, "within 1e-60 of 0"),
        ({"score": 5e-324}, "within 1e-60 of 0"),
    ],
)
def test_columns_of_a_bare_table_are_checked(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_scores(bare(**columns))


@pytest.mark.parametrize("data", [3, None, "scores.csv", {"model": 1}, bare()["score"]])
def test_what_is_no_table_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match=r"must be a table|scores\.csv: no such file"):
        as_scores(data)
    with pytest.raises(InputError, match="must be a DataFrame"):
        as_trials(data)


def test_columns_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="one name each"):
        as_scores(pd.concat([bare(), bare()[["score"]]], axis=1))


def test_an_index_of_the_same_names_does_no_harm() -> None:
    table = bare().set_index(["model", "depth"], drop=False)
    assert len(as_scores(table).table) == 9


# -- files ------------------------------------------------------------------------------------


def test_a_dictionary_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**6, np.int32)), ["x" * 10_000])
    pq.write_table(pa.table({"a": column}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    with pytest.raises(InputError, match="unpack to 10 GB"):
        read_table(tmp_path / "a.parquet")


def test_a_row_count_that_no_memory_holds_is_not_believed(tmp_path: Path) -> None:
    table = pa.table({f"c{i}": np.zeros(5 * 10**6, np.int8) for i in range(60)})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    with pytest.raises(InputError, match="unpack to 2 GB"):
        read_table(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"a": [[1], [2]]}), "no texts or numbers"),
        (pa.table({"a": [b"x"]}), "no texts or numbers"),
        (pa.Table.from_arrays([pa.array([1])] * 2, names=["a", "a"]), "two columns"),
    ],
)
def test_a_parquet_file_of_another_form_is_refused(
    tmp_path: Path, table: pa.Table, message: str
) -> None:
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "a.parquet")


def test_what_pandas_says_of_a_file_is_not_read(tmp_path: Path) -> None:
    table = pa.table({"a": [1]}).replace_schema_metadata({"pandas": "{broken"})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet")["a"].tolist() == [1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_table_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="not a regular file"):
        read_table(tmp_path / "a.parquet")


@pytest.mark.parametrize("load", [load_scores, load_trials])
@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_study_s_folder_may_be_no_path(load: Any, name: str) -> None:
    with pytest.raises(InputError, match=r"^(xxx|a\\x00b)"):
        load(name)


def test_trials_are_made_by_a_command_where_the_folder_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; name the folder"):
        load_trials(tmp_path / "nosuch")
    with pytest.raises(InputError, match=f"python steering.py --study {tmp_path.name}"):
        load_trials(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"metrics": 3}', "metrics must be a table"),
        ('{"metrics": {"score": 3}}', "metrics.* must be a table"),
        ('{"metrics": {"score": {"higher_is_better": "no"}}}', "must be true or false"),
        ('{"metrics": {"score": {"chance": "x"}}}', "must be a number or left out"),
        ('{"study": 3}', "study must be a table"),
        ('{"study": {"preregistered": 3}}', "preregistered must be a table"),
        ('{"study": {"preregistered": {"target": NaN}}}', "target = nan must be at least 0"),
        ('{"study": {"preregistered": {"alpha": 0}}}', "alpha = 0 must be at least"),
        ('{"study": {"preregistered": {"metric": 3}}}', "metric = 3 must be a text"),
        ('{"topics": 3}', "topics = 3 must be a list"),
        ("[" * 100_000, "not readable as JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not readable as JSON"),
    ],
)
def test_a_run_file_of_another_form_is_refused(tmp_path: Path, content: str, message: str) -> None:
    bare().to_parquet(tmp_path / "scores.parquet")
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load_scores(tmp_path)


# -- trials -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("model", None, "'model' has no value"),
        ("kind", 3, "kind 3 is none of 'steered', 'sham'"),
        ("strength", np.inf, "strength is not finite"),
        ("perplexity", 0.0, "perplexity must be above 0"),
        ("perplexity", np.inf, "perplexity is not finite"),
        ("score_local", "x", "'score_local' is not numeric"),
        ("distinct_2", 1j, "'distinct_2' is not numeric"),
        ("n_tokens", np.nan, "n_tokens is not finite"),
    ],
)
def test_columns_of_trials_are_checked(column: str, value: Any, message: str) -> None:
    table = load_trials(HOME / "data" / "steering" / "demo").table.assign(**{column: value})
    with pytest.raises(InputError, match=message):
        steering_summary(table)


def test_texts_that_are_no_utf8_are_one_line(tmp_path: Path) -> None:
    study = simulate_scores(families=(1, 1), n_layers=(6, 6), n_replicates=3)
    table = pa.Table.from_pandas(study.table, preserve_index=False)
    bad = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"m\xff"))
    place = table.schema.get_field_index("model")
    table = table.set_column(
        place, "model", pa.chunked_array([pa.concat_arrays([bad] * len(table))])
    )
    pq.write_table(table, tmp_path / "scores.parquet")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"not readable as Parquet.*UTF8"):
        load_scores(tmp_path)
