"""Estimate shares of texts: of one model over its texts, of several models over their families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from analysis.families import (
    ROUNDING,
    Estimate,
    mean_over_families,
    t_above,
    t_critical,
    too_few,
)
from analysis.scopes import LIKE_THESE, THESE, Scope
from study.arrays import Float64Array


def share(successes: float, n: float, alpha: float = 0.05) -> dict[str, float]:
    """Return a share with Wilson's interval and Clopper and Pearson's.

    Examples
    --------
    >>> {k: round(float(v), 3) for k, v in share(37, 40).items()}
    {'estimate': 0.925, 'low': 0.801, 'high': 0.974, 'low_exact': 0.796, 'high_exact': 0.984}
    """
    low, high = proportion_confint(successes, n, alpha, method="wilson")
    low_exact, high_exact = proportion_confint(successes, n, alpha, method="beta")
    # With no or only successes, an end is exactly 0 or 1; Wilson's formula misses it by rounding.
    return {
        "estimate": successes / n,
        "low": max(float(low), 0.0),
        "high": min(float(high), 1.0),
        "low_exact": float(low_exact),
        "high_exact": float(high_exact),
    }


def weighted_mean_of(values: Float64Array, weight: Float64Array) -> Estimate:
    r"""Return the mean of independent values with weights of sum 1, and Student's error.

    Notes
    -----
    Let :math:`Q = \sum_i w_i^2`. The squared error, :math:`\sum_i w_i^2 (y_i - \bar y)^2 /
    (1 - 2 w_i + Q)`, is unbiased for values of equal variance. Its degrees of freedom are Kish's
    effective number of values, :math:`1/Q`, less one. With equal weights, this is `mean_of`.

    Examples
    --------
    >>> mean = weighted_mean_of(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.25, 0.25]))
    >>> mean.estimate, round(mean.se, 3), round(mean.df, 3)
    (1.75, 0.701, 1.667)
    """
    n, squares = values.size, float((weight**2).sum())
    mean, se = float(weight @ values), float("nan")
    if n > 1:
        each = (weight * (values - mean)) ** 2 / (1 - 2 * weight + squares)
        se = float(np.sqrt(each.sum()))
    if se <= ROUNDING * np.abs(values).max(initial=0):
        se = 0.0
    # Whole numbers of df come out a rounding apart, and callers ask whether there is one.
    return Estimate(mean, se, max(round(1 / squares - 1, 9), 0.0), n, n)


def upper_end(
    value: Float64Array, weight: Float64Array, over: Sequence[Estimate], alpha: float
) -> float:
    r"""Return the one-sided upper end of a mean difference of two shares.

    Parameters
    ----------
    value : ndarray, shape (n,)
        1 for a text that alone succeeds, -1 if its sham alone does, else 0.
    weight : ndarray, shape (n,)
        Weights of sum 1.
    over : sequence of Estimate
        The mean over scenarios and, if these are a sample too, over families.
    alpha : float

    Notes
    -----
    The largest of Student's ends and of Wilson's end with Student's quantile. Few successes show
    too little of the spread: if none is seen, it is zero. But a mean :math:`\pi` cannot have less
    than the variance :math:`\pi (1 - \pi) / n`. Here n is the number of independent texts that
    the squared error tells of, the variance of the texts over it. It is at most the (effective)
    number of texts, and at least that of scenarios or families, which counts if these do not
    differ.
    """
    mean, n = float(weight @ value), 1 / float((weight**2).sum())
    for each in over:
        told = 0.0 if each.exact else (float(weight @ value**2) - mean**2) / each.se**2
        n = min(n, max(told, each.df + 1))
    t = t_critical(1 - alpha, min(each.df for each in over))
    root = np.sqrt(max(mean * (1 - mean) / n + t**2 / (4 * n**2), 0.0))
    wilson = (mean + t**2 / (2 * n) + t * root) / (1 + t**2 / n)
    return float(np.max([wilson, *(each.ends(2 * alpha)[1] for each in over)]))


@dataclass(frozen=True)
class Share:
    r"""A share of texts, where texts of one scenario and models of one family are alike.

    Attributes
    ----------
    estimate : float
        The mean over families of the mean share of their models.
    over : tuple of Estimate
        The mean over scenarios and, for several models, over families, unless they are fixed.
    n_texts : float
        Kish's effective number of texts: as many with equal weights would have the same error.
    n_models, n_families : int
    scope : str

    Notes
    -----
    Student's t compares the share with a value :math:`\pi`, once for each possible standard error:
    that of the family means, that of the scenario means, and the binomial
    :math:`\sqrt{\pi (1 - \pi) / n}`, a floor for families that happen to agree. The largest p
    counts, and the interval contains every value that is not rejected. It is therefore the union of
    Student's intervals and Wilson's, with Student's quantile.

    References
    ----------
    Dean, N., Pagano, M. (2015). Evaluating confidence interval methods for binomial proportions in
    clustered surveys. Journal of Survey Statistics and Methodology 3, 484-503.
    Ibragimov, R., Mueller, U. K. (2010). t-statistic based correlation and heterogeneity robust
    inference. Journal of Business & Economic Statistics 28, 453-468.

    Examples
    --------
    >>> texts = pd.DataFrame({"family": list("aabbcc"), "scenario": list("xyxyxy")})
    >>> found = share_of(pd.Series([1, 1, 1, 0, 0, 0]), texts.assign(model=texts["family"]))
    >>> round(found.estimate, 3), [round(end, 3) for end in found.ends(0.05)]
    (0.5, [0.0, 1.0])
    >>> round(found.p_above(0.1), 3)
    0.15
    """

    estimate: float
    over: tuple[Estimate, ...]
    n_texts: float
    n_models: int
    n_families: int
    scope: Scope = LIKE_THESE

    @property
    def few(self) -> str:
        """A message if there are too few families to generalize; empty if models are fixed."""
        fixed = self.n_models < 2 or self.scope == THESE
        return "" if fixed else too_few(self.n_families)

    @property
    def _df(self) -> float:
        return min(each.df for each in self.over)

    def ends(self, alpha: float) -> tuple[float, float]:
        """Return the interval of level 1 - alpha; missing if there are too few families."""
        if self.few or self._df < 1:
            return float("nan"), float("nan")
        t = t_critical(1 - alpha / 2, self._df)
        p, n = self.estimate, self.n_texts
        reach = t * np.sqrt(p * (1 - p) / n + t**2 / (4 * n**2))
        ends = [(p + t**2 / (2 * n) + sign * reach) / (1 + t**2 / n) for sign in (-1, 1)]
        for each in self.over:
            reach = t_critical(1 - alpha / 2, each.df) * each.se
            ends += [p - reach, p + reach]
        return max(min(ends), 0.0), min(max(ends), 1.0)

    def p_above(self, value: float) -> float:
        """Return the one-sided p for a share above a value."""
        return self._p(self.estimate - value, value)

    def p_below(self, value: float) -> float:
        """Return the one-sided p for a share below a value."""
        return self._p(value - self.estimate, value)

    def _p(self, excess: float, value: float) -> float:
        if self.few or self._df < 1:
            return float("nan")
        errors = [(np.sqrt(value * (1 - value) / self.n_texts), self._df)]
        errors += [(each.se, each.df) for each in self.over if not each.exact]
        return max(float(t_above(excess / se, df)) for se, df in errors)


def share_of(hits: pd.Series, rows: pd.DataFrame, scope: Scope = LIKE_THESE) -> Share:
    """Estimate the share of texts with some property.

    Parameters
    ----------
    hits : Series
        Whether each text has it.
    rows : DataFrame
        The texts' scenario, model and family.
    scope : {"models like these", "these models"}
        With the models fixed, each has the same weight, and the scenarios are the sample.

    Returns
    -------
    Share
    """
    if scope == THESE:
        rows = rows.assign(family=rows["model"])
    value = hits.astype(float)
    weight = family_weights(rows)
    models = value.groupby([rows["family"], rows["model"]]).mean()
    values: Float64Array = np.asarray(models, dtype=np.float64)
    means = mean_over_families(values, models.index.get_level_values(0))
    weights = weight.groupby(rows["scenario"]).sum().to_numpy(dtype=np.float64)
    sums = (value * weight).groupby(rows["scenario"]).sum().to_numpy(dtype=np.float64)
    over = [weighted_mean_of(sums / weights, weights)]
    if len(models) > 1 and scope != THESE:
        over.append(means)
    n_texts = 1 / float((weight**2).sum())
    return Share(means.estimate, tuple(over), n_texts, len(models), means.n_families, scope)


def share_row(
    hits: pd.Series, rows: pd.DataFrame, alpha: float = 0.05, scope: Scope = LIKE_THESE
) -> dict[str, float]:
    """Return a share with its interval, by `share` for one model and by `Share` for several.

    Several models have no Clopper and Pearson interval, which treats texts as independent.
    """
    if rows["model"].nunique() < 2:
        return share(int(hits.sum()), len(hits), alpha)
    found = share_of(hits, rows, scope)
    low, high = found.ends(alpha)
    missing = float("nan")
    return {
        "estimate": found.estimate,
        "low": low,
        "high": high,
        "low_exact": missing,
        "high_exact": missing,
    }


def mean_share(hits: pd.Series, rows: pd.DataFrame) -> float:
    """Return a share of texts that weights families equally, and models within families."""
    weight = family_weights(rows).to_numpy(dtype=np.float64)
    return float(weight @ hits.to_numpy(dtype=np.float64))


def family_weights(rows: pd.DataFrame) -> pd.Series:
    """Return weights of texts, sum 1, that weight families equally, and models within families.

    Examples
    --------
    >>> family_weights(pd.DataFrame({"family": list("aab"), "model": list("xyz")})).tolist()
    [0.25, 0.25, 0.5]
    """
    texts = rows.groupby("model")["model"].transform("size")
    models = rows.groupby("family")["model"].transform("nunique")
    return 1 / (texts * models * rows["family"].nunique())
