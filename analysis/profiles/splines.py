"""Natural cubic splines in depth: a basis, the smoother that it makes, and where it is highest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from study.arrays import Float64Array

N_KNOTS = 5
#: Knots of the curve about which the maximum is bootstrapped, and the most knots of the maximum.
CURVE_KNOTS = 8
PEAK_KNOTS = 33
#: Number of depth grids whose weights are cached; models with the same layers share a grid.
N_GRIDS = 128
#: Depths, as shares of the profile's range, at which smoothed curves are evaluated.
GRID = np.linspace(0.0, 1.0, 201)


def natural_spline(depth: Float64Array, knots: Float64Array) -> NDArray[np.float64]:
    """Return the cardinal basis of natural cubic splines, shape (n_points, n_knots).

    Column j is the spline that is 1 at knot j and 0 at the others. It is straight beyond the ends.
    """
    basis = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")
    within = np.clip(depth, knots[0], knots[-1])
    return np.asarray(basis(within) + (depth - within)[:, None] * basis(within, 1))


def spread_knots(depth: Float64Array, n_knots: int = N_KNOTS) -> Float64Array:
    """Return knots at equal shares of the points; there are fewer knots than points."""
    return np.asarray(np.quantile(depth, np.linspace(0, 1, min(n_knots, len(depth) - 1))))


def smoother(depth: Float64Array, at: Float64Array, n_knots: int = N_KNOTS) -> Float64Array:
    """Return the weights, shape (n_at, n_points), of a natural spline's values at given depths.

    With as many knots as points, or more, it interpolates.
    """
    points = np.asarray(depth, dtype=np.float64)
    return _smoother(points.tobytes(), np.asarray(at, dtype=np.float64).tobytes(), n_knots)


@lru_cache(maxsize=4 * N_GRIDS)
def _smoother(depth: bytes, at: bytes, n_knots: int) -> Float64Array:
    points = np.frombuffer(depth)
    knots = points if n_knots >= len(points) else spread_knots(points, n_knots)
    weights = natural_spline(np.frombuffer(at), knots) @ np.linalg.pinv(
        natural_spline(points, knots)
    )
    weights.flags.writeable = False
    return np.asarray(weights)


def extrema(depth: Float64Array, profiles: Float64Array) -> Float64Array:
    """Return the depth of each profile's smoothed maximum; `profiles` is (n_profiles, n_points)."""
    at = depth[0] + GRID * (depth[-1] - depth[0])
    return np.asarray(at[(profiles @ smoother(depth, at).T).argmax(axis=1)])


@dataclass(frozen=True)
class Maximum:
    """Where a curve is highest.

    Attributes
    ----------
    depth : float
    shift : float
        How far noise moves the maximum on average, which has been subtracted.
    deviations : ndarray, shape (n_draws,)
        Draws of the error of `depth`; their mean is 0.
    """

    depth: float
    shift: float
    deviations: Float64Array


def maximum(depth: Float64Array, y: Float64Array, draws: Float64Array) -> Maximum:
    r"""Return the depth of a curve's maximum, corrected for bias.

    Parameters
    ----------
    depth, y : ndarray, shape (n_points,)
    draws : ndarray, shape (n_draws, n_points)
        Of the error of y.

    Returns
    -------
    Maximum

    Notes
    -----
    Smoothing moves the maximum of a skewed curve toward its longer side, by the same distance in
    every model, which no number of models averages out. So the curve is hardly smoothed: :math:`T`
    is the maximum of a natural spline through the points (with 33 knots where there are more
    points). Noise also moves it to the longer side, where the curve is flatter. That shift comes
    from a parametric bootstrap: with :math:`f` a spline with eight knots fitted to y, and draws e,

    .. math:: \hat{b} = \operatorname{mean}_e T(f + e) - \arg\max f,

    and the estimate is :math:`T(y) - \hat{b}`, within the range of depths. The correction
    removes about a third to a half of the shift, so one to two times :math:`\hat{b}` remains.
    Tests that pool maxima allow for one.

    References
    ----------
    Efron, B. and Tibshirani, R. J. (1993). An introduction to the bootstrap. Chapter 10.

    Examples
    --------
    >>> depth = np.linspace(0, 1, 25)
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal((200, 25)).cumsum(axis=1)
    >>> top = maximum(depth, np.exp(-8 * (depth - 0.4) ** 2), noise - noise.mean(axis=0))
    >>> round(top.depth, 2)
    0.4
    """
    at = depth[0] + GRID * (depth[-1] - depth[0])
    onto = smoother(depth, at, PEAK_KNOTS)
    curve = smoother(depth, depth, CURVE_KNOTS) @ y
    top = at[(smoother(depth, at, CURVE_KNOTS) @ y).argmax()]
    again = at[((curve + draws) @ onto.T).argmax(axis=1)]
    shift = float(again.mean() - top)
    place = float(np.clip(at[(onto @ y).argmax()] - shift, depth[0], depth[-1]))
    return Maximum(place, shift, again - again.mean())


def tops(depth: Float64Array, profiles: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return where each profile's top begins and ends.

    The top is the stretch around the maximum of the smoothed curve that lies above half of its
    weaker arm, that is, above the midpoint between the maximum and the higher of the two minima on
    its sides.

    Parameters
    ----------
    depth : ndarray, shape (n_points,)
    profiles : ndarray, shape (n_profiles, n_points)

    Returns
    -------
    start, end : ndarray, shape (n_profiles,)

    Examples
    --------
    >>> depth = np.linspace(0, 1, 41)
    >>> start, end = tops(depth, np.maximum(0, 1 - np.abs(depth - 0.4) / 0.4)[None])
    >>> start.round(1), end.round(1)
    (array([0.2]), array([0.6]))
    """
    at = depth[0] + GRID * (depth[-1] - depth[0])
    curve = profiles @ smoother(depth, at).T
    number = np.arange(len(GRID))
    best = curve.argmax(axis=1)[:, None]
    left, right = number <= best, number >= best
    least = [np.where(side, curve, np.inf).min(axis=1) for side in (left, right)]
    half = (curve.max(axis=1) + np.maximum(*least)) / 2
    below = curve < half[:, None]
    start = np.where(below & left, number, -1).max(axis=1) + 1
    end = np.where(below & right, number, len(GRID)).min(axis=1) - 1
    return np.asarray(at[start]), np.asarray(at[end])
