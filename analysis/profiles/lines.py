"""The published tests for a U: a quadratic's slopes at both ends, and two lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.families import t_above
from analysis.profiles.splines import smoother
from analysis.profiles.uncertainty import (
    quadratic_weights,
    slope_weights,
    standard_error,
)
from study.arrays import Float64Array

#: Share of the range at either end where a line would be too short to have a slope.
EDGE = 0.1
MIN_LINE = 3
#: A breakpoint on a layer belongs to both lines.
SLACK = 1e-9


@dataclass(frozen=True)
class Measured:
    """Contrasts of one profile, or their means over models.

    Attributes
    ----------
    value, se : ndarray, shape (n_contrasts,)
    df : float
    """

    value: Float64Array
    se: Float64Array
    df: float

    @property
    def t(self) -> Float64Array:
        """Values in units of their errors; 0 where there is no error to test against."""
        return np.divide(self.value, self.se, out=np.zeros_like(self.value), where=self.se > 0)

    def __getitem__(self, rows: Any) -> Measured:
        """Return some of the contrasts."""
        return Measured(self.value[rows], self.se[rows], self.df)


def line_weights(depth: Float64Array, turn: float) -> Float64Array:
    """Return the weights, shape (2, n_points), of the lines' slopes before and after a depth."""
    return np.array(
        [slope_weights(depth, depth <= turn + SLACK), slope_weights(depth, depth >= turn - SLACK)]
    )


def quarter_slopes(depth: Float64Array, start: float) -> Float64Array:
    """Return the weights, (2, n_points), of a quadratic's slopes at 1/4 and 3/4 of what follows.

    >>> depth = np.linspace(0, 1, 9)
    >>> quarter_slopes(depth, 0.5) @ (depth - 0.75) ** 2  # at depths 0.625 and 0.875
    array([-0.25,  0.25])
    """
    rest = depth >= start - SLACK
    weights = np.zeros((2, len(depth)))
    _, linear, squared = quadratic_weights(depth[rest])
    first, last = depth[rest][[0, -1]]
    for row, share in zip(weights, (0.25, 0.75), strict=True):
        row[rest] = linear + 2 * (first + share * (last - first)) * squared
    return weights


def end_slopes(depth: Float64Array) -> Float64Array:
    """Return the weights, shape (2, n_points), of the quadratic's slopes at both ends."""
    weights = quadratic_weights(depth)
    return np.array([weights[1] + 2 * d * weights[2] for d in (depth[0], depth[-1])])


def places(depth: Float64Array) -> Float64Array:
    """Return the layers in the middle 80% of the range with at least 3 layers on either side."""
    share = (depth - depth[0]) / (depth[-1] - depth[0])
    inner = (share >= EDGE - SLACK) & (share <= 1 - EDGE + SLACK)
    inner[: MIN_LINE - 1] = inner[-(MIN_LINE - 1) :] = False
    return np.asarray(depth[inner])


def robin_hood(depth: Float64Array, y: Float64Array, cov: Float64Array) -> float:
    """Return the breakpoint of Simonsohn's two lines.

    Parameters
    ----------
    depth, y : ndarray, shape (n_points,)
    cov : ndarray, shape (n_points, n_points)
        Covariance of the errors of y.

    Returns
    -------
    float
        One of `places`, or between them.

    Notes
    -----
    Among the depths whose smoothed value is within one standard error of the extreme, this is the
    quantile that gives the weaker line more layers. The standard error is that of the *difference*
    from the extreme: a shift of the whole curve does not move its highest point.
    """
    sign = -1 if quadratic_weights(depth)[2] @ y > 0 else 1
    weights = sign * smoother(depth, depth)
    among = np.isin(depth, places(depth))
    curve = weights @ y
    top = int(np.argmax(np.where(among, curve, -np.inf)))
    se = standard_error(weights[top] - weights, cov)
    flat = depth[among & (curve + se >= curve[top])]
    lines = line_weights(depth, float(np.median(flat)))
    z = np.abs(Measured(lines @ y, standard_error(lines, cov), 1.0).t)
    return float(np.quantile(flat, z[1] / z.sum() if z.sum() > 0 else 0.5))


def published_tests(slopes: Measured, turn: float, sign: int) -> dict[str, Any]:
    """Return the columns of the two published tests.

    Parameters
    ----------
    slopes : Measured
        Quadratic at the start and at the end, line before and line after the breakpoint.
    turn : float
        The breakpoint.
    sign : {+1, -1}
        Converts slopes to the metric's units.
    """
    t = slopes.t
    rising, falling = t_above(t[:2], slopes.df), t_above(-t[:2], slopes.df)
    before, after = 2 * t_above(np.abs(t[2:]), slopes.df)
    return {
        "slope_start": sign * slopes.value[0],
        "slope_end": sign * slopes.value[1],
        "p_hump": float(max(rising[0], falling[1])),
        "p_trough": float(max(falling[0], rising[1])),
        "breakpoint": turn,
        "slope_before": sign * slopes.value[2],
        "slope_after": sign * slopes.value[3],
        "p_before": float(before),
        "p_after": float(after),
    }
