"""Build the interactive page: linked charts of a study's profiles, peaks and emotions."""

from __future__ import annotations

import json

import altair as alt
import pandas as pd

from analysis.figures.profiles import located_peaks, profile_table
from analysis.figures.style import (
    FEW,
    GRAY,
    NO_METHOD,
    PALETTE,
    UNTRAINED,
    metric_label,
    model_order,
)
from analysis.loading.mapping import words_of
from analysis.loading.scores import Scores, method_order, metric_order

DIGITS = 5
WIDTH = 610
#: The shared palette, extended with Paul Tol's colors for studies with many models.
COLORS = (*PALETTE, "#882255", "#999933", "#332288", "#AA4499")


def explorer(scores: Scores, fits: pd.DataFrame) -> alt.VConcatChart:
    """Return the linked charts of one study.

    Parameters
    ----------
    scores : Scores
    fits : DataFrame
        Rows of `fit_curves` for the same study.

    Returns
    -------
    altair.VConcatChart
        `reports.explorer_page.page` turns it into a page that works offline.

    Examples
    --------
    >>> from analysis.profiles.curves import fit_curves
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(families=(1, 1), n_emotions=3)
    >>> "vconcat" in explorer(study, fit_curves(study)).to_dict()
    True
    """
    words = words_of(scores.run)
    heading = f"{words['concepts'].capitalize()} in "
    models = model_order(scores)
    names = {m: metric_label(scores, m) for m in metric_order(scores.table["metric"])}
    metric = _choice("metric", list(names), list(names.values()), "Measure ")
    method = _choice("method", method_order(scores.table["method"]), None, "Method ")
    model = _choice("model", models, None, "Model of the heat map ")
    curve, peak = (
        alt.selection_point(name, fields=["model"], on="pointerover", clear="pointerout")
        for name in ("curve_hovered", "peak_hovered")
    )
    emotion = alt.selection_point("emotion_picked", fields=["emotion"], toggle="true")
    # More models than a legend holds are colored by their families.
    of = "model" if len(models) <= FEW else "family"
    groups = models if of == "model" else sorted(scores.table["family"].unique())
    color = alt.Color(
        f"{of}:N",
        scale=alt.Scale(domain=groups, range=[COLORS[i % len(COLORS)] for i in range(len(groups))]),
        legend=alt.Legend(
            title=None,
            orient="bottom",
            columns=4,
            symbolType="stroke",
            symbolOpacity=1,
            labelLimit=0,
        ),
    )
    table = scores.table[scores.table["labels"] == "true"].assign(
        metric_label=lambda t: t["metric"].map(names)
    )
    columns = ["model", "weights", "method", "metric", "emotion", "layer", "depth", "score"]
    data = _csv(table, list(dict.fromkeys([*columns, of])))
    keys = list(dict.fromkeys(["model", "weights", "layer", "depth", of]))
    dashes = alt.Legend(title=None, orient="top", symbolType="stroke")
    chosen = (alt.datum.metric == metric) & (
        (alt.datum.method == method) | (alt.datum.weights == UNTRAINED)
    )
    lit = alt.condition(curve & peak, alt.value(1.0), alt.value(0.15))
    # Draw twins fainter than the models to compare them with.
    back = alt.Scale(domain=["trained", UNTRAINED], range=[1.0, 0.35])
    twins_back = alt.Opacity("weights:N", scale=back, legend=None)
    axis = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".2~f", grid=True)
    depth = alt.X("depth:Q", title="Depth", scale=alt.Scale(domain=[0, 1]), axis=axis)
    profiles = (
        alt.Chart(data, width=WIDTH * 0.58, height=300, title=alt.Title(_lookup(names, metric)))
        .transform_filter(chosen)
        .transform_filter(emotion)
        .transform_aggregate(score="mean(score)", groupby=keys)
        .encode(
            x=depth,
            y=alt.Y("score:Q", title=None, scale=alt.Scale(zero=False)),
            color=color,
            strokeDash=alt.StrokeDash(
                "weights:N",
                scale=alt.Scale(domain=["trained", UNTRAINED], range=[[1, 0], [5, 4]]),
                legend=dashes if UNTRAINED in set(table["weights"]) else None,
            ),
            opacity=alt.condition(curve & peak, twins_back, alt.value(0.15)),
            detail=["model:N", "weights:N"],
            tooltip=["model:N", "weights:N", "layer:Q", _number("depth"), _number("score", 4)],
        )
    )
    lines = profiles.mark_line(strokeWidth=2)
    bands = _bands(scores, chosen, depth, color)
    points = profiles.mark_circle(size=45).add_params(curve)
    heat = (
        alt.Chart(data, width=WIDTH, height=17 * table["emotion"].nunique())
        .properties(title=alt.Title(alt.ExprRef(f"{json.dumps(heading)} + model_chosen")))
        .transform_filter(chosen & (alt.datum.model == model) & (alt.datum.weights == "trained"))
        .mark_rect()
        .encode(
            x=alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0)),
            y=alt.Y(
                "emotion:N",
                title=None,
                axis=alt.Axis(labelLimit=0),
                sort=alt.EncodingSortField("score", "mean", order="descending"),
            ),
            color=alt.Color(
                "score:Q",
                scale=alt.Scale(scheme="cividis", zero=False),
                legend=alt.Legend(title=None, orient="bottom", gradientLength=200),
            ),
            opacity=alt.condition(emotion, alt.value(1.0), alt.value(0.3)),
            tooltip=[
                alt.Tooltip("emotion:N", title=words["concept"]),
                "layer:Q",
                _number("depth"),
                _number("score", 4),
            ],
        )
        .add_params(emotion)
    )
    top = (bands + lines + points) | _peaks(scores, fits, metric, method, models, color, lit, peak)
    page = (top & heat).resolve_scale(color="independent")
    page = page.properties(usermeta={"embedOptions": {"actions": False}})
    return (
        page.add_params(metric, method, model)
        .configure_view(stroke=None)
        .configure_axis(gridColor="#E4E7EB", domainColor=GRAY, tickColor=GRAY, labelFontSize=11)
        .configure_title(anchor="start", fontSize=14)
    )


def _peaks(
    scores: Scores,
    fits: pd.DataFrame,
    metric: alt.Parameter,
    method: alt.Parameter,
    models: list[str],
    color: alt.Color,
    lit: alt.ConditionalValueDef,
    peak: alt.Parameter,
) -> alt.LayerChart:
    """Return the peaks with their intervals, over the preregistered band."""
    peaks = located_peaks(fits[(fits["weights"] != UNTRAINED) & (fits["labels"] == "true")])
    for end in ("peak_low", "peak_high"):
        peaks = peaks.assign(**{end: peaks[end].clip(0, 1)})
    names = ["model", "family", "method", "metric"]
    data = _csv(peaks, [*names, "peak", "peak_low", "peak_high"])
    base = (
        alt.Chart(data, width=WIDTH * 0.33, height=300, title="Depth of the peak")
        .transform_filter((alt.datum.metric == metric) & (alt.datum.method == method))
        .encode(
            y=alt.Y("model:N", title=None, scale=alt.Scale(domain=models), axis=None),
            color=color,
            opacity=lit,
            tooltip=["model:N", *(_number(c) for c in ("peak", "peak_low", "peak_high"))],
        )
    )
    scale = alt.Scale(domain=[0, 1])
    layers = [
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("peak_low:Q", title="Depth", scale=scale), x2="peak_high:Q"
        ),
        base.mark_circle(size=110).encode(x=alt.X("peak:Q", scale=scale)).add_params(peak),
    ]
    whole = scores.table[["metric", "method"]].drop_duplicates()
    empty = whole.merge(peaks[["metric", "method"]].drop_duplicates(), how="left", indicator=True)
    note = alt.Chart(_csv(empty[empty["_merge"] == "left_only"], ["metric", "method"]))
    note = note.transform_filter((alt.datum.metric == metric) & (alt.datum.method == method))
    layers.append(
        note.mark_text(color=GRAY).encode(
            x=alt.datum(0.5), y=alt.value(150), text=alt.value("no peak inside any network")
        )
    )
    rules = scores.run.get("study", {}).get("preregistered", {})
    if "target" in rules and "delta" in rules:
        ends = pd.DataFrame(
            {"a": [rules["target"] - rules["delta"]], "b": [rules["target"] + rules["delta"]]}
        )
        band = alt.Chart(ends).mark_rect(color=PALETTE[4], opacity=0.15)
        layers.insert(0, band.encode(x=alt.X("a:Q", scale=scale), x2="b:Q"))
    return alt.layer(*layers)


def _bands(scores: Scores, chosen: alt.ExprRef, depth: alt.X, color: alt.Color) -> alt.Chart:
    """Return the bands of trained profiles, which hold only for the average over all emotions."""
    table = profile_table(scores.select(labels="true", weights="trained")).dropna(subset=["low"])
    names = ["model", "family", "weights", "method", "metric"]
    data = _csv(table, [*names, "depth", "low", "high"])
    return (
        alt.Chart(data)
        .transform_filter(chosen)
        .transform_filter("length(data('emotion_picked_store')) == 0")
        .mark_area(opacity=0.15, tooltip=None)
        .encode(x=depth, y=alt.Y("low:Q", title=None), y2="high:Q", color=color, detail="model:N")
    )


def _lookup(names: dict[str, str], metric: alt.Parameter) -> alt.ExprRef:
    """Return the expression for the label of the selected metric."""
    return alt.ExprRef(f"({json.dumps(names)})[{metric.name}] + ' by depth'")


def _choice(name: str, options: list[str], labels: list[str] | None, title: str) -> alt.Parameter:
    if options == [NO_METHOD]:
        return alt.param(f"{name}_chosen", value=NO_METHOD)
    return alt.param(
        f"{name}_chosen",
        value=options[0],
        bind=alt.binding_select(options=options, labels=labels or options, name=title),
    )


def _number(column: str, digits: int = 2) -> alt.Tooltip:
    return alt.Tooltip(f"{column}:Q", format=f".{digits}f")


def _csv(table: pd.DataFrame, columns: list[str]) -> alt.Data:
    """Return the data as CSV, which is a third of the size of one JSON object per row."""
    numeric = [c for c in columns if pd.api.types.is_numeric_dtype(table[c])]
    text = table[columns].round(DIGITS).to_csv(index=False)
    return alt.Data(
        values=text, format=alt.CsvDataFormat(type="csv", parse=dict.fromkeys(numeric, "number"))
    )
