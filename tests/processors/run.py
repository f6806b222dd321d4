"""Run the tests that depend on a processor's arithmetic as other processors would.

    python tests/processors/run.py [--only PART ...] [--list] [--write]

A machine has one processor, but its libraries can be told to use other instructions or more
threads, which changes the order of their sums and so their last digits. Each setting gets its own
pytest process, because libraries read their environment when they are loaded. --only runs the
settings whose names contain one of the parts; --write puts the table into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE.parents[1]
PAGE = HOME / "docs" / "reliability.md"
BEGIN, END = "<!-- begin processors -->", "<!-- end processors -->"
#: One run per entry. The first word of its comment is the library that reads the variable.
SETTINGS = (
    "",  # the processor as it is
    "ATEN_CPU_CAPABILITY=default",  # torch: its own loops
    "ATEN_CPU_CAPABILITY=avx2",
    "ONEDNN_MAX_CPU_ISA=SSE41",  # torch: oneDNN
    "ONEDNN_MAX_CPU_ISA=AVX2",
    "ONEDNN_MAX_CPU_ISA=AVX512_CORE",
    "MKL_CBWR=COMPATIBLE",  # torch: MKL, which multiplies its matrices on most processors
    "MKL_CBWR=AVX2",
    "OPENBLAS_CORETYPE=Nehalem",  # numpy and scipy: BLAS and LAPACK
    "OPENBLAS_CORETYPE=Haswell",
    "OPENBLAS_CORETYPE=SkylakeX",
    "NPY_DISABLE_CPU_FEATURES=AVX2 FMA3",  # numpy: its own loops
    "OMP_NUM_THREADS=2",  # all
    "OMP_NUM_THREADS=4",
    "SHAKEN_BITS=4",  # sitecustomize.py beside this file: torch's products are off by 16 units
)
#: If the processor lacks the instructions, the first changes nothing and the second crashes.
NEEDS_AVX512 = ("ONEDNN_MAX_CPU_ISA=AVX512_CORE", "OPENBLAS_CORETYPE=SkylakeX")


def has(instructions: str) -> bool:
    """Return whether the processor has some instructions; False without /proc."""
    try:
        return instructions in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def environment(setting: str) -> dict[str, str]:
    """Return the environment with this setting only."""
    names = {name.partition("=")[0] for name in SETTINGS if name}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    # Waiting threads must give way: there may be more of them than CPUs.
    made = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    if setting:
        name, _, value = setting.partition("=")
        made[name] = value
    if setting.startswith("SHAKEN"):
        path = [str(HERE), os.environ.get("PYTHONPATH", "")]
        made["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    return kept | made


def run(setting: str) -> tuple[str, float, list[str]]:
    """Run the tests under one setting; return pytest's last line, seconds, and the failures."""
    if setting in NEEDS_AVX512 and not has("avx512f"):
        return "not run: the processor has no AVX-512", 0.0, []
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "arithmetic",
        "--numprocesses",
        "2",
        "--dist",
        "loadfile",
        "-p",
        "no:cacheprovider",
    ]
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=HOME, env=environment(setting), capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or [""]
    said = re.sub(r"^=*\s*|\s+in [\d.]+s.*$", "", lines[-1])
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    if done.returncode and not failed:
        failed = [*lines[-20:], *done.stderr.strip().splitlines()[-20:]]
    return said, time.monotonic() - began, failed


def rows(chosen: list[str]) -> Iterator[tuple[str, bool]]:
    """Run the settings; yield each one's row of the table, and whether it passed."""
    yield "| setting | result | seconds |", True
    yield "|---|---|---:|", True
    for setting in chosen:
        said, seconds, failed = run(setting)
        name = f"`{setting}`" if setting else "as it is, one thread"
        yield f"| {name} | {said} | {f'{seconds:.0f}' if seconds else ''} |", not failed
        for line in failed:
            print(f"    {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Print the table; the exit status is 1 if a test failed under a setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], metavar="PART")
    parser.add_argument("--list", action="store_true", help="only name the settings")
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    options = parser.parse_args()
    chosen = [s for s in SETTINGS if any(part in s for part in options.only)]
    if options.list or not chosen:
        print("\n".join(SETTINGS[1:]))
        return 0 if options.list else 2
    wide = "with" if has("avx512f") else "without"
    kind = f"{platform.machine()} {wide} AVX-512, {os.cpu_count()} processors"
    print(f"Tests of arithmetic on {kind}", flush=True)
    table, good = [], True
    for row, passed in rows(chosen):
        print(row, flush=True)
        table.append(row)
        good = good and passed
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        text = f"{BEGIN}\n\nOn {kind}:\n\n" + "\n".join(table) + f"\n\n{END}"
        PAGE.write_text(before + text + rest.partition(END)[2], encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
