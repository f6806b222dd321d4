"""Draw the figures of steering from the trials."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotnine as p9

from analysis.figures.style import GRAY, MAX_HEIGHT, PALETTE, depth_scale, house_style, in_room
from analysis.loading.scores import Scores
from analysis.trials.regimes import regime_table
from analysis.trials.shares import share
from analysis.trials.success import beside_published, steering_summary, sweep
from analysis.trials.table import BROKEN, MATCHED, REGIMES, SHAM, STEERED, Trials, outcomes

#: Names of the kinds of texts in figures, with a color and a line for each.
KINDS = {STEERED: "steered", MATCHED: "matched sham", SHAM: "isotropic sham"}
COLORS = dict(zip(KINDS.values(), (PALETTE[0], PALETTE[3], GRAY), strict=True))
BROKEN_TEXT = "broken text"
REGIME_COLORS = dict(zip(REGIMES, (PALETTE[2], "#C9CDD3", PALETTE[4], PALETTE[1]), strict=True))


def _percent(values: list[float]) -> list[str]:
    return [f"{v:.0%}" for v in values]


def _share_scale(title: str) -> list[object]:
    return [p9.scale_y_continuous(labels=_percent, limits=(0, 1)), p9.labs(y=title)]


def dose_curves(trials: Trials | pd.DataFrame) -> p9.ggplot:
    """Draw the shares of whole texts above their baseline and of broken texts, by strength.

    Bands are Wilson intervals.
    """
    table = outcomes(trials)
    table = table[table["place"] == "peak"]
    lines = {
        KINDS[STEERED]: table["whole_success"],
        KINDS[MATCHED]: table.loc[table["sham_kind"] == MATCHED, "sham_whole_success"],
        KINDS[SHAM]: table["isotropic_whole_success"],
        BROKEN_TEXT: table["regime"].isin(BROKEN),
    }
    rows = []
    for line, values in lines.items():
        for (model, strength), hits in values.groupby([table["model"], table["strength"]]):
            rows.append(
                {
                    "model": model,
                    "strength": strength,
                    "line": line,
                    **share(int(hits.sum()), len(hits)),
                }
            )
    shown = pd.DataFrame(rows)
    order = [line for line in lines if line in set(shown["line"])]
    colors = [{**COLORS, BROKEN_TEXT: PALETTE[1]}[line] for line in order]
    strengths = sorted(shown["strength"].unique())
    width = min(3, shown["model"].nunique())
    return (
        p9.ggplot(shown, p9.aes("strength", "estimate", color="line", fill="line"))
        + p9.geom_hline(yintercept=0.5, color=GRAY, size=0.4, linetype="dotted")
        + p9.geom_ribbon(p9.aes(ymin="low", ymax="high"), alpha=0.15, color="none")
        + p9.geom_line(p9.aes(linetype="line"), size=0.7)
        + p9.geom_point(p9.aes(shape="line"), size=1.8)
        + p9.facet_wrap("model", ncol=width, labeller=in_room(width))
        + p9.scale_x_log10(breaks=strengths, labels=[f"{s:g}" for s in strengths])
        + p9.scale_color_manual(values=colors, limits=order, breaks=order)
        + p9.scale_fill_manual(values=colors, limits=order, breaks=order)
        + p9.scale_linetype_manual(
            values=["solid", "dashed", "dashdot", "dotted"][-len(order) :], limits=order
        )
        + p9.scale_shape_manual(values=["o", "s", "D", "X"][-len(order) :], limits=order)
        + _share_scale("Share of texts")
        + p9.labs(x="Strength (fraction of the mean residual norm)")
        + house_style(0.9 + 2.0 * -(-shown["model"].nunique() // 3))
    )


def regime_map(trials: Trials | pd.DataFrame) -> p9.ggplot:
    """Draw the shares of the regimes by model and strength, for steered texts and shams."""
    table = regime_table(trials)
    table["strength"] = pd.Categorical(
        [f"{s:g}" for s in table["strength"]],
        [f"{s:g}" for s in sorted(table["strength"].unique())],
    )
    table["regime"] = pd.Categorical(table["regime"], REGIMES[::-1])
    kinds = [name for kind, name in KINDS.items() if kind in set(table["kind"])]
    table["kind"] = pd.Categorical(table["kind"].map(KINDS), kinds)
    order = list(REGIMES)
    n = table["model"].nunique()
    height = min(0.9 + 1.5 * n, MAX_HEIGHT)
    return (
        p9.ggplot(table, p9.aes("strength", "share", fill="regime"))
        + p9.geom_col(width=0.8)
        + p9.facet_grid(
            "model", "kind", labeller=p9.labeller(rows=in_room(n, height, 7.5, beside=0.9))
        )
        + p9.scale_fill_manual(values=[REGIME_COLORS[r] for r in order], limits=order)
        + _share_scale("Share of texts")
        + p9.labs(x="Strength (fraction of the mean residual norm)")
        + house_style(height)
        + p9.theme(strip_text_y=p9.element_text(size=7.5, rotation=270, ha="center"))
    )


def success_forest(trials: Trials | pd.DataFrame) -> p9.ggplot:
    """Draw each model's share of successes with its interval, its sham and the published share."""
    table = beside_published(trials)
    order = list(table["source"])[::-1]
    table["source"] = pd.Categorical(table["source"], order)
    table["kind"] = np.where(table["source"] == "Jeong 2026", "published", "whole")
    long = [table[["source", "estimate", "low", "high", "kind"]]]
    others = {"over_baseline": "whole or not"}
    if (outcomes(trials)["sham_kind"] == MATCHED).any():
        others["sham"] = KINDS[MATCHED]
    others["isotropic"] = KINDS[SHAM]
    for column, kind in others.items():
        part = table.dropna(subset=[column])
        long.append(part[["source"]].assign(estimate=part[column], kind=kind))
    shown = pd.concat(long, ignore_index=True)
    shown["source"] = pd.Categorical(shown["source"], order)
    kinds = ["published", "whole", *others.values()]
    colors = [PALETTE[6], PALETTE[0], PALETTE[2], *(COLORS[k] for k in kinds[3:])]
    shapes = ["D", "o", "^", *({"matched sham": "s"}.get(k, "x") for k in kinds[3:])]
    return (
        p9.ggplot(shown, p9.aes("source", "estimate", color="kind", shape="kind"))
        + p9.geom_linerange(p9.aes(ymin="low", ymax="high"), shown.dropna(subset=["low"]), size=0.8)
        + p9.geom_point(size=2.4)
        + p9.scale_color_manual(values=colors, limits=kinds, breaks=kinds)
        + p9.scale_shape_manual(values=shapes, limits=kinds, breaks=kinds)
        + p9.guides(color=p9.guide_legend(nrow=2), shape=p9.guide_legend(nrow=2))
        + p9.coord_flip()
        + _share_scale("Share of trials")
        + p9.labs(x="")
        + house_style(1.15 + 0.35 * len(order))
    )


def depth_curves(trials: Trials | pd.DataFrame, scores: Scores | None = None) -> p9.ggplot:
    """Draw success by depth at the sweep's strength, over the separation curve.

    Parameters
    ----------
    trials : Trials or DataFrame
    scores : Scores, optional
        One metric and one method. Separation has other units, so it is scaled to the panel.
    """
    strength = sweep(outcomes(trials))["strength"].iloc[0]
    found = steering_summary(trials, by=("model", "depth", "strength"), place=None)
    found = found[found["strength"] == strength]
    steered = found[["model", "depth", "estimate", "low", "high"]].assign(line="steered")
    sham = found[["model", "depth"]].assign(estimate=found["isotropic"], line=KINDS[SHAM])
    parts = [steered, sham]
    if scores is not None:
        for profile in scores.profiles():
            span = np.ptp(profile.separation)
            if profile.keys["model"] in set(found["model"]) and span > 0:
                scaled = (profile.separation - profile.separation.min()) / span
                parts.append(
                    pd.DataFrame(
                        {
                            "model": profile.keys["model"],
                            "depth": profile.depth,
                            "estimate": scaled,
                            "line": "separation (scaled)",
                        }
                    )
                )
    shown = pd.concat(parts, ignore_index=True)
    order = [n for n in ("steered", KINDS[SHAM], "separation (scaled)") if n in set(shown["line"])]
    colors = {**COLORS, "separation (scaled)": PALETTE[4]}
    points = shown[shown["line"] != "separation (scaled)"]
    width = min(3, shown["model"].nunique())
    return (
        p9.ggplot(shown, p9.aes("depth", "estimate", color="line"))
        + p9.geom_line(p9.aes(linetype="line"), size=0.7)
        + p9.geom_linerange(
            p9.aes(ymin="low", ymax="high"),
            shown.dropna(subset=["low"]),
            size=0.6,
            show_legend=False,
        )
        + p9.geom_point(data=points, size=1.8, show_legend=False)
        + p9.facet_wrap("model", ncol=width, labeller=in_room(width))
        + p9.scale_color_manual(values=[colors[n] for n in order], limits=order, breaks=order)
        + p9.scale_linetype_manual(values=["solid", "dashed", "dotted"][: len(order)], limits=order)
        + depth_scale()
        + _share_scale("Share whole and above the baseline")
        + p9.labs(x="Depth (layer / number of layers)")
        + house_style(0.9 + 2.0 * -(-shown["model"].nunique() // 3))
    )
