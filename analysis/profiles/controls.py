"""Whether a hump is learned: untrained twins, shuffled labels, layer 0 and anisotropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.families import mean_over_families, t_above, t_critical, too_few
from analysis.loading.scores import PROFILE, Profile, Scores, as_scores
from analysis.profiles.fixed_shapes import fixed_controls, p_hump
from analysis.profiles.shape import GROUP, u_shape_test
from analysis.profiles.splines import smoother
from analysis.profiles.uncertainty import (
    check_alpha,
    fault,
    profile_errors,
    quadratic_weights,
    standard_error,
)
from analysis.scopes import LIKE_THESE, THESE, Scope, scopes_of
from analysis.wording import with_article
from study.arrays import Float64Array
from study.read import InputError

ANISOTROPY = "anisotropy"
#: The key in which a control differs from the profile.
OTHER = {
    "trained - untrained": {"weights": "untrained"},
    "true - shuffled": {"labels": "shuffled"},
    "given anisotropy": {"metric": ANISOTROPY},
}
#: Reason where there is a hump that is not learned.
SAME = "the control is shown to have the same hump"
#: Depths at which a curve is compared with its control's.
N_DEPTHS = 11
CONTRASTS = (*OTHER, "middle - layer 0")
ABSENT = {"weights": "no untrained twin", "labels": "no shuffled labels", "metric": "no anisotropy"}


@dataclass(frozen=True)
class Contrast:
    """One comparison of a profile with its control.

    Attributes
    ----------
    estimate, se : float
        The excess of the profile over its control.
    profile, control : float
        The two values that are compared.
    slack, slack_se : ndarray, shape (n,)
        Margins minus departures, in both directions and along the whole curve, and their errors.
        The two are the same if every slack is shown to be above 0. Empty where sameness is not
        tested.
    df : float
    """

    estimate: float
    se: float
    profile: float
    control: float
    slack: Float64Array
    slack_se: Float64Array
    df: float


def control_test(
    scores: Scores | pd.DataFrame,
    *,
    metric: str | None = None,
    method: str | None = None,
    delta: float = 0.1,
    scope: Scope | None = LIKE_THESE,
    alpha: float = 0.05,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    r"""Test whether the hump of trained models is learned.

    Parameters
    ----------
    scores : Scores or DataFrame
        A study, or a table with at least model, family, depth and score.
    metric, method : str, optional
        Which profiles (trained weights, true labels). None takes all metrics except anisotropy,
        which is itself a control.
    delta : float
        Margin of sameness: a control has the same hump if its bulge is within this share of the
        profile's bulge, and its curve, apart from its level, within this share of its own rise.
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
        One row per profile and contrast (level "profile"), then one per method, metric, contrast
        and scope. Level "models": the family is the unit, t with n_families - 1 degrees of
        freedom; undecided with fewer than three families. Level "these models": p is that each
        has learned it, p_not that some has not (Holm); its interval is that of fully correlated
        errors.

        - contrast: "trained - untrained" and "true - shuffled" (paired by model), "given
          anisotropy" (with the anisotropy profile as a covariate), all three of the bulge; and
          "middle - layer 0", the gain of the middle third of the depth over the embedding.
        - estimate, low, high, p: the contrast in the metric's units, positive where the trained
          profile has more separation (p two-sided); p_same: that the control has the same hump;
          p_not: of "not learned", where that is the verdict.
        - verdict: "learned", "not learned" or "undecided"; reason.
        - profile, control: the values that are compared; shape, control_shape: their verdicts by
          `u_shape_test`.
        - t, df, n_models, n_families; confidence: the level of the interval.

    Raises
    ------
    InputError
        If a level is not in the table, there are no trained weights with true labels, or the table
        breaks a rule of `as_scores`.

    Notes
    -----
    The *bulge* of a profile is the height of its least-squares quadratic over its own chord at the
    middle of the range, :math:`-b_2 (d_n - d_1)^2 / 4`. It is a contrast, and its error is exact.

    A hump is *learned* if the profile is a hump and its bulge exceeds the control's. It is *not
    learned* if the profile is shown to have another shape (monotone, plateau, trough), or if the
    control is shown to have the same hump: two one-sided tests put the difference between the
    bulges, and between the curves at every depth, within delta (for anisotropy, the bulge that
    remains after adjustment is within delta of the whole). A control with a smaller hump does not
    make a hump "not learned", and a missing or noisy control leaves it undecided.
    "middle - layer 0" is learned if the gain is above 0, and not learned if it is below. The
    errors of a profile and its control are treated as independent. Several twins (seeds) enter
    with their mean and the mean of their variances.

    References
    ----------
    Zhang, K. and Bowman, S. (2018). Language modeling teaches you more than translation does:
    lessons learned through auxiliary syntactic task analysis. BlackboxNLP, 359-361.
    Hewitt, J. and Liang, P. (2019). Designing and interpreting probes with control tasks. EMNLP,
    2733-2743.

    Examples
    --------
    >>> from analysis.planning.simulate import combine, simulate_scores
    >>> both = combine(simulate_scores(seed=1, families=(1, 1, 1)),
    ...                simulate_scores(seed=1, families=(1, 1, 1), shape="decay",
    ...                                weights="untrained"))
    >>> tests = control_test(both)
    >>> tests[tests["level"] == "models"][["contrast", "verdict", "shape", "control_shape"]]
                   contrast    verdict shape control_shape
    12  trained - untrained    learned  hump       plateau
    13      true - shuffled  undecided  hump          none
    14     given anisotropy  undecided  hump          none
    15     middle - layer 0    learned  hump          none
    """
    check_alpha(alpha)
    study = as_scores(scores, higher_is_better)
    base = list(
        study.select(metric=metric, method=method, weights="trained", labels="true").profiles()
    )
    base = [p for p in base if p.keys["metric"] != ANISOTROPY]
    if not base:
        raise InputError("the only metric is anisotropy, a control; choose one of separation")
    tests = u_shape_test(
        study, metric=metric, method=method, weights=None, labels=None, alpha=alpha
    )
    wanted = scopes_of(scope)
    shapes: list[dict[str, Any]] = [dict(row) for _, row in tests.iterrows()]
    of_shape = {_key(row): row for row in shapes if row["level"] == "profile"}
    of_profile = {_key(row): row["verdict"] for row in shapes if row["level"] == "profile"}
    of_group = {_group(row): row for row in shapes if row["level"] == "models"}
    everything: dict[tuple[Any, ...], list[Profile]] = {}
    for profile in study.profiles():
        everything.setdefault(_of_model(profile.keys), []).append(profile)
    rows: list[dict[str, Any]] = []
    compared: dict[tuple[Any, ...], dict[tuple[str, str], list[Contrast]]] = {}
    for profile in base:
        for name in CONTRASTS:
            others = _controls(name, profile, everything)
            outcome = _compare(name, profile, others, delta)
            models = compared.setdefault((_group(profile.keys), name), {})
            if isinstance(outcome, Contrast):
                of = profile.keys["model"], profile.keys["family"]
                models.setdefault(of, []).append(outcome)
            theirs = {of_profile[_key(p.keys)] for p in others if _key(p.keys) in of_profile}
            control = "mixed" if len(theirs) > 1 else theirs.pop() if theirs else "none"
            decided = _decide(name, outcome, of_profile[_key(profile.keys)], control, alpha)
            if decided["verdict"] == "not learned":
                decided["p_not"] = _p_not(name, decided, of_shape[_key(profile.keys)])
            keys = {"level": "profile", **profile.keys, "contrast": name}
            rows.append({**keys, **decided, "n_models": 1})
    profile_rows = list(rows)
    for (group, name), models in compared.items():
        if LIKE_THESE not in wanted:
            break
        keys = {"level": "models", "model": f"all ({len(models)})", "family": "all"}
        keys |= {**dict(zip(GROUP, group, strict=True)), "contrast": name}
        other = of_group.get(_group({**keys, **OTHER.get(name, {"metric": None})}), {})
        control, mean = other.get("verdict", "none"), of_group[group]
        decided = _decide(name, _over_models(models), mean["verdict"], control, alpha)
        n_families = len({family for _, family in models})
        if isinstance(decided.get("df"), float) and (few := too_few(n_families)):
            decided |= {"verdict": "undecided", "reason": f"{decided['reason']}, but {few}"}
        if decided["verdict"] == "not learned":
            decided["p_not"] = _p_not(name, decided, mean)
        rows.append({**keys, **decided, "n_models": len(models), "n_families": n_families})
    for group, name in compared if THESE in wanted else ():
        mine = [row for row in profile_rows if (_group(row), row["contrast"]) == (group, name)]
        gain = name == "middle - layer 0"
        humps = [0.0 if gain else p_hump(of_shape[_key(row)], alpha) for row in mine]
        keys = {**dict(zip(GROUP, group, strict=True)), "contrast": name}
        rows.append({**fixed_controls(mine, humps, alpha), **keys})
    return pd.DataFrame(rows).assign(confidence=1 - alpha)


def _key(keys: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(keys[k] for k in PROFILE)


def _group(keys: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(keys[k] for k in GROUP)


def _of_model(keys: Mapping[str, Any]) -> tuple[Any, ...]:
    return (keys["model"], *_group(keys))


def _controls(
    name: str, profile: Profile, everything: Mapping[tuple[Any, ...], list[Profile]]
) -> list[Profile]:
    """Return the profiles that a profile is compared with; seed and precision may differ."""
    if name not in OTHER:
        return []
    return everything.get(_of_model({**profile.keys, **OTHER[name]}), [])


def _compare(name: str, profile: Profile, others: list[Profile], delta: float) -> Contrast | str:
    """Compare a profile with its controls, or say why it cannot be."""
    why = fault(profile)
    if why:
        return why
    errors = profile_errors(profile)
    y, depth = profile.separation, profile.depth
    if name == "middle - layer 0":
        return _over_layer_0(profile, errors.cov, errors.df)
    bulge = bulge_weights(depth)
    if not others:
        return f"{ABSENT[next(iter(OTHER[name]))]} in the table for this model and method"
    if name == "given anisotropy":
        if not np.array_equal(others[0].layer, profile.layer):
            return "anisotropy was measured at other layers"
        adjusted = adjusted_bulge_weights(depth, others[0].separation)
        if adjusted is None:
            return "anisotropy is itself a quadratic in depth: the two cannot be told apart"
        # The bulge that anisotropy leaves is close to 0 relative to the whole, either way.
        contrasts = np.array([adjusted, delta * bulge - adjusted, delta * bulge + adjusted])
        values, se = contrasts @ y, standard_error(contrasts, errors.cov)
        whole, left = float(bulge @ y), float(values[0])
        return Contrast(left, se[0], whole, whole - left, values[1:], se[1:], errors.df)
    whys = [fault(other) for other in others]
    if any(whys):
        return f"the control: {next(filter(None, whys))}"
    assessed = [profile_errors(other) for other in others]
    df = min(errors.df, *(error.df for error in assessed))
    bulges = [bulge_weights(other.depth) for other in others]
    own, var = float(bulge @ y), float(bulge @ errors.cov @ bulge)
    control = float(np.mean([w @ o.separation for w, o in zip(bulges, others, strict=True)]))
    spread = float(np.mean([w @ e.cov @ w for w, e in zip(bulges, assessed, strict=True)]))
    apart, apart_se, rise = _curves_apart(profile, errors.cov, others, [e.cov for e in assessed])
    slack = [(1 + delta) * control - own, own - (1 - delta) * control]
    slack_se = [np.sqrt(var + (1 + sign * delta) ** 2 * spread) for sign in (1, -1)]
    return Contrast(
        estimate=own - control,
        se=float(np.sqrt(var + spread)),
        profile=own,
        control=control,
        slack=np.concatenate([slack, delta * rise - apart, delta * rise + apart]),
        slack_se=np.concatenate([slack_se, apart_se, apart_se]),
        df=df,
    )


def _curves_apart(
    profile: Profile, cov: Float64Array, others: list[Profile], covs: list[Float64Array]
) -> tuple[Float64Array, Float64Array, float]:
    """Return a profile minus its controls at several depths, the errors, and the controls' rise.

    Levels are removed. Several controls enter with their mean and the mean of their variances.
    """
    start = max(p.depth[0] for p in (profile, *others))
    end = min(p.depth[-1] for p in (profile, *others))
    at = np.linspace(start, end, N_DEPTHS)

    def weights(depth: Float64Array) -> Float64Array:
        smooth = smoother(depth, at)
        return np.asarray(smooth - smooth.mean(axis=0))

    mine = weights(profile.depth)
    theirs = [weights(other.depth) for other in others]
    curves = [w @ other.separation for w, other in zip(theirs, others, strict=True)]
    control = np.mean(curves, axis=0)
    spread = np.mean([standard_error(w, c) ** 2 for w, c in zip(theirs, covs, strict=True)], axis=0)
    error = np.sqrt(standard_error(mine, cov) ** 2 + spread)
    return mine @ profile.separation - control, error, float(np.ptp(control))


def _over_layer_0(profile: Profile, cov: Float64Array, df: float) -> Contrast | str:
    """Compare the middle third of the depth with the embedding."""
    if profile.layer[0] != 0 or profile.depth[0] != 0:
        return "layer 0 is not in the table"
    middle = (profile.depth >= 1 / 3) & (profile.depth <= 2 / 3)
    if not middle.any():
        return "no layer in the middle third of the depth"
    weights = middle / middle.sum()
    first = np.eye(len(weights))[0]
    gain = weights - first
    value, se = float(gain @ profile.separation), float(standard_error(gain, cov))
    level = float(weights @ profile.separation)
    return Contrast(value, se, level, level - value, np.empty(0), np.empty(0), df)


def bulge_weights(depth: Float64Array) -> Float64Array:
    """Return the weights, shape (n_points,), of a profile's bulge.

    >>> depth = np.linspace(0, 1, 9)
    >>> round(float(bulge_weights(depth) @ (0.3 + depth - 0.8 * depth**2)), 6)
    0.2
    """
    return np.asarray(-quadratic_weights(depth)[2] * (depth[-1] - depth[0]) ** 2 / 4)


def adjusted_bulge_weights(depth: Float64Array, covariate: Float64Array) -> Float64Array | None:
    """Return the bulge's weights given a covariate; None if the covariate is a quadratic."""
    X = np.column_stack([np.ones_like(depth), depth, depth**2])
    own = covariate - X @ (quadratic_weights(depth) @ covariate)
    if np.abs(own).max() <= 1e-9 * np.abs(covariate).max():
        return None
    # The curvature of a joint regression on the quadratic and the covariate: `own` is what the
    # quadratic leaves of the covariate, and gives its coefficient (Frisch, Waugh and Lovell).
    quadratic = quadratic_weights(depth)
    adjusted = quadratic[2] - (quadratic[2] @ covariate) * own / (own @ own)
    return np.asarray(-adjusted * (depth[-1] - depth[0]) ** 2 / 4)


def _over_models(models: Mapping[tuple[str, str], list[Contrast]]) -> Contrast | str:
    """Average over families; a model with several profiles counts once."""
    if not models:
        return "no model has this control"
    families = [family for _, family in models]
    table = np.array(
        [
            np.mean([(c.estimate, c.profile, c.control, *c.slack) for c in of], axis=0)
            for of in models.values()
        ]
    )
    whole, profile, control, *slack = (mean_over_families(column, families) for column in table.T)
    if whole.n_families < 2:
        return too_few(whole.n_families, "models with this control")
    if whole.exact:
        return "the models do not differ"
    return Contrast(
        whole.estimate,
        whole.se,
        profile.estimate,
        control.estimate,
        np.array([of.estimate for of in slack]),
        np.array([of.se for of in slack]),
        whole.df,
    )


def _decide(
    name: str, outcome: Contrast | str, shape: str, control_shape: str, alpha: float
) -> dict[str, Any]:
    """Return the columns that follow from a contrast and the shapes of both profiles."""
    if name not in ("trained - untrained", "true - shuffled"):
        control_shape = "none"
    shapes = {"shape": shape, "control_shape": control_shape}
    if isinstance(outcome, str):
        numbers = dict.fromkeys(("estimate", "low", "high", "p"), np.nan)
        return {**numbers, "verdict": "undecided", "reason": outcome, **shapes}
    t = t_critical(1 - alpha / 2, outcome.df)
    low, high = (outcome.estimate + s * t * outcome.se for s in (-1, 1))
    # Two one-sided tests at every depth; all of them must show sameness.
    p_same = np.nan
    if outcome.slack.size:
        error = np.maximum(outcome.slack_se, 1e-300)
        p_same = float(t_above(outcome.slack / error, outcome.df).max())
    verdict, reason = "undecided", "neither is shown"
    if name == "middle - layer 0":
        reason = "a gain over the embedding is neither shown nor excluded"
        if low > 0:
            verdict, reason = "learned", "separation in the middle exceeds that of the embedding"
        elif high < 0:
            verdict, reason = "not learned", "the embedding separates better than the middle"
    elif shape in ("monotone", "plateau", "trough"):
        verdict = "not learned"
        reason = f"the trained profile is not a hump but {with_article(shape)}"
    elif shape != "hump":
        reason = "that the trained profile is a hump is not shown"
    elif p_same < alpha:
        verdict, reason = "not learned", SAME
    elif low > 0:
        verdict, reason = "learned", "the hump exceeds the control's"
    else:
        reason = "neither that the hump exceeds the control's is shown nor that it is the same"
    statistic = outcome.estimate / outcome.se
    p = float(2 * t_above(abs(statistic), outcome.df))
    return {
        "estimate": outcome.estimate,
        "low": low,
        "high": high,
        "p": p,
        "p_same": p_same,
        "verdict": verdict,
        "reason": reason,
        "profile": outcome.profile,
        "control": outcome.control,
        **shapes,
        "t": statistic,
        "df": outcome.df,
    }


def _p_not(name: str, decided: Mapping[str, Any], shape: Mapping[str, Any]) -> float:
    """Return the p behind "not learned": of no gain, of the same hump, or of the other shape."""
    if name == "middle - layer 0":
        return float(decided["p"])
    return float(decided["p_same"] if decided["reason"] == SAME else shape["p_shape"])
