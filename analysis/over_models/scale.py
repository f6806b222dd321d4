"""Test whether the depth of the peak changes with the size of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.families import meta_regression, regression_over_families, too_few
from analysis.loading.scores import Scores, as_scores
from analysis.over_models.fixed_profiles import model_profiles
from analysis.over_models.fixed_scale import fixed_scale, left_open
from analysis.over_models.optimize import Codes
from analysis.over_models.sums import CurveData, basis, curve_data, main_rows
from analysis.over_models.whole_curve import NO_PEAK, centers, curves, peak_p, places
from analysis.profiles.curves import Peak, check_peak
from analysis.profiles.splines import extrema
from analysis.profiles.uncertainty import check_alpha
from analysis.scopes import LIKE_THESE, THESE, Scope, scopes_of
from analysis.wording import are_of, count
from study.arrays import Float64Array

#: A departure of peaks from a line below this share of the depth counts as rounding error.
EXACT = 1e-9
#: What is missing where no peak is shown that could move.
OF_A_PEAK = ("slope", "se", "t", "estimate", "low", "high", "p", "p_equivalence")


def scale_test(
    scores: Scores | pd.DataFrame,
    *,
    metric: str | None = None,
    delta: float = 0.1,
    peak: Peak = "extremum",
    scope: Scope | None = LIKE_THESE,
    alpha: float = 0.05,
    seed: int = 0,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    """Regress the depth of the peak on log10 of the number of parameters.

    Parameters
    ----------
    scores : Scores or DataFrame
        With the column n_params. Untrained models and shuffled labels are ignored; methods are
        averaged.
    metric : str, optional
        Default: every metric in the table, one row each.
    delta : float
        Equivalence margin for the change of the depth over the study's range of sizes, in units
        of depth.
    peak : {"vertex", "extremum", "center"}
        Where a model's curve peaks (see `fit_curves`): the quadratic's vertex, the depth of the
        spline's maximum, or the middle of its top.
    scope : {"models like these", "these models"}, optional
        Whether to generalize over families of models, or over topics with these models fixed. None
        reports both.
    alpha : float
    seed : int
        Of the draws for bare curves, in the scope "these models".
    higher_is_better : bool, optional
        For a table: whether a larger score means better separation. Default: True; an error if
        the metric's name leaves it open ("loss", "distance", "cosine").

    Returns
    -------
    DataFrame
        One row per metric and scope: ``peak``, the estimator; ``n``, models with a peak, and their
        ``n_families``; ``n_no_peak``, models whose curve is highest at an end of the range;
        ``slope, se, t, df``; ``tau, tau_family``, the standard deviations of the depth between
        models and between families (REML); ``range`` (in powers of ten); ``estimate, low, high``,
        the change of the depth over that range with its 1 - alpha interval; ``p`` of no change;
        ``p_equivalence``; ``p_peak``, that the curves rise and then fall (for these models: each
        of them), which both verdicts need; ``verdict`` (invariant, not invariant, undecided);
        ``reason``; ``confidence``, the level of the interval.

    Raises
    ------
    InputError
        If some models lack a method that others have, or the estimator is unknown.

    Notes
    -----
    Models of a family are alike, and a family may cover a narrow range of sizes. The regression is
    weighted by a working covariance: families have half of the variance between models
    (`meta_regression` gives its size), plus the models' sampling variances. Its errors are
    cluster-robust by family, with Satterthwaite's degrees of freedom (`regression_over_families`):
    they are valid whatever families share. If sizes vary between few families, there are few
    degrees of freedom. The depth of a peak that is not there means nothing: unless the models are
    shown to rise and then fall (`whole_curve.peak_p`), the change is missing and the verdict
    "undecided". With fewer than three families, or less than one degree of freedom, there is
    no interval and the verdict is "undecided". Models that are highest at an end of their range
    (for the vertex, by their quadratic) are left out; with any of them the verdict is never
    *invariant*, and with more of them than others it is "undecided". A model's sampling variance
    comes from its replicates: for the vertex by the delta method, for the others as the variance
    over replicates, averaged over models; without replicates it is 0.
    The verdict is *invariant* only if two one-sided tests show the change to be within delta.

    For these models, the change is the least-squares contrast of their peaks, with its error over
    topics; two models suffice. Every model must be shown to have a hump. A change that is shown,
    but shown to be within delta, is *invariant* there.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(families=(4, 4, 4), noise_sd=0.003, seed=2)
    >>> scale_test(study)["verdict"].item()
    'invariant'
    """
    check_alpha(alpha)
    check_peak(peak)
    scores = as_scores(scores, higher_is_better)
    metrics = [metric] if metric is not None else sorted(scores.table["metric"].unique())
    wanted, rows = scopes_of(scope), []
    for name in metrics:
        about = {"test": "scale", "metric": name, "peak": peak}
        if LIKE_THESE in wanted:
            rows.append(
                {**about, "scope": LIKE_THESE, **_like_these(scores, name, peak, delta, alpha)}
            )
        if THESE in wanted:
            profiles = model_profiles(scores, name)
            rows.append({**about, **fixed_scale(profiles, peak, delta, alpha, seed)})
    return pd.DataFrame(rows).assign(confidence=1 - alpha)


def _like_these(
    scores: Scores, metric: str, peak: Peak, delta: float, alpha: float
) -> dict[str, Any]:
    """Test one metric with the families as the sample."""
    data = curve_data(scores, metric)
    size = scores.table.groupby("model")["n_params"].first().loc[list(data.models)]
    x = np.log10(size.where(size > 0).to_numpy(dtype=np.float64))
    depth, there = places(data, peak)
    variance = sampling_variance(scores, data, metric, peak)
    decided = decide_scale(depth[there], variance[there], x[there], data.group[there], delta, alpha)
    missing = int((~there).sum())
    p_peak = peak_p(data, curves(data)[0]) if there.size > 1 else np.nan
    if np.isfinite(decided["estimate"]) and not p_peak <= alpha:
        decided |= dict.fromkeys(OF_A_PEAK, np.nan)
        decided |= {"verdict": "undecided", "reason": NO_PEAK}
    elif missing:
        said = f"{are_of(missing, there.size, 'models')} highest at an end of their range"
        if decided["verdict"] == "invariant" or 2 * missing > there.size:
            decided["verdict"] = "undecided"
        decided["reason"] += f"; {said}"
    return {"n_no_peak": missing, "p_peak": p_peak, **decided}


def decide_scale(
    turn: Float64Array,
    variance: Float64Array,
    x: Float64Array,
    group: Codes,
    delta: float,
    alpha: float,
) -> dict[str, Any]:
    """One row of `scale_test`: of peaks' depths, sampling variances, log10 sizes and families."""
    span = float(np.ptp(x)) if x.size else 0.0
    row: dict[str, Any] = {
        "n": turn.size,
        "n_families": len(set(group.tolist())),
        "slope": np.nan,
        "se": np.nan,
        "t": np.nan,
        "df": np.nan,
        "tau": np.nan,
        "tau_family": np.nan,
        "range": span,
        "estimate": np.nan,
        "low": np.nan,
        "high": np.nan,
        "p": np.nan,
        "p_equivalence": np.nan,
        "delta": delta,
        "alpha": alpha,
        "verdict": "undecided",
    }
    if turn.size < 3:
        found = count(turn.size, "model with a peak", "models with a peak")
        return row | {"reason": f"{found}: a trend and its error need at least three"}
    if not np.isfinite(x).all():
        return row | {"reason": "n_params is missing for a model: its size is unknown"}
    if span == 0:
        return row | {"reason": "all models have the same number of parameters"}
    if not np.isfinite(turn).all():
        return row | {"reason": "a profile is straight: it has no turn"}
    n_families = len(set(group.tolist()))
    design = np.column_stack([np.ones_like(x), x])
    tau2 = meta_regression(turn, variance, design, group)[2]
    line = design @ np.linalg.lstsq(design, turn, rcond=None)[0]
    if np.abs(turn - line).max() <= EXACT:
        return row | {"reason": "the peaks lie exactly on a line: no error to test against"}
    shared = 0.5 * (group[:, None] == group) + 0.5 * np.eye(turn.size)
    cov = np.diag(variance) + max(float(tau2.sum()), EXACT**2) * shared
    fit = regression_over_families(turn, design, group.tolist(), cov)[1]
    row |= {
        "n_families": n_families,
        "slope": fit.estimate,
        "se": fit.se,
        "df": fit.df,
        "tau": np.sqrt(tau2[0]),
        "tau_family": np.sqrt(tau2[1]),
        "estimate": fit.estimate * span,
    }
    few = too_few(n_families)
    if few or fit.exact or not fit.df >= 1:
        why = few or "sizes vary between too few families to tell scale from family"
        return row | {"reason": why}
    change = replace(fit, estimate=fit.estimate * span, se=fit.se * span)
    row["low"], row["high"] = change.ends(alpha)
    row |= {"t": fit.estimate / fit.se, "p": change.p()}
    row["p_equivalence"] = change.p_within(-delta, delta)
    if row["p"] <= alpha:
        row["verdict"], row["reason"] = (
            "not invariant",
            (f"the peak moves by {change.estimate:+.3f} over the range (p = {row['p']:.3g})"),
        )
    elif row["p_equivalence"] <= alpha:
        row["verdict"], row["reason"] = (
            "invariant",
            (
                f"the change over the range is within {delta:g} "
                f"(equivalence p = {row['p_equivalence']:.3g})"
            ),
        )
    else:
        row["reason"] = (
            f"the change over the range, {change.estimate:+.3f}, has the interval "
            f"{row['low']:.3f} to {row['high']:.3f}: {left_open(change, delta, alpha)}"
        )
    return row


def sampling_variance(
    scores: Scores, data: CurveData, metric: str, peak: Peak = "vertex"
) -> Float64Array:
    """Return the sampling variance of each model's depth, from its replicates; 0 without them.

    For the vertex by the delta method. The others have no such form: the variance over the
    replicates is averaged over models, because where noise moves a peak it changes that too.
    """
    draws: dict[str, list[Float64Array]] = {}
    for profile in main_rows(scores.select(metric=metric)).profiles():
        if profile.replicates is not None:
            draws.setdefault(str(profile.keys["model"]), []).append(profile.replicates)
    out = np.zeros(len(data.models))
    for m, (model, depth) in enumerate(zip(data.models, data.depths, strict=True)):
        mine = draws.get(model, [])
        n = min(map(len, mine), default=0)
        if n < 2:
            continue
        copies = np.mean([each[:n] for each in mine], axis=0)
        if peak == "vertex":
            out[m] = vertex_variance(data.coef[0, m], depth, np.cov(copies, rowvar=False))
        else:
            drawn = data.means[m].mean(axis=1) + copies - copies.mean(axis=0)
            out[m] = (extrema if peak == "extremum" else centers)(depth, drawn).var(ddof=1)
    return out if peak == "vertex" else np.full_like(out, out.mean())


def vertex_variance(coef: Float64Array, depth: Float64Array, cov: Float64Array) -> float:
    """Delta-method variance of the vertex, given the covariance of a profile's points."""
    if coef[1] == 0:
        return np.inf  # a straight profile has no turn
    onto = np.linalg.pinv(basis(depth))
    slope = np.array([-1 / (6 * coef[1]), coef[0] / (6 * coef[1] ** 2), 0.0]) @ onto
    return max(float(slope @ cov @ slope), 0.0)
