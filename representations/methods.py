"""The three ways of getting activations for an emotion: read a text, write one, read one's own.

`comprehension` reads passages that someone else wrote; `generation` takes the tokens that the
model itself writes, while it writes them; `rereading` reads those same tokens without the prompt,
and so tells the text's part in a difference of methods from the state's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from representations.activations import Window, read
from representations.corpus import Corpus, Passage
from representations.errors import InputError
from representations.generation import WRITTEN, Sampling, derived_seed, prompts_ids, write
from representations.models import LoadedModel
from study import Study

Progress = Callable[[int], object]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Pooled:
    """Activations of one method, with the labels of their texts.

    Attributes
    ----------
    activations : ndarray, shape (texts, layers + 1, width)
    neutral : ndarray, shape (neutral texts, layers + 1, width)
    facts : dict
        emotions, topics and neutral_topics of the texts, tokens, left_out, and stories.
    """

    activations: Array
    neutral: Array
    facts: dict[str, Any] = field(default_factory=dict)


def comprehension(
    loaded: LoadedModel, study: Study, corpus: Corpus, progress: Progress = lambda tokens: None
) -> Pooled:
    """Read the corpus's passages.

    Parameters
    ----------
    loaded : LoadedModel
    study : Study
    corpus : Corpus
    progress : callable
        Called with numbers of tokens.

    Returns
    -------
    Pooled

    Raises
    ------
    InputError
        If no text is longer than what pooling skips, or an activation is not finite.
    """
    passages = [*corpus.passages, *corpus.neutral]
    ids = [list(i) for i in loaded.tokenizer([p.text for p in passages])["input_ids"]]
    return _read(loaded, study, ids, passages, 0, progress)


def generation(
    loaded: LoadedModel, study: Study, corpus: Corpus, progress: Progress = lambda tokens: None
) -> Pooled:
    """Let the model write a story for each emotion and topic, and neutral ones.

    Parameters
    ----------
    loaded : LoadedModel
    study : Study
    corpus : Corpus
    progress : callable
        Called with numbers of tokens; one that is written counts as `WRITTEN` that are read.

    Returns
    -------
    Pooled
        Its facts hold the stories, each with emotion, topic, seed, text and token_ids.

    Raises
    ------
    InputError
        If no text is longer than what pooling skips, or an activation is not finite.
    """
    settings = study.generation
    wanted = [
        (emotion.name, topic.name, number)
        for topic in corpus.topics
        for emotion in corpus.emotions
        for number in range(settings.stories_per_cell)
    ] + [
        ("", topic.name, number)
        for topic in corpus.topics
        for number in range(settings.neutral_per_topic)
    ]
    chat = loaded.spec.instruct
    prompts = prompts_ids(loaded, [corpus.prompt(e, t, chat) for e, t, _ in wanted])
    seeds = [derived_seed(study.seed, loaded.spec.name, *cell) for cell in wanted]
    written = write(
        loaded,
        prompts,
        seeds,
        Sampling(
            max_new_tokens=settings.max_new_tokens,
            min_new_tokens=settings.min_new_tokens,
            temperature=settings.temperature,
            top_k=settings.top_k,
        ),
        Window(study.pooling.skip, study.pooling.size or None),
        max_texts=settings.batch,
        progress=lambda tokens: progress(WRITTEN * tokens),
    )
    stories = [
        {"emotion": e, "topic": t, "number": k, "seed": s, "text": text, "token_ids": ids}
        for (e, t, k), s, text, ids in zip(
            wanted, seeds, written.texts, written.token_ids, strict=True
        )
    ]
    kept = [count > 0 for count in written.pooled_tokens]
    _check_some(kept, loaded, study)
    tokens = sum(map(len, written.token_ids)) + sum(map(len, prompts))
    passages = [Passage(e, t, text) for (e, t, _), text in zip(wanted, written.texts, strict=True)]
    pooled = _labelled(written.activations[kept], passages, kept, tokens)
    pooled.facts["stories"] = stories
    return pooled


def rereading(
    loaded: LoadedModel,
    study: Study,
    stories: Sequence[Mapping[str, Any]],
    progress: Progress = lambda tokens: None,
) -> Pooled:
    """Read the model's own stories without their prompts.

    The same tokens enter the means as in `generation`: the last of a story that reached its full
    length was never fed back there, and is left out here.

    Parameters
    ----------
    loaded : LoadedModel
    study : Study
    stories : sequence of mappings
        As `generation` keeps them.
    progress : callable
        Called with numbers of tokens.

    Returns
    -------
    Pooled

    Raises
    ------
    InputError
        If no text is longer than what pooling skips, or an activation is not finite.
    """
    start = loaded.tokenizer("")["input_ids"]  # what the tokenizer puts before any text
    fed = study.generation.max_new_tokens - 1
    ids = [[*start, *story["token_ids"][:fed]] for story in stories]
    passages = [Passage(s["emotion"], s["topic"], s["text"]) for s in stories]
    return _read(loaded, study, ids, passages, len(start), progress)


def _read(
    loaded: LoadedModel,
    study: Study,
    ids: Sequence[Sequence[int]],
    passages: Sequence[Passage],
    start: int,
    progress: Progress,
) -> Pooled:
    """Read the texts that are long enough; the first `start` tokens are not the text's own."""
    window = Window(study.pooling.skip + start, study.pooling.size or None)
    kept = [len(i) > window.skip for i in ids]
    _check_some(kept, loaded, study)
    activations = read(
        loaded,
        [i for i, keep in zip(ids, kept, strict=True) if keep],
        window,
        max_texts=study.pooling.batch_texts,
        max_tokens=study.pooling.batch_tokens,
        progress=progress,
    )
    return _labelled(activations, passages, kept, sum(map(len, ids)))


def _check_some(kept: Sequence[bool], loaded: LoadedModel, study: Study) -> None:
    if not any(kept):
        raise InputError(
            f"model {loaded.spec.name!r}: no text is longer than the {study.pooling.skip} tokens "
            "that pooling skips; lower pooling.skip, or raise generation.min_new_tokens for "
            "stories"
        )


def _labelled(
    activations: Tensor,
    passages: Sequence[Passage],
    kept: Sequence[bool],
    tokens: int,
) -> Pooled:
    """Part the kept texts into emotional and neutral ones, with their labels."""
    texts = [passage for passage, keep in zip(passages, kept, strict=True) if keep]
    felt = np.array([bool(passage.emotion) for passage in texts])
    values = activations.numpy()
    facts = {
        "emotions": [p.emotion for p in texts if p.emotion],
        "topics": [p.topic for p in texts if p.emotion],
        "neutral_topics": [p.topic for p in texts if not p.emotion],
        "texts": len(texts),
        "left_out": len(passages) - len(texts),
        "tokens": tokens,
    }
    return Pooled(values[felt], values[~felt], facts)
