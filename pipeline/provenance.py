"""Record what made a result: versions, commit, machine, command line."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from study.home import IS_CHECKOUT, ROOT

PACKAGES = (
    "emotion-depth",
    "torch",
    "transformers",
    "safetensors",
    "gguf",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
)


#: Facts of a unit that stand elsewhere than in the list of units.
BULKY = (
    "stories",
    "emotions",
    "topics",
    "neutral_topics",
    "rows",
    "certificate",
    "log_likelihoods",
)


def certificates(units: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the certificates of the models that units come from, each once.

    Parameters
    ----------
    units : iterable of mappings
        Facts of units.

    Returns
    -------
    list of dict
        model, weights, seed, precision, checks, seconds and written.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for facts in units:
        # Steering is of trained weights, and its facts do not say so.
        known = {"weights": "trained", "seed": 0, **facts}
        named = {k: known.get(k) for k in ("model", "weights", "seed", "precision")}
        if certificate := facts.get("certificate"):
            found.setdefault(tuple(named.values()), {**named, **certificate})
    return list(found.values())


def closest(certificate: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the check of a certificate that came closest to its limit."""
    compared = [check for check in certificate["checks"] if check["limit"] > 0]
    found: Mapping[str, Any] = max(compared, key=lambda check: check["value"] / check["limit"])
    return found


def provenance() -> dict[str, Any]:
    """Return the facts that every `run.json` contains.

    Returns
    -------
    dict
        versions, git_commit, machine, command and written.
    """
    import torch

    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = ""
    python = ["python"] if sys.argv[0].endswith(".py") else []  # not before the wheel's command
    return {
        "versions": versions,
        "git_commit": _commit(),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        },
        "command": [*python, Path(sys.argv[0]).name, *sys.argv[1:]],
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str:
    """Return a checkout's commit, marked if tracked files differ from it; or ""."""
    if not IS_CHECKOUT:  # a repository that contains the environment is not this project's
        return ""
    # The tables change during the run; they are not part of the code.
    code = [":/", ":(exclude,top)data/scores", ":(exclude,top)data/steering"]
    commands = (
        ["git", "rev-parse", "HEAD"],
        ["git", "status", "--porcelain", "-uno", "--", *code],
    )
    answers = []
    for command in commands:
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        if done.returncode:
            return ""
        answers.append(done.stdout.strip())
    return answers[0] + (" with changes" if answers[1] else "")
