"""Calibration of the tests over models, at the designs of nine and of twenty models.

    python benchmarks/calibration_invariance.py [--n-sim 1000] [--n-boot 99] [--jobs 2 | --ray auto]

Prints a table and writes benchmarks/results/calibration_invariance.csv. The columns p_chi2, p_boot,
p_perm, verdict and scale are shares of studies with a difference where there is none. "p_boot,
never" and "p_boot, always" are p_boot with other rules for singular fits, whose share is
"singular". "false invariant" is the share of studies with one family exactly delta from the mean
that are judged invariant. "coverage" refers to the 95% interval of the between-family standard
deviation of the vertex, at three true values.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from workers import add_options, workers

from analysis.over_models.departures import between_sd, departures
from analysis.over_models.invariance import bootstrap, decide_invariance
from analysis.planning.design import Truth, design_power, draw_study

DELTA, ALPHA = 0.1, 0.05
DESIGNS = {"9 models in 5": (2, 2, 2, 2, 1), "20 models in 5": (4, 4, 4, 4, 4)}
QUIET = {"vertex": 0.005, "level": 0.005, "height": 0.002, "method": 0.001}
LOUD = {"vertex": 0.06, "level": 0.05, "height": 0.02, "method": 0.02}
# The last two are for the smaller design alone.
REGIMES: dict[str, dict[str, Any]] = {
    "between models": {"topic_sd": 0.015, "model_sd": LOUD},
    "noise": {"topic_sd": 0.1, "model_sd": QUIET},
    "noise, 20 emotions": {"topic_sd": 0.1, "model_sd": QUIET, "n_emotions": 20},
    "noise without memory": {"topic_sd": 0.3, "rho": 0.0, "model_sd": QUIET},
}
FAMILY_SDS = (0.0, 0.05, 0.15)


def tests(design: str, regime: str, n_sim: int, n_boot: int) -> dict[str, Any]:
    """Count the false differences of every test, and how often it recognizes the truth."""
    table = design_power(
        n_sim=n_sim,
        n_boot=n_boot,
        seed=2026,
        delta=DELTA,
        alpha=ALPHA,
        families=DESIGNS[design],
        **REGIMES[regime],
    ).set_index("test")
    found = table["difference"]
    return {
        **{p: found[f"invariance, {p}"] for p in ("p_chi2", "p_boot", "p_perm")},
        "verdict": found["invariance"],
        "scale": found["scale"],
        "right invariant": table.loc["invariance", "same"],
    }


def fallbacks(design: str, regime: str, n_sim: int, n_boot: int) -> dict[str, Any]:
    """Count singular fits, and the bootstrap's false differences with other rules on them.

    "never" keeps all random terms whatever the fit, "always" drops one at every singular fit.
    """
    setting = Truth(families=DESIGNS[design], **REGIMES[regime])
    found = Parallel()(delayed(_fallback)(setting, number, n_boot) for number in range(n_sim))
    return pd.DataFrame(found).mean().to_dict()


def _fallback(setting: Truth, number: int, n_boot: int) -> dict[str, bool]:
    data = draw_study(setting, np.random.default_rng([2026, number]))[0]
    hits, note = {}, ""
    for rule, shown in (("never", 1.0), ("always", 0.0)):
        row, note = bootstrap(data, n_boot, np.random.default_rng(number), shown)
        hits[f"p_boot, {rule}"] = row["p_boot"] <= ALPHA
    return {**hits, "singular": bool(note)}


def intervals(design: str, regime: str, n_sim: int, n_boot: int) -> dict[str, Any]:
    """Count false invariance at a departure of delta, and the interval's coverage."""
    out: dict[str, Any] = {}
    for departure, family_sd in [(DELTA, 0.0), *((0.0, sd) for sd in FAMILY_SDS)]:
        setting = Truth(
            families=DESIGNS[design], departure=departure, family_sd=family_sd, **REGIMES[regime]
        )
        hits = Parallel()(delayed(_interval)(setting, number, n_boot) for number in range(n_sim))
        name = "false invariant" if departure else f"coverage at {family_sd:g}"
        out[name] = np.mean(hits)
    return out


def _interval(setting: Truth, number: int, n_boot: int) -> bool:
    rng = np.random.default_rng([2026, number])
    data = draw_study(setting, rng)[0]
    if setting.departure:
        # The bootstrap is needed only if equivalence is shown.
        same = departures(data, DELTA, ALPHA)["p_equivalence"] <= ALPHA
        return (
            same and decide_invariance(data, DELTA, n_boot, number, ALPHA)["verdict"] == "invariant"
        )
    found = between_sd(data, rng)
    return found["between_sd_low"] <= setting.family_sd <= found["between_sd_high"]


def main() -> None:
    """Run everything, print it and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-sim", type=int, default=1000)
    parser.add_argument("--n-boot", type=int, default=99)
    add_options(parser)
    arguments = parser.parse_args()
    sizes = {"n_sim": arguments.n_sim, "n_boot": arguments.n_boot}
    jobs = [
        (part, design, regime)
        for i, regime in enumerate(REGIMES)
        for part in (tests, fallbacks, intervals)
        for design in list(DESIGNS)[: 2 if i < 2 else 1]
    ]
    rows = []
    with workers(arguments):
        for part, design, regime in jobs:
            found = part(design, regime, **sizes)
            rows.append({"design": design, "dominates": regime, **sizes, **found})
            print(rows[-1], flush=True)
    table = (
        pd.DataFrame(rows).groupby(["design", "dominates", "n_sim", "n_boot"], sort=False).first()
    )
    path = Path(__file__).parent / "results" / "calibration_invariance.csv"
    path.parent.mkdir(exist_ok=True)
    table.to_csv(path, float_format="%.4g")
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(table.round(3).to_string())


if __name__ == "__main__":
    main()
