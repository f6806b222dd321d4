"""Situations about the shape and the place of curves, for single profiles and over models."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from generator import (
    Noise,
    decay,
    flat,
    hump,
    late_arc,
    late_parabola,
    late_rise,
    linear,
    plateau,
    sigmoid,
    tent,
    two_humps,
)
from studies import NINE, Curve, one_curve, same_curve, two_places
from targets import BARE_SIZE, COVERAGE, DESIGNS, FALSE_CLAIM, FOUND, Situation, Target

skewed = partial(hump, peak=0.30, left=0.15, right=0.35)  # the quadratic's vertex is 0.44
very_skewed = partial(hump, peak=0.30, left=0.12, right=0.40)  # 0.49

MONOTONE: dict[str, Curve] = {
    "flat": flat,
    "linear": linear,
    "plateau": plateau,
    "decay": decay,
    "sigmoid": sigmoid,
    "late rise": late_rise,
}


#: Humps in the rest of the range, where a line through it is level.
LATE: dict[str, Curve] = {"late arc": late_arc, "late parabola": late_parabola}


def peaks() -> Iterator[tuple[str, Situation]]:
    """Yield curves with two peaks, skewed peaks, mixed places and peaks away from the middle."""
    for design in ("2+2+2+2+1", "four of five"):
        families = DESIGNS[design]
        for spread in (0.0, 0.02):
            yield (
                f"peaks at 0.25 and 0.75, place SD {spread}, {design}",
                Situation(
                    "two peaks",
                    partial(same_curve, families=families, curve=two_humps, place_sd=spread),
                    {
                        "u_shape_test, models": {"hump": FALSE_CLAIM},
                        "u_shape_test, profiles": {"hump": FALSE_CLAIM},
                        "localization_test": {"at target": FALSE_CLAIM},
                    },
                ),
            )
        for name, curve in (("skewed", skewed), ("very skewed", very_skewed)):
            yield (
                f"{name}, maximum at 0.30, {design}",
                Situation(
                    "where",
                    partial(same_curve, families=families, curve=curve, truth={"peak": 0.30}),
                    {
                        "localization_test": {
                            "at target": FALSE_CLAIM,
                            "interval covers": COVERAGE,
                        },
                        "u_shape_test, models": {"hump": FOUND},
                        "fit_curves": {},
                    },
                ),
            )
        for at in (0.2, 0.5, 0.8):
            for kind, curve in (
                ("hump", partial(hump, peak=at, left=0.15)),
                ("tent", partial(tent, peak=at)),
            ):
                yield (
                    f"{kind} at {at}, {design}",
                    Situation(
                        "where",
                        partial(same_curve, families=families, curve=curve, truth={"peak": at}),
                        {
                            "u_shape_test, models": {"hump": FOUND, "several peaks": BARE_SIZE},
                            "u_shape_test, profiles": {},
                            "localization_test": {"interval covers": COVERAGE},
                            "fit_curves": {},
                        },
                    ),
                )
        for name, curve in MONOTONE.items():
            yield (
                f"{name}, {design}",
                Situation(
                    "shape",
                    partial(same_curve, families=families, curve=curve, place_sd=0.0),
                    {
                        "u_shape_test, models": {"turn": BARE_SIZE},
                        "u_shape_test, profiles": {"turn": BARE_SIZE},
                        "localization_test": {"at target": FALSE_CLAIM},
                    },
                ),
            )
        for name, curve in LATE.items():
            for sd in (0.01, 0.015):
                yield (
                    f"{name}, noise {sd}, {design}",
                    Situation(
                        "shape",
                        partial(
                            same_curve,
                            families=families,
                            curve=curve,
                            place_sd=0.0,
                            noise=Noise(sd=sd),
                        ),
                        {
                            "u_shape_test, models": {"plateau": FALSE_CLAIM},
                            "u_shape_test, profiles": {"plateau": FALSE_CLAIM},
                        },
                    ),
                )
    for name, families, by_family in (
        ("ten families of four, by family", (4,) * 10, True),
        ("ten families of four, by model", (4,) * 10, False),
        ("four families of ten, by family", (10,) * 4, True),
        ("four families of ten, by model", (10,) * 4, False),
        ("twelve families of one", (1,) * 12, True),
    ):
        yield (
            f"half at 0.3, half at 0.7, {name}",
            Situation(
                "where",
                partial(two_places, families=families, by_family=by_family),
                {"localization_test": {"at target": FALSE_CLAIM}},
            ),
        )


def bare_curves() -> Iterator[tuple[str, Situation]]:
    """Yield single curves without replicates."""
    for name, curve in {**MONOTONE, "hump": hump}.items():
        for height in (5,) if name == "flat" else (2, 5):
            for rho in (0.0, 0.5, 0.9, 0.97):
                for n_layers in (8, 12, 24, 48, 80):
                    high = "" if name == "flat" else f" of {height} SD"
                    targets: dict[str, Target] = {"turn": BARE_SIZE}
                    if name == "hump":
                        targets = {
                            "hump": (">=", "hump, true errors"),
                            "trough": BARE_SIZE,
                            "several peaks": BARE_SIZE,
                            "monotone": BARE_SIZE,
                        }
                    elif name == "flat":
                        targets |= {"monotone": BARE_SIZE}
                    elif name == "linear":
                        targets |= {"monotone": (">=", "monotone, true errors")}
                    draw = partial(
                        one_curve,
                        curve=curve,
                        n_layers=n_layers,
                        rho=rho,
                        height=float(height),
                        replicates=200 if name in ("hump", "linear") else 0,
                    )
                    yield (
                        f"bare {name}{high}, AR {rho}, {n_layers} layers",
                        Situation("bare curves", draw, {"u_shape_test, bare": targets}),
                    )


def replicated() -> Iterator[tuple[str, Situation]]:
    """Yield profiles with replicates that are consistent with their noise."""
    for topics in (12, 24):
        noise = Noise(sd=0.02, topics=topics, replicates=200)
        for name, curve in {**MONOTONE, "hump": hump, "two humps": two_humps}.items():
            asked: dict[str, dict[str, Target]] = {
                "u_shape_test, profiles": {"turn": BARE_SIZE},
                "u_shape_test, models": {"turn": BARE_SIZE},
            }
            truth = None
            if name == "hump":
                asked = {
                    "u_shape_test, profiles": {},
                    "u_shape_test, models": {"hump": FOUND},
                    "fit_curves": {
                        "vertex interval covers": COVERAGE,
                        "extremum interval covers": COVERAGE,
                    },
                }
                truth = {"peak": 0.5}
            elif name == "two humps":
                asked = {k: {"hump": FALSE_CLAIM} for k in asked}
            draw = partial(
                same_curve, families=NINE, curve=curve, place_sd=0.0, noise=noise, truth=truth
            )
            yield f"replicates of {topics} topics, {name}", Situation("replicates", draw, asked)
