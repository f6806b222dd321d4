"""Whether these models have the same curve: each pair of them, with the topics as the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from analysis.families import t_above, t_critical
from analysis.loading.scores import Profile
from analysis.over_models.whole_curve import POINTS
from analysis.profiles.joint import Joint, joint
from analysis.profiles.search import path_length, searched_p
from analysis.profiles.splines import smoother
from analysis.profiles.uncertainty import standard_error
from analysis.profiles.verdicts import critical
from analysis.scopes import THESE, every_p, some_p
from analysis.wording import listing
from study.arrays import Float64Array

#: Of two profiles' points.
Weights = tuple[Float64Array, Float64Array]
#: Two curves with a smaller cosine have no common curve to be scaled to: compared as they are.
LEAST_COSINE = 0.5
BLANK = (
    *("estimate", "low", "high", "p", "p_shape", "p_curve", "curve_departure", "curve_upper"),
    *("curve_depth", "amplitude", "amplitude_low", "amplitude_high", "p_amplitude"),
    *("p_amplitude_differs", "level", "p_level", "df"),
)


def fixed_curves(
    profiles: Sequence[Profile],
    groups: Sequence[str],
    curve_delta: float,
    amplitude_delta: float,
    alpha: float,
    seed: int,
) -> list[dict[str, Any]]:
    r"""Return the rows of `invariance_test` about these models: all of them, then each pair.

    Parameters
    ----------
    profiles : sequence of Profile
        One per model.
    groups : sequence of str
        Of each model, for instance its family: models of one group are not compared.
    curve_delta, amplitude_delta, alpha, seed
        As in `invariance_test`, for the difference of two models.

    Notes
    -----
    With :math:`x_a, x_b` the smoothed curves of two models about their means over depth and
    :math:`X` their mean, the amplitudes are :math:`a = x_a'X / X'X` (and b), and the shapes
    :math:`x_a / a`. The difference of the shapes, in units of the range of X, is linearized; its
    error is the replicates', with Student's t over topics. The largest t along the depths has
    Naiman's simultaneous p (`search.searched_p`), twice for both directions. Sameness needs the
    difference within the margin at every depth (intersection-union), and so does the amplitude.
    """
    names = [str(profile.keys["model"]) for profile in profiles]
    whole: dict[str, Any] = {"scope": THESE, "model": f"all ({len(names)})", "other": "all"}
    whole |= dict.fromkeys(BLANK, np.nan) | {"n_models": len(names), "verdict": "undecided"}
    pairs = [(a, b) for a, b in combinations(range(len(names)), 2) if groups[a] != groups[b]]
    if not pairs:
        return [whole | {"reason": f"one group only ({groups[0]}): nothing to compare it with"}]
    together = joint(profiles, seed)
    if isinstance(together, str):
        return [whole | {"reason": together}]
    start = max(p.depth[0] for p in profiles)
    at = start + POINTS * (min(p.depth[-1] for p in profiles) - start)
    each: list[dict[str, Any]] = []
    for a, b in pairs:
        row = _pair(together, a, b, at, curve_delta, amplitude_delta, alpha)
        each.append({"scope": THESE, "model": names[a], "other": names[b], "n_models": 2, **row})
    # A difference within the margins in one pair must not count against those in doubt.
    same = [row for row in each if row["verdict"] == "invariant"]
    same = same if len(same) < len(each) else []
    worst = max(each, key=lambda row: float(row["curve_upper"]))
    whole |= {
        "curve_upper": worst["curve_upper"],
        "p": some_p(1.0 if row in same else row["p"] for row in each),
        "p_curve": every_p(row["p_curve"] for row in each),
        "p_amplitude": every_p(row["p_amplitude"] for row in each),
    }
    verdict, reason = _verdict(whole, curve_delta, amplitude_delta, alpha)
    n = len(each)
    if verdict == "not invariant":
        first = min((row for row in each if row not in same), key=lambda row: float(row["p"]))
        worst = first  # the pair that the numbers are of
        shown = sum(row["verdict"] == verdict for row in each)
        reason = f"{first['model']} and {first['other']}: {first['reason']}"
        if n > 1:
            reason += f"; {shown} of {n} pairs of models differ before Holm's correction"
    elif n > 1:
        reason = f"{n} pairs of models: {reason}"
    copied = ("estimate", "low", "high", "curve_departure", "curve_depth", "df")
    whole |= {name: worst[name] for name in copied}
    whole["curve_of"] = f"{worst['model']} and {worst['other']}"
    return [{**whole, "verdict": verdict, "reason": reason}, *each]


@dataclass(frozen=True)
class Pair:
    """Two of several profiles, smoothed at the same depths.

    Attributes
    ----------
    together : Joint
    which : (int, int)
        The two profiles.
    levels, shapes : tuple of ndarray, shape (1, n_points) and (n_at, n_points)
        Weights of each profile's mean over depth, and of its curve about that mean.
    """

    together: Joint
    which: tuple[int, int]
    levels: Weights
    shapes: Weights

    def values(self, weights: Weights) -> list[Float64Array]:
        """Return what each profile's weights give."""
        profiles = (self.together.profiles[i] for i in self.which)
        return [w @ profile.separation for w, profile in zip(weights, profiles, strict=True)]

    def spread(self, weights: Weights) -> Float64Array:
        """Write the pair's weights into those of all points."""
        points = [len(p.depth) for p in self.together.profiles]
        ends = np.cumsum(points)
        full = np.zeros((len(weights[0]), int(ends[-1])))
        for i, w in zip(self.which, weights, strict=True):
            full[:, ends[i] - points[i] : ends[i]] = w
        return full

    def errors(self, weights: Weights) -> Float64Array:
        """Return the standard errors of sums over both profiles."""
        return np.maximum(standard_error(self.spread(weights), self.together.errors.cov), 1e-300)


def _pair(
    together: Joint,
    a: int,
    b: int,
    at: Float64Array,
    curve_delta: float,
    amplitude_delta: float,
    alpha: float,
) -> dict[str, Any]:
    """Compare two models' curves."""
    first, second = (smoother(together.profiles[i].depth, at) for i in (a, b))
    levels = first.mean(axis=0, keepdims=True), second.mean(axis=0, keepdims=True)
    pair = Pair(together, (a, b), levels, (first - levels[0], second - levels[1]))
    df = together.errors.df
    above, below = pair.values(levels)
    apart, error = float((above - below)[0]), pair.errors((levels[0], -levels[1]))[0]
    row: dict[str, Any] = dict.fromkeys(BLANK, np.nan)
    row |= {"df": df, "level": apart, "p_level": float(2 * t_above(abs(apart) / error, df))}
    x, z = pair.values(pair.shapes)
    alike = float(x @ z) > LEAST_COSINE * float(np.linalg.norm(x) * np.linalg.norm(z))
    if alike:
        departure, onto, amplitudes = _normalized(pair, x, z)
        row |= _amplitudes(pair, float(amplitudes[0]), amplitudes[1], amplitude_delta, alpha)
    else:
        rise = max(float(np.ptp(x)), float(np.ptp(z)))
        departure, onto = (x - z) / rise, (pair.shapes[0] / rise, -pair.shapes[1] / rise)
        row["p_amplitude"] = 1.0
    errors = np.maximum(pair.errors(onto), 1e-12)  # in units of the rise
    path = path_length(pair.spread(onto), together.errors.cov)
    t = np.abs(departure / errors)
    row["p_shape"] = min(1.0, 2 * float(searched_p(t.max(), df, path)))
    same = float(t_above((curve_delta - np.abs(departure)) / errors, df).max())
    row |= {
        "curve_upper": float((np.abs(departure) + t_critical(1 - alpha, df) * errors).max()),
        "p_curve": same if alike else 1.0,
    }
    parts = {"shape": row["p_shape"]}
    parts |= {"amplitude": row["p_amplitude_differs"]} if alike else {}
    row["p"] = some_p(parts.values())
    differs = [name for name, p in parts.items() if len(parts) * p < alpha]
    row["differs"] = ", ".join(differs)
    verdict, reason = _verdict(row, curve_delta, amplitude_delta, alpha)
    shown = verdict == "not invariant" and "shape" in differs
    where = int((t if shown else np.abs(departure)).argmax())
    reach = critical(df, path, alpha / 2) * errors[where]
    row |= {
        "curve_departure": departure[where],
        "curve_depth": at[where],
        "estimate": departure[where],
        "low": departure[where] - reach,
        "high": departure[where] + reach,
    }
    if verdict == "not invariant":
        most = f"the shapes by {abs(row['estimate']):.0%} of the rise at a depth of {at[where]:.2f}"
        reason = f"the curves differ in {listing(differs)} (p = {row['p']:.3g}), {most}"
    return {**row, "verdict": verdict, "reason": reason}


def _normalized(
    pair: Pair, x: Float64Array, z: Float64Array
) -> tuple[Float64Array, Weights, tuple[float, Weights]]:
    """Return the difference of two shapes in units of the rise, and of two amplitudes.

    Each comes with the weights of its first-order change with either profile's points.
    """
    mean = (x + z) / 2
    size, rise = float(mean @ mean), float(np.ptp(mean))
    a, b = float(x @ mean / size), float(z @ mean / size)
    # How each amplitude changes with x and with z, of which the mean curve changes by half.
    of_a = ((mean + x / 2 - a * mean) / size, (x / 2 - a * mean) / size)
    of_b = ((z / 2 - b * mean) / size, (mean + z / 2 - b * mean) / size)
    changes = [np.outer(x / a**2, of_a[k]) - np.outer(z / b**2, of_b[k]) for k in (0, 1)]
    eye = np.eye(len(mean))
    onto = (
        (eye / a - changes[0]) @ pair.shapes[0] / rise,
        (-eye / b - changes[1]) @ pair.shapes[1] / rise,
    )
    moved = tuple(((of_a[k] - of_b[k]) @ pair.shapes[k])[None] for k in (0, 1))
    return (x / a - z / b) / rise, onto, (a - b, (moved[0], moved[1]))


def _amplitudes(
    pair: Pair, apart: float, weights: Weights, amplitude_delta: float, alpha: float
) -> dict[str, float]:
    """Test two amplitudes, in units of their mean."""
    df, error = pair.together.errors.df, max(float(pair.errors(weights)[0]), 1e-12)
    reach = t_critical(1 - alpha, df) * error
    return {
        "amplitude": apart,
        "amplitude_low": apart - reach,
        "amplitude_high": apart + reach,
        "p_amplitude": float(t_above((amplitude_delta - abs(apart)) / error, df)),
        "p_amplitude_differs": float(2 * t_above(abs(apart) / error, df)),
    }


def _verdict(
    row: dict[str, Any], curve_delta: float, amplitude_delta: float, alpha: float
) -> tuple[str, str]:
    """Return verdict and reason; sameness within the margins outweighs a difference within them."""
    same = max(row["p_curve"], row["p_amplitude"])
    if same < alpha:
        note = ", though a difference is shown" if row["p"] < alpha else ""
        return "invariant", (
            f"the curves are within {curve_delta:.0%} of the rise (at most "
            f"{row['curve_upper']:.0%}), their amplitudes within {amplitude_delta:.0%}{note}"
        )
    if row["p"] < alpha:
        return "not invariant", ""
    return "undecided", (
        f"neither difference (p = {row['p']:.3g}) nor sameness is shown: the shapes may be "
        f"{row['curve_upper']:.0%} of the rise apart, against a margin of {curve_delta:.0%}"
    )
