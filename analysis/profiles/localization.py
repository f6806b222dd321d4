"""Where the models' profiles peak, and whether that is where a claim puts it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import optimize, stats

from analysis.loading.scores import Array, Profile, Scores
from analysis.profiles.curves import curve_row
from analysis.profiles.shape import GROUP, models_rows, shape_row
from analysis.profiles.uncertainty import (
    Errors,
    assess,
    check_alpha,
    quadratic_weights,
    select_profiles,
)
from study.read import InputError

RESULT = (
    "estimate", "low", "high", "p", "p_elsewhere", "tau", "i2", "prediction_low", "prediction_high",
)  # fmt: skip


def localization_test(
    scores: Scores | pd.DataFrame,
    metric: str | None = None,
    method: str | None = None,
    weights: str | None = "trained",
    labels: str | None = "true",
    target: float = 0.5,
    delta: float = 0.1,
    peak: Literal["vertex", "extremum"] = "vertex",
    alpha: float = 0.05,
    seed: int = 0,
    higher_is_better: bool = True,
) -> pd.DataFrame:
    r"""Pool the models' peaks, and test whether they lie at the target.

    Parameters
    ----------
    scores : Scores or DataFrame
        A study, or a table with at least model, family, depth and score.
    metric, method, weights, labels : str, optional
        Which profiles; None takes all.
    target, delta : float
        "At the target" means within target +- delta, in shares of the depth.
    peak : {"vertex", "extremum"}
        What is pooled: the quadratic's vertex, or the depth of the spline's maximum.
    alpha : float
        Level of the tests; intervals have level 1 - alpha.
    seed : int
        For the AR(1) model's draws, used where a profile has no replicates.
    higher_is_better : bool
        Whether a larger score means better separated, for a bare DataFrame.

    Returns
    -------
    DataFrame
        One row for each weights, method, labels and metric.

        - estimate, low, high: pooled peak with its Hartung-Knapp interval.
        - p: of equivalence, the larger of two one-sided p; p_elsewhere: two-sided, against a
          pooled peak at the nearer edge of target +- delta (1 inside it).
        - verdict: "at target" (p < alpha), "elsewhere" (p_elsewhere < alpha, or all profiles that
          say anything say that they have no peak), "undecided"; reason.
        - tau, i2, prediction_low, prediction_high: standard deviation between models (REML), the
          share of the variance that it makes up, and where a further model's peak would lie.
        - n_models, n_pooled: models, and those whose peak is located; n_inside: those whose whole
          interval is inside the range of depths; n_no_peak: those shown to have none (monotone,
          or a trough); n_unlocated: those too noisy to tell; n_humps: humps by `u_shape_test`.

    Raises
    ------
    InputError
        If a level is not in the table, target +- delta is not within [0, 1], or the table breaks
        a rule of `as_scores`.

    Notes
    -----
    A profile without a peak has no peak depth, though a quadratic always has a vertex. So vertices
    are pooled where their interval of `fit_curves` is finite and the curvature downward, extrema
    where their interval is inside the range. Profiles shown to have no peak inside are left out
    and counted, and with any of them the verdict is never "at target"; nor is it when fewer than
    half of the models are pooled. A plateau has no peak either, and its vertex is an accident of
    the quadratic: unless `u_shape_test` finds a hump over models, or in half of them at least, the
    pooled depth is reported but the verdict is "undecided". A located vertex just outside the
    range stays in: dropping it would truncate the sampling distribution.

    A vertex is a ratio, and where noise steepens a curve it moves the vertex to the middle and
    shortens its delta-method standard error at once: weighting by that pulls the pooled peak to
    the middle. So the standard errors that weight are taken at the models' mean curvature and
    median vertex; those of extrema, which have no such form, at their root mean square.

    The peaks :math:`y_i` with standard errors :math:`s_i` are pooled with weights
    :math:`1/(s_i^2 + \tau^2)`; the standard error is Hartung and Knapp's, with k - 1 degrees of
    freedom. Models with several profiles (seeds, precisions) enter with their mean.

    References
    ----------
    Hartung, J. and Knapp, G. (2001). A refined method for the meta-analysis of controlled clinical
    trials with binary outcome. Statistics in Medicine 20, 3875-3889.
    Schuirmann, D. J. (1987). A comparison of the two one-sided tests procedure and the power
    approach. Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680.
    Viechtbauer, W. (2005). Bias and efficiency of meta-analytic variance estimators in the
    random-effects model. Journal of Educational and Behavioral Statistics 30, 261-293.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> at = localization_test(simulate_scores(vertex=0.5, seed=1))
    >>> away = localization_test(simulate_scores(vertex=0.7, seed=1))
    >>> pd.concat([at, away])[["estimate", "low", "high", "verdict"]].round(2)
       estimate   low  high    verdict
    0      0.49  0.49   0.5  at target
    0      0.69  0.68   0.7  elsewhere
    """
    if not (delta > 0 and target - delta >= 0 and target + delta <= 1):
        raise InputError(
            f"target {target} +- delta {delta} is not an interval within [0, 1]; give depths"
        )
    if peak not in ("vertex", "extremum"):
        raise InputError(f"no peak {peak!r}; there are 'vertex' and 'extremum'")
    check_alpha(alpha)
    profiles = select_profiles(scores, higher_is_better, metric, method, weights, labels)
    fitted, shapes = [], []
    for profile in profiles:
        errors = assess(profile, seed)
        shape = shape_row(profile, errors, alpha)
        fit = curve_row(profile, errors, alpha)
        fit |= {"coefficients": _coefficients(profile, errors), "hump": shape["verdict"] == "hump"}
        fitted.append(fit)
        shapes.append(shape)
    over_models = models_rows(profiles, shapes, alpha)
    humped = {tuple(r[k] for k in GROUP) for r in over_models if r["verdict"] == "hump"}
    curves = pd.DataFrame(fitted)
    rows = []
    for keys, group in curves.groupby(GROUP, sort=False):
        judged = _pooled(group, tuple(keys) in humped, target, delta, peak, alpha)
        rows.append({**dict(zip(GROUP, keys, strict=True)), **judged})
    return pd.DataFrame(rows)


def _pooled(
    curves: pd.DataFrame, humped: bool, target: float, delta: float, peak: str, alpha: float
) -> dict[str, Any]:
    located, absent, inside = _located(curves, peak, alpha)
    models = curves["model"]
    of = pd.DataFrame({peak: [], "se": []})
    if located.any():
        errors = _common_errors(curves[located], peak)
        of = curves[located].assign(se=errors).groupby("model")[[peak, "se"]].mean()
    n, without = models.nunique(), models[absent].nunique()
    humps = models[curves["hump"]].nunique()
    unlocated = models[~located & ~absent].nunique()
    counts = {
        "peak": peak, "n_models": n, "n_pooled": len(of), "n_inside": models[inside].nunique(),
        "n_no_peak": without, "n_unlocated": unlocated, "n_humps": humps,
    }  # fmt: skip
    result: dict[str, Any] = dict.fromkeys(RESULT, np.nan)
    verdict, reason = "undecided", f"{len(of)} of {n} models have a located peak; 2 are needed"
    if len(of) >= 2 and np.ptp(of[peak]) == 0:
        reason = "the models' peaks do not differ at all: no error to judge them by"
    elif len(of) >= 2:
        result = hartung_knapp(of[peak].to_numpy(), of["se"].to_numpy(), alpha)
        estimate, se, df = result["estimate"], result.pop("se"), len(of) - 1
        result["p"] = float(stats.t.sf((delta - abs(estimate - target)) / se, df))
        beyond = max(abs(estimate - target) - delta, 0.0)
        result["p_elsewhere"] = float(2 * stats.t.sf(beyond / se, df))
        where = f"{target - delta:.2f} to {target + delta:.2f}"
        if not humped and 2 * humps < n:
            reason = f"{humps} of {n} models are humps: the {peak} {estimate:.2f} is not a peak's"
        elif result["p_elsewhere"] < alpha:
            verdict, reason = "elsewhere", f"the pooled peak {estimate:.2f} is outside {where}"
        elif result["p"] >= alpha:
            reason = f"the pooled peak is neither shown inside {where} nor outside"
        elif without:
            reason = f"{len(of)} models peak within {where}, but {without} have no peak"
        elif 2 * len(of) < n:
            reason = f"a peak could be located in {len(of)} of {n} models only"
        else:
            verdict, reason = "at target", f"the pooled peak {estimate:.2f} is within {where}"
    elif without and without == n - unlocated:
        share = f"{without} of {n} models are shown to have no peak inside the range"
        verdict, reason = ("elsewhere" if 2 * without > n else "undecided"), share
    elif (curves["shape"] == "unknown").all():
        reason = str(curves["reason"].iloc[0])
    return {**result, "verdict": verdict, "reason": reason, **counts}


def _coefficients(profile: Profile, errors: Errors | str) -> tuple[Array, Array] | None:
    """Return depth's coefficients, linear and squared, and their covariance."""
    if isinstance(errors, str):
        return None
    weights = quadratic_weights(profile.depth)[1:]
    return weights @ profile.separation, weights @ errors.cov @ weights.T


def _common_errors(curves: pd.DataFrame, peak: str) -> Array:
    """Return standard errors of the peaks that do not depend on where each peak happens to lie."""
    if peak == "extremum":
        return np.full(len(curves), np.sqrt((curves["extremum_se"] ** 2).mean()))
    curvature = np.mean([b[1] for b, _ in curves["coefficients"]])
    gradient = np.array([1.0, 2 * curves["vertex"].median()]) / (2 * curvature)
    return np.array([np.sqrt(gradient @ cov @ gradient) for _, cov in curves["coefficients"]])


def _located(
    curves: pd.DataFrame, peak: str, alpha: float
) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return which profiles have a located peak, are shown to have none, have it inside."""
    if "depth_start" not in curves:
        none = pd.Series(False, index=curves.index)
        return none, none, none
    low, high = curves[f"{peak}_low"], curves[f"{peak}_high"]
    if peak == "extremum":
        inside = (low > curves["depth_start"]) & (high < curves["depth_end"])
        return inside, (high <= curves["depth_start"]) | (low >= curves["depth_end"]), inside
    absent = curves["verdict"] == "no peak inside"
    located = (curves["p"] < alpha) & np.isfinite(low) & np.isfinite(high) & ~absent
    return located, absent, curves["verdict"] == "peak inside"


def hartung_knapp(y: Array, se: Array, alpha: float = 0.05) -> dict[str, float]:
    """Pool estimates in a random-effects meta-analysis.

    Parameters
    ----------
    y, se : ndarray, shape (k,)
        Estimates and their standard errors, k at least 2.
    alpha : float

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
    error = float(np.sqrt(w @ (y - estimate) ** 2 / (k - 1) / w.sum()))
    t = float(stats.t.ppf(1 - alpha / 2, k - 1))
    reach = t * np.sqrt(error**2 + tau2)
    # Higgins and Thompson's typical sampling variance.
    fixed = 1 / v
    typical = (k - 1) * fixed.sum() / (fixed.sum() ** 2 - (fixed**2).sum())
    return {
        "estimate": estimate, "se": error,
        "low": estimate - t * error, "high": estimate + t * error,
        "tau": float(np.sqrt(tau2)), "i2": float(tau2 / (tau2 + typical)),
        "prediction_low": float(estimate - reach), "prediction_high": float(estimate + reach),
    }  # fmt: skip
