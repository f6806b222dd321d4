"""Decide a curve's shape by tests of contrasts, for one profile and over models alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from scipy import optimize

from analysis.families import t_above
from analysis.profiles.lines import MIN_LINE, SLACK, Measured, line_weights, quarter_slopes
from analysis.profiles.search import searched_p
from study.arrays import Float64Array

#: Maps depths to weights, shape (n_contrasts, n_points).
Contrasts = Callable[[Float64Array], Float64Array]
#: Measures contrasts on the data.
Measure = Callable[[Contrasts], Measured]

#: Number of equal parts in which the test looks for a valley.
MAX_BINS = 9
#: Where a curve may level off, as shares of its range; it must be level for at least half.
LEVELS = (1 / 3, 1 / 2)
#: A curve is level where its slope is below this share of the slope before.
LEVEL = 1 / 3
#: A move against the shape by at least this share of it leaves the shape undecided.
DOUBT = 1 / 2


@dataclass(frozen=True)
class Turn:
    """Two arms that meet.

    Attributes
    ----------
    way : {+1, -1}
        +1 rises and then falls, -1 falls and then rises.
    place : float
        Depth at which the arms meet; it is chosen to show both and does not estimate the peak.
    p_arms : (float, float)
        One-sided p of each arm, corrected for the search.
    change, reach : ndarray, shape (2,)
        Change along each arm, positive in the direction of the turn, and half the width of its
        interval.
    """

    way: int
    place: float
    p_arms: tuple[float, float]
    change: Float64Array
    reach: Float64Array

    @property
    def p(self) -> float:
        """The p of the turn: that of the weaker arm."""
        return max(self.p_arms)

    def two_sided(self) -> Turn:
        """Return the turn with twice the p of either arm."""
        first, second = (min(1.0, 2 * p) for p in self.p_arms)
        return replace(self, p_arms=(first, second))


@dataclass(frozen=True)
class Bends:
    """Evidence against a single turn: a valley inside a hump, or a peak inside a trough.

    Attributes
    ----------
    place : float
        Share of the range at which the valley is most evident.
    peaks : (float, float)
        The tops on both sides of the valley, as shares of the range.
    p : float
        The p of the valley, corrected for the search.
    depth : float
        Depth of the deepest valley, in units of the score.
    up, down : float
        The largest move toward, and against, the direction.
    """

    place: float
    peaks: tuple[float, float]
    p: float
    depth: float
    up: float
    down: float


def turn(
    arms: Measured, way: int, place: float, lengths: Float64Array, paths: Float64Array, alpha: float
) -> Turn:
    """Return the turn whose arms have the given slopes.

    Parameters
    ----------
    arms : Measured
        Slopes of the lines before and after the depth `place`.
    way : {+1, -1}
    place : float
    lengths : ndarray, shape (2,)
        Range of depth that each arm covers.
    paths : ndarray, shape (2,)
        Length of the path of depths that was searched (`search.path_length`).
    alpha : float
    """
    towards = np.array([way, -way])
    t = towards * arms.t
    reach = [critical(arms.df, path, alpha / 2) for path in paths]
    return Turn(
        way,
        place,
        (float(searched_p(t[0], arms.df, paths[0])), float(searched_p(t[1], arms.df, paths[1]))),
        towards * arms.value * lengths,
        np.array(reach) * arms.se * lengths,
    )


def critical(df: float, path: float, level: float) -> float:
    """Return the critical t of a search: its `searched_p` equals the level."""

    def beyond(t: float) -> float:
        return float(searched_p(np.asarray(t), df, path)) - level

    high = 4.0
    while beyond(high) > 0:
        high *= 2
    return float(optimize.brentq(beyond, 1e-9, high, xtol=1e-6))


def n_bins(depths: Sequence[Float64Array]) -> int:
    """Return how many equal parts with at least two layers every curve can be cut into.

    >>> n_bins([np.linspace(0, 1, 25)]), n_bins([np.linspace(0, 1, 25), np.linspace(0, 1, 9)])
    (9, 4)
    """
    for n in range(min(MAX_BINS, *(len(d) // 2 for d in depths)), 1, -1):
        if all(len(np.unique(_bin_of(d, n))) == n for d in depths):
            return n
    return 1


def _bin_of(depth: Float64Array, n: int) -> Float64Array:
    share = (depth - depth[0]) / (depth[-1] - depth[0])
    return np.asarray(np.minimum((share * n + SLACK).astype(int), n - 1))


def differences(depth: Float64Array, n: int) -> Float64Array:
    """Return the weights, shape (pairs, n_points), of each part minus each later part."""
    member = _bin_of(depth, n) == np.arange(n)[:, None]
    mean = member / member.sum(axis=1, keepdims=True)
    return np.array([mean[i] - mean[j] for i, j in combinations(range(n), 2)])


def bends(measure: Measure, n: int, way: int) -> Bends | None:
    r"""Look for a valley between two peaks (for way = -1, a peak between two valleys).

    Parameters
    ----------
    measure : callable
    n : int
        Number of parts (`n_bins`).
    way : {+1, -1}

    Returns
    -------
    Bends or None
        None if there are too few parts to have a valley between them.

    Notes
    -----
    For each part, take the t of the largest difference from a part before it, and the t of the
    largest difference from a part after it. The valley is the part whose smaller t is greatest.
    Its p is the one-sided p of that t times the number of pairs of parts: the largest t of each
    side is among them (Bonferroni). Both sides must be shown (intersection-union), so the search
    for the part itself needs no further correction.
    """
    if n < 3:
        return None
    measured = measure(lambda depth: differences(depth, n))
    value, t = np.zeros((n, n)), np.zeros((n, n))
    for (i, j), v, z in zip(combinations(range(n), 2), measured.value, measured.t, strict=True):
        value[i, j], value[j, i], t[i, j], t[j, i] = way * v, -way * v, way * z, -way * z
    inside = range(1, n - 1)
    left = [int(np.argmax(t[:b, b])) for b in inside]
    right = [b + 1 + int(np.argmax(t[b + 1 :, b])) for b in inside]
    shown = [min(t[i, b], t[j, b]) for i, b, j in zip(left, inside, right, strict=True)]
    best = int(np.argmax(shown))
    middle = (np.arange(n) + 0.5) / n
    p = float(t_above(shown[best], measured.df)) * len(measured.value)
    upper = np.triu_indices(n, 1)
    return Bends(
        place=float(middle[best + 1]),
        peaks=(float(middle[left[best]]), float(middle[right[best]])),
        p=min(p, 1.0),
        depth=max(min(value[:b, b].max(), value[b + 1 :, b].max()) for b in inside),
        up=float(-value[upper].min()),
        down=float(value[upper].max()),
    )


@dataclass(frozen=True)
class Straight:
    """Whether a curve goes one way throughout, or goes one way and then levels off.

    Attributes
    ----------
    way : {+1, -1}
        Direction of the slope of the first half.
    p_monotone, p_plateau : float
    levels_at : float
        Share of the range after which the curve is level.
    """

    way: int
    p_monotone: float
    p_plateau: float
    levels_at: float


def halves(depths: Sequence[Float64Array]) -> list[float]:
    """Return the shares of `LEVELS` that leave every curve at least 3 layers on either side."""

    def enough(depth: Float64Array, level: float) -> bool:
        at = depth[0] + level * (depth[-1] - depth[0])
        before, after = (depth <= at + SLACK).sum(), (depth >= at - SLACK).sum()
        return bool(min(before, after) >= MIN_LINE)

    return [level for level in LEVELS if all(enough(depth, level) for depth in depths)]


def straight(measure: Measure, levels: Sequence[float], of_halves: float = 1.0) -> Straight:
    r"""Test whether both halves go the same way, and whether a curve levels off.

    Parameters
    ----------
    measure : callable
    levels : sequence of float
        Shares of the range (`halves`).
    of_halves : float
        Factor of the standard errors of the halves' slopes in the test of *monotone*.

    Notes
    -----
    *Monotone*: the slopes of lines through either half have the same sign (intersection-union,
    both signs tried). *Levels off*: with slopes :math:`b_1, b_2` before and after one of two
    depths, :math:`|b_2| < |b_1| / 3`, by two one-sided tests of :math:`b_2 \pm b_1 / 3`
    (equivalence; both signs and all depths tried). A line is level through a hump in the middle of
    the rest too, so the same must hold of the slopes at one and at three quarters of the rest, from
    a quadratic through it. Their p counts half, because such a hump is mostly shown as one.
    """
    nothing = Straight(0, 1.0, 1.0, np.nan)
    if not levels:
        return nothing

    def contrasts(depth: Float64Array) -> Float64Array:
        rows: list[Float64Array] = []
        for level in levels:
            at = depth[0] + level * (depth[-1] - depth[0])
            before, after = line_weights(depth, at)
            rows += [before, after]
            for slope in (after, *quarter_slopes(depth, at)):
                rows += [LEVEL * before - slope, LEVEL * before + slope]
        return np.array(rows)

    measured = measure(contrasts)
    t = measured.t.reshape(-1, 8)
    p_monotone, way = 1.0, 0
    if 0.5 in levels:
        first, second = t[levels.index(0.5), :2] / of_halves
        way = 1 if first > 0 else -1
        p = t_above(way * np.array([first, second]), measured.df).max()
        p_monotone = min(1.0, 2 * float(p))
    n_tries = 2 * len(levels)
    tries = []
    for row, level in zip(t, levels, strict=True):
        for sign in (1, -1):
            p = t_above(sign * row[2:], measured.df)
            tries.append((max(n_tries * float(p[:2].max()), float(p[2:].max()) / 2), level, sign))
    p_plateau, at, sign = min(tries)
    p_plateau = min(1.0, p_plateau)
    return Straight(sign if p_plateau < p_monotone else way, p_monotone, p_plateau, at)


@dataclass(frozen=True)
class Shape:
    """The shape of a curve and what it rests on.

    Attributes
    ----------
    verdict, reason : str
    p : float
        The p of the verdict; NaN if undecided.
    turn : Turn
        The turn in the direction that is better supported.
    bends : Bends or None
        Evidence against this turn.
    straight : Straight
    highest : float
        Depth of the extreme of the smoothed curve, in the turn's direction.
    where : str
        Third of the range that contains it; empty unless the verdict is a hump or trough.
    """

    verdict: str
    reason: str
    p: float
    turn: Turn
    bends: Bends | None
    straight: Straight
    highest: float
    where: str

    def columns(self) -> dict[str, Any]:
        """Return the columns of `u_shape_test` that describe the shape."""
        arms = self.turn
        low, high = arms.change - arms.reach, arms.change + arms.reach
        rise, fall = (0, 1) if arms.way == 1 else (1, 0)
        changes = {
            f"{name}{end}": float(values[arm])
            for name, arm in (("rise", rise), ("fall", fall))
            for end, values in (("", arms.change), ("_low", low), ("_high", high))
        }
        return {
            "estimate": float(arms.change.min()),
            "low": float(low.min()),
            "high": float(high.min()),
            "p": arms.p,
            "verdict": self.verdict,
            "reason": self.reason,
            "direction": "hump" if arms.way == 1 else "trough",
            "where": self.where,
            "highest": self.highest,
            "turn": arms.place,
            **changes,
            "valley": self.bends.depth if self.bends else np.nan,
            "p_valley": self.bends.p if self.bends else np.nan,
            "p_monotone": self.straight.p_monotone,
            "p_plateau": self.straight.p_plateau,
            "p_shape": self.p,
        }


def decide_shape(
    turns: Mapping[int, Turn],
    bent: Mapping[int, Bends | None],
    line: Straight,
    highest: Mapping[int, float],
    ends: tuple[float, float],
    alpha: float,
) -> Shape:
    """Return the shape that the tests show.

    Parameters
    ----------
    turns, bent, highest : mapping of {+1, -1}
        For each direction: the best turn, the evidence against it, and the depth of the smoothed
        extreme.
    line : Straight
    ends : (float, float)
        Least and greatest depth.
    alpha : float
    """
    best = turns[1] if turns[1].p <= turns[-1].p else turns[-1]
    against, top = bent[best.way], highest[best.way]
    share = (top - ends[0]) / (ends[1] - ends[0])
    third = ("early", "middle", "late")[min(int(3 * share), 2)]
    verdict, p, where = "undecided", np.nan, ""
    if max(t.p for t in turns.values()) < alpha:
        verdict, p = "several peaks", max(t.p for t in turns.values())
        reason = "separation rises, falls and rises, or falls, rises and falls"
    elif best.p < alpha:
        verdict, p, where, reason = _turned(best, against, top, third, ends, alpha)
    elif line.p_plateau < alpha and not _wavers(bent[1], line.way):
        at = ends[0] + line.levels_at * (ends[1] - ends[0])
        verdict, p = "plateau", line.p_plateau
        reason = f"separation {'rises' if line.way > 0 else 'falls'} and levels off by {at:.2f}"
    elif line.p_monotone < alpha and not _wavers(bent[1], line.way):
        verdict, p = "monotone", line.p_monotone
        reason = f"separation {'rises' if line.way > 0 else 'falls'} in both halves of the depth"
    else:
        reason = _lacking(best, alpha)
    return Shape(verdict, reason, p, best, against, line, top, where)


def _turned(
    best: Turn,
    against: Bends | None,
    top: float,
    third: str,
    ends: tuple[float, float],
    alpha: float,
) -> tuple[str, float, str, str]:
    """Return verdict, p, where and reason for a curve with both arms shown."""
    up, down, extreme = (
        ("rises", "falls", "highest") if best.way == 1 else ("falls", "rises", "lowest")
    )
    said = f"separation {up} and then {down}; smoothed, it is {extreme} about {top:.2f}"
    if against is None or (against.p >= alpha and against.depth < DOUBT * best.change.min()):
        return "hump" if best.way == 1 else "trough", best.p, third, said
    left, valley, right = (
        ends[0] + share * (ends[1] - ends[0])
        for share in (against.peaks[0], against.place, against.peaks[1])
    )
    what = "valley between peaks" if best.way == 1 else "peak between valleys"
    where = f"a {what} about {left:.2f} and {right:.2f}"
    if against.p < alpha:
        return "several peaks", max(best.p, against.p), "", f"{where}, at {valley:.2f}"
    return "undecided", np.nan, "", f"{said}, but {where} is neither shown nor excluded"


def _wavers(bent: Bends | None, way: int) -> bool:
    """Say whether the largest move back is half of the whole move, or more."""
    if bent is None:
        return False
    whole, back = (bent.up, bent.down) if way > 0 else (bent.down, bent.up)
    return back >= DOUBT * whole


def _lacking(best: Turn, alpha: float) -> str:
    """Say which arm is not shown."""
    up, down = ("rises", "falls") if best.way == 1 else ("falls", "rises")
    first, second = (p < alpha for p in best.p_arms)
    if first:
        return f"separation {up} up to {best.place:.2f}; that it {down} after it is not shown"
    if second:
        return f"separation {down} after {best.place:.2f}; that it {up} before it is not shown"
    return f"neither arm of a {'hump' if best.way == 1 else 'trough'} is shown"
