"""Where each of these models peaks: the models fixed, the topics the sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.families import Estimate, t_critical
from analysis.loading.scores import Profile
from analysis.profiles.curves import PEAKS, Peak
from analysis.profiles.fixed_shapes import p_hump
from analysis.profiles.joint import from_draws, joint
from analysis.profiles.splines import maximum, tops
from analysis.profiles.uncertainty import Errors, quadratic_weights
from analysis.scopes import THESE, every_p, some_p
from analysis.wording import listing, numbered
from study.arrays import Float64Array

#: Shapes without a peak inside.
NO_PEAK = ("monotone", "trough")
#: A peak's error is at least half of the step of the grid on which maxima are searched.
LEAST = 0.0025
BLANK = ("estimate", "low", "high", "p", "p_elsewhere", "df")


class Case(NamedTuple):
    """One profile with its errors (or why there are none), its curves and its shape."""

    profile: Profile
    errors: Errors | str
    fit: Mapping[str, Any]
    shape: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """The shape that `u_shape_test` shows."""
        return str(self.shape["verdict"])

    def p_hump(self, alpha: float) -> float:
        """Return the p that the profile is a hump."""
        return p_hump(self.shape, alpha)


def fixed_peaks(
    cases: Sequence[Case], target: float, delta: float, peak: Peak, alpha: float, seed: int
) -> list[dict[str, Any]]:
    """Return the rows of `localization_test` about these models: all of them, then each.

    Parameters
    ----------
    cases : sequence of Case
    target, delta, peak, alpha, seed
        As in `localization_test`.
    """
    rows = [_one(case, target, delta, peak, alpha) for case in cases]
    names = [str(case.profile.keys["model"]) for case in cases]
    where = f"{target - delta:.2f} to {target + delta:.2f}"
    out: dict[str, Any] = dict.fromkeys(BLANK, np.nan) | {"verdict": "undecided"}
    if all(np.isfinite(row["estimate"]) for row in rows):
        out |= _mean(cases, rows, peak, alpha, seed)
    out["p"] = every_p(row["p"] for row in rows)
    out["p_elsewhere"] = some_p(row["p_elsewhere"] for row in rows)
    said = _said(names, rows)
    if out["p_elsewhere"] < alpha:
        first = int(np.nanargmin([row["p_elsewhere"] for row in rows]))
        out |= {"verdict": "elsewhere", "reason": f"{names[first]}: {rows[first]['reason']}"}
    elif out["p"] < alpha:
        out |= {"verdict": "at target", "reason": f"{said}: each is within {where}"}
    else:
        at = sum(row["verdict"] == "at target" for row in rows)
        of = f"{at} of {numbered(len(rows), 'model')}"
        out["reason"] = f"a peak within {where} is shown in {of}; {said}"
    if all(np.isnan(row["p"]) for row in rows):
        out |= {"p": np.nan, "p_elsewhere": np.nan, "reason": rows[0]["reason"]}
    n_models = len(set(names))
    out |= {
        "n_models": n_models,
        "n_within": sum(abs(row["estimate"] - target) <= delta for row in rows),
        "n_humps": sum(case.shown == "hump" for case in cases),
    }
    kind = {"scope": THESE, "peak": peak}
    whole = {**kind, "model": f"all ({n_models})", "family": "all", **out}
    each = [
        {**kind, "model": name, "family": case.profile.keys["family"], **row, "n_models": 1}
        for name, case, row in zip(names, cases, rows, strict=True)
    ]
    return [whole, *each]


def _said(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Say where the models' curves are highest, or the range for more than three models."""
    places = [row["estimate"] for row in rows]
    if not np.isfinite(places).any():
        return "no curve has an interval for its highest point"
    if len(places) > 3:
        return f"the curves are highest at {np.nanmin(places):.2f} to {np.nanmax(places):.2f}"
    each = (
        f"{name} is highest at {at:.2f}" if np.isfinite(at) else f"{name} has no place ({why})"
        for name, at, why in zip(names, places, (row["reason"] for row in rows), strict=True)
    )
    return listing(each)


def _one(case: Case, target: float, delta: float, peak: Peak, alpha: float) -> dict[str, Any]:
    """Test one profile's peak."""
    row: dict[str, Any] = dict.fromkeys(BLANK, np.nan) | {"verdict": "undecided"}
    fit, errors, shown = case.fit, case.errors, case.shown
    if isinstance(errors, str):
        return row | {"reason": errors}
    found = estimate_of(fit, peak, errors.df, alpha)
    low, high = found.ends(alpha)
    first, last = float(fit["depth_start"]), float(fit["depth_end"])
    gap = max(abs(found.estimate - target) - delta, 0.0)
    row |= {
        "estimate": found.estimate,
        "low": max(low, first),
        "high": min(high, last),
        "df": found.df,
        "p": max(found.p_within(target - delta, target + delta), case.p_hump(alpha)),
        "p_elsewhere": 2 * found.p_above(found.estimate - gap) if gap > 0 else 1.0,
        "shape": shown,
    }
    placed = peak != "vertex" or fit["shape"] == "hump"  # the vertex of a quadratic that peaks
    if not placed:
        row |= {**dict.fromkeys(("estimate", "low", "high"), np.nan), "p": 1.0, "p_elsewhere": 1.0}
    where = f"{target - delta:.2f} to {target + delta:.2f}"
    if shown in NO_PEAK or (shown == "plateau" and not first < low < high < last):
        row |= {"p": 1.0, "p_elsewhere": float(case.shape["p_shape"])}
        return row | {"verdict": "elsewhere", "reason": f"no peak: {case.shape['reason']}"}
    if not placed:
        return row | {"reason": "the quadratic has no peak inside the range"}
    spread = float(np.ptp([fit[name] for name in PEAKS]))
    row["spread"] = spread
    if shown == "hump" and not spread <= delta:
        row |= {"p": 1.0, "p_elsewhere": 1.0}
        each = ", ".join(f"{name} {fit[name]:.2f}" for name in PEAKS)
        return row | {"reason": f"the place depends on the estimator: {each}"}
    if row["p_elsewhere"] < alpha:
        reason = f"it is highest at {found.estimate:.2f}, outside {where}"
        return row | {"verdict": "elsewhere", "reason": reason}
    if row["p"] < alpha:
        reason = f"the peak {found.estimate:.2f} is within {where}"
        return row | {"verdict": "at target", "reason": reason}
    if shown != "hump":
        return row | {"reason": f"a hump is not shown: {case.shape['reason']}"}
    reason = f"the peak {found.estimate:.2f} is neither shown inside {where} nor outside"
    return row | {"reason": reason}


def estimate_of(fit: Mapping[str, Any], peak: Peak, df: float, alpha: float) -> Estimate:
    """Return the place of a profile's peak; its interval reaches equally far on both sides."""
    value = float(fit[peak])
    reach = max(value - float(fit[f"{peak}_low"]), float(fit[f"{peak}_high"]) - value)
    return Estimate(value, max(reach / t_critical(1 - alpha / 2, df), LEAST), df, 1, 0)


def _mean(
    cases: Sequence[Case],
    rows: Sequence[Mapping[str, Any]],
    peak: Peak,
    alpha: float,
    seed: int,
) -> dict[str, Any]:
    """Return the mean of these models' peaks with its error over topics."""
    together = joint([case.profile for case in cases], seed)
    if isinstance(together, str):
        return {}
    blocks = together.blocks(together.errors.draws)
    moved = [
        peak_deviations(case.profile, draws, peak)
        for case, draws in zip(cases, blocks, strict=True)
    ]
    mean = float(np.mean([row["estimate"] for row in rows]))
    found = from_draws(mean, np.mean(moved, axis=0), together.errors.df, alpha, LEAST)
    low, high = np.clip(
        found.ends(alpha),
        min(case.profile.depth[0] for case in cases),
        max(case.profile.depth[-1] for case in cases),
    )
    return {"estimate": mean, "low": float(low), "high": float(high), "df": found.df}


def peak_deviations(profile: Profile, draws: Float64Array, peak: Peak) -> Float64Array:
    """Return draws of the error of a profile's peak, mean 0, from draws of its points' errors."""
    depth, y = profile.depth, profile.separation
    if peak == "extremum":
        return maximum(depth, y, draws).deviations
    if peak == "center":
        start, end = tops(depth, y + draws)
        again = (start + end) / 2
        return np.asarray(again - again.mean())
    _, b1, b2 = quadratic_weights(depth) @ (y + draws).T
    # A draw with the other curvature turns far away; the ends of the range stand for it.
    turn = np.clip(-b1 / (2 * np.where(b2 < 0, b2, -1e-12)), depth[0] - 1, depth[-1] + 1)
    return np.asarray(turn - turn.mean())
