"""Turn extraction units into work: read passages, write or take stories, read stories again."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

from pipeline.jobs import ModelRequest, Report
from pipeline.plan import ExtractionUnit, effort, text_count, token_counts
from pipeline.shards import WHOLE, Shard, joined
from pipeline.units import load_facts, save_unit
from pipeline.work import Work
from representations import arms
from representations.ablation import ablation
from representations.certificate import READING, WRITING, certify
from representations.corpus.corpus import Corpus
from representations.facts import Story
from representations.models.loading import LoadedModel
from representations.pooled import PooledUnit
from study import Study
from study.read import InputError
from study.tables import OF_CORPUS
from study.write import is_there


def units_of_work(
    chosen: list[ExtractionUnit], study: Study, corpus: Corpus, device: str
) -> list[Work]:
    """Return the chosen units as work for the runner.

    A unit that reads stories needs the unit that wrote them. If that unit was not chosen, its
    stories must exist already. Rereading is split like the unit that wrote its stories.
    """
    by_unit: dict[ExtractionUnit, Work] = {}
    for unit in chosen:
        work = _work(unit, study, corpus, device)
        if unit.writer is not None:
            written = by_unit.get(unit.writer) or _work(unit.writer, study, corpus, device)
            same = written if unit.method == "rereading" else None
            work = replace(work, after=written, shard_as=same)
        by_unit[unit] = work
    return list(by_unit.values())


def _work(unit: ExtractionUnit, study: Study, corpus: Corpus, device: str) -> Work:
    return Work(
        title=unit.title,
        path=unit.path,
        model=ModelRequest(
            unit.spec,
            unit.untrained_seed,
            device,
            unit.dtype,
            twin="trained" in study.weights,
        ),
        tokens=sum(token_counts(unit.method, study, corpus)),
        effort=effort(unit, study, corpus),
        n_texts=text_count(unit, study, corpus),
        do=partial(run_and_save, unit, study, corpus),
        join=partial(save_joined, unit, study),
        facts=partial(load_facts, unit.path),
        certificate=READING + WRITING * _writes(unit, study),
        unsharded=unit.method == "ablation",
    )


def _writes(unit: ExtractionUnit, study: Study) -> bool:
    """Say whether a unit's model writes in this study, be it in another unit."""
    if unit.told is not None:
        return False
    return "generation" in (study.methods if unit.weights == "trained" else study.untrained_methods)


def run_and_save(
    unit: ExtractionUnit,
    study: Study,
    corpus: Corpus,
    shard: Shard,
    loaded: LoadedModel,
    report: Report,
) -> None:
    """Run a unit or one of its shards, and save the result."""
    pooled = extract(unit, loaded, study, corpus, report, shard)
    if shard.of == 1:
        arms.check_some(pooled.facts, study.pooling)
    save_unit(shard.path(unit.path), pooled)


def save_joined(unit: ExtractionUnit, study: Study, of: int) -> None:
    """Join the shards of a unit."""
    with joined(unit.path, of) as pooled:
        arms.check_some(pooled.facts, study.pooling)
        save_unit(unit.path, pooled)


def extract(
    unit: ExtractionUnit,
    loaded: LoadedModel,
    study: Study,
    corpus: Corpus,
    progress: Report = lambda tokens: None,
    shard: Shard = WHOLE,
) -> PooledUnit:
    """Run a unit or one of its shards: the arm of its method.

    The model reads passages, intact (comprehension) or also ablated (ablation), writes stories
    (generation), reads stories that another engine wrote as if it wrote them (generation with
    `told`), or reads its own stories (rereading) or another model's (crossreading).

    Returns
    -------
    PooledUnit
    """
    began = time.monotonic()
    certificate = certify(loaded, corpus, writes=_writes(unit, study))
    pooling = study.pooling
    texts = shard.texts(text_count(unit, study, corpus))
    if unit.method == "comprehension":
        pooled = arms.comprehension(
            loaded, corpus, pooling, progress=progress, near=unit.path, texts=texts
        )
    elif unit.method == "ablation":
        whole = effort(unit, study, corpus)
        pooled = ablation(
            loaded,
            corpus,
            study.ablation,
            pooling,
            seed=study.seed,
            progress=lambda share: progress(share * whole),
        )
    elif unit.method == "generation" and unit.told is not None:
        pooled = arms.told(
            loaded,
            corpus,
            unit.told,
            study.generation,
            pooling,
            study.seed,
            progress=progress,
            near=unit.path,
            texts=texts,
        )
    elif unit.method == "generation":
        pooled = arms.generation(
            loaded,
            corpus,
            study.generation,
            pooling,
            study.seed,
            progress=progress,
            near=unit.path,
            texts=texts,
        )
    elif unit.writer is not None:
        stories = stories_of(unit.writer, shard, texts)
        if unit.method == "rereading":
            pooled = arms.rereading(
                loaded, stories, study.generation, pooling, progress=progress, near=unit.path
            )
        else:
            pooled = arms.crossreading(loaded, stories, pooling, progress=progress, near=unit.path)
    else:
        raise ValueError(f"no arm for the method {unit.method!r}")
    made: dict[str, Any] = {
        "weights": unit.weights,
        "seed": unit.seed,
        "method": unit.method,
        "certificate": certificate,
    }
    if unit.method not in OF_CORPUS:
        told = (unit.writer or unit).told
        made["written_by"] = told.written_by if told else "emotion-depth"
    seconds = round(time.monotonic() - began, 2)
    return replace(pooled, facts={**pooled.facts, **loaded.facts(), **made, "seconds": seconds})


def stories_of(writer: ExtractionUnit, shard: Shard, texts: slice) -> list[Story]:
    """Return the stories of a unit, or of one of its shards."""
    if is_there(path := shard.path(writer.path)):
        return load_facts(path)["stories"]
    if is_there(writer.path):
        return load_facts(writer.path)["stories"][texts]
    raise InputError(f"{writer.title}: its stories are not written; run generation first")
