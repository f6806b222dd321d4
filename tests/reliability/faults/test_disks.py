"""Full or read-only disks: one line says so, and finished work is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Mount = Callable[[str], Path]
COMMANDS = ("extraction", "steering")


def start(bench: Any, command: str, folder: Path, **how: Any) -> Any:
    return {"extraction": bench.extract, "steering": bench.steer}[command](folder, **how)


def whole(bench: Any, command: str) -> Path:
    return {"extraction": bench.scores, "steering": bench.trials}[command]


def refused(run: Any, reason: str) -> None:
    code = run.wait()
    assert code == 2, run.errors
    assert reason in run.last_line, run.errors
    assert "Traceback" not in run.errors


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_named_and_a_larger_one_goes_on(
    bench: Any, disk: Mount, command: str
) -> None:
    like = whole(bench, command)
    needed = sum(p.stat().st_size for p in like.rglob("*")) // 1024
    sizes = range(1, 12) if bench.long else (bench.chance.randrange(1, 11),)
    for tenths in sizes:
        place = disk(f"size={max(4, needed * tenths // 10)}k")
        folder = place / f"of-{tenths}"
        run = start(bench, command, folder)
        code = run.wait()
        bench.count(f"{command}: disk full")
        if code:
            assert code == 2, run.errors
            assert "No space left on device" in run.last_line, run.errors
            assert "Traceback" not in run.errors
            assert [p for p in folder.rglob(".*") if p.name != ".lock"] == []
        bench.check(folder, like)
        disk("size=64m")
        bench.finish(lambda f: start(bench, command, f), folder, like)
        shutil.rmtree(folder)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_may_not_grow_is_as_a_full_disk(
    bench: Any, tmp_path: Path, command: str
) -> None:
    folder = tmp_path / "limited"
    refused(start(bench, command, folder, faults=[("file_limit", 4096)]), "File too large")
    bench.count(f"{command}: file size limit")
    assert [p for p in folder.rglob(".*") if p.name != ".lock"] == []
    bench.check(folder, whole(bench, command))
    bench.finish(lambda f: start(bench, command, f), folder, whole(bench, command))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_read_only_is_named(bench: Any, disk: Mount, command: str) -> None:
    place = disk("size=64m")
    folder = place / "study"
    if bench.long:
        shutil.copytree(whole(bench, command), folder)
    disk("ro")
    refused(start(bench, command, folder), "Read-only file system")
    bench.count(f"{command}: read-only")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_named(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    refused(bench.extract(tmp_path / "closed" / "study"), "Permission denied")


@pytest.mark.parametrize("script", ["analysis", "analysis --json", "extraction.py"])
def test_standard_output_that_is_full_is_named(bench: Any, tmp_path: Path, script: str) -> None:
    if script == "extraction.py":
        run = bench.extract(tmp_path / "scores", out="/dev/full")
    else:
        run = bench.forks.start(*script.split(), bench.scores, out="/dev/full")
    refused(run, "No space left on device")
    bench.count(f"{script.split()[0]}: standard output full")
    if script == "extraction.py":
        bench.check(tmp_path / "scores", bench.scores)


def test_a_picture_on_a_disk_that_is_read_only(bench: Any, disk: Mount) -> None:
    picture = disk("ro") / "picture.png"
    refused(bench.forks.start("analysis", bench.scores, "--figure", picture), "Read-only file")


def test_weights_are_not_converted_in_a_home_that_is_closed(
    bench: Any, gguf_study: Path, tmp_path: Path
) -> None:
    closed = {"HOME": "/dev/null/home", "XDG_CACHE_HOME": ""}
    run = bench.extract(tmp_path / "scores", study=gguf_study, environment=closed)
    refused(run, "name another folder in XDG_CACHE_HOME")
    bench.count("conversion: home closed")


def test_weights_are_not_converted_onto_a_full_disk(
    bench: Any, disk: Mount, gguf_study: Path, tmp_path: Path
) -> None:
    for size in (4, 60, 200) if bench.long else (100,):
        place = disk(f"size={size}k")
        cache = {"XDG_CACHE_HOME": str(place)}
        run = bench.extract(tmp_path / "scores", study=gguf_study, environment=cache)
        refused(run, "XDG_CACHE_HOME")
        bench.count("conversion: disk full")
        assert [p for p in place.rglob("*") if p.is_file() and p.name != ".lock"] == []
    disk("size=64m")
    code, run = bench.done(bench.extract(tmp_path / "scores", study=gguf_study, environment=cache))
    assert code == 0, run.errors
