"""Assertions about scores by layer, for a test suite of your own.

Each assertion takes any source of `read_scores` and passes if the test shows what is asserted. It
fails, with the reason and a small table, if the test shows something else or nothing: a test that
cannot tell is not evidence. ``undecided=True`` lets an undecided test pass.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.loading.scores import as_scores
from analysis.over_models.invariance import invariance_test
from analysis.over_models.method_contrast import method_test
from analysis.profiles.localization import localization_test
from analysis.profiles.shape import u_shape_test

__all__ = ["assert_at_depth", "assert_better", "assert_hump", "assert_invariant"]


def assert_hump(
    scores: Any, *, every: bool = False, undecided: bool = False, **options: Any
) -> None:
    """Assert that separation rises and then falls with depth.

    Parameters
    ----------
    scores : Scores, frame or path
    every : bool
        Require a hump in every profile; by default, over models or in the only profile.
    undecided : bool
        Whether an undecided test passes.
    **options
        Options of `u_shape_test`: metric, method, alpha, higher_is_better.

    Raises
    ------
    AssertionError
        If another shape is shown, or none.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> assert_hump(simulate_scores(seed=1))
    >>> assert_hump(simulate_scores(shape="rising", seed=1))
    Traceback (most recent call last):
    ...
    AssertionError: no hump: ...
    """
    found = u_shape_test(as_scores(scores), **options)
    profiles = found["level"] == "profile"
    rows = found[profiles] if every or profiles.sum() == 1 else found[~profiles]
    _require(rows, "hump", "no hump", found, ("model", "method", "metric"), undecided)


def assert_at_depth(
    scores: Any, target: float, *, delta: float = 0.1, undecided: bool = False, **options: Any
) -> None:
    """Assert that the peak, pooled over models, is within `delta` of a depth.

    Parameters
    ----------
    scores : Scores, frame or path
    target, delta : float
        As shares of the depth.
    undecided : bool
        Whether an undecided test passes.
    **options
        Options of `localization_test`: metric, method, peak, alpha, seed.

    Raises
    ------
    AssertionError
        If the peak is shown to be elsewhere, or nothing is shown.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> assert_at_depth(simulate_scores(vertex=0.5, seed=1), 0.5)
    >>> assert_at_depth(simulate_scores(vertex=0.8, seed=1), 0.5)
    Traceback (most recent call last):
    ...
    AssertionError: not at 0.5: ...
    """
    found = localization_test(as_scores(scores), target=target, delta=delta, **options)
    _require(found, "at target", f"not at {target:g}", found, ("method", "metric"), undecided)


def assert_invariant(scores: Any, *, undecided: bool = False, **options: Any) -> None:
    """Assert that families share the curve: equivalence must be shown, not just no difference.

    Parameters
    ----------
    scores : Scores, frame or path
    undecided : bool
        Whether an undecided test passes.
    **options
        Options of `invariance_test`: metric, by, delta, n_boot, seed, alpha.

    Raises
    ------
    AssertionError
        If a difference is shown, or nothing.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> assert_invariant(simulate_scores(seed=1), undecided=True, n_boot=50)
    """
    found = invariance_test(as_scores(scores), **options)
    _require(found, "invariant", "not shown to be invariant", found, ("metric",), undecided)


def assert_better(scores: Any, a: str, b: str, *, undecided: bool = False, **options: Any) -> None:
    """Assert that method a separates better than method b.

    Parameters
    ----------
    scores : Scores, frame or path
    a, b : str
        Values of the column method.
    undecided : bool
        Whether an undecided test passes.
    **options
        Options of `method_test`: metric, value, alpha.

    Raises
    ------
    AssertionError
        If b is shown to be better, or nothing is shown.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(methods=("probe", "lens"), method_effect=-0.05, seed=1)
    >>> assert_better(study, "probe", "lens")
    """
    found = method_test(as_scores(scores), a=a, b=b, **options).head(1)
    _require(found, "a better", f"{a!r} is not shown to be better than {b!r}", found, (), undecided)


def _require(
    rows: pd.DataFrame,
    wanted: str,
    failure: str,
    found: pd.DataFrame,
    names: tuple[str, ...],
    undecided: bool,
) -> None:
    """Raise `AssertionError` unless every row has the verdict."""
    allowed = {wanted, "undecided"} if undecided else {wanted}
    bad = rows[~rows["verdict"].isin(allowed)]
    if bad.empty:
        return
    first = bad.iloc[0]
    varying = [n for n in names if n in found and len(found[n].unique()) > 1]
    shown = [*varying, *(c for c in ("estimate", "low", "high", "p", "verdict") if c in found)]
    table = found[shown].round(3).to_string(index=False, max_rows=20)
    who = f"{first['model']}: " if "model" in varying else ""
    raise AssertionError(f"{failure}: {who}{first['verdict']}: {first['reason']}\n\n{table}")
