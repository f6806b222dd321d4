"""The one option of the suite: `--long` runs the reliability tests at length (`make fuzz`)."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported. Sums over more threads differ in their last digits, and a worker of Ray
# has as many threads as processors: one; side by side, processes of one thread are faster, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine makes no example wrong.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --long."""
    parser.addoption("--long", action="store_true", help="many more faults and inputs")
