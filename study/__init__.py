"""What both sides share: a study's settings, its files, and how scripts read, write and stop.

It imports only msgspec and the standard library, until a URL is used.
"""

from study.home import HOME
from study.read import InputError
from study.settings import (
    Ablation,
    Generation,
    Pooling,
    Preregistered,
    Scoring,
    Steering,
    Study,
    load_study,
    study_schema,
)
from study.tables import METHODS

__all__ = [
    "HOME",
    "METHODS",
    "Ablation",
    "Generation",
    "InputError",
    "Pooling",
    "Preregistered",
    "Scoring",
    "Steering",
    "Study",
    "load_study",
    "study_schema",
]
