"""Quasi-Newton minimization of many small problems side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from study.arrays import Float64Array

Codes = NDArray[np.int64]


def minimize(
    objective: Callable[[Float64Array, Codes], tuple[Float64Array, Float64Array]],
    start: Float64Array,
    tol: float,
    max_iterations: int = 300,
) -> tuple[Float64Array, NDArray[np.bool_]]:
    """Minimize many functions of few parameters at once, by BFGS with backtracking.

    Parameters
    ----------
    objective : callable
        Takes parameters (k, size) and the k functions' numbers; returns values (k,) and
        gradients (k, size). The parameters should be scaled to be about 1.
    start : ndarray, shape (n, size)
    tol : float
        A function has converged once no entry of its gradient exceeds this.
    max_iterations : int

    Returns
    -------
    x : ndarray, shape (n, size)
    converged : ndarray of bool, shape (n,)

    Examples
    --------
    >>> def bowls(x, which):
    ...     return ((x - which[:, None]) ** 2).sum(axis=1), 2 * (x - which[:, None])
    >>> x, converged = minimize(bowls, np.zeros((2, 1)), tol=1e-8)
    >>> x.round(6).ravel().tolist(), converged.all().item()
    ([0.0, 1.0], True)
    """
    x = start.copy()
    n, size = x.shape
    value, gradient = objective(x, np.arange(n))
    inverse = np.tile(np.eye(size) / 20, (n, 1, 1))
    active = np.arange(n)
    for _ in range(max_iterations):
        active = active[np.abs(gradient[active]).max(axis=1) > tol]
        if active.size == 0:
            break
        step = -np.einsum("nij,nj->ni", inverse[active], gradient[active])
        slope = (step * gradient[active]).sum(axis=1)
        uphill = slope >= 0
        if uphill.any():
            inverse[active[uphill]] = np.eye(size) / 20
            step[uphill] = -gradient[active[uphill]] / 20
            slope[uphill] = (step[uphill] * gradient[active[uphill]]).sum(axis=1)
        # The parameters are scaled to be about 1: a longer step would leave the region in which
        # the quadratic approximation holds.
        length = np.minimum(1.0, 2.0 / np.maximum(np.abs(step).max(axis=1), 1e-300))
        todo = np.arange(active.size)
        for _ in range(30):
            rows = active[todo]
            trial = x[rows] + length[todo, None] * step[todo]
            new_value, new_gradient = objective(trial, rows)
            slack = 1e-12 * np.abs(value[rows])
            good = new_value <= value[rows] + 1e-4 * length[todo] * slope[todo] + slack
            taken = rows[good]
            s, y = trial[good] - x[taken], new_gradient[good] - gradient[taken]
            x[taken], value[taken] = trial[good], new_value[good]
            gradient[taken] = new_gradient[good]
            _update(inverse, taken, s, y)
            todo = todo[~good]
            if todo.size == 0:
                break
            length[todo] /= 4
        else:
            active = np.delete(active, todo)
    return x, np.abs(gradient).max(axis=1) <= max(1e3 * tol, 1e-3)


def _update(inverse: Float64Array, rows: Codes, s: Float64Array, y: Float64Array) -> None:
    """BFGS update of the inverse Hessians, in place, where the curvature is positive."""
    curvature = (s * y).sum(axis=1)
    good = curvature > 1e-14
    rows, s, y = rows[good], s[good], y[good]
    rho = 1 / curvature[good]
    h = inverse[rows]
    hy = np.einsum("nij,nj->ni", h, y)
    scale = rho * (1 + rho * (y * hy).sum(axis=1))
    cross = rho[:, None, None] * hy[:, :, None] * s[:, None, :]
    inverse[rows] = h + scale[:, None, None] * s[:, :, None] * s[:, None, :]
    inverse[rows] -= cross + cross.transpose(0, 2, 1)
