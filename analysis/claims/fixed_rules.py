"""The rules of the claims for these models, over topics like these: one for each rule's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from analysis.claims import contested, fixed_contested, fixed_depth
from analysis.claims import steering as steering_claims
from analysis.claims.depth import Row, untestable
from analysis.claims.registry import Evidence
from analysis.over_models.method_contrast import method_test
from analysis.profiles.localization import localization_test
from analysis.scopes import THESE
from study.read import InputError

Options = Mapping[str, Any]


def _every(e: Evidence, o: Options) -> Row:
    rows = e.primary_shapes
    profiles = [dict(row) for _, row in rows[rows["level"] == "profile"].iterrows()]
    return fixed_depth.every_model(profiles, e.alpha)


def _overall(e: Evidence, o: Options) -> Row:
    profiles = list(e.trained.select(method=e.method).profiles())
    return fixed_depth.mean_curve(profiles, e.alpha, e.seed)


def _peak(e: Evidence, o: Options) -> Row:
    table = localization_test(
        e.trained.select(method=e.method),
        target=o.get("target", e.rules["target"]),
        delta=o.get("delta", e.rules["delta"]),
        peak=e.rules["peak"],
        alpha=e.alpha,
        seed=e.seed,
        scope=THESE,
    )
    return fixed_depth.peak(table)


def _methods(e: Evidence, o: Options) -> Row:
    if not o:
        return fixed_depth.methods(e.methods, e.alpha)
    table = method_test(e.trained, a=str(o["a"]), b=str(o["b"]), alpha=e.alpha, scope=THESE)
    return fixed_depth.methods(table, e.alpha)


def _embeddings(e: Evidence, o: Options) -> Row:
    if e.scores.run.get("layer_zero", "embedding") not in ("embedding", "assumed"):
        return untestable("layer 0 of this table is not known to be the embedding")
    return fixed_contested.embeddings(e.trained, e.method, e.metric, e.alpha, e.seed)


def _cause(e: Evidence, o: Options) -> Row:
    steering_claims.needed(e.trials)
    return untestable("which of two properties of models is the cause needs a sample of models")


#: A rule's function for these models, by the rule's name.
FIXED: dict[str, Callable[[Evidence, Options], Row]] = {
    "hump in every model": _every,
    "hump over models": _overall,
    "peak at": _peak,
    "same in every family": lambda e, o: fixed_depth.curves(e.these_curves),
    "same at every scale": lambda e, o: fixed_depth.scale(e.these_scale),
    "one method better": _methods,
    "learned": lambda e, o: fixed_depth.learned(e.controls),
    "in the embeddings": _embeddings,
    "tuning moves it": lambda e, o: fixed_contested.tuning(
        e.trained, e.method, e.alpha, e.rules["delta"], e.seed
    ),
    "precision changes it": lambda e, o: fixed_depth.precision(e.precision, e.alpha),
    # Valence is permuted over emotions within models: the models are fixed in either scope.
    "valence": lambda e, o: contested.valence(e.scores, e.method, e.alpha, e.seed),
    "steering": lambda e, o: steering_claims.steering(e.steered, e.alpha, e.seed, THESE),
    "steering regimes": lambda e, o: steering_claims.regimes(e.steered, e.alpha, THESE),
    "regimes by family": _cause,
}


def decide_these(test: str, evidence: Evidence, options: Options) -> Row:
    """Return a claim's row about these models; not testable for a rule without this scope."""
    if test not in FIXED:
        return untestable("the rule has no test for these models alone")
    try:
        return FIXED[test](evidence, options)
    except InputError as error:
        return untestable(str(error))
