"""The figures and results of a study by name, for files: pictures with data, tables, sentences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from analysis.claims.contested import valence_table
from analysis.claims.literature import literature_test, published_depths
from analysis.claims.registry import Evidence
from analysis.claims.specification_curve import specification_table
from analysis.claims.table import decided
from analysis.loading.scores import Scores
from analysis.over_models.bayes import family_departures
from analysis.over_models.causal import causal_profile
from analysis.over_models.crossed_reading import crossed_reading_test
from analysis.profiles.curves import fit_curves
from analysis.reporting import say, to_csv, to_docx, to_latex, to_markdown
from analysis.trials.agreement import judge_agreement
from analysis.trials.dose import dose_response
from analysis.trials.success import depth_test, steering_summary
from study.read import InputError
from study.text import visible
from study.write import write_atomically, write_text

if TYPE_CHECKING:
    import plotnine as p9

#: Formats of pictures, and of tables.
PICTURES, TABLES = (".svg", ".pdf", ".png"), (".docx", ".tex", ".md", ".csv", ".txt")


class Source(NamedTuple):
    """A study: all of its scores, those of one precision without crossreading, its evidence."""

    whole: Scores
    scores: Scores
    evidence: Evidence
    claims: str | None = None

    @property
    def rules(self) -> dict[str, Any]:
        """Target and delta, as arguments."""
        return {name: self.evidence.rules[name] for name in ("target", "delta")}

    @property
    def of_peaks(self) -> dict[str, Any]:
        """Peak, delta and alpha, as arguments."""
        return {name: self.evidence.rules[name] for name in ("peak", "delta", "alpha")}

    @property
    def alpha(self) -> float:
        """The level of the tests."""
        return self.evidence.alpha

    def fits(self, metric: str | None, method: str | None = None) -> pd.DataFrame:
        """Return the fits of trained profiles."""
        return fit_curves(self.scores, metric=metric, method=method, **self.of_peaks)

    def ways(self) -> list[str]:
        """Say which way each metric points."""
        words = {1: "larger", -1: "smaller"}
        found = self.scores.directions
        return [f"{visible(m)}: {words[found[m]]} is better separated" for m in sorted(found)]


# -- results ----------------------------------------------------------------------------------

RESULTS: dict[str, Callable[[Source], pd.DataFrame]] = {
    "claims": lambda s: decided(s.evidence, s.claims),
    "shapes": lambda s: s.evidence.shapes,
    "curves": lambda s: s.fits(s.evidence.metric),
    "peaks": lambda s: s.evidence.peaks,
    "families": lambda s: s.evidence.invariance,
    "departures": lambda s: family_departures(s.evidence.trained, **s.of_peaks),
    "scale": lambda s: s.evidence.scale,
    "methods": lambda s: s.evidence.methods,
    "crossed": lambda s: crossed_reading_test(s.whole, metric=s.evidence.metric, alpha=s.alpha),
    "causal": lambda s: causal_profile(
        s.whole, metric=s.evidence.metric, method=s.evidence.method, **s.of_peaks
    ),
    "controls": lambda s: s.evidence.controls,
    "specifications": lambda s: specification_table(s.scores),
    "literature": lambda s: literature_test(**s.rules, alpha=s.alpha),
    "valence": lambda s: valence_table(s.scores, s.evidence.method),
    "steering": lambda s: steering_summary(
        s.evidence.steered, by=("model", "strength"), alpha=s.alpha
    ),
    "dose": lambda s: dose_response(s.evidence.steered, alpha=s.alpha),
    "steered-depths": lambda s: depth_test(s.evidence.steered, alpha=s.alpha),
    "judges": lambda s: judge_agreement(s.evidence.steered, alpha=s.alpha),
}


def write_result(source: Source, path: Path) -> list[Path]:
    """Write the result that a file is named after, in the format of its ending.

    Parameters
    ----------
    source : Source
    path : Path
        A name of `RESULTS` with an ending: .docx, .tex, .md, .csv, or .txt for sentences.

    Returns
    -------
    list of Path
        The file.

    Raises
    ------
    InputError
        If there is no such result or format, or the study lacks what the test needs.
    """
    check(path, tuple(RESULTS), TABLES, "result")
    result = RESULTS[path.stem](source)
    match path.suffix:
        case ".csv":
            to_csv(result, path)
        case ".txt":
            write_text(path, "\n".join([*say(result), ""]))
        case ".md":
            to_markdown(result, path, notes=source.ways())
        case ".tex":
            to_latex(result, path, label=f"tab:{path.stem}", notes=source.ways())
        case _:
            to_docx(result, path, notes=source.ways())
    return [path]


def check(path: Path, names: tuple[str, ...], endings: tuple[str, ...], what: str) -> None:
    """Raise `InputError` for a file that is not named after a result or figure."""
    if path.stem not in names:
        raise InputError(f"{path}: no {what} {path.stem!r}; there are {', '.join(names)}")
    if path.suffix not in endings:
        raise InputError(f"{path}: no format {path.suffix!r}; there are {', '.join(endings)}")


# -- figures ----------------------------------------------------------------------------------


class Figure(NamedTuple):
    """A figure: its text for readers who cannot see it, and how it is drawn."""

    alt: str
    draw: Callable[[Source], p9.ggplot]


def _gallery() -> Any:
    from analysis import figures  # the only thing here that needs the report extra

    return figures


def _overview(s: Source) -> Any:
    e = s.evidence
    return _gallery().cover(s.scores, e.metric, s.fits(e.metric, e.method), e.method)


def _peaks(s: Source) -> Any:
    fits, peaks = s.fits(s.evidence.metric), s.evidence.peaks
    return _gallery().peak_forest(fits, peaks, **s.rules)


def _specifications(s: Source) -> Any:
    gallery = _gallery()
    titles = {m: gallery.metric_label(s.scores, m) for m in s.scores.table["metric"].unique()}
    return gallery.specification_curve(specification_table(s.scores), **s.rules, names=titles)


def _sweep(s: Source) -> Any:
    curve = s.evidence.trained.select(method=s.evidence.method)
    return _gallery().depth_curves(s.evidence.steered, curve)


FIGURES: dict[str, Figure] = {
    "overview": Figure(
        "Line plots, one panel per model, of separation against depth: the trained model with a "
        "band, its untrained twin, and the depth of the peak with its interval.",
        _overview,
    ),
    "depth-profiles": Figure(
        "Line plots, one panel per model, of separation against depth for each method, with "
        "bands, and controls as dashed gray lines.",
        lambda s: _gallery().depth_profiles(s.scores, s.evidence.metric, s.fits(s.evidence.metric)),
    ),
    "metrics": Figure(
        "Grid of line plots, measures in rows and families in columns, trained models in color "
        "and untrained twins as dashed gray lines.",
        lambda s: _gallery().metric_profiles(s.scores, s.evidence.method),
    ),
    "peaks": Figure(
        "Forest plot of the depth of each model's peak with its interval, grouped by family, with "
        "the pooled depth below, over the band around the target.",
        _peaks,
    ),
    "specifications": Figure(
        "Specification curve: above, the pooled depth of the peak with its interval under every "
        "combination of choices, in order, over the band around the target; below, marks that "
        "show the measure, method, range of layers and estimator of the place.",
        _specifications,
    ),
    "literature": Figure(
        "Dot plot of published depths by family and model, papers as circles and reports as "
        "triangles, with the pooled depth and its interval below, over the band around the target.",
        lambda s: _gallery().literature_forest(
            published_depths(), literature_test(**s.rules, alpha=s.alpha), **s.rules
        ),
    ),
    "methods": Figure(
        "Lines that connect each model's mean separation under the methods, colored by family.",
        lambda s: _gallery().method_comparison(s.scores, s.evidence.metric),
    ),
    "emotions": Figure(
        "Heat maps of separation by depth and by what is separated, one panel per model, or per "
        "family where there are many models.",
        lambda s: _gallery().emotion_heatmap(s.scores, s.evidence.metric, s.evidence.method),
    ),
    "valence": Figure(
        "Line plots, one panel per model, of the share of the squared distances between emotions "
        "that valence accounts for, against depth, over the band of permuted valences.",
        lambda s: _gallery().valence_course(valence_table(s.scores, s.evidence.method)),
    ),
    "causal": Figure(
        "Grid of line plots by depth, one column per model: separation, what ablation loses of it "
        "at the last layer, what it loses of the log-probability of the next tokens, and the share "
        "of steered successes.",
        lambda s: _gallery().causal_curves(
            s.whole, s.evidence.metric, s.evidence.method, s.evidence.trials
        ),
    ),
    "success": Figure(
        "Dot plot of the share of successes of each model with its interval, with the share where "
        "broken texts count too, the shares for the shams, and the published share.",
        lambda s: _gallery().success_forest(s.evidence.steered),
    ),
    "dose": Figure(
        "Line plots, one panel per model, of the share of texts that are whole and above their "
        "baseline against strength, for steered texts and shams, with the share of broken texts.",
        lambda s: _gallery().dose_curves(s.evidence.steered),
    ),
    "regimes": Figure(
        "Stacked bars of the shares of the four regimes by strength, one row per model, steered "
        "texts on the left and shams beside them.",
        lambda s: _gallery().regime_map(s.evidence.steered),
    ),
    "sweep": Figure(
        "Line plots, one panel per model, of the share of steered texts and of shams that are "
        "whole and above their baseline against depth, with the separation curve scaled to the "
        "panel.",
        _sweep,
    ),
}


def write_figure(source: Source, path: Path) -> list[Path]:
    """Write the figure that a file is named after, its data (.csv) and its text (.txt) beside it.

    A file of another name gets the overview, alone.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    InputError
        If there is no such format, or the study lacks what the figure shows.
    """
    named = FIGURES.get(path.stem)
    check(path, (path.stem,), PICTURES, "figure")
    figure = (named or FIGURES["overview"]).draw(source)
    drawn, kind = with_texts(figure), path.suffix[1:]
    write_atomically(path, lambda p: drawn.save(p, format=kind, dpi=200, verbose=False))
    if named is None:
        return [path]
    data, text = path.with_suffix(".csv"), path.with_suffix(".txt")
    to_csv(drawn_from(figure), data)
    write_text(text, f"{named.alt}\n")
    return [path, data, text]


def with_texts(figure: p9.ggplot) -> p9.ggplot:
    """Return a figure whose texts stay texts in SVG, to be read aloud, searched and edited."""
    from plotnine import theme  # part of the extra "report", which drew the figure

    return figure + theme(svg_usefonts=True)


def drawn_from(figure: p9.ggplot) -> pd.DataFrame:
    """Return the data of a figure; of several tables, under one another, in the column "part"."""
    tables: list[pd.DataFrame] = []
    for one in (figure.data, *(layer.geom.data for layer in figure.layers)):
        if isinstance(one, pd.DataFrame) and not any(one.equals(other) for other in tables):
            tables.append(one)
    if len(tables) == 1:
        return tables[0]
    parts = [table.assign(part=number) for number, table in enumerate(tables, 1)]
    return pd.concat(parts, ignore_index=True)
