"""How many models a family would decide whether five families share the shape of the curve.

    python benchmarks/models_needed.py [--n-sim 200] [--n-boot 99] [--jobs 2]

Prints, for two spreads of the vertex between models and for families that are alike and that
differ, the share of right verdicts against the number of models a family, and the smallest number
tried that reaches 0.8. Writes benchmarks/results/models_needed.csv.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pandas as pd

from analysis.design import models_needed

PER_FAMILY = (2, 3, 4, 6, 8, 12)
MODEL_SDS, FAMILY_SDS = (0.02, 0.05), (0.0, 0.1)
COLUMNS = ["model_sd", "family_sd", "per_family", "n_models", "right", "same", "difference",
           "undecided", "needed", "n_sim", "families"]  # fmt: skip


def main() -> None:
    """Run everything, print it and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-sim", type=int, default=200)
    parser.add_argument("--n-boot", type=int, default=99)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    tables = []
    for model_sd in MODEL_SDS:
        for family_sd in FAMILY_SDS:
            table = models_needed(
                PER_FAMILY, n_sim=arguments.n_sim, n_boot=arguments.n_boot, seed=2026,
                n_jobs=arguments.jobs, family_sd=family_sd,
                model_sd={"vertex": model_sd, "level": 0.03, "height": 0.02},
            )[COLUMNS]  # fmt: skip
            print(table.to_string(index=False), flush=True)
            tables.append(table)
    path = Path(__file__).parent / "results" / "models_needed.csv"
    path.parent.mkdir(exist_ok=True)
    pd.concat(tables).to_csv(path, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
