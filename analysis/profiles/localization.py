"""Test where the models' profiles peak: at the depth that a claim says, or elsewhere."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import optimize

from analysis.families import (
    ROUNDING,
    Estimate,
    mean_over_families,
    meta_regression,
    t_critical,
    too_few,
)
from analysis.loading.scores import Profile, Scores
from analysis.profiles.curves import PEAKS, curve_row
from analysis.profiles.shape import GROUP, models_rows, shape_row
from analysis.profiles.uncertainty import (
    Errors,
    assess,
    check_alpha,
    quadratic_weights,
    select_profiles,
)
from study.arrays import Float64Array
from study.read import InputError

RESULT = (
    "estimate",
    "low",
    "high",
    "p",
    "p_elsewhere",
    "df",
    "tau",
    "tau_family",
    "i2",
    "prediction_low",
    "prediction_high",
)


def localization_test(
    scores: Scores | pd.DataFrame,
    *,
    metric: str | None = None,
    method: str | None = None,
    weights: str | None = "trained",
    labels: str | None = "true",
    target: float = 0.5,
    delta: float = 0.1,
    peak: Literal["vertex", "extremum"] = "vertex",
    alpha: float = 0.05,
    seed: int = 0,
    higher_is_better: bool | None = None,
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
        The estimator that is pooled: the quadratic's vertex, or the depth of the spline's maximum.
    alpha : float
        Level of the tests; intervals have level 1 - alpha.
    seed : int
        For the AR(1) model's draws, used where a profile has no replicates.
    higher_is_better : bool, optional
        Whether a larger score means better separated, for a table; larger is, by default, unless
        the metric's name leaves it open.

    Returns
    -------
    DataFrame
        One row per combination of weights, method, labels and metric.

        - estimate, low, high: pooled peak with its Hartung-Knapp interval over families.
        - p: of equivalence, the larger of two one-sided p; p_elsewhere: two-sided, against a
          pooled peak at the nearer edge of target +- delta (1 inside it), both by the chosen
          estimator; df: n_families - 1.
        - verdict: "at target" (p < alpha, and the models agree), "elsewhere" (p_elsewhere < alpha,
          or every decided profile has no peak), "undecided"; reason.
        - tau, tau_family, i2: standard deviation of the peak between models and its part between
          families (REML), and the share of the variance that lies between models;
          prediction_low, prediction_high: where the peak of another model would lie.
        - n_models, n_pooled, n_families: models, those with a located peak, and their families;
          n_within: pooled models with a peak within delta of the target; n_inside: models whose
          whole interval is inside the range of depths; n_no_peak: models shown to have no peak
          (monotone, or a trough); n_unlocated: models too noisy to tell; n_humps: humps by
          `u_shape_test`.

    Raises
    ------
    InputError
        If a level is not in the table, target +- delta is not within [0, 1], or the table breaks
        a rule of `as_scores`.

    Notes
    -----
    A profile without a peak has no peak depth, though a quadratic always has a vertex. Vertices
    are therefore pooled only where their interval in `fit_curves` is finite and the curvature is
    downward, and extrema where their interval is inside the range. Profiles shown to have no peak
    inside are left out and counted; if there are any, or if fewer than half of the models are
    pooled, the verdict cannot be "at target". A plateau has no peak either, and its vertex is an
    artifact of the quadratic: unless `u_shape_test` finds a hump over models, or in at least half
    of them, the pooled depth is reported but the verdict is "undecided". A located vertex just
    outside the range stays in, because dropping it would truncate the sampling distribution.

    A vertex is a ratio. Noise that steepens a curve both moves the vertex to the middle and
    shrinks its delta-method standard error, and weighting by these errors would pull the pooled
    peak to the middle. The weights therefore use standard errors at the models' mean curvature and
    median vertex, or, for extrema, which have no such formula, their root mean square.

    Models of a family are alike, so the test pools the families' mean peaks :math:`y_f`, with
    standard errors :math:`s_f` and weights :math:`w_f = 1/(s_f^2 + \tau_f^2)`. The squared
    standard error is Hartung and Knapp's with the modification for few studies (Roever, Knapp and
    Friede), :math:`\max(1, \sum_f w_f (y_f - \bar y)^2 / (F - 1)) / \sum_f w_f`, with F - 1
    degrees of freedom. With fewer than three families the verdict is "undecided". Models with
    several profiles (seeds, precisions) enter with their mean.

    The peak of a skewed curve differs from that of its quadratic. All estimators of `fit_curves`
    must therefore show "at target", each by its mean over families, and "elsewhere" requires that
    none of them is more than delta away from the chosen one.

    A mean says little about models that differ: with half of the models at 0.3 and half at 0.7, it
    is 0.5, where no model is. "At target" therefore also requires that half of the pooled models
    peak within delta of the target, and that another model would do so with a probability of at
    least one half.

    References
    ----------
    Hartung, J. and Knapp, G. (2001). A refined method for the meta-analysis of controlled clinical
    trials with binary outcome. Statistics in Medicine 20, 3875-3889.
    Roever, C., Knapp, G. and Friede, T. (2015). Hartung-Knapp-Sidik-Jonkman approach and its
    modification for random-effects meta-analysis with few studies. BMC Medical Research
    Methodology 15, 99.
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
    0      0.49  0.48  0.51  at target
    0      0.69  0.67  0.71  elsewhere
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
        pooled = _pooled(group, tuple(keys) in humped, target, delta, peak, alpha)
        rows.append({**dict(zip(GROUP, keys, strict=True)), **pooled})
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
    of_model = curves.groupby("model")["family"].first()
    families = [str(of_model[model]) for model in of.index]
    n_families = len(set(families))
    within = (of[peak] - target).abs() <= delta
    counts = {
        "peak": peak,
        "n_models": n,
        "n_pooled": len(of),
        "n_families": n_families,
        "n_within": int(within.sum()),
        "n_inside": models[inside].nunique(),
        "n_no_peak": without,
        "n_unlocated": unlocated,
        "n_humps": humps,
    }
    result: dict[str, Any] = dict.fromkeys(RESULT, np.nan)
    verdict, reason = "undecided", f"{len(of)} of {n} models have a located peak; 2 are needed"
    if len(of) >= 2 and np.ptp(of[peak]) <= ROUNDING:
        reason = "the models' peaks do not differ at all: no error to test them against"
    elif len(of) >= 2 and n_families < 2:
        reason = too_few(n_families, "located peaks")
    elif len(of) >= 2:
        pooled, result = _over_families(of[peak].to_numpy(), of["se"].to_numpy(), families, alpha)
        estimate = pooled.estimate
        result["p"] = pooled.p_within(target - delta, target + delta)
        result["p_elsewhere"] = pooled.p(estimate - max(abs(estimate - target) - delta, 0.0))
        where = f"{target - delta:.2f} to {target + delta:.2f}"
        others = _other_estimators(curves[located], peak)
        others_apart = _named(
            {k: e for k, e in others.items() if abs(e.estimate - estimate) > delta}
        )
        others_open = _named(
            {
                k: e
                for k, e in others.items()
                if not (e.exact or e.p_within(target - delta, target + delta) < alpha)
            }
        )
        spread = np.hypot(pooled.se, result["tau"]) * t_critical(0.75, pooled.df)
        if few := too_few(pooled.n_families, "located peaks"):
            reason = few
        elif not humped and 2 * humps < n:
            reason = f"{humps} of {n} models are humps: the {peak} {estimate:.2f} is not a peak's"
        elif result["p_elsewhere"] < alpha and others_apart:
            reason = f"the place depends on the estimator: {peak} {estimate:.2f}, {others_apart}"
        elif result["p_elsewhere"] < alpha:
            verdict, reason = "elsewhere", f"the pooled peak {estimate:.2f} is outside {where}"
        elif result["p"] >= alpha:
            reason = f"the pooled peak is neither shown inside {where} nor outside"
        elif without:
            reason = f"{len(of)} models peak within {where}, but {without} have no peak"
        elif 2 * len(of) < n:
            reason = f"a peak could be located in {len(of)} of {n} models only"
        elif others_open:
            reason = (
                f"the {peak} {estimate:.2f} is within {where}, which another estimator of the "
                f"place does not show: {others_open}"
            )
        elif 2 * within.sum() < len(of) or abs(estimate - target) + spread > delta:
            reason = (
                f"the mean {estimate:.2f} is within {where}, but the models differ (SD "
                f"{result['tau']:.2f}): {within.sum()} of {len(of)} peak there"
            )
        else:
            verdict, reason = "at target", f"the pooled peak {estimate:.2f} is within {where}"
    elif without and without == n - unlocated:
        share = f"{without} of {n} models are shown to have no peak inside the range"
        verdict, reason = ("elsewhere" if 2 * without > n else "undecided"), share
    elif (curves["shape"] == "unknown").all():
        reason = str(curves["reason"].iloc[0])
    return {**result, "verdict": verdict, "reason": reason, **counts}


def _other_estimators(curves: pd.DataFrame, peak: str) -> dict[str, Estimate]:
    """Return the mean over families of each other estimator."""
    out = {}
    for name in PEAKS:
        if name == peak or name not in curves:
            continue
        of = curves.groupby("model").agg(value=(name, "mean"), family=("family", "first")).dropna()
        if not of.empty:
            values = of["value"].to_numpy(dtype=np.float64)
            out[name] = mean_over_families(values, of["family"].tolist())
    return out


def _named(estimates: dict[str, Estimate]) -> str:
    return ", ".join(f"{name} {of.estimate:.2f}" for name, of in estimates.items())


def _over_families(
    y: Float64Array, se: Float64Array, family: list[str], alpha: float
) -> tuple[Estimate, dict[str, float]]:
    """Pool models' peaks with the family as the unit; return the columns that describe them."""
    onehot = pd.get_dummies(pd.Series(family)).to_numpy(dtype=float)
    share = onehot / onehot.sum(axis=0)
    result = hartung_knapp(share.T @ y, np.sqrt((share**2).T @ se**2), alpha, modified=True)
    group = onehot.argmax(axis=1)
    between = meta_regression(y, se**2, np.ones((len(y), 1)), group)[2]
    tau2, typical = float(between.sum()), typical_variance(se**2)
    df = onehot.shape[1] - 1.0
    pooled = Estimate(result["estimate"], result.pop("se"), df, len(y), onehot.shape[1])
    reach = t_critical(1 - alpha / 2, df) * np.hypot(pooled.se, np.sqrt(tau2))
    return pooled, result | {
        "df": df,
        "tau": np.sqrt(tau2),
        "tau_family": np.sqrt(between[1]),
        "i2": tau2 / (tau2 + typical),
        "prediction_low": pooled.estimate - reach,
        "prediction_high": pooled.estimate + reach,
    }


def _coefficients(
    profile: Profile, errors: Errors | str
) -> tuple[Float64Array, Float64Array] | None:
    """Return depth's coefficients, linear and squared, and their covariance."""
    if isinstance(errors, str):
        return None
    weights = quadratic_weights(profile.depth)[1:]
    return weights @ profile.separation, weights @ errors.cov @ weights.T


def _common_errors(curves: pd.DataFrame, peak: str) -> Float64Array:
    """Return standard errors of the peaks that do not depend on the position of each peak."""
    if peak == "extremum":
        return np.full(len(curves), np.sqrt((curves["extremum_se"] ** 2).mean()))
    curvature = np.mean([b[1] for b, _ in curves["coefficients"]])
    gradient = np.array([1.0, 2 * curves["vertex"].median()]) / (2 * curvature)
    return np.array([np.sqrt(gradient @ cov @ gradient) for _, cov in curves["coefficients"]])


def _located(
    curves: pd.DataFrame, peak: str, alpha: float
) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return masks of profiles: peak located, shown to have no peak, peak inside the range."""
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
