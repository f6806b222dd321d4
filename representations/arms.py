"""Arms: the functions that get activations for an emotion, one per method of a study.

`comprehension` reads passages by someone else. `generation` uses the tokens that the model writes,
while it writes them. `told` reads such stories after their prompts, if another engine wrote them.
`rereading` reads the same tokens without the prompt, and `crossreading` reads another model's
stories. Together they separate the effects of the text, of familiarity and of the model's state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np

from representations.activations import Window, read
from representations.corpus.corpus import Corpus, Passage
from representations.facts import Story, TextFacts
from representations.generation import WRITTEN, Sampling, write
from representations.models.chat_templates import spoken
from representations.models.encoding import Tokens
from representations.models.loading import LoadedModel
from representations.models.tokenizers import tokens_of
from representations.pooled import Activations, Part, PooledUnit, Spool
from representations.stories import EngineStories, story_cells, story_prompts
from study import Generation, Pooling
from study.read import InputError
from study.write import Place

Progress = Callable[[int], object]


def comprehension(
    loaded: LoadedModel,
    corpus: Corpus,
    pooling: Pooling,
    *,
    progress: Progress = lambda tokens: None,
    near: Place | None = None,
    texts: slice = slice(None),
) -> PooledUnit:
    """Read the passages of the corpus.

    Parameters
    ----------
    loaded : LoadedModel
    corpus : Corpus
    pooling : Pooling
    progress : callable
        Called with numbers of tokens.
    near : Path or UPath, optional
        Keep activations in a file next to this one until they are complete (see `Spool`); by
        default, keep them in memory.
    texts : slice
        Which texts, counted over the passages and then the neutral texts.

    Returns
    -------
    PooledUnit

    Raises
    ------
    InputError
        If an activation is not finite.
    """
    passages = [*corpus.passages, *corpus.neutral][texts]
    ids = tokens_of(loaded, [p.text for p in passages])
    return _read(loaded, pooling, ids, None, passages, progress, near)


def generation(
    loaded: LoadedModel,
    corpus: Corpus,
    settings: Generation,
    pooling: Pooling,
    seed: int,
    *,
    progress: Progress = lambda tokens: None,
    near: Place | None = None,
    texts: slice = slice(None),
) -> PooledUnit:
    """Let the model write a story for each emotion and topic, and neutral ones.

    Parameters
    ----------
    loaded : LoadedModel
    corpus : Corpus
    settings : Generation
    pooling : Pooling
    seed : int
        The study's seed; each story derives its own from it and from its cell.
    progress : callable
        Called with numbers of tokens; a written token counts as `WRITTEN` read ones.
    near : Path or UPath, optional
        As in `comprehension`.
    texts : slice
        Which stories, counted over the emotional and then the neutral stories.

    Returns
    -------
    PooledUnit
        Its facts contain the stories, each with emotion, topic, seed, text and token_ids.

    Raises
    ------
    InputError
        If an activation is not finite.
    """
    wanted = story_cells(corpus, settings)[texts]
    prompts, seeds = story_prompts(loaded, corpus, wanted, seed)
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
        Window(pooling.skip, pooling.size or None),
        max_texts=settings.batch,
        progress=lambda tokens: progress(WRITTEN * tokens),
        out=_spool(len(prompts), loaded, near),
    )
    stories: list[Story] = [
        {"emotion": e, "topic": t, "number": k, "seed": s, "text": text, "token_ids": ids}
        for (e, t, k), s, text, ids in zip(
            wanted, seeds, written.texts, written.token_ids, strict=True
        )
    ]
    kept = [count > 0 for count in written.pooled_tokens]
    tokens = sum(map(len, written.token_ids)) + sum(map(len, prompts))
    passages = [Passage(e, t, text) for (e, t, _), text in zip(wanted, written.texts, strict=True)]
    return _labeled(
        Part(written.activations, np.flatnonzero(kept)), passages, kept, tokens, stories
    )


def told(
    loaded: LoadedModel,
    corpus: Corpus,
    stories: EngineStories,
    settings: Generation,
    pooling: Pooling,
    seed: int,
    *,
    progress: Progress = lambda tokens: None,
    near: Place | None = None,
    texts: slice = slice(None),
) -> PooledUnit:
    """Read stories that another engine wrote with this model, each after its prompt.

    The means use the same tokens as in `generation`: in a causal model a token has the same
    activations whether it is read or has just been written.

    Parameters
    ----------
    loaded : LoadedModel
    corpus : Corpus
    stories : EngineStories
    settings : Generation
        The settings with which they were written.
    pooling : Pooling
    seed : int
        The study's seed, from which the seeds of the requests were derived.
    progress : callable
        Called with numbers of tokens.
    near : Path or UPath, optional
        As in `comprehension`.
    texts : slice
        As in `generation`.

    Returns
    -------
    PooledUnit
        Its facts contain the stories, as those of `generation` do.

    Raises
    ------
    InputError
        If a story has a token that the model does not know, or an activation is not finite.
    """
    wanted = story_cells(corpus, settings)[texts]
    prompts, seeds = story_prompts(loaded, corpus, wanted, seed)
    written = stories.tokens(wanted, loaded, settings.max_new_tokens)
    loaded.check_known(written)
    own = spoken(loaded.tokenizer, prompts, written)
    said = [list(compress(*pair)) for pair in zip(written, own, strict=True)]
    decoded = loaded.tokenizer.batch_decode(said, skip_special_tokens=True)
    facts: list[Story] = [
        {"emotion": e, "topic": t, "number": k, "seed": s, "text": text, "token_ids": ids}
        for (e, t, k), s, text, ids in zip(wanted, seeds, decoded, said, strict=True)
    ]
    fed = settings.max_new_tokens - 1
    passages = [Passage(e, t, text) for (e, t, _), text in zip(wanted, decoded, strict=True)]
    ids = [
        np.array([*p, *new[:fed]], dtype=np.int32) for p, new in zip(prompts, written, strict=True)
    ]
    own = [[False] * len(p) + flags[:fed] for p, flags in zip(prompts, own, strict=True)]
    return _read(loaded, pooling, ids, own, passages, progress, near, facts)


def rereading(
    loaded: LoadedModel,
    stories: Sequence[Story],
    settings: Generation,
    pooling: Pooling,
    *,
    progress: Progress = lambda tokens: None,
    near: Place | None = None,
) -> PooledUnit:
    """Read the model's own stories without their prompts.

    The means use the same tokens as in `generation`: the last token of a full-length story was
    never fed back there and is left out here.

    Parameters
    ----------
    loaded : LoadedModel
    stories : sequence of Story
        As saved by `generation`.
    settings : Generation
        The settings with which they were written.
    pooling : Pooling
    progress : callable
        Called with numbers of tokens.
    near : Path or UPath, optional
        As in `comprehension`.

    Returns
    -------
    PooledUnit

    Raises
    ------
    InputError
        If an activation is not finite.
    """
    start = loaded.tokenizer("")["input_ids"]  # what the tokenizer adds before every text
    fed = settings.max_new_tokens - 1
    ids = [np.array([*start, *s["token_ids"][:fed]], dtype=np.int32) for s in stories]
    own = [[False] * len(start) + [True] * (len(i) - len(start)) for i in ids]
    passages = [Passage(s["emotion"], s["topic"], s["text"]) for s in stories]
    return _read(loaded, pooling, ids, own, passages, progress, near)


def crossreading(
    loaded: LoadedModel,
    stories: Sequence[Story],
    pooling: Pooling,
    *,
    progress: Progress = lambda tokens: None,
    near: Place | None = None,
) -> PooledUnit:
    """Read another model's stories, as texts.

    Parameters
    ----------
    loaded : LoadedModel
    stories : sequence of Story
        As saved by `generation`, of the other model.
    pooling : Pooling
    progress : callable
        Called with numbers of tokens.
    near : Path or UPath, optional
        As in `comprehension`.

    Returns
    -------
    PooledUnit

    Raises
    ------
    InputError
        If an activation is not finite.
    """
    passages = [Passage(s["emotion"], s["topic"], s["text"]) for s in stories]
    ids = tokens_of(loaded, [p.text for p in passages])
    return _read(loaded, pooling, ids, None, passages, progress, near)


def _read(
    loaded: LoadedModel,
    pooling: Pooling,
    ids: Sequence[Tokens],
    own: Sequence[Sequence[bool]] | None,
    passages: Sequence[Passage],
    progress: Progress,
    near: Place | None,
    stories: list[Story] | None = None,
) -> PooledUnit:
    """Read the texts that have enough tokens of their own."""
    window = Window(pooling.skip, pooling.size or None)
    kept = [n > window.skip for n in map(len if own is None else sum, ids if own is None else own)]
    activations: Activations = np.zeros((0, loaded.n_layers + 1, loaded.width), dtype=np.float32)
    if any(kept):
        activations = read(
            loaded,
            list(compress(ids, kept)),  # type: ignore[arg-type]
            window,
            own=own and list(compress(own, kept)),
            max_texts=pooling.batch_texts,
            max_tokens=pooling.batch_tokens,
            progress=progress,
            out=_spool(sum(kept), loaded, near),
        )
    return _labeled(activations, passages, kept, sum(map(len, ids)), stories)


def _spool(n_texts: int, loaded: LoadedModel, near: Place | None) -> Spool | None:
    if near is None:
        return None
    return Spool((n_texts, loaded.n_layers + 1, loaded.width), near)


def check_some(facts: Mapping[str, Any], pooling: Pooling) -> None:
    """Reject a unit without texts.

    Parameters
    ----------
    facts : mapping
        Facts of a unit.
    pooling : Pooling

    Raises
    ------
    InputError
        If no text is longer than the tokens that pooling skips.
    """
    if not facts["texts"]:
        raise InputError(
            f"model {facts['model']!r}: no text is longer than the {pooling.skip} "
            "tokens that pooling skips; lower pooling.skip, or raise generation.min_new_tokens "
            "for stories"
        )


def _labeled(
    activations: Activations,
    passages: Sequence[Passage],
    kept: Sequence[bool],
    tokens: int,
    stories: list[Story] | None = None,
) -> PooledUnit:
    """Split the kept texts into emotional and neutral ones, with their labels."""
    texts = [passage for passage, keep in zip(passages, kept, strict=True) if keep]
    felt = np.array([bool(passage.emotion) for passage in texts], dtype=bool)
    facts: TextFacts = {
        "emotions": [p.emotion for p in texts if p.emotion],
        "topics": [p.topic for p in texts if p.emotion],
        "neutral_topics": [p.topic for p in texts if not p.emotion],
        "texts": len(texts),
        "left_out": len(passages) - len(texts),
        "tokens": tokens,
    }
    if stories is not None:
        facts["stories"] = stories
    emotional, neutral = np.flatnonzero(felt), np.flatnonzero(~felt)
    return PooledUnit(Part(activations, emotional), Part(activations, neutral), facts)
