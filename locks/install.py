"""Install one part into .venv from its lists, or say in one line what is wrong and what to do.

    python3 locks/install.py base|extract|judges|report|render|dev|lint|fuzz

Every file is checked against the hashes in the lists before it is unpacked, and none is built from
source. torch is pinned by its version only: which build of it is right depends on the machine. For
Linux without a driver for an NVIDIA GPU, PyTorch's own index has one without CUDA, 2.5 GB smaller.
What pip has been told elsewhere holds: its configuration, PIP_ variables, proxies, credentials.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VENV = Path(os.environ.get("VENV", ".venv")).absolute()
PYTHON = VENV / "bin" / "python"

LOCKED = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement"]
TORCH: list[str | Path] = ["--constraint", ROOT / "constraints.txt", "torch==2.13.0"]
ITSELF: list[str | Path] = ["--no-deps", "--no-build-isolation", "--editable", ROOT]
#: What pip installs for each part: lists of locks/ or arguments, one after the other.
PARTS: dict[str, list[str | list[str | Path]]] = {
    "base": ["base.txt", ITSELF],
    "extract": ["extract.txt", TORCH, "models.txt"],
    "judges": ["judges.txt"],
    "report": ["report.txt"],
    "render": ["render.txt"],
    "dev": ["dev.txt"],
    "lint": ["lint.txt"],
    "fuzz": ["fuzz.txt"],
}
#: Of an NVIDIA GPU, or of Windows' beneath Linux.
DEVICES = ("/dev/nvidiactl", "/dev/dxg")
#: Builds of torch without CUDA.
WITHOUT_CUDA = "https://download.pytorch.org/whl/cpu"
#: Where pip would install to instead of .venv.
ELSEWHERE = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
#: What pip says, and what that means; the first that fits counts.
MEANINGS = [
    (r"No space left on device", "the disk is full"),
    (r"Permission denied|Read-only file system", "it cannot be written; use a folder of your own"),
    (
        r"Cannot connect to proxy|ProxyError|407 Proxy",
        "the proxy refuses; correct HTTPS_PROXY (a user and password go into its URL)",
    ),
    (
        # Not the number alone: the lines of pip's log begin with a time, in milliseconds.
        r"\b40[13] Client Error|[Cc]redentials",
        "the package index asks for credentials; put them into the URL in PIP_INDEX_URL "
        "or into ~/.netrc",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "the package index's certificate is not trusted; set PIP_CERT to your network's own",
    ),
    (
        r"DO NOT MATCH THE HASHES",
        "the package index has a file that is not the one in locks/; use another (PIP_INDEX_URL)",
    ),
    (
        r"Connection|connection|Temporary failure|timed out|Max retries|unreachable",
        "pip cannot reach the package index; connect to the network, or set PIP_INDEX_URL to a "
        "mirror or HTTPS_PROXY to a proxy",
    ),
    (
        r"No matching distribution found for (\S+)",
        "the package index has no {0} for this Python and machine; use another index "
        "(PIP_INDEX_URL) or Python (make PYTHON=python3.12 ...)",
    ),
]


class SetupError(Exception):
    """What keeps a part from being installed, in one line with the remedy."""


def make_environment() -> None:
    """Make .venv, unless it is there and has pip."""
    if PYTHON.exists() and run(PYTHON, "-c", "import pip").returncode == 0:
        return
    done = run(sys.executable, "-m", "venv", VENV)
    if done.returncode == 0:
        return
    said = done.stdout + done.stderr
    if re.search(r"ensurepip|No module named '?venv", said):
        raise SetupError(
            f"{sys.executable} has no venv; install it (Debian, Ubuntu: apt install python3-venv), "
            "or name another Python (make PYTHON=/path/to/python3 ...)"
        )
    raise SetupError(f"{VENV} cannot be made: {meaning(said)}")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it says."""
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def install(arguments: list[str | Path]) -> None:
    """Run pip install; its questions reach the user, its warnings only a log."""
    environment = {k: v for k, v in os.environ.items() if k not in ELSEWHERE} | {"PIP_USER": "0"}
    log = VENV / "pip.log"
    log.unlink(missing_ok=True)
    command: list[str | Path] = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    command += ["--log", log] if sys.stdin and sys.stdin.isatty() else ["--log", log, "--no-input"]
    done = subprocess.run(
        command + arguments,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        # Why a page could not be had is in the log alone.
        pages = [line for line in log.read_text(errors="replace").splitlines() if "URL" in line]
        said = "\n".join([*pages, done.stderr])
        raise SetupError(f"{meaning(said)} (all of what pip said: {log})")


def build_of_torch() -> list[str | Path]:
    """Return where pip looks for torch: also where there is no CUDA, if it is of no use here.

    A user who has told pip where to look, in whatever way, is taken at that word.
    """
    driver = shutil.which("nvidia-smi") or any(map(os.path.exists, DEVICES))
    told = run(PYTHON, "-m", "pip", "config", "list").stdout
    if sys.platform != "linux" or driver or re.search(r"(index-url|find-links|no-index)=", told):
        return TORCH
    print(
        "setup: no NVIDIA driver here, so torch without CUDA; for machines with a GPU: "
        "PIP_INDEX_URL=https://pypi.org/simple make ...",
        file=sys.stderr,
    )
    return ["--extra-index-url", WITHOUT_CUDA, *TORCH]


def meaning(said: str) -> str:
    """Return what a program's complaint means for whoever reads it."""
    for pattern, text in MEANINGS:
        found = re.search(pattern, said)
        if found:
            return text.format(*found.groups())
    lines = said.strip().splitlines()
    return lines[-1] if lines else "no reason given"


def tell_quarto() -> None:
    """Let Quarto find .venv without activation: it reads this file, and git does not."""
    target = ROOT / "reports" / "_environment.local"
    lines = target.read_text(encoding="utf-8").splitlines() if target.exists() else []
    kept = [line for line in lines if not line.startswith("QUARTO_PYTHON=")]
    quote = '"' if "'" in str(PYTHON) else "'"
    content = "\n".join([*kept, f"QUARTO_PYTHON={quote}{PYTHON}{quote}"]) + "\n"
    target.write_text(content, encoding="utf-8")


def main(parts: list[str]) -> int:
    """Install parts; 0, or 1 after one line that says what is wrong."""
    try:
        for part in parts:
            print(f"setup: {part}", file=sys.stderr)
            make_environment()
            for step in PARTS[part]:
                if step is TORCH:
                    install(build_of_torch())
                else:
                    install(step if isinstance(step, list) else [*LOCKED, HERE / step])
            if part == "report":
                tell_quarto()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
