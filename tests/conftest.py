"""The one option of the suite: `--long` runs the reliability tests at length (`make fuzz`)."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --long."""
    parser.addoption("--long", action="store_true", help="many more faults and inputs")
