"""The published claims about depth, architecture, scale and method, each judged by its rule.

Every function returns one row of `analysis.claims_table`: what was estimated, its interval and p,
the verdict and the reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.loading.scores import Scores
from analysis.over_models.invariance import invariance_test
from analysis.over_models.method_contrast import method_test
from analysis.over_models.scale import scale_test
from analysis.profiles.controls import control_test
from analysis.profiles.localization import localization_test

Row = dict[str, Any]


def untestable(reason: str) -> Row:
    """Return the row of a claim on which these data say nothing."""
    return {"verdict": "not testable", "reason": reason}


def every_model(shape: pd.DataFrame) -> Row:
    """Judge whether every profile rises and falls."""
    profiles = shape[shape["level"] == "profile"]
    n, humps = len(profiles), int((profiles["verdict"] == "hump").sum())
    against = profiles[profiles["verdict"].isin(["monotone", "trough"])]
    row: Row = {"quantity": "share of models", "estimate": humps / n, "n": n,
                "p": float(profiles["p"].max())}  # fmt: skip
    if len(against):
        shown = against["p"].where(
            against["verdict"] == "trough", against[["p_before", "p_after"]].max(axis=1)
        )
        first = against.iloc[int(np.argmin(shown))]
        row |= {"p": float(min(1.0, n * shown.min())), "verdict": "contradicted"}
        return row | {"reason": f"{first['model']}: {first['reason']}"}
    if humps == n:
        return row | {"verdict": "supported", "reason": f"a hump in {humps} of {n} models"}
    return row | {"verdict": "undecided", "reason": f"a hump is shown in {humps} of {n} models"}


def over_models(shape: pd.DataFrame) -> Row:
    """Judge the shape with the model as the unit."""
    over = shape[shape["level"] == "models"].iloc[0]
    if pd.isna(over["p"]):
        return untestable(str(over["reason"]))
    verdicts = {"hump": "supported", "trough": "contradicted", "monotone": "contradicted"}
    monotone = over["verdict"] == "monotone"
    return {
        "quantity": "weaker arm", "estimate": over["estimate"], "low": over["low"],
        "high": over["high"], "n": over["n_models"], "reason": over["reason"],
        "p": max(over["p_before"], over["p_after"]) if monotone else over["p"],
        "verdict": verdicts.get(over["verdict"], "undecided"),
    }  # fmt: skip


def peak(main: Scores, method: str, rules: dict[str, Any], seed: int) -> Row:
    """Judge whether the pooled vertex is at the target."""
    found = localization_test(
        main, method=method, target=rules["target"], delta=rules["delta"], alpha=rules["alpha"],
        seed=seed,
    ).iloc[0]  # fmt: skip
    words = {"at target": "supported", "elsewhere": "contradicted"}
    if found["n_models"] < 2:
        return untestable("pooling needs at least two models")
    return {
        "quantity": "pooled depth", "estimate": found["estimate"], "low": found["low"],
        "high": found["high"], "n": found["n_models"], "reason": found["reason"],
        "p": found["p_elsewhere" if found["verdict"] == "elsewhere" else "p"],
        "verdict": words.get(found["verdict"], "undecided"),
    }  # fmt: skip


def invariance(main: Scores, rules: dict[str, Any], n_boot: int, seed: int) -> Row:
    """Judge whether families share the curve."""
    found = invariance_test(
        main, delta=rules["delta"], n_boot=n_boot, seed=seed, alpha=rules["alpha"]
    ).iloc[0]
    return _same(found, "largest departure", found["n_models"])


def scale(main: Scores, rules: dict[str, Any]) -> Row:
    """Judge whether sizes share the curve."""
    found = scale_test(main, delta=rules["delta"], alpha=rules["alpha"]).iloc[0]
    return _same(found, "change of depth", found["n"])


def _same(found: pd.Series, quantity: str, n: int) -> Row:
    """Return the row of a test that can show sameness or a difference."""
    words = {"invariant": "supported", "not invariant": "contradicted"}
    if pd.isna(found["p"]):
        return untestable(str(found["reason"]))
    return {
        "quantity": quantity, "estimate": found["estimate"], "low": found["low"],
        "high": found["high"], "n": n, "reason": found["reason"],
        "p": found["p_equivalence" if found["verdict"] == "invariant" else "p"],
        "verdict": words.get(found["verdict"], "undecided"),
    }  # fmt: skip


def methods(main: Scores, alpha: float) -> Row:
    """Judge whether generation separates better than comprehension."""
    found = method_test(main, alpha=alpha).iloc[0]
    words = {"a better": "supported", "b better": "contradicted"}
    if pd.isna(found["p"]):
        return untestable(str(found["reason"]))
    return {
        "quantity": "difference", "estimate": found["estimate"], "low": found["low"],
        "high": found["high"], "n": found["n"], "p": found["p"], "reason": found["reason"],
        "verdict": words.get(found["verdict"], "undecided"),
    }  # fmt: skip


def learned(scores: Scores, method: str, metric: str, alpha: float) -> Row:
    """Judge whether the bulge of trained models exceeds that of untrained ones."""
    found = control_test(scores, metric=metric, method=method, alpha=alpha)
    over = found[(found["level"] == "models") & (found["contrast"] == "trained - untrained")].iloc[
        0
    ]
    words = {"learned": "supported", "not learned": "contradicted"}
    if pd.isna(over["p"]):
        return untestable(str(over["reason"]))
    return {
        "quantity": "bulge beyond the untrained", "estimate": over["estimate"],
        "low": over["low"], "high": over["high"], "p": over["p"], "n": over["n_models"],
        "verdict": words.get(over["verdict"], "undecided"), "reason": over["reason"],
    }  # fmt: skip
