"""Time the parametric bootstrap of the invariance test against refits on rows.

    python benchmarks/inference.py [--n-boot 2000] [--n-r 10]

Uses one data set of nine models, two methods and twenty emotions (about 9,000 rows):
2,000 bootstrap replicates of ours; one pair of refits by statsmodels (without the crossed emotions,
which it cannot fit together with correlated random curves, so its time is a lower bound); and a few
replicates of R's pbkrtest with lme4 (skipped if Rscript is not installed). Prints seconds per
replicate and the ratios, and writes benchmarks/results/inference.csv.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

from analysis.over_models.mixed import draw, likelihood_ratio
from analysis.over_models.sums import basis, curve_data
from analysis.planning.simulate import simulate_scores

NULL = "score ~ method * (x + q) + family"
FULL = "score ~ method * (x + q) + family * (x + q)"
R = """
suppressMessages({library(lme4); library(pbkrtest); library(jsonlite)})
arguments <- commandArgs(TRUE)
d <- read.csv(arguments[1]); n <- as.integer(arguments[2])
random <- "+ (1 + x + q | model) + (1 | emotion)"
null <- lmer(as.formula(paste("NULL_FORMULA", random)), d, REML = FALSE)
full <- lmer(as.formula(paste("FULL_FORMULA", random)), d, REML = FALSE)
seconds <- system.time(suppressWarnings(suppressMessages(
  PBmodcomp(full, null, nsim = n, seed = 1))))[["elapsed"]]
cat(toJSON(list(null = as.numeric(logLik(null)), full = as.numeric(logLik(full)),
                seconds = seconds / n), auto_unbox = TRUE, digits = NA))
""".replace("NULL_FORMULA", NULL).replace("FULL_FORMULA", FULL)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a call and its seconds."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def in_r(table: pd.DataFrame, n: int) -> dict[str, float] | None:
    """Return the log-likelihoods of lme4 and the seconds per replicate of pbkrtest."""
    if shutil.which("Rscript") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        data, script = Path(folder, "data.csv"), Path(folder, "script.R")
        table.to_csv(data, index=False)
        script.write_text(R)
        run = subprocess.run(
            ["Rscript", str(script), str(data), str(n)], capture_output=True, text=True, check=True
        )
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Time all three, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-boot", type=int, default=2000)
    parser.add_argument("--n-r", type=int, default=10)
    arguments = parser.parse_args()
    scores = simulate_scores(
        n_layers=(24, 26),
        methods=("comprehension", "generation"),
        n_emotions=20,
        rho=0.0,
        noise_sd=0.004,
        model_sd={"vertex": 0.1, "level": 0.05, "height": 0.03},
        n_replicates=0,
        seed=6,
    )
    data = curve_data(scores, "score")
    lr, null, full = likelihood_ratio(data)
    rng = np.random.default_rng(0)

    def bootstrap() -> Any:
        return likelihood_ratio(draw(data, null, arguments.n_boot, rng), tol=1e-3)

    draws, seconds = timed(bootstrap)
    rows = [
        {
            "by": "analysis",
            "seconds_per_replicate": seconds / arguments.n_boot,
            "replicates": arguments.n_boot,
            "seconds": seconds,
            "loglik_null": -null.deviance[0] / 2,
            "loglik_full": -full.deviance[0] / 2,
            "p_boot": (1 + (draws[0] >= lr[0]).sum()) / (1 + arguments.n_boot),
        }
    ]
    table = scores.table[["model", "family", "method", "emotion", "score", "depth"]].copy()
    table[["x", "q", "one"]] = basis(table["depth"].to_numpy())

    def refit() -> None:
        for formula in (NULL, FULL):
            model = smf.mixedlm(formula, table, groups=table["model"], re_formula="1 + x + q")
            model.fit(reml=False)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Only its time counts here.
        _, seconds = timed(refit)
    rows.append(
        {
            "by": "statsmodels, emotions left out",
            "seconds_per_replicate": seconds,
            "replicates": 1,
            "seconds": seconds,
        }
    )
    r = in_r(table, arguments.n_r)
    if r is not None:
        rows.append(
            {
                "by": "R pbkrtest and lme4",
                "seconds_per_replicate": r["seconds"],
                "replicates": arguments.n_r,
                "seconds": r["seconds"] * arguments.n_r,
                "loglik_null": r["null"],
                "loglik_full": r["full"],
            }
        )
    out = pd.DataFrame(rows).assign(rows=data.n_rows)
    out["ratio"] = out["seconds_per_replicate"] / out["seconds_per_replicate"].iloc[0]
    path = Path(__file__).parent / "results" / "inference.csv"
    path.parent.mkdir(exist_ok=True)
    out.to_csv(path, index=False, float_format="%.10g")
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(out.to_string(index=False, float_format="{:.10g}".format))


if __name__ == "__main__":
    main()
