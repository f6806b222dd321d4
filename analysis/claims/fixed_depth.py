"""What these models say about the claims on depth, curves and methods: topics are the sample.

Each function takes the table of a test and returns one row, as those of `claims.depth` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims.depth import Row, humps_of, untestable
from analysis.loading.scores import Profile
from analysis.over_models.fixed_methods import EVERY, WITHIN
from analysis.profiles.fixed_shapes import fixed_shapes
from analysis.profiles.shape import shape_row
from analysis.profiles.uncertainty import assess
from analysis.scopes import THESE, every_p, some_p
from analysis.wording import numbered


def _row(found: pd.Series, quantity: str, p: float, verdict: str, n: Any) -> Row:
    """Return a row of claims from that of a test; not testable without a p."""
    if not np.isfinite(p):
        return untestable(str(found["reason"]))
    return {
        "quantity": quantity,
        "estimate": found["estimate"],
        "low": found["low"],
        "high": found["high"],
        "p": p,
        "n": n,
        "verdict": verdict,
        "reason": found["reason"],
    }


def every_model(profiles: Sequence[dict[str, Any]], alpha: float) -> Row:
    """Judge whether each of these models is a hump, from the profiles' rows of `u_shape_test`."""
    found = fixed_shapes(profiles, alpha)
    if not np.isfinite(found["p"]):
        return untestable(str(found["reason"]))
    humps, n = humps_of(profiles)
    row: Row = {"quantity": "share of models", "estimate": humps / n, "n": n}
    row["reason"] = found["reason"]
    if found["verdict"] == "hump":
        return row | {"p": found["p"], "verdict": "supported"}
    if found["p_otherwise"] < alpha:
        return row | {"p": found["p_otherwise"], "verdict": "contradicted"}
    return row | {"p": found["p"], "verdict": "undecided"}


def mean_curve(profiles: Sequence[Profile], alpha: float, seed: int) -> Row:
    """Judge the shape of these models' mean curve, at the depths of the one with fewest layers."""
    coarse = min(profiles, key=lambda profile: len(profile.depth))
    start = max(profile.depth[0] for profile in profiles)
    end = min(profile.depth[-1] for profile in profiles)
    inside = (coarse.depth >= start - 1e-9) & (coarse.depth <= end + 1e-9)
    at = coarse.depth[inside]

    def onto(profile: Profile, rows: np.ndarray) -> np.ndarray:
        return np.array([np.interp(at, profile.depth, row) for row in np.atleast_2d(rows)])

    curves = [onto(profile, profile.separation)[0] for profile in profiles]
    copies = [onto(p, p.replicates) for p in profiles if p.replicates is not None]
    if len(copies) < len(profiles) or any(profile.repeated for profile in profiles):
        return untestable(
            "the repetitions of these models are not shared, so their mean curve has no error"
        )
    n = min(map(len, copies))
    mean = replace(
        coarse,
        layer=coarse.layer[inside],
        depth=at,
        separation=np.mean(curves, axis=0),
        replicates=np.mean([copy[:n] for copy in copies], axis=0),
    )
    found: pd.Series[Any] = pd.Series(shape_row(mean, assess(mean, seed), alpha))
    verdict = found["verdict"]
    word = {"hump": "supported", "undecided": "undecided"}.get(str(verdict), "contradicted")
    p = found["p_shape" if word == "contradicted" else "p"]
    found["reason"] = f"the mean curve: {found['reason']}"
    return _row(found, "weaker arm", float(p), word, len(profiles))


def peak(table: pd.DataFrame) -> Row:
    """Judge whether each of these models peaks at the target."""
    found = table.iloc[0]
    words = {"at target": "supported", "elsewhere": "contradicted"}
    p = found["p_elsewhere" if found["verdict"] == "elsewhere" else "p"]
    verdict = words.get(found["verdict"], "undecided")
    return _row(found, "mean depth", float(p), verdict, found["n_models"])


def curves(table: pd.DataFrame) -> Row:
    """Judge whether these models of several families have the same curve."""
    found = table.iloc[0]
    words = {"invariant": "supported", "not invariant": "contradicted"}
    same = max(found["p_curve"], found["p_amplitude"])
    p = same if found["verdict"] == "invariant" else found["p"]
    verdict = words.get(found["verdict"], "undecided")
    return _row(found, "largest difference", float(p), verdict, found["n_models"])


def scale(table: pd.DataFrame) -> Row:
    """Judge whether the peak stays in place over the sizes of these models."""
    found = table.iloc[0]
    words = {"invariant": "supported", "not invariant": "contradicted"}
    p = found["p_equivalence" if found["verdict"] == "invariant" else "p"]
    verdict = words.get(found["verdict"], "undecided")
    return _row(found, "change of depth", float(p), verdict, found["n"])


def methods(table: pd.DataFrame, alpha: float) -> Row:
    """Judge whether one method separates better in each of these models.

    Contradicted if the other is shown to be better in one of them, after Holm's correction.
    """
    found, within = _of_methods(table)
    against = some_p(within["p"].where(within["statistic"] < 0, 1.0))
    if found["verdict"] == "a better":
        return _row(found, "mean difference", found["p"], "supported", found["n"])
    if against < alpha:
        return _row(found, "mean difference", against, "contradicted", found["n"])
    return _row(found, "mean difference", found["p"], "undecided", found["n"])


def precision(table: pd.DataFrame, alpha: float) -> Row:
    """Judge whether precision changes separation in each of these models."""
    found, within = _of_methods(table)
    p = every_p(within["p"]) if within["p"].notna().any() else np.nan
    verdict = "supported" if p < alpha else "undecided"
    row = _row(found, "low minus high precision", p, verdict, found["n"])
    shown = int((within["p"] < alpha).sum())
    return row | {"reason": f"a change is shown in {shown} of {numbered(len(within), 'model')}"}


def _of_methods(table: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    rows = table[table["scope"] == THESE]
    return rows[rows["test"] == EVERY].iloc[0], rows[rows["test"] == WITHIN]


def learned(controls: pd.DataFrame) -> Row:
    """Judge whether each of these models has learned its hump."""
    twins = controls["contrast"] == "trained - untrained"
    found = controls[(controls["level"] == THESE) & twins].iloc[0]
    words = {"learned": "supported", "not learned": "contradicted"}
    p = found["p_not" if found["verdict"] == "not learned" else "p"]
    verdict = words.get(found["verdict"], "undecided")
    return _row(found, "bulge, trained minus untrained", float(p), verdict, found["n_models"])
