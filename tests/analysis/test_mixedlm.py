"""The reported fit: statsmodels' MixedLM against lme4, the fast likelihood and the algebra."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import analysis.over_models.mixedlm
from analysis.loading.scores import as_scores
from analysis.over_models.invariance import invariance_test
from analysis.over_models.mixed import RANDOM, fit_curve_model
from analysis.over_models.mixedlm import mixedlm_fits
from analysis.over_models.sums import basis, curve_data, over_emotions
from analysis.planning.simulate import simulate_scores

pytestmark = pytest.mark.arithmetic

REFERENCE = Path(__file__).parents[1] / "reference"
R = json.loads((REFERENCE / "invariance.json").read_text())
SCORES = as_scores(pd.read_csv(REFERENCE / "invariance_data.csv"))
DATA = curve_data(SCORES, "score")
SPREAD = {"vertex": 0.1, "level": 0.05, "height": 0.03}


def test_reported_ratio_is_that_of_lme4_on_the_means():
    # R: lmer(score ~ method * (x + q) + family * (x + q) + (x + q + 1 | model)), emotions averaged
    columns, _ = mixedlm_fits(DATA)
    assert_allclose(columns["mixedlm_lr"], R["bootstrap"]["lr"], atol=2e-3)
    assert columns["mixedlm_converged"]
    assert columns["mixedlm_note"] == ""


@pytest.mark.parametrize("n_random", [3, 2, 1])
def test_fast_likelihood_is_mixedlms_with_fewer_random_terms(n_random):
    scores = simulate_scores(
        families=(3, 3),
        n_layers=(8, 16),
        methods=("a", "b", "c"),
        rho=0.0,
        noise_sd=0.02,
        model_sd=SPREAD,
        n_replicates=0,
        seed=5,
    )
    columns, _ = mixedlm_fits(curve_data(scores, "score"), n_random)
    assert columns["mixedlm_note"] == ""


def test_mixedlm_from_its_own_start_finds_no_better_fit(monkeypatch):
    monkeypatch.setattr(analysis.over_models.mixedlm, "ATTEMPTS", (("bfgs", False),))
    columns, _ = mixedlm_fits(DATA)
    assert columns["mixedlm_note"] == ""


def test_effects_are_those_of_a_regression_where_models_do_not_differ():
    # Without spread between models the fit is ordinary least squares in 1, d, d^2.
    scores = simulate_scores(
        families=(2, 2), methods=("a", "b"), rho=0.0, noise_sd=0.02, n_replicates=0, seed=4
    )
    table = scores.table
    family, method = (table[c] for c in ("family", "method"))
    columns = {}
    for name in ("A", "B"):
        for k, power in enumerate(("intercept", "d", "d^2")):
            columns[f"{power}: {name}"] = (family == name) * table["depth"] ** k
    for k, power in enumerate(("intercept", "d", "d^2")):
        columns[f"{power}: a - b"] = ((method == "a") - 0.5) * table["depth"] ** k
    x = pd.DataFrame(columns)
    least = np.linalg.lstsq(x, table["score"], rcond=None)[0]
    fit, effects = mixedlm_fits(curve_data(scores, "score"), n_random=1)
    found = pd.DataFrame(effects).query("hypothesis == 'full'").set_index("term")["estimate"]
    assert_allclose(found[x.columns], least, atol=2e-3)
    assert fit["mixedlm_note"] == ""


def test_the_emotions_shift_is_the_intercepts():
    # Check the module's claim with the full covariance of rows and any variance of the shift.
    means = over_emotions(DATA)
    fit = fit_curve_model(means, shared_shape=True)
    z = np.concatenate([np.repeat(basis(d), 2, axis=0) for d in means.depths])
    model = np.repeat(np.arange(9), [m.size for m in means.means])
    y = np.concatenate([m.ravel() for m in means.means])
    same = np.equal.outer(model, model)
    v = same * (z @ fit.curve_cov[0] @ z.T) + np.eye(y.size) * fit.residual_variance[0]
    x = np.hstack([np.eye(5)[means.group[model]], z[:, :2]])

    def facts(v):
        inverse = np.linalg.inv(v)
        information = x.T @ inverse @ x
        residual = y - x @ np.linalg.solve(information, x.T @ inverse @ y)
        quadratic = residual @ inverse @ residual
        log_det = np.linalg.slogdet(v)[1]
        return quadratic, log_det + np.linalg.slogdet(information)[1] + quadratic, log_det

    for shift in (0.001, 0.1):
        shifted = facts(v + shift)
        assert_allclose(shifted[:2], facts(v)[:2], rtol=1e-7)
        added = np.log1p(shift * np.linalg.inv(v).sum())
        assert_allclose(shifted[2] - facts(v)[2], added, rtol=1e-6)


def test_likelihoods_that_differ_are_said_to_differ(monkeypatch):
    wrong = {3: RANDOM[1], 1: RANDOM[1]}
    monkeypatch.setattr(analysis.over_models.mixedlm, "RANDOM", wrong)
    monkeypatch.setattr(
        analysis.over_models.mixedlm, "_fit", _one_term(analysis.over_models.mixedlm._fit)
    )
    columns, _ = mixedlm_fits(DATA)
    assert "log-likelihood of the null model is" in columns["mixedlm_note"]
    assert "by the fast fit" in columns["mixedlm_note"]


def _one_term(fit):
    """Let MixedLM fit only a random intercept, which forces it to disagree."""
    return lambda data, x, fast, expected, n_random: fit(data, x, fast, expected, 1)


def test_a_fit_that_fails_is_in_the_result(monkeypatch):
    class Broken:
        def __init__(self, *args, **kwargs):
            raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(analysis.over_models.mixedlm, "MixedLM", Broken)
    row = invariance_test(SCORES, n_boot=99).iloc[0]
    assert not row["mixedlm_converged"]
    assert np.isnan(row["loglik_null"])
    assert "MixedLM fits no null model (powell: Singular matrix)" in row["reason"]
    assert "bfgs: Singular matrix" in row["mixedlm_warnings"]


def test_a_fit_without_convergence_is_in_the_result(monkeypatch):
    real = analysis.over_models.mixedlm.MixedLM

    class Impatient(real):
        def fit(self, **options):
            fit = super().fit(**options)
            fit.converged = False
            return fit

    monkeypatch.setattr(analysis.over_models.mixedlm, "MixedLM", Impatient)
    row = invariance_test(SCORES, n_boot=99).iloc[0]
    assert not row["mixedlm_converged"]
    assert "did not converge" in row["reason"]


def test_an_infinite_likelihood_is_named_and_not_printed(monkeypatch):
    real = analysis.over_models.mixedlm.MixedLM

    class Infinite(real):
        def fit(self, **options):
            fit = super().fit(**options)
            fit.llf = np.inf
            return fit

    monkeypatch.setattr(analysis.over_models.mixedlm, "MixedLM", Infinite)
    row = invariance_test(SCORES, n_boot=99).iloc[0]
    assert "MixedLM finds no likelihood of the null model" in row["reason"]
    assert "inf" not in row["reason"]
    assert np.isnan(row["loglik_null"])


def test_the_result_carries_the_fits():
    table = invariance_test(SCORES, n_boot=99)
    row = table.iloc[0]
    assert_allclose(row["mixedlm_lr"], 2 * (row["loglik_full"] - row["loglik_null"]))
    assert_allclose(row["mixedlm_lr"], row["lr"], rtol=0.01)
    effects = pd.DataFrame(table.attrs["mixedlm"])
    assert set(effects["metric"]) == {"score"}
    assert effects.groupby("hypothesis").size().to_dict() == {"full": 18, "null": 10}
    assert (effects["se"] > 0).all()
