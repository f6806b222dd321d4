"""The shape of a curve: hump, trough, monotone, plateau or several peaks; also over models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.families import ROUNDING, family_means, too_few
from analysis.loading.scores import Profile, Scores
from analysis.profiles.fixed_shapes import fixed_shapes
from analysis.profiles.lines import (
    EDGE,
    MIN_LINE,
    SLACK,
    Measured,
    end_slopes,
    line_weights,
    places,
    published_tests,
    robin_hood,
)
from analysis.profiles.remembered import remembered
from analysis.profiles.search import path_length
from analysis.profiles.splines import GRID, extrema, smoother
from analysis.profiles.uncertainty import (
    MIN_POINTS,
    Errors,
    assess,
    check_alpha,
    profile_errors,
    select_profiles,
    standard_error,
)
from analysis.profiles.verdicts import (
    Contrasts,
    Measure,
    Shape,
    Turn,
    bends,
    decide_shape,
    halves,
    n_bins,
    straight,
    turn,
)
from analysis.scopes import LIKE_THESE, THESE, Scope, holm, scopes_of
from analysis.wording import are_of
from study.arrays import Float64Array

#: Keys that profiles share if their models are pooled.
GROUP = ["weights", "method", "labels", "metric"]
#: A layer this many robust standard deviations off its neighbors is left out as a check.
OUTLYING = 5.0
SHAPES_AGAINST = ("trough", "monotone", "plateau", "several peaks")


def u_shape_test(
    scores: Scores | pd.DataFrame,
    *,
    metric: str | None = None,
    method: str | None = None,
    weights: str | None = "trained",
    labels: str | None = "true",
    scope: Scope | None = LIKE_THESE,
    alpha: float = 0.05,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    r"""Test which shape a curve has: a hump (separation rises, then falls with depth) or another.

    A turn is declared if the data show both of its arms, at whatever depth they meet: the slopes
    of one line up to a depth and of another line from there on, corrected for the search over
    depths. A hump may therefore be early, in the middle or late. The table also has the published
    tests, which a plateau can pass and an early hump can fail.

    Parameters
    ----------
    scores : Scores or DataFrame
        A study, or a table with at least model, family, depth and score.
    metric, method, weights, labels : str, optional
        Which profiles; None takes all.
    scope : {"models like these", "these models"}, optional
        Which rows follow those of the profiles: about families of models, or about these models
        over topics. None reports both.
    alpha : float
        Level of the tests; intervals have level 1 - alpha.
    higher_is_better : bool, optional
        For a table: whether a larger score means better separation. Default: True; an error if
        the metric's name leaves it open ("loss", "distance", "cosine").

    Returns
    -------
    DataFrame
        One row per profile (level "profile"), then one per combination of weights, method, labels
        and metric for each scope. Level "models": the family is the unit. Level "these models": p
        is that every profile is a hump, p_otherwise that some profile is shown to be otherwise
        (Holm), and the verdict is the shape of all of them, or "mixed". Changes are in the metric's
        own units, slopes in units per depth.

        - verdict: "hump" (separation rises, then falls), "trough" (the reverse), "several peaks",
          "monotone" (both halves go the same way), "plateau" (it goes one way and then levels off)
          or "undecided"; reason.
        - direction: "hump" or "trough", whichever has the smaller p; p: of its weaker arm,
          one-sided and corrected for the search (over models: two-sided); turn: the depth at
          which the arms meet, which is chosen to show both and does not estimate the peak.
        - estimate, low, high: change along the weaker arm, positive in the sense of `direction`:
          low > 0 shows both arms. rise, fall with _low, _high: the change along each arm.
        - highest: depth of the maximum (for a trough: minimum) of a curve smoothed by five knots,
          so not the peak of `fit_curves`; where: its third, "early", "middle" or "late".
        - p_valley, valley: of a valley between two peaks (for a trough: a peak between two
          valleys), and its depth; p_monotone, p_plateau: of these shapes; p_shape: of the verdict.
        - p_holm: p_shape, or p where nothing is shown, corrected by Holm's method for the profiles
          (or groups of models) and metrics in the table.
        - influential: a layer that stands out from its neighbors and changes the verdict when it
          is left out; the reason gives the other verdict.
        - slope_start, slope_end, p_hump, p_trough: the quadratic's slopes at both ends, and
          Sasabuchi's p for either shape (Lind and Mehlum's test).
        - breakpoint, slope_before, slope_after, p_before, p_after: Simonsohn's two lines, p
          two-sided.
        - error: "replicates", "ar1" or "models"; df: degrees of freedom; n_models, n_families;
          confidence: the level of the intervals.

    Raises
    ------
    InputError
        If a level is not in the table, or the table breaks a rule of `as_scores`.

    Notes
    -----
    All slopes are contrasts :math:`w'y` with variance :math:`w'Sw`; see `profile_errors` for S. A
    line through any stretch of a curve that only rises has no negative slope. On a curve that
    never turns, one of the two arms is therefore null at every depth, and the largest t of that
    arm over all depths has the p of `search.searched_p`. Both arms must be shown
    (intersection-union).

    A curve with two peaks also rises and falls. A hump becomes *several peaks* if a valley is shown
    inside it (`verdicts.bends`), and is undecided if its deepest valley is at least half as deep as
    its weaker arm is high.

    Over models, contrasts are averaged within families, with Student's t over families. A model's
    arms meet at the middle of the depths where the mean smoothed curve of the *other* models is
    within one standard error of its extreme. A depth chosen from the model's own noise would favor
    opposite slopes in every model. A hump over models also requires that its profiles agree: if
    more of them are shown to have another shape than to be humps, it is undecided.

    References
    ----------
    Lind, J. T. and Mehlum, H. (2010). With or without U? Oxford Bulletin of Economics and
    Statistics 72, 109-118.
    Sasabuchi, S. (1980). A test of a multivariate normal mean with composite hypotheses determined
    by linear inequalities. Biometrika 67, 429-439.
    Simonsohn, U. (2018). Two lines: a valid alternative to the invalid testing of U-shaped
    relationships with quadratic regressions. AMPPS 1, 538-555.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> tests = u_shape_test(simulate_scores(families=(1, 1, 1), seed=1), scope=None)
    >>> tests[["level", "model", "highest", "verdict"]].round(2)
              level    model  highest verdict
    0       profile       m1     0.38    hump
    1       profile       m2     0.49    hump
    2       profile       m3     0.42    hump
    3        models  all (3)     0.46    hump
    4  these models  all (3)      NaN    hump
    """
    check_alpha(alpha)
    profiles = select_profiles(scores, higher_is_better, metric, method, weights, labels)
    wanted = scopes_of(scope)
    rows = [shape_row(profile, assess(profile), alpha) for profile in profiles]
    over = models_rows(profiles, rows, alpha) if LIKE_THESE in wanted else []
    if THESE in wanted:
        over += these_rows(rows, alpha)
    return corrected(pd.DataFrame([*rows, *over])).assign(confidence=1 - alpha)


def these_rows(rows: list[dict[str, Any]], alpha: float) -> list[dict[str, Any]]:
    """Return the rows of `u_shape_test` about these models, given the rows of the profiles."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[k] for k in GROUP), []).append(row)
    return [
        {**fixed_shapes(some, alpha), **dict(zip(GROUP, keys, strict=True))}
        for keys, some in groups.items()
    ]


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Add p_holm, computed over the rows of each level."""
    table = table.assign(p_holm=np.nan)
    if "p_shape" in table:
        for _, rows in table.groupby("level"):
            p = rows["p_shape"].fillna(rows["p"]).dropna()
            table.loc[p.index, "p_holm"] = holm(p.to_numpy())
    return table


@remembered
def shape_row(profile: Profile, errors: Errors | str, alpha: float) -> dict[str, Any]:
    """Return one row of `u_shape_test`, given the result of `assess`: errors, or a reason."""
    keys = {"level": "profile", **profile.keys}
    if isinstance(errors, str):
        return {**keys, **_blank(errors), "n_models": 1}
    shape = _shape(profile, errors, alpha)
    depth, y = profile.depth, profile.separation
    breakpoint = robin_hood(depth, y, errors.cov)
    slopes = _measure(profile, errors.cov, errors.df)(_four(breakpoint))
    row = shape.columns() | published_tests(slopes, breakpoint, profile.sign)
    row |= {"influential": np.nan, "error": errors.kind, "df": errors.df, "n_models": 1}
    number = outlying(depth, y)
    if number is not None and len(depth) > MIN_POINTS:
        rest = without(profile, number)
        other = _shape(rest, profile_errors(rest), alpha).verdict
        if other != shape.verdict:
            row["influential"] = int(profile.layer[number])
            row["reason"] += f"; without layer {profile.layer[number]}: {other}"
    return {**keys, **row}


def _shape(profile: Profile, errors: Errors, alpha: float) -> Shape:
    """Return the shape of one profile."""
    depth = profile.depth
    measure = _measure(profile, errors.shrink**2 * errors.cov, errors.df)
    at = places(depth)
    before, after = lines = np.array([line_weights(depth, place) for place in at]).swapaxes(0, 1)
    paths = np.array([path_length(weights, errors.cov) for weights in lines])
    slopes = measure(lambda _: np.concatenate([before, after]))
    turns = {way: _searched(slopes, at, depth, way, paths, alpha) for way in (1, -1)}
    n = n_bins([depth])
    return decide_shape(
        turns,
        {way: bends(measure, n, way) for way in (1, -1)},
        straight(measure, halves([depth]), errors.of_halves / errors.shrink),
        {way: float(extrema(depth, way * profile.separation[None])[0]) for way in (1, -1)},
        (float(depth[0]), float(depth[-1])),
        alpha,
    )


def _searched(
    slopes: Measured,
    at: Float64Array,
    depth: Float64Array,
    way: int,
    paths: Float64Array,
    alpha: float,
) -> Turn:
    """Return the turn at the depth that shows both arms best."""
    t = way * slopes.t.reshape(2, -1)
    best = int(np.argmax(np.minimum(t[0], -t[1])))
    lengths = np.array([at[best] - depth[0], depth[-1] - at[best]])
    return turn(slopes[[best, best + len(at)]], way, float(at[best]), lengths, paths, alpha)


def _measure(profile: Profile, cov: Float64Array, df: float) -> Measure:
    def measure(contrasts: Contrasts) -> Measured:
        weights = contrasts(profile.depth)
        return Measured(weights @ profile.separation, standard_error(weights, cov), df)

    return measure


def _four(breakpoint: float) -> Contrasts:
    """Return the slopes of the published tests: a quadratic's at both ends, and two lines'."""
    return lambda depth: np.concatenate([end_slopes(depth), line_weights(depth, breakpoint)])


def outlying(depth: Float64Array, y: Float64Array) -> int | None:
    """Return the number of the layer that stands out most from both of its neighbors.

    The measure is its distance from the line between its neighbors, minus the distances of the
    neighbors from theirs, relative to the median. The subtraction tells a spike from a kink.

    >>> y = np.sin(np.arange(20) / 5) + 0.01 * np.random.default_rng(0).standard_normal(20)
    >>> outlying(np.arange(20) / 19, y) is None, outlying(np.arange(20) / 19, y + np.eye(20)[7])
    (True, 7)
    """
    if len(y) < 7:
        return None
    share = (depth[1:-1] - depth[:-2]) / (depth[2:] - depth[:-2])
    off = y[1:-1] - (1 - share) * y[:-2] - share * y[2:]
    spike = off[1:-1] - (off[:-2] + off[2:]) / 2
    spread = 1.4826 * float(np.median(np.abs(spike - np.median(spike))))
    worst = int(np.argmax(np.abs(spike)))
    return worst + 2 if abs(spike[worst]) > OUTLYING * spread else None


def without(profile: Profile, number: int) -> Profile:
    """Return a profile without one of its layers."""
    draws = profile.replicates
    return replace(
        profile,
        layer=np.delete(profile.layer, number),
        depth=np.delete(profile.depth, number),
        separation=np.delete(profile.separation, number),
        replicates=None if draws is None else np.delete(draws, number, axis=1),
    )


def models_rows(
    profiles: list[Profile], rows: list[dict[str, Any]], alpha: float
) -> list[dict[str, Any]]:
    """Return the rows of `u_shape_test` over models, given the rows of the profiles."""
    groups: dict[tuple[Any, ...], list[tuple[Profile, dict[str, Any]]]] = {}
    for profile, row in zip(profiles, rows, strict=True):
        group = groups.setdefault(tuple(profile.keys[k] for k in GROUP), [])
        group.append((profile, row))
    return [
        _models_row(
            [p for p, _ in group],
            [p for p, row in group if "error" in row],
            [row["verdict"] for _, row in group],
            alpha,
        )
        for group in groups.values()
    ]


@dataclass(frozen=True)
class Models:
    """Profiles whose contrasts are averaged within models, and then within families.

    Attributes
    ----------
    profiles : list of Profile
    models : list of str
        Sorted.
    family : list of str
        Of each model.
    """

    profiles: list[Profile]
    models: list[str]
    family: list[str]

    def of_model(self, value: Callable[[Profile], Float64Array]) -> Float64Array:
        """Return a vector for each model, shape (n_models, k): the mean over its profiles."""
        of: dict[str, list[Float64Array]] = {model: [] for model in self.models}
        for profile in self.profiles:
            of[str(profile.keys["model"])].append(value(profile))
        return np.array([np.mean(values, axis=0) for values in of.values()])

    def over_families(self, values: Float64Array) -> Measured:
        """Return the mean over families of values, shape (n_models, k)."""
        means = family_means(values, self.family)
        n = len(means)
        se = means.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(means.shape[1])
        return Measured(means.mean(axis=0), se, max(n - 1.0, 1.0))

    def measure(self, contrasts: Contrasts) -> Measured:
        """Measure contrasts over models."""
        return self.over_families(self.of_model(lambda p: contrasts(p.depth) @ p.separation))


def _models_row(
    group: list[Profile], sound: list[Profile], verdicts: list[str], alpha: float
) -> dict[str, Any]:
    """Test over models, the family as the unit; a model with several profiles counts once."""
    family = {str(p.keys["model"]): str(p.keys["family"]) for p in sound}
    over = Models(sound, sorted(family), [family[m] for m in sorted(family)])
    n_models, n_families = len(over.models), len(set(over.family))
    keys = {"level": "models", "model": f"all ({n_models})", "family": "all"}
    keys |= {k: group[0].keys[k] for k in GROUP}
    counts = {"n_models": n_models, "n_families": n_families}
    if n_models < 2:
        why = f"models to test over: {n_models}; at least 2 are needed"
        return {**keys, **_blank(why), **counts}
    first, last = (np.array([p.depth[i] for p in sound]) for i in (0, -1))
    at = first.max() + GRID * (last.min() - first.max())
    inner = (GRID >= EDGE) & (GRID <= 1 - EDGE)
    inner &= at >= max(p.depth[MIN_LINE - 1] for p in sound) - SLACK
    inner &= at <= min(p.depth[-MIN_LINE] for p in sound) + SLACK
    if not inner.any():
        why = f"no depth has {MIN_LINE} layers of every model on either side"
        return {**keys, **_blank(why), **counts}
    smooth = over.of_model(lambda p: _centered_curve(p, at))
    own = {way: _common_turns(at, way * smooth, inner) for way in (1, -1)}
    slopes = {way: over.over_families(_at_own(over, own[way])) for way in (1, -1)}
    if any((s.se <= ROUNDING * np.abs(s.value).max()).any() for s in slopes.values()):
        few = too_few(n_families) if n_families < 2 else "the models do not differ"
        return {**keys, **_blank(few), **counts}
    turns, highest = {}, {}
    for way, s in slopes.items():
        place = float(own[way].mean())
        lengths = np.array([place - first.mean(), last.mean() - place])
        # Half of alpha for each direction, because the direction is searched too.
        turns[way] = turn(s[2:], way, place, lengths, np.zeros(2), alpha).two_sided()
        highest[way] = place
    depths = [p.depth for p in sound]
    n = n_bins(depths)
    shape = decide_shape(
        turns,
        {way: bends(over.measure, n, way) for way in (1, -1)},
        straight(over.measure, halves(depths)),
        highest,
        (float(first.mean()), float(last.mean())),
        alpha,
    )
    way = shape.turn.way
    row = shape.columns() | published_tests(slopes[way], turns[way].place, group[0].sign)
    against = sum(v in SHAPES_AGAINST for v in verdicts if v != row["verdict"])
    agree = verdicts.count(row["verdict"])
    if row["verdict"] in ("hump", "trough") and against > agree:
        row["verdict"] = "undecided"
        row["reason"] += f", but {are_of(against, len(verdicts), 'profiles')} shown to be otherwise"
    if few := too_few(n_families):
        row |= {"verdict": "undecided", "reason": f"{row['reason']}, but {few}"}
    left_out = len(group) - len(sound)
    if left_out:
        row["reason"] += f"; profiles left out: {left_out}"
    return {**keys, **row, "error": "models", "df": slopes[way].df, **counts}


def _at_own(over: Models, turns: Float64Array) -> Float64Array:
    """Return each model's four slopes, shape (n_models, 4), at its own depth of the turn."""
    which = dict(zip(over.models, turns, strict=True))
    return over.of_model(lambda p: _four(which[str(p.keys["model"])])(p.depth) @ p.separation)


def _centered_curve(profile: Profile, at: Float64Array) -> Float64Array:
    curve = smoother(profile.depth, at) @ profile.separation
    return np.asarray(curve - curve.mean())


def _common_turns(at: Float64Array, curves: Float64Array, inner: NDArray[np.bool_]) -> Float64Array:
    """Return, for each curve, the middle of the depths where the mean of the others is at its top.

    "At its top" means within one standard error of the maximum, among the depths `inner`. Leaving
    a curve out reduces the sum of squares by n / (n - 1) times its squared deviation.
    """
    n, center = len(curves), curves.mean(axis=0)
    deviation = curves - center
    squares = (deviation**2).sum(axis=0)
    turns = np.empty(n)
    for i, own in enumerate(deviation):
        mean = center - own / (n - 1)
        rest = np.maximum(squares - own**2 * n / (n - 1), 0.0)  # of one other: nothing
        se = np.sqrt(rest / max(n - 2, 1) / (n - 1))
        turns[i] = np.median(at[inner & (mean + se >= mean[inner].max())])
    return turns


def _blank(why: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("estimate", "low", "high", "p"), np.nan)
    return {**numbers, "verdict": "undecided", "reason": why}
