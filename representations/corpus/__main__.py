"""Check a corpus: its files, lengths, repetitions, and how much its words reveal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.table import Table

from representations.corpus import checks
from representations.corpus.corpus import CorpusError, load_corpus
from study.read import InputError
from study.terminal import Terminal, styled


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the measures of a corpus; the exit status is 2 if it has a fault."""
    parser = argparse.ArgumentParser(
        prog="python -m representations.corpus",
        description="Check a corpus: files, lengths, repetitions, and what its words reveal.",
    )
    parser.add_argument(
        "folder", nargs="?", default="data/corpus", help="a corpus (default: data/corpus)"
    )
    console, errors = Terminal(), Terminal(stderr=True)
    try:
        corpus = load_corpus(parser.parse_args(arguments).folder)
    except CorpusError as error:
        for fault in error.faults:
            errors.print(fault, soft_wrap=True)
        errors.print(styled(f"{len(error.faults)} faults", "bold red"))
        return 2
    note = ""
    try:
        from transformers.utils import logging

        logging.disable_progress_bar()
        embeddings = checks.passage_embeddings([passage.text for passage in corpus.passages])
    except (ImportError, InputError) as error:
        embeddings, note = None, f"Meaning was not measured: {error}"
    report = checks.check_corpus(corpus, embeddings)
    console.print(
        f"{corpus.folder}: {len(corpus.emotions)} {corpus.concept}s by {len(corpus.topics)} "
        f"topics, {len(corpus.passages)} passages, {len(corpus.neutral)} neutral texts",
        soft_wrap=True,
    )
    console.print(_table("Lengths in words", report.lengths, percent=("deviation",)))
    console.print(
        _table(f"What gives the {corpus.concept} away", report.tells, percent=("words", "meaning"))
    )
    console.print(_table("Measures", report.measures))
    if note:
        console.print(styled(note, "yellow"))
    for fault in report.faults:
        errors.print(fault, soft_wrap=True)
    return 2 if report.faults else 0


def _table(title: str, frame: pd.DataFrame, percent: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column in frame.columns:
        table.add_column(column, justify="left" if frame[column].dtype == object else "right")
    for record in frame.to_dict("records"):
        table.add_row(*(_cell(v, str(k) in percent) for k, v in record.items()))
    return table


def _cell(value: Any, percent: bool) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "holds" if value else "FAILS"
    if percent:
        return f"{value:.1%}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
