"""The work of a run as a list of jobs, and the engine that does them on this machine.

An engine does jobs and returns what failed. The one here does them one after another; the one in
`pipeline.ray_engine` lets Ray do them side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from representations.models.loading import LoadedModel, load
from representations.models.registry import ModelSpec
from study.read import InputError

Report = Callable[[float], object]


@dataclass(frozen=True)
class Model:
    """What a job needs loaded; the arguments of `representations.models.loading.load`."""

    spec: ModelSpec
    untrained_seed: int | None
    device: str
    dtype: str

    def load(self) -> LoadedModel:
        """Load it."""
        return load(
            self.spec, untrained_seed=self.untrained_seed, device=self.device, dtype=self.dtype
        )


@dataclass(frozen=True, eq=False)
class Job:
    """One piece of work, that keeps its result itself, as a whole.

    Attributes
    ----------
    title : str
        How progress and messages call it.
    size : float
        Its expected share of the work.
    do : callable
        Called with the loaded model (None if it needs none), and a function to report how much
        of the size is done.
    model : Model, optional
    after : tuple of Job
        Whose results it needs; they come before it.
    lane : int
        On a cluster, the jobs of a model in the same lane are done by one worker, in turn, and
        those in other lanes beside them.
    """

    title: str
    size: float
    do: Callable[[Any, Report], object]
    model: Model | None = None
    after: tuple[Job, ...] = ()
    lane: int = 0


class Engine(Protocol):
    """Does jobs."""

    #: What "--device" stands for where the jobs are done.
    device: str
    #: Whether that is another machine.
    elsewhere: bool

    def run(self, jobs: Sequence[Job], bar: Progress, keep_going: bool = False) -> list[str]:
        """Do all jobs, with a line in the bar; return what failed."""


class Here:
    """The engine that does jobs one after another, and keeps the last model loaded.

    Parameters
    ----------
    device : str
    """

    elsewhere = False

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self._model: Model | None = None
        self._loaded: LoadedModel | None = None
        self._refused: tuple[Model, InputError] | None = None

    def run(self, jobs: Sequence[Job], bar: Progress, keep_going: bool = False) -> list[str]:
        """Do all jobs, with a line in the bar; return what failed.

        Parameters
        ----------
        jobs : sequence of Job
        bar : Progress
        keep_going : bool
            Go on after a job fails.

        Returns
        -------
        list of str

        Raises
        ------
        InputError
            If a job fails, and `keep_going` is not set.
        """
        faults: dict[Job, str] = {}
        line = bar.add_task("", total=max(sum(j.size for j in jobs), 1), visible=bool(jobs))
        finished = 0.0
        for job in jobs:
            try:
                bar.update(line, description=job.title)
                for needed in job.after:
                    if needed in faults:
                        raise InputError(faults[needed])
                self.do(job, lambda done: bar.advance(line, done))
            except InputError as error:
                if not keep_going:
                    raise
                faults[job] = str(error)
                self.free()
            finished += job.size
            bar.update(line, completed=finished)
        self.free()
        return [f"{job.title}: {fault}" for job, fault in faults.items()]

    def do(self, job: Job, report: Report) -> None:
        """Do one job, with its model loaded."""
        if job.model is not None and job.model != self._model:
            if self._refused is not None and self._refused[0] == job.model:
                raise self._refused[1]
            self.free()  # the last model goes before the next comes
            try:
                self._loaded, self._model = job.model.load(), job.model
            except InputError as error:  # a download that is waited for in vain is so once
                self._refused = job.model, error
                raise
        job.do(self._loaded, report)

    def free(self) -> None:
        """Forget the loaded model."""
        self._model = self._loaded = None


def progress_bar(console: Console) -> Progress:
    """Return the bar of a run."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
