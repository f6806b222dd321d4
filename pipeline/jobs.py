"""The work of a run as a list of jobs, and the engine that runs them on this machine.

An engine runs jobs and returns the failures. The engine here runs them one after another;
`pipeline.ray_engine` runs them in parallel on Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pipeline.progress import Progress
from representations.models.errors import oneline
from representations.models.loading import LoadedModel, is_of_memory, load
from study.read import InputError
from study.registry import ModelSpec

Report = Callable[[float], object]


@dataclass(frozen=True)
class ModelRequest:
    """What a job needs loaded; the arguments of `representations.models.loading.load`.

    An untrained twin takes config and tokenizer from the trained model's files. Without trained
    weights in the study, they come from the registry.
    """

    spec: ModelSpec
    untrained_seed: int | None
    device: str
    dtype: str
    twin: bool = False

    def load(self) -> LoadedModel:
        """Load it."""
        spec = replace(self.spec, config={}, tokenizer="") if self.twin else self.spec
        return load(spec, untrained_seed=self.untrained_seed, device=self.device, dtype=self.dtype)


@dataclass(frozen=True, eq=False)
class Job:
    """One piece of work, which saves its own result atomically.

    Attributes
    ----------
    title : str
        Name in progress output and messages.
    size : float
        Its expected share of the work.
    do : callable
        Called with the loaded model (None if it needs none) and a function that reports how much
        of the size is done.
    model : ModelRequest, optional
    after : tuple of Job
        Jobs whose results it needs; they run first.
    lane : int
        On a cluster, one worker runs a model's jobs in the same lane in turn; different lanes run
        in parallel.
    """

    title: str
    size: float
    do: Callable[[Any, Report], object]
    model: ModelRequest | None = None
    after: tuple[Job, ...] = ()
    lane: int = 0


class Engine(Protocol):
    """Does jobs."""

    #: The device that "--device" means on the machine that runs the jobs.
    device: str
    #: Whether that is another machine.
    elsewhere: bool

    def run(self, jobs: Sequence[Job], display: Progress, keep_going: bool = False) -> list[str]:
        """Do all jobs, showing progress; return what failed."""


class _Meter:
    """Adds a job's reported progress to that of the jobs before it."""

    def __init__(self, done: float, display: Progress) -> None:
        self._done, self._display = done, display

    def __call__(self, more: float) -> None:
        self._done += more
        self._display.at(self._done)


class Here:
    """The engine that runs jobs one after another and keeps the last model loaded.

    Parameters
    ----------
    device : str
    """

    elsewhere = False

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self._model: ModelRequest | None = None
        self._loaded: LoadedModel | None = None
        self._refused: tuple[ModelRequest, InputError] | None = None

    def run(self, jobs: Sequence[Job], display: Progress, keep_going: bool = False) -> list[str]:
        """Do all jobs, showing progress; return what failed.

        Parameters
        ----------
        jobs : sequence of Job
        display : Progress
        keep_going : bool
            Whether to continue after a job fails.

        Returns
        -------
        list of str

        Raises
        ------
        InputError
            If a job fails, and `keep_going` is not set.
        """
        faults: dict[Job, str] = {}
        finished = 0.0
        display.start(sum(job.size for job in jobs), len(jobs))
        for job in jobs:
            display.begin(job.title)
            try:
                for needed in job.after:
                    if needed in faults:
                        raise InputError(faults[needed])
                self.do(job, _Meter(finished, display))
            except Exception as error:  # each library has its own
                fault = refusal(job, error)
                display.end(job.title, str(fault))
                self.free()
                if not keep_going:
                    raise fault from error
                faults[job] = str(fault)
            finished += job.size
            display.at(finished)
            if job not in faults:
                display.end(job.title)
        self.free()
        return [f"{job.title}: {fault}" for job, fault in faults.items()]

    def do(self, job: Job, report: Report) -> None:
        """Load the model of a job and run the job."""
        if job.model is not None and job.model != self._model:
            if self._refused is not None and self._refused[0] == job.model:
                raise self._refused[1]
            self.free()  # unload the last model before loading the next
            try:
                self._loaded, self._model = job.model.load(), job.model
            except Exception as error:  # do not retry a failed download for later jobs
                self._refused = job.model, refusal(job, error)
                raise self._refused[1] from error
        job.do(self._loaded, report)

    def free(self) -> None:
        """Forget the loaded model."""
        self._model = self._loaded = None


def refusal(job: Job, error: Exception) -> InputError:
    """Turn any exception of a job into one line; the fault is that job's alone.

    Parameters
    ----------
    job : Job
    error : Exception
        What the job raised; an InputError is returned as it is.

    Returns
    -------
    InputError
    """
    if isinstance(error, InputError):
        return error
    if is_of_memory(error):
        return InputError(
            f"{job.title}: out of memory ({oneline(error)}); use a larger device, --device "
            "balanced, or a smaller precision"
        )
    return InputError(
        f"{job.title}: failed with {type(error).__name__}: {oneline(error)}; leave the model out "
        "of the study, or go on with the others with --keep-going (--verbose shows where it was)"
    )
