"""The situations of the calibration: the studies to draw, the questions to ask, and the targets.

A target bounds the rate of one quantity of one question. Quantities without a target are reported
as well, such as power when families share nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from fixed_situations import these_models, these_shapes
from generator import decay, hump, plateau, two_humps
from profile_situations import bare_curves, peaks, replicated, skewed
from studies import (
    NINE,
    Curve,
    curve_per_family,
    long_tail,
    of_families,
    one_family_moved,
    same_curve,
    shared_peak,
    sizes,
    two_methods,
    unequal_spread,
    with_twins,
)
from targets import COVERAGE, DESIGNS, FALSE_CLAIM, SIZE, Asked, Situation

from study.arrays import Float64Array

TWO, FOUR = (5, 5), (3, 3, 3, 3)

# Their quadratics have the vertex of the other curve of the pair.
skewed_back = partial(hump, peak=0.45, left=0.25, right=0.20)  # 0.44
at_plateau = partial(hump, peak=0.685, left=0.2)  # 0.69


def scaled(depth: Float64Array, times: float) -> Float64Array:
    """Return a hump scaled to another height."""
    return times * hump(depth)


def families_share() -> Iterator[tuple[str, Situation]]:
    """Yield nulls of the tests over models, with and without effects that families share."""
    located: Asked = {"localization_test": {"interval covers": COVERAGE}}
    compared: Asked = {
        "method_test": {
            "a difference": SIZE,
            "mixed model p": SIZE,
            "interval covers": COVERAGE,
        }
    }
    scaled_: Asked = {"scale_test": {"not invariant": SIZE, "interval covers": COVERAGE}}
    for name, design in DESIGNS.items():
        for between in (0.05, 0.08):
            shared = f"families share, SD {between}, {name}"
            yield (
                f"place: {shared}",
                Situation(
                    "families",
                    partial(shared_peak, families=design, between=between, within=0.02),
                    located,
                ),
            )
        effects = partial(of_families, between=0.05, within=0.02)
        yield (
            f"method: families share, SD 0.05, {name}",
            Situation(
                "families",
                partial(two_methods, families=design, mean=0.0, effects=effects),
                compared,
            ),
        )
        yield (
            f"scale: families share, SD 0.08, {name}",
            Situation(
                "families", partial(sizes, families=design, between=0.08, within=0.02), scaled_
            ),
        )
        # Nothing shared: size where there is no effect, power where there is one.
        own = partial(of_families, between=0.0, within=0.05)
        yield (
            f"place: nothing shared, at the target, {name}",
            Situation(
                "power", partial(shared_peak, families=design, between=0.0, within=0.05), located
            ),
        )
        yield (
            f"place: nothing shared, at 0.65, {name}",
            Situation(
                "power",
                partial(shared_peak, families=design, between=0.0, within=0.05, center=0.65),
                located,
            ),
        )
        yield (
            f"method: nothing shared, no effect, {name}",
            Situation(
                "power", partial(two_methods, families=design, mean=0.0, effects=own), compared
            ),
        )
        yield (
            f"method: nothing shared, effect of 1 SD, {name}",
            Situation(
                "power",
                partial(two_methods, families=design, mean=0.05, effects=own),
                {"method_test": {"b better": SIZE, "interval covers": COVERAGE}},
            ),
        )
        for change in (0.0, 0.1, 0.3):
            targets = {"not invariant": SIZE} if not change else {"invariant": SIZE}
            yield (
                f"scale: nothing shared, change {change}, {name}",
                Situation(
                    "power",
                    partial(
                        sizes,
                        families=design,
                        between=0.0,
                        within=0.03,
                        change=change,
                        grouped=False,
                    ),
                    {"scale_test": {**targets, "interval covers": COVERAGE}},
                ),
            )
    yield (
        "method: skewed differences, nine models",
        Situation(
            "families", partial(two_methods, families=NINE, mean=0.0, effects=long_tail), compared
        ),
    )


def whole_curves() -> Iterator[tuple[str, Situation]]:
    """Yield studies in which families differ by a pair of curves, and studies without one."""
    false: Asked = {"invariance_test": {"invariant": FALSE_CLAIM}}
    null: Asked = {"invariance_test": {"not invariant": SIZE}}
    pairs: dict[str, list[Curve]] = {
        "plateau against hump": [plateau, at_plateau],
        "peak 0.30 to 0.45 with a change of skew": [skewed, skewed_back],
        "hump against double hump": [partial(hump, left=0.2), two_humps],
    }
    for name, curves in pairs.items():
        yield (
            name + ", two of five",
            Situation(
                "whole curves", partial(curve_per_family, families=TWO, curves=curves), false
            ),
        )
        odd = [curves[1], curves[0], curves[0], curves[0]]
        yield (
            name + ", one of four of three",
            Situation("whole curves", partial(curve_per_family, families=FOUR, curves=odd), false),
        )
        odd = [*odd, curves[0]]
        yield (
            name + ", one of 2+2+2+2+1",
            Situation("whole curves", partial(curve_per_family, families=NINE, curves=odd), false),
        )
    heights: list[Curve] = [partial(scaled, times=x) for x in (0.6, 0.8, 1.0, 1.2, 1.4)]
    for design in ("2+2+2+2+1", "four of three", "four of five"):
        families = DESIGNS[design]
        of = heights if len(families) == 5 else [heights[i] for i in (0, 1, 3, 4)]
        yield (
            f"amplitudes 0.6 to 1.4, {design}",
            Situation(
                "whole curves", partial(curve_per_family, families=families, curves=of), false
            ),
        )
        levels = np.linspace(-0.05, 0.05, len(families)).tolist()
        alike = partial(curve_per_family, families=families, curves=[hump], levels=levels)
        yield f"levels alone differ, {design}", Situation("whole curves", alike, null)
        for name, curve in (("plateaus", plateau), ("decays", decay)):
            yield (
                f"all {name}, {design}",
                Situation(
                    "whole curves",
                    partial(curve_per_family, families=families, curves=[curve]),
                    {"invariance_test": {"invariant": FALSE_CLAIM, "not invariant": SIZE}},
                ),
            )
    yield "unequal spread, 8 and 3", Situation("whole curves", unequal_spread, null)
    for design in ("2+2+2+2+1", "four of three", "three of four", "four of five", "ten of two"):
        families = DESIGNS[design]
        for spread in (0.01, 0.05):
            yield (
                f"one curve, place SD {spread}, {design}",
                Situation(
                    "power",
                    partial(same_curve, families=families, curve=hump, place_sd=spread),
                    null,
                ),
            )
        yield (
            f"one family 0.1 away, {design}",
            Situation("whole curves", partial(one_family_moved, families=families, by=0.1), false),
        )
        yield (
            f"one family 0.2 away, {design}",
            Situation("power", partial(one_family_moved, families=families, by=0.2), false),
        )


def learned() -> Iterator[tuple[str, Situation]]:
    """Yield trained models with their untrained twins."""
    narrow = partial(hump, left=0.15)
    never: Asked = {"control_test": {"not learned": SIZE}}
    for name, draw, asked in (
        ("a narrower hump as high", partial(with_twins, trained=hump, untrained=narrow), never),
        (
            "a hump, the trained 1.1 times as high",
            partial(with_twins, trained=hump, untrained=hump, times=1.1),
            never,
        ),
        (
            "a hump, the trained 3 times as high",
            partial(with_twins, trained=hump, untrained=hump, times=3.0),
            never,
        ),
        ("a decay", partial(with_twins, trained=hump, untrained=decay), never),
        (
            "the same hump",
            partial(with_twins, trained=hump, untrained=hump),
            {"control_test": {"learned": SIZE}},
        ),
        (
            "the same plateau",
            partial(with_twins, trained=plateau, untrained=plateau),
            {"control_test": {"learned": SIZE}},
        ),
    ):
        yield f"untrained twins with {name}", Situation("controls", draw, asked)


SITUATIONS: dict[str, Situation] = dict(
    entry
    for part in (
        *(families_share, whole_curves, peaks, replicated, learned, these_models, these_shapes),
        bare_curves,
    )
    for entry in part()
)
