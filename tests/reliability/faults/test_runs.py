"""Interrupted runs: nothing half-written counts as complete, nothing finished is lost."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from draws import SAFE, measured

import extraction
import steering

COMMANDS = ("extraction", "steering")
CONTINUE = "finished units are kept; run the same command again to continue"
INTERRUPTED = {
    "extraction": f"extraction.py: interrupted; {CONTINUE}",
    "steering": f"steering.py: interrupted; {CONTINUE}",
    "analysis": "analysis: interrupted; nothing is changed, give the same command again",
}


def start(bench: Any, command: str, folder: Path, *options: object, **how: Any) -> Any:
    return {"extraction": bench.extract, "steering": bench.steer}[command](folder, *options, **how)


def whole(bench: Any, command: str) -> Path:
    return {"extraction": bench.scores, "steering": bench.trials}[command]


def test_no_token_of_the_study_is_near_another(bench: Any, tmp_path: Path) -> None:
    """Otherwise, runs in shards or in halved batches, compared below, could write other texts."""
    common = ["--study", str(bench.study), "--out"]
    with measured() as distances:
        assert extraction.main([*common, str(tmp_path / "scores")]) == 0
        assert steering.main([*common, str(tmp_path), "--scores", str(bench.scores)]) == 0
    assert min(distances) > SAFE


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_killed_at_any_moment_goes_on_where_it_was(
    bench: Any, tmp_path: Path, command: str
) -> None:
    for series in range(4 if bench.long else 1):
        folder = tmp_path / str(series)
        for _ in range(4 if bench.long else 2):
            run = start(bench, command, folder)
            code = bench.break_off(run, bench.seconds[command], command)
            bench.check(folder, whole(bench, command))
            if code == 0:
                break
        bench.finish(lambda f: start(bench, command, f), folder, whole(bench, command))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_in_shards_killed_at_any_change_of_a_file_goes_on_where_it_was(
    bench: Any, tmp_path: Path, command: str
) -> None:
    unbroken = tmp_path / "unbroken"
    counted = start(
        bench, command, unbroken, "--shards", 3, faults=[("die_at_event", str(unbroken), 0, 0)]
    )
    assert counted.wait() == 0, counted.errors
    bench.close(unbroken, whole(bench, command))
    events = int(Path(f"{unbroken}.events").read_text())
    for number in bench.chance.sample(range(1, events + 1), 30 if bench.long else 2):
        folder = tmp_path / f"broken-{number}"
        kind = signal.SIGKILL if number % 2 else signal.SIGTERM
        run = start(
            bench,
            command,
            folder,
            "--shards",
            3,
            faults=[("die_at_event", str(folder), number, int(kind))],
        )
        bench.check_exit(run, run.wait(), kind, f"{command}: shards")
        bench.check(folder, unbroken)
        bench.finish(lambda f: start(bench, command, f, "--shards", 3), folder, unbroken)
        assert not list(folder.glob("units/*-of-*"))
        shutil.rmtree(folder)


@pytest.mark.parametrize("command", COMMANDS)
def test_tables_that_are_written_again_are_the_old_or_the_new_ones(
    bench: Any, tmp_path: Path, command: str
) -> None:
    """After a kill at any change of a file, scores and facts come from the same run."""
    old = whole(bench, command)
    changes = {
        "extraction": ("replicates = 6", "replicates = 7"),
        "steering": ("sweep_strength = 0.5", "sweep_strength = 1.0"),
    }
    study = bench.changed(changes[command])
    new = tmp_path / "new"
    shutil.copytree(old, new)
    counted = start(bench, command, new, study=study, faults=[("die_at_event", str(new), 0, 0)])
    assert counted.wait() == 0, counted.errors
    events = int(Path(f"{new}.events").read_text())
    assert events > 8
    # The last dozen changes concern the tables.
    tried = (
        range(1, events + 1) if bench.long else bench.chance.sample(range(events - 12, events), 2)
    )
    for number in tried:
        folder = tmp_path / f"broken-{number}"
        shutil.copytree(old, folder)
        kind = signal.SIGKILL if number % 2 else signal.SIGTERM
        run = start(
            bench,
            command,
            folder,
            study=study,
            faults=[("die_at_event", str(folder), number, int(kind))],
        )
        bench.check_exit(run, run.wait(), kind, f"{command}: tables")
        bench.check(folder, old, new)
        bench.finish(lambda f: start(bench, command, f, study=study), folder, new)
        shutil.rmtree(folder)


@pytest.mark.parametrize("command", [*COMMANDS, "analysis"])
def test_ctrl_c_leaves_a_clear_last_line(bench: Any, tmp_path: Path, command: str) -> None:
    for number in range(3 if bench.long else 1):
        folder = tmp_path / str(number)
        if command == "analysis":
            run = bench.forks.start("analysis", bench.scores)
            seconds = 0.5
        else:
            run = start(bench, command, folder)
            seconds = bench.seconds[command] / 2
        code = bench.break_off(run, seconds, f"{command}: Ctrl-C", signal.SIGINT)
        assert code in (0, 130)
        if code == 130:
            assert run.last_line == INTERRUPTED[command]


@pytest.mark.parametrize("script", ["extraction.py", "steering.py", "reports/render.py"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_libraries_load_leaves_a_clear_last_line(
    bench: Any, script: str, number: signal.Signals
) -> None:
    """Each runs in a new interpreter, from the first line of the script.

    It prints every import on standard error, a pipe of one page. It can therefore be at most about
    60 modules ahead of its reader, of the more than 300 that it imports.
    """
    if not bench.long and (script, number) != ("extraction.py", signal.SIGINT):
        pytest.skip("in the long version")
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", script, "--help"],
        stderr=-1,
        stdout=-3,
        bufsize=0,
        pipesize=4096,
        cwd=Path(__file__).parents[3],
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith(b" study.interruption"):
            break
    for _ in range(bench.chance.randint(1, 200)):  # the first comes when the script listens
        process.stderr.readline()
    process.send_signal(number)
    rest = [line.decode() for line in process.stderr]
    bench.count(f"{script}: {number.name} while loading")
    assert process.wait() == 128 + number, rest[-5:]
    assert "Traceback" not in "".join(rest)
    assert ("interrupted; " if number == signal.SIGINT else "terminated; ") in rest[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_of_two_runs_at_once_the_second_refuses(bench: Any, tmp_path: Path, command: str) -> None:
    """The first pauses in its work until the second has ended, however slowly that starts."""
    folder = tmp_path / "shared"
    halt = ("die_at_event", str(folder), 4, int(signal.SIGSTOP))
    first = start(bench, command, folder, faults=[halt])
    assert first.stops(), first.errors
    refused = start(bench, command, folder)
    code = refused.wait()
    first.send(signal.SIGCONT)
    assert first.wait() == 0, first.errors
    assert code == 2, refused.errors
    bench.count(f"{command}: two at once")
    assert refused.last_line == (
        f"{command}.py: {folder}: another run is at work there; wait for it to end"
    )
    assert "Traceback" not in refused.errors
    bench.finish(lambda f: start(bench, command, f), folder, whole(bench, command))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_clock_that_goes_backwards_changes_nothing(
    bench: Any, tmp_path: Path, command: str
) -> None:
    folder = tmp_path / "backwards"
    run = start(bench, command, folder, faults=[("clock_backwards", 3600)])
    assert run.wait() == 0, run.errors
    bench.count(f"{command}: clock backwards")
    bench.check(folder, whole(bench, command))
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert all(f["seconds"] >= 0 for f in (facts, *facts["units"]))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["cuda", "cpu", "python"])
def test_a_batch_that_does_not_fit_into_memory_is_halved(
    bench: Any, tmp_path: Path, command: str, kind: str
) -> None:
    if not bench.long and (command, kind) != ("steering", "cpu"):
        pytest.skip("in the long version")
    folder = tmp_path / "little"
    run = start(bench, command, folder, faults=[("out_of_memory", 3, kind)])
    assert run.wait() == 0, run.errors
    bench.count(f"{command}: out of memory ({kind})")
    bench.close(folder, whole(bench, command))
    run = start(bench, command, tmp_path / "none", faults=[("out_of_memory", 0, kind)])
    assert run.wait() == 2, run.errors
    assert "out of memory" in run.last_line
    assert "Traceback" not in run.errors


@pytest.mark.parametrize("command", COMMANDS)
def test_a_finished_file_that_was_damaged_is_named(
    bench: Any, tmp_path: Path, command: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(whole(bench, command), folder)
    suffixes = {"extraction": (".safetensors", ".parquet"), "steering": (".json",)}[command]
    for suffix in suffixes:
        path = next((folder / "units").glob(f"*{suffix}"))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        run = start(bench, command, folder)
        assert run.wait() == 2, run.errors
        bench.count(f"{command}: damaged {suffix}")
        assert f"{path}: damaged (" in run.last_line
        assert "delete it and run again" in run.last_line
        path.unlink()
    bench.finish(lambda f: start(bench, command, f), folder, whole(bench, command))
