"""A study in, score tables out: where in each model, and how well, do emotions separate?

    python extraction.py                       the study `demo`
    python extraction.py --study jeong2026     another one, or a .toml file of your own
    python extraction.py --dry-run             what would be done, and about how long it takes
    python extraction.py --engine ray          models side by side, and shards of large ones
    python extraction.py --out s3://bucket/x   any store that fsspec knows

Every unit (one model x weights x precision x method) is finished as a whole and kept. To resume a
run that was stopped, give the same command again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from study.interruption import listen

if __name__ == "__main__":  # before the libraries, which take a while to load
    listen("extraction.py", "finished units are kept, the same command goes on")

from pipeline.estimate import print_estimate
from pipeline.jobs import Job, ModelRequest, Report
from pipeline.options import run_parser
from pipeline.pins import check_one_source
from pipeline.plan import ExtractionUnit, effort, plan, text_count, token_counts
from pipeline.runner import Run, run_script
from pipeline.score_tables import is_scored, score, write_tables
from pipeline.shards import WHOLE, Shard, joined
from pipeline.summary import print_summary
from pipeline.units import load_facts, save_unit
from pipeline.work import Work
from representations import arms
from representations.certificate import certify
from representations.corpus.corpus import Corpus
from representations.facts import Story
from representations.models.loading import LoadedModel
from representations.models.registry import find_model
from representations.pooled import PooledUnit
from study import HOME, Study
from study.read import InputError
from study.write import is_there

SCORES = HOME / "data" / "scores"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study; return the exit code."""
    parser = run_parser("extraction.py", __doc__, "data/scores/STUDY")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="only these of the study")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these of the study")
    return run_script(parser, arguments, SCORES, extract_study)


def extract_study(run: Run) -> list[str]:
    """Do the chosen units that are not finished, then write the tables of all that are."""
    study, corpus, engine = run.study, run.used, run.engine
    units = plan(study, corpus, run.folder, engine.device, engine.elsewhere)
    chosen = chosen_units(units, study, run.args)
    shards = run.shard_counts(units_of_work(chosen, units, study, corpus, engine.device))
    if run.args.dry_run:
        print_estimate(run.console, f"Study {study.name}", shards)
        return []
    with run.alone() as display:
        failures = run.do(shards, display)
        finished = [unit for unit in units if is_there(unit.path)]
        check_one_source(finished)
        jobs = [score_job(u, study, labels) for u in finished for labels in study.labels]
        failures += engine.run(jobs, display, run.args.keep_going)
        finished = [unit for unit in finished if is_scored(unit, study)]
        if finished:
            write_tables(study, corpus, run.folder, units, finished, run.started)
    if finished:
        run.print_results(lambda console: print_summary(console, run.folder))
    return failures


def chosen_units(
    units: list[ExtractionUnit], study: Study, args: argparse.Namespace
) -> list[ExtractionUnit]:
    """Return the units that the command line asks for."""
    for values, known, what in (
        (args.models, study.models, "model"),
        (args.methods, study.methods, "method"),
    ):
        unknown = [v for v in values or [] if v not in known]
        if unknown:
            raise InputError(
                f"study {study.name} has no {what} {unknown[0]!r}; it has {', '.join(known)}"
            )
    models = {find_model(name, study.model).name for name in args.models or study.models}
    methods = args.methods or {unit.method for unit in units}
    return [unit for unit in units if unit.spec.name in models and unit.method in methods]


def units_of_work(
    chosen: list[ExtractionUnit],
    units: list[ExtractionUnit],
    study: Study,
    corpus: Corpus,
    device: str,
) -> list[Work]:
    """Return the chosen units as work for the runner.

    A unit that rereads stories needs the unit that wrote them and is cut into the same shards. If
    that unit was not chosen, its stories must be there already; it only decides the shards.
    """
    by_unit: dict[ExtractionUnit, Work] = {}
    for unit in chosen:
        work, writer = _work(unit, units, study, corpus, device), writer_of(unit, units)
        if writer is not None:
            written = by_unit.get(writer) or _work(writer, units, study, corpus, device)
            work = replace(work, after=written, shard_as=written)
        by_unit[unit] = work
    return list(by_unit.values())


def _work(
    unit: ExtractionUnit, units: list[ExtractionUnit], study: Study, corpus: Corpus, device: str
) -> Work:
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
        do=partial(run_and_save, unit, writer_of(unit, units), study, corpus),
        join=partial(save_joined, unit, study),
    )


def writer_of(unit: ExtractionUnit, units: list[ExtractionUnit]) -> ExtractionUnit | None:
    """Return the unit that wrote what a unit reads again."""
    if unit.method != "rereading":
        return None
    return next(u for u in units if (u.model_key, u.method) == (unit.model_key, "generation"))


def run_and_save(
    unit: ExtractionUnit,
    writer: ExtractionUnit | None,
    study: Study,
    corpus: Corpus,
    shard: Shard,
    loaded: LoadedModel,
    report: Report,
) -> None:
    """Run one unit, or a shard of it, and keep it."""
    pooled = extract(unit, writer, loaded, study, corpus, report, shard)
    if shard.of == 1:
        arms.check_some(pooled.facts, study.pooling)
    save_unit(shard.path(unit.path), pooled)


def save_joined(unit: ExtractionUnit, study: Study, of: int) -> None:
    """Make a unit of its shards."""
    with joined(unit.path, of) as pooled:
        arms.check_some(pooled.facts, study.pooling)
        save_unit(unit.path, pooled)


def score_job(unit: ExtractionUnit, study: Study, labels: str) -> Job:
    """Make the scoring of a finished unit a job."""
    title = f"scores: {unit.title}, {labels} labels"
    return Job(title, 1, lambda *unused: score(unit, study, labels))


def extract(
    unit: ExtractionUnit,
    writer: ExtractionUnit | None,
    loaded: LoadedModel,
    study: Study,
    corpus: Corpus,
    progress: Report = lambda tokens: None,
    shard: Shard = WHOLE,
) -> PooledUnit:
    """Run one unit, or a shard of it: read the passages, write the stories, or read them again.

    Returns
    -------
    PooledUnit
    """
    began = time.monotonic()
    methods = study.methods if unit.weights == "trained" else study.untrained_methods
    certificate = certify(loaded, corpus, writes="generation" in methods)
    pooling = study.pooling
    texts = shard.texts(text_count(writer or unit, study, corpus))
    if unit.method == "comprehension":
        pooled = arms.comprehension(
            loaded, corpus, pooling, progress=progress, near=unit.path, texts=texts
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
    elif unit.method == "rereading":
        stories = stories_of(unit, writer, shard, texts)
        pooled = arms.rereading(
            loaded, stories, study.generation, pooling, progress=progress, near=unit.path
        )
    else:
        raise ValueError(f"no arm for the method {unit.method!r}")
    made = {
        "weights": unit.weights,
        "seed": unit.seed,
        "method": unit.method,
        "certificate": certificate,
    }
    seconds = round(time.monotonic() - began, 2)
    return replace(pooled, facts={**pooled.facts, **loaded.facts(), **made, "seconds": seconds})


def stories_of(
    unit: ExtractionUnit, writer: ExtractionUnit | None, shard: Shard, texts: slice
) -> list[Story]:
    """Return the stories that a unit, or a shard of it, reads again."""
    if writer is not None and is_there(path := shard.path(writer.path)):
        return load_facts(path)["stories"]
    if writer is not None and is_there(writer.path):
        return load_facts(writer.path)["stories"][texts]
    raise InputError(f"{unit.title}: its stories are not written; run generation first")


if __name__ == "__main__":
    sys.exit(main())
