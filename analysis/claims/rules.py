"""The claims as data: each is a sentence from a TOML file, with the rule that decides it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.claims import contested, depth
from analysis.claims import steering as steering_claims
from analysis.claims.depth import Row, untestable
from analysis.claims.fixed_rules import decide_these
from analysis.claims.registry import Evidence
from analysis.over_models.method_contrast import method_test
from analysis.profiles.localization import localization_test
from study.home import HOME, find
from study.read import InputError, locate, read_toml
from study.typed import typed

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A sentence with a rule.

    Attributes
    ----------
    key : str
        Its name in the code and the paper.
    test : str
        The name of the rule that decides it, one of `RULES`.
    sentence, rule : str
        The claim and its rule in words; {target} and {delta} stand for the rule's values.
    source : str
        Who made the claim.
    any : bool
        Whether any table can be tested for it, including a table from elsewhere.
    options : mapping
        Options of the rule.
    """

    key: str
    test: str
    sentence: str
    source: str = ""
    rule: str = ""
    any: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def words(self, rules: Mapping[str, Any]) -> dict[str, str]:
        """Return key, claim, source and rule for a table."""
        values = {**rules, **self.options}
        try:
            claim, rule = self.sentence.format(**values), self.rule.format(**values)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise InputError(
                f"claim {self.key!r}: braces hold the rule's numbers, as {{target:g}} ({error})"
            ) from None
        return {"key": self.key, "claim": claim, "source": self.source, "rule": rule}

    def decide(self, evidence: Evidence) -> Row:
        """Return quantity, estimate, low, high, p, n, verdict and reason, for models like these."""
        try:
            return RULES[self.test][0](evidence, self.options)
        except InputError as error:
            return untestable(str(error))

    def decide_these(self, evidence: Evidence) -> Row:
        """Return the same for these models, over topics like these."""
        return decide_these(self.test, evidence, self.options)


def _peak(e: Evidence, o: Options) -> Row:
    """Judge where the peak is; try both readings of layer 0 if it is only assumed."""
    row = depth.peak(_peaks(e, o))
    if e.scores.run.get("layer_zero") != "assumed" or "p" not in row:
        return row
    table = e.scores.table
    shifted = replace(
        e.scores,
        table=table.assign(depth=(table["layer"] + 1) / (table["n_layers"] + 1)),
        replicates=None
        if e.scores.replicates is None
        else e.scores.replicates.assign(
            depth=(e.scores.replicates["layer"] + 1) / (e.scores.replicates["n_layers"] + 1)
        ),
    )
    other = depth.peak(_peaks(Evidence(**{**vars_of(e), "scores": shifted}), o))
    if other["verdict"] == row["verdict"]:
        return row
    return row | {
        "verdict": "undecided",
        "reason": f"it depends on what layer 0 is: if it is the embedding, {row['reason']}; if it "
        f"is the first block's output, {other['reason']}; set layer_zero to say which",
    }


def vars_of(e: Evidence) -> dict[str, Any]:
    """Return the fields of the evidence, without the tests that have already run."""
    return {name: getattr(e, name) for name in Evidence.__dataclass_fields__}


def _peaks(e: Evidence, o: Options) -> Any:
    if not o:
        return e.primary_peaks
    return localization_test(
        e.trained.select(method=e.method),
        target=o.get("target", e.rules["target"]),
        delta=o.get("delta", e.rules["delta"]),
        peak=e.rules["peak"],
        alpha=e.alpha,
        seed=e.seed,
    )


def _methods(e: Evidence, o: Options) -> Row:
    if not o:
        return depth.methods(e.methods)
    return depth.methods(method_test(e.trained, a=str(o["a"]), b=str(o["b"]), alpha=e.alpha))


def _in_embeddings(e: Evidence, o: Options) -> Row:
    if e.scores.run.get("layer_zero", "embedding") not in ("embedding", "assumed"):
        return untestable("layer 0 of this table is not known to be the embedding")
    return contested.embeddings(e.trained, e.method, e.metric, e.alpha)


#: Each rule by name: the function that decides, and the options that it takes.
RULES: dict[str, tuple[Callable[[Evidence, Options], Row], tuple[str, ...]]] = {
    "hump in every model": (lambda e, o: depth.every_model(e.primary_shapes, e.alpha), ()),
    "hump over models": (lambda e, o: depth.over_models(e.primary_shapes), ()),
    "peak at": (_peak, ("target", "delta")),
    "same in every family": (lambda e, o: depth.invariance(e.invariance), ()),
    "same at every scale": (lambda e, o: depth.scale(e.scale), ()),
    "one method better": (_methods, ("a", "b")),
    "learned": (lambda e, o: depth.learned(e.controls), ()),
    "in the embeddings": (_in_embeddings, ()),
    "tuning moves it": (
        lambda e, o: contested.tuning(e.trained, e.method, e.alpha, e.rules["delta"]),
        (),
    ),
    "precision changes it": (lambda e, o: contested.precision(e.precision), ()),
    "valence": (lambda e, o: contested.valence(e.scores, e.method, e.alpha, e.seed), ()),
    "steering": (lambda e, o: steering_claims.steering(e.steered, e.alpha, e.seed), ()),
    "steering regimes": (lambda e, o: steering_claims.regimes(e.steered, e.alpha), ()),
    "regimes by family": (
        lambda e, o: steering_claims.regime_cause(e.steered, e.alpha, e.seed),
        (),
    ),
}


def read_claims(path: Any) -> tuple[Claim, ...]:
    """Read a file of claims.

    Parameters
    ----------
    path : str, Path or UPath
        A TOML file of ``[[claim]]`` tables: key, test (one of `RULES`), sentence, and optionally
        the source, the rule in words, and the rule's options.

    Raises
    ------
    InputError
        For an unknown field or rule, an option that the rule does not take, a repeated key, or a
        file without claims.

    Examples
    --------
    >>> [claim.key for claim in read_claims(find("data/claims.toml"))][:3]
    ['every', 'overall', 'peak']
    """
    _, content = read_toml(locate(path), "no such file of claims")
    entries = content.get("claim")
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise InputError(f"{path}: has no claims; add [[claim]] tables")
    claims: list[Claim] = []
    for entry in entries:
        label = f"{path}: [[claim]] {entry.get('key', '?')!r}"
        test = entry.get("test")
        if test not in RULES:
            raise InputError(f"{label}: no test {test!r}; choose from {', '.join(RULES)}")
        allowed = RULES[test][1]
        options = {k: entry[k] for k in allowed if k in entry}
        if test == "one method better" and len(options) == 1:
            raise InputError(f"{label}: give both a and b, the methods to compare")
        claim = typed(Claim, {k: v for k, v in entry.items() if k not in allowed}, label)
        if any(claim.key == other.key for other in claims):
            raise InputError(f"{label}: two claims have this key; rename one")
        claims.append(replace(claim, options=options))
    return tuple(claims)


def claims_for(evidence: Evidence, path: Any = None) -> tuple[Claim, ...]:
    """Return the claims to test on a study: the user's own, or ours.

    A table from elsewhere gets those of ours that any table can answer, without their sources.
    """
    path = path or evidence.scores.run.get("claims")
    if path:
        return read_claims(path)
    ours = read_claims(find(HOME / "data" / "claims.toml"))
    if not evidence.scores.is_foreign:
        return ours
    return tuple(replace(claim, source="") for claim in ours if claim.any)
