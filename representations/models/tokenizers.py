"""Load a model's tokenizer, with the model or alone, since prompts need no weights."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from representations.models import hub
from representations.models.chat_templates import is_tuned
from representations.models.encoding import Tokens, check_tokenizer, encoded
from representations.models.errors import loading_errors
from representations.models.weights import local_folder
from study.read import InputError
from study.registry import ModelSpec, registry


class Prompted(Protocol):
    """What it takes to turn a prompt into tokens: a `LoadedModel` or a `Tokenized`."""

    @property
    def spec(self) -> ModelSpec:
        """The registry's entry, with `instruct` settled."""

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""


@dataclass(frozen=True)
class Tokenized:
    """A model without its weights.

    Attributes
    ----------
    spec : ModelSpec
    tokenizer : PreTrainedTokenizer
    """

    spec: ModelSpec
    tokenizer: Any


def load_tokenizer(spec: ModelSpec) -> Tokenized:
    """Load a model's tokenizer alone, without fetching weights from the hub.

    Parameters
    ----------
    spec : ModelSpec

    Returns
    -------
    Tokenized

    Raises
    ------
    InputError
        If it cannot be found, read or trusted.
    """
    folder = local_folder(spec)[0] if spec.package else tokenizer_folder(spec)
    with loading_errors(spec, folder):
        tokenizer = tokenizer_in(spec, folder)
    return Tokenized(settled(spec, tokenizer, trained=True), tokenizer)


def tokens_of(model: Prompted, texts: Sequence[str], *, special: bool = True) -> list[Tokens]:
    """Return the tokens of texts, with or without those that the tokenizer adds.

    Parameters
    ----------
    model : LoadedModel or Tokenized
    texts : sequence of str
    special : bool

    Returns
    -------
    list of ndarray, shape (tokens,), int32

    Raises
    ------
    InputError
        If the tokenizer's rules take too much time or memory, or write too many tokens.
    """
    name = f"model {model.spec.name!r}"
    return encoded(name, model.tokenizer, texts, add_special_tokens=special)


def tokenizer_folder(spec: ModelSpec) -> str:
    """Return the tokenizer's folder for a model without local weights."""
    source = spec.tokenizer or spec.source
    if os.path.isdir(source):
        return source
    if not source.startswith("package:"):
        return str(hub.fetched(replace(spec, source=source), weights=False)[0])
    for other in registry().values():
        if other.source == source:
            return local_folder(other)[0]
    raise InputError(f"model {spec.name!r}: no model of the registry has source {source!r}")


def tokenizer_in(spec: ModelSpec, folder: str) -> Any:
    """Read the tokenizer in a folder and try it on a few texts."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    check_tokenizer(f"model {spec.name!r}", tokenizer)
    return tokenizer


def settled(spec: ModelSpec, tokenizer: Any, *, trained: bool) -> ModelSpec:
    """Decide whether a model is prompted through its chat template.

    Raises
    ------
    InputError
        If it should be, but its tokenizer has no template.
    """
    if not spec.family:  # a folder or repository without an entry
        spec = replace(spec, instruct=is_tuned(tokenizer, spec.name))
    if spec.instruct and trained and not tokenizer.chat_template:
        raise InputError(
            f"model {spec.name!r} is marked instruct but its tokenizer has no chat template; "
            "set instruct = false, or give the tokenizer a template"
        )
    return spec
