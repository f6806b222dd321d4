"""The published claims about depth, architecture, scale and method, each with its rule.

Each function takes the table of a test and returns one row of `analysis.claims_table`: the
quantity, its estimate, interval and p, the verdict and the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.families import too_few
from analysis.profiles.fixed_shapes import p_hump
from analysis.scopes import every_p
from analysis.wording import numbered

Row = dict[str, Any]


def untestable(reason: str) -> Row:
    """Return the row of a claim that these data cannot test."""
    return {"verdict": "not testable", "reason": reason}


def every_model(shape: pd.DataFrame, alpha: float) -> Row:
    """Judge whether every profile rises and falls.

    A single profile that does not contradicts the claim. That all do supports it only with three
    families or more.
    """
    profiles = shape[shape["level"] == "profile"]
    rows = [dict(row) for _, row in profiles.iterrows()]
    if profiles["p"].isna().all():
        return untestable(str(rows[0]["reason"]))
    humps, n = humps_of(rows)
    of = f"{humps} of {numbered(n, 'model')}"
    against = profiles[profiles["verdict"].isin(["monotone", "plateau", "trough"])]
    row: Row = {"quantity": "share of models", "estimate": humps / n, "n": n}
    row["p"] = every_p(p_hump(each, alpha) for each in rows)
    if len(against):
        shown = against["p_shape"]
        first = against.iloc[int(np.argmin(shown))]
        row |= {"p": float(min(1.0, len(rows) * shown.min())), "verdict": "contradicted"}
        return row | {"reason": f"{first['model']}: {first['reason']}"}
    if humps == n:
        few, said = too_few(profiles["family"].nunique()), f"a hump in {of}"
        if few:
            return row | {"verdict": "undecided", "reason": f"{said}, but {few}"}
        return row | {"verdict": "supported", "reason": said}
    return row | {"verdict": "undecided", "reason": f"a hump is shown in {of}"}


def humps_of(profiles: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Return how many models are humps in all of their profiles, and how many models there are."""
    models = {str(row["model"]) for row in profiles}
    others = {str(row["model"]) for row in profiles if row["verdict"] != "hump"}
    return len(models - others), len(models)


def over_models(shape: pd.DataFrame) -> Row:
    """Judge the shape with the model as the unit."""
    over = shape[shape["level"] == "models"].iloc[0]
    if pd.isna(over["p"]):
        return untestable(str(over["reason"]))
    against = ("trough", "monotone", "plateau", "several peaks")
    verdicts = {"hump": "supported", **dict.fromkeys(against, "contradicted")}
    shown = over["verdict"] in verdicts
    return {
        "quantity": "weaker arm",
        "estimate": over["estimate"],
        "low": over["low"],
        "high": over["high"],
        "n": over["n_models"],
        "reason": over["reason"],
        "p": over["p_shape" if shown else "p"],
        "verdict": verdicts.get(over["verdict"], "undecided"),
    }


def peak(peaks: pd.DataFrame) -> Row:
    """Judge whether the pooled peak is at the target."""
    found = peaks.iloc[0]
    words = {"at target": "supported", "elsewhere": "contradicted"}
    if found["n_models"] < 2:
        return untestable("pooling needs at least two models")
    row = {
        "quantity": "pooled depth",
        "estimate": found["estimate"],
        "low": found["low"],
        "high": found["high"],
        "n": found["n_models"],
        "reason": found["reason"],
        "p": found["p_elsewhere" if found["verdict"] == "elsewhere" else "p"],
        "verdict": words.get(found["verdict"], "undecided"),
    }
    if found["verdict"] == "elsewhere" and pd.isna(row["p"]):
        # That most models have no peak is counted, not tested.
        said = f"{found['reason']}, but no test over models shows it"
        row |= {"verdict": "undecided", "reason": said}
    return row


def invariance(table: pd.DataFrame) -> Row:
    """Judge whether families share the curve."""
    found = table.iloc[0]
    return _same(found, "largest departure", found["n_models"])


def scale(table: pd.DataFrame) -> Row:
    """Judge whether sizes share the curve."""
    found = table.iloc[0]
    row = _same(found, "change of depth", found["n"])
    if "p" in row:  # A change, too, is one of peaks that are shown.
        row["p"] = max(row["p"], found["p_peak"])
    return row


def _same(found: pd.Series, quantity: str, n: int) -> Row:
    """Return the row of a test that can show either equivalence or a difference."""
    words = {"invariant": "supported", "not invariant": "contradicted"}
    same = [p for p in ("p_equivalence", "p_curve", "p_amplitude", "p_peak") if p in found]
    if pd.isna(found["p"]):
        return untestable(str(found["reason"]))
    return {
        "quantity": quantity,
        "estimate": found["estimate"],
        "low": found["low"],
        "high": found["high"],
        "confidence": found["confidence"],
        "n": n,
        "reason": found["reason"],
        "p": found[same].max() if found["verdict"] == "invariant" else found["p"],
        "verdict": words.get(found["verdict"], "undecided"),
    }


def methods(table: pd.DataFrame) -> Row:
    """Judge whether generation separates better than comprehension."""
    found = table.iloc[0]
    words = {"a better": "supported", "b better": "contradicted"}
    if pd.isna(found["p"]):
        return untestable(str(found["reason"]))
    return {
        "quantity": "difference",
        "estimate": found["estimate"],
        "low": found["low"],
        "high": found["high"],
        "n": found["n"],
        "p": found["p"],
        "reason": found["reason"],
        "verdict": words.get(found["verdict"], "undecided"),
    }


def learned(controls: pd.DataFrame) -> Row:
    """Judge whether the bulge of trained models exceeds that of untrained ones."""
    twins = controls["contrast"] == "trained - untrained"
    over = controls[(controls["level"] == "models") & twins].iloc[0]
    words = {"learned": "supported", "not learned": "contradicted"}
    if pd.isna(over["p"]):
        return untestable(str(over["reason"]))
    return {
        "quantity": "bulge, trained minus untrained",
        "estimate": over["estimate"],
        "low": over["low"],
        "high": over["high"],
        "p": over["p_not" if over["verdict"] == "not learned" else "p"],
        "n": over["n_models"],
        "verdict": words.get(over["verdict"], "undecided"),
        "reason": over["reason"],
    }
