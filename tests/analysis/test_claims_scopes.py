"""The claims table in both scopes: what holds in models like these, and in these models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import claims_table, steering_summary
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
