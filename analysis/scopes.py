"""Two scopes of inference: models like these, and these models.

"Models like these" generalizes to other models: the families are the sample. "These models" takes
the models as fixed and generalizes to other topics: the topics are the sample. A claim about each
of several fixed models is an intersection-union test; a claim that some model is an exception has
a correction for the number of models.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from study.arrays import Float64Array
from study.read import InputError

Scope = Literal["models like these", "these models"]
LIKE_THESE: Scope = "models like these"
THESE: Scope = "these models"
SCOPES: tuple[Scope, ...] = (LIKE_THESE, THESE)
#: How a sentence names each scope.
WORDS: dict[Scope, str] = {
    LIKE_THESE: "in models like these",
    THESE: "in these models, over topics like these",
}


def scopes_of(scope: str | None) -> tuple[Scope, ...]:
    """Return the scopes to report; None takes both.

    Raises
    ------
    InputError
        If there is no such scope.

    Examples
    --------
    >>> scopes_of(None)
    ('models like these', 'these models')
    """
    if scope is None:
        return SCOPES
    found = tuple(each for each in SCOPES if each == scope)
    if not found:
        raise InputError(
            f"no scope {scope!r}; there are {', '.join(map(repr, SCOPES))}, or None for both"
        )
    return found


def every_p(p: Iterable[float]) -> float:
    """Return the p of an intersection-union test: that what each p shows holds every time.

    A missing p shows nothing.

    References
    ----------
    Berger, R. L. (1982). Multiparameter hypothesis testing and acceptance sampling. Technometrics
    24, 295-300.

    Examples
    --------
    >>> every_p([0.01, 0.04]), every_p([0.01, float("nan")])
    (0.04, 1.0)
    """
    return float(_shown(p).max(initial=0.0))


def some_p(p: Iterable[float]) -> float:
    """Return the p that what each p shows holds at least once: the smallest by Holm's method.

    Examples
    --------
    >>> some_p([0.01, 0.4]), some_p([0.8, float("nan")])
    (0.02, 1.0)
    """
    shown = _shown(p)
    return float(min(1.0, shown.size * shown.min(initial=1.0)))


def holm(p: Float64Array) -> Float64Array:
    """Correct p for their number by Holm's method.

    `statsmodels` also has it, but runs the garbage collector at every call (0.1 s).

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3)
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p)
    out = np.empty(len(p))
    times = np.arange(len(p), 0, -1)
    out[order] = np.maximum.accumulate(np.minimum(times * p[order], 1.0))
    return out


def _shown(p: Iterable[float]) -> Float64Array:
    return np.nan_to_num(np.array(list(p), dtype=np.float64), nan=1.0)
