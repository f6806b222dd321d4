"""Compute the scales of the errors of bare curves: the tables in `analysis.profiles.bare`.

    python benchmarks/bare_reference.py turns      # 20 minutes on a core
    python benchmarks/bare_reference.py halves     # as long; numbers of points may follow

Averaged over what explains a curve, the errors are too small where noise drifts and too large where
it does not. The scale makes up for it: at each correlation, it is about the least with which no
kind of curve that does not turn (flat, or a rise that is early, in the middle or late, of 2 or 5
noise SD) is said to turn more than 5% of the time. It may not fall with the correlation. As the
scales of neighboring correlations act together, they are found step by step, and in the end all are
raised by what the worst kind of curve still asks for.

The test that both halves of the depth go the same way has a scale of its own. It is the least with
which no kind of curve whose halves do not (flat, a rise that leaves one half flat, or a hump) is
said to be monotone more than 5% of the time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from generator import hump, noise_rows
from scipy import optimize, special
from scipy.interpolate import RegularGridInterpolator

from analysis.profiles.bare import (
    EXPONENT,
    HALVES_SHARPNESS,
    HUMPS,
    QUADRATIC,
    RHO,
    RISES,
    SCALE_POINTS,
    SCALE_RHO,
    SPLINE,
    prior,
    scatter,
)
from analysis.profiles.lines import line_weights, places
from analysis.profiles.mean_forms import MIN_FLEXIBLE
from analysis.profiles.search import searched_p
from study.arrays import Float64Array

ALPHA = 0.05
N_CURVES, N_OF_HALVES = 1000, 500
#: The scale at no correlation is at least this; with few layers, drift can hardly be ruled out.
LEAST = 0.2
LEAST_OF_HALVES = 0.01
STEPS = 12


@dataclass(frozen=True)
class Setting:
    """A prior: the exponent of the correlation, and the odds of the forms of the mean."""

    exponent: float
    odds: tuple[float, ...]

    def log_prior(self, n_points: int) -> Float64Array:
        """Return the log prior, shape (n_forms, n_correlations)."""
        odds = [o for i, o in enumerate(self.odds) if i != 1 or n_points >= MIN_FLEXIBLE]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(odds)[:, None] + prior(self.exponent))


#: The prior of `scatter`.
SHIPPED = Setting(EXPONENT, (QUADRATIC, SPLINE, HUMPS, RISES))


class Lines:
    """Lines before and after each searched place, those of the halves, and their variances."""

    def __init__(self, n_points: int) -> None:
        self.depth = depth = np.linspace(0, 1, n_points)
        self.arms = np.array([line_weights(depth, at) for at in places(depth)]).swapaxes(0, 1)
        self.halves = line_weights(depth, 0.5)
        distance = np.abs(np.subtract.outer(depth, depth)) * (n_points - 1)
        correlation = RHO[:, None, None] ** distance
        moved = np.einsum("amn,rnk->ramk", self.arms, correlation)
        self.variance = np.einsum("ramk,amk->ram", moved, self.arms)
        self.neighbors = np.einsum("ramk,amk->ram", moved[:, :, :-1], self.arms[:, 1:])
        self.of_halves = np.einsum("an,rnk,ak->ra", self.halves, correlation, self.halves)

    @cached_property
    def limits(self) -> RegularGridInterpolator:
        """Return the t for which the searched p is 0.05, by df and length of the search."""
        n = len(self.depth)
        df = np.linspace(max(n - 5, 1), n - 2, 4)
        length = np.linspace(0, 10, 21)
        found = [[limit(d, x) for x in length] for d in df]
        return RegularGridInterpolator((df, length), found)


def limit(df: float, length: float) -> float:
    """Return the t for which the searched p is 0.05."""
    return float(optimize.brentq(lambda t: searched_p(np.array(t), df, length) - ALPHA, 0.1, 1e4))


@dataclass(frozen=True)
class Tested:
    """The t of curves' arms and halves, df, and the length of each arm's search."""

    arms: Float64Array
    halves: Float64Array
    df: Float64Array
    length: Float64Array

    def largest(self, lines: Lines) -> Float64Array:
        """Return by how much the weaker arm of each curve's best turn exceeds its limit."""
        # Longer searches have a higher limit; taking that of 10 makes the scale a little larger.
        n = len(lines.depth)
        df = np.clip(self.df, max(n - 5, 1), n - 2)
        at = [np.column_stack([df, np.minimum(x, 10)]) for x in self.length.T]
        over = self.arms / np.stack([lines.limits(x) for x in at], axis=1)[..., None]
        turns = np.array([np.minimum(over[:, 0], -over[:, 1]), np.minimum(-over[:, 0], over[:, 1])])
        return np.asarray(turns.max(axis=(0, 2)))

    def weaker(self) -> Float64Array:
        """Return by how much the weaker half exceeds its limit; 0 where the halves disagree."""
        over = np.abs(self.halves).min(axis=1) / special.stdtrit(self.df, 1 - ALPHA / 2)
        return np.where(np.sign(self.halves[:, 0]) == np.sign(self.halves[:, 1]), over, 0.0)


class Curves:
    """Curves, with the likelihoods of the models of their errors."""

    def __init__(self, lines: Lines, y: Float64Array) -> None:
        self.lines, self.y = lines, y
        models = [scatter(lines.depth, curve) for curve in y]
        of_package = SHIPPED.log_prior(y.shape[1])
        shape = (len(y), *of_package.shape)
        with np.errstate(divide="ignore"):
            self.log_likelihood = np.log([m.weight for m in models]).reshape(shape) - of_package
        self.variance = np.reshape([m.sigma**2 for m in models], shape)
        self.df = models[0].df.reshape(of_package.shape)

    def tested(self, setting: Setting, scale: Float64Array, sharpness: float = 1.0) -> Tested:
        """Return the tests under a prior and the scales at the correlations `SCALE_RHO`.

        The scale is averaged with the correlations' probabilities to the power `sharpness`.
        """
        log = self.log_likelihood + setting.log_prior(self.y.shape[1])
        weight = np.exp(log - log.max(axis=(1, 2), keepdims=True))
        weight /= weight.sum(axis=(1, 2), keepdims=True)
        variance = (weight * self.variance).sum(axis=1)
        share = weight.sum(axis=1) ** sharpness
        scales = share @ np.interp(RHO, SCALE_RHO, scale) / share.sum(axis=1)
        arms = np.sqrt(np.tensordot(variance, self.lines.variance, axes=1))
        halves = np.sqrt(variance @ self.lines.of_halves)
        neighbors = np.tensordot(variance, self.lines.neighbors, axes=1)
        cosine = neighbors / (arms[..., :-1] * arms[..., 1:])
        return Tested(
            np.einsum("amn,cn->cam", self.lines.arms, self.y) / arms / scales[:, None, None],
            self.y @ self.lines.halves.T / halves / scales[:, None],
            (weight * self.df).sum(axis=(1, 2)),
            np.arccos(np.clip(cosine, -1, 1)).sum(axis=-1),
        )


def unturned(lines: Lines, n_curves: int) -> list[list[Curves]]:
    """Draw curves that do not turn: for each correlation, a list by kind."""
    x, rng = lines.depth, np.random.default_rng(len(lines.depth))
    rises = [1 - np.exp(-x / 0.17), 1 / (1 + np.exp((0.5 - x) / 0.06)), np.exp((x - 1) / 0.1)]
    means = [0 * x, *(height * rise for rise in rises for height in (2, 5))]
    return [
        [Curves(lines, mean + noise_rows(rng, (n_curves, len(x)), 1.0, rho)) for mean in means]
        for rho in SCALE_RHO
    ]


def bent(lines: Lines, n_curves: int) -> list[list[Curves]]:
    """Draw curves whose halves do not go the same way: for each correlation, a list by kind."""
    x, rng = lines.depth, np.random.default_rng(len(lines.depth))
    curves = [
        1 - np.exp(-x / 0.06),
        *(1 / (1 + np.exp((at - x) / 0.06)) for at in (0.2, 0.8)),
        hump(x),
        hump(x, 0.3, 0.15),
    ]
    means = [0 * x, *(height * curve for curve in curves for height in (2, 5))]
    return [
        [Curves(lines, mean + noise_rows(rng, (n_curves, len(x)), 1.0, rho)) for mean in means]
        for rho in SCALE_RHO
    ]


def scale(lines: Lines, curves: list[list[Curves]], setting: Setting) -> Float64Array:
    """Return the scale of turns at each of `SCALE_RHO`, given curves that do not turn."""
    return least(curves, lambda c, row: c.tested(setting, row).largest(lines), LEAST)


def scale_of_halves(curves: list[list[Curves]]) -> Float64Array:
    """Return the scale of halves at each of `SCALE_RHO`, given curves whose halves disagree."""
    return least(
        curves, lambda c, row: c.tested(SHIPPED, row, HALVES_SHARPNESS).weaker(), LEAST_OF_HALVES
    )


def least(
    curves: list[list[Curves]],
    exceeding: Callable[[Curves, Float64Array], Float64Array],
    lowest: float,
) -> Float64Array:
    """Return the least scales with which no kind of curve exceeds its limit too often."""

    def excess(row: Float64Array) -> Float64Array:
        worst = [max(np.quantile(exceeding(c, row), 1 - ALPHA) for c in kinds) for kinds in curves]
        return np.array(worst)

    row = np.ones(len(SCALE_RHO))
    for _ in range(STEPS):
        asked = np.maximum(row * np.clip(excess(row), 0.5, 2) ** 0.7, lowest)
        row = np.exp(optimize.isotonic_regression(np.log(asked)).x)
    return np.asarray(row * max(1.0, float(excess(row).max())))


def main() -> None:
    """Print a table, one row per number of points."""
    table, *points = sys.argv[1:] or [""]
    if table not in ("turns", "halves"):
        raise SystemExit("name a table: turns or halves")
    for n_points in [int(n) for n in points] or SCALE_POINTS:
        lines = Lines(n_points)
        if table == "turns":
            row = scale(lines, unturned(lines, N_CURVES), SHIPPED)
        else:
            row = scale_of_halves(bent(lines, N_OF_HALVES))
        print(f"    ({', '.join(f'{x:.2f}' for x in row)}),  # {n_points}", flush=True)


if __name__ == "__main__":
    main()
