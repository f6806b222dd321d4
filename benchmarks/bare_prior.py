"""Show what other priors for the errors of bare curves would gain, and what they would cost.

    python benchmarks/bare_prior.py 400     # writes results/bare_prior.csv, 10 minutes on a core

`analysis.profiles.bare.scatter` has a prior for the correlation, (1 - rho**2) to minus an exponent,
and odds for the forms of the mean. This script tries others. The scale of the errors is computed
for each as in `bare_reference`. On fresh curves, it counts how often flat and monotone ones turn
(size: the largest share of all kinds that are tried), and how often both arms of a hump are shown
(for humps in the middle, as in the calibration, and for early, narrow and skewed ones). Noise of
two time scales, a drift with white noise on it, breaks the model of the errors; the share of such
flat curves that turn is counted too. The prior that is shipped comes first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bare_reference import SHIPPED, Curves, Lines, Setting, Tested, scale, unturned
from generator import decay, flat, hump, late_rise, noise_rows, plateau, sigmoid

from study.arrays import Float64Array

OUT = Path(__file__).parent / "results" / "bare_prior.csv"
LAYERS = (12, 24, 48)
CORRELATIONS = (0.0, 0.5, 0.9, 0.97)
#: Curves that do not turn, with their heights in noise SD.
NULLS = [(flat, 0), *((curve, h) for curve in (plateau, decay, sigmoid, late_rise) for h in (2, 5))]
#: Humps of 5 noise SD.
WANTED: dict[str, Callable[[Float64Array], Float64Array]] = {
    "middle hump": hump,
    "early hump": partial(hump, peak=0.25, left=0.12, right=0.2),
    "narrow hump": partial(hump, left=0.1),
    "skewed hump": partial(hump, peak=0.35, left=0.1, right=0.3),
}
#: Odds of a quadratic, a spline, humps and monotone shapes.
ODDS = {
    "as shipped": None,
    "no humps or monotone shapes": (1.0, 1.0, 0.0, 0.0),
    "mostly quadratic": (1.0, 1 / 3000, 0.0, 0.0),
    "no quadratic": (0.0, 1 / 20, 1 / 2, 1.0),
    "humps as likely as a quadratic": (1.0, 1 / 20, 1.0, 1.0),
    "fewer monotone shapes": (1.0, 1 / 20, 1 / 2, 1 / 10),
}
EXPONENTS = (0.1, 0.9)


def settings() -> Iterator[tuple[str, Setting]]:
    """Yield the name of each change of the prior, and the prior."""
    for name, odds in ODDS.items():
        yield name, replace(SHIPPED, odds=odds or SHIPPED.odds)
    for exponent in EXPONENTS:
        yield f"exponent {exponent:g}", replace(SHIPPED, exponent=exponent)


def turned(tested: Tested, lines: Lines) -> float:
    """Return the share of curves that are said to turn."""
    return float(np.mean(tested.largest(lines) > 1))


def rows(n_layers: int, n_curves: int) -> Iterator[dict[str, Any]]:
    """Yield a row per prior, curve and correlation."""
    lines, rng = Lines(n_layers + 1), np.random.default_rng(n_layers)

    def draw(curve: Callable[[Float64Array], Float64Array], height: float, rho: float) -> Curves:
        noise = noise_rows(rng, (n_curves, n_layers + 1), 1.0, rho)
        return Curves(lines, height * curve(lines.depth) + noise)

    nulls = [draw(curve, height, rho) for curve, height in NULLS for rho in CORRELATIONS]
    wanted = {(name, rho): draw(WANTED[name], 5, rho) for name in WANTED for rho in CORRELATIONS}
    white = 0.5 * rng.standard_normal((n_curves, n_layers + 1))
    drift = noise_rows(rng, white.shape, 1.0, 0.9)
    wanted["flat, drift and white noise", 0.9] = Curves(lines, drift + white)
    calibration = unturned(lines, n_curves)
    for change, setting in settings():
        row = scale(lines, calibration, setting)
        size = max(turned(curves.tested(setting, row), lines) for curves in nulls)
        for (name, rho), curves in wanted.items():
            yield {
                "n_layers": n_layers,
                "prior": change,
                "exponent": setting.exponent,
                "size": size,
                "curve": name,
                "correlation": rho,
                "rate": turned(curves.tested(setting, row), lines),
                "n_curves": n_curves,
            }


def main() -> None:
    """Write the table, after each number of layers."""
    n_curves = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    found: list[dict[str, Any]] = []
    for n_layers in LAYERS:
        found += rows(n_layers, n_curves)
        pd.DataFrame(found).to_csv(OUT, index=False, float_format="%.4g")
        print(f"{n_layers} layers: done", flush=True)


if __name__ == "__main__":
    main()
