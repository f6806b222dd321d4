"""Compute the scale of the errors of bare curves: the table in `analysis.profiles.bare`.

    python benchmarks/bare_reference.py      # about 10 minutes on a core

On curves of pure AR(1) noise, the largest slope of a line that ends or begins at a searched place
exceeds its 5% limit more or less often than 5%, depending on the correlation. The scale is the 95%
quantile of that slope in units of the limit.
"""

from __future__ import annotations

import sys

import numpy as np
from generator import noise_rows
from scipy import optimize

from analysis.profiles.bare import SCALE_POINTS, SCALE_RHO, scatter
from analysis.profiles.lines import line_weights, places
from analysis.profiles.search import path_length, searched_p


def limit(df: float, length: float) -> float:
    """Return the t for which the searched p is 0.05."""
    return float(optimize.brentq(lambda t: searched_p(np.array(t), df, length) - 0.05, 0.1, 1e4))


def scale(rng: np.random.Generator, n_points: int, rho: float, n_curves: int) -> float:
    """Return the 95% quantile of the searched t of noise, in units of its limit."""
    depth = np.linspace(0, 1, n_points)
    both = np.array([line_weights(depth, place) for place in places(depth)]).swapaxes(0, 1)
    largest = []
    for y in noise_rows(rng, (n_curves, n_points), 1.0, rho):
        models = scatter(depth, y)
        cov, df = models.cov(), float(models.df @ models.weight)
        for lines in both:
            t = lines @ y / np.sqrt(((lines @ cov) * lines).sum(axis=1))
            largest += [np.array([t.max(), -t.min()]) / limit(df, path_length(lines, cov))]
    return float(np.quantile(np.concatenate(largest), 0.95))


def main() -> None:
    """Print the table, one row per number of points."""
    n_curves = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for n_points in SCALE_POINTS:
        rng = np.random.default_rng(n_points)
        row = [scale(rng, n_points, rho, n_curves) for rho in SCALE_RHO]
        print(f"    ({', '.join(f'{x:.2f}' for x in row)}),  # {n_points}", flush=True)


if __name__ == "__main__":
    main()
