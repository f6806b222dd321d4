"""The studies that the calibration draws: what families share and where they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from generator import FLOOR, Model, Noise, Study, draw_models, draw_study, hump, true_errors

from study.arrays import Float64Array

Rng = np.random.Generator
Curve = Callable[[Float64Array], Float64Array]

#: Spread between models of the quantities that a situation is not about.
LEVEL_SD, PLACE_SD, HEIGHT_SD = 0.03, 0.02, 0.01
HEIGHT = 0.1
NINE = (2, 2, 2, 2, 1)


def of_families(rng: Rng, models: Sequence[Model], between: float, within: float) -> Float64Array:
    """Draw an effect for each model: its family's plus its own."""
    number = family_numbers(models)
    shared = between * rng.standard_normal(max(number) + 1)
    return np.asarray(shared[number] + within * rng.standard_normal(len(models)))


def family_numbers(models: Sequence[Model]) -> list[int]:
    """Return the index of each model's family."""
    names = sorted({m.family for m in models})
    return [names.index(m.family) for m in models]


def one_curve_each(
    rng: Rng,
    models: Sequence[Model],
    curve: Callable[[int, Float64Array], Float64Array],
    *,
    noise: Noise | None = None,
    truth: Mapping[str, float] | None = None,
    level: Callable[[int], float] = lambda i: 0.0,
    height_sd: float = HEIGHT_SD,
) -> Study:
    """Draw one profile per model; `curve` takes the model's index and its depths.

    Every model has its own level and height.
    """
    profiles = []
    for i, model in enumerate(models):
        own = FLOOR + LEVEL_SD * rng.standard_normal() + level(i)
        height = max(HEIGHT + height_sd * rng.standard_normal(), HEIGHT / 4)
        profiles.append((model, {}, own + height * curve(i, model.depth)))
    return draw_study(rng, profiles, noise or Noise(), truth)


def shared_peak(
    rng: Rng,
    families: Sequence[int],
    between: float,
    within: float,
    *,
    center: float = 0.5,
    noise: Noise | None = None,
) -> Study:
    """Draw humps with a place that families share."""
    models = draw_models(rng, families)
    peaks = center + of_families(rng, models, between, within)
    return one_curve_each(
        rng, models, lambda i, d: hump(d, peaks[i]), truth={"peak": center}, noise=noise
    )


def same_curve(
    rng: Rng,
    families: Sequence[int],
    curve: Curve,
    *,
    place_sd: float = PLACE_SD,
    truth: Mapping[str, float] | None = None,
    noise: Noise | None = None,
    layers: tuple[int, int] = (12, 32),
) -> Study:
    """Draw models that share a curve; its place, level and height vary between models."""
    models = draw_models(rng, families, layers)
    shift = place_sd * rng.standard_normal(len(models))
    return one_curve_each(rng, models, lambda i, d: curve(d - shift[i]), truth=truth, noise=noise)


def curve_per_family(
    rng: Rng,
    families: Sequence[int],
    curves: Sequence[Curve],
    *,
    levels: Sequence[float] = (0.0,),
    place_sd: float = 0.0,
) -> Study:
    """Give each family a curve and a level, repeating them if there are fewer than families."""
    models = draw_models(rng, families)
    number = family_numbers(models)
    shift = place_sd * rng.standard_normal(len(models))
    return one_curve_each(
        rng,
        models,
        lambda i, d: curves[number[i] % len(curves)](d - shift[i]),
        level=lambda i: levels[number[i] % len(levels)],
    )


def two_methods(
    rng: Rng,
    families: Sequence[int],
    mean: float,
    effects: Callable[[Rng, Sequence[Model]], Float64Array],
) -> Study:
    """Draw humps by two methods; `effects` are the models' differences beyond the mean."""
    models = draw_models(rng, families)
    levels = FLOOR + LEVEL_SD * rng.standard_normal(len(models))
    added = mean + effects(rng, models)
    profiles = [
        (m, {"method": method}, levels[i] + share * added[i] + HEIGHT * hump(m.depth))
        for i, m in enumerate(models)
        for method, share in (("comprehension", 0.0), ("generation", 1.0))
    ]
    return draw_study(rng, profiles, Noise(), {"method": mean})


def long_tail(rng: Rng, models: Sequence[Model]) -> Float64Array:
    """Draw differences from a shifted exponential distribution: mean 0, one long tail."""
    return np.asarray(0.05 * (rng.exponential(size=len(models)) - 1))


def sizes(
    rng: Rng,
    families: Sequence[int],
    between: float,
    within: float,
    *,
    change: float = 0.0,
    grouped: bool = True,
) -> Study:
    """Draw humps whose place moves by `change` over the study's range of sizes.

    With `grouped`, sizes depend on the family. Any shared part of the place is added.
    """
    models = draw_models(rng, families)
    if grouped:
        center = rng.uniform(8.2, 9.8, max(family_numbers(models)) + 1)
        size = center[family_numbers(models)] + rng.uniform(-0.2, 0.2, len(models))
        models = [
            replace(m, n_params=float(np.round(10**x))) for m, x in zip(models, size, strict=True)
        ]
    log = np.log10([m.n_params for m in models])
    peaks = 0.5 + change * ((log - log.min()) / np.ptp(log) - 0.5)
    peaks = peaks + of_families(rng, models, between, within)
    return one_curve_each(rng, models, lambda i, d: hump(d, peaks[i]), truth={"scale": change})


def unequal_spread(rng: Rng) -> Study:
    """Draw groups of 8 and 3 models with the same mean peak and very different spreads."""
    models = draw_models(rng, (8, 3))
    spread = np.array([0.01, 0.15])[family_numbers(models)]
    peaks = 0.5 + spread * rng.standard_normal(len(models))
    return one_curve_each(rng, models, lambda i, d: 1 - 4 * (d - peaks[i]) ** 2)


def one_family_moved(rng: Rng, families: Sequence[int], by: float) -> Study:
    """Draw humps of one shape; the first family's are `by` away from the mean over families."""
    models = draw_models(rng, families)
    number = np.array(family_numbers(models))
    rest = -by / max(number)
    peaks = 0.5 + np.where(number == 0, by, rest) + PLACE_SD * rng.standard_normal(len(models))
    return one_curve_each(rng, models, lambda i, d: hump(d, peaks[i]))


def two_places(rng: Rng, families: Sequence[int], *, by_family: bool) -> Study:
    """Draw humps at 0.3 and at 0.7, alternating over families or over models."""
    models = draw_models(rng, families)
    which = np.array(family_numbers(models) if by_family else range(len(models))) % 2
    peaks = np.where(which == 1, 0.3, 0.7) + PLACE_SD * rng.standard_normal(len(models))
    return one_curve_each(rng, models, lambda i, d: hump(d, peaks[i], 0.2))


def with_twins(rng: Rng, trained: Curve, untrained: Curve, *, times: float = 1.0) -> Study:
    """Draw nine trained models, `times` as high as their curve, and their untrained twins."""
    profiles = []
    for m in draw_models(rng, NINE):
        level = FLOOR + LEVEL_SD * rng.standard_normal()
        height = HEIGHT + HEIGHT_SD * rng.standard_normal()
        profiles.append((m, {"weights": "trained"}, level + times * height * trained(m.depth)))
        profiles.append((m, {"weights": "untrained"}, level + height * untrained(m.depth)))
    return draw_study(rng, profiles, Noise())


def one_curve(
    rng: Rng, curve: Curve, n_layers: int, rho: float, height: float, *, replicates: int = 0
) -> Study:
    """Draw one profile with a height in units of noise SD; replicates have its true errors."""
    model = replace(draw_models(rng, (1,))[0], n_layers=n_layers)
    noise = Noise(sd=HEIGHT / 5, rho=rho, topics=0, replicates=replicates)
    profile = FLOOR + height * noise.sd * curve(model.depth)
    study = draw_study(rng, [(model, {}, profile)], noise, {"rho": rho})
    return true_errors(rng, study, noise) if replicates else study
