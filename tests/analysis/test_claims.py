"""Claims that contradict the published one, tested on data with a known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.claims.contested import (
    DISTANCE,
    precision,
    tuning,
    valence,
    valence_table,
)
from analysis.loading.scores import Scores, as_scores
from analysis.over_models.precision import one_precision, precision_test
from analysis.planning.simulate import simulate_scores
from study.read import InputError

VALENCES = np.linspace(-1, 1, 20) ** 3
DEPTHS = np.linspace(0, 1, 13)


def distances(slopes: dict[str, np.ndarray], noise: float = 0.02) -> Scores:
    """Make mean squared distances between emotions; valence contributes s (v_i - v_j)^2."""
    rng = np.random.default_rng(1)
    n = VALENCES.size
    rows = []
    for model, slope in slopes.items():
        for depth, s in zip(DEPTHS, slope, strict=True):
            apart = s * (VALENCES[:, None] - VALENCES) ** 2 + 1 + noise * rng.normal(size=(n, n))
            apart = (apart + apart.T) / 2
            np.fill_diagonal(apart, 0)
            for i, score in enumerate(apart.sum(axis=1) / (n - 1)):
                rows.append((model, "f", depth, score, f"e{i}", DISTANCE, "comprehension"))
    columns = ["model", "family", "depth", "score", "emotion", "metric", "method"]
    run = {"emotions": [{"name": f"e{i}", "valence": v} for i, v in enumerate(VALENCES)]}
    return replace(as_scores(pd.DataFrame(rows, columns=columns)), run=run)


FALLING, RISING = np.linspace(3, 0, 13), np.linspace(0, 3, 13)


def test_share_of_valence_is_that_of_the_squared_distances() -> None:
    found = valence_table(distances({"m": FALLING}, noise=0.0))
    apart = (VALENCES[:, None] - VALENCES) ** 2
    mean = apart.sum() / (VALENCES.size * (VALENCES.size - 1))
    assert np.allclose(found["share"], FALLING * mean / (FALLING * mean + 1))
    assert (found["low"] <= 1e-12).all()
    assert found.loc[0, "share"] > found.loc[0, "high"]


@pytest.mark.parametrize(
    ("slopes", "verdict"),
    [
        ({"a": FALLING, "b": RISING}, "supported"),
        ({"a": RISING, "b": RISING + 0.3}, "contradicted"),
        ({"a": FALLING, "b": FALLING + 0.3}, "contradicted"),
        ({"a": 0 * RISING, "b": 0 * RISING}, "undecided"),
        ({"a": RISING}, "not testable"),
    ],
)
def test_valence_is_judged_by_its_course(slopes: dict[str, np.ndarray], verdict: str) -> None:
    found = valence(distances(slopes, noise=0.2), "comprehension", 0.05)
    assert found["verdict"] == verdict, found


def test_valence_needs_distances_and_valences() -> None:
    with pytest.raises(InputError, match="lacks the metric crossnobis"):
        valence(simulate_scores(n_emotions=3), "comprehension", 0.05)
    with pytest.raises(InputError, match="no valence for"):
        valence(replace(distances({"m": RISING}), run={}), "comprehension", 0.05)


def pairs(moved: float, n: int = 4, tuned_larger: bool = True, seed: int = 0) -> Scores:
    """Make families of one base and one tuned model, with peaks `moved` apart."""
    parts = []
    rng = np.random.default_rng(seed)
    for family in range(n):
        base = 0.4 + 0.05 * rng.normal()
        for tuned in (False, True):
            peak = base + moved * tuned + 0.01 * rng.normal()
            depth = np.linspace(0, 1, 25)
            parts.append(
                pd.DataFrame(
                    {
                        "model": f"{family}-{tuned}",
                        "family": f"f{family}",
                        "instruct": tuned,
                        "n_params": 2e8 if tuned and tuned_larger else 1e8,
                        "depth": depth,
                        "score": 0.9 - 0.5 * (depth - peak) ** 2 + 0.002 * rng.normal(size=25),
                        "method": "comprehension",
                    }
                )
            )
    return as_scores(pd.concat(parts))


def test_tuning_is_judged_within_families() -> None:
    moved = tuning(pairs(0.2), "comprehension", 0.05, 0.1)
    assert moved["verdict"] == "supported"
    assert moved["low"] < 0.2 < moved["high"]
    assert "larger in four families" in moved["reason"]
    assert (
        "larger" not in tuning(pairs(0.2, tuned_larger=False), "comprehension", 0.05, 0.1)["reason"]
    )
    still = tuning(pairs(0.0), "comprehension", 0.05, 0.1)
    assert still["verdict"] == "contradicted"
    one_kind = as_scores(pairs(0.2).table.assign(instruct=True))
    assert "no family" in tuning(one_kind, "comprehension", 0.05, 0.1)["reason"]
    assert "two are needed" in tuning(pairs(0.2, n=1), "comprehension", 0.05, 0.1)["reason"]


def test_precision_is_paired_by_model() -> None:
    rng = np.random.default_rng(0)
    table = pairs(0.0).table.assign(precision="float16")
    loss = table["model"].map({m: 0.05 + 0.005 * rng.normal() for m in table["model"].unique()})
    both = pd.concat([table, table.assign(precision="int8", score=table["score"] - loss)])
    found = precision(precision_test(both))
    assert found["verdict"] == "supported"
    assert found["n"] == 8
    assert found["estimate"] == pytest.approx(-loss.groupby(table["model"]).first().mean())
    # Where smaller is better, the metric rises with the loss, and separation does not.
    distance = both.assign(metric="cosine", score=1 - both["score"])
    rise = precision(precision_test(distance, higher_is_better=False))
    assert rise["verdict"] == "supported"
    assert rise["reason"].startswith(f"cosine changes by {rise['estimate']:+.3f} from the highest")
    assert rise["estimate"] == pytest.approx(-found["estimate"])
    with pytest.raises(InputError, match="no model with the same weights at two precisions"):
        precision_test(table)


def test_other_tests_use_one_precision_per_model() -> None:
    table = simulate_scores(families=(2, 2), methods=("comprehension", "generation")).table
    read = table[table["method"] == "comprehension"]
    lower = read.assign(precision="bfloat16", score=read["score"] - 0.1)
    kept = one_precision(as_scores(pd.concat([lower, table]))).table
    assert set(kept["precision"]) == {"float32"}
    assert len(kept) == len(table)
    whole = pd.concat([table, table.assign(precision="Q4_K_M bfloat16")])
    assert set(one_precision(as_scores(whole)).table["precision"]) == {"float32"}
