"""Units split into shards equal whole units, however often they are interrupted."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from draws import SAFE, measured
from hypothesis import given
from hypothesis import strategies as st

import extraction
import steering
from pipeline import extract, shards
from pipeline.shards import Shard, all_shards, facts_of_shards, joined, n_shards, remove_shards
from pipeline.units import open_unit, save_unit
from representations.arms import check_some, comprehension
from representations.corpus.corpus import load_corpus
from representations.facts import TextFacts
from representations.pooled import PooledUnit
from study import HOME, load_study
from study.read import InputError

pytestmark = pytest.mark.arithmetic

PROFILE = ["model", "weights", "method", "labels", "metric", "layer"]


def run(study_file, out, *options):
    options = ["--models", "tiny-Llama", *options]
    return extraction.main(["--study", str(study_file), "--out", str(out), *options])


def units(out):
    return {path.name: path for path in (out / "units").glob("*.safetensors")}


def facts(out):
    told = json.loads((out / "run.json").read_text())["units"]
    return {(unit["weights"], unit["method"]): unit for unit in told}


@pytest.fixture(scope="module")
def whole(five, tmp_path_factory):
    """The tables of one model with whole units."""
    out = tmp_path_factory.mktemp("whole")
    with measured() as distances:
        assert run(five, out) == 0
    assert min(distances) > SAFE  # or shards, which are other batches, could write other stories
    return out


def assert_close(a, b):
    """The activations of two units differ by rounding at most."""
    for name in ("activations", "neutral"):
        one, other = getattr(a, name), getattr(b, name)
        assert one.shape == other.shape
        for layer in range(one.shape[1]):
            np.testing.assert_allclose(other[:, layer], one[:, layer], atol=1e-5)


def assert_same(out, whole):
    """The same texts in the same order, and scores that differ by rounding at most."""
    assert units(out).keys() == units(whole).keys()
    for name, path in units(whole).items():
        with open_unit(path) as a, open_unit(units(out)[name]) as b:
            assert_close(a, b)
            for key in set(a.facts) - {"seconds", "certificate"}:
                assert a.facts[key] == b.facts[key], key
    assert (out / "stories.jsonl").read_text() == (whole / "stories.jsonl").read_text()
    a, b = (pd.read_parquet(folder / "scores.parquet") for folder in (whole, out))
    keys = [*PROFILE, "emotion"]
    pd.testing.assert_frame_equal(a[keys], b[keys])
    np.testing.assert_allclose(a["score"], b["score"], atol=1e-4)


@pytest.mark.parametrize("of", [2, 5, 1000])
def test_shards_make_the_unit_that_is_not_cut(of, five, whole, tmp_path):
    assert run(five, tmp_path, "--shards", str(of)) == 0
    assert_same(tmp_path, whole)
    texts = {key: unit["texts"] + unit["left_out"] for key, unit in facts(tmp_path).items()}
    for key, unit in facts(tmp_path).items():
        assert unit["shards"] == min(of, texts[key])


def test_finished_shards_are_not_done_again(five, whole, tmp_path, monkeypatch):
    """A run is interrupted in the third shard of reading, then in the fourth of writing."""
    done = []
    real = {name: getattr(extract.arms, name) for name in ("comprehension", "generation")}

    def fails_at(method, number):
        def tried(*arguments, texts, **more):
            done.append((method, texts.start))
            if sum(name == method for name, _ in done) == number:
                raise InputError("out of luck")
            return real[method](*arguments, texts=texts, **more)

        monkeypatch.setattr(extract.arms, method, tried)

    fails_at("comprehension", 3)
    assert run(five, tmp_path, "--shards", "4") == 2
    assert len(units(tmp_path)) == 2
    fails_at("comprehension", 100)
    fails_at("generation", 4)
    assert run(five, tmp_path, "--shards", "4") == 2
    fails_at("generation", 100)
    assert run(five, tmp_path, "--shards", "4") == 0
    assert_same(tmp_path, whole)
    read = [start for name, start in done if name == "comprehension"]
    assert len(read) == 4 + 1 + 4  # what failed again; the twin's are four more
    wrote = [start for name, start in done if name == "generation"]
    assert len(wrote) == len(set(wrote)) + 1 == 4 + 1


def test_shards_of_another_number_are_passed_over_and_go_in_the_end(five, whole, tmp_path):
    assert run(five, tmp_path, "--shards", "3") == 0
    some = next(path for name, path in units(tmp_path).items() if "comprehension" in name)
    shard = Shard(2, 7).path(some)
    shard.write_bytes(b"of an earlier run")
    some.unlink()
    assert run(five, tmp_path, "--shards", "3") == 0
    assert not shard.exists()
    assert_same(tmp_path, whole)


def test_only_shards_of_finished_units_go(tmp_path):
    folder = tmp_path / "units"
    remove_shards(folder)
    folder.mkdir()
    names = [
        "a.1.safetensors",
        "a.1.2-of-3.safetensors",
        "a.1.0f.true.parquet",
        "a.1-of-2.1.json",
        "b.1.1-of-3.safetensors",
        "c.1.json",
        "c.1.1-of-2.json",
    ]
    for name in names:
        (folder / name).touch()
    remove_shards(folder)
    gone = {"a.1.2-of-3.safetensors", "c.1.1-of-2.json"}
    assert {path.name for path in folder.iterdir()} == set(names) - gone


def test_shards_of_different_weights_do_not_mix(five, whole, tmp_path, capsys):
    """Neither do damaged ones; one line reports each and gives a remedy that works."""
    assert run(five, tmp_path, "--shards", "2", "--methods", "comprehension") == 0
    path = next(path for name, path in units(tmp_path).items() if ".trained" in name)
    with open_unit(path) as unit:
        other = PooledUnit(unit.activations, unit.neutral, {**unit.facts, "fingerprint": "other"})
        save_unit(Shard(1, 2).path(path), other)
    path.unlink()
    capsys.readouterr()
    assert run(five, tmp_path, "--shards", "2") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"extraction.py: {path}: its shards differ in fingerprint")
    assert run(five, tmp_path, "--shards", "2", "--force") == 0
    assert_same(tmp_path, whole)
    path.unlink()
    Shard(1, 2).path(path).write_bytes(b"not that")
    capsys.readouterr()
    assert run(five, tmp_path, "--shards", "2") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{Shard(1, 2).path(path)}: damaged" in error
    assert "delete it and run again" in error
    Shard(1, 2).path(path).unlink()
    assert run(five, tmp_path, "--shards", "2") == 0
    assert_same(tmp_path, whole)


@pytest.mark.parametrize("odd", [[], [1], {}, {"tokens": "three"}, None, {"tokens": None}])
def test_facts_that_do_not_add_up_are_damage(odd):
    with pytest.raises(InputError, match="unit: one of its shards is damaged; make them again"):
        facts_of_shards(TextFacts, [{"tokens": 3}, odd], "unit")


def test_a_shard_may_have_no_text_that_is_long_enough(llama, tmp_path):
    study = load_study("demo")
    corpus = load_corpus(HOME / study.corpus).restricted(
        ("happy", "sad"), ("kitchen", "moving_day")
    )
    texts = [passage.text for passage in (*corpus.passages, *corpus.neutral)]
    lengths = [len(ids) for ids in llama.tokenizer(texts)["input_ids"]]
    skip = int(np.median(lengths))
    study = replace(study, pooling=replace(study.pooling, skip=skip))
    whole = comprehension(llama, corpus, study.pooling)
    assert 0 < whole.facts["left_out"] < len(texts)
    path, empty = tmp_path / "unit.safetensors", 0
    for shard, length in zip(all_shards(len(texts)), lengths, strict=True):
        unit = comprehension(llama, corpus, study.pooling, texts=shard.texts(len(texts)))
        unit = replace(unit, facts={**unit.facts, "model": "tiny"})
        save_unit(shard.path(path), unit)
        if length <= skip:
            empty += 1
            with pytest.raises(InputError, match="'tiny': no text is longer than the"):
                check_some(unit.facts, study.pooling)
    assert empty == whole.facts["left_out"]
    with joined(path, len(texts)) as unit:
        check_some(unit.facts, study.pooling)
        assert_close(whole, unit)
        assert {**whole.facts, "model": "tiny", "shards": len(texts)} == unit.facts


@given(n_texts=st.integers(1, 10_000), of=st.integers(1, 200))
def test_every_text_is_in_one_shard(n_texts, of):
    cut = [range(n_texts)[shard.texts(n_texts)] for shard in all_shards(min(of, n_texts))]
    assert [text for shard in cut for text in shard] == list(range(n_texts))
    assert max(map(len, cut)) - min(map(len, cut)) <= 1
    assert min(map(len, cut)) > 0


def test_a_unit_is_cut_by_its_size_and_the_kind_of_device():
    tokens, texts = 10**5, 500
    assert n_shards(10**8, tokens, texts, "cpu") == 1
    assert n_shards(10**9 + 1, tokens, texts, "cpu") == 2
    for gpu in ("cuda", "balanced"):
        assert n_shards(10**11, tokens, texts, gpu) == 1
    assert n_shards(10**12 + 1, tokens, texts, "cuda") == 2
    assert n_shards(10**12, tokens, texts, "cpu") == texts
    assert n_shards(0, tokens, texts, "cpu") == 1
    assert n_shards(10**12, tokens, texts, "cpu", asked=3) == 3
    page = (HOME / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert shards.OPERATIONS == {"cpu": 2e14, "gpu": 2e17}
    assert "(2 x 10^14 operations on a core, 2 x 10^17 on a GPU)" in page


def test_a_large_model_is_cut_without_being_asked(five, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(shards.OPERATIONS, "cpu", 1e8)
    assert run(five, tmp_path, "--device", "cpu", "--dry-run") == 0
    said = capsys.readouterr().err
    assert re.search(r"0 of \d", said)
    assert "split into shards" in said
    assert run(five, tmp_path, "--device", "cpu") == 0
    of = {key: unit.get("shards", 1) for key, unit in facts(tmp_path).items()}
    assert of["trained", "comprehension"] > 1
    assert of["trained", "rereading"] == of["trained", "generation"] > 1


@pytest.mark.parametrize("wrong", ["0", "-3"])
def test_fewer_than_one_shard(wrong, five, tmp_path, capsys):
    assert run(five, tmp_path / "out", "--shards", wrong) == 2
    assert f"--shards {wrong}: give 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_steering_in_shards(five, five_here, tmp_path):
    pytest.importorskip("nrclex")
    alone = five.with_name("cut.toml")
    alone.write_text(five.read_text().replace("\nmodels = [", '\nmodels = ["tiny-Llama"] # ['))
    common = ["--study", str(alone), "--scores", str(five_here), "--out"]
    with measured() as distances:
        assert steering.main([*common, str(tmp_path / "whole")]) == 0
    assert min(distances) > SAFE
    assert steering.main([*common, str(tmp_path / "cut"), "--shards", "3"]) == 0
    a, b = (pd.read_parquet(tmp_path / side / "trials.parquet") for side in ("whole", "cut"))
    pd.testing.assert_frame_equal(a, b, rtol=1e-4)
    names = [{path.name for path in (tmp_path / s / "units").iterdir()} for s in ("whole", "cut")]
    assert names[0] == names[1]
