"""Everything that is said of a study follows the study's own rules: its peak, delta and alpha."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis.named
import steering
from analysis import fit_curves, load_scores, u_shape_test
from analysis.__main__ import by_model
from analysis.claims.rules import RULES
from analysis.claims.table import evidence_of
from analysis.figures.page import page
from analysis.named import RESULTS, Source
from analysis.planning.simulate import simulate_scores
from study import load_study
from study.home import find
from tests.planted_trials import make_trials

#: Rules that differ from every default.
OWN = {"target": 0.45, "delta": 0.07, "alpha": 0.01, "peak": "vertex", "curve_delta": 0.12}
TESTS = {
    "departures": "family_departures",
    "crossed": "crossed_reading_test",
    "causal": "causal_profile",
    "literature": "literature_test",
    "steering": "steering_summary",
    "dose": "dose_response",
    "steered-depths": "depth_test",
    "judges": "judge_agreement",
}


def source(rules: dict[str, Any], noise: float = 0.01) -> Source:
    drawn = simulate_scores(families=(2, 2, 2), model_sd={}, noise_sd=noise)
    run = {**drawn.run, "study": {"preregistered": rules}, "metrics": {"score": {}}}
    scores = replace(drawn, run=run)
    return Source(scores, scores, evidence_of(scores, make_trials(), n_boot=19))


@pytest.mark.parametrize("name", TESTS)
def test_a_named_result_follows_the_rules(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = getattr(analysis.named, TESTS[name])
    seen: dict[str, Any] = {}

    def spied(*_: Any, **given: Any) -> pd.DataFrame:
        seen.update(given)
        return pd.DataFrame()

    monkeypatch.setattr(analysis.named, TESTS[name], spied)
    RESULTS[name](source(OWN))
    asked = {
        rule
        for rule in ("target", "delta", "alpha", "peak")
        if rule in inspect.signature(test).parameters
    }
    if name == "crossed":
        asked.discard("delta")  # a margin of scores, not of depth
    assert {rule: seen.get(rule) for rule in asked} == {rule: OWN[rule] for rule in asked}


def test_a_claim_with_a_target_of_its_own_keeps_the_peak_of_the_study() -> None:
    rules = {**OWN, "alpha": 0.05}
    evidence = source(rules).evidence
    decide = RULES["peak at"][0]
    plain, same = decide(evidence, {}), decide(evidence, {"target": 0.45, "delta": 0.07})
    assert same["estimate"] == plain["estimate"]
    other = source({**rules, "peak": "extremum"}).evidence
    assert decide(other, {"target": 0.45, "delta": 0.07})["estimate"] != plain["estimate"]


def test_models_are_judged_at_the_level_of_the_study() -> None:
    study = source({**OWN, "alpha": 1e-6}, noise=0.03)
    found = by_model(study.scores, "score", study.evidence.rules)
    own = u_shape_test(study.scores, alpha=1e-6)
    own = own[own["level"] == "profile"]
    assert found["verdict"].tolist() == own["verdict"].tolist()
    assert found["verdict"].tolist() != by_model(study.scores, "score", OWN)["verdict"].tolist()
    fits = fit_curves(study.scores, peak="vertex", delta=0.07, alpha=1e-6)
    np.testing.assert_array_equal(found["peak"], fits["peak"])


def test_a_page_draws_the_peak_of_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    import analysis.figures.page as module

    study, drawn = source(OWN), []
    scores = replace(
        study.scores,
        run={"study": {"preregistered": {**OWN, "metric": "score", "method": "comprehension"}}},
    )
    cover = module.cover
    monkeypatch.setattr(
        module, "cover", lambda s, m, fits, w: drawn.append(fits) or cover(s, m, fits, w)
    )
    page(scores, {}, by_model(scores, "score", study.evidence.rules))
    own = fit_curves(scores, peak="vertex", delta=0.07, alpha=0.01)
    np.testing.assert_array_equal(drawn[0]["peak"], own["peak"])


def test_the_layer_is_steered_where_the_studys_estimator_puts_the_peak() -> None:
    study, found = load_study("demo"), load_scores(find("data/scores/demo"))
    model = "smollm2-135m-instruct"
    layers = {}
    for peak in ("extremum", "vertex"):
        rules = replace(study.preregistered, peak=peak)
        chosen = replace(study, preregistered=rules)
        layers[peak] = steering.peak_layer(chosen, find("data/scores/demo"), model, 30)
        some = found.select(model=model, metric=rules.metric, method=rules.method)
        assert layers[peak] == round(30 * fit_curves(some, peak=peak)["peak"].iloc[0])
    assert layers["extremum"] != layers["vertex"]
