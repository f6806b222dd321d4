"""Estimate the cost of a run in advance: tokens, memory and time per unit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.table import Table

from pipeline.jobs import ModelRequest
from pipeline.progress import duration
from pipeline.provenance import certificates, closest
from pipeline.shards import all_shards
from pipeline.work import Work
from representations.models.size import expected_parameters
from study.terminal import Terminal
from study.write import Place, is_there, read_json


def print_estimate(
    console: Terminal, title: str, shards: Mapping[Work, int], folder: Place
) -> None:
    """Print units with an estimate of tokens, memory and time, and the models' certificates.

    The time is the arithmetic of a forward pass, two operations per parameter and token, at half
    the rate at which this machine multiplies matrices; writing a token takes as long as reading
    `representations.generation.WRITTEN` tokens.

    Parameters
    ----------
    console : Terminal
    title : str
    shards : mapping of Work to int
        The number of shards per unit.
    folder : Path or UPath
        The study's folder, where certificates of earlier runs are.
    """
    rate = _operations_per_second()
    table = Table(title=f"{title}: {len(shards)} units", title_style="")
    table.add_column("unit", overflow="fold")
    table.add_column("done")
    for column in ("tokens", "memory", "minutes"):
        table.add_column(column, justify="right")
    specs = {unit.model.spec.name: unit.model.spec for unit in shards}
    sizes = {name: expected_parameters(spec) for name, spec in specs.items()}
    total, unknown = 0.0, False
    for unit, of in shards.items():
        n_params = sizes[unit.model.spec.name]
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
    _print_certificates(console, list(shards), folder, sizes, rate)
    if max(shards.values(), default=1) > 1:
        console.print("Large units are split into shards; --engine ray runs them in parallel.")
    if total:
        console.print(
            f"About {duration(max(1, 60 * total))} for what is not done yet, on this machine's "
            "processor, as busy as it is now."
        )
    elif not unknown:
        console.print("All units are done.")
    if unknown:
        console.print("A question mark means that the model has not been loaded here yet.")


def _print_certificates(
    console: Terminal,
    units: Sequence[Work],
    folder: Place,
    sizes: Mapping[str, int],
    rate: float,
) -> None:
    """Print what each model's certificate says, or what it will take."""
    known = certificates(unit.facts() for unit in units if unit.done)
    if is_there(folder / "run.json"):
        known += read_json(folder / "run.json").get("certificates", [])
    table = Table(title="Certificates", title_style="")
    table.add_column("model", overflow="fold")
    table.add_column("certificate")
    shown = set()
    for unit in units:
        model = unit.model
        weights = "trained" if model.untrained_seed is None else "untrained"
        key = (model.spec.name, weights, model.untrained_seed, model.dtype)
        if key in shown:
            continue
        shown.add(key)
        found = [one for one in known if _is_of(one, model)]
        if found:
            worst = closest(found[-1])
            on = f" on {found[-1]['written'][:10]}" if "written" in found[-1] else ""
            says = (
                f"passed{on}: at most {worst['value']:.0e} apart, limit {worst['limit']:.0e} "
                f"({worst['check']})"
            )
        elif n_params := sizes[model.spec.name]:
            seconds = 2 * n_params * unit.certificate / (0.5 * rate)
            says = f"before its first unit, about {max(1, round(seconds))} s"
        else:
            says = "before its first unit"
        table.add_row(f"{model.spec.name}, {weights}, {model.dtype}", says)
    console.print(table)
    console.print("A model that fails its certificate is not run.")


def _is_of(certificate: Mapping[str, Any], model: ModelRequest) -> bool:
    """Say whether a certificate is a model's, with the same weights in the same precision."""
    untrained = certificate.get("weights") == "untrained"
    seed = certificate.get("seed") if untrained else None
    name, precision = certificate["model"], str(certificate["precision"]).split()
    asked = (model.spec.name, model.untrained_seed)
    return (name, seed) == asked and model.dtype in precision


def _operations_per_second() -> float:
    """Time a matrix product of the size of a block's layers."""
    a, b = torch.randn(512, 1024), torch.randn(1024, 1024)
    a @ b
    began, repeats = time.perf_counter(), 10
    for _ in range(repeats):
        a @ b
    return repeats * 2 * 512 * 1024 * 1024 / (time.perf_counter() - began)
