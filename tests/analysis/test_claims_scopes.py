"""The claims table in both scopes: what holds in models like these, and in these models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import claims_table, steering_summary
from analysis.claims import fixed_depth
from analysis.claims.depth import every_model
from analysis.claims.fixed_contested import embeddings, tuning
from analysis.claims.fixed_rules import FIXED, decide_these
from analysis.claims.rules import RULES
from analysis.claims.steering import regimes_opinion, steering
from analysis.claims.table import evidence_of
from analysis.loading.scores import Scores
from analysis.planning.simulate import combine, simulate_scores
from analysis.scopes import THESE
from analysis.trials.shares import share_of
from tests.planted_trials import make_trials

RUN: dict[str, Any] = {
    "study": {"preregistered": {"target": 0.5, "delta": 0.1, "alpha": 0.05}},
    "metrics": {"score": {"chance": 0.5}},
}


def study(**settings: Any) -> Scores:
    """Draw two models of two families under two methods, with their untrained twins."""
    both = {"families": (1, 1), "methods": ("comprehension", "generation"), "n_topics": 24}
    both |= {"noise_sd": 0.001, "method_effect": 0.05, "n_layers": (16, 20), "model_sd": {}}
    both |= settings
    drawn = combine(
        simulate_scores(**both), simulate_scores(**both, shape="decay", weights="untrained")
    )
    return replace(drawn, run={**drawn.run, **RUN})


def test_two_models_show_what_models_like_them_cannot() -> None:
    found = claims_table(study(), n_boot=19).set_index("key")
    main, fixed = found["verdict"], found["verdict_these"]
    shown = ["every", "overall", "peak", "architecture", "method", "learned"]
    assert fixed[shown].eq("supported").all(), found["reason_these"]
    assert not main[shown].isin(["supported", "contradicted"]).any()
    assert fixed["steering"] == fixed["tuning"] == "not testable"
    tested = found["p_these"].notna()
    assert (found.loc[tested, "p_holm_these"] >= found.loc[tested, "p_these"]).all()
    # The largest of those p is corrected by nothing, the smallest by their number.
    assert found["p_holm_these"].min() == found["p_these"].min() * tested.sum()


def test_other_models_contradict_each_claim() -> None:
    evidence = evidence_of(study(vertex=0.8, method_effect=-0.05))
    for rule in ("peak at", "one method better"):
        assert decide_these(rule, evidence, {})["verdict"] == "contradicted"


SHAPES: dict[str, dict[str, Any]] = {
    "hump": {"verdict": "hump", "direction": "hump", "p": 0.001, "p_shape": 0.001},
    "two": {"verdict": "several peaks", "direction": "hump", "p": 0.001, "p_shape": 0.002},
    "valley": {"verdict": "undecided", "direction": "hump", "p": 0.002, "p_shape": np.nan},
    "trough": {"verdict": "undecided", "direction": "trough", "p": 0.3, "p_shape": np.nan},
    "weak": {"verdict": "undecided", "direction": "hump", "p": 0.3, "p_shape": np.nan},
    "falls": {"verdict": "monotone", "direction": "hump", "p": 0.9, "p_shape": 0.001},
    "none": {"verdict": "undecided", "direction": "hump", "p": np.nan, "p_shape": np.nan},
}
SEEDS = [("m1", "hump"), ("m1", "weak"), ("m2", "hump")]


def test_a_model_of_several_seeds_is_one_model() -> None:
    both = study(families=(1, 1, 1))
    assert both.replicates is not None
    again = replace(
        both, table=both.table.assign(seed=1), replicates=both.replicates.assign(seed=1)
    )
    row = claims_table(combine(both, again), n_boot=19).set_index("key").loc["every"]
    assert (row["verdict"], row["n"], row["estimate"]) == ("supported", 3, 1.0)
    assert row["reason"] == "a hump in 3 of 3 models"
    mixed = [{"model": model, **SHAPES[shape]} for model, shape in SEEDS]
    about = {"family": "A", "estimate": 0.1, "low": 0.0, "high": 0.2, "reason": "so"}
    of_these = fixed_depth.every_model([{**about, **one} for one in mixed], 0.05)
    assert (of_these["n"], of_these["estimate"]) == (2, 0.5)


@pytest.mark.parametrize(
    ("second", "verdict", "p"),
    [
        ("hump", "supported", 0.001),
        ("two", "undecided", 1.0),
        ("valley", "undecided", 1.0),
        ("trough", "undecided", 1.0),
        ("weak", "undecided", 0.3),
        ("falls", "contradicted", 0.004),
        ("none", "undecided", 1.0),
    ],
)
def test_the_p_of_a_hump_in_every_model_is_that_of_the_claim(
    second: str, verdict: str, p: float
) -> None:
    """Three models of three families; m1 has a second profile."""
    models, shapes = ["m1", "m1", "m2", "m3"], ["hump", second, "hump", "hump"]
    rows = [
        {"level": "profile", "model": model, "family": model, "reason": "so", **SHAPES[shape]}
        for model, shape in zip(models, shapes, strict=True)
    ]
    row = every_model(pd.DataFrame(rows), 0.05)
    humps = 3 if second == "hump" else 2
    assert (row["n"], row["estimate"]) == (3, humps / 3)
    assert (row["verdict"], row["p"]) == (verdict, pytest.approx(p))
    assert verdict == "contradicted" or f"{humps} of 3 models" in row["reason"]


def test_models_without_errors_are_no_test_of_a_hump() -> None:
    row = {"level": "profile", "model": "m1", "family": "A", "reason": "so", **SHAPES["none"]}
    assert every_model(pd.DataFrame([row]), 0.05) == {"verdict": "not testable", "reason": "so"}


def test_every_rule_has_both_scopes() -> None:
    assert set(FIXED) == set(RULES)


@pytest.mark.parametrize(
    ("height", "verdict"), [(0.02, "supported"), (0.5, "contradicted"), (0.1, "undecided")]
)
def test_layer_0_is_compared_with_the_best_layer_of_each_model(height: float, verdict: str) -> None:
    # Layer 0 of a hump is at 0.7, less the height; chance is 0.5.
    main = simulate_scores(families=(1, 1), height=height, model_sd={}, noise_sd=0.001, n_topics=12)
    row = embeddings(replace(main, run={**main.run, **RUN}), "comprehension", "score", 0.05, 0)
    assert row["verdict"] == verdict, row
    first = main.table[main.table["layer"] == 0]["score"].to_numpy() - 0.5
    best = main.table.groupby("model")["score"].max().to_numpy() - 0.5
    assert row["estimate"] == pytest.approx((first / best).mean())


def test_tuning_is_a_contrast_of_these_models() -> None:
    base = simulate_scores(families=(1,), vertex=0.35, model_sd={}, noise_sd=0.001, n_topics=12)
    tuned = simulate_scores(families=(1,), vertex=0.65, model_sd={}, noise_sd=0.001, n_topics=12)
    named = {"model": "m2", "instruct": True}
    both = replace(
        base,
        table=pd.concat([base.table.assign(instruct=False), tuned.table.assign(**named)]),
        replicates=pd.concat(
            [base.replicates.assign(instruct=False), tuned.replicates.assign(**named)]
        ),
    )
    moved = tuning(both, "comprehension", 0.05, 0.1, 0)
    assert moved["verdict"] == "supported"
    assert moved["low"] < 0.3 < moved["high"]
    assert tuning(base, "comprehension", 0.05, 0.1, 0)["verdict"] == "not testable"


def texts(share: float, n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    place = {"family": np.repeat(["f", "g"], n // 2), "scenario": np.tile(np.arange(20), n // 20)}
    rows = pd.DataFrame(place)
    return rows.assign(model=rows["family"], hit=rng.random(n) < share)


def test_scenarios_are_the_sample_of_fixed_models() -> None:
    rows = texts(0.9)
    fixed, sample = share_of(rows["hit"], rows, THESE), share_of(rows["hit"], rows)
    assert fixed.estimate == pytest.approx(rows["hit"].mean())
    assert not fixed.few
    assert sample.few
    assert fixed.p_above(0.8) < 0.001
    assert np.isnan(sample.p_above(0.8))
    low, high = fixed.ends(0.05)
    assert low < 0.9 < high
    assert high - low < 0.1
    assert len(fixed.over) == 1


def test_two_fixed_models_are_steered_beyond_their_shams() -> None:
    trials = make_trials(models=2, families=2)
    row = steering_summary(trials, by=(), scope=THESE).iloc[0]
    assert (row["scope"], row["verdict"]) == (THESE, "beyond sham")
    assert row["low"] < row["estimate"] < row["high"]
    assert steering_summary(trials, by=()).iloc[0]["verdict"] == "undecided"
    assert steering(trials, 0.05, 0)["verdict"] == "undecided"
    assert steering(trials, 0.05, 0, THESE)["verdict"] in ("supported", "contradicted")


def test_a_strength_with_one_scenario_does_not_speak_against_the_regimes() -> None:
    trials = make_trials(models=2, families=2)
    whole = regimes_opinion(trials, trials.judges[0], THESE)
    table = trials.table
    strongest = table["strength"] == table["strength"].max()
    few = table[~strongest | (table["scenario"] == table["scenario"].iloc[0])]
    found = regimes_opinion(replace(trials, table=few), trials.judges[0], THESE)
    assert whole.p_against < 1
    assert found.p_against == 1
