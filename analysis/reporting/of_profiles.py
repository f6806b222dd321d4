"""Sentences about depth curves: their shape, their peak, and what training adds."""

from __future__ import annotations

from analysis.reporting.apa import Row, sentence, undecided
from analysis.wording import each_of

SHAPES = {
    "hump": "separation rose and then fell with depth",
    "trough": "separation fell and then rose with depth",
    "several peaks": "separation had several peaks over the depth",
    "monotone": "separation changed in one direction only with depth",
    "plateau": "separation leveled off with depth",
}

#: What each contrast of `control_test` compares a profile with.
CONTROLS = {
    "trained - untrained": "that of untrained weights",
    "true - shuffled": "that of shuffled labels",
    "given anisotropy": "what anisotropy explains",
    "middle - layer 0": "that of layer 0",
}


def _where(row: Row) -> str:
    """Return "In gpt2 (comprehension, auc)" or "Over 9 models of 5 families (...)"."""
    more = row.named("scope")
    if row.text("level") == "models":
        if not row.has("n_models") or not int(row.values["n_models"]):
            return f"over the models{row.conditions(more)}"
        return f"over {row.models()}{row.conditions(more)}"
    if row.text("level") == "these models":
        return f"in {each_of(int(row.values['n_models']), 'model')}{row.conditions(more)}"
    return f"in {row.text('model')}{row.conditions(more)}"


def of_curve(row: Row) -> str:
    """Say where one profile of `fit_curves` peaks."""
    where, verdict = _where(row), row.text("verdict")
    curvature = row.estimate(
        "quadratic coefficient", "curvature", "curvature_low", "curvature_high"
    )
    numbers = [curvature, row.p(), row.count("n_points", "layer")]
    if verdict == "peak inside":
        place = row.estimate("depth of the peak", "peak", "peak_low", "peak_high")
        return sentence(f"{where}, separation peaked inside the network", [place, *numbers])
    if verdict == "no peak inside":
        shape = row.text("shape")
        said = f"{where}, separation had no peak inside the network ({shape})"
        return sentence(said, [row.p("p_shape", "p of this shape"), *numbers])
    return sentence(undecided(f"{where}, where separation peaks", row), numbers)


def of_shape(row: Row) -> str:
    """Say which shape `u_shape_test` shows."""
    where, verdict = _where(row), row.text("verdict")
    arm = row.estimate("change along the weaker arm")
    df = row.freedom()
    if verdict in ("hump", "trough"):
        return sentence(f"{where}, {SHAPES[verdict]} ({verdict})", [arm, df, row.p()])
    if verdict == "mixed":
        whose = f"{row.count('n_models', 'model')}{row.conditions(row.named('scope'))}"
        said = f"the curves of {whose} had mixed shapes, not all of them humps"
        otherwise = row.p("p_otherwise", "p of another shape than a hump")
        return sentence(f"{said} ({row.text('reason')})", [arm, df, otherwise])
    if verdict in SHAPES:
        return sentence(f"{where}, {SHAPES[verdict]} ({verdict})", [df, row.p("p_shape")])
    return sentence(undecided(f"{where}, the shape of the curve", row), [arm, df, row.p()])


def of_peak(row: Row) -> str:
    """Say where `localization_test` finds the peak: pooled, of all of these models, or of one."""
    by = row.named("peak")
    about = row.conditions(f"peak by {by}" if by else "", row.named("layers"), row.named("scope"))
    target = "the target"
    if row.has("target") and row.has("delta"):
        target += f" of {row.number('target')} ± {row.number('delta')}"
    one = row.has("model") and not row.text("model").startswith("all (")
    fixed = row.text("scope") == "these models"
    whose = row.text("model") if one else "each of these models" if fixed else "the models"
    numbers = [
        row.estimate("depth of the peak" if one else "mean depth" if fixed else "pooled depth"),
        row.freedom(),
        row.value("SD between models", "tau"),
    ]
    of = f"{row.text('n_pooled')} of " if row.has("n_pooled") else ""
    families = row.count("n_families", "family", "families") if of else ""
    n = f"n = {of}{row.count('n_models', 'model')}" + (f" in {families}" if families else "")
    same = row.p("p", "p of equivalence")
    verdict = row.text("verdict")
    if verdict == "at target":
        return sentence(f"the peak of {whose} was at {target}{about}", [*numbers, same, n])
    if verdict == "elsewhere":
        whose = "at least one of these models" if fixed and not one else whose
        said = f"the peak of {whose} was not at {target}{about}"
        return sentence(said, [*numbers, row.p("p_elsewhere"), n])
    said = undecided(f"whether the peak of {whose} is at {target}{about}", row)
    return sentence(said, [*numbers, same, n])


def of_control(row: Row) -> str:
    """Say whether `control_test` finds the hump, or the gain over layer 0, to be learned."""
    contrast = row.text("contrast")
    gain = contrast.startswith("middle")
    what = "separation in the middle of the depth" if gain else "the hump"
    control = CONTROLS[contrast]
    where = _where(row)
    verdict = row.text("verdict")
    numbers = [row.estimate(contrast.replace(" - ", " minus ")), row.statistic("t")]
    numbers += [row.p("p_not" if verdict == "not learned" else "p")]
    if verdict == "learned":
        return sentence(f"{where}, {what} exceeded {control}", numbers)
    if verdict == "not learned":
        said = f"{where}, compared with {control}, {what} was not learned"
        return sentence(f"{said} ({row.text('reason')})", numbers)
    return sentence(undecided(f"{where}, whether {what} exceeds {control}", row), numbers)


def of_valence(row: Row) -> str:
    """Say which share of the distances valence explains at one depth."""
    where = f"in {row.text('model')}, at a depth of {row.number('depth')}"
    span = f"95% of shuffles [{row.number('low')}, {row.number('high')}]"
    said = f"{where}, valence explained a share of the squared distances"
    return sentence(said, [row.value("share", "share"), span])
