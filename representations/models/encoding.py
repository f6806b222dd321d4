"""Turn texts into tokens within bounds: a tokenizer can have any rules.

Rules may replace a letter by a million, or search a text in ways that take hours. So all texts are
turned into tokens in a process that can be ended, and rules that make texts of tokens may not make
them long.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from representations.models.bounded import SECONDS, OutOfBounds, bounded
from study.read import InputError

Tokens = NDArray[np.int32]

#: Texts with every letter, digit and sign of ASCII, then short and empty ones.
PROBES = (
    "The quick brown fox jumps over the lazy dog, and THEN IT SLEEPS.\n" + string.printable,
    "Odd settings fail at the first text only.",
    "a",
    "",
)
#: Characters for which a slow tokenizer takes a second.
PER_SECOND = 100_000
#: Most tokens per character: far more than the bytes of the longest character.
TOKENS = 20
#: How much longer than its tokens' names a text may be.
LONGER = 64
#: A tokenizer's output needs far more memory than the tokens.
AT_ONCE = 256


def encoded(name: str, tokenizer: Any, texts: Sequence[str], **options: Any) -> list[Tokens]:
    """Turn texts into tokens, within bounds of time, memory and number.

    Parameters
    ----------
    name : str
        What it belongs to, for messages.
    tokenizer : PreTrainedTokenizer
    texts : sequence of str
    **options
        For the tokenizer.

    Returns
    -------
    list of ndarray, shape (tokens,), int32
        One for each text.

    Raises
    ------
    InputError
    """
    seconds = SECONDS + sum(map(len, texts)) / PER_SECOND
    try:
        parts = bounded(_encode, tokenizer, list(texts), options, seconds=seconds)
    except OutOfBounds as reason:
        raise InputError(
            f"{name}: its tokenizer {reason} for {_amount(texts)}; get the model's own tokenizer"
        ) from None
    return [np.frombuffer(ids, dtype=np.int32).copy() for part in parts for ids in part]


def check_tokenizer(name: str, tokenizer: Any) -> None:
    """Refuse a tokenizer whose rules make a short text endless, or a text of few tokens long.

    What else is wrong with it shows at its first use.

    Parameters
    ----------
    name : str
        What it belongs to, for messages.
    tokenizer : PreTrainedTokenizer

    Raises
    ------
    InputError
    """
    encoded(name, tokenizer, PROBES)
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is not None and _growth(json.loads(decoder.__getstate__())) > LONGER:
        raise InputError(
            f"{name}: its tokenizer makes long texts of few tokens; get the model's own tokenizer"
        )


def _encode(tokenizer: Any, texts: list[str], options: dict[str, Any]) -> Iterator[list[bytes]]:
    """Yield the tokens of some texts at a time, as plain bytes: nothing else passes the pipe."""
    for start in range(0, len(texts), AT_ONCE):
        some = texts[start : start + AT_ONCE]
        found = [np.array(ids, dtype=np.int32) for ids in tokenizer(some, **options)["input_ids"]]
        for text, ids in zip(some, found, strict=True):
            if len(ids) > TOKENS * (len(text) + 50):
                raise OutOfBounds("writes too much")
        yield [ids.tobytes() for ids in found]


def _growth(decoder: Any) -> int:
    """Return how much longer a decoder's rules may make a text: only Replace lengthens it.

    Examples
    --------
    >>> rule = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 9}
    >>> _growth({"type": "Sequence", "decoders": [rule, rule]})
    100
    """
    if decoder["type"] == "Sequence":
        product = 1
        for rule in decoder["decoders"]:
            product *= _growth(rule)
        return product
    # The pattern may be found before each character.
    return 1 + len(decoder["content"]) if decoder["type"] == "Replace" else 1


def _amount(texts: Sequence[str]) -> str:
    n = sum(map(len, texts))
    return f"{len(texts):,} {'text' if len(texts) == 1 else 'texts'} of {n:,} characters"
