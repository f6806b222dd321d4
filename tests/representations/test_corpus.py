"""The shipped corpus keeps its promises, and a faulty one gets all its faults listed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from representations.corpus import checks
from representations.corpus.__main__ import main
from representations.corpus.checks import check_corpus, passage_embeddings, sentences
from representations.corpus.corpus import Corpus, CorpusError, Passage, load_corpus
from representations.corpus.files import FILES, stem, words
from study.read import InputError

SHIPPED = Path(__file__).parents[2] / "data" / "corpus"
MANNERS = ["brisk", "formal", "playful"]
PLACES = ["barn", "ferry", "shop"]

#: Three invented concepts by three topics, in texts that differ in nothing else.
TEXTS = {
    "brisk": "Quick steps, short words, done before noon at the {}. No pause was made for tea.",
    "formal": "The committee convened at the {} and recorded, in due order, each of the motions.",
    "playful": "Somebody had hung paper fish all over the {} and the dog wore the best as a hat.",
}


@pytest.fixture
def manners(tmp_path):
    """A folder with a corpus of concepts other than emotions: no valence, no limits."""
    (tmp_path / "emotions.toml").write_text(
        'concept = "manner"\n'
        + "".join(f'[[emotion]]\nname = "{m}"\nlexemes = ["{m}ness"]\n' for m in MANNERS)
    )
    (tmp_path / "topics.toml").write_text(
        "".join(f'[[topic]]\nname = "{p}"\ntext = "a day at the {p}"\n' for p in PLACES)
    )
    (tmp_path / "prompts.toml").write_text(
        'chat = "Tell of {topic} in a {emotion} way."\nplain = "{topic}, {emotion}:"\n'
        'chat_neutral = "Tell of {topic}."\nplain_neutral = "{topic}:"\n'
    )
    write(tmp_path, [[m, p, TEXTS[m].format(p)] for m in MANNERS for p in PLACES])
    (tmp_path / "neutral.jsonl").write_text(
        "".join(json.dumps({"topic": p, "text": f"There is a {p}."}) + "\n" for p in PLACES)
    )
    return tmp_path


def write(folder, rows):
    keys = ("emotion", "topic", "text")
    lines = [json.dumps(dict(zip(keys, row, strict=True)), ensure_ascii=False) for row in rows]
    (folder / "passages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def edit(folder, name, old, new):
    path = folder / name
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def shipped():
    return load_corpus(SHIPPED)


@pytest.fixture(scope="module")
def report(shipped):
    return check_corpus(shipped)


def value(report, measure):
    found = report.measures.set_index("measure")
    return float(found.loc[measure, "value"])


# --- the shipped corpus ---------------------------------------------------------------------


def test_every_cell_is_filled_once_and_every_length_in_range(shipped):
    cells = {(p.emotion, p.topic) for p in shipped.passages}
    assert len(shipped.passages) == len(cells) == 20 * 24
    neutral = [p.topic for p in shipped.neutral]
    assert all(neutral.count(topic.name) == 4 for topic in shipped.topics)
    counts = [len(p.text.split()) for p in (*shipped.passages, *shipped.neutral)]
    assert min(counts) >= 60
    assert max(counts) <= 110


def test_no_passage_names_a_feeling(shipped):
    # Search with sets of stems, independently of the loader.
    banned = {stem(w, "english") for e in shipped.emotions for w in (e.name, *e.lexemes)}
    for passage in (*shipped.passages, *shipped.neutral):
        assert not banned & {stem(word, "english") for word in words(passage.text)}


def test_the_circumplex_is_covered(shipped):
    signs = {(np.sign(e.valence), np.sign(e.arousal)) for e in shipped.emotions}
    assert signs == {(a, b) for a in (-1, 1) for b in (-1, 1)}


def test_the_shipped_corpus_keeps_its_promises(report):
    assert report.faults == ()
    assert value(report, "largest deviation of an emotion's mean length") <= 0.05
    assert value(report, "largest share of 4-grams in two texts") <= 0.30
    assert value(report, "sentences that occur twice") == 0


@pytest.mark.arithmetic
def test_words_tell_the_topic_and_not_the_emotion(report):
    assert value(report, "emotion from words") <= 0.35
    assert value(report, "topic from words") >= 0.80


@pytest.mark.arithmetic
def test_length_tells_no_emotion(report):
    assert value(report, "emotion from length alone") <= 0.10
    assert value(report, "p of lengths alike over emotions (Friedman)") > 0.05


@pytest.mark.arithmetic
def test_meaning_tells_the_emotion_better_than_words(shipped):
    # A third of the topics, for speed; `python -m representations.corpus` reads them all.
    third = shipped.restricted(topics=8)
    try:
        embeddings = passage_embeddings([p.text for p in third.passages])
    except InputError as error:
        pytest.skip(str(error))
    report = check_corpus(third, embeddings)
    words_alone = value(report, "emotion from words")
    assert value(report, "emotion from meaning") >= words_alone + 0.10
    assert value(report, "topic from meaning") >= 0.80


def test_half_of_the_topics_are_spread_over_the_list(shipped):
    half = shipped.restricted(["sad", "happy"], 12)
    assert [e.name for e in half.emotions] == ["happy", "sad"]
    assert [t.name for t in half.topics] == [t.name for t in shipped.topics][1::2]
    assert len(half.passages) == 24
    assert len(half.neutral) == 48
    assert half.sha256 == shipped.sha256


def test_every_prompt_is_whole(shipped):
    for topic in shipped.topics:
        for emotion in ("", *(e.name for e in shipped.emotions)):
            for chat in (True, False):
                text = shipped.prompt(emotion, topic.name, chat)
                assert topic.text in text
                assert emotion in text
                assert "{" not in text


# --- a corpus of one's own ------------------------------------------------------------------


def test_other_concepts_need_no_valence_and_no_limits(manners):
    corpus = load_corpus(manners)
    assert corpus.concept == "manner"
    assert [e.valence for e in corpus.emotions] == [None] * 3
    assert (
        corpus.prompt("formal", "ferry", chat=True) == "Tell of a day at the ferry in a formal way."
    )
    assert corpus.prompt("", "ferry", chat=False) == "a day at the ferry:"
    assert len(corpus.restricted(topics=["shop"]).passages) == 3


@pytest.mark.arithmetic
def test_other_concepts_are_measured(manners):
    report = check_corpus(load_corpus(manners))
    assert value(report, "emotion from words") == 1.0
    assert value(report, "largest share of 4-grams in two texts") > 0.5
    assert report.faults == ()


def test_a_length_out_of_the_declared_range_is_a_fault(manners):
    edit(manners, "emotions.toml", b"[[emotion]]", b"[limits]\nwords = [5, 16]\n[[emotion]]")
    with pytest.raises(CorpusError) as caught:
        load_corpus(manners)
    playful = [f"line {n}: 18 words where 5 to 16 are declared" for n in (7, 8, 9)]
    neutral = [f"line {n}: 4 words" for n in (1, 2, 3)]
    for fault, wanted in zip(caught.value.faults, playful + neutral, strict=True):
        assert wanted in fault


def test_a_promise_that_is_broken_is_a_fault(manners):
    edit(manners, "emotions.toml", b"[[emotion]]", b"[limits]\noverlap = 0.3\n[[emotion]]")
    faults = check_corpus(load_corpus(manners)).faults
    assert "4-grams in two texts is 0.733, declared 0.3" in faults[0]
    assert "twice is 2, declared 0" in faults[1]
    assert "brisk with ferry repeats a sentence of brisk with barn: 'No pause" in faults[2]
    assert "share too many 4-grams" in faults[-1]
    assert len(faults) == 5


def test_the_hash_covers_every_file(manners):
    seen = {load_corpus(manners).sha256}
    for name in FILES:
        with (manners / name).open("ab") as file:
            file.write(b"\n")
        seen.add(load_corpus(manners).sha256)
    assert len(seen) == len(FILES) + 1


def test_bom_and_windows_lines_are_read(manners):
    for name in FILES:
        raw = (manners / name).read_bytes()
        (manners / name).write_bytes(b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"))
    assert len(load_corpus(manners).passages) == 9


def test_all_faults_are_listed_at_once_with_their_lines(manners):
    rows = [[m, p, TEXTS[m].format(p)] for m in MANNERS for p in PLACES]
    rows[1][2] = "   "
    rows[2][0] = "gruff"
    rows[4][2] = "Playfulness, they said, was not for the ferry."
    rows.append(["formal", "barn", "Another text for a cell that has one."])
    rows.append(["playful", "barn", TEXTS["playful"].format("barn")])
    write(manners, rows)
    edit(
        manners,
        "emotions.toml",
        b"[[emotion]]",
        b"[limits]\npassages_per_cell = 1\nwords = [4, 40]\n[[emotion]]",
    )
    with (manners / "passages.jsonl").open("ab") as file:
        file.write(b'{"emotion": "brisk", "topic"\n' + "Käse".encode("latin-1") + b"\n[1]\n")
    with pytest.raises(CorpusError) as caught:
        load_corpus(manners)
    wanted = [
        ("line 2:", "empty text"),
        ("line 3:", "unknown manner 'gruff'", "brisk, formal, playful"),
        ("line 5:", "forbidden word 'playfulness' (a lexeme of 'playful')"),
        ("line 11:", "duplicate: the text of line 7"),
        ("line 12:", "broken JSON"),
        ("line 13:", "byte 2 is not UTF-8"),
        ("line 14:", "not an object with the strings emotion, topic, text"),
        ("line 10:", "duplicate: formal with barn has 2 texts (lines 4, 10)"),
        ("line 11:", "duplicate: playful with barn"),
        ("missing: brisk with shop",),
    ]
    faults = caught.value.faults
    assert str(caught.value).splitlines() == list(faults)
    for parts in wanted:
        assert any(all(part in fault for part in parts) for fault in faults), parts
    assert len(faults) == len(wanted)
    assert all("passages.jsonl" in fault for fault in faults)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("passages.jsonl", b"Quick steps", b"Brisker steps", None),
        (
            "passages.jsonl",
            b"Quick steps",
            b"BRISK\xe2\x80\x99S steps",
            'forbidden word "brisk\'s"',
        ),
        ("passages.jsonl", b'"topic": "barn"', b'"topic": "Barn"', "unknown topic 'Barn'"),
        ("passages.jsonl", b'"text": "Quick', b'"txt": "Quick', "the strings emotion, topic"),
        (
            "emotions.toml",
            b'name = "brisk"',
            b'name = "formal"',
            "line 5: .*'formal' is used twice",
        ),
        ("emotions.toml", b'name = "brisk"', b'name = "neutral"', "line 2.*reserved"),
        ("emotions.toml", b'name = "brisk"', b'name = ""', r"line 2.*without a name"),
        ("emotions.toml", b'name = "brisk"', b'name = "brisk"\nvalence = 2', "valence = 2; give"),
        ("emotions.toml", b'name = "brisk"', b'name = "brisk"\nmood = 2', "unknown field 'mood'"),
        ("emotions.toml", b'["briskness"]', b'"briskness"', "give a list of words"),
        ("emotions.toml", b'concept = "manner"', b'language = "klingon"', "no stemmer for"),
        ("emotions.toml", b'concept = "manner"', b"concept =", "not valid TOML.*line 1"),
        (
            "emotions.toml",
            b'"manner"\n',
            b'"manner"\nlimits.words = [9, 2]\n',
            "words = .9, 2.; give",
        ),
        ("emotions.toml", b'"manner"\n', b'"manner"\nlimits.word = 3\n', "unknown limit 'word'"),
        ("emotions.toml", b'"manner"\n', b'"manner"\nlimits.overlap = 30\n', "a fraction from 0"),
        ("topics.toml", b'text = "a day at the barn"', b"", "topic without a text"),
        ("prompts.toml", b"{topic} in a {emotion} way", b"{topic}", "must have {emotion} and"),
        ("prompts.toml", b"{topic} in a {emotion} way", b"{topic", "write a brace itself twice"),
        ("prompts.toml", b'chat = "Tell', b'chatt = "Tell', "prompt 'chat' is missing"),
        ("neutral.jsonl", b'"topic": "ferry"', b'"topic": "barn"', "missing: neutral with ferry"),
    ],
)
def test_each_fault_says_where_and_what(manners, name, old, new, message):
    edit(manners, name, old, new)
    if message is None:
        load_corpus(manners)
        return
    with pytest.raises(CorpusError, match=message) as caught:
        load_corpus(manners)
    assert any(str(manners / name) in fault for fault in caught.value.faults)


@pytest.mark.parametrize("name", FILES)
def test_an_absent_an_empty_and_a_utf16_file_are_named(manners, name):
    raw = (manners / name).read_text(encoding="utf-8")
    (manners / name).write_text(raw, encoding="utf-16")
    with pytest.raises(CorpusError, match=rf"{name}, line 1: the file is UTF-16"):
        load_corpus(manners)
    (manners / name).write_bytes(b"")
    with pytest.raises(CorpusError, match=rf"{name}: the file is empty"):
        load_corpus(manners)
    (manners / name).unlink()
    with pytest.raises(CorpusError, match=rf"{name}: No such file"):
        load_corpus(manners)


def test_an_absent_folder_says_what_a_corpus_is():
    with pytest.raises(CorpusError, match=r"no such folder.*emotions\.toml"):
        load_corpus("nowhere")


@pytest.mark.parametrize(
    ("emotions", "topics", "message"),
    [
        (["grim"], None, "unknown manner 'grim'; known are brisk, formal, playful"),
        ([], None, "no manner chosen"),
        (None, ["moon"], "unknown topic 'moon'; known are barn"),
        (None, 4, "has 3; ask for 1 to 3"),
        (None, 0, "ask for 1 to 3"),
    ],
)
def test_unknown_names_are_told_the_known(manners, emotions, topics, message):
    with pytest.raises(InputError, match=message):
        load_corpus(manners).restricted(emotions, topics)


# --- the command ----------------------------------------------------------------------------


def test_the_command_prints_a_report_and_returns_2_on_a_fault(manners, monkeypatch, capsys):
    def random_embeddings(texts):
        return np.random.default_rng(0).normal(size=(len(texts), 4))

    monkeypatch.setattr(checks, "passage_embeddings", random_embeddings)
    assert main([str(manners)]) == 0
    out = capsys.readouterr().out
    assert "3 manners by 3 topics, 9 passages" in out
    assert "emotion from meaning" in out
    edit(manners, "passages.jsonl", b'"barn"', b'"bern"')
    assert main([str(manners)]) == 2
    assert "passages.jsonl, line 1: unknown topic 'bern'" in capsys.readouterr().err


def test_without_the_embedding_model_the_rest_is_measured(manners, monkeypatch, capsys):
    def absent(texts):
        raise InputError("pip install it")

    monkeypatch.setattr(checks, "passage_embeddings", absent)
    assert main([str(manners)]) == 0
    assert "Meaning was not measured: pip install it" in capsys.readouterr().out


# --- the measures ---------------------------------------------------------------------------


def made(texts):
    """Make a corpus from {(emotion, topic): text}, for the measures only."""
    shipped = load_corpus(SHIPPED)
    emotions = {e for e, _ in texts}
    topics = {t for _, t in texts}
    part = shipped.restricted(sorted(emotions), sorted(topics))
    return Corpus(**{**vars(part), "passages": tuple(Passage(*k, v) for k, v in texts.items())})


def test_overlap_is_the_share_of_the_shorter_text():
    texts = {
        ("happy", "letter"): "one two three four five six seven eight nine ten",
        ("happy", "dentist"): "one two three four five ant bee cat",  # 2 of its 5 4-grams
        ("sad", "letter"): "alpha beta gamma delta epsilon zeta",
        ("sad", "dentist"): "lorem ipsum dolor sit amet consectetur",
    }
    report = check_corpus(made(texts))
    assert value(report, "largest share of 4-grams in two texts") == pytest.approx(2 / 5)


def test_a_sentence_that_comes_twice_is_found_despite_its_marks():
    texts = {
        ("happy", "letter"): "First this. The cat sat upon the mat!",
        ("happy", "dentist"): "Then that. “The cat sat upon the mat.” Quite.",
        ("sad", "letter"): "Nobody came. And so they all went off.",
        ("sad", "dentist"): "Nobody came. Four words are idiom.",
    }
    report = check_corpus(made(texts))
    assert value(report, "sentences that occur twice") == 1
    told = [fault for fault in report.faults if "repeats a sentence of" in fault]
    assert [fault.split(":")[0] for fault in told] == [
        "happy with dentist repeats a sentence of happy with letter"
    ]


def test_sentences_split_at_closing_quotes():
    assert sentences("“No.” He left… Why? ‘So!’ she said.") == [
        "“No.",
        "He left…",
        "Why?",
        "‘So!",
        "she said.",
    ]


def test_a_prompt_that_is_not_there_is_named(shipped):
    silent = replace(shipped, prompts={})
    with pytest.raises(InputError, match="no prompt 'chat_neutral'; add it"):
        silent.prompt("", shipped.topics[0].name, chat=True)
