"""Situations of these models: nulls, margins and coverage with the topics as the sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from generator import FLOOR, Noise, Study, decay, draw_models, draw_study, hump, plateau
from scipy.optimize import brentq
from studies import HEIGHT, LEVEL_SD, Curve, Rng
from targets import COVERAGE, SIZE, Asked, Situation

from analysis.over_models.causal import ABLATION
from study.arrays import Float64Array

GRID = np.linspace(0, 1, 401)
#: The margins of the standard rules.
DELTA, CURVE_DELTA, AMPLITUDE_DELTA = 0.10, 0.10, 0.25
#: The margin of `control_test`.
SAME = 0.1
wide, wide_back = (partial(hump, peak=0.5, left=a, right=b) for a, b in ((0.2, 0.35), (0.35, 0.2)))


def fixed_models(
    rng: Rng,
    curves: Sequence[Curve],
    *,
    topics: int,
    sd: float,
    added: Sequence[float] = (),
    heights: Sequence[float] = (),
    truth: Mapping[str, float] | None = None,
    peaks: Sequence[float] = (),
) -> Study:
    """Draw one model for each curve, in families of their own, that share half of their topics.

    Parameters
    ----------
    rng : Generator
    curves : sequence of callable
    topics, sd
        Of the noise.
    added : sequence of float, optional
        What generation adds to each model; with it, there are two methods.
    heights : sequence of float, optional
        In units of the usual height.
    truth : mapping, optional
    peaks : sequence of float, optional
        Where each model peaks: the truth, by the model's name.
    """
    noise = Noise(sd=sd, topics=topics, replicates=200, shared=0.5)
    models = draw_models(rng, (1,) * len(curves))
    sizes = np.linspace(8.5, 9.5, len(models))
    models = [replace(m, n_params=float(10**x)) for m, x in zip(models, sizes, strict=True)]
    profiles = []
    for i, (model, curve) in enumerate(zip(models, curves, strict=True)):
        level = FLOOR + LEVEL_SD * rng.standard_normal() if not truth else FLOOR
        y = level + HEIGHT * (heights[i] if len(heights) else 1.0) * curve(model.depth)
        for number, method in enumerate(("comprehension", "generation")[: 1 + bool(len(added))]):
            more = added[i] if number else 0.0
            profiles.append((model, {"method": method}, y + more))
    known = dict(truth or {})
    known |= {m.name: x for m, x in zip(models, peaks or added, strict=False)}
    return draw_study(rng, profiles, noise, known)


def fixed_twins(
    rng: Rng, pairs: Sequence[tuple[Curve, Curve]], *, topics: int, sd: float, times: float = 1.0
) -> Study:
    """Draw a trained and an untrained model for each pair; the first twin is `times` as high."""
    noise = Noise(sd=sd, topics=topics, replicates=200, shared=0.5)
    profiles = []
    for i, (model, pair) in enumerate(zip(draw_models(rng, (1,) * len(pairs)), pairs, strict=True)):
        for weights, curve in zip(("trained", "untrained"), pair, strict=True):
            height = HEIGHT * (times if (i, weights) == (0, "untrained") else 1.0)
            y = FLOOR + LEVEL_SD * rng.standard_normal() + height * curve(model.depth)
            profiles.append((model, {"weights": weights}, y))
    return draw_study(rng, profiles, noise)


def fixed_ablation(
    rng: Rng, places: Sequence[tuple[float, float]], *, topics: int, sd: float, lost: float = 1.0
) -> Study:
    """Draw losses at every third layer, and separation at every layer.

    Parameters
    ----------
    rng : Generator
    places : sequence of (float, float)
        For each model, the depth where ablation loses most, and the peak of separation.
    topics, sd
        Of the noise.
    lost : float
        The first model's loss, in units of the others'.
    """
    noise = Noise(sd=sd, topics=topics, replicates=200, shared=0.5)
    models = draw_models(rng, (1,) * len(places), (24, 32))
    profiles = []
    for i, (model, (causal, read)) in enumerate(zip(models, places, strict=True)):
        loss = HEIGHT * (1.0 if i else lost) * hump(model.depth, causal)
        profiles.append((model, {"method": ABLATION, "metric": "separation_lost"}, loss))
        profiles.append((model, {"metric": "auc"}, FLOOR + HEIGHT * hump(model.depth, read)))
    truth = {m.name: causal - read for m, (causal, read) in zip(models, places, strict=True)}
    study = draw_study(rng, profiles, noise, truth)
    assert study.replicates is not None
    return replace(study, table=thinned(study.table), replicates=thinned(study.replicates))


def thinned(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with every third layer of what ablation loses."""
    return table[(table["method"] != ABLATION) | (table["layer"] % 3 == 0)]


def departure(first: Float64Array, second: Float64Array) -> float:
    """Return the largest difference of two curves' shapes, as `invariance_test` defines it."""
    x, z = first - first.mean(), second - second.mean()
    mean = (x + z) / 2
    size = mean @ mean
    apart = x / (x @ mean / size) - z / (z @ mean / size)
    return float(np.abs(apart).max() / np.ptp(mean))


def moved_to(margin: float) -> float:
    """Return the peak of a hump whose shape is a margin away from that of a hump at 0.5."""
    still = hump(GRID)
    return float(brentq(lambda at: departure(still, hump(GRID, at)) - margin, 0.501, 0.7))


def these_models() -> Iterator[tuple[str, Situation]]:
    """Yield situations for 12 and 24 topics and two and nine models."""
    for topics in (12, 24):
        for n in (2, 9):
            name = f"{topics} topics, {n} models"
            draw = partial(fixed_models, topics=topics)
            for place, others in ((0.6, 0.5), (0.4, 0.5), (0.5, 0.5)):
                peaks = (place, *(others,) * (n - 1))
                humps = [partial(hump, peak=at) for at in peaks]
                asked: Asked = {
                    "localization_test, these models": {
                        "elsewhere": SIZE,
                        "each model's interval covers": COVERAGE,
                        "interval of the mean covers": COVERAGE,
                        **({"at target": SIZE} if place != others else {}),
                    }
                }
                where = "at the edge" if place != others else "at the target"
                yield (
                    f"one model's peak at {place}, {where}, {name}",
                    _these(partial(draw, curves=humps, sd=0.003, peaks=peaks), asked),
                )
            skewed = [wide, wide_back] * n
            covers = {"each model's interval covers": COVERAGE, "elsewhere": SIZE}
            asked = {"localization_test, these models": covers}
            yield (
                f"skewed peaks at 0.5, {name}",
                _these(partial(draw, curves=skewed[:n], sd=0.003, peaks=(0.5,) * n), asked),
            )
            same = [hump] * n
            null: Asked = {
                "invariance_test, these models": {
                    "not invariant": SIZE,
                    "shapes differ": SIZE,
                    "amplitudes differ": SIZE,
                }
            }
            yield f"the same curve, {name}", _these(partial(draw, curves=same, sd=0.01), null)
            false: Asked = {"invariance_test, these models": {"invariant": SIZE}}
            at_margin = [partial(hump, peak=moved_to(CURVE_DELTA)), *same[1:]]
            yield (
                f"one shape at the margin, {name}",
                _these(partial(draw, curves=at_margin, sd=0.001), false),
            )
            ratio = (2 + AMPLITUDE_DELTA) / (2 - AMPLITUDE_DELTA)
            yield (
                f"one amplitude at the margin, {name}",
                _these(
                    partial(draw, curves=same, heights=(ratio, *(1.0,) * (n - 1)), sd=0.001),
                    false,
                ),
            )
            for effect, of in ((0.0, "no"), (0.05, "one")):
                added = (0.0, *(effect,) * (n - 1))
                targets = {
                    "a better": SIZE,
                    "b better": SIZE,
                    "each model's interval covers": COVERAGE,
                    "interval of the mean covers": COVERAGE,
                    "a difference in a model": SIZE,
                    "a difference after Holm": SIZE,
                }
                kind = "no model differs" if of == "no" else "all models but one differ"
                yield (
                    f"methods: {kind}, {name}",
                    _these(
                        partial(draw, curves=same, sd=0.01, added=added),
                        {"method_test, these models": targets},
                    ),
                )
            for change in (0.0, DELTA):
                at = 0.5 + change * np.linspace(-0.5, 0.5, n)
                humps = [partial(hump, peak=float(x)) for x in at]
                word = "invariant" if change else "not invariant"
                yield (
                    f"the peak moves by {change:g} with size, {name}",
                    _these(
                        partial(draw, curves=humps, sd=0.003, truth={"scale": change}),
                        {"scale_test, these models": {word: SIZE, "interval covers": COVERAGE}},
                    ),
                )
            # Layer 0 is at 0.1 above chance and half of the best layer.
            half = 0.05 / (0.5 - float(hump(np.zeros(1))[0])) / HEIGHT
            yield (
                f"layer 0 at half of the best layer, {name}",
                _these(
                    partial(draw, curves=same, heights=(half,) * n, sd=0.003, truth={"share": 0.5}),
                    {
                        "embeddings, these models": {
                            "supported": SIZE,
                            "contradicted": SIZE,
                            "interval covers": COVERAGE,
                        }
                    },
                ),
            )


def these_shapes() -> Iterator[tuple[str, Situation]]:
    """Yield shapes, controls and causal depths of two and nine models, with 24 topics."""
    false: Asked = {"u_shape_test, these models": {"hump": SIZE}}
    taught: Asked = {"control_test, these models": {"learned": SIZE}}
    for n in (2, 9):
        name = f"24 topics, {n} models"
        draw = partial(fixed_models, topics=24, sd=0.01)
        for curve, word in ((plateau, "a plateau"), (decay, "a decay")):
            one = partial(draw, curves=[curve, *[hump] * (n - 1)])
            yield f"one model has {word}, the rest humps, {name}", _these(one, false)
        humps = partial(draw, curves=[hump] * n)
        true: Asked = {"u_shape_test, these models": {"otherwise": SIZE}}
        yield f"each model has a hump, {name}", _these(humps, true)
        twins = partial(fixed_twins, topics=24, sd=0.01)
        learned = [(hump, decay)] * (n - 1)
        one = partial(twins, pairs=[(hump, hump), *learned])
        yield f"one untrained twin has the same hump, the rest decays, {name}", _these(one, taught)
        one = partial(twins, pairs=[(plateau, decay), *learned])
        yield f"one model has a plateau and no hump to learn, {name}", _these(one, taught)
        edge = partial(twins, pairs=[(hump, hump), *learned], times=1 / (1 + SAME))
        never: Asked = {"control_test, these models": {"not learned": SIZE}}
        yield f"one untrained twin is lower by the margin, {name}", _these(edge, never)
        causal = partial(fixed_ablation, topics=24, sd=0.005)
        same = [(0.5, 0.5)] * n
        covers = {"each model's interval covers": COVERAGE}
        equal: Asked = {"causal_profile": {"another depth": SIZE, "models apart": SIZE, **covers}}
        yield f"ablation and separation at 0.5, {name}", _these(partial(causal, places=same), equal)
        apart = [(0.4, 0.5), *same[1:]]
        moved: Asked = {"causal_profile": {"first same": SIZE, "models together": SIZE, **covers}}
        yield (
            f"one model loses most a margin before its peak, {name}",
            _these(partial(causal, places=apart), moved),
        )
        nothing: Asked = {"causal_profile": {"first lost": SIZE, "models together": SIZE}}
        yield (
            f"one model loses nothing, {name}",
            _these(partial(causal, places=same, lost=0.0), nothing),
        )


def _these(draw: partial[Study], asked: Asked) -> Situation:
    return Situation("these models", draw, asked)
