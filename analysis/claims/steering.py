"""The published claims about steering, each with its rule."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.claims.depth import Row, untestable
from analysis.scopes import LIKE_THESE, Scope
from analysis.trials.agreement import judge_agreement, partial_conjunction
from analysis.trials.regimes import regime_test
from analysis.trials.shares import mean_share, share, share_of, share_row
from analysis.trials.success import PUBLISHED, at_chosen_strength, hit, over_scenarios_and_families
from analysis.trials.table import Trials, as_trials, outcomes
from analysis.wording import listing
from study.read import InputError


def needed(trials: Trials | pd.DataFrame | None) -> Trials | pd.DataFrame:
    """Return the trials, or raise if the study has none."""
    if trials is None:
        raise InputError("the study has no steering trials")
    return trials


@dataclass(frozen=True)
class Opinion:
    """What the data say about a claim if one judge is believed.

    Attributes
    ----------
    row : mapping
        quantity, n, estimate, low and high.
    p_for, p_against : float
        That the claim holds, and that it does not.
    said : str
        The shares, in words.
    few : str
        A message if there are too few families to decide.
    """

    row: Row
    p_for: float
    p_against: float
    said: str
    few: str = ""

    def word(self, alpha: float) -> str:
        """Return the verdict that this judge alone would give."""
        if self.few or min(self.p_for, self.p_against) >= alpha:
            return "undecided"
        return "supported" if self.p_for <= self.p_against else "contradicted"


def steering(
    trials: Trials | pd.DataFrame, alpha: float, seed: int, scope: Scope = LIKE_THESE
) -> Row:
    """Judge the share of successes against the published share, and against the shams.

    A text must be whole to count. The verdict needs two judges, see `by_two_judges`.
    """
    return by_two_judges(
        trials, alpha, lambda judge: share_opinion(trials, judge, alpha, seed, scope=scope)
    )


def share_opinion(
    trials: Trials | pd.DataFrame,
    judge: str,
    alpha: float,
    seed: int,
    *,
    whole: bool = True,
    scope: Scope = LIKE_THESE,
) -> Opinion:
    """Return what one judge says about the share of successes."""
    table = at_chosen_strength(outcomes(trials, judge), whole=whole)
    hits, shams = table[hit(whole)].astype(float), table[f"sham_{hit(whole)}"]
    found, published = share_row(hits, table, alpha, scope), share(*PUBLISHED, alpha)
    above, beyond = (
        over_scenarios_and_families(d, table, alpha, seed, scope)
        for d in (hits - published["low"], hits - shams)
    )
    against = [t["p"] for t in (above, beyond) if t["difference"] < 0]
    row = {"quantity": "share whole and above the baseline", "n": table["model"].nunique()}
    either, sham, sham_either, both = (
        mean_share(table[c], table)
        for c in ("over_baseline", f"sham_{hit(whole)}", "sham_over_baseline", "success")
    )
    kind = " or ".join(sorted(table["sham_kind"].unique()))
    return Opinion(
        row | {key: found[key] for key in ("estimate", "low", "high")},
        p_for=1.0 if against else max(above["p"], beyond["p"]),
        p_against=min(against, default=1.0),
        said=f"{found['estimate']:.0%} of texts are whole and above the baseline, {either:.0%} "
        f"whole or not; of {kind}s {sham:.0%} and {sham_either:.0%}; {both:.0%} of texts exceed "
        f"both; the published interval starts at {published['low']:.0%}",
        few=above["few"],
    )


def by_two_judges(
    trials: Trials | pd.DataFrame, alpha: float, opinion: Callable[[str], Opinion]
) -> Row:
    """Judge a claim by the opinions of all judges; a verdict needs at least two.

    Parameters
    ----------
    trials : Trials or DataFrame
    alpha : float
    opinion : callable
        Takes a judge's name.

    Returns
    -------
    dict
        Quantity, estimate and interval of the first judge who alone would give the verdict, in the
        order of the study, or of the first judge if it is undecided; p that at least two judges
        show what the verdict says (`partial_conjunction`); verdict; and the reason, with the other
        judges' shares, their agreement with this one, and who would say the opposite.

    Notes
    -----
    If two judges support the claim and two contradict it, the verdict is "undecided".
    """
    trials = as_trials(trials)
    opinions: dict[str, Opinion] = {}
    for judge in trials.judges:
        with suppress(InputError):  # it knows none of the emotions
            opinions[judge] = opinion(judge)
    if not opinions:
        return untestable("no judge knows any of the steered emotions")
    first, several = next(iter(opinions.values())), len(opinions) > 1
    words = {judge: each.word(alpha) for judge, each in opinions.items()}
    p_for, p_against = (
        partial_conjunction(
            [1.0 if each.few and several else getattr(each, side) for each in opinions.values()],
            at_least=2 if several else 1,
        )
        for side in ("p_for", "p_against")
    )
    p, verdict = min((p_for, "supported"), (p_against, "contradicted"))
    if first.few:
        p, verdict = min(first.p_for, first.p_against), "undecided"
    elif max(p_for, p_against) < alpha:
        p, verdict = max(p_for, p_against), "undecided"
    elif p >= alpha or not several:
        verdict = "undecided"
    name = next(iter(opinions))
    if verdict != "undecided":
        name = next(judge for judge, word in words.items() if word == verdict)
    shown = opinions[name]
    reason = shown.said if shown is first else f"by judge {name}, {shown.said}"
    kappas = judge_agreement(trials, alpha=alpha).set_index(["a", "b"])["kappa"]
    for judge, other in opinions.items():
        if judge != name:
            kappa = kappas.get((name, judge), kappas.get((judge, name)))
            agrees = "" if pd.isna(kappa) else f" (κ = {kappa:.2f})"
            reason += f"; judge {judge}{agrees}: {other.row['estimate']:.0%}"
    if first.few:
        return first.row | {"p": p, "verdict": verdict, "reason": f"{reason}; {first.few}"}
    for word in ("supported", "contradicted"):
        alone = [judge for judge, said in words.items() if said == word != verdict]
        if alone:
            reason += f"; {word} by judge {listing(alone)}"
            if len(alone) == 1:
                reason += " alone"
            elif p >= alpha:
                reason += ", each without correction for the choice of two judges"
    return shown.row | {"p": p, "verdict": verdict, "reason": reason}


def regimes(trials: Trials | pd.DataFrame, alpha: float, scope: Scope = LIKE_THESE) -> Row:
    """Judge whether all three regimes occur more often than by chance.

    The verdict needs two judges, see `by_two_judges`.
    """
    return by_two_judges(trials, alpha, lambda judge: regimes_opinion(trials, judge, scope))


def regimes_opinion(
    trials: Trials | pd.DataFrame, judge: str, scope: Scope = LIKE_THESE
) -> Opinion:
    """Return what one judge says about the regimes."""
    table = outcomes(trials, judge)
    table = table[table["place"] == "peak"]
    # By chance alone, a text exceeds both its baseline and its sham in a third of the trials.
    floors = {"surgical": 1 / 3, "repetitive collapse": 0.05, "explosive": 0.05}
    shown, missing, most = [], [], {}
    for regime, floor in floors.items():
        shares = [share_of(t["regime"] == regime, t, scope) for _, t in table.groupby("strength")]
        # A strength with a single scenario has no p and shows nothing.
        above = np.nan_to_num([each.p_above(floor) for each in shares], nan=1.0)
        below = np.nan_to_num([each.p_below(floor) for each in shares], nan=1.0)
        shown.append(min(1.0, len(shares) * float(above.min())))
        missing.append(min(1.0, len(floors) * float(below.max())))
        most[regime] = max(s.estimate for s in shares)
    said = ", ".join(f"{regime} {most[regime]:.0%}" for regime in floors)
    row: Row = {
        "quantity": "rarest regime",
        "n": table["model"].nunique(),
        "estimate": min(most.values()),
    }
    few = share_of(table["success"], table, scope).few
    said = f"each at the strength where it is most common: {said}"
    return Opinion(row, max(shown), min(missing), said, few)


def regime_cause(trials: Trials | pd.DataFrame, alpha: float, seed: int) -> Row:
    """Judge whether regimes follow family rather than scale."""
    found = regime_test(trials, alpha=alpha, seed=seed).set_index("by")
    family, scale = found.loc["family"], found.loc["scale"]
    if pd.isna(family["p"]) or family["p_min"] >= alpha:
        return untestable(str(family["reason"]))
    verdict, p = "undecided", family["p"]
    if scale["p"] < alpha:
        verdict, p = "contradicted", scale["p"]
    elif family["p"] < alpha and scale["estimate"] < family["estimate"] / 10:
        verdict = "supported"
    return {
        "quantity": "share explained by family",
        "estimate": family["estimate"],
        "p": p,
        "n": family["n"],
        "verdict": verdict,
        "reason": f"beyond scale, family explains {family['estimate']:.0%} of the variance between "
        f"models; beyond family, scale explains {scale['estimate']:.0%}",
    }
