"""Define a situation of the calibration and its targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from generator import Study
from studies import NINE

#: A bound and its value; a string names a quantity of the same question, bound at 0.75 of it.
Target = tuple[str, float | str]
Asked = Mapping[str, Mapping[str, Target]]

SIZE: Target = ("<=", 0.065)
COVERAGE: Target = (">=", 0.92)
#: False sameness, a hump where there are two peaks, "at target" for curves that peak elsewhere.
FALSE_CLAIM: Target = ("<=", 0.05)
BARE_SIZE: Target = ("<=", 0.06)
FOUND: Target = (">=", 0.75)

DESIGNS = {
    "2+2+2+2+1": NINE,
    "four of three": (3, 3, 3, 3),
    "three of four": (4, 4, 4),
    "four of five": (5, 5, 5, 5),
    "two of ten": (10, 10),
    "ten of two": (2,) * 10,
    "four of ten": (10, 10, 10, 10),
}


@dataclass(frozen=True)
class Situation:
    """One truth and design, with its questions.

    Attributes
    ----------
    about : str
        What can go wrong there; groups the table.
    draw : callable
        Takes a Generator and returns a `Study`.
    asked : mapping
        For each question, the targets of its quantities.
    """

    about: str
    draw: Callable[[np.random.Generator], Study]
    asked: Asked
