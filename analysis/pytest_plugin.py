"""A marker and a fixture for pytest: ``@pytest.mark.scores("results/*.json")``.

``pytest_plugins = ["analysis.pytest_plugin"]`` in a conftest.py turns it on. A test that has the
marker gets the scores of its source, read once, as the fixture `scores`; the marker's other
arguments are those of `read_scores`. ``pytest -m scores`` runs these tests alone.
"""

from __future__ import annotations

import pytest

from analysis.loading.scores import Scores, read_scores

_READ: dict[str, Scores] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "scores(source, **options): the source of the fixture `scores` (read_scores)"
    )


@pytest.fixture
def scores(request: pytest.FixtureRequest) -> Scores:
    """Return the scores of the source that the test's marker names.

    A path is relative to the folder from which pytest was started.
    """
    marker = request.node.get_closest_marker("scores")
    if marker is None or not marker.args:
        pytest.fail('the fixture scores needs @pytest.mark.scores("FILE")', pytrace=False)
    key = repr((marker.args, sorted(marker.kwargs.items())))
    if key not in _READ:
        _READ[key] = read_scores(*marker.args, **marker.kwargs)
    return _READ[key]
