"""U-shape and localization tests, against R and on cases that mislead other tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import (
    InputError,
    Scores,
    claims_table,
    load_scores,
    localization_test,
    u_shape_test,
)
from analysis.claims import depth
from analysis.planning.simulate import combine, simulate_scores
from analysis.profiles.curves import PEAKS
from analysis.profiles.lines import Measured, line_weights, published_tests, robin_hood
from analysis.profiles.pooling import hartung_knapp
from analysis.profiles.uncertainty import quadratic_weights

pytestmark = pytest.mark.arithmetic

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "tests" / "reference"
EXPECTED = pd.read_csv(REFERENCE / "ushape_expected.csv").set_index("case")
CASES = dict(list(pd.read_csv(REFERENCE / "ushape_cases.csv").groupby("case")))
POOLED = json.loads((REFERENCE / "shape.json").read_text())["pooled"]


def ols(case: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Coefficients, covariance, HC3 variances and degrees of freedom of a reference case."""
    data = CASES[case]
    depth, y = data["depth"].to_numpy(), data["score"].to_numpy()
    W = quadratic_weights(depth)
    b = W @ y
    residual = y - np.column_stack([depth**0, depth, depth**2]) @ b
    df = len(y) - 3
    return b, (residual @ residual / df) * (W @ W.T), depth, df


@pytest.mark.parametrize("case", list(CASES))
def test_end_slopes_and_sasabuchi_p_equal_r(case: str) -> None:
    expected = EXPECTED.loc[case]
    b, cov, depth, df = ols(case)
    ends = np.array([[0.0, 1.0, 2 * d] for d in (depth.min(), depth.max())])
    value, se = ends @ b, np.sqrt(np.einsum("ij,jk,ik->i", ends, cov, ends))
    np.testing.assert_allclose(
        value, expected[["slope_low", "slope_high"]].astype(float), rtol=1e-6
    )
    np.testing.assert_allclose(value / se, expected[["t_low", "t_high"]].astype(float), rtol=1e-6)
    slopes = Measured(np.r_[value, 1.0, -1.0], np.r_[se, 1.0, 1.0], df)
    published = published_tests(slopes, 0.5, 1)
    np.testing.assert_allclose(
        [published["p_trough"], published["p_hump"]],
        expected[["p_u", "p_inverted_u"]].astype(float),
        rtol=1e-6,
    )


def hc3_lines(case: str, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Return slopes and z of the two lines, with the errors that twolines() uses."""
    data = CASES[case]
    depth, y = data["depth"].to_numpy(), data["score"].to_numpy()
    lines = line_weights(depth, turn)
    se = []
    for weights, rows in zip(lines, (depth <= turn + 1e-9, depth >= turn - 1e-9), strict=True):
        X = np.column_stack([np.ones(rows.sum()), depth[rows]])
        hat = X @ np.linalg.pinv(X)
        residual = (y[rows] - hat @ y[rows]) / (1 - np.diag(hat))
        se.append(np.sqrt((weights[rows] ** 2) @ residual**2))
    return lines @ y, lines @ y / np.array(se)


@pytest.mark.parametrize("case", list(CASES))
def test_two_lines_equal_r_at_its_breakpoint(case: str) -> None:
    expected = EXPECTED.loc[case]
    slopes, z = hc3_lines(case, expected["twolines_xc"])
    np.testing.assert_allclose(
        slopes, expected[["twolines_b1", "twolines_b2"]].astype(float), rtol=1e-6
    )
    np.testing.assert_allclose(z, expected[["twolines_z1", "twolines_z2"]].astype(float), rtol=1e-6)


@pytest.mark.parametrize("case", list(CASES))
def test_robin_hood_agrees_with_r(case: str) -> None:
    """With another smoother, clear shapes have a breakpoint near R's, and the verdict agrees."""
    expected = EXPECTED.loc[case]
    mean = CASES[case].groupby("depth")["score"].mean()
    turn = robin_hood(mean.index.to_numpy(), mean.to_numpy(), np.eye(len(mean)) * 0.03**2 / 6)
    _, z = hc3_lines(case, turn)
    p = 2 * stats.norm.sf(np.abs(z))
    assert int((p < 0.05).all() and z[0] * z[1] < 0) == expected["twolines_u"]
    if expected["twolines_u"]:
        assert turn == pytest.approx(expected["twolines_xc"], abs=0.1)


@pytest.mark.parametrize("name", list(POOLED))
def test_pooling_equals_metafor(name: str) -> None:
    expected = POOLED[name]
    got = hartung_knapp(np.array(expected["y"]), np.array(expected["se"]))
    for key in ("estimate", "low", "high", "tau", "i2", "prediction_low", "prediction_high"):
        assert got[key] == pytest.approx(expected[key], abs=1e-6)
    assert got["se"] == pytest.approx(expected["error"], abs=1e-6)


def verdicts(level: str, **truth: object) -> list[str]:
    tests = u_shape_test(simulate_scores(**{"seed": 1, **truth}))  # type: ignore[arg-type]
    return tests.loc[tests["level"] == level, "verdict"].tolist()


@pytest.mark.parametrize("level", ["profile", "models"])
@pytest.mark.parametrize("shape", ["saturating", "decay", "rising"])
def test_plateau_decay_and_rise_are_no_u(shape: str, level: str) -> None:
    found = verdicts(level, shape=shape, noise_sd=0.005)
    assert not {"hump", "trough"} & set(found)


def test_the_trap_is_there_to_be_avoided() -> None:
    """On the same plateaus and decays, only Lind and Mehlum's test finds a turn."""
    for shape, column in (("saturating", "p_hump"), ("decay", "p_trough")):
        tests = u_shape_test(simulate_scores(shape=shape, noise_sd=0.005, seed=1))
        assert (tests[column] < 0.05).mean() > 0.7


def test_a_monotone_curve_with_a_significant_quadratic_term_is_monotone() -> None:
    scores = simulate_scores(vertex=1.2, noise_sd=0.002, rho=0.5, seed=1)
    tests = u_shape_test(scores)
    assert set(tests["verdict"]) == {"monotone"}


@pytest.mark.parametrize("vertex", [0.4, 0.5, 0.7])
def test_humps_and_troughs_are_found(vertex: float) -> None:
    for shape in ("hump", "trough"):
        tests = u_shape_test(simulate_scores(shape=shape, vertex=vertex, noise_sd=0.005, seed=2))
        assert set(tests["verdict"]) == {shape}
        assert (tests["low"] > 0).all()
        assert tests["highest"].sub(vertex).abs().max() < 0.15


@pytest.mark.parametrize("level", ["profile", "models"])
def test_noise_is_undecided(level: str) -> None:
    found = verdicts(level, shape="flat")
    assert found.count("undecided") >= 0.8 * len(found)


def test_heterogeneous_models_are_the_unit() -> None:
    """Each model is clear by itself, but in opposite directions: over models, nothing is shown."""
    both = [simulate_scores(families=(1,) * 3, shape=s, seed=3) for s in ("hump", "trough")]
    second = both[1].table.assign(**{c: "n" + both[1].table[c] for c in ("model", "family")})
    assert both[1].replicates is not None
    replicates = both[1].replicates.assign(model="n" + both[1].replicates["model"])
    other = type(both[1])(second, replicates, both[1].directions)
    tests = u_shape_test(combine(both[0], other))
    assert set(tests.loc[tests["level"] == "profile", "verdict"]) == {"hump", "trough"}
    over = tests[tests["level"] == "models"].iloc[0]
    assert (over["verdict"], over["df"], over["n_models"]) == ("undecided", 5, 6)


def test_one_model_cannot_be_tested_over_models() -> None:
    tests = u_shape_test(simulate_scores(families=(1,), seed=1))
    row = tests[tests["level"] == "models"].iloc[0]
    assert row["verdict"] == "undecided"
    assert row["reason"] == "models to test over: 1; at least 2 are needed"


def test_three_lines_on_a_table_of_ones_own() -> None:
    depth = np.linspace(0, 1, 25)
    noise = np.random.default_rng(1).normal(scale=0.01, size=25)
    own = pd.DataFrame(
        {
            "model": "m",
            "family": "f",
            "depth": depth,
            "score": 0.9 - 0.5 * (depth - 0.5) ** 2 + noise,
        }
    )
    row = u_shape_test(own).iloc[0]
    assert (row["verdict"], row["error"]) == ("hump", "ar1")


def test_smaller_is_better_gives_the_same_conclusion() -> None:
    table = simulate_scores(n_replicates=0, seed=4).table[["model", "family", "depth", "score"]]
    up = u_shape_test(table)
    down = u_shape_test(table.assign(score=-table["score"]), higher_is_better=False)
    for column in ("verdict", "direction", "breakpoint", "p", "estimate", "low", "high"):
        pd.testing.assert_series_equal(up[column], down[column])
    pd.testing.assert_series_equal(up["slope_before"], -down["slope_before"])


def test_a_profile_that_cannot_be_tested_keeps_its_row() -> None:
    table = simulate_scores(families=(1, 1, 1), n_replicates=0, seed=4).table
    table.loc[table["model"] == "m2", "score"] = 0.5
    tests = u_shape_test(table)
    assert "constant" in tests.loc[tests["model"] == "m2", "reason"].iloc[0]
    over = tests[tests["level"] == "models"].iloc[0]
    assert over["n_models"] == 2
    assert "profiles left out: 1" in over["reason"]


@pytest.mark.parametrize("study", ["demo", "packaged", "untrained"])
def test_untrained_networks_of_the_shipped_studies_are_no_u(study: str) -> None:
    # Anisotropy is a baseline, not separation. A random GPT-2's rises steeply and then falls a
    # little (0.851 to 0.836). That is a turn, so the test may report one.
    scores = load_scores(ROOT / "data" / "scores" / study)
    tests = u_shape_test(scores, weights="untrained")
    tests = tests[tests["metric"] != "anisotropy"]
    assert set(tests["metric"]) == {"auc", "crossnobis", "cosine"}
    assert not tests["verdict"].isin(["hump", "trough"]).any()


@pytest.mark.parametrize("peak", ["vertex", "extremum", "center"])
def test_humps_at_half_and_at_seven_tenths_are_told_apart(peak: str) -> None:
    spread = {"vertex": 0.03, "level": 0.05}
    for vertex, verdict in ((0.5, "at target"), (0.7, "elsewhere")):
        scores = simulate_scores(vertex=vertex, model_sd=spread, seed=5)
        row = localization_test(scores, peak=peak).iloc[0]  # type: ignore[arg-type]
        assert row["verdict"] == verdict
        assert row["low"] < vertex < row["high"]
        assert row["n_pooled"] == row["n_inside"] == 9
    row = localization_test(scores, target=0.7).iloc[0]
    assert row["verdict"] == "at target"


def test_a_peak_between_is_undecided_and_so_is_noise() -> None:
    between = simulate_scores(vertex=0.6, model_sd={"vertex": 0.08}, seed=5)
    assert localization_test(between)["verdict"].tolist() == ["undecided"]
    noise = localization_test(simulate_scores(shape="flat", seed=1)).iloc[0]
    assert noise["verdict"] == "undecided"
    assert noise["n_unlocated"] >= 7


def test_monotone_profiles_do_not_poison_the_pool() -> None:
    humps = simulate_scores(families=(2, 2, 1), vertex=0.5, seed=6)
    rising = simulate_scores(families=(2,), vertex=1.6, height=0.03, noise_sd=0.002, seed=7)
    assert rising.replicates is not None
    other = type(rising)(
        rising.table.assign(model="r" + rising.table["model"]),
        rising.replicates.assign(model="r" + rising.replicates["model"]),
        rising.directions,
    )
    row = localization_test(combine(humps, other)).iloc[0]
    assert row["n_no_peak"] == 2
    assert row["n_pooled"] == 5
    assert 0.45 < row["estimate"] < 0.55
    assert row["verdict"] == "undecided"
    assert "without a peak: 2" in row["reason"]
    alone = localization_test(other).iloc[0]
    assert np.isnan(alone["estimate"])
    # Both models belong to one family.
    assert alone["verdict"] == "undecided"
    assert "belong to one family" in alone["reason"]


def rising(*families: int) -> Scores:
    return simulate_scores(families=families, vertex=1.6, height=0.03, noise_sd=0.002, seed=7)


def test_that_most_models_have_no_peak_needs_three_families_and_a_test() -> None:
    rules = {"preregistered": {"target": 0.5, "delta": 0.1, "alpha": 0.05}}

    def both(scores: Scores) -> tuple[pd.Series, pd.Series]:
        asked = replace(scores, run={**scores.run, "study": rules})
        claim = claims_table(asked, n_boot=99).set_index("key").loc["peak"]
        return localization_test(scores).iloc[0], claim

    for few in (rising(3), rising(2, 2)):
        row, claim = both(few)
        assert row["verdict"] == claim["verdict"] == "undecided"
        assert "at least three are needed" in row["reason"]
    row, claim = both(rising(2, 2, 2, 2))
    shape = u_shape_test(rising(2, 2, 2, 2)).iloc[-1]
    assert row["verdict"] == "elsewhere"
    assert row["p_elsewhere"] == shape["p_shape"] == claim["p"]
    assert claim["verdict"] == "contradicted"
    assert claim["p_holm"] < 0.05
    untested = depth.peak(pd.DataFrame([row]).assign(p_elsewhere=np.nan))
    assert untested["verdict"] == "undecided"
    assert "no test over models" in untested["reason"]


def test_the_vertex_of_a_plateau_is_not_taken_for_a_peak() -> None:
    plateaus = simulate_scores(shape="saturating", noise_sd=0.005, seed=1)
    for place in PEAKS:
        row = localization_test(plateaus, peak=place).iloc[0]
        assert row[["estimate", "low", "high", "p", "tau"]].isna().all()
        assert row["n_humps"] == 0
        assert row["verdict"] != "at target"


def test_localization_with_too_little_says_why() -> None:
    one = localization_test(simulate_scores(families=(1,), seed=1)).iloc[0]
    assert one["verdict"] == "undecided"
    assert "2 are needed" in one["reason"]
    flat = simulate_scores(families=(2,), n_replicates=0, seed=1).table.assign(score=1.0)
    assert "constant" in localization_test(flat)["reason"].iloc[0]


def test_bad_arguments_are_refused() -> None:
    scores = simulate_scores(families=(1,))
    with pytest.raises(InputError, match="not an interval"):
        localization_test(scores, delta=0.6)
    with pytest.raises(InputError, match="no estimator 'top'"):
        localization_test(scores, peak="top")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'rereading' is not in the table"):
        u_shape_test(scores, method="rereading")


def curves_at(peaks: list[float], left: float = 0.2, right: float = 0.2) -> pd.DataFrame:
    """Make humps at these depths, one per model, in families of two, without replicates."""
    rng = np.random.default_rng(4)
    depth = np.linspace(0, 1, 25)
    parts = []
    for i, peak in enumerate(peaks):
        width = np.where(depth < peak, left, right)
        score = 0.6 + 0.1 * np.exp(-0.5 * ((depth - peak) / width) ** 2)
        score += 0.001 * rng.standard_normal(depth.size)
        parts.append(
            pd.DataFrame(
                {"model": f"m{i:02}", "family": f"f{i // 2}", "depth": depth, "score": score}
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_models_at_two_places_are_not_at_the_middle() -> None:
    """In every family one model peaks early and one late, so the family means agree."""
    row = localization_test(curves_at([0.3, 0.7] * 4)).iloc[0]
    assert 0.4 < row["low"] < row["high"] < 0.6
    assert row["tau"] > 0.1
    assert row["n_within"] == 0
    assert (row["verdict"], row["n_families"]) == ("undecided", 4)
    together = localization_test(curves_at([0.49, 0.51] * 4)).iloc[0]
    assert together["verdict"] == "at target"


def test_a_skewed_curve_is_not_where_its_quadratic_turns() -> None:
    skewed = curves_at([0.29, 0.3, 0.31] * 4, 0.12, 0.4)
    vertex = localization_test(skewed, peak="vertex").iloc[0]
    extremum = localization_test(skewed, peak="extremum").iloc[0]
    assert vertex["estimate"] > 0.4
    assert extremum["low"] < 0.3 < extremum["high"]
    assert 0.28 < extremum["estimate"] < 0.35
    for row in (vertex, extremum):
        assert row["verdict"] != "at target"


def test_two_families_locate_nothing_and_say_so() -> None:
    row = localization_test(curves_at([0.49, 0.5, 0.5, 0.51])).iloc[0]
    assert row["verdict"] == "undecided"
    assert "two families; at least three" in row["reason"]
