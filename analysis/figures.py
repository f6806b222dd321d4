"""The figures, in one house style: score and result tables in, plotnine objects out.

Every colour is from the palette of Okabe and Ito, which people with a colour-vision deficiency
tell apart and which keeps its order in grey; line types and shapes repeat what colour says.
Widths are those of an A4 text column.
"""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
import plotnine as p9
from mizani.breaks import breaks_extended

from analysis.scores import (
    METHODS,
    MODEL,
    PROFILE,
    InputError,
    Scores,
    method_order,
    metric_order,
)

#: Width of every figure in inches.
WIDTH = 6.3
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#7A7F87"
COLOURS = dict(zip(METHODS, PALETTE, strict=False))
UNTRAINED = "untrained"


def house_style(height: float) -> p9.theme:
    """Return the theme that every figure shares, with its height in inches."""
    soft = "#5B6472"
    return p9.theme_minimal(base_size=9) + p9.theme(
        figure_size=(WIDTH, height),
        panel_grid_minor=p9.element_blank(),
        panel_grid_major=p9.element_line(color="#E4E7EB", size=0.4),
        panel_spacing=0.02,
        strip_text=p9.element_text(size=8.5, weight="bold", ha="left", x=0),
        axis_title=p9.element_text(size=8.5, color=soft),
        axis_text=p9.element_text(size=7.5, color=soft),
        legend_position="bottom",
        legend_title=p9.element_blank(),
        legend_text=p9.element_text(size=8.5),
        legend_key_width=22,
        plot_margin=0.01,
    )


def metric_label(scores: Scores, metric: str) -> str:
    """Return how a metric is named on an axis, from the study's own declaration."""
    return str(scores.run.get("metrics", {}).get(metric, {}).get("label", metric))


def model_order(scores: Scores) -> list[str]:
    """Return the models by family and, within it, by size."""
    facts = scores.table.drop_duplicates("model").sort_values(["family", "n_params", "model"])
    return [str(model) for model in facts["model"]]


def profile_table(scores: Scores, level: float = 0.95) -> pd.DataFrame:
    """Return the profiles as one long table, with percentile bands from the replicates.

    Parameters
    ----------
    scores : Scores
    level : float
        Coverage of the band.

    Returns
    -------
    DataFrame
        The columns of `PROFILE` and `MODEL`, layer, depth, score, low and high, in the metric's
        own units; low and high are missing where there are no replicates.

    Examples
    --------
    >>> from analysis.simulate import simulate_scores
    >>> table = profile_table(simulate_scores(families=(1,), n_replicates=50))
    >>> bool((table["low"] < table["high"]).all())
    True
    """
    parts = []
    for profile in scores.profiles():
        part = pd.DataFrame({"layer": profile.layer, "depth": profile.depth})
        part["score"] = profile.sign * profile.separation
        part["low"], part["high"] = np.nan, np.nan
        if profile.replicates is not None:
            tails = [50 * (1 - level), 50 * (1 + level)]
            # Held-out scores fall where a replicate repeats topics; only the spread is an error.
            spread = profile.replicates - profile.replicates.mean(axis=0)
            part["low"], part["high"] = np.percentile(
                profile.sign * (profile.separation + spread), tails, axis=0
            )
        parts.append(part.assign(**{key: profile.keys[key] for key in [*PROFILE, *MODEL]}))
    return pd.concat(parts, ignore_index=True)


def depth_profiles(
    scores: Scores, metric: str, fits: pd.DataFrame | None = None, columns: int = 3
) -> p9.ggplot:
    """Draw one metric's depth profiles, a panel a model, trained over untrained.

    Parameters
    ----------
    scores : Scores
    metric : str
    fits : DataFrame, optional
        Rows of `fit_curves` of the same study: where a trained profile has a peak inside the
        network, its vertex and the vertex's interval are drawn at the foot of the panel.
    columns : int
        Most panels in a row.

    Returns
    -------
    ggplot

    Raises
    ------
    InputError
        If the metric is not in the table.

    Examples
    --------
    >>> from analysis.simulate import simulate_scores
    >>> figure = depth_profiles(simulate_scores(families=(1, 1)), metric="score")
    """
    table = profile_table(scores.select(metric=metric, labels="true"))
    table["model"] = pd.Categorical(table["model"], model_order(scores))
    table["line"] = table["method"].where(table["weights"] != UNTRAINED, UNTRAINED)
    table["group"] = table["method"] + table["weights"] + table["seed"].astype(str)
    chance = scores.run.get("metrics", {}).get(metric, {}).get("chance")
    n = table["model"].nunique()
    width = min(n, columns)
    figure = p9.ggplot(table, p9.aes("depth", "score", group="group"))
    if chance is not None:
        figure += p9.geom_hline(yintercept=chance, color=GREY, size=0.4, linetype="dotted")
    if table["low"].notna().any():
        ribbon = p9.aes(ymin="low", ymax="high", fill="line")
        figure += p9.geom_ribbon(ribbon, table.dropna(subset=["low"]), alpha=0.18, color="none")
    figure += p9.geom_line(p9.aes(color="line", linetype="line"), size=0.7)
    if fits is not None:
        figure += _vertices(fits[fits["metric"] == metric], table)
    return (
        figure
        + p9.facet_wrap("model", ncol=width)
        + _line_scales(table["line"])
        + _depth_scale()
        + p9.labs(x="Depth (layer / number of layers)", y=metric_label(scores, metric))
        + house_style(0.9 + 1.75 * -(-n // width))
    )


def _line_scales(lines: pd.Series[str]) -> list[Any]:
    """Return the scales that tell methods apart by colour, and untrained twins by dashes."""
    present = set(lines)
    order = method_order(present - {UNTRAINED})
    spare = iter(PALETTE[len(COLOURS) :])
    colours = {m: COLOURS.get(m) or next(spare) for m in order}
    types = dict.fromkeys(order, "solid")
    if UNTRAINED in present:
        order.append(UNTRAINED)
        colours[UNTRAINED], types[UNTRAINED] = GREY, "dashed"
    shown = [colours[m] for m in order]
    return [
        p9.scale_color_manual(values=shown, breaks=order, limits=order),
        p9.scale_fill_manual(values=shown, breaks=order, limits=order),
        p9.scale_linetype_manual(values=[types[m] for m in order], breaks=order, limits=order),
    ]


def _depth_scale() -> p9.scale_x_continuous:
    return p9.scale_x_continuous(
        breaks=[0, 0.25, 0.5, 0.75, 1], labels=["0", "¼", "½", "¾", "1"], limits=(0, 1)
    )


def _vertices(fits: pd.DataFrame, table: pd.DataFrame) -> list[Any]:
    """Return the layers that mark the trained profiles' vertices below the curves."""
    marks = fits[(fits["weights"] != UNTRAINED) & (fits["labels"] == "true")].copy()
    marks = marks[(marks["shape"] == "hump") & marks["vertex"].between(0, 1)]
    low, high = table[["score", "low"]].min().min(), table[["score", "high"]].max().max()
    step = 0.05 * (high - low)
    rank = {method: i for i, method in enumerate(sorted(marks["method"].unique()))}
    marks["score"] = low - step * (1 + marks["method"].map(rank).astype(float))
    marks["left"] = marks["vertex_low"].clip(0, 1)
    marks["right"] = marks["vertex_high"].clip(0, 1)
    marks["line"], marks["group"] = marks["method"], marks["method"]
    marks["model"] = pd.Categorical(marks["model"], table["model"].cat.categories)
    ends = p9.aes(x="left", xend="right", y="score", yend="score", color="line")
    return [
        p9.geom_segment(ends, marks.dropna(subset=["left", "right"]), size=0.9, show_legend=False),
        p9.geom_point(p9.aes(x="vertex", color="line"), marks, size=1.8, show_legend=False),
    ]


def metric_profiles(scores: Scores, method: str = "comprehension") -> p9.ggplot:
    """Draw every metric's profiles by family, trained (solid) over untrained (dashed).

    Examples
    --------
    >>> from analysis.simulate import simulate_scores
    >>> figure = metric_profiles(simulate_scores())
    """
    table = profile_table(scores.select(method=method, labels="true"))
    names = {m: metric_label(scores, m) for m in table["metric"].unique()}
    table["metric"] = pd.Categorical(
        table["metric"].map(names), [names[m] for m in metric_order(names)]
    )
    table["group"] = table["model"] + table["weights"] + table["seed"].astype(str)
    rank = table["model"].map({m: i for i, m in enumerate(model_order(scores))})
    first = rank.groupby(table["family"]).transform("min")
    shades = [PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[3]]
    table["shade"] = [shades[int(i) % len(shades)] for i in rank - first]
    table["colour"] = table["shade"].where(table["weights"] != UNTRAINED, GREY)
    return (
        p9.ggplot(table, p9.aes("depth", "score", group="group", color="colour"))
        + p9.geom_line(p9.aes(linetype="weights"), size=0.6)
        + p9.facet_grid("metric", "family", scales="free_y", labeller=_wrapped)
        + p9.scale_color_identity()
        + p9.scale_linetype_manual(
            values=["solid", "dashed"], breaks=["trained", UNTRAINED], limits=["trained", UNTRAINED]
        )
        + _depth_scale()
        + p9.labs(x="Depth (layer / number of layers)", y="")
        + house_style(0.8 + 1.35 * len(names))
        + p9.theme(strip_text_y=p9.element_text(size=7.5, rotation=270, ha="center"))
    )


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 18))


def vertex_forest(
    fits: pd.DataFrame,
    pooled: pd.DataFrame | None = None,
    target: float = 0.5,
    delta: float = 0.1,
) -> p9.ggplot:
    """Draw the models' vertices with their intervals, by family, over the target's band.

    Parameters
    ----------
    fits : DataFrame
        Rows of `fit_curves` of one metric and one kind of weights.
    pooled : DataFrame, optional
        Rows of `localization_test`, one a method at most: drawn as a diamond below the models.
    target, delta : float
        Centre and half-width of the equivalence band.

    Returns
    -------
    ggplot

    Notes
    -----
    A cross marks a quadratic that has no peak inside the network: a trough, or a turn beyond its
    ends, drawn at the edge as are the ends of intervals that reach beyond.
    """
    table = fits.rename(
        columns={"vertex": "estimate", "vertex_low": "low", "vertex_high": "high"}
    ).sort_values(["family", "n_params"])
    rows = list(dict.fromkeys(table["model"]))
    columns = ["model", "family", "method", "estimate", "low", "high"]
    peak = np.where(table["shape"] == "hump", "model", "no peak")
    table = table[columns].assign(shape=peak)
    if pooled is not None and pooled["estimate"].notna().any():
        below = pooled[["method", "estimate", "low", "high"]]
        below = below.assign(model="pooled", family="all", shape="pooled")
        table, rows = pd.concat([table, below[table.columns]]), [*rows, "pooled"]
    table["model"] = pd.Categorical(table["model"], rows[::-1])
    table["family"] = pd.Categorical(table["family"], list(dict.fromkeys(table["family"])))
    for column in ("estimate", "low", "high"):
        table[column] = table[column].clip(0, 1)
    methods = method_order(table["method"])
    apart = p9.position_dodge(width=0.6)
    return (
        p9.ggplot(table, p9.aes("model", "estimate", color="method", group="method"))
        + p9.annotate("rect", xmin=-np.inf, xmax=np.inf, ymin=target - delta, ymax=target + delta,
                      fill=PALETTE[4], alpha=0.15)
        + p9.geom_hline(yintercept=target, color=PALETTE[4], size=0.5)
        + p9.geom_linerange(p9.aes(ymin="low", ymax="high"), size=0.8, position=apart)
        + p9.geom_point(p9.aes(shape="shape"), size=2.4, fill="white", position=apart)
        + p9.scale_shape_manual(values={"model": "o", "pooled": "D", "no peak": "$\\times$"},
                                guide=None)
        + p9.scale_color_manual(values=[COLOURS.get(m, PALETTE[3]) for m in methods],
                                limits=methods, breaks=methods)
        + p9.facet_grid("family", scales="free_y", space="free_y")
        + p9.coord_flip()
        + p9.scale_y_continuous(breaks=[0, 0.25, 0.5, 0.75, 1], limits=(0, 1))
        + p9.labs(x="", y="Depth of the vertex")
        + house_style(1.0 + 0.34 * len(rows))
        + p9.theme(strip_text_y=p9.element_text(rotation=0, ha="left"), plot_margin_right=0.05)
    )  # fmt: skip


def emotion_heatmap(scores: Scores, metric: str, method: str = "comprehension") -> p9.ggplot:
    """Draw each trained model's scores by layer and emotion.

    Emotions are in the order of their mean score, best separated on top.

    Examples
    --------
    >>> from analysis.simulate import simulate_scores
    >>> figure = emotion_heatmap(simulate_scores(families=(1,), n_emotions=4), metric="score")
    """
    some = scores.select(metric=metric, method=method, labels="true", weights="trained")
    table = some.table.copy()
    order = table.groupby("emotion")["score"].mean().sort_values().index
    if scores.directions[metric] < 0:
        order = order[::-1]
    models = model_order(some)
    table["emotion"] = pd.Categorical(table["emotion"], order)
    table["model"] = pd.Categorical(table["model"], models)
    table["breadth"] = 1 / table["n_layers"]
    width = min(len(models), 3)
    rows = -(-len(models) // width)
    return (
        p9.ggplot(table, p9.aes("depth", "emotion", fill="score", width="breadth"))
        + p9.geom_tile()
        + p9.facet_wrap("model", ncol=width)
        + p9.scale_fill_cmap("cividis", breaks=breaks_extended(3))
        + p9.scale_x_continuous(breaks=[0, 0.5, 1], labels=["0", "½", "1"], expand=(0, 0))
        + p9.labs(x="Depth (layer / number of layers)", y="", fill=metric_label(scores, metric))
        + house_style(0.9 + rows * (0.5 + 0.125 * len(order)))
        + p9.theme(panel_grid=p9.element_blank(), legend_title=p9.element_text(size=8),
                   axis_text_y=p9.element_text(size=6.5), legend_key_width=110,
                   legend_key_height=8, legend_title_position="top")
    )  # fmt: skip


def method_comparison(scores: Scores, metric: str) -> p9.ggplot:
    """Draw each model's mean separation under each method, a line a model.

    Examples
    --------
    >>> from analysis.simulate import simulate_scores
    >>> study = simulate_scores(methods=("comprehension", "generation"))
    >>> figure = method_comparison(study, metric="score")
    """
    some = scores.select(metric=metric, labels="true", weights="trained")
    methods = method_order(some.table["method"])
    if len(methods) < 2:
        return absent(f"This study has one method only, {methods[0]}.")
    keys = ["model", "family", "method"]
    table = some.table.groupby(keys, as_index=False)["score"].mean()
    table["method"] = pd.Categorical(table["method"], methods)
    families = sorted(table["family"].unique())
    shapes = ["o", "^", "s", "D", "v", "P", "X"]
    return (
        p9.ggplot(table, p9.aes("method", "score", group="model", color="family", shape="family"))
        + p9.geom_line(size=0.6, alpha=0.7)
        + p9.geom_point(size=2.2)
        + p9.scale_color_manual(values=[PALETTE[i % 7] for i in range(len(families))])
        + p9.scale_shape_manual(values=[shapes[i % 7] for i in range(len(families))])
        + p9.labs(x="", y=f"{metric_label(scores, metric)}, mean over layers")
        + house_style(2.8)
    )


def specification_curve(table: pd.DataFrame, target: float, delta: float) -> p9.ggplot:
    """Draw the pooled peak under every choice of analysis, in order, with its verdict.

    Parameters
    ----------
    table : DataFrame
        Rows of `specification_table`.
    target, delta : float
        Centre and half-width of the equivalence band.

    Returns
    -------
    ggplot
    """
    choices = ["metric", "method", "layers", "peak"]
    require(table, [*choices, "estimate", "low", "high", "verdict"], "the specification curve")
    shown = table.sort_values(["estimate", *choices], na_position="first").reset_index(drop=True)
    shown["specification"] = shown[choices].astype(str).agg(" · ".join, axis=1)
    shown["specification"] = pd.Categorical(shown["specification"], shown["specification"])
    for column in ("estimate", "low", "high"):
        shown[column] = shown[column].clip(0, 1)
    words = ["at target", "elsewhere", "undecided"]
    return (
        p9.ggplot(shown, p9.aes("specification", "estimate", color="verdict", shape="verdict"))
        + p9.annotate("rect", xmin=-np.inf, xmax=np.inf, ymin=target - delta, ymax=target + delta,
                      fill=PALETTE[4], alpha=0.15)
        + p9.geom_hline(yintercept=target, color=PALETTE[4], size=0.5)
        + p9.geom_linerange(p9.aes(ymin="low", ymax="high"), shown.dropna(subset=["low"]), size=0.6)
        + p9.geom_point(data=shown.dropna(subset=["estimate"]), size=1.8)
        + p9.geom_text(p9.aes(label="verdict"), shown[shown["estimate"].isna()].assign(estimate=0),
                       size=6.5, ha="left", show_legend=False)
        + p9.scale_color_manual(values=[PALETTE[2], PALETTE[1], GREY], limits=words)
        + p9.scale_shape_manual(values=["o", "X", "s"], limits=words)
        + p9.coord_flip()
        + p9.scale_y_continuous(breaks=[0, 0.25, 0.5, 0.75, 1], limits=(0, 1))
        + p9.labs(x="", y="Pooled depth of the peak")
        + house_style(1.0 + 0.145 * len(shown))
        + p9.theme(axis_text_y=p9.element_text(size=6.5))
    )  # fmt: skip


def calibration(table: pd.DataFrame, nominal: float = 0.05) -> p9.ggplot:
    """Draw how often each test rejects a true hypothesis: naive against calibrated.

    Parameters
    ----------
    table : DataFrame
        With columns test, kind ("naive" or "calibrated") and rate.
    nominal : float
        The level that a test promises.

    Returns
    -------
    ggplot
    """
    require(table, ["test", "kind", "rate"], "the calibration figure")
    if table.empty:
        return absent("The calibration benchmarks have not been run.")
    order = table.groupby("test")["rate"].max().sort_values().index
    shown = table.assign(test=pd.Categorical(table["test"], order))
    return (
        p9.ggplot(shown, p9.aes("test", "rate", color="kind", shape="kind"))
        + p9.geom_line(p9.aes(group="test"), color=GREY, size=0.5)
        + p9.geom_hline(yintercept=nominal, linetype="dashed", color=GREY)
        + p9.geom_point(size=2.6)
        + p9.scale_color_manual(values=[PALETTE[0], PALETTE[1]], limits=["calibrated", "naive"])
        + p9.scale_shape_manual(values=["o", "X"], limits=["calibrated", "naive"])
        + p9.coord_flip()
        + p9.scale_y_continuous(limits=(0, 1), labels=lambda x: [f"{v:.0%}" for v in x])
        + p9.labs(x="", y="Share of true hypotheses rejected")
        + house_style(1.0 + 0.3 * len(order))
    )


def absent(reason: str) -> p9.ggplot:
    """Return a strip that says in a figure's place why the study has nothing to draw there."""
    data = pd.DataFrame({"x": [0.0], "y": [0.0], "text": [reason]})
    return (
        p9.ggplot(data, p9.aes("x", "y", label="text"))
        + p9.geom_text(size=9, color=GREY)
        + p9.theme_void()
        + p9.theme(figure_size=(WIDTH, 0.6))
    )


def require(table: pd.DataFrame, columns: list[str], name: str) -> None:
    """Raise `InputError` unless a result table has the columns that a figure draws."""
    missing = [c for c in columns if c not in table]
    if missing:
        raise InputError(f"the table for {name} has no column {missing[0]!r}")
