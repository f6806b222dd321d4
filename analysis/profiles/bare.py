"""The error of a curve without replicates: correlated scatter about a curve of unknown form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.profiles.splines import natural_spline, spread_knots
from study.arrays import Float64Array

#: Correlations of neighboring layers over which the model is averaged.
RHO = np.append(np.linspace(0.0, 0.95, 20), [0.965, 0.98, 0.99, 0.995])
#: Knots of the mean where it is not a quadratic, and the number of points that it needs.
MEAN_KNOTS = 5
MIN_FLEXIBLE = 9
#: The prior of the correlation is (1 - rho) to minus this, by number of points.
PRIOR_POINTS = (9, 13, 25)
PRIOR = (0.6, 0.8, 1.1)
#: Zellner's g, in numbers of points: how much the shape may exceed the noise.
G = np.array([1.0, 10.0, 100.0, 1000.0])
#: Correlations and numbers of points of the table that scales the errors.
SCALE_RHO = (0.0, 0.2, 0.4, 0.6, 0.75, 0.9, 0.96, 0.99)
SCALE_POINTS = (5, 6, 7, 8, 9, 11, 13, 17, 21, 25, 33, 49, 81)
#: Factors that scale the errors, one row per number of points, computed by
#: `benchmarks/bare_reference.py`.
SCALE = (
    (0.66, 0.74, 0.78, 0.91, 0.91, 1.18, 1.14, 1.10),  # 5
    (0.59, 0.63, 0.81, 0.86, 0.87, 1.04, 1.06, 1.06),  # 6
    (0.60, 0.67, 0.75, 0.83, 0.95, 1.05, 1.07, 1.12),  # 7
    (0.61, 0.67, 0.75, 0.81, 0.93, 1.00, 1.08, 1.09),  # 8
    (0.63, 0.70, 0.82, 0.92, 1.00, 1.14, 1.21, 1.20),  # 9
    (0.63, 0.71, 0.78, 0.90, 1.01, 1.13, 1.17, 1.22),  # 11
    (0.63, 0.69, 0.77, 0.89, 0.98, 1.10, 1.14, 1.23),  # 13
    (0.64, 0.70, 0.79, 0.87, 0.97, 1.12, 1.17, 1.22),  # 17
    (0.69, 0.73, 0.77, 0.86, 0.98, 1.09, 1.19, 1.27),  # 21
    (0.71, 0.72, 0.78, 0.83, 0.91, 1.08, 1.20, 1.25),  # 25
    (0.74, 0.78, 0.84, 0.90, 0.93, 1.23, 1.30, 1.31),  # 33
    (0.79, 0.84, 0.87, 0.88, 0.93, 1.13, 1.32, 1.39),  # 49
    (0.85, 0.92, 0.95, 0.95, 0.91, 1.04, 1.31, 1.45),  # 81
)


@dataclass(frozen=True)
class Scatter:
    """AR(1) models of a bare curve's errors, weighted by how well they explain the curve.

    Attributes
    ----------
    phi : ndarray, shape (n_models, n_points - 1)
        Correlation of each point with the one before it.
    correlation : ndarray, shape (n_models, n_points, n_points)
    sigma : ndarray, shape (n_models,)
        Standard deviation of a point's error.
    df : ndarray, shape (n_models,)
        Degrees of freedom of sigma.
    weight : ndarray, shape (n_models,)
        Posterior probabilities.
    rho : ndarray, shape (n_models,)
        Correlation of points a typical step apart.
    """

    phi: Float64Array
    correlation: Float64Array
    sigma: Float64Array
    df: Float64Array
    weight: Float64Array
    rho: Float64Array

    def cov(self) -> Float64Array:
        """Return the expected covariance of the errors, shape (n_points, n_points)."""
        return np.asarray(np.tensordot(self.weight * self.sigma**2, self.correlation, axes=1))

    def draw(self, rng: np.random.Generator, n_draws: int) -> Float64Array:
        """Draw errors, shape (n_draws, n_points); models and their sigmas vary with them."""
        number = np.repeat(np.arange(len(self.weight)), rng.multinomial(n_draws, self.weight))
        df = self.df[number]
        z = rng.standard_normal((n_draws, self.phi.shape[1] + 1))
        for i, phi in enumerate(self.phi[number].T, 1):
            z[:, i] = phi * z[:, i - 1] + np.sqrt(1 - phi**2) * z[:, i]
        sigma = self.sigma[number] * np.sqrt(df / rng.chisquare(df))
        return np.asarray(z * sigma[:, None])


def mean_forms(depth: Float64Array) -> list[Float64Array]:
    """Return the designs of the mean, each of shape (n_points, n_columns)."""
    forms = [np.vander(depth, 3, increasing=True)]
    if len(depth) >= MIN_FLEXIBLE:
        forms.append(natural_spline(depth, spread_knots(depth, MEAN_KNOTS)))
    return forms


def scatter(depth: Float64Array, y: Float64Array) -> Scatter:
    r"""Return the AR(1) models of a curve's errors, weighted by how well they explain it.

    Parameters
    ----------
    depth : ndarray, shape (n_points,)
        Increasing; steps may differ.
    y : ndarray, shape (n_points,)

    Returns
    -------
    Scatter

    Notes
    -----
    Errors at depths s and t correlate by :math:`\rho^{|s - t| / h}`, h the median step: AR(1)
    where steps are equal, and a Markov process (Ornstein-Uhlenbeck) always, which makes whitening
    exact and cheap. The mean is a quadratic or a natural spline with five knots. A quadratic alone
    would count its misfit to a plateau or an early peak as noise; a spline alone would mistake
    noise for shape. With C the correlation matrix, k columns of the mean's design, residual and
    total sums of squares q and s (generalized), and Zellner's prior on all coefficients but the
    intercept, the weight of a model is

    .. math:: w \propto (1 - \rho)^{-a} |C|^{-1/2} (1' C^{-1} 1)^{-1/2}
              \sum_g (1 + g)^{(n - k) / 2} (s + g q)^{-(n - 1) / 2},

    with g from n to 1000 n: a single g would mistake shape for noise where a curve has little
    noise. From 25 points on, a is 1.1: the prior of the correlation is nearly flat in the logarithm
    of the distance over which errors decorrelate. With fewer points it is less, 0.6 at nine: such
    curves cannot show a correlation of 0.97, and a prior that favors it would find no hump in white
    noise. Ten to 30 points can hardly distinguish a correlation of 0.9 from 0.99; a single
    best value is too low and makes intervals too short.

    Not knowing the errors costs power, most at correlations below 0.9, where a hump in white noise
    and a drift without one look alike: of humps of 5 noise SD in 13 points, a third are found in
    white noise, and 45% at a correlation of 0.5. A Bayes factor that knows which shapes there are
    (`benchmarks/bare_bound.py`) finds 20% and 52%. `benchmarks/calibration.py` compares with the
    true errors and with the true correlation. Other priors shift this cost and do not remove it
    (`benchmarks/bare_prior.py`): one that strongly favors the quadratic finds more humps in the
    middle of 24 layers (48% instead of 33% at a correlation of 0.5, with no more false turns) and
    hardly any early or narrow ones.

    References
    ----------
    Liang, F. et al. (2008). Mixtures of g priors for Bayesian variable selection. JASA 103,
    410-423.
    Zellner, A. (1986). On assessing prior distributions and Bayesian regression analysis with
    g-prior distributions. In Bayesian inference and decision techniques, 233-243.

    Examples
    --------
    >>> depth = np.linspace(0, 1, 25)
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal(25)
    >>> cov = scatter(depth, 1 - (depth - 0.5) ** 2 + noise).cov()
    >>> change = np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])  # from a layer to the next
    >>> round(float(change), 2)
    0.01
    """
    n, steps = len(depth), np.diff(depth)
    relative = np.abs(np.subtract.outer(depth, depth)) / np.median(steps)
    phi = RHO[:, None] ** (steps / np.median(steps))
    log_c = np.log1p(-(phi**2)).sum(axis=1)
    one, z = (whiten(phi, x)[..., 0] for x in (np.ones((n, 1)), y[:, None]))
    length = (one**2).sum(axis=1)
    total = (z**2).sum(axis=1) - (one * z).sum(axis=1) ** 2 / length
    log, sigma, df = [], [], []
    for form in mean_forms(depth):
        k = form.shape[1]
        Q, _ = np.linalg.qr(whiten(phi, form))
        residual = z - (Q @ (Q.transpose(0, 2, 1) @ z[..., None]))[..., 0]
        rest = (residual**2).sum(axis=1)
        log.append(
            -0.5 * (log_c + np.log(length))
            + _log_fit(total, rest, n, k)
            + np.log(np.gradient(RHO))
            - np.interp(n, PRIOR_POINTS, PRIOR) * np.log1p(-RHO)
        )
        sigma.append(np.sqrt(rest / (n - k)))
        df.append(np.full(len(RHO), float(n - k)))
    weight = np.exp(np.concatenate(log) - np.max(log))
    times = len(log)
    return Scatter(
        phi=np.tile(phi, (times, 1)),
        correlation=np.tile(RHO[:, None, None] ** relative, (times, 1, 1)),
        sigma=np.concatenate(sigma),
        df=np.concatenate(df),
        weight=weight / weight.sum(),
        rho=np.tile(RHO, times),
    )


def _log_fit(total: Float64Array, rest: Float64Array, n: int, k: int) -> Float64Array:
    """Return the log-likelihood of a model without the determinants of the correlation."""
    g = G[:, None] * n
    return np.asarray(
        special.logsumexp(
            (n - k) / 2 * np.log1p(g) - (n - 1) / 2 * np.log(total + g * rest), axis=0
        )
    )


def small_sample_scale(n_points: int, models: Scatter) -> float:
    """Return the factor that corrects the errors' standard deviations in small samples.

    The factor comes from a table by number of points and is averaged over the models'
    correlations, because the posterior underestimates a correlation of 0.97 and overestimates 0.

    Parameters
    ----------
    n_points : int
    models : Scatter
    """
    of_rho = [np.interp(n_points, SCALE_POINTS, column) for column in zip(*SCALE, strict=True)]
    return float(np.interp(models.rho, SCALE_RHO, of_rho) @ models.weight)


def whiten(phi: Float64Array, x: Float64Array) -> Float64Array:
    """Turn AR(1) errors into independent ones of variance 1.

    Parameters
    ----------
    phi : ndarray, shape (n_models, n_points - 1)
    x : ndarray, shape (n_points, n_columns)

    Returns
    -------
    ndarray, shape (n_models, n_points, n_columns)
    """
    out = np.repeat(x[None], len(phi), axis=0)
    scale = np.sqrt(1 - phi**2)[..., None]
    out[:, 1:] = (x[None, 1:] - phi[..., None] * x[None, :-1]) / scale
    return out
