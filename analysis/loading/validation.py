"""Check the rules that every test relies on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.loading.checks import MAX_SCORE, MIN_SCORE, in_range, out_of_order, tidied
from analysis.loading.grouping import Runs, may_repeat
from study import tables
from study.read import InputError

PROFILE = list(tables.PROFILE)
#: Columns of names, without missing values; the last is only in `scores.parquet`.
NAMES = ["study", *PROFILE, "family", "emotion"]
NUMBERS = ["n_params", "n_layers", "layer", "depth", "score"]


def validated(
    table: pd.DataFrame,
    replicates: pd.DataFrame | None,
    directions: Mapping[str, int],
    where: str,
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Check the rules that every test relies on; report the first fault.

    Returns
    -------
    table, replicates : DataFrame
        Tidied.

    Raises
    ------
    InputError
    """
    if table.empty:
        raise InputError(f"{where}: no rows")
    studies = table["study"].unique().tolist()
    if len(studies) > 1:
        raise InputError(
            f"{where}: rows of several studies ({', '.join(map(str, studies))}); "
            "analyze one study at a time"
        )
    table = tidied(table, where, NAMES, NUMBERS)
    checked = [(table, [*PROFILE, "emotion", "layer"])]
    if replicates is not None:
        replicates = tidied(replicates, where, NAMES[:-1], [*NUMBERS, "replicate"], lean=True)
        checked.append((replicates, [*PROFILE, "replicate", "layer"]))
    for frame, unique in checked:
        for column in ("depth", "score", "layer"):
            bad = ~np.isfinite(frame[column].to_numpy(dtype=np.float64))
            if bad.any():
                raise InputError(f"{where}: {column} is not finite in {_row(frame, bad)}")
        fraction = ((frame["layer"] % 1 != 0) | (frame["layer"].abs() > 10**6)).to_numpy()
        if fraction.any():
            raise InputError(f"{where}: layer is not a whole number in {_row(frame, fraction)}")
        if not in_range(frame["score"].to_numpy(dtype=np.float64)):
            raise InputError(
                f"{where}: scores beyond {MAX_SCORE:g}, or all within {MIN_SCORE:g} of 0; multiply "
                "them by a constant, which changes no test"
            )
        outside = (frame["depth"] < 0) | (frame["depth"] > 1)
        if outside.any():
            raise InputError(
                f"{where}: depth outside [0, 1] in {_row(frame, outside.to_numpy())}; "
                "depth is layer / number of layers"
            )
        if may_repeat(frame, PROFILE, unique[-2:]):
            twice = frame.duplicated(unique).to_numpy()
            if twice.any():
                raise InputError(f"{where}: duplicate layer in {_row(frame, twice)}")
    wrong = out_of_order(
        Runs(table, PROFILE).numbers(), table["layer"].to_numpy(), table["depth"].to_numpy()
    )
    if wrong is not None:
        here = np.arange(len(table)) == wrong
        raise InputError(f"{where}: depth does not grow with the layer in {_row(table, here)}")
    if not table["instruct"].isin([False, True]).all():
        raise InputError(f"{where}: column 'instruct' must hold true or false")
    if (table["n_params"] <= 0).any() or (table["n_layers"] < 0).any():
        raise InputError(f"{where}: n_params must be above 0 or missing, n_layers not below 0")
    for column, what in (("family", "family"), ("n_params", "number of parameters")):
        kinds = table[["model", column]].drop_duplicates()["model"]
        if kinds.duplicated().any():
            model = kinds[kinds.duplicated()].iloc[0]
            raise InputError(f"{where}: model {model!r} has more than one {what}")
    unknown = sorted(set(table["metric"].unique()) - set(directions))
    if unknown:
        raise InputError(f"{where}: run.json does not declare the metric {unknown[0]!r}")
    return table.reset_index(drop=True), replicates


def _row(frame: pd.DataFrame, bad: NDArray[np.bool_]) -> str:
    """Name the first bad row by its profile and depth."""
    row = frame[bad].iloc[0]
    return " / ".join(str(row[c]) for c in PROFILE) + f" at layer {row['layer']}"
