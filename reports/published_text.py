"""Say in the paper at which depths other texts print that emotion is represented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.claims.literature import literature_test, published_depths
from analysis.wording import count, interval, markdown_column, number, p_value, typeset
from reports.paper import Findings
from study.text import Markdown, markdown

#: Citations of the sources that have an entry in references.bib.
CITED = {
    "Jeong 2026a": Markdown("@jeong2026"),
    "Jeong 2026b": Markdown("@jeong2026shared"),
    "Keeman 2026": Markdown("@keeman2026"),
    "Henry 2026": Markdown("@henry2026"),
}
VERDICTS = {
    "at target": "The published depths are shown to lie at the target",
    "elsewhere": "The published depths are shown to lie elsewhere",
    "undecided": "Whether the published depths lie at the target is undecided",
}


@dataclass(frozen=True)
class Literature:
    """Published depths, pooled over all sources and over papers alone.

    Attributes
    ----------
    depths : DataFrame
        Rows of `published_depths`.
    pooled, papers : DataFrame
        A row of `literature_test` each.
    """

    depths: pd.DataFrame
    pooled: pd.DataFrame
    papers: pd.DataFrame


def literature(found: Findings) -> Literature | None:
    """Pool the published depths by the rules of a study; None for a table from elsewhere."""
    if found.scores.is_foreign:
        return None
    rules = {"target": found.rules["target"], "delta": found.rules["delta"], "alpha": found.alpha}
    depths = published_depths()
    papers = depths[depths["source_kind"] == "paper"]
    return Literature(depths, literature_test(depths, **rules), literature_test(papers, **rules))


def literature_sentence(found: Findings, printed: Literature | None) -> Markdown:
    """Say what is printed, where it lies, and how sure that is."""
    if printed is None:
        return Markdown("")
    row, papers = printed.pooled.iloc[0], printed.papers.iloc[0]
    kinds = printed.depths.drop_duplicates("source")["source_kind"].value_counts()
    text = Markdown(
        "We found {} at which emotion, valence or sentiment is said to be best represented, in the "
        "texts of {} and {} (repositories and pages without an arXiv number). "
        "Of these, {} lie within {:g} of the depth {:g}. "
    ).format(
        count(row["n_figures"], "printed depth"),
        count(int(kinds.get("paper", 0)), "paper"),
        count(int(kinds.get("report", 0)), "report"),
        row["n_within"],
        found.rules["delta"],
        found.rules["target"],
    )
    text += Markdown(
        "Pooled with a random effect of the source, the published depth is {} (p of equivalence {},"
        " {} degrees of freedom). {}: {}. "
        "With any one source left out, the pooled depth is {} to {}. "
        "The standard deviation is {} over all figures and {} between sources. Another source's "
        "figure would lie between {} and {}. "
    ).format(
        interval(row["estimate"], row["low"], row["high"]),
        p_value(row["p"]),
        number(row["df"], 1),
        VERDICTS[row["verdict"]],
        row["reason"],
        number(row["without_low"]),
        number(row["without_high"]),
        number(row["tau"]),
        number(row["tau_source"]),
        number(max(row["prediction_low"], 0.0)),
        number(min(row["prediction_high"], 1.0)),
    )
    alone = interval(papers["estimate"], papers["low"], papers["high"])
    return text + Markdown("The papers alone give {} ({}: {}).").format(
        alone, papers["verdict"], papers["reason"]
    )


def literature_table(printed: Literature) -> Markdown:
    """Typeset every published figure with its source and place."""
    depths = printed.depths
    table = depths.assign(
        text=markdown_column(CITED.get(s, markdown(s)) for s in depths["source"]),
        figure=[_figure(row) for row in depths.to_dict("records")],
        value=[number(depth) for depth in depths["depth"]],
    )
    columns = {
        "text": "Source",
        "model": "Model",
        "measure": "Measure",
        "figure": "As printed",
        "value": "Depth",
        "place": "Place",
    }
    return typeset(table, columns, widths=[16, 20, 22, 12, 7, 23])


def _figure(row: Mapping[Any, Any]) -> str:
    """Return a figure as its source prints it."""
    if pd.notna(row["layer"]):
        return f"layer {row['layer']} of {row['n_layers']}"
    return f"depth {row['printed']}"
