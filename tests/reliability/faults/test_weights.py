"""Weights fetched from a hub or converted: complete or absent, whatever happens."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

SECONDS = 3.0


@pytest.fixture
def cache(bench: Any) -> Path:
    """An empty cache of the hub's files."""
    folder = bench.forks.home / "hub"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def hub_study(bench: Any, owner: str) -> Path:
    source = next(line for line in bench.study.read_text().splitlines() if "source" in line)
    return bench.changed((source, f'source = "{owner}/tiny"'), *bench.brief)


def test_a_download_that_is_killed_goes_on(bench: Any, tmp_path: Path, cache: Path) -> None:
    study = hub_study(bench, "slow")
    unbroken = tmp_path / "unbroken"
    code, run = bench.done(bench.extract(unbroken, study=study))
    assert code == 0, run.errors
    for series in range(3 if bench.long else 1):
        shutil.rmtree(cache)
        for _ in range(3 if bench.long else 1):
            run = bench.extract(tmp_path / str(series), study=study)
            bench.break_off(run, SECONDS, "download")
            bench.check(tmp_path / str(series), unbroken)
        bench.finish(lambda f: bench.extract(f, study=study), tmp_path / str(series), unbroken)


def test_a_download_that_breaks_off_is_one_line_and_goes_on(
    bench: Any, tmp_path: Path, cache: Path
) -> None:
    for owner in ("short", "cut"):
        study = hub_study(bench, owner)
        run = bench.extract(tmp_path / owner, study=study)
        code = run.wait()
        bench.count("download: connection broken")
        assert code == (2 if owner == "short" else 0), run.errors
        assert "Traceback" not in run.errors
        if owner == "short":
            assert run.last_line.startswith(f"extraction.py: model 'tiny' ({owner}/tiny): ")
        weights = [p for p in cache.rglob("*.safetensors") if p.exists()]
        assert len(weights) == (owner == "cut")


def test_a_conversion_that_is_killed_is_made_again(
    bench: Any, tmp_path: Path, gguf_study: Path
) -> None:
    home = tmp_path / "home"
    run = bench.extract(
        tmp_path / "unbroken",
        study=gguf_study,
        environment={"XDG_CACHE_HOME": str(home)},
        faults=[("die_at_event", str(home), 0, 0)],
    )
    assert run.wait() == 0, run.errors
    events = int(Path(f"{home}.events").read_text())
    converted = files(home)
    for number in range(1, events + 1) if bench.long else [bench.chance.randint(1, events)]:
        place = tmp_path / f"cache-{number}"
        kind = signal.SIGKILL if number % 2 else signal.SIGTERM
        settings = {"study": gguf_study, "environment": {"XDG_CACHE_HOME": str(place)}}
        run = bench.extract(
            tmp_path / str(number),
            **settings,
            faults=[("die_at_event", str(place), number, int(kind))],
        )
        bench.check_exit(run, run.wait(), kind, "conversion")
        if kind == signal.SIGTERM:
            assert not list(place.glob("*/*/unfinished.*"))
        code, run = bench.done(bench.extract(tmp_path / str(number), **settings))
        assert code == 0, run.errors
        assert files(place) == converted


def files(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder, and their contents."""
    found = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def test_two_runs_that_need_the_same_conversion_share_it(
    bench: Any, tmp_path: Path, gguf_study: Path
) -> None:
    home = {"XDG_CACHE_HOME": str(tmp_path / "home")}
    runs = [
        bench.extract(tmp_path / name, study=gguf_study, environment=home) for name in ("a", "b")
    ]
    assert [run.wait() for run in runs] == [0, 0], runs[0].errors + runs[1].errors
    bench.count("conversion: two at once")
    assert len(list((tmp_path / "home").rglob("*.safetensors"))) == 1
