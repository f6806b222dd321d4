"""The study file as one frozen settings object, checked when it is read.

The file is also the preregistration: what is to be tested, and by which thresholds, is fixed in
it before there are any data. `run.json` echoes it together with its hash.
"""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from study.home import HOME, find, studies
from study.read import InputError, read_toml
from study.tables import LABELS, METHODS, WEIGHTS
from study.typed import typed

#: The words that some lists choose from.
CHOICES = {
    "methods": METHODS,
    "untrained_methods": METHODS,
    "weights": WEIGHTS,
    "labels": LABELS,
}
#: Lists that hold something, and nothing twice.
LISTED = (
    "methods",
    "weights",
    "labels",
    "precisions",
    "models",
    "untrained_seeds",
    "scoring.metrics",
    "steering.strengths",
    "steering.seeds",
    "steering.judges",
)


def _within(low: float, high: float) -> Meta:
    return Meta(ge=low, le=high)


Seed = Annotated[int, _within(0, 2**31)]
Count = Annotated[int, _within(1, 100_000)]
Tokens = Annotated[int, _within(2, 100_000)]
CountOrNone = Annotated[int, _within(0, 100_000)]
Share = Annotated[float, _within(0, 1)]
TopK = Annotated[int, _within(1, 1_000_000)]
Temperature = Annotated[float, _within(0, 100)]
Strength = Annotated[float, Meta(gt=0, le=100)]


@dataclass(frozen=True)
class Generation:
    """How stories are written.

    Attributes
    ----------
    stories_per_cell, neutral_per_topic : int
        Stories for each emotion and topic, and neutral ones for each topic.
    max_new_tokens, min_new_tokens, temperature, top_k
        As in `representations.generation.Sampling`.
    batch : int
        Stories written at once. No result depends on it.
    """

    stories_per_cell: Annotated[int, _within(1, 1000)] = 1
    neutral_per_topic: Annotated[int, _within(0, 1000)] = 2
    max_new_tokens: Tokens = 48
    min_new_tokens: CountOrNone = 24
    temperature: Temperature = 1.0
    top_k: TopK = 50
    batch: Count = 96


@dataclass(frozen=True)
class Pooling:
    """Which tokens enter a mean, and how many texts are read at once.

    Attributes
    ----------
    skip : int
        Leading tokens left out.
    size : int
        Tokens taken after them; 0 for all.
    batch_texts, batch_tokens : int
        Limits of a batch that is read.
    """

    skip: Count = 8
    size: CountOrNone = 0
    batch_texts: Count = 16
    batch_tokens: Annotated[int, _within(1, 10**9)] = 4096


@dataclass(frozen=True)
class Ablation:
    """How the emotions' subspace is ablated, for the method ablation.

    Attributes
    ----------
    every : int
        Ablate at every layer that this number divides.
    tokens : int
        Tokens read of each passage; 0 for all.
    denoise : float
        Share of the neutral texts' variance that is projected out of the emotions' means first.
    """

    every: Count = 3
    tokens: CountOrNone = 48
    denoise: Annotated[float, _within(0, 0.999)] = 0.5


@dataclass(frozen=True)
class Scoring:
    """How pooled activations become scores.

    Attributes
    ----------
    metrics : tuple of str
        Names from `representations.metrics.METRICS`.
    folds, replicates : int
        Cross-validation folds of whole topics, and bootstrap replicates over topics.
    denoise : float
        Share of the neutral texts' variance that is projected out.
    """

    metrics: tuple[str, ...] = ("auc", "crossnobis", "cosine", "anisotropy")
    folds: Annotated[int, _within(2, 1000)] = 6
    replicates: Annotated[int, _within(2, 100_000)] = 200
    denoise: Annotated[float, _within(0, 0.999)] = 0.0


@dataclass(frozen=True)
class Steering:
    """How models are steered, and by whom the texts are judged.

    Attributes
    ----------
    emotions : tuple of str
        Those steered toward; all of the study's if empty.
    scenarios : str
        A file of neutral openings, relative to the working folder or the project.
    n_scenarios : int
        How many of them, spread over the file; all if 0.
    strengths : tuple of float
        Lengths of the added vector, as fractions of the layer's mean residual norm. The
        baseline, strength 0, is always there.
    seeds : tuple of int
        Each scenario is continued once with each.
    sweep_depths : tuple of float
        Depths at which the model is also steered, beside its peak.
    sweep_every : int
        Also steer at every layer that this number divides; 0 for none.
    sweep_strength : float
        The one strength of the sweep; it must be among `strengths`.
    max_new_tokens, min_new_tokens, temperature, top_k
        As in `representations.generation.Sampling`.
    batch : int
        Texts written at once.
    judges : tuple of str
        "local", "nrclex", "own" (the unsteered model), or a text classifier by its folder or hub
        name.
    labels : mapping of str to mapping
        For each classifier, which emotion each of its labels stands for.
    """

    emotions: tuple[str, ...] = ()
    scenarios: str = "data/scenarios.toml"
    n_scenarios: CountOrNone = 0
    strengths: tuple[Strength, ...] = (0.1, 0.2, 0.4, 0.8)
    seeds: tuple[Seed, ...] = (0,)
    sweep_depths: tuple[Share, ...] = ()
    sweep_every: CountOrNone = 0
    sweep_strength: Strength = 0.2
    max_new_tokens: Tokens = 32
    min_new_tokens: CountOrNone = 8
    temperature: Temperature = 0.8
    top_k: TopK = 50
    batch: Count = 96
    judges: tuple[str, ...] = ("local",)
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preregistered:
    """What `analysis` tests, fixed before the data.

    Attributes
    ----------
    metric, method : str
        The primary metric and method.
    target, delta, alpha : float
        Localization at target, equivalence within delta (both in units of depth), test level.
    curve_delta, amplitude_delta : float
        Curves are the same within curve_delta of their rise, level and amplitude set apart, and
        amplitudes within amplitude_delta of their mean.
    peak : str
        Which of three estimators says where a curve peaks: "vertex" of the quadratic, "extremum"
        of the smoothed curve, or "center" of its top.
    distinct_2, perplexity_ratio : float
        Bounds of the regimes of steering: repetitive collapse below the first, explosive above
        the second.
    """

    metric: str = "auc"
    method: str = "comprehension"
    target: Share = 0.5
    delta: Annotated[float, _within(1e-6, 1)] = 0.10
    alpha: Annotated[float, _within(1e-6, 0.5)] = 0.05
    curve_delta: Annotated[float, _within(1e-6, 1)] = 0.10
    amplitude_delta: Annotated[float, _within(1e-6, 1)] = 0.25
    peak: Literal["vertex", "extremum", "center"] = "extremum"
    distinct_2: Share = 0.5
    perplexity_ratio: Annotated[float, _within(1e-6, 1e6)] = 4.0


@dataclass(frozen=True)
class Study:
    """One study: what is extracted from which models, and what will be tested.

    Attributes
    ----------
    name, description : str
    corpus : str
        A folder, relative to the working folder or the project.
    models : tuple of str
        Names in `data/models.toml` or in `model`, folders, or hub repositories.
    model : tuple of mappings
        Entries of the registry's form for models of the study's own.
    methods, untrained_methods, weights, labels, emotions : tuple of str
        Methods for trained and for untrained models; emotions are all of the corpus if empty.
    crossreading_pairs : tuple of (str, str)
        Readers with writers, for the method crossreading; each model with each other one if empty.
    topics : tuple of str, or int
        Names, or how many, spread over the corpus; all if empty or 0.
    untrained_seeds : tuple of int
        Seeds of the random initializations.
    precisions : tuple of str
        Dtypes of the computation; "auto" is float32 on a CPU and bfloat16 on a GPU. With each one
        after the first, trained models read the passages only, to test what precision changes.
    seed : int
        Of everything that is random.
    generation, pooling, ablation, scoring, preregistered, steering
        The sections of the study file, each a dataclass of this module.
    sha256 : str
        Hash of the file; no field of it.
    """

    name: str
    description: str = ""
    corpus: str = "data/corpus"
    models: tuple[str, ...] = ()
    model: tuple[Mapping[str, Any], ...] = ()
    methods: tuple[str, ...] = ("comprehension", "generation", "rereading")
    untrained_methods: tuple[str, ...] = ("comprehension",)
    weights: tuple[str, ...] = WEIGHTS
    labels: tuple[str, ...] = LABELS
    emotions: tuple[str, ...] = ()
    crossreading_pairs: tuple[tuple[str, str], ...] = ()
    topics: tuple[str, ...] | int = 0
    untrained_seeds: tuple[Seed, ...] = (0,)
    precisions: tuple[str, ...] = ("auto",)
    seed: Seed = 0
    generation: Generation = field(default_factory=Generation)
    pooling: Pooling = field(default_factory=Pooling)
    ablation: Ablation = field(default_factory=Ablation)
    scoring: Scoring = field(default_factory=Scoring)
    preregistered: Preregistered = field(default_factory=Preregistered)
    steering: Steering = field(default_factory=Steering)
    sha256: str = ""

    def echo(self) -> dict[str, Any]:
        """Return all settings, defaults included, as plain data for `run.json`."""
        return asdict(self)


def load_study(name: str | Path) -> Study:
    """Read a study by its name in `data/studies`, or from a file of one's own.

    Parameters
    ----------
    name : str or Path
        For instance ``"demo"`` or ``"my/study.toml"``.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        One line that names the file, the field and the remedy.

    Examples
    --------
    >>> load_study("demo").preregistered.target
    0.5
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = find(HOME / "data" / "studies" / f"{name}.toml")
        if not os.path.isfile(path):
            known = ", ".join(studies())
            what = "is not a study file" if os.path.isfile(name) else "is unknown"
            raise InputError(f"study {str(name)!r} {what}; there are {known}, or name a .toml file")
    raw, settings = read_toml(path, "no such study file")
    settings.setdefault("name", path.stem)
    study = typed(Study, settings, str(path), hidden=("sha256",))
    _check(study, str(path))
    return Study(**{**vars(study), "sha256": hashlib.sha256(raw).hexdigest()})


def _check(study: Study, where: str) -> None:
    """Check what types cannot say."""
    if not study.name.replace("-", "").replace("_", "").isalnum() or not study.name.isascii():
        raise InputError(
            f"{where}: name = {study.name!r} becomes a folder; use letters, digits, - and _"
        )
    if len(study.name) > 64:
        raise InputError(f"{where}: name has {len(study.name)} characters; use at most 64")
    if not study.models:
        raise InputError(f"{where}: models is empty; name at least one")
    for name, allowed in CHOICES.items():
        unknown = [v for v in getattr(study, name) if v not in allowed]
        if unknown:
            raise InputError(
                f"{where}: {name} has unknown {unknown[0]!r}; choose from {', '.join(allowed)}"
            )
    for name in LISTED:
        values = attrgetter(name)(study)
        if len(set(values)) < len(values) or not values:
            raise InputError(f"{where}: {name} must list at least one value, and each once")
    for name in ("generation", "steering"):
        part = getattr(study, name)
        if part.min_new_tokens > part.max_new_tokens:
            raise InputError(
                f"{where}: {name}.min_new_tokens = {part.min_new_tokens} is above "
                f"{name}.max_new_tokens = {part.max_new_tokens}; lower the minimum"
            )
    steering = study.steering
    sweeps = steering.sweep_depths or steering.sweep_every
    if sweeps and steering.sweep_strength not in steering.strengths:
        raise InputError(
            f"{where}: steering.sweep_strength = {steering.sweep_strength:g} is not among "
            f"steering.strengths ({', '.join(f'{s:g}' for s in steering.strengths)})"
        )
    for name in ("methods", "untrained_methods"):
        listed = getattr(study, name)
        for reads in ("rereading", "crossreading"):
            if reads in listed and "generation" not in listed:
                raise InputError(
                    f"{where}: {name} has {reads} without generation, which writes its stories"
                )
    if "crossreading" in study.untrained_methods:
        raise InputError(
            f"{where}: untrained_methods has crossreading; leave it to methods, of trained models"
        )
    if len(study.precisions) > 1 and "comprehension" not in study.methods:
        raise InputError(
            f"{where}: precisions lists {len(study.precisions)}, of which all but the first only "
            "read passages; add comprehension to methods"
        )
    for pair in study.crossreading_pairs:
        if unknown := [name for name in pair if name not in study.models]:
            raise InputError(
                f"{where}: crossreading_pairs names {unknown[0]!r}, which is not among models"
            )
        if pair[0] == pair[1]:
            raise InputError(
                f"{where}: crossreading_pairs pairs {pair[0]!r} with itself; that is rereading"
            )
    if "ablation" in study.methods + study.untrained_methods and "true" not in study.labels:
        raise InputError(f'{where}: methods has ablation, which needs the labels "true"')
    if study.preregistered.metric not in study.scoring.metrics:
        raise InputError(
            f"{where}: preregistered.metric = {study.preregistered.metric!r} is not among "
            f"scoring.metrics ({', '.join(study.scoring.metrics)})"
        )


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema of the study file, for editors that complete and check it.

    Returns
    -------
    dict

    Examples
    --------
    >>> study_schema()["properties"]["seed"]["minimum"]
    0
    """
    whole = msgspec.json.schema(Study)
    parts = whole.pop("$defs")
    study = parts.pop("Study")
    del study["properties"]["sha256"]
    for name, choices in CHOICES.items():
        study["properties"][name]["items"]["enum"] = list(choices)
    study["required"] = ["models"]  # a file without a name has its own
    for part in (study, *parts.values()):
        part["additionalProperties"] = False
        part["description"] = str(part.get("description", "")).partition("\n\n")[0]
    address = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": address, **study, "title": "emotion-depth study", "$defs": parts}
