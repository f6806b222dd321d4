"""Describe in the paper how often the tests are right, from the table of the calibration."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.wording import markdown_column, typeset
from study.text import Markdown

#: Answers that are wrong where the calibration sets an upper limit; the value names the ordinary
#: test to compare with.
FALSE = {
    "turn": "turn, ordinary",
    "not invariant": "chi-square p",
    "a difference": None,
    "hump": "turn, ordinary",
    "at target": None,
    "invariant": None,
    "learned": None,
    "not learned": None,
}


def read_rates(folder: Path) -> pd.DataFrame:
    """Read calibration.csv; no rows if the benchmark has not been run."""
    path = folder / "calibration.csv"
    columns = ["about", "situation", "test", "quantity", "rate", "n_studies", "bound", "target"]
    if not path.exists():
        return pd.DataFrame(columns=[*columns, "met"])
    return pd.read_csv(path, keep_default_na=False, na_values={"rate": "", "target": ""})


def false_rates(folder: Path) -> pd.DataFrame:
    """Return the error rate of each test in the worst situation of each kind.

    Parameters
    ----------
    folder : Path
        May contain calibration.csv.

    Returns
    -------
    DataFrame
        Columns test, kind ("naive" or "calibrated"), rate and n_studies.
    """
    rates = read_rates(folder)
    false = rates[(rates["bound"] == "<=") & rates["quantity"].isin(list(FALSE))]
    rows = []
    for (about, test, quantity), part in false.groupby(["about", "test", "quantity"], sort=False):
        name = f"{quantity}: {test} ({about})"
        rows.append({"test": name, "kind": "calibrated", **worst(part)})
        naive = rates[(rates["test"] == test) & (rates["quantity"] == FALSE[str(quantity)])]
        naive = naive[naive["situation"].isin(part["situation"])].dropna(subset=["rate"])
        if len(naive):
            rows.append({"test": name, "kind": "naive", **worst(naive)})
    return pd.DataFrame(rows, columns=["test", "kind", "rate", "n_studies"])


def worst(rates: pd.DataFrame) -> dict[str, float]:
    """Return the largest rate and its number of studies."""
    row = rates.sort_values("rate").iloc[-1]
    return {"rate": float(row["rate"]), "n_studies": float(row["n_studies"])}


def rates_sentence(rates: pd.DataFrame) -> Markdown:
    """State the worst error rates of the naive and the calibrated tests."""
    if rates.empty:
        return Markdown("The benchmarks have not been run for this copy of the project.")
    largest = rates.loc[rates.groupby("kind")["rate"].idxmax()].set_index("kind")
    naive, calibrated = largest.loc["naive"], largest.loc["calibrated"]
    return Markdown(
        "Each of these worst situations has at least {:.0f} simulated studies. The naive tests are "
        "wrong in up to {:.0%} of them ({}), and the calibrated tests in up to {:.1%} ({})."
    ).format(
        rates["n_studies"].min(),
        naive["rate"],
        naive["test"],
        calibrated["rate"],
        calibrated["test"],
    )


def rates_table(folder: Path) -> Markdown:
    """Typeset the targets and how often they are met, one row per kind of situation and target."""
    rates = read_rates(folder)
    judged = rates[rates["met"] != ""]
    if judged.empty:
        note = Markdown("run `python benchmarks/calibration.py` to make them")
        return typeset(pd.DataFrame({"note": markdown_column([note])}), {"note": "Rates"})
    rows = []
    keys = ["about", "test", "quantity", "bound"]
    for (about, test, quantity, bound), part in judged.groupby(keys, sort=False):
        extreme = part["rate"].max() if bound == "<=" else part["rate"].min()
        rows.append(
            {
                "about": about,
                "what": f"{test}: {quantity}",
                "target": ("at most" if bound == "<=" else "at least")
                + (
                    f" {part['target'].iloc[0]:.3g}"
                    if part["target"].max() == part["target"].min()
                    else " 3/4"
                ),
                "worst": f"{extreme:.3f}",
                "met": f"{(part['met'] != 'no').sum()} of {len(part)}",
                "n": f"{part['n_studies'].min():.0f}",
            }
        )
    headings = {
        "about": "About",
        "what": "Rate of",
        "target": "Target",
        "worst": "Worst",
        "met": "Met",
        "n": "Studies",
    }
    return typeset(pd.DataFrame(rows), headings, [15, 38, 16, 10, 12, 9], group=1)
