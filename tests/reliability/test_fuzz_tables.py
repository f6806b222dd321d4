"""Score tables, trials, run files and Parquet files that are broken, odd or hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hostile import broken, texts, values
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import as_scores, as_trials, load_scores, load_trials
from analysis.loading.parquet import read_table
from analysis.planning.simulate import simulate_scores
from analysis.trials.table import outcomes
from study import HOME

# Not float16, which pandas cannot print without a warning of its own.
DTYPES = [
    "object",
    "str",
    "category",
    "float32",
    "Int64",
    "Float64",
    "boolean",
    "complex128",
    "datetime64[ns]",
    "timedelta64[ns]",
    "uint8",
    "string[pyarrow]",
]
cells = values | st.none() | st.binary(max_size=3) | st.complex_numbers() | st.datetimes()
RUN = json.dumps(
    {
        "study": {
            "preregistered": {
                "target": 0.5,
                "delta": 0.1,
                "alpha": 0.05,
                "metric": "score",
                "method": "comprehension",
            }
        },
        "metrics": {"score": {"higher_is_better": True, "label": "score", "chance": 0.5}},
        "topics": ["a", "b"],
    },
    indent=0,
).encode()


def good() -> pd.DataFrame:
    return simulate_scores(families=(2, 1), n_layers=(4, 6), n_replicates=3).table


@st.composite
def changed(draw: st.DrawFn, table: pd.DataFrame) -> pd.DataFrame:
    """Generate a good table with changed values, types or names, or rows removed or doubled."""
    for _ in range(draw(st.integers(1, 2))):
        column = draw(st.sampled_from([str(c) for c in table.columns]))
        rows = len(table)
        kind = draw(st.integers(0, 7))
        if kind == 0:
            table = table.drop(columns=column)
        elif kind == 1:
            table = pd.concat([table, table.iloc[: draw(st.integers(0, 3))]])
        elif kind == 2:
            table = table.iloc[: draw(st.integers(0, 12))]
        elif kind == 3:
            table = table.rename(
                columns={column: draw(texts | st.sampled_from(list(table.columns)))}
            )
        elif kind == 4:
            some = draw(st.lists(cells, min_size=1, max_size=3))
            new = pd.Series([some[i % len(some)] for i in range(rows)], table.index, dtype=object)
            table = table.assign(**{column: new})
        elif kind == 5 and rows:
            new = table[column].astype(object).copy()
            new.iloc[draw(st.integers(0, rows - 1))] = draw(cells)
            table = table.assign(**{column: new})
            if draw(st.booleans()):
                table = table.infer_objects()
        elif kind == 6:
            try:
                table = table.astype({column: draw(st.sampled_from(DTYPES))})
            except (ValueError, TypeError, OverflowError, RuntimeWarning):  # no such table
                continue
        elif kind == 7 and rows:
            odd = st.sampled_from([np.nan, np.inf, -np.inf, 1e308, 1e-308, -1.0, 0.0, 2.0**63])
            new = pd.Series(np.full(rows, draw(odd | st.floats())), index=table.index)
            table = table.assign(**{column: new})
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@given(table=changed(good()), higher=st.booleans())
@settings(max_examples=4 * settings.default.max_examples)
def test_score_tables(guard: Any, table: pd.DataFrame, higher: bool) -> None:
    profiles, _ = guard("score tables", lambda: list(as_scores(table, higher).profiles()))
    for profile in profiles or ():
        assert np.isfinite(profile.separation).all()
        assert (np.diff(profile.depth) > 0).all()


@given(data=st.data(), dialect=st.sampled_from(["utf-8", "utf-16", "latin-1"]))
@settings(max_examples=settings.default.max_examples)
def test_csv(guard: Any, folder: Path, data: st.DataObject, dialect: str) -> None:
    whole = good()[["model", "family", "depth", "score"]].to_csv(index=False).encode()
    (folder / "a.csv").write_bytes(data.draw(broken(whole)))
    try:
        table = pd.read_csv(folder / "a.csv", encoding=dialect)
    except (ValueError, UnicodeError):  # pandas' own refusal, before our loader has a say
        return
    guard("CSV", lambda: list(as_scores(table).profiles()))


@given(data=st.data(), which=st.sampled_from(["scores", "replicates"]))
@settings(max_examples=2 * settings.default.max_examples)
def test_parquet_bytes(guard: Any, folder: Path, data: st.DataObject, which: str) -> None:
    study = simulate_scores(families=(1, 1), n_layers=(4, 5), n_replicates=3)
    assert study.replicates is not None
    study.table.to_parquet(
        folder / "scores.parquet",
        compression=data.draw(st.sampled_from(["snappy", "zstd", "gzip", None])),
    )
    study.replicates.to_parquet(folder / "replicates.parquet")
    (folder / "run.json").write_bytes(RUN)
    path = folder / f"{which}.parquet"
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    guard("Parquet, bytes", lambda: list(load_scores(folder).profiles()))


@given(table=changed(good()))
@settings(max_examples=settings.default.max_examples)
def test_parquet_of_other_columns(guard: Any, folder: Path, table: pd.DataFrame) -> None:
    try:
        table.to_parquet(folder / "scores.parquet")
    except Exception:  # pandas writes no such table
        return
    (folder / "replicates.parquet").unlink(missing_ok=True)
    (folder / "run.json").write_bytes(RUN)
    guard("Parquet, columns", lambda: list(load_scores(folder).profiles()))
    guard("Parquet, columns", lambda: read_table(folder / "scores.parquet"))


@given(content=broken(RUN) | values.map(lambda v: json.dumps(v).encode()))
@settings(max_examples=2 * settings.default.max_examples)
def test_run_files(guard: Any, folder: Path, content: bytes) -> None:
    if not (folder / "run").is_dir():
        (folder / "run").mkdir()
        good().to_parquet(folder / "run" / "scores.parquet")
    (folder / "run" / "run.json").write_bytes(content)
    guard("run files", lambda: list(load_scores(folder / "run").profiles()))


TRIALS = load_trials(HOME / "data" / "steering" / "demo").table.iloc[:40]
TRIALS = TRIALS[
    TRIALS.groupby(["model", "layer", "emotion", "scenario", "seed", "strength"])["kind"].transform(
        "nunique"
    )
    == 2
]


@given(table=changed(TRIALS))
@settings(max_examples=2 * settings.default.max_examples)
def test_trials(guard: Any, table: pd.DataFrame) -> None:
    guard("trials", lambda: outcomes(as_trials(table)))
