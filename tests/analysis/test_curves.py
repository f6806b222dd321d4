"""Curves and their intervals, against R and against known truths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import InputError, fit_curves
from analysis.planning.simulate import combine, simulate_scores
from analysis.profiles.curves import blocked_errors, fieller, misfit
from analysis.profiles.splines import extrema, maximum, natural_spline, smoother
from analysis.profiles.uncertainty import Errors, profile_errors, quadratic_weights

pytestmark = pytest.mark.arithmetic

REFERENCE = Path(__file__).parents[1] / "reference"
EXPECTED = pd.read_csv(REFERENCE / "ushape_expected.csv").set_index("case")
CASES = dict(list(pd.read_csv(REFERENCE / "ushape_cases.csv").groupby("case")))


def own_table(score: object, **columns: object) -> pd.DataFrame:
    values = np.asarray(score, dtype=float)
    depth = np.linspace(0, 1, len(values))
    return pd.DataFrame({"model": "m", "family": "f", "depth": depth, "score": values, **columns})


def noisy_hump(n: int = 21, seed: int = 0) -> pd.DataFrame:
    depth = np.linspace(0, 1, n)
    noise = np.random.default_rng(seed).normal(scale=0.01, size=n)
    return own_table(0.8 - 0.4 * (depth - 0.5) ** 2 + noise)


@pytest.mark.parametrize("case", list(CASES))
def test_coefficients_and_fieller_equal_r(case: str) -> None:
    data, expected = CASES[case], EXPECTED.loc[case]
    depth, y = data["depth"].to_numpy(), data["score"].to_numpy()
    W = quadratic_weights(depth)
    b = W @ y
    np.testing.assert_allclose(b, expected[["b0", "b1", "b2"]].astype(float), rtol=1e-6)
    residual = y - np.column_stack([depth**0, depth, depth**2]) @ b
    cov = (residual @ residual / (len(y) - 3)) * (W @ W.T)
    low, high = fieller(b[1], b[2], cov[1:, 1:], stats.t.ppf(0.975, len(y) - 3))
    if np.isnan(expected["fieller_low"]):
        assert (low, high) == (-np.inf, np.inf)
    else:
        np.testing.assert_allclose(
            [low, high], expected[["fieller_low", "fieller_high"]], rtol=1e-6
        )


def test_natural_spline_interpolates_and_runs_straight_beyond_its_ends() -> None:
    knots = np.linspace(0.2, 0.8, 4)
    np.testing.assert_allclose(natural_spline(knots, knots), np.eye(4), atol=1e-12)
    beyond = natural_spline(np.array([0.8, 0.9, 1.0]), knots)
    np.testing.assert_allclose(beyond[1] - beyond[0], beyond[2] - beyond[1], atol=1e-12)


def test_extremum_follows_an_asymmetric_hump_where_the_vertex_cannot() -> None:
    depth = np.linspace(0, 1, 25)
    profile = np.where(depth < 0.25, depth / 0.25, 1 - (depth - 0.25) / 2)
    assert extrema(depth, profile[None])[0] == pytest.approx(0.25, abs=0.1)
    _, slope, curvature = quadratic_weights(depth) @ profile
    assert -slope / (2 * curvature) > 0.45


@pytest.mark.parametrize(
    ("form", "truth"),
    [
        ("linear", lambda d: 0.3 * d),
        ("quadratic", lambda d: -((d - 0.4) ** 2)),
        ("cubic", lambda d: 4 * d**3 - 6 * d**2 + 2 * d),
        ("spline", lambda d: np.minimum(d, 0.4)),
    ],
)
def test_left_out_blocks_find_the_form(form: str, truth: object) -> None:
    depth = np.linspace(0, 1, 31)
    noise = np.random.default_rng(1).normal(scale=1e-3, size=31)
    errors = blocked_errors(depth, truth(depth) + noise)  # type: ignore[operator]
    assert min(errors, key=errors.__getitem__) == form


def test_vertex_and_intervals_from_replicates() -> None:
    scores = simulate_scores(vertex=0.6, noise_sd=0.005, seed=2)
    curves = fit_curves(scores)
    assert (curves["error"] == "replicates").all()
    assert (curves["n_replicates"] == 200).all()
    assert curves["vertex"].sub(0.6).abs().max() < 0.05
    assert curves["vertex"].between(curves["vertex_low"], curves["vertex_high"]).all()
    # The percentile interval and Fieller's estimate the same thing in two ways.
    assert curves["vertex_low"].sub(curves["fieller_low"]).abs().max() < 0.03
    assert (curves["verdict"] == "peak inside").all()


def test_the_level_of_the_replicates_does_not_matter() -> None:
    scores = simulate_scores(families=(1,), seed=3)
    assert scores.replicates is not None
    shifted = combine(scores)
    shifted.replicates["score"] += 0.2  # type: ignore[index]
    pd.testing.assert_frame_equal(fit_curves(scores), fit_curves(shifted))


def test_few_topics_widen_the_interval() -> None:
    profile = next(simulate_scores(families=(1,), seed=3, n_topics=12).profiles())
    errors = profile_errors(profile)
    assert errors.df == 11
    assert profile.replicates is not None
    plain = np.cov(profile.replicates.T)
    np.testing.assert_allclose(errors.cov, plain * 12 / 11)


def test_without_replicates_the_error_is_ar1_and_says_so() -> None:
    curves = fit_curves(noisy_hump())
    assert curves["error"].tolist() == ["ar1"]
    assert curves["vertex"].between(curves["vertex_low"], curves["vertex_high"]).all()
    assert curves["verdict"].tolist() == ["peak inside"]
    pd.testing.assert_frame_equal(curves, fit_curves(noisy_hump()))
    assert not curves.equals(fit_curves(noisy_hump(), seed=1))


def test_ar1_interval_is_wider_than_that_of_independent_layers() -> None:
    data = own_table(simulate_scores(families=(1,), seed=4, noise_sd=0.02).table["score"])
    row = fit_curves(data).iloc[0]
    W = quadratic_weights(data["depth"].to_numpy())
    y = data["score"].to_numpy()
    residual = y - np.vander(data["depth"], 3) @ (W @ y)[::-1]
    naive = (residual @ residual / (len(y) - 3)) * (W @ W.T)[1:, 1:]
    low, high = fieller(*(W @ y)[1:], naive, 2.0)
    assert row["vertex_high"] - row["vertex_low"] > 1.3 * (high - low)


def test_a_vertex_outside_the_range_is_monotone_over_it() -> None:
    curves = fit_curves(simulate_scores(families=(1, 1), vertex=1.4, noise_sd=0.005, seed=5))
    assert (curves["shape"] == "monotone").all()
    assert (curves["verdict"] == "no peak inside").all()
    assert curves["reason"].str.contains("rises in both halves").all()
    assert curves[["vertex", "center", "peak"]].isna().all(axis=None)


def test_a_straight_profile_has_no_vertex() -> None:
    scores = simulate_scores(families=(1,), shape="rising", noise_sd=0.01, seed=5)
    straight = scores.table.assign(score=scores.table["depth"])
    row = fit_curves(type(scores)(straight, scores.replicates, scores.directions)).iloc[0]
    assert np.isnan(row["vertex"])
    assert row["extremum"] == 1
    assert (row["verdict"], row["shape"]) == ("no peak inside", "monotone")


def test_a_trough_has_no_peak_inside() -> None:
    curves = fit_curves(simulate_scores(families=(1, 1), shape="trough", seed=5))
    assert (curves["shape"] == "trough").all()
    assert (curves["verdict"] == "no peak inside").all()


def test_noise_has_an_unbounded_interval_and_no_verdict() -> None:
    curves = fit_curves(simulate_scores(shape="flat", seed=6))
    assert (curves["verdict"] == "undecided").mean() > 0.8
    blank = curves[["vertex_low", "vertex_high", "peak"]].isna().all(axis=1)
    assert (blank == (curves["shape"] != "hump")).all()


def test_smaller_is_better_turns_slopes_but_not_the_vertex() -> None:
    data = noisy_hump()
    up = fit_curves(data).iloc[0]
    down = fit_curves(data.assign(score=-data["score"]), higher_is_better=False).iloc[0]
    for column in ("vertex", "vertex_low", "vertex_high", "extremum", "p", "verdict", "shape"):
        assert up[column] == down[column]
    for column in ("curvature", "slope_start", "slope_end"):
        assert up[column] == -down[column]
    assert up["curvature_low"] == -down["curvature_high"]


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([0.1, 0.3, 0.3, 0.1], "only 4 layers"),
        ([0.5] * 9, "constant"),
        (1 - (np.linspace(0, 1, 9) - 0.5) ** 2, "no scatter"),
    ],
)
def test_a_profile_that_cannot_be_fitted_keeps_its_row(scores: object, reason: str) -> None:
    both = pd.concat([noisy_hump(), own_table(scores, model="bad")])
    curves = fit_curves(both).set_index("model")
    assert curves.loc["m", "verdict"] == "peak inside"
    assert curves.loc["bad", "verdict"] == "undecided"
    assert reason in curves.loc["bad", "reason"]
    assert np.isnan(curves.loc["bad", "vertex"])


def test_a_missing_layer_is_named() -> None:
    scores = simulate_scores(families=(1, 1), seed=1)
    replicates = scores.replicates
    assert replicates is not None
    whole = [t[(t["model"] != "m1") | (t["layer"] != 7)] for t in (scores.table, replicates)]
    assert (
        "layer 7 is missing"
        in fit_curves(type(scores)(whole[0], whole[1], scores.directions))["reason"].iloc[0]
    )
    gap = (replicates["model"] == "m1") & (replicates["layer"] == 3)
    holed = type(scores)(scores.table, replicates[~gap], scores.directions)
    assert fit_curves(holed)["reason"].iloc[0] == "layer 3 is missing from the replicates"
    few = type(scores)(scores.table, replicates[replicates["replicate"] < 9], scores.directions)
    assert "only 8 replicates" in fit_curves(few)["reason"].iloc[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.nan}, "not finite"),
        ({"depth": 1.5}, "outside"),
        ({"depth": 0.5, "layer": 3}, "duplicate layer"),
    ],
)
def test_bad_tables_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_curves(noisy_hump().assign(**change))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="'auc' is not in the table"):
        fit_curves(noisy_hump(), metric="auc")
    with pytest.raises(InputError, match="alpha is 5"):
        fit_curves(noisy_hump(), alpha=5)
    mixed = pd.concat([noisy_hump().assign(study=s) for s in ("a", "b")])
    with pytest.raises(InputError, match="several studies"):
        fit_curves(mixed)


def test_the_misfit_of_a_quadratic_equals_statsmodels() -> None:
    """With independent errors it is the F test of the terms of third and fourth order."""
    import statsmodels.api as sm

    depth = np.linspace(0, 1, 21)
    y = np.sin(3 * depth**2) + 0.1 * np.random.default_rng(0).standard_normal(21)
    quartic = sm.OLS(y, np.vander(depth, 5, increasing=True)).fit()
    wanted = quartic.f_test(np.eye(5)[3:]).pvalue
    errors = Errors(
        "ar1", float(quartic.mse_resid) * np.eye(21), quartic.df_resid, np.zeros((1, 21))
    )
    assert misfit(depth, y, errors) == pytest.approx(float(wanted), rel=1e-6)


def test_noise_and_smoothing_leave_the_maximum_of_a_skewed_curve_in_place() -> None:
    """Its quadratic turns at 0.49; a spline with five knots is highest at 0.39."""
    depth, rng = np.linspace(0, 1, 25), np.random.default_rng(1)
    curve = np.exp(-0.5 * ((depth - 0.3) / np.where(depth < 0.3, 0.12, 0.4)) ** 2)
    steps = np.abs(np.subtract.outer(np.arange(25), np.arange(25)))
    root = np.linalg.cholesky(0.9**steps) * 0.1
    smoothed, found = [], []
    for _ in range(40):
        y = curve + root @ rng.standard_normal(25)
        noise = rng.standard_normal((200, 25)) @ root.T
        smoothed.append(extrema(depth, y[None])[0])
        found.append(maximum(depth, y, noise - noise.mean(axis=0)))
    assert np.mean(smoothed) > 0.36
    assert 0.28 < np.mean([top.depth for top in found]) < 0.345
    # Noise moves it to the flatter side, and the error is as large as stated.
    assert np.mean([top.shift for top in found]) > 0.005
    said = np.sqrt(np.mean([top.deviations.var() for top in found]))
    assert 0.6 < said / np.std([top.depth for top in found]) < 1.6


def test_many_layers_are_smoothed_and_few_are_not() -> None:
    at = np.linspace(0, 1, 5)
    np.testing.assert_allclose(smoother(at, at, 33), np.eye(5), atol=1e-12)
    many = smoother(np.linspace(0, 1, 81), np.linspace(0, 1, 81), 33)
    assert np.linalg.matrix_rank(many) == 33


@pytest.mark.parametrize("peak", ["vertex", "extremum", "center"])
def test_the_named_estimator_says_where_the_peak_is(peak: Any) -> None:
    curves = fit_curves(simulate_scores(vertex=0.6, noise_sd=0.005, seed=2), peak=peak)
    assert (curves["verdict"] == "peak inside").all()
    for end in ("", "_low", "_high"):
        pd.testing.assert_series_equal(
            curves[f"peak{end}"], curves[f"{peak}{end}"], check_names=False
        )
    inside = (curves["peak_low"] <= 0.6) & (curves["peak_high"] >= 0.6)
    assert inside.sum() >= 7
    assert curves["center"].sub(curves["onset"] + curves["width"] / 2).abs().max() < 1e-9


def test_where_estimators_differ_the_place_is_undecided() -> None:
    depth = np.linspace(0, 1, 25)
    skewed = np.exp(-0.5 * ((depth - 0.3) / np.where(depth < 0.3, 0.12, 0.4)) ** 2)
    noise = 0.01 * np.random.default_rng(0).standard_normal(25)
    row = fit_curves(own_table(skewed + noise)).iloc[0]
    assert (row["shape"], row["verdict"]) == ("hump", "undecided")
    assert "depends on the estimator" in row["reason"]
    assert row["spread"] > 0.1
    assert abs(row["peak"] - 0.3) < 0.1 < abs(row["vertex"] - 0.3)
    assert fit_curves(own_table(skewed + noise), delta=0.5)["verdict"].item() == "peak inside"
    with pytest.raises(InputError, match="no estimator 'top'"):
        fit_curves(own_table(skewed), peak="top")  # type: ignore[arg-type]
