"""Sameness of whole curves, on truths that the vertex of a quadratic cannot see."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from analysis.over_models.invariance import decide_invariance
from analysis.over_models.sums import curve_sums
from analysis.over_models.whole_curve import welch_p, what_differs, whole_curve
from analysis.profiles.curves import PEAKS

pytestmark = pytest.mark.arithmetic

DEPTH = np.linspace(0, 1, 21)


def hump(peak=0.5, left=0.25, right=0.25, height=0.1):
    width = np.where(peak > DEPTH, left, right)
    return height * np.exp(-0.5 * ((DEPTH - peak) / width) ** 2)


HUMP = hump()
PLATEAU = 0.1 * (1 - np.exp(-DEPTH / 0.15))
DOUBLE = np.maximum(hump(0.25, 0.1, 0.1), hump(0.75, 0.1, 0.1))


def study(curves, per_family=6, noise=0.003, height_sd=0.02, level_sd=0.03, seed=0):
    """Make one family per curve, with models of different levels and heights."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(curves)), per_family)
    facts = []
    for g in group:
        height = 1 + height_sd * rng.standard_normal()
        values = height * curves[g] + level_sd * rng.standard_normal()
        facts.append((DEPTH, (values + noise * rng.standard_normal(21))[:, None, None]))
    names = tuple(f"m{i:02}" for i in range(group.size))
    return curve_sums(names, tuple("ABCDE"[: len(curves)]), group, facts)


def found(data):
    return decide_invariance(data, delta=0.1, n_boot=99, seed=0, alpha=0.05)


def test_one_curve_at_several_levels_is_invariant():
    row = found(study([HUMP, HUMP + 0.2, HUMP - 0.1]))
    assert row["verdict"] == "invariant"
    assert row["curve_upper"] < 0.1
    assert row["amplitude_low"] < 0 < row["amplitude_high"]


@pytest.mark.parametrize(
    "curves",
    [
        [PLATEAU, hump(0.685, 0.2, 0.2), PLATEAU],
        [hump(0.3, 0.15, 0.35), hump(0.45, 0.25, 0.2), hump(0.3, 0.15, 0.35)],
        [hump(0.5, 0.2, 0.2), DOUBLE, hump(0.5, 0.2, 0.2)],
        [0.6 * HUMP, HUMP, 1.4 * HUMP],
    ],
    ids=["plateau against hump", "skew", "double hump", "amplitude"],
)
@pytest.mark.parametrize("seed", range(3))
def test_curves_that_differ_are_never_invariant(curves, seed):
    assert found(study(curves, seed=seed))["verdict"] != "invariant"


@pytest.mark.parametrize("curve", [PLATEAU, 0.1 * np.exp(-DEPTH / 0.15)], ids=["plateau", "decay"])
def test_curves_without_a_peak_have_none_at_one_place(curve):
    row = found(study([curve] * 3))
    assert row["verdict"] == "undecided"
    assert row["p_peak"] > 0.05


def test_what_differs_is_named():
    assert what_differs(study([0.6 * HUMP, HUMP, 1.4 * HUMP]), 0.001) == ["amplitude"]
    place = what_differs(study([hump(0.4), hump(0.5), hump(0.6)]), 0.001)
    assert "place" in place
    levels = what_differs(study([HUMP, HUMP + 0.5, HUMP - 0.5]), 0.001)
    assert levels == ["level"]
    assert "shape" in what_differs(study([hump(0.5, 0.2, 0.2), DOUBLE]), 0.001)
    row = found(study([0.6 * HUMP, HUMP, 1.4 * HUMP]))
    assert (row["verdict"], row["differs"]) == ("not invariant", "amplitude")
    assert "differ between groups in amplitude" in row["reason"]


def test_departure_is_that_of_the_exact_curves():
    curves = [hump(0.45), hump(0.5), hump(0.55)]
    data = study(curves, noise=1e-9, height_sd=0.0, level_sd=0.0)
    row = whole_curve(data, 0.1, 0.25, 0.05)
    own = np.array([c - c.mean() for c in curves])
    mean = own.mean(axis=0)
    share = own @ mean / (mean @ mean)
    departure = (own / share[:, None] - mean) / np.ptp(mean)
    # The smoother and the finer grid of depths cause a small difference.
    assert_allclose(abs(row["curve_departure"]), np.abs(departure).max(), atol=0.02)
    assert_allclose(row["amplitude"], max(share / share.mean() - 1, key=abs), atol=0.01)


def test_a_bound_and_its_family_belong_together():
    """B departs more than A, but A may depart more: it has one model, the others six."""
    group = np.array([0, *[1] * 6, *[2] * 6])
    spread = np.array([0, *[-1, 1] * 6])
    turns = np.array([0.5, 0.52, 0.5])[group] + 0.04 * spread
    heights = np.array([1.0, 1.05, 1.0])[group] + 0.15 * spread
    facts = [(DEPTH, (h * hump(at))[:, None, None]) for at, h in zip(turns, heights, strict=True)]
    data = curve_sums(tuple(f"m{i:02}" for i in range(13)), ("A", "B", "C"), group, facts)
    row = whole_curve(data, 0.1, 0.25, 0.05)
    assert (row["curve_of"], row["amplitude_of"]) == ("B", "B")
    assert row["curve_upper_of"] == row["amplitude_upper_of"] == "A"
    assert row["amplitude_upper"] > row["amplitude_high"] > row["amplitude"] > 0


def test_a_departure_of_the_margin_is_called_the_same_at_most_at_the_level():
    # Amplitudes 0.75, 1 and 1.25 of the mean: 400 studies, 0.05 and three Monte Carlo errors.
    curves = [0.75 * HUMP, HUMP, 1.25 * HUMP]
    same = [
        whole_curve(study(curves, 3, 0.01, 0.1, seed=s), 0.1, 0.25, 0.05)["p_amplitude"] <= 0.05
        for s in range(400)
    ]
    assert np.mean(same) < 0.083


def test_welch_equals_r_and_holds_its_size_under_unequal_spread():
    # R: oneway.test(c(.1, .2, .3, .9, 1.4, 1.2) ~ factor(c(0, 0, 0, 1, 1, 1)))
    values = np.array([[0.1], [0.2], [0.3], [0.9], [1.4], [1.2]])
    assert_allclose(welch_p(values, np.repeat([0, 1], 3)), 0.01257204, rtol=1e-5)
    assert np.isnan(welch_p(values, np.array([0, 0, 1, 1, 2, 2])))
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], [8, 3])
    spread = np.array([0.01, 0.15])[group]
    small = [welch_p((spread * rng.standard_normal(11))[:, None], group) for _ in range(1000)]
    assert np.mean(np.array(small) <= 0.05) < 0.08


def broad(peak):
    """A broad top, slightly higher on one side, with arms at both ends."""
    top = 0.1 * np.minimum(1, np.minimum(DEPTH, 1 - DEPTH) / 0.2)
    return top + 0.004 * np.exp(-0.5 * ((DEPTH - peak) / 0.1) ** 2)


def test_the_peak_is_located_as_asked():
    # The whole curves and the vertices are alike, but one family is highest at 0.3.
    data = study([broad(0.3), broad(0.7), broad(0.7)], noise=0.0003, height_sd=0.002)
    rows = {peak: decide_invariance(data, 0.1, 99, 0, 0.05, peak=peak) for peak in PEAKS}
    assert rows["vertex"]["verdict"] == rows["center"]["verdict"] == "invariant"
    assert rows["extremum"]["verdict"] == "undecided"
    assert "the largest departure, -0.25" in rows["extremum"]["reason"]
    assert rows["extremum"]["p_curve"] < 0.01


def test_a_model_that_is_highest_at_an_end_forbids_sameness():
    data = study([HUMP, HUMP, HUMP], noise=0.001)
    odd = data.means[0] + 0.3 * DEPTH[:, None]
    row = found(replace(data, means=(odd, *data.means[1:])))
    assert row["n_no_peak"] == 1
    assert row["verdict"] == "undecided"
    assert "1 of 18 models is highest at an end of their range" in row["reason"]
