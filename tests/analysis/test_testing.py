"""The assertions for other people's test suites, and the marker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from analysis.planning.simulate import simulate_scores
from analysis.testing import assert_at_depth, assert_better, assert_hump, assert_invariant

HOME = Path(__file__).parents[2]


def test_they_fail_with_the_reason_and_a_table() -> None:
    flat = simulate_scores(shape="rising", families=(2, 2, 2), seed=1)
    with pytest.raises(
        AssertionError, match=r"no hump: .*monotone.*\n\n +estimate|no hump"
    ) as error:
        assert_hump(flat)
    assert "verdict" in str(error.value)
    with pytest.raises(AssertionError, match=r"no hump: m\d: "):
        assert_hump(flat, every=True)


def test_each_says_what_is_shown() -> None:
    design = {"families": (2, 2, 2), "methods": ("a", "b")}
    hump = simulate_scores(vertex=0.7, noise_sd=0.002, seed=2, **design)  # type: ignore[arg-type]
    assert_hump(hump, method="a", every=True)
    assert_at_depth(hump, 0.7)
    with pytest.raises(AssertionError, match=r"not at 0\.3: elsewhere|not at 0\.3: "):
        assert_at_depth(hump, 0.3)
    with pytest.raises(AssertionError, match="'a' is not shown to be better than 'b'"):
        assert_better(hump, "a", "b")
    one = hump.select(model="m1", method="a")
    assert_hump(one)


def test_undecided_fails_unless_it_is_allowed() -> None:
    few = simulate_scores(families=(1, 1), seed=1)
    with pytest.raises(AssertionError, match="not shown to be invariant: undecided"):
        assert_invariant(few, n_boot=20)
    assert_invariant(few, n_boot=20, undecided=True)


def test_the_example_runs_and_the_marker_selects(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts="]
    done = subprocess.run(
        [*command, "-m", "scores", "examples/pytest"], cwd=HOME, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    (tmp_path / "test_x.py").write_text("def test_x(scores):\n    pass\n")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["analysis.pytest_plugin"]\n')
    done = subprocess.run(
        [*command, f"--rootdir={tmp_path}", str(tmp_path)],
        cwd=HOME,
        capture_output=True,
        text=True,
    )
    assert 'needs @pytest.mark.scores("FILE")' in done.stdout
