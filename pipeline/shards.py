"""Split large units into shards: contiguous texts that are saved separately, then joined.

The number of shards depends on the model, the texts and the kind of device, not on what runs them:
the same batches of texts give the same tables on one machine and on a cluster.
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

#: Operations in about half an hour, beyond which a unit is split: on a core in float32 (measured,
#: see docs/scaling.md), and on a GPU (calculated, at a third of its peak of 312 x 10^12 a second).
OPERATIONS = {"cpu": 2e14, "gpu": 2e17}


@dataclass(frozen=True)
class Shard:
    """One of the parts that a unit's texts are split into.

    Attributes
    ----------
    number : int
        From 1.
    of : int
        Number of shards; 1 means the whole unit.

    Examples
    --------
    >>> Shard(2, 3).texts(10)
    slice(3, 6, None)
    """

    number: int = 1
    of: int = 1

    def texts(self, n_texts: int) -> slice:
        """Return which of a unit's texts belong to the shard."""
        return slice((self.number - 1) * n_texts // self.of, self.number * n_texts // self.of)

    def path(self, unit: Place) -> Place:
        """Return the path of the shard: next to the unit, or the unit's own if it is the whole."""
        if self.of == 1:
            return unit
        return unit.with_suffix(f".{self.number}-of-{self.of}{unit.suffix}")


WHOLE = Shard()


def all_shards(of: int) -> list[Shard]:
    """Return all shards of a unit that is split into `of`."""
    return [Shard(number, of) for number in range(1, of + 1)]


def n_shards(
    n_params: int, tokens: float, n_texts: int, device: str, asked: int | None = None
) -> int:
    """Return the number of shards of a unit.

    Each shard takes about half an hour at most, at two operations per parameter and token.

    Parameters
    ----------
    n_params : int
        Size of the model; 0 if unknown, which gives one shard.
    tokens : float
        Tokens to read; a written token counts as `representations.generation.WRITTEN`.
    n_texts : int
        Upper limit for the number of shards.
    device : str
        As for `representations.models.loading.load`.
    asked : int, optional
        Overrides the number that follows from the size.

    Returns
    -------
    int

    Raises
    ------
    InputError
        If `asked` is less than one.

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
        raise InputError(f"--shards {asked}: give 1 or more, or leave it out to split by size")
    return min(asked, n_texts)


@contextmanager
def joined(path: Place, of: int) -> Iterator[PooledUnit]:
    """Open the shards of a unit as one unit, with the texts in their original order.

    Parameters
    ----------
    path : Path or UPath
        Path of the unit.
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
    """Combine the facts of shards into those of the unit.

    Parameters
    ----------
    kind : type
        `UnitFacts` or `SteeringFacts`.
    shards : sequence of mappings
    path : Path or UPath
        Path of the unit, for the message.

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
    """Delete the shards of finished units.

    Parameters
    ----------
    folder : Path or UPath
        The units'.

    Raises
    ------
    InputError
        If the folder is not writable, or its store does not answer.
    """
    paths = files_in(folder)
    for name, path in paths.items():
        shard = re.fullmatch(r"(.+)\.\d+-of-\d+(\.[a-z]+)", name)
        if shard and "".join(shard.groups()) in paths:
            remove(path)
