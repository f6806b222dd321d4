"""Test where the models' profiles peak: at the depth that a claim says, or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.families import ROUNDING, Estimate, mean_over_families, t_critical, too_few
from analysis.loading.scores import Profile, Scores
from analysis.profiles.curves import PEAKS, Peak, curve_row
from analysis.profiles.fixed_peaks import NO_PEAK, Case, fixed_peaks
from analysis.profiles.pooling import pooled_over_families
from analysis.profiles.shape import GROUP, models_rows, shape_row
from analysis.profiles.uncertainty import (
    Errors,
    assess,
    check_alpha,
    quadratic_weights,
    select_profiles,
)
from analysis.scopes import LIKE_THESE, THESE, Scope, scopes_of
from analysis.wording import numbered
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
    "spread",
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
    peak: Peak = "extremum",
    scope: Scope | None = LIKE_THESE,
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
    peak : {"vertex", "extremum", "center"}
        The estimator to pool (see `fit_curves`): the quadratic's vertex, the depth of the curve's
        maximum, or the middle of its top.
    scope : {"models like these", "these models"}, optional
        Whether to generalize over families of models, or over topics with these models fixed. None
        reports both.
    alpha : float
        Level of the tests; intervals have level 1 - alpha.
    seed : int
        Seed of the AR(1) model's draws, for profiles without replicates.
    higher_is_better : bool, optional
        For a table: whether a larger score means better separation. Default: True; an error if
        the metric's name leaves it open ("loss", "distance", "cosine").

    Returns
    -------
    DataFrame
        Models like these: one row per combination of weights, method, labels and metric. These
        models: a row about all of them, then one per profile (model, family).

        - scope; peak: the estimator; estimate, low, high: pooled peak with its Hartung-Knapp
          interval over families. These and their details are missing if no hump is shown.
        - p: of equivalence, the larger of two one-sided p; p_elsewhere: two-sided, against a
          pooled peak at the nearer edge of target +- delta (1 inside it), or, where no peak is
          pooled, that the curve over models has no peak either; df: n_families - 1.
        - spread: the largest difference between the three estimators' means over families.
        - verdict: "at target" (p < alpha, and the models agree), "elsewhere" (p_elsewhere < alpha,
          or every decided profile has no peak, and these are more than half of the models, of
          three families or more), "undecided"; reason.
        - tau, tau_family, i2: standard deviation of the peak between models and its part between
          families (REML), and the share of the variance that lies between models;
          prediction_low, prediction_high: where the peak of another model would lie.
        - n_models, n_pooled, n_families: models, those with a located peak, and their families;
          n_within: pooled models with a peak within delta of the target; n_inside: models whose
          whole interval is inside the range of depths; n_no_peak: models shown to have no peak
          (monotone, or a trough); n_unlocated: models too noisy to tell; n_humps: humps by
          `u_shape_test`.
        - target, delta; confidence: the level of the intervals.

        In the scope "these models", a model's p and p_elsewhere are about its own peak. In the
        row about all, p is that *each* peaks at the target, p_elsewhere that *some* model does
        not, and estimate the mean of their highest points.

    Raises
    ------
    InputError
        If a level is not in the table, target +- delta is not within [0, 1], or the table breaks
        a rule of `as_scores`.

    Notes
    -----
    A profile without a peak has no peak depth, though a quadratic always has a vertex and every
    curve is highest somewhere. The test therefore pools only profiles whose interval for the peak
    is inside the range of depths (for vertices: finite, with a downward curvature). Profiles that
    `u_shape_test` shows to have no peak (monotone, a trough, a plateau whose place is open) are
    left out and counted. If there are any, or if fewer than half of the models are pooled, the
    verdict is never "at target". Unless `u_shape_test` finds a hump over models, or in at least
    half of them, the pooled depth is not that of a peak: it is missing and the verdict is
    "undecided". With fewer than two pooled models, the verdict is "elsewhere" if every decided
    profile has no peak, and these are more than half of the models and belong to three families or
    more. A located vertex just outside the range stays in, because dropping it would truncate the
    sampling distribution.

    A vertex is a ratio. Noise that steepens a curve both moves the vertex to the middle and
    shortens its delta-method standard error, so weighting by that error would pull the pooled peak
    to the middle. The weights therefore use standard errors at the models' mean curvature and
    median vertex. The other estimators have no such formula; for them, every model gets the root
    mean square of the standard errors.

    Models of a family are alike, so the test pools the families' mean peaks :math:`y_f`, with
    standard errors :math:`s_f` and weights :math:`w_f = 1/(s_f^2 + \tau_f^2)`. The squared
    standard error is Hartung and Knapp's with the modification for few studies (Roever, Knapp and
    Friede), :math:`\max(1, \sum_f w_f (y_f - \bar y)^2 / (F - 1)) / \sum_f w_f`, with F - 1
    degrees of freedom. With fewer than three families the verdict is "undecided". Models with
    several profiles (seeds, precisions) enter with their mean.

    In every model, noise moves the maximum of a skewed curve toward its longer side. Each maximum
    is corrected for this (`splines.maximum`). The correction removes only part of the shift, so its
    mean over families is added to the standard error (in squares) as the possible remaining bias.
    For curves that are symmetric about their maximum it is close to 0.

    A sharp tip between two layers of a curve with unequal arms is read on its flatter side, in
    every model: for a tent with its tip at 0.2 or 0.8 and 12 to 32 layers, 0.017 of the depth away
    without noise. The interval does not allow for this: it covers the tip in 92 to 94% of
    simulated studies of nine models, and in 89 to 92% of studies of twenty.

    A skewed curve and its quadratic peak at different depths. The chosen estimator decides, but if
    the three of `fit_curves` differ by more than delta (comparing means over families), the verdict
    is "undecided". An estimator that locates fewer than half of the models is ignored.

    A mean says little about models that differ: with half of the models at 0.3 and half at 0.7, it
    is 0.5, where no model is. "At target" therefore also requires that half of the pooled models
    peak within delta of the target, and that another model would do so with a probability of at
    least one half.

    With the models fixed, the error of a model's peak comes from its topics, with one degree of
    freedom fewer than there are topics. "At target" needs a hump as well as equivalence in every
    model (an intersection-union test, so neither is corrected for their number). "Elsewhere" needs
    one model that is shown to have no peak, or its highest point outside target +- delta, after
    Holm's correction. A bare profile has the error of its AR(1) model instead.

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
    0      0.50  0.44  0.55  at target
    0      0.67  0.61  0.72  elsewhere
    """
    if not (delta > 0 and target - delta >= 0 and target + delta <= 1):
        raise InputError(
            f"target {target} +- delta {delta} is not an interval within [0, 1]; give depths"
        )
    if peak not in PEAKS:
        raise InputError(f"no estimator {peak!r}; there are {', '.join(map(repr, PEAKS))}")
    check_alpha(alpha)
    profiles = select_profiles(scores, higher_is_better, metric, method, weights, labels)
    wanted = scopes_of(scope)
    cases = []
    for profile in profiles:
        errors = assess(profile, seed)
        fit, shape = curve_row(profile, errors, alpha), shape_row(profile, errors, alpha)
        cases.append(Case(profile, errors, fit, shape))
    rows: list[dict[str, Any]] = []
    if LIKE_THESE in wanted:
        over_models = models_rows(profiles, [dict(case.shape) for case in cases], alpha)
        mean_curves = {tuple(row[k] for k in GROUP): row for row in over_models}
        curves = pd.DataFrame([_fitted(case) for case in cases])
        for keys, group in curves.groupby(GROUP, sort=False):
            judged = _pooled(group, mean_curves[tuple(keys)], target, delta, peak, alpha)
            named = dict(zip(GROUP, keys, strict=True))
            about = {"scope": LIKE_THESE, "model": f"all ({judged['n_models']})", "family": "all"}
            rows.append({**named, **about, **judged})
    if THESE in wanted:
        groups: dict[tuple[Any, ...], list[Case]] = {}
        for case in cases:
            groups.setdefault(tuple(case.profile.keys[k] for k in GROUP), []).append(case)
        for keys, some in groups.items():
            named = dict(zip(GROUP, keys, strict=True))
            each = fixed_peaks(some, target, delta, peak, alpha, seed)
            rows += [{**named, **row} for row in each]
    return pd.DataFrame(rows).assign(target=target, delta=delta, confidence=1 - alpha)


def _fitted(case: Case) -> dict[str, Any]:
    """Return a profile's columns of `fit_curves`, its quadratic and its shape."""
    shown = {"coefficients": _coefficients(case.profile, case.errors), "shown": case.shown}
    return {**case.fit, **shown}


def _coefficients(
    profile: Profile, errors: Errors | str
) -> tuple[Float64Array, Float64Array] | None:
    """Return depth's coefficients, linear and squared, and their covariance."""
    if isinstance(errors, str):
        return None
    weights = quadratic_weights(profile.depth)[1:]
    return weights @ profile.separation, weights @ errors.cov @ weights.T


def _pooled(
    curves: pd.DataFrame,
    mean_curve: Mapping[str, Any],
    target: float,
    delta: float,
    peak: Peak,
    alpha: float,
) -> dict[str, Any]:
    located, inside = _located(curves, peak, alpha)
    # A curve that levels off may still fall a little: leave a plateau out unless its peak's
    # interval lies inside the range.
    absent = curves["shown"].isin(NO_PEAK) | ((curves["shown"] == "plateau") & ~inside)
    located &= ~absent
    models = curves["model"]
    of = pd.DataFrame({peak: [], "se": []})
    if located.any():
        errors = _common_errors(curves[located], peak)
        of = curves[located].assign(se=errors).groupby("model")[[peak, "se"]].mean()
    n, without = models.nunique(), models[absent].nunique()
    humps = models[curves["shown"] == "hump"].nunique()
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
    verdict = "undecided"
    if len(of) < 2:
        verdict, reason, p = _without_pool(curves, absent, mean_curve, counts)
        result["p_elsewhere"] = p
    elif mean_curve["verdict"] != "hump" and 2 * humps < n:
        reason = (
            f"no peak to locate: a hump is not shown over models, and in {humps} of {n} models only"
        )
    elif np.ptp(of[peak]) <= ROUNDING:
        reason = "the models' peaks do not differ at all: no error to judge them by"
    elif n_families < 2:
        reason = too_few(n_families, "located peaks")
    else:
        bias = _common_bias(curves[located], peak)
        pooled, result = pooled_over_families(
            of[peak].to_numpy(), of["se"].to_numpy(), families, alpha, bias
        )
        estimate = pooled.estimate
        gap = max(abs(estimate - target) - delta, 0.0)  # from the nearer edge of target +- delta
        means = {peak: estimate} | _other_estimators(curves[located], peak, alpha)
        result |= {
            "p": pooled.p_within(target - delta, target + delta),
            "p_elsewhere": pooled.p(estimate - gap),  # t is gap / se
            "spread": max(means.values()) - min(means.values()),
        }
        verdict, reason = _judged(pooled, means, result, target, delta, alpha, counts)
    return {**result, "verdict": verdict, "reason": reason, **counts}


def _judged(
    pooled: Estimate,
    means: Mapping[str, float],
    result: Mapping[str, float],
    target: float,
    delta: float,
    alpha: float,
    counts: Mapping[str, Any],
) -> tuple[str, str]:
    """Return the verdict on a pooled peak, and the reason."""
    estimate, n_pooled, n_within = pooled.estimate, counts["n_pooled"], counts["n_within"]
    where = f"{target - delta:.2f} to {target + delta:.2f}"
    if few := too_few(pooled.n_families, "located peaks"):
        return "undecided", few
    if result["spread"] > delta:
        each = ", ".join(f"{name} {value:.2f}" for name, value in means.items())
        return "undecided", f"the place depends on the estimator: {each}"
    if result["p_elsewhere"] < alpha:
        return "elsewhere", f"the pooled peak {estimate:.2f} is outside {where}"
    if result["p"] >= alpha:
        return "undecided", f"the pooled peak is neither shown inside {where} nor outside"
    if without := counts["n_no_peak"]:
        said = f"{n_pooled} models peak within {where}; models without a peak: {without}"
        return "undecided", said
    if 2 * n_pooled < (n := counts["n_models"]):
        return "undecided", f"a peak could be located in {n_pooled} of {n} models only"
    reach = np.hypot(pooled.se, result["tau"]) * t_critical(0.75, pooled.df)
    if 2 * n_within < n_pooled or abs(estimate - target) + reach > delta:
        return "undecided", (
            f"the mean {estimate:.2f} is within {where}, but the models differ (SD "
            f"{result['tau']:.2f}): {n_within} of {n_pooled} peak there"
        )
    return "at target", f"the pooled peak {estimate:.2f} is within {where}"


def _without_pool(
    curves: pd.DataFrame,
    absent: pd.Series,
    mean_curve: Mapping[str, Any],
    counts: Mapping[str, Any],
) -> tuple[str, str, float]:
    """Return the verdict where fewer than two peaks are located, the reason, and its p."""
    n, without, unlocated = (counts[f"n_{name}"] for name in ("models", "no_peak", "unlocated"))
    if not without or without != n - unlocated:
        reason = f"models with a located peak: {counts['n_pooled']} of {n}; 2 are needed"
        if (curves["shape"] == "unknown").all():
            reason = str(curves["reason"].iloc[0])
        return "undecided", reason, np.nan
    reason = f"shown to have no peak inside the range: {without} of {numbered(n, 'model')}"
    if few := too_few(curves.loc[absent, "family"].nunique(), "models without a peak"):
        return "undecided", f"{reason}, but {few}", np.nan
    if 2 * without <= n:
        return "undecided", reason, np.nan
    shown = mean_curve["verdict"] in (*NO_PEAK, "plateau")
    return "elsewhere", reason, float(mean_curve["p_shape"]) if shown else np.nan


def _located(curves: pd.DataFrame, peak: str, alpha: float) -> tuple[pd.Series, pd.Series]:
    """Return which profiles have a located peak, and which have it inside for sure."""
    if "depth_start" not in curves:
        none = pd.Series(False, index=curves.index)
        return none, none
    low, high = curves[f"{peak}_low"], curves[f"{peak}_high"]
    inside = (low > curves["depth_start"]) & (high < curves["depth_end"])
    if peak != "vertex":
        return inside, inside
    downward = (curves["p"] < alpha) & (curves["verdict"] != "no peak inside")
    return downward & np.isfinite(low) & np.isfinite(high), inside & downward


def _common_errors(curves: pd.DataFrame, peak: str) -> Float64Array:
    """Return standard errors of the peaks that do not depend on where each peak happens to lie."""
    if peak != "vertex":
        return np.full(len(curves), np.sqrt((curves[f"{peak}_se"] ** 2).mean()))
    curvature = np.mean([b[1] for b, _ in curves["coefficients"]])
    gradient = np.array([1.0, 2 * curves["vertex"].median()]) / (2 * curvature)
    return np.array([np.sqrt(gradient @ cov @ gradient) for _, cov in curves["coefficients"]])


def _common_bias(curves: pd.DataFrame, peak: str) -> float:
    """Return the shift that noise may still cause, in the same direction in every model.

    The correction of the maximum removes a third to a half of its shift, so one to two times the
    removed amount remains. The error allows for one.
    """
    if peak != "extremum":
        return 0.0
    of = curves.groupby("model").agg(value=("extremum_shift", "mean"), family=("family", "first"))
    return mean_over_families(of["value"].to_numpy(), of["family"].tolist()).estimate


def _other_estimators(curves: pd.DataFrame, peak: str, alpha: float) -> dict[str, float]:
    """Return the mean over families of the place by the other estimators.

    An estimator that locates fewer than half of the models is ignored: the quadratic of an early
    hump may turn anywhere.
    """
    out: dict[str, float] = {}
    for name in (each for each in PEAKS if each != peak):
        sound = curves[_located(curves, name, alpha)[0]]
        of = sound.groupby("model").agg(value=(name, "mean"), family=("family", "first"))
        if 2 * len(of) >= curves["model"].nunique():
            out[name] = mean_over_families(of["value"].to_numpy(), of["family"].tolist()).estimate
    return out
