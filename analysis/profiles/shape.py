"""Is there a U? Two tests that must agree, per profile and over models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.families import mean_over_families, too_few
from analysis.loading.scores import Array, Profile, Scores
from analysis.profiles.curves import GRID
from analysis.profiles.splines import smoother
from analysis.profiles.uncertainty import (
    Errors,
    assess,
    check_alpha,
    quadratic_weights,
    select_profiles,
    slope_weights,
    standard_error,
    t_above,
    t_critical,
)

#: What profiles share whose models are pooled.
GROUP = ["weights", "method", "labels", "metric"]
#: Share of the range at either end where a line would be too short to have a slope.
EDGE = 0.1
MIN_LINE = 3
#: A breakpoint on a layer belongs to both lines.
SLACK = 1e-9


@dataclass(frozen=True)
class Arms:
    """Slopes at both ends (of a quadratic) and of both lines, with their errors.

    Attributes
    ----------
    value, se : ndarray, shape (4,)
        Quadratic at the start and at the end, line before and line after the breakpoint.
    df : float
    length : ndarray, shape (2,)
        Depth that each line covers.
    curvature : float
    """

    value: Array
    se: Array
    df: float
    length: Array
    curvature: float


def u_shape_test(
    scores: Scores | pd.DataFrame,
    metric: str | None = None,
    method: str | None = None,
    weights: str | None = "trained",
    labels: str | None = "true",
    alpha: float = 0.05,
    higher_is_better: bool = True,
) -> pd.DataFrame:
    r"""Test whether separation rises and then falls with depth (a hump), or the reverse (a trough).

    A turn is declared only where both tests find it: Lind and Mehlum's (2010), that a quadratic
    slopes in opposite directions at both ends of the range, and Simonsohn's (2018), that two
    lines, before and after a breakpoint, do. A quadratic fitted to a plateau must turn over, so
    the first alone takes a plateau for a turn.

    Parameters
    ----------
    scores : Scores or DataFrame
        A study, or a table with at least model, family, depth and score.
    metric, method, weights, labels : str, optional
        Which profiles; None takes all.
    alpha : float
        Level of the test; intervals have level 1 - alpha.
    higher_is_better : bool
        Whether a larger score means better separated, for a bare DataFrame.

    Returns
    -------
    DataFrame
        A row for each profile (level "profile": errors from its replicates, or from AR(1)), then
        one for each weights, method, labels and metric (level "models": the family is the unit,
        t with n_families - 1 degrees of freedom; undecided with fewer than three). Slopes are in
        the metric's own units per depth.

        - estimate, low, high: change along the weaker of the two lines, positive if it goes the
          way that `direction` needs, so that low > 0 says that both arms are there.
        - p: largest p of the four slopes in that direction.
        - verdict: "hump" (separation rises, then falls), "trough", "monotone" (both lines go the
          same way) or "undecided"; reason.
        - direction: "hump" or "trough", by the curvature's sign.
        - slope_start, slope_end, p_hump, p_trough: the quadratic's slopes at both ends, and
          Sasabuchi's p for either shape (the larger of two one-sided p).
        - breakpoint, slope_before, slope_after, p_before, p_after: the two lines, p two-sided.
        - error: "replicates", "ar1" or "models"; df: degrees of freedom; n_models, n_families.

    Raises
    ------
    InputError
        If a level is not in the table, or the table breaks a rule of `as_scores`.

    Notes
    -----
    All slopes are contrasts :math:`w'y` with variance :math:`w'Sw`; see `profile_errors` for S.
    The lines are fitted separately to the layers up to and from the breakpoint on. The breakpoint
    is Simonsohn's Robin Hood: among the depths whose smoothed value is within one standard error
    of the extreme, the quantile that gives the weaker line more layers. Over models, a model's
    breakpoint comes from the *other* models (the middle of the depths where their mean smoothed
    curve is within one standard error of its extreme): chosen from its own noise, it would favour
    opposite slopes in every model at once.

    References
    ----------
    Lind, J. T. and Mehlum, H. (2010). With or without U? Oxford Bulletin of Economics and
    Statistics 72, 109-118.
    Sasabuchi, S. (1980). A test of a multivariate normal mean with composite hypotheses determined
    by linear inequalities. Biometrika 67, 429-439.
    Simonsohn, U. (2018). Two lines: a valid alternative to the invalid testing of U-shaped
    relationships with quadratic regressions. AMPPS 1, 538-555.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> tests = u_shape_test(simulate_scores(families=(1, 1, 1), seed=1))
    >>> tests[["level", "model", "breakpoint", "verdict"]].round(2)
         level    model  breakpoint verdict
    0  profile       m1        0.43    hump
    1  profile       m2        0.50    hump
    2  profile       m3        0.46    hump
    3   models  all (3)        0.46    hump
    """
    check_alpha(alpha)
    profiles = select_profiles(scores, higher_is_better, metric, method, weights, labels)
    rows = [shape_row(profile, assess(profile), alpha) for profile in profiles]
    return pd.DataFrame([*rows, *models_rows(profiles, rows, alpha)])


def shape_row(profile: Profile, errors: Errors | str, alpha: float) -> dict[str, Any]:
    """Return one row of `u_shape_test`, given `assess`'s errors, or why there are none."""
    keys = {"level": "profile", **profile.keys}
    if isinstance(errors, str):
        return {**keys, **_blank(errors), "n_models": 1}
    depth, y = profile.depth, profile.separation
    weights = quadratic_weights(depth)
    turn = robin_hood(depth, y, errors.cov)
    contrasts = np.array([*_end_slopes(depth, weights), *line_weights(depth, turn)])
    arms = Arms(
        value=contrasts @ y,
        se=standard_error(contrasts, errors.cov),
        df=errors.df,
        length=np.array([turn - depth[0], depth[-1] - turn]),
        curvature=float(weights[2] @ y),
    )
    judged = judge(arms, turn, profile.sign, alpha)
    return {**keys, **judged, "error": errors.kind, "df": arms.df, "n_models": 1}


def models_rows(
    profiles: list[Profile], rows: list[dict[str, Any]], alpha: float
) -> list[dict[str, Any]]:
    """Return the rows of `u_shape_test` over models, given those of the profiles."""
    groups: dict[tuple[Any, ...], list[tuple[Profile, bool]]] = {}
    for profile, row in zip(profiles, rows, strict=True):
        group = groups.setdefault(tuple(profile.keys[k] for k in GROUP), [])
        group.append((profile, "error" in row))
    return [
        _models_row([p for p, _ in group], [p for p, sound in group if sound], alpha)
        for group in groups.values()
    ]


def _models_row(group: list[Profile], sound: list[Profile], alpha: float) -> dict[str, Any]:
    """Test over models, the family as the unit; a model with several profiles counts once."""
    models = sorted({str(profile.keys["model"]) for profile in sound})
    keys = {"level": "models", "model": f"all ({len(models)})", "family": "all"}
    keys |= {k: group[0].keys[k] for k in GROUP}
    if len(models) < 2:
        why = f"models to test over: {len(models)}; at least 2 are needed"
        return {**keys, **_blank(why), "n_models": len(models)}
    ends, curvature = _by_model(sound, models, _quadratic_slopes)
    sign = -1 if curvature.mean() > 0 else 1
    first, last = (np.array([p.depth[i] for p in sound]) for i in (0, -1))
    at = first.max() + GRID * (last.min() - first.max())
    smooth, _ = _by_model(sound, models, lambda p: (_centred_curve(p, at), 0.0))
    least = max(p.depth[MIN_LINE - 1] for p in sound), min(p.depth[-MIN_LINE] for p in sound)
    inner = (
        (GRID >= EDGE) & (GRID <= 1 - EDGE) & (at >= least[0] - SLACK) & (at <= least[1] + SLACK)
    )
    if not inner.any():
        why = f"no depth has {MIN_LINE} layers of every model on either side"
        return {**keys, **_blank(why), "n_models": len(models)}
    turns = _common_turns(at, sign * smooth, inner)
    which = dict(zip(models, turns, strict=True))
    lines, _ = _by_model(
        sound,
        models,
        lambda p: (line_weights(p.depth, which[p.keys["model"]]) @ p.separation, 0.0),
    )
    slopes = np.hstack([ends, lines])
    family = {str(p.keys["model"]): p.keys["family"] for p in sound}
    over = [mean_over_families(column, [family[m] for m in models]) for column in slopes.T]
    counts = {"n_models": len(models), "n_families": over[0].n_families}
    if any(slope.exact for slope in over):
        few = too_few(over[0].n_families) if over[0].n_families < 2 else "the models do not differ"
        return {**keys, **_blank(few), **counts}
    turn = float(turns.mean())
    arms = Arms(
        value=np.array([slope.estimate for slope in over]),
        se=np.array([slope.se for slope in over]),
        df=over[0].df,
        length=np.array([turn - first.mean(), last.mean() - turn]),
        curvature=float(curvature.mean()),
    )
    judged = judge(arms, turn, group[0].sign, alpha)
    if few := too_few(over[0].n_families):
        judged |= {"verdict": "undecided", "reason": f"{judged['reason']}, but {few}"}
    left_out = len(group) - len(sound)
    if left_out:
        judged["reason"] += f"; profiles left out: {left_out}"
    return {**keys, **judged, "error": "models", "df": arms.df, **counts}


def _by_model(
    profiles: Iterable[Profile], models: list[str], value: Callable[[Profile], tuple[Array, float]]
) -> tuple[Array, Array]:
    """Average a (vector, number) of each profile within models."""
    of: dict[str, list[tuple[Array, float]]] = {model: [] for model in models}
    for profile in profiles:
        of[str(profile.keys["model"])].append(value(profile))
    vectors = np.array([np.mean([v for v, _ in pairs], axis=0) for pairs in of.values()])
    return vectors, np.array([np.mean([x for _, x in pairs]) for pairs in of.values()])


def _quadratic_slopes(profile: Profile) -> tuple[Array, float]:
    weights = quadratic_weights(profile.depth)
    ends = _end_slopes(profile.depth, weights) @ profile.separation
    return ends, float(weights[2] @ profile.separation)


def _end_slopes(depth: Array, weights: Array) -> Array:
    """Return the weights, shape (2, n_points), of the quadratic's slopes at both ends."""
    return np.array([weights[1] + 2 * d * weights[2] for d in (depth[0], depth[-1])])


def _centred_curve(profile: Profile, at: Array) -> Array:
    curve = smoother(profile.depth, at) @ profile.separation
    return np.asarray(curve - curve.mean())


def _common_turns(at: Array, curves: Array, inner: NDArray[np.bool_]) -> Array:
    """Return, for each curve, the middle of the depths where the mean of the others is at its top.

    Of the depths `inner`; "at its top" is within a standard error of it. Leaving a curve out takes
    n / (n - 1) times the square of its deviation from the sum of squares.
    """
    n, centre = len(curves), curves.mean(axis=0)
    deviation = curves - centre
    squares = (deviation**2).sum(axis=0)
    turns = np.empty(n)
    for i, own in enumerate(deviation):
        mean = centre - own / (n - 1)
        rest = np.maximum(squares - own**2 * n / (n - 1), 0.0)  # of one other: nothing
        se = np.sqrt(rest / max(n - 2, 1) / (n - 1))
        turns[i] = np.median(at[inner & (mean + se >= mean[inner].max())])
    return turns


def robin_hood(depth: Array, y: Array, cov: Array) -> float:
    """Return the breakpoint of the two lines.

    Parameters
    ----------
    depth, y : ndarray, shape (n_points,)
    cov : ndarray, shape (n_points, n_points)
        Covariance of the errors of y.

    Returns
    -------
    float
        Within the middle 80% of the range, with at least 3 layers on either side.
    """
    sign = -1 if quadratic_weights(depth)[2] @ y > 0 else 1
    weights = smoother(depth, depth)
    curve, se = sign * (weights @ y), standard_error(weights, cov)
    share = (depth - depth[0]) / (depth[-1] - depth[0])
    inner = (share >= EDGE) & (share <= 1 - EDGE)
    inner[: MIN_LINE - 1] = inner[-(MIN_LINE - 1) :] = False
    flat = depth[inner & (curve + se >= curve[inner].max())]
    lines = line_weights(depth, float(np.median(flat)))
    z = np.abs(lines @ y / standard_error(lines, cov))
    return float(np.quantile(flat, z[1] / z.sum()))


def line_weights(depth: Array, turn: float) -> Array:
    """Return the weights, shape (2, n_points), of the lines' slopes before and after a depth."""
    return np.array(
        [slope_weights(depth, depth <= turn + SLACK), slope_weights(depth, depth >= turn - SLACK)]
    )


def candidates(depth: Array) -> tuple[Array, Array, Array]:
    """Return the places where an arm may end and the other begin, and the slopes on either side.

    Parameters
    ----------
    depth : ndarray, shape (n_points,)

    Returns
    -------
    before, after : ndarray, shape (n_places, n_points)
        Weights of the slopes of lines up to a place, and from it on.
    places : ndarray, shape (n_places,)
        Layers in the middle 80% of the range, with at least 3 layers on either side.
    """
    share = (depth - depth[0]) / (depth[-1] - depth[0])
    inner = (share >= EDGE - SLACK) & (share <= 1 - EDGE + SLACK)
    inner[: MIN_LINE - 1] = inner[-(MIN_LINE - 1) :] = False
    lines = np.array([line_weights(depth, turn) for turn in depth[inner]])
    return lines[:, 0], lines[:, 1], depth[inner]


def judge(arms: Arms, turn: float, sign: int, alpha: float) -> dict[str, Any]:
    """Return the columns that follow from the four slopes; `sign` gives the metric's units."""
    t = arms.value / arms.se
    rising, falling = t_above(t, arms.df), t_above(-t, arms.df)
    p_hump, p_trough = max(rising[0], falling[1]), max(falling[0], rising[1])
    lines = 2 * t_above(np.abs(t[2:]), arms.df)
    direction: Literal["hump", "trough"] = "hump" if arms.curvature < 0 else "trough"
    way = np.array([1, -1]) if direction == "hump" else np.array([-1, 1])
    towards = np.where(way * t[2:] > 0, lines, 1.0)
    p = float(max(p_hump if direction == "hump" else p_trough, *towards))
    arm = way * arms.value[2:] * arms.length
    reach = t_critical(1 - alpha / 2, arms.df) * arms.se[2:] * arms.length
    before, after = ("rises", "falls") if direction == "hump" else ("falls", "rises")
    verdict = "undecided"
    if p < alpha:
        verdict, reason = direction, f"separation {before} up to {turn:.2f} and {after} after it"
    elif (lines < alpha).all() and t[2] * t[3] > 0:
        verdict = "monotone"
        reason = f"separation {'rises' if t[2] > 0 else 'falls'} before {turn:.2f} and after it"
    elif towards[0] >= alpha and towards[1] >= alpha:
        reason = f"neither arm of a {direction} is shown"
    elif towards[1] >= alpha:
        reason = f"separation {before} up to {turn:.2f}; that it {after} after it is not shown"
    elif towards[0] >= alpha:
        reason = f"separation {after} after {turn:.2f}; that it {before} before it is not shown"
    else:
        reason = "the two lines turn, the quadratic's end slopes do not show it"
    return {
        "estimate": float(arm.min()), "low": float((arm - reach).min()),
        "high": float((arm + reach).min()), "p": p, "verdict": verdict, "reason": reason,
        "direction": direction, "slope_start": sign * arms.value[0],
        "slope_end": sign * arms.value[1], "p_hump": float(p_hump), "p_trough": float(p_trough),
        "breakpoint": turn, "slope_before": sign * arms.value[2],
        "slope_after": sign * arms.value[3], "p_before": float(lines[0]),
        "p_after": float(lines[1]),
    }  # fmt: skip


def _blank(why: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("estimate", "low", "high", "p"), np.nan)
    return {**numbers, "verdict": "undecided", "reason": why}
