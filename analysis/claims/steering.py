"""The published claims about steering, each with its rule."""

from __future__ import annotations

import pandas as pd

from analysis.claims.depth import Row, untestable
from analysis.trials.regimes import regime_test
from analysis.trials.shares import mean_share, share, share_of, share_row
from analysis.trials.success import PUBLISHED, at_chosen_strength, over_scenarios_and_families
from analysis.trials.table import Trials, outcomes
from study.read import InputError


def needed(trials: Trials | pd.DataFrame | None) -> Trials | pd.DataFrame:
    """Return the trials, or raise if the study has none."""
    if trials is None:
        raise InputError("the study has no steering trials")
    return trials


def steering(trials: Trials | pd.DataFrame, alpha: float, seed: int) -> Row:
    """Judge the share of successes against the published share, and against the shams."""
    table = at_chosen_strength(outcomes(trials))
    hits = table["over_baseline"].astype(float)
    found, published = share_row(hits, table, alpha), share(*PUBLISHED, alpha)
    above, beyond = (
        over_scenarios_and_families(d, table, alpha, seed)
        for d in (hits - published["low"], hits - table["sham_over_baseline"])
    )
    against = [t for t in (above, beyond) if t["difference"] < 0]
    p = min(t["p"] for t in against) if against else max(above["p"], beyond["p"])
    word = "contradicted" if against else "supported"
    sham, both, whole = (
        mean_share(hit, table)
        for hit in (table["sham_over_baseline"], table["success"], table["regime"] == "surgical")
    )
    return {
        "quantity": "share above the baseline",
        "n": table["model"].nunique(),
        **{key: found[key] for key in ("estimate", "low", "high")},
        "p": p,
        "verdict": word if p < alpha and not above["few"] else "undecided",
        "reason": f"{found['estimate']:.0%} of texts and {sham:.0%} of shams exceed the baseline; "
        f"{both:.0%} of texts exceed both, {whole:.0%} intact; the published interval starts at "
        f"{published['low']:.0%}" + (f"; {above['few']}" if above["few"] else ""),
    }


def regimes(trials: Trials | pd.DataFrame, alpha: float) -> Row:
    """Judge whether all three regimes occur more often than by chance; the family is the unit."""
    table = outcomes(trials)
    table = table[table["place"] == "peak"]
    # By chance alone, a text exceeds both its baseline and its sham in a third of the trials.
    floors = {"surgical": 1 / 3, "repetitive collapse": 0.05, "explosive": 0.05}
    shown, missing, most = [], [], {}
    for regime, floor in floors.items():
        shares = [share_of(t["regime"] == regime, t) for _, t in table.groupby("strength")]
        shown.append(min(1.0, len(shares) * min(s.p_above(floor) for s in shares)))
        missing.append(min(1.0, len(floors) * max(s.p_below(floor) for s in shares)))
        most[regime] = max(s.estimate for s in shares)
    said = ", ".join(f"{regime} {most[regime]:.0%}" for regime in floors)
    row: Row = {
        "quantity": "rarest regime",
        "n": table["model"].nunique(),
        "estimate": min(most.values()),
    }
    reason = f"each at the strength where it is most common: {said}"
    if few := share_of(table["success"], table).few:
        return row | {"verdict": "undecided", "reason": f"{reason}; {few}"}
    if max(shown) < alpha:
        return row | {"p": max(shown), "verdict": "supported", "reason": reason}
    word = "contradicted" if min(missing) < alpha else "undecided"
    p = min(missing) if word == "contradicted" else max(shown)
    return row | {"p": p, "verdict": word, "reason": reason}


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
