"""Record which commit of each hub model a study uses; resolved once and saved with the results.

Branches move. Without the record, units of one study could come from two versions of a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from pipeline.plan import ExtractionUnit
from pipeline.units import load_facts
from representations.models.hub import commit_of, is_on_hub
from study.read import InputError
from study.registry import ModelSpec
from study.write import Place, is_there, read_json, write_text

#: The file in a study's folder. If it is deleted, the next run asks the hub again.
FILE = "models.json"
#: Prefix of a commit in `run.json`.
REVISION = "revision "

Commits = Mapping[str, str]


def pinned(folder: Place, specs: Iterable[ModelSpec]) -> Commits:
    """Return the commits of hub models, and record new ones.

    Parameters
    ----------
    folder : Path or UPath
        Folder of the study.
    specs : iterable of ModelSpec

    Returns
    -------
    mapping of str to str
        By source and revision. A model that the hub does not know is left out; loading it reports
        why.
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
    """Return a model with its commit as the revision, if it has one."""
    return replace(spec, revision=commits.get(_key(spec), spec.revision))


def at_unit(spec: ModelSpec, fingerprint: str) -> ModelSpec:
    """Return a model with the commit that a unit was made from as the revision."""
    if not fingerprint.startswith(REVISION):
        return spec
    return replace(spec, revision=fingerprint.removeprefix(REVISION))


def check_one_source(finished: Sequence[ExtractionUnit]) -> None:
    """Reject units of different weights in one table.

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
                f"them again with --force --models {unit.spec.name}"
            )


def _key(spec: ModelSpec) -> str:
    return f"{spec.source}@{spec.revision}"
