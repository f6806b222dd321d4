"""A study in, score tables out: where in each model, and how well, do emotions separate?

    python extraction.py                       the study `demo`
    python extraction.py --study jeong2026     another one, or a .toml file of your own
    python extraction.py --dry-run             what would be done, and about how long it takes

Every unit (one model x weights x precision x method) is finished as a whole and kept, so a run
that was stopped goes on where it was: give the same command again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from interruption import listen

if __name__ == "__main__":  # before the libraries, which take a while to load
    listen("extraction.py", "finished units are kept, the same command goes on")

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from representations import methods
from representations.corpus import Corpus, load_corpus
from representations.errors import InputError
from representations.estimate import expected_tokens, print_estimate
from representations.lock import only_run
from representations.models import LoadedModel, load
from representations.plan import Task, plan
from representations.registry import find_model
from representations.store import Place, Unit, is_there, load_facts, locate, save_unit
from representations.summary import print_summary
from representations.tables import score, write_tables
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
        tasks = plan(study, corpus, folder, args.device)
        chosen = [t for t in tasks if _asked_for(t, args, study)]
        if args.dry_run:
            print_estimate(console, chosen, study, corpus)
            return 0
        return run(study, corpus, folder, tasks, chosen, args, console)
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
) -> int:
    """Do the chosen units that are not finished, then write the tables of all that are."""
    started = time.monotonic()
    failures: list[str] = []
    with only_run(folder):
        with _progress(console) as bar:
            todo = [t for t in chosen if args.force or not is_there(t.path)]
            work = {t: expected_tokens(t, study, corpus) for t in todo}
            total = max(sum(work.values()), 1)
            overall = bar.add_task("extraction", total=total, visible=bool(todo))
            loaded, loaded_key = None, None
            for task in todo:
                try:
                    if task.model_key != loaded_key:
                        bar.update(overall, description=f"loading {task.spec.name}")
                        loaded, loaded_key = None, None  # free the last model before the next
                        untrained = task.seed if task.weights == "untrained" else None
                        loaded = load(
                            task.spec, untrained_seed=untrained, device=args.device,
                            dtype=task.dtype,
                        )  # fmt: skip
                        loaded_key = task.model_key
                    bar.update(overall, description=task.title)
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
            finished = [t for t in tasks if is_there(t.path)]
            scoring = bar.add_task("scores", total=len(finished) * len(study.labels))
            tables = []
            for task in finished:
                for labels in study.labels:
                    bar.update(scoring, description=f"scores: {task.title}, {labels} labels")
                    tables.append(score(task, study, labels))
                    bar.advance(scoring)
            bar.update(scoring, description="scores")
        write_tables(study, corpus, folder, tasks, finished, tables, started)
    print_summary(Console(), folder)
    for failure in failures:
        print(f"extraction.py: failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def extract(
    task: Task,
    loaded: LoadedModel,
    study: Study,
    corpus: Corpus,
    tasks: list[Task],
    progress: Callable[[int], object] = lambda tokens: None,
) -> Unit:
    """Run one unit: read the passages, write the stories, or read them again.

    Returns
    -------
    Unit
    """
    began = time.monotonic()
    if task.method == "comprehension":
        result = methods.comprehension(loaded, study, corpus, progress)
    elif task.method == "generation":
        result = methods.generation(loaded, study, corpus, progress)
    else:
        writer = next(
            t for t in tasks if t.model_key == task.model_key and t.method == "generation"
        )
        if not is_there(writer.path):
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
        "seconds": round(time.monotonic() - began, 2),
    }
    return Unit(result.activations, result.neutral, facts)


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
    parser.add_argument("--out", metavar="FOLDER", help="or a URL, instead of data/scores/STUDY")
    parser.add_argument("--force", action="store_true", help="do finished units again")
    parser.add_argument("--keep-going", action="store_true", help="go on after a model fails")
    parser.add_argument("--dry-run", action="store_true", help="list the units and their cost")
    return parser


if __name__ == "__main__":
    sys.exit(main())
