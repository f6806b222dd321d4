"""Run simulations on the cores of this machine, or on a Ray cluster."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import joblib


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --jobs (or --workers) and --ray to a command line."""
    parser.add_argument(
        "--jobs", "--workers", type=int, default=-1, help="processes (default: all cores)"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster instead, for instance auto")


@contextmanager
def workers(given: argparse.Namespace) -> Iterator[None]:
    """Make `joblib.Parallel` within the block run where the command line says.

    Each study has its own seed, so the figures are the same wherever it runs.
    """
    if given.ray is None:
        with joblib.parallel_config(n_jobs=given.jobs):
            yield
        return
    import ray
    from ray.util.joblib import register_ray

    ray.init(address=given.ray)
    register_ray()
    try:
        with joblib.parallel_config("ray", n_jobs=-1):
            yield
    finally:
        ray.shutdown()
