"""Draw the scores: profiles by depth, emotions, methods, valence."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
import plotnine as p9
from mizani.breaks import breaks_extended

from analysis.figures.style import (
    COLORS,
    FEW,
    GRAY,
    NO_METHOD,
    PALETTE,
    SMALL_TITLE,
    TITLE,
    UNTRAINED,
    WIDTH,
    absent,
    depth_scale,
    house_style,
    in_room,
    metric_label,
    model_order,
    panel_columns,
    small_panels,
    text_width,
)
from analysis.loading.columns import SHARES, key_of
from analysis.loading.scores import MODEL, PROFILE, Scores, method_order, metric_order
from study.arrays import Float64Array
from study.tables import BOUNDS


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
        units; low and high are missing without replicates. The band contains the score and stays
        within the metric's range.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
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
            # Held-out scores are lower in a replicate that repeats topics, so use only its spread.
            spread = profile.replicates - profile.replicates.mean(axis=0)
            low, high = np.clip(
                np.percentile(profile.sign * (profile.separation + spread), tails, axis=0),
                *_range(profile.keys["metric"], part["score"].to_numpy()),
            )
            part["low"] = np.minimum(low, part["score"])
            part["high"] = np.maximum(high, part["score"])
        parts.append(part.assign(**{key: profile.keys[key] for key in [*PROFILE, *MODEL]}))
    return pd.concat(parts, ignore_index=True)


def _range(metric: str, score: Float64Array) -> tuple[float, float]:
    """Return the range of a metric; none if it is unknown or the scores are percentages."""
    share = (0.0, 1.0) if key_of(metric) in SHARES else (-np.inf, np.inf)
    return BOUNDS.get(metric, share) if np.abs(score).max() < 1.001 else (-np.inf, np.inf)


def depth_profiles(
    scores: Scores,
    metric: str,
    fits: pd.DataFrame | None = None,
    columns: int = 3,
    size: tuple[float, float] | None = None,
) -> p9.ggplot:
    """Draw one metric's depth profiles, one panel per model, trained over untrained.

    Parameters
    ----------
    scores : Scores
    metric : str
    fits : DataFrame, optional
        Rows of `fit_curves` for the same study. The quadratics are drawn over the trained
        profiles; peaks inside the network are marked with their intervals at the bottom of the
        panel.
    columns : int
        The largest number of panels per row.
    size : tuple of float, optional
        Width and height of the figure in inches; by default, it fits the page.

    Returns
    -------
    ggplot

    Raises
    ------
    InputError
        If the metric is not in the table.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> figure = depth_profiles(simulate_scores(families=(1, 1)), metric="score")
    """
    table = profile_table(scores.select(metric=metric, labels="true"))
    names = named_panels(table, model_order(scores))
    table["panel"] = pd.Categorical(table["model"].map(names), list(names.values()))
    table["line"] = table["method"].where(table["weights"] != UNTRAINED, UNTRAINED)
    table["group"] = table["method"] + table["weights"] + table["seed"].astype(str)
    chance = scores.run.get("metrics", {}).get(metric, {}).get("chance")
    n = table["model"].nunique()
    width = panel_columns(n, columns)
    figure = p9.ggplot(table, p9.aes("depth", "score", group="group"))
    if chance is not None:
        figure += p9.geom_hline(yintercept=chance, color=GRAY, size=0.4, linetype="dotted")
    if table["low"].notna().any():
        ribbon = p9.aes(ymin="low", ymax="high", fill="line")
        figure += p9.geom_ribbon(ribbon, table.dropna(subset=["low"]), alpha=0.18, color="none")
    figure += p9.geom_line(p9.aes(color="line", linetype="line"), size=0.7)
    if fits is not None:
        figure += _fitted(fits[fits["metric"] == metric], table)
        figure += _peaks(fits[fits["metric"] == metric], table)
    return (
        figure
        + p9.facet_wrap("panel", ncol=width, labeller=in_room(width, size[0] if size else WIDTH))
        + _line_scales(table["line"])
        + (small_panels(n)[:1] or [depth_scale()])
        + p9.labs(x="Depth (layer / number of layers)", y=metric_label(scores, metric))
        + house_style(0.9 + (1.75 if n <= 2 * width else 1.4) * -(-n // width))
        + (p9.theme(figure_size=size) if size else None)
        + small_panels(n)[1:]
        + (p9.theme(legend_position="none") if set(table["line"]) == {NO_METHOD} else None)
    )


def named_panels(table: pd.DataFrame, order: list[str]) -> dict[str, str]:
    """Return the title of each model's panel: its family and its name."""
    family = table.drop_duplicates("model").set_index("model")["family"]
    between = " · " if len(family) <= FEW else "\n"
    return {model: f"{family[model]}{between}{model}" for model in order if model in family}


def _fitted(fits: pd.DataFrame, table: pd.DataFrame) -> list[Any]:
    """Return the fitted quadratics of the trained profiles."""
    keys = ["model", "method", "weights", "seed", "precision"]
    real = table[table["weights"] != UNTRAINED].drop(columns=["metric"])
    shapes = ["curvature", "slope_start", "depth_start"]
    if real.empty or not set(shapes) <= set(fits):
        return []
    of = real.merge(fits[fits["labels"] == "true"][[*keys, *shapes]], on=keys)
    slope = of["slope_start"] - 2 * of["curvature"] * of["depth_start"]
    shape = slope * of["depth"] + of["curvature"] * of["depth"] ** 2
    # The residuals of least squares have mean 0, which determines the constant.
    of["fitted"] = shape + (of["score"] - shape).groupby([of[k] for k in keys]).transform("mean")
    line = p9.aes(y="fitted", color="line")
    return [p9.geom_line(line, of, size=0.45, linetype="dotted", show_legend=False)]


def _line_scales(lines: pd.Series[str]) -> list[Any]:
    """Return the scales that distinguish methods by color and untrained twins by dashes."""
    present = set(lines)
    order = method_order(present - {UNTRAINED})
    spare = iter(PALETTE[len(COLORS) :])
    colors = {m: COLORS.get(m) or next(spare) for m in order}
    types = dict.fromkeys(order, "solid")
    if UNTRAINED in present:
        order.append(UNTRAINED)
        colors[UNTRAINED], types[UNTRAINED] = GRAY, "dashed"
    shown = [colors[m] for m in order]
    return [
        p9.scale_color_manual(values=shown, breaks=order, limits=order),
        p9.scale_fill_manual(values=shown, breaks=order, limits=order),
        p9.scale_linetype_manual(values=[types[m] for m in order], breaks=order, limits=order),
    ]


def located_peaks(fits: pd.DataFrame) -> pd.DataFrame:
    """Keep the humps that peak inside the network and have an interval for the peak."""
    bounded = np.isfinite(fits["peak_low"]) & np.isfinite(fits["peak_high"])
    inside = bounded & (fits["shape"] == "hump") & fits["peak"].between(0, 1)
    return pd.DataFrame(fits[inside])


def _peaks(fits: pd.DataFrame, table: pd.DataFrame) -> list[Any]:
    """Return the plot layers that mark the peaks of trained profiles below the curves."""
    marks = fits[(fits["weights"] != UNTRAINED) & (fits["labels"] == "true")]
    marks = located_peaks(marks).copy()
    low, high = table[["score", "low"]].min().min(), table[["score", "high"]].max().max()
    step = 0.05 * (high - low)
    rank = {method: i for i, method in enumerate(sorted(marks["method"].unique()))}
    marks["score"] = low - step * (1 + marks["method"].map(rank).astype(float))
    marks["left"] = marks["peak_low"].clip(0, 1)
    marks["right"] = marks["peak_high"].clip(0, 1)
    marks["line"], marks["group"] = marks["method"], marks["method"]
    panels = table.drop_duplicates("model").set_index("model")["panel"].astype(str)
    marks["panel"] = pd.Categorical(marks["model"].map(panels), table["panel"].cat.categories)
    ends = p9.aes(x="left", xend="right", y="score", yend="score", color="line")
    return [
        p9.geom_segment(ends, marks.dropna(subset=["left", "right"]), size=0.9, show_legend=False),
        p9.geom_point(p9.aes(x="peak", color="line"), marks, size=1.8, show_legend=False),
    ]


def metric_profiles(scores: Scores, method: str = "comprehension") -> p9.ggplot:
    """Draw every metric's profiles by family, trained (solid) over untrained (dashed).

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
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
    place = (rank - first).astype(int)
    words = ["first by size", "second by size", "third by size"]
    words += [f"{n}. by size" for n in range(4, place.max() + 2)]
    words = words[: place.max() + 1] if place.max() else ["trained"]
    twin = table["weights"] == UNTRAINED
    table["line"] = np.where(twin, UNTRAINED, np.array(words)[place])
    lines = [*words, *([UNTRAINED] if twin.any() else [])]
    shades = [*(PALETTE[i % len(PALETTE)] for i in range(len(words))), GRAY][: len(lines)]
    types = [*["solid"] * len(words), "dashed"][: len(lines)]
    return (
        p9.ggplot(table, p9.aes("depth", "score", group="group", color="line"))
        + p9.geom_line(p9.aes(linetype="line"), size=0.6)
        + p9.facet_grid("metric", "family", scales="free_y", labeller=_wrapped)
        + p9.scale_color_manual(values=shades, breaks=lines, limits=lines)
        + p9.scale_linetype_manual(values=types, breaks=lines, limits=lines)
        + depth_scale()
        + p9.labs(x="Depth (layer / number of layers)", y="")
        + house_style(0.9 + 1.15 * len(names))
        + p9.theme(strip_text_y=p9.element_text(size=7.5, rotation=270, ha="center"))
    )


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 18))


def emotion_heatmap(scores: Scores, metric: str, method: str = "comprehension") -> p9.ggplot:
    """Draw each trained model's scores by layer and emotion.

    Emotions are ordered by their mean score, the best separated on top. Many models are averaged
    over families, on a grid of depths.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> figure = emotion_heatmap(simulate_scores(families=(1,), n_emotions=4), metric="score")
    """
    some = scores.select(metric=metric, method=method, labels="true", weights="trained")
    table = some.table.copy()
    order = table.groupby("emotion")["score"].mean().sort_values().index
    if scores.directions[metric] < 0:
        order = order[::-1]
    models = model_order(some)
    table["breadth"] = 1 / table["n_layers"]
    table["panel"] = table["model"]
    panels = models
    if averages_families(some):
        table = _family_means(table)
        panels = sorted(table["panel"].unique())
    table["emotion"] = pd.Categorical(table["emotion"], order)
    table["panel"] = pd.Categorical(table["panel"], panels)
    width = panel_columns(len(panels))
    rows = -(-len(panels) // width)
    title = TITLE if len(panels) <= FEW else SMALL_TITLE
    beside = 0.35 + max(text_width(str(name), 7, "normal") for name in order)
    return (
        p9.ggplot(table, p9.aes("depth", "emotion", fill="score", width="breadth"))
        + p9.geom_tile()
        + p9.facet_wrap("panel", ncol=width, labeller=in_room(width, size=title, beside=beside))
        + p9.scale_fill_cmap("cividis", breaks=breaks_extended(5))
        + p9.scale_x_continuous(breaks=[0, 0.5, 1], labels=["0", "½", "1"], expand=(0, 0))
        + p9.labs(x="Depth (layer / number of layers)", y="", fill=metric_label(scores, metric))
        + house_style(0.9 + rows * (0.5 + 0.125 * len(order)))
        + p9.theme(
            panel_grid=p9.element_blank(),
            # In flat panels, plotnine would move titles far to the right by its own margin.
            strip_text_x=p9.element_text(size=title, margin={"l": 0, "r": 0}),
            legend_title=p9.element_text(size=8),
            axis_text_y=p9.element_text(size=7),
            legend_key_width=130,
            legend_key_height=7,
            legend_title_position="top",
        )
    )


def averages_families(scores: Scores) -> bool:
    """Say whether the heat map shows families, as there are many models."""
    facts = scores.table[["model", "family"]].drop_duplicates()
    return len(facts) > FEW and facts["family"].nunique() < len(facts)


def _family_means(table: pd.DataFrame, n: int = 25) -> pd.DataFrame:
    """Return the mean scores of each family's models, on a grid of depths."""
    grid, parts = np.linspace(0, 1, n), []
    for _, of in table.groupby(["model", "emotion"], observed=True):
        of = of.sort_values("depth")
        score = np.interp(grid, of["depth"], of["score"])
        facts = {"panel": of["family"].iloc[0], "emotion": of["emotion"].iloc[0]}
        parts.append(pd.DataFrame({"depth": grid, "score": score, **facts}))
    keys = ["panel", "emotion", "depth"]
    means = pd.concat(parts).groupby(keys, as_index=False, observed=True)["score"].mean()
    return pd.DataFrame(means).assign(breadth=1 / (n - 1))


def method_comparison(scores: Scores, metric: str) -> p9.ggplot:
    """Draw mean separation under each method, one line per model.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
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
        + house_style(2.5)
    )
