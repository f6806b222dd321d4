"""The command line that both scripts share."""

from __future__ import annotations

import argparse

from study.home import command


def run_parser(program: str, story: str | None, results: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every run: what to do, and who does it.

    Parameters
    ----------
    program : str
        The script, for instance ``extraction.py``; the wheel has a command in its place.
    story : str or None
        The script's docstring: a summary, then examples.
    results : str
        Where they go if --out does not say.

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
        "--shards",
        type=int,
        metavar="N",
        help="cut each unit's texts into N runs, side by side on Ray (default: large units only)",
    )
    parser.add_argument("--out", metavar="FOLDER", help=f"or a URL, instead of {results}")
    parser.add_argument("--keep-going", action="store_true", help="go on after a model fails")
    loud = parser.add_mutually_exclusive_group()
    loud.add_argument("--quiet", action="store_true", help="print nothing but errors")
    loud.add_argument("--verbose", action="store_true", help="print details, too")
    return parser
