"""How far a profile can be trusted: the error of its points, from replicates or from AR(1).

Every estimate on a profile in this package is a contrast (a weighted sum of its points) or a
function of contrasts. Neighbouring layers are alike, so the weights are ordinary least squares and
the error comes from the covariance between layers, never from the residuals' scatter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special
from scipy.linalg import solve_triangular

from analysis.loading.scores import Array, Profile, Scores, as_scores
from study.read import InputError

MIN_POINTS = 5
MIN_REPLICATES = 20
#: Draws from the AR(1) model.
N_DRAWS = 1000
#: Correlations of neighbouring layers over which the AR(1) model is averaged.
RHO = np.tanh(np.linspace(0.0, np.arctanh(0.998), 40))
#: Grids of depths whose weights are kept: models with as many layers have them in common.
N_GRIDS = 128


@dataclass(frozen=True)
class Errors:
    """The error of a profile's points.

    Attributes
    ----------
    kind : {"replicates", "ar1"}
    cov : ndarray, shape (n_points, n_points)
        Covariance of the errors.
    df : float
        Degrees of freedom with which `cov` is known.
    draws : ndarray, shape (n_draws, n_points)
        Draws of the error; their mean is 0.
    """

    kind: Literal["replicates", "ar1"]
    cov: Array
    df: float
    draws: Array


def select_profiles(
    scores: Scores | pd.DataFrame,
    higher_is_better: bool = True,
    metric: str | list[str] | None = None,
    method: str | list[str] | None = None,
    weights: str | list[str] | None = None,
    labels: str | list[str] | None = None,
) -> list[Profile]:
    """Return the profiles that have the given levels; None takes all.

    Raises
    ------
    InputError
        If a level does not occur, or the table breaks a rule of `as_scores`.
    """
    wanted = {"metric": metric, "method": method, "weights": weights, "labels": labels}
    return list(as_scores(scores, higher_is_better).select(**wanted).profiles())


def check_alpha(alpha: float) -> None:
    """Raise InputError unless alpha is a level."""
    if not 0 < alpha < 0.5:
        raise InputError(f"alpha is {alpha}; it must lie between 0 and 0.5, for instance 0.05")


def t_critical(level: float, df: float) -> float:
    """Return the quantile of Student's t, without the overhead of `scipy.stats`."""
    return float(special.stdtrit(df, level))


def t_above(t: Array | float, df: Array | float) -> Array:
    """Return Student's t probability above t."""
    return np.asarray(special.stdtr(df, -np.asarray(t)))


def assess(profile: Profile, seed: int = 0) -> Errors | str:
    """Return the errors of a profile's points, or say why it cannot be analysed."""
    return fault(profile) or profile_errors(profile, seed)


def fault(profile: Profile) -> str:
    """Say why a profile cannot be analysed; empty where it can."""
    y, layer, draws = profile.separation, profile.layer, profile.replicates
    if len(y) < MIN_POINTS:
        return f"only {len(y)} layers; at least {MIN_POINTS} are needed"
    absent = np.setdiff1d(np.arange(layer[0], layer[-1] + 1, np.diff(layer).min()), layer)
    if len(absent):
        return f"layer {absent[0]} is missing"
    if (np.diff(profile.depth) <= 0).any():
        return "depth does not increase with layer"
    size = np.abs(y).max()
    if np.ptp(y) <= 1e-12 * size:
        return "the scores are constant over layers"
    if draws is None:
        b = quadratic_weights(profile.depth) @ y
        residual = y - np.vander(profile.depth, 3, increasing=True) @ b
        if np.abs(residual).max() <= 1e-9 * np.ptp(y):
            return "no replicates, and no scatter about a quadratic to estimate an error from"
        return ""
    if profile.n_topics is not None and profile.n_topics < 3:
        return f"only {profile.n_topics} topics; an error needs at least 3"
    if np.isnan(draws).any():
        return f"layer {layer[np.isnan(draws).any(axis=0)][0]} is missing from the replicates"
    if len(draws) < MIN_REPLICATES:
        return f"only {len(draws)} replicates; at least {MIN_REPLICATES} are needed"
    size = max(size, np.abs(draws).max())
    shape = draws - draws.mean(axis=1, keepdims=True)
    if np.ptp(shape, axis=0).max() <= 1e-12 * size:
        return "the replicates do not vary"
    return ""


def profile_errors(profile: Profile, seed: int = 0) -> Errors:
    r"""Return the error of a profile's points.

    With replicates, their covariance about their own mean: a bootstrap of a cross-validated score
    can sit at another level than the score itself (a resampled topic is easier to recognise), so
    only the spread is taken from it, and intervals are percentiles of *estimate + deviation*. A
    bootstrap of T topics knows their spread with T - 1 degrees of freedom however many replicates
    there are, and understates the variance by (T - 1) / T: both are put right, and the draws
    widened from the normal's reach to t's (Hesterberg's expanded percentiles).

    Without, an AR(1) model about a quadratic in depth. A restricted likelihood from 13 to 34
    points hardly tells a correlation of 0.9 from 0.99, and its maximum lies low, which makes
    intervals too short. So the model is averaged over the correlation, with the prior flat in
    Fisher's :math:`z = \operatorname{artanh} \rho` over [0, 0.998] and, given the correlation,
    the reference prior of the variance.

    Parameters
    ----------
    profile : Profile
        Without a `fault`.
    seed : int
        For the draws from the AR(1) model.

    Returns
    -------
    Errors

    Notes
    -----
    With :math:`C_\rho` the correlation matrix, X the quadratic's design of rank 3 and n points,

    .. math:: w_\rho \propto |C_\rho|^{-1/2} |X'C_\rho^{-1}X|^{-1/2} q_\rho^{-(n-3)/2}, \quad
              \operatorname{cov} = \sum_\rho w_\rho \frac{q_\rho}{n-3} C_\rho,

    where :math:`q_\rho` is the generalised residual sum of squares: the integrated likelihood of
    Harville (1974), as `nlme::gls(method = "REML")` has it.

    References
    ----------
    Harville, D. A. (1974). Bayesian inference for variance components using only error contrasts.
    Biometrika 61, 383-385.
    Hesterberg, T. C. (2015). What teachers should know about the bootstrap. The American
    Statistician 69, 371-386.
    """
    if profile.replicates is not None:
        deviations = profile.replicates - profile.replicates.mean(axis=0)
        df = float(len(deviations) - 1)
        if profile.n_topics is not None:
            deviations = deviations * np.sqrt(profile.n_topics / (profile.n_topics - 1))
            df = min(df, profile.n_topics - 1.0)
        cov = deviations.T @ deviations / (len(deviations) - 1)
        # Percentiles of the draws are to reach as far as t does, not as the normal.
        tail = t_critical(0.975, df) / float(special.ndtri(0.975))
        return Errors("replicates", cov, df, deviations * tail)
    y, df = profile.separation, len(profile.depth) - 3
    steps = (profile.layer - profile.layer[0]) / np.diff(profile.layer).min()
    fits = [ar1_likelihood(steps, profile.depth, y, rho) for rho in RHO]
    log = np.array([fit[0] for fit in fits])
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    rng = np.random.default_rng(seed)
    cov, draws = np.zeros((len(y), len(y))), []
    for w, n, rho, (_, sigma) in zip(
        weight, rng.multinomial(N_DRAWS, weight), RHO, fits, strict=True
    ):
        root = _ar1_parts(steps.tobytes(), profile.depth.tobytes(), rho)[0]
        cov += w * sigma**2 * (root @ root.T)
        if n:
            noise = rng.standard_normal((n, len(y))) @ root.T
            draws.append(noise * sigma * np.sqrt(df / rng.chisquare(df, size=(n, 1))))
    drawn = np.concatenate(draws)
    return Errors("ar1", cov, float(df), drawn - drawn.mean(axis=0))


def ar1_likelihood(steps: Array, depth: Array, y: Array, rho: float) -> tuple[float, float]:
    """Return the restricted log-likelihood of a quadratic with AR(1) errors, and their SD.

    Parameters
    ----------
    steps : ndarray, shape (n_points,)
        Position of each point, in layers.
    depth, y : ndarray, shape (n_points,)
    rho : float
        Correlation of points one step apart.

    Returns
    -------
    log_likelihood : float
        Profiled over coefficients and SD.
    sigma : float
    """
    _, whiten, Q, log_det = _ar1_parts(
        np.asarray(steps, dtype=np.float64).tobytes(), depth.tobytes(), rho
    )
    z = whiten @ y
    residual = z - Q @ (Q.T @ z)
    df = len(y) - 3
    rss = float(residual @ residual)
    log_likelihood = -0.5 * (df * np.log(2 * np.pi * rss / df) + df + log_det)
    return float(log_likelihood), float(np.sqrt(rss / df))


@lru_cache(maxsize=N_GRIDS * len(RHO))
def _ar1_parts(steps: bytes, depth: bytes, rho: float) -> tuple[Array, Array, Array, float]:
    """Return what all profiles at the same depths share.

    The Cholesky root of the correlation, its inverse, an orthonormal basis of the whitened
    quadratics and the log-determinants of the restricted likelihood. Whitening and a QR
    decomposition keep the residual exact where rho is near 1.
    """
    at, x = np.frombuffer(steps), np.frombuffer(depth)
    root = np.asarray(np.linalg.cholesky(rho ** np.abs(np.subtract.outer(at, at))), np.float64)
    whiten = np.asarray(solve_triangular(root, np.eye(len(at)), lower=True), np.float64)
    Q, R = np.linalg.qr(whiten @ np.vander(x, 3, increasing=True))
    log_det = 2 * np.log(np.diag(root)).sum() + 2 * np.log(np.abs(np.diag(R))).sum()
    return root, whiten, np.asarray(Q, np.float64), float(log_det)


def quadratic_weights(depth: Array) -> Array:
    """Return the least-squares weights of a quadratic, shape (3, n_points): W @ y = (b0, b1, b2).

    >>> depth = np.linspace(0, 1, 6)
    >>> (quadratic_weights(depth) @ (1 + 2 * depth - 3 * depth**2)).round(6)
    array([ 1.,  2., -3.])
    """
    return _quadratic_weights(np.asarray(depth, dtype=np.float64).tobytes())


@lru_cache(maxsize=N_GRIDS)
def _quadratic_weights(depth: bytes) -> Array:
    weights = np.linalg.pinv(np.vander(np.frombuffer(depth), 3, increasing=True))
    weights.flags.writeable = False
    return np.asarray(weights)


def slope_weights(depth: Array, rows: NDArray[np.bool_]) -> Array:
    """Return the weights, shape (n_points,), of the slope of a line through the given rows."""
    weights = np.zeros_like(depth)
    centred = depth[rows] - depth[rows].mean()
    weights[rows] = centred / (centred @ centred)
    return weights


def standard_error(weights: Array, cov: Array) -> Array:
    """Return the standard errors of contrasts, `weights` of shape (..., n_points)."""
    return np.asarray(np.sqrt(((weights @ cov) * weights).sum(axis=-1)))
