"""Write the paper's sentences and tables about steering.

Every function takes the findings of a study. If the study has no trials, a sentence is empty and a
table says that there are none.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from analysis.trials.agreement import judge_agreement
from analysis.trials.dose import dose_response
from analysis.trials.regimes import regime_table
from analysis.trials.success import beside_published, depth_test, steering_summary
from analysis.trials.table import MATCHED, Trials, example_texts
from analysis.wording import (
    count,
    intervals,
    listing,
    markdown_column,
    p_value,
    typeset,
)
from reports.paper import Findings, quoted
from study.text import Markdown

ABSENT = Markdown("This study has no steering trials; run `python steering.py` to make them.")


def how_sentence(found: Findings) -> Markdown:
    """Describe how the trials were made, or say that there are none."""
    if found.trials is None:
        return ABSENT
    table = found.trials.table
    openings = table.drop_duplicates(["emotion", "scenario"])
    return Markdown(
        "An emotion's vector is its mean activation over the passages minus the mean of the other "
        "emotions' means. It is added at the layer where the primary measure peaks, at every "
        "position that the model writes. It is scaled to a fraction of the mean norm of the "
        "residual stream at that layer, measured on the tokens of the unsteered texts. "
        "With {}, {}, {} and a sweep over depth, there are {:,} texts. {} Baseline, steered text "
        "and shams share their random numbers. "
        "A text is a success if it is *whole* (neither collapsed nor explosive) and the judge "
        "scores it higher on the target emotion than the baseline text. If steering has no effect, "
        "a text is above its baseline in half of the trials, and above both baseline and sham in a "
        "third of them."
    ).format(
        count(openings["emotion"].nunique(), "emotion"),
        count(openings["scenario"].nunique(), "neutral opening"),
        count(table["strength"].nunique(), "strength"),
        len(table),
        shams_text(found.trials),
    )


def shams_text(trials: Trials) -> Markdown:
    """Say what the shams are."""
    text = Markdown(
        "*Shams* have a random direction of the same norm instead of the vector. Every steered "
        "text has an isotropic one."
    )
    if MATCHED in set(trials.table["kind"]):
        text += Markdown(
            " At the peak, each also has a *matched* one, drawn from the covariance that the "
            "passages' activations have there within emotions: a vector made from passages of no "
            "particular emotion would have that covariance. Where there is a matched sham, it "
            "decides."
        )
    return text


def judges_sentence(found: Findings) -> Markdown:
    """Name the judges, and say how reliable they are."""
    if found.trials is None:
        return Markdown(" ")
    judge = found.trials.run.get("judges", {}).get(found.trials.judges[0], {})
    text = Markdown("")
    if "accuracy" in judge:
        text = Markdown(
            "The judge is a classifier on sentence embeddings, fitted on the passages. On held-out "
            "topics it identifies the emotion of {:.0%} of the texts (chance {:.0%}), and its "
            "probabilities are off by {:.2f} on average. "
        ).format(judge["accuracy"], judge["chance"], judge["expected_calibration_error"])
    own = found.trials.run.get("judges", {}).get("own", {})
    if "auc" in own:
        aucs = [f"{auc:.2f} in {model}" for model, auc in own["auc"].items()]
        text += Markdown(
            "The judge *own* is the model itself, without its vector: after the text and the "
            "words “{}” it gives log-odds of the target's name against the other emotions' names, "
            "relative to those after a text without content. On passages, it tells an emotion from "
            "the others with an area under the curve of {}. "
        ).format(own["question"].strip(), listing(aucs))
    if len(found.trials.judges) > 1:
        text += Markdown("A verdict needs two judges. ")
    agreement = judge_agreement(found.trials, alpha=found.alpha)
    return text + Markdown(" ").join(quoted(agreement)) or Markdown(" ")


def dose_sentence(found: Findings) -> Markdown:
    """Say at which strength steering works and at which strength text breaks."""
    if found.trials is None:
        return Markdown(" ")
    return Markdown(" ").join(quoted(dose_response(found.trials, alpha=found.alpha)))


def shams_sentence(found: Findings) -> Markdown:
    """Say how many texts break at the lowest strength, for vectors and for random directions."""
    if found.trials is None:
        return Markdown(" ")
    shares = regime_table(found.trials)
    shares = shares[shares["regime"].isin(["repetitive collapse", "explosive"])]
    weakest = shares[shares["strength"] == shares["strength"].min()]
    broken = weakest.groupby(["model", "kind"])["share"].sum()
    names = {"steered": "steered texts", MATCHED: "matched shams", "sham": "isotropic shams"}
    parts = [
        listing(
            f"{broken[model, kind]:.0%} of {name}"
            for kind, name in names.items()
            if (model, kind) in broken.index
        )
        + f" in {model}"
        for model in broken.index.unique("model")
    ]
    return Markdown(
        "The lowest strength, {:g}, breaks {}. If a few dimensions carry most of the norm, an "
        "isotropic direction of the same norm can do more harm than the vector, and a broken sham "
        "is easy to beat."
    ).format(weakest["strength"].iloc[0], "; ".join(parts))


def depth_sentence(found: Findings) -> Markdown:
    """Say whether steering works best where separation peaks."""
    if found.trials is None or found.trials.table["place"].nunique() < 2:
        return Markdown(" ")
    one = found.scores.select(
        metric=found.primary_metric, method=found.primary_method, weights="trained", labels="true"
    )
    found_at = Markdown(" ").join(quoted(depth_test(found.trials, one, alpha=found.alpha)))
    return Markdown("Does steering work best where separation peaks? {}").format(found_at)


def published_table(found: Findings) -> Markdown:
    """Typeset the models' shares of success and the published share."""

    def make(trials: Trials) -> Markdown:
        table = beside_published(trials, found.alpha)
        table = table.assign(
            wilson=intervals(table), exact=intervals(table, low="low_exact", high="high_exact")
        )
        columns = {
            "source": "Source",
            "n": "n",
            "wilson": "Whole, above baseline",
            "exact": "Clopper–Pearson",
            "over_baseline": "Whole or not",
            "sham": "Sham",
            "isotropic": "Isotropic sham",
            "surgical": "Surgical",
        }
        return typeset(table, columns, [23, 5, 20, 16, 9, 8, 10, 9])

    return _or_absent(found, make)


def summary_table(found: Findings) -> Markdown:
    """Typeset success by model, strength and emotion against the sham."""

    def make(trials: Trials) -> Markdown:
        parts = []
        for by in (("model", "strength"), ("model", "emotion")):
            part = steering_summary(trials, by=by, alpha=found.alpha)
            part["what"] = [f"{v:g}" if isinstance(v, float) else v for v in part[by[1]]]
            parts.append(part)
        table = pd.concat(parts, ignore_index=True).sort_values("model", kind="stable")
        table = table.assign(value=intervals(table), p=[p_value(p) for p in table["p"]])
        columns = {
            "model": "Model",
            "what": "By",
            "n": "n",
            "value": "Whole, above",
            "over_baseline": "Or not",
            "sham": "Sham",
            "surgical": "Surgical",
            "p": "p",
            "verdict": "Verdict",
        }
        return typeset(table, columns, [23, 11, 5, 18, 7, 7, 9, 8, 15], group=1)

    return _or_absent(found, make)


def examples_table(found: Findings) -> Markdown:
    """Typeset one text per model and regime, chosen by a rule."""

    def make(trials: Trials) -> Markdown:
        table = example_texts(trials)
        words = table["text"].str.replace(r"\s+", " ", regex=True).str.strip()
        words = words.str.replace(
            r"[^\u0000-\u024f\u2000-\u206f]+", " (another script) ", regex=True
        )
        table = table.assign(
            words=words.str.slice(0, 170).replace("", "(nothing)"),
            dose=[f"{s:g}" for s in table["strength"]],
        )
        columns = {
            "model": "Model",
            "regime": "Regime",
            "emotion": "Target",
            "dose": "Strength",
            "words": "Text",
        }
        return typeset(table, columns, widths=[22, 16, 10, 9, 43], group=1)

    return _or_absent(found, make)


def _or_absent(found: Findings, make: Callable[[Trials], Markdown]) -> Markdown:
    if found.trials is None:
        return typeset(pd.DataFrame({"note": markdown_column([ABSENT])}), {"note": "Trials"})
    return make(found.trials)
