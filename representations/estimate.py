"""What a study would cost, before it runs: tokens, memory and time of each unit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from representations.corpus import Corpus
from representations.errors import InputError
from representations.generation import WRITTEN
from representations.plan import Task
from representations.registry import ModelSpec
from representations.store import is_there
from study import Study


def print_estimate(console: Console, tasks: Sequence[Task], study: Study, corpus: Corpus) -> None:
    """Print the units of a study with an estimate of tokens, memory and time.

    The time is the arithmetic of a forward pass, two operations a parameter and token, at half
    of the rate at which this machine multiplies matrices; a token that is written takes as long
    as `WRITTEN` that are read.

    Parameters
    ----------
    console : Console
    tasks : sequence of Task
        As `extraction.plan` makes them.
    study : Study
    corpus : Corpus
    """
    rate = _operations_per_second()
    table = Table(title=f"Study {study.name}: {len(tasks)} units")
    for column in ("model", "weights", "method", "done"):
        table.add_column(column)
    for column in ("tokens", "memory", "minutes"):
        table.add_column(column, justify="right")
    total = 0.0
    for task in tasks:
        read, written = token_counts(task.method, study, corpus)
        n_params = parameter_count(task.spec)
        memory, minutes = "?", "?"
        if n_params:
            wide = 4 if task.dtype == "float32" else 2
            memory = f"{n_params * wide / 1e9:.1f} GB"
            spent = 2 * n_params * expected_tokens(task, study, corpus) / (0.5 * rate) / 60
            total += 0 if is_there(task.path) else spent
            minutes = f"{spent:.1f}"
        done = "yes" if is_there(task.path) else ""
        table.add_row(
            task.spec.name, task.weights, task.method, done, f"{read + written:,}", memory, minutes
        )
    console.print(table)
    console.print(f"About {total:.0f} minutes for what is not done, on this machine's processor.")


def token_counts(method: str, study: Study, corpus: Corpus) -> tuple[int, int]:
    """Return about how many tokens a unit reads and writes.

    Parameters
    ----------
    method : str
    study : Study
    corpus : Corpus

    Returns
    -------
    read, written : int
    """
    if method == "comprehension":
        words = sum(len(p.text.split()) for p in (*corpus.passages, *corpus.neutral))
        return int(1.35 * words), 0
    settings = study.generation
    cells = len(corpus.emotions) * settings.stories_per_cell + settings.neutral_per_topic
    stories = len(corpus.topics) * cells
    tokens = stories * settings.max_new_tokens
    if method == "rereading":
        return tokens, 0
    prompt = corpus.prompt(corpus.emotions[0].name, corpus.topics[0].name, chat=True)
    return int(stories * 1.5 * len(prompt.split())), tokens


def parameter_count(spec: ModelSpec) -> int:
    """Return a model's parameters from its config, or 0 where that is not at hand."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from representations.models import config_from
    from representations.weights import converted_folder

    folder = converted_folder(spec)
    try:
        if spec.config:
            config = config_from(spec)
        elif folder is not None or Path(spec.source).is_dir():
            config = AutoConfig.from_pretrained(folder or spec.source)
        else:
            return 0
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config.get_text_config())
    except (InputError, OSError, ValueError):
        return 0
    return sum(p.numel() for p in model.parameters())


def _operations_per_second() -> float:
    """Measure a matrix product of the size that a block's layers have."""
    a, b = torch.randn(512, 1024), torch.randn(1024, 1024)
    a @ b
    began, repeats = time.perf_counter(), 10
    for _ in range(repeats):
        a @ b
    return repeats * 2 * 512 * 1024 * 1024 / (time.perf_counter() - began)


def expected_tokens(task: Task, study: Study, corpus: Corpus) -> int:
    """Return about how many tokens a unit reads; one that is written counts as `WRITTEN`."""
    read, written = token_counts(task.method, study, corpus)
    return read + WRITTEN * written
