"""Sentences about steering: success, dose, regimes, depth and judges."""

from __future__ import annotations

from analysis.reporting.apa import Row, joined, sentence, undecided

#: Columns by which `steering_summary` may group its rows.
GROUPS = ("model", "family", "emotion", "strength", "depth")


def of_success(row: Row) -> str:
    """Say how often steering raises the target emotion, and whether the sham does as well."""
    group = joined(
        [
            row.text(name) if name in ("model", "family", "emotion") else f"{name} {row.text(name)}"
            for name in GROUPS
            if row.has(name)
        ]
    )
    where = f"in {group}" if group else f"over {row.models()}"
    where += f" ({row.text('scope')})" if row.named("scope") else ""
    difference = row.estimate("difference", "difference", "difference_low", "difference_high")
    numbers = [
        row.estimate("share of successes"),
        row.value("sham", "sham"),
        difference,
        row.p(),
        f"n = {row.count('n', 'text')}, {row.count('n_scenarios', 'scenario')}",
    ]
    verdict = row.text("verdict")
    if verdict == "beyond sham":
        return sentence(f"{where}, steering did more than its sham", numbers)
    if verdict == "not beyond sham":
        return sentence(f"{where}, steering did not do more than its sham", numbers)
    return sentence(undecided(f"{where}, whether steering does more than its sham", row), numbers)


def of_source(row: Row) -> str:
    """Say the share of successes of a model, or the published one."""
    numbers = [
        row.estimate("share of successes"),
        row.value("sham", "sham"),
        row.value("above both", "success"),
        f"n = {row.count('n', 'text')}",
    ]
    return sentence(f"steered texts succeeded ({row.text('source')})", numbers)


def of_dose(row: Row) -> str:
    """Say at which strength steering works, and at which text breaks."""
    numbers = [
        row.estimate("strength of half the largest effect", "half_effect", "half_low", "half_high"),
        row.estimate("strength at which half of the texts break", *_ends("breaks")),
        row.value("largest effect beyond the sham", "effect"),
        row.p(),
    ]
    where, verdict = f"in {row.text('model')}", row.text("verdict")
    if verdict == "undecided":
        question = f"{where}, whether steering works before it breaks the text"
        return sentence(undecided(question, row), numbers)
    return sentence(f"{where}, steering {verdict}", numbers)


def _ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def of_depth(row: Row) -> str:
    """Say whether steering works best where separation peaks."""
    numbers = [
        row.value("peak", "peak"),
        row.value("best depth", "best"),
        row.estimate("difference in the share beyond the sham"),
        row.p(),
        row.value("rank correlation with separation", "spearman"),
        row.count("n_depths", "depth"),
        row.count("n_scenarios", "scenario"),
    ]
    where, verdict = f"in {row.text('model')}", row.text("verdict")
    if verdict == "best at peak":
        return sentence(f"{where}, steering worked better at the peak than elsewhere", numbers)
    if verdict == "better elsewhere":
        return sentence(f"{where}, steering worked better elsewhere than at the peak", numbers)
    return sentence(undecided(f"{where}, whether steering works best at the peak", row), numbers)


def of_cause(row: Row) -> str:
    """Say whether regimes follow family or scale."""
    by = row.text("by")
    numbers = [
        row.value("share of the variance explained", "estimate"),
        row.p(),
        f"n = {row.count('n', 'model')}",
    ]
    if row.text("verdict") == "related":
        return sentence(f"the regimes of steering followed {by}", numbers)
    return sentence(undecided(f"whether the regimes of steering follow {by}", row), numbers)


def of_regime(row: Row) -> str:
    """Say how often a regime occurs."""
    about = joined([f"{n} {row.text(n)}" for n in ("model", "strength") if row.has(n)])
    kinds = {"steered": "steered texts", "sham": "isotropic shams", "matched sham": "matched shams"}
    said = f"some {kinds.get(row.text('kind'), 'texts')} were {row.text('regime')} ({about})"
    return sentence(said, [row.value("share", "share"), f"n = {row.text('n')}"])


def of_judges(row: Row) -> str:
    """Say how well two judges agree."""
    numbers = [
        row.value("agreement", "agreement"),
        row.estimate("Cohen's κ", "kappa"),
        row.value("rank correlation of the gains", "spearman"),
        f"n = {row.count('n', 'text')}",
    ]
    said = f"the judges {row.text('a')} and {row.text('b')} were compared"
    return sentence(f"{said} on whether a text exceeds its baseline", numbers)
