"""Read a study's `run.json`, and check the parts that the tests use."""

from __future__ import annotations

import json
import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from study.read import InputError, read_bytes
from study.settings import Preregistered
from study.typed import typed


@dataclass(frozen=True)
class StoryLength:
    """How long stories may be."""

    max_new_tokens: int = 0


@dataclass(frozen=True)
class Skipped:
    """What pooling leaves out."""

    skip: int = 0


@dataclass(frozen=True)
class StudyFile:
    """The study file as echoed in the run file."""

    preregistered: Preregistered = field(default_factory=Preregistered)
    generation: StoryLength = field(default_factory=StoryLength)
    pooling: Skipped = field(default_factory=Skipped)


@dataclass(frozen=True)
class UnitFacts:
    """What a unit says about its texts."""

    model: str = ""
    method: str = ""
    written_by: str = ""


@dataclass(frozen=True)
class MetricFacts:
    """What a metric declares."""

    label: str = ""
    higher_is_better: bool = True
    chance: Annotated[float, Meta(gt=-1e60, lt=1e60)] | None = None


@dataclass(frozen=True)
class EmotionFacts:
    """What the corpus says about an emotion."""

    name: str
    valence: Annotated[float, Meta(ge=-1e6, le=1e6)] | None = None
    arousal: Annotated[float, Meta(ge=-1e6, le=1e6)] | None = None


@dataclass(frozen=True)
class JudgeFacts:
    """What a judge of steered texts says about itself."""

    accuracy: float = 0.0
    chance: float = 0.0
    expected_calibration_error: float = 0.0


@dataclass(frozen=True)
class CheckFacts:
    """What one check of a model's certificate found."""

    check: str
    value: Annotated[float, Meta(ge=-1e60, le=1e60)]
    limit: Annotated[float, Meta(ge=-1e60, le=1e60)]


@dataclass(frozen=True)
class CertificateFacts:
    """A model's certificate."""

    model: str
    weights: str
    precision: str
    checks: tuple[CheckFacts, ...]


@dataclass(frozen=True)
class RunFile:
    """The parts that are used; a run file has more."""

    study: StudyFile = field(default_factory=StudyFile)
    metrics: Mapping[str, MetricFacts] = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    emotions: tuple[EmotionFacts, ...] = ()
    units: tuple[UnitFacts, ...] = ()
    certificates: tuple[CertificateFacts, ...] = ()
    judges: Mapping[str, JudgeFacts] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


#: What only the reading of numbers from elsewhere says of a study. In a file it could pose as that,
#: or name a file of claims anywhere, on another host as well.
NOT_IN_FILES = ("notes", "assumed", "words", "claims", "repetitions", "layer_zero", "source")


def read_run(path: Any) -> dict[str, Any]:
    """Read a study's `run.json`, and check the parts that the tests use.

    Parameters
    ----------
    path : Path or UPath

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If it is missing, not JSON, or malformed.
    """
    if isinstance(path, Path) and not os.path.isdir(path.parent):
        raise InputError(f"{path.parent}: no such study folder{_neighbors(path.parent)}")
    try:
        run = json.loads(read_bytes(path))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; python extraction.py writes it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(run, dict):
        raise InputError(f"{path}: not a JSON object")
    typed(RunFile, run, str(path), more=True)
    run.setdefault("study", {})
    return {key: value for key, value in run.items() if key not in NOT_IN_FILES}


def _neighbors(folder: Path) -> str:
    """List the existing studies next to a missing one."""
    if not os.path.isdir(folder.parent):
        return ""
    names = sorted(p.parent.name for p in folder.parent.glob("*/run.json"))
    return f"; there are {', '.join(names)}" if names else ""
