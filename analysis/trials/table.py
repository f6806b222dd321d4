"""Load and validate steering trials; determine the outcome and regime of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.loading.checks import tidied
from analysis.loading.parquet import read_table
from analysis.loading.run_file import read_run
from study import tables
from study.read import InputError, is_there, locate

if TYPE_CHECKING:
    from upath import UPath

#: The columns that identify a trial; with `kind` ("steered" or "sham") they identify a row.
TRIAL = list(tables.TRIAL)
#: All columns of `trials.parquet` except two per judge: score_JUDGE, baseline_score_JUDGE.
COLUMNS = list(tables.TRIAL_COLUMNS)
#: Numeric columns, and those among them that are missing for a text too short to measure.
NUMBERS = [
    "layer",
    "strength",
    "n_params",
    "depth",
    "n_tokens",
    "perplexity",
    "baseline_perplexity",
    "distinct_2",
    "baseline_distinct_2",
    "share_foreign_script",
]
MAY_BE_MISSING = {
    "n_params",
    "perplexity",
    "baseline_perplexity",
    "distinct_2",
    "baseline_distinct_2",
    "share_foreign_script",
}
REGIMES = ("surgical", "inert", "repetitive collapse", "explosive")
#: Bounds for a table from elsewhere that has none.
BOUNDS = {"distinct_2": 0.5, "perplexity_ratio": 4.0}
#: The largest share of another script in a judged text: the judges read English.
FOREIGN = 0.5


@dataclass(frozen=True)
class Trials:
    """A study's steering trials, validated.

    Attributes
    ----------
    table : DataFrame
        Columns `COLUMNS` and the judges' columns, one row per steered or sham text.
    run : mapping
        The contents of `run.json`; empty for a table from elsewhere.
    """

    table: pd.DataFrame
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judges(self) -> list[str]:
        """The judges' names, the primary one first."""
        return [str(c).removeprefix("score_") for c in self.table if str(c).startswith("score_")]

    @property
    def bounds(self) -> dict[str, float]:
        """The regimes' bounds: distinct_2 and perplexity_ratio, from the study file."""
        rules = self.run.get("study", {}).get("preregistered", {})
        return {key: float(rules.get(key, default)) for key, default in BOUNDS.items()}


def load_trials(study: str | Path | UPath) -> Trials:
    """Read and validate the steering trials of one study.

    Parameters
    ----------
    study : str, Path or UPath
        The study's folder or its URL, with `trials.parquet` and `run.json`.

    Returns
    -------
    Trials

    Raises
    ------
    InputError
        If a file is missing or unreadable, or the table breaks a rule of `as_trials`.
    """
    folder = locate(study)
    if not is_there(folder / "trials.parquet"):
        raise InputError(
            f"{folder}: no steering trials; make them: python steering.py --study {folder.name}"
        )
    table = read_table(folder / "trials.parquet", writer="steering.py")
    return _validated(Trials(table, read_run(folder / "run.json")), str(folder))


def as_trials(data: Trials | pd.DataFrame) -> Trials:
    """Accept a study's trials, or a table of your own.

    Parameters
    ----------
    data : Trials or DataFrame
        A DataFrame needs the columns `COLUMNS`, and score_JUDGE and baseline_score_JUDGE for at
        least one judge.

    Returns
    -------
    Trials

    Raises
    ------
    InputError
        For a missing column, an empty table, repeated rows, a kind that is neither steered nor
        sham, or a steered text without its sham.
    """
    if isinstance(data, Trials):
        return data
    if not isinstance(data, pd.DataFrame):
        raise InputError(f"trials must be a DataFrame, not {type(data).__name__}")
    return _validated(Trials(data), "the table of trials")


def _validated(trials: Trials, where: str) -> Trials:
    table = trials.table
    missing = [c for c in COLUMNS if c not in table]
    if not missing:
        missing = [
            f"baseline_score_{j}" for j in trials.judges if f"baseline_score_{j}" not in table
        ]
    if missing or not trials.judges:
        raise InputError(
            f"{where}: no column {missing[0] if missing else 'score_JUDGE'!r}; "
            "run steering.py again"
        )
    if table.empty:
        raise InputError(f"{where}: no trials")
    scores = [f"{prefix}score_{j}" for j in trials.judges for prefix in ("", "baseline_")]
    table = tidied(table, where, [*TRIAL, "study", "kind", "family", "place"], [*NUMBERS, *scores])
    trials = replace(trials, table=table)
    for column in [*NUMBERS, *scores]:
        wrong = np.isinf(table[column].to_numpy(dtype=np.float64))
        if column not in MAY_BE_MISSING and not column.startswith(("score_", "baseline_score_")):
            wrong |= table[column].isna().to_numpy()
        if wrong.any():
            raise InputError(f"{where}: {column} is not finite in {_name(table[wrong])}")
    for column in ("perplexity", "baseline_perplexity"):
        if (table[column] <= 0).any():
            raise InputError(f"{where}: {column} must be above 0")
    unknown = set(table["kind"]) - {"steered", "sham"}
    if unknown:
        raise InputError(f"{where}: kind {min(unknown)!r} is neither 'steered' nor 'sham'")
    twice = table.duplicated([*TRIAL, "kind"])
    if twice.any():
        raise InputError(f"{where}: a trial occurs twice: {_name(table[twice])}")
    alone = table.groupby(TRIAL)["kind"].transform("nunique") < 2
    if alone.any():
        raise InputError(
            f"{where}: a trial needs a steered text and a sham: {_name(table[alone])} has one"
        )
    return trials


def _name(rows: pd.DataFrame) -> str:
    return " / ".join(str(rows.iloc[0][c]) for c in TRIAL)


def outcomes(trials: Trials | pd.DataFrame, judge: str | None = None) -> pd.DataFrame:
    """Return the outcome of each trial: one row per steered text, with its sham beside it.

    Parameters
    ----------
    trials : Trials or DataFrame
    judge : str, optional
        Default: the first judge.

    Returns
    -------
    DataFrame
        The steered rows with

        - gain, sham_gain: the judge's score for the target minus that of the baseline text;
        - over_baseline, sham_over_baseline: whether the gain is positive;
        - success: whether the text is above both the baseline and the sham;
        - perplexity_ratio: perplexity relative to the baseline, under the unsteered model;
        - regime, sham_regime: one of `REGIMES`.

        Trials are left out if the judge does not know their target.

    Raises
    ------
    InputError
        For an unknown judge.

    Notes
    -----
    A text that is empty, or more than half in another script, is not a success. If steering does
    nothing, then text, sham and baseline are exchangeable: the chance of a success is at most one
    third, and the chance that a text exceeds its baseline at most one half.

    Regimes, in this order: *repetitive collapse* if distinct-2 is below its bound (a loop has a
    low perplexity, unless what it repeats is odd); *explosive* if the perplexity ratio is above
    its bound; *surgical* if the trial is a success; else *inert*. A sham is a success if it is
    above both the baseline and the steered text.
    """
    trials = as_trials(trials)
    judge = judge or trials.judges[0]
    if judge not in trials.judges:
        raise InputError(f"no judge {judge!r} in the trials; there are {', '.join(trials.judges)}")
    table = trials.table.copy()
    table["readable"] = (table["n_tokens"] > 0) & (table["share_foreign_script"] <= FOREIGN)
    table["gain"] = table[f"score_{judge}"] - table[f"baseline_score_{judge}"]
    table["over_baseline"] = table["readable"] & (table["gain"] > 0)
    table["perplexity_ratio"] = table["perplexity"] / table["baseline_perplexity"]
    table = table[table["gain"].notna()]
    if table.empty:
        raise InputError(f"judge {judge!r} knows none of the steered emotions; choose another")
    own = ["gain", "over_baseline", "perplexity_ratio", "distinct_2", "readable", "text"]
    sham = table.loc[table["kind"] == "sham", [*TRIAL, *own]]
    sham = sham.rename(columns={c: f"sham_{c}" for c in own})
    out = table[table["kind"] == "steered"].merge(sham, on=TRIAL, validate="1:1")
    out["success"] = out["over_baseline"] & (
        (out["gain"] > out["sham_gain"]) | ~out["sham_readable"]
    )
    sham_success = out["sham_over_baseline"] & ((out["sham_gain"] > out["gain"]) | ~out["readable"])
    out["regime"] = _regime(
        out["distinct_2"], out["perplexity_ratio"], out["success"], trials.bounds
    )
    out["sham_regime"] = _regime(
        out["sham_distinct_2"], out["sham_perplexity_ratio"], sham_success, trials.bounds
    )
    return out


def _regime(
    distinct_2: pd.Series,
    perplexity_ratio: pd.Series,
    success: pd.Series,
    bounds: Mapping[str, float],
) -> pd.Categorical:
    """Apply the rules; a measure that a short text lacks breaks no bound."""
    words = np.select(
        [
            (distinct_2 < bounds["distinct_2"]).to_numpy(),
            (perplexity_ratio > bounds["perplexity_ratio"]).to_numpy(),
            success.to_numpy(dtype=bool),
        ],
        ["repetitive collapse", "explosive", "surgical"],
        "inert",
    )
    return pd.Categorical(words, REGIMES)


def example_texts(trials: Trials | pd.DataFrame, judge: str | None = None) -> pd.DataFrame:
    """Choose one continuation per model and regime: the one with the median gain.

    Returns
    -------
    DataFrame
        Rows of `outcomes` at the peak: for each model and regime, the trial at the lower median
        of the gains; ties go to the first in the table's order.
    """
    table = outcomes(trials, judge)
    table = table[table["place"] == "peak"]
    rows = []
    for _, group in table.groupby(["model", "regime"], observed=True, sort=True):
        ranked = group.sort_values("gain", kind="stable")
        rows.append(ranked.iloc[(len(ranked) - 1) // 2])
    return pd.DataFrame(rows).reset_index(drop=True)
