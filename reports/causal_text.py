"""Say in the paper whether the layers where emotion can be read are those where it is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.style import metric_label
from analysis.over_models.causal import causal_profile
from analysis.scopes import THESE
from analysis.wording import NBSP, count, interval, intervals, number, p_value, typeset
from reports.paper import Findings, tally
from study.text import Markdown

NOTHING = Markdown("")


def profile(found: Findings) -> pd.DataFrame:
    """Compare losses with separation by the rules of a study; empty without ablation."""
    if found.ablated is None:
        return pd.DataFrame()
    return causal_profile(
        found.ablated,
        metric=found.primary_metric,
        method=found.primary_method,
        peak=found.rules["peak"],
        delta=found.rules["delta"],
        alpha=found.alpha,
    )


def how_sentence(found: Findings) -> Markdown:
    """Say what was ablated, and what that removes."""
    if found.ablated is None:
        return NOTHING
    run = found.ablated.run
    settings = run.get("study", {}).get("ablation", {})
    removed = [u["removed"] for u in run.get("units", []) if u.get("removed")]
    read = settings.get("tokens")
    every = int(settings.get("every", 1))
    text = Markdown("The subspace is taken out at {}{}").format(
        "every layer" if every == 1 else f"one layer in {number(every, 0)}",
        f", while the first {read} tokens of each passage are read" if read else "",
    )
    if removed:
        shares = np.concatenate(removed)
        text += Markdown("; it holds {:.0%} to {:.0%} of the tokens' variance").format(
            shares.min(), shares.max()
        )
    return text + Markdown(".")


def sentence(found: Findings, rows: pd.DataFrame) -> Markdown:
    """Say for each measure what is lost, where, and whether separation peaks there."""
    if rows.empty:
        return NOTHING
    assert found.ablated is not None
    each = rows[(rows["compared"] == "separation") & (rows["scope"] == THESE)]
    parts = [
        Markdown("Of {} of the depth of loss with the depth of separation, {}.").format(
            count(len(each), "comparison"), tally(each["verdict"])
        )
    ]
    for measure, of in rows.groupby("measure", sort=False):
        label = metric_label(found.ablated, str(measure))
        each = of[(of["compared"] == "separation") & (of["scope"] == THESE)]
        said = [_said(row) for row in each.to_dict("records")]
        text = Markdown("*{}*, beyond the control: {}.").format(label, Markdown("; ").join(said))
        between = of[of["compared"] == "models"].iloc[0]
        if between["verdict"] != "undecided":
            text += Markdown(" Between the models: *{}* ({}).").format(
                between["verdict"], between["reason"]
            )
        parts.append(text)
    return Markdown(" ").join(parts)


def _said(row: dict[Any, Any]) -> Markdown:
    """Say what one model loses."""
    lost = interval(row["lost"], row["lost_low"], row["lost_high"], digits=3)
    if not np.isfinite(row["lost"]):
        return Markdown("in {}, *undecided* ({})").format(row["model"], row["reason"])
    return Markdown("in {}, {} averaged over layers, most at depth {}; *{}* ({})").format(
        row["model"], lost, number(row["depth"]), row["verdict"], row["reason"]
    )


def table(found: Findings, rows: pd.DataFrame) -> Markdown:
    """Typeset the losses and the depths, model by model and over models."""
    assert found.ablated is not None
    labels = {m: metric_label(found.ablated, m) for m in rows["measure"].unique()}
    each = rows[rows["compared"] == "separation"]
    shown = each.assign(
        measure=each["measure"].map(labels),
        loss=_in_two_lines(intervals(each, "lost", "lost_low", "lost_high", digits=3)),
        place=_in_two_lines(intervals(each, "depth", "depth_low", "depth_high")),
        reading=_in_two_lines(
            intervals(each, "separation_depth", "separation_low", "separation_high")
        ),
        value=_in_two_lines(intervals(each)),
        p_text=[p_value(p) for p in each["p"]],
    )
    columns = {
        "measure": "Measure",
        "model": "Model",
        "loss": "Lost",
        "place": "Depth of loss",
        "reading": "Depth of separation",
        "value": "Difference",
        "p_text": "p",
        "verdict": "Verdict",
    }
    return typeset(shown, columns, widths=[16, 16, 16, 12, 12, 13, 6, 11], group=1)


def _in_two_lines(values: list[str]) -> list[str]:
    """Return estimates whose intervals may stand below them."""
    return [value.replace(f"{NBSP}[", " [") for value in values]
