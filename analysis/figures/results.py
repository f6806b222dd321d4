"""Draw the results of the tests: peaks, specifications, calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotnine as p9

from analysis.figures.style import (
    COLORS,
    GRAY,
    NO_METHOD,
    PALETTE,
    absent,
    band,
    depth_scale,
    house_style,
    in_room,
    require,
)
from analysis.loading.scores import method_order

#: The height of the depth panel of a specification curve, in rows of choices.
UNITS = 9.0
#: The choices that make up a specification, with their headings.
CHOICES = {"metric": "Measure", "method": "Method", "layers": "Layers", "peak": "Peak"}
VERDICTS = ["at target", "elsewhere", "undecided"]


def peak_forest(
    fits: pd.DataFrame,
    pooled: pd.DataFrame | None = None,
    target: float = 0.5,
    delta: float = 0.1,
) -> p9.ggplot:
    """Draw the depths of the models' peaks with their intervals, by family, over the target's band.

    Parameters
    ----------
    fits : DataFrame
        Rows of `fit_curves` for one metric and one kind of weights.
    pooled : DataFrame, optional
        Rows of `localization_test`, at most one per method, drawn as diamonds below the models.
    target, delta : float
        Center and half-width of the equivalence band.

    Returns
    -------
    ggplot

    Notes
    -----
    The estimator passed to `fit_curves` determines the peak. A model without a demonstrated peak
    keeps its row but has no mark. A vertex outside the network is drawn at its edge, and so is the
    end of an interval that extends beyond it.
    """
    table = fits.rename(
        columns={"peak": "estimate", "peak_low": "low", "peak_high": "high"}
    ).sort_values(["family", "n_params"])
    rows = list(dict.fromkeys(table["model"]))
    columns = ["model", "family", "method", "estimate", "low", "high"]
    kind = np.where(table["shape"] == "hump", "peak", "no peak inside")
    table = table[columns].assign(kind=kind)
    if pooled is not None and pooled["estimate"].notna().any():
        below = pooled.dropna(subset=["estimate"])
        below = below.assign(model="all models", family="pooled", kind="pooled")
        table, rows = pd.concat([table, below[table.columns]]), [*rows, "all models"]
    table["model"] = pd.Categorical(table["model"], rows[::-1])
    table["family"] = pd.Categorical(table["family"], list(dict.fromkeys(table["family"])))
    for column in ("estimate", "low", "high"):
        table[column] = table[column].clip(0, 1)
    methods = method_order(table["method"])
    table["method"] = pd.Categorical(table["method"], methods[::-1])
    kinds = [k for k in ("peak", "no peak inside", "pooled") if k in set(table["kind"])]
    marks = {"peak": "o", "no peak inside": "x", "pooled": "D"}
    apart = p9.position_dodge(width=0.65)
    return (
        p9.ggplot(table, p9.aes("model", "estimate", color="method", group="method"))
        + band(target, delta)
        + p9.geom_linerange(
            p9.aes(ymin="low", ymax="high"),
            table.dropna(subset=["low", "high"]),
            size=0.7,
            position=apart,
        )
        + p9.geom_point(p9.aes(shape="kind"), size=2.2, stroke=0.8, position=apart, na_rm=True)
        + p9.scale_shape_manual(values=[marks[k] for k in kinds], limits=kinds)
        + p9.scale_color_manual(values=[COLORS.get(m, PALETTE[3]) for m in methods], limits=methods)
        + p9.facet_grid("family", scales="free_y", space="free_y")
        + p9.coord_flip()
        + p9.scale_y_continuous(breaks=[0, 0.25, 0.5, 0.75, 1], limits=(0, 1))
        + p9.labs(x="", y="Depth of the peak")
        + house_style(1.2 + (0.16 + 0.09 * len(methods)) * len(rows))
        + p9.theme(
            strip_text_y=p9.element_text(rotation=0, ha="left"),
            plot_margin_right=0.05,
            legend_box="vertical",
            legend_box_spacing=0.01,
        )
        + (p9.guides(color="none") if methods == [NO_METHOD] else None)
    )


def literature_forest(
    depths: pd.DataFrame, pooled: pd.DataFrame, target: float = 0.5, delta: float = 0.1
) -> p9.ggplot:
    """Draw published depths by family, with the pooled depth below, over the target's band.

    Parameters
    ----------
    depths : DataFrame
        Rows of `analysis.published_depths`.
    pooled : DataFrame
        A row of `analysis.literature_test`; drawn as a diamond if it has an estimate.
    target, delta : float
        Center and half-width of the equivalence band.

    Returns
    -------
    ggplot

    Notes
    -----
    Sources print no errors, so single figures have no bars. The thin line through the diamond is
    where another source's figure would lie, cut at the edges of the network.
    """
    require(depths, ["source", "source_kind", "model", "family", "depth"], "the published depths")
    table = depths.assign(
        family=depths["family"].fillna("several"),
        row=depths["model"] + " (" + depths["source"] + ")",
        kind=depths["source_kind"],
    )
    families = sorted(set(table["family"]), key=lambda name: (name == "several", name))
    rows = list(table.sort_values(["depth", "source"])["row"])
    shown = table[["family", "row", "kind", "depth"]]
    bars = pd.DataFrame(columns=["family", "row", "low", "high", "width"])
    if "estimate" in pooled and pooled["estimate"].notna().any():
        one = pooled.iloc[0]
        end = {"family": "pooled", "row": f"{one['n_sources']} sources"}
        point = {**end, "kind": "pooled", "depth": one["estimate"]}
        shown = pd.concat([shown, pd.DataFrame([point])])
        ends = [("prediction_low", "prediction_high", 0.4), ("low", "high", 1.1)]
        bars = pd.DataFrame([end | {"low": one[a], "high": one[b], "width": w} for a, b, w in ends])
        bars[["low", "high"]] = bars[["low", "high"]].clip(0, 1)
        rows, families = [end["row"], *rows], [*families, "pooled"]
    for part in (shown, bars):
        part["row"] = pd.Categorical(part["row"], rows)
        part["family"] = pd.Categorical(part["family"], families)
    kinds = [kind for kind in ("paper", "report", "pooled") if kind in set(shown["kind"])]
    looks = {"paper": ("o", PALETTE[0]), "report": ("^", PALETTE[1]), "pooled": ("D", "black")}
    return (
        p9.ggplot(shown, p9.aes("row", "depth"))
        + band(target, delta)
        + p9.geom_linerange(
            p9.aes("row", ymin="low", ymax="high", size="width"), bars, inherit_aes=False
        )
        + p9.geom_point(p9.aes(color="kind", shape="kind"), size=2.2)
        + p9.scale_size_identity()
        + p9.scale_shape_manual(values=[looks[k][0] for k in kinds], limits=kinds)
        + p9.scale_color_manual(values=[looks[k][1] for k in kinds], limits=kinds)
        + p9.facet_grid("family", scales="free_y", space="free_y")
        + p9.coord_flip()
        + p9.scale_y_continuous(breaks=[0, 0.25, 0.5, 0.75, 1], limits=(0, 1))
        + p9.labs(x="", y="Published depth")
        + house_style(1.2 + 0.145 * len(rows))
        + p9.theme(strip_text_y=p9.element_text(rotation=0, ha="left"), plot_margin_right=0.05)
    )


def specification_curve(
    table: pd.DataFrame, target: float, delta: float, names: dict[str, str] | None = None
) -> p9.ggplot:
    """Draw the pooled peak under every choice of analysis, sorted, above the choices.

    Parameters
    ----------
    table : DataFrame
        Rows of `specification_table`.
    target, delta : float
        Center and half-width of the equivalence band.
    names : dict, optional
        Labels of the choices, such as the label of a metric.

    Returns
    -------
    ggplot
        The peaks with their intervals on top; a mark in the row of each choice below. Each
        specification is one column, colored by its verdict. Those without a pooled peak come last
        and have only their marks.

    Notes
    -----
    After Simonsohn, Simmons and Nelson (2020). Specification curve analysis. Nature Human Behaviour
    4, 1208-1214.
    """
    require(table, [*CHOICES, "estimate", "low", "high", "verdict"], "the specification curve")
    shown = table.assign(none=table["estimate"].isna()).sort_values(
        ["none", "estimate", "verdict", *CHOICES]
    )
    shown["column"] = np.arange(1.0, len(shown) + 1)
    # A table that names no method has no choice of it.
    choices = {c: h for c, h in CHOICES.items() if set(table[c].astype(str)) != {NO_METHOD}}
    panels = ["Depth of\nthe peak", *choices.values()]
    rows, labels = [], {UNITS * v: f"{v:g}" for v in (0, 0.25, 0.5, 0.75, 1)}
    for i, (column, heading) in enumerate(choices.items(), start=1):
        levels = list(dict.fromkeys(table[column]))[::-1]
        heights = {level: 100.0 * i + j for j, level in enumerate(levels)}
        labels |= {h: (names or {}).get(str(n), str(n)) for n, h in heights.items()}
        rows.append(shown.assign(panel=heading, height=shown[column].map(heights)))
    marks = pd.concat(rows)
    curve = shown.dropna(subset=["estimate"]).assign(panel=panels[0])
    for column in ("estimate", "low", "high"):
        curve[column] = UNITS * curve[column].clip(0, 1)
    for part in (marks, curve):
        part["panel"] = pd.Categorical(part["panel"], panels)
    # Panels without a pooled peak keep their axis; a band given as data stays in its own panel.
    frame = pd.DataFrame(
        {
            "panel": pd.Categorical([panels[0]], panels),
            "low": [0.0],
            "high": [UNITS],
            "a": [UNITS * (target - delta)],
            "b": [UNITS * (target + delta)],
            "c": [UNITS * target],
        }
    )
    whole = {"xmin": -np.inf, "xmax": np.inf}
    figure = (
        p9.ggplot(marks, p9.aes("column", color="verdict"))
        + p9.geom_rect(
            p9.aes(ymin="a", ymax="b"),
            frame,
            **whole,
            inherit_aes=False,
            fill=PALETTE[4],
            alpha=0.15,
        )
        + p9.geom_hline(p9.aes(yintercept="c"), frame, color=PALETTE[4], size=0.5)
        + p9.geom_blank(p9.aes(x=1, y="low"), frame, inherit_aes=False)
        + p9.geom_blank(p9.aes(x=1, y="high"), frame, inherit_aes=False)
        + p9.geom_linerange(
            p9.aes(ymin="low", ymax="high"), curve.dropna(subset=["low", "high"]), size=0.7
        )
        + p9.geom_point(p9.aes(y="estimate", shape="verdict"), curve, size=1.8)
        + p9.geom_point(p9.aes(y="height", shape="verdict"), size=1.3)
        + p9.facet_grid("panel", scales="free_y", space="free_y")
        + p9.scale_color_manual(values=[PALETTE[2], PALETTE[1], GRAY], limits=VERDICTS)
        + p9.scale_shape_manual(values=["o", "X", "s"], limits=VERDICTS)
        + p9.scale_y_continuous(
            breaks=lambda ends: [b for b in labels if ends[0] <= b <= ends[1]],
            labels=lambda values: [labels.get(v, "") for v in values],
            expand=(0, 0.6),
        )
        + p9.scale_x_continuous(breaks=[], expand=(0.02, 0))
        + p9.labs(x=f"{len(shown)} specifications", y="")
        + house_style(4.4)
        + p9.theme(
            panel_grid_major_x=p9.element_blank(),
            panel_spacing_y=0.012,
            strip_text_y=p9.element_text(rotation=0, ha="left"),
        )
    )
    if shown["none"].any():
        first = float(shown.loc[shown["none"], "column"].min())
        note = frame.assign(x=(first + len(shown)) / 2, y=UNITS * 0.06, text="no peak to pool")
        figure += p9.geom_text(
            p9.aes("x", "y", label="text"), note, inherit_aes=False, size=7, color=GRAY
        )
    return figure


def calibration(table: pd.DataFrame, nominal: float = 0.05) -> p9.ggplot:
    """Draw how often each test rejects a true hypothesis: naive against calibrated.

    Parameters
    ----------
    table : DataFrame
        Columns test, kind ("naive" or "calibrated") and rate.
    nominal : float
        The nominal level of the tests.

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
        + p9.geom_hline(yintercept=nominal, linetype="dashed", color=GRAY)
        + p9.geom_line(p9.aes(group="test"), color="#C9CDD3", size=0.8)
        + p9.geom_point(size=2.4)
        + p9.scale_color_manual(values=[PALETTE[0], PALETTE[1]], limits=["calibrated", "naive"])
        + p9.scale_shape_manual(values=["o", "X"], limits=["calibrated", "naive"])
        + p9.coord_flip()
        + p9.scale_y_continuous(limits=(0, 1), labels=lambda x: [f"{v:.0%}" for v in x])
        + p9.labs(x="", y="Share of true hypotheses rejected")
        + house_style(1.0 + 0.17 * len(order))
    )


def valence_course(table: pd.DataFrame) -> p9.ggplot:
    """Draw the share of the distance between emotions that valence explains, by depth.

    Parameters
    ----------
    table : DataFrame
        Rows of `analysis.claims.contested.valence_table`.

    Returns
    -------
    ggplot
        The band holds 95% of the shares when valence is permuted over emotions.
    """
    require(table, ["model", "depth", "share", "low", "high"], "the course of valence")
    models = list(dict.fromkeys(table["model"]))
    width = min(len(models), 3)
    return (
        p9.ggplot(
            table.assign(model=pd.Categorical(table["model"], models)), p9.aes("depth", "share")
        )
        + p9.geom_ribbon(p9.aes(ymin="low", ymax="high"), fill=GRAY, alpha=0.2)
        + p9.geom_hline(yintercept=0, color=GRAY, size=0.4, linetype="dotted")
        + p9.geom_line(color=PALETTE[0], size=0.8)
        + p9.facet_wrap("model", ncol=width, labeller=in_room(width))
        + depth_scale()
        + p9.scale_y_continuous(
            labels=lambda shares: [f"{s:.0%}".replace("-", "−") for s in shares]
        )
        + p9.labs(x="Depth (layer / number of layers)", y="Share of valence")
        + house_style(0.7 + (1.5 if len(models) <= 2 * width else 1.2) * -(-len(models) // width))
    )
