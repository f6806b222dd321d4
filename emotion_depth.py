"""The command that the wheel installs: extraction, steering and the verdicts.

    emotion-depth extract --study my.toml     like python extraction.py in a checkout
    emotion-depth steer --study my.toml       like python steering.py
    emotion-depth analyze data/scores/demo    like python -m analysis

Results go to data/scores and data/steering in the working folder. Add --help to a subcommand for
more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from study.home import requirements
from study.interruption import listen

GOES_ON = "finished units are kept; run the same command again to continue"
#: Per subcommand: the module whose `main` it calls, what a stopped run leaves, and the extra that
#: it needs.
COMMANDS = {
    "extract": ("extraction", GOES_ON, "extract"),
    "steer": ("steering", GOES_ON, "extract"),
    "analyze": ("analysis.__main__", "nothing is changed, give the same command again", ""),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program that the first argument names with the rest; return its exit code."""
    summary, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="emotion-depth",
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version("emotion-depth"))
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its options")
    given = parser.parse_args(arguments)
    module, kept, extra = COMMANDS[given.command]
    name = f"emotion-depth {given.command}"
    listen(name, kept)
    try:
        program = import_module(module)
    except ModuleNotFoundError as error:
        if not extra:
            raise
        needed = f"pip install {requirements(extra)}"
        print(f"{name}: needs the package {error.name!r}: {needed}", file=sys.stderr)
        return 2
    code: int = program.main(given.rest)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
