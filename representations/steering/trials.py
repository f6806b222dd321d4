"""Run steering trials at one layer of one model: load the scenarios and write the texts."""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta

from representations.activations import Steer, Window
from representations.generation import Sampling, derived_seed, prompts_ids, write
from representations.models.loading import LoadedModel
from representations.steering.text_measures import (
    distinct_n,
    perplexity,
    share_foreign_script,
    share_non_ascii,
)
from representations.vectors import matched_sham, sham
from study import Steering
from study.arrays import Float32Array
from study.home import find, tried
from study.read import InputError, read_toml
from study.tables import KINDS
from study.typed import typed

STEERED, SHAM, MATCHED = KINDS
Row = dict[str, Any]
Progress = Callable[[int], object]
#: Takes texts and returns the log-odds of emotions after each.
Ask = Callable[[Sequence[str]], list[dict[str, float]]]


@dataclass(frozen=True)
class Scenario:
    """An entry in a scenario file."""

    name: Annotated[str, Meta(min_length=1)]
    opening: str


@dataclass(frozen=True)
class ScenarioFile:
    """The contents of a scenario file."""

    scenario: tuple[Scenario, ...] = ()
    plain: str = "{opening}"
    chat: str = "{opening}"


@dataclass(frozen=True)
class Scenarios:
    """Neutral openings, and the prompts that ask a model to continue one.

    Attributes
    ----------
    openings : mapping of str to str
        By name, in the order of the file.
    plain, chat : str
        Templates for a base model and an instruct model.
    sha256 : str
        Hash of the file.
    """

    openings: Mapping[str, str]
    plain: str
    chat: str
    sha256: str

    def prompt(self, name: str, chat: bool) -> str:
        """Return the prompt of a scenario for a model."""
        return (self.chat if chat else self.plain).replace("{opening}", self.openings[name])


def load_scenarios(path: str | Path, n: int = 0) -> Scenarios:
    """Read the openings and check them.

    Parameters
    ----------
    path : str or Path
    n : int
        Number of openings, evenly spread over the file; all if 0.

    Returns
    -------
    Scenarios

    Raises
    ------
    InputError
        For a file that is missing, unreadable or empty, an opening that is empty or named twice,
        a template without {opening}, or more openings asked for than there are.

    Examples
    --------
    >>> scenarios = load_scenarios("data/scenarios.toml", n=2)
    >>> list(scenarios.openings)
    ['workshop', 'bridge']
    """
    named, path = path, find(path)
    if not os.path.exists(path):
        raise InputError(f"{tried(named)}: no such file of scenarios; set steering.scenarios")
    raw, content = read_toml(path, "no such file of scenarios")
    file = typed(ScenarioFile, content, str(path))
    if not file.scenario:
        raise InputError(f"{path}: no scenarios; add [[scenario]] tables with name and opening")
    openings: dict[str, str] = {}
    for number, scenario in enumerate(file.scenario):
        if not scenario.opening.strip():
            raise InputError(f"{path}: scenario[{number}].opening is empty")
        if scenario.name in openings:
            raise InputError(f"{path}: scenario[{number}].name = {scenario.name!r} is taken")
        openings[scenario.name] = scenario.opening
    templates = {"plain": file.plain, "chat": file.chat}
    for key, template in templates.items():
        if template.count("{opening}") != 1:
            raise InputError(f"{path}: {key} must hold {{opening}} once")
    if not 0 <= n <= len(openings):
        raise InputError(
            f"steering.n_scenarios = {n}: {path} has {len(openings)}; ask for at most as many"
        )
    if n:
        names = list(openings)
        chosen = [names[int((i + 0.5) * len(names) / n)] for i in range(n)]
        openings = {name: openings[name] for name in chosen}
    return Scenarios(openings, **templates, sha256=hashlib.sha256(raw).hexdigest())


def baseline(
    loaded: LoadedModel,
    settings: Steering,
    scenarios: Scenarios,
    study_seed: int,
    progress: Progress = lambda tokens: None,
    ask: Ask | None = None,
) -> tuple[list[Row], list[float]]:
    """Let a model continue every scenario without steering.

    Parameters
    ----------
    loaded : LoadedModel
    settings : Steering
        The study's settings: length, temperature, seeds, batch size.
    scenarios : Scenarios
    study_seed : int
        Combined with a trial's names and seed, it gives the trial's random numbers.
    progress : callable
        Called with numbers of tokens.
    ask : callable, optional
        Asks the model about the texts.

    Returns
    -------
    rows : list of dict
        scenario, seed, text, token_ids, perplexity and the other measures, and `opinions` if it was
        asked.
    norms : list of float
        Per layer, the mean norm of the residual stream at the written tokens.

    Raises
    ------
    InputError
        If all texts are empty.
    """
    cells = [(name, seed) for name in scenarios.openings for seed in settings.seeds]
    rows: list[Row] = [{"scenario": name, "seed": seed} for name, seed in cells]
    norms = _write(loaded, settings, scenarios, study_seed, rows, None, 0, progress, ask)
    if not any(row["token_ids"] for row in rows):
        raise InputError(
            f"model {loaded.spec.name!r}: all texts that it wrote are empty; raise "
            "steering.min_new_tokens, or look at the prompts of the scenarios"
        )
    return rows, norms


def trials(
    loaded: LoadedModel,
    settings: Steering,
    scenarios: Scenarios,
    study_seed: int,
    vectors: Mapping[str, Float32Array],
    layer: int,
    norm: float,
    strengths: Sequence[float],
    progress: Progress = lambda tokens: None,
    texts: slice = slice(None),
    ask: Ask | None = None,
    residuals: Float32Array | None = None,
) -> list[Row]:
    """Let a model continue every scenario steered, and with random directions as shams.

    All trials of the layer are written together, each with its own vector.

    Parameters
    ----------
    loaded, settings, scenarios, study_seed, progress, ask
        As for `baseline`.
    vectors : mapping of str to ndarray, shape (layers + 1, width)
        By emotion; their norms do not matter.
    layer : int
        From 0, the embedding.
    norm : float
        The layer's mean residual norm; strengths are fractions of it.
    strengths : sequence of float
    texts : slice
        Which of the trials.
    residuals : ndarray, shape (texts, width), optional
        From `within_emotions`; with them, every trial has a matched sham, too.

    Returns
    -------
    list of dict
        As from `baseline`, with emotion, strength and kind, one of `study.tables.KINDS`.

    Raises
    ------
    InputError
        For a layer out of range, or a vector of length 0.

    Notes
    -----
    The shams of a trial have the same norm and the same random numbers for sampling. Each emotion,
    scenario and seed has one sham direction of each kind, the same at all strengths.
    """
    rows: list[Row] = []
    added: list[Float32Array] = []
    for emotion, all_layers in vectors.items():
        if not 0 <= layer < len(all_layers):
            raise InputError(
                f"layer {layer} is out of range: the vectors have layers 0 to {len(all_layers) - 1}"
            )
        vector = all_layers[layer]
        length = float(np.linalg.norm(vector))
        if length == 0:
            raise InputError(f"the vector of {emotion!r} at layer {layer} is zero")
        for name in scenarios.openings:
            for seed in settings.seeds:
                cell = (loaded.spec.name, layer, emotion, name, seed)
                directions = {
                    STEERED: vector,
                    SHAM: sham(vector, derived_seed(study_seed, SHAM, *cell)),
                }
                if residuals is not None:
                    own_seed = derived_seed(study_seed, MATCHED, *cell)
                    directions[MATCHED] = matched_sham(vector, residuals, own_seed)
                for strength in strengths:
                    for kind, direction in directions.items():
                        row = {"emotion": emotion, "scenario": name, "strength": strength}
                        rows.append({**row, "seed": seed, "kind": kind})
                        added.append(direction * np.float32(strength * norm / length))
    rows, stacked = rows[texts], torch.from_numpy(np.stack(added[texts]))
    _write(loaded, settings, scenarios, study_seed, rows, stacked, layer, progress, ask)
    return rows


def _write(
    loaded: LoadedModel,
    settings: Steering,
    scenarios: Scenarios,
    study_seed: int,
    rows: list[Row],
    vectors: torch.Tensor | None,
    layer: int,
    progress: Progress,
    ask: Ask | None,
) -> list[float]:
    """Write the rows' texts, measure them in place, and return the layers' mean norms."""
    chat = loaded.spec.instruct
    names = list(scenarios.openings)
    asked = prompts_ids(loaded, [scenarios.prompt(name, chat) for name in names])
    ids = dict(zip(names, asked, strict=True))
    prompts = [ids[row["scenario"]] for row in rows]
    stories = write(
        loaded,
        prompts,
        # A baseline and all trials compared with it share random numbers.
        [derived_seed(study_seed, "text", row["scenario"], row["seed"]) for row in rows],
        Sampling(
            max_new_tokens=settings.max_new_tokens,
            min_new_tokens=settings.min_new_tokens,
            temperature=settings.temperature,
            top_k=settings.top_k,
        ),
        Window(1),
        hook=None if vectors is None else lambda batch: Steer(vectors[batch]),
        hook_layers=[layer],
        max_texts=settings.batch,
        progress=progress,
    )
    expected, norms = perplexity(
        loaded, prompts, stories.token_ids, max_texts=settings.batch, progress=progress
    )
    for row, text, tokens, value in zip(
        rows, stories.texts, stories.token_ids, expected, strict=True
    ):
        row |= {"text": text, "token_ids": tokens, "perplexity": value, **measures(text, tokens)}
    if ask is not None:
        for row, opinions in zip(rows, ask(stories.texts), strict=True):
            row["opinions"] = opinions
    return norms


def measures(text: str, tokens: Sequence[int]) -> dict[str, float]:
    """Return the measures of a text that need no model."""
    return {
        "n_tokens": len(tokens),
        "distinct_1": distinct_n(tokens, 1),
        "distinct_2": distinct_n(tokens, 2),
        "share_non_ascii": share_non_ascii(text),
        "share_foreign_script": share_foreign_script(text),
    }
