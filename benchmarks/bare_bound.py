"""Bound what any test can find in a curve without replicates.

    python benchmarks/bare_bound.py        # writes results/bare_bound.csv, 30 minutes on a core

`calibration.py` asks of the test without replicates that it finds three quarters of the humps that
the test with the true errors finds, and that it says of at most 6% of flat and monotone curves that
they turn, whatever the correlation of their noise. This script bounds the share of what is asked
that a test can reach in the worst of several humps, 5 noise SD high, at the worst correlation. It
does so for the hump in the middle alone, and for 31 humps: an instrument must not favor a place.

For any weights w of humps a and l of curves k that do not turn, no test of that size reaches a
larger share than

    (integral of max(0, sum_a w_a f_a(y) - sum_k l_k f_k(y)) dy + 0.06 sum_k l_k) / sum_a w_a q_a

with q the power that is asked for, and f the densities of what shifting and scaling a curve leaves
unchanged: the level and the SD of the noise are unknown, and by the theorem of Hunt and Stein a
test gains nothing from depending on them. A linear program over draws finds good weights. The
bound is then computed with other draws, and holds whether or not the weights are the best. A test
that reached it would know the shapes and the height of the humps, so tests that do not find less.

References: Lehmann, E. L. and Romano, J. P. (2005). Testing Statistical Hypotheses, chapters 3, 6
and 8.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from generator import decay, hump, late_rise, linear, noise_rows, plateau, sigmoid
from scipy import special
from scipy.optimize import linprog

from analysis.loading.scores import Profile
from analysis.profiles.shape import shape_row
from analysis.profiles.uncertainty import Errors
from study.arrays import Float64Array

OUT = Path(__file__).parent / "results" / "bare_bound.csv"
LAYERS = (8, 12, 24, 80)
SIZE, SHARE_ASKED, HEIGHT = 0.06, 0.75, 5.0
#: Correlations of the calibration, and those of the curves that do not turn.
CORRELATIONS = (0.0, 0.5, 0.9, 0.97)
NULL_CORRELATIONS = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97)
NULL_HEIGHTS = (0.5, 1.0, 2.0, 4.0, 10.0)
#: Peaks and widths on either side of the humps; both arms are at least this high.
PEAKS, WIDTHS, ARM = (0.25, 0.35, 0.5, 0.65, 0.75), (0.12, 0.18, 0.25), 0.6
#: Curves per hump and correlation for the power that is asked for, and draws for the bound.
N_CURVES, N_PROGRAM, N_PROGRAMS, N_BOUND = 300, 9000, 3, 40_000
#: Degrees of freedom of the true errors, as with the 200 replicates of the calibration.
DF = 199.0
#: Nodes of the integral over the noise's SD, in SD of its logarithm about the maximum.
NODES = np.linspace(-8, 8, 17)


@dataclass(frozen=True)
class Kind:
    """A mean of curves, in units of the noise's SD, and the correlation of their noise."""

    mean: Float64Array
    rho: float

    def draw(self, rng: np.random.Generator, n_curves: int) -> Float64Array:
        """Draw curves, shape (n_curves, n_points)."""
        return self.mean + noise_rows(rng, (n_curves, len(self.mean)), 1.0, self.rho)

    @cached_property
    def covariance(self) -> Float64Array:
        """Covariance of the noise."""
        points = np.arange(len(self.mean))
        return np.asarray(np.power(self.rho, np.abs(np.subtract.outer(points, points))))


def humps(depth: Float64Array) -> dict[tuple[float, float, float], Float64Array]:
    """Return humps of height 1, by peak and widths, which are neighbors in `WIDTHS` or the same."""
    found = {}
    for peak in PEAKS:
        for left in WIDTHS:
            for right in WIDTHS:
                curve = hump(depth, peak, left, right)
                if curve[[0, -1]].max() <= 1 - ARM and abs(left - right) < 0.1:
                    found[peak, left, right] = curve
    return found


def unturned(depth: Float64Array) -> list[Kind]:
    """Return flat and monotone curves of several heights and correlations."""
    places = ((0.1, 0.03), (0.2, 0.03), (0.2, 0.06), (0.35, 0.05), (0.65, 0.05), (0.8, 0.06))
    rises = [sigmoid(depth, at, scale) for at, scale in (*places, (0.9, 0.03), (0.5, 0.07))]
    rises += [plateau(depth, scale) for scale in (0.06, 0.15, 0.3)]
    rises += [linear(depth), late_rise(depth), decay(depth)]
    means = [0 * depth]
    means += [sign * height * rise for rise in rises for height in NULL_HEIGHTS for sign in (1, -1)]
    return [Kind(mean, rho) for mean in means for rho in NULL_CORRELATIONS]


def found_with_true_errors(kind: Kind, rng: np.random.Generator) -> float:
    """Return the share of curves of a kind that are humps if their errors are known."""
    n = len(kind.mean)
    depth, layer = np.linspace(0, 1, n), np.arange(n)
    errors = Errors("true", kind.covariance, DF, np.zeros((1, n)))
    curves = kind.draw(rng, N_CURVES)
    rows = [shape_row(Profile({}, layer, depth, y, None, 1), errors, 0.05) for y in curves]
    return float(np.mean([row["verdict"] == "hump" for row in rows]))


def log_densities(kinds: list[Kind], y: Float64Array) -> Float64Array:
    r"""Return the log densities of curves' invariants, shape (n_kinds, n_curves), up to a constant.

    With C the correlation matrix and Q its inverse without the level, the density is

    .. math:: |C|^{-1/2} (1' C^{-1} 1)^{-1/2} \int u^{n - 2} \exp(-(u y - m)' Q (u y - m) / 2) du.
    """
    n = y.shape[1]
    out = np.empty((len(kinds), len(y)))
    for rho in {kind.rho for kind in kinds}:
        rows = [i for i, kind in enumerate(kinds) if kind.rho == rho]
        means = np.array([kinds[i].mean for i in rows])
        c = kinds[rows[0]].covariance
        inverse = np.linalg.inv(c)
        ones = inverse.sum(axis=1)
        q = inverse - np.outer(ones, ones) / ones.sum()
        constant = -0.5 * (np.linalg.slogdet(c)[1] + np.log(ones.sum()))
        a, b = ((y @ q) * y).sum(axis=1)[:, None], y @ (means @ q).T
        peak = (b + np.sqrt(b**2 + 4 * a * (n - 1))) / (2 * a)
        width = 1 / np.sqrt(2 * a * peak**2 - b * peak)
        terms = []
        for node in NODES:
            u = peak * np.exp(node * width)
            terms.append((n - 1) * np.log(u) - 0.5 * (a * u - 2 * b) * u)
        whole = special.logsumexp(terms, axis=0) + np.log(width)
        out[rows] = (constant + whole - 0.5 * ((means @ q) * means).sum(axis=1)).T
    return out


def ratios(
    kinds: list[Kind], share: Float64Array, n_draws: int, rng: np.random.Generator
) -> Float64Array:
    """Draw curves from a mixture of kinds; return each kind's density over the mixture's."""
    counts = rng.multinomial(n_draws, share)
    y = np.concatenate([kind.draw(rng, n) for kind, n in zip(kinds, counts, strict=True)])
    log = log_densities(kinds, y)
    mixture = special.logsumexp(log, axis=0, b=share[:, None])
    return np.asarray(np.exp(log - mixture))


def weights(density: Float64Array, asked: Float64Array) -> Float64Array:
    """Return the weights of humps and of curves that do not turn, by a linear program.

    It finds the test (for each draw, the probability of a turn) with the largest share of what is
    asked for; the weights are the dual variables.
    """
    n_humps, n_draws = len(asked), density.shape[1]
    density = density / np.maximum(density.mean(axis=1, keepdims=True), 0.05) / n_draws
    found = np.hstack([-density[:n_humps], asked[:, None]])
    false = np.hstack([density[n_humps:], np.zeros((len(density) - n_humps, 1))])
    rows = np.vstack([found, false])
    limits = np.r_[np.zeros(n_humps), np.full(len(false), SIZE)]
    bounds = [*[(0.0, 1.0)] * n_draws, (None, None)]
    objective = np.r_[np.zeros(n_draws), -1.0]
    solution = linprog(objective, rows, limits, bounds=bounds, method="highs-ipm")
    return np.maximum(-solution.ineqlin.marginals, 0.0)


def bound(some: list[Kind], asked: Float64Array, depth: Float64Array) -> tuple[float, float]:
    """Return the bound for some humps, and its Monte Carlo error with that of what is asked."""
    kinds = [*some, *unturned(depth)]
    n, n_humps = len(kinds), len(some)
    rng = np.random.default_rng([len(depth), n_humps])
    share = np.full(n, 0.6 / (n - n_humps))
    share[:n_humps] = 0.4 / n_humps
    programs = [weights(ratios(kinds, share, N_PROGRAM, rng), asked) for _ in range(N_PROGRAMS)]
    weight = np.mean(programs, axis=0)
    weight /= weight[:n_humps] @ asked
    # Half of the draws come from the kinds that have a weight.
    mixture = 0.5 * weight / weight.sum() + 0.5 * share
    density = ratios(kinds, mixture, N_BOUND, rng)
    found, false = weight[:n_humps] @ density[:n_humps], weight[n_humps:] @ density[n_humps:]
    gain = np.maximum(found - false, 0)
    value = gain.mean() + SIZE * weight[n_humps:].sum()
    of_asked = weight[:n_humps] ** 2 @ (asked * (SHARE_ASKED - asked)) / N_CURVES
    return float(value), float(np.sqrt(gain.var() / N_BOUND + value**2 * of_asked))


def rows(n_layers: int) -> Iterator[dict[str, Any]]:
    """Yield a row for the hump in the middle, and one for all humps."""
    depth = np.linspace(0, 1, n_layers + 1)
    of = {
        key: [Kind(HEIGHT * curve, rho) for rho in CORRELATIONS]
        for key, curve in humps(depth).items()
    }
    rng = np.random.default_rng(n_layers)
    asked = {
        key: np.array([SHARE_ASKED * found_with_true_errors(kind, rng) for kind in kinds])
        for key, kinds in of.items()
    }
    sets = {"in the middle": [(0.5, 0.25, 0.25)], f"{len(of)} humps": list(of)}
    for name, keys in sets.items():
        kinds = [kind for key in keys for kind in of[key]]
        value, error = bound(kinds, np.concatenate([asked[key] for key in keys]), depth)
        yield {"n_layers": n_layers, "humps": name, "bound": value, "mc_error": error}


def main() -> None:
    """Write the table, after each number of layers."""
    found: list[dict[str, Any]] = []
    for n_layers in [int(n) for n in sys.argv[1:]] or LAYERS:
        found += rows(n_layers)
        pd.DataFrame(found).to_csv(OUT, index=False, float_format="%.4g")
        print(f"{n_layers} layers: done", flush=True)


if __name__ == "__main__":
    main()
