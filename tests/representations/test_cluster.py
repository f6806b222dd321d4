"""Studies on Ray give the same tables as local ones, whatever dies; and stores at URLs."""

import json
import os
import shlex
import signal
import sys
import threading
import time
import tomllib
from pathlib import Path

import pandas as pd
import psutil
import pytest

import extraction
import steering
from pipeline.jobs import Job
from pipeline.progress import progress
from study.read import InputError
from study.terminal import Terminal

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # tells Ray to stay on loopback
os.environ["RAY_BACKEND_LOG_LEVEL"] = "error"
# On a busy machine, a slow node or worker is not dead.
os.environ |= {
    "RAY_health_check_failure_threshold": "200",
    "RAY_worker_register_timeout_seconds": "1200",
    "RAY_raylet_start_wait_time_s": "1200",
}
ray = pytest.importorskip("ray", reason="needs the extra cluster")
from pipeline import ray_engine  # noqa: E402

TABLES = ("scores.parquet", "replicates.parquet")


@pytest.fixture(scope="module", autouse=True)
def _patience():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_engine, "WAIT", 1200)
        yield


@pytest.fixture(scope="module")
def address():
    """A cluster of two workers on loopback."""
    from ray.cluster_utils import Cluster

    node = {
        "num_cpus": 1,
        "num_gpus": 0,
        "memory": 4 * 10**9,
        "object_store_memory": 80 * 2**20,
        "node_ip_address": "127.0.0.1",
        "include_dashboard": False,
    }
    started = Cluster(initialize_head=True, head_node_args=node)
    started.add_node(**node)
    yield started.address
    started.shutdown()


def part(five, name, models, more=""):
    """Write a study of only some models, since each worker must import torch."""
    file = five.with_name(f"{name}.toml")
    file.write_text(five.read_text().replace("\nmodels = [", f"\n{more}models = {models} # ["))
    return file


def run(study_file, out, *options):
    return extraction.main(["--study", str(study_file), "--out", str(out), *options])


def assert_same_tables(a, b):
    for name in TABLES:
        pd.testing.assert_frame_equal(pd.read_parquet(a / name), pd.read_parquet(b / name))
    assert (a / "stories.jsonl").read_text() == (b / "stories.jsonl").read_text()


def test_models_on_two_workers_give_the_tables_of_the_local_engine(five, address, tmp_path, capsys):
    """A worker killed in the middle of a unit costs a repetition, but no rows."""
    killed = []

    def kill() -> None:
        while not killed:
            for process in at_work()[:1]:
                process.send_signal(signal.SIGKILL)
                killed.append(process.pid)
            time.sleep(0.02)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    here, out = tmp_path / "here", tmp_path / "ray"
    two = part(five, "two", '["tiny-GPT-2", "tiny-Mistral"]')
    assert run(two, out, "--engine", "ray", "--address", address) == 0
    assert killed
    assert run(two, here) == 0
    assert_same_tables(here, out)
    facts = json.loads((out / "run.json").read_text())
    assert facts["missing"] == []
    assert len(facts["units"]) == 2 * 4
    assert "tiny-Mistral" in capsys.readouterr().out


def at_work():
    """The processes that do jobs with a model."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any("ray::_Worker.do" in word for word in process.info["cmdline"] or [])
    ]


def test_two_workers_share_the_texts_of_one_model(five, address, tmp_path):
    """A worker killed in the middle of a shard costs a repetition, but no texts."""
    killed, beside = [], []

    def kill() -> None:
        while not killed:
            if len(both := at_work()) == 2:
                both[0].send_signal(signal.SIGKILL)
                killed.append(both[0].pid)
                beside.append(both[1].pid)
            time.sleep(0.02)

    threading.Thread(target=kill, daemon=True).start()
    here, there = tmp_path / "here", tmp_path / "ray"
    methods = 'methods = ["comprehension", "generation", "ablation"]\n'
    alone = part(five, "cut", '["tiny-Mistral"]', 'weights = ["trained"]\n' + methods)
    assert run(alone, there, "--shards", "2", "--engine", "ray", "--address", address) == 0
    assert killed
    assert beside
    assert run(alone, here, "--shards", "2") == 0
    assert_same_tables(here, there)
    units = json.loads((there / "run.json").read_text())["units"]
    shards = {unit["method"]: unit.get("shards") for unit in units}
    assert shards == {"comprehension": 2, "generation": 2, "ablation": None}  # which is not split
    assert not list((there / "units").glob("*-of-*"))


def test_shards_of_steering_on_ray(five, five_here, address, tmp_path):
    pytest.importorskip("nrclex")
    alone = part(five, "shared", '["tiny-Qwen"]')
    common = ["--study", str(alone), "--scores", str(five_here), "--shards", "2", "--out"]
    assert steering.main([*common, str(tmp_path / "here")]) == 0
    ray_options = ["--engine", "ray", "--address", address]
    assert steering.main([*common, str(tmp_path / "ray"), *ray_options]) == 0
    a, b = (pd.read_parquet(tmp_path / side / "trials.parquet") for side in ("here", "ray"))
    pd.testing.assert_frame_equal(a, b)


def test_steering_on_ray_gives_the_trials_of_the_local_engine(five, five_here, address, tmp_path):
    pytest.importorskip("nrclex")
    alone = part(five, "steered", '["tiny-Llama"]')
    common = ["--study", str(alone), "--scores", str(five_here), "--out"]
    assert steering.main([*common, str(tmp_path / "here")]) == 0
    ray_options = ["--engine", "ray", "--address", address]
    assert steering.main([*common, str(tmp_path / "ray"), *ray_options]) == 0
    a, b = (pd.read_parquet(tmp_path / side / "trials.parquet") for side in ("here", "ray"))
    pd.testing.assert_frame_equal(a, b)


def test_what_dies_or_fails_is_repeated_then_reported(address, tmp_path):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    (tmp_path / ".lock").touch()

    def attempt(name: str) -> int:
        with (tmp_path / name).open("a") as file:
            file.write("x")
        return (tmp_path / name).stat().st_size

    def dies_once(loaded, report) -> None:
        report(1)
        if attempt("once") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        (tmp_path / "result").touch()

    def breaks(loaded, report) -> None:
        attempt("breaks")
        raise RuntimeError("out of luck")

    def refuses(loaded, report) -> None:
        attempt("refuses")
        raise InputError("no such thing")

    jobs = [Job("a", 1, dies_once), Job("b", 1, breaks), Job("c", 1, refuses)]
    jobs.append(Job("d", 0, lambda *unused: attempt("joins"), after=(jobs[0],)))
    jobs.append(Job("e", 0, lambda *unused: attempt("never"), after=(jobs[0], jobs[2])))
    bar = progress(Terminal(stderr=True))
    with ray_engine.cluster(address, "auto", 1, tmp_path, "python this") as engine, bar:
        assert engine.device == "cpu"
        failures = engine.run(jobs, bar, keep_going=True)
        with pytest.raises(InputError, match="c: no such thing"):
            engine.run(jobs[2:3], bar)
    assert sorted(failures) == [
        "b: failed 3 times, the last with RuntimeError: out of luck",
        "c: no such thing",
        "e: no such thing",  # that it needs
    ]
    assert (tmp_path / "joins").exists()
    assert not (tmp_path / "never").exists()
    sizes = {name: (tmp_path / name).stat().st_size for name in ("once", "breaks", "refuses")}
    assert sizes == {"once": 2, "breaks": 3, "refuses": 2}  # the last in two runs
    assert (tmp_path / "result").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cuda"], "asks for a GPU, and the cluster at"),
        (["--device", "mps"], "choose auto, cpu, cuda or balanced"),
        (["--cpus", "9"], "the largest node at"),
    ],
)
def test_a_cluster_without_what_is_asked_for(options, message, five, address, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(five, out, "--engine", "ray", "--address", address, *options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("extraction.py: ")
    assert message in error
    assert not out.exists()


@pytest.mark.parametrize("listens", [False, True])
def test_an_address_that_does_not_answer(listens, five, tmp_path, capsys, monkeypatch):
    import socket

    monkeypatch.setattr(ray_engine, "WAIT", 3)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        where = f"127.0.0.1:{server.getsockname()[1]}"
        assert run(five, tmp_path, "--engine", "ray", "--address", where) == 2
    error = capsys.readouterr().err.strip()
    assert f"no Ray cluster answers at {where} (waited up to 3 seconds)" in error
    assert f"or do without Ray: python extraction.py --study {five}" in error


def test_addresses_that_are_none(five, tmp_path, capsys):
    assert run(five, tmp_path, "--engine", "ray", "--address", "nowhere") == 2
    assert "is not HOST:PORT, nor auto" in capsys.readouterr().err
    assert run(five, tmp_path, "--address", "auto") == 2
    assert "--address auto goes with --engine ray" in capsys.readouterr().err


def test_without_ray_its_packages_are_named(five, tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "pipeline.ray_engine")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(five, tmp_path, "--engine", "ray") == 2
    extras = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = shlex.join(extras["optional-dependencies"]["cluster"])
    assert f"pip install {named}, or" in capsys.readouterr().err


def test_a_model_too_large_for_every_node(five, address, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("representations.models.size.expected_parameters", lambda spec: 10**13)
    out = tmp_path / "out"
    assert run(five, out, "--engine", "ray", "--address", address) == 2
    assert "the largest node has" in capsys.readouterr().err
    assert not list(Path(out).glob("units/*"))
