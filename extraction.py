"""Extract the score tables of a study: how well each layer separates emotions.

    python extraction.py                      the study `demo`
    python extraction.py --study jeong2026    another study, or a .toml file
    python extraction.py --dry-run            list the units with their cost
    python extraction.py --engine ray         run the units in parallel
    python extraction.py --out s3://bucket/x  write to an object store
    python extraction.py --prompts-out FILE   write prompts for another engine
    python extraction.py --stories FILE       read what that engine wrote

A unit is one model x weights x precision x method. Each is saved when it is
finished. To resume a run that was stopped, run the same command again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from study.interruption import listen

if __name__ == "__main__":  # before importing the libraries, which takes a while
    listen("extraction.py", "finished units are kept; run the same command again to continue")

from pipeline.engine_stories import engine_stories, write_prompts
from pipeline.estimate import print_estimate
from pipeline.extract import units_of_work
from pipeline.jobs import Job
from pipeline.options import run_parser
from pipeline.pins import check_one_source
from pipeline.plan import ExtractionUnit, plan
from pipeline.runner import Run, run_script
from pipeline.score_tables import is_scored, labels_of, score, write_tables
from pipeline.summary import print_summary
from study import HOME, Study
from study.read import InputError
from study.registry import find_model
from study.tables import BY
from study.write import is_there

SCORES = HOME / "data" / "scores"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study; return the exit code."""
    parser = run_parser("extraction.py", __doc__, "data/scores/STUDY")
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", help="run only these models of the study"
    )
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help="run only these methods of the study"
    )
    parser.add_argument(
        "--prompts-out", metavar="FILE", help="write the prompts of all stories as a batch file"
    )
    parser.add_argument(
        "--stories", nargs="+", metavar="FILE", help="read the stories that another engine wrote"
    )
    return run_script(parser, arguments, SCORES, extract_study)


def extract_study(run: Run) -> list[str]:
    """Run the chosen unfinished units, then write the tables of all finished ones."""
    study, corpus, engine = run.study, run.used, run.engine
    stories = engine_stories(run.args.stories, study, corpus)
    units = plan(study, corpus, run.folder, engine.device, engine.elsewhere, stories)
    chosen = chosen_units(units, study, run.args)
    if run.args.prompts_out:
        write_prompts(run, chosen)
        return []
    shards = run.shard_counts(units_of_work(chosen, study, corpus, engine.device))
    if run.args.dry_run:
        print_estimate(run.console, f"Study {study.name}", shards, run.folder)
        return []
    with run.alone() as display:
        failures = run.do(shards, display)
        finished = [unit for unit in units if is_there(unit.path)]
        check_one_source(finished)
        jobs = [score_job(u, study, labels) for u in finished for labels in labels_of(u, study)]
        failures += engine.run(jobs, display, run.args.keep_going)
        scored = [unit for unit in finished if is_scored(unit, study)]
        if scored:
            write_tables(study, corpus, run.folder, units, scored, run.started)
    if scored:
        run.print_results(lambda console: print_summary(console, run.folder))
    return failures


def chosen_units(
    units: list[ExtractionUnit], study: Study, args: argparse.Namespace
) -> list[ExtractionUnit]:
    """Return the units that the command line asks for."""
    of_study = tuple(dict.fromkeys(study.methods + study.untrained_methods))
    for values, known, what in (
        (args.models, study.models, "model"),
        (args.methods, of_study, "method"),
    ):
        unknown = [v for v in values or [] if v not in known]
        if unknown:
            raise InputError(
                f"study {study.name} has no {what} {unknown[0]!r}; it has {', '.join(known)}"
            )
    models = {find_model(name, study.model).name for name in args.models or study.models}
    methods = args.methods or of_study
    return [u for u in units if u.spec.name in models and u.method.partition(BY)[0] in methods]


def score_job(unit: ExtractionUnit, study: Study, labels: str) -> Job:
    """Return the job that scores a finished unit."""
    title = f"scores: {unit.title}, {labels} labels"
    return Job(title, 1, lambda *unused: score(unit, study, labels))


if __name__ == "__main__":
    sys.exit(main())
