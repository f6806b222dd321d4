"""The random-curve mixed model from per-model sums, many data sets at once.

The model, fitted by maximum likelihood:

    separation ~ method x (d + d^2) + family x (d + d^2) + (1 + d + d^2 | model) + (1 | emotion)

Its likelihood needs only the sums of the module `sums`. Thousands of bootstrap replicates can
therefore be drawn and fitted together.

The basis is (2d - 1, 6d^2 - 6d + 1, 1), the shifted Legendre polynomials with the constant last.
They are nearly orthogonal over depths in [0, 1] and span the same columns as (1, d, d^2), which
gives the same likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.over_models.optimize import Codes, minimize
from analysis.over_models.sums import CurveData
from study.arrays import Float64Array

#: Rows and columns of the six entries of a symmetric or lower triangular 3 x 3 matrix.
_ROW, _COLUMN = np.array([0, 1, 2, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 2])
#: How often each entry occurs in the full matrix, and where.
_TWICE = np.array([1.0, 2.0, 2.0, 1.0, 2.0, 1.0])
_SQUARE = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
#: A random direction whose SD is below this share of the curves' spread does not count.
_SINGULAR = 1e-3
#: A random term is kept if the p of its spread is at most this.
SHOWN = 0.2


class RandomPart(NamedTuple):
    """Random part of the model: its formula and the coordinates of the basis that it spans."""

    formula: str
    coordinates: list[int]


#: By the number of random terms per model.
RANDOM = {
    3: RandomPart("(1 + d + d^2 | model)", [0, 1, 2]),
    2: RandomPart("(1 + d | model)", [0, 2]),
    1: RandomPart("(1 | model)", [2]),
}


@dataclass(frozen=True)
class CurveFit:
    """Maximum-likelihood fits of the n data sets of a `CurveData`.

    Attributes
    ----------
    deviance : ndarray, shape (n,)
        -2 x log-likelihood.
    mean : ndarray, shape (n, n_models, 3)
        Fixed part of each model's curve, in `basis`, without the method's effect.
    residual_variance, emotion_variance : ndarray, shape (n,)
    curve_cov : ndarray, shape (n, 3, 3)
        Covariance of the models' random curves, in `basis`.
    rank : ndarray of int, shape (n,)
        Number of dimensions in which the random curves vary; below `n_random` the fit is singular.
    converged : ndarray of bool, shape (n,)
    """

    deviance: Float64Array
    mean: Float64Array
    residual_variance: Float64Array
    emotion_variance: Float64Array
    curve_cov: Float64Array
    rank: NDArray[np.int64]
    converged: NDArray[np.bool_]


def fit_curve_model(
    data: CurveData, shared_shape: bool, tol: float = 1e-6, n_random: int = 3
) -> CurveFit:
    """Fit the mixed model to every data set.

    Parameters
    ----------
    data : CurveData
    shared_shape : bool
        True: groups differ in level and share the shape (the null hypothesis). False: each group
        has its own curve.
    tol : float
        Largest gradient entry of the deviance, over scaled parameters, at convergence.
    n_random : {3, 2, 1}
        Number of random terms per model, a key of `RANDOM`.

    Returns
    -------
    CurveFit

    Notes
    -----
    With V_m = spread_m + G / s2 and the groups' curves at their generalized least-squares values,
    -2 log L = N log(2 pi s2) + sum_m log|V_m| / |spread_m| + log(1 + w c) + (E - 1) log(1 + w N0)
    + [rss + sum_m r_m' V_m^-1 r_m + emotion_ss / (1 + w N0)] / s2, where w is the emotions'
    variance over s2, N0 the number of cells, and c = sum_m (V_m^-1)_const,const / E. s2 is
    profiled out, G = s2 A L L' A' with L lower triangular (A scales the random terms), and all
    data sets are minimized at once by a quasi-Newton method with the analytic gradient. Emotions
    add only these two terms because the shared intercept is in the fixed part [1]_.

    References
    ----------
    .. [1] Rao, C. R. (1967). Least squares theory using an estimated dispersion matrix. Proc. 5th
       Berkeley Symposium, 1, 355-372.
    """
    scale, start_ratio = _scales(data)
    unit = np.linalg.inv(scale)
    white = replace(data, coef=data.coef @ unit.T, spread=unit @ data.spread @ unit.T)
    ratio = max(start_ratio, 1 / data.n_cells) if data.n_emotions > 1 else 0.0
    alike = _alike(white)
    level = 1 / scale[2, 2] ** 2
    terms = RANDOM[n_random].coordinates
    own = unit[:, terms] @ np.linalg.cholesky((scale @ scale.T)[np.ix_(terms, terms)])
    row, column = np.tril_indices(n_random)
    # Entry k of L adds its coefficient times factors[k] to the factor A L.
    factors = own.T[row][:, :, None] * np.eye(n_random)[column][:, None, :]

    def objective(x: Float64Array, rows: Codes) -> tuple[Float64Array, Float64Array]:
        return _deviance(x, white, alike, rows, shared_shape, factors, ratio, level)[:2]

    start = np.append(0.7 * (row == column), 1.0)[: len(row) + (ratio > 0)]
    x, converged = minimize(objective, np.tile(start, (len(data.rss), 1)), tol)
    rows = np.arange(len(x))
    deviance, _, beta, s2 = _deviance(x, white, alike, rows, shared_shape, factors, ratio, level)
    factor = np.tensordot(x[:, : len(row)], factors, 1)
    rank = (np.linalg.svd(factor, compute_uv=False) > _SINGULAR).sum(axis=1)
    factor = scale @ factor
    emotion = s2 * ratio * x[:, -1] ** 2 if ratio else np.zeros(len(x))
    constant = float(np.linalg.slogdet(white.spread)[1].sum())
    mean = beta[:, :, data.group].transpose(1, 2, 0) @ scale.T
    return CurveFit(
        deviance - constant,
        mean,
        s2,
        emotion,
        s2[:, None, None] * factor @ factor.transpose(0, 2, 1),
        rank.astype(np.int64),
        converged,
    )


def draw(data: CurveData, fit: CurveFit, n: int, rng: np.random.Generator) -> CurveData:
    """Draw n data sets from the first fit: a parametric bootstrap of the sums, not the rows."""
    s2 = float(fit.residual_variance[0])
    root = np.linalg.cholesky(s2 * data.spread + fit.curve_cov[0])
    noise = rng.standard_normal((n, len(data.models), 3, 1))
    emotion = s2 + data.n_cells * float(fit.emotion_variance[0])
    return replace(
        data,
        coef=fit.mean[:1] + (root @ noise)[..., 0],
        rss=s2 * rng.chisquare(data.rss_df, n),
        emotion_ss=emotion * rng.chisquare(data.n_emotions - 1, n)
        if data.n_emotions > 1
        else np.zeros(n),
    )


def unbiased(data: CurveData, null: CurveFit, n_random: int = 3) -> CurveFit:
    """Correct the null fit's curve covariance for the degrees of freedom that its means use.

    Maximum likelihood divides sums of squares by the number of models M. The shape has M - 1
    degrees of freedom; the level, which has a mean in each of G groups and two slopes on the shape,
    has M - G - 2. With nine models in five families the level's variance given the shape is
    estimated at 2/9 of its size, often at 0, and data drawn from it look too regular.
    """
    n_models = len(data.models)
    noise = float(null.residual_variance[0]) * data.spread.mean(axis=0)
    total = null.curve_cov[0] + noise
    slope = np.linalg.solve(total[:2, :2], total[:2, 2])
    rest = total[2, 2] - slope @ total[:2, 2]
    shape = total[:2, :2] * n_models / (n_models - 1)
    rest *= n_models / max(n_models - len(data.groups) - 2, 1)
    cross = shape @ slope
    total = np.block([[shape, cross[:, None]], [cross[None], rest + slope @ cross]])
    value, vector = np.linalg.eigh(total - noise)
    cov = (vector * np.maximum(value, 0)) @ vector.T
    kept = np.isin(np.arange(3), RANDOM[n_random].coordinates)
    return replace(null, curve_cov=(cov * np.outer(kept, kept))[None])


def likelihood_ratio(
    data: CurveData, tol: float = 1e-6, n_random: int = 3
) -> tuple[Float64Array, CurveFit, CurveFit]:
    """Likelihood ratio of group x curve, with the fits of the null and of the alternative."""
    null = fit_curve_model(data, True, tol, n_random)
    full = fit_curve_model(data, False, tol, n_random)
    return np.maximum(null.deviance - full.deviance, 0.0), null, full


def fall_back(
    data: CurveData, shown: float = SHOWN
) -> tuple[int, str, Float64Array, CurveFit, CurveFit]:
    """Likelihood ratio, with fewer random terms if the null fit is singular.

    d^2 is dropped first, then d; the intercept stays. Both hypotheses keep the same random part. A
    term whose spread between models is shown stays even if the fit is singular.

    Parameters
    ----------
    data : CurveData
    shown : float
        A spread is shown if its p is at most this: 0 drops a term at every singular fit, 1 at none.

    Returns
    -------
    n_random : int
    note : str
        What was dropped or kept, and why; empty if the first fit is not singular.
    lr, null, full
        As from `likelihood_ratio`.

    Notes
    -----
    A singular covariance does not mean that d^2 has no spread: with few models the estimate is
    often singular because two terms are perfectly correlated. Dropping d^2 then adds its spread to
    the difference between families. A term is therefore dropped only if the data do not reject
    that, by the likelihood ratio of the null fits and the even mixture of chi-squares with k - 1
    and k degrees of freedom, k being the number of terms before [1]_. The level is lenient:
    dropping a term wrongly costs false differences, keeping one wrongly costs only power [2]_.
    The benchmark ``calibration_invariance.py`` counts both, also for the rules
    "drop at every singular fit" and "never drop".

    References
    ----------
    .. [1] Stram, D. O., Lee, J. W. (1994). Variance components testing in the longitudinal mixed
       effects model. Biometrics, 50, 1171-1177.
    .. [2] Matuschek, H., Kliegl, R., Vasishth, S., Baayen, H., Bates, D. (2017). Balancing type I
       error and power in linear mixed models. J. Mem. Lang., 94, 305-315.
    """
    n_random, note = max(RANDOM), ""
    lr, null, full = likelihood_ratio(data)
    while null.rank[0] < n_random and n_random > 1:
        fewer = likelihood_ratio(data, n_random=n_random - 1)
        loss = max(float(fewer[1].deviance[0] - null.deviance[0]), 0.0)
        p = float(stats.chi2.sf(loss, [n_random - 1, n_random]).mean())
        if p <= shown:
            note += (
                f"; the covariance of {RANDOM[n_random].formula} is singular, but all terms are "
                f"kept because fewer fit worse (p = {p:.2g})"
            )
            break
        n_random -= 1
        lr, null, full = fewer
        note = (
            f"; the covariance of {RANDOM[max(RANDOM)].formula} is singular: both "
            f"hypotheses are fitted and bootstrapped with {RANDOM[n_random].formula}"
        )
    return n_random, note, lr, null, full


def _scales(data: CurveData) -> tuple[Float64Array, float]:
    """Lower factor of the curves' spread about group means over s2, and emotions' share.

    Lower triangular with the constant last: in the scaled basis, a shift in level still changes
    only the last coordinate.
    """
    s2 = float(np.mean(data.rss)) / data.rss_df
    onehot = np.eye(len(data.groups))[data.group]
    means = np.einsum("mg,nmk->ngk", onehot / onehot.sum(axis=0), data.coef)
    means[..., :2] = data.coef[..., :2].mean(axis=1, keepdims=True)
    residual = data.coef - means[:, data.group]
    cov = np.einsum("nmi,nmj->ij", residual, residual) / residual[..., 0].size / s2
    share = float(np.mean(data.emotion_ss)) / max(data.n_emotions - 1, 1) / s2 / data.n_cells
    return np.linalg.cholesky(cov + data.spread.mean(axis=0)), share


def _inverse(v: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Inverse and determinant of symmetric 3 x 3 matrices, entries along the first axis."""
    a, b, c, d, e, f = v
    adjugate = np.stack(
        [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b]
    )
    det = a * adjugate[0] + b * adjugate[1] + c * adjugate[2]
    return adjugate / det, det


def _times(p: Float64Array, x: Float64Array) -> Float64Array:
    """Symmetric matrix (6, ...) times vector (3, ...)."""
    return np.stack(
        [
            p[0] * x[0] + p[1] * x[1] + p[2] * x[2],
            p[1] * x[0] + p[3] * x[1] + p[4] * x[2],
            p[2] * x[0] + p[4] * x[1] + p[5] * x[2],
        ]
    )


@dataclass(frozen=True)
class _Alike:
    """Models of one group with the same layers: the likelihood needs only their sums.

    Attributes
    ----------
    count, group : ndarray, shape (n_kinds,)
    spread : ndarray, shape (6, n_kinds)
    mean : ndarray, shape (3, n, n_kinds)
        Of their coefficients.
    scatter : ndarray, shape (6, n, n_kinds), or None
        Sums of squares and products about the mean; None if all models differ in group or layers.
    """

    count: Float64Array
    group: Codes
    spread: Float64Array
    mean: Float64Array
    scatter: Float64Array | None


def _alike(data: CurveData) -> _Alike:
    """Merge models that have the same group and the same spread."""
    keys = np.column_stack([data.group, data.spread.reshape(len(data.models), 9)])
    _, first, kind = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    count = np.bincount(kind).astype(np.float64)
    coef = data.coef.transpose(2, 0, 1)
    spread = data.spread[first][:, _COLUMN, _ROW].T
    if count.max() == 1:
        return _Alike(count, data.group[first], spread, coef[:, :, first], None)
    onehot = np.eye(count.size)[kind]
    mean = coef @ (onehot / count)
    # One entry at a time: the products of all models at once would be the largest array of the fit.
    about = coef - mean[:, :, kind]
    scatter = np.stack([(about[i] * about[j]) @ onehot for i, j in zip(_ROW, _COLUMN, strict=True)])
    return _Alike(count, data.group[first], spread, mean, scatter)


def _sandwich(p: Float64Array, x: Float64Array) -> Float64Array:
    """P X P of symmetric 3 x 3 matrices, entries along the first axis."""
    px = np.stack([_times(p, x[column]) for column in _SQUARE])
    both: Float64Array = np.stack([_times(p, row) for row in px.swapaxes(0, 1)])
    return np.asarray(both[_ROW, _COLUMN])


def _deviance(
    x: Float64Array,
    data: CurveData,
    alike: _Alike,
    rows: Codes,
    shared_shape: bool,
    factors: Float64Array,
    ratio: float,
    level: float,
) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
    """Deviance without its constant, gradient, groups' curves (3, n, n_groups) and s2.

    The parameters x have the shape (n, k or k + 1). `factors`, shape (k, 3, n_random), converts
    them into the factor of G over s2; `level` converts the last entry of the scaled V^-1 into that
    of the constant.
    """
    factor = np.tensordot(x[:, : len(factors)], factors, 1)
    random = (factor @ factor.transpose(0, 2, 1))[:, _ROW, _COLUMN].T
    p, det = _inverse(alike.spread[:, None, :] + random[:, :, None])
    count = alike.count
    coef = alike.mean[:, rows]
    onehot = count[:, None] * np.eye(len(data.groups))[alike.group]
    s, t = p @ onehot, _times(p, coef) @ onehot
    if shared_shape:
        # Eliminate each group's level, then solve the 2 x 2 system of the shared shape.
        a = (s[0] - s[2] ** 2 / s[5]).sum(axis=1)
        b = (s[1] - s[2] * s[4] / s[5]).sum(axis=1)
        c = (s[3] - s[4] ** 2 / s[5]).sum(axis=1)
        u = (t[0] - s[2] * t[2] / s[5]).sum(axis=1)
        v = (t[1] - s[4] * t[2] / s[5]).sum(axis=1)
        first, second = (c * u - b * v) / (a * c - b * b), (a * v - b * u) / (a * c - b * b)
        levels = (t[2] - s[2] * first[:, None] - s[4] * second[:, None]) / s[5]
        shape = np.broadcast_to(np.stack([first, second])[:, :, None], (2, *levels.shape))
        beta = np.concatenate([shape, levels[None]])
    else:
        beta = _times(_inverse(s)[0], t)
    residual = coef - beta[:, :, alike.group]
    q = _times(p, residual)
    total = data.rss[rows] + (q * residual).sum(axis=0) @ count
    deviance = np.log(det) @ count
    gradient = np.empty_like(x)
    outer, squares = p @ count, (q[_ROW] * q[_COLUMN]) @ count
    if alike.scatter is not None:
        scatter = alike.scatter[:, rows]
        total = total + (_TWICE[:, None, None] * p * scatter).sum(axis=(0, 2))
        squares = squares + _sandwich(p, scatter).sum(axis=2)
    if ratio:
        w = ratio * x[:, -1] ** 2
        of_mean, of_rest = level / data.n_emotions * (p[5] @ count), 1 + data.n_cells * w
        between = data.emotion_ss[rows] / of_rest
        total = total + between
        deviance += np.log1p(w * of_mean) + (data.n_emotions - 1) * np.log(of_rest)
    s2 = total / data.n_rows
    deviance += data.n_rows * (np.log(2 * np.pi * s2) + 1)
    outer = outer - squares / s2
    if ratio:
        last = p[[2, 4, 5]]
        pull = w * level / data.n_emotions / (1 + w * of_mean)
        outer = outer - pull * ((last[_ROW] * last[_COLUMN]) @ count)
        slope = of_mean / (1 + w * of_mean)
        slope += data.n_cells / of_rest * (data.n_emotions - 1 - between / s2)
        gradient[:, -1] = slope * 2 * ratio * x[:, -1]
    pull_back = outer[_SQUARE].transpose(2, 0, 1) @ factor
    gradient[:, : len(factors)] = 2 * np.tensordot(pull_back, factors, ([1, 2], [1, 2]))
    return deviance, gradient, beta, s2
