"""Large units in shards: runs of texts that are finished and kept alone, then put together.

How many shards a unit has depends on its model, its texts and the kind of device, not on who does
the work: the same batches of texts give the same tables on one machine and on a cluster.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.jobs import Job
from pipeline.units import open_unit
from representations.models.loading import resolved
from representations.pooled import Joined, Unit
from study.read import InputError
from study.write import Place, files_in, is_there, remove

#: Operations of about half an hour, beyond which a unit is cut: of a core in float32 (measured, see
#: docs/scaling.md), and of a GPU (by arithmetic, at a third of the peak of 312 x 10^12 a second).
OPERATIONS = {"cpu": 2e14, "gpu": 2e17}

#: What one set of weights says of itself.
SOURCE = ("fingerprint", "precision", "n_layers")
#: What adds up over shards, numbers and lists.
ADDED = (
    "emotions", "topics", "neutral_topics", "stories", "rows", "texts", "left_out", "tokens",
    "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """One of the runs that a unit's texts are cut into.

    Attributes
    ----------
    number : int
        From 1.
    of : int
        How many there are; 1 is a whole unit.

    Examples
    --------
    >>> Shard(2, 3).texts(10)
    slice(3, 6, None)
    """

    number: int = 1
    of: int = 1

    def texts(self, n_texts: int) -> slice:
        """Return which of a unit's texts are the shard's."""
        return slice((self.number - 1) * n_texts // self.of, self.number * n_texts // self.of)

    def path(self, unit: Place) -> Place:
        """Return where the shard is kept: beside the unit, or there if it is the whole."""
        if self.of == 1:
            return unit
        return unit.with_suffix(f".{self.number}-of-{self.of}{unit.suffix}")


WHOLE = Shard()


def all_shards(of: int) -> list[Shard]:
    """Return all shards of a unit that is cut into so many."""
    return [Shard(number, of) for number in range(1, of + 1)]


def n_shards(
    n_params: int, tokens: float, n_texts: int, device: str, asked: int | None = None
) -> int:
    """Return how many shards a unit is cut into.

    As many as keep each within half an hour or so, by the arithmetic of a forward pass: two
    operations for each parameter and token.

    Parameters
    ----------
    n_params : int
        Of the model; 0 if that is not known, for one shard.
    tokens : float
        To be read; a written one counts as `representations.generation.WRITTEN`.
    n_texts : int
        There are at most so many shards.
    device : str
        As `representations.models.loading.load` takes it.
    asked : int, optional
        Instead of what the size calls for.

    Returns
    -------
    int

    Raises
    ------
    InputError
        If fewer than one are asked for.

    Examples
    --------
    >>> n_shards(1_000_000_000, 55_000, 576, "cpu"), n_shards(3_400_000_000, 140_000, 576, "cpu")
    (1, 5)
    """
    if asked is None:
        device = resolved(device, "auto", elsewhere=True)[0]
        most = OPERATIONS["cpu" if device == "cpu" else "gpu"]
        asked = max(1, math.ceil(2 * n_params * tokens / most))
    if asked < 1:
        raise InputError(f"--shards {asked}: a unit has at least one; leave it out to go by size")
    return min(asked, n_texts)


def shard_jobs(
    unit: Job,
    path: Place,
    of: int,
    put_together: Callable[..., object],
    again: bool = False,
    written: Iterable[Job] = (),
) -> list[Job]:
    """Cut the job of a unit into those of its shards, and one that puts them together.

    Parameters
    ----------
    unit : Job
        Its `do` takes a shard before the other arguments, and keeps it at `Shard.path`.
    path : Path or UPath
        Of the unit.
    of : int
        How many shards.
    put_together : callable
        Makes the unit of its shards.
    again : bool
        Do shards that are there again.
    written : iterable of Job
        Of a unit of as many shards, each of which the shard of the same number needs.

    Returns
    -------
    list of Job
        Each shard's number is its lane.
    """
    shards = [
        replace(
            unit,
            title=unit.title if of == 1 else f"{unit.title}, {shard.number} of {of}",
            size=unit.size / of,
            do=partial(unit.do, shard),
            after=(*unit.after, *(job for job in written if job.lane == shard.number)),
            lane=shard.number,
        )
        for shard in all_shards(of)
        if again or not is_there(shard.path(path))
    ]
    if of == 1:
        return shards
    return [*shards, Job(f"{unit.title}, put together", 0, put_together, after=tuple(shards))]


@contextmanager
def joined(path: Place, of: int) -> Iterator[Unit]:
    """Open the shards of a unit as one, whose texts are in the order of the whole.

    Parameters
    ----------
    path : Path or UPath
        Of the unit.
    of : int

    Yields
    ------
    Unit

    Raises
    ------
    InputError
        If a shard is damaged, or they do not come from the same weights.
    """
    with ExitStack() as stack:
        shards = [stack.enter_context(open_unit(s.path(path))) for s in all_shards(of)]
        yield Unit(
            Joined([shard.activations for shard in shards]),
            Joined([shard.neutral for shard in shards]),
            added_up([shard.facts for shard in shards], path),
        )


def added_up(facts: Sequence[Mapping[str, Any]], path: Place) -> dict[str, Any]:
    """Return the facts of a unit from those of its shards: numbers and lists of texts add up.

    Parameters
    ----------
    facts : sequence of mappings
    path : Path or UPath
        Of the unit, for the message.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If a shard is damaged, or they do not come from the same weights.

    Examples
    --------
    >>> added_up([{"texts": 2, "topics": ["sea"]}, {"texts": 1, "topics": ["war"]}], "unit")
    {'texts': 3, 'topics': ['sea', 'war'], 'shards': 2}
    """
    try:
        whole = dict(facts[0])
        sources = [[more.get(key) for key in SOURCE] for more in facts]
        for more in facts[1:]:
            whole |= {key: whole[key] + more[key] for key in ADDED if key in whole}
        if "seconds" in whole:
            whole["seconds"] = round(whole["seconds"], 2)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: one of its shards is damaged; make them anew with --force"
        ) from None
    if any(source != sources[0] for source in sources):
        raise InputError(
            f"{path}: its shards were made with different weights; make them anew with --force"
        )
    return {**whole, "shards": len(facts)}


def remove_shards(folder: Place) -> None:
    """Delete the shards of units that are there, and of no use any more.

    Parameters
    ----------
    folder : Path or UPath
        The units'.

    Raises
    ------
    InputError
        If the folder cannot be written to, or its store does not answer.
    """
    paths = files_in(folder)
    for name, path in paths.items():
        shard = re.fullmatch(r"(.+)\.\d+-of-\d+(\.[a-z]+)", name)
        if shard and "".join(shard.groups()) in paths:
            remove(path)
