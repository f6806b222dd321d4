"""A study in, score tables out: where in each model, and how well, do emotions separate?

    python extraction.py                       the study `demo`
    python extraction.py --study jeong2026     another one, or a .toml file of your own
    python extraction.py --dry-run             what would be done, and about how long it takes
    python extraction.py --engine ray          models side by side; --address for a cluster
    python extraction.py --out s3://bucket/x   any store that fsspec knows

Every unit (one model x weights x precision x method) is finished as a whole and kept, so a run
that was stopped goes on where it was: give the same command again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from interruption import listen

if __name__ == "__main__":  # before the libraries, which take a while to load
    listen("extraction.py", "finished units are kept, the same command goes on")

from rich.console import Console

from representations import methods
from representations.corpus import Corpus, load_corpus
from representations.engines import engine, run_parser
from representations.errors import InputError
from representations.estimate import expected_tokens, print_estimate
from representations.jobs import Engine, Job, Model, Report, progress_bar
from representations.lock import only_run
from representations.models import LoadedModel
from representations.plan import Task, plan
from representations.registry import find_model
from representations.store import Place, is_there, locate
from representations.summary import print_summary
from representations.tables import score, write_tables
from representations.units import Unit, load_facts, save_unit
from study import HOME, Study, load_study

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
            if args.dry_run:
                print_estimate(console, chosen, study, corpus)
                return 0
            return run(study, corpus, folder, tasks, chosen, args, console, worker)
    except InputError as error:
        print(f"extraction.py: {error}", file=sys.stderr)
        return 2


def run(
    study: Study,
    corpus: Corpus,
    folder: Place,
    tasks: list[Task],
    chosen: list[Task],
    args: argparse.Namespace,
    console: Console,
    worker: Engine,
) -> int:
    """Do the chosen units that are not finished, then write the tables of all that are."""
    started = time.monotonic()
    with only_run(folder):
        with progress_bar(console) as bar:
            todo = [t for t in chosen if args.force or not is_there(t.path)]
            failures = worker.run(
                unit_jobs(todo, tasks, study, corpus, worker.device), bar, args.keep_going
            )
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


def unit_jobs(
    todo: list[Task], tasks: list[Task], study: Study, corpus: Corpus, device: str
) -> list[Job]:
    """Make each unit a job; what is read again is written before."""
    jobs: dict[Task | None, Job] = {}
    for task in todo:
        wrote = (t for t in tasks if (t.model_key, t.method) == (task.model_key, "generation"))
        writer = next(wrote) if task.method == "rereading" else None
        seed = task.seed if task.weights == "untrained" else None
        jobs[task] = Job(
            task.title, expected_tokens(task, study, corpus),
            partial(keep, task, writer, study, corpus),
            Model(task.spec, seed, device, task.dtype), jobs.get(writer),
        )  # fmt: skip
    return list(jobs.values())


def keep(
    task: Task, writer: Task | None, study: Study, corpus: Corpus,
    loaded: LoadedModel, report: Report,
) -> None:  # fmt: skip
    """Run one unit and keep it."""
    save_unit(task.path, extract(task, writer, loaded, study, corpus, report))


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
) -> Unit:
    """Run one unit: read the passages, write the stories, or read them again.

    Returns
    -------
    Unit
    """
    began = time.monotonic()
    if task.method == "comprehension":
        unit = methods.comprehension(loaded, study, corpus, progress, task.path)
    elif task.method == "generation":
        unit = methods.generation(loaded, study, corpus, progress, task.path)
    else:
        if writer is None or not is_there(writer.path):
            raise InputError(f"{task.title}: its stories are not written; run generation first")
        stories = load_facts(writer.path)["stories"]
        unit = methods.rereading(loaded, study, stories, progress, task.path)
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
