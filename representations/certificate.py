"""Certify that the activations and texts we record are those that the model computes.

Architectures differ in ways that raise no error: a block that is not called, attention in both
directions, a cache that forgets under padding, a template that drops its input. Before a model's
first unit, a few short texts are read and written in different ways that must agree. A model that
fails is refused; the message names the check and the size of the difference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from representations.comparisons import (
    LENGTHS,
    Check,
    Trial,
    layers,
    padding,
    prompt,
    repetition,
    steering,
    tokenizer,
    writing,
)
from representations.corpus.corpus import Corpus
from representations.models.loading import LoadedModel
from study.read import InputError

#: The largest relative difference between two ways to compute the same number. Sums in another
#: order differ by at most a fifth of this, over tens of layers and on any processor.
LIMITS = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}

#: The cost of a certificate in tokens read: for reading, and for writing in addition.
READING, WRITING = 300, 700

READ_ONLY = 'let it read only, with methods = ["comprehension"], or choose another model'
BLOCKS = (
    'name the list of its blocks with blocks = "dotted.path" in its [[model]] entry, or choose '
    "another model"
)
ANOTHER = "choose another model"
FILES = "get the model's own tokenizer files"


class CertificateError(InputError):
    """Raised if a model fails a check.

    Attributes
    ----------
    check : str
        The name of the failed check.
    """

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check


def certify(loaded: LoadedModel, corpus: Corpus, *, writes: bool) -> dict[str, Any]:
    """Check a model on a few texts of a corpus; see `certificate`."""
    if loaded.certificate:
        return loaded.certificate
    step = max(1, len(corpus.passages) // len(LENGTHS))
    passages = [passage.text for passage in corpus.passages[::step][: len(LENGTHS)]]
    about = [(corpus.emotions[0].name, corpus.topics[0].name), ("", corpus.topics[-1].name)]
    prompts = [corpus.prompt(*cell, loaded.spec.instruct) for cell in about] if writes else []
    return certificate(loaded, passages, prompts, writes=writes)


def certificate(
    loaded: LoadedModel,
    passages: Sequence[str],
    prompts: Sequence[str],
    contains: Sequence[str] = (),
    *,
    writes: bool = True,
) -> dict[str, Any]:
    """Check a model before its first unit.

    Parameters
    ----------
    loaded : LoadedModel
    passages : sequence of str
        About three, of at least thirty words.
    prompts : sequence of str
        About two, of different lengths, before the chat template.
    contains : sequence of str
        For each prompt, the text that it must contain after the template; by default all of it.
    writes : bool
        Whether the model must also write.

    Returns
    -------
    dict
        checks (a list with one dict per `Check`), seconds and written (the time). It is computed
        once per loaded model.

    Raises
    ------
    CertificateError
        If a check fails.
    """
    if loaded.certificate:
        return loaded.certificate
    began = time.monotonic()
    limit = LIMITS.get(loaded.precision.split()[-1], LIMITS["bfloat16"])
    trial = Trial(loaded, passages, [], prompts, contains or prompts, [], [], limit)
    done: list[Check] = []
    for result, remedy in _results(trial, writes):
        done.append(result)
        if not result.passes:
            raise CertificateError(
                result.check,
                f"model {loaded.spec.name!r} in {loaded.precision} fails its certificate, "
                f"{result.check}: {result.says}; {remedy}",
            )
    loaded.certificate = {
        "checks": [asdict(result) for result in done],
        "seconds": round(time.monotonic() - began, 2),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return loaded.certificate


def _results(trial: Trial, writes: bool) -> Iterator[tuple[Check, str]]:
    """Yield the result of each check with its remedy."""
    name = trial.loaded.spec.name
    for check, remedy in _checks(writes):
        try:
            for result in check(trial):
                yield result, remedy
        except InputError as error:
            said = str(error)
            said = said if said.startswith("model ") else f"model {name!r}: {said}"
            raise CertificateError(check.__name__, said) from error


def _checks(writes: bool) -> Iterator[tuple[Callable[[Trial], Iterator[Check]], str]]:
    yield tokenizer, FILES
    yield layers, BLOCKS
    yield padding, "choose a model whose attention is causal"
    yield repetition, ANOTHER
    yield steering, ANOTHER
    if writes:
        yield prompt, "set instruct = false, or " + FILES
        yield writing, READ_ONLY
