"""Test whether the depth of the turn changes with the size of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.families import meta_regression, regression_over_families, too_few
from analysis.loading.scores import Scores, as_scores
from analysis.over_models.optimize import Codes
from analysis.over_models.sums import CurveData, basis, curve_data, main_rows, vertex
from analysis.over_models.whole_curve import NO_PEAK, curves, peak_p
from study.arrays import Float64Array

#: A departure of vertices from a line below this share of the depth counts as rounding error.
EXACT = 1e-9
#: What is missing where no peak is shown that could move.
OF_A_PEAK = ("slope", "se", "t", "estimate", "low", "high", "p", "p_equivalence")


def scale_test(
    scores: Scores | pd.DataFrame,
    *,
    metric: str | None = None,
    delta: float = 0.1,
    alpha: float = 0.05,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    """Regress the vertex on log10 of the number of parameters.

    Parameters
    ----------
    scores : Scores or DataFrame
        With the column n_params. Untrained models and shuffled labels are ignored; methods are
        averaged.
    metric : str, optional
        Default: every metric in the table, one row each.
    delta : float
        Equivalence margin for the change of the vertex over the study's range of sizes, in units
        of depth.
    alpha : float
    higher_is_better : bool, optional
        For a DataFrame: whether a larger score means better separation. Default: True, unless the
        metric's name is ambiguous.

    Returns
    -------
    DataFrame
        One row per metric: ``n, n_families, slope, se, t, df``; ``tau, tau_family``, the standard
        deviations of the vertex between models and between families (REML); ``range`` (in powers
        of ten); ``estimate, low, high``, the change of the vertex over that range with its
        1 - alpha interval; ``p`` of no change; ``p_equivalence``; ``verdict`` (invariant, not
        invariant, undecided); ``reason``.

    Raises
    ------
    InputError
        If some models lack a method or an emotion that others have.

    Notes
    -----
    Models of a family are alike, and a family may cover a narrow range of sizes. The regression is
    weighted by a working covariance: families have half of the variance between models
    (`meta_regression` gives its size), plus the models' sampling variances. Its errors are
    cluster-robust by family, with Satterthwaite's degrees of freedom (`regression_over_families`):
    they are valid whatever families share. If sizes vary between few families, there are few
    degrees of freedom. The vertex of a curve without a peak means nothing: unless the models are
    shown to rise and then fall (`whole_curve.peak_p`), the change is missing and the verdict
    "undecided". With fewer than three families, or less than one degree of freedom, the
    verdict is "undecided". A model's sampling variance comes from its replicates by the delta
    method; without replicates it is 0. The verdict is *invariant* only if two one-sided
    tests show the change to be within delta.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(families=(4, 4, 4), noise_sd=0.003, seed=2)
    >>> scale_test(study)["verdict"].item()
    'invariant'
    """
    scores = as_scores(scores, higher_is_better)
    metrics = [metric] if metric is not None else sorted(scores.table["metric"].unique())
    rows = []
    for name in metrics:
        data = curve_data(scores, name)
        size = scores.table.groupby("model")["n_params"].first().loc[list(data.models)]
        turn = vertex(data.coef[0])
        variance = sampling_variance(scores, data, name)
        x = np.log10(size.where(size > 0).to_numpy(dtype=np.float64))
        decided = decide_scale(turn, variance, x, data.group, delta, alpha)
        if np.isfinite(decided["estimate"]) and not peak_p(data, curves(data)[0]) <= alpha:
            decided |= dict.fromkeys(OF_A_PEAK, np.nan)
            decided |= {"verdict": "undecided", "reason": NO_PEAK}
        rows.append({"test": "scale", "metric": name, **decided})
    return pd.DataFrame(rows)


def decide_scale(
    turn: Float64Array,
    variance: Float64Array,
    x: Float64Array,
    group: Codes,
    delta: float,
    alpha: float,
) -> dict[str, Any]:
    """One row of `scale_test`, from vertices, their sampling variances, log10 sizes, families."""
    span = float(np.ptp(x))
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
        return row | {"reason": f"{turn.size} models: a trend and its error need at least 3"}
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
        return row | {"reason": "the vertices lie exactly on a line: no error to test against"}
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
    if fit.exact or not fit.df >= 1:
        why = too_few(n_families) or "sizes vary between too few families to tell scale from family"
        return row | {"reason": why}
    change = replace(fit, estimate=fit.estimate * span, se=fit.se * span)
    row["low"], row["high"] = change.ends(alpha)
    row |= {"t": fit.estimate / fit.se, "p": change.p()}
    row["p_equivalence"] = change.p_within(-delta, delta)
    if few := too_few(n_families):
        return row | {"reason": few}
    if row["p"] <= alpha:
        row["verdict"], row["reason"] = (
            "not invariant",
            (f"the vertex moves by {change.estimate:+.3f} over the range (p = {row['p']:.3g})"),
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
            f"{row['low']:.3f} to {row['high']:.3f}: neither 0 nor {delta:g} is ruled out"
        )
    return row


def sampling_variance(scores: Scores, data: CurveData, metric: str) -> Float64Array:
    """Delta-method variance of each model's vertex over its replicates; 0 without replicates."""
    draws: dict[str, list[Float64Array]] = {}
    for profile in main_rows(scores.select(metric=metric)).profiles():
        if profile.replicates is not None:
            draws.setdefault(str(profile.keys["model"]), []).append(profile.replicates)
    out = np.zeros(len(data.models))
    for m, (model, depth) in enumerate(zip(data.models, data.depths, strict=True)):
        mine = draws.get(model, [])
        n = min(map(len, mine), default=0)
        if n > 1:
            cov = np.cov(np.mean([copies[:n] for copies in mine], axis=0), rowvar=False)
            out[m] = vertex_variance(data.coef[0, m], depth, cov)
    return out


def vertex_variance(coef: Float64Array, depth: Float64Array, cov: Float64Array) -> float:
    """Delta-method variance of the vertex, given the covariance of a profile's points."""
    if coef[1] == 0:
        return np.inf  # a straight profile has no turn
    onto = np.linalg.pinv(basis(depth))
    slope = np.array([-1 / (6 * coef[1]), coef[0] / (6 * coef[1] ** 2), 0.0]) @ onto
    return max(float(slope @ cov @ slope), 0.0)
