"""The command-line options that both scripts share."""

from __future__ import annotations

import argparse

from study.home import command


def run_parser(program: str, story: str | None, results: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every run.

    Parameters
    ----------
    program : str
        The script, for instance ``extraction.py``; the wheel has a command instead.
    story : str or None
        The docstring of the script: a summary, then examples.
    results : str
        Default folder of the results.

    Returns
    -------
    ArgumentParser
    """
    summary, _, examples = (story or "").partition("\n\n")
    started = command(program)
    parser = argparse.ArgumentParser(
        prog=started.removeprefix("python "),
        description=summary,
        epilog=examples.replace(f"python {program}", started),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--study", default="demo", help="a name in data/studies, or a .toml file (default: demo)"
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda, mps, or balanced (spread over all GPUs; default: auto)",
    )
    parser.add_argument("--force", action="store_true", help="run finished units again")
    parser.add_argument(
        "--dry-run", action="store_true", help="list the units and estimate their cost, run none"
    )
    parser.add_argument(
        "--engine",
        default="local",
        choices=("local", "ray"),
        help="run the units on this machine, or on Ray (default: local)",
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="address of a Ray cluster, or auto (default: start one on this machine)",
    )
    parser.add_argument(
        "--cpus", type=int, default=1, help="processors per unit on Ray (default: 1)"
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="split each unit into N shards, parallel on Ray (default: large units only)",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help=f"folder or URL of the results (default: {results})"
    )
    parser.add_argument("--keep-going", action="store_true", help="continue after a model fails")
    loud = parser.add_mutually_exclusive_group()
    loud.add_argument("--quiet", action="store_true", help="print only errors")
    loud.add_argument("--verbose", action="store_true", help="also print details")
    return parser
