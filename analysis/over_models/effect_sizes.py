"""Effect sizes of two samples or of pairs, with their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint

from analysis.families import t_critical
from study.arrays import Float64Array

#: A larger effect size means a pooled standard deviation near zero, not a large effect.
IMPLAUSIBLE = 5.0


def cles_interval(cles: float, n_a: int, n_b: int, alpha: float = 0.05) -> tuple[float, float]:
    """Newcombe's score interval (method 5) of P(a > b) between independent samples.

    Examples
    --------
    >>> [round(end, 3) for end in cles_interval(1.0, 9, 9)]
    [0.78, 1.0]
    """
    z = stats.norm.ppf(1 - alpha / 2)
    extra = (n_a + n_b) / 2 - 1

    def score(theta: float) -> float:
        spread = 1 + extra * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return float((theta - cles) ** 2 - z**2 * theta * (1 - theta) * spread / (n_a * n_b))

    low = 0.0 if cles == 0 else float(optimize.brentq(score, 0.0, cles * (1 - 1e-12)))
    high = 1.0 if cles == 1 else float(optimize.brentq(score, cles + (1 - cles) * 1e-12, 1.0))
    return low, high


def paired_effects(x: Float64Array, y: Float64Array, alpha: float) -> dict[str, Any]:
    """Hedges' g, matched rank-biserial correlation and P(a > b) within pairs, with intervals."""
    difference = x - y
    ranks = stats.rankdata(np.abs(difference[difference != 0]))
    out: dict[str, Any] = hedges(x, y, alpha, paired=True)
    wins = (difference > 0).sum() + (difference == 0).sum() / 2
    low, high = proportion_confint(wins, x.size, alpha, method="wilson")
    out |= {"cles": wins / x.size, "cles_low": low, "cles_high": high}
    if ranks.size:
        share = float(ranks[difference[difference != 0] > 0].sum() / ranks.sum())
        effective = float(ranks.sum() ** 2 / (ranks**2).sum())
        low, high = proportion_confint(share * effective, effective, alpha, method="wilson")
        out |= {"rank_biserial": 2 * share - 1, "rb_low": 2 * low - 1, "rb_high": 2 * high - 1}
    return out


def hedges(x: Float64Array, y: Float64Array, alpha: float, paired: bool) -> dict[str, Any]:
    """Hedges' g over the mean of the two variances; flagged if that mean is nearly zero.

    g = d (1 - 3 / (4 (n + m) - 9)), with Student's interval of standard error
    sqrt(1/n + 1/m + g^2 / (2 (n + m))); for pairs sqrt((1 + g^2 / 2) / n).
    """
    if min(x.size, y.size) < 2 or x.var() + y.var() == 0:
        return {
            "hedges_g": np.nan,
            "g_low": np.nan,
            "g_high": np.nan,
            "flag": "no effect size: fewer than two values per method, or no spread",
        }
    n, m = x.size, y.size
    variances = x.var(ddof=1), y.var(ddof=1)
    spread = np.sqrt(np.average(variances, weights=None if paired else (n - 1, m - 1)))
    g = float((x.mean() - y.mean()) / spread * (1 - 3 / (4 * (n + m) - 9)))
    error = np.sqrt((1 + g**2 / 2) / n if paired else 1 / n + 1 / m + g**2 / (2 * (n + m)))
    reach = t_critical(1 - alpha / 2, n - 1 if paired else n + m - 2) * error
    flag = ""
    if abs(g) > IMPLAUSIBLE:
        flag = f"|g| > {IMPLAUSIBLE:g}: a pooled SD near zero rather than an effect"
    return {"hedges_g": g, "g_low": float(g - reach), "g_high": float(g + reach), "flag": flag}
