"""Fit curves to each profile: where it peaks, with an interval, and which form fits best."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from analysis.families import t_above, t_critical
from analysis.loading.scores import Profile, Scores
from analysis.profiles.remembered import remembered
from analysis.profiles.shape import shape_row
from analysis.profiles.splines import N_GRIDS, maximum, smoother, tops
from analysis.profiles.uncertainty import (
    Errors,
    assess,
    check_alpha,
    quadratic_weights,
    select_profiles,
)
from study.arrays import Float64Array
from study.read import InputError

FORMS = ("linear", "quadratic", "cubic", "spline")
N_BLOCKS = 5
#: Estimators of where a curve peaks.
Peak = Literal["vertex", "extremum", "center"]
PEAKS: tuple[Peak, ...] = ("vertex", "extremum", "center")
#: Columns that are blank where no peak is shown: without a peak there is no peak depth.
OF_A_PEAK = [
    *(f"{name}{end}" for name in ("vertex", "center", "peak") for end in ("", "_low", "_high")),
    "vertex_se",
    "center_se",
    "fieller_low",
    "fieller_high",
    "onset",
    "width",
]


def fit_curves(
    scores: Scores | pd.DataFrame,
    *,
    metric: str | None = None,
    method: str | None = None,
    weights: str | None = "trained",
    labels: str | None = "true",
    peak: Peak = "extremum",
    delta: float = 0.1,
    alpha: float = 0.05,
    seed: int = 0,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    r"""Fit curves in depth to every profile, and locate its peak.

    Parameters
    ----------
    scores : Scores or DataFrame
        A study, or a table with at least model, family, depth and score.
    metric, method, weights, labels : str, optional
        Which profiles; None takes all.
    peak : {"vertex", "extremum", "center"}
        The estimator that says where the peak is.
    delta : float
        In units of depth: if the estimators differ by more, the peak is undecided.
    alpha : float
        Intervals have level 1 - alpha.
    seed : int
        For the draws of the AR(1) model, used where a profile has no replicates.
    higher_is_better : bool, optional
        For a table: whether a larger score means better separation. Default: True; an error if
        the metric's name leaves it open ("loss", "distance", "cosine").

    Returns
    -------
    DataFrame
        One row per profile, in the metric's own units; depth runs from 0 to 1.

        - peak, peak_low, peak_high: depth of the peak by the chosen estimator. The three
          estimators have a column each, with a percentile interval. vertex: turn of the quadratic;
          an end of its interval is infinite if the draws do not settle the sign of the curvature.
          extremum: depth of the curve's maximum, without the quadratic's symmetry, corrected for
          noise (`splines.maximum`), and hardly smoothed, so it differs from `highest` of
          `u_shape_test`; its interval reaches equally far on both sides. center:
          the middle of the top, which is the stretch above half of the weaker arm; onset: where
          the top begins; width: how much of the depth it takes.
        - verdict: "peak inside" (`u_shape_test` shows a hump, and the estimators agree), "no peak
          inside" (it shows another shape) or "undecided"; reason. Without a hump, peak, vertex,
          center and the columns that belong to them are NaN. The extremum stays: every curve has
          a highest point.
        - shape, p_shape: the verdict of `u_shape_test` and its p; spread: the largest difference
          between the three estimators.
        - p: of the curvature, two-sided; p_misfit: of third- and fourth-order terms, which a
          quadratic does not have.
        - fieller_low, fieller_high: Fieller's interval of the vertex; infinite where unbounded.
        - vertex_se: by the delta method.
        - curvature, curvature_low, curvature_high: the coefficient of depth squared.
        - slope_start, slope_end: slopes of the quadratic at the least and greatest depth.
        - extremum_se, center_se: the draws' standard deviations; extremum_shift: how far noise
          moves the maximum, which has been subtracted.
        - best, cv_linear, cv_quadratic, cv_cubic, cv_spline: root mean squared error of predicting
          left-out blocks of neighboring layers, and the form with the smallest.
        - depth_start, depth_end: the range of depths; error: "replicates" or "ar1"; n_points,
          n_replicates; confidence: the level of the intervals.

        A profile that cannot be fitted keeps its row: NaN, "undecided" and the reason.

    Raises
    ------
    InputError
        If a level is not in the table, or the table breaks a rule of `as_scores`.

    Notes
    -----
    The vertex of :math:`b_0 + b_1 d + b_2 d^2` is :math:`-b_1 / (2 b_2)`. Coefficients are ordinary
    least squares, which need no estimate of the errors' correlation; next to generalized least
    squares they are 0.71 to 0.85 times as efficient at correlations of 0.9 and above. Their
    covariance is :math:`W S W'` with S the covariance between layers (`profile_errors`). A
    draw whose curvature has the other sign has no such turn: it counts as a turn infinitely far
    beyond the end toward which it runs. Fieller's interval solves
    :math:`(b_1 + 2 \theta b_2)^2 = t^2 \operatorname{var}(b_1 + 2 \theta b_2)`.

    References
    ----------
    Fieller, E. C. (1954). Some problems in interval estimation. JRSS B 16, 175-185.
    Roberts, D. R. et al. (2017). Cross-validation strategies for data with temporal, spatial,
    hierarchical, or phylogenetic structure. Ecography 40, 913-929.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> curves = fit_curves(simulate_scores(vertex=0.6, noise_sd=0.002, seed=1))
    >>> curves[["model", "vertex", "extremum", "center", "verdict"]].head(2).round(1)
      model  vertex  extremum  center      verdict
    0    m1     0.6       0.6     0.6  peak inside
    1    m2     0.6       0.6     0.6  peak inside

    Your own table, without replicates:

    >>> depth = np.linspace(0, 1, 13)
    >>> noise = np.random.default_rng(0).normal(scale=0.01, size=13)
    >>> own = pd.DataFrame({"model": "mine", "family": "F", "depth": depth,
    ...                     "score": 1 - (depth - 0.5) ** 2 + noise})
    >>> fit_curves(own)[["vertex", "error", "verdict"]].round(2)
       vertex error      verdict
    0    0.49   ar1  peak inside
    """
    check_alpha(alpha)
    check_peak(peak)
    profiles = select_profiles(scores, higher_is_better, metric, method, weights, labels)
    rows = []
    for profile in profiles:
        errors = assess(profile, seed)
        row = curve_row(profile, errors, alpha)
        if not isinstance(errors, str):
            row |= _located(row, shape_row(profile, errors, alpha), peak, delta)
        rows.append(row)
    return pd.DataFrame(rows).assign(confidence=1 - alpha)


def _located(
    row: dict[str, Any], shape: dict[str, Any], peak: Peak, delta: float
) -> dict[str, Any]:
    """Return the columns that say where the peak is, given the shape."""
    ends = {f"peak{end}": row[f"{peak}{end}"] for end in ("", "_low", "_high")}
    values = [row[name] for name in PEAKS]
    spread = float(np.ptp(values))
    said = {"shape": shape["verdict"], "p_shape": shape["p_shape"], "spread": spread, **ends}
    if shape["verdict"] != "hump":
        other = shape["verdict"] not in ("undecided", "several peaks")
        blank = dict.fromkeys([*OF_A_PEAK, "spread"], np.nan)
        word = "no peak inside" if other else "undecided"
        return said | blank | {"verdict": word, "reason": shape["reason"]}
    if spread > delta:
        each = ", ".join(f"{name} {value:.2f}" for name, value in zip(PEAKS, values, strict=True))
        reason = f"a hump, but its place depends on the estimator: {each}"
        return said | {"verdict": "undecided", "reason": reason}
    return said | {"verdict": "peak inside", "reason": f"the peak is at {ends['peak']:.2f}"}


@remembered
def curve_row(profile: Profile, errors: Errors | str, alpha: float) -> dict[str, Any]:
    """Fit the curves of one profile, given the result of `assess`: errors, or a reason for none.

    The verdict here is that of the quadratic alone; `fit_curves` replaces it by that of the shape.
    """
    if isinstance(errors, str):
        blank = dict.fromkeys(("vertex", "vertex_low", "vertex_high", "p", *OF_A_PEAK), np.nan)
        return {
            **profile.keys,
            **blank,
            "verdict": "undecided",
            "reason": errors,
            "shape": "unknown",
            "n_points": len(profile.depth),
        }
    depth, y, sign = profile.depth, profile.separation, profile.sign
    W = quadratic_weights(depth)
    _, b1, b2 = W @ y
    # A straight profile has its vertex infinitely far away; this keeps it finite and far.
    least = 1e-12 * float(np.ptp(y))
    b2 = b2 if abs(b2) > least else least
    cov = W @ errors.cov @ W.T
    t = t_critical(1 - alpha / 2, errors.df)
    se = float(np.sqrt(cov[2, 2]))
    vertex = -b1 / (2 * b2)
    gradient = np.array([0.0, -1 / (2 * b2), b1 / (2 * b2**2)])
    low, high = _percentiles(_turns(y + errors.draws, W, (depth[0] + depth[-1]) / 2, b2), alpha)
    fieller_low, fieller_high = fieller(b1, b2, cov[1:, 1:], t)
    top = maximum(depth, y, errors.draws)
    below, above = _percentiles(top.deviations, alpha)
    reach = max(-below, above)
    start, end = tops(depth, np.vstack([y, y + errors.draws]))
    center = (start + end) / 2
    center_low, center_high = _percentiles(center[1:], alpha)
    cv = blocked_errors(depth, y)
    p = float(2 * t_above(abs(b2) / se, errors.df))
    verdict, reason = _verdict(p < alpha, b2, vertex, low, high, depth)
    inside = depth[0] < vertex < depth[-1]
    # Back in the metric's own units an interval of a smaller-is-better metric changes ends.
    curvature = np.sort([sign * (b2 - t * se), sign * (b2 + t * se)])
    return {
        **profile.keys,
        "vertex": vertex,
        "vertex_low": low,
        "vertex_high": high,
        "p": p,
        "verdict": verdict,
        "reason": reason,
        "shape": ("hump" if b2 < 0 else "trough") if inside else "monotone",
        "fieller_low": fieller_low,
        "fieller_high": fieller_high,
        "vertex_se": float(np.sqrt(gradient @ cov @ gradient)),
        "curvature": sign * b2,
        "curvature_low": curvature[0],
        "curvature_high": curvature[1],
        "slope_start": sign * (b1 + 2 * b2 * depth[0]),
        "slope_end": sign * (b1 + 2 * b2 * depth[-1]),
        "extremum": top.depth,
        "extremum_low": max(top.depth - reach, depth[0]),
        "extremum_high": min(top.depth + reach, depth[-1]),
        "extremum_se": float(top.deviations.std(ddof=1)),
        "extremum_shift": top.shift,
        "center": float(center[0]),
        "center_low": center_low,
        "center_high": center_high,
        "center_se": float(center[1:].std(ddof=1)),
        "onset": float(start[0]),
        "width": float(end[0] - start[0]),
        "p_misfit": misfit(depth, y, errors),
        "best": min(cv, key=lambda form: cv[form]),
        **{f"cv_{k}": v for k, v in cv.items()},
        "depth_start": depth[0],
        "depth_end": depth[-1],
        "error": errors.kind,
        "n_points": len(depth),
        "n_replicates": 0 if profile.replicates is None else len(profile.replicates),
    }


def misfit(depth: Float64Array, y: Float64Array, errors: Errors) -> float:
    """Return the p of third- and fourth-order terms, by an F test."""
    share = 2 * (depth - depth[0]) / (depth[-1] - depth[0]) - 1
    Q, _ = np.linalg.qr(np.vander(share, 5, increasing=True))
    weights = Q[:, 3:].T
    value, cov = weights @ y, weights @ errors.cov @ weights.T
    F = float(value @ np.linalg.pinv(cov) @ value) / len(value)
    return float(special.fdtrc(len(value), errors.df, F))


def check_peak(peak: str) -> None:
    """Raise InputError unless there is such an estimator of the peak."""
    if peak not in PEAKS:
        known = ", ".join(map(repr, PEAKS))
        raise InputError(f"no estimator {peak!r} of the peak; there are {known}")


def _verdict(
    curved: bool, b2: float, vertex: float, low: float, high: float, depth: Float64Array
) -> tuple[str, str]:
    """Decide whether separation has a peak within the range of depths."""
    first, last = float(depth[0]), float(depth[-1])
    if not curved:
        return "undecided", "the sign of the curvature is not settled"
    if high <= first or low >= last:
        return "no peak inside", f"monotone over the range: the vertex {vertex:.2f} is outside it"
    if b2 > 0:
        return "no peak inside", f"separation curves upwards, about {vertex:.2f}"
    if low > first and high < last:
        return "peak inside", f"the quadratic peaks at {vertex:.2f}, within the range"
    return "undecided", "the interval of the vertex reaches beyond the range of depths"


def _turns(
    profiles: Float64Array, W: Float64Array, middle: float, curvature: float
) -> Float64Array:
    """Return the turns of quadratics; for the other curvature, the end that they run toward."""
    _, b1, b2 = W @ profiles.T
    same = b2 * curvature > 0
    towards = np.sign(-curvature * (b1 + 2 * b2 * middle)) * np.inf
    return np.asarray(np.where(same, -b1 / (2 * np.where(same, b2, 1.0)), towards))


def _percentiles(draws: Float64Array, alpha: float) -> tuple[float, float]:
    """Return the percentile interval, rounded outwards to a draw because draws may be infinite."""
    ordered, last = np.sort(draws), len(draws) - 1
    low, high = np.floor(last * (alpha / 2)), np.ceil(last * (1 - alpha / 2))
    return float(ordered[int(low)]), float(ordered[int(high)])


def fieller(b1: float, b2: float, cov: Float64Array, t: float) -> tuple[float, float]:
    """Return Fieller's interval of the vertex -b1 / (2 b2).

    Parameters
    ----------
    b1, b2 : float
        Coefficients of depth and depth squared.
    cov : ndarray, shape (2, 2)
        Their covariance.
    t : float
        Critical value.

    Returns
    -------
    low, high : float
        Both are infinite if the curvature is not significant: the set is then unbounded.

    Examples
    --------
    >>> low, high = fieller(2.0, -2.0, np.diag([0.01, 0.01]), 1.96)
    >>> round(low, 3), round(high, 3)
    (0.435, 0.575)
    """
    a = 4 * (b2**2 - t**2 * cov[1, 1])
    b = 4 * (b1 * b2 - t**2 * cov[0, 1])
    c = b1**2 - t**2 * cov[0, 0]
    if a <= 0:
        return -np.inf, np.inf
    root = np.sqrt(max(b**2 - 4 * a * c, 0.0))
    return float((-b - root) / (2 * a)), float((-b + root) / (2 * a))


def blocked_errors(depth: Float64Array, y: Float64Array) -> dict[str, float]:
    """Return each form's root mean squared error in predicting left-out blocks of layers."""
    residual = _left_out(np.asarray(depth, dtype=np.float64).tobytes()) @ y
    return dict(zip(FORMS, np.sqrt((residual**2).mean(axis=1)).tolist(), strict=True))


@lru_cache(maxsize=N_GRIDS)
def _left_out(depths: bytes) -> Float64Array:
    """Return the matrices that give each form's errors, shape (forms, n_points, n_points)."""
    depth = np.frombuffer(depths)
    n = len(depth)
    weights = np.tile(-np.eye(n), (len(FORMS), 1, 1))
    for block in np.array_split(np.arange(n), N_BLOCKS):
        kept = np.setdiff1d(np.arange(n), block)
        x, new = depth[kept], depth[block]
        for form in range(len(FORMS)):
            if FORMS[form] == "spline":
                onto = smoother(x, new)
            else:
                onto = np.vander(new, form + 2) @ np.linalg.pinv(np.vander(x, form + 2))
            weights[form][np.ix_(block, kept)] = onto
    return weights
