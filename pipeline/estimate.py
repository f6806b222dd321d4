"""Estimate the cost of a run in advance: tokens, memory and time per unit."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from rich.table import Table

from pipeline.shards import all_shards
from pipeline.work import Work
from representations.models.size import expected_parameters
from study.terminal import Terminal
from study.write import is_there


def print_estimate(console: Terminal, title: str, shards: Mapping[Work, int]) -> None:
    """Print units with an estimate of tokens, memory and time.

    The time is the arithmetic of a forward pass, two operations per parameter and token, at half
    the rate at which this machine multiplies matrices; writing a token takes as long as reading
    `representations.generation.WRITTEN` tokens.

    Parameters
    ----------
    console : Terminal
    title : str
    shards : mapping of Work to int
        The number of shards per unit.
    """
    rate = _operations_per_second()
    table = Table(title=f"{title}: {len(shards)} units", title_style="")
    table.add_column("unit", overflow="fold")
    table.add_column("done")
    for column in ("tokens", "memory", "minutes"):
        table.add_column(column, justify="right")
    total, unknown = 0.0, False
    for unit, of in shards.items():
        n_params = expected_parameters(unit.model.spec)
        memory, minutes = "?", "?"
        ready = of if unit.done else sum(is_there(s.path(unit.path)) for s in all_shards(of))
        if n_params:
            wide = 4 if unit.model.dtype == "float32" else 2
            memory = f"{n_params * wide / 1e9:.1f} GB"
            spent = 2 * n_params * unit.effort / (0.5 * rate) / 60
            total += spent * (1 - ready / of)
            minutes = f"{spent:.1f}"
        else:
            unknown = unknown or ready < of
        done = "yes" if ready == of else f"{ready} of {of}" if of > 1 else ""
        table.add_row(unit.title, done, f"{unit.tokens:,}", memory, minutes)
    console.print(table)
    console.print("Each model gets its certificate before its first unit, and ends there without.")
    if max(shards.values(), default=1) > 1:
        console.print("Large units are split into shards, which Ray runs in parallel.")
    if total or not unknown:
        console.print(
            f"About {total:.0f} minutes for what is not done yet, on this machine's processor."
        )
    if unknown:
        console.print("A question mark means that the model has not been loaded here yet.")


def _operations_per_second() -> float:
    """Time a matrix product of the size of a block's layers."""
    a, b = torch.randn(512, 1024), torch.randn(1024, 1024)
    a @ b
    began, repeats = time.perf_counter(), 10
    for _ in range(repeats):
        a @ b
    return repeats * 2 * 512 * 1024 * 1024 / (time.perf_counter() - began)
