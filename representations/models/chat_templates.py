"""Run a model's chat template, which is a program, in a process that can be killed.

The library runs templates in a sandbox without access to files or Python's internals. But the
sandbox limits neither time nor memory: two nested loops, or one product, can take hours or
gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import torch
from torch import Tensor

from representations.models.bounded import SECONDS, OutOfBounds, bounded
from study.read import InputError

#: Template variables that turn thinking aloud off; templates without them ignore them.
THINKING = ("enable_thinking", "thinking")
#: The date that templates see; with today's date, a study's prompts would change every day.
TODAY = datetime(2024, 7, 26)
#: The marks around a model's thoughts. Each is one token in a model trained to use it.
TAGS = {"<think>": "</think>", "[THINK]": "[/THINK]", "<thinking>": "</thinking>"}

#: The most that a template may add to a prompt: far more than a system prompt.
CHARACTERS = 10_000


def thought_tokens(tokenizer: Any) -> dict[int, int]:
    """Return the tokens that begin a thought, each with the one that ends it.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer

    Returns
    -------
    dict of int to int
        Empty for most models.
    """
    vocabulary = tokenizer.get_vocab()
    return {
        vocabulary[begin]: vocabulary[end]
        for begin, end in TAGS.items()
        if begin in vocabulary and end in vocabulary
    }


class Thoughts:
    """Distinguishes what a model says from what it thinks aloud first.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    prompts : sequence of sequences of int
        A prompt may end within a thought that its chat template has begun.
    device : device

    Attributes
    ----------
    said : Tensor, shape (batch,)
        The number of tokens said so far, without thoughts and their marks.
    """

    def __init__(
        self, tokenizer: Any, prompts: Sequence[Sequence[int]], device: torch.device
    ) -> None:
        pairs = thought_tokens(tokenizer)
        self._begins = torch.tensor(sorted(pairs), dtype=torch.int64, device=device)
        self._ends = torch.tensor(sorted(pairs.values()), dtype=torch.int64, device=device)
        marks = [[i for i in prompt if i in pairs or i in pairs.values()] for prompt in prompts]
        within = [bool(found) and found[-1] in pairs for found in marks]
        self._within = torch.tensor(within, device=device)
        self.said = torch.zeros(len(prompts), dtype=torch.int64, device=device)

    def after(self, token: Tensor) -> Tensor:
        """Process the next tokens, shape (batch,); return which are said rather than thought."""
        begins, ends = torch.isin(token, self._begins), torch.isin(token, self._ends)
        spoken = ~(self._within | begins | ends)
        self._within = (self._within | begins) & ~ends
        self.said = self.said + spoken
        return spoken

    def select(self, rows: Tensor) -> None:
        """Keep only some rows of the batch."""
        self._within, self.said = self._within[rows], self.said[rows]


def spoken(
    tokenizer: Any, prompts: Sequence[Sequence[int]], written: Sequence[Sequence[int]]
) -> list[list[bool]]:
    """Return which tokens of texts are said rather than thought.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    prompts, written : sequence of sequences of int
        The tokens before and after the point where the model continues.
    """
    longest = max(map(len, written), default=0)
    flags: list[list[bool]] = [[] for _ in written]
    thoughts = Thoughts(tokenizer, prompts, torch.device("cpu"))
    for step in range(longest):
        tokens = [ids[step] if step < len(ids) else 0 for ids in written]
        for row, said in enumerate(thoughts.after(torch.tensor(tokens)).tolist()):
            if step < len(written[row]):
                flags[row].append(said)
    return flags


def is_tuned(tokenizer: Any, name: str) -> bool:
    """Guess whether a model outside the registry follows instructions.

    Base models of some families come with the chat template of their tuned siblings, but their
    names say that they are base models.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    name : str
    """
    base = re.search(r"(?i)(^|[-_.])(base|pt)($|[-_.])", name) is not None
    return bool(tokenizer.chat_template) and not base


def render(
    name: str,
    tokenizer: Any,
    prompts: Sequence[str],
    seconds: float = SECONDS,
    *,
    thinking: bool = False,
) -> list[str]:
    """Apply the chat template to each prompt, as a user message.

    Parameters
    ----------
    name : str
        The model's name, for messages.
    tokenizer : PreTrainedTokenizer
    prompts : sequence of str
    seconds : float
        Time limit for all prompts together.
    thinking : bool
        Whether to ask the model to think aloud before it answers, if its template can.

    Returns
    -------
    list of str
        Prompts that end where the model's answer begins.

    Raises
    ------
    InputError
        If the template fails, does not end, or takes too much memory.
    """
    try:
        return bounded(_render, tokenizer, list(prompts), thinking, seconds=seconds)
    except OutOfBounds as reason:
        raise InputError(
            f"model {name!r}: its chat template {reason}; get the model's own "
            "tokenizer_config.json, or set instruct = false"
        ) from None


class _Fixed(datetime):
    """A clock with a fixed date."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return TODAY


def _render(tokenizer: Any, prompts: list[str], thinking: bool) -> Iterator[str]:
    from transformers.utils import chat_template_utils

    chat_template_utils.datetime = _Fixed  # in this process only
    given = dict.fromkeys(THINKING, thinking)
    for prompt in prompts:
        messages = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **given
        )
        if not isinstance(text, str) or len(text) > len(prompt) + CHARACTERS:
            raise OutOfBounds("writes too much")
        yield text
