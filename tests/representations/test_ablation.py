"""Ablation: what a layer's emotion subspace is used for, on networks whose answer is known."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

import extraction
from analysis import load_scores
from representations import ablation as module
from representations.ablation import ablation
from representations.corpus.corpus import Passage
from representations.lost import MEASURES, halves, lost_scores
from representations.models.loading import LoadedModel
from representations.subspaces import matched
from study import Ablation, Pooling
from study.read import InputError
from study.registry import ModelSpec
from study.tables import LOST

pytestmark = pytest.mark.arithmetic

E, T, N = 4, 12, 40  # emotions, topics, words of each emotion
WIDTH = E + 16
VOCABULARY = (E + 1) * N
SETTINGS, POOLING = Ablation(every=1, tokens=0), Pooling(skip=2, batch_texts=8)


class Adds(nn.Module):
    """A block that adds a linear function of the stream's mean over the tokens so far."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def forward(self, hidden_states):
        n = torch.arange(1, hidden_states.shape[1] + 1)[:, None]
        return hidden_states + (hidden_states.cumsum(dim=1) / n) @ self.matrix


class Network(nn.Module):
    """Four blocks over words of emotions; the second writes the emotion of the text so far.

    In a network that uses it, the last layer carries it and the head raises the emotion's words. In
    the other one, the last block takes it away again, and the head reads the rest of the stream.
    """

    def __init__(self, used):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        # What else a word means has more variance than its emotion, as in a language model.
        rest = torch.randn(N, WIDTH - E, generator=draw) * torch.linspace(6, 1, WIDTH - E)
        code = torch.cat([torch.eye(E), torch.zeros(1, E)]).repeat_interleave(N, dim=0)
        self.embedding = nn.Embedding.from_pretrained(torch.cat([code, rest.repeat(E + 1, 1)], 1))
        of_code = torch.zeros(WIDTH, WIDTH)
        of_code[:E, :E] = torch.eye(E)
        nothing = torch.zeros_like(of_code)
        self.blocks = nn.ModuleList([Adds(m) for m in (nothing, 4 * of_code, nothing, nothing)])
        self.keeps = torch.ones(WIDTH)
        self.head = 0.02 * torch.randn(WIDTH, VOCABULARY, generator=draw)
        self.head[:E] = 1.5 * code.T if used else 0
        if not used:
            self.blocks[3] = Forgets()
        self.config = SimpleNamespace(hidden_size=WIDTH, vocab_size=VOCABULARY)
        self.config.get_text_config = lambda: self.config

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, use_cache=False):
        hidden = self.embedding(input_ids)
        for block in self.blocks:
            hidden = block(hidden)
        return SimpleNamespace(logits=hidden @ self.head)


class Forgets(nn.Module):
    """A block that removes the emotions' dimensions."""

    def forward(self, hidden_states):
        return torch.cat([torch.zeros_like(hidden_states[..., :E]), hidden_states[..., E:]], -1)


@pytest.fixture
def texts(monkeypatch):
    """A corpus of fully crossed texts, half of whose words are those of their emotion."""
    rng = np.random.default_rng(1)
    passages = [Passage(f"e{e}", f"t{t}", "") for e in range(E) for t in range(T)]
    tokens = []
    for e in np.repeat(np.arange(E), T):
        kind = np.where(rng.random(48) < 0.5, e, E)
        tokens.append((N * kind + rng.integers(N, size=48)).astype(np.int32))
    monkeypatch.setattr(module, "tokens_of", lambda loaded, texts: tokens[: len(texts)])
    return SimpleNamespace(passages=passages, neutral=[])


def loaded(network) -> LoadedModel:
    return LoadedModel(
        model=network,
        body=network,
        blocks=network.blocks,
        tokenizer=SimpleNamespace(pad_token_id=0),
        spec=ModelSpec(name="by hand", family="none", source="none"),
        n_params=1,
        precision="float32",
        fingerprint="none",
    )


def lost(unit):
    scores, replicates = lost_scores(unit, replicates=20)
    assert np.isfinite(replicates["score"]).all()
    return scores.groupby(["metric", "layer"])["score"].mean().unstack()


def test_a_subspace_that_later_layers_use_has_a_causal_profile(texts):
    found = lost(ablation(loaded(Network(used=True)), texts, SETTINGS, POOLING))
    assert found.loc["separation_lost", 2:].min() > 0.25  # before, the second block restores some
    assert found.loc["separation_lost"].min() > 0.05
    assert found.loc["prediction_lost"].min() > 0.5


def test_a_subspace_that_is_only_read_has_none(texts):
    """Its stream is the same up to the last block, which takes the emotions away."""
    unit = ablation(loaded(Network(used=False)), texts, SETTINGS, POOLING)
    found = lost(unit)
    assert found.loc["separation_lost"].abs().max() < 0.1
    assert found.loc["prediction_lost"].max() < 0.02
    assert (
        unit.facts["removed"]
        == ablation(loaded(Network(True)), texts, SETTINGS, POOLING).facts["removed"]
    )


def test_nothing_is_lost_where_nothing_is_taken_out(texts, monkeypatch):
    def nothing(*unused):
        return np.zeros((WIDTH, 1))

    monkeypatch.setattr(module, "emotion_subspace", nothing)
    unit = ablation(loaded(Network(used=True)), texts, SETTINGS, POOLING)
    for state in range(1, unit.activations.shape[1]):
        np.testing.assert_allclose(unit.activations[:, state], unit.activations[:, 0], atol=1e-5)
    assert lost(unit).abs().max(axis=None) < 1e-6


def test_a_pass_from_a_layer_on_gives_what_a_whole_pass_gives(double, monkeypatch):
    """In each family; and the model is as before afterwards."""
    rng = np.random.default_rng(0)
    passages = [Passage(f"e{e}", f"t{t}", "") for e in range(3) for t in range(4)]
    tokens = [rng.integers(3, 200, size=rng.integers(9, 14)).astype(np.int32) for _ in passages]
    monkeypatch.setattr(module, "tokens_of", lambda loaded, texts: tokens)
    corpus = SimpleNamespace(passages=passages, neutral=[])
    shares = []
    skipped = ablation(double, corpus, SETTINGS, POOLING, progress=shares.append)
    assert sum(shares) == pytest.approx(1)
    assert not any("forward" in vars(block) for block in double.blocks)
    monkeypatch.setattr(module._Reader, "_can_skip", lambda *unused: False)
    whole = ablation(double, corpus, SETTINGS, POOLING)
    np.testing.assert_allclose(skipped.activations, whole.activations, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        skipped.facts["log_likelihoods"], whole.facts["log_likelihoods"], atol=1e-4
    )
    apart = np.abs(skipped.activations[:, 1:] - skipped.activations[:, :1])
    assert (apart.max(axis=(0, 2)) > 1e-3).all()


def test_a_model_that_cannot_go_on_from_a_layer_is_read_whole(texts):
    """Its second block hands something to the last one beside the stream."""
    network = Network(used=True)
    before, last = network.blocks[1], network.blocks[3]
    before.register_forward_hook(lambda block, given, out: setattr(last, "other", out.mean(1)))
    last.forward = lambda hidden: hidden + last.__dict__.pop("other")[:, None]
    unit = ablation(loaded(network), texts, SETTINGS, POOLING)
    assert np.isfinite(unit.activations).all()
    assert callable(last.forward)


@pytest.mark.parametrize("massive", [1.0, 1e4])
def test_the_control_removes_the_same_variance(massive):
    rng = np.random.default_rng(2)
    root = rng.normal(size=(40, 40)) * np.geomspace(1, 0.1, 40)
    root[:, 0] *= massive  # one dimension that holds nearly all of the variance
    covariance = root.T @ root
    basis = np.linalg.qr(rng.normal(size=(40, 5)))[0]
    noise = np.zeros((0, 40))
    random, factor, share = matched(covariance, basis, noise, rng)
    removed = [np.trace(b.T @ covariance @ b) for b in (basis, factor * random)]
    assert removed[1] == pytest.approx(removed[0], rel=1e-4)
    assert share == pytest.approx(removed[0] / np.trace(covariance))
    np.testing.assert_allclose(random.T @ random, np.eye(5), atol=1e-8)
    assert np.linalg.norm(basis.T @ random, 2) < 0.999


def test_too_few_topics():
    with pytest.raises(InputError, match="3 topics; ablation needs at least four"):
        halves(3, seed=0)


@pytest.fixture
def study_file(tmp_path, tokenizer, small_llama_settings):
    """A study that ablates a small random model of four layers."""
    torch.manual_seed(1)
    config = AutoConfig.for_model("llama", **{**small_llama_settings, "num_hidden_layers": 4})
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    path = tmp_path / "ablated.toml"
    path.write_text(
        'models = ["tiny"]\nmethods = ["comprehension", "ablation"]\nweights = ["trained"]\n'
        'emotions = ["happy", "afraid", "calm"]\ntopics = 6\n'
        f'[[model]]\nname = "tiny"\nfamily = "Llama"\nsource = "{tmp_path / "tiny"}"\n'
        "[scoring]\nreplicates = 8\n[ablation]\nevery = 2\ntokens = 20\n"
    )
    return path


def test_a_study_ablates_and_its_profiles_go_through_the_tests(study_file, tmp_path, monkeypatch):
    out, asked = tmp_path / "out", ["--study", str(study_file), "--out", str(tmp_path / "out")]
    assert extraction.main([*asked, "--shards", "2"]) == 0
    scores = load_scores(out)
    assert scores.directions["separation_lost"] == scores.directions["prediction_lost"] == 1
    ablated = scores.table[scores.table["method"] == "ablation"]
    assert set(ablated["metric"]) == set(MEASURES) == set(LOST)
    assert set(ablated["layer"]) == {0, 2}
    assert set(ablated["labels"]) == {"true"}
    assert len(ablated) == 2 * 2 * 3
    run = json.loads((out / "run.json").read_text())
    (facts,) = [unit for unit in run["units"] if unit["method"] == "ablation"]
    assert facts["ablated_layers"] == [0, 2]
    assert "log_likelihoods" not in facts
    before = (out / "scores.parquet").read_bytes()
    monkeypatch.setattr("pipeline.jobs.load", None)  # nothing is run again
    assert extraction.main(asked) == 0
    assert (out / "scores.parquet").read_bytes() == before


def test_a_study_with_too_few_topics_says_so_in_one_line(study_file, tmp_path, capsys):
    study_file.write_text(study_file.read_text().replace("topics = 6", "topics = 3"))
    asked = ["--study", str(study_file), "--out", str(tmp_path / "out"), "--quiet"]
    assert extraction.main([*asked, "--dry-run"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said == (
        "extraction.py: study ablated: 3 topics; ablation needs at least four, two in each half"
    )


def test_the_control_leaves_out_what_the_emotions_subspace_leaves_out():
    """Else it would hold a little of a massive dimension, and break the model."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(30, 30))
    root[:, 0] *= 1e3
    covariance, noise = root.T @ root, np.eye(30)[:1]
    basis = np.linalg.qr(np.vstack([np.zeros((1, 4)), rng.normal(size=(29, 4))]))[0]
    random, factor, _ = matched(covariance, basis, noise, rng)
    assert np.abs(noise @ random).max() < 1e-10
    removed = [np.trace(b.T @ covariance @ b) for b in (basis, factor * random)]
    assert removed[1] == pytest.approx(removed[0], rel=1e-4)
