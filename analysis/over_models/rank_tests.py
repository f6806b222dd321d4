"""Rank tests of two methods (signed ranks, Mann-Whitney), and the verdict of a contrast."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
from scipy import stats

from analysis.over_models.effect_sizes import cles_interval, hedges, paired_effects
from study.arrays import Float64Array

#: Up to this product of two sample sizes, Mann-Whitney's p is exact.
MAX_EXACT_RANKS = 10_000


def contrast_verdict(
    row: dict[str, Any], alpha: float, note: str, direction: str = "estimate"
) -> dict[str, str]:
    """Return verdict and reason of a contrast's row; the sign of one column says who is better."""
    p, smallest = row["p"], row["p_min"]
    if smallest > alpha:
        return {
            "verdict": "undecided",
            "reason": f"n = {row['n']} cannot give a p below "
            f"{smallest:.3g}, so {alpha:g} is out of reach{note}",
        }
    if p > alpha:
        return {"verdict": "undecided", "reason": f"no difference is shown (p = {p:.3g}){note}"}
    better = "a better" if row[direction] > 0 else "b better"
    return {"verdict": better, "reason": f"the methods differ (p = {p:.3g}){note}"}


def signed_rank(x: Float64Array, y: Float64Array, alpha: float, note: str) -> dict[str, Any]:
    """Exact Wilcoxon signed-rank test, with the Hodges-Lehmann estimate."""
    n = x.size
    row: dict[str, Any] = {
        "n": n,
        "estimate": np.nan,
        "low": np.nan,
        "high": np.nan,
        "p": np.nan,
        "p_min": 2.0 ** (1 - n) if n else 1.0,
    }
    difference = x - y
    if n == 0 or not difference.any():
        return row | {"verdict": "undecided", "reason": f"no pair differs{note}"}
    i, j = np.triu_indices(n)
    walsh = np.sort((difference[i] + difference[j]) / 2)
    # The interval spans all Walsh averages except the k outermost at each end.
    ranks = _signed_rank_cdf(n)
    k = int(np.searchsorted(ranks, alpha / 2, side="right"))
    if k > 0:
        row |= {"low": walsh[k - 1], "high": walsh[-k]}
    result = stats.wilcoxon(x, y, correction=True)
    row |= {
        "estimate": float(np.median(walsh)),
        "statistic": float(result.statistic),
        "p": float(result.pvalue),
    }
    row |= paired_effects(x, y, alpha)
    # With ties, the median difference may be 0 though one method wins.
    return row | contrast_verdict(row, alpha, note, "rank_biserial")


def _signed_rank_cdf(n: int) -> Float64Array:
    """P(W <= w) of the signed-rank statistic of n pairs, for w = 0, 1, ..."""
    share = np.ones(1)
    for rank in range(1, n + 1):
        share = np.pad(share / 2, (0, rank)) + np.pad(share / 2, (rank, 0))
    return np.asarray(np.cumsum(share))


def mann_whitney(x: Float64Array, y: Float64Array, alpha: float) -> dict[str, Any]:
    """Mann-Whitney test of two samples, with effect sizes of independent samples.

    Exact without ties and up to `MAX_EXACT_RANKS` pairs of values, else the normal approximation.
    """
    row: dict[str, Any] = {
        "n": x.size + y.size,
        "estimate": np.nan,
        "low": np.nan,
        "high": np.nan,
        "p": np.nan,
        "p_min": 1.0,
    }
    note = "; it treats the two methods of a model as independent"
    if x.size == 0 or y.size == 0:
        return row | {"verdict": "undecided", "reason": "a method has no values"}
    tied = np.unique(np.concatenate([x, y])).size < x.size + y.size
    exact = not tied and x.size * y.size <= MAX_EXACT_RANKS
    result = stats.mannwhitneyu(x, y, method="exact" if exact else "asymptotic")
    differences = np.sort(np.subtract.outer(x, y).ravel())
    cles = float((differences > 0).mean() + (differences == 0).mean() / 2)
    low, high = cles_interval(cles, x.size, y.size, alpha)
    row |= {
        "estimate": float(np.median(differences)),
        "statistic": float(result.statistic),
        "p": float(result.pvalue),
        "p_min": min(1.0, 2 / comb(x.size + y.size, x.size)),
        "rank_biserial": 2 * cles - 1,
        "rb_low": 2 * low - 1,
        "rb_high": 2 * high - 1,
        "cles": cles,
        "cles_low": low,
        "cles_high": high,
    }
    decided = contrast_verdict(row, alpha, note, "rank_biserial")
    return row | hedges(x, y, alpha, paired=False) | decided
