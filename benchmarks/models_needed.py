"""Simulate how many models per family decide whether five families share the shape of the curve.

    python benchmarks/models_needed.py [--n-sim 100] [--n-boot 99] [--jobs 2]
    python benchmarks/models_needed.py --write     only the page, from existing figures

Prints the share of right verdicts by the number of models per family, and the smallest number
tried that reaches 0.8, for two standard deviations of the vertex between models, and for families
that agree or differ. Writes results/models_needed.csv and the table in docs/tutorials/planning.md.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pandas as pd

from analysis.planning.design import models_needed

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "models_needed.csv"
PAGE = HERE.parent / "docs" / "tutorials" / "planning.md"
BEGIN, END = "<!-- begin models needed -->\n", "<!-- end models needed -->"

PER_FAMILY = (2, 4, 8, 12)
MODEL_SDS, FAMILY_SDS = (0.02, 0.05), (0.0, 0.1)
COLUMNS = [
    "model_sd",
    "family_sd",
    "per_family",
    "n_models",
    "right",
    "same",
    "difference",
    "undecided",
    "needed",
    "n_sim",
    "families",
]


def main() -> None:
    """Run everything, print it and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--n-sim", type=int, default=100)
    parser.add_argument("--n-boot", type=int, default=99)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="write the page, simulate nothing")
    arguments = parser.parse_args()
    if not arguments.write:
        tables = []
        for model_sd in MODEL_SDS:
            for family_sd in FAMILY_SDS:
                table = models_needed(
                    PER_FAMILY,
                    n_sim=arguments.n_sim,
                    n_boot=arguments.n_boot,
                    seed=2026,
                    n_jobs=arguments.jobs,
                    family_sd=family_sd,
                    model_sd={"vertex": model_sd, "level": 0.03, "height": 0.01},
                )[COLUMNS]
                print(table.to_string(index=False), flush=True)
                tables.append(table)
        RESULTS.parent.mkdir(exist_ok=True)
        pd.concat(tables).to_csv(RESULTS, index=False, float_format="%.4g")
    page = PAGE.read_text(encoding="utf-8")
    start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    text = page[:start] + "\n" + of_verdicts(pd.read_csv(RESULTS)) + "\n\n" + page[end:]
    PAGE.write_text(text, encoding="utf-8")


def of_verdicts(table: pd.DataFrame) -> str:
    """Return the page's table: shares of right and wrong verdicts by design and truth."""
    table = table.sort_values("per_family")
    sizes = table[["per_family", "n_models"]].drop_duplicates().to_numpy()
    rows = [["models per family"], ["---:"], *([f"{each} ({n} in all)"] for each, n in sizes)]
    for (family_sd, model_sd), part in table.groupby(["family_sd", "model_sd"]):
        truth = f"families differ by {family_sd:g}" if family_sd else "families alike"
        wrong = part["same"] if family_sd else part["difference"]
        shares = [f"{r:.2f} ({w:.2f})" for r, w in zip(part["right"], wrong, strict=True)]
        cells = [f"{truth}, models by {model_sd:g}", "---:", *shares]
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
