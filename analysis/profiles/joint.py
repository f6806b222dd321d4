"""The errors of several profiles together, where the models are fixed and topics are the sample.

The replicates of a study draw the same topics for all of its profiles, so the errors of two models
are alike. A difference between models is then more certain than the models' own errors suggest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.families import Estimate, t_critical
from analysis.loading.scores import Profile
from analysis.profiles.uncertainty import Errors, fault, profile_errors
from study.arrays import Float64Array


@dataclass(frozen=True)
class Joint:
    """Several profiles with the errors of all of their points.

    Attributes
    ----------
    profiles : list of Profile
    errors : Errors
        Of the profiles' points, one profile after the other.
    """

    profiles: list[Profile]
    errors: Errors

    def blocks(self, values: Float64Array) -> list[Float64Array]:
        """Split an array's last axis, the points, by profile."""
        ends = np.cumsum([len(p.depth) for p in self.profiles])[:-1]
        return list(np.split(values, ends, axis=-1))

    def contrast(self, weights: Sequence[Float64Array]) -> tuple[Float64Array, Float64Array]:
        """Return the weights of all points and the contrasts' values.

        Parameters
        ----------
        weights : sequence of ndarray, shape (n_contrasts, n_points)
            One for each profile.
        """
        whole = np.concatenate(weights, axis=-1)
        return whole, whole @ np.concatenate([p.separation for p in self.profiles])


def joint(profiles: Sequence[Profile], seed: int = 0) -> Joint | str:
    """Return several profiles with their common errors, or say why one cannot be analyzed.

    Notes
    -----
    Replicates of a study are paired by their number. A user's own repetitions (folds, seeds,
    standard errors) and the draws of bare curves' errors say nothing about what two models share:
    such profiles have independent errors.
    """
    for profile in profiles:
        if why := fault(profile):
            return f"{profile.keys['model']}: {why}"
    first = profiles[0]
    copies = [p.replicates for p in profiles if p.replicates is not None and not p.repeated]
    if len(copies) == len(profiles):
        n = min(map(len, copies))
        whole = replace(
            first,
            depth=np.concatenate([p.depth for p in profiles]),
            separation=np.concatenate([p.separation for p in profiles]),
            replicates=np.hstack([copy[:n] for copy in copies]),
        )
        return Joint(list(profiles), profile_errors(whole, seed))
    each = [profile_errors(profile, seed) for profile in profiles]
    rng = np.random.default_rng(seed)
    n = min(len(errors.draws) for errors in each)
    draws = np.hstack([rng.permutation(errors.draws)[:n] for errors in each])
    size = [len(p.depth) for p in profiles]
    cov = np.zeros((sum(size), sum(size)))
    for errors, end, width in zip(each, np.cumsum(size), size, strict=True):
        cov[end - width : end, end - width : end] = errors.cov
    kinds = sorted({errors.kind for errors in each})
    joined = Errors(" and ".join(kinds), cov, min(errors.df for errors in each), draws)
    return Joint(list(profiles), joined)


def over_topics(value: float, copies: Float64Array, n_topics: int | None) -> Estimate:
    r"""Return an estimate whose error is that of its replicates, with Student's t.

    Parameters
    ----------
    value : float
    copies : ndarray, shape (n_replicates,)
        The estimate in each bootstrap replicate of the topics. Only their spread is used.
    n_topics : int or None
        T topics: one degree of freedom fewer, and the bootstrap understates the variance by
        (T - 1) / T.

    Examples
    --------
    >>> copies = np.random.default_rng(0).normal(scale=0.1, size=200)
    >>> found = over_topics(0.3, copies, 12)
    >>> round(found.se, 2), found.df
    (0.1, 11.0)
    """
    sd, df = float(copies.std(ddof=1)), copies.size - 1.0
    if n_topics is not None and n_topics > 1:
        sd, df = sd * (n_topics / (n_topics - 1)) ** 0.5, min(df, n_topics - 1.0)
    return Estimate(value, sd, df, 1, 0)


def from_draws(
    value: float, deviations: Float64Array, df: float, alpha: float, least: float = 0.0
) -> Estimate:
    """Return an estimate whose interval reaches as far as the draws of its error, on both sides.

    `Errors.draws` are widened to the quantiles of t, so that the interval of level 1 - alpha of
    the result is the wider half of their percentile interval, taken on both sides.

    Parameters
    ----------
    value : float
    deviations : ndarray, shape (n_draws,)
        Mean 0.
    df, alpha : float
    least : float
        The smallest standard error that the grid of the estimate allows.

    Examples
    --------
    >>> draws = np.random.default_rng(0).standard_t(11, size=4000)
    >>> low, high = from_draws(0.5, 0.1 * draws, 11, 0.05).ends(0.05)
    >>> round(low, 1), round(high, 1)
    (0.3, 0.7)
    """
    ordered, last = np.sort(deviations), len(deviations) - 1
    low = ordered[int(np.floor(last * (alpha / 2)))]
    high = ordered[int(np.ceil(last * (1 - alpha / 2)))]
    reach = float(max(-low, high))
    return Estimate(value, max(reach / t_critical(1 - alpha / 2, df), least), df, 1, 0)
