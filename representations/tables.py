"""Finished units to the tables of a study: the contract with `analysis`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import pandas as pd

from representations.corpus import Corpus
from representations.metrics import METRICS
from representations.plan import Task
from representations.provenance import provenance
from representations.separation import separation_scores, shuffled_within_topics
from representations.store import (
    Place,
    fingerprint,
    is_there,
    load_facts,
    load_unit,
    read_table,
    remove,
    write_table,
    write_text,
)
from study import Study

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
    unit = load_unit(task.path)
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
    tables: list[pd.DataFrame],
    started: float,
) -> None:
    """Write the study's tables, stories and `run.json`, each atomically.

    Tables are sorted by model, so that one model's rows are found without reading all. The old
    `run.json` goes first and the new one comes last: without it no table is read, so that the
    tables of two runs never pass for those of one.
    """
    everything = pd.concat(tables).sort_values("model", kind="stable", ignore_index=True)
    estimates = everything[everything["replicate"] == 0]
    columns = [*PROFILE_COLUMNS, "emotion", "layer", "depth", "metric", "score"]
    remove(folder / "run.json")
    write_table(folder / "scores.parquet", estimates[columns])
    replicates = everything[everything["replicate"] > 0].astype({"score": "float32"})
    columns = [*PROFILE_COLUMNS, "layer", "depth", "metric", "replicate", "score"]
    write_table(folder / "replicates.parquet", replicates[columns])
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
