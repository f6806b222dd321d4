"""Compare methods over models, against R and closed forms; and check the published test."""

import json
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
import pingouin
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from analysis.claims.published_check import largest_d, published_check
from analysis.loading.scores import as_scores
from analysis.over_models.effect_sizes import cles_interval
from analysis.over_models.method_contrast import method_test, paired_over_families, sign_flips
from analysis.over_models.permutation import flip_p
from analysis.over_models.rank_tests import mann_whitney, signed_rank
from analysis.planning.simulate import simulate_scores
from study.read import InputError

pytestmark = pytest.mark.arithmetic

REFERENCE = Path(__file__).parents[1] / "reference"
R = json.loads((REFERENCE / "invariance.json").read_text())["methods"]
FAMILIES = json.loads((REFERENCE / "families.json").read_text())
FOUND = method_test(pd.read_csv(REFERENCE / "invariance_data.csv")).set_index("test")
THREE = ("comprehension", "generation", "rereading")


def study(**settings):
    return simulate_scores(
        **{"methods": THREE[:2], "model_sd": {"level": 0.05}, "n_replicates": 50, **settings}
    )


def means_over_layers():
    """Each model's mean by generation and by comprehension, and its family."""
    table = pd.read_csv(REFERENCE / "invariance_data.csv")
    wide = table.groupby(["model", "family", "method"])["score"].mean().unstack("method")
    family = wide.index.get_level_values("family").tolist()
    return wide["generation"].to_numpy(), wide["comprehension"].to_numpy(), family


def test_paired_tests_equal_r():
    # R: expand.grid of signs; t.test(paired = TRUE); wilcox.test(paired = TRUE, exact = TRUE)
    x, y, _ = means_over_layers()
    row = sign_flips(x, y, 0.05, np.random.default_rng(0), "")
    assert_allclose(row["p"], R["permutation_p"], rtol=1e-12)
    assert_allclose([row["low"], row["high"]], R["interval"], rtol=1e-8)
    row, expected = signed_rank(x, y, 0.05, ""), R["signed_rank"]
    assert_allclose(row["p"], expected["p"], rtol=1e-9)
    assert_allclose(row["estimate"], expected["estimate"], rtol=1e-6)
    assert_allclose([row["low"], row["high"]], expected["interval"], rtol=1e-6)


def test_mann_whitney_equals_r():
    # R: wilcox.test(a, b, exact = TRUE)
    row = FOUND.loc["Mann-Whitney"]
    assert_allclose(row["p"], R["mann_whitney"]["p"], rtol=1e-9)
    assert row["statistic"] == R["mann_whitney"]["u"]
    assert_allclose(row["cles"], R["mann_whitney"]["u"] / 81)
    assert_allclose(row["rank_biserial"], 2 * row["cles"] - 1)


def test_paired_over_families_equals_r():
    # R: t.test(tapply(difference, family, mean)); p is Hall's where that is larger.
    row, expected = FOUND.loc["paired over families"], FAMILIES["methods"]
    assert_allclose(row["estimate"], expected["mean"]["estimate"], rtol=1e-8)
    assert_allclose(row["df"], expected["mean"]["df"])
    assert row["p"] >= expected["mean"]["p"] * (1 - 1e-8)
    low, high = expected["mean"]["interval"]
    assert row["low"] <= low + 1e-10
    assert row["high"] >= high - 1e-10


@pytest.mark.parametrize(
    ("test", "name"), [("mixed model", "method"), ("method x instruct", "instruct")]
)
def test_mixed_model_equals_clubsandwich(test, name):
    # R: coef_test(rma.mv(difference, V, mods = ~ i), vcov = "CR2", cluster = family)
    row, expected = FOUND.loc[test], FAMILIES["methods"][name]
    assert_allclose(
        [row["estimate"], row["df"], row["p"]],
        [expected["estimate"], expected["df"], expected["p"]],
        rtol=1e-7,
    )


def test_two_models_are_undecided_but_each_has_its_own_evidence():
    found = method_test(study(families=(1, 1), method_effect=0.1), scope=None).set_index("test")
    assert found.loc["paired over families", "verdict"] == "undecided"
    assert "two families; at least three" in found.loc["paired over families", "reason"]
    assert found.loc["sign flips", ["verdict", "p_min"]].tolist() == ["undecided", 0.5]
    assert "cannot give a p below 0.5" in found.loc["sign flips", "reason"]
    within = found.loc["within model"]
    assert within["model"].tolist() == ["m1", "m2"]
    # The effect is in the second method, so generation comes second.
    assert (within["verdict"] == "a better").all()
    assert (within["p"] < 1e-6).all()
    assert found.loc["every model", "verdict"] == "a better"


def test_few_replicates_cannot_show_a_difference_within_a_model():
    found = method_test(study(n_replicates=6, method_effect=1.0)).query("test == 'within model'")
    assert set(found["verdict"]) == {"undecided"}
    assert (found["reason"] == "only 6 replicates; at least 20 are needed").all()


def test_direction_and_order_of_the_methods():
    table = study(method_effect=0.05, n_replicates=0).table
    first = method_test(table).iloc[0]
    swapped = method_test(table, a="comprehension", b="generation").iloc[0]
    assert (first["verdict"], swapped["verdict"]) == ("a better", "b better")
    assert_allclose(first["estimate"], -swapped["estimate"])
    lower = as_scores(table.assign(score=-table["score"]), higher_is_better=False)
    turned = method_test(lower).iloc[0]
    assert turned["verdict"] == "a better"
    assert_allclose([turned["estimate"], turned["low"]], [-first["estimate"], -first["high"]])
    assert_allclose(turned["hedges_g"], first["hedges_g"])


def test_rereading_parts_text_from_state():
    # Both later methods have the effect: it comes from the text, and none from the state.
    found = method_test(study(methods=THREE, method_effect=0.05)).set_index("test")
    assert found.loc["text", ["a", "b", "verdict"]].tolist() == [
        "rereading",
        "comprehension",
        "a better",
    ]
    assert found.loc["state", "verdict"] == "undecided"
    assert_allclose(
        found.loc["text", "estimate"] + found.loc["state", "estimate"],
        found.loc["paired over families", "estimate"],
    )


def test_peak_is_another_value():
    scores = study(methods=("comprehension", "generation"), method_effect=0.05)
    peak = method_test(scores, value="peak").iloc[0]
    best = scores.table.groupby(["method", "model"])["score"].max()
    family = scores.table.groupby("model")["family"].first()
    by_model = (best["generation"] - best["comprehension"]).rename("difference")
    of_families = by_model.groupby(family.loc[by_model.index].to_numpy()).mean()
    assert_allclose(peak["estimate"], of_families.mean())


def test_effects_beyond_five_are_flagged():
    found = method_test(study(model_sd={}, noise_sd=0.0005, method_effect=0.1)).set_index("test")
    assert abs(found.loc["Mann-Whitney", "hedges_g"]) > 5
    assert "near zero" in found.loc["Mann-Whitney", "flag"]
    assert FOUND.loc["Mann-Whitney", "flag"] == ""


def test_a_model_with_one_method_is_named_and_left_out_of_pairs():
    table = study().table
    table = table[(table["model"] != "m2") | (table["method"] == "generation")]
    found = method_test(table).set_index("test")
    assert found.loc["paired over families", "n"] == 8
    assert "m2 left out" in found.loc["paired over families", "reason"]
    assert found.loc["Mann-Whitney", "n"] == 17


def test_no_pair_at_all_is_undecided():
    table = study(families=(1, 1)).table
    alone = table[(table["model"] == "m1") == (table["method"] == "generation")]
    row = method_test(alone).iloc[0]
    assert (row["n"], row["verdict"]) == (0, "undecided")
    assert "no model has both" in row["reason"]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (
            lambda t: t[t["method"] == "generation"],
            {},
            "method 'comprehension' is not in the table",
        ),
        (lambda t: t, {"value": "median"}, "value 'median' is unknown"),
        (
            lambda t: t[(t["model"] != "m1") | ((t["emotion"] > "e1") == (t["method"] > "d"))],
            {},
            "model 'm1' has no emotion under both methods",
        ),
        (lambda t: pd.concat([t, t.assign(seed=1)]), {}, "several seeds"),
    ],
)
def test_bad_input_is_named(change, arguments, message):
    table = study(n_emotions=2, n_replicates=0).table
    with pytest.raises(InputError, match=message):
        method_test(change(table), **arguments)


def test_ties_and_equal_methods():
    table = study(n_replicates=0).table
    copied = table[table["method"] == "generation"]
    same = pd.concat([copied, copied.assign(method="comprehension")])
    found = method_test(same)
    assert (found["verdict"] == "undecided").all()
    assert "do not differ" in found.loc[0, "reason"]
    assert found.loc[1, "p"] == 1


def test_flip_p_counts_and_never_reaches_zero():
    rng = np.random.default_rng(0)
    assert flip_p(np.arange(1.0, 10.0), rng) == 2 / 2**9
    assert flip_p(np.ones(20), rng) == 1 / 20_001
    for n in (4, 20):
        assert np.isnan(flip_p(np.append(np.ones(n), np.nan), rng))


def test_cles_interval_covers():
    rng = np.random.default_rng(4)
    truth = stats.norm.cdf(1.2 / np.sqrt(2))
    inside = 0
    for _ in range(400):
        x, y = rng.standard_normal((2, 9)) + np.array([[1.2], [0.0]])
        low, high = cles_interval(float((x[:, None] > y).mean()), 9, 9)
        inside += low <= truth <= high
    assert inside / 400 > 0.92
    assert_allclose(cles_interval(0.2, 5, 8), 1 - np.array(cles_interval(0.8, 5, 8))[::-1])


def test_published_p_and_d_cannot_be_nine_models_against_nine():
    found = published_check(p=0.007, d=-107.5, n_a=9, n_b=9)
    exact = found[(found["test"] == "exact") & (found["verdict"] == "possible")]
    assert exact[["n_a", "n_b", "U"]].to_numpy().tolist() == [[3, 10, 0]]
    assert_allclose(exact["p"].item(), 2 / comb(13, 3))
    nine = found[(found["n_a"] == 9) & (found["n_b"] == 9)]
    assert (nine["verdict"] == "impossible").all()
    apart = nine[(nine["test"] == "exact") & (nine["U"] == 0)]
    assert_allclose(apart["p"].item(), 2 / comb(18, 9))
    assert "5.33" in apart["reason"].item()


def test_published_p_alone_is_possible_with_a_modest_d():
    found = published_check(p=0.007, d=-1.2, n_a=9, n_b=9)
    assert (
        found[(found["n_a"] == 9) & (found["n_b"] == 9) & (found["U"] > 0)]["verdict"] == "possible"
    ).all()


@pytest.mark.parametrize("sizes", [(3, 10), (5, 6), (9, 9), (1, 4)])
def test_published_ps_are_scipys(sizes):
    table = published_check(p=0.5, d=0.0, n_a=sizes[0], n_b=sizes[1])
    found = table.set_index("test")["p"].groupby(level=0).last()
    x, y = np.arange(float(sizes[0])), 100.0 + np.arange(float(sizes[1]))
    for test, options in (
        ("exact", {"method": "exact"}),
        ("exact, one-sided", {"method": "exact", "alternative": "less"}),
        ("normal", {"method": "asymptotic", "use_continuity": False}),
        ("normal, corrected", {"method": "asymptotic"}),
    ):
        assert_allclose(found[test], stats.mannwhitneyu(x, y, **options).pvalue, rtol=1e-9)


@pytest.mark.parametrize("sizes", [(9, 9), (3, 10), (1, 9), (2, 2)])
def test_no_overlapping_samples_exceed_the_bound_on_d(sizes):
    # Samples that overlap in one pair of values and are otherwise as far apart as possible.
    n_a, n_b = sizes
    rng = np.random.default_rng(0)
    reached = 0.0
    for _ in range(3000):
        meet, wobble = rng.uniform(), 10.0 ** rng.uniform(-6, 0)
        x = np.concatenate([wobble * rng.standard_normal(n_a - 1) * 0.3, [meet]])
        y = np.concatenate([1 + wobble * rng.standard_normal(n_b - 1) * 0.3, [meet]])
        if x.max() < y.min():
            continue
        pooled = np.sqrt((x.var() * n_a + y.var() * n_b) / (n_a + n_b - 2))
        if pooled > 1e-9:
            reached = max(reached, (y.mean() - x.mean()) / pooled)
    assert reached <= largest_d(*sizes) * (1 + 1e-9)
    assert reached > 0.99 * largest_d(*sizes)


def test_mann_whitney_of_tied_samples_runs():
    row = mann_whitney(np.array([1.0, 2.0, 2.0]), np.array([2.0, 3.0, 4.0]), 0.05)
    assert 0 < row["p"] <= 1


def test_ties_do_not_turn_the_verdict_of_ranks():
    y = np.full(21, 0.9)
    whitney = np.append(np.full(12, 0.9), np.full(9, 1.0))
    ranks = np.append(np.full(15, 0.9), 0.91 + 0.01 * np.arange(6))
    for x, other, verdict in ((0, 1, "a better"), (1, 0, "b better")):
        row = mann_whitney((whitney, y)[x], (whitney, y)[other], 0.05)
        assert (row["estimate"], row["verdict"]) == (0, verdict)
        row = signed_rank((ranks, y)[x], (ranks, y)[other], 0.05, "")
        assert (row["estimate"], row["verdict"]) == (0, verdict)


@pytest.mark.parametrize("n", [2, 3, 9, 60])
def test_effect_sizes_and_ranks_equal_pingouins(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(0.3, 2.0, n), rng.normal(0.0, 1.0, n)
    several = np.append(y, rng.normal(size=3))
    for row, other, paired in (
        (signed_rank(x, y, 0.05, ""), y, True),
        (mann_whitney(x, several, 0.05), several, False),
    ):
        g = pingouin.compute_effsize(x, other, paired=paired, eftype="hedges")
        assert_allclose(row["hedges_g"], g, rtol=1e-12)
        ends = pingouin.compute_esci(g, n, other.size, paired=paired, eftype="g", decimals=12)
        assert_allclose([row["g_low"], row["g_high"]], ends, rtol=1e-9)
        test, method = (pingouin.wilcoxon, "auto") if paired else (pingouin.mwu, "exact")
        theirs = test(x, other, method=method).iloc[0]
        assert_allclose(row["p"], theirs["p_val"], rtol=1e-9)
        assert row["statistic"] == theirs["W_val" if paired else "U_val"]
        if not paired:
            assert_allclose(row["rank_biserial"], theirs["RBC"], rtol=1e-9)
            assert_allclose(row["cles"], theirs["CLES"], rtol=1e-9)


def test_a_thousand_models_neither_overflow_nor_take_the_exact_way():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1100)) + np.array([[0.05], [0.0]])
    whitney = mann_whitney(x, y, 0.05)
    assert_allclose(whitney["p"], stats.mannwhitneyu(x, y, method="asymptotic").pvalue)
    assert 0 <= whitney["p_min"] < 1e-300
    ranks = signed_rank(x, y, 0.05, "")
    assert ranks["low"] < ranks["estimate"] < ranks["high"]
    # For normal values, the signed-rank interval approaches Student's.
    reach = stats.t.ppf(0.975, 1099) * stats.sem(x - y)
    assert_allclose(ranks["high"] - ranks["low"], 2 * reach, rtol=0.1)


@pytest.mark.parametrize(("n_families", "reachable"), [(5, False), (6, True)])
def test_fewer_sign_flips_than_the_smallest_p_asked_for_are_undecided(n_families, reachable):
    # Whole families flip: 2 / 2^5 = 0.0625 is more than 0.05, 2 / 2^6 is not.
    found = method_test(study(families=(2,) * n_families, method_effect=0.2)).set_index("test")
    row = found.loc["sign flips"]
    assert row["p"] == row["p_min"] == 2 / 2**n_families
    assert (row["verdict"] == "a better") == reachable
    assert ("cannot give a p below" in row["reason"]) != reachable
    # Student's t over families decides with either number.
    assert found.loc["paired over families", "verdict"] == "a better"


def test_smaller_can_be_better_in_a_bare_table():
    table = study(method_effect=0.05, n_replicates=0).table
    bare = table[["model", "family", "depth", "method", "score"]]
    turned = bare.assign(score=-bare["score"])
    assert method_test(bare)["verdict"].iloc[0] == "a better"
    assert method_test(turned)["verdict"].iloc[0] == "b better"
    assert method_test(turned, higher_is_better=False)["verdict"].iloc[0] == "a better"


def test_sameness_needs_a_margin():
    table = study(method_effect=0.0, noise_sd=0.002, n_replicates=0)
    assert method_test(table)["verdict"].iloc[0] == "undecided"
    assert method_test(table, delta=0.05)["verdict"].iloc[0] == "alike"


@pytest.mark.parametrize("sizes", [(2, 2, 2, 2, 1), (3, 3, 3, 3), (4, 4, 4, 4, 4)], ids=sum)
@pytest.mark.parametrize(
    ("draw", "between"),
    [("normal", 0.0), ("normal", 0.05), ("exponential", 0.0)],
    ids=["nothing shared", "families share effects", "skewed differences"],
)
def test_size_where_families_share_and_where_differences_are_skewed(draw, between, sizes):
    # 400 studies: at most 0.065 and two Monte Carlo errors (0.012 each).
    rng = np.random.default_rng(3)
    family = np.repeat(np.arange(len(sizes)), sizes)
    names, n = family.astype(str).tolist(), family.size
    found = 0
    for _ in range(400):
        own = rng.normal(size=n) if draw == "normal" else rng.exponential(size=n) - 1
        effect = between * rng.normal(size=len(sizes))[family] + 0.02 * own
        row = paired_over_families(effect, np.zeros(n), names, 0.05)
        found += row["verdict"] != "undecided"
    assert found / 400 < 0.089


def test_a_model_is_compared_on_the_emotions_that_it_has_under_both_methods():
    table = study(n_emotions=3, n_replicates=0).table
    one = (table["model"] == "m1") & (table["emotion"] == "e1")
    either, both = one & (table["method"] == "generation"), one
    found = [method_test(table[~gone]).iloc[0]["estimate"] for gone in (either, both)]
    assert found[0] == found[1]


def unbalanced(effects, sizes, noise, scale=1.0, seed=0):
    """One profile per model and method; the families' effects of the method are given."""
    rng, depth, rows = np.random.default_rng(seed), np.linspace(0, 1, 9), []
    for family, (effect, size) in enumerate(zip(effects, sizes, strict=True)):
        for model in range(size):
            level = rng.normal(0.7, 0.02)
            for method, moved in (
                ("comprehension", 0.0),
                ("generation", rng.normal(effect, noise)),
            ):
                row = {"model": f"f{family}m{model}", "family": f"F{family}", "depth": depth}
                row |= {"metric": "auc", "method": method, "score": scale * (level + moved)}
                rows.append(pd.DataFrame(row))
    return pd.concat(rows)


def test_models_and_families_that_disagree_show_nothing():
    """A large family has the opposite effect of all others: its models are no support for them."""
    effects, sizes = (-0.1, *[0.1] * 9), (25, *[1] * 9)
    found = method_test(unbalanced(effects, sizes, 0.01)).iloc[0]
    assert found["estimate"] > 0
    assert found["low"] < 0 < found["high"]
    assert (found["p"], found["verdict"]) == (1.0, "undecided")


def test_the_unit_of_the_scores_changes_no_test():
    plain, tiny = (
        method_test(unbalanced((0.02, 0.07, 0.12), (3, 3, 3), 0.005, scale)).set_index("test")["p"]
        for scale in (1.0, 1e-9)
    )
    assert plain["method x family"] < 0.001
    pd.testing.assert_series_equal(plain, tiny, rtol=1e-6)


def test_effect_sizes_have_intervals_of_the_level_asked_for():
    table = unbalanced((0.01, 0.02, 0.03), (3, 3, 3), 0.02)
    wide, narrow = (method_test(table, alpha=alpha).iloc[0] for alpha in (0.01, 0.05))
    for name in ("g", "rb", "cles"):
        assert wide[f"{name}_low"] < narrow[f"{name}_low"], name
        assert wide[f"{name}_high"] >= narrow[f"{name}_high"], name
    half = (narrow["g_high"] - narrow["g_low"]) / (wide["g_high"] - wide["g_low"])
    assert_allclose(half, stats.t.ppf(0.975, 8) / stats.t.ppf(0.995, 8))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_alpha_must_be_a_level(alpha):
    with pytest.raises(InputError, match="it must lie between"):
        method_test(study(families=(1, 1, 1)), alpha=alpha)
