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

#: The columns that identify a trial; with `kind`, one of `tables.KINDS`, they identify a row.
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
BROKEN = ("repetitive collapse", "explosive")
REGIMES = ("surgical", "inert", *BROKEN)
#: Bounds for a table from elsewhere that has none.
BOUNDS = {"distinct_2": 0.5, "perplexity_ratio": 4.0}
#: What a text is compared by.
OUTCOMES = (
    *("gain", "over_baseline", "whole", "whole_success", "perplexity_ratio", "distinct_2"),
    *("readable", "text"),
)
STEERED, SHAM, MATCHED = tables.KINDS
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
    if not is_there(folder):
        raise InputError(f"{folder}: no such folder; name the folder of a study's steering trials")
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
        A DataFrame has one row per steered or sham text, with the columns

        - study, model, family: names; n_params: the model's parameters, or missing;
        - layer, depth: where the vector was added, depth from 0 to 1; place: "peak", or "sweep"
          at other layers;
        - emotion: the target; scenario, seed: the text's opening and random seed; strength: the
          length of the vector as a share of the residual stream's;
        - kind: "steered", "sham" (a random direction) or "matched sham" (one from the residual
          stream's covariance);
        - text, baseline_text: what the model wrote with the vector and without it;
        - n_tokens: tokens of the text; perplexity, baseline_perplexity: of both texts under the
          unsteered model; distinct_2, baseline_distinct_2: shares of distinct pairs of neighboring
          tokens; share_foreign_script: of the text's letters, those that are not Latin;
        - score_JUDGE, baseline_score_JUDGE: how much of the target a judge finds in both texts,
          for at least one judge.

    Returns
    -------
    Trials

    Raises
    ------
    InputError
        For a missing column, an empty table, repeated rows, an unknown kind, or a trial without a
        steered text or without a sham.
    """
    if isinstance(data, Trials):
        return data
    if not isinstance(data, pd.DataFrame):
        raise InputError(f"trials must be a DataFrame, not {type(data).__name__}")
    needs = f"it needs {', '.join(COLUMNS)}, and score_JUDGE and baseline_score_JUDGE for a judge"
    return _validated(Trials(data), "the table of trials", needs)


def _validated(trials: Trials, where: str, remedy: str = "run steering.py again") -> Trials:
    table = trials.table
    missing = [c for c in COLUMNS if c not in table]
    if not missing:
        missing = [
            f"baseline_score_{j}" for j in trials.judges if f"baseline_score_{j}" not in table
        ]
    if missing or not trials.judges:
        raise InputError(
            f"{where}: no column {missing[0] if missing else 'score_JUDGE'!r}; {remedy}"
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
    unknown = set(table["kind"]) - set(tables.KINDS)
    if unknown:
        known = ", ".join(map(repr, tables.KINDS))
        raise InputError(f"{where}: kind {min(unknown)!r} is none of {known}")
    twice = table.duplicated([*TRIAL, "kind"])
    if twice.any():
        raise InputError(f"{where}: a trial occurs twice: {_name(table[twice])}")
    for kind in (STEERED, SHAM):
        lacks = (table["kind"] == kind).groupby([table[c] for c in TRIAL]).transform("sum") == 0
        if lacks.any():
            raise InputError(
                f"{where}: a trial needs a steered text and a sham: {_name(table[lacks])} has no "
                f"row of kind {kind!r}"
            )
    return trials


def _name(rows: pd.DataFrame) -> str:
    return " / ".join(str(rows.iloc[0][c]) for c in TRIAL)


def outcomes(trials: Trials | pd.DataFrame, judge: str | None = None) -> pd.DataFrame:
    """Return the outcome of each trial: one row per steered text, with its shams beside it.

    Parameters
    ----------
    trials : Trials or DataFrame
    judge : str, optional
        Default: the first judge.

    Returns
    -------
    DataFrame
        The steered rows with

        - gain: the judge's score for the target minus that of the baseline text;
        - over_baseline: whether the gain is positive;
        - whole: whether the text is readable and in neither broken regime;
        - whole_success: whether it is whole and above the baseline;
        - success: whether it is above both the baseline and the sham;
        - perplexity_ratio: perplexity relative to the baseline, under the unsteered model;
        - regime: one of `REGIMES`;
        - sham_gain, sham_whole, sham_regime and so on: the same of the sham that decides, and
          sham_kind: the matched sham where the trial has one, else the isotropic one;
        - isotropic_gain and so on: the same of the isotropic sham.

        Trials are left out if the judge does not know their target or gave no opinion on them.

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

    An isotropic sham has a random direction. Where a few dimensions hold most of the variance, the
    vector is mostly along them and an isotropic direction is not, so equal lengths are not equal
    disturbances. A matched sham is drawn from the covariance of the residual stream, and is
    therefore the fair control.
    """
    trials = as_trials(trials)
    judge = judge or trials.judges[0]
    table = judged(trials, judge)
    if table.empty:
        raise InputError(f"judge {judge!r} knows none of the steered emotions; choose another")
    out = table[table["kind"] == STEERED]
    isotropic = table[table["kind"] == SHAM]
    matched = table[table["kind"] == MATCHED]
    decides = pd.concat([matched, isotropic]).drop_duplicates(TRIAL)  # the matched one, if any
    for name, shams in (("sham", decides), ("isotropic", isotropic)):
        beside = shams[[*TRIAL, "kind", *OUTCOMES]]
        beside = beside.rename(columns={c: f"{name}_{c}" for c in ("kind", *OUTCOMES)})
        out = out.merge(beside, on=TRIAL, validate="1:1")
    out["success"] = _above(out, "", "sham_")
    out["regime"] = _regime(out, out["success"], trials.bounds)
    for name in ("sham_", "isotropic_"):
        out[f"{name}regime"] = _regime(out, _above(out, name, ""), trials.bounds, name)
    return out


def judged(trials: Trials, judge: str) -> pd.DataFrame:
    """Return the texts, steered and sham, that a judge knows, with the columns `OUTCOMES`."""
    if judge not in trials.judges:
        raise InputError(f"no judge {judge!r} in the trials; there are {', '.join(trials.judges)}")
    table = trials.table.copy()
    table["readable"] = (table["n_tokens"] > 0) & (table["share_foreign_script"] <= FOREIGN)
    table["gain"] = table[f"score_{judge}"] - table[f"baseline_score_{judge}"]
    table["over_baseline"] = table["readable"] & (table["gain"] > 0)
    table["perplexity_ratio"] = table["perplexity"] / table["baseline_perplexity"]
    table["whole"] = table["readable"] & ~_regime(table, False, trials.bounds).isin(BROKEN)
    table["whole_success"] = table["whole"] & table["over_baseline"]
    return table[table["gain"].notna()]


def _above(table: pd.DataFrame, one: str, other: str) -> pd.Series:
    """Return which texts are above both their baseline and the other text."""
    above: pd.Series = table[f"{one}over_baseline"] & (
        (table[f"{one}gain"] > table[f"{other}gain"]) | ~table[f"{other}readable"]
    )
    return above


def _regime(
    table: pd.DataFrame, success: pd.Series | bool, bounds: Mapping[str, float], of: str = ""
) -> pd.Series:
    """Apply the rules; a measure that a short text lacks breaks no bound."""
    broken = [
        (table[f"{of}distinct_2"] < bounds["distinct_2"]).to_numpy(),
        (table[f"{of}perplexity_ratio"] > bounds["perplexity_ratio"]).to_numpy(),
    ]
    wins = np.broadcast_to(np.asarray(success, dtype=bool), len(table))
    words = np.select([*broken, wins], [*BROKEN, "surgical"], "inert")
    return pd.Series(pd.Categorical(words, REGIMES), index=table.index)


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
