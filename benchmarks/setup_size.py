"""Measure the downloads of each role: the statistics, `make report`, `make paper`, `make test`.

    python benchmarks/setup_size.py            measure, from the lists in locks/
    python benchmarks/setup_size.py --write    also put the table into the README

The index reports the sizes of its files, so almost nothing is downloaded. Sizes are those of the
wheels for Python 3.11 on Linux, x86-64. Needs uv, which `make lock` installs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pandas as pd

HOME = Path(__file__).resolve().parent.parent
RESULTS = HOME / "benchmarks" / "results" / "setup_size.csv"
README = HOME / "README.md"
BEGIN = "<!-- set-up: written by benchmarks/setup_size.py -->\n"
END = "<!-- end of set-up -->\n"
PLATFORM = ["--python-platform", "x86_64-manylinux_2_28", "--python-version", "3.11"]
TORCH = "torch==2.13.0"
#: The lists that each target of the Makefile installs, and its build of torch.
ROLES = {
    "the statistics": ([], ""),
    "`make report`": (["base", "report"], ""),
    "`make report`, no Quarto": (["base", "report", "render"], ""),
    "`make paper`": (["base", "extract", "models", "report"], "cpu"),
    "`make paper`, no Quarto": (["base", "extract", "models", "report", "render"], "cpu"),
    "`make paper`, CUDA": (["base", "extract", "models", "report"], "cuda"),
    "`make test`": (["base", "extract", "models", "judges", "report", "render", "dev"], "cpu"),
}
#: The targets in the README.
SHOWN = ["the statistics", "`make report`", "`make paper`", "`make paper`, CUDA", "`make test`"]


def main() -> int:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into the README")
    write = parser.parse_args().write
    parts = {"": sizes(HOME / "pyproject.toml", "--constraint", HOME / "constraints.txt")}
    for name in sorted({name for names, _ in ROLES.values() for name in names}):
        parts[name] = sizes(HOME / "locks" / f"{name}.txt", "--no-deps")
    with tempfile.TemporaryDirectory() as folder:
        (asked := Path(folder, "torch.in")).write_text(TORCH, encoding="utf-8")
        torch = {"": {}, "cuda": sizes(asked), "cpu": {"torch": cpu_build()}}
    rows = []
    for role, (names, build) in ROLES.items():
        wheels = dict(torch[build])
        for name in names or [""]:
            wheels |= parts[name]
        megabytes = round(sum(wheels.values()) / 1e6)
        rows.append({"role": role, "packages": len(wheels), "download_mb": megabytes})
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    table.to_csv(RESULTS, index=False, lineterminator="\n")
    if write:
        page = README.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        README.write_text(f"{before}{BEGIN}\n{shown(table)}\n{END}{after}", encoding="utf-8")
    return 0


def sizes(source: Path, *options: str | Path) -> dict[str, int]:
    """Return the size of each package's wheel in bytes; the largest if several fit."""
    uv = shutil.which("uv") or str(HOME / ".venv" / "lock" / "bin" / "uv")
    if not os.path.exists(uv):
        sys.exit("setup_size.py: no uv here; pip install uv, or run make lock")
    environment = dict(os.environ)  # uv does not read pip's settings
    for theirs, ours in (("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("SSL_CERT_FILE", "PIP_CERT")):
        if ours in environment:
            environment[theirs] = environment[ours]
    command = [uv, "pip", "compile", source, *options, *PLATFORM, "--format", "pylock.toml"]
    command += ["--no-config", "--quiet"]  # the project's leaves torch out
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"setup_size.py: {source.name}: {done.stderr.strip()}")
    packages = tomllib.loads(done.stdout)["packages"]
    return {p["name"]: max(wheel["size"] for wheel in p["wheels"]) for p in packages}


def cpu_build() -> int:
    """Return the size of torch's wheel without CUDA, from its separate index."""
    index = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *index]
        subprocess.run([*command, "--dest", folder, TORCH], check=True)
        (wheel,) = Path(folder).iterdir()
        if "cpu" not in wheel.name:
            sys.exit(f"setup_size.py: {index[1]} did not answer; this needs torch without CUDA")
        return wheel.stat().st_size


def shown(table: pd.DataFrame) -> str:
    """Return the table as the README shows it."""
    lines = ["| for | packages | download |", "|---|---:|---:|"]
    rows = table.set_index("role")
    for role in SHOWN:
        row = rows.loc[role]
        lines.append(f"| {role} | {row['packages']} | {amount(row['download_mb'])} |")
    return "\n".join(lines) + "\n"


def amount(megabytes: float) -> str:
    """Return a size in the unit that suits it.

    Examples
    --------
    >>> amount(132), amount(3271)
    ('132 MB', '3.3 GB')
    """
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


if __name__ == "__main__":
    raise SystemExit(main())
