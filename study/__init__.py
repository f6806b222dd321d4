"""What both sides share: a study's settings, its files, and how scripts read, write and stop.

Only Python's own modules are imported here, until a URL is asked for.
"""

from study.home import HOME
from study.read import InputError
from study.settings import (
    METHODS,
    Generation,
    Pooling,
    Preregistered,
    Scoring,
    Steering,
    Study,
    load_study,
)

__all__ = [
    "HOME",
    "METHODS",
    "Generation",
    "InputError",
    "Pooling",
    "Preregistered",
    "Scoring",
    "Steering",
    "Study",
    "load_study",
]
