"""Turn on the marker `scores`."""

pytest_plugins = ["analysis.pytest_plugin"]
