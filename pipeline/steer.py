"""Turn steering units into work: a model's baselines, or its trials at one layer.

At the peak, trials have a matched sham beside the isotropic one. There and for the baselines, the
unsteered model is asked for its own opinion if the study lists it among its judges.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

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
from representations.steering.opinions import opinions, quality
from representations.steering.trials import Scenarios, baseline, trials
from representations.vectors import emotion_vectors, within_emotions
from study import Study
from study.write import Place, is_there, read_json, write_text

#: Mean cost of a token: half of them are written, half are read.
EFFORT = (WRITTEN + 1) / 2
PEAK = "peak"
#: Passages on which a model's own opinion is tested.
PASSAGES = 48


@dataclass(frozen=True, eq=False)
class SteeringUnit:
    """A model's baselines (no layer), or its trials at one layer.

    Attributes
    ----------
    source : ExtractionUnit
        What the vectors are made from.
    layer : int or None
    place : {"baseline", "peak", "sweep"}
    strengths : tuple of float
    n_texts : int
    path : Path or UPath
    asks : bool
        Whether the model is asked for its opinion of the texts.
    """

    source: ExtractionUnit
    layer: int | None
    place: str
    strengths: tuple[float, ...]
    n_texts: int
    path: Place
    asks: bool = False

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
            # Each is written, then read to compute its perplexity, and perhaps for an opinion.
            tokens=(2 + unit.asks) * tokens,
            effort=(2 * EFFORT + unit.asks) * tokens,
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
    ask = None
    if unit.asks:
        names = sorted(set(load_facts(unit.source.path)["emotions"]))
        ask = partial(asked, loaded, names, settings.batch, report)
    if unit.layer is None:
        rows, norms["norms"] = baseline(loaded, settings, scenarios, study.seed, progress, ask)
        if ask is not None:
            shown = passages(corpus, settings.emotions)
            answers = [list(odds.values()) for odds in ask([text for _, text in shown])]
            norms["own_auc"] = quality(np.array(answers), [e for e, _ in shown], names)
    else:
        norms["norm"] = norm = read_json(first.path)["norms"][unit.layer]
        with open_unit(unit.source.path) as kept:
            vectors = emotion_vectors(kept, settings.emotions)
            residuals = within_emotions(kept, unit.layer) if unit.place == PEAK else None
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
            ask,
            residuals,
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


def asked(
    loaded: LoadedModel, emotions: list[str], batch: int, report: Report, texts: Sequence[str]
) -> list[dict[str, float]]:
    """Return the model's log-odds of each emotion after each text."""
    found = opinions(loaded, texts, emotions, max_texts=batch, progress=report)
    return [dict(zip(emotions, row.tolist(), strict=True)) for row in found]


def passages(corpus: Corpus, emotions: Sequence[str]) -> list[tuple[str, str]]:
    """Return passages of the emotions, at most `PASSAGES`, with their emotions."""
    shown = [(p.emotion, p.text) for p in corpus.passages if p.emotion in emotions]
    shown.sort(key=lambda each: each[0])
    every = max(1, -(-len(shown) // PASSAGES))
    return shown[::every]


def save_joined(unit: SteeringUnit, of: int) -> None:
    """Join the shards of a unit."""
    shards = [read_json(shard.path(unit.path)) for shard in all_shards(of)]
    facts = facts_of_shards(SteeringFacts, shards, unit.path)
    write_text(unit.path, json.dumps(facts, ensure_ascii=False))
