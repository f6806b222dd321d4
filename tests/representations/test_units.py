"""Activations arrive by text and are read by layer; a unit's file is a safetensors file."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

from pipeline.units import load_facts, open_unit, save_unit
from representations.activations import Window, read
from representations.pooled import Part, PooledUnit, Spool
from representations.separation import separation_scores
from study.read import InputError

pytestmark = pytest.mark.arithmetic

SHAPE = 7, 3, 4


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.fixture
def spool(values, tmp_path):
    """The values, in two unordered batches."""
    spool = Spool(SHAPE, tmp_path / "units" / "one.safetensors")
    for batch in ([5, 0, 3], [6, 1, 2, 4]):
        spool[batch] = values[batch]
    return spool


def layers(activations):
    return np.stack([activations[:, layer] for layer in range(activations.shape[1])], axis=1)


def test_what_was_put_by_texts_comes_back_by_layers(spool, values):
    assert spool.shape == SHAPE
    np.testing.assert_array_equal(layers(spool), values)
    part = Part(spool, np.array([4, 1]))
    assert part.shape == (2, 3, 4)
    np.testing.assert_array_equal(layers(part), values[[4, 1]])


def test_a_spool_leaves_no_file(spool, tmp_path):
    assert list((tmp_path / "units").iterdir()) == []


def test_a_unit_is_a_safetensors_file(spool, values, tmp_path):
    facts = {"emotions": ["joy"] * 6, "stories": [{"text": '\u00e9\U0001f600 \\ "'}]}
    path = tmp_path / "units" / "one.safetensors"
    save_unit(path, PooledUnit(Part(spool, np.arange(6)), Part(spool, np.array([6])), facts))
    with safe_open(path, framework="np") as file:
        assert json.loads(file.metadata()["facts"]) == facts
        np.testing.assert_array_equal(file.get_tensor("activations"), values[:6].swapaxes(0, 1))
        np.testing.assert_array_equal(file.get_tensor("neutral"), values[6:].swapaxes(0, 1))
    with open_unit(path) as unit:
        assert unit.facts == load_facts(path) == facts
        assert (unit.activations.shape, unit.neutral.shape) == ((6, 3, 4), (1, 3, 4))
        np.testing.assert_array_equal(layers(unit.activations), values[:6])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_unit_without_neutral_texts(spool, tmp_path):
    none = Part(spool, np.array([], dtype=np.int64))
    save_unit(tmp_path / "one.safetensors", PooledUnit(spool, none, {}))
    with open_unit(tmp_path / "one.safetensors") as unit:
        assert (unit.neutral.shape, unit.neutral[:, 1].shape) == ((0, 3, 4), (0, 4))


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_unit_that_is_cut_off_is_damaged(spool, tmp_path, kept):
    path = tmp_path / "one.safetensors"
    save_unit(path, PooledUnit(spool, spool, {}))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"one\.safetensors: damaged.*run again"), open_unit(path):
        pass


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_activations_of_another_kind_are_damaged(tmp_path, dtype):
    from safetensors.numpy import save_file

    arrays = {name: np.ones((3, 2, 4), dtype) for name in ("activations", "neutral")}
    save_file(arrays, tmp_path / "one.safetensors", metadata={"facts": "{}"})
    with (
        pytest.raises(InputError, match="damaged"),
        open_unit(tmp_path / "one.safetensors"),
    ):
        pass


def test_a_spool_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "units").write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"cannot be written.*choose another place"):
        Spool(SHAPE, tmp_path / "units" / "one.safetensors")


def test_what_is_read_can_go_to_a_spool(llama, tmp_path):
    ids = [list(range(5, 25)), list(range(30, 42)), list(range(7, 40))]
    expected = read(llama, ids, Window(8)).numpy()
    spool = Spool(expected.shape, tmp_path / "unit")
    assert read(llama, ids, Window(8), max_texts=2, out=spool) is spool
    np.testing.assert_allclose(layers(spool), expected, rtol=1e-5, atol=1e-6)


def test_scores_are_those_of_an_array(tmp_path):
    emotions, topics = np.repeat(["joy", "fear"], 8), np.tile(list("abcdefgh"), 2)
    values = np.random.default_rng(1).normal(size=(24, 3, 5)).astype(np.float32)
    spool = Spool(values.shape, tmp_path / "unit")
    spool[range(24)] = values
    save_unit(
        tmp_path / "unit",
        PooledUnit(Part(spool, np.arange(16)), Part(spool, np.arange(16, 24)), {}),
    )
    options = {"replicates": 20, "denoise": 0.3, "neutral_topics": list("abcdefgh")}
    of_array = separation_scores(values[:16], emotions, topics, neutral=values[16:], **options)
    with open_unit(tmp_path / "unit") as unit:
        of_file = separation_scores(
            unit.activations, emotions, topics, neutral=unit.neutral, **options
        )
    for ours, theirs in zip(of_file, of_array, strict=True):
        assert ours.equals(theirs)


def test_blocks_change_no_score(monkeypatch):
    emotions, topics = np.repeat(["joy", "fear", "awe"], 40), np.tile(list("abcdefgh"), 15)
    values = np.random.default_rng(2).normal(size=(120, 2, 6))
    at_once = separation_scores(values, emotions, topics, replicates=50)
    monkeypatch.setattr("representations.covariance.BLOCK", 1)  # 12 texts a block: ten of them
    monkeypatch.setattr("representations.metrics.ROWS", 7)
    monkeypatch.setattr("representations.metrics.VALUES", 100)
    for ours, theirs in zip(
        separation_scores(values, emotions, topics, replicates=50), at_once, strict=True
    ):
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9)
