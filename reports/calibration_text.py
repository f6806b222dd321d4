"""Describe the tests' error rates in the paper, from the results of the calibration benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analysis.wording import markdown_column, typeset
from study.text import Markdown


def false_rates(folder: Path) -> pd.DataFrame:
    """Return how often the tests reject a true hypothesis, from the calibration benchmarks.

    Parameters
    ----------
    folder : Path
        Contains calibration_shape.csv and calibration_invariance.csv, one of them, or neither.

    Returns
    -------
    DataFrame
        Columns test, kind ("naive" or "calibrated"), rate and n_studies; no rows if the
        benchmarks have not been run.
    """
    parts = [pd.DataFrame(columns=["test", "kind", "rate", "n_studies"])]
    shape, invariance = (folder / f"calibration_{name}.csv" for name in ("shape", "invariance"))
    if shape.exists():
        table = pd.read_csv(shape)
        table = table[
            (table["quantity"] == "declared a turn") & (table["topics"].astype(str) == "24")
        ]
        table = table[~table["truth"].str.startswith("hump")]
        table["test"] = "U-shape, " + table["level"] + ", " + table["truth"] + " truth"
        parts.append(_kinds(table, {"naive": "ordinary", "calibrated": "ours"}, "n_studies"))
    if invariance.exists():
        table = pd.read_csv(invariance)
        table["test"] = "invariance, " + table["design"] + " families, " + table["dominates"]
        parts.append(_kinds(table, {"naive": "p_chi2", "calibrated": "verdict"}, "n_sim"))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def _kinds(table: pd.DataFrame, columns: Mapping[str, str], n: str) -> pd.DataFrame:
    """Return a test's naive and calibrated rates as rows."""
    rows = [
        table[["test"]].assign(kind=kind, rate=table[name], n_studies=table[n])
        for kind, name in columns.items()
    ]
    return pd.concat(rows, ignore_index=True)


def rates_sentence(rates: pd.DataFrame) -> Markdown:
    """State the worst error rates of the naive and the calibrated tests."""
    if rates.empty:
        return Markdown("The benchmarks have not been run for this copy of the project.")
    worst = rates.loc[rates.groupby("kind")["rate"].idxmax()].set_index("kind")
    naive, calibrated = worst.loc["naive"], worst.loc["calibrated"]
    return Markdown(
        "Each setting has at least {:.0f} simulated studies. At worst, the naive tests reject "
        "{:.0%} ({}), and the calibrated tests {:.1%} ({})."
    ).format(
        rates["n_studies"].min(),
        naive["rate"],
        naive["test"],
        calibrated["rate"],
        calibrated["test"],
    )


def shape_rates_table(folder: Path) -> Markdown:
    """Typeset the simulated rates of the shape tests, one column per source of errors."""
    path = folder / "calibration_shape.csv"
    if not path.exists():
        note = Markdown("`python benchmarks/calibration_shape.py` makes them")
        return typeset(pd.DataFrame({"note": markdown_column([note])}), {"note": "Rates"})
    shape = pd.read_csv(path)
    shape = shape[shape["quantity"] != "quadratic term alone"]
    rows = ["truth", "level", "quantity"]
    table = shape.pivot_table(index=rows, columns="topics", values="ours", sort=False)
    columns = {str(c): str(c) if "AR" in str(c) else f"{c} topics" for c in table.columns}
    table["ordinary"] = shape.groupby(rows, sort=False)["ordinary"].mean()
    table.columns = table.columns.astype(str)
    headings = {"truth": "Truth", "level": "Of", "quantity": "Quantity", **columns}
    widths = [24, 9, 25, *[13] * len(columns), 11]
    return typeset(table.reset_index(), {**headings, "ordinary": "Ordinary"}, widths, group=1)
