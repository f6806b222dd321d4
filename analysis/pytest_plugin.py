"""A marker and a fixture for pytest: ``@pytest.mark.scores("results/*.json")``.

To turn it on, put ``pytest_plugins = ["analysis.pytest_plugin"]`` in a conftest.py. In a test with
the marker, the fixture `scores` holds the scores of the marker's source, read once; the marker
takes the arguments of `read_scores`. ``pytest -m scores`` runs only these tests.
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
    """Return the scores of the source in the test's marker.

    A path is relative to the folder in which pytest was started.
    """
    marker = request.node.get_closest_marker("scores")
    if marker is None or not marker.args:
        pytest.fail('the fixture scores needs @pytest.mark.scores("FILE")', pytrace=False)
    key = repr((marker.args, sorted(marker.kwargs.items())))
    if key not in _READ:
        _READ[key] = read_scores(*marker.args, **marker.kwargs)
    return _READ[key]
