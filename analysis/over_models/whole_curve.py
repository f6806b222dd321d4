"""Test whether families share the whole curve: its level, amplitude, place and shape.

A quadratic's vertex is one summary of a curve, and different curves can share it. Sameness is
therefore tested on the whole curve, and a difference is reported with what differs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.families import t_above, t_critical
from analysis.over_models.optimize import Codes
from analysis.over_models.sums import CurveData, vertex
from analysis.profiles.curves import Peak
from analysis.profiles.splines import extrema, smoother, tops
from study.arrays import Float64Array

#: Depths at which curves are compared, as shares of the range that all models have.
POINTS = np.linspace(0.0, 1.0, 41)
#: Share of the range at either end that is not searched for a peak.
EDGE = 0.1
#: The reason when there is no place to compare.
NO_PEAK = "the curves are not shown to have a peak, so there is no depth to compare"
#: Fewest models for which a family's own spread is estimated.
OWN_SPREAD = 3


def curves(data: CurveData) -> tuple[Float64Array, Float64Array]:
    """Return depths, shape (n_points,), and each model's smoothed curve about its mean over depth.

    Curves are averaged over methods, shape (n_models, n_points).
    """
    start, end = max(d[0] for d in data.depths), min(d[-1] for d in data.depths)
    at = start + POINTS * (end - start)
    smooth = np.array(
        [smoother(d, at) @ m.mean(axis=1) for d, m in zip(data.depths, data.means, strict=True)]
    )
    return at, smooth - smooth.mean(axis=1, keepdims=True)


def places(
    data: CurveData, peak: Peak, either: bool = False
) -> tuple[Float64Array, NDArray[np.bool_]]:
    """Return where each model peaks, and whether that is a peak and not an end of its range.

    A quadratic's vertex is one also beyond the range: leaving it out would truncate the errors.
    With `either`, the place of curves that fall and then rise on average is their lowest, and every
    vertex counts.
    """
    if peak == "vertex":
        bend = data.coef[0, :, 1]
        return vertex(data.coef[0]), np.full(bend.size, True) if either else bend < 0
    sign = -1.0 if either and data.coef[0, :, 1].mean() > 0 else 1.0
    profiles = [sign * mean.mean(axis=1)[None, :] for mean in data.means]
    top = np.array([extrema(d, y)[0] for d, y in zip(data.depths, profiles, strict=True)])
    there = np.array([d[0] < at < d[-1] for d, at in zip(data.depths, top, strict=True)])
    if peak == "center":
        top = np.array([centers(d, y)[0] for d, y in zip(data.depths, profiles, strict=True)])
    return top, there


def centers(depth: Float64Array, profiles: Float64Array) -> Float64Array:
    """Return the middle of each profile's top; `profiles` is (n_profiles, n_points)."""
    start, end = tops(depth, profiles)
    return np.asarray((start + end) / 2)


def whole_curve(
    data: CurveData, curve_delta: float, amplitude_delta: float, alpha: float
) -> dict[str, Any]:
    r"""Test that every family's curve is the mean curve up to its level.

    Parameters
    ----------
    data : CurveData
    curve_delta : float
        Margin for the departure of a family's normalized curve, as a share of the mean curve's
        rise.
    amplitude_delta : float
        Margin for the departure of a family's amplitude, as a share of the mean amplitude.
    alpha : float

    Returns
    -------
    dict
        - curve_departure, curve_of, curve_depth: the largest departure, and its family and depth;
          curve_upper, curve_upper_of: the largest 1 - alpha upper bound over families and depths,
          and its family; p_curve: of equivalence.
        - amplitude, amplitude_low, amplitude_high, amplitude_of: the largest departure of an
          amplitude, with its 1 - 2 alpha interval; amplitude_upper, amplitude_upper_of: the
          largest upper bound over families, and its family; p_amplitude: of equivalence.
        - p_peak: that the curves rise and then fall (or the reverse), over all models.

    Notes
    -----
    With :math:`x_m` the curve of model m about its own mean over depth, :math:`X_f` the mean of
    family f and :math:`X` the mean of the families, a family's amplitude is
    :math:`a_f = X_f'X / X'X` and its normalized curve :math:`X_f / a_f`. Its departure from X is
    divided by the range of X. The errors are those of the models' linearized contributions within
    families, pooled, or the family's own if they are larger and it has three models or more.

    The departures of all families at all depths have to be within the margin. This is an
    intersection-union test [1]_: every comparison has the level alpha, and the largest of the
    one-sided upper bounds is a bound of the largest departure.

    References
    ----------
    .. [1] Berger, R. L., Hsu, J. C. (1996). Bioequivalence trials, intersection-union tests and
       equivalence confidence sets. Statistical Science, 11(4), 283-319.
    """
    n_families = len(data.groups)
    out: dict[str, Any] = {
        "curve_departure": np.nan,
        "curve_upper": np.nan,
        "curve_upper_of": "",
        "curve_of": "",
        "curve_depth": np.nan,
        "p_curve": np.nan,
        "amplitude": np.nan,
        "amplitude_low": np.nan,
        "amplitude_high": np.nan,
        "amplitude_upper": np.nan,
        "amplitude_upper_of": "",
        "amplitude_of": "",
        "p_amplitude": np.nan,
        "p_peak": np.nan,
    }
    df = len(data.models) - n_families
    if n_families < 2 or df < 1:
        return out
    at, own = curves(data)
    of_family = _means(own, data.group)
    mean = of_family.mean(axis=0)
    size = float(mean @ mean)
    if size == 0:
        return out
    out["p_peak"] = peak_p(data, at, either=True)
    share = own @ mean / size
    amplitude = _means(share, data.group)
    if (np.abs(amplitude) < 0.05).any():
        return out | {"p_curve": 1.0, "p_amplitude": 1.0}  # a family without any of the curve
    rise = float(np.ptp(mean))
    a, curve = amplitude[data.group], of_family[data.group]
    # Each model's first-order contribution to its family's normalized curve.
    part = (own - curve) / a[:, None] - curve * ((share - a) / a**2)[:, None]
    departure = (of_family / amplitude[:, None] - mean) / rise
    error = _errors(part / rise, data.group)
    t = t_critical(1 - alpha, df)
    # At a depth where nothing varies, nothing departs.
    error = np.maximum(error, 1e-12)
    who, where = divmod(int(np.abs(departure).argmax()), at.size)
    upper = np.abs(departure) + t * error
    out |= {
        "curve_departure": departure[who, where],
        "curve_of": data.groups[who],
        "curve_depth": at[where],
        "curve_upper": float(upper.max()),
        "curve_upper_of": data.groups[int(upper.max(axis=1).argmax())],
        "p_curve": float(t_above((curve_delta - np.abs(departure)) / error, df).max()),
    }
    relative = amplitude / amplitude.mean() - 1
    error = np.maximum(_errors((share - a) / amplitude.mean(), data.group), 1e-12)
    worst = int(np.abs(relative).argmax())
    upper = np.abs(relative) + t * error
    return out | {
        "amplitude": relative[worst],
        "amplitude_of": data.groups[worst],
        "amplitude_low": relative[worst] - t * error[worst],
        "amplitude_high": relative[worst] + t * error[worst],
        "amplitude_upper": float(upper.max()),
        "amplitude_upper_of": data.groups[int(upper.argmax())],
        "p_amplitude": float(t_above((amplitude_delta - np.abs(relative)) / error, df).max()),
    }


def _means(values: Float64Array, group: Codes) -> Float64Array:
    onehot = np.eye(int(group.max()) + 1)[group]
    return np.asarray((onehot / onehot.sum(axis=0)).T @ values)


def _errors(part: Float64Array, group: Codes) -> Float64Array:
    """Return the standard errors of the families' departures from the mean of the families.

    `part` holds each model's contribution to its family's value: deviations within families.
    """
    count = np.bincount(group).astype(np.float64)
    n_families, df = count.size, group.size - count.size
    squares = _means(part**2, group)
    shape = (n_families, *(1,) * (part.ndim - 1))
    pooled = (part**2).sum(axis=0) / df
    own = squares * (count / np.maximum(count - 1, 1)).reshape(shape)
    enough = (count >= OWN_SPREAD).reshape(shape)
    variance = np.where(enough, np.maximum(own, pooled), pooled) / count.reshape(shape)
    rest = variance.sum(axis=0) / n_families**2
    return np.asarray(np.sqrt(variance * (1 - 2 / n_families) + rest))


def peak_p(data: CurveData, at: Float64Array, either: bool = False) -> float:
    """Return the p that curves rise to a top inside and then fall.

    With `either`, curves that bend upwards on average have to fall and then rise. The top of each
    model is taken from the other models' mean: its own noise would favor a turn.
    """
    # Interpolated, not smoothed: a smoother swings where a plateau begins and bends at the ends.
    raw = [np.interp(at, d, m.mean(axis=1)) for d, m in zip(data.depths, data.means, strict=True)]
    turned = np.array(raw) * (-1.0 if either and data.coef[0, :, 1].mean() >= 0 else 1.0)
    inner = np.flatnonzero((POINTS >= EDGE) & (POINTS <= 1 - EDGE))
    total, n = turned.sum(axis=0), len(turned)
    tops = inner[(total - turned)[:, inner].argmax(axis=1)]
    values = turned[np.arange(n), tops]
    arms = values[:, None] - turned[:, [0, -1]]
    means = _means(arms, data.group)
    count = np.bincount(data.group)
    df = n - count.size
    if df < 1:  # one model in each family: what differs between families is all there is
        df, variance = n - 1, arms.var(axis=0, ddof=1)
    else:
        variance = ((arms - means[data.group]) ** 2).sum(axis=0) / df
    error = np.sqrt(variance * (1 / count).sum()) / count.size
    return float(t_above(means.mean(axis=0) / np.maximum(error, 1e-300), df).max())


def welch_p(values: Float64Array, group: Codes) -> float:
    """Return Welch's p that families have equal means, Bonferroni over columns of values.

    Families with fewer than three models are left out, because their spread cannot be estimated.
    NaN if fewer than two families are left, or a family's values do not differ.

    References
    ----------
    Welch, B. L. (1951). On the comparison of several mean values: an alternative approach.
    Biometrika, 38, 330-336.

    Examples
    --------
    >>> values = np.array([[0.1], [0.2], [0.3], [0.9], [1.4], [1.2]])
    >>> round(welch_p(values, np.array([0, 0, 0, 1, 1, 1])), 4)
    0.0126
    """
    large = np.flatnonzero(np.bincount(group) >= OWN_SPREAD)
    rows = [values[group == f] for f in large]
    if large.size < 2 or any(np.ptp(part, axis=0).min() <= 0 for part in rows):
        return float("nan")
    p = np.atleast_1d(stats.f_oneway(*rows, axis=0, equal_var=False).pvalue)
    return float(min(1.0, p.size * p.min()))


def what_differs(data: CurveData, alpha: float, peak: Peak = "extremum") -> list[str]:
    """Name what differs between families: level, amplitude, place, shape.

    One-way tests between families on one or two numbers per model: its level (mean over depth),
    its amplitude (share of the mean curve in it), the depth of its peak, and the first two
    principal components over models of its curve's residual from the shifted and stretched mean
    curve.
    """
    _, own = curves(data)
    mean = _means(own, data.group).mean(axis=0)
    share = own @ mean / float(mean @ mean)
    moved = np.column_stack([mean, np.gradient(mean)])
    left = own / np.where(np.abs(share) < 0.05, np.nan, share)[:, None]
    turn, there = places(data, peak, either=True)
    turn = np.where(there, turn, np.nan)
    left = left - (left @ moved) @ np.linalg.pinv(moved)
    numbers = {
        "level": data.coef[0, :, 2:],
        "amplitude": share[:, None],
        "place": turn[:, None],
        "shape": _components(left),
    }
    found = []
    for name, values in numbers.items():
        if np.isfinite(values).all() and _one_way(values, data.group) <= alpha:
            found.append(name)
    return found


def _components(rows: Float64Array) -> Float64Array:
    """Return the first two principal components of centered rows."""
    if not np.isfinite(rows).all():
        return np.full((len(rows), 1), np.nan)
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    return np.asarray((u * s)[:, : min(2, int((s > 1e-12).sum()) or 1)])


def _one_way(values: Float64Array, group: Codes) -> float:
    """Return the larger of Welch's and the ordinary p of equal means, Bonferroni over columns."""
    rows = [values[group == f] for f in range(int(group.max()) + 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.atleast_1d(stats.f_oneway(*rows, axis=0).pvalue)
    ordinary = float(np.nan_to_num(min(1.0, p.size * p.min()), nan=1.0))
    return float(np.nanmax([ordinary, welch_p(values, group)]))
