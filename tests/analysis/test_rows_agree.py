"""The numbers and words of one row agree with each other, and with those of related rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import control_test, invariance_test, localization_test, u_shape_test
from analysis.loading.scores import Scores
from analysis.planning.simulate import combine, simulate_scores
from analysis.scopes import THESE


def test_a_hump_that_no_model_learned_is_learned_by_none_of_these_models() -> None:
    same: dict[str, Any] = {"families": (1, 1, 1), "noise_sd": 2e-5, "rho": 0.5, "seed": 1}
    same |= {"n_layers": (24, 24), "n_topics": 24}
    # The difference is far beyond its error, and far within the margin.
    twins = simulate_scores(height=0.097, weights="untrained", **same)
    tests = control_test(combine(simulate_scores(height=0.1, **same), twins), scope=None)
    tests = tests[tests["contrast"] == "trained - untrained"]
    assert (tests["verdict"] == "not learned").all()
    row = tests[tests["level"] == THESE].iloc[0]
    assert row["p"] == 1.0
    assert row["p_not"] < 0.001


@pytest.mark.parametrize("shape", ["rising", "trough"])
def test_a_quadratic_without_a_peak_has_no_place_of_one(shape: str) -> None:
    scores = simulate_scores(families=(1, 1, 1), shape=shape, noise_sd=0.006, n_topics=12, seed=0)
    rows = localization_test(scores, scope=THESE, peak="vertex")
    assert rows[["estimate", "low", "high"]].isna().all(axis=None)
    assert set(rows["verdict"]) <= {"elsewhere", "undecided"}
    assert not rows["reason"].str.contains("nan").any()


def curve_of(model: str, vertex: float, sd: float, seed: int) -> Scores:
    drawn = simulate_scores(
        families=(1,),
        n_layers=(24, 24),
        vertex=vertex,
        noise_sd=sd,
        rho=0.5,
        seed=seed,
        n_topics=24,
    )
    named = {"model": model, "family": model}
    copies = drawn.replicates
    assert copies is not None
    return replace(drawn, table=drawn.table.assign(**named), replicates=copies.assign(**named))


def test_a_difference_that_is_shown_comes_with_its_own_interval() -> None:
    # The third curve is far more noisy, so the largest departure is not the clearest.
    three = combine(
        curve_of("a", 0.45, 0.001, 1), curve_of("b", 0.5, 0.001, 2), curve_of("c", 0.52, 0.03, 5)
    )
    rows = invariance_test(three, scope=THESE)
    shown = rows[(rows["verdict"] == "not invariant") & rows["reason"].str.contains("shape")]
    assert len(shown) >= 2
    assert (shown["low"] * shown["high"] > 0).all()
    assert rows["curve_of"].iloc[0] == "a and b"
    assert rows["curve_upper"].iloc[0] == rows["curve_upper"].max()


def shifted(scores: Scores, curve: Any) -> Scores:
    def moved(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(score=table["score"] + curve(table["depth"].to_numpy()))

    copies = scores.replicates
    assert copies is not None
    return replace(scores, table=moved(scores.table), replicates=moved(copies))


def late(depth: np.ndarray) -> np.ndarray:
    """Return a parabola that peaks in the middle of the last two thirds."""
    return -0.1 * ((depth - 2 / 3) / 0.5) ** 2


def ramp(depth: np.ndarray) -> np.ndarray:
    """Return a rise over the first third."""
    return np.asarray(0.1 * np.minimum(3 * depth, 1))


def test_a_hump_in_the_rest_of_the_range_does_not_level_off() -> None:
    plateaus = {}
    for name, curve in (("late", late), ("ramp", ramp)):
        verdicts = []
        for seed in range(4):
            noise = simulate_scores(
                families=(1,) * 10,
                n_layers=(24, 24),
                shape="flat",
                noise_sd=0.009,
                rho=0.5,
                n_topics=12,
                n_replicates=100,
                seed=seed,
            )
            tests = u_shape_test(shifted(noise, curve))
            verdicts += tests[tests["level"] == "profile"]["verdict"].tolist()
        plateaus[name] = float(np.mean([verdict == "plateau" for verdict in verdicts]))
    # A line through the rest is level in both. 40 curves each: by measurement 2% and 71%.
    assert plateaus["late"] <= 0.15
    assert plateaus["ramp"] >= 0.4
