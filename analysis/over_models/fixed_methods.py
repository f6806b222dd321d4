"""Which method separates better in each of these models, with the topics as the sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.over_models.rank_tests import contrast_verdict
from analysis.profiles.joint import over_topics
from analysis.profiles.uncertainty import MIN_REPLICATES
from analysis.scopes import THESE, every_p, holm
from analysis.wording import each_of, numbered
from study.arrays import Float64Array

EVERY, WITHIN = "every model", "within model"
#: The note at the end of a reason.
OVER = "; over topics, of this model alone"


def fixed_methods(
    differences: pd.Series,
    names: tuple[str, str],
    draws: Mapping[str, Float64Array],
    n_topics: int | None,
    alpha: float,
    delta: float | None,
) -> list[dict[str, Any]]:
    """Return the rows of `method_test` about these models: every model, then each.

    Parameters
    ----------
    differences : Series
        Of each model, in separation.
    names : (str, str)
        The methods a and b.
    draws : mapping of str to ndarray, shape (n_replicates,)
        The difference in each replicate; models without replicates are missing.
    n_topics, alpha, delta
        As in `joint.over_topics` and `method_test`.

    Notes
    -----
    "Every model" is an intersection-union test: one method is better if it is in each model. Its
    estimate is the mean over these models, whose error is that of the replicates.
    """
    rows = [
        {"test": WITHIN, "model": str(model), "n": 1}
        | _tested(float(value), draws.get(str(model)), n_topics, alpha, delta, OVER)
        for model, value in differences.items()
    ]
    p = np.array([row["p"] for row in rows])
    known = np.isfinite(p)
    for number, corrected in zip(np.flatnonzero(known), holm(p[known]), strict=True):
        rows[number]["p_holm"] = float(corrected)
    every = _every(differences, dict(zip("ab", names, strict=True)), rows, draws, n_topics, alpha)
    return [{**row, "scope": THESE} for row in (every, *rows)]


def _every(
    differences: pd.Series,
    names: Mapping[str, str],
    rows: list[dict[str, Any]],
    draws: Mapping[str, Float64Array],
    n_topics: int | None,
    alpha: float,
) -> dict[str, Any]:
    """Judge whether one method is better in every model, or in some."""
    values = differences.to_numpy(dtype=np.float64)
    row: dict[str, Any] = {"test": EVERY, "model": "all", "n": len(rows)}
    row |= dict.fromkeys(("low", "high", "p"), np.nan) | {"verdict": "undecided"}
    row["estimate"] = float(values.mean()) if values.size else np.nan
    if not rows:
        return row | {"reason": "no model has both methods"}
    untested = [one for one in rows if np.isnan(one["p"])]
    if untested:
        return row | {"reason": f"{untested[0]['model']}: {untested[0]['reason']}"}
    n = min(copies.size for copies in draws.values())
    copies = np.mean([draws[one["model"]][:n] for one in rows], axis=0)
    mean = over_topics(row["estimate"], copies, n_topics)
    row["low"], row["high"] = mean.ends(alpha)
    row["df"] = mean.df
    sides = {
        side: [
            one["p"] if sign * value > 0 else 1.0 for one, value in zip(rows, values, strict=True)
        ]
        for side, sign in (("a", 1), ("b", -1))
    }
    everywhere = {side: every_p(p) for side, p in sides.items()}
    best = min(everywhere, key=lambda side: everywhere[side])
    row["p"] = everywhere[best]
    alike = [one["verdict"] == "alike" for one in rows]
    if row["p"] <= alpha:
        where = each_of(len(rows), "model")
        reason = f"{names[best]} separates better in {where} (largest p {row['p']:.3g})"
        return row | {"verdict": f"{best} better", "reason": reason}
    if all(alike):
        return row | {"verdict": "alike", "reason": "the methods are alike in each model"}
    shown = {
        side: sum(one["verdict"] == f"{side} better" and one["p_holm"] <= alpha for one in rows)
        for side in sides
    }
    each = " and ".join(f"{names[side]} in {n}" for side, n in shown.items())
    said = f"shown to separate better: {each} of {numbered(len(rows), 'model')}"
    return row | {"verdict": "mixed" if all(shown.values()) else "undecided", "reason": said}


def _tested(
    estimate: float,
    copies: Float64Array | None,
    n_topics: int | None,
    alpha: float,
    delta: float | None,
    note: str,
) -> dict[str, Any]:
    """Test one model's difference over its topics."""
    row: dict[str, Any] = dict.fromkeys(("low", "high", "p"), np.nan)
    row |= {"estimate": estimate, "verdict": "undecided"}
    if copies is None:
        return row | {"reason": "no replicates: no error over topics"}
    if copies.size < MIN_REPLICATES:
        reason = f"only {copies.size} replicates; at least {MIN_REPLICATES} are needed"
        return row | {"reason": reason}
    found = over_topics(estimate, copies, n_topics)
    if found.exact:
        return row | {"reason": "the replicates do not vary"}
    low, high = found.ends(alpha)
    row |= {"low": low, "high": high, "p": found.p(), "p_min": 0.0, "df": found.df}
    row["statistic"] = estimate / found.se
    decided = contrast_verdict({**row, "n": 1}, alpha, note)
    if decided["verdict"] == "undecided" and delta is not None:
        p = found.p_within(-delta, delta)
        if p <= alpha:
            reason = f"the difference is within {delta:g} (equivalence p = {p:.3g}){note}"
            decided = {"verdict": "alike", "reason": reason}
    return row | decided
