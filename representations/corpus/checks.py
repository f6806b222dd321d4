"""Measure a whole corpus: lengths, repetitions, and what gives an emotion away."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from representations.corpus.corpus import Corpus
from representations.corpus.embedding import embed
from representations.corpus.files import Passage, stem, words
from study.arrays import Float64Array

#: A sentence with fewer words is idiomatic ("He said nothing.") and may occur twice.
SENTENCE = 5
#: Maximum number of folds; keeps the check of a corpus with many topics fast.
FOLDS = 12
_MARKS = ("“", "‘", '"', "?", "!", ",", ";", ":", ".", "—")
_END = re.compile(r"(?<=[.!?…])[”’\"]?\s+")


@dataclass(frozen=True)
class Report:
    """The results of the checks.

    Attributes
    ----------
    lengths : DataFrame
        One row per emotion, then one for the neutral texts: emotion, texts, mean, sd, least,
        most (in words), deviation (of the mean from that of all passages, as a fraction).
    measures : DataFrame
        One row per measure: measure, value, chance, limit, and holds (None without a limit).
    tells : DataFrame
        One row per emotion: held-out hit rates from words and from meaning, and the strongest
        word stems.
    faults : tuple of str
        The limits that the corpus breaks.
    """

    lengths: pd.DataFrame
    measures: pd.DataFrame
    tells: pd.DataFrame
    faults: tuple[str, ...]


def check_corpus(corpus: Corpus, embeddings: Float64Array | None = None) -> Report:
    """Measure a loaded corpus and compare it with its declared limits.

    Parameters
    ----------
    corpus : Corpus
    embeddings : ndarray, shape (n_passages, n_dimensions), optional
        Embeddings of the passages in order, from `passage_embeddings`. Without them, meaning is
        not measured.

    Returns
    -------
    Report

    Notes
    -----
    Accuracies are those of held-out passages. Emotions are predicted in folds of whole topics,
    and topics in folds of whole emotions; one cannot stand in for the other. *Words* is the best
    of four classifiers of bags of words, since a single poor one would give too low a rate:
    regularized least squares and naive Bayes, each on words and on stems, by tf-idf. *Form* is
    what a text shows without its words: length, sentences and punctuation. *Meaning* is a linear
    discriminant of embeddings with a shrunken covariance (Ledoit and Wolf, 2004).
    """
    limits = corpus.limits
    lengths = _lengths(corpus)
    spread = lengths["deviation"].iloc[:-1].abs().max()
    texts = [passage.text for passage in corpus.passages]
    emotions = np.array([passage.emotion for passage in corpus.passages])
    topics = np.array([passage.topic for passage in corpus.passages])
    everything = [*corpus.passages, *corpus.neutral]
    overlap, pair = _overlap(everything)
    repeated = list(_repeated(everything))
    twice = None if limits.overlap is None else 0.0

    lexical, hits = _best_words(texts, corpus.language, emotions, topics)
    by_topic, _ = _best_words(texts, corpus.language, topics, emotions)
    chance, topic_chance = 1 / len(corpus.emotions), 1 / len(corpus.topics)
    rows = [
        _row(
            "largest deviation of an emotion's mean length",
            spread,
            None,
            limits.length_deviation,
            upper=True,
        ),
        _row("largest share of 4-grams in two texts", overlap, None, limits.overlap, upper=True),
        _row("sentences that occur twice", float(len(repeated)), None, twice, upper=True),
        _row("emotion from words", lexical, chance, limits.lexical, upper=True),
        _row(
            "emotion from form",
            _accuracy(_form_model(), _form(texts), emotions, topics),
            chance,
            None,
        ),
        _row(
            "emotion from length alone",
            _accuracy(_form_model(), _form(texts)[:, :1], emotions, topics),
            chance,
            None,
        ),
        _row("p of lengths alike over emotions (Friedman)", _length_p(corpus), None, None),
        _row("topic from words", by_topic, topic_chance, None),
    ]
    tells = pd.DataFrame(
        {
            "emotion": [emotion.name for emotion in corpus.emotions],
            "words": [float(hits[emotions == emotion.name].mean()) for emotion in corpus.emotions],
            "tells": _tells(texts, corpus.language, emotions),
        }
    )
    if embeddings is not None:
        hits = _hits(_meaning_model(), embeddings, emotions, topics)
        rows.insert(4, _row("emotion from meaning", float(hits.mean()), chance, limits.meaning))
        by_meaning = _accuracy(_meaning_model(), embeddings, topics, emotions)
        rows.append(_row("topic from meaning", by_meaning, topic_chance, None))
        found = [float(hits[emotions == emotion.name].mean()) for emotion in corpus.emotions]
        tells.insert(2, "meaning", found)
    measures = pd.DataFrame(rows)
    faults = [
        f"{row.measure} is {row.value:.3g}, declared {row.limit:.3g}"
        for row in measures.itertuples()
        if row.holds is False
    ]
    if limits.overlap is not None:
        faults.extend(repeated)
        if overlap > limits.overlap:
            one, other = map(_label, pair)
            faults.append(f"{one} and {other} share too many 4-grams; rewrite one")
    return Report(lengths, measures, tells, tuple(faults))


def passage_embeddings(texts: Sequence[str]) -> Float64Array:
    """Return the mean of the sentence embeddings of each text.

    The model behind `embed` was trained on sentences; its embedding of a whole passage mostly
    reflects the topic.

    Parameters
    ----------
    texts : sequence of str

    Returns
    -------
    ndarray, shape (n_texts, 384)
    """
    parts = [sentences(text) for text in texts]
    vectors = embed([sentence for part in parts for sentence in part])
    starts = np.cumsum([0, *(len(part) for part in parts)])[:-1]
    means: Float64Array = np.add.reduceat(vectors, starts, axis=0) / np.array(
        [[len(p)] for p in parts]
    )
    return means


def sentences(text: str) -> list[str]:
    """Split a text after each period, question mark and exclamation mark.

    Examples
    --------
    >>> sentences("“Wait!” she said. Nobody did.")
    ['“Wait!', 'she said.', 'Nobody did.']
    """
    return [part for part in _END.split(text) if words(part)] or [text]


def _row(
    measure: str, value: float, chance: float | None, limit: float | None, upper: bool = False
) -> dict[str, Any]:
    holds = None if limit is None else bool(value <= limit if upper else value >= limit)
    return {"measure": measure, "value": value, "chance": chance, "limit": limit, "holds": holds}


def _lengths(corpus: Corpus) -> pd.DataFrame:
    groups: dict[str, list[int]] = {emotion.name: [] for emotion in corpus.emotions}
    for passage in corpus.passages:
        groups[passage.emotion].append(len(passage.text.split()))
    total = np.mean([count for counts in groups.values() for count in counts])
    groups["neutral"] = [len(passage.text.split()) for passage in corpus.neutral]
    return pd.DataFrame(
        [
            {
                "emotion": name,
                "texts": len(counts),
                "mean": np.mean(counts),
                "sd": np.std(counts),
                "least": min(counts),
                "most": max(counts),
                "deviation": np.mean(counts) / total - 1,
            }
            for name, counts in groups.items()
        ]
    )


def _length_p(corpus: Corpus) -> float:
    """Friedman's test with topics as blocks; NaN with too few emotions or topics."""
    cells = defaultdict(list)
    for passage in corpus.passages:
        cells[passage.emotion, passage.topic].append(len(passage.text.split()))
    table = np.array(
        [[np.mean(cells[e.name, t.name]) for t in corpus.topics] for e in corpus.emotions]
    )
    if min(table.shape) < 3 or np.all(np.ptp(table, axis=0) == 0):
        return float("nan")
    return float(stats.friedmanchisquare(*table).pvalue)


def _overlap(passages: Sequence[Passage]) -> tuple[float, tuple[Passage, Passage]]:
    """Return the largest share of the shorter text's word 4-grams, and the two texts."""
    grams = []
    where = defaultdict(list)
    for i, passage in enumerate(passages):
        tokens = words(passage.text)
        grams.append({tuple(tokens[j : j + 4]) for j in range(len(tokens) - 3)})
        for gram in grams[-1]:
            where[gram].append(i)
    shared: dict[tuple[int, int], int] = defaultdict(int)
    for places in where.values():
        for pair in combinations(places, 2):
            shared[pair] += 1
    shares = {(i, j): count / min(len(grams[i]), len(grams[j])) for (i, j), count in shared.items()}
    i, j = max(shares, key=lambda pair: shares[pair], default=(0, 1))
    return shares.get((i, j), 0.0), (passages[i], passages[j])


def _repeated(passages: Sequence[Passage]) -> Iterator[str]:
    """Yield a line per sentence that occurs twice."""
    first: dict[str, Passage] = {}
    for passage in passages:
        for sentence in sentences(passage.text):
            tokens = words(sentence)
            key = " ".join(tokens)
            if len(tokens) >= SENTENCE and key in first:
                other = _label(first[key])
                yield f"{_label(passage)} repeats a sentence of {other}: {sentence!r}; rewrite one"
            first.setdefault(key, passage)


def _label(passage: Passage) -> str:
    return f"{passage.emotion or 'neutral'} with {passage.topic}"


def _form(texts: Sequence[str]) -> Float64Array:
    return np.array(
        [
            [len(t.split()), len(t) / len(t.split()), len(sentences(t)), *map(t.count, _MARKS)]
            for t in texts
        ],
        dtype=np.float64,
    )


def _hits(model: Any, features: Any, labels: NDArray[Any], groups: NDArray[Any]) -> NDArray[Any]:
    """Return whether a model fitted on the other groups is right about each text."""
    from sklearn.model_selection import GroupKFold, cross_val_predict

    folds = GroupKFold(min(FOLDS, len(set(groups))))
    found = cross_val_predict(model, features, labels, groups=groups, cv=folds)
    return np.asarray(found == labels)


def _accuracy(model: Any, features: Any, labels: NDArray[Any], groups: NDArray[Any]) -> float:
    return float(_hits(model, features, labels, groups).mean())


def _best_words(
    texts: Sequence[str], language: str, labels: NDArray[Any], groups: NDArray[Any]
) -> tuple[float, NDArray[Any]]:
    """Return the best rate of the bag-of-words classifiers, and its hits."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeClassifier
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    stems = [[stem(word, language) for word in words(text)] for text in texts]
    plain = [words(text) for text in texts]
    found = [
        _hits(
            make_pipeline(TfidfVectorizer(analyzer=list, sublinear_tf=True), model),
            tokens,
            labels,
            groups,
        )
        for tokens in (plain, stems)
        for model in (RidgeClassifier(), MultinomialNB(alpha=0.05))
    ]
    best = max(found, key=lambda hits: float(hits.mean()))
    return float(best.mean()), best


def _tells(texts: Sequence[str], language: str, emotions: NDArray[Any]) -> list[str]:
    """Return, per emotion, the stems whose share of texts most exceeds that in other emotions."""
    sets = [{stem(word, language) for word in words(text)} for text in texts]
    result = []
    for emotion in dict.fromkeys(emotions):
        inside = [s for s, e in zip(sets, emotions, strict=True) if e == emotion]
        outside = [s for s, e in zip(sets, emotions, strict=True) if e != emotion]
        excess = {
            token: np.mean([token in s for s in inside]) - np.mean([token in s for s in outside])
            for token in sorted(set().union(*inside))
        }
        result.append(" ".join(sorted(excess, key=lambda token: -excess[token])[:5]))
    return result


def _form_model() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _meaning_model() -> Any:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
