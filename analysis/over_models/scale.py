"""Whether the depth of the turn moves with the size of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.families import meta_regression
from analysis.loading.scores import Array, Scores, as_scores
from analysis.over_models.optimise import Codes
from analysis.over_models.sums import CurveData, basis, curve_data, main_rows, vertex


def scale_test(
    scores: Scores | pd.DataFrame,
    *,
    metric: str | None = None,
    delta: float = 0.1,
    alpha: float = 0.05,
    higher_is_better: bool = True,
) -> pd.DataFrame:
    """Regress the vertex on log10 of the number of parameters.

    Parameters
    ----------
    scores : Scores or DataFrame
        With the column n_params. Trained models and true labels are taken where there are others;
        methods are averaged.
    metric : str, optional
        Default: every metric of the table, one row each.
    delta : float
        Equivalence margin for the change of the vertex over the study's range of sizes, in units
        of depth.
    alpha : float
    higher_is_better : bool
        Whether a larger score means better separated, for a bare DataFrame.

    Returns
    -------
    DataFrame
        One row a metric: ``n, slope, se, t, df``; ``tau, tau_family``, the standard deviations of
        the vertex between models and between families; ``range`` (in powers of ten); ``estimate,
        low, high``, the change of the vertex over that range with its 1 - alpha interval; ``p`` of
        no change; ``p_equivalence``; ``verdict`` (invariant, not invariant, undecided); ``reason``.

    Raises
    ------
    InputError
        If some models lack methods or emotions that others have.

    Notes
    -----
    Random-effects meta-regression with a random intercept for families and one for models within
    them, since models of a family are alike and a family may keep to one range of sizes. Their
    variances are by restricted maximum likelihood, the standard errors Knapp and Hartung's [1]_
    with the covariance that the two variances give. With few families the variance between them is
    uncertain, and the fit is taken with or without their intercept, whichever has the larger
    standard error of the slope. The degrees of freedom are those of the level that sizes vary at:
    n - 2 for n models, or families less 2 where every family has one size. A model's sampling
    variance comes from its replicates by the delta method, and is 0 where there are none. With one
    family, or one model a family throughout, families cannot be told from models and have no
    intercept of their own. The verdict is *invariant* only where two one-sided tests put the change
    within delta.

    References
    ----------
    .. [1] Knapp, G., Hartung, J. (2003). Improved tests for a random effects meta-regression with
       a single covariate. Statistics in Medicine, 22, 2693-2710.

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
        judged = judge_scale(turn, variance, x, data.group, delta, alpha)
        rows.append({"test": "scale", "metric": name, **judged})
    return pd.DataFrame(rows)


def judge_scale(
    turn: Array, variance: Array, x: Array, group: Codes, delta: float, alpha: float
) -> dict[str, Any]:
    """One row of `scale_test`, from vertices, their sampling variances, log10 sizes, families."""
    span = float(np.ptp(x))
    row: dict[str, Any] = {
        "n": turn.size, "slope": np.nan, "se": np.nan, "t": np.nan, "df": turn.size - 2,
        "tau": np.nan, "tau_family": np.nan, "range": span, "estimate": np.nan, "low": np.nan,
        "high": np.nan, "p": np.nan, "p_equivalence": np.nan, "delta": delta, "alpha": alpha,
        "verdict": "undecided",
    }  # fmt: skip
    if turn.size < 3:
        return row | {"reason": f"{turn.size} models: a trend and its error need at least 3"}
    if not np.isfinite(x).all():
        return row | {"reason": "a model has no n_params, so that its size is unknown"}
    if span == 0:
        return row | {"reason": "all models have the same number of parameters"}
    if not np.isfinite(turn).all():
        return row | {"reason": "a profile has no turn at all: it is straight"}
    sizes = len({(g, size) for g, size in zip(group.tolist(), x.tolist(), strict=True)})
    if sizes == (n_groups := len(set(group.tolist()))):
        # Then families are what the sizes vary between, and models add nothing.
        row["df"] = n_groups - 2
        if n_groups < 3:
            return row | {"reason": f"{n_groups} families, each of one size: no trend over them"}
    design = np.column_stack([np.ones_like(x), x])
    clustered = meta_regression(turn, variance, design, group)
    # With few families their variance is uncertain: the wider of the two intervals counts.
    fits = (meta_regression(turn, variance, design), clustered)
    coef, se, tau2 = max(fits, key=lambda fit: float(fit[1][1]))
    change, error = coef[1] * span, se[1] * span
    row |= {"slope": coef[1], "se": se[1], "tau": np.sqrt(tau2[0]),
            "tau_family": np.sqrt(clustered[2][1]), "estimate": change}  # fmt: skip
    if error == 0:
        return row | {"reason": "the vertices lie exactly on a line: no error to test against"}
    reach = stats.t.ppf(1 - alpha / 2, row["df"]) * error
    row |= {"t": coef[1] / se[1], "low": change - reach, "high": change + reach}
    row["p"] = 2 * stats.t.sf(abs(row["t"]), row["df"])
    row["p_equivalence"] = stats.t.sf((delta - abs(change)) / error, row["df"])
    if row["p"] <= alpha:
        row["verdict"], row["reason"] = (
            "not invariant",
            (f"the vertex moves by {change:+.3f} over the range (p = {row['p']:.3g})"),
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
            f"the change over the range, {change:+.3f}, has the interval {row['low']:.3f} to "
            f"{row['high']:.3f}: neither 0 nor {delta:g} is ruled out"
        )
    return row


def sampling_variance(scores: Scores, data: CurveData, metric: str) -> Array:
    """Delta-method variance of each model's vertex over its replicates; 0 without replicates."""
    draws: dict[str, list[Array]] = {}
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


def vertex_variance(coef: Array, depth: Array, cov: Array) -> float:
    """Delta-method variance of the vertex, given the covariance of a profile's points."""
    if coef[1] == 0:
        return np.inf  # a straight profile turns nowhere
    onto = np.linalg.pinv(basis(depth))
    slope = np.array([-1 / (6 * coef[1]), coef[0] / (6 * coef[1] ** 2), 0.0]) @ onto
    return max(float(slope @ cov @ slope), 0.0)
