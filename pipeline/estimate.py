"""What a study would cost, before it runs: tokens, memory and time of each unit."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from pipeline.plan import Task
from pipeline.shards import all_shards
from representations.corpus.corpus import Corpus
from representations.generation import WRITTEN
from representations.models.loading import config_from, config_in
from representations.models.registry import ModelSpec
from representations.models.weights import check_folder, converted_folder
from study import Study
from study.write import is_there


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
    """Return a model's parameters from its config, or 0 where that is not at hand, or bad."""
    from transformers import AutoModelForCausalLM

    try:
        config = _config(spec)
        if config is None:
            return 0
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config.get_text_config())
    except Exception:  # each architecture has its own; the model is refused when its turn comes
        return 0
    return sum(p.numel() for p in model.parameters())


def _config(spec: ModelSpec) -> Any:
    """Return the config of a model whose dimensions are known, or that is here."""
    if spec.config:
        return config_from(spec)
    folder = converted_folder(spec)
    if folder is None:
        if not os.path.isdir(spec.source):
            return None
        folder = Path(spec.source)
        check_folder(spec, folder)
    return config_in(spec, str(folder))


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
