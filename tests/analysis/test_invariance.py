"""Invariance over families and over scale, against R and against the truth of simulations."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from analysis.families import meta_regression
from analysis.loading.scores import as_scores
from analysis.over_models.bayes import family_departures
from analysis.over_models.departures import between_sd, departures, left_out
from analysis.over_models.invariance import decide_invariance, invariance_test
from analysis.over_models.mixed import draw, fall_back, likelihood_ratio, unbiased
from analysis.over_models.permutation import n_partitions, permutation_p
from analysis.over_models.scale import scale_test
from analysis.over_models.sums import curve_data, vertex
from analysis.planning.design import Truth, draw_study
from analysis.planning.simulate import simulate_scores
from study.read import InputError

pytestmark = pytest.mark.arithmetic

REFERENCE = Path(__file__).parents[1] / "reference"
R = json.loads((REFERENCE / "invariance.json").read_text())
SCORES = as_scores(pd.read_csv(REFERENCE / "invariance_data.csv"))
CURVES = curve_data(SCORES, "score")


def study(**settings):
    return simulate_scores(**{"n_replicates": 0, "model_sd": {"vertex": 0.03}, **settings})


def test_equivalence_and_heterogeneity_equal_r():
    # R: lm(v ~ 0 + family), contrasts from the mean; rma(means, s2 / n, method = "PM")
    assert_allclose(vertex(CURVES.coef[0]), R["vertex"], rtol=1e-9)
    found = departures(CURVES, delta=0.1, alpha=0.05, peak="vertex")
    assert_allclose(found["p_equivalence"], R["p_equivalence"], rtol=1e-8)
    assert_allclose(found["estimate"], R["departure"][1], rtol=1e-8)
    assert found["departure_of"] == "B"
    sd = between_sd(CURVES, np.random.default_rng(0), peak="vertex")
    assert_allclose(sd["between_sd"], R["between_sd"], rtol=1e-6)


def test_exact_permutation_p_equals_r():
    # R enumerates 22,680 assignments with the names of the families, here 945 without.
    assert n_partitions(CURVES.group) * 24 == R["permutation"]["n"]
    p = permutation_p(CURVES.coef[0, :, :2], CURVES.group, 0, np.random.default_rng(0))
    assert_allclose(p, R["permutation"]["p"], rtol=1e-12)


def test_bootstrap_p_equals_pbkrtest_within_monte_carlo_error():
    # R: PBmodcomp(full, null, nsim = 500), on the mean over emotions
    table = SCORES.table
    keys = [c for c in table.columns if c not in ("emotion", "score")]
    mean = as_scores(table.groupby(keys, as_index=False)["score"].mean())
    data = curve_data(mean, "score")
    lr, null, _ = likelihood_ratio(data)
    assert_allclose(lr[0], R["bootstrap"]["lr"], rtol=1e-5)
    assert_allclose(stats.chi2.sf(lr[0], 8), R["bootstrap"]["p_chi2"], rtol=1e-5)
    draws = likelihood_ratio(draw(data, null, 2000, np.random.default_rng(0)), tol=1e-3)[0]
    p = (1 + (draws >= lr[0]).sum()) / 2001
    error = np.sqrt(p * (1 - p) * (1 / 2000 + 1 / R["bootstrap"]["nsim"]))
    assert abs(p - R["bootstrap"]["p"]) < 3 * error
    corrected = invariance_test(mean)["p_boot"].item()
    assert corrected > p - 3 * error
    assert corrected < p + 0.1


@pytest.mark.parametrize("size", ["small", "large"])
def test_meta_regression_equals_metafor(size):
    # R: rma(v, vi, mods = ~ log10(n_params), method = "REML", test = "knha")
    vi = np.array(R["vi"]) / (100 if size == "small" else 1)
    params = SCORES.table.groupby("model")["n_params"].first().to_numpy(float)
    x = np.column_stack([np.ones(9), np.log10(params)])
    coef, se, tau2 = meta_regression(np.array(R["vertex"]), vi, x)
    expected = R["scale"][size]
    assert_allclose([coef[1], se[1]], [expected["slope"], expected["se"]], rtol=1e-4)
    assert_allclose(np.sqrt(tau2), [expected["tau"], 0], rtol=1e-4)
    assert_allclose(2 * stats.t.sf(abs(coef[1] / se[1]), 7), expected["p"], rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({"families": (4, 4, 4), "model_sd": {"vertex": 0.01}, "noise_sd": 0.002}, "invariant"),
        ({"families": (4, 4, 4), "family_sd": {"vertex": 0.3}}, "not invariant"),
        ({"families": (2, 2, 1), "model_sd": {"vertex": 0.15}}, "undecided"),
        ({"families": (4, 4, 4), "shape": "flat", "noise_sd": 0.02}, "undecided"),
    ],
)
def test_verdicts_on_known_truths(settings, verdict):
    row = invariance_test(study(seed=3, **settings), n_boot=300).iloc[0]
    assert row["verdict"] == verdict
    assert row["reason"]
    assert 0 < row["p_boot"] <= 1
    assert row["p"] == np.nanmax(row[["p_boot", "p_perm", "p_welch"]].astype(float))


def test_a_missing_difference_is_not_sameness():
    row = invariance_test(study(model_sd={"vertex": 0.15}, seed=1), n_boot=300).iloc[0]
    assert row["p"] > 0.05
    assert row["verdict"] == "undecided"
    assert "interval" in row["reason"]


@pytest.mark.parametrize(
    ("families", "reason"),
    [
        ((3,), "one group only"),
        ((1, 1), "each of the 2 groups has only one model"),
        ((1, 1, 1, 1, 1), "each of the 5 groups has only one model"),
        ((2, 1), "only 3 ways"),
    ],
)
def test_designs_that_cannot_decide_say_so(families, reason):
    row = invariance_test(study(families=families), n_boot=100).iloc[0]
    assert row["verdict"] == "undecided"
    assert reason in row["reason"]


@pytest.mark.parametrize("test", [invariance_test, scale_test])
@pytest.mark.parametrize(
    ("lacking", "message"),
    [("method", "model 'm3' lacks method 'generation'")],
)
def test_models_without_a_method_are_refused_by_name(test, lacking, message):
    table = SCORES.table
    last = table[lacking].max()
    with pytest.raises(InputError, match=message) as error:
        test(table[(table["model"] != "m3") | (table[lacking] != last)])
    assert f"scores.select({lacking}=" in str(error.value)


def test_models_that_differ_in_emotions_enter_with_the_means_over_their_own():
    table = SCORES.table
    some = table[(table["model"] != "m3") | (table["emotion"] != table["emotion"].max())]
    keys = ["model", "family", "method", "layer", "depth", "n_layers", "n_params"]
    means = some.groupby(keys, as_index=False)["score"].mean()
    found = [invariance_test(t, n_boot=20).iloc[0] for t in (some, means)]
    assert found[0]["verdict"] == found[1]["verdict"]
    assert_allclose(found[0]["estimate"], found[1]["estimate"], atol=1e-8)


def test_exact_curves_are_undecided():
    row = invariance_test(study(noise_sd=0.0), n_boot=100).iloc[0]
    assert row["verdict"] == "undecided"
    assert "no residual" in row["reason"]


def test_constant_scores_are_undecided():
    scores = study()
    flat = as_scores(scores.table.assign(score=0.5))
    assert invariance_test(flat, n_boot=100)["verdict"].item() == "undecided"
    assert scale_test(flat)["verdict"].item() == "undecided"


@pytest.mark.parametrize(
    ("height_sd", "noise_sd", "terms"),
    [
        (0.03, 0.002, "(1 + d + d^2 | model)"),
        (0.0, 0.01, "(1 + d | model)"),
        (None, 0.02, "(1 | model)"),
    ],
)
def test_singular_fits_fall_back_to_fewer_random_terms(height_sd, noise_sd, terms):
    # Without a spread in height, the curves differ only in level and vertex: in 1 and d.
    spread = {} if height_sd is None else {"vertex": 0.1, "level": 0.05, "height": height_sd}
    scores = study(model_sd=spread, noise_sd=noise_sd, rho=0.0, seed=1)
    row = invariance_test(scores, n_boot=100).iloc[0]
    assert row["random_terms"] == terms
    assert ("singular" in row["reason"]) == (terms != "(1 + d + d^2 | model)")
    assert terms in row["reason"] or terms == "(1 + d + d^2 | model)"
    assert row["converged"]
    assert row["mixedlm_note"] == ""


def test_terms_whose_spread_is_shown_stay_although_the_fit_is_singular():
    # Vertex, level and height vary; here level and height come out as perfectly correlated.
    spread = {"vertex": 0.06, "level": 0.05, "height": 0.02, "method": 0.02}
    data = draw_study(Truth(topic_sd=0.015, model_sd=spread), np.random.default_rng([2026, 21]))[0]
    n_random, note, _, null, _ = fall_back(data)
    assert null.rank[0] < n_random == 3
    assert "fewer fit worse (p = " in note
    row = decide_invariance(data, 0.1, 99, 0, 0.05)
    assert row["random_terms"] == "(1 + d + d^2 | model)"
    assert "all terms are kept because fewer fit worse" in row["reason"]


def test_both_hypotheses_and_the_bootstrap_have_the_random_terms_of_the_fallback():
    data = curve_data(study(model_sd={}, noise_sd=0.02, rho=0.0), "score")
    n_random, note, lr, null, full = fall_back(data)
    assert n_random == 1
    assert note
    for fit in (null, full, unbiased(data, null, n_random)):
        assert not fit.curve_cov[0, :2].any()
        assert not fit.curve_cov[0, :, :2].any()
    assert_allclose(lr, likelihood_ratio(data, n_random=1)[0])


def test_hump_and_trough_mixed_are_never_invariant():
    scores = study(families=(3, 3), seed=2)
    table = scores.table.copy()
    turned = table["model"] == "m1"
    table.loc[turned, "score"] = 1.4 - table.loc[turned, "score"]
    row = invariance_test(as_scores(table), n_boot=100).iloc[0]
    assert np.isnan(row["p_equivalence"])


def test_direction_of_the_metric_does_not_matter():
    table = study(families=(3, 3)).table
    up = invariance_test(table, n_boot=100).iloc[0]
    down = invariance_test(
        as_scores(table.assign(score=-table["score"]), higher_is_better=False), n_boot=100
    ).iloc[0]
    assert_allclose(up["estimate"], down["estimate"])
    assert up["p"] == down["p"]


def test_bare_table_and_several_metrics():
    table = study(families=(3, 3)).table[["model", "family", "depth", "score"]]
    both = pd.concat([table.assign(metric="a"), table.assign(metric="b")])
    rows = invariance_test(both, n_boot=100)
    assert rows["metric"].tolist() == ["a", "b"]
    assert rows.loc[0, "p_boot"] == rows.loc[1, "p_boot"]
    assert (
        scale_test(table)["reason"].item() == "n_params is missing for a model: its size is unknown"
    )


def test_left_out_families_are_predicted_only_where_they_are_alike():
    alike = left_out(curve_data(study(model_sd={}, noise_sd=0.002), "score"))
    assert alike["lofo_r2"] > 0.98
    differing = left_out(
        curve_data(study(model_sd={}, noise_sd=0.002, family_sd={"vertex": 0.4}), "score")
    )
    assert differing["lofo_r2"] < differing["own_r2"] - 0.3


def test_too_few_replicates_for_alpha_are_refused():
    with pytest.raises(InputError, match="n_boot 10 cannot give a p below alpha"):
        invariance_test(study(), n_boot=10)


def test_permutation_p_reaches_its_smallest_value():
    shape = np.array([[0.0, 0.1], [0.01, 0.0], [5.0, 3.0], [5.1, 3.2], [-4.0, 9.0], [-4.1, 9.1]])
    group = np.array([0, 0, 1, 1, 2, 2])
    assert n_partitions(group) == 15
    assert permutation_p(shape, group, 0, np.random.default_rng(0)) == 1 / 15


def test_random_permutations_agree_with_all_of_them(monkeypatch):
    exact = permutation_p(CURVES.coef[0, :, :2], CURVES.group, 0, np.random.default_rng(0))
    monkeypatch.setattr("analysis.over_models.permutation.MAX_EXACT", 10)
    random = permutation_p(CURVES.coef[0, :, :2], CURVES.group, 20_000, np.random.default_rng(0))
    assert abs(exact - random) < 0.015


def test_scale_is_found_and_is_ruled_out():
    scores = study(families=(3, 3, 3), noise_sd=0.002, model_sd={}, n_replicates=50)
    same = scale_test(scores).iloc[0]
    assert same["verdict"] == "invariant"
    moved = scores.table.copy()
    size = np.log10(moved["n_params"]) - 8
    moved["score"] = 0.7 - 0.4 * (moved["depth"] - 0.3 - 0.3 * size) ** 2
    moved["score"] += 0.001 * np.sin(np.arange(len(moved)))
    found = scale_test(as_scores(moved)).iloc[0]
    assert found["verdict"] == "not invariant"
    assert_allclose(found["slope"], 0.3, atol=0.01)


def test_two_models_have_no_trend():
    row = scale_test(study(families=(1, 1))).iloc[0]
    assert (row["verdict"], row["n"]) == ("undecided", 2)


def test_the_confidence_is_that_of_each_scope_s_interval():
    found = invariance_test(simulate_scores(families=(1, 1, 1)), n_boot=99, scope=None)
    assert found.groupby("scope")["confidence"].unique().str[0].to_dict() == {
        "models like these": 0.9,
        "these models": 0.95,
    }


def test_numbers_can_name_models_and_families():
    named = simulate_scores(families=(2, 2, 2), n_replicates=0).table.drop(columns="study")
    number = {name: int(name[1:]) for name in named["model"].unique()}
    family = {name: i for i, name in enumerate(named["family"].unique())}
    numbered = named.assign(model=named["model"].map(number), family=named["family"].map(family))
    for test in (invariance_test, scale_test, family_departures):
        there, here = test(numbered), test(named)
        assert_allclose(there["estimate"].astype(float), here["estimate"].astype(float))


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_alpha_must_be_a_level(alpha):
    with pytest.raises(InputError, match="it must lie between"):
        invariance_test(simulate_scores(families=(1, 1)), alpha=alpha)
