"""Whether the peak moves with size over these models: a fixed contrast, with its topic error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.families import Estimate
from analysis.loading.scores import Profile
from analysis.profiles.curves import Peak, curve_row
from analysis.profiles.fixed_peaks import LEAST, Case, estimate_of, peak_deviations
from analysis.profiles.joint import from_draws, joint
from analysis.profiles.shape import shape_row
from analysis.profiles.uncertainty import assess
from analysis.scopes import THESE, every_p

BLANK = ("slope", "se", "df", "range", "estimate", "low", "high", "p", "p_equivalence", "p_peak")


def fixed_scale(
    profiles: Sequence[Profile], peak: Peak, delta: float, alpha: float, seed: int
) -> dict[str, Any]:
    r"""Return the row of `scale_test` about these models.

    Parameters
    ----------
    profiles : sequence of Profile
        One per model.
    peak, delta, alpha, seed
        As in `scale_test`.

    Notes
    -----
    With :math:`x` the models' log10 sizes and :math:`y` the depths of their peaks, the change over
    the range of sizes is the contrast :math:`(\max x - \min x) \sum_m (x_m - \bar x) y_m / \sum_m
    (x_m - \bar x)^2`. Its error is that of the replicates. Both p are at least those of a hump in
    every model, since a peak that is not there has no place (intersection-union).
    """
    names = [str(profile.keys["model"]) for profile in profiles]
    row: dict[str, Any] = dict.fromkeys(BLANK, np.nan)
    row |= {"scope": THESE, "n": len(names), "delta": delta, "alpha": alpha}
    row |= {"verdict": "undecided"}
    x = np.log10([float(profile.keys["n_params"]) for profile in profiles])
    if len(names) < 2:
        return row | {"reason": "one model only: no change of size"}
    if not np.isfinite(x).all():
        return row | {"reason": "n_params is missing for a model: its size is unknown"}
    row["range"] = span = float(np.ptp(x))
    if span == 0:
        return row | {"reason": "all models have the same number of parameters"}
    together = joint(profiles, seed)
    if isinstance(together, str):
        return row | {"reason": together}
    cases = []
    for profile in profiles:
        errors = assess(profile, seed)
        fit, shape = curve_row(profile, errors, alpha), shape_row(profile, errors, alpha)
        cases.append(Case(profile, errors, fit, shape))
    weight = span * (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    df = together.errors.df
    places = np.array([estimate_of(case.fit, peak, df, alpha).estimate for case in cases])
    blocks = together.blocks(together.errors.draws)
    moved = np.array(
        [
            peak_deviations(profile, draws, peak)
            for profile, draws in zip(profiles, blocks, strict=True)
        ]
    )
    change = from_draws(float(weight @ places), weight @ moved, df, alpha, LEAST)
    humps = [case.p_hump(alpha) for case in cases]
    row["low"], row["high"] = change.ends(alpha)
    row |= {
        "estimate": change.estimate,
        "slope": change.estimate / span,
        "se": change.se / span,
        "df": df,
        "p": every_p([change.p(), *humps]),
        "p_equivalence": every_p([change.p_within(-delta, delta), *humps]),
        "p_peak": every_p(humps),
    }
    without = [name for name, p in zip(names, humps, strict=True) if not p < alpha]
    moves = f"the peak moves by {change.estimate:+.3f} from the smallest model to the largest"
    if without:
        reason = f"that {without[0]} has a peak is not shown"
        return row | {"reason": f"{reason}; the curves are highest at {_listed(names, places)}"}
    if row["p_equivalence"] < alpha:
        reason = f"{moves}, which is within {delta:g} (equivalence p = {row['p_equivalence']:.3g})"
        return row | {"verdict": "invariant", "reason": reason}
    if row["p"] < alpha:
        return row | {"verdict": "not invariant", "reason": f"{moves} (p = {row['p']:.3g})"}
    return row | {"reason": f"{moves}: {left_open(change, delta, alpha)}"}


def left_open(change: Estimate, delta: float, alpha: float) -> str:
    """Say which end of the margin an undecided change may reach.

    Examples
    --------
    >>> left_open(Estimate(-0.08, 0.05, 9.0, 1, 0), 0.1, 0.05)
    'neither 0 nor a change of -0.1 is ruled out'
    """
    p = {-delta: change.p_above(-delta), delta: change.p_below(delta)}
    ends = " or ".join(f"{end:+g}" for end in p if not p[end] < alpha)
    return f"neither 0 nor a change of {ends} is ruled out"


def _listed(names: Sequence[str], places: np.ndarray) -> str:
    if len(names) > 3:
        return f"{places.min():.2f} to {places.max():.2f}"
    return ", ".join(f"{at:.2f} in {name}" for name, at in zip(names, places, strict=True))
