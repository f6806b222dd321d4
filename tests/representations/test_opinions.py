"""A model's own opinion of texts, against transformers one answer at a time."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from representations.corpus.corpus import load_corpus
from representations.models.tokenizers import tokens_of
from representations.steering.judges import load_judge
from representations.steering.opinions import (
    CONTENT_FREE,
    QUESTION,
    log_odds,
    log_probabilities,
    opinions,
    quality,
)
from study.read import InputError

TEXTS = ["He ran home as the rain began.", "", "The letter lay there, and nobody opened it."]
EMOTIONS = ["happy", "sad", "afraid", "enthusiastic"]


def by_transformers(model, text, emotion):
    """The log-probability of one answer after one text, from one pass without a cache."""
    whole, asked = (
        tokens_of(model, [text + QUESTION + tail])[0].tolist() for tail in (f" {emotion}", "")
    )
    assert whole[: len(asked)] == asked
    with torch.inference_mode():
        logits = model.model(input_ids=torch.tensor([whole])).logits[0].double()
    places = range(len(asked), len(whole))
    return sum(logits[i - 1].log_softmax(-1)[whole[i]].item() for i in places), len(places)


def test_opinions_equal_single_passes_of_transformers(llama):
    rows = [[by_transformers(llama, text, e) for e in EMOTIONS] for text in [CONTENT_FREE, *TEXTS]]
    values = np.array([[value for value, _ in row] for row in rows])
    assert len({n for row in rows for _, n in row}) > 1
    p = np.exp(values[1:] - values[0])
    p /= p.sum(axis=1, keepdims=True)
    for batch in (1, 3):
        found = opinions(llama, TEXTS, EMOTIONS, max_texts=batch)
        np.testing.assert_allclose(found, np.log(p / (1 - p)), rtol=1e-3, atol=1e-4)


def test_answers_need_not_be_words(llama):
    prompts, answers = [[5, 6, 7, 8], [9, 10]], [[11], [12, 13, 14], [12, 15]]
    found = log_probabilities(llama, prompts, answers)
    for i, prompt in enumerate(prompts):
        for j, answer in enumerate(answers):
            with torch.inference_mode():
                ids = torch.tensor([prompt + answer])
                logits = llama.model(input_ids=ids).logits[0].log_softmax(-1)
            at = range(len(prompt), len(prompt) + len(answer))
            expected = sum(logits[k - 1, ids[0, k]].item() for k in at)
            assert found[i, j] == pytest.approx(expected, rel=1e-4)


def test_the_question_names_no_emotion_and_is_the_same_for_all():
    words = set(re.findall(r"[a-z]+", (QUESTION + CONTENT_FREE).lower()))
    assert not words & {w for e in load_corpus("data/corpus").emotions for w in e.lexemes}


def test_log_odds_and_quality_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    np.testing.assert_allclose(log_odds(np.log(p * 7)), np.log(p / (1 - p)))
    sure = log_odds(np.array([[0.0, -800.0]]))
    assert np.isfinite(sure).all()
    found = np.array([[2.0, 0.0], [1.0, 3.0], [0.0, 1.0], [0.5, 4.0]])
    # happy: 2.0 and 0.0 against 1.0 and 0.5; sad: 3.0 and 4.0 against 0.0 and 1.0.
    assert quality(found, ["happy", "sad", "happy", "sad"], ["happy", "sad"]) == 0.75


def test_bad_questions(llama):
    with pytest.raises(InputError, match="at least two emotions"):
        opinions(llama, TEXTS, ["happy"])
    with pytest.raises(InputError, match="the steered model itself"):
        load_judge("own", load_corpus("data/corpus"))
