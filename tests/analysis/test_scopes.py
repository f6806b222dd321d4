"""The scope "these models": the models fixed, the topics the sample."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from analysis import (
    control_test,
    invariance_test,
    localization_test,
    method_test,
    scale_test,
    u_shape_test,
)
from analysis.loading.scores import Scores
from analysis.over_models.fixed_curves import fixed_curves
from analysis.over_models.fixed_profiles import model_profiles
from analysis.planning.simulate import combine, simulate_scores
from analysis.profiles.joint import joint
from analysis.profiles.uncertainty import profile_errors
from analysis.reporting.say import say
from analysis.scopes import LIKE_THESE, THESE, every_p, some_p
from study.read import InputError

FEW: dict[str, Any] = {"families": (1, 1), "model_sd": {}, "noise_sd": 0.003, "n_topics": 12}


def these(**settings: Any) -> Scores:
    """Draw two models that share a curve."""
    return simulate_scores(**{**FEW, **settings})


@pytest.mark.parametrize(
    ("vertex", "verdict"), [(0.5, "at target"), (0.8, "elsewhere"), (0.6, "undecided")]
)
def test_two_models_say_where_they_peak(vertex: float, verdict: str) -> None:
    found = localization_test(these(vertex=vertex), scope=None)
    assert found["scope"].tolist() == [LIKE_THESE, THESE, THESE, THESE]
    assert found["model"].tolist() == ["all (2)", "all (2)", "m1", "m2"]
    # Two families say nothing about others.
    assert found["verdict"].tolist()[:2] == ["undecided", verdict]
    each = found.iloc[2:]
    assert found.loc[1, "p"] == each["p"].max()
    assert_allclose(found.loc[1, "p_elsewhere"], min(1, 2 * each["p_elsewhere"].min()))
    assert_allclose(found.loc[1, "estimate"], each["estimate"].mean())
    assert "these models" in say(found[found["scope"] == THESE].dropna(axis=1, how="all"))[0]


def test_a_model_without_an_error_has_no_place() -> None:
    study = these()
    assert study.replicates is not None
    profile = study.table[study.table["model"] == "m1"].set_index("layer")["score"]
    copies = study.replicates
    constant = copies["score"].where(copies["model"] != "m1", copies["layer"].map(profile))
    fixed = replace(study, replicates=copies.assign(score=constant))
    reason = localization_test(fixed, scope=THESE)["reason"].iloc[0]
    assert "m1 has no place (the replicates do not vary) and m2 is highest at 0." in reason


def test_one_model_elsewhere_contradicts_all() -> None:
    away = these(vertex=0.8, families=(1,), seed=1)
    moved = replace(away, table=away.table.assign(model="m9", family="f9"))
    moved = replace(moved, replicates=away.replicates.assign(model="m9", family="f9"))
    here = these(families=(1,))
    both = replace(
        here,
        table=pd.concat([here.table, moved.table]),
        replicates=pd.concat([here.replicates, moved.replicates]),
    )
    found = localization_test(both, scope=THESE).iloc[0]
    assert found["verdict"] == "elsewhere"
    assert found["reason"].startswith("m9: ")


def test_bare_curves_have_an_error_for_the_peak_but_none_over_topics() -> None:
    bare = these(n_replicates=0, methods=("comprehension", "generation"), method_effect=0.1)
    assert localization_test(bare, scope=THESE)["p"].notna().all()
    found = method_test(bare, scope=THESE)
    assert set(found["verdict"]) == {"undecided"}
    assert found["reason"].str.contains("no error over topics").all()


def test_methods_are_compared_in_each_model() -> None:
    study = these(methods=("comprehension", "generation"), method_effect=0.05)
    found = method_test(study, scope=THESE).set_index("test")
    every, within = found.loc["every model"], found.loc["within model"]
    assert every["verdict"] == "a better"
    assert every["p"] == within["p"].max()
    assert_allclose(every["estimate"], within["estimate"].mean())
    assert (within["p_holm"] >= within["p"]).all()
    swapped = study.table["method"].map(
        {"generation": "comprehension", "comprehension": "generation"}
    )
    turned = study.table["model"].eq("m2")
    table = study.table.assign(method=study.table["method"].where(~turned, swapped))
    copies = study.replicates
    other = copies["method"].map({"generation": "comprehension", "comprehension": "generation"})
    copies = copies.assign(method=copies["method"].where(~copies["model"].eq("m2"), other))
    mixed = method_test(replace(study, table=table, replicates=copies), scope=THESE).iloc[0]
    assert mixed["verdict"] == "mixed"


def test_profiles_of_a_study_have_common_errors_and_those_of_others_none() -> None:
    study = these()
    profiles = list(study.profiles())
    n = len(profiles[0].depth)
    for_each = [profile_errors(profile) for profile in profiles]
    paired = joint(profiles)
    assert not isinstance(paired, str)
    assert_allclose(paired.errors.cov[:n, :n], for_each[0].cov)
    assert_allclose(
        paired.errors.cov[:n, n:],
        12 / 11 * np.cov(profiles[0].replicates.T, profiles[1].replicates.T)[:n, n:],
    )
    folds = [replace(profile, repeated="fold") for profile in profiles]
    apart = joint(folds)
    assert not isinstance(apart, str)
    assert not apart.errors.cov[:n, n:].any()
    assert_allclose(apart.errors.cov[n:, n:], for_each[1].cov)


def test_scopes_have_names_and_a_missing_p_shows_nothing() -> None:
    with pytest.raises(InputError, match="no scope 'them'; there are 'models like these'"):
        localization_test(these(), scope="them")
    assert every_p([0.01, np.nan]) == 1
    assert some_p([np.nan, 0.01, 0.2]) == 0.03


def joined(first: Scores, second: Scores) -> Scores:
    """Put the model m1 of one study beside that of another, as m2 of the family F2."""
    renamed = {"model": "m2", "family": "F2", "n_params": 4 * first.table["n_params"].iloc[0]}
    table = pd.concat([first.table, second.table.assign(**renamed)], ignore_index=True)
    copies = pd.concat([first.replicates, second.replicates.assign(**renamed)], ignore_index=True)
    return replace(first, table=table, replicates=copies)


def one(**settings: Any) -> Scores:
    return these(families=(1,), **settings)


def test_two_models_have_the_same_curve_or_another() -> None:
    same = invariance_test(
        joined(one(noise_sd=0.001), one(noise_sd=0.001, seed=3)), scope=THESE, n_boot=19
    )
    assert same["verdict"].tolist() == ["invariant"] * 2
    assert same.loc[1, ["model", "other"]].tolist() == ["m1", "m2"]
    moved = invariance_test(joined(one(), one(vertex=0.7)), scope=THESE, n_boot=19)
    assert moved["verdict"].tolist() == ["not invariant"] * 2
    assert "shape" in moved.loc[1, "differs"]
    high = invariance_test(joined(one(), one(height=0.4)), scope=THESE, n_boot=19)
    assert high.loc[1, "differs"] == "amplitude"
    assert high.loc[0, "p"] == high.loc[1, "p"]
    level = joined(one(), one())
    raised = level.table["score"] + 0.2 * level.table["model"].eq("m2")
    shifted = invariance_test(replace(level, table=level.table.assign(score=raised)), scope=THESE)
    assert shifted.loc[0, "verdict"] == "invariant"
    assert_allclose(shifted.loc[1, "level"], -0.2)


def test_the_amplitudes_of_two_curves_are_linearized_rightly() -> None:
    """Small changes of the curves change the amplitude as much as its error says."""
    profiles = model_profiles(joined(one(), one(vertex=0.6)), "score")
    rng = np.random.default_rng(0)
    step = 1e-5
    moves = [rng.normal(size=(40, len(p.depth))) for p in profiles]
    changed = [
        replace(p, replicates=p.separation + step * (m - m.mean(axis=0)))
        for p, m in zip(profiles, moves, strict=True)
    ]
    row = fixed_curves(changed, ["F1", "F2"], 0.1, 0.25, 0.05, 0)[1]
    amplitudes = []
    for k in range(40):
        again = [
            replace(p, separation=p.separation + step * (m - m.mean(axis=0))[k])
            for p, m in zip(changed, moves, strict=True)
        ]
        amplitudes.append(fixed_curves(again, ["F1", "F2"], 0.1, 0.25, 0.05, 0)[1]["amplitude"])
    t = 1.7958848187036696  # of 11 degrees of freedom, at 0.95
    widened = np.sqrt(12 / 11)
    error = (row["amplitude_high"] - row["amplitude"]) / t
    assert_allclose(error, widened * np.std(amplitudes, ddof=1), rtol=1e-3)


def test_opposite_curves_differ() -> None:
    found = invariance_test(joined(one(), one(shape="trough")), scope=THESE)
    assert found["verdict"].tolist() == ["not invariant"] * 2
    assert (found["p_curve"] == 1).all()
    assert say(found)[1].startswith("The depth curves differed between m1 and m2 (score, these")


def test_the_peak_of_two_models_moves_with_size_or_stays() -> None:
    moved = scale_test(joined(one(vertex=0.3), one(vertex=0.7)), scope=None)
    assert moved["scope"].tolist() == [LIKE_THESE, THESE]
    assert moved["verdict"].tolist() == ["undecided", "not invariant"]
    assert moved.loc[1, "low"] < 0.4 < moved.loc[1, "high"]
    assert (
        scale_test(joined(one(noise_sd=0.001), one(noise_sd=0.001, seed=3)), scope=THESE)[
            "verdict"
        ].item()
        == "invariant"
    )
    noisy = joined(one(noise_sd=0.01), one(vertex=0.42, noise_sd=0.01, seed=3))
    row = scale_test(noisy, scope=THESE).iloc[0]
    assert row["low"] < -0.1
    assert row["high"] < 0.1
    assert "neither 0 nor a change of -0.1 is ruled out" in row["reason"]
    flat = scale_test(joined(one(), one(shape="saturating")), scope=THESE).iloc[0]
    assert flat["verdict"] == "undecided"
    assert "m2 has a peak is not shown" in flat["reason"]
    assert 0.05 < flat["p_peak"] <= flat[["p", "p_equivalence"]].min()


def test_every_model_is_a_hump_and_has_learned_it() -> None:
    study = combine(these(), these(shape="decay", weights="untrained", seed=4))
    shapes = u_shape_test(study, scope=THESE).iloc[-1]
    assert (shapes["level"], shapes["verdict"]) == (THESE, "hump")
    found = control_test(study, scope=THESE)
    found = found[found["contrast"] == "trained - untrained"].set_index("model")
    assert found.loc["all (2)", "verdict"] == "learned"
    assert found.loc["all (2)", "p"] >= found.loc[["m1", "m2"], "p"].max()
    mixed = joined(one(), one(shape="saturating"))
    assert u_shape_test(mixed, scope=THESE).iloc[-1]["verdict"] == "mixed"


def test_a_difference_within_the_margins_does_not_speak_for_a_pair_in_doubt() -> None:
    """Two models differ slightly and surely; the third is too noisy to say anything about."""
    sure: dict[str, Any] = {"noise_sd": 0.0005}
    two = joined(one(**sure), one(vertex=0.51, **sure))
    found = invariance_test(two, scope=THESE)
    assert found["p"].max() < 0.001
    assert found["verdict"].tolist() == ["invariant"] * 2
    noisy = one(noise_sd=0.05, seed=3)
    other = {"model": "m9", "family": "F9"}
    assert noisy.replicates is not None
    noisy = replace(
        noisy, table=noisy.table.assign(**other), replicates=noisy.replicates.assign(**other)
    )
    three = invariance_test(combine(two, noisy), scope=THESE)
    assert three["verdict"].tolist() == ["undecided", "invariant", "undecided", "undecided"]
    assert three.loc[0, "p"] > 0.05
    assert three.loc[1, "p"] < 0.001
