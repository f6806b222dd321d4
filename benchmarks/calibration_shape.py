"""Calibration of the shape tests: error rates, coverage and power on simulated studies.

Studies as they ship: 9 models in 5 families, 12 to 33 layers, AR(1) noise over layers with a
correlation of 0.9, and a bootstrap of 12 (demo) or 24 topics; and a table without replicates. The
ordinary regression over layers, as if layers were independent, stands beside.

    python benchmarks/calibration_shape.py      # prints and writes results/calibration_shape.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import stats
from workers import add_options, workers

from analysis import fit_curves, localization_test, u_shape_test
from analysis.loading.scores import Profile
from analysis.planning.simulate import simulate_scores
from analysis.profiles.curves import fieller

OUT = Path(__file__).parent / "results" / "calibration_shape.csv"
NOISE_SD, RHO = 0.02, 0.9
#: The demo's hump is about as high; half of it shows where power ends.
HEIGHTS = (0.1, 0.05)
FALSE = ("flat", "rising", "saturating", "decay")
#: Spread between models in every truth.
MODEL_SD = {"level": 0.05, "vertex": 0.05, "height": 0.02}
#: Number of topics of the bootstrap; None for a table without replicates.
TOPICS = (12, 24, None)


def ordinary(profiles: list[Profile]) -> tuple[bool, bool, tuple[float, float]]:
    """Regress on depth as if layers were independent, with an intercept for each profile.

    Returns whether the quadratic term is significant, whether Lind and Mehlum's test finds a turn,
    and Fieller's interval of the vertex.
    """
    depth = np.concatenate([p.depth for p in profiles])
    which = np.repeat(np.arange(len(profiles)), [len(p.depth) for p in profiles])
    X = np.column_stack([which[:, None] == np.arange(len(profiles)), depth, depth**2])
    y = np.concatenate([p.separation for p in profiles])
    inverse = np.linalg.inv(X.T @ X)
    b = inverse @ X.T @ y
    df = len(y) - X.shape[1]
    cov = (((y - X @ b) ** 2).sum() / df * inverse)[-2:, -2:]
    b1, b2 = b[-2:]
    p_term = 2 * stats.t.sf(abs(b2) / np.sqrt(cov[1, 1]), df)
    ends = np.array([[1.0, 0.0], [1.0, 2.0]])
    t = ends @ b[-2:] / np.sqrt(np.einsum("ij,jk,ik->i", ends, cov, ends))
    p_turn = min(
        max(stats.t.sf(t[0], df), stats.t.cdf(t[1], df)),
        max(stats.t.cdf(t[0], df), stats.t.sf(t[1], df)),
    )
    interval = fieller(b1, b2, cov, float(stats.t.ppf(0.975, df)))
    return bool(p_term < 0.05), bool(p_turn < 0.05), interval


def one_study(truth: str, height: float, vertex: float, n_topics: int | None, seed: int) -> Any:
    """Simulate a study and return, for both levels, a list of (quantity, ours, ordinary)."""
    # Where the interval of a model's own vertex is checked, its vertex must be the known one.
    spread = {**MODEL_SD, "vertex": 0.0} if truth == "hump" else MODEL_SD
    scores = simulate_scores(
        shape=truth,
        height=height,
        vertex=vertex,
        noise_sd=NOISE_SD,
        rho=RHO,
        model_sd=spread,
        seed=seed,
        n_topics=n_topics,
        n_replicates=200 if n_topics else 0,
    )
    profiles = list(scores.profiles())
    tests = u_shape_test(scores)
    turned = tests["verdict"].isin(["hump", "trough"])
    naive = [ordinary([profile]) for profile in profiles]
    together = ordinary(profiles)
    of_profile, of_models = tests["level"] == "profile", tests["level"] == "models"
    rows = [
        ("profile", "declared a turn", turned[of_profile].mean(), np.mean([n[1] for n in naive])),
        ("models", "declared a turn", turned[of_models].mean(), float(together[1])),
        ("profile", "quadratic term alone", np.nan, np.mean([n[0] for n in naive])),
    ]
    if truth == "hump":
        curves = fit_curves(scores)
        low, high = (np.array([n[2][i] for n in naive]) for i in (0, 1))
        covered = np.mean((low <= vertex) & (vertex <= high))
        percentile = curves["vertex_low"].le(vertex) & curves["vertex_high"].ge(vertex)
        closed = curves["fieller_low"].le(vertex) & curves["fieller_high"].ge(vertex)
        extremum = curves["extremum_low"].le(vertex) & curves["extremum_high"].ge(vertex)
        rows += [
            ("profile", "vertex interval covers", percentile.mean(), covered),
            ("profile", "Fieller's interval covers", closed.mean(), covered),
            ("profile", "extremum interval covers", extremum.mean(), np.nan),
        ]
    return rows


def one_pooling(vertex: float, n_topics: int | None, seed: int) -> Any:
    """Simulate a study with vertices that vary between models, and pool them."""
    scores = simulate_scores(
        height=HEIGHTS[0],
        vertex=vertex,
        noise_sd=NOISE_SD,
        rho=RHO,
        model_sd=MODEL_SD,
        seed=seed,
        n_topics=n_topics,
        n_replicates=200 if n_topics else 0,
    )
    pooled = localization_test(scores).iloc[0]
    _, _, (low, high) = ordinary(list(scores.profiles()))
    covers = float(pooled["low"] <= vertex <= pooled["high"])
    rows = [("models", "pooled interval covers", covers, float(low <= vertex <= high))]
    for verdict in ("at target", "elsewhere"):
        rows.append(("models", f"declared {verdict}", float(pooled["verdict"] == verdict), np.nan))
    return rows


def summarize(runs: list[Any], **keys: Any) -> pd.DataFrame:
    """Average over studies."""
    long = pd.DataFrame(
        [row for run in runs for row in run], columns=["level", "quantity", "ours", "ordinary"]
    )
    mean = long.groupby(["level", "quantity"], sort=False)[["ours", "ordinary"]].mean()
    return mean.reset_index().assign(**keys, n_studies=len(runs))


def main() -> None:
    """Simulate, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=400, help="studies for each truth")
    add_options(parser)
    args = parser.parse_args()
    tables = []
    with workers(args), Parallel() as parallel:
        for n_topics in TOPICS:
            about = {"topics": n_topics if n_topics else "none (AR(1))"}
            truths = [(truth, 0.1, 0.5) for truth in FALSE]
            truths += [("hump", height, 0.5) for height in HEIGHTS]
            for truth, height, vertex in truths:
                runs = parallel(
                    delayed(one_study)(truth, height, vertex, n_topics, seed)
                    for seed in range(args.studies)
                )
                name = truth if truth != "hump" else f"hump at {vertex}, height {height}"
                tables.append(summarize(runs, truth=name, **about))
                print(f"{name}, topics {about['topics']}: {len(runs)} studies", flush=True)
            for vertex in (0.5, 0.6) if n_topics else ():
                runs = parallel(
                    delayed(one_pooling)(vertex, n_topics, seed) for seed in range(args.studies)
                )
                tables.append(summarize(runs, truth=f"vertices about {vertex}", **about))
    table = pd.concat(tables)[
        ["truth", "topics", "level", "quantity", "ours", "ordinary", "n_studies"]
    ]
    print(table.round(3).to_string(index=False, na_rep=""))
    OUT.parent.mkdir(exist_ok=True)
    table.round(4).to_csv(OUT, index=False)


if __name__ == "__main__":
    main()
