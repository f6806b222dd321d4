"""Meta-regression on scale with families as random intercepts, against metafor."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from analysis.claims import depth
from analysis.families import meta_regression
from analysis.loading.scores import as_scores
from analysis.over_models.bayes import family_departures
from analysis.over_models.scale import decide_scale, scale_test
from analysis.over_models.whole_curve import NO_PEAK
from analysis.planning.simulate import simulate_scores
from analysis.profiles.curves import PEAKS
from study.read import InputError

pytestmark = pytest.mark.arithmetic

R = json.loads((Path(__file__).parents[1] / "reference" / "scale.json").read_text())


def fitted(case, group=None):
    x = np.column_stack([np.ones(len(case["size"])), case["size"]])
    return meta_regression(np.array(case["vertex"]), np.array(case["variance"]), x, group)


@pytest.mark.parametrize("name", ["families", "none"])
def test_random_intercepts_of_families_equal_metafor(name):
    # R: rma.mv(v, vi, mods = ~ size, random = ~ 1 | family / id), with Knapp-Hartung's factor
    case = R[name]
    coef, se, tau2 = fitted(case, np.array(case["family"]))
    assert_allclose([coef[1], se[1]], [case["slope"], case["se"]], rtol=1e-4)
    assert_allclose(tau2, [case["tau2"], case["tau2_family"]], rtol=1e-3, atol=1e-8)


def test_families_of_one_model_each_have_no_intercept_of_their_own():
    case = R["none"]
    alone, none = fitted(case, np.arange(len(case["size"]))), fitted(case)
    for found, expected in zip(alone, none, strict=True):
        assert_allclose(found, expected)
    assert_allclose(fitted(case, np.zeros(len(case["size"]), int))[1], none[1])


def test_families_at_different_sizes_do_not_pass_for_scale():
    # Families differ in size and in vertex but not within: a trend only if families are ignored.
    scores = simulate_scores(
        families=(6, 6), noise_sd=0.003, rho=0.0, model_sd={"vertex": 0.02}, n_replicates=0, seed=1
    )
    table = scores.table.copy()
    large = table["family"] == "B"
    rank = table["model"].str[1:].astype(int) % 6
    table["n_params"] = 10 ** (8 + large + 0.05 * rank)
    table.loc[large, "score"] += 0.12 * table.loc[large, "depth"]
    row = scale_test(as_scores(table)).iloc[0]
    overlooked = scale_test(as_scores(table.assign(family=table["model"]))).iloc[0]
    assert overlooked["p"] < 0.001
    assert row["tau_family"] > 0.05
    assert row["verdict"] == "undecided"
    assert "two families; at least three" in row["reason"]


@pytest.mark.parametrize("grouped", [True, False], ids=["by family", "within families"])
@pytest.mark.parametrize(("between", "within"), [(0.08, 0.02), (0.0, 0.03)])
def test_size_whatever_families_share(grouped, between, within):
    # 150 studies of four families of three: 0.065 and two Monte Carlo errors (0.02 each).
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(4), 3)
    found = []
    for _ in range(150):
        size = rng.uniform(8, 10, 12)
        if grouped:
            size = rng.uniform(8.2, 9.8, 4)[group] + rng.uniform(-0.2, 0.2, 12)
        turn = 0.5 + between * rng.normal(size=4)[group] + within * rng.normal(size=12)
        row = decide_scale(turn, np.zeros(12), size, group, 0.1, 0.05)
        found.append(row["verdict"] == "not invariant")
    assert np.mean(found) < 0.105


def test_vertices_that_are_equal_up_to_rounding_show_nothing():
    turn = np.full(6, 0.5) + 1e-16 * np.arange(6)
    row = decide_scale(turn, np.zeros(6), np.linspace(8, 9, 6), np.arange(6) // 2, 0.1, 0.05)
    assert row["verdict"] == "undecided"
    assert "exactly on a line" in row["reason"]


@pytest.mark.parametrize(
    ("change", "spread", "open_ends"),
    [(-0.08, 0.05, "-0.1"), (0.08, 0.05, "+0.1"), (0.0, 0.2, "-0.1 or +0.1")],
)
def test_what_is_left_open_names_the_end_of_the_margin(change, spread, open_ends):
    size, group = np.linspace(8, 10, 12), np.arange(12) % 4
    turn = 0.5 + change / 2 * (size - 9) + spread * np.random.default_rng(4).standard_normal(12)
    row = decide_scale(turn, np.zeros(12), size, group, 0.1, 0.05)
    assert (row["low"] < -0.1, row["high"] > 0.1) == ("-" in open_ends, "+" in open_ends)
    assert row["reason"].endswith(f": neither 0 nor a change of {open_ends} is ruled out")


def test_a_size_for_each_family_leaves_the_families_as_the_units():
    scores = simulate_scores(families=(3, 3, 3, 3), n_replicates=0, seed=1)
    table = scores.table
    size = table["family"].map({"A": 1e8, "B": 3e8, "C": 1e9, "D": 3e9})
    row = scale_test(as_scores(table.assign(n_params=size))).iloc[0]
    assert (row["n"], row["n_families"]) == (12, 4)
    assert 1 <= row["df"] <= 2
    two = table.assign(n_params=size)[table["family"].isin(["A", "B"])]
    row = scale_test(as_scores(two)).iloc[0]
    assert row["verdict"] == "undecided"
    assert "two families; at least three" in row["reason"]


def test_the_estimator_is_named_and_the_default_follows_the_maximum():
    # Skewed humps whose maximum is at 0.3 in all sizes: the vertex moves with the right arm.
    at, rng = np.linspace(0, 1, 25), np.random.default_rng(3)
    rows = []
    for i in range(12):
        right = 0.25 + 0.03 * i
        width = np.where(at < 0.3, 0.2, right)
        curve = np.exp(-0.5 * ((at - 0.3) / width) ** 2) + 0.02 * rng.normal(size=25)
        facts = {"model": f"m{i:02}", "family": f"f{i % 4}", "n_params": 10 ** (8 + i / 6)}
        rows.append(pd.DataFrame({"depth": at, "score": curve, **facts}))
    table = pd.concat(rows)
    found = {peak: scale_test(table, peak=peak).iloc[0] for peak in PEAKS}
    assert [row["peak"] for row in found.values()] == list(PEAKS)
    assert found["vertex"]["low"] > 0.1  # the margin
    assert found["extremum"]["p_equivalence"] < 0.05
    assert scale_test(table)["peak"].item() == "extremum"
    with pytest.raises(InputError, match="no estimator 'top'"):
        scale_test(table, peak="top")


def test_models_without_a_peak_are_left_out_and_never_invariant():
    table = simulate_scores(families=(4, 4, 4), noise_sd=0.003, n_replicates=0, seed=2).table
    whole = scale_test(table).iloc[0]
    assert (whole["verdict"], whole["n"], whole["n_no_peak"]) == ("invariant", 12, 0)
    rising = table["score"].where(table["model"] != "m1", 0.6 + 0.1 * table["depth"])
    row = scale_test(table.assign(score=rising)).iloc[0]
    assert (row["verdict"], row["n"], row["n_no_peak"]) == ("undecided", 11, 1)
    assert "1 of 12 models is highest at an end" in row["reason"]


@pytest.mark.parametrize("peak", PEAKS)
def test_troughs_have_no_peak_that_could_stay_in_place(peak):
    troughs = simulate_scores(
        families=(4, 4, 4), noise_sd=0.003, n_replicates=20, seed=2, shape="trough"
    )
    row = scale_test(troughs, peak=peak).iloc[0]
    assert (row["verdict"], row["n"], row["n_no_peak"]) == ("undecided", 0, 12)
    departures = family_departures(troughs, peak=peak)
    assert departures["reason"].item().startswith("no family has a model with a peak")


def test_few_humps_among_troughs_are_no_peak_that_models_share():
    trough = simulate_scores(
        families=(4, 4, 4), noise_sd=0.003, n_replicates=0, seed=2, shape="trough"
    ).table
    humps = trough["model"].isin(["m1", "m5", "m9", "m10"])
    # Their curves are a third as high, so that a trough is shown over all models.
    score = trough["score"].where(~humps, 0.7 - (trough["score"] - 0.7) / 3)
    row = scale_test(trough.assign(score=score)).iloc[0]
    assert (row["n"], row["n_no_peak"]) == (4, 8)
    assert np.isnan(row["estimate"])
    assert row["reason"] == NO_PEAK


@pytest.mark.parametrize(
    ("shift", "verdict", "p"),
    [(0.0, "supported", "p_equivalence"), (0.2, "contradicted", "p")],
)
def test_the_p_of_the_claim_includes_that_of_a_peak(shift, verdict, p):
    # Amplitudes of 0.2 to 6 leave the peak less certain than its place.
    table = simulate_scores(
        families=(3, 3, 3), n_layers=(20, 20), noise_sd=0.0005, n_replicates=0, seed=4
    ).table
    height = np.array([0.2, 1.0, 6.0])[table["model"].str[1:].astype(int) % 3]
    turn = 0.5 + shift * (np.log10(table["n_params"]) - 9)
    moved = table["score"] + 0.4 * ((table["depth"] - 0.5) ** 2 - (table["depth"] - turn) ** 2)
    found = scale_test(table.assign(score=height * moved), alpha=0.1)
    assert found[p].item() < found["p_peak"].item() < 0.1
    claim = depth.scale(found)
    assert (claim["verdict"], claim["p"]) == (verdict, found["p_peak"].item())
