"""Show what other priors for the errors of bare curves would gain, and what they would cost.

    python benchmarks/bare_prior.py 1000     # writes results/bare_prior.csv, 15 minutes on a core

`analysis.profiles.bare.scatter` has a prior for the correlation, (1 - rho) to minus an exponent,
and gives both forms of the mean the same odds. This script tries others. The scale of the errors
is computed from noise again, as in `bare_reference`, and multiplied by the least factor with which
no flat or monotone curve of those tried is said to turn in more than 5%. At that common size, it
counts how often both arms of a hump are shown (for humps in the middle, as in the calibration, and
for early, narrow and skewed ones), and how often a straight rise is monotone. The setting that is
shipped comes first for each number of layers, with a factor of 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bare_reference import limit
from generator import decay, flat, hump, late_rise, linear, noise_rows, plateau, sigmoid

from analysis.families import t_above
from analysis.profiles.bare import (
    PRIOR,
    PRIOR_POINTS,
    RHO,
    SCALE,
    SCALE_POINTS,
    SCALE_RHO,
    scatter,
)
from analysis.profiles.lines import line_weights, places
from analysis.profiles.search import searched_p
from study.arrays import Float64Array

OUT = Path(__file__).parent / "results" / "bare_prior.csv"
LAYERS = (8, 12, 24, 48, 80)
CORRELATIONS = (0.0, 0.5, 0.9, 0.97)
ALPHA = 0.05
EXPONENTS = (0.6, 0.9, 1.2)
#: Of the spline over the quadratic.
ODDS = (4.0, 1.0, 1 / 20, 1 / 3000)
FACTORS = np.round(np.linspace(0.6, 1.6, 101), 2)
#: Curves that do not turn, with their heights in noise SD.
NULLS = [(flat, 0), *((curve, h) for curve in (plateau, decay, sigmoid, late_rise) for h in (2, 5))]
#: Humps and a rise, of 5 noise SD.
WANTED: dict[str, Callable[[Float64Array], Float64Array]] = {
    "middle hump": hump,
    "early hump": partial(hump, peak=0.25, left=0.12, right=0.2),
    "narrow hump": partial(hump, left=0.1),
    "skewed hump": partial(hump, peak=0.35, left=0.1, right=0.3),
    "straight rise": linear,
}


@dataclass(frozen=True)
class Setting:
    """A prior, and the scale of the errors at the correlations `SCALE_RHO`."""

    exponent: float
    odds: float
    scale: Float64Array

    def log_prior(self) -> Float64Array:
        """Return the log prior of both forms of the mean, shape (2, n_correlations)."""
        rho = np.log(np.gradient(RHO)) - self.exponent * np.log1p(-RHO)
        return np.array([rho, rho + np.log(self.odds)])


def shipped(n_points: int) -> Setting:
    """Return the setting of `scatter` and `small_sample_scale`."""
    scale = [np.interp(n_points, SCALE_POINTS, column) for column in zip(*SCALE, strict=True)]
    return Setting(float(np.interp(n_points, PRIOR_POINTS, PRIOR)), 1.0, np.array(scale))


class Lines:
    """Lines before and after each searched place, those of the halves, and their variances."""

    def __init__(self, n_layers: int) -> None:
        self.depth = depth = np.linspace(0, 1, n_layers + 1)
        self.arms = np.array([line_weights(depth, at) for at in places(depth)]).swapaxes(0, 1)
        self.halves = line_weights(depth, 0.5)
        distance = np.abs(np.subtract.outer(depth, depth)) * n_layers
        correlation = RHO[:, None, None] ** distance
        moved = np.einsum("amn,rnk->ramk", self.arms, correlation)
        self.variance = np.einsum("ramk,amk->ram", moved, self.arms)
        self.neighbors = np.einsum("ramk,amk->ram", moved[:, :, :-1], self.arms[:, 1:])
        self.of_halves = np.einsum("an,rnk,ak->ra", self.halves, correlation, self.halves)


@dataclass(frozen=True)
class Tested:
    """The t of curves' arms and halves, df, and the length of each arm's search."""

    arms: Float64Array
    halves: Float64Array
    df: Float64Array
    length: Float64Array

    def turned(self, way: int) -> Float64Array:
        """Return the largest of `FACTORS` with which a curve is said to turn; 0 if none."""
        towards = np.array([way, -way])[:, None] * self.arms
        best = towards.min(axis=1).argmax(axis=1)
        t = towards[np.arange(len(towards)), :, best]
        largest = np.zeros(len(t))
        for factor in FACTORS:
            p = [searched_p(t[:, a] / factor, self.df, self.length[:, a]) for a in (0, 1)]
            largest[np.maximum(*p) < ALPHA] = factor
        return largest

    def monotone(self, factor: float) -> float:
        """Return the share of curves whose halves are shown to go the same way."""
        same = np.sign(self.halves[:, 0]) == np.sign(self.halves[:, 1])
        p = 2 * t_above(np.abs(self.halves).min(axis=1) / factor, self.df)
        return float(np.mean(same & (p < ALPHA)))


class Curves:
    """Curves, with the likelihoods of the models of their errors."""

    def __init__(self, lines: Lines, y: Float64Array) -> None:
        self.lines, self.y = lines, y
        models = [scatter(lines.depth, curve) for curve in y]
        prior = shipped(y.shape[1]).log_prior()
        shape = (len(y), *prior.shape)
        with np.errstate(divide="ignore"):
            self.log_likelihood = np.log([m.weight for m in models]).reshape(shape) - prior
        self.variance = np.reshape([m.sigma**2 for m in models], shape)
        self.df = models[0].df.reshape(prior.shape)

    def tested(self, setting: Setting) -> Tested:
        """Return the tests under a setting, with a factor of 1."""
        log = self.log_likelihood + setting.log_prior()
        weight = np.exp(log - log.max(axis=(1, 2), keepdims=True))
        weight /= weight.sum(axis=(1, 2), keepdims=True)
        variance = (weight * self.variance).sum(axis=1)
        scale = weight.sum(axis=1) @ np.interp(RHO, SCALE_RHO, setting.scale)
        arms = np.sqrt(np.tensordot(variance, self.lines.variance, axes=1))
        halves = np.sqrt(variance @ self.lines.of_halves)
        neighbors = np.tensordot(variance, self.lines.neighbors, axes=1)
        cosine = neighbors / (arms[..., :-1] * arms[..., 1:])
        return Tested(
            np.einsum("amn,cn->cam", self.lines.arms, self.y) / arms / scale[:, None, None],
            self.y @ self.lines.halves.T / halves / scale[:, None],
            (weight * self.df).sum(axis=(1, 2)),
            np.arccos(np.clip(cosine, -1, 1)).sum(axis=-1),
        )


def scale_of_noise(noise: list[Curves], setting: Setting) -> Float64Array:
    """Return the scale that `bare_reference` would find under a prior."""
    row = []
    for curves in noise:
        tested = curves.tested(setting)
        limits = np.array(
            [
                [limit(df, x) for x in length]
                for df, length in zip(tested.df, tested.length, strict=True)
            ]
        )
        largest = [tested.arms.max(axis=2) / limits, -tested.arms.min(axis=2) / limits]
        row.append(np.quantile(largest, 0.95))
    return np.array(row)


def sizes(nulls: list[Tested]) -> Float64Array:
    """Return the largest share of any kind of curve that turns, for each of `FACTORS`."""
    turns = [np.maximum(null.turned(1), null.turned(-1)) for null in nulls]
    return np.array([max(np.mean(t >= factor) for t in turns) for factor in FACTORS])


def settings(noise: list[Curves]) -> Iterator[Setting]:
    """Yield the other settings, each with its scale."""
    for exponent in EXPONENTS:
        for odds in ODDS:
            setting = Setting(exponent, odds, np.ones(len(SCALE_RHO)))
            yield replace(setting, scale=scale_of_noise(noise, setting))


def rows(n_layers: int, n_curves: int) -> Iterator[dict[str, Any]]:
    """Yield a row per setting, curve and correlation."""
    lines, rng = Lines(n_layers), np.random.default_rng(n_layers)

    def draw(curve: Callable[[Float64Array], Float64Array], height: float, rho: float) -> Curves:
        noise = noise_rows(rng, (n_curves, n_layers + 1), 1.0, rho)
        return Curves(lines, height * curve(lines.depth) + noise)

    nulls = [draw(curve, height, rho) for curve, height in NULLS for rho in CORRELATIONS]
    wanted = {(name, rho): draw(WANTED[name], 5, rho) for name in WANTED for rho in CORRELATIONS}
    noise = [draw(flat, 0, rho) for rho in SCALE_RHO]
    of_package = shipped(n_layers + 1)
    for setting in (of_package, *settings(noise)):
        size = sizes([curves.tested(setting) for curves in nulls])
        at = np.argmax(size <= ALPHA) if setting is not of_package else np.argmax(FACTORS >= 1)
        keys = {"exponent": setting.exponent, "odds": setting.odds}
        keys |= {"factor": FACTORS[at], "size": size[at]}
        for (name, rho), curves in wanted.items():
            tested = curves.tested(setting)
            if name == "straight rise":
                rate = tested.monotone(FACTORS[at])
            else:
                rate = float(np.mean(tested.turned(1) >= FACTORS[at]))
            found = {"curve": name, "correlation": rho, "rate": rate}
            yield {"n_layers": n_layers, **keys, **found, "n_curves": n_curves}


def main() -> None:
    """Write the table, after each number of layers."""
    n_curves = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    found: list[dict[str, Any]] = []
    for n_layers in LAYERS:
        found += rows(n_layers, n_curves)
        pd.DataFrame(found).to_csv(OUT, index=False, float_format="%.4g")
        print(f"{n_layers} layers: done", flush=True)


if __name__ == "__main__":
    main()
