"""The random-curve likelihood against lme4, statsmodels and a dense normal density."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose
from scipy import stats

from analysis.loading.scores import as_scores
from analysis.over_models.mixed import draw, fit_curve_model, likelihood_ratio
from analysis.over_models.sums import basis, curve_data, curve_sums, vertex
from analysis.planning.simulate import simulate_scores
from study.read import InputError

pytestmark = pytest.mark.arithmetic

REFERENCE = Path(__file__).parents[1] / "reference"
R = json.loads((REFERENCE / "invariance.json").read_text())
DATA = pd.read_csv(REFERENCE / "invariance_data.csv")
SPREAD = {"vertex": 0.1, "level": 0.05, "height": 0.03}


def study(**settings):
    return simulate_scores(**{"n_replicates": 0, "model_sd": SPREAD, "rho": 0.0, **settings})


@pytest.mark.parametrize(("name", "shared"), [("null", True), ("full", False)])
def test_crossed_emotions_equal_lme4(name, shared):
    expected = R["crossed"][name]
    fit = fit_curve_model(curve_data(as_scores(DATA), "score"), shared)
    assert fit.converged[0]
    assert_allclose(-fit.deviance[0] / 2, expected["loglik"], rtol=1e-7)
    assert_allclose(np.sqrt(fit.residual_variance[0]), expected["sigma"], rtol=1e-4)
    assert_allclose(fit.curve_cov[0], expected["curve_cov"], rtol=2e-3, atol=1e-6)
    assert fit.rank[0] == 3


def test_emotion_spread_and_shared_shape_equal_lme4():
    data = curve_data(as_scores(DATA), "score")
    fit = fit_curve_model(data, shared_shape=True)
    assert_allclose(np.sqrt(fit.emotion_variance[0]), R["crossed"]["emotion_sd"], rtol=1e-3)
    of_a, difference = np.array(R["crossed"]["shape"]).reshape(2, 2)
    assert_allclose(fit.mean[0, :, :2], np.tile(of_a + difference / 2, (9, 1)), atol=1e-6)


@pytest.mark.parametrize(("name", "shared"), [("null", True), ("full", False)])
def test_one_emotion_equals_lme4(name, shared):
    one = as_scores(DATA[DATA["emotion"] == "e1"])
    fit = fit_curve_model(curve_data(one, "score"), shared)
    assert_allclose(-fit.deviance[0] / 2, R["single"][name]["loglik"], rtol=1e-7)
    assert (fit.rank[0] < 3) == R["single"][name]["singular"]


@pytest.mark.filterwarnings("ignore:The MLE may be on the boundary")
@pytest.mark.parametrize("n_layers", [(8, 16), (12, 12)])
@pytest.mark.parametrize("shared", [True, False])
def test_loglikelihood_equals_statsmodels(shared, n_layers):
    # With one number of layers, the models of a family are taken together.
    scores = study(families=(5, 5), n_layers=n_layers, noise_sd=0.02, methods=("a", "b"), seed=5)
    fit = fit_curve_model(curve_data(scores, "score"), shared)
    table = scores.table.copy()
    table[["x", "q", "one"]] = basis(table["depth"].to_numpy())
    shape = "family" if shared else "family * (x + q)"
    model = smf.mixedlm(
        f"score ~ method * (x + q) + {shape}", table, groups=table["model"], re_formula="1 + x + q"
    )
    assert_allclose(-fit.deviance[0] / 2, model.fit(reml=False).llf, rtol=1e-6)


@pytest.mark.parametrize("n_layers", [(5, 7), (6, 6)])
def test_loglikelihood_is_the_normal_density_of_the_rows(n_layers):
    # Check all of the algebra at once: write out the rows' covariance at the fitted values.
    scores = study(families=(2, 1), n_layers=n_layers, n_emotions=3, methods=("a", "b"), seed=2)
    data = curve_data(scores, "score")
    fit = fit_curve_model(data, shared_shape=True)
    table = scores.table
    z = basis(table["depth"].to_numpy())
    codes = table[["model", "emotion", "family"]].apply(lambda c: pd.factorize(c)[0]).to_numpy()
    same_model, same_emotion = (np.equal.outer(codes[:, i], codes[:, i]) for i in (0, 1))
    cov = (
        same_model * (z @ fit.curve_cov[0] @ z.T)
        + same_emotion * fit.emotion_variance[0]
        + np.eye(len(z)) * fit.residual_variance[0]
    )
    contrast = np.where(table["method"] == "a", 1.0, -1.0)[:, None] * z
    x = np.hstack([np.eye(2)[codes[:, 2]], z[:, :2], contrast])
    inverse = np.linalg.inv(cov)
    beta = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ table["score"].to_numpy())
    density = stats.multivariate_normal(x @ beta, cov).logpdf(table["score"].to_numpy())
    assert_allclose(-fit.deviance[0] / 2, density, rtol=1e-8)


def test_no_other_covariance_is_more_likely():
    data = curve_data(study(noise_sd=0.02, seed=8), "score")
    fit = fit_curve_model(data, shared_shape=False)
    again = fit_curve_model(data, shared_shape=False, tol=1e-9)
    assert_allclose(fit.deviance, again.deviance, rtol=1e-9)
    loose = draw(data, fit, 50, np.random.default_rng(0))
    tight = likelihood_ratio(loose, tol=1e-8)[0]
    error = np.abs(likelihood_ratio(loose, tol=1e-3)[0] - tight)
    assert np.median(error) < 1e-4
    assert error.max() < 0.05


def test_models_taken_together_are_as_likely_as_apart():
    # Spreads of models that differ even slightly are kept apart.
    data = curve_data(study(families=(4, 4), n_layers=(9, 9), noise_sd=0.02, seed=3), "score")
    apart = replace(data, spread=data.spread * (1 + 1e-13 * np.arange(8))[:, None, None])
    draws = draw(data, fit_curve_model(data, True), 20, np.random.default_rng(0))
    for one in (data, draws):
        other = replace(one, spread=apart.spread)
        for shared in (True, False):
            together, alone = fit_curve_model(one, shared), fit_curve_model(other, shared)
            assert_allclose(together.deviance, alone.deviance, rtol=1e-9)
            assert_allclose(together.mean, alone.mean, atol=1e-6)


def test_drawn_sums_have_the_moments_of_drawn_rows():
    rng = np.random.default_rng(0)
    depth, sd, n = np.arange(9) / 8, 0.02, 600
    rows = [
        curve_sums(
            ("m1", "m2"),
            ("f", "g"),
            np.array([0, 1]),
            [(depth, sd * rng.standard_normal((9, 2, 4))) for _ in range(2)],
        )
        for _ in range(n)
    ]
    fit = fit_curve_model(rows[0], shared_shape=True)
    null = replace(
        fit,
        mean=0 * fit.mean,
        curve_cov=0 * fit.curve_cov,
        residual_variance=np.array([sd**2]),
        emotion_variance=np.zeros(1),
    )
    sums = draw(rows[0], null, 20_000, np.random.default_rng(0))
    for name, rtol in (("rss", 0.02), ("emotion_ss", 0.15)):
        of_rows = np.array([getattr(r, name)[0] for r in rows])
        assert_allclose(of_rows.mean(), getattr(sums, name).mean(), rtol=rtol)
        assert_allclose(of_rows.std(), getattr(sums, name).std(), rtol=0.15)
    of_rows = np.array([r.coef[0] for r in rows])
    assert_allclose(of_rows.std(axis=0), sums.coef.std(axis=0), rtol=0.15)


def test_likelihood_does_not_depend_on_the_scores_scale():
    data = curve_data(as_scores(DATA), "score")
    scaled = curve_data(as_scores(DATA.assign(score=1000 * DATA["score"] - 7)), "score")
    assert_allclose(likelihood_ratio(data)[0], likelihood_ratio(scaled)[0], atol=1e-6)


def test_vertex_of_a_known_parabola():
    depth = np.linspace(0, 1, 9)
    coef = np.linalg.lstsq(basis(depth), 1 - (depth - 0.3) ** 2, rcond=None)[0]
    assert_allclose(vertex(coef), 0.3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t[~((t["model"] == "m3") & (t["method"] == "generation"))],
            "model 'm3' lacks method 'generation'",
        ),
        (lambda t: t[(t["model"] != "m1") | (t["layer"] < 3)], "model 'm1' has 3 layers"),
        (
            lambda t: pd.concat([t.assign(seed=0), t[t["model"] == "m2"].assign(seed=1)]),
            "model 'm2' has several values of seed",
        ),
    ],
)
def test_unbalanced_tables_are_refused_by_name(change, message):
    with pytest.raises(InputError, match=message):
        curve_data(as_scores(change(DATA)), "score")
