"""Verdicts on a curve, from the p of its arms and of the evidence against them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import u_shape_test
from analysis.profiles.search import searched_p
from analysis.profiles.verdicts import Bends, Straight, Turn, critical, decide_shape

pytestmark = pytest.mark.arithmetic


def shape(
    hump: tuple[float, float] = (0.5, 0.5),
    trough: tuple[float, float] = (0.9, 0.9),
    valley: tuple[float, float] = (1.0, 0.0),
    straight: tuple[float, float] = (1.0, 1.0),
    moves: tuple[float, float] = (1.0, 0.1),
    highest: float = 0.5,
) -> tuple[str, str, str]:
    """Return the verdict for p of each arm, p and depth of a valley, p of monotone and plateau."""
    turns = {
        way: Turn(way, 0.4, p, np.array([1.0, 0.5]), np.array([0.1, 0.2]))
        for way, p in ((1, hump), (-1, trough))
    }
    bends = Bends(0.5, (0.25, 0.75), valley[0], valley[1], *moves)
    found = decide_shape(
        turns,
        {1: bends, -1: bends},
        Straight(1, *straight, 0.5),
        {1: highest, -1: highest},
        (0.0, 1.0),
        0.05,
    )
    return found.verdict, found.where, found.reason


def test_a_hump_needs_both_arms() -> None:
    assert shape(hump=(0.01, 0.04))[:2] == ("hump", "middle")
    assert shape(hump=(0.01, 0.04), highest=0.2)[:2] == ("hump", "early")
    assert shape(trough=(0.01, 0.04), highest=0.8)[:2] == ("trough", "late")
    assert shape(hump=(0.01, 0.05))[::2] == (
        "undecided",
        "separation rises up to 0.40; that it falls after it is not shown",
    )
    assert shape(hump=(0.3, 0.01))[::2] == (
        "undecided",
        "separation falls after 0.40; that it rises before it is not shown",
    )
    assert shape(hump=(0.2, 0.3), trough=(0.1, 0.1))[::2] == (
        "undecided",
        "neither arm of a trough is shown",
    )


def test_a_valley_makes_several_peaks_and_a_likely_one_leaves_it_open() -> None:
    arms = (0.01, 0.01)
    assert shape(hump=arms, valley=(0.01, 0.4))[0] == "several peaks"
    assert shape(hump=arms, valley=(0.2, 0.24))[0] == "hump"
    verdict, where, reason = shape(hump=arms, valley=(0.2, 0.26))
    assert (verdict, where) == ("undecided", "")
    assert reason.endswith(
        "a valley between peaks about 0.25 and 0.75 is neither shown nor excluded"
    )
    assert shape(hump=arms, trough=arms)[0] == "several peaks"


def test_what_goes_one_way_is_a_plateau_before_it_is_monotone() -> None:
    assert shape(straight=(0.01, 0.2))[0] == "monotone"
    assert shape(straight=(0.01, 0.01))[0] == "plateau"
    assert shape(straight=(0.05, 0.05))[0] == "undecided"
    # A curve that turns back halfway is not monotone.
    assert shape(straight=(0.01, 0.01), moves=(1.0, 0.5))[0] == "undecided"
    assert shape(hump=(0.01, 0.01), straight=(0.01, 0.01))[0] == "hump"


@pytest.mark.parametrize(("df", "length"), [(5.0, 0.0), (20.0, 1.5), (500.0, 3.0)])
def test_the_critical_value_has_the_p_that_was_asked_for(df: float, length: float) -> None:
    t = critical(df, length, 0.025)
    assert searched_p(np.array(t), df, length) == pytest.approx(0.025, rel=1e-4)


def test_the_searched_p_is_an_upper_bound_and_a_close_one() -> None:
    """The simulated tail of the largest t along a path is below the bound, and near it."""
    rng, n, df = np.random.default_rng(0), 12, 15
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    corr = np.exp(-0.5 * (lag / 3) ** 2) + 1e-9 * np.eye(n)
    z = rng.multivariate_normal(np.zeros(n), corr, size=40_000)
    largest = (z / np.sqrt(rng.chisquare(df, size=(40_000, 1)) / df)).max(axis=1)
    length = float(np.arccos(corr[0, 1]) * (n - 1))
    for t in (2.0, 2.5, 3.0):
        bound = float(searched_p(np.array(t), df, length))
        share = float((largest > t).mean())
        assert 0.75 * bound < share < bound + 4 * np.sqrt(bound / 40_000)


@pytest.mark.parametrize("n", [5, 6, 9])
def test_models_of_few_layers_have_a_row_over_them(n: int) -> None:
    """A line over models needs three layers of every model on each side."""
    depth, rng = np.linspace(0, 1, n), np.random.default_rng(0)
    table = pd.concat(
        [
            pd.DataFrame(
                {
                    "model": f"m{i}",
                    "family": f"f{i}",
                    "depth": depth,
                    "score": 1 - (depth - 0.5) ** 2 + 0.01 * rng.standard_normal(n),
                }
            )
            for i in range(4)
        ]
    )
    row = u_shape_test(table).iloc[-1]
    assert np.isfinite(row[["p", "estimate", "low", "high", "breakpoint"]].astype(float)).all()
    assert row["verdict"] == "hump"
