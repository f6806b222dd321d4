"""The reported fit, by statsmodels' MixedLM, which also checks the fast likelihood.

MixedLM cannot combine crossed random effects with correlated random curves, so it is fitted to the
means over emotions. There the emotions' random intercepts shift all rows alike, and the fixed
intercept absorbs that shift. Let V be the rows' covariance, c the variance of the shift and 1 a
vector in the span of the fixed effects X. The quadratic form of the generalized least-squares
residual and the restricted likelihood do not depend on c, because |V + c 11'| and
|X' (V + c 11')^-1 X| differ from those of V by the factor 1 + c 1'V^-1 1 and by its inverse. The
likelihood gains the term -log(1 + c 1'V^-1 1) / 2, which is largest at c = 0.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

from analysis.over_models.mixed import RANDOM, CurveFit, fit_curve_model
from analysis.over_models.sums import CurveData, basis, over_emotions
from study.arrays import Float64Array

#: Optimizers in the order in which they are tried, and whether they start from the fast fit.
ATTEMPTS = (("lbfgs", True), ("bfgs", True), ("lbfgs", False), ("powell", False))
#: Relative difference above which log-likelihoods count as different.
AGREEMENT = 1e-6
#: Coefficients of (1, d, d^2) from those in `analysis.over_models.sums.basis`.
_POWERS = np.array([[-1.0, 1.0, 1.0], [2.0, -6.0, 0.0], [0.0, 6.0, 0.0]])
#: Columns of the result if nothing is fitted.
NOT_FITTED: dict[str, Any] = {
    "loglik_null": np.nan,
    "loglik_full": np.nan,
    "mixedlm_lr": np.nan,
    "mixedlm_converged": False,
    "mixedlm_warnings": "",
    "mixedlm_note": "",
}
_NAMES = ("intercept", "d", "d^2")


def mixedlm_fits(data: CurveData, n_random: int = 3) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Fit null and alternative by MixedLM, and compare with the fast likelihood.

    Parameters
    ----------
    data : CurveData
        Of one data set.
    n_random : {3, 2, 1}
        Random terms, as for `analysis.over_models.mixed.fit_curve_model`.

    Returns
    -------
    columns : dict
        ``loglik_null, loglik_full, mixedlm_lr, mixedlm_converged, mixedlm_warnings`` and
        ``mixedlm_note``, which is empty if MixedLM could be fitted and its log-likelihoods agree
        with the fast fit's to `AGREEMENT`, and otherwise says what failed.
    fixed_effects : list of dict
        One per fixed effect: ``hypothesis, term, estimate, se``, in the metric's own units, and the
        fit's ``loglik, converged, optimizer, warnings``.

    Notes
    -----
    Fits are by maximum likelihood, because the hypotheses have different fixed effects, for which
    restricted likelihoods are not comparable.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> from analysis.over_models.sums import curve_data
    >>> study = simulate_scores(n_emotions=3, rho=0.0, model_sd={"vertex": 0.1, "level": 0.1})
    >>> columns, effects = mixedlm_fits(curve_data(study, "score"), n_random=1)
    >>> columns["mixedlm_converged"], columns["mixedlm_note"], len(effects)
    (True, '', 22)
    """
    means = over_emotions(data)
    logliks, effects, notes, converged, seen = {}, [], [], True, []
    for hypothesis, shared_shape in (("null", True), ("full", False)):
        fast = fit_curve_model(means, shared_shape, n_random=n_random)
        expected = float(-fast.deviance[0] / 2)
        x, names, powers = _design(means, shared_shape)
        fit, optimizer, messages = _fit(means, x, fast, expected, n_random)
        if fit is None:
            notes.append(f"statsmodels' MixedLM fits no {hypothesis} model ({messages[-1]})")
            logliks[hypothesis], converged = np.nan, False
            seen += messages
            continue
        converged &= bool(fit.converged)
        seen += messages
        if not np.isfinite(fit.llf):
            notes.append(f"statsmodels' MixedLM finds no likelihood of the {hypothesis} model")
            logliks[hypothesis], converged = np.nan, False
            continue
        logliks[hypothesis] = float(fit.llf)
        if not fit.converged:
            notes.append(f"statsmodels' MixedLM of the {hypothesis} model did not converge")
        apart = abs(fit.llf - expected) / max(abs(expected), 1.0)
        if not apart <= AGREEMENT:
            notes.append(
                f"the log-likelihood of the {hypothesis} model is {fit.llf:.6f} by statsmodels and "
                f"{expected:.6f} by the fast fit"
            )
        cov = np.asarray(fit.cov_params())[: len(names), : len(names)]
        variance = np.diag(powers @ cov @ powers.T)
        se = np.sqrt(np.where(variance > 0, variance, np.nan))
        effects += [
            {
                "hypothesis": hypothesis,
                "term": term,
                "estimate": data.sign * float(value),
                "se": float(error),
                "loglik": float(fit.llf),
                "converged": bool(fit.converged),
                "optimizer": optimizer,
                "warnings": "; ".join(messages),
            }
            for term, value, error in zip(names, powers @ fit.fe_params, se, strict=True)
        ]
    return {
        "loglik_null": logliks["null"],
        "loglik_full": logliks["full"],
        "mixedlm_lr": 2 * (logliks["full"] - logliks["null"]),
        "mixedlm_converged": converged,
        "mixedlm_warnings": "; ".join(dict.fromkeys(seen)),
        "mixedlm_note": "; ".join(notes),
    }, effects


def _design(data: CurveData, shared_shape: bool) -> tuple[Float64Array, list[str], Float64Array]:
    """Lay out the rows' fixed effects, their names and the map to coefficients of 1, d, d^2."""
    z = np.concatenate([np.repeat(basis(depth), data.n_methods, axis=0) for depth in data.depths])
    models = np.repeat(np.arange(len(data.models)), [depth.size for depth in data.depths])
    group = np.eye(len(data.groups))[np.repeat(data.group[models], data.n_methods)]
    if shared_shape:
        blocks = [group, z[:, :2]]
        names = [f"intercept: {name}" for name in data.groups] + list(_NAMES[1:])
        n = len(data.groups)
        powers = np.eye(n + 2)
        powers[:n, n:] = _POWERS[0, :2]
        powers[n:, n:] = _POWERS[1:, :2]
        maps = [powers]
    else:
        blocks = [group[:, [g]] * z for g in range(len(data.groups))]
        names = [f"{term}: {name}" for name in data.groups for term in _NAMES]
        maps = [_POWERS] * len(data.groups)
    # Each method minus the last, centered over methods.
    codes = np.tile(np.eye(data.n_methods)[:, :-1] - 1 / data.n_methods, (models.size, 1))
    for k, name in enumerate(data.methods[:-1]):
        blocks.append(codes[:, [k]] * z)
        names += [f"{term}: {name} - {data.methods[-1]}" for term in _NAMES]
        maps.append(_POWERS)
    return np.hstack(blocks), names, _block_diagonal(maps)


def _block_diagonal(maps: list[Float64Array]) -> Float64Array:
    size = sum(len(m) for m in maps)
    out, at = np.zeros((size, size)), 0
    for m in maps:
        out[at : at + len(m), at : at + len(m)] = m
        at += len(m)
    return out


def _fit(
    data: CurveData, x: Float64Array, fast: CurveFit, expected: float, n_random: int
) -> tuple[Any, str, list[str]]:
    """Return the first converged fit that agrees with the fast one, else the most likely fit."""
    terms = RANDOM[n_random].coordinates
    y = np.concatenate([mean.ravel() for mean in data.means])
    z = np.concatenate([np.repeat(basis(d), data.n_methods, axis=0)[:, terms] for d in data.depths])
    groups = np.repeat(np.arange(len(data.models)), [mean.size for mean in data.means])
    cov = (fast.curve_cov[0] / fast.residual_variance[0])[np.ix_(terms, terms)]
    # MixedLM starts from a Cholesky factor, which a singular covariance does not have.
    cov = cov + np.eye(n_random) * 1e-9 * max(float(np.trace(cov)), 1e-9)
    best: tuple[Any, str, list[str]] = (None, "", [])
    for optimizer, warm in ATTEMPTS:
        start = MixedLMParams.from_components(np.zeros(x.shape[1]), cov_re=cov) if warm else None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                fit = MixedLM(y, x, groups, exog_re=z).fit(
                    reml=False, method=optimizer, start_params=start
                )
            except (np.linalg.LinAlgError, ValueError) as error:
                if best[0] is None:
                    best = (None, "", [*best[2], f"{optimizer}: {error}"])
                continue
        messages = list(dict.fromkeys(" ".join(str(w.message).split()) for w in caught))
        if best[0] is None or fit.llf > best[0].llf:
            best = (fit, optimizer, messages)
        if fit.converged and abs(fit.llf - expected) <= AGREEMENT * max(abs(expected), 1.0):
            return fit, optimizer, messages
    return best
