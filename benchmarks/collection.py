"""Time a collection from elsewhere: 50 models by 17 concepts, from a folder of files to a paper.

    python benchmarks/collection.py [--models 50] [--concepts 17] [--keep FOLDER]

Writes a folder of CSV files, one per model, whose truth is known (a hump at 0.6 of the depth), and
times the commands that a user gives: the verdicts at the terminal, the paper (HTML and PDF) and the
explorer. Each is a process of its own, so the times include starting Python. Writes
results/collection.csv.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

HOME = Path(__file__).resolve().parent.parent
RESULTS = HOME / "benchmarks" / "results" / "collection.csv"
#: Families with their usual numbers of blocks.
FAMILIES = {
    "gpt2": (12, 24, 36, 48),
    "pythia": (6, 12, 24, 16, 32),
    "qwen2.5": (24, 28, 36),
    "llama-3": (16, 28, 32),
    "gemma-2": (26, 42),
    "olmo": (16, 32),
    "phi": (24, 32),
    "falcon": (18, 32),
    "mistral": (32, 40),
    "opt": (12, 24, 32),
}
RENDER = (
    "import sys; from pathlib import Path; from reports import render; "
    "render.render(Path('reports', sys.argv[1]), {'study': sys.argv[2]}, Path(sys.argv[3]))"
)


def write_collection(
    folder: Path, n_models: int, n_concepts: int, n_families: int = 10, seed: int = 0
) -> int:
    """Write one CSV file per model, and return the number of scores.

    A concept has a level and a height of its own; models differ in place and level. The errors of
    neighboring layers are alike.
    """
    rng = np.random.default_rng(seed)
    names, total = list(FAMILIES)[:n_families], 0
    levels = rng.normal(0.7, 0.06, n_concepts)
    heights = rng.uniform(0.08, 0.2, n_concepts)
    for number in range(n_models):
        family = names[number % len(names)]
        size = number // len(names)
        n_layers = FAMILIES[family][size % len(FAMILIES[family])]
        depth = np.arange(n_layers + 1) / n_layers
        peak, level = rng.normal(0.6, 0.04), rng.normal(0, 0.02)
        hump = -4 * heights[:, None] * (depth - peak) ** 2
        noise = rng.standard_normal((n_concepts, n_layers + 1)) * 0.012
        for layer in range(1, n_layers + 1):
            noise[:, layer] = 0.9 * noise[:, layer - 1] + np.sqrt(1 - 0.9**2) * noise[:, layer]
        scores = (levels[:, None] + level + hump + noise).clip(0.02, 0.999)
        table = pd.DataFrame(
            {
                "concept": np.repeat([f"concept {i + 1}" for i in range(n_concepts)], len(depth)),
                "layer": np.tile(np.arange(n_layers + 1), n_concepts),
                "n_layers": n_layers,
                "accuracy": scores.ravel().round(4),
            }
        )
        table.to_csv(folder / f"{family}-{(size + 1) * 0.5:g}b.csv", index=False)
        total += len(table)
    return total


def timed(command: list[str]) -> dict[str, float]:
    """Run a command; return its seconds by the clock, and its peak memory without its kernel's."""
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=HOME, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mb": round(used.ru_maxrss / 1024),
    }


def main() -> None:
    """Write the collection, time the commands, and keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--concepts", type=int, default=17)
    parser.add_argument("--keep", type=Path, help="where the files and pages stay")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = (arguments.keep or Path(scratch)).resolve()
        folder, pages = place / "collection", place / "pages"
        folder.mkdir(parents=True, exist_ok=True)
        pages.mkdir(exist_ok=True)
        n_scores = write_collection(folder, arguments.models, arguments.concepts)
        python = [sys.executable]
        rows = []
        for task, command in {
            "read, test and print": [*python, "-m", "analysis", str(folder)],
            "paper": [*python, "-c", RENDER, "paper.qmd", str(folder), str(pages)],
            "explorer": [*python, "-c", RENDER, "explore.qmd", str(folder), str(pages)],
        }.items():
            rows.append({"task": task, **timed(command)})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    together = {"task": "together", "seconds": table["seconds"].sum().round(1)}
    together["peak_mb"] = table["peak_mb"].max()
    table = pd.concat([table, pd.DataFrame([together])])
    table = table.assign(models=arguments.models, concepts=arguments.concepts, scores=n_scores)
    table = table.assign(cores=len(os.sched_getaffinity(0)))
    table.to_csv(RESULTS, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
