"""Run the coverage-guided fuzzing of the parsers in `atheris_targets.py`."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

TARGETS = Path(__file__).with_name("atheris_targets.py")


@pytest.mark.skipif(
    find_spec("atheris") is None,
    reason="atheris, which has no wheel for every system, is installed by `make fuzz` only",
)
@pytest.mark.parametrize(
    "target",
    [
        "study",
        "scenarios",
        "emotions.toml",
        "topics.toml",
        "prompts.toml",
        "passages.jsonl",
        "table",
        "run",
        "unit",
        "gguf",
    ],
)
def test_no_input_brings_a_parser_down(
    guard: Any, request: pytest.FixtureRequest, tmp_path: Path, target: str
) -> None:
    if not request.config.getoption("--long"):
        pytest.skip("in the long version")
    runs = 2000
    done = subprocess.run(
        [sys.executable, str(TARGETS), target, f"-runs={runs}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    counted = re.search(r"Done (\d+) runs", done.stderr)
    assert counted
    assert int(counted[1]) >= runs
    guard.counts[f"atheris, {target}"]["inputs"] += int(counted[1])
