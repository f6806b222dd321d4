"""Find the designs that could have produced a published Mann-Whitney p and effect size."""

from __future__ import annotations

from itertools import product
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from study.arrays import Float64Array
from study.read import InputError


def largest_d(n_a: int, n_b: int) -> float:
    """Return the least upper bound of |Cohen's d| for two samples with any overlap.

    Notes
    -----
    The bound is reached when one value of a and one of b meet at c, between the other values of a
    (all 0) and of b (all 1): any other arrangement adds variance. d then depends on c alone.

    Examples
    --------
    >>> round(largest_d(9, 9), 2)
    5.33
    """
    if min(n_a, n_b) < 1 or n_a + n_b < 3:
        raise InputError(f"no pooled SD for groups of {n_a} and {n_b}")
    if min(n_a, n_b) == 1:
        n = max(n_a, n_b)
        return float((n - 1) / np.sqrt(n))

    def against(c: float) -> float:
        apart = 1 - c / n_a - (1 - c) / n_b
        squares = c**2 * (n_a - 1) / n_a + (1 - c) ** 2 * (n_b - 1) / n_b
        return -apart / float(np.sqrt(squares / (n_a + n_b - 2)))

    found = optimize.minimize_scalar(
        against, bounds=(0, 1), method="bounded", options={"xatol": 1e-12}
    )
    return -float(found.fun)


def published_check(
    p: float = 0.007,
    d: float = -107.5,
    n_a: int = 9,
    n_b: int = 9,
    n_max: int = 20,
    digits: int = 3,
) -> pd.DataFrame:
    """List the designs that could have produced a published Mann-Whitney p and Cohen's d.

    Parameters
    ----------
    p, d : float
        The published values; p is assumed to be rounded to `digits` decimals.
    n_a, n_b : int
        The group sizes that the publication implies. They are always listed, whatever their p.
    n_max : int
        Largest group size to try.
    digits : int
        Decimals of the published p.

    Returns
    -------
    DataFrame
        One row per test (exact two-sided, exact one-sided, normal approximation with and without
        continuity correction), pair of group sizes (n_a <= n_b) and U that round to the published
        p: ``p`` before rounding; ``d_bound``, the largest absolute d possible with that overlap
        (infinite at U = 0); ``verdict`` on the published d (possible, impossible); and ``reason``.
        The rows of the implied sizes at U = 0 come last, with the verdict on the published p.

    Notes
    -----
    If the groups overlap at all, their sizes alone bound the absolute d (`largest_d`). A d beyond
    that bound means U = 0, and p then depends only on the sizes.

    Examples
    --------
    >>> found = published_check()
    >>> exact = found[(found["test"] == "exact") & (found["verdict"] == "possible")]
    >>> exact[["n_a", "n_b", "U"]].values.tolist()
    [[3, 10, 0]]
    """
    if not 0 < p < 1:
        raise InputError(f"p {p} is not between 0 and 1")
    rows = []
    for first, second in product(range(1, n_max + 1), repeat=2):
        if second < first or first + second < 3:
            continue
        for test, values in _mann_whitney_ps(first, second).items():
            for u in np.flatnonzero(np.round(values, digits) == round(p, digits)):
                rows.append(_origin(test, first, second, int(u), float(values[u]), d))
    for test, values in _mann_whitney_ps(n_a, n_b).items():
        value = float(values[0])
        agrees = round(value, digits) == round(p, digits)
        rows.append(
            {
                "test": test,
                "n_a": n_a,
                "n_b": n_b,
                "U": 0,
                "p": value,
                "d_bound": np.inf,
                "verdict": "possible" if agrees else "impossible",
                "reason": f"d = {d:g} needs U = 0, since any overlap limits |d| to "
                f"{largest_d(n_a, n_b):.2f}; p is then {value:.2g}, not {p:g}",
            }
        )
    return pd.DataFrame(rows)


def _origin(test: str, n_a: int, n_b: int, u: int, p: float, d: float) -> dict[str, Any]:
    bound = np.inf if u == 0 else largest_d(n_a, n_b)
    possible = abs(d) <= bound
    return {
        "test": test,
        "n_a": n_a,
        "n_b": n_b,
        "U": u,
        "p": p,
        "d_bound": bound,
        "verdict": "possible" if possible else "impossible",
        "reason": "without overlap, d has no bound"
        if u == 0
        else f"with any overlap |d| is at most {bound:.2f}",
    }


def _mann_whitney_ps(n_a: int, n_b: int) -> dict[str, Float64Array]:
    """Return Mann-Whitney p by test, for U from 0 to half of n_a n_b."""
    # The number of arrangements with each U: the Gaussian binomial coefficient, term by term.
    counts = np.zeros(n_a * n_b + 1)
    counts[0] = 1
    for i in range(1, n_a + 1):
        up = counts.copy()
        for k in range(n_b + i, counts.size):
            up[k] -= counts[k - n_b - i]
        for k in range(i, counts.size):
            up[k] += up[k - i]
        counts = up
    tail = np.cumsum(counts)[: n_a * n_b // 2 + 1] / comb(n_a + n_b, n_a)
    u = np.arange(tail.size)
    away, sd = n_a * n_b / 2 - u, np.sqrt(n_a * n_b * (n_a + n_b + 1) / 12)
    return {
        "exact": np.minimum(1.0, 2 * tail),
        "exact, one-sided": tail,
        "normal": 2 * stats.norm.sf(away / sd),
        "normal, corrected": 2 * stats.norm.sf(np.maximum(away - 0.5, 0) / sd),
    }
