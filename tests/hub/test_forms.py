"""Weights in fp8 and other forms, from a folder with the files of the small Ministral."""

import json

import pytest
import torch
from nine import tokenizer_of
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from representations.activations import Window, read
from representations.models.forms import LIBRARIES, form_of
from representations.models.loading import load
from study.read import InputError
from study.registry import ModelSpec

NAME = "mistralai/Ministral-3-3B-Instruct-2512"


@pytest.fixture
def ministral(nine, tmp_path):
    """Its files in a folder."""
    (files,) = nine.repositories[NAME].commits.values()
    for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes(files[name])
    (tmp_path / "tokenizer_config.json").write_bytes(files["tokenizer_config.json"])
    return tmp_path


def opened(folder, dtype="float32", **entry):
    spec = ModelSpec("m", "f", str(folder), **entry)
    return load(spec, device="cpu", dtype=dtype)


def changed(folder, **values):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_fp8_weights_are_scaled_in_each_precision(ministral, dtype):
    loaded = opened(ministral, dtype)
    assert loaded.precision == f"fp8 {dtype}"
    assert {p.dtype for p in loaded.model.parameters()} == {getattr(torch, dtype)}
    stored = load_file(ministral / "model.safetensors")
    name = "layers.1.mlp.up_proj.weight"
    (key,) = [k for k in stored if k.endswith(name) and "language_model" in k]
    assert stored[key].dtype == torch.float8_e4m3fn
    expected = stored[key].float() * stored[f"{key}_scale_inv"].float()
    assert torch.allclose(loaded.blocks[1].mlp.up_proj.weight.float(), expected, rtol=0.01)
    assert read(loaded, [[5, 6, 7, 8]], Window(1)).isfinite().all()


def test_the_tower_for_images_is_not_counted(ministral):
    trained = opened(ministral)
    spec = ModelSpec("m", "f", str(ministral))
    twin = load(spec, untrained_seed=0, device="cpu", dtype="float32")
    assert trained.n_params == twin.n_params
    assert trained.n_params < sum(p.numel() for p in trained.model.parameters())
    assert twin.precision == "float32"


def test_scales_that_the_config_does_not_know_of_are_refused(ministral):
    """The library loads such weights unscaled, 448 times as large as they should be."""
    changed(ministral, quantization_config=None)
    with pytest.raises(InputError, match=r"are quantized \(.*scale.*config\.json again"):
        opened(ministral)


def test_tensors_that_are_not_used_are_refused(ministral):
    path = ministral / "model.safetensors"
    save_file(load_file(path) | {"other.weight": torch.ones(3)}, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 tensors of its weights are not used \(other\.weight"):
        opened(ministral)


@pytest.mark.parametrize("method", sorted(LIBRARIES))
def test_a_form_whose_library_is_absent_names_it(ministral, method, monkeypatch):
    monkeypatch.setattr("representations.models.forms.find_spec", lambda name: None)
    told = {"quant_method": method, "bits": 4, "load_in_4bit": True}
    changed(ministral, quantization_config=told)
    with pytest.raises(InputError, match=rf"the form {method} need .*; pip install "):
        opened(ministral)


@pytest.mark.parametrize("method", ["hqq", "quanto"])
def test_a_form_that_nothing_loads_from_files_is_refused(ministral, method):
    changed(ministral, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(InputError, match=rf"in the form '{method}'; get the model's plain weights"):
        opened(ministral)


def test_precisions_that_are_made_need_plain_weights(ministral, monkeypatch):
    with pytest.raises(InputError, match="'8bit' needs plain weights, and these are fp8"):
        opened(ministral, "8bit")
    changed(ministral, quantization_config=None)
    monkeypatch.setattr("representations.models.forms.find_spec", lambda name: None)
    with pytest.raises(InputError, match="need bitsandbytes, which is not installed"):
        opened(ministral, "4bit")


SMALL = {
    "vocab_size": 640,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": 2,
}


def saved(folder, texts, kind, **settings):
    """Save a small random model in bfloat16 with a tokenizer; return its file of weights."""
    config = AutoConfig.for_model(kind, **SMALL, **settings)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    tokenizer_of(["</s>"], texts).save(str(folder / "tokenizer.json"))
    given = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(given))
    return folder / "model.safetensors"


def apart(loaded, whole):
    """Return how far the activations of two models are apart, relative to their size."""
    ids = [list(range(5, 25))]
    a, b = read(loaded, ids, Window(1)), read(whole, ids, Window(1))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("bits", "name"), [("8bit", "8bit bfloat16"), ("4bit", "4bit bfloat16")])
def test_bitsandbytes_makes_eight_and_four_bits(bits, name, texts, tmp_path):
    pytest.importorskip("bitsandbytes", reason="needs the extra quantized")
    saved(tmp_path, texts, "llama", hidden_size=64, intermediate_size=128)
    loaded, whole = opened(tmp_path, bits), opened(tmp_path, "bfloat16")
    assert (loaded.precision, loaded.n_params) == (name, whole.n_params)
    assert 0 < apart(loaded, whole) < 0.2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_blocks_of_fp8_are_scaled_each_by_its_own(dtype, texts, tmp_path):
    path = saved(tmp_path, texts, "llama", hidden_size=128, intermediate_size=128)
    stored, expected = load_file(path), {}
    for name in [name for name in stored if name.endswith("proj.weight")]:
        rows, columns = stored[name].shape
        blocks = stored[name].float().reshape(rows // 64, 64, columns // 64, 64)
        scales = blocks.abs().amax((1, 3)) / 448
        small = (blocks / scales[:, None, :, None]).reshape(rows, columns).to(torch.float8_e4m3fn)
        stored[name], stored[f"{name}_scale_inv"] = small, scales
        each = scales.repeat_interleave(64, 0).repeat_interleave(64, 1)
        expected[name] = small.float() * each
    save_file(stored, path, metadata={"format": "pt"})
    form = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [64, 64]}
    changed(tmp_path, quantization_config=form)
    loaded = opened(tmp_path, dtype)
    assert loaded.precision == f"fp8 {dtype}"
    weights = loaded.model.state_dict()
    for name, values in expected.items():
        torch.testing.assert_close(weights[name].float(), values, rtol=0.01, atol=1e-6)


#: The sixteen numbers of four bits, by the format's definition.
FOUR_BITS = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_numbers_of_four_bits_with_shared_exponents_are_exact(dtype, texts, tmp_path):
    settings = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 16}
    path = saved(tmp_path, texts, "gpt_oss", num_local_experts=2, num_experts_per_tok=1, **settings)
    stored, expected = load_file(path), {}
    numbers = torch.tensor([*FOUR_BITS, *(-value for value in FOUR_BITS)])
    for name in [n for n in stored if n.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = stored.pop(name).shape
        shape = (experts, outputs, inputs // 32)
        blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8)
        scales = torch.randint(118, 124, shape, dtype=torch.uint8)
        stored[f"{name}_blocks"], stored[f"{name}_scales"] = blocks, scales
        pairs = torch.stack([numbers[(blocks & 15).long()], numbers[(blocks >> 4).long()]], -1)
        values = pairs.reshape(*shape, 32) * 2.0 ** (scales.float() - 127)[..., None]
        expected[name] = values.reshape(experts, outputs, inputs).transpose(1, 2)
    save_file(stored, path, metadata={"format": "pt"})
    plain = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens"]
    form = {"quant_method": "mxfp4", "modules_to_not_convert": [*plain, "lm_head"]}
    changed(tmp_path, quantization_config=form)
    loaded = opened(tmp_path, dtype)
    assert loaded.precision == f"mxfp4 {dtype}"
    weights = loaded.model.state_dict()
    assert {weight.dtype for weight in weights.values()} == {getattr(torch, dtype)}
    for name, values in expected.items():
        torch.testing.assert_close(weights[name].float(), values, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compressed_tensors_are_made_plain(dtype, texts, tmp_path):
    pytest.importorskip("compressed_tensors", reason="needs the extra quantized")
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config

    path = saved(tmp_path, texts, "llama", hidden_size=64, intermediate_size=128)
    whole = opened(tmp_path, dtype)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    numbers = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
    group = {"targets": ["Linear"], "weights": numbers}
    form = {"quantization_status": "frozen", "ignore": ["lm_head"], "config_groups": {"g": group}}
    apply_quantization_config(model, QuantizationConfig(format="pack-quantized", **form))
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            module.weight_scale.data.copy_(module.weight.abs().amax(1, keepdim=True) / 127)
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format="pack-quantized")
    compressor.compress_model(model)
    stored = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(stored, path, metadata={"format": "pt"})
    compressor.update_config(str(tmp_path))
    loaded = opened(tmp_path, dtype)
    assert (loaded.precision, loaded.n_params) == (f"compressed-tensors {dtype}", whole.n_params)
    assert 0 < apart(loaded, whole) < 0.1


def test_forms_have_names():
    class Config:
        quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}  # noqa: RUF012

    assert form_of(Config) == "bitsandbytes-4bit"
    assert form_of(AutoConfig.for_model("llama")) == ""


def test_a_form_that_nothing_reads_is_refused(ministral):
    """The library would take the weights for plain ones, and the tables would name the form."""
    changed(ministral, quantization_config={"quant_method": "neverheard"})
    with pytest.raises(
        InputError, match=r"nothing here reads weights in the form 'neverheard'; get"
    ):
        opened(ministral)


def test_a_form_that_needs_a_gpu_says_so(ministral):
    changed(ministral, quantization_config={"quant_method": "spqr"})
    with pytest.raises(InputError, match=r"load it on a machine with a GPU|install what it names"):
        opened(ministral)
