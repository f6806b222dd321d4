"""Compute the findings of a study once, and write the paper's sentences about them.

The code composes the sentences, so they follow the data.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.contested import valence_table
from analysis.claims.published_check import published_check
from analysis.claims.registry import Evidence
from analysis.claims.specification_curve import specification_table
from analysis.claims.table import (
    ENDING,
    decided,
    evidence_of,
    of_scope,
    preregistered,
    primary_method,
    primary_metric,
    scope_words,
    untestable_claims,
)
from analysis.figures.style import metric_label, model_order
from analysis.loading.mapping import words_of
from analysis.loading.options import SourceWarning
from analysis.loading.scores import (
    Scores,
    load_scores,
    method_order,
    metric_order,
    read_scores,
)
from analysis.over_models.causal import ABLATION, without_ablation
from analysis.over_models.crossed_reading import crossed_reading_test, without_crossreading
from analysis.over_models.precision import one_precision
from analysis.profiles.controls import ANISOTROPY
from analysis.profiles.curves import fit_curves
from analysis.reporting import say as sentences_of
from analysis.scopes import THESE
from analysis.trials.table import Trials, load_trials
from analysis.wording import NBSP, count, inline_label, listing, size
from study.read import InputError
from study.text import Markdown, markdown, visible

#: `written_by` in `run.json` for stories that this project wrote.
OURS = "emotion-depth"
AUTHOR = "The emotion-depth project"
#: The depth of a model's peak, by the estimator of the study.
PLACES = {
    "vertex": "the vertex of the quadratic",
    "extremum": "the maximum of a spline through the points, corrected for noise",
    "center": "the middle of the top of a smoothed curve",
}
#: The claims of other studies.
CONTESTED = ("embeddings", "valence", "tuning", "precision")
READ = {
    "comprehension": "comprehension (the model reads passages)",
    "generation": "generation (it writes a story)",
    "rereading": "rereading (it reads its own story without the prompt)",
}


@dataclass(frozen=True)
class Findings:
    """One study's tables and test results.

    Attributes
    ----------
    scores, trials, rules
        The score tables, any steering trials, and the preregistered target, delta and alpha.
    crossed : DataFrame
        Result of `crossed_reading_test` on the primary metric; empty without crossreading.
    ablated : Scores or None
        The scores with what ablation loses, if there are any; `scores` are without.
    primary_metric, primary_method, titles
        The primary metric and method; the title of each metric.
    models, separation, methods
        The models in reporting order; the metrics of separation; the methods.
    evidence : mapping of str to Evidence
        The results of the tests by metric. Each test runs once.
    claims, fits, shapes, peaks, specifications : DataFrame
        Results of `claims_table`, `fit_curves`, `u_shape_test` (profiles), `localization_test` and
        `specification_table`.
    """

    scores: Scores
    crossed: pd.DataFrame
    ablated: Scores | None
    trials: Trials | None
    rules: dict[str, Any]
    primary_metric: str
    primary_method: str
    titles: dict[str, str]
    models: pd.DataFrame
    separation: list[str]
    methods: list[str]
    evidence: dict[str, Evidence]
    claims: pd.DataFrame
    fits: pd.DataFrame
    shapes: pd.DataFrame
    peaks: pd.DataFrame
    specifications: pd.DataFrame

    @property
    def alpha(self) -> float:
        """The level of every test."""
        return float(self.rules["alpha"])

    @property
    def measure_name(self) -> str:
        """The name of the primary metric within a sentence."""
        return inline_label(self.titles[self.primary_metric])

    @property
    def n_emotions(self) -> int:
        """Number of emotions with scores on the primary metric."""
        return self.primary_scores["emotion"].nunique()

    @property
    def primary_scores(self) -> pd.DataFrame:
        """Scores of trained models on the primary metric under the primary method."""
        return self.scores.select(
            metric=self.primary_metric, method=self.primary_method, weights="trained", labels="true"
        ).table

    @property
    def words(self) -> dict[str, Markdown]:
        """The study's words for its concepts: concept, concepts, and title (capitalized)."""
        words = words_of(self.scores.run)
        title = words["concepts"][:1].upper() + words["concepts"][1:]
        return {name: markdown(word) for name, word in {**words, "title": title}.items()}

    @property
    def counted_concepts(self) -> str:
        """The number of concepts, in words."""
        return count(self.n_emotions, self.words["concept"], self.words["concepts"])

    @property
    def n_twins(self) -> int:
        """Number of models with an untrained twin."""
        table = self.scores.table
        return table.loc[table["weights"] == "untrained", "model"].nunique()

    def shapes_of(self, weights: str, metric: str | None = None) -> pd.DataFrame:
        """Return the shapes of trained or untrained profiles."""
        rows = self.shapes[self.shapes["weights"] == weights]
        return rows if metric is None else rows[rows["metric"] == metric]


def findings(data: Path, study: str) -> Findings:
    """Load a study by name or by the folder of its scores, and run every test once.

    Raises
    ------
    InputError
        If there is no such study; the message lists the existing ones.
    """
    whole = scores_of(data, study)
    precisions = without_ablation(without_crossreading(whole))
    scores = one_precision(precisions)
    trials = None
    if not scores.is_foreign:
        steered = data / "steering" / study
        trials = load_trials(steered) if (steered / "trials.parquet").exists() else None
    order, metrics = model_order(scores), metric_order(scores.table["metric"])
    separation = [m for m in metrics if m != ANISOTROPY]
    primary = primary_metric(scores)
    wanted = dict.fromkeys([*separation, primary])
    evidence = {m: evidence_of(precisions, trials, metric=m) for m in wanted}
    shapes = pd.concat([evidence[m].shapes for m in separation], ignore_index=True)
    rules = preregistered(scores)
    claims = decided(evidence[primary])
    if scores.is_foreign:
        keep = claims.index.difference(untestable_claims(claims).index)
        claims = claims.loc[keep].reset_index(drop=True)
    return Findings(
        scores=scores,
        crossed=crossed_reading(one_precision(whole), primary, rules["alpha"]),
        ablated=one_precision(whole) if ABLATION in set(whole.table["method"]) else None,
        trials=trials,
        rules=rules,
        primary_metric=primary,
        primary_method=primary_method(scores),
        titles={m: metric_label(scores, m) for m in metrics},
        models=scores.table.drop_duplicates("model").set_index("model").loc[order].reset_index(),
        separation=separation,
        methods=method_order(scores.table["method"]),
        evidence=evidence,
        claims=claims,
        fits=fit_curves(
            scores,
            weights=None,
            peak=rules["peak"],
            delta=rules["delta"],
            alpha=rules["alpha"],
        ),
        shapes=shapes[shapes["level"] == "profile"],
        peaks=pd.concat([evidence[m].peaks for m in separation], ignore_index=True),
        specifications=specification_table(scores),
    )


def scores_of(data: Path, study: str) -> Scores:
    """Return the scores of a study by name, or of any source of `read_scores`.

    Parameters
    ----------
    data : Path
        The folder of scores and studies, in the project's folder.
    study : str
        A name or source; relative paths start at the project's folder.
    """
    folder = data / "scores" / study
    if (folder / "run.json").exists():
        return load_scores(folder)
    url, pattern = "://" in study, any(sign in study for sign in "*{[")
    elsewhere = study if url or Path(study).is_absolute() else str(data.parent / study)
    if not (pattern or url or Path(elsewhere).exists()):
        return load_scores(folder)  # names the existing studies
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SourceWarning)  # the paper says it
        return read_scores(elsewhere)


def crossed_reading(scores: Scores, metric: str, alpha: float) -> pd.DataFrame:
    """Test crossreading on a metric; empty if the study has none."""
    if without_crossreading(scores) is scores:
        return pd.DataFrame()
    return crossed_reading_test(scores, metric=metric, alpha=alpha)


def tally(verdicts: pd.Series) -> Markdown:
    """Say in words how often each verdict was reached.

    Examples
    --------
    >>> tally(pd.Series(["hump", "hump", "undecided"]))
    'two are *hump* and one is *undecided*'
    """
    counts = verdicts.value_counts()
    parts = [Markdown("{} *{}*").format(count(n, "is", "are"), w) for w, n in counts.items()]
    return Markdown("{}").format(listing(parts))


def share(verdicts: pd.Series, word: str) -> str:
    """Return how many of the profiles have this verdict, as "2 of 9"."""
    return f"{(verdicts == word).sum()} of {len(verdicts)}"


def say(found: Findings, key: str) -> Markdown:
    """Return the sentences of a claim: for models like these, and for these models."""
    claim = found.claims[found.claims["key"] == key]
    said, fixed = claim_sentence(claim), of_scope(claim, THESE)
    if fixed.empty:
        return said
    words = scope_words(found.scores)[THESE]
    return said + Markdown(" ") + claim_sentence(fixed, words[:1].upper() + words[1:])


def claim_sentence(claim: pd.DataFrame, words: str = "") -> Markdown:
    """Return what `analysis.say` says of one claim, with its words (or other words) emphasized."""
    (text,) = quoted(claim)
    named, verdict = (visible(str(claim[name].iloc[0])) for name in ("claim", "verdict"))
    rest = text.removeprefix(f"{named}: {verdict}")
    return Markdown("*{}:* **{}**{}").format(words or named, verdict, rest)


def quoted(result: pd.DataFrame, titles: Mapping[str, str] | None = None) -> list[str]:
    """Return what `analysis.say` says of a result, as the tables write numbers.

    A line never breaks within "p = 0.012".
    """
    names = {name: inline_label(title) for name, title in (titles or {}).items()}
    said = sentences_of(result, style="plain", names=names)
    return [re.sub(r" ([=<>]) ", rf"{NBSP}\1{NBSP}", text) for text in said]


def texts_sentence(found: Findings) -> Markdown:
    """Describe the texts and the extraction methods."""
    topics = found.scores.run.get("topics")
    crossed = count(len(topics), "everyday topic") if topics else "everyday topics"
    under = listing(READ.get(m, m) for m in found.methods)
    twins = (
        "Untrained twins (the same architecture with random weights) exist for "
        f"{count(found.n_twins, 'model')}."
        if found.n_twins
        else "There are no untrained twins in this study."
    )
    return Markdown(
        "Short passages show each of the {} without naming it. They are fully crossed with {}, so "
        "the topic cannot predict the emotion. Activations are recorded under {}: {}. {}{}"
    ).format(
        count(found.n_emotions, "emotion"),
        crossed,
        count(len(found.methods), "method"),
        under,
        _stories_sentence(found),
        twins,
    )


def _stories_sentence(found: Findings) -> Markdown:
    """Say how long the stories are, and which of them another engine wrote."""
    run = found.scores.run
    most = run["study"].get("generation", {}).get("max_new_tokens")
    skipped = run["study"].get("pooling", {}).get("skip")
    if "generation" not in found.methods or most is None or skipped is None:
        return Markdown("")
    units = [u for u in run.get("units", []) if u.get("method") == "generation"]
    theirs = {
        u.get("model", ""): u["written_by"] for u in units if u.get("written_by", OURS) != OURS
    }
    others = [
        Markdown(
            "The stories of {} were written by {} and then read behind their prompts. "
        ).format(model, engine)
        for model, engine in theirs.items()
    ]
    return Markdown("").join(
        [
            Markdown("Stories have at most {} tokens, of which the first {} are left out. ").format(
                most, skipped
            ),
            *others,
        ]
    )


def untrained_sentence(found: Findings) -> Markdown:
    """Compare the shapes of untrained networks with those of trained ones."""
    untrained, trained = found.shapes_of("untrained"), found.shapes_of("trained")
    if untrained.empty:
        return Markdown("This study has no untrained twins and cannot show what training adds.")
    return Markdown("Of {} of untrained networks, {}; of {} of trained ones, {}.").format(
        count(len(untrained), "profile"),
        tally(untrained["verdict"]),
        len(trained),
        tally(trained["verdict"]),
    )


def emotions_sentence(found: Findings) -> Markdown:
    """Name the emotions that separate best and least."""
    table = found.primary_scores
    if table["emotion"].nunique() < 2:
        return Markdown("This study has scores only for all of them together.")
    ascending = found.scores.directions[found.primary_metric] < 0
    order = table.groupby("emotion")["score"].mean().sort_values(ascending=ascending).index
    return Markdown(
        "Over models and layers, the best separated {} is *{}*, and the least separated is *{}*."
    ).format(found.words["concept"], order[0], order[-1])


def crossed_sentence(found: Findings) -> Markdown:
    """Say what the texts, familiarity and state do to the separation of these models."""
    if found.crossed.empty:
        return Markdown("")
    rows = found.crossed[(found.crossed["model"] == "all") & (found.crossed["scope"] == THESE)]
    said = Markdown(" ").join(quoted(rows, found.titles))
    return said + Markdown(" @tbl-crossed has the models one by one.")


def contested_sentence(found: Findings) -> Markdown:
    """Say how the claims came out that contradict the published one."""
    claims = found.claims[found.claims["key"].isin(CONTESTED)]
    return Markdown(
        "Of {} that contradict the published one or qualify it, {} in these models."
    ).format(count(len(claims), "claim"), tally(claims[f"verdict{ENDING}"]))


def published_sentence() -> Markdown:
    """Say which group sizes can give the published p together with the published effect size."""
    check = published_check()
    possible = check[(check["test"] == "exact") & (check["verdict"] == "possible")]
    pairs = sorted(set(zip(possible["n_a"], possible["n_b"], strict=True)))
    if not pairs:
        return Markdown("No group sizes give both in an exact test.")
    return Markdown(
        "An effect of that size means that the two groups do not overlap at all. An exact "
        "two-sided test then gives that p only for groups of {}, so it cannot be a comparison of "
        "nine models with nine."
    ).format(listing(f"{a} and {b}" for a, b in pairs))


def limits_sentence(found: Findings) -> Markdown:
    """State this study's limitations, from the data."""
    models, table = found.models, found.scores.table
    families = models["family"].value_counts()
    single = int((families == 1).sum())
    text = (
        f"The study has {count(len(models), 'model')} in "
        f"{count(len(families), 'family', 'families')}"
    )
    if single and len(families) > 1:
        text += f", of which {count(single, 'has', 'have')} only one model"
    text += ". "
    sizes = models["n_params"].dropna()
    if sizes.min() < sizes.max():
        text += f"The sizes are {size(sizes.min())} to {size(sizes.max())} parameters. "
    precisions = table.loc[table["weights"] == "trained", "precision"]
    quantized = sorted(set(precisions) - {"float32", "bfloat16", "float16", "unknown"})
    if quantized:
        text += f"Weights are quantized ({listing(quantized)}), which may change activations. "
    if models["instruct"].nunique() < 2 and not found.scores.is_foreign:
        text += "The models are either all base models or all instruction-tuned. "
    if found.n_twins < len(models) and not (found.scores.is_foreign and found.n_twins == 0):
        text += f"Untrained twins exist for only {found.n_twins} of {len(models)} models. "
    if "shuffled" not in set(table["labels"]):
        text += "There is no control with shuffled labels. "
    return Markdown("{}").format(text)


def valence(found: Findings) -> pd.DataFrame | None:
    """Return valence's share of the distances by depth, or None if it cannot be computed."""
    try:
        return valence_table(found.scores, found.primary_method)
    except InputError:
        return None
