"""Draw what ablation loses by depth, beside separation and the sweep of steering."""

from __future__ import annotations

import textwrap

import pandas as pd
import plotnine as p9

from analysis.figures.profiles import profile_table
from analysis.figures.style import (
    GRAY,
    PALETTE,
    TITLE,
    depth_scale,
    house_style,
    in_room,
    metric_label,
    model_order,
)
from analysis.loading.scores import Scores
from analysis.trials.success import steering_summary, sweep
from analysis.trials.table import Trials, outcomes
from study.read import InputError
from study.tables import LOST

STEERED = "Share of steered texts, whole and above the baseline"


def causal_curves(
    scores: Scores, metric: str, method: str, trials: Trials | None = None
) -> p9.ggplot:
    """Draw separation, what ablation loses, and steering's success, each by depth.

    Parameters
    ----------
    scores : Scores
        With ablation.
    metric, method : str
        Of the separation.
    trials : Trials, optional
        Adds a row of panels for the sweep over depth, if there is one.

    Returns
    -------
    ggplot
        A column of panels per model. Bands hold 95% of the topic replicates, bars are Wilson
        intervals, and 0 in a panel of losses is the loss of the control.
    """
    main = scores.select(weights="trained", labels="true")
    lost = main.select(method="ablation")
    known = [name for name in LOST if (lost.table["metric"] == name).any()]
    parts = [profile_table(main.select(metric=metric, method=method)), profile_table(lost)]
    table = pd.concat(parts)[["model", "metric", "depth", "score", "low", "high"]]
    labels = {name: metric_label(scores, name) for name in (metric, *known)}
    table["panel"] = table["metric"].map(labels)
    order = list(labels.values())
    if (swept := _sweep(trials, set(table["model"]))) is not None:
        table = pd.concat([table, swept.assign(panel=STEERED)])
        order.append(STEERED)
    wrapped = {label: textwrap.fill(label, 24) for label in order}
    kinds = [wrapped[label] for label in order]
    table["panel"] = pd.Categorical(table["panel"].map(wrapped), kinds)
    models = [name for name in model_order(main) if name in set(table["model"])]
    table["model"] = pd.Categorical(table["model"], models)
    zero = table[table["metric"].isin(known)].drop_duplicates(["model", "panel"])
    colors = dict(zip(kinds, PALETTE, strict=False))
    points = table[table["metric"] != metric]
    return (
        p9.ggplot(table, p9.aes("depth", "score", color="panel", fill="panel"))
        + p9.geom_hline(p9.aes(yintercept=0), zero, color=GRAY, size=0.4, linetype="dotted")
        + p9.geom_ribbon(p9.aes(ymin="low", ymax="high"), alpha=0.18, color="none")
        + p9.geom_line(size=0.7)
        + p9.geom_point(data=points, size=1.3)
        + p9.facet_grid(
            "panel",
            "model",
            scales="free_y",
            labeller=p9.labeller(cols=in_room(len(models), size=TITLE, beside=1.0)),
        )
        + p9.scale_color_manual(values=colors)
        + p9.scale_fill_manual(values=colors)
        + depth_scale()
        + p9.labs(x="Depth (layer / number of layers)", y="")
        + house_style(0.9 + 1.5 * len(order))
        + p9.theme(
            legend_position="none",
            strip_text_y=p9.element_text(size=7, rotation=270, ha="center"),
        )
    )


def _sweep(trials: Trials | None, models: set[str]) -> pd.DataFrame | None:
    """Return the share of successes by model and depth; None without a sweep."""
    if trials is None:
        return None
    try:
        strength = sweep(outcomes(trials))["strength"].iloc[0]
    except InputError:
        return None
    found = steering_summary(trials, by=("model", "depth", "strength"), place=None)
    found = found[(found["strength"] == strength) & found["model"].isin(models)]
    renamed = found.rename(columns={"estimate": "score"})
    return pd.DataFrame(renamed[["model", "depth", "score", "low", "high"]])
