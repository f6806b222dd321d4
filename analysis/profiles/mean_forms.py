"""The forms that the mean of a curve without replicates may take."""

from __future__ import annotations

import numpy as np

from analysis.profiles.splines import natural_spline, spread_knots
from study.arrays import Float64Array

#: Knots of the spline, and the number of points that it needs.
MEAN_KNOTS = 5
MIN_FLEXIBLE = 9
#: Places and widths of the shapes of one parameter, as shares of the curve's range of depth.
PLACES = np.linspace(0.1, 0.9, 9)
WIDTHS = (0.1, 0.17, 0.3)
STEEPNESS = (0.03, 0.06, 0.12)
SATURATION = (0.06, 0.1, 0.17, 0.3, 0.6)
#: Shapes of height 1 whose values at the points differ by less than this are left out.
MIN_RANGE = 0.1


def designs(depth: Float64Array) -> list[Float64Array]:
    """Return the designs that are linear in their parameters, each (n_points, n_columns).

    A quadratic, and a natural spline where there are enough points.
    """
    forms = [np.vander(depth, 3, increasing=True)]
    if len(depth) >= MIN_FLEXIBLE:
        forms.append(natural_spline(depth, spread_knots(depth, MEAN_KNOTS)))
    return forms


def humps(depth: Float64Array) -> Float64Array:
    """Return humps of height 1, shape (n_shapes, n_points).

    Gaussian, at nine places, with a width on either side that is one of three.
    """
    x = _share(depth)
    sides = [(at, left, right) for at in PLACES for left in WIDTHS for right in WIDTHS]
    return _seen(
        np.array([np.exp(-0.5 * ((x - at) / np.where(x < at, a, b)) ** 2) for at, a, b in sides])
    )


def rises(depth: Float64Array) -> Float64Array:
    """Return monotone shapes of height 1, shape (n_shapes, n_points).

    Straight, logistic at nine places, early rises that level off, and late rises.
    """
    x = _share(depth)
    logistic = [1 / (1 + np.exp((at - x) / s)) for at in PLACES for s in STEEPNESS]
    ends = [np.exp(-end / s) for end in (x, 1 - x) for s in SATURATION]
    return _seen(np.array([x, *logistic, *ends]))


def _share(depth: Float64Array) -> Float64Array:
    return np.asarray((depth - depth[0]) / (depth[-1] - depth[0]))


def _seen(shapes: Float64Array) -> Float64Array:
    return np.asarray(shapes[np.ptp(shapes, axis=1) >= MIN_RANGE])
