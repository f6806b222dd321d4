"""`python -m analysis`: what a reader of a terminal, or a program, gets."""

import json
import shutil
from pathlib import Path

import pytest

from analysis.__main__ import main

DEMO = Path(__file__).parents[2] / "data" / "scores" / "demo"
STEERING = "Steering succeeds in 92% of scenarios"


def verdicts(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Return verdicts by claim."""
    assert main([*arguments, "--json"]) == 0
    return {row["claim"]: row["verdict"] for row in json.loads(capsys.readouterr().out)}


def test_the_trials_beside_the_scores_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdicts(capsys, str(DEMO))[STEERING] != "not testable"
    alone = tmp_path / "scores" / "demo"
    shutil.copytree(DEMO, alone, ignore=shutil.ignore_patterns("units", "stories.jsonl"))
    assert verdicts(capsys, str(alone))[STEERING] == "not testable"
    trials = str(DEMO.parents[1] / "steering" / "demo")
    assert verdicts(capsys, str(alone), "--trials", trials)[STEERING] != "not testable"


def test_a_study_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data/scores/none"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("analysis: ")
    assert shown.err.count("\n") == 1
