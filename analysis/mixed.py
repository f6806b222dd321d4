"""The random-curve mixed model from per-model sums, many data sets at once.

The model, fitted by maximum likelihood:

    separation ~ method x (d + d^2) + family x (d + d^2) + (1 + d + d^2 | model) + (1 | emotion)

Its likelihood needs only the sums of `analysis.sums`, so that thousands of bootstrap replicates are
drawn and fitted together.

The basis is (2d - 1, 6d^2 - 6d + 1, 1), the shifted Legendre polynomials with the constant last:
near orthogonal over depths in [0, 1], with the same column space as (1, d, d^2), hence the same
likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.optimise import Codes, minimise
from analysis.scores import Array
from analysis.sums import CurveData

#: Rows and columns of the six entries of a symmetric, and of a lower triangular, 3 x 3 matrix.
_ROW, _COLUMN = np.array([0, 1, 2, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 2])
#: A random direction whose SD is below this part of the curves' spread is none.
_SINGULAR = 1e-3


@dataclass(frozen=True)
class CurveFit:
    """Maximum-likelihood fits of the n data sets of a `CurveData`.

    Attributes
    ----------
    deviance : ndarray, shape (n,)
        -2 x log-likelihood.
    mean : ndarray, shape (n, n_models, 3)
        Fixed part of each model's curve, in `basis`, without the method's part.
    residual_variance, emotion_variance : ndarray, shape (n,)
    curve_cov : ndarray, shape (n, 3, 3)
        Covariance of the models' random curves, in `basis`.
    rank : ndarray of int, shape (n,)
        Number of random terms that the data support, of 3.
    converged : ndarray of bool, shape (n,)
    """

    deviance: Array
    mean: Array
    residual_variance: Array
    emotion_variance: Array
    curve_cov: Array
    rank: NDArray[np.int64]
    converged: NDArray[np.bool_]


def fit_curve_model(data: CurveData, shared_shape: bool, tol: float = 1e-6) -> CurveFit:
    """Fit the mixed model to every data set.

    Parameters
    ----------
    data : CurveData
    shared_shape : bool
        True: groups differ in level and share the shape (the null). False: each group has its own
        curve.
    tol : float
        Largest gradient entry of the deviance, over scaled parameters, at convergence.

    Returns
    -------
    CurveFit

    Notes
    -----
    With V_m = spread_m + G / s2 and the groups' curves at their generalised least-squares values,
    -2 log L = N log(2 pi s2) + sum_m log|V_m| / |spread_m| + log(1 + w c) + (E - 1) log(1 + w N0)
    + [rss + sum_m r_m' V_m^-1 r_m + emotion_ss / (1 + w N0)] / s2, where w is the emotions'
    variance over s2, N0 the number of cells, and c = sum_m (V_m^-1)_const,const / E. s2 is
    profiled out, G = s2 L L' with L lower triangular, and all data sets are minimised at once by
    a quasi-Newton method with the analytic gradient. That emotions add no more than these two
    terms holds because the shared intercept is in the fixed part [1]_.

    References
    ----------
    .. [1] Rao, C. R. (1967). Least squares theory using an estimated dispersion matrix. Proc. 5th
       Berkeley Symposium, 1, 355-372.
    """
    scale, start_ratio = _scales(data)
    unit = np.linalg.inv(scale)
    white = replace(data, coef=data.coef @ unit.T, spread=unit @ data.spread @ unit.T)
    ratio = max(start_ratio, 1 / data.n_cells) if data.n_emotions > 1 else 0.0

    def objective(x: Array, rows: Codes) -> tuple[Array, Array]:
        return _deviance(x, white, rows, shared_shape, ratio, 1 / scale[2, 2] ** 2)[:2]

    start = np.array([0.7, 0.0, 0.0, 0.7, 0.0, 0.7, 1.0])[: 7 if ratio else 6]
    x, converged = minimise(objective, np.tile(start, (len(data.rss), 1)), tol)
    rows = np.arange(len(x))
    deviance, _, mean, s2 = _deviance(x, white, rows, shared_shape, ratio, 1 / scale[2, 2] ** 2)
    factor = np.zeros((len(x), 3, 3))
    factor[:, _ROW, _COLUMN] = x[:, :6]
    rank = (np.linalg.svd(factor, compute_uv=False) > _SINGULAR).sum(axis=1)
    factor = scale @ factor
    emotion = s2 * ratio * x[:, 6] ** 2 if ratio else np.zeros(len(x))
    constant = float(np.linalg.slogdet(white.spread)[1].sum())
    return CurveFit(
        deviance - constant, mean @ scale.T, s2, emotion,
        s2[:, None, None] * factor @ factor.transpose(0, 2, 1), rank.astype(np.int64), converged,
    )  # fmt: skip


def draw(data: CurveData, fit: CurveFit, n: int, rng: np.random.Generator) -> CurveData:
    """Draw n data sets from the first fit: a parametric bootstrap of the sums, not of the rows."""
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


def unbiased(data: CurveData, null: CurveFit) -> CurveFit:
    """Correct the null fit's curve covariance for the degrees of freedom that its means used up.

    Maximum likelihood divides by the number of models M what the shape leaves M - 1 degrees of
    freedom for, and the level, which has a mean in each of G groups and two slopes on the shape,
    M - G - 2. With nine models in five families the level's variance given the shape comes out at
    2/9 of its size, often at 0, and data drawn from it look too regular.
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
    return replace(null, curve_cov=((vector * np.maximum(value, 0)) @ vector.T)[None])


def likelihood_ratio(data: CurveData, tol: float = 1e-6) -> tuple[Array, CurveFit, CurveFit]:
    """Likelihood ratio of group x curve, with the fits of the null and of the alternative."""
    null = fit_curve_model(data, shared_shape=True, tol=tol)
    full = fit_curve_model(data, shared_shape=False, tol=tol)
    return np.maximum(null.deviance - full.deviance, 0.0), null, full


def _scales(data: CurveData) -> tuple[Array, float]:
    """Lower factor of the curves' spread about group means over s2, and emotions' share.

    Lower triangular with the constant last, so that in the scaled basis a shift in level is still
    the last coordinate alone.
    """
    s2 = float(np.mean(data.rss)) / data.rss_df
    onehot = np.eye(len(data.groups))[data.group]
    means = np.einsum("mg,nmk->ngk", onehot / onehot.sum(axis=0), data.coef)
    means[..., :2] = data.coef[..., :2].mean(axis=1, keepdims=True)
    residual = data.coef - means[:, data.group]
    cov = np.einsum("nmi,nmj->ij", residual, residual) / residual[..., 0].size / s2
    share = float(np.mean(data.emotion_ss)) / max(data.n_emotions - 1, 1) / s2 / data.n_cells
    return np.linalg.cholesky(cov + data.spread.mean(axis=0)), share


def _inverse(v: Array) -> tuple[Array, Array]:
    """Inverse and determinant of symmetric 3 x 3 matrices, entries along the first axis."""
    a, b, c, d, e, f = v
    adjugate = np.stack(
        [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b]
    )
    det = a * adjugate[0] + b * adjugate[1] + c * adjugate[2]
    return adjugate / det, det


def _times(p: Array, x: Array) -> Array:
    """Symmetric matrix (6, ...) times vector (3, ...)."""
    return np.stack([
        p[0] * x[0] + p[1] * x[1] + p[2] * x[2],
        p[1] * x[0] + p[3] * x[1] + p[4] * x[2],
        p[2] * x[0] + p[4] * x[1] + p[5] * x[2],
    ])  # fmt: skip


def _deviance(
    x: Array, data: CurveData, rows: Codes, shared_shape: bool, ratio: float, level: float
) -> tuple[Array, Array, Array, Array]:
    """Deviance less its constant, gradient, fixed curves and s2, at parameters x (n, 6 or 7).

    `level` turns the last entry of the scaled V^-1 into that of the constant.
    """
    k = x[:, :6].T
    random = np.stack([
        k[0] * k[0], k[0] * k[1], k[0] * k[2],
        k[1] * k[1] + k[3] * k[3], k[1] * k[2] + k[3] * k[4],
        k[2] * k[2] + k[4] * k[4] + k[5] * k[5],
    ])  # fmt: skip
    p, det = _inverse(data.spread[:, _COLUMN, _ROW].T[:, None, :] + random[:, :, None])
    coef = data.coef[rows].transpose(2, 0, 1)
    onehot = np.eye(len(data.groups))[data.group]
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
    mean = beta[:, :, data.group]
    residual = coef - mean
    q = _times(p, residual)
    total = data.rss[rows] + (q * residual).sum(axis=(0, 2))
    deviance = np.log(det).sum(axis=1)
    gradient = np.empty_like(x)
    outer = p.sum(axis=2)
    if ratio:
        w = ratio * x[:, 6] ** 2
        of_mean, of_rest = level / data.n_emotions * p[5].sum(axis=1), 1 + data.n_cells * w
        between = data.emotion_ss[rows] / of_rest
        total = total + between
        deviance += np.log1p(w * of_mean) + (data.n_emotions - 1) * np.log(of_rest)
    s2 = total / data.n_rows
    deviance += data.n_rows * (np.log(2 * np.pi * s2) + 1)
    outer = outer - (q[_ROW] * q[_COLUMN]).sum(axis=2) / s2
    if ratio:
        last = p[[2, 4, 5]]
        pull = w * level / data.n_emotions / (1 + w * of_mean)
        outer = outer - pull * (last[_ROW] * last[_COLUMN]).sum(axis=2)
        slope = of_mean / (1 + w * of_mean)
        slope += data.n_cells / of_rest * (data.n_emotions - 1 - between / s2)
        gradient[:, 6] = slope * 2 * ratio * x[:, 6]
    a, b, c, d, e, f = outer
    gradient[:, 0] = a * k[0] + b * k[1] + c * k[2]
    gradient[:, 1] = b * k[0] + d * k[1] + e * k[2]
    gradient[:, 2] = c * k[0] + e * k[1] + f * k[2]
    gradient[:, 3] = d * k[3] + e * k[4]
    gradient[:, 4] = e * k[3] + f * k[4]
    gradient[:, 5] = f * k[5]
    gradient[:, :6] *= 2
    return deviance, gradient, mean.transpose(1, 2, 0), s2
