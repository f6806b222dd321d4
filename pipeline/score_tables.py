"""Finished units to the tables of a study: the contract with `analysis`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

import pandas as pd

from pipeline.plan import Task
from pipeline.provenance import provenance
from pipeline.units import load_facts, open_unit
from representations.corpus.corpus import Corpus
from representations.metrics import METRICS
from representations.separation import separation_scores, shuffled_within_topics
from study import Study
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

PROFILE_COLUMNS = [
    "study", "model", "family", "n_params", "n_layers", "instruct", "weights", "seed",
    "precision", "method", "labels",
]  # fmt: skip


def score(task: Task, study: Study, labels: str) -> pd.DataFrame:
    """Score one finished unit; computed once and kept beside it.

    Returns
    -------
    DataFrame
        Columns of a profile, and emotion, layer, depth, metric, replicate, score; replicate 0
        holds the scores of each emotion, the others the mean over emotions.
    """
    settings = [asdict(study.scoring), study.seed, labels]
    path = task.path.with_suffix(f".{fingerprint(settings)}.{labels}.parquet")
    if is_there(path):
        return read_table(path)
    with open_unit(task.path) as unit:
        facts = unit.facts
        emotions = facts["emotions"]
        if labels == "shuffled":
            emotions = shuffled_within_topics(emotions, facts["topics"], study.seed)
        scores, replicates = separation_scores(
            unit.activations,
            emotions,
            facts["topics"],
            metrics=study.scoring.metrics,
            neutral=unit.neutral,
            neutral_topics=facts["neutral_topics"],
            folds=study.scoring.folds,
            replicates=study.scoring.replicates,
            denoise=study.scoring.denoise,
            seed=study.seed,
        )
    table = pd.concat([scores.assign(replicate=0), replicates.assign(emotion="")])
    for column in PROFILE_COLUMNS:
        table[column] = facts.get(column)
    table["study"], table["labels"] = study.name, labels
    table["depth"] = table["layer"] / facts["n_layers"]
    write_table(path, table)
    return table


def write_tables(
    study: Study,
    corpus: Corpus,
    folder: Place,
    tasks: list[Task],
    finished: list[Task],
    started: float,
) -> None:
    """Write the study's tables, stories and `run.json`, each atomically.

    Tables are sorted by model, so that one model's rows are found without reading all; one
    model's are in memory at a time. The old `run.json` goes first and the new one comes last:
    without it no table is read, so that the tables of two runs never pass for those of one.
    """
    remove(folder / "run.json")
    write_tables_as_one(folder / "scores.parquet", _estimates(finished, study))
    write_tables_as_one(folder / "replicates.parquet", _replicates(finished, study))
    units, lines = [], []
    for task in finished:
        facts = load_facts(task.path)
        if task.method == "generation":
            keys = {k: facts[k] for k in ("model", "weights", "seed", "precision")}
            stories = [{k: v for k, v in s.items() if k != "token_ids"} for s in facts["stories"]]
            lines += [json.dumps({**keys, **s}, ensure_ascii=False) for s in stories]
        bulky = ("stories", "emotions", "topics", "neutral_topics")
        units.append({k: v for k, v in facts.items() if k not in bulky})
    write_text(folder / "stories.jsonl", "".join(line + "\n" for line in lines))
    content = {
        "study": {k: v for k, v in study.echo().items() if k != "sha256"},
        "study_sha256": study.sha256,
        "corpus_sha256": corpus.sha256,
        "emotions": [asdict(e) for e in corpus.emotions],
        "topics": [t.name for t in corpus.topics],
        "metrics": {
            name: {
                "label": METRICS[name].label,
                "higher_is_better": METRICS[name].higher_is_better,
                "chance": METRICS[name].chance,
            }
            for name in study.scoring.metrics
        },
        "units": units,
        "missing": [t.title for t in tasks if t not in finished],
        "seconds": round(time.monotonic() - started, 1),
        **provenance(),
    }
    write_text(folder / "run.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _by_model(finished: Sequence[Task], study: Study) -> Iterator[pd.DataFrame]:
    """Yield the scores of one model after the other."""
    ordered = sorted(finished, key=lambda task: task.spec.name)
    for _, tasks in groupby(ordered, key=lambda task: task.spec.name):
        yield pd.concat([score(t, study, labels) for t in tasks for labels in study.labels])


def _estimates(finished: Sequence[Task], study: Study) -> Iterator[pd.DataFrame]:
    columns = [*PROFILE_COLUMNS, "emotion", "layer", "depth", "metric", "score"]
    for table in _by_model(finished, study):
        yield table.loc[table["replicate"] == 0, columns]


def _replicates(finished: Sequence[Task], study: Study) -> Iterator[pd.DataFrame]:
    columns = [*PROFILE_COLUMNS, "layer", "depth", "metric", "replicate", "score"]
    for table in _by_model(finished, study):
        yield table.loc[table["replicate"] > 0, columns].astype({"score": "float32"})
