"""Run a script from its command line to its exit code; both scripts use it."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.engines import engine
from pipeline.jobs import Engine, Job
from pipeline.pins import pinned
from pipeline.progress import Progress, progress
from pipeline.shards import remove_shards
from pipeline.work import Work, shards_per_unit, unit_jobs
from representations.corpus.corpus import Corpus, load_corpus
from study import Study, load_study
from study.home import command
from study.lock import only_run
from study.read import InputError, one_line
from study.terminal import Terminal
from study.write import Place, locate


def run_script(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    results: Path,
    body: Callable[[Run], list[str]],
) -> int:
    """Run a script and return its exit code.

    Parameters
    ----------
    parser : ArgumentParser
        Made by `pipeline.options.run_parser`.
    arguments : sequence of str, optional
        The command line; by default that of this process.
    results : Path
        Folder of the results of all studies.
    body : callable
        Carries out the run and returns the failures.

    Returns
    -------
    int
        0; 1 if a model failed and others went on (--keep-going); 2 for bad input, or if a model
        failed without --keep-going.
    """
    started = time.monotonic()
    args = parser.parse_args(arguments)
    try:
        study = load_study(args.study)
        corpus = load_corpus(study.corpus)
        used = corpus.restricted(study.emotions or None, study.topics or None)
        folder = locate(args.out or results / study.name)
        here = f"{command(parser.prog)} --study {args.study}"
        with engine(args, folder, here) as worker:
            console = Terminal(stderr=True)
            failures = body(Run(args, study, corpus, used, folder, worker, console, started))
    except InputError as error:
        if args.verbose and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    for failure in failures:
        print(f"{parser.prog}: failed: {one_line(failure)}", file=sys.stderr)
    return 1 if failures else 0


@dataclass(frozen=True)
class Run:
    """The context of a run.

    Attributes
    ----------
    args : Namespace
        The command line.
    study : Study
    corpus : Corpus
        The whole corpus.
    used : Corpus
        The part with the study's emotions and topics.
    folder : Path or UPath
        Folder of the results.
    engine : Engine
    console : Terminal
        Writes to standard error.
    started : float
        `time.monotonic()` at the start.
    """

    args: argparse.Namespace
    study: Study
    corpus: Corpus
    used: Corpus
    folder: Place
    engine: Engine
    console: Terminal
    started: float

    @contextmanager
    def alone(self) -> Iterator[Progress]:
        """Lock the folder, and yield the display that shows progress."""
        with only_run(self.folder):
            remove_shards(self.folder / "units")
            with progress(self.console, self.args.quiet, self.args.verbose) as display:
                yield display

    def shard_counts(self, units: Sequence[Work]) -> dict[Work, int]:
        """Return the number of shards per unit."""
        return shards_per_unit(units, self.engine.device, self.args.shards)

    def do(self, shards: Mapping[Work, int], display: Progress) -> list[str]:
        """Run the unfinished units (all, with --force); return the failures."""
        todo = {u: n for u, n in shards.items() if self.args.force or not u.done}
        for unit in shards:
            if unit not in todo:
                display.note(f"{unit.title}: kept from before, {unit.path}")
        commits = pinned(self.folder, (unit.model.spec for unit in todo))
        jobs: list[Job] = unit_jobs(todo, self.args.force, commits)
        failures = self.engine.run(jobs, display, self.args.keep_going)
        remove_shards(self.folder / "units")
        return failures

    def print_results(self, show: Callable[[Terminal], object]) -> None:
        """Print the results, unless --quiet is set."""
        if not self.args.quiet:
            show(Terminal())
