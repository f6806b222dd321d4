"""Simulate what it costs that families are the unit, and which margins few families can show.

    python benchmarks/few_families.py [--n-sim 400] [--jobs 2]
    python benchmarks/few_families.py --write     only the page, from existing figures

Where families share nothing, a test with the model as its unit would be valid too, and has more
degrees of freedom. The first table gives the power of both where the test over models has 0.8, and
the number of families of the same size with which the test over families has it again. The
second gives the margins of *invariant* that a design shows in four studies of five
(`reachable_margins`). Writes results/families_power.csv, results/margins.csv and the tables of
docs/tutorials/planning.md.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import optimize

from analysis.families import mean_over_families, t_critical
from analysis.over_models.method_contrast import paired_over_families
from analysis.planning.margins import reachable_margins

HERE = Path(__file__).resolve().parent
POWER, MARGINS = HERE / "results" / "families_power.csv", HERE / "results" / "margins.csv"
PAGE = HERE.parent / "docs" / "tutorials" / "planning.md"
ALPHA, DELTA, ENOUGH = 0.05, 0.1, 0.8
DESIGNS = ((2, 2, 2, 2, 1), (4, 4, 4), (3, 3, 3, 3), (4, 4, 4, 4, 4), (2,) * 10)
#: Families tried, up to as many times the design's.
MOST = 4
SEED = 2026
MODELS = (
    {"vertex": 0.02, "level": 0.03, "height": 0.01},
    {"vertex": 0.05, "level": 0.03, "height": 0.01},
)
PER_FAMILY = ((2, 2, 2, 2, 1), (4,) * 5, (8,) * 5, (12,) * 5)

Rng = np.random.Generator
Decides = Callable[[Rng, Sequence[int], Sequence[Any], float], bool]


def method(rng: Rng, sizes: Sequence[int], family: Sequence[Any], effect: float) -> bool:
    """Whether the better method is found; differences have the SD 1."""
    x = effect + rng.standard_normal(sum(sizes))
    row = paired_over_families(x, np.zeros_like(x), [str(f) for f in family], ALPHA)
    return bool(row["verdict"] == "a better")


def place(rng: Rng, sizes: Sequence[int], family: Sequence[Any], effect: float) -> bool:
    """Whether peaks at the target are shown there; their SD is delta / effect."""
    y = DELTA / effect * rng.standard_normal(sum(sizes))
    return bool(mean_over_families(y, family).p_within(-DELTA, DELTA) < ALPHA)


TESTS: dict[str, Decides] = {
    "`method_test`, a better": method,
    "`localization_test`, at target": place,
}


def effect_over_models(test: Decides, n: int, rng: Rng) -> float:
    """Return the effect that Student's test over n models finds in `ENOUGH` of the studies."""
    draws = rng.standard_normal((20_000, n))
    mean, error = draws.mean(axis=1), draws.std(axis=1, ddof=1) / np.sqrt(n)
    if test is method:
        reach = t_critical(1 - ALPHA / 2, n - 1) * error
        return _root(lambda e: float((e + mean > reach).mean()))
    upper = np.abs(mean) + t_critical(1 - ALPHA, n - 1) * error
    return _root(lambda e: float((upper < e).mean()))


def _root(power: Callable[[float], float]) -> float:
    return float(optimize.bisect(lambda e: power(e) - ENOUGH, 0.01, 50, xtol=1e-4))


def power(
    test: Decides, sizes: Sequence[int], effect: float, n_sim: int, *, families: bool = True
) -> float:
    """Return the share of simulated studies in which the test finds what is there."""
    rng = np.random.default_rng([SEED, *sizes, families])
    family = np.repeat(np.arange(len(sizes)), sizes)
    unit = family if families else np.arange(family.size)
    return float(np.mean([test(rng, sizes, unit.tolist(), effect) for _ in range(n_sim)]))


def cost(name: str, sizes: Sequence[int], n_sim: int) -> dict[str, Any]:
    """Return one row: power over models and over families, and the families that restore it."""
    test = TESTS[name]
    effect = effect_over_models(test, sum(sizes), np.random.default_rng(SEED))
    row = {
        "test": name,
        "n_models": sum(sizes),
        "n_families": len(sizes),
        "per_family": max(sizes),
        "effect": effect,
        "over_models": power(test, sizes, effect, n_sim, families=False),
        "over_families": power(test, sizes, effect, n_sim),
        "n_sim": n_sim,
    }
    for n_families in range(len(sizes), MOST * len(sizes) + 1):
        if power(test, (max(sizes),) * n_families, effect, n_sim) >= ENOUGH:
            return row | {"restored_by": n_families}
    return row | {"restored_by": np.nan}


def of_power(table: pd.DataFrame) -> str:
    """Return the page's table of power."""
    rows = [
        ["models (families)", *(f"{name}" for name in TESTS)],
        ["---:"] * (1 + len(TESTS)),
    ]
    for sizes in DESIGNS:
        part = table[(table["n_models"] == sum(sizes)) & (table["n_families"] == len(sizes))]
        by = part.set_index("test")
        cells = [f"{sum(sizes)} ({len(sizes)})"]
        for name in TESTS:
            needed = by.loc[name, "restored_by"]
            needed = f"{needed:.0f}" if np.isfinite(needed) else f"over {MOST * len(sizes)}"
            over = [by.loc[name, f"over_{unit}"] for unit in ("models", "families")]
            cells.append(f"{over[0]:.2f}, {over[1]:.2f}: {needed} of {max(sizes)}")
        rows.append(cells)
    return _markdown(rows)


def of_margins(table: pd.DataFrame) -> str:
    """Return the page's table of margins."""
    names = {"delta": "peak", "curve_delta": "curve", "amplitude_delta": "amplitude"}
    rows = [["models (families)", "vertices differ by", *names.values()], ["---:"] * 5]
    keys = ["n_models", "n_families", "vertex_sd"]
    for (n_models, n_families, sd), part in table.groupby(keys, sort=True):
        by = part.set_index("margin")["together"]
        cells = [f"{by['delta']:.2f}", *(f"{by[m]:.0%}" for m in list(names)[1:])]
        rows.append([f"{n_models} ({n_families})", f"{sd:g}", *cells])
    return _markdown(rows)


def _markdown(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def margins(sizes: Sequence[int], model_sd: dict[str, float], n_sim: int) -> pd.DataFrame:
    """Return the margins that one design shows, with the models' SD of the vertex."""
    table = reachable_margins(families=tuple(sizes), model_sd=model_sd, n_sim=n_sim, seed=SEED)
    return table.assign(vertex_sd=model_sd["vertex"])


def written(page: str, name: str, table: str) -> str:
    """Replace the table between the page's markers."""
    begin, end = (f"<!-- {word} {name} -->" for word in ("begin", "end"))
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{table}\n\n{end}{rest.split(end)[1]}"


def main() -> None:
    """Simulate, print and write both tables, and the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--n-sim", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="write the page, simulate nothing")
    arguments = parser.parse_args()
    if not arguments.write:
        found = Parallel(n_jobs=arguments.jobs)(
            delayed(cost)(name, sizes, arguments.n_sim) for name in TESTS for sizes in DESIGNS
        )
        table = pd.DataFrame(found)
        print(table.to_string(index=False))
        table.to_csv(POWER, index=False, float_format="%.4g")
        parts = Parallel(n_jobs=arguments.jobs)(
            delayed(margins)(sizes, sd, max(arguments.n_sim // 2, 1))
            for sizes in PER_FAMILY
            for sd in MODELS
        )
        pd.concat(parts).to_csv(MARGINS, index=False, float_format="%.4g")
    page = PAGE.read_text(encoding="utf-8")
    page = written(page, "families power", of_power(pd.read_csv(POWER)))
    page = written(page, "margins", of_margins(pd.read_csv(MARGINS)))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
