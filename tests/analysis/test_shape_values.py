"""Recompute every column of the U-shape test with polyfit and scipy's t."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import InputError, u_shape_test
from analysis.loading.scores import REPLICATE_COLUMNS, Scores, as_scores
from analysis.profiles.lines import line_weights, robin_hood
from analysis.profiles.splines import extrema, smoother
from analysis.scopes import holm
from study.arrays import Float64Array

DEPTH = np.linspace(0, 1, 21)
#: No curve is exactly quadratic, which would leave no error to estimate.
WOBBLE = 0.003 * np.sin(40 * DEPTH)
HUMP, LATER, PLATEAU = (
    y + WOBBLE for y in (-((DEPTH - 0.4) ** 2), -((DEPTH - 0.5) ** 2), -np.exp(-6 * DEPTH))
)


def study(
    curves: dict[str, Float64Array], depth: Float64Array = DEPTH, **columns: object
) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"model": m, "family": m, "depth": depth, "score": y, **columns})
        for m, y in curves.items()
    ]
    return pd.concat(parts, ignore_index=True)


def with_replicates(y: Float64Array, spread: Float64Array, n_topics: int | None = None) -> Scores:
    """One profile with replicates y + spread, shape (n_replicates, n_points)."""
    scores = as_scores(study({"m": y}))
    parts = [scores.table.assign(replicate=i, score=y + row) for i, row in enumerate(spread, 1)]
    replicates = pd.concat(parts, ignore_index=True)[REPLICATE_COLUMNS]
    run = {} if n_topics is None else {"topics": [str(i) for i in range(n_topics)]}
    return Scores(scores.table, replicates, scores.directions, run)


def line(depth: Float64Array, y: Float64Array, rows: Any) -> float:
    return float(np.polyfit(depth[rows], y[rows], 1)[0])


def four_slopes(depth: Float64Array, y: Float64Array, turn: float) -> Float64Array:
    """Return the quadratic's slopes at both ends, and those of lines to and from the turn."""
    two, one, _ = np.polyfit(depth, y, 2)
    return np.array(
        [
            one + 2 * two * depth[0],
            one + 2 * two * depth[-1],
            line(depth, y, depth <= turn + 1e-9),
            line(depth, y, depth >= turn - 1e-9),
        ]
    )


def expected(
    slopes: Float64Array,
    se: Float64Array,
    df: float,
    turn: float,
    length: Float64Array,
    alpha: float = 0.05,
) -> dict[str, float]:
    """Return the columns of a hump from its slopes and their errors."""
    t = slopes / se
    p = np.array([stats.t.sf(t, df), stats.t.cdf(t, df)])
    two_sided = 2 * stats.t.sf(np.abs(t[2:]), df)
    wrong_way = (t[2:] * [1, -1]) <= 0
    arm = np.array([1, -1]) * slopes[2:] * length
    reach = stats.t.isf(alpha / 2, df) * se[2:] * length
    return {
        "estimate": arm.min(),
        "low": (arm - reach).min(),
        "high": (arm + reach).min(),
        "p": max(np.where(wrong_way, 1.0, two_sided)),
        "turn": turn,
        "rise": arm[0],
        "fall": arm[1],
        "p_hump": max(p[0, 0], p[1, 1]),
        "p_trough": max(p[1, 0], p[0, 1]),
        "slope_start": slopes[0],
        "slope_end": slopes[1],
        "breakpoint": turn,
        "slope_before": slopes[2],
        "slope_after": slopes[3],
        "p_before": two_sided[0],
        "p_after": two_sided[1],
        "df": df,
    }


def check(row: pd.Series, wanted: dict[str, float]) -> None:
    for column, value in wanted.items():
        assert row[column] == pytest.approx(value, rel=1e-6, abs=1e-12), column


@pytest.mark.parametrize(
    "curve", [HUMP, PLATEAU, HUMP + 0.3 * DEPTH], ids=["hump", "plateau", "tilt"]
)
@pytest.mark.parametrize("n_topics", [None, 6])
def test_a_profile_with_replicates(curve: Float64Array, n_topics: int | None) -> None:
    """Use slopes by polyfit, errors by their spread over replicates, and an explicit search."""
    spread = np.random.default_rng(1).normal(scale=0.02, size=(40, 21)).cumsum(axis=1) / 3
    row = u_shape_test(with_replicates(curve, spread + 0.2, n_topics), alpha=0.1).iloc[0]
    inflate, df = (1.0, 39.0) if n_topics is None else (np.sqrt(6 / 5), 5.0)
    at = DEPTH[2:19]
    value = np.array([four_slopes(DEPTH, curve, place)[2:] for place in at])
    draws = np.array([[four_slopes(DEPTH, s, place)[2:] for place in at] for s in spread])
    se = inflate * draws.std(axis=0, ddof=1)
    path = [
        sum(np.arccos(np.corrcoef(draws[:, i, arm], draws[:, i + 1, arm])[0, 1]) for i in range(16))
        for arm in (0, 1)
    ]
    found = []
    for way in (1, -1):
        t = np.array([way, -way]) * value / se
        best = int(np.argmax(t.min(axis=1)))
        p = [
            1.0
            if z < 0
            else min(1.0, stats.t.sf(z, df) + w / 2 / np.pi * (1 + z**2 / df) ** (-df / 2))
            for z, w in zip(t[best], path, strict=True)
        ]
        found.append((max(p), way, best))
    p, way, best = min(found, key=lambda tried: tried[0])
    check(row, {"p": p, "turn": at[best]})
    change = np.array([way, -way]) * value[best] * [at[best], 1 - at[best]]
    check(row, dict(zip(("rise", "fall")[::way], change, strict=True)))
    check(row, {"estimate": change.min()})
    assert row["direction"] == {1: "hump", -1: "trough"}[way]
    turn = row["breakpoint"]
    slopes = four_slopes(DEPTH, curve, turn)
    error = inflate * np.std([four_slopes(DEPTH, s, turn) for s in spread], axis=0, ddof=1)
    wanted = expected(slopes, error, df, turn, np.array([turn, 1 - turn]), alpha=0.1)
    searched = ("estimate", "low", "high", "p", "turn", "rise", "fall")
    check(row, {k: v for k, v in wanted.items() if k not in searched})
    assert turn == robin_hood(DEPTH, curve, inflate**2 * np.cov(spread.T))
    assert (row["level"], row["model"], row["family"], row["n_models"]) == ("profile", "m", "m", 1)
    assert row["error"] == "replicates"


def test_intervals_of_both_arms_allow_for_the_search() -> None:
    spread = np.random.default_rng(1).normal(scale=0.02, size=(40, 21))
    row = u_shape_test(with_replicates(HUMP, spread)).iloc[0]
    turn = row["turn"]
    se = np.std([four_slopes(DEPTH, s, turn)[2:] for s in spread], axis=0, ddof=1)
    for arm, error in zip(("rise", "fall"), se * [turn, 1 - turn], strict=True):
        reach = row[arm] - row[f"{arm}_low"]
        assert reach == pytest.approx(row[f"{arm}_high"] - row[arm])
        assert 1.1 < reach / (stats.t.isf(0.025, 39) * error) < 2
    assert row["low"] == min(row["rise_low"], row["fall_low"])
    assert row["estimate"] == min(row["rise"], row["fall"])


def test_a_trough_is_a_hump_upside_down() -> None:
    spread = np.random.default_rng(1).normal(scale=0.02, size=(40, 21))
    up, down = (
        u_shape_test(with_replicates(sign * HUMP, sign * spread)).iloc[0] for sign in (1, -1)
    )
    assert (up["verdict"], down["verdict"]) == ("hump", "trough")
    assert (up["direction"], down["direction"]) == ("hump", "trough")
    same = ("estimate", "low", "high", "p", "p_before", "p_after", "breakpoint", "turn", "highest")
    check(down, {column: up[column] for column in same})
    check(down, {"p_trough": up["p_hump"], "p_hump": up["p_trough"]})
    check(down, {c: -up[c] for c in ("slope_start", "slope_end", "slope_before", "slope_after")})


def test_over_models_each_breakpoint_comes_from_the_others() -> None:
    """With two models, each is split at the other's top, and t has one degree of freedom."""
    one, two = WOBBLE - (DEPTH - 0.35) ** 2, WOBBLE - 0.8 * (DEPTH - 0.7) ** 2
    row = u_shape_test(study({"one": one, "two": two})).iloc[-1]
    turns = extrema(DEPTH, np.array([two, one]))
    slopes = np.array(
        [four_slopes(DEPTH, y, turn) for y, turn in zip((one, two), turns, strict=True)]
    )
    se = slopes.std(axis=0, ddof=1) / np.sqrt(2)
    turn = turns.mean()
    wanted = expected(slopes.mean(axis=0), se, 1, turn, np.array([turn, 1 - turn]))
    check(row, wanted)
    assert (row["level"], row["model"], row["family"]) == ("models", "all (2)", "all")
    assert (row["error"], row["n_models"], row["direction"]) == ("models", 2, "hump")
    assert [row[key] for key in ("weights", "method", "labels", "metric")] == [
        "trained",
        "all",
        "true",
        "score",
    ]


def test_over_models_a_trough_is_a_hump_upside_down() -> None:
    curves = {"a": HUMP, "b": LATER, "c": 0.2 * HUMP + 0.7 * LATER}
    up, down = (
        u_shape_test(study({m: sign * y for m, y in curves.items()})).iloc[-1] for sign in (1, -1)
    )
    assert (up["direction"], down["direction"]) == ("hump", "trough")
    check(down, {c: up[c] for c in ("estimate", "low", "high", "p", "breakpoint")})


@pytest.mark.parametrize("n", [3, 4])
def test_models_are_compared_where_they_all_have_layers(n: int) -> None:
    """One model starts at 0.2, another ends at 0.9; arms have the average length over models."""
    rng = np.random.default_rng(0)
    depths = [DEPTH, DEPTH[4:], DEPTH[:19], DEPTH][:n]
    tops = (0.45, 0.5, 0.6, 0.4)[:n]
    curves = [
        rng.normal(scale=0.003, size=len(d)) - (d - top) ** 2
        for d, top in zip(depths, tops, strict=True)
    ]
    parts = [study({f"m{i}": y}, d) for i, (d, y) in enumerate(zip(depths, curves, strict=True))]
    row = u_shape_test(pd.concat(parts), alpha=0.2).iloc[-1]
    at = 0.2 + np.linspace(0, 1, 201) * 0.7
    smooth = np.array([smoother(d, at) @ y for d, y in zip(depths, curves, strict=True)])
    smooth -= smooth.mean(axis=1, keepdims=True)
    inner = slice(20, 181)
    turns = []
    for i in range(n):
        others = np.delete(smooth, i, axis=0)
        mean, se = others.mean(axis=0), stats.sem(others, axis=0)
        good = (mean + se)[inner] >= mean[inner].max()
        turns.append(np.median(at[inner][good]))
    slopes = np.array([four_slopes(d, y, t) for d, y, t in zip(depths, curves, turns, strict=True)])
    turn = np.mean(turns)
    length = np.array([turn - 0.2 / n, 1 - 0.1 / n - turn])
    check(row, expected(slopes.mean(axis=0), stats.sem(slopes), n - 1, turn, length, alpha=0.2))


def test_a_model_run_twice_counts_once() -> None:
    curves = {"a": HUMP, "b": LATER, "c": 0.8 * LATER}
    once = u_shape_test(study(curves)).iloc[-1]
    apart = 0.01 * np.sin(9 * DEPTH)
    first, second = (
        study({**curves, "b": curves["b"] + sign * apart}, seed=seed)
        for seed, sign in ((0, 1), (1, -1))
    )
    twice = u_shape_test(pd.concat([first, second[second["model"] == "b"]])).iloc[-1]
    assert (twice["n_models"], twice["df"]) == (3, 2)
    check(twice, {c: once[c] for c in ("estimate", "low", "high", "p", "slope_end", "breakpoint")})


def test_models_that_agree_exactly_leave_nothing_to_test_with() -> None:
    row = u_shape_test(study({"a": HUMP, "b": HUMP + 0.1})).iloc[-1]
    assert (row["verdict"], row["n_models"]) == ("undecided", 2)
    assert row["reason"] == "the models do not differ"
    assert row[["estimate", "low", "high", "p"]].isna().all()


def test_what_cannot_be_tested_has_a_row_that_says_so() -> None:
    tests = u_shape_test(study({"a": np.ones(21)}))
    assert tests["level"].tolist() == ["profile", "models"]
    assert tests["verdict"].tolist() == ["undecided"] * 2
    assert tests["reason"].tolist() == [
        "the scores are constant over layers",
        "models to test over: 0; at least 2 are needed",
    ]
    assert tests["n_models"].tolist() == [1, 0]
    assert tests["model"].tolist() == ["a", "all (0)"]
    numbers = tests[["estimate", "low", "high", "p"]]
    assert numbers.isna().all(axis=None)
    assert set(numbers.dtypes.astype(str)) == {"float64"}


def test_profiles_left_out_are_counted() -> None:
    whole = {"a": HUMP, "b": LATER, "c": 0.8 * LATER}
    row = u_shape_test(study({**whole, "d": np.ones(21), "e": np.ones(21)})).iloc[-1]
    alone = u_shape_test(study(whole)).iloc[-1]
    assert row["reason"] == alone["reason"] + "; profiles left out: 2"
    assert (row["n_models"], row["p"]) == (3, alone["p"])


def test_which_profiles_are_tested() -> None:
    kinds = [("trained", "true"), ("untrained", "true"), ("trained", "shuffled")]
    table = pd.concat(
        [
            study({"a": HUMP}, weights=weights, labels=labels, metric=metric, method=method)
            for weights, labels in kinds
            for metric in "xy"
            for method in ("read", "write")
        ]
    )
    keys = ["weights", "labels", "metric", "method"]

    def tested(**levels: Any) -> set[tuple[str, ...]]:
        return set(u_shape_test(table, **levels)[keys].itertuples(index=False, name=None))

    assert tested(metric="x", method="read") == {("trained", "true", "x", "read")}
    assert len(tested()) == 4
    assert len(tested(weights=None, metric="y")) == 4
    assert len(tested(weights=None, labels=None)) == 12
    with pytest.raises(InputError, match="alpha is"):
        u_shape_test(table, alpha=0.7)


def test_a_smaller_score_can_be_the_better_one() -> None:
    curves = {"a": HUMP, "b": LATER}
    up = u_shape_test(study(curves))
    down = u_shape_test(study({m: -y for m, y in curves.items()}), higher_is_better=False)
    turned = ["slope_start", "slope_end", "slope_before", "slope_after"]
    pd.testing.assert_frame_equal(up.drop(columns=turned), down.drop(columns=turned))
    pd.testing.assert_frame_equal(up[turned], -down[turned])


def test_groups_are_pooled_apart() -> None:
    curves = {"a": HUMP, "b": LATER}
    turned = {model: -y for model, y in curves.items()}
    both = pd.concat([study(curves, method="read"), study(turned, method="write")])
    tests = u_shape_test(both)
    over = tests[tests["level"] == "models"].set_index("method")
    assert over["direction"].to_dict() == {"read": "hump", "write": "trough"}
    assert tests["level"].tolist() == ["profile"] * 4 + ["models"] * 2


def test_lines_share_the_layer_at_the_breakpoint() -> None:
    before, after = line_weights(DEPTH, DEPTH[8])
    assert np.flatnonzero(before).max() == np.flatnonzero(after).min() == 8
    y = np.where(DEPTH < 0.4, DEPTH, 0.8 - DEPTH)
    np.testing.assert_allclose(line_weights(DEPTH, 0.4) @ y, [1, -1])


def test_a_rise_that_bends_is_monotone_over_models() -> None:
    bent = DEPTH - 0.1 * DEPTH**2 + WOBBLE
    row = u_shape_test(study({"a": bent, "b": 1.1 * bent, "c": 0.9 * bent + 0.1 * WOBBLE})).iloc[-1]
    assert row["verdict"] == "monotone"
    assert row["p_shape"] == row["p_monotone"]


@pytest.mark.parametrize("start", [0.0, 0.2])
@pytest.mark.parametrize("n", [5, 7, 21, 41])
def test_a_breakpoint_keeps_clear_of_the_ends(n: int, start: float) -> None:
    """Arms have at least a tenth of the range and three layers, wherever the range begins."""
    depth = np.linspace(start, 1, n)
    least = {5: 2, 7: 2, 21: 2, 41: 4}[n]
    exact = 1e-18 * np.eye(n)
    assert robin_hood(depth, -((depth - 1) ** 2), exact) == pytest.approx(depth[-1 - least])
    assert robin_hood(depth, -((depth - start) ** 2), exact) == pytest.approx(depth[least])


def test_the_breakpoint_gives_the_weaker_line_more_layers() -> None:
    """With a steep rise and a slow fall around a plateau, the fall needs most layers."""
    y = np.interp(DEPTH, [0, 0.3, 0.7, 1], [0, 1, 1, 0.9])
    cov = 0.03**2 * np.eye(21)
    turn = robin_hood(DEPTH, y, cov)
    smooth = smoother(DEPTH, DEPTH)
    curve, inner = smooth @ y, slice(2, 19)
    top = 2 + int(np.argmax(curve[inner]))
    se = 0.03 * np.sqrt(((smooth[top] - smooth) ** 2).sum(axis=1))
    flat = DEPTH[inner][(curve + se)[inner] >= curve[top]]
    middle = np.median(flat)
    rows = [middle + 1e-9 >= DEPTH, middle - 1e-9 <= DEPTH]
    slope = np.array([line(DEPTH, y, r) for r in rows])
    error = [0.03 / np.sqrt(((DEPTH[r] - DEPTH[r].mean()) ** 2).sum()) for r in rows]
    z = np.abs(slope / error)
    assert len(flat) > 2
    assert turn == pytest.approx(np.quantile(flat, z[1] / z.sum()))
    assert turn < middle
    assert robin_hood(DEPTH, -y, cov) == turn


def test_holm_equals_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(0).uniform(size=20) ** 3
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_p_is_corrected_for_profiles_and_metrics() -> None:
    curves = {"a": HUMP, "b": LATER, "c": PLATEAU}
    table = pd.concat([study(curves, metric="x"), study(curves, metric="y")])
    tests = u_shape_test(table)
    for _, rows in tests.groupby("level"):
        used = rows["p_shape"].fillna(rows["p"]).to_numpy()
        np.testing.assert_allclose(rows["p_holm"], holm(used))


def test_two_peaks_are_no_hump() -> None:
    rng = np.random.default_rng(3)
    two = np.maximum(
        np.exp(-0.5 * ((DEPTH - 0.25) / 0.1) ** 2), np.exp(-0.5 * ((DEPTH - 0.75) / 0.1) ** 2)
    )
    spread = rng.normal(scale=0.03, size=(60, 21))
    row = u_shape_test(with_replicates(two, spread)).iloc[0]
    assert (row["verdict"], row["where"]) == ("several peaks", "")
    assert row["valley"] == pytest.approx(0.75, abs=0.25)
    parts = {f"m{i}": two + rng.normal(scale=0.03, size=21) for i in range(4)}
    over = u_shape_test(pd.concat([study({m: y}).assign(family=m) for m, y in parts.items()])).iloc[
        -1
    ]
    assert over["verdict"] != "hump"


def test_a_layer_that_hides_a_hump_is_named() -> None:
    spread = np.random.default_rng(5).normal(scale=0.01, size=(60, 21))
    curve = HUMP.copy()
    curve[15] += 0.5
    row = u_shape_test(with_replicates(curve, spread)).iloc[0]
    assert row["verdict"] != "hump"
    assert row["influential"] == 15
    assert row["reason"].endswith("; without layer 15: hump")
    assert np.isnan(u_shape_test(with_replicates(HUMP, spread)).iloc[0]["influential"])


@pytest.mark.parametrize("peak", [0.2, 0.5, 0.8])
def test_humps_are_found_wherever_their_arms_are(peak: float) -> None:
    spread = np.random.default_rng(4).normal(scale=0.02, size=(60, 21))
    tent = np.where(peak > DEPTH, DEPTH / peak, (1 - DEPTH) / (1 - peak))
    row = u_shape_test(with_replicates(tent, spread)).iloc[0]
    assert row["verdict"] == "hump"
    assert row["where"] == {0.2: "early", 0.5: "middle", 0.8: "late"}[peak]
    assert row["highest"] == pytest.approx(peak, abs=0.12)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_models_that_differ_by_rounding_only_do_not_differ(unit: float) -> None:
    table = study({"a": unit * HUMP, "b": unit * HUMP * (1 + 4e-16)})
    row = u_shape_test(table).iloc[-1]
    assert (row["verdict"], row["reason"]) == ("undecided", "the models do not differ")
