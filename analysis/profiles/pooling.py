"""Pool the models' peaks by random-effects meta-analysis, with the family as the unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import optimize

from analysis.families import Estimate, meta_regression, t_critical
from study.arrays import Float64Array


def pooled_over_families(
    y: Float64Array, se: Float64Array, family: list[str], alpha: float, bias: float
) -> tuple[Estimate, dict[str, float]]:
    """Pool models' peaks with the family as the unit; return the columns that describe them.

    `bias`: the remaining error that all models may share.
    """
    onehot = pd.get_dummies(pd.Series(family)).to_numpy(dtype=float)
    share = onehot / onehot.sum(axis=0)
    result = hartung_knapp(share.T @ y, np.sqrt((share**2).T @ se**2), alpha, modified=True)
    group = onehot.argmax(axis=1)
    between = meta_regression(y, se**2, np.ones((len(y), 1)), group)[2]
    tau2, typical = float(between.sum()), typical_variance(se**2)
    df = onehot.shape[1] - 1.0
    error = float(np.hypot(result.pop("se"), bias))
    pooled = Estimate(result["estimate"], error, df, len(y), onehot.shape[1])
    t = t_critical(1 - alpha / 2, df)
    reach = t * np.hypot(error, np.sqrt(tau2))
    return pooled, result | {
        "low": pooled.estimate - t * error,
        "high": pooled.estimate + t * error,
        "df": df,
        "tau": np.sqrt(tau2),
        "tau_family": np.sqrt(between[1]),
        "i2": tau2 / (tau2 + typical),
        "prediction_low": pooled.estimate - reach,
        "prediction_high": pooled.estimate + reach,
    }


def hartung_knapp(
    y: Float64Array, se: Float64Array, alpha: float = 0.05, *, modified: bool = False
) -> dict[str, float]:
    """Pool estimates in a random-effects meta-analysis.

    Parameters
    ----------
    y, se : ndarray, shape (k,)
        Estimates and their standard errors, k at least 2.
    alpha : float
    modified : bool
        Whether the error is at least what the weights imply (Roever, Knapp and Friede 2015).

    Returns
    -------
    dict
        estimate, se, low, high, tau, i2, prediction_low, prediction_high.

    Examples
    --------
    >>> pooled = hartung_knapp(np.array([0.4, 0.5, 0.6]), np.array([0.05, 0.05, 0.05]))
    >>> round(pooled["estimate"], 3), round(pooled["tau"], 3), round(pooled["i2"], 2)
    (0.5, 0.087, 0.75)
    """
    v, k = se**2, len(y)

    def loss(tau2: float) -> float:
        w = 1 / (v + tau2)
        mean = (w @ y) / w.sum()
        return float(0.5 * (np.log(w.sum()) - np.log(w).sum() + w @ (y - mean) ** 2))

    def score(tau2: float) -> float:
        w = 1 / (v + tau2)
        mean = (w @ y) / w.sum()
        return float(w**2 @ (y - mean) ** 2 - w.sum() + (w**2).sum() / w.sum())

    # The score may cross zero more than once: start from the best of a grid.
    grid = np.append(0.0, np.geomspace(1e-6, 1e2, 60) * (v.mean() + y.var()))
    best = int(np.argmin([loss(t) for t in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    tau2 = 0.0
    if score(low) > 0 > score(high):
        tau2 = float(optimize.brentq(score, low, high, xtol=1e-16, rtol=1e-14))
    w = 1 / (v + tau2)
    estimate = float(w @ y / w.sum())
    factor = float(w @ (y - estimate) ** 2 / (k - 1))
    error = float(np.sqrt(max(factor, 1.0 if modified else 0.0) / w.sum()))
    t = t_critical(1 - alpha / 2, k - 1)
    reach = t * np.sqrt(error**2 + tau2)
    typical = typical_variance(v)
    return {
        "estimate": estimate,
        "se": error,
        "low": estimate - t * error,
        "high": estimate + t * error,
        "tau": float(np.sqrt(tau2)),
        "i2": float(tau2 / (tau2 + typical)),
        "prediction_low": float(estimate - reach),
        "prediction_high": float(estimate + reach),
    }


def typical_variance(v: Float64Array) -> float:
    """Return Higgins and Thompson's typical sampling variance."""
    fixed = 1 / v
    return float((len(v) - 1) * fixed.sum() / (fixed.sum() ** 2 - (fixed**2).sum()))
