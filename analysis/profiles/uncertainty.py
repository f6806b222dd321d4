"""The error of a profile's points, from replicates or from AR(1) models.

Every estimate on a profile in this package is a contrast (a weighted sum of its points) or a
function of contrasts. The weights are those of ordinary least squares. Because neighboring layers
are alike, the error comes from the covariance between layers, never from residuals alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from analysis.families import t_critical
from analysis.loading.scores import Profile, Scores, as_scores
from analysis.profiles.bare import scale_of_halves, scatter, small_sample_scale
from analysis.profiles.mean_forms import designs
from analysis.profiles.splines import N_GRIDS
from analysis.wording import numbered
from study.arrays import Float64Array
from study.read import InputError

MIN_POINTS = 5
MIN_REPLICATES = 20
#: Draws from the AR(1) models.
N_DRAWS = 1000


@dataclass(frozen=True)
class Errors:
    """The error of a profile's points.

    Attributes
    ----------
    kind : str
        "replicates", "ar1", or the kind of a user's own repetitions ("fold", "standard error").
    cov : ndarray, shape (n_points, n_points)
        Covariance of the errors.
    df : float
        Degrees of freedom with which `cov` is known.
    draws : ndarray, shape (n_draws, n_points)
        Draws of the error; their mean is 0.
    shrink : float
        Factor of the standard errors in tests of a shape, which need two slopes at once.
    of_halves : float
        The same in the test that both halves of the depth go the same way.
    """

    kind: str
    cov: Float64Array
    df: float
    draws: Float64Array
    shrink: float = 1.0
    of_halves: float = 1.0


def select_profiles(
    scores: Scores | pd.DataFrame,
    higher_is_better: bool | None = None,
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


def assess(profile: Profile, seed: int = 0) -> Errors | str:
    """Return the errors of a profile's points, or say why it cannot be analyzed."""
    return fault(profile) or profile_errors(profile, seed)


def fault(profile: Profile) -> str:
    """Say why a profile cannot be analyzed; return an empty string if it can."""
    y, layer, draws = profile.separation, profile.layer, profile.replicates
    if len(y) < MIN_POINTS:
        return f"only {numbered(len(y), 'layer')}; at least {MIN_POINTS} are needed"
    if (np.diff(profile.depth) <= 0).any():
        return "depth does not increase with layer"
    size = np.abs(y).max()
    if np.ptp(y) <= 1e-12 * size:
        return "the scores are constant over layers"
    if draws is None:
        for form in designs(profile.depth):
            residual = y - form @ np.linalg.lstsq(form, y, rcond=None)[0]
            if np.abs(residual).max() <= 1e-9 * np.ptp(y):
                return (
                    "no replicates, and no scatter about a smooth curve to estimate an error from"
                )
        return ""
    absent = np.setdiff1d(np.arange(layer[0], layer[-1] + 1, np.diff(layer).min()), layer)
    # Layers of numbers from elsewhere may be sparse; ours are complete unless a file is damaged.
    if len(absent) and not profile.repeated:
        return f"layer {absent[0]} is missing"
    if profile.n_topics is not None and profile.n_topics < 3:
        what = profile.repeated or "topic"
        return f"only {numbered(profile.n_topics, what)}; an error needs at least 3"
    if np.isnan(draws).any():
        return f"layer {layer[np.isnan(draws).any(axis=0)][0]} is missing from the replicates"
    if len(draws) < MIN_REPLICATES:
        return f"only {numbered(len(draws), 'replicate')}; at least {MIN_REPLICATES} are needed"
    size = max(size, np.abs(draws).max())
    shape = draws - draws.mean(axis=1, keepdims=True)
    if np.ptp(shape, axis=0).max() <= 1e-12 * size:
        return "the replicates do not vary"
    return ""


def profile_errors(profile: Profile, seed: int = 0) -> Errors:
    r"""Return the error of a profile's points.

    With replicates, the error is their covariance about their own mean. The bootstrap of a
    cross-validated score can have another level than the score itself (a resampled topic is easier
    to recognize), so only its spread is used, and intervals are percentiles of
    *estimate + deviation*. A bootstrap of T topics has T - 1 degrees of freedom however many
    replicates there are, and understates the variance by (T - 1) / T. Both are corrected, and the
    draws are widened from normal to t quantiles (Hesterberg's expanded percentiles).

    Without replicates, the error is that of AR(1) models about a smooth mean, averaged by how well
    they explain the curve (`bare.scatter`), times a factor for small samples
    (`bare.small_sample_scale`). The factor is found for the test of a turn, which needs both arms.
    Where it is below 1, it is kept as `shrink` for the tests of a shape: a test of one slope, or
    the interval of a peak, would be wrong too often with it. The test that both halves go the same
    way has a factor of its own (`bare.scale_of_halves`).

    Parameters
    ----------
    profile : Profile
        Without a `fault`.
    seed : int
        For the draws from the AR(1) model.

    Returns
    -------
    Errors

    References
    ----------
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
        # Percentiles of the draws must match quantiles of t, not of the normal.
        tail = t_critical(0.975, df) / float(special.ndtri(0.975))
        return Errors(profile.repeated or "replicates", cov, df, deviations * tail)
    models = scatter(profile.depth, profile.separation)
    scale = small_sample_scale(len(profile.depth), models)
    wider = max(scale, 1.0)
    draws = wider * models.draw(np.random.default_rng(seed), N_DRAWS)
    df = float(models.df @ models.weight)
    cov = wider**2 * models.cov()
    of_halves = scale_of_halves(len(profile.depth), models) / wider
    return Errors("ar1", cov, df, draws - draws.mean(axis=0), min(scale, 1.0), of_halves)


def quadratic_weights(depth: Float64Array) -> Float64Array:
    """Return the least-squares weights of a quadratic, shape (3, n_points): W @ y = (b0, b1, b2).

    >>> depth = np.linspace(0, 1, 6)
    >>> (quadratic_weights(depth) @ (1 + 2 * depth - 3 * depth**2)).round(6)
    array([ 1.,  2., -3.])
    """
    return _quadratic_weights(np.asarray(depth, dtype=np.float64).tobytes())


@lru_cache(maxsize=N_GRIDS)
def _quadratic_weights(depth: bytes) -> Float64Array:
    weights = np.linalg.pinv(np.vander(np.frombuffer(depth), 3, increasing=True))
    weights.flags.writeable = False
    return np.asarray(weights)


def slope_weights(depth: Float64Array, rows: NDArray[np.bool_]) -> Float64Array:
    """Return the weights, shape (n_points,), of the slope of a line through the given rows."""
    weights = np.zeros_like(depth)
    centered = depth[rows] - depth[rows].mean()
    weights[rows] = centered / (centered @ centered)
    return weights


def standard_error(weights: Float64Array, cov: Float64Array) -> Float64Array:
    """Return the standard errors of contrasts, `weights` of shape (..., n_points)."""
    return np.asarray(np.sqrt(np.maximum(((weights @ cov) * weights).sum(axis=-1), 0.0)))
