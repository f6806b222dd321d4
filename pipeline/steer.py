"""Turn steering units into work: a model's baselines, or its trials at one layer."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.jobs import ModelRequest, Report
from pipeline.pins import at_unit
from pipeline.plan import ExtractionUnit
from pipeline.shards import Shard, all_shards, facts_of_shards
from pipeline.units import load_facts, open_unit
from pipeline.work import Work
from representations.certificate import READING, WRITING, certify
from representations.corpus.corpus import Corpus
from representations.facts import SteeringFacts
from representations.generation import WRITTEN
from representations.models.loading import LoadedModel
from representations.steering.trials import Scenarios, baseline, trials
from representations.vectors import emotion_vectors
from study import Study
from study.write import Place, is_there, read_json, write_text

#: Mean cost of a token: half of them are written, half are read.
EFFORT = (WRITTEN + 1) / 2


@dataclass(frozen=True, eq=False)
class SteeringUnit:
    """A model's baselines (no layer), or its trials at one layer."""

    source: ExtractionUnit
    layer: int | None
    place: str
    strengths: tuple[float, ...]
    n_texts: int
    path: Place

    @property
    def title(self) -> str:
        """Name in progress output and messages."""
        where = "baseline" if self.layer is None else f"layer {self.layer}"
        return f"{self.source.spec.name}, {where}"


def all_done(unit: SteeringUnit, units: list[SteeringUnit]) -> bool:
    """Say whether all units of the same model are finished; tables have whole models only."""
    return all(is_there(u.path) for u in units if u.source is unit.source)


def units_of_work(
    units: list[SteeringUnit], study: Study, corpus: Corpus, scenarios: Scenarios, device: str
) -> list[Work]:
    """Return the units as work for the runner; baselines come before their trials.

    Baselines are not split, because the norms are means over all of them.
    """
    settings = study.steering
    found: list[Work] = []
    firsts: dict[ExtractionUnit, tuple[SteeringUnit, Work]] = {}
    # The weights that the vectors came from, whatever the hub's branch points to by now.
    specs = {
        source: at_unit(source.spec, load_facts(source.path)["fingerprint"])
        for source in {unit.source for unit in units}
    }
    for unit in units:
        first, baselines = firsts.get(unit.source, (unit, None))
        tokens = unit.n_texts * settings.max_new_tokens
        work = Work(
            title=unit.title,
            path=unit.path,
            model=ModelRequest(specs[unit.source], None, device, unit.source.dtype),
            tokens=2 * tokens,  # each is written, then read to compute its perplexity
            effort=2 * EFFORT * tokens,
            n_texts=unit.n_texts,
            do=partial(run_and_save, unit, first, study, corpus, scenarios),
            join=partial(save_joined, unit),
            facts=partial(read_json, unit.path),
            certificate=READING + WRITING,
            after=baselines,
            unsharded=unit.layer is None,
        )
        found.append(work)
        if unit.layer is None:
            firsts[unit.source] = unit, work
    return found


def run_and_save(
    unit: SteeringUnit,
    first: SteeringUnit,
    study: Study,
    corpus: Corpus,
    scenarios: Scenarios,
    shard: Shard,
    loaded: LoadedModel,
    report: Report = lambda effort: None,
) -> None:
    """Write the texts of a unit or a shard, and save them with their measures in one file.

    Strengths are fractions of the norms measured in `first`, the model's baselines.
    """

    def progress(tokens: int) -> None:
        report(EFFORT * tokens)

    began = time.monotonic()
    certificate = certify(loaded, corpus, writes=True)
    settings, n_texts = study.steering, unit.n_texts
    norms: dict[str, Any] = {}
    if unit.layer is None:
        rows, norms["norms"] = baseline(loaded, settings, scenarios, study.seed, progress)
    else:
        norms["norm"] = norm = read_json(first.path)["norms"][unit.layer]
        with open_unit(unit.source.path) as kept:
            vectors = emotion_vectors(kept, settings.emotions)
        rows = trials(
            loaded,
            settings,
            scenarios,
            study.seed,
            vectors,
            unit.layer,
            norm,
            unit.strengths,
            progress,
            shard.texts(n_texts),
        )
    facts: dict[str, Any] = {
        **loaded.facts(),
        **norms,
        "certificate": certificate,
        "layer": unit.layer,
        "place": unit.place,
        "tokens": sum(row["n_tokens"] for row in rows),
        "seconds": round(time.monotonic() - began, 1),
        "rows": rows,
    }
    write_text(shard.path(unit.path), json.dumps(facts, ensure_ascii=False))


def save_joined(unit: SteeringUnit, of: int) -> None:
    """Join the shards of a unit."""
    shards = [read_json(shard.path(unit.path)) for shard in all_shards(of)]
    facts = facts_of_shards(SteeringFacts, shards, unit.path)
    write_text(unit.path, json.dumps(facts, ensure_ascii=False))
