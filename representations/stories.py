"""List the stories of a study, and exchange them with another engine that writes faster.

On a GPU, vLLM or SGLang may write the stories. The prompts go out as lines in the OpenAI batch
format, which such engines accept. The stories come back as JSON lines, and the model then reads
each story after its prompt. A returned line has the `custom_id` of its prompt and one of

- ``"token_ids"``: the new tokens,
- ``"text"``: the new text,
- ``"response"``: either of them in the batch format.

It may name its ``"engine"``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from representations.corpus.corpus import Corpus
from representations.generation import derived_seed, end_tokens, prompts_ids
from representations.models.loading import LoadedModel
from representations.models.tokenizers import Prompted, tokens_of
from study import Generation
from study.read import InputError, read_bytes, refusing

#: Emotion, topic and number of a story; the emotion of a neutral one is an empty string.
Cell = tuple[str, str, int]
#: Upper limit for a file of stories.
LARGEST = 2**30


def story_cells(corpus: Corpus, settings: Generation) -> list[Cell]:
    """Return the stories that a model writes, in order, with the neutral ones last.

    Parameters
    ----------
    corpus : Corpus
        Restricted to the study's emotions and topics.
    settings : Generation

    Returns
    -------
    list of (str, str, int)
        Emotion, topic and number.
    """
    return [
        (emotion.name, topic.name, number)
        for topic in corpus.topics
        for emotion in corpus.emotions
        for number in range(settings.stories_per_cell)
    ] + [
        ("", topic.name, number)
        for topic in corpus.topics
        for number in range(settings.neutral_per_topic)
    ]


def story_prompts(
    loaded: Prompted, corpus: Corpus, cells: Sequence[Cell], seed: int
) -> tuple[list[list[int]], list[int]]:
    """Return the tokens of each story's prompt, and its seed.

    Parameters
    ----------
    loaded : LoadedModel or Tokenized
    corpus : Corpus
    cells : sequence of (str, str, int)
    seed : int
        The study's.

    Returns
    -------
    prompts : list of list of int
    seeds : list of int
    """
    chat = loaded.spec.instruct
    prompts = prompts_ids(loaded, [corpus.prompt(e, t, chat) for e, t, _ in cells])
    return prompts, [derived_seed(seed, loaded.spec.name, *cell) for cell in cells]


def story_id(model: str, cell: Cell) -> str:
    """Return the `custom_id` of a story.

    Examples
    --------
    >>> story_id("smollm2-135m", ("happy", "train_journey", 0))
    'smollm2-135m/happy/train_journey/0'
    """
    return "/".join([model, *map(str, cell)])


def requests(
    loaded: Prompted, corpus: Corpus, settings: Generation, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield one request per story, in the OpenAI batch format for completions.

    Parameters
    ----------
    loaded : LoadedModel or Tokenized
    corpus : Corpus
    settings : Generation
    seed : int
        The study's.

    Yields
    ------
    dict
        custom_id, method, url and body. The prompt is a list of tokens, so no engine can render
        or tokenize it in another way. `top_k`, `min_tokens` and `return_token_ids` are extensions
        of vLLM.
    """
    cells = story_cells(corpus, settings)
    for cell, prompt, own in zip(cells, *story_prompts(loaded, corpus, cells, seed), strict=True):
        yield {
            "custom_id": story_id(loaded.spec.name, cell),
            "method": "POST",
            "url": "/v1/completions",
            "body": {
                "model": loaded.spec.source,
                "prompt": prompt,
                "max_tokens": settings.max_new_tokens,
                "min_tokens": settings.min_new_tokens,
                "temperature": settings.temperature,
                "top_k": settings.top_k,
                "seed": own,
                "return_token_ids": True,
            },
        }


@dataclass(frozen=True)
class EngineStories:
    """The stories that another engine wrote with one model.

    Attributes
    ----------
    model : str
    engine : str
    by_cell : mapping of (str, str, int) to str or list of int
        The text or the new tokens of each story.
    """

    model: str
    engine: str
    by_cell: Mapping[Cell, str | list[int]]

    @property
    def sha256(self) -> str:
        """The hash of the stories, whatever their order in the file."""
        content = sorted([*cell, story] for cell, story in self.by_cell.items())
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def written_by(self) -> str:
        """The engine and the hash of its stories, for `run.json`."""
        return f"{self.engine}, stories sha256 {self.sha256[:16]}"

    def tokens(self, cells: Sequence[Cell], loaded: LoadedModel, most: int) -> list[list[int]]:
        """Return the new tokens of stories, each up to the token that ends it.

        Parameters
        ----------
        cells : sequence of (str, str, int)
        loaded : LoadedModel
        most : int
            The study's `max_new_tokens`. A text that has more when tokenized again is cut.

        Raises
        ------
        InputError
            If the engine wrote more tokens, or the tokenizer fails on a text.
        """
        stories = {cell: self.by_cell[cell] for cell in cells}
        texts = {cell: story for cell, story in stories.items() if isinstance(story, str)}
        again = tokens_of(loaded, list(texts.values()), special=False) if texts else []
        stories |= {cell: ids[:most].tolist() for cell, ids in zip(texts, again, strict=True)}
        ends = set(end_tokens(loaded, len(loaded.model.get_input_embeddings().weight)).tolist())
        found = []
        for cell, ids in stories.items():
            assert isinstance(ids, list)
            if len(ids) > most:
                raise InputError(
                    f"story {story_id(self.model, cell)!r} has {len(ids)} tokens, and the study's "
                    f"generation.max_new_tokens is {most}; write it again with that limit"
                )
            end = next((n for n, token in enumerate(ids) if token in ends), len(ids))
            found.append(ids[:end])
        return found


class _Choice(msgspec.Struct):
    text: str | None = None
    token_ids: list[Annotated[int, msgspec.Meta(ge=0)]] | None = None


class _Body(msgspec.Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]


class _Response(msgspec.Struct):
    body: _Body


class _Line(_Choice, kw_only=True):
    custom_id: str
    response: _Response | None = None
    error: Any = None
    engine: str = "another engine"

    def story(self) -> str | list[int] | None:
        """Return the new tokens if they are known, otherwise the text."""
        said = self.response.body.choices[0] if self.response else self
        return said.text if said.token_ids is None else said.token_ids


def read_stories(
    paths: Sequence[Any], models: Sequence[str], cells: Sequence[Cell]
) -> dict[str, EngineStories]:
    """Read the stories that another engine wrote.

    Parameters
    ----------
    paths : sequence of Path or UPath
        Files of JSON lines; see the module.
    models : sequence of str
        The study's models.
    cells : sequence of (str, str, int)
        From `story_cells`.

    Returns
    -------
    dict of str to EngineStories
        One entry per model with stories in the files.

    Raises
    ------
    InputError
        For a line that is not a story of the study, an error reported by the engine, or a model
        with only some of its stories.
    """
    known = {story_id(model, cell): (model, cell) for model in models for cell in cells}
    found: dict[str, dict[Cell, str | list[int]]] = {}
    engines: dict[str, str] = {}
    for path in paths:
        with refusing(path, "not readable", "name a file of JSON lines", (OSError,)):
            raw = read_bytes(path, LARGEST)
        for number, line in enumerate(raw.splitlines(), start=1):
            if not line.strip():
                continue
            where = f"{path}: line {number}"
            said, story = _parsed(line, where)
            if said.custom_id not in known:
                example = next(iter(known), "")
                raise InputError(
                    f"{where}: custom_id {said.custom_id!r} is not a story of this study; ids look "
                    f"like {example!r}, see --prompts-out"
                )
            model, cell = known[said.custom_id]
            of_model = found.setdefault(model, {})
            if cell in of_model:
                raise InputError(f"{where}: a second story {said.custom_id!r}; keep one of them")
            of_model[cell] = story
            engines.setdefault(model, said.engine)
    for model, stories in found.items():
        missing = [cell for cell in cells if cell not in stories]
        if missing:
            raise InputError(
                f"{', '.join(map(str, paths))}: model {model!r} lacks {len(missing)} of its "
                f"{len(cells)} stories, for instance {story_id(model, missing[0])!r}; write them "
                "too"
            )
    return {model: EngineStories(model, engines[model], found[model]) for model in found}


def _parsed(line: bytes, where: str) -> tuple[_Line, str | list[int]]:
    try:
        said = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"{where}: not a story ({error}); a line is JSON with custom_id and text, token_ids "
            "or response"
        ) from None
    if said.error:
        raise InputError(
            f"{where}: the engine did not write {said.custom_id!r} ({said.error}); write it again"
        )
    story = said.story()
    if story is None:
        raise InputError(
            f"{where}: {said.custom_id!r} has no text and no token_ids; write it again"
        )
    return said, story
