"""Sentences about claims, published numbers and simulated designs."""

from __future__ import annotations

from analysis.reporting.apa import Row, joined, sentence, undecided
from analysis.wording import numbered


def of_claim(row: Row) -> str:
    """Return a claim, its verdict with the reason, and the numbers that decide."""
    numbers = joined(
        [
            row.estimate(row.text("quantity")),
            row.p("p_holm", "Holm-adjusted p"),
            f"n = {row.count('n', 'model')}" if row.has("n") else "",
        ]
    )
    verdict = row.text("verdict") + (f", {scope}" if (scope := row.named("scope")) else "")
    reason = f"; {row.text('reason')}" if row.text("reason") else ""
    inside = f" ({numbers})" if row.has("p_holm") else ""
    return f"{row.text('claim')}: {verdict}{reason}{inside}."


def of_published(row: Row) -> str:
    """Say whether a design can have given the published numbers."""
    can = "can" if row.text("verdict") == "possible" else "cannot"
    said = (
        f"a Mann-Whitney test ({row.text('test')}) of {row.text('n_a')} against {row.text('n_b')} "
        f"values with U = {row.text('U')} {can} have given the published numbers "
        f"({row.text('reason')})"
    )
    return sentence(said, [row.p()])


def of_literature(row: Row) -> str:
    """Say where the published depths lie."""
    target = f"the target of {row.number('target')} ± {row.number('delta')}"
    verdict = row.text("verdict")
    numbers = [
        row.estimate("pooled depth"),
        row.freedom(),
        row.value("SD", "tau"),
    ]
    same = verdict != "elsewhere"
    numbers.append(row.p("p", "p of equivalence") if same else row.p("p_elsewhere"))
    numbers.append(f"n = {row.count('n_figures', 'figure')} of {row.count('n_sources', 'source')}")
    if verdict == "undecided":
        return sentence(undecided(f"whether the published depths are at {target}", row), numbers)
    word = "at" if same else "not at"
    return sentence(f"the published depths were {word} {target}", numbers)


def of_power(row: Row) -> str:
    """Say what a simulated design decides."""
    there = "an effect" if row.text("truth") != "none" else "no effect"
    families = numbered(len(row.text("families").split()), "family", "families")
    n = f"{row.count('n_models', 'model')} in {families}"
    numbers = [
        row.estimate("share that shows a difference", "difference"),
        row.value("sameness", "same"),
        row.value("undecided", "undecided"),
        row.value("coverage", "coverage"),
        f"{row.count('n_sim', 'simulated study', 'simulated studies')}",
    ]
    return sentence(f"studies with {n} and {there} were simulated ({row.text('test')})", numbers)


def of_margin(row: Row) -> str:
    """Say within which margin a simulated design shows sameness."""
    numbers = [
        row.value("by itself", "alone"),
        row.value("together with the others", "together"),
        f"{row.models()}",
        f"{row.count('n_sim', 'simulated study', 'simulated studies')}",
    ]
    return sentence(f"sameness can be shown within a margin ({row.text('margin')})", numbers)
