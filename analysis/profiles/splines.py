"""Natural cubic splines in depth: a basis, and the smoother that it makes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from study.arrays import Float64Array

N_KNOTS = 5
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


def smoother(depth: Float64Array, at: Float64Array) -> Float64Array:
    """Return the weights, shape (n_at, n_points), of a natural spline's values at given depths."""
    return _smoother(
        np.asarray(depth, dtype=np.float64).tobytes(), np.asarray(at, dtype=np.float64).tobytes()
    )


@lru_cache(maxsize=4 * N_GRIDS)
def _smoother(depth: bytes, at: bytes) -> Float64Array:
    points = np.frombuffer(depth)
    knots = spread_knots(points)
    weights = natural_spline(np.frombuffer(at), knots) @ np.linalg.pinv(
        natural_spline(points, knots)
    )
    weights.flags.writeable = False
    return np.asarray(weights)


def extrema(depth: Float64Array, profiles: Float64Array) -> Float64Array:
    """Return the depth of each profile's smoothed maximum; `profiles` is (n_profiles, n_points)."""
    at = depth[0] + GRID * (depth[-1] - depth[0])
    return np.asarray(at[(profiles @ smoother(depth, at).T).argmax(axis=1)])


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
