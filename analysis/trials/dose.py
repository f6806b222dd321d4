"""Estimate dose and response: the strengths at which steering works and at which text breaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

from analysis.over_models.permutation import MAX_EXACT_PAIRS, N_FLIPS
from analysis.profiles.uncertainty import check_alpha
from analysis.trials.table import BROKEN, Trials, outcomes
from study.arrays import Float64Array


def dose_response(
    trials: Trials | pd.DataFrame,
    *,
    judge: str | None = None,
    alpha: float = 0.05,
    n_boot: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate the strength of half the largest effect, and the strength at which text breaks.

    Parameters
    ----------
    trials : Trials or DataFrame
    judge : str, optional
        Default: the first judge.
    alpha : float
        Level of the test; intervals have level 1 - alpha.
    n_boot : int
        Bootstrap samples of scenarios.
    seed : int
        Of the bootstrap and of random sign flips.

    Returns
    -------
    DataFrame
        One row per model: half_effect, half_low, half_high; breaks, breaks_low, breaks_high;
        effect (the largest mean gain beyond the sham), its strength (at) and p; verdict in
        {"works before it breaks", "breaks before it works", "undecided"}; reason; confidence,
        the level of the intervals.

    Raises
    ------
    InputError
        If the table is no table of trials, or alpha is no level.

    Notes
    -----
    The effect at a strength is the mean over trials of the target's score minus the sham's; it is 0
    at strength 0. Isotonic regression makes it monotone up to its largest value, and linear
    interpolation finds half of that value. Text breaks where the share of repetitive-collapse and
    explosive texts, made monotone, reaches one half. Intervals are percentiles of a bootstrap over
    scenarios; an end is missing if the draws that would set it never reach the level. At each
    strength, the scenarios that have it count, and a draw has the strengths of its scenarios.

    p is from sign flips of scenarios, exact up to 16, for the largest effect over all strengths, so
    it accounts for the choice of the strength. A verdict needs p < alpha and intervals apart; a
    missing end counts as beyond the strongest. A break that is not shown is not shown to be absent.
    """
    check_alpha(alpha)
    table = outcomes(trials, judge)
    table = table[table["place"] == "peak"].copy()
    table["beyond"] = table["gain"] - table["sham_gain"]
    table["broken"] = table["regime"].isin(BROKEN).astype(float)
    rng = np.random.default_rng(seed)
    rows = []
    for model, part in table.groupby("model", sort=True):
        # Shape (scenarios, strengths): every cell is a mean over emotions and seeds.
        cells = [
            part.pivot_table(index="scenario", columns="strength", values=v)
            for v in ("beyond", "broken")
        ]
        strengths = cells[0].columns.to_numpy(dtype=float)
        effect, broken = (c.to_numpy(dtype=float) for c in cells)
        draws = rng.integers(len(effect), size=(n_boot, len(effect)))
        halves = [half_effect(*_means(strengths, effect[d])) for d in draws]
        ends = [crossing(*_means(strengths, broken[d]), 0.5) for d in draws]
        mean = _means(strengths, effect)[1]
        row: dict[str, Any] = {"model": model}
        row["half_effect"] = half_effect(strengths, mean)
        row["half_low"], row["half_high"] = _percentiles(halves, alpha)
        row["breaks"] = crossing(*_means(strengths, broken), 0.5)
        row["breaks_low"], row["breaks_high"] = _percentiles(ends, alpha)
        row["effect"], row["at"] = float(mean.max()), float(strengths[mean.argmax()])
        row["p"] = largest_flip_p(effect, np.random.default_rng(seed))
        rows.append(row | _dose_verdict(row, float(strengths[-1]), alpha))
    return pd.DataFrame(rows).assign(confidence=1 - alpha)


def _means(strengths: Float64Array, values: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the strengths that any of the scenarios has, and the means over those that have it."""
    n = (~np.isnan(values)).sum(axis=0)
    return strengths[n > 0], np.nansum(values[:, n > 0], axis=0) / n[n > 0]


def largest_flip_p(values: Float64Array, rng: np.random.Generator) -> float:
    """Sign-flip p of the largest mean of k columns being above 0; rows are flipped as a whole.

    It is twice the share of flips under which any column has as large a t, so the choice of the
    column is accounted for. With one column of positive mean, it is that of `flip_p`. A missing
    value adds nothing to its column, whatever the sign of its row.

    Parameters
    ----------
    values : ndarray, shape (n, k)
    rng : Generator

    Examples
    --------
    >>> effect = np.array([[1.0, 2.0, 3.0, 1.5, 2.5], [0.5, -1.0, 1.0, 0.2, -0.3]]).T
    >>> largest_flip_p(effect, np.random.default_rng(0))
    0.0625
    """
    values = np.nan_to_num(values)
    # No flip changes a column's sum of squares, so its sum ranks the flips as t does.
    # The largest value comes first, so that no square overflows.
    scaled = values / np.maximum(np.abs(values).max(axis=0), 1e-300)
    scaled /= np.sqrt(np.maximum((scaled**2).sum(axis=0), 1e-300))
    largest = scaled.sum(axis=0).max()
    observed = largest - 1e-12 * abs(largest)
    n = len(values)
    if n <= MAX_EXACT_PAIRS:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        extreme = ((1.0 - 2.0 * bits) @ scaled).max(axis=1) >= observed
        return min(1.0, 2 * float(extreme.mean()))
    signs = rng.choice([-1.0, 1.0], size=(N_FLIPS, n))
    found = int(((signs @ scaled).max(axis=1) >= observed).sum())
    return min(1.0, 2 * (found + 1) / (N_FLIPS + 1))


def half_effect(strengths: Float64Array, effect: Float64Array) -> float:
    """Return the strength at which the effect reaches half its maximum; NaN if there is none.

    Examples
    --------
    >>> half_effect(np.array([1.0, 2.0, 4.0]), np.array([0.1, 0.4, 0.2]))
    1.3333333333333333
    """
    last = int(effect.argmax())
    return crossing(strengths[: last + 1], effect[: last + 1], float(effect[last]) / 2)


def crossing(strengths: Float64Array, values: Float64Array, level: float) -> float:
    """Return where a curve through the origin, made monotone, first reaches a level, or NaN."""
    x = np.concatenate([[0.0], strengths])
    y = optimize.isotonic_regression(np.concatenate([[0.0], values])).x
    if level <= 0 or y[-1] < level:
        return float("nan")
    i = int(np.argmax(y >= level))
    if y[i] == y[i - 1]:
        return float(x[i])
    return float(x[i - 1] + (level - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))


def _percentiles(draws: list[float], alpha: float) -> tuple[float, float]:
    """Return the percentile interval; draws that never reach the level rank above all others."""
    ordered = np.sort(np.where(np.isnan(draws), np.inf, draws))
    low, high = np.percentile(ordered, [50 * alpha, 100 - 50 * alpha], method="nearest")
    return (
        float(low) if np.isfinite(low) else np.nan,
        float(high) if np.isfinite(high) else np.nan,
    )


def _dose_verdict(row: dict[str, Any], strongest: float, alpha: float) -> dict[str, str]:
    if not row["p"] < alpha:
        return {"verdict": "undecided", "reason": "an effect beyond the sham is not shown"}
    # A missing end lies beyond the strongest, as in the percentiles.
    half_low, half_high, breaks_low, breaks_high = (
        np.inf if np.isnan(row[end]) else row[end]
        for end in ("half_low", "half_high", "breaks_low", "breaks_high")
    )
    if half_high < breaks_low:
        apart = "the intervals are apart"
        if np.isinf(breaks_low):
            apart = f"no break of text is shown up to strength {strongest:g}"
        return {"verdict": "works before it breaks", "reason": apart}
    if breaks_high < half_low:
        return {"verdict": "breaks before it works", "reason": "the intervals are apart"}
    return {"verdict": "undecided", "reason": "the intervals overlap"}
