"""Corpus folders that are broken, odd or hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hostile import broken, text, texts, toml, values
from hypothesis import given, settings
from hypothesis import strategies as st

from representations.corpus.corpus import load_corpus
from representations.corpus.files import FILES
from study import HOME

WHOLE = {
    "emotions.toml": (
        'concept = "emotion"\n[limits]\nwords = [3, 60]\n'
        '[[emotion]]\nname = "happy"\nvalence = 0.9\narousal = 0.5\nlexemes = ["joyful"]\n'
        '[[emotion]]\nname = "sad"\nvalence = -0.8\narousal = -0.4\nlexemes = ["sorrow"]\n'
    ),
    "topics.toml": (
        '[[topic]]\nname = "train"\ntext = "a journey on a train"\n'
        '[[topic]]\nname = "race"\ntext = "a race in the park"\n'
    ),
    "prompts.toml": (
        'chat = "Tell of {topic}: someone is {emotion}."\nplain = "{topic}, {emotion}:"\n'
        'chat_neutral = "Tell of {topic}."\nplain_neutral = "{topic}:"\n'
    ),
    "passages.jsonl": "".join(
        json.dumps({"emotion": e, "topic": t, "text": f"She sat down {i} there and {e[0]} {t[0]}."})
        + "\n"
        for i, e in enumerate(("happy", "sad"))
        for t in ("train", "race")
    ),
    "neutral.jsonl": "".join(
        json.dumps({"topic": t, "text": f"The {t} left at seven as it does."}) + "\n"
        for t in ("train", "race")
    ),
}
records = st.dictionaries(st.sampled_from(["emotion", "topic", "text"]) | texts, values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


def write(folder: Path, changes: dict[str, bytes]) -> None:
    for name in FILES:
        content = changes.get(name, WHOLE[name].encode())
        (folder / name).write_bytes(content)


def used(folder: Path) -> Any:
    """Do what a run does with a corpus before it loads any model."""
    corpus = load_corpus(folder)
    half = corpus.restricted(topics=1)
    for emotion in ("", *(e.name for e in half.emotions)):
        half.prompt(emotion, half.topics[0].name, chat=True)
    return corpus


def test_the_corpus_that_is_broken_below_is_whole(guard: Any, folder: Path) -> None:
    write(folder, {})
    corpus, error = guard("corpus, bytes", lambda: used(folder))
    assert not error
    assert len(corpus.passages) == 4


@given(name=st.sampled_from(FILES), data=st.data())
@settings(max_examples=4 * settings.default.max_examples)
def test_bytes(guard: Any, folder: Path, name: str, data: st.DataObject) -> None:
    content = data.draw(broken(WHOLE[name].encode()) | st.binary(max_size=100))
    write(folder, {name: content})
    guard("corpus, bytes", lambda: used(folder))


@given(lines=st.lists(records | values, max_size=5), neutral=st.booleans())
@settings(max_examples=2 * settings.default.max_examples)
def test_lines(guard: Any, folder: Path, lines: list[Any], neutral: bool) -> None:
    name = "neutral.jsonl" if neutral else "passages.jsonl"
    content = WHOLE[name] + "".join(json.dumps(line) + "\n" for line in lines)
    write(folder, {name: content.encode()})
    guard("corpus, lines", lambda: used(folder))


@given(
    file=st.sampled_from(["emotions.toml", "topics.toml", "prompts.toml"]),
    fields=st.dictionaries(
        st.sampled_from(
            [
                "concept",
                "language",
                "limits",
                "name",
                "valence",
                "lexemes",
                "text",
                "chat",
                "plain",
                "words",
                "overlap",
            ]
        )
        | texts,
        values,
        max_size=4,
    ),
    kind=st.sampled_from(["", "[[emotion]]", "[[topic]]", "[limits]"]),
)
@settings(max_examples=2 * settings.default.max_examples)
def test_structures(guard: Any, folder: Path, file: str, fields: dict[str, Any], kind: str) -> None:
    entry = "".join(f"{text(key)} = {toml(value)}\n" for key, value in fields.items())
    content = f"{WHOLE[file]}\n{kind}\n{entry}" if kind else entry + WHOLE[file]
    write(folder, {file: content.encode()})
    guard("corpus, structure", lambda: used(folder))


@pytest.mark.parametrize("size", [10**5, 2 * 10**6])
def test_a_text_without_end(guard: Any, folder: Path, size: int) -> None:
    for long in ("x" * size, "x " * (size // 2), "x'" * (size // 2), "\u0301" * size):
        line = json.dumps({"emotion": "sad", "topic": "race", "text": long}) + "\n"
        write(folder, {"passages.jsonl": (WHOLE["passages.jsonl"] + line).encode()})
        guard("corpus, long texts", lambda: used(folder))


def test_the_shipped_corpus_under_each_encoding(guard: Any, tmp_path: Path) -> None:
    for codec in ("utf-16", "utf-32", "utf-7", "cp1252", "cp037", "utf-8-sig"):
        for name in FILES:
            content = (HOME / "data" / "corpus" / name).read_text(encoding="utf-8")
            (tmp_path / name).write_bytes(content.encode(codec, "replace"))
        guard("corpus, encodings", lambda: used(tmp_path))
