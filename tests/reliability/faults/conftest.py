"""A small study that runs in seconds, and tools to interrupt its runs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faults.small import STUDY, save_corpus, save_gguf, save_model

from analysis import load_scores, load_trials
from pipeline.units import open_unit
from study.read import InputError

HOME = Path(__file__).resolve().parents[3]
RESULTS = Path(__file__).parents[1] / "results" / "faults.json"


@dataclass
class Run:
    """A command running in a forked child."""

    forks: Forks
    pid: int
    out: Path
    err: Path

    def send(self, number: int) -> None:
        """Send a signal; the id is safe, since an ended child has not been reaped yet."""
        os.kill(self.pid, number)

    def listens(self) -> bool:
        """Wait until the script handles signals; return whether it still runs."""
        while self.runs():
            if int(self._facts()["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1:
                return True
            time.sleep(0.01)
        return False

    def stops(self) -> bool:
        """Wait until it has stopped itself; return whether it did, rather than end."""
        while self.runs():
            if self._facts()["State"].startswith("T"):
                return True
            time.sleep(0.01)
        return False

    def runs(self) -> bool:
        """Return whether it is still running."""
        return not self._facts()["State"].startswith("Z")

    def _facts(self) -> dict[str, str]:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    def wait(self) -> int:
        """Return the exit code, negative for the signal that ended it."""
        return int(self.forks.ask({"wait": self.pid}))

    @property
    def errors(self) -> str:
        """The text on standard error."""
        return self.err.read_text(encoding="utf-8")

    @property
    def last_line(self) -> str:
        """The last line on standard error."""
        return (self.errors.strip().splitlines() or [""])[-1]


class Forks:
    """The server of forked children."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home, self.number = home, 0
        single = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": "."}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py"))],
            cwd=HOME,
            stdin=-1,
            stdout=-1,
            text=True,
            env={**os.environ, **single, **environment},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, request: dict[str, Any]) -> str:
        """Return the answer to one request."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def start(
        self,
        script: str,
        *arguments: object,
        faults: Sequence[Sequence[Any]] = (),
        environment: dict[str, str] | None = None,
        out: str = "",
    ) -> Run:
        """Start a script of the project, or a module."""
        self.number += 1
        files = [str(self.home / f"{self.number}.{name}") for name in ("out", "err")]
        request = {
            "script": script,
            "arguments": [str(a) for a in arguments],
            "out": out or files[0],
            "err": files[1],
            "faults": [list(f) for f in faults],
            "environment": environment or {},
        }
        return Run(self, int(self.ask(request)), Path(files[0]), Path(files[1]))


class Bench:
    """Runs the small study, interrupts it, and inspects what is left."""

    #: Settings that leave a study with one unit.
    brief = (
        (
            'name = "faults"',
            'name = "faults"\nmethods = ["comprehension"]\n'
            'weights = ["trained"]\nlabels = ["true"]',
        ),
    )

    def __init__(self, forks: Forks, study: Path, home: Path, long: bool) -> None:
        self.forks, self.study, self.home, self.long = forks, study, home, long
        self.chance = random.Random(0)
        self._counts: Counter[str] = Counter()
        self.scores, self.trials = home / "scores", home / "trials"
        self.seconds: dict[str, float] = {}
        for name, start in (("extraction", self.extract), ("steering", self.steer)):
            began = time.monotonic()
            run = start(self.scores if name == "extraction" else self.trials)
            assert run.wait() == 0, run.errors
            self.seconds[name] = time.monotonic() - began

    def extract(self, folder: Path, *options: object, study: Path | None = None, **how: Any) -> Run:
        """Start the extraction."""
        command = ("extraction.py", "--study", study or self.study, "--out", folder, *options)
        return self.forks.start(*command, **how)

    def steer(self, folder: Path, *options: object, study: Path | None = None, **how: Any) -> Run:
        """Start the steering, with the vectors of the complete extraction."""
        study = study or self.study
        command = ("steering.py", "--study", study, "--scores", self.scores, "--out", folder)
        return self.forks.start(*command, *options, **how)

    def changed(self, *changes: tuple[str, str]) -> Path:
        """Return a study file with changed settings."""
        text = self.study.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = self.home / f"changed-{abs(hash(text))}" / self.study.name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def done(self, run: Run) -> tuple[int, Run]:
        """Wait for a run; return it with its exit code."""
        return run.wait(), run

    def break_off(self, run: Run, seconds: float, kind: str, with_signal: int = 0) -> int:
        """Send a signal at a random moment of a run; return how the run ended."""
        number = with_signal or self.chance.choice([signal.SIGKILL, signal.SIGTERM])
        if number != signal.SIGKILL:
            run.listens()
        until = time.monotonic() + self.chance.uniform(0, seconds)
        while time.monotonic() < until and run.runs():
            time.sleep(0.01)
        run.send(number)
        code = run.wait()
        self.check_exit(run, code, number, kind)
        return code

    def count(self, kind: str) -> None:
        """Count a fault; a long run saves its counts."""
        self._counts[kind] += 1
        if self.long:
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(dict(sorted(self._counts.items())), indent=1) + "\n")

    def check_exit(self, run: Run, code: int, number: int, kind: str) -> None:
        """Check the exit code and last line of a run that got a signal, and count it."""
        self.count(f"{kind}: {signal.Signals(number).name}")
        if code == 0:
            self.count(f"{kind}: ended before the signal")
        elif number == signal.SIGKILL:
            assert code == -number, run.errors
        else:
            word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
            assert code == 128 + number, run.errors
            assert f": {word}; " in run.last_line, run.errors
            assert "Traceback" not in run.errors, run.errors

    def finish(self, start: Callable[[Path], Run], folder: Path, like: Path) -> None:
        """Resume an interrupted run: it repeats no finished unit, and the result is the same."""
        before = {p: p.stat().st_mtime_ns for p in visible(folder) if p.parent.name == "units"}
        run = start(folder)
        assert run.wait() == 0, run.errors
        units = {p: then for p, then in before.items() if "-of-" not in p.name}  # shards are gone
        assert {p: p.stat().st_mtime_ns for p in units} == units
        assert values(folder) == values(like)
        assert [p.name for p in folder.rglob(".*") if p.name != ".lock"] == []

    def check(self, folder: Path, *whole: Path) -> None:
        """Check the folder of an interrupted run: every readable file is complete."""
        for path in visible(folder):
            if path.suffix == ".safetensors" and path.parent.name == "units":
                with open_unit(path) as unit:
                    assert np.isfinite(unit.activations[:, 0]).all()
            elif path.suffix == ".parquet":
                pd.read_parquet(path)
            elif path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
        try:
            load_trials(folder) if (folder / "trials.parquet").exists() else load_scores(folder)
        except InputError:
            return
        assert values(folder) in [values(one) for one in whole]

    def close(self, folder: Path, whole: Path) -> None:
        """Check that the same texts have the same scores, up to the last digits."""
        mine, others = values(folder), values(whole)
        assert mine.keys() == others.keys()
        for name in mine:
            if isinstance(mine[name], pd.DataFrame):
                pd.testing.assert_frame_equal(mine[name], others[name], rtol=1e-3, atol=1e-3)


def visible(folder: Path) -> list[Path]:
    """Return the files that are not hidden."""
    return [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]


class Values(dict[str, Any]):
    """The contents of a study's files, without values that differ between any two runs."""

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Values)
        return self.keys() == other.keys() and all(
            mine.equals(other[name]) if isinstance(mine, pd.DataFrame) else mine == other[name]
            for name, mine in self.items()
        )


def values(folder: Path) -> Values:
    """Read a study's tables, stories and facts."""
    found = Values()
    for path in folder.iterdir():
        if path.suffix == ".parquet":
            found[path.name] = pd.read_parquet(path)
        elif path.suffix == ".jsonl":
            found[path.name] = path.read_text(encoding="utf-8")
        elif path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            parts = [*content.get("units", []), *content.get("certificates", [])]
            for facts in (content, *parts):
                for name in ("seconds", "written", "command", "machine", "git_commit"):
                    facts.pop(name, None)
            found[path.name] = content
    return found


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model, saved as a user's own would be."""
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A study of the small model with every method and control."""
    home = tmp_path_factory.mktemp("study")
    text = STUDY.format(model=model_folder, corpus=save_corpus(home / "corpus"))
    (home / "faults.toml").write_text(text, encoding="utf-8")
    return home / "faults.toml"


@pytest.fixture(scope="session")
def hub(model_folder: Path) -> Iterator[str]:
    """The address of a hub that serves the small model."""
    command = [sys.executable, str(Path(__file__).with_name("hub.py")), str(model_folder)]
    with subprocess.Popen(command, stdout=-1, stderr=-3, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory, hub: str) -> Iterator[Forks]:
    """The server of forked children."""
    home = tmp_path_factory.mktemp("runs")
    environment = {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(home / "hub"),
        "no_proxy": "*",
        "HF_HUB_DOWNLOAD_TIMEOUT": "600",
        "HF_HUB_ETAG_TIMEOUT": "600",
    }
    server = Forks(home, environment)
    yield server
    server.process.stdin.close()
    server.process.wait()


@pytest.fixture(scope="session")
def bench(
    forks: Forks, study: Path, tmp_path_factory: pytest.TempPathFactory, request: Any
) -> Bench:
    """The small study after one complete run."""
    return Bench(forks, study, tmp_path_factory.mktemp("bench"), request.config.getoption("--long"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small disk and remounts it with other options; needs root."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        more = ",remount" if os.path.ismount(place) else ""
        command = ["mount", "-t", "tmpfs", "-o", options + more, "tmpfs", str(place)]
        if os.geteuid() or not shutil.which("mount") or subprocess.run(command).returncode:
            pytest.skip("a disk can be mounted by root alone")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="session")
def gguf_study(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a small model with only a GGUF file, which must be converted."""
    folder = save_gguf(tmp_path_factory.mktemp("gguf"))
    source = next(s for s in bench.study.read_text().splitlines() if s.startswith("source"))
    return bench.changed((source, f'source = "{folder}"'), *bench.brief)
