"""Score finished units and write the tables of a study: the contract with `analysis`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

import pandas as pd

from pipeline.plan import ExtractionUnit
from pipeline.provenance import BULKY, certificates, provenance
from pipeline.units import load_facts, open_unit
from representations.corpus.corpus import Corpus
from representations.facts import UnitFacts
from representations.lost import MEASURES, lost_scores
from representations.metrics import METRICS, Measure, Metric
from representations.separation import separation_scores, shuffled_within_topics
from study import Study
from study.tables import MODEL, PROFILE, REPLICATE_COLUMNS, SCORE_COLUMNS
from study.write import (
    Place,
    fingerprint,
    is_there,
    read_table,
    remove,
    write_table,
    write_tables_as_one,
    write_text,
)

#: Columns that describe a profile for any metric.
OF_UNIT = [c for c in ("study", *PROFILE, *MODEL) if c != "metric"]


def score(unit: ExtractionUnit, study: Study, labels: str) -> pd.DataFrame:
    """Score a finished unit; the scores are computed once and saved next to it.

    Returns
    -------
    DataFrame
        Columns of a profile, and emotion, layer, depth, metric, replicate, score. Replicate 0 has
        the scores per emotion; the others have the mean over emotions.
    """
    path = _path(unit, study, labels)
    if is_there(path):
        return read_table(path)
    with open_unit(unit.path) as pooled:
        facts = pooled.facts
        emotions = facts["emotions"]
        if labels == "shuffled":
            emotions = shuffled_within_topics(emotions, facts["topics"], study.seed)
        scoring = study.scoring
        if unit.method == "ablation":
            scores, replicates = lost_scores(
                pooled,
                folds=scoring.folds,
                replicates=scoring.replicates,
                seed=study.seed,
            )
        else:
            scores, replicates = separation_scores(
                pooled.activations,
                emotions,
                facts["topics"],
                metrics=scoring.metrics,
                neutral=pooled.neutral,
                neutral_topics=facts["neutral_topics"],
                folds=scoring.folds,
                replicates=scoring.replicates,
                denoise=scoring.denoise,
                seed=study.seed,
            )
    table = pd.concat([scores.assign(replicate=0), replicates.assign(emotion="")])
    for column in OF_UNIT:
        table[column] = facts.get(column)
    table["study"], table["labels"] = study.name, labels
    table["depth"] = table["layer"] / facts["n_layers"]
    write_table(path, table)
    return table


def _path(unit: ExtractionUnit, study: Study, labels: str) -> Place:
    settings = [asdict(study.scoring), study.seed, labels]
    return unit.path.with_suffix(f".{fingerprint(settings)}.{labels}.parquet")


def is_scored(unit: ExtractionUnit, study: Study) -> bool:
    """Whether the scores of a unit are there."""
    return all(is_there(_path(unit, study, labels)) for labels in labels_of(unit, study))


def labels_of(unit: ExtractionUnit, study: Study) -> tuple[str, ...]:
    """Return the labels under which a unit is scored; ablation takes out those of the truth."""
    return ("true",) if unit.method == "ablation" else study.labels


def write_tables(
    study: Study,
    corpus: Corpus,
    folder: Place,
    units: list[ExtractionUnit],
    finished: list[ExtractionUnit],
    started: float,
) -> None:
    """Write the study's tables, stories and `run.json`, each atomically.

    Tables are sorted by model, which allows reading one model's rows without the rest; only one
    model is in memory at a time. The old `run.json` is deleted first and the new one written last.
    Tables are not read without it, so tables of two runs are never mixed.
    """
    remove(folder / "run.json")
    write_tables_as_one(folder / "scores.parquet", _estimates(finished, study))
    write_tables_as_one(folder / "replicates.parquet", _replicates(finished, study))
    echoes, lines = [], []
    known: list[UnitFacts] = []
    for unit in finished:
        facts = load_facts(unit.path)
        if unit.method == "generation":
            keys = {k: facts[k] for k in ("model", "weights", "seed", "precision")}
            stories = [{k: v for k, v in s.items() if k != "token_ids"} for s in facts["stories"]]
            lines += [json.dumps({**keys, **s}, ensure_ascii=False) for s in stories]
        known.append(facts)
        echoes.append({k: v for k, v in facts.items() if k not in BULKY})
    write_text(folder / "stories.jsonl", "".join(line + "\n" for line in lines))
    content = {
        "study": {k: v for k, v in study.echo().items() if k != "sha256"},
        "study_sha256": study.sha256,
        "corpus_sha256": corpus.sha256,
        "emotions": [asdict(e) for e in corpus.emotions],
        "topics": [t.name for t in corpus.topics],
        "metrics": {
            name: {
                "label": measure.label,
                "higher_is_better": measure.higher_is_better,
                "chance": measure.chance,
            }
            for name, measure in _measures(study, finished).items()
        },
        "units": echoes,
        "certificates": certificates(known),
        "missing": [unit.title for unit in units if unit not in finished],
        "seconds": round(time.monotonic() - started, 1),
        **provenance(),
    }
    write_text(folder / "run.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _measures(study: Study, finished: Sequence[ExtractionUnit]) -> dict[str, Metric | Measure]:
    """Return the measures in the tables, by name."""
    ablated = any(unit.method == "ablation" for unit in finished)
    return {m: METRICS[m] for m in study.scoring.metrics} | (dict(MEASURES) if ablated else {})


def _by_model(finished: Sequence[ExtractionUnit], study: Study) -> Iterator[pd.DataFrame]:
    """Yield the scores model by model."""
    ordered = sorted(finished, key=lambda unit: unit.spec.name)
    for _, units in groupby(ordered, key=lambda unit: unit.spec.name):
        yield pd.concat([score(u, study, labels) for u in units for labels in labels_of(u, study)])


def _estimates(finished: Sequence[ExtractionUnit], study: Study) -> Iterator[pd.DataFrame]:
    for table in _by_model(finished, study):
        yield table.loc[table["replicate"] == 0, list(SCORE_COLUMNS)]


def _replicates(finished: Sequence[ExtractionUnit], study: Study) -> Iterator[pd.DataFrame]:
    for table in _by_model(finished, study):
        rows = table.loc[table["replicate"] > 0, list(REPLICATE_COLUMNS)]
        yield rows.astype({"score": "float32"})
