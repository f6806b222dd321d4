"""Draw an overview of a study, such as the README's picture."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotnine as p9

from analysis.figures.profiles import located_peaks, named_panels, profile_table
from analysis.figures.style import (
    COLORS,
    FEW,
    GRAY,
    NO_METHOD,
    PALETTE,
    SMALL_TITLE,
    SOFT,
    UNTRAINED,
    band,
    depth_scale,
    house_style,
    in_room,
    metric_label,
    model_order,
    panel_columns,
    small_panels,
)
from analysis.loading.scores import Scores

TWIN = "untrained twin"
#: For each method: its name here, the depth of its label, and the label's side of the line.
LINES = {
    "comprehension": ("reading", 0.78, "center"),
    "generation": ("writing", 0.99, "right"),
    UNTRAINED: (TWIN, 0.3, "center"),
}
#: Width of the figure in inches, and the size of the titles of its panels in points.
WIDTH, TITLE = 9.0, 11.5


def cover(
    scores: Scores, metric: str, fits: pd.DataFrame, method: str = "comprehension"
) -> p9.ggplot:
    """Draw the trained profiles over their untrained twins, one panel per model.

    Parameters
    ----------
    scores : Scores
    metric : str
    fits : DataFrame
        Rows of `fit_curves` for the same study. Peaks of quadratics inside the network are drawn
        with their intervals at the bottom, in front of the preregistered band.
    method : str
        The method with peaks to draw; generation is drawn beside it if the study has it.

    Returns
    -------
    ggplot

    Examples
    --------
    >>> from analysis.profiles.curves import fit_curves
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(families=(1, 1))
    >>> figure = cover(study, "score", fit_curves(study))
    """
    shown = [m for m in dict.fromkeys([method, "generation"]) if m in set(scores.table["method"])]
    table = profile_table(scores.select(metric=metric, method=shown, labels="true"))
    twin = table["weights"] == UNTRAINED
    table = table[~twin | (table["method"] == method)].assign(
        kind=table["method"].where(~twin, UNTRAINED)
    )
    names = named_panels(table, model_order(scores))
    table["panel"] = pd.Categorical(table["model"].map(names), list(names.values()))
    said = {kind: LINES.get(kind, (kind, 0.78, "center")) for kind in table["kind"].unique()}
    table["line"] = table["kind"].map({kind: name for kind, (name, _, _) in said.items()})
    table["group"] = table["line"] + table["seed"].astype(str) + table["precision"]
    colors = {name: COLORS.get(kind, GRAY) for kind, (name, _, _) in said.items()}
    types = {name: "dashed" if name == TWIN else "solid" for name in colors}
    rules = scores.run.get("study", {}).get("preregistered", {})
    chance = scores.run.get("metrics", {}).get(metric, {}).get("chance")
    ends = table[["score", "low", "high"]]
    low, high = np.nanmin(ends), np.nanmax(ends)
    step = 0.05 * (high - low)
    foot = low - 1.2 * step
    across = panel_columns(len(names))
    rows = -(-len(names) // across)
    many = len(names) > FEW  # panels too small for words
    title, beside = (SMALL_TITLE, 1.4) if many else (TITLE, 0.85)
    figure = p9.ggplot(table, p9.aes("depth", "score", color="line"))
    if {"target", "delta"} <= set(rules):
        figure += band(rules["target"], rules["delta"], vertical=True)[:1]
    if not many and {"target", "delta"} <= set(rules):
        figure += p9.annotate(
            "text", x=rules["target"], y=high + 0.9 * step, size=9, label="claimed", color="#8A5A00"
        )
    if chance is not None:
        figure += p9.geom_hline(yintercept=chance, color=GRAY, size=0.5, linetype="dotted")
    if table["low"].notna().any():
        ribbon = p9.aes(ymin="low", ymax="high", fill="line", group="group")
        figure += p9.geom_ribbon(ribbon, table.dropna(subset=["low"]), alpha=0.18, color="none")
    figure += p9.geom_line(p9.aes(linetype="line", group="group"), size=0.7 if many else 1.1)
    unnamed = list(said) == [NO_METHOD]
    for kind, (_, place, side) in () if many or unnamed else said.items():
        near = table[table["kind"] == kind]
        near = near.loc[(near["depth"] - place).abs().groupby(near["model"]).idxmin()]
        near = near.assign(y=near["high"].fillna(near["score"]) + 0.5 * step)
        full = np.array(
            [_is_taken(row, table, step) for row in near.to_dict("records")], dtype=bool
        )
        under = near.assign(y=near["low"].fillna(near["score"]) - 0.5 * step)
        for some, end in ((near[~full], "bottom"), (under[full], "top")):
            figure += p9.geom_text(p9.aes(y="y", label="line"), some, size=10, va=end, ha=side)
    of = fits[(fits["metric"] == metric) & (fits["method"] == method) & (fits["labels"] == "true")]
    peaks = located_peaks(of[of["weights"] != UNTRAINED])
    if len(peaks):
        peaks = peaks.assign(
            score=foot,
            below=foot - 1.2 * step,
            left=peaks["peak_low"].clip(0, 1),
            right=peaks["peak_high"].clip(0, 1),
            text=[f"peak at {v:.2f}" for v in peaks["peak"]],
            panel=pd.Categorical(peaks["model"].map(names), list(names.values())),
        )
        hue = COLORS.get(method, PALETTE[0])
        bar = p9.aes(x="left", xend="right", y="score", yend="score")
        figure += p9.geom_segment(bar, peaks, color=hue, size=1.2)
        figure += p9.geom_point(p9.aes(x="peak"), peaks, color=hue, size=1.5 if many else 3)
        if not many:
            label = p9.aes(x="peak", y="below", label="text")
            figure += p9.geom_text(label, peaks, size=9, color=hue)
    return (
        figure
        + p9.facet_wrap("panel", ncol=across, labeller=in_room(across, WIDTH, title, beside))
        + p9.scale_color_manual(values=colors)
        + p9.scale_fill_manual(values=colors)
        + p9.scale_linetype_manual(values=types)
        + depth_scale()
        + p9.labs(x="Depth (layer / number of layers)", y=metric_label(scores, metric))
        + house_style(1)
        + p9.theme(
            figure_size=(WIDTH, 0.9 + (1.3 if many else 3) * rows),
            legend_position="none",
            strip_text=p9.element_text(size=TITLE, weight="bold", ha="left", ma="left", x=0),
            axis_title=p9.element_text(size=10.5, color=SOFT),
            axis_text=p9.element_text(size=9.5, color=SOFT),
            panel_spacing=0.04,
            plot_margin=0.02,
        )
        + small_panels(len(names))[1:]
    )


def _is_taken(label: Mapping[Hashable, Any], table: pd.DataFrame, step: float) -> bool:
    """Say whether another line, or its band, runs where a label would stand."""
    others = table[(table["model"] == label["model"]) & (table["kind"] != label["kind"])]
    others = others[(others["depth"] - label["depth"]).abs() < 0.1]
    low, high = (others[end].fillna(others["score"]) for end in ("low", "high"))
    return bool(((low < label["y"] + 1.5 * step) & (high > label["y"])).any())
