"""Remember what several tests compute of the same profile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from analysis.loading.scores import Profile
from analysis.profiles.uncertainty import Errors

Row = dict[str, Any]
#: The number of rows to remember per function.
MOST = 10_000


def remembered(
    row: Callable[[Profile, Errors | str, float], Row],
) -> Callable[[Profile, Errors | str, float], Row]:
    """Let a function return a copy of its earlier result for the same numbers.

    Shape and place of a peak are asked for by most tests. The key is a digest of all that goes in,
    so that nothing is remembered for other scores.
    """
    kept: dict[bytes, Row] = {}

    @wraps(row)
    def found(profile: Profile, errors: Errors | str, alpha: float) -> Row:
        key = _digest(profile, errors, alpha)
        if key not in kept:
            if len(kept) >= MOST:
                kept.pop(next(iter(kept)))
            kept[key] = row(profile, errors, alpha)
        return dict(kept[key])

    return found


def _digest(*parts: object) -> bytes:
    """Return a digest of numbers, texts, arrays and the attributes of data classes."""
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        values = vars(part).items() if isinstance(part, Errors | Profile) else [("", part)]
        for name, value in values:
            if isinstance(value, np.ndarray):
                digest.update(f"{name} {value.dtype} {value.shape} ".encode())
                digest.update(np.ascontiguousarray(value).tobytes())
            else:
                digest.update(f"{name} {value!r} ".encode())
    return digest.digest()
