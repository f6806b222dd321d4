"""A study in, score tables out: where in each model, and how well, do emotions separate?

    python extraction.py                       the study `demo`
    python extraction.py --study jeong2026     another one, or a .toml file of your own
    python extraction.py --dry-run             what would be done, and about how long it takes
    python extraction.py --engine ray          models side by side, and shards of large ones
    python extraction.py --out s3://bucket/x   any store that fsspec knows

Every unit (one model x weights x precision x method) is finished as a whole and kept, so a run
that was stopped goes on where it was: give the same command again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from study.interruption import listen

if __name__ == "__main__":  # before the libraries, which take a while to load
    listen("extraction.py", "finished units are kept, the same command goes on")

from rich.console import Console

from pipeline.engines import engine, run_parser
from pipeline.estimate import (
    expected_tokens,
    parameter_count,
    print_estimate,
    text_count,
)
from pipeline.jobs import Engine, Job, Model, Report, progress_bar
from pipeline.plan import Task, plan
from pipeline.score_tables import score, write_tables
from pipeline.shards import WHOLE, Shard, joined, n_shards, remove_shards, shard_jobs
from pipeline.summary import print_summary
from pipeline.units import load_facts, save_unit
from representations import arms
from representations.corpus.corpus import Corpus, load_corpus
from representations.models.loading import LoadedModel
from representations.models.registry import find_model
from representations.pooled import Unit
from study import HOME, Study, load_study
from study.lock import only_run
from study.read import InputError
from study.write import Place, is_there, locate

Stories = list[dict[str, Any]]

SCORES = HOME / "data" / "scores"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study; return the exit code."""
    args = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        study = load_study(args.study)
        corpus = load_corpus(HOME / study.corpus).restricted(
            study.emotions or None, study.topics or None
        )
        folder = locate(args.out or SCORES / study.name)
        with engine(args, folder, f"python extraction.py --study {args.study}") as worker:
            tasks = plan(study, corpus, folder, worker.device, worker.elsewhere)
            chosen = [t for t in tasks if _asked_for(t, args, study)]
            shards = shards_of(tasks, chosen, study, corpus, worker.device, args.shards)
            if args.dry_run:
                print_estimate(console, chosen, study, corpus, shards)
                return 0
            return run(study, corpus, folder, tasks, shards, args, console, worker)
    except InputError as error:
        print(f"extraction.py: {error}", file=sys.stderr)
        return 2


def run(
    study: Study,
    corpus: Corpus,
    folder: Place,
    tasks: list[Task],
    shards: Mapping[Task, int],
    args: argparse.Namespace,
    console: Console,
    worker: Engine,
) -> int:
    """Do the chosen units that are not finished, then write the tables of all that are."""
    started = time.monotonic()
    with only_run(folder):
        remove_shards(folder / "units")
        with progress_bar(console) as bar:
            todo = {t: n for t, n in shards.items() if args.force or not is_there(t.path)}
            failures = worker.run(
                unit_jobs(todo, tasks, study, corpus, worker.device, args.force),
                bar, args.keep_going,
            )  # fmt: skip
            remove_shards(folder / "units")
            finished = [t for t in tasks if is_there(t.path)]
            pairs = [(t, labels) for t in finished for labels in study.labels]
            worker.run([score_job(t, study, labels) for t, labels in pairs], bar)
        if finished:
            write_tables(study, corpus, folder, tasks, finished, started)
    if finished:
        print_summary(Console(), folder)
    for failure in failures:
        print(f"extraction.py: failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def shards_of(
    tasks: list[Task], chosen: list[Task], study: Study, corpus: Corpus, device: str,
    asked: int | None,
) -> dict[Task, int]:  # fmt: skip
    """Return into how many shards each chosen unit is cut; rereading as its writing."""
    specs = {} if asked else {task.spec.name: task.spec for task in chosen}
    sizes = {name: parameter_count(spec) for name, spec in specs.items()}
    shards = {}
    for task in chosen:
        work = writer_of(task, tasks) or task
        tokens, texts = expected_tokens(work, study, corpus), text_count(work, study, corpus)
        shards[task] = n_shards(sizes.get(task.spec.name, 0), tokens, texts, device, asked)
    return shards


def writer_of(task: Task, tasks: list[Task]) -> Task | None:
    """Return the unit that wrote what a unit reads again."""
    if task.method != "rereading":
        return None
    return next(t for t in tasks if (t.model_key, t.method) == (task.model_key, "generation"))


def unit_jobs(
    todo: Mapping[Task, int], tasks: list[Task], study: Study, corpus: Corpus, device: str,
    again: bool,
) -> list[Job]:  # fmt: skip
    """Make each unit a job, or as many as it has shards; what is read again is written before."""
    jobs: dict[Task | None, list[Job]] = {}
    for task, of in todo.items():
        writer = writer_of(task, tasks)
        seed = task.seed if task.weights == "untrained" else None
        unit = Job(
            task.title, expected_tokens(task, study, corpus),
            partial(keep, task, writer, study, corpus),
            Model(task.spec, seed, device, task.dtype),
        )  # fmt: skip
        join = partial(put_together, task, of, study)
        jobs[task] = shard_jobs(unit, task.path, of, join, again, jobs.get(writer, ()))
    return [job for some in jobs.values() for job in some]


def keep(
    task: Task, writer: Task | None, study: Study, corpus: Corpus, shard: Shard,
    loaded: LoadedModel, report: Report,
) -> None:  # fmt: skip
    """Run one unit, or a shard of it, and keep it."""
    unit = extract(task, writer, loaded, study, corpus, report, shard)
    if shard.of == 1:
        arms.check_some(unit, study)
    save_unit(shard.path(task.path), unit)


def put_together(task: Task, of: int, study: Study, *unused: object) -> None:
    """Make a unit of its shards."""
    with joined(task.path, of) as unit:
        arms.check_some(unit, study)
        save_unit(task.path, unit)


def score_job(task: Task, study: Study, labels: str) -> Job:
    """Make the scoring of a finished unit a job."""
    title = f"scores: {task.title}, {labels} labels"
    return Job(title, 1, lambda *unused: score(task, study, labels))


def extract(
    task: Task,
    writer: Task | None,
    loaded: LoadedModel,
    study: Study,
    corpus: Corpus,
    progress: Report = lambda tokens: None,
    shard: Shard = WHOLE,
) -> Unit:
    """Run one unit, or a shard of it: read the passages, write the stories, or read them again.

    Returns
    -------
    Unit
    """
    began = time.monotonic()
    texts = shard.texts(text_count(writer or task, study, corpus))
    if task.method == "comprehension":
        unit = arms.comprehension(loaded, study, corpus, progress, task.path, texts)
    elif task.method == "generation":
        unit = arms.generation(loaded, study, corpus, progress, task.path, texts)
    else:
        stories = stories_of(task, writer, shard, texts)
        unit = arms.rereading(loaded, study, stories, progress, task.path)
    facts = {
        **unit.facts,
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
        "seconds": round(time.monotonic() - began, 2),
    }
    return replace(unit, facts=facts)


def stories_of(task: Task, writer: Task | None, shard: Shard, texts: slice) -> Stories:
    """Return the stories that a unit, or a shard of it, reads again."""
    stories: Stories
    if writer is not None and is_there(path := shard.path(writer.path)):
        stories = load_facts(path)["stories"]
    elif writer is not None and is_there(writer.path):
        stories = load_facts(writer.path)["stories"][texts]
    else:
        raise InputError(f"{task.title}: its stories are not written; run generation first")
    return stories


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


def _parser() -> argparse.ArgumentParser:
    parser = run_parser("extraction.py", __doc__)
    parser.add_argument("--models", nargs="+", metavar="NAME", help="only these of the study")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these of the study")
    parser.add_argument("--out", metavar="FOLDER", help="or a URL, instead of data/scores/STUDY")
    parser.add_argument("--keep-going", action="store_true", help="go on after a model fails")
    return parser


if __name__ == "__main__":
    sys.exit(main())
