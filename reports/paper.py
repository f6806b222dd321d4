"""Compute a study's findings once, and write them as sentences and tables for the paper.

The code composes the sentences; they therefore follow the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.contested import valence_table
from analysis.claims.published import published_check
from analysis.claims.registry import Evidence
from analysis.claims.specification import specification_table
from analysis.claims.table import (
    decided,
    evidence_of,
    preregistered,
    primary_method,
    primary_metric,
)
from analysis.figures.style import metric_label, model_order
from analysis.loading.scores import PROFILE, Scores, load_scores, method_order, metric_order
from analysis.profiles.controls import ANISOTROPY
from analysis.profiles.curves import fit_curves
from analysis.trials.table import Trials, load_trials
from analysis.wording import (
    Markdown,
    count,
    inline_label,
    intervals,
    listing,
    number,
    p_value,
    size,
    typeset,
    verdict_mark,
    verdict_sentence,
)
from study.read import InputError

#: Citations of the claims' sources.
CITED = {"Jeong 2026": "@jeong2026", "Jeong 2026b": "@jeong2026shared",
         "van der Ben et al. 2026": "@vanderben2026"}  # fmt: skip
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
        The tables, the steering trials if any, and the preregistered target, delta and alpha.
    primary, reading, titles
        The primary metric and method; the title of each metric.
    models, separation, methods
        Models in reporting order; metrics of separation; methods.
    evidence : mapping of str to Evidence
        Per metric, the result tables of the tests. Each test runs once.
    claims, fits, shapes, peaks, specifications : DataFrame
        Results of `claims_table`, `fit_curves`, `u_shape_test` (profiles), `localization_test` and
        `specification_table`.
    """

    scores: Scores
    trials: Trials | None
    rules: dict[str, Any]
    primary: str
    reading: str
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
    def measure(self) -> str:
        """The name of the primary metric within a sentence."""
        return inline_label(self.titles[self.primary])

    @property
    def n_emotions(self) -> int:
        """Number of emotions with scores on the primary metric."""
        return self.one_metric["emotion"].nunique()

    @property
    def one_metric(self) -> pd.DataFrame:
        """Scores of trained models on the primary metric under the primary method."""
        return self.scores.select(
            metric=self.primary, method=self.reading, weights="trained", labels="true"
        ).table

    @property
    def twins(self) -> int:
        """Number of models with an untrained twin."""
        table = self.scores.table
        return table.loc[table["weights"] == "untrained", "model"].nunique()

    def kind(self, weights: str, metric: str | None = None) -> pd.DataFrame:
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
    scores = load_scores(data / "scores" / study)
    steered = data / "steering" / study
    trials = load_trials(steered) if (steered / "trials.parquet").exists() else None
    order, metrics = model_order(scores), metric_order(scores.table["metric"])
    separation = [m for m in metrics if m != ANISOTROPY]
    primary = primary_metric(scores)
    wanted = dict.fromkeys([*separation, primary])
    evidence = {m: evidence_of(scores, trials, metric=m) for m in wanted}
    shapes = pd.concat([evidence[m].shapes for m in separation], ignore_index=True)
    rules = preregistered(scores)
    return Findings(
        scores=scores,
        trials=trials,
        rules=rules,
        primary=primary,
        reading=primary_method(scores),
        titles={m: metric_label(scores, m) for m in metrics},
        models=scores.table.drop_duplicates("model").set_index("model").loc[order].reset_index(),
        separation=separation,
        methods=method_order(scores.table["method"]),
        evidence=evidence,
        claims=decided(evidence[primary]),
        fits=fit_curves(
            scores,
            weights=None,
            place=rules["place"],
            delta=rules["delta"],
            alpha=rules["alpha"],
        ),
        shapes=shapes[shapes["level"] == "profile"],
        peaks=pd.concat([evidence[m].peaks for m in separation], ignore_index=True),
        specifications=specification_table(scores),
    )


def tally(verdicts: pd.Series) -> Markdown:
    """Say in words how often each verdict was reached.

    Examples
    --------
    >>> tally(pd.Series(["hump", "hump", "undecided"]))
    'two are *hump* and one is *undecided*'
    """
    counts = verdicts.value_counts()
    return Markdown(listing(f"{count(n, 'is', 'are')} *{word}*" for word, n in counts.items()))


def share(verdicts: pd.Series, word: str) -> str:
    """Say how many of the profiles have a verdict."""
    return f"{(verdicts == word).sum()} of {len(verdicts)}"


def say(found: Findings, key: str) -> Markdown:
    """Return a claim, its verdict, its numbers and the reason as a sentence."""
    return verdict_sentence(found.claims.set_index("key").loc[key].to_dict())


def texts_sentence(found: Findings) -> str:
    """Describe the texts and the methods that give activations."""
    topics = found.scores.run.get("topics")
    crossed = count(len(topics), "everyday topic") if topics else "everyday topics"
    under = listing(READ.get(m, m) for m in found.methods)
    twins = (
        "Untrained twins (the same architecture with random weights) exist for "
        f"{count(found.twins, 'model')}." if found.twins
        else "There are no untrained twins in this study."
    )  # fmt: skip
    return (
        f"Short passages show each of the {count(found.n_emotions, 'emotion')} without naming it. "
        f"They are fully crossed with {crossed}, so the topic cannot predict the emotion. "
        f"Activations are recorded under {count(len(found.methods), 'method')}: {under}. {twins}"
    )


def untrained_sentence(found: Findings) -> Markdown:
    """Compare the shapes of untrained networks with those of trained ones."""
    twins, real = found.kind("untrained"), found.kind("trained")
    if twins.empty:
        return Markdown("This study has no untrained twins and cannot show what training adds.")
    return Markdown(
        f"Of {count(len(twins), 'profile')} of untrained networks, {tally(twins['verdict'])}; of "
        f"{len(real)} of trained ones, {tally(real['verdict'])}."
    )


def emotions_sentence(found: Findings) -> Markdown:
    """Name the emotions that separate best and least."""
    table = found.one_metric
    if table["emotion"].nunique() < 2:
        return Markdown("This study has scores only for all emotions together.")
    ascending = found.scores.directions[found.primary] < 0
    order = table.groupby("emotion")["score"].mean().sort_values(ascending=ascending).index
    over = "Over models and layers, the best separated emotion is"
    return Markdown(f"{over} *{order[0]}*, and the least separated is *{order[-1]}*.")


def published_sentence() -> str:
    """Say which group sizes can give both the published p and the published effect size."""
    check = published_check()
    possible = check[(check["test"] == "exact") & (check["verdict"] == "possible")]
    pairs = sorted(set(zip(possible["n_a"], possible["n_b"], strict=True)))
    if not pairs:
        return "No group sizes give both in an exact test."
    return (
        "An effect of that size means that the two groups do not overlap at all. An exact "
        "two-sided test then gives that p only for groups of "
        f"{listing(f'{a} and {b}' for a, b in pairs)}, so it cannot be a comparison of nine models "
        "with nine."
    )


def limits_sentence(found: Findings) -> str:
    """State this study's limitations, from the data."""
    models, table = found.models, found.scores.table
    families = models["family"].value_counts()
    single = int((families == 1).sum())
    text = (
        f"The study has {count(len(models), 'model')} in "
        f"{count(len(families), 'family', 'families')}, "
        f"{count(single, 'family', 'families')} with only one model, from "
        f"{size(models['n_params'].min())} to {size(models['n_params'].max())} parameters. "
    )
    real = table.loc[table["weights"] == "trained", "precision"]
    quantised = sorted(set(real) - {"float32", "bfloat16", "float16", "unknown"})
    if quantised:
        text += f"Weights are quantized ({listing(quantised)}), which may change activations. "
    if models["instruct"].nunique() < 2:
        text += "The models are either all base models or all instruction-tuned. "
    if found.twins < len(models):
        text += f"Untrained twins exist for only {found.twins} of {len(models)} models. "
    if "shuffled" not in set(table["labels"]):
        text += "There is no control with shuffled labels. "
    return text


def claims_overview(found: Findings) -> Markdown:
    """Typeset every claim with its estimate, p and verdict."""
    table = found.claims.assign(
        value=intervals(found.claims), p_text=[p_value(p) for p in found.claims["p_holm"]],
        n_text=[number(n, 0) for n in found.claims["n"]],
        mark=[verdict_mark(v) for v in found.claims["verdict"]],
    )  # fmt: skip
    columns = {"claim": "Claim", "quantity": "Estimated", "value": "Estimate", "p_text": "p",
               "n_text": "n", "mark": "Verdict"}  # fmt: skip
    return typeset(table, columns, widths=[36, 22, 17, 8, 4, 13])


def reasons_table(found: Findings) -> Markdown:
    """Typeset the rule and the reason of every claim's verdict."""
    table = found.claims.assign(
        source=[CITED.get(s, s) for s in found.claims["source"]],
        verdict=[verdict_mark(v) for v in found.claims["verdict"]],
    )
    columns = {"claim": "Claim", "source": "Source", "rule": "Rule", "verdict": "Verdict",
               "reason": "Reason"}  # fmt: skip
    return typeset(table, columns, widths=[20, 15, 24, 13, 28])


def models_table(found: Findings) -> Markdown:
    """Typeset the models."""
    table, facts = found.scores.table, found.models
    real = table[table["weights"] == "trained"].groupby("model")["precision"].unique()
    kept = [listing(sorted(real[m])) if m in real else "" for m in facts["model"]]
    facts = facts.assign(size=[size(n) for n in facts["n_params"]], precision=kept)
    columns = {"family": "Family", "model": "Model", "n_layers": "Blocks", "size": "Parameters",
               "instruct": "Instruct", "precision": "Precision"}  # fmt: skip
    return typeset(facts, columns, group=1)


def shape_table(found: Findings, metric: str | None = None) -> Markdown:
    """Typeset the shape of every trained profile, on one metric with tests or on all metrics."""
    rows = found.kind("trained", metric).merge(found.fits, on=PROFILE, suffixes=("", "_fit"))
    rows = rows[rows["labels"] == "true"].assign(
        rank=rows["model"].map({m: i for i, m in enumerate(found.models["model"])}),
        place=rows["metric"].map({m: i for i, m in enumerate(found.separation)}),
        measure=rows["metric"].map(found.titles),
        turn=intervals(rows, "vertex", "vertex_low", "vertex_high"),
        p_curve=[p_value(p) for p in rows["p_fit"]], p_u=[p_value(p) for p in rows["p"]],
        top=[number(x) for x in rows["extremum"]],
    ).sort_values(["rank", "place", "method"])  # fmt: skip
    if metric is not None:
        columns = {"model": "Model", "method": "Method", "turn": "Vertex", "p_curve": "Curvature",
                   "p_u": "Turn", "verdict": "Verdict"}  # fmt: skip
        return typeset(rows, columns, [26, 18, 22, 11, 9, 14], group=1)
    columns = {"model": "Model", "measure": "Measure", "method": "Method", "turn": "Vertex",
               "top": "Maximum", "best": "Form", "verdict": "Verdict"}  # fmt: skip
    return typeset(rows, columns, [21, 19, 15, 20, 11, 10, 12], group=2)


def controls_table(found: Findings) -> Markdown:
    """Typeset the controls over models on the primary metric."""
    rows = found.evidence[found.primary].controls
    rows = rows[rows["level"] == "models"]
    rows = rows.assign(
        contrast=[c.replace(" - ", " − ") for c in rows["contrast"]],
        value=intervals(rows, digits=3), p=[p_value(p) for p in rows["p"]],
    )  # fmt: skip
    columns = {"contrast": "Contrast", "value": "Estimate", "p": "p", "n_models": "n",
               "verdict": "Verdict", "reason": "Reason"}  # fmt: skip
    return typeset(rows, columns, widths=[20, 22, 8, 4, 12, 34])


def peaks_table(found: Findings) -> Markdown:
    """Typeset the pooled depth of the peak by measure and method."""
    peaks = found.peaks
    rows = peaks.assign(
        measure=peaks["metric"].map(found.titles), value=intervals(peaks),
        rank=peaks["metric"].map({m: i for i, m in enumerate(found.separation)}),
        p=[p_value(p) for p in peaks["p"]], tau=[number(t) for t in peaks["tau"]],
        pooled=[f"{a} of {b}" for a, b in zip(peaks["n_pooled"], peaks["n_models"], strict=True)],
    ).sort_values(["rank", "method"])  # fmt: skip
    columns = {"measure": "Measure", "method": "Method", "value": "Depth", "tau": "SD", "p": "p",
               "pooled": "Models", "verdict": "Verdict"}  # fmt: skip
    return typeset(rows, columns, [28, 18, 18, 6, 8, 10, 12], group=1)


def invariance_table(found: Findings) -> Markdown:
    """Typeset the test of invariance over families by measure."""
    rows = _by_metric(found, lambda e: e.invariance)
    shown = {name: [p_value(p) for p in rows[name]] for name in ("p_chi2", "p_boot", "p_perm")}
    rows["estimate"] = rows["estimate"].where(rows["p"].notna())
    rows = rows.assign(measure=rows["metric"].map(found.titles), value=intervals(rows), **shown)
    columns = {"measure": "Measure", "value": "Departure", "p_chi2": "χ²", "p_boot": "Bootstrap",
               "p_perm": "Permuted", "verdict": "Verdict", "reason": "Reason"}  # fmt: skip
    return typeset(rows, columns, widths=[17, 18, 8, 11, 11, 13, 32])


def scale_table(found: Findings) -> Markdown:
    """Typeset the test of invariance over sizes by measure."""
    rows = _by_metric(found, lambda e: e.scale)
    rows = rows.assign(
        measure=rows["metric"].map(found.titles), value=intervals(rows),
        p=[p_value(p) for p in rows["p"]],
    )  # fmt: skip
    columns = {"measure": "Measure", "value": "Change", "p": "p", "verdict": "Verdict",
               "reason": "Reason"}  # fmt: skip
    return typeset(rows, columns, widths=[20, 20, 8, 13, 39])


def _by_metric(found: Findings, test: Callable[[Evidence], pd.DataFrame]) -> pd.DataFrame:
    """Return a test's rows per measure, or the reason if it cannot run."""
    tables = []
    for name in found.separation:
        try:
            tables.append(test(found.evidence[name]))
        except InputError as error:
            row = {"metric": name, "verdict": "not testable", "reason": str(error)}
            tables.append(pd.DataFrame([row]))
    numbers = ["estimate", "low", "high", "p", "p_chi2", "p_boot", "p_perm"]
    rows = pd.concat(tables, ignore_index=True)
    return rows.reindex(columns=list(dict.fromkeys([*rows.columns, *numbers])))


def valence(found: Findings) -> pd.DataFrame | None:
    """Return valence's share of the distances by depth, or None if it cannot be computed."""
    try:
        return valence_table(found.scores, found.reading)
    except InputError:
        return None


def run_table(found: Findings) -> Markdown:
    """Typeset how the score tables were made, from the record of the run."""
    run = found.scores.run
    facts = {
        "Study file (SHA-256)": run.get("study_sha256"),
        "Corpus (SHA-256)": run.get("corpus_sha256"),
        "Commit": run.get("git_commit"),
        "Command": " ".join(run.get("command", [])),
        "Written": run.get("written"),
        "Versions": ", ".join(f"{k} {v}" for k, v in run.get("versions", {}).items() if v),
        "Seed": run["study"].get("seed"),
        "Tables": f"{len(found.scores.table):,} scores",
    }
    rows = [(name, f"`{value}`" if name == "Command" else str(value))
            for name, value in facts.items() if value]  # fmt: skip
    return typeset(pd.DataFrame(rows, columns=["What", "Value"]), widths=[22, 78])
