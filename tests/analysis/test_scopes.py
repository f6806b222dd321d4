"""The scope "these models": the models fixed, the topics the sample."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from analysis import localization_test, method_test
from analysis.loading.scores import Scores
from analysis.planning.simulate import simulate_scores
from analysis.profiles.joint import joint
from analysis.profiles.uncertainty import profile_errors
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
