"""A study in, score tables out: where in each model, and how well, do emotions separate?

    python extraction.py                       the study `demo`
    python extraction.py --study jeong2026     another one, or a .toml file of your own
    python extraction.py --dry-run             what would be done, and about how long it takes

Every unit (one model x weights x precision x method) is finished as a whole and kept, so a run
that was stopped goes on where it was: give the same command again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from representations.corpus import Corpus, load_corpus
from representations.errors import InputError
from representations.metrics import METRICS
from representations.registry import ModelSpec, find_model
from representations.store import (
    Unit,
    fingerprint,
    load_facts,
    load_unit,
    save_unit,
    slug,
    write_table,
    write_text,
)
from study import HOME, METHODS, Study, load_study

SCORES = HOME / "data" / "scores"
PROFILE_COLUMNS = [
    "study", "model", "family", "n_params", "n_layers", "instruct", "weights", "seed",
    "precision", "method", "labels",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Task:
    """One unit of work: a model with its weights, read in one way."""

    spec: ModelSpec
    weights: str
    seed: int
    dtype: str
    method: str
    path: Path

    @property
    def title(self) -> str:
        """How progress and messages call it."""
        return f"{self.spec.name}, {self.weights}, {self.method}"

    @property
    def model_key(self) -> tuple[str, str, int, str]:
        """Tasks with the same key share a loaded model."""
        return self.spec.name, self.weights, self.seed, self.dtype


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study; return the exit code."""
    args = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        study = load_study(args.study)
        corpus = load_corpus(HOME / study.corpus).restricted(
            study.emotions or None, study.topics or None
        )
        folder = Path(args.out) if args.out else SCORES / study.name
        tasks = plan(study, corpus, folder, args.device)
        chosen = [t for t in tasks if _asked_for(t, args, study)]
        if args.dry_run:
            from representations.estimate import print_estimate

            print_estimate(console, chosen, study, corpus)
            return 0
        return run(study, corpus, folder, tasks, chosen, args, console)
    except InputError as error:
        print(f"extraction.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "extraction.py: interrupted; finished units are kept, the same command goes on",
            file=sys.stderr,
        )
        return 130


def plan(study: Study, corpus: Corpus, folder: Path, device: str = "auto") -> list[Task]:
    """List the units of a study, in the order of the work.

    Parameters
    ----------
    study : Study
    corpus : Corpus
        Restricted to the study's emotions and topics.
    folder : Path
        The study's folder of score tables.
    device : str
        As for `representations.models.load`; it decides the dtype that "auto" stands for.

    Returns
    -------
    list of Task

    Raises
    ------
    InputError
        For an unknown model or metric, or weights that are not installed or not the right ones.
    """
    from representations.models import resolved
    from representations.weights import check_package

    unknown = [m for m in study.scoring.metrics if m not in METRICS]
    if unknown:
        raise InputError(
            f"study {study.name}: scoring.metrics has unknown {unknown[0]!r}; "
            f"choose from {', '.join(METRICS)}"
        )
    tasks = []
    for name in study.models:
        spec = find_model(name, study.model)
        for weights in study.weights:
            if weights == "trained" or not spec.config:
                check_package(spec)
            seeds = study.untrained_seeds if weights == "untrained" else (0,)
            methods = study.methods if weights == "trained" else study.untrained_methods
            for seed in seeds:
                for precision in study.precisions:
                    dtype = resolved(device, precision)[1]
                    for method in sorted(methods, key=METHODS.index):
                        made_by = [
                            asdict(spec), weights, seed, dtype, method, corpus.sha256,
                            [e.name for e in corpus.emotions], [t.name for t in corpus.topics],
                            study.seed, study.pooling.skip, study.pooling.size,
                            asdict(study.generation) if method != "comprehension" else None,
                        ]  # fmt: skip
                        name_ = slug(spec.name, weights, seed, dtype, method)
                        path = folder / "units" / f"{name_}.{fingerprint(made_by)}.safetensors"
                        tasks.append(Task(spec, weights, seed, dtype, method, path))
    return tasks


def run(
    study: Study,
    corpus: Corpus,
    folder: Path,
    tasks: list[Task],
    chosen: list[Task],
    args: argparse.Namespace,
    console: Console,
) -> int:
    """Do the chosen units that are not finished, then write the tables of all that are."""
    from filelock import FileLock, Timeout

    from representations.models import load

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder}: another run is at work there; wait for it to end") from None
    started = time.time()
    failures: list[str] = []
    try:
        with _progress(console) as bar:
            todo = [t for t in chosen if args.force or not t.path.exists()]
            work = {t: _expected_tokens(t, study, corpus) for t in todo}
            overall = bar.add_task("extraction", total=max(sum(work.values()), 1))
            loaded, loaded_key = None, None
            for task in todo:
                bar.update(overall, description=task.title)
                try:
                    if task.model_key != loaded_key:
                        loaded, loaded_key = None, None  # free the last model before the next
                        untrained = task.seed if task.weights == "untrained" else None
                        loaded = load(
                            task.spec, untrained_seed=untrained, device=args.device,
                            dtype=task.dtype,
                        )  # fmt: skip
                        loaded_key = task.model_key
                    before = bar.tasks[0].completed
                    unit = extract(
                        task, loaded, study, corpus, tasks, lambda n: bar.advance(overall, n)
                    )
                    save_unit(task.path, unit)
                    bar.update(overall, completed=before + work[task])
                except InputError as error:
                    if not args.keep_going:
                        raise
                    failures.append(f"{task.title}: {error}")
                    loaded, loaded_key = None, None
            del loaded
            finished = [t for t in tasks if t.path.exists()]
            scoring = bar.add_task("scores", total=len(finished) * len(study.labels))
            tables = []
            for task in finished:
                for labels in study.labels:
                    bar.update(scoring, description=f"scores: {task.title}, {labels} labels")
                    tables.append(score(task, study, labels))
                    bar.advance(scoring)
            bar.update(scoring, description="scores")
        write_tables(study, corpus, folder, tasks, finished, tables, started)
    finally:
        lock.release()
    from representations.summary import print_summary

    print_summary(Console(), folder)
    for failure in failures:
        print(f"extraction.py: failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def extract(
    task: Task,
    loaded: Any,
    study: Study,
    corpus: Corpus,
    tasks: list[Task],
    progress: Any = lambda tokens: None,
) -> Unit:
    """Run one unit: read the passages, write the stories, or read them again.

    Returns
    -------
    Unit
    """
    from representations import methods

    began = time.time()
    if task.method == "comprehension":
        result = methods.comprehension(loaded, study, corpus, progress)
    elif task.method == "generation":
        result = methods.generation(loaded, study, corpus, progress)
    else:
        writer = next(
            t for t in tasks if t.model_key == task.model_key and t.method == "generation"
        )
        if not writer.path.exists():
            raise InputError(f"{task.title}: its stories are not written; run generation first")
        result = methods.rereading(loaded, study, load_facts(writer.path)["stories"], progress)
    facts = {
        **result.facts,
        "model": task.spec.name,
        "family": loaded.spec.family,
        "source": task.spec.source,
        "fingerprint": loaded.fingerprint,
        "n_params": loaded.n_params,
        "n_layers": loaded.n_layers,
        "width": loaded.width,
        "instruct": loaded.spec.instruct,
        "weights": task.weights,
        "seed": task.seed,
        "precision": loaded.precision,
        "method": task.method,
        "device": str(loaded.device),
        "seconds": round(time.time() - began, 2),
    }
    return Unit(result.activations, result.neutral, facts)


def score(task: Task, study: Study, labels: str) -> pd.DataFrame:
    """Score one finished unit; computed once and kept beside it.

    Returns
    -------
    DataFrame
        Columns of a profile, and emotion, layer, depth, metric, replicate, score; replicate 0
        holds the scores of each emotion, the others the mean over emotions.
    """
    from representations.separation import separation_scores, shuffled_within_topics

    settings = [asdict(study.scoring), study.seed, labels]
    path = task.path.with_suffix(f".{fingerprint(settings)}.{labels}.parquet")
    if path.exists():
        return pd.read_parquet(path)
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
    folder: Path,
    tasks: list[Task],
    finished: list[Task],
    tables: list[pd.DataFrame],
    started: float,
) -> None:
    """Write the study's tables, stories and `run.json`, each atomically."""
    from representations.provenance import provenance

    everything = pd.concat(tables, ignore_index=True)
    estimates = everything[everything["replicate"] == 0]
    columns = [*PROFILE_COLUMNS, "emotion", "layer", "depth", "metric", "score"]
    write_table(folder / "scores.parquet", estimates[columns])
    replicates = everything[everything["replicate"] > 0].astype({"score": "float32"})
    columns = [*PROFILE_COLUMNS, "layer", "depth", "metric", "replicate", "score"]
    write_table(folder / "replicates.parquet", replicates[columns])
    units, lines = [], []
    for task in finished:
        facts = load_facts(task.path)
        if task.method == "generation":
            keys = {k: facts[k] for k in ("model", "weights", "seed", "precision")}
            lines += [json.dumps({**keys, **s}, ensure_ascii=False) for s in facts["stories"]]
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
        "seconds": round(time.time() - started, 1),
        **provenance(),
    }
    write_text(folder / "run.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _expected_tokens(task: Task, study: Study, corpus: Corpus) -> int:
    """About how many tokens a unit reads or writes, for the progress bar."""
    if task.method == "comprehension":
        return int(sum(1.35 * len(p.text.split()) for p in (*corpus.passages, *corpus.neutral)))
    cells = len(corpus.emotions) * study.generation.stories_per_cell
    stories = len(corpus.topics) * (cells + study.generation.neutral_per_topic)
    # Writing a token takes several times as long as reading one.
    return stories * study.generation.max_new_tokens * (6 if task.method == "generation" else 1)


def _asked_for(task: Task, args: argparse.Namespace, study: Study) -> bool:
    for value, known, what in (
        (args.models, study.models, "model"),
        (args.methods, study.methods, "method"),
    ):
        unknown = [v for v in value or [] if v not in known]
        if unknown:
            raise InputError(
                f"study {study.name} has no {what} {unknown[0]!r}; it has {', '.join(known)}"
            )
    in_models = not args.models or task.spec.name in {
        find_model(m, study.model).name for m in args.models
    }
    return in_models and (not args.methods or task.method in args.methods)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def _parser() -> argparse.ArgumentParser:
    summary, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="extraction.py",
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--study", default="demo", help="a name in data/studies, or a .toml file")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="only these of the study")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these of the study")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, or balanced")
    parser.add_argument("--out", metavar="FOLDER", help="instead of data/scores/STUDY")
    parser.add_argument("--force", action="store_true", help="do finished units again")
    parser.add_argument("--keep-going", action="store_true", help="go on after a model fails")
    parser.add_argument("--dry-run", action="store_true", help="list the units and their cost")
    return parser


if __name__ == "__main__":
    sys.exit(main())
