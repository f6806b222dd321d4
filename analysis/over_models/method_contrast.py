"""Test which method of extracting concept vectors separates better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.families import (
    ROUNDING,
    family_means,
    mean_of,
    mean_over_families,
    regression_over_families,
    skew_corrected,
    too_few,
)
from analysis.loading.scores import Scores, as_scores
from analysis.over_models.effect_sizes import paired_effects
from analysis.over_models.fixed_methods import WITHIN, fixed_methods
from analysis.over_models.permutation import MAX_EXACT_PAIRS, N_FLIPS, flip_p
from analysis.over_models.rank_tests import contrast_verdict, mann_whitney, signed_rank
from analysis.over_models.sums import main_rows
from analysis.profiles.uncertainty import check_alpha
from analysis.scopes import LIKE_THESE, Scope, scopes_of
from study.arrays import Float64Array
from study.read import InputError

PRIMARY = "paired over families"
COLUMNS = [
    "test",
    "scope",
    "metric",
    "model",
    "a",
    "b",
    "value",
    "n",
    "n_families",
    "estimate",
    "low",
    "high",
    "statistic",
    "df",
    "p",
    "p_holm",
    "p_min",
    "hedges_g",
    "g_low",
    "g_high",
    "rank_biserial",
    "rb_low",
    "rb_high",
    "cles",
    "cles_low",
    "cles_high",
    "flag",
    "verdict",
    "reason",
]


def method_test(
    scores: Scores | pd.DataFrame,
    *,
    a: str = "generation",
    b: str = "comprehension",
    metric: str | None = None,
    value: str = "mean",
    delta: float | None = None,
    scope: Scope | None = LIKE_THESE,
    alpha: float = 0.05,
    seed: int = 0,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    r"""Compare two methods, paired by model: over families of models, and in each model.

    Parameters
    ----------
    scores : Scores or DataFrame
        With the column method. Untrained models and shuffled labels are ignored.
    a, b : str
        Methods; a positive difference in separation favors a.
    metric : str, optional
        Default: every metric in the table.
    value : {"mean", "peak"}
        A model's value: its separation averaged over layers, or at the best layer.
    delta : float, optional
        Equivalence margin, in the metric's own units: the verdict is "alike" if the difference is
        shown to be within it. Without it, the verdict is never "alike".
    scope : {"models like these", "these models"}, optional
        Whether to generalize over families of models, or over topics with these models fixed. None
        reports both.
    alpha : float
    seed : int
        For random sign flips, with more than 16 families.
    higher_is_better : bool, optional
        For a table: whether a larger score means better separation. Default: True; an error if
        the metric's name leaves it open ("loss", "distance", "cosine").

    Returns
    -------
    DataFrame
        One row per metric and test, with the columns `COLUMNS`. The tests: "paired over families"
        (the row that counts), "sign flips" (exact, of whole families), "signed-rank" (Wilcoxon, on
        family means), "Mann-Whitney" (the one usually published; it ignores pairs and families;
        exact up to 100 values per method), "mixed model" (the method's effect), "method x
        instruct" and "method x family" (moderators; the latter has no direction). A rereading arm
        adds "state" (generation - rereading) and "text" (rereading - comprehension). "Within
        model" has one row per model, over its topic replicates, with ``p_holm`` over models. The
        scope "these models" adds "every model", whether one method is better in each of them
        (``p`` is the largest of theirs, "mixed" that each method is better somewhere).
        ``estimate, low, high`` are differences a - b in the metric's own units. Effect sizes are of
        separation over models: positive means that a is better. ``p_min`` is the smallest p that
        the design can give, ``n_families`` the number of families in the test, and ``flag`` marks
        a g beyond 5. Verdicts: "a better", "b better", "alike", "mixed", "undecided".
        ``confidence`` is the level of the intervals.

    Raises
    ------
    InputError
        If a method is not in the table, `value` is unknown, or alpha is no level.

    Notes
    -----
    The difference is the mean of the families' mean differences (`mean_over_families`). With few
    families, Student's t rejects too often if the differences have a long tail. So p is the larger
    of Student's over families and that of Hall's skewness-corrected t over models
    (`skew_corrected`), or 1 if the two means differ in sign; the interval covers both. At the 5%
    level, with 9, 12 or 20 models of four or five families (20,000 simulations each), this rejects
    a true null in 2 to 3% for normal and in 4 to 5% for exponential differences of the models,
    where Student's test rejects it in 5% and in 7 to 9%. If the families share an effect, it is 5%
    for a normal one, and 9 to 11% for an exponential one: four or five values do not show their
    long tail. The correction costs at most six percentage points of power (37% instead of 43% with
    nine models at an effect of 0.8 SD). With fewer than three families the verdict is "undecided".
    Hedges' g has Student's interval [2]_. The common-language effect size (CLES) is P(a > b): over
    all pairs, with Newcombe's score interval [1]_, for Mann-Whitney, and within models, with
    Wilson's interval, for paired tests. The rank-biserial correlation is 2 CLES - 1 for
    Mann-Whitney, and the difference of the rank sums over their total for pairs, with Wilson's
    interval at n = (sum rank)^2 / sum rank^2.

    If each model has each method once, ``value ~ method * instruct + (method | family) +
    (1 | model)`` is a regression of the difference on instruct with random families. "Mixed model"
    is the effect midway between models with and without instruction tuning. Families are assumed
    to have half of the variance. The errors are cluster-robust: they are valid whatever families
    share (`regression_over_families`).

    References
    ----------
    .. [1] Newcombe, R. G. (2006). Confidence intervals for an effect size measure based on the
       Mann-Whitney statistic, part 2. Statistics in Medicine, 25, 559-573 (method 5).
    .. [2] Hedges, L. V., & Olkin, I. (1985). Statistical methods for meta-analysis.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(methods=("comprehension", "generation"), method_effect=0.05)
    >>> method_test(study).loc[0, ["test", "verdict"]].tolist()
    ['paired over families', 'a better']
    """
    if value not in ("mean", "peak"):
        raise InputError(f"value {value!r} is unknown; there are 'mean' and 'peak'")
    check_alpha(alpha)
    scores = as_scores(scores, higher_is_better)
    for name in (a, b):
        if name not in set(scores.table["method"]):
            raise InputError(
                f"method {name!r} is not in the table; it has "
                + ", ".join(map(repr, sorted(scores.table["method"].unique())))
            )
    scores = main_rows(scores)
    metrics = [metric] if metric is not None else sorted(scores.table["metric"].unique())
    rng, wanted = np.random.default_rng(seed), scopes_of(scope)
    tables = []
    for name in metrics:
        of_metric = scores.select(metric=name)
        wide, facts, draws = method_values(of_metric, value)
        rows: list[dict[str, Any]] = []
        if LIKE_THESE in wanted:
            rows += _rows(wide, facts, a, b, delta, alpha, rng)
        pairs, n_topics = wide[[a, b]].dropna(), next(of_metric.profiles()).n_topics
        copies = _paired(draws, a, b)
        rows += fixed_methods(pairs[a] - pairs[b], (a, b), copies, n_topics, alpha, delta)
        for row in rows:
            row.setdefault("scope", LIKE_THESE)
        rows = [row for row in rows if row["scope"] in wanted or row["test"] == WITHIN]
        sign = scores.directions[name]
        for row in rows:
            ends = sorted(sign * row[end] for end in ("low", "high"))
            row |= {"metric": name, "a": row.get("a", a), "b": row.get("b", b), "value": value}
            row |= {"estimate": sign * row["estimate"], "low": ends[0], "high": ends[1]}
        tables.append(pd.DataFrame(rows).reindex(columns=COLUMNS))
    out = pd.concat(tables, ignore_index=True)
    for column, default in (("model", "all"), ("flag", "")):
        out[column] = out[column].astype(object).where(out[column].notna(), default)
    return out.assign(confidence=1 - alpha)


def _rows(
    wide: pd.DataFrame,
    facts: pd.DataFrame,
    a: str,
    b: str,
    delta: float | None,
    alpha: float,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """Yield the rows over families for one metric, in units of separation."""
    pairs = wide[[a, b]].dropna()
    unpaired = sorted(set(wide.index[wide[[a, b]].notna().any(axis=1)]) - set(pairs.index))
    note = f"; {', '.join(unpaired)} left out, with one method only" if unpaired else ""
    x, y = pairs[a].to_numpy(dtype=np.float64), pairs[b].to_numpy(dtype=np.float64)
    family = facts.loc[pairs.index, "family"].tolist()
    yield {"test": PRIMARY, **paired_over_families(x, y, family, alpha, delta, note)}
    of_x, of_y = (family_means(v, family) if v.size else v for v in (x, y))
    counts = {"n": x.size, "n_families": of_x.size}
    yield {"test": "sign flips", **sign_flips(of_x, of_y, alpha, rng, note), **counts}
    yield {"test": "signed-rank", **signed_rank(of_x, of_y, alpha, note), **counts}
    yield {
        "test": "Mann-Whitney",
        **mann_whitney(
            wide[a].dropna().to_numpy(dtype=np.float64),
            wide[b].dropna().to_numpy(dtype=np.float64),
            alpha,
        ),
    }
    yield from _moderators(x - y, facts.loc[pairs.index], alpha)
    if "rereading" in wide and {a, b} == {"generation", "comprehension"}:
        for test, first, second in (
            ("state", "generation", "rereading"),
            ("text", "rereading", "comprehension"),
        ):
            paired = wide[[first, second]].dropna()
            x, y = paired.to_numpy(dtype=np.float64).T
            family = facts.loc[paired.index, "family"].tolist()
            found = paired_over_families(x, y, family, alpha, delta)
            yield {"test": test, "a": first, "b": second, **found}


def _paired(draws: dict[tuple[str, str], Float64Array], a: str, b: str) -> dict[str, Float64Array]:
    """Return the difference of the methods in each replicate of the models that have both."""
    out = {}
    for model, method in draws:
        if method == a and (model, b) in draws:
            first, second = draws[model, a], draws[model, b]
            n = min(first.size, second.size)
            out[model] = first[:n] - second[:n]
    return out


def method_values(
    scores: Scores, value: str
) -> tuple[pd.DataFrame, pd.DataFrame, dict[tuple[str, str], Float64Array]]:
    """One value per model (rows) and method (columns), facts about models, and replicates."""
    rows, draws = [], {}
    for profile in _same_emotions(scores).profiles():
        model, method = str(profile.keys["model"]), str(profile.keys["method"])
        reduce = np.mean if value == "mean" else np.max
        rows.append(
            {
                **profile.keys,
                "model": model,
                "method": method,
                "value": float(reduce(profile.separation)),
            }
        )
        if profile.replicates is not None:
            draws[model, method] = np.asarray(reduce(profile.replicates, axis=1))
    table = pd.DataFrame(rows)
    twice = table.duplicated(["model", "method"])
    if twice.any():
        model = table.loc[twice, "model"].iloc[0]
        raise InputError(
            f"model {model!r} has several seeds or precisions; choose one with scores.select(...)"
        )
    wide = table.set_index(["model", "method"])["value"].unstack("method")
    return wide, table.groupby("model")[["family", "instruct"]].first(), draws


def _same_emotions(scores: Scores) -> Scores:
    """Keep each model's emotions that it has under every method: pairs must be comparable."""
    table = scores.table
    if len(table) == len(table.drop_duplicates(["model", "method", "layer"])) * len(
        table["emotion"].unique()
    ):
        return scores
    of = table.groupby(["model", "emotion"])["method"].nunique()
    full = of.eq(table.groupby("model")["method"].nunique(), level="model")
    if not full.groupby(level="model").any().all():
        model = full.groupby(level="model").any().idxmin()
        raise InputError(
            f"model {model!r} has no emotion under both methods; compare methods that share them"
        )
    keep = full.reindex(pd.MultiIndex.from_frame(table[["model", "emotion"]])).to_numpy(dtype=bool)
    return scores if keep.all() else replace(scores, table=table[keep])


def paired_over_families(
    x: Float64Array,
    y: Float64Array,
    family: list[str],
    alpha: float,
    delta: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    """Test the mean of x - y with the family as the unit, robust to skewed differences."""
    difference = x - y
    row: dict[str, Any] = dict.fromkeys(("estimate", "low", "high", "p"), np.nan)
    row |= {"n": x.size, "n_families": len(set(family)), "verdict": "undecided"}
    if x.size == 0:
        return row | {"reason": f"no model has both methods{note}"}
    mean = mean_over_families(difference, family)
    row |= {"estimate": mean.estimate, "df": mean.df, "p_min": 0.0} | paired_effects(x, y, alpha)
    if mean.exact:
        few = too_few(mean.n_families) if mean.n_families < 2 else ""
        return row | {
            "reason": (few or "the families do not differ: no error to test against") + note
        }
    low, high = mean.ends(alpha)
    row |= {"low": low, "high": high, "statistic": mean.estimate / mean.se, "p": mean.p()}
    if few := too_few(mean.n_families):
        return row | {"reason": few + note}
    low, high, p = skew_corrected(difference, alpha)
    if difference.mean() * mean.estimate <= 0:
        p = 1.0  # a difference in the other direction is no support
    row |= {"low": min(low, row["low"]), "high": max(high, row["high"]), "p": max(p, row["p"])}
    decided = contrast_verdict(row, alpha, note)
    if decided["verdict"] == "undecided" and delta is not None:
        p = mean.p_within(-delta, delta)
        if p <= alpha:
            reason = f"the difference is within {delta:g} (equivalence p = {p:.3g}){note}"
            decided = {"verdict": "alike", "reason": reason}
    return row | decided


def sign_flips(
    x: Float64Array, y: Float64Array, alpha: float, rng: np.random.Generator, note: str
) -> dict[str, Any]:
    """Exact sign-flip test of the mean of x - y, with Student's interval."""
    mean = mean_of(x - y)
    row: dict[str, Any] = {"n": mean.n, "estimate": mean.estimate, "p": np.nan}
    row["low"], row["high"] = mean.ends(alpha)
    row |= {"p_min": 2.0 ** (1 - mean.n) if 0 < mean.n <= MAX_EXACT_PAIRS else 1 / (N_FLIPS + 1)}
    if mean.n == 0:
        return row | {"verdict": "undecided", "reason": f"no model has both methods{note}"}
    row |= {"p": flip_p(x - y, rng)}
    return row | paired_effects(x, y, alpha) | contrast_verdict(row, alpha, note)


def _moderators(
    difference: Float64Array, facts: pd.DataFrame, alpha: float
) -> Iterator[dict[str, Any]]:
    """Yield the mixed model's method effect, method x instruct, and method x family (one-way)."""
    row: dict[str, Any] = {
        "n": difference.size,
        "estimate": np.nan,
        "low": np.nan,
        "high": np.nan,
        "p": np.nan,
        "p_min": 0.0,
        "verdict": "undecided",
    }
    instruct = facts["instruct"].to_numpy(dtype=bool)
    both = 0 < instruct.sum() < instruct.size
    design = np.column_stack([np.ones(instruct.size), instruct - 0.5])[:, : 1 + both]
    family = facts["family"].to_numpy()
    names = ("mixed model", "method x instruct")
    n_families = len(set(family))
    row["n_families"] = n_families
    spread = np.ptp(difference) if difference.size else 0.0
    few = too_few(n_families) or (
        ""
        if difference.size > design.shape[1] and spread > ROUNDING * np.abs(difference).max()
        else "too few models, or all with one difference"
    )
    if few:
        for test in names:
            yield row | {"test": test, "reason": few}
    else:
        cov = 0.5 * np.eye(difference.size) + 0.5 * (family[:, None] == family)
        fits = regression_over_families(difference, design, family, cov)
        for test, fit in zip(names, fits, strict=False):
            if fit.exact or not fit.df >= 1:
                reason = "too few families differ in instruction tuning"
                yield row | {"test": test, "estimate": fit.estimate, "reason": reason}
                continue
            low, high = fit.ends(alpha)
            here = row | {
                "estimate": fit.estimate,
                "low": low,
                "high": high,
                "df": fit.df,
                "statistic": fit.estimate / fit.se,
                "p": fit.p(),
            }
            note = (
                ""
                if test == names[0]
                else ("; the effect with instruction tuning less the one without")
            )
            yield here | {"test": test} | contrast_verdict(here, alpha, note)
        if not both:
            yield row | {"test": names[1], "reason": "all or no models are instruction-tuned"}
    groups = [difference[facts["family"].to_numpy() == f] for f in facts["family"].unique()]
    within = sum(float(g.var()) * g.size for g in groups)
    least = (ROUNDING * np.abs(difference).max(initial=0.0)) ** 2
    if len(groups) < 2 or difference.size == len(groups) or within <= least:
        yield row | {"test": "method x family", "reason": "no family with two models, or one only"}
        return
    result = stats.f_oneway(*groups)
    shown = "differs" if result.pvalue <= alpha else "is not shown to differ"
    yield row | {
        "test": "method x family",
        "statistic": result.statistic,
        "p": result.pvalue,
        "reason": f"the method effect {shown} between families (p = {result.pvalue:.3g})",
    }
