"""Count the regimes of steering, and test whether they follow family or scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from analysis.profiles.uncertainty import check_alpha
from analysis.trials.table import MATCHED, REGIMES, SHAM, STEERED, Trials, as_trials, outcomes
from analysis.wording import numbered
from study.arrays import Float64Array

#: Enumerate all permutations of the labels up to this many models.
MAX_EXACT_MODELS = 7
N_PERMUTATIONS = 9999


def regime_table(
    trials: Trials | pd.DataFrame,
    by: Sequence[str] = ("model", "strength"),
    judge: str | None = None,
) -> pd.DataFrame:
    """Count the regimes of steered texts and shams at the peak.

    Returns
    -------
    DataFrame
        The columns of `by`, then kind, regime, n and share; every group has a row per regime. kind
        is "matched sham" only for a table that has some.
    """
    table = outcomes(trials, judge)
    table = table[table["place"] == "peak"]
    columns = {STEERED: "regime", SHAM: "isotropic_regime"}
    if (table["sham_kind"] == MATCHED).any():
        columns[MATCHED] = "sham_regime"
    parts = []
    for kind, column in columns.items():
        some = table[table["sham_kind"] == MATCHED] if kind == MATCHED else table
        wide = some.groupby([*by, column], observed=False).size().unstack(column)
        long = wide.reset_index().melt([*by], var_name="regime", value_name="n")
        long["share"] = long["n"] / long.groupby(list(by))["n"].transform("sum")
        parts.append(long.assign(kind=kind))
    return pd.concat(parts, ignore_index=True)


def regime_test(
    trials: Trials | pd.DataFrame,
    *,
    judge: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Test whether a model's regimes follow its family or its scale.

    Parameters
    ----------
    trials : Trials or DataFrame
    judge : str, optional
        Default: the first judge.
    alpha : float
        Level of the test.
    seed : int
        Of random permutations.

    Returns
    -------
    DataFrame
        Rows "family" and "scale": estimate (the share of the variance between models that one
        explains beyond the other), p by permutation, p_min (the smallest p that the design
        allows), n (models), verdict in {"related", "undecided"}, and reason.

    Raises
    ------
    InputError
        If the table is no table of trials, or alpha is no level.

    Notes
    -----
    Each model is one point: its shares of the regimes over all trials at the peak. Each predictor
    (dummies of the family; log10 of the number of parameters) is tested after the other by
    permuting over models the residuals of the regression without it [1]_. p is exact up to 7
    models, else (k + 1) / (n + 1) from random permutations.

    References
    ----------
    .. [1] Freedman, D., Lane, D. (1983). A nonstochastic interpretation of reported significance
       levels. Journal of Business & Economic Statistics 1, 292-298.
    """
    check_alpha(alpha)
    counts = regime_table(trials, by=("model",), judge=judge)
    counts = counts[counts["kind"] == STEERED]
    shares = counts.pivot_table(index="model", columns="regime", values="share", observed=False)
    y = shares.reindex(columns=list(REGIMES)).to_numpy(dtype=float)
    facts = as_trials(trials).table.drop_duplicates("model").set_index("model").loc[shares.index]
    dummies = pd.get_dummies(facts["family"]).to_numpy(dtype=float)
    size = np.log10(facts["n_params"].to_numpy(dtype=float))[:, None]
    rows = []
    for by, x, rest in (("family", dummies, size), ("scale", size, dummies)):
        row: dict[str, Any] = {"by": by, "n": len(y)}
        rows.append(row | explained(y, x, np.column_stack([np.ones(len(y)), rest]), seed))
        found = rows[-1]
        related = found["p"] < alpha
        reason = "not shown"
        if related:
            reason = f"explains {found['estimate']:.0%} of the variance beyond the other"
        elif found["p_min"] >= alpha:
            families = numbered(dummies.shape[1], "family", "families")
            reason = f"{numbered(len(y), 'model')} in {families} cannot tell family from scale"
        rows[-1] |= {"verdict": "related" if related else "undecided", "reason": reason}
    return pd.DataFrame(rows)


def explained(
    y: Float64Array, x: Float64Array, rest: Float64Array, seed: int = 0
) -> dict[str, float]:
    """Return the share of the squares of y (models, values) that x explains beyond rest, and p.

    p_min counts the permutations under which no values of y could have another statistic, as those
    within families, and of families with each other, if the sizes do not differ.
    """
    n, total = len(y), float(((y - y.mean(axis=0)) ** 2).sum())
    both = np.column_stack([rest, x])
    gained = np.linalg.matrix_rank(both) - np.linalg.matrix_rank(rest)
    if gained == 0 or np.linalg.matrix_rank(both) >= n or total == 0:
        return {"estimate": np.nan, "p": np.nan, "p_min": 1.0}

    def residual(values: Float64Array, design: Float64Array) -> Float64Array:
        return np.asarray(values - design @ np.linalg.lstsq(design, values, rcond=None)[0])

    def squares(values: Float64Array, design: Float64Array) -> float:
        return float((residual(values, design) ** 2).sum())

    def statistic(values: Float64Array) -> float:
        return 1 - squares(values, both) / max(squares(values, rest), 1e-300)

    rng = np.random.default_rng(seed)
    exact = n <= MAX_EXACT_MODELS
    orders = (
        list(permutations(range(n)))
        if exact
        else [rng.permutation(n) for _ in range(N_PERMUTATIONS)]
    )

    def p_of(as_extreme: Callable[[float], bool], left: Float64Array) -> float:
        extreme = sum(as_extreme(statistic(left[list(o)])) for o in orders)
        return extreme / len(orders) if exact else (extreme + 1) / (len(orders) + 1)

    observed, share_explained = statistic(y), (squares(y, rest) - squares(y, both)) / total
    # What leaves the statistic of random values as it is, does so for all values.
    anything = residual(rng.normal(size=y.shape), rest)
    same = statistic(anything)
    return {
        "estimate": share_explained,
        "p": p_of(lambda found: found >= observed * (1 - 1e-9), residual(y, rest)),
        "p_min": p_of(lambda found: abs(found - same) <= 1e-9, anything),
    }
