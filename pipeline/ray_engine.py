"""The engine that runs the jobs on Ray, on this machine or on many.

Each model gets an actor; a large model gets one per lane of its jobs. The actor declares the
processors, GPU and memory that it needs, loads the model once and runs its jobs in order. Ray
places it, restarts it if its worker dies, and repeats the interrupted job. Workers write results
directly to their destination, so all nodes must see it: a URL, or a shared folder. The project must
be installed on every node, at the same commit.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray._private import ray_constants
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from study.read import InputError
from study.write import Place, is_there

if TYPE_CHECKING:  # a Ray process without a model does not load torch
    from pipeline.jobs import Here, Job, ModelRequest
    from pipeline.progress import Progress

#: Packages and modules whose code decides the content of a unit.
CODE = ("extraction", "steering", "pipeline", "representations", "study")
#: Seconds to wait for an address to answer.
WAIT = 60
#: How often to repeat a job whose worker died, or that failed for reasons other than its input.
RETRIES = 2
#: Memory of a worker in addition to its model's weights, in bytes.
BASE = 10**9


@contextmanager
def cluster(
    address: str | None, device: str, cpus: int, folder: Place, command: str
) -> Iterator[OnRay]:
    """Connect to a Ray cluster, or start one here, and leave it at the end.

    Parameters
    ----------
    address : str, optional
        ``HOST:PORT`` of a cluster, or ``auto`` for the one that this machine belongs to. Without
        an address, a cluster is started on this machine.
    device : str
        auto, cpu, cuda or balanced; "auto" means a GPU if the cluster has one.
    cpus : int
        Processors per worker.
    folder : Path or UPath
        Folder of the results.
    command : str
        Command that does the same without Ray, for messages.

    Yields
    ------
    OnRay

    Raises
    ------
    InputError
        If the address does not answer, or the cluster lacks the requested resources.
    """
    instead = f"or do without Ray: {command}"
    if address is not None and not _answers(address):
        raise InputError(
            f"no Ray cluster answers at {address} (waited up to {WAIT} seconds); look at the "
            f"address, start one with: ray start --head, {instead}"
        )
    try:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address is None:
            quiet |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            if not any(name.startswith("RAY_AUTH_") for name in os.environ):
                # Else Ray writes one to the home folder, where it stays.
                os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        with _on_this_machine_only() if address is None else nullcontext():
            ray.init(address=address or "local", **quiet)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise InputError(f"Ray at {address or 'this machine'}: {_line(error)}; {instead}") from None
    try:
        yield OnRay(_found(device, cpus, address or "this machine"), cpus, folder)
    finally:
        ray.shutdown()


@contextmanager
def _on_this_machine_only() -> Iterator[None]:
    """Keep Ray from replacing a loopback address by the machine's own, on which others reach it."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _answers(address: str) -> bool:
    """Say whether a cluster answers; a separate process asks, because Ray may never give up."""
    if address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=WAIT).close()
        except ValueError:
            raise InputError(f"--address {address!r} is not HOST:PORT, nor auto") from None
        except (OSError, OverflowError):
            return False
    ask = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False)"
    try:
        asked = subprocess.run(
            [sys.executable, "-c", ask, address], timeout=WAIT, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def _found(device: str, cpus: int, where: str) -> str:
    """Return the device that "auto" means in the cluster; reject a device that it lacks."""
    if device not in ("auto", "cpu", "cuda", "balanced"):
        raise InputError(f"--device {device}: on Ray choose auto, cpu, cuda or balanced")
    gpus, most = _largest("GPU"), _largest("CPU")
    if not 1 <= cpus <= most:
        raise InputError(
            f"--cpus {cpus}: give 1 to {most:g}; the largest node at {where} has no more"
        )
    if device == "auto":
        return "cuda" if gpus else "cpu"
    if device != "cpu" and not gpus:
        raise InputError(
            f"--device {device} asks for a GPU, and the cluster at {where} has none; "
            "add a node with one, or choose --device cpu"
        )
    return device


def _largest(resource: str) -> float:
    """Return the largest amount of a resource on any node."""
    return max((float(node.get(resource, 0)) for node in _nodes()), default=0.0)


def _nodes() -> list[dict[str, float]]:
    """Return what each node has."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


class OnRay:
    """The engine that runs the jobs on Ray.

    Parameters
    ----------
    device : str
    cpus : int
    folder : Path or UPath
    """

    elsewhere = True

    def __init__(self, device: str, cpus: int, folder: Place) -> None:
        self.device = device
        self._cpus = cpus
        self._folder = folder

    def run(self, jobs: Sequence[Job], display: Progress, keep_going: bool = False) -> list[str]:
        """Do all jobs, showing progress; return what failed.

        As `pipeline.jobs.Here.run`, with the jobs of several models in parallel.
        """
        display.start(sum(job.size for job in jobs), len(jobs))
        ledger = ledgers.remote()
        waiting = self._groups(jobs)
        outcomes: dict[Job, str | None] = {}
        running: dict[Any, tuple[Job, Any]] = {}  # the actor lives as long as this reference
        finished = 0.0
        while waiting or running:
            slots = sum(node.get("CPU", 0) for node in _nodes()) / self._cpus
            for group in [g for g in waiting if _can_start(g, outcomes)]:
                if len({id(worker) for _, worker in running.values()}) > slots:
                    break
                waiting.remove(group)
                self._start(group, ledger, outcomes, running)
            done, _ = ray.wait(list(running), num_returns=1, timeout=0.5)
            for reference in done:
                job, _worker = running.pop(reference)
                outcomes[job] = fault = _fault(reference)
                display.end(job.title, fault)
                if fault and not keep_going:
                    raise InputError(f"{job.title}: {fault}")
                finished += job.size
            at_work, share = _read(ledger, {job.title for job, _ in running.values()})
            for title in at_work:
                display.begin(title)
            display.at(finished + share, _together(at_work) if running else jobs[-1].title)
        return [f"{job.title}: {fault}" for job, fault in outcomes.items() if fault]

    def _groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Group jobs by model and lane; jobs without a model stay separate."""
        groups: list[list[Job]] = []
        lanes: dict[int, list[Job]] = {}  # lanes of the current model, whose jobs are consecutive
        model = None
        for job in jobs:
            if job.model is None:
                groups.append([job])
                continue
            if job.model != model:
                lanes, model = {}, job.model
            if job.lane not in lanes:
                groups.append(lanes.setdefault(job.lane, []))
            lanes[job.lane].append(job)
        return groups

    def _start(
        self,
        group: list[Job],
        ledger: Any,
        outcomes: Mapping[Job, str | None],
        running: dict[Any, tuple[Job, Any]],
    ) -> None:
        """Start a group's worker and give it all its jobs."""
        common = (self._folder, _code(), ledger)
        if group[0].model is None:
            (job,) = group
            before = [outcomes[needed] for needed in job.after]
            running[tasks.options(num_cpus=self._cpus).remote(job, *common, *before)] = job, None
            return
        needs = {"num_cpus": self._cpus, **self._needs(group[0].model)}
        worker = workers.options(**needs).remote()
        handed = ray.put(group)  # send shared data, such as the corpus, only once
        known: dict[Job, Any] = dict(outcomes)
        for number, job in enumerate(group):
            known[job] = worker.do.options(retry_exceptions=True).remote(
                handed, number, *common, *(known[needed] for needed in job.after)
            )
            running[known[job]] = (job, worker)

    def _needs(self, model: ModelRequest) -> dict[str, float]:
        """Return the resources that a model needs in addition to processors."""
        from representations.models.size import expected_parameters

        needs: dict[str, float] = {}
        if self.device != "cpu":
            needs["num_gpus"] = _largest("GPU") if self.device == "balanced" else 1
        if count := expected_parameters(model.spec):
            wide = 4 if model.dtype == "float32" or model.untrained_seed is not None else 2
            needs["memory"] = int(1.2 * wide * count) + BASE
            if needs["memory"] > (most := _largest("memory")):
                raise InputError(
                    f"model {model.spec.name!r} needs about {needs['memory'] / 1e9:.1f} GB of "
                    f"memory; the largest node has {most / 1e9:.1f} GB for Ray"
                )
        return needs


def _can_start(group: Sequence[Job], outcomes: Mapping[Job, str | None]) -> bool:
    """Say whether all jobs that a group depends on are done.

    A waiting worker would hold processors that those jobs may need.
    """
    return all(a in outcomes or a in group for job in group for a in job.after)


def _fault(reference: Any) -> str | None:
    """Return why a job failed, or None."""
    try:
        fault: str | None = ray.get(reference)
    except RayTaskError as error:
        fault = f"failed {1 + RETRIES} times, the last with {_line(error.cause)}"
    except RayError as error:
        fault = f"its worker died {1 + RETRIES} times; Ray says: {_line(error)}"
    return fault


def _read(ledger: Any, titles: set[str]) -> tuple[list[str], float]:
    """Return which jobs are running, and how much of them is done."""
    try:
        done: dict[str, float] = ray.get(ledger.read.remote(), timeout=5)
    except (GetTimeoutError, RayError):
        return [], 0.0
    at_work = sorted(titles & set(done))
    return at_work, sum(done[title] for title in at_work)


def _together(titles: list[str]) -> str:
    more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
    return titles[0] + more if titles else "waiting for Ray"


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _code() -> tuple[str, str]:
    """Return this node's name and a hash of the code that makes the units."""
    digest = hashlib.sha256()
    for module in CODE:
        found = importlib.util.find_spec(module)
        if found is None or found.origin is None:
            continue
        file = Path(found.origin)
        files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
        for path in files:
            digest.update(path.read_bytes())
    return socket.gethostname(), digest.hexdigest()


def _refusal(folder: Place, code: tuple[str, str]) -> str:
    """Return why this node cannot take part in the run; empty if it can."""
    node, own = _code()
    if node != code[0] and own != code[1]:
        return f"node {node} has other code; install the same commit on every node"
    if not is_there(folder / ".lock"):
        return (
            f"node {node} does not see {folder}; choose a URL, or a folder that all nodes share, "
            "with --out"
        )
    return ""


def _do(here: Here, job: Job, folder: Place, code: tuple[str, str], ledger: Any) -> str | None:
    """Run one job; return why it failed, or None."""
    done, told = 0.0, 0.0

    def report(more: float) -> None:
        nonlocal done, told
        done += more
        if time.monotonic() - told > 0.5:
            told = time.monotonic()
            ledger.note.remote(job.title, done)

    try:
        if refusal := _refusal(folder, code):
            return refusal
        report(0)
        here.do(job, report)
    except InputError as error:
        return str(error)
    return None


def _task(
    job: Job, folder: Place, code: tuple[str, str], ledger: Any, *before: str | None
) -> str | None:
    """Run a job without a model, unless a job that it depends on failed."""
    from pipeline.jobs import Here

    return next(filter(None, before), None) or _do(Here(), job, folder, code, ledger)


class _Worker:
    """A process that runs the jobs of one model, or of one of its lanes."""

    def __init__(self) -> None:
        from pipeline.jobs import Here

        self._here = Here()

    def do(
        self,
        jobs: Sequence[Job],
        number: int,
        folder: Place,
        code: tuple[str, str],
        ledger: Any,
        *before: str | None,
    ) -> str | None:
        """Run one of the jobs, unless a job that it depends on failed."""
        fault = next(filter(None, before), None)
        return fault or _do(self._here, jobs[number], folder, code, ledger)


class _Ledger:
    """Holds the progress of the running jobs."""

    def __init__(self) -> None:
        self._done: dict[str, float] = {}

    def note(self, title: str, done: float) -> None:
        self._done[title] = done

    def read(self) -> dict[str, float]:
        return self._done


tasks: Any = ray.remote(max_retries=RETRIES, retry_exceptions=True)(_task)
workers: Any = ray.remote(max_restarts=RETRIES, max_task_retries=RETRIES)(_Worker)
ledgers: Any = ray.remote(num_cpus=0, max_restarts=-1)(_Ledger)
