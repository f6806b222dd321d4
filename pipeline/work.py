"""A unit as the runner sees it: its model, its size, how to run it, and where it is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.jobs import Job, ModelRequest, Report
from pipeline.pins import Commits, at_commit
from pipeline.shards import Shard, all_shards, n_shards
from representations.models.loading import LoadedModel
from representations.models.size import expected_parameters
from study.write import Place, is_there


@dataclass(frozen=True, eq=False)
class Work:
    """One unit of a run, finished as a whole or in shards that are then joined.

    Attributes
    ----------
    title : str
        Name in progress output and messages.
    path : Path or UPath
        Path of the finished unit.
    model : ModelRequest
        The model that it needs.
    tokens : int
        Estimate of the tokens read and written.
    effort : float
        Estimated cost in tokens read; a written token counts as several.
    n_texts : int
    do : callable
        Called with a shard, the loaded model and a function that reports effort; saves the shard.
    join : callable
        Called with the number of shards; joins them into the unit.
    facts : callable
        Returns the facts of the finished unit.
    certificate : int
        Estimated cost of the model's certificate in tokens read.
    after : Work, optional
        A unit that must run first. With equally many shards, shard k waits only for its shard k.
    shard_as : Work, optional
        The unit that wrote its stories, if it is split like that one.
    unsharded : bool
        Whether it is never split.
    """

    title: str
    path: Place
    model: ModelRequest
    tokens: int
    effort: float
    n_texts: int
    do: Callable[[Shard, LoadedModel, Report], object]
    join: Callable[[int], object]
    facts: Callable[[], Mapping[str, Any]]
    certificate: int
    after: Work | None = None
    shard_as: Work | None = None
    unsharded: bool = False

    @property
    def done(self) -> bool:
        """Whether the unit is finished."""
        return is_there(self.path)


def shards_per_unit(
    units: Sequence[Work], device: str, asked: int | None = None
) -> dict[Work, int]:
    """Return the number of shards per unit.

    Parameters
    ----------
    units : sequence of Work
    device : str
    asked : int, optional
        The number that the user asks for; by default it follows from the model and the texts.

    Returns
    -------
    dict of Work to int
    """
    specs = {} if asked else {unit.model.spec.name: unit.model.spec for unit in units}
    sizes = {name: expected_parameters(spec) for name, spec in specs.items()}
    found = {}
    for unit in units:
        n_params, by = sizes.get(unit.model.spec.name, 0), unit.shard_as or unit
        n = n_shards(n_params, by.effort, by.n_texts, device, asked)
        found[unit] = 1 if unit.unsharded else n
    return found


def unit_jobs(
    shards: Mapping[Work, int], again: bool = False, commits: Commits | None = None
) -> list[Job]:
    """Return the jobs of units; jobs that others need come first.

    Parameters
    ----------
    shards : mapping of Work to int
        Units in the order of the run, with the number of shards of each.
    again : bool
        Whether to run finished shards again.
    commits : mapping of str to str, optional
        Of hub models, as `pipeline.pins.pinned` returns them.

    Returns
    -------
    list of Job
        A split unit has one job per shard, each in its own lane, and one that joins them.
    """
    jobs: dict[Work | None, list[Job]] = {}
    for unit, of in shards.items():
        needed = jobs.get(unit.after, [])  # none if that unit is finished or was not chosen
        same = unit.after is not None and shards.get(unit.after) == of
        parts = []
        model = replace(unit.model, spec=at_commit(unit.model.spec, commits or {}))
        for shard in all_shards(of):
            if again or not is_there(shard.path(unit.path)):
                job = Job(
                    unit.title if of == 1 else f"{unit.title}, {shard.number} of {of}",
                    unit.effort / of,
                    partial(unit.do, shard),
                    model,
                    tuple(j for j in needed if not same or j.lane == shard.number),
                    lane=shard.number,
                )
                parts.append(job)
        if of > 1:
            join = Job(
                f"{unit.title}, joined", 0, partial(_joined, unit.join, of), after=tuple(parts)
            )
            parts = [*parts, join]
        jobs[unit] = parts
    return [job for some in jobs.values() for job in some]


def _joined(join: Callable[[int], object], of: int, *unused: object) -> None:
    join(of)
