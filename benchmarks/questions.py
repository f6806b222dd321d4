"""The questions of the calibration: each runs one public test and checks its answer.

Every question takes a `Study` and returns quantities between 0 and 1 (or an error in depth), or NaN
if the study has none, such as the coverage of an interval that was not returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from fixed_questions import FIXED_QUESTIONS, FIXED_TESTED
from generator import Study
from scipy import stats

from analysis import (
    control_test,
    fit_curves,
    localization_test,
    method_test,
    scale_test,
    u_shape_test,
)
from analysis.over_models.invariance import decide_invariance
from analysis.over_models.sums import curve_data
from analysis.profiles.mean_forms import MEAN_KNOTS
from analysis.profiles.splines import natural_spline, spread_knots
from study.arrays import Float64Array

ALPHA, DELTA = 0.05, 0.1
#: Enough for rates: a bootstrap of 199 can give p = 0.05.
N_BOOT = 199

Answer = dict[str, float]


def verdicts(row: pd.Series, *words: str) -> Answer:
    """Return 1 for the verdict reached and 0 for the other words."""
    return {word: float(row["verdict"] == word) for word in words}


def covers(row: pd.Series, truth: float) -> float:
    """Return whether the interval covers the truth; NaN without an interval."""
    if not (np.isfinite(row["low"]) and np.isfinite(row["high"])):
        return np.nan
    return float(row["low"] <= truth <= row["high"])


def ordinary_shape(table: pd.DataFrame) -> Answer:
    """Regress on depth as if layers were independent, with an intercept for each profile.

    Returns whether Lind and Mehlum's test finds a turn, and whether the quadratic term is
    significant.
    """
    depth, y = table["depth"].to_numpy(), table["score"].to_numpy()
    X = np.column_stack([pd.get_dummies(table["model"]).to_numpy(float), depth, depth**2])
    inverse = np.linalg.inv(X.T @ X)
    b = inverse @ X.T @ y
    df = len(y) - X.shape[1]
    cov = (((y - X @ b) ** 2).sum() / df * inverse)[-2:, -2:]
    ends = np.array([[1.0, 2 * depth.min()], [1.0, 2 * depth.max()]])
    t = ends @ b[-2:] / np.sqrt(np.einsum("ij,jk,ik->i", ends, cov, ends))
    p = min(max(stats.t.sf(s * t[0], df), stats.t.cdf(s * t[1], df)) for s in (1, -1))
    term = 2 * stats.t.sf(abs(b[-1]) / np.sqrt(cov[1, 1]), df)
    return {"turn, ordinary": float(p <= ALPHA), "quadratic term": float(term <= ALPHA)}


def localization(study: Study) -> Answer:
    """Ask where the peak is."""
    row = localization_test(study.scores(), target=0.5, delta=DELTA, alpha=ALPHA).iloc[0]
    truth = study.truth.get("peak", np.nan)
    given = np.isfinite(row["estimate"])
    return {
        **verdicts(row, "at target", "elsewhere", "undecided"),
        "interval covers": covers(row, truth),
        "estimate given": float(given),
        "squared error": (row["estimate"] - truth) ** 2 if given else np.nan,
        "width": row["high"] - row["low"],
    }


def methods(study: Study) -> Answer:
    """Ask which of two methods separates better."""
    table = method_test(study.scores(), a="generation", b="comprehension", alpha=ALPHA)
    table = table[table["model"] == "all"].set_index("test")
    row = table.iloc[0]
    mixed = table.loc["mixed model", "p"] if "mixed model" in table.index else np.nan
    ranks = table.loc["Mann-Whitney", "p"] if "Mann-Whitney" in table.index else np.nan
    return {
        **verdicts(row, "a better", "b better", "undecided"),
        "a difference": float(row["verdict"] in ("a better", "b better")),
        "interval covers": covers(row, study.truth.get("method", 0.0)),
        "mixed model p": share_below(mixed),
        "Mann-Whitney p": share_below(ranks),
    }


def share_below(p: float) -> float:
    """Return whether p is significant; NaN without a p."""
    return float(p <= ALPHA) if np.isfinite(p) else np.nan


def scale(study: Study) -> Answer:
    """Ask whether the peak moves with size."""
    row = scale_test(study.scores(), delta=DELTA, alpha=ALPHA).iloc[0]
    return {
        **verdicts(row, "invariant", "not invariant", "undecided"),
        "interval covers": covers(row, study.truth.get("scale", 0.0)),
    }


def invariance(study: Study) -> Answer:
    """Ask whether families share the curve; leave out MixedLM, which decides nothing."""
    data = curve_data(study.scores(), "score")
    row = decide_invariance(data, DELTA, N_BOOT, 0, ALPHA)
    return {
        **verdicts(pd.Series(row), "invariant", "not invariant", "undecided"),
        "chi-square p": share_below(row["p_chi2"]),
        **{
            f"says {word}": float(word in row["reason"])
            for word in ("level", "amplitude", "place", "shape")
        },
    }


SHAPES = ("hump", "trough", "monotone", "plateau", "several peaks", "undecided")


def shape_words(verdict: str) -> Answer:
    """Return 1 for the verdict reached; words that qualify a hump count as a hump."""
    kind = next((word for word in SHAPES if word in verdict), "other")
    answer = {word: float(kind == word) for word in (*SHAPES, "other")}
    return answer | {"turn": float(kind in ("hump", "trough", "several peaks"))}


def shape_of_models(study: Study) -> Answer:
    """Ask for the shape over models."""
    table = study.shapes
    row = table[table["level"] == "models"].iloc[0]
    return shape_words(row["verdict"]) | ordinary_shape(study.table)


def shape_of_profiles(study: Study) -> Answer:
    """Ask for the shape of every profile; the answer is the share of profiles."""
    table = study.shapes
    profiles = table.loc[table["level"] == "profile", "verdict"]
    ordinary = [ordinary_shape(rows) for _, rows in study.table.groupby("model")]
    return mean([shape_words(v) for v in profiles]) | mean(ordinary)


def mean(answers: list[Answer]) -> Answer:
    """Average answers over profiles."""
    return {k: float(v) for k, v in pd.DataFrame(answers).mean().items()}


def bare_shape(study: Study) -> Answer:
    """Ask for the shape of one bare curve, and of the same curve with its true errors."""
    return bare_shapes([study])[0]


def bare_shapes(studies: Sequence[Study]) -> list[Answer]:
    """Ask for the shapes of bare curves, one per study, in one table."""

    def numbered(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
        named = [table.assign(model=f"curve {i:03}") for i, table in enumerate(tables)]
        return pd.concat(named, ignore_index=True)

    def shapes(all_of_them: Study) -> list[str]:
        rows = all_of_them.shapes
        return list(rows.loc[rows["level"] == "profile"].sort_values("model")["verdict"])

    together = Study(numbered(s.table for s in studies))
    out = [
        shape_words(verdict) | ordinary_shape(study.table)
        for verdict, study in zip(shapes(together), studies, strict=True)
    ]
    if studies[0].replicates is not None:
        again = numbered(s.replicates for s in studies if s.replicates is not None)
        for answer, verdict in zip(out, shapes(replace(together, replicates=again)), strict=True):
            word = shape_words(verdict)
            answer |= {f"{w}, true errors": word[w] for w in ("hump", "monotone", "undecided")}
        again = numbered(known_correlation(s) for s in studies)
        topics = len(studies[0].table) - MEAN_KNOTS + 1
        known = replace(together, replicates=again, topics=topics)
        for answer, verdict in zip(out, shapes(known), strict=True):
            word = shape_words(verdict)
            answer |= {f"{w}, known correlation": word[w] for w in ("hump", "monotone")}
    return out


def known_correlation(study: Study) -> pd.DataFrame:
    """Return replicates of a bare curve that have the noise's correlation and a fitted variance."""
    depth, y = study.table["depth"].to_numpy(), study.table["score"].to_numpy()
    n, df = len(y), len(y) - MEAN_KNOTS
    correlation = study.truth["rho"] ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    root = np.linalg.cholesky(correlation)
    form = np.linalg.solve(root, natural_spline(depth, spread_knots(depth, MEAN_KNOTS)))
    white = np.linalg.solve(root, y)
    rest = white - form @ np.linalg.lstsq(form, white, rcond=None)[0]
    # The bootstrap of df + 1 topics is corrected by (df + 1) / df.
    sd = np.sqrt(rest @ rest / (df + 1))
    drawn = y + sd * np.random.default_rng(0).standard_normal((200, n)) @ root.T
    table = pd.concat([study.table.drop(columns="emotion")] * len(drawn), ignore_index=True)
    return table.assign(replicate=np.repeat(np.arange(len(drawn)), n), score=drawn.ravel())


def peaks_of_profiles(study: Study) -> Answer:
    """Ask where each profile peaks; return how often there is an estimate, and a right one."""
    curves = fit_curves(study.scores(), alpha=ALPHA)
    truth = study.truth.get("peak", np.nan)
    out: dict[str, Float64Array] = {}
    for name in ("vertex", "extremum", "center", "peak"):
        if name not in curves:
            continue
        low, high = curves[f"{name}_low"], curves[f"{name}_high"]
        given = np.isfinite(curves[name].astype(float))
        right = (low <= truth) & (truth <= high)
        out[f"{name} given"] = given.mean()
        out[f"{name} interval covers"] = right[given].mean() if given.any() else np.nan
    return {k: float(v) for k, v in out.items()}


def controls(study: Study) -> Answer:
    """Ask whether a hump is learned."""
    table = control_test(study.scores(), alpha=ALPHA)
    row = table[(table["level"] == "models") & (table["contrast"] == "trained - untrained")].iloc[0]
    return verdicts(row, "learned", "not learned", "undecided")


#: The public function behind each question.
TESTED: Mapping[str, Callable[..., Any]] = {
    "localization_test": localization_test,
    "method_test": method_test,
    "scale_test": scale_test,
    "invariance_test": decide_invariance,
    "u_shape_test, models": u_shape_test,
    "u_shape_test, profiles": u_shape_test,
    "u_shape_test, bare": u_shape_test,
    "fit_curves": fit_curves,
    "control_test": control_test,
    **FIXED_TESTED,
}
#: Questions that cost less when asked about many studies at once.
TOGETHER: Mapping[str, Callable[[Sequence[Study]], list[Answer]]] = {
    "u_shape_test, bare": bare_shapes
}
QUESTIONS: Mapping[str, Callable[[Study], Any]] = {
    "localization_test": localization,
    "method_test": methods,
    "scale_test": scale,
    "invariance_test": invariance,
    "u_shape_test, models": shape_of_models,
    "u_shape_test, profiles": shape_of_profiles,
    "u_shape_test, bare": bare_shape,
    "fit_curves": peaks_of_profiles,
    "control_test": controls,
    **FIXED_QUESTIONS,
}
