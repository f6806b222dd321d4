"""Large units in shards: runs of texts that are finished and kept alone, then put together.

How many shards a unit has depends on its model, its texts and the kind of device, not on who does
the work: the same batches of texts give the same tables on one machine and on a cluster.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.units import open_unit
from representations.facts import UnitFacts, joined_facts
from representations.models.loading import resolved
from representations.pooled import Joined, PooledUnit
from study.read import InputError
from study.write import Place, files_in, remove

#: Operations of about half an hour, beyond which a unit is cut: of a core in float32 (measured, see
#: docs/scaling.md), and of a GPU (by arithmetic, at a third of the peak of 312 x 10^12 a second).
OPERATIONS = {"cpu": 2e14, "gpu": 2e17}


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


@contextmanager
def joined(path: Place, of: int) -> Iterator[PooledUnit]:
    """Open the shards of a unit as one, whose texts are in the order of the whole.

    Parameters
    ----------
    path : Path or UPath
        Of the unit.
    of : int

    Yields
    ------
    PooledUnit

    Raises
    ------
    InputError
        If a shard is damaged, or they do not come from the same weights.
    """
    with ExitStack() as stack:
        shards = [stack.enter_context(open_unit(s.path(path))) for s in all_shards(of)]
        yield PooledUnit(
            Joined([shard.activations for shard in shards]),
            Joined([shard.neutral for shard in shards]),
            facts_of_shards(UnitFacts, [shard.facts for shard in shards], path),
        )


def facts_of_shards(kind: type, shards: Sequence[Mapping[str, Any]], path: Place) -> dict[str, Any]:
    """Return the facts of a unit from those of its shards.

    Parameters
    ----------
    kind : type
        `UnitFacts` or `SteeringFacts`.
    shards : sequence of mappings
    path : Path or UPath
        Of the unit, for the message.

    Raises
    ------
    InputError
        If a shard is damaged, or they do not come from the same weights.
    """
    try:
        return joined_facts(kind, shards)
    except ValueError as error:
        raise InputError(
            f"{path}: its shards differ in {error}, so they were made with different weights; "
            "make them again with --force"
        ) from None
    except (AttributeError, KeyError, TypeError):
        raise InputError(
            f"{path}: one of its shards is damaged; make them again with --force"
        ) from None


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
