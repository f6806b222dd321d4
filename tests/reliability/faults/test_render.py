"""Reports interrupted while rendering: the old one, the new one, or none."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

REPORT = """---
title: "A report"
format:
  html:
    embed-resources: true
---

```{{python}}
#| include: false
import os, time
from pathlib import Path
_ = Path("{pid}").write_text(str(os.getpid()))
time.sleep(0.5)
```

The answer is `{{python}} 6 * 7`.
"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report whose kernel prints its process id."""
    path = tmp_path / "report.qmd"
    path.write_text(REPORT.format(pid=tmp_path / "pid"), encoding="utf-8")
    return path


def render(bench: Any, report: Path, **how: Any) -> Any:
    return bench.forks.start("reports/render.py", report, "--output", report.parent / "out", **how)


def kernel_is_gone(report: Path) -> bool:
    """Wait for the kernel to notice; it checks for its parent every second."""
    number = report.with_name("pid")
    for _ in range(6000):
        if not number.exists() or not psutil.pid_exists(int(number.read_text())):
            return True
        time.sleep(0.1)
    return False


def test_a_rendering_that_is_killed_leaves_no_half_report(bench: Any, report: Path) -> None:
    began = time.monotonic()
    run = render(bench, report, faults=[("die_at_event", str(report.parent / "out"), 0, 0)])
    assert run.wait() == 0, run.errors
    seconds = time.monotonic() - began
    page = report.parent / "out" / "report.html"
    whole = page.read_bytes()
    assert b"42" in whole
    events = int((report.parent / "out.events").read_text())
    faults = [[("die_at_event", str(page.parent), n + 1, 9)] for n in range(events)]
    faults += [[]] * 6
    for fault in faults if bench.long else [faults[1], []]:
        page.unlink(missing_ok=True)
        report.with_name("pid").unlink(missing_ok=True)
        run = render(bench, report, faults=fault)
        if fault:
            bench.check_exit(run, run.wait(), signal.SIGKILL, "render")
        else:
            bench.break_off(run, seconds, "render")
        assert not page.exists() or page.read_bytes() == whole
        assert kernel_is_gone(report)
    code, run = bench.done(render(bench, report))
    assert code == 0, run.errors
    assert page.read_bytes() == whole
    assert [p.name for p in page.parent.iterdir() if p.name[0] != "."] == ["report.html"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_kernel_runs_leaves_a_clear_last_line(
    bench: Any, report: Path, number: signal.Signals
) -> None:
    if not bench.long and number != signal.SIGINT:
        pytest.skip("in the long version")
    report.write_text(report.read_text().replace("sleep(0.5)", "sleep(600)"))
    run = render(bench, report)
    until = time.monotonic() + 600
    while not report.with_name("pid").exists() and time.monotonic() < until:
        time.sleep(0.05)
    run.send(number)
    bench.check_exit(run, run.wait(), number, "render")
    assert kernel_is_gone(report)
    assert not (report.parent / "out").exists()


def test_a_home_that_is_closed_does_not_matter(bench: Any, report: Path) -> None:
    run = render(bench, report, environment={"HOME": "/dev/null/home"})
    assert run.wait() == 0, run.errors
    assert "The answer is 42" in (report.parent / "out" / "report.html").read_text("utf-8")


def test_a_disk_that_is_full_or_read_only_is_named(bench: Any, report: Path, disk: Any) -> None:
    place = disk("size=4k")
    (place / "filler").write_bytes(bytes(4096))
    for reason in ("No space left", "Read-only"):
        run = bench.forks.start("reports/render.py", report, "--output", place)
        assert run.wait() == 2, run.errors
        bench.count(f"render: {reason}")
        assert reason in run.last_line, run.errors
        assert "Traceback" not in run.errors
        assert [p.name for p in place.iterdir()] == ["filler"]
        disk("ro")
