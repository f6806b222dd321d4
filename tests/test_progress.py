"""The output of a run: lines in a file, a bar on a terminal, nothing with --quiet."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import progress as module
from pipeline.jobs import Here, Job
from pipeline.progress import Lines, OnTerminal, progress
from study.read import InputError
from study.terminal import Terminal

HOME = Path(__file__).parents[1]


def lines_of(text: str) -> list[str]:
    """Return the lines without their time of day, after checking that each has one."""
    lines = text.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines), text
    return [line[9:] for line in lines]


def test_a_file_gets_a_line_when_a_job_starts_and_ends() -> None:
    out = io.StringIO()

    def fails(loaded: object, report: object) -> None:
        raise InputError("no such [model]")

    jobs = [Job("one", 1, lambda loaded, report: report(1)), Job("two", 1, fails)]
    with progress(Terminal(file=out)) as display:
        failures = Here().run(jobs, display, keep_going=True)
    assert failures == ["two: no such [model]"]
    said = lines_of(out.getvalue())
    assert said[0] == "one: started (1 of 2)"
    assert said[1].startswith("one: done in 0 s, about ")
    assert said[2] == "two: started (2 of 2)"
    assert said[3].startswith("two: failed after 0 s: no such [model]")
    assert "\x1b" not in out.getvalue()


def test_a_job_that_reports_nothing_still_gets_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MINUTE", 0.05)
    out = io.StringIO()
    deadline = time.monotonic() + 600

    def slow(loaded: object, report: object) -> None:
        while out.getvalue().count("% of all after") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with progress(Terminal(file=out)) as display:
        Here().run([Job("slow", 1, slow)], display)
    assert lines_of(out.getvalue())[1].startswith("slow: 0% of all after 0 s")


def test_time_left_follows_the_rate_so_far() -> None:
    said: list[str] = []
    clock = iter([0.0, 0.0, 100.0, 200.0])
    lines = Lines(said.append, clock=lambda: next(clock))
    lines.start(400, 2)
    lines.begin("one")
    lines.at(100)
    lines.at(200)
    assert [line[9:] for line in said[1:]] == [
        "one: 25% of all after 1 min 40 s, about 5 min 0 s left",
        "one: 50% of all after 3 min 20 s, about 3 min 20 s left",
    ]


def test_quiet_says_nothing_and_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    with progress(Terminal(file=out, force_terminal=True), quiet=True) as display:
        Here().run([Job("one", 1, lambda *unused: None)], display)
    assert out.getvalue() == ""
    with progress(Terminal(file=out, force_terminal=True)) as display:
        Here().run([Job("[one]", 1, lambda *unused: None)], display)
    assert isinstance(display, OnTerminal)
    assert "[one]" in out.getvalue()


def test_details_come_when_they_are_asked_for() -> None:
    for verbose in (False, True):
        out = io.StringIO()
        with progress(Terminal(file=out), verbose=verbose) as display:
            display.note("kept from before")
        assert ("kept from before" in out.getvalue()) is verbose


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_output_that_is_not_utf_8_has_replacements(encoding: str) -> None:
    ask = "from study.interruption import listen; listen('a', 'b'); print('\\u22121\\u202f\\u2713')"
    told = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=HOME, env=told, capture_output=True, text=True, check=True
    )
    assert done.stdout == "-1 ?\n"


@pytest.mark.parametrize("switch", ["TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS"])
def test_in_a_file_libraries_show_no_bars(switch: str) -> None:
    ask = "from study.interruption import listen; listen('a', 'b'); import os"
    ask += f"; print(os.environ['{switch}'])"
    kept = {k: v for k, v in os.environ.items() if k != switch}
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=HOME, env=kept, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
