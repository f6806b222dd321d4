"""How far families' peaks depart from their mean, and how much the families' curves explain."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.families import t_above, t_critical
from analysis.over_models.optimize import Codes
from analysis.over_models.sums import CurveData, basis
from analysis.over_models.whole_curve import places
from analysis.profiles.curves import Peak
from analysis.profiles.splines import GRID
from study.arrays import Float64Array

#: Draws of the generalized confidence interval.
N_PIVOT = 2000
#: Least variance of a depth that is read off a grid: that of rounding.
ROUNDED = float(GRID[1] - GRID[0]) ** 2 / 12


def departures(
    data: CurveData, delta: float, alpha: float, peak: Peak = "extremum"
) -> dict[str, Any]:
    """Departures of the groups' peaks from their mean, and their equivalence to 0.

    The peak of a group is the mean over its models that have one; v_g - mean(v) has the variance
    s2 (1 / n_g (1 - 2 / G) + sum_k 1 / n_k / G^2), s2 pooled within groups.
    """
    turn, group, names = _turns(data, peak)
    out = {
        "n_no_peak": len(data.models) - turn.size,
        "estimate": np.nan,
        "low": np.nan,
        "high": np.nan,
        "departure_upper": np.nan,
        "departure_of": "",
        "p_equivalence": np.nan,
    }
    n_groups = len(names)
    if n_groups < 2 or not np.isfinite(turn).all():
        return out
    count, means, s2, df = _within(turn, group, peak)
    shift = means - means.mean()
    worst = int(np.abs(shift).argmax())
    out |= {"estimate": shift[worst], "departure_of": names[worst]}
    # The vertices of a hump and of a trough are not comparable.
    same_bend = peak != "vertex" or len(set(np.sign(data.coef[0, :, 1]))) == 1
    if df < 1 or s2 <= 0:
        return out
    error = np.sqrt(s2 * ((1 - 2 / n_groups) / count + (1 / count).sum() / n_groups**2))
    reach = t_critical(1 - alpha, df) * error[worst]
    p = t_above((delta - np.abs(shift)) / error, df)
    out |= {
        "low": shift[worst] - reach,
        "high": shift[worst] + reach,
        "departure_upper": float((np.abs(shift) + t_critical(1 - alpha, df) * error).max())
        if same_bend
        else np.nan,
        "p_equivalence": p.max() if same_bend else np.nan,
    }
    return out


def _turns(data: CurveData, peak: Peak) -> tuple[Float64Array, Codes, tuple[str, ...]]:
    """Return the peaks of the models that have one, their groups, and the groups' names."""
    turn, there = places(data, peak, either=True)
    left, group = np.unique(data.group[there], return_inverse=True)
    return turn[there], group, tuple(data.groups[g] for g in left)


def _within(
    turn: Float64Array, group: Codes, peak: Peak
) -> tuple[Float64Array, Float64Array, float, int]:
    """Group sizes, means, pooled variance within groups and its degrees of freedom."""
    count = np.bincount(group).astype(np.float64)
    means = np.bincount(group, weights=turn) / count
    df = turn.size - count.size
    s2 = float(((turn - means[group]) ** 2).sum() / max(df, 1))
    return count, means, s2 if peak == "vertex" else max(s2, ROUNDED), df


def between_sd(
    data: CurveData,
    rng: np.random.Generator,
    level: float = 0.95,
    peak: Peak = "extremum",
) -> dict[str, float]:
    """Estimate the standard deviation of the peak between groups, with its interval.

    The estimate solves sum_g w_g (v_g - v_w)^2 = G - 1 with w_g = 1 / (t2 + s2 / n_g) (Paule and
    Mandel); a draw of the interval takes s2 df / chi2(df) for s2 and chi2(G - 1) on the right.
    """
    turn, group, _ = _turns(data, peak)
    names = ("between_sd", "between_sd_low", "between_sd_high")
    count, means, s2, df = _within(turn, group, peak)
    if count.size < 2 or df < 1 or s2 <= 0 or not np.isfinite(turn).all():
        return dict.fromkeys(names, np.nan)
    right = np.concatenate([[count.size - 1.0], rng.chisquare(count.size - 1, N_PIVOT)])
    error = np.concatenate([[s2], s2 * df / rng.chisquare(df, N_PIVOT)])
    low = np.zeros(right.size)
    high = ((means - means.mean()) ** 2).sum() / right
    for _ in range(40):
        middle = (low + high) / 2
        weight = 1 / (middle[:, None] + error[:, None] / count)
        center = (weight * means).sum(axis=1) / weight.sum(axis=1)
        above = (weight * (means - center[:, None]) ** 2).sum(axis=1) > right
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    spread = np.sqrt(np.where(low > 0, (low + high) / 2, 0.0))
    tail = (1 - level) / 2
    return dict(zip(names, [spread[0], *np.quantile(spread[1:], [tail, 1 - tail])], strict=True))


def left_out(data: CurveData) -> dict[str, float]:
    """Share of the variance within profiles that the other groups' curve explains.

    Each model keeps its own level. The references are that level alone (R2 = 0) and the curve of
    the model's own group.
    """
    if len(data.groups) < 2:
        return {"lofo_r2": np.nan, "own_r2": np.nan}
    onehot = np.eye(len(data.groups))[data.group]
    means = (onehot / onehot.sum(axis=0)).T @ data.coef[0]
    others = (means.sum(axis=0) - means) / (len(means) - 1)
    flat = left = own = 0.0
    for m, (depth, mean) in enumerate(zip(data.depths, data.means, strict=True)):
        z, profile = basis(depth), mean.mean(axis=1)
        z, y = z - z.mean(axis=0), profile - profile.mean()
        flat += float((y**2).sum())
        left += float(((y - z @ others[data.group[m]]) ** 2).sum())
        own += float(((y - z @ means[data.group[m]]) ** 2).sum())
    if flat == 0:
        return {"lofo_r2": np.nan, "own_r2": np.nan}
    return {"lofo_r2": 1 - left / flat, "own_r2": 1 - own / flat}
