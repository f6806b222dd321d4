"""Load a corpus: concepts, topics, passages and prompts, read from a folder and checked.

A corpus is a folder of five files. The shipped one, `data/corpus`, is about emotions; any set of
concepts in the same files works the same way. The word *emotion* then stands for the concept.
``python -m representations.corpus FOLDER`` prints the measures of a corpus.
"""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from representations.corpus.files import (
    FILES,
    Emotion,
    Limits,
    Passage,
    Topic,
    read_head,
    read_passages,
    read_prompts,
    read_topics,
)
from study.home import find, tried
from study.read import InputError, one_line, read_bytes

#: Number of faults shown; the rest are counted.
FAULTS = 100

__all__ = [
    "Corpus",
    "CorpusError",
    "Emotion",
    "Limits",
    "Passage",
    "Topic",
    "load_corpus",
]


class CorpusError(InputError):
    """A corpus with faults; the message lists the first hundred, one per line.

    Attributes
    ----------
    faults : tuple of str
        All faults; each gives the file, the line, what is wrong and the remedy.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(map(one_line, faults))
        shown = self.faults[:FAULTS]
        if len(self.faults) > FAULTS:
            shown += (f"and {len(self.faults) - FAULTS} more",)
        ValueError.__init__(self, "\n".join(shown))


@dataclass(frozen=True)
class Corpus:
    """Concepts crossed with topics, with texts in each cell.

    Attributes
    ----------
    folder : Path
    concept : str
        The kind of concept, such as "emotion".
    emotions : tuple of Emotion
    topics : tuple of Topic
    passages, neutral : tuple of Passage
        In the order of the files.
    prompts : mapping of str to str
        Templates with the keys chat, plain, chat_neutral and plain_neutral.
    sha256 : str
        Hash of the bytes of all five files; unchanged for a restricted corpus.
    language : str
        Language of the stemmer that finds inflections of forbidden words.
    limits : Limits
    """

    folder: Path
    concept: str
    emotions: tuple[Emotion, ...]
    topics: tuple[Topic, ...]
    passages: tuple[Passage, ...]
    neutral: tuple[Passage, ...]
    prompts: Mapping[str, str]
    sha256: str
    language: str = "english"
    limits: Limits = field(default_factory=Limits)

    def restricted(
        self,
        emotions: Sequence[str] | None = None,
        topics: Sequence[str] | int | None = None,
    ) -> Corpus:
        """Return the corpus with only some of its emotions and topics, in the corpus's order.

        Parameters
        ----------
        emotions : sequence of str, optional
            All by default.
        topics : sequence of str, or int, optional
            Names, or a number of topics, evenly spread over the list. All by default.

        Returns
        -------
        Corpus

        Raises
        ------
        InputError
            For a name that the corpus does not have, an empty list, or too many topics.

        Examples
        --------
        >>> from representations.corpus.corpus import load_corpus
        >>> half = load_corpus("data/corpus").restricted(["happy", "sad"], 3)
        >>> [topic.name for topic in half.topics], len(half.passages)
        (['running_race', 'school_gate', 'photographs'], 6)
        """
        all_topics = [topic.name for topic in self.topics]
        if isinstance(topics, int):
            if not 1 <= topics <= len(all_topics):
                raise InputError(
                    f"topics = {topics}: the corpus {self.folder} has {len(all_topics)}; "
                    f"ask for 1 to {len(all_topics)}"
                )
            step = len(all_topics) / topics
            topics = [all_topics[int((i + 0.5) * step)] for i in range(topics)]
        kept = _chosen(emotions, [emotion.name for emotion in self.emotions], self.concept)
        where = _chosen(topics, all_topics, "topic")
        return replace(
            self,
            emotions=tuple(e for e in self.emotions if e.name in kept),
            topics=tuple(t for t in self.topics if t.name in where),
            passages=tuple(p for p in self.passages if p.emotion in kept and p.topic in where),
            neutral=tuple(p for p in self.neutral if p.topic in where),
        )

    def prompt(self, emotion: str, topic: str, chat: bool) -> str:
        """Return the prompt for a story.

        Parameters
        ----------
        emotion : str
            A name, or an empty string for a neutral text.
        topic : str
            A topic's name.
        chat : bool
            Whether to return the request to a chat model, or the beginning of a document for a base
            model.

        Returns
        -------
        str

        Raises
        ------
        InputError
            For an unknown emotion or topic.

        Examples
        --------
        >>> from representations.corpus.corpus import load_corpus
        >>> prompt = load_corpus("data/corpus").prompt("sad", "train_journey", chat=True)
        >>> "a journey on a train" in prompt
        True
        """
        texts = {t.name: t.text for t in self.topics}
        _chosen([topic], list(texts), "topic")
        if emotion:
            _chosen([emotion], [e.name for e in self.emotions], self.concept)
        key = ("chat" if chat else "plain") + ("" if emotion else "_neutral")
        if key not in self.prompts:
            raise InputError(f"the corpus has no prompt {key!r}; add it to prompts.toml")
        return self.prompts[key].format(emotion=emotion, topic=texts[topic])


def load_corpus(folder: str | Path) -> Corpus:
    """Read a corpus and check it.

    Parameters
    ----------
    folder : str or Path
        With emotions.toml, topics.toml, prompts.toml, passages.jsonl and neutral.jsonl.

    Returns
    -------
    Corpus

    Raises
    ------
    CorpusError
        With all faults of the files, one per line.

    Examples
    --------
    >>> from representations.corpus.corpus import load_corpus
    >>> corpus = load_corpus("data/corpus")
    >>> len(corpus.emotions), len(corpus.topics), len(corpus.passages), len(corpus.neutral)
    (20, 24, 480, 96)
    """
    named, folder = folder, find(folder)
    if not os.path.isdir(folder):
        raise CorpusError([f"{tried(named)}: no such folder; give one that has {', '.join(FILES)}"])
    faults: list[str] = []
    raw = {name: _read(folder / name, faults) for name in FILES}
    head = read_head(folder / "emotions.toml", raw["emotions.toml"], faults)
    topics = read_topics(folder / "topics.toml", raw["topics.toml"], faults)
    prompts = read_prompts(folder / "prompts.toml", raw["prompts.toml"], faults)
    texts = {
        name: read_passages(folder / name, raw[name], head, topics, faults)
        for name in ("passages.jsonl", "neutral.jsonl")
    }
    if faults:
        raise CorpusError(faults)
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(f"{name} {len(raw[name])}\n".encode() + raw[name])
    return Corpus(
        folder=folder,
        concept=head.concept,
        emotions=head.emotions,
        topics=topics,
        passages=texts["passages.jsonl"],
        neutral=texts["neutral.jsonl"],
        prompts=prompts,
        sha256=digest.hexdigest(),
        language=head.language,
        limits=head.limits,
    )


def _chosen(names: Sequence[str] | None, known: list[str], kind: str) -> set[str]:
    if names is None:
        return set(known)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"unknown {kind} {unknown[0]!r}" if unknown else f"no {kind} chosen"
        raise InputError(f"{what}; known are {', '.join(known)}")
    return set(names)


def _read(path: Path, faults: list[str]) -> bytes:
    try:
        raw = read_bytes(path)
    except OSError as error:
        faults.append(f"{path}: {error.strerror or error}; a corpus needs this file")
        return b""
    if not raw.strip():
        faults.append(f"{path}: the file is empty; fill it")
    return raw
