"""How far each family's peak lies from the mean over families: a Bayesian reading."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, special

from analysis.families import meta_regression
from analysis.loading.scores import Scores, as_scores
from analysis.over_models.optimize import Codes
from analysis.over_models.scale import sampling_variance
from analysis.over_models.sums import curve_data
from analysis.over_models.whole_curve import NO_PEAK, curves, peak_p, places
from analysis.profiles.curves import Peak, check_peak
from analysis.profiles.uncertainty import check_alpha
from study.arrays import Float64Array
from study.read import InputError

#: The row for all families together.
ANY = "any family"
#: Nodes of the integrals over tau and over mu, and the log density that counts as none.
TAU_NODES, MU_NODES, NEGLIGIBLE = 150, 201, -40.0


class Departures(NamedTuple):
    """The posterior of departures: of each family, shape (n_families,), and of any."""

    mean: Float64Array
    low: Float64Array
    high: Float64Array
    p_beyond: Float64Array
    p_any: float
    mu: float
    tau: float


#: Scale of the prior on the families' standard deviation, in units of depth.
TAU_SCALE = 0.1


def family_departures(
    scores: Scores | pd.DataFrame,
    *,
    metric: str | None = None,
    delta: float = 0.1,
    peak: Peak = "extremum",
    tau_scale: float = TAU_SCALE,
    alpha: float = 0.05,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    r"""Return how probably each family's peak departs from the mean over families.

    It reports, and decides nothing: the verdict on families is `invariance_test`'s. With few
    families, the prior of tau matters; vary `tau_scale` to see how much.

    Parameters
    ----------
    scores : Scores or DataFrame
        A study, or a table with at least model, family, depth and score. Untrained models and
        shuffled labels are ignored; methods are averaged.
    metric : str, optional
        Default: every metric in the table.
    delta : float
        The departure that matters, in shares of the depth.
    peak : {"vertex", "extremum", "center"}
        Where a model's curve peaks (see `fit_curves`).
    tau_scale : float
        Scale of the half-normal prior of the standard deviation between families, in shares of
        the depth.
    alpha : float
        Credible intervals have probability 1 - alpha. A peak that is not shown at this level has
        no departures.
    higher_is_better : bool, optional
        For a table: whether a larger score means better separation. Default: True; an error if
        the metric's name leaves it open ("loss", "distance", "cosine").

    Returns
    -------
    DataFrame
        One row per metric and family, and one for "any family", the last of its metric:
        ``n_models``, with a peak; ``place, se``, the family's mean peak and its standard error;
        ``estimate, low, high``, the departure's posterior mean and central credible interval;
        ``p_beyond``, the posterior probability that the departure exceeds delta in either
        direction, and for "any family" that at least one does; ``mu, tau``, the posterior means of
        the mean over families and of the standard deviation between them; ``reason``, why these
        are missing, or empty; ``confidence``, the probability of the interval.

    Raises
    ------
    InputError
        If some models lack a method that others have, the estimator is unknown, or `delta` or
        `tau_scale` is not positive.

    Notes
    -----
    Family f has the mean peak :math:`y_f` with the standard error :math:`s_f`, and

    .. math:: y_f \sim N(\mu + u_f, s_f^2), \quad u_f \sim N(0, \tau^2), \quad
              p(\mu) \propto 1, \quad \tau \sim |N(0, \text{tau\_scale}^2)|.

    Given tau everything is normal [1]_: with :math:`w_f = 1 / (s_f^2 + \tau^2)`,
    :math:`V = 1 / \sum_f w_f`, :math:`\hat\mu = V \sum_f w_f y_f` and
    :math:`B_f = \tau^2 w_f`,

    .. math:: u_f \mid \tau, y \sim N(B_f (y_f - \hat\mu), B_f s_f^2 + B_f^2 V), \quad
              p(y \mid \tau) \propto \sqrt{V \prod_f w_f} \;
              e^{-\sum_f w_f (y_f - \hat\mu)^2 / 2}.

    Tau is integrated out by Gauss and Legendre's rule. Given tau and mu the departures are
    independent, which gives the probability of any by one more integral, over mu. A half-normal
    prior admits tau = 0 and, unlike a flat one, is proper with two families [2]_.

    The models' peaks and sampling variances are those of `scale_test`. The mean of a family weights
    its models by the inverse of their sampling variance plus the variance between models of a
    family (REML, the same in all families), which is taken as known. If no family has two models
    with a peak, that variance is part of the families' own.

    References
    ----------
    .. [1] Röver, C. (2020). Bayesian random-effects meta-analysis using the bayesmeta R package.
       Journal of Statistical Software, 93(6), 1-51.
    .. [2] Gelman, A. (2006). Prior distributions for variance parameters in hierarchical models.
       Bayesian Analysis, 1, 515-534.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(families=(3, 3, 3), noise_sd=0.003, seed=2)
    >>> found = family_departures(study)
    >>> found["family"].tolist()
    ['A', 'B', 'C', 'any family']
    >>> bool(found["p_beyond"].iloc[-1] < 0.05)
    True
    """
    check_alpha(alpha)
    check_peak(peak)
    for name, value in (("delta", delta), ("tau_scale", tau_scale)):
        if not 0 < value < np.inf:
            raise InputError(f"{name} = {value:g} is not a positive number")
    scores = as_scores(scores, higher_is_better)
    metrics = [metric] if metric is not None else sorted(scores.table["metric"].unique())
    rows: list[dict[str, Any]] = []
    for name in metrics:
        data = curve_data(scores, name)
        family = scores.table.groupby("model")["family"].first().loc[list(data.models)].to_numpy()
        depth, there = places(data, peak)
        variance = sampling_variance(scores, data, name, peak)
        there = there & np.isfinite(depth) & np.isfinite(variance)
        names, group = np.unique(family[there].astype(str), return_inverse=True)
        place, se = means_of_families(depth[there], variance[there], group)
        found, reason = None, ""
        if names.size < 2:
            number = "no family has" if not names.size else "one family has"
            reason = f"{number} a model with a peak; departures need at least two"
        elif not peak_p(data, curves(data)[0]) <= alpha:
            reason = NO_PEAK
        elif not (se > 0).all():
            reason = "a family's peak has no standard error: it needs replicates or more models"
        else:
            found = departures(place, se, delta, tau_scale, alpha)
        count = np.bincount(group, minlength=names.size)
        shared = {"test": "departures", "metric": name, "peak": peak}
        after = {
            "mu": found.mu if found else np.nan,
            "tau": found.tau if found else np.nan,
            "delta": delta,
            "tau_scale": tau_scale,
            "alpha": alpha,
            "reason": reason,
        }
        for f, label in enumerate(names):
            columns = found[:4] if found else [np.full(names.size, np.nan)] * 4
            mean, low, high, p = (float(column[f]) for column in columns)
            own = {"family": label, "n_models": count[f], "place": place[f], "se": se[f]}
            own |= {"estimate": mean, "low": low, "high": high, "p_beyond": p}
            rows.append(shared | own | after)
        own = {"family": ANY, "n_models": int(there.sum())}
        own |= dict.fromkeys(("place", "se", "estimate", "low", "high"), np.nan)
        rows.append(shared | own | {"p_beyond": found.p_any if found else np.nan} | after)
    return pd.DataFrame(rows).assign(confidence=1 - alpha)


def means_of_families(
    y: Float64Array, variance: Float64Array, group: Codes
) -> tuple[Float64Array, Float64Array]:
    """Return the families' means and their standard errors, with a variance between models."""
    if not y.size:
        return y, y
    onehot = np.eye(int(group.max()) + 1)[group]
    between = 0.0
    if onehot.shape[1] < y.size:
        between = float(meta_regression(y, variance, onehot)[2][0])
    # Where nothing varies, the floor leaves equal weights.
    total = variance + between
    weight = onehot.T / np.where(total > 0, total, 1.0)
    mean = (weight @ y) / weight.sum(axis=1)
    share = weight / weight.sum(axis=1, keepdims=True)
    return mean, np.sqrt((share**2) @ total)


def departures(
    y: Float64Array, se: Float64Array, delta: float, tau_scale: float, alpha: float = 0.05
) -> Departures:
    """Return the posterior of families' departures from their mean (see `family_departures`)."""

    def given(tau: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
        """Return B_f, the mean and variance of mu, and tau's log posterior density."""
        w = 1 / (se**2 + tau[:, None] ** 2)
        v = 1 / w.sum(axis=1)
        mu = v * (w @ y)
        misfit = (w * (y - mu[:, None]) ** 2).sum(axis=1) + (tau / tau_scale) ** 2
        log_density = (np.log(w).sum(axis=1) + np.log(v) - misfit) / 2
        return tau[:, None] ** 2 * w, mu, v, log_density

    # The density changes on the scale of the errors near 0 and on that of tau beyond.
    unit = float(se.min())
    coarse = np.geomspace(1e-3 * min(unit, tau_scale), 10 * (tau_scale + np.ptp(y) + se.max()), 400)
    log_density = given(coarse)[3]
    end = coarse[np.flatnonzero(log_density > log_density.max() + NEGLIGIBLE)[-1]]
    node, weight = np.polynomial.legendre.leggauss(TAU_NODES)
    reach = np.arcsinh(end / unit) / 2
    at = reach * (node + 1)
    tau = unit * np.sinh(at)
    shrink, mu, v, log_density = given(tau)
    mass = weight * np.cosh(at) * np.exp(log_density - log_density.max())
    mass /= mass.sum()

    center = shrink * (y - mu[:, None])
    sd = np.sqrt(shrink * se**2 + shrink**2 * v[:, None])

    def below(x: float, f: int) -> float:
        return float(mass @ special.ndtr((x - center[:, f]) / sd[:, f]))

    def quantile(level: float, f: int) -> float:
        low, high = (center[:, f] - 9 * sd[:, f]).min(), (center[:, f] + 9 * sd[:, f]).max()
        return float(optimize.brentq(lambda x: below(x, f) - level, low, high, xtol=1e-10))

    families = range(y.size)
    # Given mu: independent departures, all within delta with the product of the probabilities.
    z, step = np.linspace(-8, 8, MU_NODES, retstep=True)
    normal = step * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    within = np.ones((tau.size, z.size))
    for f in families:
        mean = shrink[:, f, None] * (y[f] - mu[:, None] - np.sqrt(v)[:, None] * z)
        spread = np.sqrt(shrink[:, f, None]) * se[f]
        within *= special.ndtr((delta - mean) / spread) - special.ndtr((-delta - mean) / spread)
    beyond = [1 - below(delta, f) + below(-delta, f) for f in families]
    return Departures(
        mean=mass @ center,
        low=np.array([quantile(alpha / 2, f) for f in families]),
        high=np.array([quantile(1 - alpha / 2, f) for f in families]),
        p_beyond=np.clip(beyond, 0.0, 1.0),
        p_any=min(max(1 - float(mass @ within @ normal), 0.0), 1.0),
        mu=float(mass @ mu),
        tau=float(mass @ tau),
    )
