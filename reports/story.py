"""The paper's first page: what was claimed, what was found, and how sure that is."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.claims.table import ENDING, scope_words
from analysis.families import too_few
from analysis.loading.mapping import WORDS
from analysis.scopes import LIKE_THESE, THESE
from analysis.wording import count, inline_label, interval, listing
from reports.paper import AUTHOR, Findings, share, tally
from study.text import Markdown, markdown

TITLE = "Do language models separate emotions at half their depth?"
#: The order in which verdicts are told.
VERDICTS = ("supported", "contradicted", "undecided", "not testable")


def front(found: Findings) -> Markdown:
    """Return title, subtitle and author."""
    if not found.scores.is_foreign:
        return Markdown("[{}]{{.title}}[{}]{{.subtitle}}[{}]{{.author}}").format(
            TITLE, subtitle(found), AUTHOR
        )
    given = found.scores.run["words"]["concept"] != WORDS["concept"]
    what = found.words["concepts"] if found.n_emotions > 1 or given else "classes"
    return Markdown(
        "[Where in their depth do language models separate {}?]{{.title}}"
        "[Calibrated tests of the scores by layer of {}]{{.subtitle}}"
    ).format(what, found.scores.name)


def summary(found: Findings) -> Markdown:
    """Say in an abstract what was tested and found."""
    primary = found.shapes_of("trained", found.primary_metric)
    verdicts = found.claims["verdict"], found.claims[f"verdict{ENDING}"]
    return Markdown(
        "We test scores by layer that were measured elsewhere, using tests with calibrated error "
        "rates. The study has {} of {}{}. Of {} that the table can test, {} in models like these; "
        "in these models, {}. On the primary measure, {}, separation demonstrably rises and then "
        "falls with depth in {} profiles."
    ).format(
        count(len(found.models), "model"),
        count(found.models["family"].nunique(), "family", "families"),
        f" and {found.counted_concepts}" if found.n_emotions > 1 else "",
        count(len(found.claims), "claim"),
        *map(tally, verdicts),
        found.measure_name,
        share(primary["verdict"], "hump"),
    )


def subtitle(found: Findings) -> Markdown:
    """Say in one line how the claims came out in the study's models.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> claims = pd.DataFrame({"verdict_these": ["supported", "contradicted", "undecided"]})
    >>> models = pd.DataFrame({"model": ["a", "b"]})
    >>> subtitle(SimpleNamespace(claims=claims, models=models))
    'In two models, one claim holds, one fails and one is undecided'
    """
    said = {
        "supported": ("holds", "hold"),
        "contradicted": ("fails", "fail"),
        "undecided": ("is undecided", "are undecided"),
        "not testable": ("cannot be tested", "cannot be tested"),
    }
    counts = found.claims[f"verdict{ENDING}"].value_counts()
    known = [verdict for verdict in VERDICTS if verdict in counts]
    parts = [count(int(counts[verdict]), *said[verdict]) for verdict in known]
    if known:  # the first says what is counted
        one, many = said[known[0]]
        parts[0] = count(int(counts[known[0]]), f"claim {one}", f"claims {many}")
    return Markdown("In {}, {}").format(count(len(found.models), "model"), listing(parts))


def these_models(found: Findings) -> Markdown:
    """Say which claims hold in the study's models, with their numbers, and which stay open."""
    rows = found.claims.to_dict("records")
    leads = {"supported": "that", "contradicted": "that", "undecided": "whether"}
    parts = []
    for verdict, word in {**leads, "not testable": "whether"}.items():
        told = [row for row in rows if row[f"verdict{ENDING}"] == verdict]
        if told:
            shown = word == "that"
            phrases = Markdown("; ").join(_phrase(row, ENDING, numbers=shown) for row in told)
            parts.append(Markdown("*{}* is {} {}.").format(verdict.capitalize(), word, phrases))
    return Markdown(" ").join(parts)


def models_like_these(found: Findings) -> Markdown:
    """Say which claims extend to other models, or why none does."""
    decided = found.claims[found.claims["verdict"].isin(VERDICTS[:2])]
    few = too_few(found.models["family"].nunique())
    if decided.empty and few:
        return Markdown("No claim can be extended beyond these models: {}.").format(few)
    if decided.empty:
        return Markdown("No claim is settled: {}.").format(tally(found.claims["verdict"]))
    phrases = [
        Markdown("*{}*: {}").format(row["verdict"], _phrase(row, "", numbers=True))
        for row in decided.to_dict("records")
    ]
    rest = len(found.claims) - len(decided)
    left = count(rest, "other claim stays", "other claims stay")
    open_ = Markdown(" For models like these, {} open.").format(left) if rest else ""
    return Markdown("; ").join(phrases) + Markdown(".{}").format(open_)


def _phrase(row: dict[Any, Any], ending: str, *, numbers: bool) -> Markdown:
    """Return a claim within a sentence, with the estimate that decides it."""
    text = markdown(inline_label(str(row["claim"])))
    value = row[f"estimate{ending}"]
    if not numbers or pd.isna(value):
        return text
    return Markdown("{} ({} {})").format(
        text,
        row[f"quantity{ending}"],
        interval(value, row[f"low{ending}"], row[f"high{ending}"]),
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
        "here are turned so that up is better separated. A U of the published kind is then a "
        "*hump*: separation rises with depth, and falls again. A *trough* is the opposite."
    ).format(found.words["concepts"], _which_way(found))
    scopes = Markdown(
        "Each claim has two verdicts. One applies *{}*. The other applies *{}*: it generalizes to "
        "other models, and needs at least three families."
    ).format(*(scope_words(found.scores)[scope] for scope in (THESE, LIKE_THESE)))
    verdicts = Markdown(
        "A test shows what is *supported* or *contradicted*. *Undecided* means that the data show "
        "neither, not that there is no effect. *Not testable* means that the study lacks what the "
        "test needs."
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
            "It is better where {} is smaller (the curve is a *U* if the middle of the network "
            "separates best), and where {} is larger."
        ).format(ways[-1], ways[1])
    (sign, names), *_ = ways.items()
    return Markdown("It is better where {} is {}.").format(
        names, "larger" if sign > 0 else "smaller"
    )
