"""Inference over models nested in families.

Models of a family are alike: they share data, tokenizer and design. A mean over models is
therefore less certain than the number of models suggests, and the family is the unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from study.arrays import Float64Array

#: Fewer families decide nothing: one or two cannot show how much families differ.
MIN_FAMILIES = 3
#: A spread below this share of the values counts as rounding.
ROUNDING = 1e-12


def t_critical(level: float, df: float) -> float:
    """Return the quantile of Student's t; `scipy.stats` does the same, but more slowly.

    Examples
    --------
    >>> round(t_critical(0.975, 4), 3)
    2.776
    """
    return float(special.stdtrit(df, level))


def t_above(t: Float64Array | float, df: Float64Array | float) -> Float64Array:
    """Return the probability that Student's t exceeds t.

    Examples
    --------
    >>> t_above(np.array([0.0, 2.776]), 4).round(3)
    array([0.5  , 0.025])
    """
    return np.asarray(special.stdtr(df, -np.asarray(t)))


@dataclass(frozen=True)
class Estimate:
    """An estimate with Student's t for its error.

    Attributes
    ----------
    estimate, se, df : float
        `se` is NaN if there is nothing to estimate it from.
    n, n_families : int
        The number of values, and of the families (or other units) behind the inference.

    Examples
    --------
    >>> mean = Estimate(0.5, 0.02, 4.0, 9, 5)
    >>> [round(float(end), 3) for end in mean.ends(0.05)]
    [0.444, 0.556]
    >>> round(mean.p(), 6), round(mean.p_within(0.4, 0.6), 4)
    (1.5e-05, 0.0037)
    """

    estimate: float
    se: float
    df: float
    n: int
    n_families: int

    @property
    def exact(self) -> bool:
        """Whether the values do not differ, which leaves no error to test against."""
        return not self.se > 0

    def ends(self, alpha: float) -> tuple[float, float]:
        """Return the two-sided interval of level 1 - alpha."""
        reach = t_critical(1 - alpha / 2, self.df) * self.se
        return self.estimate - reach, self.estimate + reach

    def p(self, null: float = 0.0) -> float:
        """Return the two-sided p of a null value."""
        return 2 * self._p(abs(self.estimate - null))

    def p_above(self, null: float = 0.0) -> float:
        """Return the one-sided p for a truth above the null value."""
        return self._p(self.estimate - null)

    def p_below(self, null: float = 0.0) -> float:
        """Return the one-sided p for a truth below the null value."""
        return self._p(null - self.estimate)

    def _p(self, excess: float) -> float:
        """Return the probability of at least this distance by chance; NaN without an error."""
        return float("nan") if self.exact else float(t_above(excess / self.se, self.df))

    def p_within(self, low: float, high: float) -> float:
        """Return the p of equivalence: the larger of two one-sided p."""
        return max(self.p_above(low), self.p_below(high))

    def columns(self, alpha: float) -> dict[str, Any]:
        """Return estimate, low, high, p, df, n_models and n_families as columns of a result."""
        low, high = self.ends(alpha)
        return {
            "estimate": self.estimate,
            "low": low,
            "high": high,
            "p": self.p(),
            "df": self.df,
            "n_models": self.n,
            "n_families": self.n_families,
        }


def mean_of(values: Float64Array) -> Estimate:
    """Return the mean of independent values with Student's error.

    Examples
    --------
    >>> mean = mean_of(np.array([1.0, 2.0, 3.0]))
    >>> mean.estimate, round(mean.se, 3), mean.df
    (2.0, 0.577, 2.0)
    """
    n = values.size
    mean = float(values.mean()) if n else float("nan")
    se = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    if se <= ROUNDING * np.abs(values).max(initial=0):
        se = 0.0
    return Estimate(mean, se, max(n - 1.0, 0.0), n, n)


def family_means(values: Float64Array, family: Iterable[Any]) -> Float64Array:
    """Average the rows of each family.

    Parameters
    ----------
    values : ndarray, shape (n_models,) or (n_models, k)
    family : iterable, length n_models

    Returns
    -------
    ndarray, shape (n_families,) or (n_families, k)
        Families sorted by name.

    Examples
    --------
    >>> family_means(np.array([0.1, 0.3, 0.5]), ["a", "a", "b"])
    array([0.2, 0.5])
    """
    if not len(values):
        return values
    _, code = np.unique(np.array(list(family)).astype(str), return_inverse=True)
    onehot = np.eye(code.max() + 1)[code]
    return np.asarray((onehot / onehot.sum(axis=0)).T @ values)


def mean_over_families(values: Float64Array, family: Iterable[Any]) -> Estimate:
    r"""Return the mean over families, with the family as the unit of inference.

    Parameters
    ----------
    values : ndarray, shape (n_models,)
    family : iterable, length n_models

    Returns
    -------
    Estimate
        The mean of the family means with its standard error; one degree of freedom fewer than
        there are families.

    Notes
    -----
    Let :math:`\bar y_f` be the mean of family f of F. The estimate is the mean of these, and its
    squared error is :math:`\sum_f (\bar y_f - \bar y)^2 / F (F - 1)`. The family means are
    independent, but their variances differ with the number of models. The squared error is
    unbiased all the same, and t is conservative at levels up to 8% for any variances [1]_ [2]_.
    With equally weighted families this is the cluster-robust CR2 with its Satterthwaite degrees of
    freedom [3]_. If families share nothing, it costs power (degrees of freedom), never validity.

    References
    ----------
    .. [1] Bakirov, N. K., Szekely, G. J. (2006). Student's t-test for Gaussian scale mixtures.
       Journal of Mathematical Sciences, 139, 6497-6505.
    .. [2] Ibragimov, R., Mueller, U. K. (2010). t-statistic based correlation and heterogeneity
       robust inference. Journal of Business & Economic Statistics, 28, 453-468.
    .. [3] Pustejovsky, J. E., Tipton, E. (2018). Small-sample methods for cluster-robust variance
       estimation and hypothesis testing in fixed effects models. Journal of Business & Economic
       Statistics, 36, 672-683.

    Examples
    --------
    >>> alike = mean_over_families(np.array([0.1, 0.12, 0.5, 0.52, 0.3]), list("aabbc"))
    >>> round(alike.estimate, 3), round(alike.se, 3), alike.df, alike.n_families
    (0.307, 0.116, 2.0, 3)
    """
    means = mean_of(family_means(values, family))
    return Estimate(means.estimate, means.se, means.df, values.size, means.n)


def skew_corrected(values: Float64Array, alpha: float) -> tuple[float, float, float]:
    r"""Return an interval for the mean of skewed independent values, and the p of mean 0.

    Parameters
    ----------
    values : ndarray, shape (n,)
        At least three distinct values.
    alpha : float

    Returns
    -------
    low, high, p : float

    Notes
    -----
    Hall's cubic transformation removes the skewness g from :math:`T = (\bar y - \mu)/s`:
    :math:`\sqrt n (T + g T^2 / 3 + g^2 T^3 / 27 + g / 6n)` is compared with Student's t with
    n - 1 degrees of freedom.

    References
    ----------
    Hall, P. (1992). On the removal of skewness by transformation. Journal of the Royal
    Statistical Society B, 54, 221-228.

    Examples
    --------
    >>> low, high, p = skew_corrected(np.array([0.1, 0.2, 0.2, 0.3, 1.2]), 0.05)
    >>> round(low, 2), round(high, 2), round(p, 3)
    (0.06, 2.07, 0.025)
    """
    n, mean, sd = values.size, float(values.mean()), float(values.std())
    skew = float(((values - mean) ** 3).mean()) / sd**3
    ratio = mean / sd
    root = np.sqrt(n)
    z = root * (ratio + skew * ratio**2 / 3 + skew**2 * ratio**3 / 27 + skew / (6 * n))
    reach = t_critical(1 - alpha / 2, n - 1)
    ends = []
    for q in (reach, -reach):
        bent = q / root - skew / (6 * n)
        # The inverse of the cubic; it approaches the identity as skewness vanishes.
        t = 3 / skew * (np.cbrt(1 + skew * bent) - 1) if abs(skew) > 1e-8 else bent
        ends.append(mean - sd * float(t))
    return ends[0], ends[1], float(2 * t_above(abs(z), n - 1))


def too_few(n_families: int, what: str = "models") -> str:
    """Return a message if there are too few families to decide; empty if there are enough.

    Examples
    --------
    >>> too_few(2)
    'the models belong to two families; at least three are needed'
    >>> too_few(5)
    ''
    """
    if n_families >= MIN_FAMILIES:
        return ""
    number = {0: "no family", 1: "one family", 2: "two families"}[n_families]
    return f"the {what} belong to {number}; at least three are needed"


def regression_over_families(
    y: Float64Array, x: Float64Array, family: Iterable[Any], cov: Float64Array
) -> list[Estimate]:
    r"""Regress on moderators by generalized least squares, with cluster-robust errors.

    Parameters
    ----------
    y : ndarray, shape (n,)
    x : ndarray, shape (n, p)
        Moderators, including the constant.
    family : iterable, length n
    cov : ndarray, shape (n, n)
        Working covariance of y, zero between families. In large samples the errors are right for
        any choice; in small samples they are unbiased if it is right up to a factor.

    Returns
    -------
    list of Estimate
        One per column of x. The degrees of freedom are NaN if no family informs the coefficient.

    Notes
    -----
    Bell and McCaffrey's CR2 [1]_ multiplies the residuals of family f by

    .. math:: A_f = D_f' B_f^{+1/2} D_f, \quad
              B_f = D_f (\Phi_f - X_f M X_f') D_f', \quad \Phi_f = D_f' D_f,

    with :math:`M = (X'\Phi^{-1}X)^{-1}`. The variance of each coefficient is then unbiased under
    the working covariance; its degrees of freedom are Satterthwaite's [2]_.

    References
    ----------
    .. [1] Bell, R. M., McCaffrey, D. F. (2002). Bias reduction in standard errors for linear
       regression with multi-stage samples. Survey Methodology, 28, 169-181.
    .. [2] Pustejovsky, J. E., Tipton, E. (2018). Small-sample methods for cluster-robust variance
       estimation and hypothesis testing in fixed effects models. Journal of Business & Economic
       Statistics, 36, 672-683.

    Examples
    --------
    >>> x = np.column_stack([np.ones(6), [0, 1, 0, 1, 0, 1]])
    >>> y = np.array([0.1, 0.3, 0.2, 0.5, 0.3, 0.4])
    >>> slope = regression_over_families(y, x, list("aabbcc"), np.eye(6))[1]
    >>> round(slope.estimate, 3), round(slope.se, 4), round(slope.df, 3)
    (0.2, 0.0577, 2.0)
    """
    names, code = np.unique(np.array(list(family)).astype(str), return_inverse=True)
    members = [np.flatnonzero(code == f) for f in range(len(names))]
    weight = np.linalg.inv(cov)
    bread = np.linalg.inv(x.T @ weight @ x)
    coef = bread @ (x.T @ weight @ y)
    residual = y - x @ coef
    p = x.shape[1]
    scores = np.empty((len(names), p))
    # own: each family's map from its residuals to its adjusted score, shape (n_f, p).
    own, onto = [], np.empty((len(names), p, p))
    for f, rows in enumerate(members):
        phi, x_f = cov[np.ix_(rows, rows)], x[rows]
        root = np.linalg.cholesky(phi).T
        inner = root @ (phi - x_f @ bread @ x_f.T) @ root.T
        adjust = root.T @ _inverse_root(inner) @ root
        take = adjust @ np.linalg.inv(phi) @ x_f @ bread
        scores[f] = take.T @ residual[rows]
        own.append(take)
        onto[f] = take.T @ x_f
    out = []
    for k in range(p):
        # Covariances of the families' scores under the working model.
        gram = -onto[:, k] @ bread @ onto[:, k].T
        gram[np.diag_indices(len(names))] += [
            float(take[:, k] @ cov[np.ix_(rows, rows)] @ take[:, k])
            for take, rows in zip(own, members, strict=True)
        ]
        total = float((gram**2).sum())
        df = float(np.trace(gram)) ** 2 / total if total > 0 else float("nan")
        # Whole numbers of df come out a rounding apart, and callers ask whether there is one.
        df = round(df, 9)
        se = float(np.sqrt((scores[:, k] ** 2).sum()))
        out.append(Estimate(float(coef[k]), se, df, y.size, len(names)))
    return out


def _inverse_root(matrix: Float64Array) -> Float64Array:
    """Return the symmetric square root of the Moore-Penrose inverse."""
    value, vector = np.linalg.eigh(matrix)
    kept = value > 1e-10 * max(float(value.max()), 0.0)
    scaled = np.where(kept, 1 / np.sqrt(np.where(kept, value, 1.0)), 0.0)
    return np.asarray((vector * scaled) @ vector.T)


def meta_regression(
    y: Float64Array, variance: Float64Array, x: Float64Array, group: NDArray[np.int64] | None = None
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Fit a random-effects meta-regression: coefficients, Knapp-Hartung standard errors, tau^2.

    Parameters
    ----------
    y, variance : ndarray, shape (n,)
        Estimates and their sampling variances.
    x : ndarray, shape (n, p)
        Moderators, including the constant.
    group : ndarray of int, shape (n,), optional
        Groups, each with its own random effect.

    Returns
    -------
    coef, se : ndarray, shape (p,)
    tau2 : ndarray, shape (2,)
        Variances between estimates and between groups, by restricted maximum likelihood. The
        second is 0 without groups, with a single group, or if every group has one estimate.

    Examples
    --------
    >>> coef, se, tau2 = meta_regression(
    ...     np.array([1.0, 2.0, 4.0]), np.full(3, 0.1), np.ones((3, 1))
    ... )
    >>> coef.round(3), tau2.round(3)
    (array([2.333]), array([2.233, 0.   ]))
    """
    onehot = np.eye(int(group.max()) + 1)[group] if group is not None else np.zeros((len(y), 0))
    if not 1 < onehot.shape[1] < len(y):
        onehot = onehot[:, :0]
    df = len(y) - x.shape[1]
    ordinary: Float64Array = np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], dtype=np.float64)
    spread = float(((y - x @ ordinary) ** 2).sum()) / df
    if spread == 0:
        return ordinary, np.zeros_like(ordinary), np.zeros(2)
    size = spread + float(variance.mean())

    def solve(tau: Float64Array) -> tuple[Float64Array, Float64Array, float, float]:
        """Solve by sums over the groups, at standard deviations tau in units of sqrt(size)."""
        own = np.maximum(variance + size * tau[0] ** 2, 1e-12 * size)
        weight = 1 / own
        total = weight @ onehot
        shrink = size * tau[1] ** 2 / (1 + size * tau[1] ** 2 * total)

        def product(a: Float64Array, b: Float64Array) -> Float64Array:
            part = (a.T * weight) @ onehot
            return np.asarray((a.T * weight) @ b - (part * shrink) @ ((b.T * weight) @ onehot).T)

        bread: Float64Array = np.asarray(np.linalg.inv(product(x, x)), dtype=np.float64)
        coef: Float64Array = bread @ product(x, y[:, None])[:, 0]
        residual = (y - x @ coef)[:, None]
        quadratic = float(product(residual, residual)[0, 0])
        log_det = float(np.log(own).sum() + np.log1p(size * tau[1] ** 2 * total).sum())
        return coef, bread, quadratic, log_det

    def restricted(tau: Float64Array) -> float:
        _, bread, quadratic, log_det = solve(tau)
        return log_det - float(np.linalg.slogdet(bread)[1]) + quadratic

    # The criterion may have local minima, so search a grid before refining.
    grid = np.concatenate([[0.0], np.geomspace(0.03, 5, 12)])
    of_groups = grid if onehot.shape[1] else grid[:1]
    start = min((np.array([a, b]) for a in grid for b in of_groups), key=restricted)
    free = 2 if onehot.shape[1] else 1
    polished = optimize.minimize(
        lambda tau: restricted(np.append(tau, 0.0)[:2]),
        start[:free],
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-11, "initial_simplex": _simplex(start[:free])},
    )
    tau = np.append(polished.x, 0.0)[:2]
    coef, bread, quadratic, _ = solve(tau)
    return coef, np.sqrt(quadratic / df * np.diag(bread)), size * tau**2


def _simplex(start: Float64Array) -> Float64Array:
    """Return the first simplex: the start, and one step along each axis."""
    return np.vstack([start, start + np.diag(0.2 * start + 0.02)])
