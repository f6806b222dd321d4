"""The paper's first page: what was claimed, what was found, and how sure that is."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.claims.table import ENDING, scope_words
from analysis.families import too_few
from analysis.loading.mapping import WORDS
from analysis.scopes import LIKE_THESE, THESE
from analysis.wording import count, inline_label, interval, listing, size
from reports.paper import AUTHOR, Findings, share, tally
from study.text import Markdown, markdown

TITLE = "Do language models separate emotions at half their depth?"
#: The source of the claims that the title asks about.
PUBLISHED = "Jeong 2026"
#: What a contradiction of a claim shows; for other claims, the reason says it.
INSTEAD = {
    "every": "At least one model has another shape",
    "overall": "The mean curve has another shape",
    "peak": "It peaks elsewhere",
    "architecture": "It differs between architectures",
    "scale": "It changes with scale",
    "steering": "Too few steered texts stay readable and show the emotion more than unsteered ones",
    "regimes": "At least one of them is too rare",
    "learned": "Untrained networks have as much of one",
    "embeddings": "Less than half of it is there",
    "tuning": "It stays where it was",
}
#: Plainer names of some quantities.
QUANTITIES = {
    "share of models": "share of models where it is shown",
    "weaker arm": "the smaller of rise and fall",
    "pooled depth": "depth of the peak",
    "mean depth": "depth of the peak",
    "mean difference": "difference in separation",
    "difference": "difference in separation",
    "bulge, trained minus untrained": "extra bulge of the trained curves",
    "share of the best layer": "its share of the best layer's separation",
}
#: The share that is told in percent, as its claim is.
OF_TEXTS = "share whole and above the baseline"
#: The order in which verdicts are told.
VERDICTS = ("supported", "contradicted", "undecided", "not testable")


def front(found: Findings) -> Markdown:
    """Return title, subtitle and author."""
    if not found.scores.is_foreign:
        return Markdown("[{}]{{.title}}[{}]{{.subtitle}}[{}]{{.author}}").format(
            TITLE, subtitle(found), AUTHOR
        )
    return Markdown(
        "[{}]{{.title}}[Calibrated tests of the scores by layer of {}]{{.subtitle}}"
    ).format(question(found), found.scores.name)


def question(found: Findings) -> Markdown:
    """Return the question that the study asks."""
    if not found.scores.is_foreign:
        return markdown(TITLE)
    given = found.scores.run["words"]["concept"] != WORDS["concept"]
    what = found.words["concepts"] if found.n_emotions > 1 or given else "classes"
    return Markdown("Where in their depth do language models separate {}?").format(what)


def summary(found: Findings) -> Markdown:
    """Say in an abstract which table from elsewhere was tested, and what shape its curves have."""
    primary = found.shapes_of("trained", found.primary_metric)
    return Markdown(
        "We test scores by layer that were measured elsewhere, using tests with calibrated error "
        "rates. The study has {} of {}{}. On the primary measure, {}, separation demonstrably "
        "rises and then falls with depth in {} profiles."
    ).format(
        count(len(found.models), "model"),
        count(found.models["family"].nunique(), "family", "families"),
        f" and {found.counted_concepts}" if found.n_emotions > 1 else "",
        found.measure_name,
        share(primary["verdict"], "hump"),
    )


def subtitle(found: Findings) -> Markdown:
    """Answer the title for the study's models, and say how the published claims came out.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> claims = pd.DataFrame({"key": ["peak", "scale", "own"],
    ...                        "source": ["Jeong 2026", "Jeong 2026", "control"],
    ...                        "verdict_these": ["undecided", "contradicted", "supported"]})
    >>> models = pd.DataFrame({"model": ["a", "b"]})
    >>> subtitle(SimpleNamespace(claims=claims, models=models))
    'Undecided in two models. Of two claims of one paper, one fails and one is undecided'
    """
    answers = {"supported": "Yes", "contradicted": "No", "undecided": "Undecided"}
    said = {
        "supported": ("holds", "hold"),
        "contradicted": ("fails", "fail"),
        "undecided": ("is undecided", "are undecided"),
        "not testable": ("cannot be tested", "cannot be tested"),
    }
    claims = found.claims[found.claims["source"] == PUBLISHED]
    verdicts = claims[f"verdict{ENDING}"]
    (answer,) = verdicts[claims["key"] == "peak"]
    counts = verdicts.value_counts()
    parts = [count(int(counts[word]), *said[word]) for word in VERDICTS if word in counts]
    return Markdown("{} in {}. Of {}, {}").format(
        answers.get(answer, "Not testable"),
        count(len(found.models), "model"),
        f"{count(len(claims), 'claim')} of one paper",
        listing(parts),
    )


def these_models(found: Findings) -> Markdown:
    """List what the study's models show of each claim, with its numbers, and what stays open."""
    rows = found.claims.to_dict("records")
    items = [
        _decided(row, ENDING) for word in VERDICTS[:2] for row in rows if _is(row, word, ENDING)
    ]
    if open_ := [row for row in rows if _is(row, "undecided", ENDING)]:
        text = Markdown("**Undecided**, neither shown nor ruled out: whether {}.")
        items.append(text.format(_named(open_)))
    if left := [row for row in rows if _is(row, "not testable", ENDING)]:
        items.append(Markdown("**Not testable** with this study: whether {}.").format(_named(left)))
    if not items:
        return Markdown("No claim can be tested.")
    return Markdown("\n").join(Markdown("- {}").format(item) for item in items)


def _is(row: dict[Any, Any], verdict: str, ending: str) -> bool:
    return bool(row[f"verdict{ending}"] == verdict)


def _decided(row: dict[Any, Any], ending: str) -> Markdown:
    """Return a claim with its verdict, what a contradiction shows instead, and the estimate."""
    verdict = row[f"verdict{ending}"]
    text = Markdown("**{}:** “{}.”").format(verdict.capitalize(), row["claim"])
    if verdict == "contradicted":
        text += Markdown(" {}").format(_instead(row, ending))
    value = row[f"estimate{ending}"]
    if pd.isna(value):
        return text + ("." if verdict == "contradicted" else "")
    ends = row[f"low{ending}"], row[f"high{ending}"]
    quantity = row[f"quantity{ending}"]
    if quantity == OF_TEXTS:  # beside the percentage of the claim
        shown = f"{value:.0%}" + (f" [{ends[0]:.0%}, {ends[1]:.0%}]" if pd.notna(ends[0]) else "")
        return text + Markdown(" ({} of texts).").format(shown)
    name = QUANTITIES.get(quantity, quantity)
    if row["key"] == "method" and row["source"] == PUBLISHED:
        name = "generation minus reading"
    return text + Markdown(" ({}: {}).").format(name, interval(value, *ends))


def _instead(row: dict[Any, Any], ending: str) -> str:
    """Return what the contradiction of a claim shows."""
    reason = str(row[f"reason{ending}"])
    if row["key"] != "method" or row["source"] != PUBLISHED:
        return INSTEAD.get(row["key"], reason[:1].upper() + reason[1:])
    if not ending:
        return "Reading separates better"
    which = "each" if " in each of " in reason else "at least one"
    return f"Reading separates better in {which} of these models"


def _named(rows: list[dict[Any, Any]]) -> Markdown:
    """Name the claims of the paper that the title asks about, and count the other claims."""
    named = [row for row in rows if row["source"] == PUBLISHED] or rows
    phrases = [markdown(inline_label(str(row["claim"]))) + _measured(row) for row in named]
    others = len(rows) - len(named)
    if others:
        phrases.append(markdown(count(others, "other claim")))
    if len(phrases) > 1:
        phrases[-1] = Markdown("and ") + phrases[-1]
    return Markdown("; ").join(phrases)


def _measured(row: dict[Any, Any]) -> Markdown:
    """Return the measured depth of the peak, which a reader asks for even if it is undecided."""
    value = row[f"estimate{ENDING}"]
    if row["key"] != "peak" or pd.isna(value):
        return Markdown("")
    shown = interval(value, row[f"low{ENDING}"], row[f"high{ENDING}"])
    return Markdown(" (measured: {})").format(shown)


def models_like_these(found: Findings) -> Markdown:
    """Say which claims extend to other models, or why none does."""
    decided = found.claims[found.claims["verdict"].isin(VERDICTS[:2])]
    few = too_few(found.models["family"].nunique())
    if decided.empty and few:
        return Markdown("No claim can be extended to other models: {}.").format(few)
    if decided.empty:
        return Markdown("No claim is settled for other models: {}.").format(
            tally(found.claims["verdict"])
        )
    items = [_decided(row, "") for row in decided.to_dict("records")]
    rest = len(found.claims) - len(decided)
    left = count(rest, "other claim stays", "other claims stay")
    if rest:
        items.append(Markdown("For models like these, {} open.").format(left))
    return Markdown("\n\n{}").format(
        Markdown("\n").join(Markdown("- {}").format(item) for item in items)
    )


def how_sure(found: Findings) -> Markdown:
    """Say what the intervals and verdicts guarantee, and under which caveats."""
    sizes = found.models["n_params"].dropna()
    span = f" of {size(sizes.min())} to {size(sizes.max())} parameters" if len(sizes) else ""
    return Markdown(
        "Brackets hold {:.0%} confidence intervals ({:.0%} for sameness between architectures). "
        "The verdicts allow for the number of claims: at most {:.0%} of such studies would print "
        "any false verdict on these models; the same holds for models like these. The sample is "
        "{}{}. "
        "The texts and measures are ours, because the published study does not disclose its own in "
        "enough detail: we test its claims, and do not repeat its run."
    ).format(
        1 - found.alpha,
        1 - 2 * found.alpha,
        found.alpha,
        count(len(found.models), "model"),
        span,
    )


def box(found: Findings) -> dict[str, Markdown]:
    """Say what is tested: what separation is, in which scopes, and what the verdicts mean.

    Returns
    -------
    dict
        A paragraph for each: separation, scopes, verdicts.
    """
    separation = Markdown(
        "*Separation* says how well the activations at a layer tell the {} apart. {} All curves "
        "here are turned so that up is better. The published U is then a *hump*: separation rises "
        "with depth, then falls. A *trough* is the opposite. {}"
    ).format(found.words["concepts"], _which_way(found), _main_measure(found))
    scopes = Markdown(
        "Each claim has two verdicts. One applies *{}*, and asks whether the claim holds in each "
        "of them. The other applies *{}*: it extends to other models, and needs at least three "
        "families of models."
    ).format(*(scope_words(found.scores)[scope] for scope in (THESE, LIKE_THESE)))
    verdicts = Markdown(
        "A claim is *supported* or *contradicted* only if a test shows so. *Undecided* means that "
        "the data show neither, not that there is no effect. *Not testable* means that the study "
        "lacks what the test needs."
    )
    return {"separation": separation, "scopes": scopes, "verdicts": verdicts}


def _which_way(found: Findings) -> Markdown:
    """Say which way the measures point, and what a U has to do with a hump."""
    ways = {
        sign: listing(
            inline_label(found.titles[m])
            for m in found.separation
            if found.scores.directions[m] == sign
        )
        for sign in (-1, 1)
        if sign in {found.scores.directions[m] for m in found.separation}
    }
    if len(ways) == 2:
        return Markdown(
            "Larger is better for {}; smaller is better for {}, whose curve is a *U* if the middle "
            "of the network separates best."
        ).format(ways[1], ways[-1])
    (sign, names), *_ = ways.items()
    return Markdown("{} is better for {}.").format("Larger" if sign > 0 else "Smaller", names)


def _main_measure(found: Findings) -> Markdown:
    """Explain the primary measure, if it is one of ours."""
    if found.scores.is_foreign or found.primary_metric != "auc":
        return Markdown("")
    return Markdown(
        "The main measure is {}: how often a text that shows an emotion scores higher for it than "
        "a text that does not, on topics that were held out. One half is guessing."
    ).format(found.measure_name)
