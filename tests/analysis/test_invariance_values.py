"""Recompute every column of the test of invariance from known vertices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from analysis.loading.scores import as_scores
from analysis.over_models import invariance
from analysis.over_models.departures import N_PIVOT, between_sd, departures
from analysis.over_models.departures import left_out as left_out_r2
from analysis.over_models.invariance import (
    _hindrance,
    _verdict,
    decide_invariance,
    invariance_test,
)
from analysis.over_models.permutation import permutation_p
from analysis.over_models.sums import CurveData, curve_data, vertex
from analysis.planning.simulate import simulate_scores
from study.arrays import Float64Array
from study.read import InputError

NAN = float("nan")


def study(turns: dict[str, list[float]], bend: float = -0.4, noise: float = 0.004) -> pd.DataFrame:
    """Models of each family with their vertex, a curve in depth and some noise."""
    rng = np.random.default_rng(0)
    depth = np.linspace(0, 1, 13)
    parts = []
    for family, vertices in turns.items():
        for i, turn in enumerate(vertices):
            score = 0.7 + bend * (depth - turn) ** 2 + noise * rng.standard_normal(13)
            name = f"{family}{i}"
            parts.append(
                pd.DataFrame({"model": name, "family": family, "depth": depth, "score": score})
            )
    return pd.concat(parts, ignore_index=True)


def with_vertices(turns: dict[str, list[float]], bends: list[float] | None = None) -> CurveData:
    """A data set of curves that turn exactly at given depths."""
    data = curve_data(as_scores(study(turns)), "score")
    flat = np.concatenate([turns[family] for family in data.groups])
    curvature = np.full(flat.size, -0.05) if bends is None else np.array(bends)
    coef = np.column_stack([-(flat - 0.5) * 6 * curvature, curvature, np.full(flat.size, 0.7)])
    assert_allclose(vertex(coef), flat)
    return replace(data, coef=coef[None])


UNEVEN = {"A": [0.40, 0.46], "B": [0.50, 0.53, 0.59], "C": [0.52, 0.48]}


def pooled(turns: dict[str, list[float]]) -> tuple[Float64Array, Float64Array, float, int]:
    """Return sizes and means of families, the variance within them and its degrees of freedom."""
    size = np.array([len(v) for v in turns.values()])
    mean = np.array([np.mean(v) for v in turns.values()])
    squares = sum(((np.array(v) - np.mean(v)) ** 2).sum() for v in turns.values())
    df = int(size.sum() - size.size)
    return size, mean, float(squares / df), df


def test_departures_of_groups_of_unequal_size() -> None:
    """Each departure is a contrast of the families' means, with its own variance."""
    found = departures(with_vertices(UNEVEN), delta=0.1, alpha=0.1, peak="vertex")
    size, mean, s2, df = pooled(UNEVEN)
    contrast = np.eye(3) - 1 / 3
    shift, error = contrast @ mean, np.sqrt(np.diag(contrast @ np.diag(s2 / size) @ contrast.T))
    reach = stats.t.ppf(0.9, df) * error[0]
    p = [stats.t.sf((0.1 - abs(d)) / e, df) for d, e in zip(shift, error, strict=True)]
    assert found["departure_of"] == "A"
    wanted = [shift[0], shift[0] - reach, shift[0] + reach, max(p)]
    assert_allclose([found[k] for k in ("estimate", "low", "high", "p_equivalence")], wanted)
    assert shift[0] < 0
    assert np.argmax(p) == 0


def test_equivalence_needs_every_family_and_not_the_one_that_departs_most() -> None:
    """A family of one model has the least certain mean, though another family's is farther off."""
    turns = {"A": [0.47, 0.44, 0.45, 0.46], "B": [0.55], "C": [0.49, 0.53]}
    found = departures(with_vertices(turns), delta=0.07, alpha=0.05, peak="vertex")
    size, mean, s2, df = pooled(turns)
    contrast = np.eye(3) - 1 / 3
    shift, error = contrast @ mean, np.sqrt(np.diag(contrast @ np.diag(s2 / size) @ contrast.T))
    p = stats.t.sf((0.07 - np.abs(shift)) / error, df)
    assert found["departure_of"] == "A"
    assert np.argmax(p) == 1
    assert found["p_equivalence"] == pytest.approx(p.max())


@pytest.mark.parametrize(
    ("turns", "bends"),
    [
        ({"A": [0.4], "B": [0.6]}, None),  # nothing within families
        ({"A": [0.4, 0.4], "B": [0.6, 0.6]}, None),  # no variance within families
        ({"A": [0.4, 0.5], "B": [0.6, 0.5]}, [-0.05, -0.05, 0.05, -0.05]),  # a trough among humps
        ({"A": [0.4, 0.5]}, None),  # one family
    ],
)
def test_what_has_no_equivalence(turns: dict[str, list[float]], bends: list[float] | None) -> None:
    data = with_vertices(turns, bends)
    found = departures(data, delta=0.1, alpha=0.05, peak="vertex")
    assert np.isnan(found["p_equivalence"])
    assert np.isnan(found["low"]) == (bends is None)
    assert (found["departure_of"] in data.groups) == (len(turns) > 1)


def test_a_straight_model_has_no_vertex_to_depart_with() -> None:
    data = with_vertices(UNEVEN)
    data.coef[0, 2, 1] = 0.0
    assert np.isnan(departures(data, 0.1, 0.05, peak="vertex")["estimate"])
    assert np.isnan(between_sd(data, np.random.default_rng(0), peak="vertex")["between_sd"])


@pytest.mark.parametrize("apart", [0.12, 0.01])
def test_between_sd_of_families_of_equal_size(apart: float) -> None:
    """Paule and Mandel's equation then has a closed form: that of the analysis of variance."""
    offsets = np.array([-0.03, 0.0, 0.03])
    turns = {f: list(0.5 + apart * k + offsets) for k, f in enumerate("ABCD", -2)}
    found = between_sd(with_vertices(turns), np.random.default_rng(7), level=0.9, peak="vertex")
    _, mean, s2, df = pooled(turns)
    squares = ((mean - mean.mean()) ** 2).sum()
    rng = np.random.default_rng(7)
    right = rng.chisquare(3, N_PIVOT)
    error = s2 * df / rng.chisquare(df, N_PIVOT)
    draws = np.sqrt(np.maximum(squares / right - error / 3, 0))
    wanted = [np.sqrt(max(squares / 3 - s2 / 3, 0)), *np.quantile(draws, [0.05, 0.95])]
    names = ("between_sd", "between_sd_low", "between_sd_high")
    assert_allclose([found[k] for k in names], wanted, rtol=1e-4, atol=1e-6)
    assert (found["between_sd"] > 0) == (apart > 0.05)


@pytest.mark.parametrize(
    "turns", [{"A": [0.4, 0.5]}, {"A": [0.4], "B": [0.6]}, {"A": [0.4, 0.4], "B": [0.6, 0.6]}]
)
def test_between_sd_needs_families_and_models_within_them(turns: dict[str, list[float]]) -> None:
    found = between_sd(with_vertices(turns), np.random.default_rng(0), peak="vertex")
    assert np.isnan(list(found.values())).all()
    assert list(found) == ["between_sd", "between_sd_low", "between_sd_high"]


def test_a_family_is_predicted_from_the_means_of_the_others() -> None:
    """A family's curve is the mean of its models', and the others' that of the families'."""
    table = study(UNEVEN)
    data = curve_data(as_scores(table), "score")
    profiles = {str(m): rows["score"].to_numpy() for m, rows in table.groupby("model", sort=True)}
    depth = np.linspace(0, 1, 13)
    fits = {m: np.polyfit(depth, y, 2) for m, y in profiles.items()}
    of = {f: np.mean([c for m, c in fits.items() if m[0] == f], axis=0) for f in "ABC"}
    flat = left = own = 0.0
    for model, y in profiles.items():
        others = np.mean([c for f, c in of.items() if f != model[0]], axis=0)
        y = y - y.mean()
        for_others, for_own = (np.polyval(c, depth) for c in (others, of[model[0]]))
        flat += (y**2).sum()
        left += ((y - for_others + for_others.mean()) ** 2).sum()
        own += ((y - for_own + for_own.mean()) ** 2).sum()
    assert_allclose(list(left_out_r2(data).values()), [1 - left / flat, 1 - own / flat], rtol=1e-9)
    assert np.isnan(list(left_out_r2(with_vertices({"A": [0.4, 0.5]})).values())).all()


def test_prediction_of_constant_profiles_is_not_a_number() -> None:
    data = curve_data(as_scores(study(UNEVEN).assign(score=0.5)), "score")
    found = left_out_r2(data)
    assert list(found) == ["lofo_r2", "own_r2"]
    assert np.isnan(list(found.values())).all()


CLEAR = {
    "peak": "vertex",
    "n_models": 7,
    "n_no_peak": 0,
    "alpha": 0.05,
    "delta": 0.1,
    "converged": True,
    "n_perm": 945,
    "p": 0.5,
    "p_equivalence": 0.5,
    "estimate": 0.04,
    "low": -0.03,
    "high": 0.15,
    "curve_delta": 0.1,
    "amplitude_delta": 0.25,
    "curve_upper": 0.08,
    "curve_of": "C",
    "curve_upper_of": "A",
    "p_curve": 0.02,
    "p_amplitude": 0.03,
    "amplitude_low": -0.1,
    "amplitude_high": 0.3,
    "amplitude_of": "C",
    "amplitude_upper": 0.3,
    "amplitude_upper_of": "B",
    "p_peak": 0.001,
}


@pytest.mark.parametrize(
    ("changed", "verdict", "reason"),
    [
        ({"converged": False, "p": 0.01}, "undecided", "a fit of the mixed model did not converge"),
        (
            {"n_perm": 19, "p": 0.01},
            "undecided",
            "the models can be sorted into groups of these sizes in only 19 ways: no "
            "permutation p can reach 0.05",
        ),
        ({"n_perm": 20, "p": 0.05}, "not invariant", "the curves differ between groups (p = 0.05)"),
        (
            {"p": 0.01, "p_equivalence": 0.05},
            "not invariant",
            "the curves differ between groups (p = 0.01); their peaks are nonetheless "
            "within 0.1 "
            "of the mean",
        ),
        (
            {"p_equivalence": 0.05},
            "invariant",
            "every group's curve is within 10% of the mean's rise (at most 8%), its "
            "amplitude within "
            "25% and its peak within 0.1 (equivalence p = 0.05), and no difference of the "
            "curves is "
            "shown",
        ),
        (
            {"p_equivalence": 0.05, "p_curve": 0.06, "curve_upper": 0.11},
            "undecided",
            "neither difference (p = 0.5) nor sameness is shown: the peaks are within 0.1 "
            "of the "
            "mean, but the shape of A may depart by 11% of the rise, against a margin of 10%",
        ),
        (
            {"p_equivalence": 0.05, "p_amplitude": 0.06, "p_peak": NAN},
            "undecided",
            "neither difference (p = 0.5) nor sameness is shown: the peaks are within 0.1 "
            "of the "
            "mean, but that the curves have a peak is not shown and the amplitude of B may differ "
            "by 30% of the mean's, against a margin of 25%",
        ),
        (
            {"p_equivalence": 0.05, "p_curve": 1.0, "curve_upper": NAN, "curve_upper_of": ""},
            "undecided",
            "neither difference (p = 0.5) nor sameness is shown: the peaks are within 0.1 "
            "of the "
            "mean, but a group has hardly any of the mean curve",
        ),
        (
            {},
            "undecided",
            "neither difference (p = 0.5) nor sameness is shown: the largest departure, "
            "+0.040, has "
            "the interval -0.030 to 0.150 against a margin of 0.1",
        ),
        (
            {"p_equivalence": NAN},
            "undecided",
            "neither difference (p = 0.5) nor sameness is shown: 2 of 7 curves bend upwards "
            "and the "
            "rest downwards",
        ),
    ],
)
def test_what_is_said_of_a_row(changed: dict[str, Any], verdict: str, reason: str) -> None:
    data = with_vertices(UNEVEN, [0.05, 0.05, -0.05, -0.05, -0.05, -0.05, -0.05])
    assert _verdict(CLEAR | changed, data) == (verdict, reason)


def test_what_hinders_a_test() -> None:
    data = with_vertices(UNEVEN)
    assert _hindrance(data) == ""
    assert _hindrance(with_vertices({"A": [0.4, 0.5]})) == (
        "one group only (A): nothing to compare it with"
    )
    assert _hindrance(with_vertices({"A": [0.4], "B": [0.5]})) == (
        "each of the 2 groups has only one model: a difference between groups cannot be told "
        "from a difference between models"
    )
    exact = "the profiles have no residual about their quadratics: no error to test against"
    least = 1e-20 * data.n_rows * np.abs(data.coef).max() ** 2
    assert _hindrance(replace(data, rss=np.array([least]))) == exact
    assert _hindrance(replace(data, rss=np.array([1.1 * least]))) == ""
    assert _hindrance(replace(data, rss=np.zeros(1), coef=0 * data.coef)) == exact


def test_p_is_the_larger_of_two_and_counts_what_is_as_extreme(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With known draws, 2 of 4 reach the likelihood ratio, and one did not converge."""

    class Fit:
        def __init__(self, converged: list[bool]) -> None:
            self.converged = np.array(converged)

    draws = np.array([5.0, 3.0, 1.0, 9.0])
    monkeypatch.setattr(
        invariance,
        "fall_back",
        lambda data, shown: (3, "; said", np.array([3.0]), Fit([True]), Fit([True])),
    )
    monkeypatch.setattr(invariance, "unbiased", lambda data, null, n: null)
    monkeypatch.setattr(invariance, "draw", lambda data, null, n, rng: data)
    usable = [Fit([True] * 4), Fit([True, True, True, False])]
    tolerances = []

    def ratio(data: CurveData, tol: float, n: int) -> tuple[Any, ...]:
        tolerances.append(tol)
        return (draws, *usable)

    monkeypatch.setattr(invariance, "likelihood_ratio", ratio)
    data = with_vertices(UNEVEN)
    row = decide_invariance(data, 0.1, 4, 0, 0.05)
    assert row["p_boot"] == (1 + 2) / (1 + 3)
    assert row["p_chi2"] == pytest.approx(stats.chi2.sf(3.0, 4))
    assert row["p"] == max(row["p_boot"], row["p_perm"])
    assert (row["lr"], row["df"], row["converged"]) == (3.0, 4, False)
    assert row["reason"] == "a fit of the mixed model did not converge; said"
    draws = np.ones(100)
    usable[:] = [Fit([True] * 100), Fit([True] * 99 + [False])]
    assert not decide_invariance(data, 0.1, 100, 0, 0.05)["converged"]  # more than 99% have to
    draws = np.array([5.0, 3.0, 1.0, 9.0])
    usable[:] = [Fit([True] * 4), Fit([True] * 4)]
    row = decide_invariance(data, 0.1, 4, 0, 0.05)
    assert (row["p_boot"], row["converged"]) == ((1 + 3) / (1 + 4), True)
    assert (row["random_terms"], row["n_random"]) == ("(1 + d + d^2 | model)", 3)
    assert max(tolerances) <= 1e-3
    facts = {"n_models": 7, "n_groups": 3, "n_rows": 91, "n_perm": 105, "delta": 0.1, "alpha": 0.05}
    assert {key: row[key] for key in facts} == facts


def test_a_row_that_cannot_be_tested_has_all_columns() -> None:
    whole = decide_invariance(with_vertices(UNEVEN), 0.1, 19, 0, 0.05)
    row = decide_invariance(with_vertices({"A": [0.4, 0.5]}), 0.1, 19, 0, 0.05)
    assert set(row) == set(whole) - {"loglik_null", "loglik_full"}
    missing = ("lr", "p_chi2", "p_boot", "p_perm", "p", "estimate", "low", "high", "lofo_r2")
    assert np.isnan([row[k] for k in missing]).all()
    facts = {
        "random_terms": "",
        "n_random": 0,
        "converged": True,
        "verdict": "undecided",
        "departure_of": "",
        "n_perm": 1,
    }
    assert {k: row[k] for k in facts} == facts


def test_permutations_are_of_slopes_and_curvatures_and_repeatable() -> None:
    data = with_vertices(UNEVEN)
    data.coef[0, :, 2] = np.arange(7) % 3  # the levels of the curves, which do not count
    both = data.coef[0, :, :2]
    rng = np.random.default_rng(0)
    assert decide_invariance(data, 0.1, 200, 0, 0.05)["p_perm"] == permutation_p(
        both, data.group, 200, rng
    )
    many = with_vertices({f: [0.45 + 0.02 * i for i in range(5)] for f in "ABC"})  # 126,126 ways
    drawn = [
        [decide_invariance(many, 0.1, 60, seed, 0.05)["p_perm"] for seed in range(4)]
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 1


@pytest.mark.parametrize(("sizes", "n_perm"), [((2, 2, 2, 2, 1), 945), ((10, 10, 10, 10), np.inf)])
def test_ways_to_sort_the_models_are_counted_while_they_can_be(
    sizes: tuple[int, ...], n_perm: float
) -> None:
    turns = {"ABCDE"[i]: [0.4 + 0.01 * j for j in range(n)] for i, n in enumerate(sizes)}
    assert decide_invariance(with_vertices(turns), 0.1, 19, 0, 0.05)["n_perm"] == n_perm


def test_one_degree_of_freedom_within_families_is_enough() -> None:
    data = with_vertices({"A": [0.40, 0.44], "B": [0.50]})
    found = departures(data, delta=0.5, alpha=0.05, peak="vertex")
    # The families' means are 0.42 and 0.50; half their difference is each one's departure.
    error = np.sqrt(0.02**2 * 2 * (1 / 2 + 1) / 4)
    assert found["p_equivalence"] == pytest.approx(stats.t.sf((0.5 - 0.04) / error, 1))
    assert np.isfinite(
        list(between_sd(data, np.random.default_rng(0), peak="vertex").values())
    ).all()


def test_a_table_that_cannot_be_tested_has_a_row() -> None:
    row = invariance_test(study({"A": [0.4, 0.5]}), n_boot=19).iloc[0]
    assert (row["verdict"], row["reason"][:14]) == ("undecided", "one group only")
    assert row["mixedlm_note"] == ""


def test_two_families_predict_each_other() -> None:
    found = left_out_r2(with_vertices({"A": [0.4, 0.45], "B": [0.5, 0.55]}))
    assert np.isfinite(list(found.values())).all()


def test_what_mixedlm_notes_stands_in_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    table = study(UNEVEN)
    plain = invariance_test(table, n_boot=19).iloc[0]
    decided = decide_invariance(curve_data(as_scores(table), "score"), 0.1, 19, 0, 0.05)
    assert (plain["verdict"], plain["reason"]) == (decided["verdict"], decided["reason"])
    asked = []

    def fits(data: CurveData, n_random: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        asked.append(n_random)
        return {"mixedlm_note": "said"}, []

    monkeypatch.setattr(invariance, "mixedlm_fits", fits)
    noted = invariance_test(table, n_boot=19).iloc[0]
    assert noted["reason"] == plain["reason"] + "; said"
    assert asked == [plain["n_random"]]


def test_groups_are_those_that_are_asked_for() -> None:
    table = study(UNEVEN)
    table["instruct"] = table["model"].str.endswith("0")
    row = invariance_test(table, by="instruct", n_boot=19).iloc[0]
    assert (row["by"], row["n_groups"]) == ("instruct", 2)


def test_the_defaults_are_those_of_the_design() -> None:
    table = study(UNEVEN)
    told = invariance_test(table, by="family", delta=0.1, n_boot=2000, seed=0, alpha=0.05)
    pd.testing.assert_frame_equal(invariance_test(table), told)


def test_a_row_for_each_metric_in_order() -> None:
    scores = simulate_scores(families=(2, 2), n_replicates=0, model_sd={"vertex": 0.03})
    table = pd.concat([scores.table.assign(metric=m) for m in ("z", "a")])
    rows = invariance_test(table, n_boot=19)
    assert rows["metric"].tolist() == ["a", "z"]
    assert set(rows["test"]) == {"invariance"}
    assert set(rows["by"]) == {"family"}
    assert {effect["metric"] for effect in rows.attrs["mixedlm"]} == {"a", "z"}
    assert invariance_test(table, n_boot=19, metric="z")["metric"].tolist() == ["z"]
    with pytest.raises(InputError, match="take at least 19"):
        invariance_test(table, n_boot=18)
