"""Start the engine that runs the jobs: this machine, or Ray."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.jobs import Engine, Here
from study.home import requirements
from study.read import InputError
from study.write import Place


@contextmanager
def engine(args: argparse.Namespace, folder: Place, command: str) -> Iterator[Engine]:
    """Start the engine that the command line asks for, and stop it at the end.

    Parameters
    ----------
    args : Namespace
        Parsed by a `pipeline.options.run_parser`.
    folder : Path or UPath
        Folder of the results.
    command : str
        Command that does the same on this machine, for messages.

    Yields
    ------
    Engine

    Raises
    ------
    InputError
        If Ray is not installed, does not answer, or lacks the requested resources.
    """
    if args.engine == "local":
        if args.address:
            raise InputError(f"--address {args.address} goes with --engine ray")
        yield Here(args.device)
        return
    try:
        from pipeline.ray_engine import cluster
    except ModuleNotFoundError as error:
        raise InputError(
            f"--engine ray needs the package {error.name!r}: "
            f"pip install {requirements('cluster')}, or on this machine: {command}"
        ) from None
    with cluster(args.address, args.device, args.cpus, folder, command) as ray:
        yield ray
