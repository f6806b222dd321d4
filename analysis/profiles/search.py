"""Correct for a search over depths: simultaneous p over a path of contrasts."""

from __future__ import annotations

import numpy as np

from analysis.families import t_above
from study.arrays import Float64Array


def path_length(weights: Float64Array, cov: Float64Array) -> float:
    """Return the length of a path of contrasts, in radians.

    Parameters
    ----------
    weights : ndarray, shape (n_contrasts, n_points)
        In order of depth.
    cov : ndarray, shape (n_points, n_points)
        Covariance of the errors.

    Returns
    -------
    float
        Sum of the angles between neighbors; the cosine of an angle is their correlation.
    """
    moved = weights @ cov
    se = np.sqrt(np.maximum((moved * weights).sum(axis=1), 0.0))
    size = se[:-1] * se[1:]
    covariance = (moved[:-1] * weights[1:]).sum(axis=1)
    # Contrasts without an error are not part of the path.
    together = np.divide(covariance, size, out=np.ones_like(size), where=size > 0)
    return float(np.arccos(np.clip(together, -1.0, 1.0)).sum())


def searched_p(t: Float64Array, df: float, length: float) -> Float64Array:
    r"""Return the one-sided p of the largest t along a path of contrasts.

    Parameters
    ----------
    t : ndarray
    df : float
    length : float
        Of the path (`path_length`); 0 for a single contrast.

    Returns
    -------
    ndarray
        At most 1.

    Notes
    -----
    Naiman's inequality, from the volume of a tube about the path:

    .. math:: P(\max T > t) \le P(T_1 > t) + \frac{\ell}{2 \pi} (1 + t^2 / \nu)^{-\nu / 2},

    for t above 0, and 1 below.

    References
    ----------
    Hotelling, H. (1939). Tubes and spheres in n-spaces, and a class of statistical problems.
    American Journal of Mathematics 61, 440-460.
    Naiman, D. Q. (1986). Conservative confidence bands in curvilinear regression. Annals of
    Statistics 14, 896-906.

    Examples
    --------
    >>> searched_p(np.array([2.0]), 20, 0.0).round(4), searched_p(np.array([2.0]), 20, 2.0).round(4)
    (array([0.0296]), array([0.081]))
    """
    tail = t_above(t, df) + length / (2 * np.pi) * (1 + t**2 / df) ** (-df / 2)
    return np.asarray(np.where(t > 0, np.minimum(tail, 1.0), 1.0))
