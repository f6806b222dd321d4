"""Sentences about many models: invariance, scale, methods, crossreading, departures."""

from __future__ import annotations

from analysis.reporting.apa import Row, sentence, undecided
from analysis.wording import number

#: The statistic of each test of `method_test`, and what its p comes from.
LETTERS = {
    "paired over families": "t",
    "signed-rank": "W",
    "Mann-Whitney": "U",
    "mixed model": "t",
    "method x instruct": "t",
    "method x family": "F",
    "state": "t",
    "text": "t",
}


def of_invariance(row: Row) -> str:
    """Say whether `invariance_test` finds the curve to be the same: in families, or in models."""
    about = row.conditions(row.named("scope"))
    group, groups = "family", "families"
    if row.text("by") not in ("family", ""):
        group, groups = (f"{word} by {row.text('by')}" for word in ("group", "groups"))
    n = f"n = {row.count('n_models', 'model')}"
    within, between = f"in all {groups}", f"between {groups}"
    if row.has("n_groups"):
        n += f" in {row.count('n_groups', group, groups)}"
    elif row.named("other"):
        pair = f"{row.text('model')} and {row.text('other')}"
        within, between = f"in {pair}", f"between {pair}"
    else:
        within, between = "in each of these models", "between these models"
    of = row.named("departure_of")
    test = [row.statistic("LR χ²", "lr"), row.p("p", "p of a difference")]
    place = [
        row.estimate(f"largest departure of a peak{f' ({of})' if of else ''}"),
        row.p("p_equivalence", "p of equivalence"),
    ]
    if row.has("other"):  # of two models, or of all pairs
        place = [row.estimate("largest difference of the shapes, as a share of the rise")]
    verdict = row.text("verdict")
    if verdict == "invariant":
        said = f"the depth curve {within}{about} was the same ({row.text('reason')})"
        return sentence(said, [*place, row.p("p_curve", "p of equal shape"), *test, n])
    if verdict == "not invariant":
        return sentence(f"the depth curves differed {between}{about}", [*test, *place, n])
    question = f"whether the depth curve is the same {within}{about}"
    return sentence(undecided(question, row), [*test, *place, n])


def of_scale(row: Row) -> str:
    """Say whether `scale_test` finds the peak to move with size."""
    about = row.conditions(row.named("scope"))
    numbers = [
        row.estimate("change of depth over the range of sizes"),
        row.statistic("t"),
        row.p(),
        row.p("p_equivalence", "p of equivalence"),
        f"n = {row.models('n')}",
    ]
    verdict = row.text("verdict")
    if verdict == "invariant":
        return sentence(f"the depth of the peak was the same at every size{about}", numbers)
    if verdict == "not invariant":
        return sentence(f"the depth of the peak changed with size{about}", numbers)
    question = f"whether the depth of the peak changes with size{about}"
    return sentence(undecided(question, row), numbers)


def of_methods(row: Row) -> str:
    """Say which of two methods separates better by `method_test`."""
    a, b, test = row.text("a"), row.text("b"), row.text("test")
    model = row.named("model")
    about = row.conditions(test, model, row.named("scope"))
    numbers = [row.estimate(f"difference, {a} minus {b}")]
    numbers += [_statistic(row, LETTERS[test])] if test in LETTERS else []
    numbers += [row.p(), row.estimate("Hedges' g", "hedges_g", "g_low", "g_high")]
    # Mann-Whitney takes the two values of a model as those of two models.
    n = row.count("n", "value") if test == "Mann-Whitney" else row.models("n")
    numbers += [f"n = {n}"]
    if test == "method x family":
        if row.has("p"):
            return sentence(f"{row.text('reason')}{about}", numbers)
        question = f"whether the effect of the method differs between families{about}"
        return sentence(undecided(question, row), numbers)
    verdict = row.text("verdict")
    if verdict in ("a better", "b better"):
        better, worse = (a, b) if verdict == "a better" else (b, a)
        return sentence(f"{better} separated better than {worse}{about}", numbers)
    if verdict == "mixed":
        return sentence(f"{a} separated better in some models, {b} in others{about}", numbers)
    if verdict == "alike":
        return sentence(f"{a} and {b} separated alike ({row.text('reason')}){about}", numbers)
    return sentence(undecided(f"whether {a} or {b} separates better{about}", row), numbers)


def _statistic(row: Row, letter: str) -> str:
    """Return the statistic; the sign of t is that of the difference, whichever way is better."""
    text = row.statistic(letter, "statistic")
    if letter == "t" and text and row.has("estimate"):
        before, _, _ = text.partition(" = ")
        size = abs(float(row.values["statistic"]))
        return f"{before} = {number(-size if float(row.values['estimate']) < 0 else size)}"
    return text


def of_crossed(row: Row) -> str:
    """Say what the text, familiarity or the state does to separation."""
    model = row.named("model")
    about = row.conditions(row.named("scope"), model)
    what = {
        "text": "reading stories that other models wrote, and not the passages,",
        "familiarity": "reading a story of its own, and not another's,",
        "state": "writing a story, and not rereading it,",
    }.get(row.text("effect"), row.text("effect"))
    numbers = [row.estimate("difference"), row.statistic("t"), row.p(), f"n = {row.models()}"]
    ways = {"higher": "raised separation", "lower": "lowered separation", "alike": "left it alike"}
    verdict = row.text("verdict")
    if verdict in ways:
        return sentence(f"{what} {ways[verdict]}{about}", numbers)
    return sentence(undecided(f"whether {what} changes separation{about}", row), numbers)


def of_causal(row: Row) -> str:
    """Say whether ablation loses most where separation peaks, or in all models at one depth."""
    measure = row.text("measure").replace("_", " ")
    about = row.conditions(measure, row.named("scope"), row.named("model"))
    numbers = [
        row.estimate("difference of depths"),
        row.p("p_apart"),
        row.p("p", "p of equivalence"),
        row.estimate("mean loss", "lost", "lost_low", "lost_high"),
        f"n = {row.models()}",
    ]
    alone = row.text("compared") == "separation"
    where = "where separation peaks" if alone else "at one depth in all models"
    verdict = row.text("verdict")
    if verdict == "same depth":
        return sentence(f"ablation lost most {where}{about}", numbers)
    if verdict == "another depth":
        return sentence(f"ablation did not lose most {where}{about}", numbers)
    return sentence(undecided(f"whether ablation loses most {where}{about}", row), numbers)


def of_departure(row: Row) -> str:
    """Say how probably a family's peak departs from the mean over families."""
    about = row.conditions(row.named("scope"))
    if not row.has("p_beyond"):
        question = f"how far the peak of {row.text('family')} lies from the mean over families"
        return sentence(undecided(f"{question}{about}", row), [])
    margin = f"P(departure > {row.number('delta')})" if row.has("delta") else "P(beyond)"
    of = row.text("family")
    numbers = [
        row.estimate("posterior mean", kind="credible interval"),
        row.value(margin, "p_beyond"),
        f"n = {row.count('n_models', 'model')}",
    ]
    if of == "any family":
        of = "at least one family"
    said = f"how far the peak of {of} lies from the mean over families was estimated{about}"
    return sentence(said, numbers)
