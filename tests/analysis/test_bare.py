"""Errors of curves without replicates, against R and against the errors that made the curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import fit_curves, u_shape_test
from analysis.loading.scores import as_scores
from analysis.profiles.bare import (
    RHO,
    Scatter,
    scale_of_halves,
    scatter,
    small_sample_scale,
    whiten,
)
from analysis.profiles.mean_forms import designs, humps, rises
from analysis.profiles.uncertainty import profile_errors
from study.arrays import Float64Array

pytestmark = pytest.mark.arithmetic

R = json.loads((Path(__file__).parents[1] / "reference" / "bare.json").read_text())
CASES = [(name, fit) for name in ("even", "uneven") for fit in R[name]["fits"]]


def named(case: Any) -> str:
    return case if isinstance(case, str) else f"{case['form']}, rho={case['rho']}"


def case(name: str) -> tuple[Float64Array, Float64Array]:
    return np.array(R[name]["depth"]), np.array(R[name]["score"])


@pytest.mark.parametrize(("name", "fit"), CASES, ids=named)
def test_the_error_at_a_correlation_equals_nlme_gls(name: str, fit: dict[str, Any]) -> None:
    models = scatter(*case(name))
    form = ("quadratic", "spline").index(fit["form"])
    number = form * len(RHO) + int(np.argmin(np.abs(RHO - fit["rho"])))
    assert models.rho[number] == pytest.approx(fit["rho"])
    assert models.sigma[number] == pytest.approx(fit["sigma"], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "fit"), [c for c in CASES if c[1]["form"] == "quadratic"], ids=named
)
def test_whitened_curves_have_the_likelihood_of_nlme_gls(name: str, fit: dict[str, Any]) -> None:
    depth, y = case(name)
    steps = np.diff(depth)
    phi = fit["rho"] ** (steps / np.median(steps))[None]
    X = designs(depth)[0]  # a spline's likelihood depends on the columns that span the space
    z, x = whiten(phi, y[:, None])[0, :, 0], whiten(phi, X)[0]
    df = len(y) - X.shape[1]
    rss = float(np.linalg.lstsq(x, z, rcond=None)[1][0])
    log_det = np.log1p(-(phi**2)).sum() + np.linalg.slogdet(x.T @ x)[1]
    got = -0.5 * (df * np.log(2 * np.pi * rss / df) + df + log_det)
    assert got == pytest.approx(fit["log_likelihood"], rel=1e-6)


@pytest.mark.parametrize("name", ["even", "uneven"])
def test_weights_are_those_of_the_dense_formula(name: str) -> None:
    """Compute the same formula with whole matrices instead of whitening step by step."""
    depth, y = case(name)
    n, one = len(y), np.ones(len(y))
    apart = np.abs(np.subtract.outer(depth, depth)) / np.median(np.diff(depth))
    forms = [([X], odds) for X, odds in zip(designs(depth), (1, 1 / 20), strict=True)]
    for shapes, odds in ((humps(depth), 1 / 2), (rises(depth), 1)):
        forms.append(([np.column_stack([one, x]) for x in shapes], odds))
    weight, variance = [], []
    for form, odds in forms:
        for rho, gap in zip(RHO, np.gradient(RHO), strict=True):
            C = rho**apart
            inverse = np.linalg.inv(C)
            mean = one @ inverse @ y / (one @ inverse @ one)
            total = (y - mean) @ inverse @ (y - mean)
            fit, rest = [], []
            for X in form:
                b = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ y)
                rest.append((y - X @ b) @ inverse @ (y - X @ b))
                g, k = n * np.array([1, 10, 100, 1000]), X.shape[1]
                relative = (1 + g * rest[-1] / total) ** (-(n - 1) / 2)
                fit.append(((1 + g) ** ((n - k) / 2) * relative).sum())
            of_rho = gap / np.sqrt(1 - rho**2)
            determinants = np.linalg.det(C) * (one @ inverse @ one)
            times = total ** (-(n - 1) / 2) / np.sqrt(determinants)
            weight.append(odds * np.mean(fit) * of_rho * times)
            variance.append(np.average(rest, weights=fit) / (n - k))
    models = scatter(depth, y)
    np.testing.assert_allclose(models.weight, np.array(weight) / sum(weight), atol=1e-8)
    np.testing.assert_allclose(models.sigma**2, variance, rtol=1e-6)


@pytest.mark.parametrize("n_points", [5, 9, 25])
def test_shapes_are_humps_and_monotone(n_points: int) -> None:
    """Each is seen by the points, and has the form that it is named after."""
    depth = np.linspace(0.2, 0.9, n_points)
    for shape in rises(depth):
        steps = np.diff(shape)
        assert (steps >= 0).all() or (steps <= 0).all()
    for shape in humps(depth):
        top = int(shape.argmax())
        assert (np.diff(shape[: top + 1]) >= 0).all()
        assert (np.diff(shape[top:]) <= 0).all()
    assert len(humps(depth)) == 81
    assert len(rises(depth)) == 38


@pytest.mark.parametrize("offset", [1e6, 1e9])
def test_an_offset_of_the_scores_changes_nothing(offset: float) -> None:
    depth, y = case("uneven")
    there, here = scatter(depth, y + offset * np.ptp(y)), scatter(depth, y)
    np.testing.assert_allclose(there.weight, here.weight, atol=1e-4)
    np.testing.assert_allclose(there.sigma, here.sigma, rtol=1e-4)


def test_a_shape_that_falls_between_the_points_is_left_out() -> None:
    """A narrow hump in a gap of the depths has no points to show it."""
    depth = np.array([0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 1.0])
    assert len(humps(depth)) < 81
    y = np.random.default_rng(0).standard_normal(len(depth))
    assert np.isfinite(scatter(depth, y).cov()).all()


def test_noise_is_told_from_drift() -> None:
    """Averaged over curves, the posterior correlation grows with the true one."""
    rng, depth = np.random.default_rng(0), np.linspace(0, 1, 49)
    lag = np.abs(np.subtract.outer(np.arange(49), np.arange(49)))
    found = []
    for rho in (0.0, 0.5, 0.9):
        curves = rng.multivariate_normal(np.exp(-depth / 0.3), 0.05**2 * rho**lag, size=40)
        found.append(np.mean([m.rho @ m.weight for m in (scatter(depth, y) for y in curves)]))
    assert (np.diff(found) > 0.1).all()


def test_a_curve_with_little_noise_is_no_drift() -> None:
    """The fit distinguishes white noise of 1% of the height from a smooth drift of full height."""
    rng, depth = np.random.default_rng(1), np.linspace(0, 1, 33)
    spread = []
    for _ in range(20):
        y = np.exp(-0.5 * ((depth - 0.2) / 0.2) ** 2) + 0.01 * rng.standard_normal(33)
        cov = scatter(depth, y).cov()
        spread.append(np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]))
    assert np.mean(spread) == pytest.approx(0.01 * np.sqrt(2), rel=0.3)


def test_draws_have_the_covariance_that_they_were_drawn_from() -> None:
    depth, y = case("uneven")
    models = scatter(depth, y)
    draws = models.draw(np.random.default_rng(0), 40_000)
    # A t of df degrees of freedom is wider than its sigma by df / (df - 2).
    wider = Scatter(
        models.phi,
        models.correlation,
        models.sigma * np.sqrt(models.df / (models.df - 2)),
        models.df,
        models.weight,
        models.rho,
    )
    change = np.diff(draws, axis=1).std(axis=0)
    D = np.diff(np.eye(len(y)), axis=0)
    np.testing.assert_allclose(change, np.sqrt(np.diag(D @ wider.cov() @ D.T)), rtol=0.03)


def test_uneven_layers_are_taken_at_their_depths() -> None:
    """Only every fourth layer from some depth on: none is missing, and ranks are not step sizes."""
    depth, y = case("uneven")
    table = pd.DataFrame({"model": "m", "family": "f", "depth": depth, "score": y})
    named_layers = table.assign(layer=(32 * depth).round().astype(int), n_layers=32)
    for own in (table, named_layers):
        row = fit_curves(own).iloc[0]
        assert np.isfinite(row["extremum_low"])
        assert u_shape_test(own)["reason"].iloc[0] != "layer 5 is missing"
    pd.testing.assert_series_equal(
        fit_curves(table).iloc[0].drop("n_layers"),
        fit_curves(named_layers).iloc[0].drop("n_layers"),
    )


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_intervals_of_a_peak_cover_it(rho: float) -> None:
    """Coverage of 95% intervals on 60 curves: the chance of 50 or fewer is below 0.001."""
    rng, depth = np.random.default_rng(2), np.linspace(0, 1, 25)
    lag = np.abs(np.subtract.outer(np.arange(25), np.arange(25)))
    curves = rng.multivariate_normal(1 - (depth - 0.45) ** 2, 0.02**2 * rho**lag, size=60)
    table = pd.concat(
        [
            pd.DataFrame({"model": f"m{i}", "family": "f", "depth": depth, "score": y})
            for i, y in enumerate(curves)
        ]
    )
    fits = fit_curves(table)
    for place in ("vertex", "extremum"):
        inside = (fits[f"{place}_low"] <= 0.45) & (fits[f"{place}_high"] >= 0.45)
        assert inside.sum() > 50
    assert stats.binom.cdf(50, 60, 0.95) < 1e-3


def test_errors_are_scaled_for_small_samples() -> None:
    depth, y = case("even")
    profile = next(
        as_scores(
            pd.DataFrame({"model": "m", "family": "f", "depth": depth, "score": y})
        ).profiles()
    )
    models = scatter(depth, y)
    errors = profile_errors(profile)
    scale = small_sample_scale(25, models)
    np.testing.assert_allclose(errors.cov, max(scale, 1) ** 2 * models.cov())
    assert errors.shrink == pytest.approx(min(scale, 1))
    halves = scale_of_halves(25, models)
    assert errors.of_halves == pytest.approx(halves / max(scale, 1))
    assert halves < scale
    assert errors.df == pytest.approx(models.df @ models.weight)


def noisy(curve: Float64Array, rho: float, n_curves: int, seed: int = 5) -> pd.DataFrame:
    """Curves plus AR(1) noise of SD 1, one model each."""
    rng, n = np.random.default_rng(seed), len(curve)
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    noise = rng.multivariate_normal(np.zeros(n), float(rho) ** lag, size=n_curves)
    depth = np.linspace(0, 1, n)
    return pd.concat(
        [
            pd.DataFrame({"model": f"m{i}", "family": "f", "depth": depth, "score": curve + e})
            for i, e in enumerate(noise)
        ]
    )


@pytest.mark.parametrize("rho", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("truth", ["plateau", "late rise"])
def test_what_only_rises_seldom_turns(truth: str, rho: float) -> None:
    """60 curves at a level of 0.05; the chance of more than 10 at a rate of 0.06 is 0.001."""
    depth = np.linspace(0, 1, 25)
    rise = 1 - np.exp(-depth / 0.15) if truth == "plateau" else np.exp((depth - 1) / 0.12)
    tests = u_shape_test(noisy(2 * rise, rho, 60))
    profiles = tests[tests["level"] == "profile"]
    assert profiles["verdict"].isin(["hump", "trough", "several peaks"]).sum() <= 10
    assert stats.binom.sf(10, 60, 0.06) < 2e-3


@pytest.mark.parametrize(("peak", "left", "right"), [(0.2, 0.08, 0.3), (0.5, 0.2, 0.2)])
def test_bare_humps_are_found_where_they_are(peak: float, left: float, right: float) -> None:
    """Found in 0.95 of early humps and in all of those in the middle; 13 of 20 has p < 0.001."""
    depth = np.linspace(0, 1, 25)
    width = np.where(depth < peak, left, right)
    tests = u_shape_test(noisy(10 * np.exp(-0.5 * ((depth - peak) / width) ** 2), 0.9, 20))
    assert (tests.loc[tests["level"] == "profile", "verdict"] == "hump").sum() > 13


def test_humps_of_few_layers_in_white_noise_are_found() -> None:
    """Found in 0.93 of curves; 30 or fewer of 40 has p < 0.001."""
    depth = np.linspace(0, 1, 13)
    tests = u_shape_test(noisy(10 * np.exp(-0.5 * ((depth - 0.5) / 0.25) ** 2), 0.0, 40))
    assert (tests.loc[tests["level"] == "profile", "verdict"] == "hump").mean() > 0.75


@pytest.mark.parametrize(("rho", "height"), [(0.0, 5), (0.9, 8)])
def test_rises_of_few_layers_are_called_monotone_and_humps_are_not(
    rho: float, height: float
) -> None:
    """Rises are found in 0.4 or more; at 6%, more than 10 of 60 humps or flat curves are rare.

    With the errors of a test of a turn, 0.06 of the rises in white noise would be found.
    """
    depth = np.linspace(0, 1, 13)
    shares = {}
    for name, curve in {"rise": depth, "hump": np.sin(np.pi * depth), "flat": 0 * depth}.items():
        tests = u_shape_test(noisy(height * curve, rho, 60))
        shares[name] = (tests.loc[tests["level"] == "profile", "verdict"] == "monotone").sum()
    assert shares["rise"] > 10
    assert max(shares["hump"], shares["flat"]) <= 10
    assert stats.binom.cdf(10, 60, 0.3) < 0.02
    assert stats.binom.sf(10, 60, 0.06) < 2e-3
