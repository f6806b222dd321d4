"""Judge whether a text shows an emotion, by a classifier or a lexicon."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from representations.corpus.corpus import Corpus
from representations.corpus.embedding import embed
from representations.models.encoding import encoded
from representations.models.errors import oneline
from study.arrays import Float64Array
from study.read import InputError

NEUTRAL = "neutral"
#: The steered model itself, without its vector, as a judge: see `opinions`.
OWN = "own"
FOLDS = 6
#: The emotions of this project that the lexicon covers.
NRC = {
    "happy": "joy",
    "sad": "sadness",
    "afraid": "fear",
    "angry": "anger",
    "surprised": "surprise",
    "hopeful": "anticipation",
    "disgusted": "disgust",
}


class Judge(Protocol):
    """Scores texts for emotions.

    Attributes
    ----------
    name : str
    emotions : tuple of str
        The emotions that it covers; the columns of the result of `score`.
    facts : mapping
        Facts about the judge and its accuracy, for `run.json`.
    """

    name: str
    emotions: tuple[str, ...]
    facts: Mapping[str, Any]

    def score(self, texts: Sequence[str]) -> Float64Array:
        """Return the scores of each emotion, shape (texts, emotions), in [0, 1]."""
        ...


def load_judge(name: str, corpus: Corpus, labels: Mapping[str, Any] | None = None) -> Judge:
    """Return the judge that a study file names.

    Parameters
    ----------
    name : str
        "local", "nrclex", or a text classifier by its folder or hub name.
    corpus : Corpus
        The texts that the local judge is fitted on.
    labels : mapping of str to str, optional
        For a classifier, which emotion each of its labels stands for.

    Returns
    -------
    Judge

    Raises
    ------
    InputError
        If the judge cannot be loaded, or its labels match no emotion.
    """
    if name == "local":
        return LocalJudge(corpus)
    if name == "nrclex":
        return LexiconJudge()
    if name == OWN:
        raise InputError('judge "own" is the steered model itself; steering.py asks it in a run')
    return ClassifierJudge(name, labels or {})


def target_scores(judge: Judge, texts: Sequence[str], emotions: Sequence[str]) -> Float64Array:
    """Return the score of each text for its own target emotion.

    Parameters
    ----------
    judge : Judge
    texts, emotions : sequence of str
        One emotion for each text.

    Returns
    -------
    ndarray, shape (texts,)
        NaN for emotions that the judge does not cover.
    """
    unique = sorted(set(texts))
    table = dict(zip(unique, judge.score(unique), strict=True)) if unique else {}
    place = {emotion: i for i, emotion in enumerate(judge.emotions)}
    return np.array(
        [table[t][place[e]] if e in place else np.nan for t, e in zip(texts, emotions, strict=True)]
    )


class LocalJudge:
    """Sentence embeddings and a multinomial logistic regression fitted on the corpus.

    The classes are the corpus's emotions, and one for neutral texts if there are any. The held-out
    accuracy is measured in folds of whole topics.

    Parameters
    ----------
    corpus : Corpus
    """

    name = "local"

    def __init__(self, corpus: Corpus) -> None:
        passages = [*corpus.passages, *corpus.neutral]
        texts = [p.text for p in passages]
        labels = np.array([p.emotion or NEUTRAL for p in passages])
        topics = np.array([p.topic for p in passages])
        features = embed(texts)
        self._model = _logistic(features, labels)
        self.emotions = tuple(map(str, self._model.classes_))
        self.facts: Mapping[str, Any] = {
            "kind": "all-MiniLM-L6-v2 embeddings, multinomial logistic regression",
            "corpus_sha256": corpus.sha256,
            **held_out_quality(features, labels, topics),
        }

    def score(self, texts: Sequence[str]) -> Float64Array:
        """Return the probability of each emotion, shape (texts, emotions)."""
        # An empty text has no embedding; use a period instead.
        result: Float64Array = self._model.predict_proba(embed([t.strip() or "." for t in texts]))
        return result


def _logistic(features: Float64Array, labels: NDArray[Any]) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000).fit(features, labels)


def held_out_quality(
    features: Float64Array, labels: NDArray[Any], topics: NDArray[Any]
) -> dict[str, Any]:
    """Measure a judge's classifier on held-out topics.

    Parameters
    ----------
    features : ndarray, shape (texts, dimensions)
    labels, topics : ndarray of str, shape (texts,)

    Returns
    -------
    dict
        accuracy, chance (of the commonest class), n_texts, folds, log_loss, and calibration: bins
        of the probability given to the likeliest class, each with n, the mean probability and the
        share that was right, and their mean distance, weighted by n (expected_calibration_error).
    """
    from sklearn.model_selection import GroupKFold

    folds = min(FOLDS, len(set(topics)))
    if folds < 2:
        raise InputError("the local judge needs passages of at least two topics to be tested")
    classes = np.unique(labels)
    chances = np.zeros((len(labels), len(classes)))
    for train, test in GroupKFold(folds).split(features, groups=topics):
        model = _logistic(features[train], labels[train])
        columns = np.searchsorted(classes, model.classes_)
        chances[np.ix_(test, columns)] = model.predict_proba(features[test])
    sure, right = chances.max(axis=1), classes[chances.argmax(axis=1)] == labels
    own = chances[np.arange(len(labels)), np.searchsorted(classes, labels)]
    bins, error = [], 0.0
    for part in np.array_split(np.argsort(sure), 5):
        bins.append(
            {
                "n": len(part),
                "probability": round(float(sure[part].mean()), 4),
                "right": round(float(right[part].mean()), 4),
            }
        )
        error += len(part) / len(labels) * abs(float(sure[part].mean() - right[part].mean()))
    return {
        "accuracy": round(float(right.mean()), 4),
        "chance": round(float(max(np.mean(labels == c) for c in classes)), 4),
        "n_texts": len(labels),
        "folds": folds,
        "log_loss": round(float(-np.log(np.maximum(own, 1e-12)).mean()), 4),
        "expected_calibration_error": round(error, 4),
        "calibration": bins,
    }


class LexiconJudge:
    """Share of words that the NRC lexicon lists for each emotion (package nrclex)."""

    name = "nrclex"
    emotions = tuple(NRC)

    def __init__(self) -> None:
        try:
            from nrclex import NRCLex
        except ImportError as error:
            raise InputError(
                f"judge 'nrclex' cannot be loaded ({error}); pip install --no-deps nrclex==4.1.0"
            ) from None
        self._lexicon = NRCLex
        self.facts: Mapping[str, Any] = {
            "kind": "NRC emotion lexicon, occurrences per word of the text",
            "labels": NRC,
        }

    def score(self, texts: Sequence[str]) -> Float64Array:
        """Return the share of each text's words listed for each emotion."""
        rows = []
        for text in texts:
            words = re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())
            opinion = self._lexicon()
            opinion.load_token_list(words)
            counts = opinion.raw_emotion_scores
            rows.append([counts.get(NRC[e], 0) / max(len(words), 1) for e in self.emotions])
        return np.array(rows)


class ClassifierJudge:
    """A text classifier from the hub or a folder, with its labels mapped to emotions.

    Parameters
    ----------
    name : str
        A folder, or ``owner/name`` on the hub.
    labels : mapping of str to str
        The emotion that each of its labels stands for; if empty, labels are names of emotions.
        Probabilities of labels for the same emotion are added.
    """

    def __init__(self, name: str, labels: Mapping[str, str]) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            self._model = AutoModelForSequenceClassification.from_pretrained(
                name, use_safetensors=True, trust_remote_code=False
            ).eval()
        except Exception as error:  # hub, network, parser and tensor errors share no base class
            raise InputError(
                f"judge {name!r} cannot be loaded ({oneline(error)}); connect or log in (hf auth "
                "login), or name a local folder. The judges local and nrclex need no hub"
            ) from None
        own = {str(label): int(i) for i, label in self._model.config.id2label.items()}
        meaning = dict(labels) or {label: label for label in own}
        unknown = [label for label in meaning if label not in own]
        if unknown:
            raise InputError(
                f"judge {name!r} has no label {unknown[0]!r}: it has {', '.join(own)}; correct "
                f"[steering.labels.{name!r}]"
            )
        self.name = name
        self.emotions = tuple(dict.fromkeys(meaning.values()))
        self._columns = [
            [own[label] for label, e in meaning.items() if e == emotion]
            for emotion in self.emotions
        ]
        self.facts: Mapping[str, Any] = {
            "kind": "text classifier",
            "labels": meaning,
            "commit": getattr(self._model.config, "_commit_hash", None),
        }

    def score(self, texts: Sequence[str]) -> Float64Array:
        """Return the probability of each emotion, shape (texts, emotions)."""
        import torch

        rows = []
        tokens = encoded(f"judge {self.name!r}", self._tokenizer, texts, truncation=True)
        for start in range(0, len(texts), 32):
            some = {"input_ids": [ids.tolist() for ids in tokens[start : start + 32]]}
            batch = self._tokenizer.pad(some, return_tensors="pt")
            with torch.inference_mode():
                chances = self._model(**batch).logits.double().softmax(dim=-1).numpy()
            rows.append(np.stack([chances[:, c].sum(axis=1) for c in self._columns], axis=1))
        result: Float64Array = np.concatenate(rows)
        return result
