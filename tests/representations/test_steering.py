"""Vectors, trials and a whole steering run, on small random models."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import extraction
import steering
from analysis import load_trials, steering_summary
from pipeline.progress import Lines
from representations.generation import prompt_ids, write
from representations.pooled import PooledUnit
from representations.steering.text_measures import (
    distinct_n,
    perplexity,
    share_foreign_script,
    share_non_ascii,
)
from representations.steering.trials import Scenarios, baseline, load_scenarios, measures, trials
from representations.vectors import (
    emotion_vectors,
    export_vectors,
    matched_sham,
    sham,
    within_emotions,
)
from study import Steering, load_study
from study.read import InputError

pytestmark = pytest.mark.arithmetic

SCENARIOS = Scenarios(
    {"a": "the quick brown fox", "b": "over the lazy dog the", "c": "jumps"},
    plain="{opening}",
    chat="{opening}",
    sha256="0",
)
SETTINGS = Steering(
    emotions=("happy", "sad"), strengths=(0.5,), max_new_tokens=10, min_new_tokens=2, batch=5
)


def unit(n_layers=3, width=32, emotions=("happy", "sad", "calm"), topics=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = [e for e in emotions for _ in range(topics)]
    activations = rng.normal(size=(len(labels), n_layers + 1, width)).astype(np.float32)
    return PooledUnit(activations, activations[:1], {"emotions": labels})


def vectors(model):
    return emotion_vectors(unit(model.n_layers, model.width), ("happy", "sad"))


# -- vectors ------------------------------------------------------------------------------------


def test_a_vector_is_a_mean_minus_the_mean_of_the_other_emotions_means():
    some = unit()
    kept = [*range(4), *range(4, 7), *range(8, 12)]  # one text of `sad` fewer
    labels = [some.facts["emotions"][i] for i in kept]
    some = PooledUnit(some.activations[kept], some.neutral, {"emotions": labels})
    found = emotion_vectors(some)
    a = some.activations
    expected = a[:4].mean(0) - (a[4:7].mean(0) + a[7:].mean(0)) / 2
    np.testing.assert_allclose(found["happy"], expected, atol=1e-6)
    np.testing.assert_allclose(sum(found.values()), 0, atol=1e-5)
    assert list(emotion_vectors(some, ["sad"])) == ["sad"]


def test_a_sham_has_the_vectors_norm_and_its_own_direction():
    vector = vectors_of_length(3.0)
    random = sham(vector, 1)
    assert np.linalg.norm(random) == pytest.approx(3.0, rel=1e-5)
    np.testing.assert_array_equal(random, sham(vector, 1))
    assert abs(np.dot(random, vector)) < 0.5 * 9
    assert not np.allclose(random, sham(vector, 2))


def test_a_matched_sham_has_the_residuals_covariance():
    rng = np.random.default_rng(4)
    factor = rng.normal(size=(6, 6)) * [9, 3, 1, 1, 0.3, 0.1]
    labels = ["happy"] * 300 + ["sad"] * 300
    texts = rng.normal(size=(600, 6)) @ factor.T
    texts[300:] += 50  # what tells the emotions apart is no part of it
    some = PooledUnit(texts[:, None].astype(np.float32), texts[:1, None], {"emotions": labels})
    residuals = within_emotions(some, 0)
    np.testing.assert_allclose(residuals[300:].mean(axis=0), 0, atol=1e-4)
    vector = vectors_of_length(2.0, 6)
    draws = np.stack([matched_sham(vector, residuals, seed) for seed in range(4000)])
    np.testing.assert_allclose(np.linalg.norm(draws, axis=1), 2, rtol=1e-5)
    # Directions of a normal draw: the mean of d d' is that of the planted covariance's draws.
    planted = rng.normal(size=(40_000, 6)) @ factor.T
    planted *= 2 / np.linalg.norm(planted, axis=1, keepdims=True)
    expected = planted.T @ planted / len(planted)
    assert np.abs(draws.T @ draws / len(draws) - expected).max() < 0.1 * expected.max()
    isotropic = np.stack([sham(vector, seed) for seed in range(4000)])
    assert np.abs(isotropic.T @ isotropic / 4000 - expected).max() > 0.4 * expected.max()
    np.testing.assert_array_equal(draws[7], matched_sham(vector, residuals, 7))
    alone = PooledUnit(some.activations[[0, 300]], some.neutral, {"emotions": ["happy", "sad"]})
    with pytest.raises(InputError, match="add topics"):
        within_emotions(alone, 0)


def vectors_of_length(length, width=200):
    vector = np.random.default_rng(0).normal(size=width).astype(np.float32)
    return vector * np.float32(length / np.linalg.norm(vector))


def test_exported_vectors_are_read_back(tmp_path):
    from gguf import GGUFReader
    from safetensors import safe_open

    made = emotion_vectors(unit())
    facts = {"model": "tiny", "model_type": "llama", "n_layers": 3}
    paths = export_vectors(tmp_path, made, facts)
    assert sorted(p.name for p in paths) == [
        "tiny.calm.gguf",
        "tiny.happy.gguf",
        "tiny.sad.gguf",
        "tiny.safetensors",
    ]
    with safe_open(tmp_path / "tiny.safetensors", framework="np") as file:
        np.testing.assert_array_equal(file.get_tensor("sad"), made["sad"])
        assert json.loads(file.metadata()["facts"]) == facts
    reader = GGUFReader(tmp_path / "tiny.sad.gguf")
    fields = {name: reader.fields[name].contents() for name in reader.fields}
    assert fields["general.architecture"] == "controlvector"
    assert fields["controlvector.model_hint"] == "llama"
    # repeng expects as many directions as it reports layers.
    assert fields["controlvector.layer_count"] == len(reader.tensors) == 2
    for tensor in reader.tensors:
        layer = int(tensor.name.removeprefix("direction.")) + 1
        assert layer >= 2  # llama.cpp refuses a direction 0
        assert tensor.tensor_type.name == "F32"
        np.testing.assert_array_equal(np.asarray(tensor.data), made["sad"][layer])


def test_vectors_of_bad_input():
    with pytest.raises(InputError, match="no vector for the emotion 'proud'"):
        emotion_vectors(unit(), ["proud"])
    with pytest.raises(InputError, match="at least two emotions"):
        emotion_vectors(unit(emotions=("happy",)))


# -- measures of a text -------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(1, 9))
def test_loops_have_a_low_distinct_2(length):
    assert distinct_n((list(range(length)) * 32)[:32], 2) < 0.5


def test_measures_of_texts():
    assert distinct_n(list(range(32)), 2) == 1
    assert np.isnan(distinct_n([1], 2))
    assert share_foreign_script("天气 is fine") == pytest.approx(2 / 8)
    assert share_foreign_script("Ærø, naïve, straße") == 0
    assert share_foreign_script("привет") == 1
    assert share_non_ascii("naïve") == pytest.approx(0.2)
    empty = measures("", [])
    assert empty["n_tokens"] == empty["share_non_ascii"] == empty["share_foreign_script"] == 0
    assert np.isnan(empty["distinct_1"])


def test_perplexity_is_of_the_continuation_alone_and_of_no_batch(model):
    generator = torch.Generator().manual_seed(3)
    texts = [torch.randint(3, 400, (n,), generator=generator).tolist() for n in (9, 5, 12, 7)]
    prompts = [t[:4] for t in texts]
    news = [texts[0][4:], texts[1][4:], texts[2][4:], []]
    found, norms = perplexity(model, prompts, news, max_texts=3)
    assert np.isnan(found[3])
    lengths = []
    for i in range(3):
        ids = torch.tensor([prompts[i] + news[i]])
        layers = {}
        from representations.activations import residual_stream

        with residual_stream(model.blocks, layers.__setitem__):
            logits = model.model(input_ids=ids).logits[0].log_softmax(-1)
        own = [logits[3 + k, t].item() for k, t in enumerate(news[i])]
        assert found[i] == pytest.approx(np.exp(-np.mean(own)), rel=1e-3)
        lengths.append(torch.stack([layers[x][0, 4:].norm(dim=-1) for x in range(4)]))
    np.testing.assert_allclose(norms, torch.cat(lengths, dim=1).mean(dim=1), rtol=1e-4)


# -- trials -------------------------------------------------------------------------------------


def test_strength_0_is_the_baseline_token_for_token(double):
    base, norms = baseline(double, SETTINGS, SCENARIOS, 7)
    still = trials(double, SETTINGS, SCENARIOS, 7, vectors(double), 2, norms[2], [0.0])
    by_scenario = {row["scenario"]: row for row in base}
    assert len(still) == 2 * 3 * 2
    for row in still:
        assert row["token_ids"] == by_scenario[row["scenario"]]["token_ids"]
        assert row["perplexity"] == pytest.approx(by_scenario[row["scenario"]]["perplexity"])


def test_batched_trials_equal_single_ones_under_greedy_decoding(double):
    greedy = Steering(**{**vars(SETTINGS), "temperature": 0.0, "batch": 12})
    one_at_a_time = Steering(**{**vars(greedy), "batch": 1})
    _, norms = baseline(double, greedy, SCENARIOS, 7)
    together, alone = (
        trials(double, how, SCENARIOS, 7, vectors(double), 1, norms[1], [0.5, 2.0])
        for how in (greedy, one_at_a_time)
    )
    assert [r["token_ids"] for r in together] == [r["token_ids"] for r in alone]
    texts = {tuple(r["token_ids"]) for r in together if r["scenario"] == "a"}
    assert len(texts) > 2  # the vectors did something


def test_what_is_added_has_the_strengths_norm_for_vector_and_sham(llama, monkeypatch):
    from representations.steering import trials as steering_trials

    added = []

    class Recorder(steering_trials.Steer):
        def __init__(self, rows):
            added.extend(rows.norm(dim=1).tolist())
            super().__init__(rows)

    monkeypatch.setattr(steering_trials, "Steer", Recorder)
    trials(llama, SETTINGS, SCENARIOS, 7, vectors(llama), 2, 40.0, [0.25])
    # Vectors are added anew when stories leave their batch.
    assert len(added) >= 12
    assert added == pytest.approx([10.0] * len(added), rel=1e-4)


def test_no_hook_is_left_after_an_exception(llama):
    before = [len(b._forward_hooks) + len(b._forward_pre_hooks) for b in llama.blocks]

    def broken(batch):
        def hook(layer, hidden):
            raise RuntimeError("stop")

        return hook

    ids = prompt_ids(llama, "the quick")
    from representations.activations import Window
    from representations.generation import Sampling

    with pytest.raises(RuntimeError, match="stop"):
        write(llama, [ids], [1], Sampling(4), Window(1), hook=broken, hook_layers=[1])
    assert [len(b._forward_hooks) + len(b._forward_pre_hooks) for b in llama.blocks] == before


def test_trials_of_bad_input(llama, monkeypatch):
    for layer in (-1, 4):
        with pytest.raises(InputError, match="out of range"):
            trials(llama, SETTINGS, SCENARIOS, 7, vectors(llama), layer, 1.0, [0.5])
    none = {"happy": np.zeros((4, llama.width), dtype=np.float32)}
    with pytest.raises(InputError, match="is zero"):
        trials(llama, SETTINGS, SCENARIOS, 7, none, 1, 1.0, [0.5])
    from representations.steering import trials as steering_trials

    def silent(loaded, prompts, *args, **options):
        from representations.generation import Stories

        return Stories([[] for _ in prompts], ["" for _ in prompts], torch.zeros(1), [0])

    monkeypatch.setattr(steering_trials, "write", silent)
    with pytest.raises(InputError, match="are empty"):
        baseline(llama, SETTINGS, SCENARIOS, 7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no scenarios"),
        ("[[scenario]", "not readable as TOML"),
        ('[[scenario]]\nname = "a"\n', r"field 'scenario\[0\].opening' is missing"),
        ('[[scenario]]\nname = "a"\nopening = " "\n', r"scenario\[0\].opening is empty"),
        ('[[scenario]]\nname = "a"\nopening = "b"\n' * 2, "is taken"),
        ('chat = "go on"\n[[scenario]]\nname = "a"\nopening = "b"\n', "chat must hold"),
        ('[[scenario]]\nname = "a"\nopening = "b"\n', "ask for at most"),
    ],
)
def test_scenario_files_with_faults(content, message, tmp_path):
    path = tmp_path / "scenarios.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_scenarios(path, n=2)
    with pytest.raises(InputError, match="no such file"):
        load_scenarios(tmp_path / "none.toml")


def test_the_shipped_scenarios_name_no_emotion():
    import re

    from representations.corpus.corpus import load_corpus

    scenarios = load_scenarios("data/scenarios.toml")
    assert len(scenarios.openings) == 40
    lexemes = {w for e in load_corpus("data/corpus").emotions for w in e.lexemes}
    for opening in scenarios.openings.values():
        assert not lexemes & set(re.findall(r"[a-z]+", opening.lower()))


# -- the whole run ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study_file(tmp_path_factory, tokenizer, small_llama_settings):
    """A study of a small saved model, its extraction done."""
    from transformers import AutoConfig, AutoModelForCausalLM

    home = tmp_path_factory.mktemp("steering")
    torch.manual_seed(1)
    config = AutoConfig.for_model("llama", **{**small_llama_settings, "num_hidden_layers": 5})
    AutoModelForCausalLM.from_config(config).save_pretrained(home / "model")
    tokenizer.save_pretrained(home / "model")
    path = home / "small.toml"
    path.write_text(
        'name = "small"\nmodels = ["tiny"]\nmethods = ["comprehension"]\nweights = ["trained"]\n'
        'labels = ["true"]\nemotions = ["happy", "afraid", "calm"]\ntopics = 4\n'
        f'[[model]]\nname = "tiny"\nfamily = "Llama"\nsource = "{home / "model"}"\n'
        '[scoring]\nfolds = 2\nreplicates = 4\nmetrics = ["auc"]\n'
        '[steering]\nemotions = ["happy", "calm"]\nn_scenarios = 3\nstrengths = [0.5, 1.0]\n'
        "sweep_depths = [0.2, 1.0]\nsweep_every = 4\nsweep_strength = 0.5\nmax_new_tokens = 8\n"
        'judges = ["nrclex", "own"]\n'
    )
    assert extraction.main(["--study", str(path), "--out", str(home / "scores")]) == 0
    return path


def run(study_file, out, *options, scores=None):
    scores = scores or study_file.parent / "scores"
    return steering.main(
        ["--study", str(study_file), "--scores", str(scores), "--out", str(out), *options]
    )


def test_a_study_goes_through_the_whole_path(study_file, tmp_path, capsys, monkeypatch):
    pytest.importorskip("nrclex")
    lines = []
    monkeypatch.setattr("pipeline.runner.progress", lambda *unused: Lines(lines.append))
    out = tmp_path / "out"
    assert run(study_file, out, "--dry-run") == 0
    assert "tiny, baseline" in capsys.readouterr().err
    assert not out.exists()
    assert run(study_file, out) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "whole texts above" in said
    assert "neither repetitive nor explosive" in said
    judging = [line[9:] for line in lines if " judging: " in line]
    assert judging[0] == "judging: started (1 of 1)"
    assert judging[-1].startswith("judging: done in ")
    loaded = load_trials(out)
    table = loaded.table
    peak = table[table["place"] == "peak"]
    assert len(peak) == 2 * 3 * 2 * 3
    assert set(peak["kind"]) == {"steered", "sham", "matched sham"}
    assert np.isfinite(peak[["score_own", "baseline_score_own"]]).all(axis=None)
    sweep = table[table["place"] == "sweep"]
    assert set(sweep["strength"]) == {0.5}
    assert set(sweep["layer"]) == {1, 4, 5} - set(peak["layer"])
    assert set(sweep["kind"]) == {"steered", "sham"}
    assert len(sweep) == sweep["layer"].nunique() * 2 * 3 * 2
    assert sweep["score_own"].isna().all()
    assert (table["depth"] == table["layer"] / 5).all()
    assert table["score_nrclex"].isna().eq(table["emotion"] == "calm").all()
    facts = json.loads((out / "run.json").read_text())
    assert facts["judges"]["nrclex"]["labels"]["happy"] == "joy"
    assert 0 < facts["judges"]["own"]["auc"]["tiny"] < 1
    assert facts["judges"]["own"]["emotions"] == ["afraid", "calm", "happy"]
    assert facts["units"][0]["norms"][0] > 0
    assert facts["study"]["preregistered"]["distinct_2"] == 0.5
    assert len(steering_summary(loaded, by=("strength",))) == 2


def test_the_same_again_reuses_units_and_gives_the_same_trials(
    study_file, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("nrclex")
    assert run(study_file, tmp_path / "a") == 0
    assert run(study_file, tmp_path / "b") == 0
    a, b = (pd.read_parquet(tmp_path / side / "trials.parquet") for side in "ab")
    pd.testing.assert_frame_equal(a, b)

    def refuse(*args, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pipeline.jobs.load", refuse)
    gone = next((tmp_path / "a" / "units").glob("tiny.baseline*"))
    assert run(study_file, tmp_path / "a") == 0
    gone.unlink()
    assert run(study_file, tmp_path / "a") == 2
    assert "failed with AssertionError: a model was loaded" in capsys.readouterr().err


def test_the_vectors_are_exported_without_steering(study_file, tmp_path, capsys):
    assert run(study_file, tmp_path / "out", "--export") == 0
    names = sorted(p.name for p in (tmp_path / "out" / "vectors").iterdir())
    assert names == ["tiny.calm.gguf", "tiny.happy.gguf", "tiny.safetensors"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('["happy", "calm"]', '["happy", "proud"]'), "'proud', which has no vector"),
        (('["nrclex", "own"]', '["nobody/nothing"]'), "judge 'nobody/nothing' cannot be loaded"),
        (("n_scenarios = 3", "n_scenarios = 99"), "ask for at most"),
        (("n_scenarios = 3", 'scenarios = "none.toml"'), "no such file of scenarios"),
        (("topics = 4", "topics = 5"), "make them with: python extraction.py --study "),
        (("sweep_strength = 0.5", "sweep_strength = 0.7"), "is not among steering.strengths"),
        (("[0.5, 1.0]", "[0.0, 0.5]"), "must be above 0"),
        (("[0.2, 1.0]", "[0.2, 1.1]"), "steering.sweep_depths"),
        (('["nrclex", "own"]', "[]"), "steering.judges must list"),
    ],
)
def test_bad_input_is_one_line(change, message, study_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    bad = study_file.parent / "bad.toml"
    bad.write_text(study_file.read_text().replace(*change))
    assert run(bad, tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("steering.py: ")
    assert message in error
    assert not (tmp_path / "out" / "trials.parquet").exists()


def test_a_study_without_scores_says_which_command_makes_them(study_file, tmp_path, capsys):
    nowhere = tmp_path / "nowhere"
    makes = f"python extraction.py --study {study_file} --out {nowhere}"
    assert run(study_file, tmp_path / "out", scores=nowhere) == 2
    assert f"{nowhere}: no such folder of scores; make it with: {makes}" in capsys.readouterr().err
    nowhere.mkdir()
    assert run(study_file, tmp_path / "out", scores=nowhere) == 2
    assert "no activations of tiny, trained, comp" in (error := capsys.readouterr().err)
    assert makes in error
    assert run(study_file, tmp_path / "out", scores=study_file) == 2
    assert "no such folder of scores" in capsys.readouterr().err


def test_the_demo_steers_as_the_study_says():
    settings = load_study("demo").steering
    assert len(settings.emotions) == 6
    assert settings.n_scenarios == 10
    assert len(settings.strengths) == 4
