"""Permutation tests: assign models to groups in all distinct ways, and flip signs of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import comb, factorial, prod

import numpy as np

from analysis.over_models.optimize import Codes
from study.arrays import Float64Array

#: Up to this many distinct assignments of models to families are enumerated.
MAX_EXACT = 20_000

#: Up to this many pairs, all sign flips are enumerated.
MAX_EXACT_PAIRS = 16
N_FLIPS = 20_000


def n_partitions(group: Codes) -> int:
    """Return the number of distinct ways to sort the models into groups of these sizes.

    Examples
    --------
    >>> n_partitions(np.array([0, 0, 1, 1, 2, 2, 3, 3, 4]))
    945
    """
    sizes = np.bincount(group)
    swaps = prod(factorial(int(k)) for k in np.bincount(sizes))
    return factorial(group.size) // prod(factorial(int(k)) for k in sizes) // swaps


def _partitions(sizes: list[int], free: list[int]) -> Iterator[list[tuple[int, ...]]]:
    """Yield the ways of sorting the members `free` into groups of the given sizes."""
    if not free:
        yield []
        return
    # The first member goes to one group of each distinct size, which keeps equal groups from
    # swapping.
    for size in sorted(set(sizes)):
        rest = sizes.copy()
        rest.remove(size)
        for index in range(comb(len(free) - 1, size - 1)):
            mates = _combination(free[1:], size - 1, index)
            remaining = [m for m in free[1:] if m not in mates]
            for tail in _partitions(rest, remaining):
                yield [(free[0], *mates), *tail]


def _combination(items: list[int], size: int, index: int) -> tuple[int, ...]:
    """Return the index-th combination of `size` of the items, in lexicographic order."""
    chosen: list[int] = []
    start = 0
    while size:
        here = comb(len(items) - start - 1, size - 1)
        if index < here:
            chosen.append(items[start])
            size -= 1
        else:
            index -= here
        start += 1
    return tuple(chosen)


def permutation_p(
    shape: Float64Array, group: Codes, n_random: int, rng: np.random.Generator
) -> float:
    """Permutation p of Pillai's trace of the models' shape coefficients between groups.

    Parameters
    ----------
    shape : ndarray, shape (n_models, n_coefficients)
    group : ndarray of int, shape (n_models,)
    n_random : int
        Number of random permutations if there are more than `MAX_EXACT` distinct ones.
    rng : Generator

    Returns
    -------
    float
        Exact if all permutations are enumerated, else (k + 1) / (n + 1).
    """
    centered = shape - shape.mean(axis=0)
    u, singular, _ = np.linalg.svd(centered, full_matrices=False)
    white = u[:, singular > 1e-9 * max(singular.max(), 1e-300)]
    exact = n_partitions(group) <= MAX_EXACT
    if exact:
        labels = _labels(tuple(group.tolist()))
    else:
        labels = rng.permuted(np.tile(group, (n_random, 1)), axis=1)
    observed = _pillai(white, group[None])[0]
    extreme = int((_pillai(white, labels) >= observed * (1 - 1e-9)).sum())
    return extreme / len(labels) if exact else (extreme + 1) / (n_random + 1)


@lru_cache(maxsize=8)
def _labels(group: tuple[int, ...]) -> Codes:
    """All distinct sortings into groups of the same sizes, shape (n_partitions, n_models)."""
    codes = np.array(group)
    sizes = [int(k) for k in np.bincount(codes)]
    rows = np.empty((n_partitions(codes), codes.size), dtype=np.int64)
    for row, sets in zip(rows, _partitions(sizes, list(range(codes.size))), strict=True):
        for label, members in enumerate(sets):
            row[list(members)] = label
    return rows


def _pillai(white: Float64Array, labels: Codes) -> Float64Array:
    """Sum over groups of n_g |mean_g|^2 of whitened rows, for each row of labels."""
    total = np.zeros(len(labels))
    for label in range(int(labels.max()) + 1):
        member = (labels == label).astype(np.float64)
        total += ((member @ white) ** 2).sum(axis=1) / member.sum(axis=1)
    return total


def flip_p(difference: Float64Array, rng: np.random.Generator) -> float:
    """Two-sided sign-flip p of the mean difference: exact up to 16 pairs, else (k + 1) / (n + 1).

    It is NaN if a difference is.

    Examples
    --------
    >>> flip_p(np.array([1.0, 2.0, 3.0, 1.5, 2.5]), np.random.default_rng(0))
    0.0625
    """
    if np.isnan(difference).any():
        return float("nan")
    n = difference.size
    observed = abs(difference.sum()) * (1 - 1e-12)
    if n <= MAX_EXACT_PAIRS:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return int((np.abs(signs @ difference) >= observed).sum()) / len(signs)
    # In parts, which keeps memory independent of the number of models.
    extreme, size = 1, max(1, 10**6 // n)
    for start in range(0, N_FLIPS, size):
        signs = rng.choice([-1.0, 1.0], size=(min(size, N_FLIPS - start), n))
        extreme += int((np.abs(signs @ difference) >= observed).sum())
    return extreme / (N_FLIPS + 1)
