"""Choose the parts of the paper that a study has data for, and describe tables from elsewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from analysis.figures.profiles import averages_families
from analysis.loading.mapping import words_of as words_of
from analysis.loading.options import fact_of
from analysis.wording import count, listing
from reports.paper import AUTHOR, Findings, say
from study.text import Markdown, markdown

#: A mark: adapt.lua leaves out the section, figure or table that contains it.
ABSENT = Markdown("[]{.absent}")
PRESENT = Markdown(" ")


def parts(found: Findings) -> dict[str, bool]:
    """Return which parts of the paper have data."""
    ours = not found.scores.is_foreign
    return {
        "ours": ours,
        "theirs": not ours,
        "metrics": ours or len(found.separation) > 1,
        "untrained": found.n_twins > 0,
        "crossed": not found.crossed.empty,
        "methods": ours and len(found.methods) > 1,
        "certified": ours and bool(found.scores.run.get("certificates")),
        "ablated": found.ablated is not None,
        "concepts": found.n_emotions > 1,
        "several": len(found.models) > 1,
        "claimed": len(found.claims) > 0,
        "steering": found.trials is not None,
    }


def marks(has: dict[str, bool]) -> dict[str, Markdown]:
    """Return the mark at the beginning of each part: empty, or one that leaves the part out."""
    return {name: PRESENT if there else ABSENT for name, there in has.items()}


def sayings(found: Findings) -> dict[str, Markdown]:
    """Return the sentence of each claim; empty for a claim that is not in the table."""
    said: defaultdict[str, Markdown] = defaultdict(lambda: PRESENT)
    for row in found.claims.to_dict("records"):
        verdicts = {row["verdict"], row["verdict_these"]}
        if found.scores.is_foreign and verdicts == {"not testable"}:
            continue
        said[row["key"]] = say(found, row["key"])
    return said


def own_claims(found: Findings) -> Markdown:
    """Return the sentences on the user's own claims, which have no section in the paper."""
    known = {"every", "overall", "peak", "architecture", "scale", "learned"}
    rows = found.claims[~found.claims["key"].isin(known)]
    rows = rows[rows["verdict"] != "not testable"]
    if not found.scores.is_foreign or rows.empty:
        return ABSENT
    return Markdown("\n\n").join(say(found, key) for key in rows["key"])


def drawn(there: bool, draw: Callable[[], Any]) -> Any:
    """Return a figure or table, or the mark that leaves it out."""
    return draw() if there else ABSENT


def read_sentence(found: Findings) -> Markdown:
    """Say how the numbers were read."""
    run = found.scores.run
    source, notes = run.get("source", ""), "; ".join(map(fact_of, run.get("notes", [])))
    if notes:
        text = Markdown("The numbers were read from {}: {}. ").format(source, notes)
    else:
        text = Markdown("The numbers were read from {}. ").format(source)
    if run.get("assumed"):
        text += Markdown("Assumed or left out: {}.").format("; ".join(map(fact_of, run["assumed"])))
    return text


def measure_sentence(found: Findings) -> Markdown:
    """Name the measures and the better direction of each."""
    ways = {1: "larger", -1: "smaller"}
    each = [
        f"{found.titles[m]} ({ways[found.scores.directions[m]]} is better separated)"
        for m in found.separation
    ]
    text = Markdown("The table has {}: {}. The primary one is {}.").format(
        count(len(each), "measure"), listing(each), found.measure_name
    )
    if len(found.methods) > 1:
        text += Markdown(" There are {}: {}.").format(
            count(len(found.methods), "method"), listing(found.methods)
        )
    return text


def errors_sentence(found: Findings) -> Markdown:
    """Say where the standard errors of a profile come from."""
    if not found.scores.is_foreign:
        return Markdown(
            "The covariance $S$ between layers comes from a bootstrap over topics, so every "
            "standard error reflects the dependence between neighboring layers. The same "
            "replicates give a percentile interval for the vertex; Fieller's closed form "
            "[@fieller1954] is computed for comparison."
        )
    repeated = found.scores.run.get("repetitions") or {}
    if repeated:
        return Markdown("The covariance $S$ between layers comes from {}.").format(repeated["said"])
    return Markdown(
        "The table has no repetitions. The covariance $S$ between layers is therefore estimated "
        "from each curve's own scatter, with autoregressive models averaged over the correlation "
        "between neighboring layers."
    )


def bands_sentence(found: Findings) -> Markdown:
    """Explain the bands and lines in the figure of profiles."""
    over = f", averaged over {found.counted_concepts}" if found.n_emotions > 1 else ""
    text = f"Separation by depth ({found.measure_name}){over}. "
    if found.scores.replicates is not None:
        repeated = found.scores.run.get("repetitions") or {}
        source = "the topic bootstrap" if not repeated else f"the {repeated['kind']}s"
        text += f"Bands are percentile intervals from {source}. "
    if found.n_twins:
        text += "Dashed gray lines are untrained twins: the same architecture with random weights. "
    text += (
        "Dotted curves are the fitted quadratics. A dot and bar at the bottom show the depth of "
        "the peak and its interval, for a curve that is shown to rise and fall (a hump)."
    )
    if found.scores.run.get("metrics", {}).get(found.primary_metric, {}).get("chance") is not None:
        text += " The horizontal dotted line is chance."
    return markdown(text)


def fixed_sentence(found: Findings) -> Markdown:
    """Say whether the target, margin and level were fixed before the data."""
    run = found.scores.run
    if not found.scores.is_foreign or run.get("preregistered"):
        return Markdown(
            "The study file fixed the target, margin, level and measures before the data were "
            "made; its hash is in @sec-repro."
        )
    return Markdown(
        "The target, the margin and the level are the standard ones; nobody fixed others before "
        "the scores were made."
    )


def paired_sentence(found: Findings) -> Markdown:
    """Say how methods are compared, and name the intervals of shares."""
    if found.scores.is_foreign:
        return PRESENT
    return Markdown(
        "Methods are compared in pairs by model, with the family of models as the unit. "
        "Shares have the intervals of @wilson1927 and @clopper1934."
    )


def figures_sentence(found: Findings) -> Markdown:
    """Refer to the figures of profiles."""
    if len(found.separation) > 1:
        return Markdown(
            "@fig-profiles shows the primary measure and @fig-metrics all of them, by family."
        )
    return Markdown("@fig-profiles shows the primary measure.")


def certified_sentence(has: dict[str, bool]) -> Markdown:
    """Refer to the models' certificates, or say that there are none."""
    if has["certified"]:
        return Markdown(
            "@tbl-certificates shows the checks that each model passes before it is read."
        )
    return Markdown("These tables were made before models had certificates.")


def method_sentence(has: dict[str, bool]) -> Markdown:
    """Refer to the figure of methods, which a study of one method does not have."""
    return Markdown("@fig-methods shows the individual models.") if has["methods"] else PRESENT


def names_methods(found: Findings) -> bool:
    """Say whether the study names its methods, which a table from elsewhere need not do."""
    return not found.scores.is_foreign or len(found.methods) > 1


def measured(found: Findings) -> Markdown:
    """Name the primary measure, and the method if the study names methods."""
    measure = markdown(found.measure_name)
    return measure + markdown(f", {found.primary_method}") if names_methods(found) else measure


def measures_caption(found: Findings) -> Markdown:
    """Describe the figure of all measures."""
    method = f" ({found.primary_method})" if names_methods(found) else ""
    text = f"Every measure by depth and family{method}"
    if found.n_twins:
        return markdown(f"{text}: trained models and, in dashed gray, their untrained twins.")
    return markdown(f"{text}, with a line for each model.")


def heat_sentence(found: Findings) -> Markdown:
    """Say what the panels of the heat map are, if they are not models."""
    if not averages_families(found.scores):
        return PRESENT
    return Markdown("Each panel is the mean over the models of a family.")


def limits_of_ours(found: Findings) -> Markdown:
    """State the limitations that all of the project's own studies share."""
    if found.scores.is_foreign:
        return Markdown(
            "We do not know how the scores were measured, or on which texts. A fault in the "
            "measurement affects every test."
        )
    return Markdown(
        "The published study does not disclose its nine models, its texts or its measure of "
        "separation in enough detail for an exact replication. We therefore test the claim, not "
        "the run. The measures are linear and use averages over tokens; they cannot detect what a "
        "model represents in other ways. The passages were written for this project, in English."
    )


def front_of_explorer(foreign: bool) -> Markdown:
    """Return the explorer's author; a table from elsewhere has none."""
    return PRESENT if foreign else Markdown("[{}]{{.author}}").format(AUTHOR)
