"""The error of a curve without replicates: correlated scatter about a curve of unknown form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from analysis.profiles.mean_forms import designs, humps, rises
from study.arrays import Float64Array

#: Correlations of neighboring layers over which the model is averaged.
RHO = np.append(np.linspace(0.0, 0.95, 20), [0.965, 0.98, 0.99, 0.995])
#: The prior of the correlation is (1 - rho**2) to the power of minus this.
EXPONENT = 0.5
#: Prior odds of the forms of the mean: a quadratic, a spline, humps, monotone shapes.
QUADRATIC, SPLINE, HUMPS, RISES = 1.0, 1 / 20, 1 / 2, 1.0
#: Depth grids whose whitened shapes are cached, 2 MB each at 81 points.
N_CACHED = 16
#: Zellner's g, in numbers of points: how much the shape may exceed the noise.
G = np.array([1.0, 10.0, 100.0, 1000.0])
#: Correlations and numbers of points of the table that scales the errors.
SCALE_RHO = (0.0, 0.2, 0.4, 0.6, 0.75, 0.9, 0.96, 0.99)
SCALE_POINTS = (5, 6, 7, 8, 9, 11, 13, 17, 21, 25, 33, 49, 81)
#: Factors that scale the errors in the test of a turn, one row per number of points, computed by
#: `benchmarks/bare_reference.py`.
SCALE = (
    (0.75, 0.79, 0.85, 0.85, 0.85, 0.85, 0.85, 0.85),  # 5
    (0.21, 0.59, 0.93, 0.93, 0.93, 0.93, 0.94, 0.94),  # 6
    (0.22, 0.29, 0.60, 1.08, 1.23, 1.23, 1.23, 1.23),  # 7
    (0.21, 0.26, 0.57, 0.71, 1.36, 1.36, 1.36, 1.36),  # 8
    (0.21, 0.21, 0.43, 1.26, 1.30, 1.30, 1.30, 1.34),  # 9
    (0.23, 0.28, 0.41, 0.75, 1.45, 1.64, 1.64, 1.64),  # 11
    (0.27, 0.37, 0.46, 0.82, 1.17, 1.82, 1.82, 1.82),  # 13
    (0.52, 0.52, 0.52, 0.82, 1.06, 1.86, 1.86, 1.86),  # 17
    (0.64, 0.64, 0.64, 0.64, 1.24, 1.89, 1.89, 1.95),  # 21
    (0.69, 0.69, 0.69, 0.71, 0.88, 1.85, 1.85, 1.85),  # 25
    (0.77, 0.77, 0.77, 0.77, 0.80, 1.25, 2.54, 2.55),  # 33
    (0.78, 0.88, 0.88, 0.88, 0.88, 1.09, 1.81, 1.81),  # 49
    (0.94, 0.94, 0.94, 0.94, 0.94, 0.94, 1.74, 2.08),  # 81
)
#: The same for the test that both halves of the depth go the same way.
HALVES_SCALE = (
    (0.11, 0.11, 0.43, 0.43, 0.57, 0.77, 0.77, 0.77),  # 5
    (0.18, 0.24, 0.43, 0.50, 0.61, 0.66, 0.66, 0.66),  # 6
    (0.09, 0.14, 0.28, 0.31, 0.70, 0.95, 0.95, 0.95),  # 7
    (0.23, 0.28, 0.29, 0.42, 0.62, 0.86, 0.86, 1.18),  # 8
    (0.12, 0.19, 0.26, 0.43, 0.64, 1.23, 1.23, 1.49),  # 9
    (0.25, 0.26, 0.26, 0.52, 0.52, 1.25, 1.50, 1.50),  # 11
    (0.31, 0.31, 0.31, 0.53, 0.53, 1.38, 1.38, 1.65),  # 13
    (0.33, 0.46, 0.46, 0.46, 0.63, 1.24, 1.80, 1.80),  # 17
    (0.48, 0.49, 0.49, 0.49, 0.69, 1.04, 1.95, 1.99),  # 21
    (0.53, 0.53, 0.53, 0.53, 0.53, 0.95, 1.77, 1.77),  # 25
    (0.64, 0.64, 0.64, 0.64, 0.64, 0.64, 2.36, 2.36),  # 33
    (0.79, 0.79, 0.79, 0.79, 0.79, 0.79, 1.41, 2.59),  # 49
    (0.81, 0.81, 0.81, 0.81, 0.81, 0.81, 0.81, 4.79),  # 81
)
#: The scale of halves is averaged with the correlations' probabilities to this power. With few
#: points, these are spread so wide that white noise would never be recognized.
HALVES_SHARPNESS = 2.0


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
    Errors at depths s and t correlate by :math:`\rho^{|s - t| / h}`, h the median step: AR(1) where
    steps are equal, and a Markov process (Ornstein-Uhlenbeck) always, which makes whitening exact
    and cheap. The mean takes one of four forms: a quadratic, a natural spline with five knots, one
    of 81 Gaussian humps, or one of 38 monotone shapes (`mean_forms`). A quadratic alone would count
    its misfit to a plateau or an early peak as noise; a spline alone would mistake noise for shape.
    With humps of nine places and three widths, early and narrow peaks are found too, in few layers
    less often than those in the middle. With C the correlation matrix, k columns of the mean's
    design, residual and total sums of squares q and s (generalized), and Zellner's prior on all
    coefficients but the intercept, the weight of a model is

    .. math:: w \propto o (1 - \rho^2)^{-1/2} |C|^{-1/2} (1' C^{-1} 1)^{-1/2}
              \sum_g (1 + g)^{(n - k) / 2} (s + g q)^{-(n - 1) / 2},

    with g from n to 1000 n: a single g would mistake shape for noise where a curve has little
    noise. A shape of humps or of monotone curves has k = 2, its level and its height. Each shape
    has the same share of its form's odds o, and its models become one, with the expected variance.
    The odds are 1 for the quadratic, for all humps together 1/2, for all monotone shapes 1, and
    1/20 for the spline. The prior of the correlation is the reference prior of AR(1) (Berger and
    Yang 1994). Ten to 30 points can hardly distinguish a correlation of 0.9 from 0.99; a single
    best value is too low and makes intervals too short.

    Not knowing the errors costs power, most at correlations below 0.9 and in few layers, where a
    hump in white noise and a drift without one look alike. `benchmarks/calibration.py` compares
    with the true errors and with the true correlation, `benchmarks/bare_prior.py` with other
    priors, and `benchmarks/bare_bound.py` with what any test can find. Noise of two time scales,
    such as a drift with white noise on it, is not AR(1): the more layers there are, the more of
    such flat curves are said to turn (`bare_prior.csv`).

    References
    ----------
    Berger, J. O. and Yang, R.-Y. (1994). Noninformative priors and Bayesian testing for the AR(1)
    model. Econometric Theory 10, 461-482.
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
    depth = np.ascontiguousarray(depth, dtype=np.float64)
    y = y - y.mean()  # sums of squares of large scores would lose the digits of the noise
    n, steps = len(depth), np.diff(depth)
    relative = np.abs(np.subtract.outer(depth, depth)) / np.median(steps)
    phi = correlations(depth)
    one, z = (whiten(phi, x)[..., 0] for x in (np.ones((n, 1)), y[:, None]))
    length = (one**2).sum(axis=1)
    total = (z**2).sum(axis=1) - (one * z).sum(axis=1) ** 2 / length
    log, variance, df = [], [], []
    for form, odds in zip(designs(depth), (QUADRATIC, SPLINE), strict=False):
        k = form.shape[1]
        Q, _ = np.linalg.qr(whiten(phi, form))
        residual = z - (Q @ (Q.transpose(0, 2, 1) @ z[..., None]))[..., 0]
        rest = (residual**2).sum(axis=1)
        log.append(_log_fit(total, rest, n, k) + np.log(odds))
        variance.append(rest / (n - k))
        df.append(np.full(len(RHO), float(n - k)))
    for directions, odds in zip(_directions(depth.tobytes()), (HUMPS, RISES), strict=True):
        height = (directions @ z[..., None])[..., 0]
        rest = np.maximum(total[:, None] - height**2, 1e-12 * total[:, None])
        fit = _log_fit(total[:, None], rest, n, 2)
        log.append(special.logsumexp(fit, axis=1) + np.log(odds / fit.shape[1]))
        variance.append((special.softmax(fit, axis=1) * rest).sum(axis=1) / (n - 2))
        df.append(np.full(len(RHO), n - 2.0))
    log_c = np.log1p(-(phi**2)).sum(axis=1)
    log_weight = np.array(log) + prior() - 0.5 * (log_c + np.log(length))
    times = len(log)
    return Scatter(
        phi=np.tile(phi, (times, 1)),
        correlation=np.tile(RHO[:, None, None] ** relative, (times, 1, 1)),
        sigma=np.sqrt(np.concatenate(variance)),
        df=np.concatenate(df),
        weight=special.softmax(log_weight.ravel()),
        rho=np.tile(RHO, times),
    )


def prior(exponent: float = EXPONENT) -> Float64Array:
    """Return the log prior of the correlations `RHO`: (1 - rho**2) to the power of -exponent."""
    return np.asarray(np.log(np.gradient(RHO)) - exponent * np.log1p(-(RHO**2)))


def correlations(depth: Float64Array) -> Float64Array:
    """Return the correlation of each point with the one before it, (n_rho, n_points - 1)."""
    steps = np.diff(depth)
    return np.asarray(RHO[:, None] ** (steps / np.median(steps)))


@lru_cache(maxsize=N_CACHED)
def _directions(depth: bytes) -> list[Float64Array]:
    """Return the whitened directions of humps and of monotone shapes, orthogonal to the level.

    Each is of shape (n_rho, n_shapes, n_points).
    """
    points = np.frombuffer(depth)
    phi = correlations(points)
    one = whiten(phi, np.ones((len(points), 1))).transpose(0, 2, 1)
    found = []
    for shapes in (humps(points), rises(points)):
        x = whiten(phi, shapes.T).transpose(0, 2, 1)
        x = x - (x @ one.transpose(0, 2, 1)) / (one**2).sum(axis=2, keepdims=True) * one
        x = x / np.sqrt((x**2).sum(axis=2, keepdims=True))
        x.flags.writeable = False
        found.append(x)
    return found


def _log_fit(total: Float64Array, rest: Float64Array, n: int, k: int) -> Float64Array:
    """Return the log-likelihood of models without the determinants of the correlation."""
    fits = [(n - k) / 2 * np.log1p(g) - (n - 1) / 2 * np.log(total + g * rest) for g in G * n]
    return np.asarray(special.logsumexp(fits, axis=0))


def small_sample_scale(n_points: int, models: Scatter) -> float:
    """Return the factor of the errors' standard deviations in the test of a turn.

    The factor comes from a table by number of points, made for even steps of depth, and is
    averaged over the models' correlations, because the posterior underestimates a correlation of
    0.97 and overestimates 0.

    Parameters
    ----------
    n_points : int
    models : Scatter
    """
    return _scale(SCALE, n_points, models, sharpness=1.0)


def scale_of_halves(n_points: int, models: Scatter) -> float:
    """Return the factor of the errors' standard deviations in the test of both halves.

    It is mostly below the factor of a turn, because the noise of a curve seldom makes both halves
    go the same way.

    Parameters
    ----------
    n_points : int
    models : Scatter
    """
    return _scale(HALVES_SCALE, n_points, models, HALVES_SHARPNESS)


def _scale(
    table: tuple[tuple[float, ...], ...], n_points: int, models: Scatter, sharpness: float
) -> float:
    of_rho = [np.interp(n_points, SCALE_POINTS, column) for column in zip(*table, strict=True)]
    share = models.weight.reshape(-1, len(RHO)).sum(axis=0) ** sharpness
    return float(np.interp(RHO, SCALE_RHO, of_rho) @ share / share.sum())


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
