"""Which commit of each hub model a study stands on: asked for once, and kept beside the results.

Branches move. Without a note, the units of one study could come from two states of a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from pipeline.plan import ExtractionUnit
from pipeline.units import load_facts
from representations.models.hub import commit_of, is_on_hub
from representations.models.registry import ModelSpec
from study.read import InputError
from study.write import Place, is_there, read_json, write_text

#: The file in a study's folder. Who deletes it lets the next run ask the hub anew.
FILE = "models.json"
#: How `run.json` names a commit.
REVISION = "revision "

Commits = Mapping[str, str]


def pinned(folder: Place, specs: Iterable[ModelSpec]) -> Commits:
    """Return the commits of hub models, and note those that are new.

    Parameters
    ----------
    folder : Path or UPath
        The study's.
    specs : iterable of ModelSpec

    Returns
    -------
    mapping of str to str
        By source and revision. A model that the hub does not tell of is left out: loading it
        says why.
    """
    path = folder / FILE
    known: dict[str, str] = read_json(path) if is_there(path) else {}
    before = dict(known)
    for spec in specs:
        if is_on_hub(spec) and _key(spec) not in known:
            with suppress(InputError):
                known[_key(spec)] = commit_of(spec)
    if known != before:
        write_text(path, json.dumps(known, indent=1) + "\n")
    return known


def at_commit(spec: ModelSpec, commits: Commits) -> ModelSpec:
    """Return a model with its commit as revision, if it has one."""
    return replace(spec, revision=commits.get(_key(spec), spec.revision))


def at_unit(spec: ModelSpec, fingerprint: str) -> ModelSpec:
    """Return a model with the commit as revision that a unit was made from."""
    if not fingerprint.startswith(REVISION):
        return spec
    return replace(spec, revision=fingerprint.removeprefix(REVISION))


def check_one_source(finished: Sequence[ExtractionUnit]) -> None:
    """Refuse to put units of different weights into one table.

    Parameters
    ----------
    finished : sequence of ExtractionUnit

    Raises
    ------
    InputError
    """
    sources: dict[tuple[str, str, int], str] = {}
    for unit in finished:
        found = load_facts(unit.path)["fingerprint"]
        first = sources.setdefault((unit.spec.name, unit.weights, unit.seed), found)
        if found != first:
            raise InputError(
                f"{unit.title}: made from {found}, other units of the model from {first}; make "
                f"them anew with --force --models {unit.spec.name}"
            )


def _key(spec: ModelSpec) -> str:
    return f"{spec.source}@{spec.revision}"
