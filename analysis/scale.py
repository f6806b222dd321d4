"""Whether the depth of the turn moves with the size of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from analysis.scores import Array, Scores, as_scores
from analysis.sums import CurveData, basis, curve_data, main_rows, vertex


def scale_test(
    scores: Scores | pd.DataFrame,
    delta: float = 0.1,
    metric: str | None = None,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Regress the vertex on log10 of the number of parameters.

    Parameters
    ----------
    scores : Scores or DataFrame
        With the column n_params. Trained models and true labels are taken where there are others;
        methods are averaged.
    delta : float
        Equivalence margin for the change of the vertex over the study's range of sizes, in units
        of depth.
    metric : str, optional
        Default: every metric of the table, one row each.
    alpha : float

    Returns
    -------
    DataFrame
        One row a metric: ``n, slope, se, t, df, tau, range`` (in powers of ten); ``estimate, low,
        high``, the change of the vertex over that range with its 1 - alpha interval; ``p`` of no
        change; ``p_equivalence``; ``verdict`` (invariant, not invariant, undecided); ``reason``.

    Raises
    ------
    InputError
        If some models lack methods or emotions that others have.

    Notes
    -----
    Random-effects meta-regression with tau^2 by restricted maximum likelihood and Knapp and
    Hartung's standard errors [1]_; a model's sampling variance comes from its replicates by the
    delta method, and is 0 where there are none (then the test is the ordinary regression's).
    The verdict is *invariant* only where two one-sided tests put the change within delta.

    References
    ----------
    .. [1] Knapp, G., Hartung, J. (2003). Improved tests for a random effects meta-regression with
       a single covariate. Statistics in Medicine, 22, 2693-2710.

    Examples
    --------
    >>> from analysis.simulate import simulate_scores
    >>> study = simulate_scores(families=(4, 4, 4), noise_sd=0.003, seed=2)
    >>> scale_test(study)["verdict"].item()
    'invariant'
    """
    scores = as_scores(scores)
    metrics = [metric] if metric is not None else sorted(scores.table["metric"].unique())
    rows = []
    for name in metrics:
        data = curve_data(scores, name)
        size = scores.table.groupby("model")["n_params"].first().loc[list(data.models)]
        turn = vertex(data.coef[0])
        variance = sampling_variance(scores, data, name)
        x = np.log10(size.where(size > 0).to_numpy(dtype=np.float64))
        judged = judge_scale(turn, variance, x, delta, alpha)
        rows.append({"test": "scale", "metric": name, **judged})
    return pd.DataFrame(rows)


def judge_scale(
    turn: Array, variance: Array, x: Array, delta: float, alpha: float
) -> dict[str, Any]:
    """One row of `scale_test`, from vertices, their sampling variances and log10 sizes."""
    span = float(np.ptp(x))
    row: dict[str, Any] = {
        "n": turn.size, "slope": np.nan, "se": np.nan, "t": np.nan, "df": turn.size - 2,
        "tau": np.nan, "range": span, "estimate": np.nan, "low": np.nan, "high": np.nan,
        "p": np.nan, "p_equivalence": np.nan, "delta": delta, "alpha": alpha,
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
    coef, se, tau2 = meta_regression(turn, variance, np.column_stack([np.ones_like(x), x]))
    change, error = coef[1] * span, se[1] * span
    row |= {"slope": coef[1], "se": se[1], "tau": np.sqrt(tau2), "estimate": change}
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
    draws = main_rows(scores.select(metric=metric)).replicates
    if draws is None:
        return np.zeros(len(data.models))
    out = np.zeros(len(data.models))
    for m, (model, depth) in enumerate(zip(data.models, data.depths, strict=True)):
        mine = draws[draws["model"] == model]
        wide = mine.pivot_table(index="replicate", columns="depth", values="score", aggfunc="mean")
        if len(wide) > 1:
            cov = np.cov(wide.to_numpy(dtype=np.float64), rowvar=False)
            out[m] = vertex_variance(data.coef[0, m], depth, cov)
    return out


def vertex_variance(coef: Array, depth: Array, cov: Array) -> float:
    """Delta-method variance of the vertex, given the covariance of a profile's points."""
    onto = np.linalg.pinv(basis(depth))
    slope = np.array([-1 / (6 * coef[1]), coef[0] / (6 * coef[1] ** 2), 0.0]) @ onto
    return float(slope @ cov @ slope)


def meta_regression(y: Array, variance: Array, x: Array) -> tuple[Array, Array, float]:
    """Random-effects meta-regression: coefficients, Knapp-Hartung standard errors, tau^2.

    Parameters
    ----------
    y, variance : ndarray, shape (n,)
        Estimates and their sampling variances.
    x : ndarray, shape (n, p)
        Moderators, the constant included.

    Returns
    -------
    coef, se : ndarray, shape (p,)
    tau2 : float
        Restricted maximum likelihood.

    Examples
    --------
    >>> coef, se, tau2 = meta_regression(
    ...     np.array([1.0, 2.0, 4.0]), np.full(3, 0.1), np.ones((3, 1))
    ... )
    >>> coef.round(3), round(tau2, 3)
    (array([2.333]), 2.233)
    """

    def solve(tau2: float) -> tuple[Array, Array, float]:
        weight = 1 / (variance + tau2)
        bread = np.asarray(np.linalg.inv((x.T * weight) @ x), dtype=np.float64)
        coef: Array = bread @ ((x.T * weight) @ y)
        return coef, bread, float((weight * (y - x @ coef) ** 2).sum())

    def restricted(tau2: float) -> float:
        _, bread, quadratic = solve(tau2)
        return float(np.log(variance + tau2).sum() - np.linalg.slogdet(bread)[1] + quadratic)

    df = len(y) - x.shape[1]
    ordinary: Array = np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], dtype=np.float64)
    spread = float(((y - x @ ordinary) ** 2).sum()) / df
    if not variance.any() or spread == 0:
        # Without sampling variances the weights are equal and tau^2 is the residual variance.
        error: Array = np.sqrt(spread * np.diag(np.linalg.inv(x.T @ x)))
        return ordinary, error, spread
    # The criterion may have a local minimum, so a grid comes before the polish.
    grid = np.concatenate([[0.0], np.geomspace(1e-4, 30, 60) * (spread + variance.mean())])
    if variance.min() == 0:
        grid = grid[1:]
    best = int(np.argmin([restricted(t) for t in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
    polished = optimize.minimize_scalar(
        restricted, bounds=(low, high), method="bounded", options={"xatol": 1e-10 * high}
    )
    tau2 = float(polished.x) if polished.fun < restricted(grid[0]) else float(grid[0])
    coef, bread, quadratic = solve(tau2)
    return coef, np.sqrt(quadratic / df * np.diag(bread)), tau2
