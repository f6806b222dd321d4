"""Who does the jobs of a run: this machine, or Ray."""

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
    """Start the engine that the command line asks for, and end it.

    Parameters
    ----------
    args : Namespace
        Of a `run_parser`.
    folder : Path or UPath
        Where the results go.
    command : str
        What does the same on this machine, for messages.

    Yields
    ------
    Engine

    Raises
    ------
    InputError
        If Ray is not installed, does not answer, or does not have what is asked for.
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


def run_parser(program: str, story: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every run: what to do, and who does it.

    Parameters
    ----------
    program : str
    story : str or None
        The script's docstring: a summary, then examples.

    Returns
    -------
    ArgumentParser
    """
    summary, _, examples = (story or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=program,
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--study", default="demo", help="a name in data/studies, or a .toml file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, or balanced")
    parser.add_argument("--force", action="store_true", help="do finished units again")
    parser.add_argument("--dry-run", action="store_true", help="list the units, do none")
    parser.add_argument("--engine", default="local", choices=("local", "ray"), help="who does it")
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="Ray's, or auto; by default one is started here"
    )
    parser.add_argument("--cpus", type=int, default=1, help="of each unit on Ray (default 1)")
    parser.add_argument(
        "--shards", type=int, metavar="N",
        help="cut each unit's texts into N runs, side by side on Ray (default: large units only)",
    )  # fmt: skip
    return parser
