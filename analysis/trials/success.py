"""Test whether steering works: success against baseline and sham, by model, depth and judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from analysis.families import Estimate, mean_of, mean_over_families, too_few
from analysis.loading.scores import Scores
from analysis.over_models.permutation import flip_p
from analysis.profiles.uncertainty import check_alpha
from analysis.scopes import LIKE_THESE, THESE, Scope
from analysis.trials.shares import (
    family_weights,
    mean_share,
    share,
    share_row,
    upper_end,
    weighted_mean_of,
)
from analysis.trials.table import Trials, as_trials, outcomes
from study.arrays import Float64Array
from study.read import InputError

#: The published successes and scenarios.
PUBLISHED = (37, 40)


def steering_summary(
    trials: Trials | pd.DataFrame,
    *,
    by: Sequence[str] = ("model",),
    judge: str | None = None,
    whole: bool = True,
    place: str | None = "peak",
    margin: float = 0.1,
    scope: Scope = LIKE_THESE,
    alpha: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Summarize how often steering succeeds, and whether it does more than the sham.

    Parameters
    ----------
    trials : Trials or DataFrame
    by : sequence of str
        Columns to group by: model, emotion, strength, family, depth; () for one row.
    judge : str, optional
        Default: the first judge.
    whole : bool
        Whether only whole texts can be successes: readable, neither collapsed nor explosive.
    place : {"peak", "sweep"} or None
        Which layers; None takes all.
    margin : float
        Steering is no better than its sham if the difference is shown to be below this share of
        the trials.
    scope : {"models like these", "these models"}
        Whether rows that pool models generalize over families of models, or over scenarios with
        these models fixed.
    alpha : float
        Intervals have level 1 - alpha.
    seed : int
        Seed of the random sign flips, used with more than 16 scenarios.

    Returns
    -------
    DataFrame
        One row per group:

        - n, n_scenarios, n_models, n_families, judge; estimate: the share of texts that are whole
          and to which the judge gives a higher score for the target than to their baselines (low,
          high); over_baseline: the same, whole or not;
        - low_exact, high_exact: Clopper and Pearson's interval of one model's share;
        - sham: the same share as the estimate, of the shams that decide, and sham_kind;
          isotropic: of the isotropic shams; success: the share above both baseline and sham;
          surgical: the share of those in whole texts (surgical_low, surgical_high);
        - difference: estimate minus sham, with Student's interval over scenarios (difference_low,
          difference_high); if the row pools models, the interval also covers Student's over
          families; it is missing if scenarios or families do not differ; p: from exact sign flips
          over scenarios, or, if the row pools models, the larger of that p and Student's over
          families; p_mcnemar: from the exact test that treats trials as independent, for
          comparison only;
        - verdict in {"beyond sham", "not beyond sham", "undecided"}, and reason;
          confidence: the level of the intervals.

    Raises
    ------
    InputError
        For an unknown judge, column or place.

    Notes
    -----
    The matched sham decides where there is one, else the isotropic one (see `outcomes`).

    Trials of a scenario share its opening and its random numbers. For one model, the scenario is
    therefore the unit of p and of the difference's interval. A row that pools models generalizes
    over models, and models of a family are alike: the family is its unit as well. Every share and
    the difference then give equal weight to each family, and to each model within a family. The
    shares have the interval of `Share`; with fewer than three families they have no interval and
    the verdict is "undecided". With these models fixed, only the scenario is the unit, and every
    model has the same weight. The intervals of one model's shares are Wilson's, which treat trials
    as independent, as the published interval must. All results hold for these emotions.

    References
    ----------
    Wilson, E. B. (1927). Probable inference. JASA 22, 209-212. Clopper, C. J., Pearson, E. S.
    (1934). The use of confidence or fiducial limits. Biometrika 26, 404-413. McNemar, Q. (1947).
    Sampling error of the difference between correlated proportions. Psychometrika 12, 153-157.
    """
    check_alpha(alpha)
    table = outcomes(trials, judge)
    if place is not None:
        table = table[table["place"] == place]
    unknown = [c for c in by if c not in table]
    if unknown or table.empty:
        what = f"no column {unknown[0]!r}" if unknown else f"no trials at place {place!r}"
        raise InputError(f"the trials have {what}")
    groups = table.groupby(list(by), sort=True) if by else [((), table)]
    name = judge or as_trials(trials).judges[0]
    rows = [
        {
            **dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True)),
            "judge": name,
            "scope": scope,
            **_group(rows, whole, margin, scope, alpha, seed),
        }
        for key, rows in groups
    ]
    return pd.DataFrame(rows).assign(confidence=1 - alpha)


def hit(whole: bool) -> str:
    """Return the column of `outcomes` that counts as a success."""
    return "whole_success" if whole else "over_baseline"


def _group(
    rows: pd.DataFrame, whole: bool, margin: float, scope: Scope, alpha: float, seed: int
) -> dict[str, Any]:
    if scope == THESE:
        rows = rows.assign(family=rows["model"])
    hits, shams = rows[hit(whole)], rows[f"sham_{hit(whole)}"]
    only, other = int((hits & ~shams).sum()), int((shams & ~hits).sum())
    surgical = share_row(rows["regime"] == "surgical", rows, alpha, scope)
    out: dict[str, Any] = {
        "n": len(rows),
        "n_scenarios": rows["scenario"].nunique(),
        **share_row(hits, rows, alpha, scope),
        "over_baseline": mean_share(rows["over_baseline"], rows),
        "sham": mean_share(shams, rows),
        "sham_kind": " or ".join(sorted(rows["sham_kind"].unique())),
        "isotropic": mean_share(rows[f"isotropic_{hit(whole)}"], rows),
        "success": mean_share(rows["success"], rows),
        "surgical": surgical["estimate"],
        "surgical_low": surgical["low"],
        "surgical_high": surgical["high"],
        "p_mcnemar": float(mcnemar([[0, only], [other, 0]], exact=True).pvalue)
        if only + other
        else 1.0,
    }
    beyond = hits.astype(float) - shams
    estimated = over_scenarios_and_families(beyond, rows, alpha, seed, scope)
    shown = {k: v for k, v in estimated.items() if k not in ("upper", "p_min", "few", "same")}
    return {**out, **shown, **_verdict(out | estimated, whole, margin, alpha)}


def over_scenarios(each: Float64Array, alpha: float, seed: int = 0) -> dict[str, Any]:
    """Return the mean difference over scenarios with Student's interval and the sign-flip p."""
    return _by_flips([mean_of(each)], each, alpha, seed)


def _by_flips(
    over: Sequence[Estimate], each: Float64Array, alpha: float, seed: int
) -> dict[str, Any]:
    """Return the mean with the widest interval over units, scenarios first, and the largest p."""
    # Values that do not differ would have an interval without width.
    missing = float("nan"), float("nan")
    low, high = np.array([missing if m.exact else m.ends(alpha) for m in over]).T
    p = flip_p(each, np.random.default_rng(seed))
    return {
        "difference": over[0].estimate,
        "difference_low": low.min(),
        "difference_high": high.max(),
        "p": max([p, *(mean.p() for mean in over[1:] if not mean.exact)]),
        "p_min": 2.0 ** (1 - over[0].n),
    }


def over_scenarios_and_families(
    value: pd.Series,
    rows: pd.DataFrame,
    alpha: float,
    seed: int = 0,
    scope: Scope = LIKE_THESE,
) -> dict[str, Any]:
    """Test the mean of a value over scenarios and, with several models, over families.

    Parameters
    ----------
    value : Series
        One value per trial.
    rows : DataFrame
        The trials' scenario, model and family.
    alpha : float
    seed : int
    scope : {"models like these", "these models"}
        With these models fixed, each has the same weight, and the scenarios alone are the sample.

    Returns
    -------
    dict
        As from `over_scenarios`, with upper, the one-sided upper end of the difference, n_models,
        n_families, few, a message if there are too few families to test, and same, a message if
        scenarios or families do not differ (empty if there is nothing to say).

    Notes
    -----
    All results weight trials as `mean_share` does, so that the difference of two shares is tested
    by its own scenarios: each counts as much as it contributes to the difference.
    """
    if scope == THESE:
        rows = rows.assign(family=rows["model"])
    weight = family_weights(rows)
    weights = weight.groupby(rows["scenario"]).sum().to_numpy(dtype=np.float64)
    sums = (value * weight).groupby(rows["scenario"]).sum().to_numpy(dtype=np.float64)
    over = [weighted_mean_of(sums / weights, weights)]
    models = value.groupby([rows["family"], rows["model"]]).mean()
    mean = mean_over_families(models.to_numpy(dtype=np.float64), models.index.get_level_values(0))
    pooled = len(models) > 1 and scope != THESE
    few = too_few(mean.n_families) if pooled else ""
    if pooled and not few:
        over.append(mean)
    units = zip(("scenarios", "families"), over, strict=False)
    same = [f"the {name} do not differ" for name, each in units if each.se == 0]
    return _by_flips(over, sums, alpha, seed) | {
        "upper": upper_end(value.to_numpy(float), weight.to_numpy(float), over, alpha),
        "n_models": len(models),
        "n_families": mean.n_families,
        "few": few,
        "same": f"{same[-1]}, which leaves no error to judge by" if same else "",
    }


def _verdict(row: dict[str, Any], whole: bool, margin: float, alpha: float) -> dict[str, str]:
    upper, p_min, few = row["upper"], row["p_min"], row["few"]
    said = f"{row['estimate']:.0%} above the baseline{' and whole' if whole else ''}, "
    said += f"the {row['sham_kind']} {row['sham']:.0%}"
    if few:
        return {"verdict": "undecided", "reason": f"{said}, but {few}"}
    if row["p"] < alpha and row["difference"] > 0:
        return {"verdict": "beyond sham", "reason": said}
    if row["p"] < alpha:
        return {"verdict": "not beyond sham", "reason": said}
    if upper < margin:
        return {"verdict": "not beyond sham", "reason": f"{said}: less than {margin:.0%} more"}
    why = f"no p below {p_min:.2g} with so few scenarios" if p_min >= alpha else "not shown"
    why = row["same"] or why
    return {"verdict": "undecided", "reason": f"{said}: {why}"}


def beside_published(
    trials: Trials | pd.DataFrame, alpha: float = 0.05, *, whole: bool = True
) -> pd.DataFrame:
    """Return each model's share of successes at one strength, beside the published share.

    Returns
    -------
    DataFrame
        source; n, estimate, low, high, low_exact, high_exact, over_baseline, sham, isotropic,
        success, surgical and confidence as in `steering_summary`; all but confidence after the
        intervals are missing for the
        published share.

    Notes
    -----
    The strength for a scenario is the one with the largest difference from the sham in the other
    scenarios (`at_chosen_strength`). The published study reports no sham, and does not say whether
    a text had to be whole.
    """
    table = at_chosen_strength(outcomes(trials), whole=whole)
    rows = [{"source": "Jeong 2026", "n": PUBLISHED[1], **share(*PUBLISHED, alpha)}]
    models: list[tuple[Any, pd.DataFrame]] = list(table.groupby("model", sort=True))
    for model, part in [*models, ("all models", table)]:
        rows.append(
            {
                "source": model,
                "n": len(part),
                **share_row(part[hit(whole)], part, alpha),
                "over_baseline": mean_share(part["over_baseline"], part),
                "sham": mean_share(part[f"sham_{hit(whole)}"], part),
                "isotropic": mean_share(part[f"isotropic_{hit(whole)}"], part),
                "success": mean_share(part["success"], part),
                "surgical": mean_share(part["regime"] == "surgical", part),
            }
        )
    return pd.DataFrame(rows).assign(confidence=1 - alpha)


def at_chosen_strength(table: pd.DataFrame, *, whole: bool = True) -> pd.DataFrame:
    """Keep each model's best strength among `outcomes` at the peak, chosen on other scenarios.

    The best strength has the largest share of successes in whole texts, beyond that of the shams;
    with ``whole=False``, of all successes. A choice on the same scenario would flatter the result.
    """
    table = table[table["place"] == "peak"]
    difference = table[hit(whole)].astype(float) - table[f"sham_{hit(whole)}"]
    cell = ["model", "scenario", "strength"]
    sums = table.assign(value=difference).groupby(cell)["value"].agg(["sum", "count"])
    others = sums.groupby(["model", "strength"]).transform("sum") - sums
    ranked = others.where(others["count"] > 0, sums)  # a scenario alone is its own guide
    best = (ranked["sum"] / ranked["count"]).groupby(["model", "scenario"]).idxmax()
    return table[pd.MultiIndex.from_frame(table[cell]).isin(best)]


def depth_test(
    trials: Trials | pd.DataFrame,
    scores: Scores | None = None,
    judge: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Test whether steering works best where separation peaks.

    Parameters
    ----------
    trials : Trials or DataFrame
        Trials with a sweep over depth.
    scores : Scores, optional
        One metric and one method, for the rank correlation of effect and separation over depth.
    judge : str, optional
    alpha : float
    seed : int

    Returns
    -------
    DataFrame
        One row per model: peak (depth), best (the depth of the largest share beyond the sham),
        estimate (that share at the peak minus the mean over the other depths; low, high, p over
        scenarios), spearman, n_depths, n_scenarios; verdict in {"best at peak", "better
        elsewhere", "undecided"} and reason; confidence, the level of the interval.

    Notes
    -----
    All depths are compared at the one strength of the sweep, by their successes in whole texts
    beyond those of the isotropic sham: the sweep has no matched one. A scenario counts if it has a
    judged text at every depth.
    """
    check_alpha(alpha)
    table = sweep(outcomes(trials, judge))
    table["difference"] = table["whole_success"].astype(float) - table["isotropic_whole_success"]
    rows = []
    for model, part in table.groupby("model", sort=True):
        cells = part.pivot_table(index="scenario", columns="layer", values="difference")
        complete = cells.dropna()
        depths = dict(zip(part["layer"], part["depth"], strict=True))
        blank = ("peak", "best", "estimate", "low", "high", "p", "spearman")
        row: dict[str, Any] = {
            "model": model,
            **dict.fromkeys(blank, np.nan),
            "n_depths": cells.shape[1],
            "n_scenarios": len(complete),
            "verdict": "undecided",
        }
        at_peak = part.loc[part["place"] == "peak", "layer"]
        if at_peak.empty:
            rows.append(row | {"reason": "no judged text at the peak"})
            continue
        peak = int(at_peak.iloc[0])
        row["peak"] = depths[peak]
        if complete.empty:
            rows.append(row | {"reason": "no scenario has a judged text at every depth"})
            continue
        row["best"] = depths[complete.columns[int(complete.mean().argmax())]]
        if cells.shape[1] < 2:
            rows.append(row | {"reason": "steered at one depth only"})
            continue
        elsewhere = complete.drop(columns=peak).mean(axis=1)
        found = over_scenarios((complete[peak] - elsewhere).to_numpy(float), alpha, seed)
        row |= {
            "estimate": found["difference"],
            "low": found["difference_low"],
            "high": found["difference_high"],
            "p": found["p"],
            "spearman": _rank_correlation(complete.mean(), scores, str(model)),
        }
        if found["p"] < alpha:
            row["verdict"] = "best at peak" if found["difference"] > 0 else "better elsewhere"
        row["reason"] = (
            f"{100 * found['difference']:+.0f} points at the peak against the other depths"
        )
        if len(complete) < len(cells):
            row["reason"] += f", in the {len(complete)} of {len(cells)} scenarios with all depths"
        rows.append(row)
    return pd.DataFrame(rows).assign(confidence=1 - alpha)


def sweep(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the trials of `outcomes` at the one strength of the sweep, at all depths."""
    strengths = table.loc[table["place"] == "sweep", "strength"].unique()
    if not len(strengths):
        raise InputError("the trials have no sweep over depth; set steering.sweep_every")
    return table[table["strength"].isin(strengths)].copy()


def _rank_correlation(effect: pd.Series, scores: Scores | None, model: str) -> float:
    if scores is None:
        return float("nan")
    profile = next(iter(scores.select(model=model).profiles()))
    separation = dict(zip(profile.layer.tolist(), profile.separation, strict=True))
    x = np.array([separation[layer] for layer in effect.index])
    y = effect.to_numpy(dtype=float)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.spearmanr(x, y).statistic)
