"""Facts of a unit: typed records whose fields say how to combine shards.

Each field has a rule for joining shards, so a new field cannot silently keep the value of the first
shard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, NotRequired, TypedDict, get_args, get_origin, get_type_hints


class Rule(Enum):
    """How a field of the unit follows from the fields of its shards."""

    ADD = "numbers and lists add up"
    SAME = "all shards must agree"
    FIRST = "the first shard's is as good as any"


class Story(TypedDict):
    """A story that a model wrote."""

    emotion: str
    topic: str
    number: int
    seed: int
    text: str
    token_ids: list[int]


class TextFacts(TypedDict):
    """Facts of a unit's texts."""

    emotions: Annotated[list[str], Rule.ADD]
    topics: Annotated[list[str], Rule.ADD]
    neutral_topics: Annotated[list[str], Rule.ADD]
    texts: Annotated[int, Rule.ADD]
    left_out: Annotated[int, Rule.ADD]
    tokens: Annotated[int, Rule.ADD]
    stories: NotRequired[Annotated[list[Story], Rule.ADD]]


class ModelFacts(TypedDict):
    """Facts of a loaded model."""

    model: Annotated[str, Rule.SAME]
    family: Annotated[str, Rule.SAME]
    source: Annotated[str, Rule.SAME]
    fingerprint: Annotated[str, Rule.SAME]
    n_params: Annotated[int, Rule.SAME]
    n_layers: Annotated[int, Rule.SAME]
    width: Annotated[int, Rule.SAME]
    instruct: Annotated[bool, Rule.SAME]
    prompting: NotRequired[Annotated[str, Rule.SAME]]
    precision: Annotated[str, Rule.SAME]
    device: Annotated[str, Rule.FIRST]
    certificate: NotRequired[Annotated[dict[str, Any], Rule.FIRST]]


class UnitFacts(TextFacts, ModelFacts):
    """Facts of an extraction unit.

    A unit of the method ablation has its layers, the share of the tokens' variance that it removes
    at each, and the mean log-likelihood per token of each text: intact, ablated and under the
    control.
    """

    weights: Annotated[str, Rule.SAME]
    seed: Annotated[int, Rule.SAME]
    method: Annotated[str, Rule.SAME]
    written_by: NotRequired[Annotated[str, Rule.SAME]]
    ablated_layers: NotRequired[Annotated[list[int], Rule.SAME]]
    removed: NotRequired[Annotated[list[float], Rule.SAME]]
    log_likelihoods: NotRequired[Annotated[list[list[float]], Rule.ADD]]
    seconds: Annotated[float, Rule.ADD]
    shards: NotRequired[Annotated[int, Rule.FIRST]]


class SteeringFacts(ModelFacts):
    """Facts of a steering unit, including its texts.

    Baselines have no layer, and the mean residual norm of every layer; trials have the norm of
    their layer.
    """

    layer: Annotated[int | None, Rule.SAME]
    place: Annotated[str, Rule.SAME]
    norms: NotRequired[Annotated[list[float], Rule.SAME]]
    norm: NotRequired[Annotated[float, Rule.SAME]]
    own_auc: NotRequired[Annotated[float, Rule.SAME]]
    tokens: Annotated[int, Rule.ADD]
    seconds: Annotated[float, Rule.ADD]
    rows: Annotated[list[dict[str, Any]], Rule.ADD]
    shards: NotRequired[Annotated[int, Rule.FIRST]]


def rules(kind: type) -> dict[str, Rule]:
    """Return the rule of each field of a record.

    Examples
    --------
    >>> rules(TextFacts)["tokens"].name
    'ADD'
    """
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        inner = get_args(hint)[0] if get_origin(hint) is NotRequired else hint
        (found[name],) = [a for a in get_args(inner) if isinstance(a, Rule)]
    return found


def joined_facts(kind: type, shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Combine the facts of shards, in order, into those of the unit.

    Parameters
    ----------
    kind : type
        `UnitFacts` or `SteeringFacts`.
    shards : sequence of mappings
        Records of that kind.

    Returns
    -------
    dict
        The facts, with the number of shards.

    Raises
    ------
    KeyError, TypeError
        If a shard lacks a field, or has an unknown one.
    ValueError
        If a field that must agree differs; the message names it.

    Examples
    --------
    >>> joined_facts(TextFacts, [{"texts": 2, "topics": ["sea"]}, {"texts": 1, "topics": ["war"]}])
    {'texts': 3, 'topics': ['sea', 'war'], 'shards': 2}
    """
    rule_of = rules(kind)
    whole: dict[str, Any] = {}
    for name, value in shards[0].items():
        rule, values = rule_of[name], [shard[name] for shard in shards]
        if rule is Rule.ADD:
            for more in values[1:]:
                value = value + more  # a new object: the shards' own lists stay as they are
        elif rule is Rule.SAME and any(other != value for other in values):
            raise ValueError(name)
        whole[name] = round(value, 2) if name == "seconds" else value
    return {**whole, "shards": len(shards)}
