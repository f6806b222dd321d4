"""Parse and check the files of a corpus line by line; collect all faults, raise none."""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import snowballstemmer

from study.read import parse_toml

FILES = ("emotions.toml", "topics.toml", "prompts.toml", "passages.jsonl", "neutral.jsonl")
#: The prompts, with the placeholders that each must have.
PROMPTS = {
    "chat": {"emotion", "topic"},
    "plain": {"emotion", "topic"},
    "chat_neutral": {"topic"},
    "plain_neutral": {"topic"},
}
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


@dataclass(frozen=True)
class Emotion:
    """A concept, its valence and arousal if it is an emotion, and its forbidden words."""

    name: str
    valence: float | None = None
    arousal: float | None = None
    lexemes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Topic:
    """A situation that can carry any of the concepts; `text` completes a prompt."""

    name: str
    text: str


@dataclass(frozen=True)
class Passage:
    """A text and its cell; the emotion of a neutral text is the empty string."""

    emotion: str
    topic: str
    text: str


@dataclass(frozen=True)
class Limits:
    """The limits that a corpus declares; None for those that it does not.

    Attributes
    ----------
    words : (int, int)
        Minimum and maximum number of words in a text.
    passages_per_cell, neutral_per_topic : int
        Without a limit, any number from one up.
    length_deviation : float
        Maximum deviation of an emotion's mean length from the grand mean, as a fraction of it.
    overlap : float
        Maximum share of a text's word 4-grams that another text may contain.
    lexical : float
        Maximum accuracy of a bag-of-words classifier.
    meaning : float
        Minimum accuracy of a classifier on sentence embeddings.
    """

    words: tuple[int, int] | None = None
    passages_per_cell: int | None = None
    neutral_per_topic: int | None = None
    length_deviation: float | None = None
    overlap: float | None = None
    lexical: float | None = None
    meaning: float | None = None


@dataclass(frozen=True)
class Head:
    """The contents of `emotions.toml`."""

    concept: str = "concept"
    language: str = "english"
    limits: Limits = Limits()
    emotions: tuple[Emotion, ...] = ()


def words(text: str) -> list[str]:
    """Return a text's words in lower case; apostrophes do not end words.

    Examples
    --------
    >>> words("It’s a half-open door.")
    ["it's", 'a', 'half', 'open', 'door']
    """
    text = unicodedata.normalize("NFC", text).casefold()
    return [word.replace("’", "'") for word in _WORD.findall(text)]


@cache
def stem(word: str, language: str) -> str:
    """Return a word's stem, without anything after an apostrophe ("hope's" gives "hope")."""
    return str(_stemmer(language).stemWord(word.split("'")[0]))


def read_head(path: Path, raw: bytes, faults: list[str]) -> Head:
    """Read `emotions.toml`: the concepts and the settings above them."""
    table = _toml(path, raw, faults)
    if not table:
        return Head()
    known = {"concept", "source", "language", "limits", "emotion"}
    faults.extend(_extra(path, "field", table, known))
    for key in ("concept", "source", "language"):
        if not isinstance(table.get(key, ""), str):
            faults.append(f"{path}: {key} = {table[key]!r}; give a string")
    language = table.get("language", "english")
    if language not in snowballstemmer.algorithms():
        choices = ", ".join(sorted(snowballstemmer.algorithms()))
        faults.append(f"{path}: no stemmer for language = {language!r}; choose from {choices}")
        language = "english"
    limits = _limits(path, table.get("limits", {}), faults)
    emotions = _emotions(path, table.get("emotion"), raw, faults)
    return Head(str(table.get("concept", "concept")), language, limits, emotions)


def read_topics(path: Path, raw: bytes, faults: list[str]) -> tuple[Topic, ...]:
    """Read `topics.toml`."""
    table = _toml(path, raw, faults)
    if not table:
        return ()
    result = []
    for place, entry in _entries(path, table.get("topic"), "topic", raw, {"name", "text"}, faults):
        text = entry.get("text")
        if not isinstance(text, str) or not text.strip():
            faults.append(f'{place}: topic without a text; add text = "..." for the prompts')
        result.append(Topic(entry["name"], str(text)))
    return tuple(result)


def read_prompts(path: Path, raw: bytes, faults: list[str]) -> dict[str, str]:
    """Read `prompts.toml`: templates with the placeholders of `PROMPTS`."""
    table = _toml(path, raw, faults)
    if not table:
        return {}
    faults.extend(_extra(path, "prompt", table, set(PROMPTS)))
    for key, wanted in PROMPTS.items():
        template = table.get(key)
        if not isinstance(template, str):
            faults.append(f"{path}: prompt {key!r} is missing; add it as a string")
            continue
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            faults.append(f"{path}: prompt {key!r}: {error}; write a brace itself twice")
            continue
        # Reject conversions and formats ("{topic!r}", "{topic:>9}"); a prompt does not need them.
        found = {f"{n}{c or ''}{spec}" for _, n, spec, c in parts if n is not None}
        if found != wanted:
            names = " and ".join(f"{{{name}}}" for name in sorted(wanted))
            faults.append(f"{path}: prompt {key!r} must have {names} and no other placeholder")
    return table


def read_passages(
    path: Path, raw: bytes, head: Head, topics: Sequence[Topic], faults: list[str]
) -> tuple[Passage, ...]:
    """Read `passages.jsonl` or `neutral.jsonl`, and check that every cell is filled."""
    neutral = path.name == "neutral.jsonl"
    keys = ("topic", "text") if neutral else ("emotion", "topic", "text")
    known = {
        "emotion": [""] if neutral else [emotion.name for emotion in head.emotions],
        "topic": [topic.name for topic in topics],
    }
    forbidden = {
        tuple(stem(word, head.language) for word in words(lexeme)): emotion.name
        for emotion in head.emotions
        for lexeme in (*emotion.lexemes, emotion.name)
    }
    result: list[Passage] = []
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)
    first: dict[str, int] = {}
    for number, line in _lines(path, raw, faults):
        place = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.append(f"{place}: broken JSON ({error}); write one object per line")
            continue
        if not isinstance(record, dict) or not all(isinstance(record.get(k), str) for k in keys):
            faults.append(f"{place}: not an object with the strings {', '.join(keys)}; correct it")
            continue
        passage = Passage("" if neutral else record["emotion"], record["topic"], record["text"])
        for kind, value in (("emotion", passage.emotion), ("topic", passage.topic)):
            if known[kind] and value not in known[kind]:
                label = head.concept if kind == "emotion" else kind
                faults.append(
                    f"{place}: unknown {label} {value!r}; known are {', '.join(known[kind])}"
                )
        cells[passage.emotion, passage.topic].append(number)
        faults.extend(f"{place}: {fault}" for fault in _text_faults(passage.text, head, forbidden))
        key = " ".join(words(passage.text))
        if key and first.setdefault(key, number) != number:
            faults.append(f"{place}: duplicate: the text of line {first[key]}; write another")
        result.append(passage)
    declared = head.limits.neutral_per_topic if neutral else head.limits.passages_per_cell
    for emotion in known["emotion"]:
        faults.extend(_cell_faults(path, emotion, known["topic"], cells, declared))
    return tuple(result)


def _cell_faults(
    path: Path,
    emotion: str,
    topics: Sequence[str],
    cells: dict[tuple[str, str], list[int]],
    declared: int | None,
) -> Iterator[str]:
    label = emotion or "neutral"
    for topic in topics:
        found = cells[emotion, topic]
        if declared and len(found) > declared:
            lines = ", ".join(map(str, found))
            yield (
                f"{path}, line {found[declared]}: duplicate: {label} with {topic} has "
                f"{len(found)} texts (lines {lines}), declared {declared}; remove the excess"
            )
    short = [topic for topic in topics if len(cells[emotion, topic]) < (declared or 1)]
    if short:
        number = "one text" if (declared or 1) == 1 else f"{declared} texts"
        yield f"{path}: missing: {label} with {', '.join(short)}; write {number} for each"


def _text_faults(text: str, head: Head, forbidden: dict[tuple[str, ...], str]) -> Iterator[str]:
    tokens = words(text)
    if not tokens:
        yield "empty text; write it or remove the line"
        return
    stems = [stem(word, head.language) for word in tokens]
    for length in sorted({len(lexeme) for lexeme in forbidden}):
        for i in range(len(stems) - length + 1):
            owner = forbidden.get(tuple(stems[i : i + length]))
            if owner is not None:
                found = " ".join(tokens[i : i + length])
                yield f"forbidden word {found!r} (a lexeme of {owner!r}); rephrase it"
    count = len(text.split())
    if head.limits.words and not head.limits.words[0] <= count <= head.limits.words[1]:
        low, high = head.limits.words
        yield f"{count} words where {low} to {high} are declared; lengthen or shorten it"


def _emotions(path: Path, table: Any, raw: bytes, faults: list[str]) -> tuple[Emotion, ...]:
    known = {field.name for field in fields(Emotion)}
    result = []
    for place, entry in _entries(path, table, "emotion", raw, known, faults):
        axes: dict[str, float | None] = {"valence": None, "arousal": None}
        for axis in axes.keys() & entry.keys():
            if not _is_number(entry[axis]) or abs(entry[axis]) > 1:
                faults.append(f"{place}: {axis} = {entry[axis]!r}; give a number from -1 to 1")
            else:
                axes[axis] = float(entry[axis])
        lexemes = entry.get("lexemes", [])
        strings = isinstance(lexemes, list) and all(isinstance(x, str) for x in lexemes)
        if not strings or not all(map(words, lexemes)):
            faults.append(f"{place}: lexemes = {lexemes!r}; give a list of words")
            lexemes = []
        result.append(Emotion(entry["name"], axes["valence"], axes["arousal"], tuple(lexemes)))
    return tuple(result)


def _limits(path: Path, table: Any, faults: list[str]) -> Limits:
    if not isinstance(table, dict):
        faults.append(f"{path}: limits = {table!r}; make it a table [limits]")
        return Limits()
    known = {field.name for field in fields(Limits)}
    faults.extend(_extra(path, "limit", table, known))
    good: dict[str, Any] = {}
    for key in known & table.keys():
        value = table[key]
        if key == "words":
            whole = isinstance(value, list) and [type(x) for x in value] == [int, int]
            right, wanted = whole and 0 < value[0] <= value[1], "the least and the most, [60, 110]"
            value = tuple(value) if right else value
        elif key in ("passages_per_cell", "neutral_per_topic"):
            right, wanted = type(value) is int and value > 0, "a whole number from 1"
        else:
            right, wanted = _is_number(value) and 0 <= value <= 1, "a fraction from 0 to 1"
        if right:
            good[key] = value
        else:
            faults.append(f"{path}: limit {key} = {value!r}; give {wanted}")
    return Limits(**good)


def _entries(
    path: Path, table: Any, kind: str, raw: bytes, known: set[str], faults: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the entries that have a unique name, each with its place in the file."""
    entries = table if isinstance(table, list) else []
    if len(entries) < 2:
        faults.append(f"{path}: {len(entries)} [[{kind}]] entries; a corpus needs at least two")
    mark = f"[[{kind}]]".encode()
    heads = [n for n, line in enumerate(raw.splitlines(), 1) if line.strip() == mark]
    seen = {"neutral"}  # the label of the neutral texts in the score tables
    for i, entry in enumerate(entries):
        place = f"{path}, {f'line {heads[i]}' if len(heads) == len(entries) else f'entry {i + 1}'}"
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name.strip():
            faults.append(f'{place}: [[{kind}]] without a name; add name = "..."')
        elif name in seen:
            faults.append(f"{place}: the name {name!r} is used twice or reserved; rename it")
        else:
            faults.extend(_extra(place, "field", entry, known))
            seen.add(name)
            yield place, entry


def _extra(place: str | Path, kind: str, table: dict[str, Any], known: set[str]) -> list[str]:
    choices = ", ".join(sorted(known))
    return [f"{place}: unknown {kind} {key!r}; known are {choices}" for key in table.keys() - known]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lines(path: Path, raw: bytes, faults: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines that are UTF-8, with their numbers; report the others."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        faults.append(f"{path}, line 1: the file is UTF-16; save it as UTF-8")
        return
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            yield number, line.decode("utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            faults.append(
                f"{path}, line {number}: byte {error.start + 1} is not UTF-8; "
                "save the file as UTF-8"
            )


def _toml(path: Path, raw: bytes, faults: list[str]) -> dict[str, Any]:
    before = len(faults)
    text = "\n".join(line for _, line in _lines(path, raw, faults))
    if not raw or len(faults) > before:
        return {}
    try:
        return parse_toml(text.encode())
    except ValueError as error:
        faults.append(f"{path}: not valid TOML: {error}; correct it there")
        return {}


@cache
def _stemmer(language: str) -> Any:
    return snowballstemmer.stemmer(language)
