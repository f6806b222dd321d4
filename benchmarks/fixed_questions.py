"""The questions about these models: the models fixed, the topics the sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from generator import Study

from analysis import (
    causal_profile,
    control_test,
    invariance_test,
    localization_test,
    method_test,
    scale_test,
    u_shape_test,
)
from analysis.claims.fixed_contested import embeddings
from analysis.scopes import THESE

ALPHA, DELTA = 0.05, 0.1
Answer = dict[str, float]


def covered(rows: pd.DataFrame, truth: pd.Series | float) -> float:
    """Return the share of rows whose interval covers the truth; NaN without intervals."""
    known = rows["low"].notna() & rows["high"].notna()
    right = (rows["low"] <= truth) & (truth <= rows["high"])
    return float(right[known].mean()) if known.any() else np.nan


def words(row: pd.Series, *verdicts: str) -> Answer:
    """Return 1 for the verdict reached and 0 for the other words."""
    return {word: float(row["verdict"] == word) for word in verdicts}


def peaks(study: Study) -> Answer:
    """Ask where each model peaks; the truth is a depth for each, by name."""
    table = localization_test(study.scores(), target=0.5, delta=DELTA, alpha=ALPHA, scope=THESE)
    whole, each = table.iloc[0], table.iloc[1:]
    truth = each["model"].map(study.truth)
    return {
        **words(whole, "at target", "elsewhere", "undecided"),
        "each model's interval covers": covered(each, truth),
        "interval of the mean covers": covered(table.iloc[:1], float(truth.mean())),
    }


def curves(study: Study) -> Answer:
    """Ask whether the models have the same curve."""
    table = invariance_test(study.scores(), alpha=ALPHA, scope=THESE)
    whole, pairs = table.iloc[0], table.iloc[1:]
    return {
        **words(whole, "invariant", "not invariant", "undecided"),
        "a pair differs": float((pairs["p"] < ALPHA).mean()),
        "shapes differ": float((pairs["p_shape"] < ALPHA).mean()),
        "amplitudes differ": float((pairs["p_amplitude_differs"] < ALPHA).mean()),
        "levels differ": float((pairs["p_level"] < ALPHA).mean()),
    }


def methods(study: Study) -> Answer:
    """Ask whether one method is better in every model; the truth is each model's difference."""
    table = method_test(study.scores(), alpha=ALPHA, scope=THESE)
    whole, each = table.iloc[0], table[table["test"] == "within model"]
    truth = each["model"].map(study.truth)
    null = each[truth == 0]
    return {
        **words(whole, "a better", "b better", "mixed", "undecided"),
        "each model's interval covers": covered(each, truth),
        "interval of the mean covers": covered(table.iloc[:1], float(truth.mean())),
        "a difference in a model": float((null["p"] < ALPHA).mean()) if len(null) else np.nan,
        "a difference after Holm": float((null["p_holm"] < ALPHA).any()) if len(null) else np.nan,
    }


def scale(study: Study) -> Answer:
    """Ask whether the peak moves with size."""
    table = scale_test(study.scores(), delta=DELTA, alpha=ALPHA, scope=THESE)
    return {
        **words(table.iloc[0], "invariant", "not invariant", "undecided"),
        "interval covers": covered(table, study.truth["scale"]),
    }


def first_layer(study: Study) -> Answer:
    """Ask whether layer 0 has more than half of each model's best layer."""
    scores = study.scores()
    run = {**scores.run, "metrics": {"score": {"chance": 0.5}}}
    row = pd.Series(embeddings(replace(scores, run=run), "comprehension", "score", ALPHA, 0))
    return {
        **words(row, "supported", "contradicted", "undecided"),
        "interval covers": float(row["low"] <= study.truth["share"] <= row["high"]),
    }


def shapes(study: Study) -> Answer:
    """Ask whether every model has a hump; "otherwise" is that one is shown to have none."""
    table = u_shape_test(study.scores(), alpha=ALPHA, scope=THESE)
    row = table[table["level"] == THESE].iloc[0]
    return {
        **words(row, "hump", "mixed", "undecided"),
        "otherwise": float(row["p_otherwise"] < ALPHA),
    }


def learned(study: Study) -> Answer:
    """Ask whether every model has learned its hump."""
    table = control_test(study.scores(), alpha=ALPHA, scope=THESE)
    rows = table[(table["level"] == THESE) & (table["contrast"] == "trained - untrained")]
    return words(rows.iloc[0], "learned", "not learned", "undecided")


def causal(study: Study) -> Answer:
    """Ask where ablation loses most; the truth is each model's distance from its peak."""
    scores = replace(study.scores(), directions={"separation_lost": 1, "auc": 1})
    table = causal_profile(scores, delta=DELTA, alpha=ALPHA)
    table = table[table["scope"] == THESE]
    each = table[table["compared"] == "separation"]
    first, between = each.iloc[0], table[table["compared"] == "models"].iloc[0]
    return {
        "same depth": float((each["verdict"] == "same depth").mean()),
        "another depth": float((each["verdict"] == "another depth").mean()),
        "first same": float(first["verdict"] == "same depth"),
        "first lost": float(first["p_lost"] < ALPHA),
        "models together": float(between["verdict"] == "same depth"),
        "models apart": float(between["verdict"] == "another depth"),
        "each model's interval covers": covered(each, each["model"].map(study.truth)),
    }


#: The function behind each question.
FIXED_TESTED: Mapping[str, Callable[..., Any]] = {
    "localization_test, these models": localization_test,
    "invariance_test, these models": invariance_test,
    "method_test, these models": method_test,
    "scale_test, these models": scale_test,
    "embeddings, these models": embeddings,
    "u_shape_test, these models": u_shape_test,
    "control_test, these models": control_test,
    "causal_profile": causal_profile,
}
FIXED_QUESTIONS: Mapping[str, Callable[[Study], Answer]] = {
    "localization_test, these models": peaks,
    "invariance_test, these models": curves,
    "method_test, these models": methods,
    "scale_test, these models": scale,
    "embeddings, these models": first_layer,
    "u_shape_test, these models": shapes,
    "control_test, these models": learned,
    "causal_profile": causal,
}
