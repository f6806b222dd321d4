"""The suite's only option: `--long` runs the long form of the reliability tests (`make fuzz`)."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Set before torch is imported. Sums over several threads differ in their last digits, and a Ray
# worker has one thread per CPU, here one. Parallel processes of one thread are also faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A slow example on a busy machine is not a failure.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --long."""
    parser.addoption("--long", action="store_true", help="many more faults and inputs")
