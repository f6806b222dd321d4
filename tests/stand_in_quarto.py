"""A stand-in for Quarto: accepts the options that Quarto documents, and records its calls.

It refuses unknown options and folders without a project, reads the project's environment file,
chooses its Python as Quarto does (QUARTO_PYTHON, then python3) and runs the project's pre-render
script, failing if that fails. It renders nothing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NoReturn

OPTIONS = Path(__file__).parent / "reference" / "quarto_options.toml"


def fail(message: str) -> NoReturn:
    sys.exit(f"ERROR: {message}")


def main(arguments: list[str]) -> None:
    if arguments == ["--version"]:
        print(os.environ.get("QUARTO_VERSION", "1.10.18"))
        return
    if arguments[:1] != ["render"]:
        fail(f"unknown command {arguments[:1]}")
    known = tomllib.loads(OPTIONS.read_text(encoding="utf-8"))
    inputs: list[str] = []
    parameters: dict[str, str] = {}
    to: str | None = None
    rest = arguments[1:]
    while rest:
        option = rest.pop(0)
        if not option.startswith("-"):
            inputs.append(option)
        elif option in known["valued"].split():
            if not rest:
                fail(f"{option} without a value")
            value = rest.pop(0)
            if option == "-P":
                if ":" not in value:
                    fail(f"-P {value}: not KEY:VALUE")
                parameters.update([value.split(":", 1)])
            elif option in ("-t", "--to"):
                to = value
        elif option not in known["alone"].split():
            fail(f"unknown option {option}")
    folder = Path(inputs[0] if inputs else ".").resolve()
    if len(inputs) > 1 or not (folder / "_quarto.yml").exists():
        fail(f"The specified directory ({inputs}) is not a Quarto project.")
    environment = dict(os.environ)
    local = folder / "_environment.local"
    for line in local.read_text(encoding="utf-8").splitlines() if local.exists() else []:
        name, _, value = line.partition("=")
        environment.setdefault(name, shlex.split(value)[0])
    python = environment.get("QUARTO_PYTHON") or "python3"
    before = re.search(r"pre-render: (\S+)", (folder / "_quarto.yml").read_text(encoding="utf-8"))
    if before and subprocess.call([python, before[1]], cwd=folder, env=environment):
        fail(f"{before[1]} failed")
    call = {"folder": str(folder), "parameters": parameters, "python": python, "to": to}
    Path(os.environ["QUARTO_CALLS"]).write_text(json.dumps(call), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
