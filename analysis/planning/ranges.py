"""Refuse arguments that are no number or outside their range, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from study.read import InputError


def require_number(name: str, value: Any, low: float = -np.inf, high: float = np.inf) -> None:
    """Raise InputError unless a value is a finite number within these bounds."""
    if isinstance(value, Real) and np.isfinite(float(value)) and low <= float(value) <= high:
        return
    within = f" from {low:g} to {high:g}" if np.isfinite(high) else f", {low:g} or more"
    raise InputError(f"{name} {value!r}: give a number{within if np.isfinite(low) else ''}")


def require_count(name: str, value: Any, least: int = 1) -> None:
    """Raise InputError unless a value is a whole number that is large enough."""
    if not isinstance(value, Integral) or int(value) < least:
        raise InputError(f"{name} {value!r}: give a whole number, {least} or more")


def require_counts(name: str, values: Any, least: int = 1) -> None:
    """Raise InputError unless values are one or more whole numbers that are large enough."""
    listed = list(values) if isinstance(values, Sequence | np.ndarray) else []
    if not listed or any(not isinstance(v, Integral) or int(v) < least for v in listed):
        raise InputError(f"{name} {values!r}: give a tuple of whole numbers, each {least} or more")


def require_share(name: str, value: Any) -> None:
    """Raise InputError unless a value is above 0 and at most 1."""
    if not isinstance(value, Real) or not 0 < float(value) <= 1:
        raise InputError(f"{name} {value!r}: give a number above 0, at most 1")
