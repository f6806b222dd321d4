import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from representations.activations import Window, read
from representations.models.loading import load, resolved
from representations.models.weights import cache_folder, check_package, local_folder
from study.read import InputError
from study.registry import ModelSpec, find_model, registry


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tokenizer, small_llama_settings):
    """A small model as a folder on disk."""
    folder = tmp_path_factory.mktemp("saved") / "little"
    config = AutoConfig.for_model("llama", **small_llama_settings)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of it that a test may damage."""
    shutil.copytree(saved, tmp_path / "little")
    return tmp_path / "little"


def spec(folder, **changes):
    return ModelSpec(**{"name": "little", "family": "Llama", "source": str(folder), **changes})


def test_the_registry_holds_nine_models_of_five_families_with_their_dimensions():
    study = [s for s in registry().values() if s.config]
    assert len(study) == 9
    assert {s.family for s in study} == {"GPT-2", "Gemma", "Qwen", "Llama", "Mistral"}
    for one in study:
        settings = dict(one.config)
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        assert 120 < millions < 3600, one.name


def test_a_local_folder_is_loaded_and_read(folder):
    loaded = load(spec(folder), device="cpu")
    assert (loaded.n_layers, loaded.width, loaded.precision) == (3, 32, "float32")
    assert loaded.fingerprint.startswith("sha256 ")
    assert read(loaded, [list(range(3, 30))], Window(8)).shape == (1, 4, 32)


def test_a_folder_can_be_named_without_an_entry(folder):
    found = find_model(str(folder))
    assert (found.name, found.instruct) == ("little", False)
    assert load(found, device="cpu").spec.family == "llama"


def test_an_untrained_twin_has_the_config_and_not_the_weights(folder):
    trained = load(spec(folder), device="cpu")
    twin = load(spec(folder), untrained_seed=0, device="cpu")
    again = load(spec(folder), untrained_seed=0, device="cpu")
    other = load(spec(folder), untrained_seed=1, device="cpu")
    weights = [m.blocks[1].mlp.up_proj.weight for m in (trained, twin, again, other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[3])
    assert twin.n_params == trained.n_params
    assert twin.fingerprint != other.fingerprint


def test_a_tokenizer_without_a_pad_token_pads_with_its_end_token(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load(spec(folder), device="cpu").tokenizer.pad_token_id == 2
    del settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="neither a pad nor an end token"):
        load(spec(folder), device="cpu")


def test_an_instruct_model_needs_a_chat_template(folder):
    with pytest.raises(InputError, match="no chat template"):
        load(spec(folder, instruct=True), device="cpu")


def test_pickled_weights_are_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickle form are not read"):
        load(spec(folder), device="cpu")


def test_truncated_safetensors_are_named(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"'little'.*incomplete or damaged"):
        load(spec(folder), device="cpu")


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"GGUF" + bytes(40)])
def test_a_file_that_is_no_gguf_is_named(tmp_path, monkeypatch, content):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "weights" / "model.gguf"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.gguf: (not a GGUF file|cannot be read)"):
        load(spec(path.parent), device="cpu")
    assert not list(cache_folder().glob("*/model/config.json"))


def test_a_wrong_checksum_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    real = registry()["smollm2-135m-instruct"]
    check_package(real)
    wrong = ModelSpec(**{**vars(real), "sha256": "0" * 64})
    with pytest.raises(InputError, match=r"sha256 is b179.*registry has 0000.*pip install"):
        check_package(wrong)


def test_a_package_that_is_not_installed_names_its_remedy():
    absent = ModelSpec("m", "X", "package:no_such_package", install="pip install it")
    with pytest.raises(InputError, match=r"'no_such_package' is not installed; pip install it"):
        check_package(absent)


def test_a_hub_model_that_cannot_be_had_names_the_ways_out():
    with pytest.raises(InputError, match=r"'far' \(nobody/nothing\).*local folder"):
        local_folder(ModelSpec("far", "X", "nobody/nothing"))


def test_a_config_that_asks_for_remote_code_runs_none(folder, tmp_path):
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    settings = json.loads((folder / "config.json").read_text())
    settings["model_type"] = "evil"
    settings["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="'little'"):
        load(spec(folder), device="cpu")
    assert not marker.exists()


def test_unknown_names_and_fields_are_refused():
    with pytest.raises(InputError, match=r"unknown model 'gpt9'; known are .*gpt2"):
        find_model("gpt9")
    with pytest.raises(InputError, match="unknown field 'size'"):
        registry([{"name": "a", "family": "b", "source": "c", "size": 3}])
    with pytest.raises(InputError, match="'family' is missing"):
        registry([{"name": "a", "source": "c"}])
    with pytest.raises(InputError, match="unknown precision 'int3'"):
        resolved("cpu", "int3")
    with pytest.raises(InputError, match="device 'nonsense'"):
        resolved("nonsense", "auto")
