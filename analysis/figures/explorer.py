"""Gather what the interactive page shows of a study, and describe its charts."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from analysis.figures.profiles import located_peaks, profile_table
from analysis.figures.style import FEW, PALETTE, UNTRAINED, metric_label, model_order
from analysis.loading.mapping import words_of
from analysis.loading.scores import Scores, method_order, metric_order
from analysis.wording import intervals, number, p_value

DIGITS = 5
#: The longest text of an example of steering, in characters.
LONGEST = 600
#: What a claim's columns are about, by the ending of their names.
SCOPES = {"": "models like these", "_these": "these models"}
#: The shared palette, extended with Paul Tol's colors for studies with many models.
COLORS = (*PALETTE, "#882255", "#999933", "#332288", "#AA4499")


def explorer(
    scores: Scores,
    fits: pd.DataFrame,
    claims: pd.DataFrame | None = None,
    examples: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Gather what the interactive page shows of one study.

    Parameters
    ----------
    scores : Scores
    fits : DataFrame
        Rows of `fit_curves` for the same study.
    claims : DataFrame, optional
        Rows of `claims_table`.
    examples : DataFrame, optional
        Rows of `analysis.trials.table.example_texts`.

    Returns
    -------
    dict
        Plain values for JSON. Curves and peaks name their measure, method and model by position.

    Examples
    --------
    >>> from analysis.profiles.curves import fit_curves
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(families=(1, 1), n_emotions=3)
    >>> found = explorer(study, fit_curves(study))
    >>> [model["name"] for model in found["models"]], found["emotions"]
    (['m1', 'm2'], ['e1', 'e2', 'e3'])
    """
    table = scores.table[scores.table["labels"] == "true"]
    places = {
        "metric": metric_order(table["metric"]),
        "method": method_order(table["method"]),
        "model": model_order(scores),
    }
    rules = scores.run.get("study", {}).get("preregistered", {})
    target, delta = rules.get("target"), rules.get("delta")
    return {
        "name": scores.name,
        "foreign": scores.is_foreign,
        "said": _said(scores),
        "words": words_of(scores.run),
        "band": None if None in (target, delta) else [target - delta, target + delta],
        "measures": [[m, metric_label(scores, m)] for m in places["metric"]],
        "methods": places["method"],
        "models": _models(table, places["model"]),
        "emotions": _emotions(table),
        "curves": _curves(scores, table, places),
        "peaks": _peaks(fits, places),
        "claims": _claims(claims),
        "examples": _examples(examples),
    }


def _said(scores: Scores) -> str:
    """Say what the curves are means over, and where their bands come from."""
    words, text = words_of(scores.run), ""
    if len(set(scores.table["emotion"])) > 1:
        text = f"Curves are means over {words['concepts']}. "
    if scores.replicates is None:
        return text
    source = "the bootstrap over topics"
    if scores.is_foreign:
        source = str(scores.run["repetitions"]["said"])
    text += f"Their bands come from {source}. "
    return text + f"Bands and peaks refer to all {words['concepts']} together."


def _emotions(table: pd.DataFrame) -> list[str]:
    """Return the emotions that profiles are means over; a baseline of one kind of text has none."""
    several = table.groupby("metric")["emotion"].transform("nunique") > 1
    rows = table[several] if several.any() else table
    return sorted(map(str, rows["emotion"].unique()))


def _models(table: pd.DataFrame, models: list[str]) -> list[dict[str, str]]:
    """Return the models with their colors; many models are colored by their families."""
    family = table.groupby("model")["family"].first()
    groups = models if len(models) <= FEW else sorted(family.unique())
    color = {group: COLORS[i % len(COLORS)] for i, group in enumerate(groups)}
    return [
        {
            "name": model,
            "family": str(family[model]),
            "color": color[model if len(models) <= FEW else family[model]],
        }
        for model in models
    ]


def _curves(
    scores: Scores, table: pd.DataFrame, places: dict[str, list[str]]
) -> list[dict[str, Any]]:
    """Return one entry per profile: its layers, a row of scores per emotion, and its band."""
    bands = profile_table(scores.select(labels="true", weights="trained")).dropna(subset=["low"])
    keys = ["metric", "method", "model"]
    of_band = dict(list(bands.groupby(keys)))
    curves = []
    for names, rows in table.groupby([*keys, "weights"], sort=False):
        metric, method, model, weights = map(str, names)
        grid = rows.pivot_table(index="emotion", columns="layer", values="score", sort=True)
        depth = rows.groupby("layer")["depth"].first()
        curve = {
            "metric": places["metric"].index(metric),
            "method": places["method"].index(method),
            "model": places["model"].index(model),
            "trained": weights != UNTRAINED,
            "layers": [int(layer) for layer in grid.columns],
            "depths": _numbers(depth.to_numpy()),
            "emotions": list(map(str, grid.index)),
            "scores": [_numbers(row) for row in grid.to_numpy()],
        }
        band = of_band.get((metric, method, model))
        if weights != UNTRAINED and band is not None:
            ends = band.groupby("layer")[["low", "high"]].mean().reindex(grid.columns)
            curve |= {end: _numbers(ends[end].to_numpy()) for end in ("low", "high")}
        curves.append(curve)
    return curves


def _peaks(fits: pd.DataFrame, places: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return the shape and peak of each trained profile; a peak that is not located is missing."""
    fits = fits[(fits["weights"] != UNTRAINED) & (fits["labels"] == "true")]
    located = located_peaks(fits).index
    return [
        {
            **{key: places[key].index(row[key]) for key in ("metric", "method", "model")},
            "shape": row["shape"],
            "reason": row["reason"],
            **{
                end: _numbers(np.array([row[column]]))[0] if index in located else None
                for end, column in (("peak", "peak"), ("low", "peak_low"), ("high", "peak_high"))
            },
        }
        for index, row in fits.iterrows()
    ]


def _claims(claims: pd.DataFrame | None) -> list[list[str]]:
    """Return per claim and scope: claim, scope, verdict, estimate, p, n, reason."""
    if claims is None:
        return []
    rows = []
    for ending, scope in SCOPES.items():
        if f"verdict{ending}" not in claims:
            continue
        estimate, low, high = (f"{end}{ending}" for end in ("estimate", "low", "high"))
        for place, (row, value) in enumerate(
            zip(claims.to_dict("records"), intervals(claims, estimate, low, high), strict=True)
        ):
            if pd.isna(row[f"verdict{ending}"]):
                continue
            quantity = row[f"quantity{ending}"]
            cells = [
                row["claim"],
                scope,
                row[f"verdict{ending}"],
                f"{quantity} {value}" if pd.notna(quantity) else value,
                p_value(row[f"p_holm{ending}"]),
                number(row["n"], 0),
                row[f"reason{ending}"],
            ]
            rows.append((place, cells))
    return [cells for _, cells in sorted(rows, key=lambda item: item[0])]


def _examples(examples: pd.DataFrame | None) -> list[list[str]]:
    """Return per example of steering: model, regime, emotion, strength, text."""
    if examples is None:
        return []
    texts = examples["text"].astype(str).str.split().str.join(" ").str.slice(0, LONGEST)
    return [
        [row["model"], row["regime"], row["emotion"], f"{row['strength']:g}", text]
        for row, text in zip(examples.to_dict("records"), texts, strict=True)
    ]


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if pd.isna(v) else round(float(v), DIGITS) for v in values]


def charts() -> dict[str, dict[str, Any]]:
    """Return the Vega-Lite charts of the page, the same for every study: only their data differ.

    Returns
    -------
    dict
        ``profiles`` (data ``profiles``, ``bands``), ``peaks`` (data ``peaks``, ``band``) and
        ``heat`` (data ``heat``). The parameter ``lit`` names the model to highlight.

    Examples
    --------
    >>> sorted(charts())
    ['heat', 'peaks', 'profiles']
    """
    found = {"profiles": _profiles_chart(), "peaks": _peaks_chart(), "heat": _heat_chart()}
    return {name: chart.to_dict() for name, chart in found.items()}


def _profiles_chart() -> alt.LayerChart:
    data = alt.Chart(alt.NamedData(name="profiles"))
    axis = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".2~f", grid=True)
    depth = alt.X("depth:Q", title="Depth", scale=alt.Scale(domain=[0, 1]), axis=axis)
    color = alt.Color("color:N", scale=None)
    dashes = alt.Scale(domain=["trained", UNTRAINED], range=[[1, 0], [5, 4]])
    lines = data.encode(
        x=depth,
        y=alt.Y("score:Q", title=None, scale=alt.Scale(zero=False)),
        color=color,
        strokeDash=alt.StrokeDash("weights:N", scale=dashes, legend=None),
        # Twins are fainter than the models that they are compared with.
        opacity=_unlit(alt.Opacity("opacity:Q", scale=None, legend=None)),
        detail=["model:N", "weights:N"],
        tooltip=["model:N", "weights:N", "layer:Q", _number("depth"), _number("score", 4)],
    )
    bands = (
        alt.Chart(alt.NamedData(name="bands"))
        .mark_area(opacity=0.15, tooltip=None)
        .encode(x=depth, y=alt.Y("low:Q", title=None), y2="high:Q", color=color, detail="model:N")
    )
    layers = alt.layer(bands, lines.mark_line(strokeWidth=2), lines.mark_circle(size=45))
    return layers.properties(width="container", height=320).add_params(_lit())


def _peaks_chart() -> alt.LayerChart:
    axis = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".2~f")
    depth = {"scale": alt.Scale(domain=[0, 1]), "axis": axis, "title": "Depth"}
    band = alt.Chart(alt.NamedData(name="band")).mark_rect(color=PALETTE[4], opacity=0.2)
    base = alt.Chart(alt.NamedData(name="peaks")).encode(
        y=alt.Y("model:N", title=None, sort=None, axis=alt.Axis(labelLimit=150, grid=True)),
        color=alt.Color("color:N", scale=None),
        opacity=_unlit(alt.value(1.0)),
        tooltip=["model:N", "shape:N", *(_number(c) for c in ("peak", "low", "high"))],
    )
    absent = base.transform_filter("!isValid(datum.peak)").mark_text(fontSize=11)
    layers = alt.layer(
        band.encode(x=alt.X("low:Q", **depth), x2="high:Q"),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", **depth), x2="high:Q"),
        base.mark_circle(size=110).encode(x=alt.X("peak:Q", **depth)),
        absent.encode(x=alt.datum(0.5), text=alt.value("no peak is shown")),
    )
    return layers.properties(width="container", height=alt.Step(24)).add_params(_lit())


def _heat_chart() -> alt.Chart:
    layer = alt.Axis(labelAngle=0, labelOverlap=True)
    legend = alt.Legend(title=None, orient="bottom", gradientLength=200)
    return (
        alt.Chart(alt.NamedData(name="heat"))
        .mark_rect()
        .encode(
            x=alt.X("layer:O", title="Layer", axis=layer),
            y=alt.Y("emotion:N", title=None, sort=None, axis=alt.Axis(labelLimit=150)),
            color=alt.Color(
                "score:Q", scale=alt.Scale(scheme="cividis", zero=False), legend=legend
            ),
            opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
            tooltip=["emotion:N", "layer:Q", _number("depth"), _number("score", 4)],
        )
        .properties(width="container", height=alt.Step(17))
    )


def _lit() -> alt.Parameter:
    return alt.param("lit", value="")


def _unlit(otherwise: Any) -> Any:
    """Return the opacity that makes all models but the highlighted one faint."""
    return alt.condition("lit && datum.model != lit", alt.value(0.15), otherwise)


def _number(column: str, digits: int = 2) -> alt.Tooltip:
    return alt.Tooltip(f"{column}:Q", format=f".{digits}f")
