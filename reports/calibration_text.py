"""Describe in the paper how often the tests are right, from the table of the calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.planning.design import ENOUGH
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
    "plateau": None,
}

#: The tests whose power families_power.csv gives.
IN_WORDS = {
    "method_test": "the comparison of two methods",
    "localization_test": "the test of the peak's depth",
    "scale_test": "the test of scale",
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
        Columns test, kind ("naive" or "calibrated"), said (the wrong verdict, and where), rate and
        n_studies.
    """
    rates = read_rates(folder)
    false = rates[(rates["bound"] == "<=") & rates["quantity"].isin(list(FALSE))]
    rows = []
    for (about, test, quantity), part in false.groupby(["about", "test", "quantity"], sort=False):
        name = f"{quantity}: {test} ({about})"
        said = f"“{quantity}”, in the situations “{about}”"
        rows.append({"test": name, "kind": "calibrated", "said": said, **worst(part)})
        naive = rates[(rates["test"] == test) & (rates["quantity"] == FALSE[str(quantity)])]
        naive = naive[naive["situation"].isin(part["situation"])].dropna(subset=["rate"])
        if len(naive):
            rows.append({"test": name, "kind": "naive", "said": said, **worst(naive)})
    return pd.DataFrame(rows, columns=["test", "kind", "said", "rate", "n_studies"])


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
        "In the worst simulated situations, naive tests give a false answer in up to {:.0%} of the "
        "studies ({}), and the tests used here in up to {:.1%} ({}). Each situation has at least "
        "{:.0f} studies."
    ).format(
        naive["rate"],
        naive["said"],
        calibrated["rate"],
        calibrated["said"],
        rates["n_studies"].min(),
    )


def cost_sentence(folder: Path) -> Markdown:
    """State the power that families as the unit cost where they share nothing, if simulated.

    Two designs are named: the first of families_power.csv and the one that loses most.
    """
    path = folder / "families_power.csv"
    if not path.exists():
        return Markdown("")
    table = pd.read_csv(path)
    keys = ["n_models", "n_families", "per_family"]
    lost = (table["over_models"] - table["over_families"]).groupby([table[k] for k in keys]).mean()
    designs = dict.fromkeys([tuple(table.loc[0, keys]), lost.idxmax()])
    rows = [
        row
        for d in designs
        for _, row in table[(table[keys].to_numpy() == d).all(axis=1)].iterrows()
    ]
    parts = [
        Markdown("{} with {} models of {} families, in {:.0%} instead of {:.0%} ({})").format(
            IN_WORDS.get(name := row["test"].split(",")[0].strip("`"), name),
            row["n_models"],
            row["n_families"],
            row["over_families"],
            row["over_models"],
            f"{row['restored_by']:.0f} families"
            if np.isfinite(row["restored_by"])
            else "no number tried",
        )
        for row in rows
    ]
    return Markdown(
        "The family is the unit of every test over models, which costs power where families share "
        "nothing. Take an effect that Student's test over models finds in about {:.0%} of the "
        "studies. With the family as the unit, it is found less often (in parentheses, how many "
        "families of the same size restore that share): by {}."
    ).format(ENOUGH, Markdown("; ").join(parts))


def bare_sentence(folder: Path) -> Markdown:
    """State which targets for curves without replicates are missed, if any."""
    rates = read_rates(folder)
    asked = rates[(rates["about"] == "bare curves") & (rates["bound"] == ">=")]
    missed = asked[asked["met"] == "no"]
    if missed.empty:
        return Markdown("")
    layers = sorted(missed["situation"].str.extract(r"(\d+) layers")[0].astype(int).unique())
    return Markdown(
        "Of the {} targets for a hump or a rise in a curve without replicates, {} are missed, in "
        "curves of {} layers: the test finds {:.0%} to {:.0%} of the shapes, where the targets are "
        "{:.0%} to {:.0%}. The errors have to be estimated from the curve itself, and in few "
        "layers a hump in white noise looks like a drift without a hump. {}Replicates are the "
        "remedy."
    ).format(
        len(asked),
        len(missed),
        " and ".join(", ".join(map(str, layers)).rsplit(", ", 1)),
        missed["rate"].min(),
        missed["rate"].max(),
        missed["target"].min(),
        missed["target"].max(),
        _bound_sentence(folder),
    )


def _bound_sentence(folder: Path) -> Markdown:
    """State what share of the targets no test at all can reach, where it is less than all."""
    path = folder / "bare_bound.csv"
    if not path.exists():
        return Markdown("")
    table = pd.read_csv(path)
    short = table[table["bound"] + 2 * table["mc_error"] < 1]
    short = short[short["humps"] != "in the middle"]
    if short.empty:
        return Markdown("")
    parts = [
        Markdown("{:.0%} of its target in {} layers").format(row["bound"], row["n_layers"])
        for _, row in short.iterrows()
    ]
    return Markdown(
        "No test can find humps as often as asked wherever they are: whatever the test, the worst "
        "of {} reaches at most {}. "
    ).format(short["humps"].iloc[0], Markdown(" and ").join(parts))


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
