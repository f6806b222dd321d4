"""Draw studies from a known truth, independently of `analysis.planning.simulate`.

The tests were developed on `analysis.planning.simulate`. This generator shares nothing with it: its
curves are not quadratics, its noise comes from topics, and families may share any effect that a
situation names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis import Scores, as_scores, u_shape_test
from study.arrays import Float64Array

#: Separation far from any peak: an AUC between chance and 0.9.
FLOOR = 0.6
#: Depths at which the part of a topic's noise is drawn that profiles have in common.
COMMON = 25


def hump(
    depth: Float64Array, peak: float = 0.5, left: float = 0.25, right: float | None = None
) -> Float64Array:
    """Return a Gaussian hump of height 1, with a separate width on each side of the peak."""
    width = np.where(depth < peak, left, left if right is None else right)
    return np.asarray(np.exp(-0.5 * ((depth - peak) / width) ** 2))


def tent(depth: Float64Array, peak: float = 0.5) -> Float64Array:
    """Return two straight arms of height 1, from 0 at either end to 1 at the peak."""
    return np.asarray(np.where(depth < peak, depth / peak, (1 - depth) / (1 - peak)))


def two_humps(
    depth: Float64Array, peaks: tuple[float, float] = (0.25, 0.75), width: float = 0.1
) -> Float64Array:
    """Return the larger of two Gaussian humps of height 1 at each depth."""
    return np.maximum(hump(depth, peaks[0], width), hump(depth, peaks[1], width))


def flat(depth: Float64Array) -> Float64Array:
    """Return a flat curve at 0."""
    return np.zeros_like(depth)


def linear(depth: Float64Array) -> Float64Array:
    """Return a straight rise from 0 to 1."""
    return depth


def plateau(depth: Float64Array, scale: float = 0.15) -> Float64Array:
    """Return a rise from 0 that saturates at 1."""
    return np.asarray(1 - np.exp(-depth / scale))


def decay(depth: Float64Array, scale: float = 0.15) -> Float64Array:
    """Return a fall from 1 that levels off at 0."""
    return np.asarray(np.exp(-depth / scale))


def late_arc(depth: Float64Array, fall: float = 0.3) -> Float64Array:
    """Return a rise over the first third, and an arc over the rest that ends where it began."""
    rise = (1 - fall) * np.clip(3 * depth, 0, 1)
    return np.asarray(rise + np.where(depth > 1 / 3, fall * (1 - (3 * depth - 2) ** 2), 0))


def late_parabola(depth: Float64Array, peak: float = 2 / 3) -> Float64Array:
    """Return a parabola of height 1 whose mean slope over the last two thirds is 0."""
    return np.asarray(1 - ((depth - peak) / peak) ** 2)


def sigmoid(depth: Float64Array, middle: float = 0.5, scale: float = 0.07) -> Float64Array:
    """Return a rise from 0 to 1 about the middle."""
    return np.asarray(1 / (1 + np.exp(-(depth - middle) / scale)))


def late_rise(depth: Float64Array) -> Float64Array:
    """Return a curve that stays at 0 and rises to 1 toward the last layer."""
    return np.asarray(np.exp((depth - 1) / 0.12))


@dataclass(frozen=True)
class Noise:
    """The noise of a profile's points.

    Attributes
    ----------
    sd : float
        Standard deviation of a profile's noise, averaged over topics.
    rho : float
        Correlation of the noise of neighboring layers.
    topics : int
        Number of topics that a profile averages over; 0 for a table without replicates.
    replicates : int
        Bootstrap replicates of the topics.
    shared : float, optional
        The share of a topic's variance that all profiles have in common; the replicates then draw
        the same topics for all of them. By default, each profile has topics of its own.
    """

    sd: float = 0.01
    rho: float = 0.9
    topics: int = 24
    replicates: int = 100
    shared: float | None = None


@dataclass(frozen=True)
class Model:
    """One simulated model."""

    name: str
    family: str
    n_layers: int
    n_params: float
    instruct: bool

    @property
    def depth(self) -> Float64Array:
        """Depths of the model's layers, the embedding first."""
        return np.arange(self.n_layers + 1) / self.n_layers


@dataclass(frozen=True)
class Study:
    """A simulated study and the truth behind it."""

    table: pd.DataFrame
    replicates: pd.DataFrame | None = None
    topics: int = 0
    truth: Mapping[str, float] = field(default_factory=dict)

    def scores(self) -> Scores:
        """Return the study in the form that the tests accept."""
        return self._scores

    @cached_property
    def shapes(self) -> pd.DataFrame:
        """The table of `u_shape_test`, shared by several questions."""
        return u_shape_test(self.scores())

    @cached_property
    def _scores(self) -> Scores:
        scores = as_scores(self.table)
        if self.replicates is None:
            return scores
        run = {"topics": [f"topic {i}" for i in range(self.topics)]} if self.topics else {}
        return replace(scores, replicates=self.replicates, run=run)


def draw_models(
    rng: np.random.Generator, families: Sequence[int], layers: tuple[int, int] = (12, 32)
) -> list[Model]:
    """Return models with log-uniform sizes of 1e8 to 1e10; `families` gives their numbers."""
    models = []
    for family, n_models in enumerate(families):
        for _ in range(n_models):
            models.append(
                Model(
                    name=f"model-{len(models):02}",
                    family=f"family-{family:02}",
                    n_layers=int(rng.integers(layers[0], layers[1], endpoint=True)),
                    n_params=float(np.round(10 ** rng.uniform(8, 10))),
                    instruct=bool(rng.random() < 0.5),
                )
            )
    return models


def noise_rows(
    rng: np.random.Generator, shape: tuple[int, int], sd: float, rho: float
) -> Float64Array:
    """Draw rows of stationary AR(1) noise from its covariance."""
    steps = np.arange(shape[1])
    root = np.linalg.cholesky(rho ** np.abs(steps[:, None] - steps) + 1e-12 * np.eye(shape[1]))
    return np.asarray(sd * rng.standard_normal(shape) @ root.T)


def draw_study(
    rng: np.random.Generator,
    profiles: Iterable[tuple[Model, Mapping[str, Any], Float64Array]],
    noise: Noise,
    truth: Mapping[str, float] | None = None,
) -> Study:
    """Add noise to profiles.

    Parameters
    ----------
    rng : Generator
    profiles : iterable of (Model, mapping, ndarray)
        The model, the columns that distinguish its profiles (method, weights), and the noise-free
        separation at each of its layers.
    noise : Noise
    truth : mapping, optional
        What the tests should find.
    """
    tables, copies = [], []
    topics = max(noise.topics, 1)
    sd = noise.sd * np.sqrt(topics)
    if noise.shared is not None:
        at = np.linspace(0, 1, COMMON)
        common = noise_rows(rng, (topics, COMMON), sd * np.sqrt(noise.shared), noise.rho)
        same = rng.multinomial(topics, np.full(topics, 1 / topics), size=noise.replicates)
    for model, columns, curve in profiles:
        n = len(curve)
        keys = {
            "study": "situation",
            "model": model.name,
            "weights": "trained",
            "seed": 0,
            "precision": "float32",
            "method": "comprehension",
            "labels": "true",
            "metric": "score",
            "family": model.family,
            "n_params": model.n_params,
            "n_layers": model.n_layers,
            "instruct": model.instruct,
            **columns,
        }
        if noise.shared is None:
            rows = noise_rows(rng, (topics, n), sd, noise.rho)
        else:
            rows = noise_rows(rng, (topics, n), sd * np.sqrt(1 - noise.shared), noise.rho)
            rows = rows + np.array([np.interp(model.depth, at, row) for row in common])
        score = curve + rows.mean(axis=0)
        place = {"layer": np.arange(n), "depth": model.depth}
        tables.append(pd.DataFrame({**keys, "emotion": "all", **place, "score": score}))
        if noise.topics:
            drawn = (
                rng.multinomial(topics, np.full(topics, 1 / topics), size=noise.replicates)
                if noise.shared is None
                else same
            )
            long = {k: np.tile(v, noise.replicates) for k, v in place.items()}
            number = np.repeat(np.arange(noise.replicates), n)
            again = curve + drawn / topics @ rows
            copies.append(
                pd.DataFrame({**keys, **long, "replicate": number, "score": again.ravel()})
            )
    return Study(
        table=pd.concat(tables, ignore_index=True),
        replicates=pd.concat(copies, ignore_index=True) if copies else None,
        topics=noise.topics,
        truth=dict(truth or {}),
    )


def true_errors(rng: np.random.Generator, study: Study, noise: Noise) -> Study:
    """Give a bare study replicates: each profile plus fresh noise of the true covariance."""
    copies = []
    for _, rows in study.table.groupby("model", sort=False):
        again = np.tile(rows["score"], (noise.replicates, 1))
        again += noise_rows(rng, again.shape, noise.sd, noise.rho)
        copy = pd.concat([rows.drop(columns="emotion")] * noise.replicates, ignore_index=True)
        copy["replicate"] = np.repeat(np.arange(noise.replicates), len(rows))
        copies.append(copy.assign(score=again.ravel()))
    return replace(study, replicates=pd.concat(copies, ignore_index=True))
