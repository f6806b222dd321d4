"""Whether every one of these models has a hump, and has learned it: over topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.scopes import THESE, every_p, some_p
from analysis.wording import each_of, listing, numbered, numbered_shape, with_article

Rows = Sequence[Mapping[str, Any]]


def p_hump(row: Mapping[str, Any], alpha: float) -> float:
    """Return the p that a profile is a hump, from its row of `u_shape_test`.

    It is 1 where another shape is shown, and where a valley inside the hump is in doubt.
    """
    p, verdict = float(row["p"]), row["verdict"]
    if np.isnan(p):
        return p
    if row.get("direction") != "hump" or (verdict != "hump" and p < alpha):
        return 1.0
    return p


def fixed_shapes(rows: Rows, alpha: float) -> dict[str, Any]:
    """Return the row of `u_shape_test` about all of these models, from those of their profiles.

    The estimate is the smallest of the profiles' weaker arms, with the smallest ends of their
    intervals. p is that every profile is a hump, p_shape that all have the verdict's shape, and
    p_otherwise that some profile has another shape than a hump, by Holm's method.
    """
    row = _about(rows)
    humps = [p_hump(one, alpha) for one in rows]
    if all(np.isnan(p) for p in humps):
        return row | {"p": np.nan, "verdict": "undecided", "reason": rows[0]["reason"]}
    row |= {end: float(np.min([one[end] for one in rows])) for end in ("estimate", "low", "high")}
    against = [one for one in rows if one["verdict"] not in ("hump", "undecided")]
    p_against = [float(one["p_shape"]) for one in against]
    # The other profiles count in the correction.
    row["p"], row["p_otherwise"] = (
        every_p(humps),
        some_p(p_against + [1.0] * (len(rows) - len(against))),
    )
    shapes = [str(one["verdict"]) for one in rows]
    if len(set(shapes)) == 1 and shapes[0] != "undecided":
        p = row["p"] if shapes[0] == "hump" else every_p(p_against)
        every, what = each_of(len(rows), "profile"), with_article(shapes[0])
        reason = f"{every} is shown to {'have' if shapes[0] == 'several peaks' else 'be'} {what}"
        return row | {"p_shape": p, "verdict": shapes[0], "reason": reason}
    counted = sorted(set(shapes), key=lambda shape: (shape == "undecided", shape))
    said = listing(numbered_shape(shapes.count(shape), shape) for shape in counted)
    word = "mixed" if row["p_otherwise"] < alpha else "undecided"
    return row | {"verdict": word, "reason": f"of {numbered(len(rows), 'profile')}: {said}"}


def fixed_controls(rows: Rows, humps: Sequence[float], alpha: float) -> dict[str, Any]:
    """Return the row of `control_test` about all of these models, from those of their profiles.

    Parameters
    ----------
    rows : sequence of mapping
        Of one contrast.
    humps : sequence of float
        `p_hump` of each trained profile; 0 for a contrast that needs no hump.
    alpha : float

    Notes
    -----
    Its p is that every model has learned its hump; p_not that some model has not, by Holm's method.
    The interval of the mean is as wide as the mean of the models' intervals, since their errors,
    from the same topics, may be fully correlated.
    """
    row = _about(rows) | dict.fromkeys(("estimate", "low", "high", "p"), np.nan)
    if any(np.isnan(one["p"]) for one in rows):
        first = next(one for one in rows if np.isnan(one["p"]))
        reason = f"{first['model']}: {first['reason']}"
        return row | {"verdict": "undecided", "reason": reason}
    averaged = ("estimate", "low", "high", "profile", "control")
    row |= {name: float(np.mean([one[name] for one in rows])) for name in averaged}
    learned = [
        1.0
        if one["verdict"] == "not learned" or one["estimate"] <= 0
        else max(float(one["p"]), hump)
        for one, hump in zip(rows, humps, strict=True)
    ]
    against = [float(one["p_not"]) if one["verdict"] == "not learned" else 1.0 for one in rows]
    row |= {"p": every_p(learned), "p_not": some_p(against)}
    shown = sum(one["verdict"] == "learned" for one in rows)
    if row["p"] < alpha:
        return row | {"verdict": "learned", "reason": f"in {each_of(len(rows), 'profile')}"}
    if row["p_not"] < alpha:
        first = rows[int(np.argmin(against))]
        return row | {"verdict": "not learned", "reason": f"{first['model']}: {first['reason']}"}
    lacking = next(one for one in rows if one["verdict"] != "learned")
    of = f"{shown} of {numbered(len(rows), 'profile')}"
    reason = f"shown in {of}; {lacking['model']}: {lacking['reason']}"
    return row | {"verdict": "undecided", "reason": reason}


def _about(rows: Rows) -> dict[str, Any]:
    n = len({str(one["model"]) for one in rows})
    names = {"level": THESE, "model": f"all ({n})", "family": "all", "n_models": n}
    return {**names, "n_families": len({str(one["family"]) for one in rows})}
