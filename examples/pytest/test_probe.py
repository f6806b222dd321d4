"""What a paper says of its probes, as tests: they fail when the numbers stop saying it.

Run them from the project's folder: python -m pytest examples/pytest
"""

import pytest

from analysis.testing import assert_at_depth, assert_hump, assert_invariant

pytestmark = pytest.mark.scores("tests/data/forms/comma.csv")


def test_separation_rises_and_falls_in_every_model(scores):
    assert_hump(scores, every=True)


def test_the_peak_is_past_the_middle(scores):
    assert_at_depth(scores, 0.6, delta=0.15)


def test_no_family_is_shown_to_differ(scores):
    """Six models are too few to show sameness, so undecided passes here."""
    assert_invariant(scores, undecided=True, n_boot=200)
