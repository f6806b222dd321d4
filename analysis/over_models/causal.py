"""Test whether a layer is used where it can be read: what ablation loses, beside separation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analysis.families import Estimate, mean_over_families, too_few
from analysis.loading.scores import Profile, Scores, as_scores
from analysis.over_models.precision import one_precision
from analysis.over_models.sums import main_rows
from analysis.profiles.curves import PEAKS, Peak, curve_row
from analysis.profiles.fixed_peaks import LEAST, estimate_of, peak_deviations
from analysis.profiles.joint import from_draws, joint
from analysis.profiles.shape import shape_row
from analysis.profiles.uncertainty import assess, check_alpha, standard_error
from analysis.scopes import LIKE_THESE, THESE, every_p
from study.arrays import Float64Array
from study.read import InputError
from study.tables import LOST

ABLATION = "ablation"
COLUMNS = [
    "measure",
    "compared",
    "scope",
    "model",
    "verdict",
    "reason",
    "estimate",
    "low",
    "high",
    "p",
    "p_apart",
    "lost",
    "lost_low",
    "lost_high",
    "p_lost",
    "shape",
    "depth",
    "depth_low",
    "depth_high",
    "separation_depth",
    "separation_low",
    "separation_high",
    "n_models",
    "n_families",
]
NOTHING = "nothing is shown to be lost, so there is no depth at which it is lost most"


def causal_profile(
    scores: Scores | pd.DataFrame,
    *,
    metric: str = "auc",
    method: str = "comprehension",
    peak: Peak = "extremum",
    delta: float = 0.1,
    alpha: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Compare the depth where ablation loses most with the depth where separation peaks.

    Parameters
    ----------
    scores : Scores or DataFrame
        With the methods "ablation" and `method`. Untrained models and shuffled labels are ignored.
    metric, method : str
        Of the separation.
    peak : {"vertex", "extremum", "center"}
        The estimator of where a curve is highest.
    delta : float
        Equivalence margin, in units of depth.
    alpha : float
    seed : int
        For the errors of profiles without replicates.

    Returns
    -------
    DataFrame
        For each measure of loss, one row per model (compared with "separation", scope "these
        models"), one over the models (scope "models like these"), and one that compares the models
        with each other (compared with "models").

        - estimate, low, high: the difference between the two depths (causal minus separation), or
          the difference between two models' causal depths: the largest, or if one is shown, that
          with the smallest p; p: of equivalence within delta; p_apart: of a difference.
        - verdict: "same depth" (equivalence is shown), "another depth" (a difference is shown) or
          "undecided"; reason.
        - lost, lost_low, lost_high: the loss averaged over layers, beyond the control's; p_lost:
          that it is above 0, one-sided. Without it, there is no verdict on a depth.
        - confidence: the level of the intervals.
        - shape: the verdict of `u_shape_test` on the profile of losses; depth, separation_depth,
          each with _low and _high: where the two curves are highest.

    Raises
    ------
    InputError
        If the table has no ablation.

    Notes
    -----
    The replicates of both profiles draw the same topics, so the error of a difference is that of
    paired draws. The depths are those of the highest points, which every curve has; the shape says
    whether there is a hump. Losses at three layers apart locate a peak more coarsely than
    separation at every layer.

    Over models like these, differences are averaged within families, with Student's t over
    families; fewer than three leave that scope undecided. Sameness between fixed models is an
    intersection-union test over pairs. A difference has Holm's correction; pairs that are shown to
    be within delta count as 1, unless all are.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(families=(1, 1), n_topics=12, noise_sd=0.002, seed=1)
    >>> read = study.table.assign(method="comprehension")
    >>> lost = read.assign(method="ablation", metric="separation_lost")
    >>> both = pd.concat([read, lost]).drop(columns="study")
    >>> found = causal_profile(both, metric="score")
    >>> found.loc[found["compared"] == "separation", "model"].tolist()
    ['m1', 'm2', 'all (2)']
    """
    check_alpha(alpha)
    if peak not in PEAKS:
        raise InputError(f"no estimator {peak!r}; there are {', '.join(map(repr, PEAKS))}")
    scores = main_rows(one_precision(as_scores(scores, True)))
    if ABLATION not in set(scores.table["method"]):
        raise InputError(f"study {scores.name!r} has no ablation; add it to the study's methods")
    read = {_model(p): p for p in scores.select(metric=metric, method=method).profiles()}
    lost = scores.select(method=ABLATION)
    rows: list[dict[str, Any]] = []
    for measure in [name for name in LOST if (lost.table["metric"] == name).any()]:
        profiles = list(lost.select(metric=measure).profiles())
        if lone := [name for name in map(_model, profiles) if name not in read]:
            raise InputError(f"model {lone[0]!r} has ablation, but no {metric} of {method}")
        pairs = [(p, read[_model(p)]) for p in profiles]
        rows += [{"measure": measure, **row} for row in _rows(pairs, peak, delta, alpha, seed)]
    return pd.DataFrame(rows).reindex(columns=COLUMNS).assign(confidence=1 - alpha)


def without_ablation(scores: Scores) -> Scores:
    """Return the scores without what ablation loses, which is no separation."""
    methods = scores.table["method"].unique().tolist()
    kept = [name for name in methods if name != ABLATION]
    return scores.select(method=kept) if len(kept) < len(methods) else scores


def _model(profile: Profile) -> str:
    return str(profile.keys["model"])


@dataclass(frozen=True)
class _Place:
    """Where a profile is highest, with draws of its error, and what the profile shows."""

    profile: Profile
    at: Estimate
    draws: Float64Array
    shape: str


def _rows(
    pairs: Sequence[tuple[Profile, Profile]], peak: Peak, delta: float, alpha: float, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one measure."""
    n = len(pairs)
    whole: dict[str, Any] = {"model": f"all ({n})", "n_models": n, "verdict": "undecided"}
    together = joint([p for pair in pairs for p in pair], seed)
    if isinstance(together, str):
        for profile, _ in pairs:
            alone = {"compared": "separation", "scope": THESE, "model": _model(profile)}
            yield alone | {"n_models": 1, "verdict": "undecided", "reason": together}
        return
    blocks = together.blocks(together.errors.draws)
    places = []
    for profile, draws in zip(together.profiles, blocks, strict=True):
        errors = assess(profile, seed)
        at = estimate_of(curve_row(profile, errors, alpha), peak, together.errors.df, alpha)
        shape = str(shape_row(profile, errors, alpha)["verdict"])
        places.append(_Place(profile, at, peak_deviations(profile, draws, peak), shape))
    causal, separation = places[::2], places[1::2]
    losses = [_loss(place.profile, seed) for place in causal]
    for place, other, loss in zip(causal, separation, losses, strict=True):
        row: dict[str, Any] = {"compared": "separation", "scope": THESE}
        row |= {"model": _model(place.profile)}
        low, high = loss.ends(alpha)
        row |= {"lost": loss.estimate, "lost_low": low, "lost_high": high}
        row |= {"p_lost": loss.p_above(), "shape": place.shape, "n_models": 1, "n_families": 1}
        row |= _ends("depth", place, alpha) | _ends("separation", other, alpha)
        row["separation_depth"] = row.pop("separation")
        gap = from_draws(
            place.at.estimate - other.at.estimate,
            place.draws - other.draws,
            together.errors.df,
            alpha,
            LEAST,
        )
        yield row | _judged(gap, loss.p_above(), delta, alpha, "separation peaks")
    shown = every_p(loss.p_above() for loss in losses)
    families = [str(place.profile.keys["family"]) for place in causal]
    gaps = np.array(
        [a.at.estimate - b.at.estimate for a, b in zip(causal, separation, strict=True)]
    )
    over = mean_over_families(gaps, families)
    row = {"compared": "separation", "scope": LIKE_THESE, "n_families": over.n_families}
    if few := too_few(over.n_families):
        yield whole | row | {"estimate": over.estimate, "reason": few}
    else:
        yield whole | row | _judged(over, shown, delta, alpha, "separation peaks")
    row = {"compared": "models", "scope": THESE, "n_families": len(set(families))}
    if n < 2:
        yield whole | row | {"reason": "one model only: nothing to compare it with"}
        return
    apart = [
        from_draws(
            a.at.estimate - b.at.estimate, a.draws - b.draws, together.errors.df, alpha, LEAST
        )
        for a, b in combinations(causal, 2)
    ]
    within = [gap.p_within(-delta, delta) for gap in apart]
    # A difference within the margin in one pair must not count against those in doubt.
    open_ = [gap for gap, p in zip(apart, within, strict=True) if not p < alpha] or apart
    p_apart = min(1.0, len(apart) * min(gap.p() for gap in open_))
    if p_apart < alpha:
        told = min(open_, key=lambda gap: gap.p())
    else:
        told = max(apart, key=lambda gap: abs(gap.estimate))
    judged = _judged(told, shown, delta, alpha, "another model's")
    judged |= {"p": every_p([shown, *within]), "p_apart": p_apart}
    yield whole | row | judged | _verdict(judged, told, shown, delta, alpha, "another model's")


def _ends(name: str, place: _Place, alpha: float) -> dict[str, float]:
    """Return the columns of a depth; its interval ends with the profile."""
    depth = place.profile.depth
    low, high = np.clip(place.at.ends(alpha), depth[0], depth[-1])
    return {name: place.at.estimate, f"{name}_low": float(low), f"{name}_high": float(high)}


def _loss(profile: Profile, seed: int) -> Estimate:
    """Return the loss averaged over layers."""
    errors = assess(profile, seed)
    assert not isinstance(errors, str)  # `joint` has looked
    weights = np.full((1, len(profile.depth)), 1 / len(profile.depth))
    error = float(standard_error(weights, errors.cov)[0])
    return Estimate(float(profile.separation.mean()), error, errors.df, 1, 1)


def _judged(gap: Estimate, p_lost: float, delta: float, alpha: float, where: str) -> dict[str, Any]:
    """Return the columns of a difference between two depths."""
    low, high = gap.ends(alpha)
    row: dict[str, Any] = {"estimate": gap.estimate, "low": low, "high": high}
    row |= {"p": max(gap.p_within(-delta, delta), p_lost), "p_apart": gap.p()}
    return row | _verdict(row, gap, p_lost, delta, alpha, where)


def _verdict(
    row: dict[str, Any], gap: Estimate, p_lost: float, delta: float, alpha: float, where: str
) -> dict[str, str]:
    """Return verdict and reason; sameness within the margin outweighs a difference within it."""
    if not p_lost < alpha:
        return {"verdict": "undecided", "reason": NOTHING}
    if row["p"] < alpha:
        reason = f"most is lost within {delta:g} of the depth at which {where}"
        return {"verdict": "same depth", "reason": reason}
    side = "deeper" if gap.estimate > 0 else "earlier"
    if row["p_apart"] < alpha:
        reason = f"most is lost {abs(gap.estimate):.2f} {side} than {where}"
        return {"verdict": "another depth", "reason": reason}
    reason = f"the depths are neither shown to be within {delta:g} of each other nor to differ"
    return {"verdict": "undecided", "reason": reason}
