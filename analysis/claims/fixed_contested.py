"""What these models say about embeddings and tuning: topics are the sample."""

from __future__ import annotations

import numpy as np

from analysis.claims.depth import Row, untestable
from analysis.families import Estimate, t_above
from analysis.loading.scores import Profile, Scores
from analysis.profiles.fixed_peaks import LEAST, peak_deviations
from analysis.profiles.joint import Joint, from_draws, joint
from analysis.profiles.search import path_length, searched_p
from analysis.profiles.splines import maximum
from analysis.profiles.uncertainty import Errors, standard_error
from analysis.scopes import every_p, some_p
from analysis.wording import count
from study.arrays import Float64Array


def _together(main: Scores, method: str, seed: int) -> Joint | str:
    return joint(list(main.select(method=method).profiles()), seed)


def embeddings(main: Scores, method: str, metric: str, alpha: float, seed: int) -> Row:
    r"""Judge whether layer 0 reaches more than half of each model's best layer.

    Notes
    -----
    With separation :math:`y_l` above chance, the claim holds for a model if :math:`2 y_0 > y_l` at
    every layer l (intersection-union), and fails if :math:`y_l > 2 y_0` at some layer (the largest
    t along the layers, `search.searched_p`).
    """
    chance = main.run.get("metrics", {}).get(metric, {}).get("chance")
    if chance is None:
        return untestable(f"{metric} has no chance level, so there is no zero of separation")
    together = _together(main, method, seed)
    if isinstance(together, str):
        return untestable(together)
    cov, df = together.errors.cov, together.errors.df
    blocks = together.blocks(np.arange(len(cov), dtype=np.float64))
    draws = together.blocks(together.errors.draws)
    above, below, shares, moved = [], [], [], []
    for profile, block, drawn in zip(together.profiles, blocks, draws, strict=True):
        own = cov[np.ix_(block.astype(int), block.astype(int))]
        y = profile.separation - profile.sign * chance
        first, other = _halves(y, Errors("", own, df, drawn))
        above.append(first)
        below.append(other)
        best = y.max()
        if best <= 0:
            return untestable(f"{profile.keys['model']} does not separate above chance")
        shares.append(float(y[0] / best))
        again = (y[0] + drawn[:, 0]) / (y + drawn)[:, int(y.argmax())]
        moved.append(again - again.mean())
    found = from_draws(float(np.mean(shares)), np.mean(moved, axis=0), df, alpha)
    low, high = found.ends(alpha)
    row: Row = {"quantity": "share of the best layer", "estimate": found.estimate}
    row |= {"low": low, "high": high, "n": len(shares)}
    said = f"layer 0 has {min(shares):.0%} to {max(shares):.0%} of a model's best layer"
    p_for, p_against = every_p(above), some_p(below)
    if p_for < alpha:
        return row | {"p": p_for, "verdict": "supported", "reason": f"{said}, above half in each"}
    if p_against < alpha:
        where = together.profiles[int(np.argmin(below))].keys["model"]
        reason = f"{said}, below half in {where}"
        return row | {"p": p_against, "verdict": "contradicted", "reason": reason}
    return row | {"p": p_for, "verdict": "undecided", "reason": said}


def _halves(y: Float64Array, errors: Errors) -> tuple[float, float]:
    """Return the p that layer 0 has more than half of every layer, and less than half of some."""
    others = np.eye(len(y))[1:]
    weights = others - 2 * np.eye(len(y))[0]
    t = (weights @ y) / np.maximum(standard_error(weights, errors.cov), 1e-300)
    path = path_length(weights, errors.cov)
    return float(t_above(-t, errors.df).max()), float(searched_p(t.max(), errors.df, path))


def tuning(main: Scores, method: str, alpha: float, delta: float, seed: int) -> Row:
    """Judge whether tuned models peak elsewhere than base models of their family, among these."""
    profiles = list(main.select(method=method).profiles())
    of: dict[str, dict[bool, list[int]]] = {}
    for i, profile in enumerate(profiles):
        kinds = of.setdefault(str(profile.keys["family"]), {})
        kinds.setdefault(bool(profile.keys["instruct"]), []).append(i)
    both = [kinds for kinds in of.values() if len(kinds) > 1]
    if not both:
        return untestable("no family has both a base and an instruction-tuned model")
    weight = np.zeros(len(profiles))
    for kinds in both:
        for tuned, members in kinds.items():
            weight[members] += (1 if tuned else -1) / len(members) / len(both)
    kept = np.flatnonzero(weight)
    some = [profiles[i] for i in kept]
    together = joint(some, seed)
    if isinstance(together, str):
        return untestable(together)
    change = _moved(some, together, weight[kept], alpha)
    low, high = change.ends(alpha)
    row: Row = {"quantity": "change of the best layer", "estimate": change.estimate}
    row |= {"low": low, "high": high, "n": len(some), "p": change.p(), "verdict": "undecided"}
    row["reason"] = (
        f"the best layer of tuned models is {abs(change.estimate):.2f} of the depth "
        f"{'later' if change.estimate > 0 else 'earlier'} than that of base models of the same "
        f"family ({count(len(both), 'family', 'families')} with both kinds)"
    )
    p_same = change.p_within(-delta, delta)
    if p_same < alpha:
        return row | {"p": p_same, "verdict": "contradicted"}
    return row | ({"verdict": "supported"} if row["p"] < alpha else {})


def _moved(
    profiles: list[Profile], together: Joint, weight: Float64Array, alpha: float
) -> Estimate:
    """Return a contrast of the profiles' highest points."""
    blocks = together.blocks(together.errors.draws)
    drawn = list(zip(profiles, blocks, strict=True))
    places = np.array([maximum(p.depth, p.separation, draws).depth for p, draws in drawn])
    moves = np.array([peak_deviations(p, draws, "extremum") for p, draws in drawn])
    df = together.errors.df
    return from_draws(float(weight @ places), weight @ moves, df, alpha, LEAST)
