"""Simulate how often the pooled published depth covers the truth, with as many figures as printed.

    python benchmarks/published_coverage.py 400

The sources and their numbers of figures are those of `published_depths`. Each row of
results/published_coverage.csv is one pair of standard deviations: between sources, and between the
figures of a source.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.claims.literature import published_depths, source_mean

OUT = Path(__file__).parent / "results" / "published_coverage.csv"
SPREADS = ((0.17, 0.15), (0.17, 0.03), (0.03, 0.17))
TARGET, DELTA, ALPHA = 0.5, 0.1, 0.05


def main() -> None:
    """Write the coverage, and the rates of both verdicts where the truth is at the margin."""
    n_studies = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    table = published_depths()
    source = pd.factorize(table["source"])[0]
    rows = []
    for between, within in SPREADS:
        rng, found = np.random.default_rng(1), []
        for _ in range(n_studies):
            noise = between * rng.standard_normal(source.max() + 1)[source]
            noise += within * rng.standard_normal(len(source))
            mean, _ = source_mean(table.assign(depth=TARGET + noise))
            low, high = mean.ends(ALPHA)
            # The same draws around the upper margin: the estimate moves with the truth.
            edge = TARGET + DELTA
            moved = mean.estimate + DELTA
            beyond = mean.p(mean.estimate - (moved - edge)) < ALPHA and moved > edge
            inside = mean.p_within(TARGET - 2 * DELTA, TARGET) < ALPHA
            found.append((low <= TARGET <= high, inside, beyond, mean.df))
        covers, at, elsewhere, df = np.array(found, dtype=float).mean(axis=0)
        keys = {"sd_sources": between, "sd_figures": within, "n_studies": n_studies}
        rates = {"covers": covers, "at_target": at, "elsewhere": elsewhere, "mean_df": df}
        rows.append(keys | rates)
        print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(OUT, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
