"""Posterior departures of families, against a grid in R and against draws from the prior."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from analysis.loading.scores import as_scores
from analysis.over_models.bayes import departures, family_departures, means_of_families
from analysis.planning.simulate import simulate_scores
from study.read import InputError

pytestmark = pytest.mark.arithmetic

R = json.loads((Path(__file__).parents[1] / "reference" / "bayes.json").read_text())
R.pop("version")


@pytest.mark.parametrize("name", R)
def test_the_posterior_equals_a_dense_grid_in_r(name):
    case = R[name]
    y, se = np.array(case["y"]), np.array(case["se"])
    found = departures(y, se, case["delta"], case["tau_scale"])._asdict()
    for quantity in found:
        assert_allclose(found[quantity], case[quantity], atol=3e-5, err_msg=quantity)


def test_the_posterior_is_calibrated_over_draws_from_the_prior():
    # 120 studies of four families; the tolerances are over three Monte Carlo errors.
    rng = np.random.default_rng(4)
    se = np.array([0.02, 0.03, 0.05, 0.04])
    covered, expected, happened = [], [], []
    for _ in range(120):
        u = abs(rng.normal(0, 0.1)) * rng.normal(size=4)
        found = departures(0.5 + u + se * rng.normal(size=4), se, 0.1, 0.1, alpha=0.5)
        covered.append((found.low < u) & (u < found.high))
        expected.append([*found.p_beyond, found.p_any])
        happened.append([*(abs(u) > 0.1), (abs(u) > 0.1).any()])
    assert_allclose(np.mean(covered), 0.5, atol=0.1)
    assert_allclose(np.mean(happened, axis=0), np.mean(expected, axis=0), atol=0.13)
    # Not only on average: what is called probable happens more often.
    sure = np.array(expected)[:, -1] > 0.5
    truth = np.array(happened)[:, -1]
    assert truth[sure].mean() > 0.65
    assert truth[~sure].mean() < 0.35


def test_errors_far_below_the_spread_leave_the_families_own_departures():
    y = np.array([0.3, 0.5, 0.5, 0.5, 0.7])
    found = departures(y, np.full(5, 1e-6), 0.1, 1.0)
    assert_allclose(found.mean, y - 0.5, atol=1e-6)
    assert found.p_any > 0.999


def planted(place):
    """Four families of three models that peak at 0.5, but the last at `place`."""
    depth, rng = np.linspace(0, 1, 33), np.random.default_rng(5)
    rows = []
    for i in range(12):
        at = (place if i >= 9 else 0.5) + 0.01 * rng.normal()
        curve = np.exp(-0.5 * ((depth - at) / 0.2) ** 2)
        facts = {"model": f"m{i:02}", "family": f"f{i // 3}"}
        rows.append(pd.DataFrame({"depth": depth, "score": curve, **facts}))
    return as_scores(pd.concat(rows))


def test_a_planted_family_is_found_and_equal_ones_are_not():
    found = family_departures(planted(0.8)).set_index("family")
    assert found.loc["f3", "p_beyond"] > 0.8
    assert found.loc["f3", "low"] > 0.05
    assert (found.loc[["f0", "f1", "f2"], "p_beyond"] < 0.4).all()
    assert found.loc["any family", "p_beyond"] > 0.9
    equal = family_departures(planted(0.5)).set_index("family")
    assert (equal["p_beyond"] < 0.05).all()
    assert (equal["reason"] == "").all()
    assert "verdict" not in found


def test_the_prior_is_the_readers_choice():
    scores = planted(0.8)
    spread = [
        family_departures(scores, tau_scale=scale)["tau"].iloc[-1] for scale in (0.02, 0.1, 0.5)
    ]
    assert spread[0] < spread[1] < spread[2]
    with pytest.raises(InputError, match="tau_scale = 0 is not a positive number"):
        family_departures(scores, tau_scale=0)
    with pytest.raises(InputError, match="no estimator 'top'"):
        family_departures(scores, peak="top")


def test_what_has_no_departures_says_why():
    scores = planted(0.5)
    one = family_departures(scores.table[scores.table["family"] == "f0"])
    assert one["family"].tolist() == ["f0", "any family"]
    assert one[["estimate", "low", "high", "p_beyond"]].isna().all(axis=None)
    assert "at least two" in one["reason"].iloc[0]
    rising = as_scores(scores.table.assign(score=scores.table["depth"]))
    none = family_departures(rising)
    assert none["family"].tolist() == ["any family"]
    assert none["reason"].item().startswith("no family has a model with a peak")


def test_means_weight_models_by_their_errors():
    y = np.array([0.4, 0.6, 0.5])
    alone = means_of_families(y, np.array([0.1, 0.2, 0.3]), np.arange(3))
    assert_allclose(alone, [y, np.sqrt([0.1, 0.2, 0.3])])
    # Without sampling errors: the variance within families, on equal weights.
    mean, se = means_of_families(y, np.zeros(3), np.array([0, 0, 1]))
    assert_allclose(mean, [0.5, 0.5])
    assert_allclose(se, [0.1, np.sqrt(0.02)], rtol=1e-4)


def test_a_study_has_rows_for_each_measure_and_family():
    table = simulate_scores(families=(3, 3), noise_sd=0.003, seed=2).table
    both = as_scores(pd.concat([table, table.assign(metric="silhouette")]))
    found = family_departures(both)
    assert len(found) == 2 * 3
    assert found.groupby("metric")["family"].agg(list).map(lambda f: f[-1] == "any family").all()
