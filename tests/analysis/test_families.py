"""Inference over families: against R's clubSandwich and metafor, and by simulation."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from analysis.families import (
    MIN_FAMILIES,
    family_means,
    mean_of,
    mean_over_families,
    regression_over_families,
    skew_corrected,
    too_few,
)
from analysis.profiles.pooling import hartung_knapp

pytestmark = pytest.mark.arithmetic

REFERENCE = Path(__file__).parents[1] / "reference"
R = json.loads((REFERENCE / "families.json").read_text())
SKEWED = json.loads((REFERENCE / "skewed_mean.json").read_text())
NINE = (2, 2, 2, 2, 1)


@pytest.mark.parametrize("case", SKEWED.values(), ids=SKEWED)
def test_skew_corrected_mean_equals_root_finding_in_r(case):
    found = skew_corrected(np.array(case["y"]), 0.05)
    assert_allclose(found, [case["low"], case["high"], case["p"]], rtol=1e-6)


@pytest.mark.parametrize("design", ["nine", "twelve", "uneven"])
@pytest.mark.parametrize("shared", ["none", "half", "most"])
def test_regression_equals_clubsandwich(design, shared):
    # R: coef_test(rma.mv(y, V, mods = ~ x), vcov = vcovCR(., cluster = family, type = "CR2"))
    case = R["regression"][design][shared]
    family, share = np.array(case["family"]), case["share"]
    n = family.size
    cov = np.diag(case["vi"]) + 0.01 * (
        (1 - share) * np.eye(n) + share * (family[:, None] == family)
    )
    x = np.column_stack([np.ones(n), case["x"]])
    found = regression_over_families(np.array(case["y"]), x, family, cov)
    assert_allclose([e.estimate for e in found], case["estimate"], rtol=1e-8)
    assert_allclose([e.se for e in found], case["se"], rtol=1e-8)
    assert_allclose([e.df for e in found], case["df"], rtol=1e-8)


def test_mean_over_families_equals_t_test():
    # R: t.test(tapply(y, family, mean))
    case = R["mean"]
    found = mean_over_families(np.array(case["y"]), case["family"])
    assert_allclose(
        [found.estimate, found.se, found.df, found.p()],
        [case["estimate"], case["se"], case["df"], case["p"]],
    )
    assert_allclose(found.ends(0.05), case["interval"])
    assert (found.n, found.n_families) == (9, 5)


def test_mean_over_families_is_cr2_where_families_weigh_the_same():
    y, family = np.array([0.2, 0.5, 0.4, 0.9, 0.7, 0.3]), [1, 1, 2, 2, 3, 3]
    whole = regression_over_families(y, np.ones((6, 1)), family, np.eye(6))[0]
    mean = mean_over_families(y, family)
    assert_allclose([mean.estimate, mean.se, mean.df], [whole.estimate, whole.se, whole.df])


@pytest.mark.parametrize(
    ("families", "between", "within"),
    [
        (families, *spread)
        for families in (NINE, (3, 3, 3, 3), (4, 4, 4), (5, 5, 5, 5), (10, 1, 1, 1))
        for spread in ((0.08, 0.02), (0.05, 0.02), (0.0, 0.05))
    ],
)
def test_interval_covers_whatever_families_share(families, between, within):
    # 2,000 studies: within five Monte Carlo errors (0.005 each) of at least 0.95.
    rng = np.random.default_rng(1)
    family = np.repeat(np.arange(len(families)), families)
    shared = between * rng.standard_normal((2000, len(families)))
    values = shared[:, family] + within * rng.standard_normal((2000, family.size))
    hits = [abs(e.estimate) <= e.ends(0.05)[1] - e.estimate for e in _each(values, family)]
    assert np.mean(hits) > 0.925


def _each(values, family):
    return [mean_over_families(row, family) for row in values]


@pytest.mark.parametrize("case", ["alike", "apart"])
def test_hartung_knapp_for_few_studies_equals_metafor(case):
    # R: rma(yi, sei, method = "REML", test = "adhoc"), after Rover, Knapp and Friede (2015)
    case = R["adhoc"][case]
    found = hartung_knapp(np.array(case["y"]), np.array(case["se"]), modified=True)
    for name, expected in (("estimate", "estimate"), ("se", "error"), ("low", "low")):
        assert_allclose(found[name], case[expected], rtol=1e-6)
    assert_allclose(found["high"], case["high"], rtol=1e-6)
    assert_allclose(found["tau"], case["tau"], rtol=1e-5, atol=1e-6)


def test_few_families_are_named():
    assert "one family" in too_few(1)
    assert "two families; at least three" in too_few(2)
    assert too_few(MIN_FAMILIES) == ""


def test_values_that_do_not_differ_have_no_error():
    alike = mean_over_families(np.full(6, 0.1) * (1 + 1e-15 * np.arange(6)), list("aabbcc"))
    assert alike.exact
    assert np.isnan(alike.p())
    assert mean_of(np.array([0.3])).exact


def test_family_means_keep_columns():
    found = family_means(np.array([[1.0, 2.0], [3.0, 4.0], [9.0, 8.0]]), ["x", "x", "y"])
    assert_allclose(found, [[2.0, 3.0], [9.0, 8.0]])


def test_one_degree_of_freedom_is_not_lost_to_rounding() -> None:
    """A slope over three families of one model has one df, whatever the rounding of its parts."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        design = np.column_stack([np.ones(3), rng.standard_normal(3)])
        slope = regression_over_families(rng.standard_normal(3), design, list("abc"), np.eye(3))[1]
        assert slope.df == 1
