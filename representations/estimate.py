"""What a study would cost, before it runs: tokens, memory and time of each unit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from representations.corpus import Corpus
from representations.errors import InputError
from representations.generation import WRITTEN
from representations.plan import Task
from representations.registry import ModelSpec
from representations.shards import all_shards
from representations.store import is_there
from study import Study


def print_estimate(
    console: Console,
    tasks: Sequence[Task],
    study: Study,
    corpus: Corpus,
    shards: Mapping[Task, int],
) -> None:
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
    shards : mapping of Task to int
        Into how many each unit is cut.
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
        of = shards[task]
        ready = sum(is_there(shard.path(task.path)) for shard in all_shards(of))
        if is_there(task.path):
            ready = of
        if n_params:
            wide = 4 if task.dtype == "float32" else 2
            memory = f"{n_params * wide / 1e9:.1f} GB"
            spent = 2 * n_params * expected_tokens(task, study, corpus) / (0.5 * rate) / 60
            total += spent * (1 - ready / of)
            minutes = f"{spent:.1f}"
        done = "yes" if ready == of else f"{ready} of {of}" if of > 1 else ""
        table.add_row(
            task.spec.name, task.weights, task.method, done, f"{read + written:,}", memory, minutes
        )
    console.print(table)
    if max(shards.values(), default=1) > 1:
        console.print("Large units are cut into shards, which Ray does side by side.")
    console.print(f"About {total:.0f} minutes for what is not done, on this machine's processor.")


def text_count(task: Task, study: Study, corpus: Corpus) -> int:
    """Return how many texts a unit reads or writes."""
    if task.method == "comprehension":
        return len(corpus.passages) + len(corpus.neutral)
    return _stories(study, corpus)


def _stories(study: Study, corpus: Corpus) -> int:
    settings = study.generation
    cells = len(corpus.emotions) * settings.stories_per_cell + settings.neutral_per_topic
    return len(corpus.topics) * cells


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
    stories = _stories(study, corpus)
    tokens = stories * study.generation.max_new_tokens
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
