"""One plain test per fault in a model's files found by fuzzing."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from representations.activations import Window, read
from representations.arms import comprehension
from representations.corpus.corpus import load_corpus
from representations.generation import Sampling, prompts_ids, write
from representations.models import bounded
from representations.models.chat_templates import render
from representations.models.loading import LoadedModel, load
from study import HOME, Pooling
from study.read import InputError
from study.registry import ModelSpec

PICKLE = b"cos\nsystem\n(S'touch ran'\ntR."  # loading it would make a file


@pytest.fixture
def folder(small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(small_model, tmp_path / "m"))


def loaded(folder: Path, seed: int | None = None, **entry: Any) -> LoadedModel:
    spec = ModelSpec(**{"name": "m", "family": "f", "source": str(folder), **entry})
    return load(spec, device="cpu", untrained_seed=seed)


def read_and_write(model: LoadedModel) -> None:
    read(model, [[5, 6, 7]], Window(1))
    write(model, [[5, 6], [5]], [0, 1], Sampling(max_new_tokens=3), Window(1))


def change(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# -- weights ----------------------------------------------------------------------------------


def test_weights_that_are_not_there_are_not_made_up(folder: Path) -> None:
    """The library fills them with random numbers and reports it where nobody looks."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(
        {k: v for k, v in tensors.items() if "layers.1." not in k}, path, metadata={"format": "pt"}
    )
    with pytest.raises(InputError, match=r"lack 9 tensors \(model\.layers\.1"):
        loaded(folder)


@pytest.mark.parametrize(
    ("n_layers", "message"), [(5, "lack 18 tensors"), (2, "has 2 layers, its weights more")]
)
def test_a_config_of_other_layers_than_the_weights_is_refused(
    folder: Path, n_layers: int, message: str
) -> None:
    change(folder, "config.json", num_hidden_layers=n_layers)
    with pytest.raises(InputError, match=message):
        loaded(folder)


def test_tensors_of_other_shapes_than_the_config_says_are_named(folder: Path) -> None:
    width = json.loads((folder / "config.json").read_text())["intermediate_size"]
    change(folder, "config.json", intermediate_size=width + 8)
    with pytest.raises(
        InputError, match=r"other shapes .*layers\.0\.mlp\.down_proj\.weight has \["
    ):
        loaded(folder)


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize(
    "dimension",
    [
        {"num_hidden_layers": 0},
        {"num_hidden_layers": 2_000_000},
        {"hidden_size": 10**9},
        {"vocab_size": 10**10},
    ],
)
def test_dimensions_out_of_all_proportion_are_refused(
    folder: Path, dimension: dict[str, int], seed: int | None
) -> None:
    change(folder, "config.json", **dimension)
    with pytest.raises(InputError, match="must be between 1 and"):
        loaded(folder, seed)


def test_a_config_of_a_billion_labels_is_refused_before_they_are_made(folder: Path) -> None:
    change(folder, "config.json", num_labels=2**31)
    with pytest.raises(InputError, match="num_labels = 2147483648 in its config must be between"):
        loaded(folder)
    config = {"model_type": "qwen2", "num_hidden_layers": 2**31}
    with pytest.raises(InputError, match="num_hidden_layers = 2147483648 in its config must be"):
        loaded(folder, 0, config=config)


@pytest.mark.parametrize("odd", [{"head_dim": 3}, {"sliding_window": -5}, {"sliding_window": {}}])
def test_a_model_that_fails_on_its_first_text_is_named(folder: Path, odd: dict[str, Any]) -> None:
    """Building a model does not reveal dimensions that do not match."""
    change(folder, "config.json", **odd)
    model = loaded(folder, 0)
    with pytest.raises(InputError, match=r"'m': fails on a text \(.*its config\.json belongs"):
        read_and_write(model)


def test_an_encoder_is_refused_before_its_first_text(folder: Path) -> None:
    change(folder, "config.json", model_type="bert")
    with pytest.raises(InputError, match=r"is an encoder.*choose a causal language model"):
        loaded(folder, 0)


def test_a_config_that_asks_for_tuples_is_not_followed(folder: Path) -> None:
    change(folder, "config.json", return_dict=False)
    read_and_write(loaded(folder))


def test_a_tokenizer_that_fails_on_its_first_text_is_named(folder: Path) -> None:
    change(folder, "tokenizer_config.json", model_max_length="long")
    with pytest.raises(InputError, match=r"its tokenizer fails .*; get the model's own tokenizer"):
        loaded(folder)


def test_tokens_that_a_model_does_not_know_are_named(folder: Path) -> None:
    model = loaded(folder)
    with pytest.raises(InputError, match="gives token 400, but its embedding ends before 400"):
        read(model, [[5, 400, 5]], Window(1))
    with pytest.raises(InputError, match="gives token 400"):
        write(model, [[5, 400]], [0], Sampling(max_new_tokens=2), Window(1))


@pytest.mark.parametrize("end", [-1, 2**31, [2, 400], "x"])
def test_end_tokens_that_cannot_be_drawn_are_left_aside(folder: Path, end: Any) -> None:
    model = loaded(folder)
    model.model.generation_config.eos_token_id = end
    stories = write(model, [[5, 6]], [0], Sampling(4, min_new_tokens=4), Window(1))
    assert len(stories.token_ids[0]) == 4


def test_a_token_for_padding_that_a_model_does_not_know_is_not_used(folder: Path) -> None:
    """This happens if a token is added to the tokenizer but not to the embedding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id >= 259
    tokenizer.add_tokens([f"[{n}]" for n in range(400 - len(tokenizer))])
    tokenizer.add_special_tokens({"pad_token": "[MORE]"})
    assert tokenizer.pad_token_id == 400
    tokenizer.save_pretrained(folder)
    model = loaded(folder)
    assert model.tokenizer.pad_token_id == 2
    assert read(model, [[5, 6, 7], [5, 6]], Window(1)).isfinite().all()


def test_a_model_without_keys_and_values_reads_only(folder: Path) -> None:
    config = {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 400}
    model = loaded(folder, 0, config=config)
    assert read(model, [[5, 6, 7]], Window(1)).isfinite().all()
    with pytest.raises(InputError, match=r"Mamba.* keeps no keys and values.*comprehension"):
        write(model, [[5, 6]], [0], Sampling(max_new_tokens=2), Window(1))


def test_a_model_that_cannot_be_built_is_named(folder: Path) -> None:
    config = {"model_type": "llama", "num_hidden_layers": 3, "num_attention_heads": 0}
    with pytest.raises(InputError, match="bad config"):
        loaded(folder, 0, config=config)
    change(folder, "config.json", hidden_size=2**17, intermediate_size=2**50)
    with pytest.raises(InputError, match="cannot be built"):
        loaded(folder, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_attn_implementation", "x/y"),
        ("attn_implementation", "kernels-community/x:f"),
        ("_experts_implementation", "x/y"),
    ],
)
def test_kernels_that_a_config_names_are_not_fetched(folder: Path, name: str, value: str) -> None:
    change(folder, "config.json", **{name: value})
    with pytest.raises(InputError, match="asks for code from"):
        loaded(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "../other/model.safetensors"])
def test_an_index_leads_to_no_pickle_and_out_of_no_folder(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder / "pytorch_model.bin").write_bytes(PICKLE)
    index = {"metadata": {}, "weight_map": {"lm_head.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"not a \.safetensors file beside it"):
        loaded(folder)
    assert not Path("ran").exists()


def test_a_pickle_beside_safetensors_is_left_alone(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(PICKLE)
    assert loaded(folder).n_layers == 3
    assert not Path("ran").exists()


def test_an_adapter_is_no_model(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "x/y"}')
    with pytest.raises(InputError, match="is an adapter"):
        loaded(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_among_a_model_s_files_is_not_waited_for(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(InputError, match="not a regular file"):
        loaded(folder)


def test_a_file_that_the_folder_lacks_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"has no file 'q\.gguf'"):
        loaded(folder, file="q.gguf")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"blocks": 5}, "header has 5 layers, its weights 2"),
        ({"blocks": 1}, "header has 1 layers, its weights 2"),
        ({"blocks": 100_000}, "num_hidden_layers = 100000"),
        ({"without": "blk.1.ffn_up"}, "lack 1 tensors"),
    ],
)
def test_a_gguf_file_of_other_layers_than_its_header_is_refused(
    folder: Path, small_gguf: Callable[..., None], how: dict[str, Any], message: str
) -> None:
    (folder / "g").mkdir()
    small_gguf(folder / "g" / "m.gguf", **how)
    with pytest.raises(InputError, match=message):
        loaded(folder / "g")
    assert not list((folder.parent / "cache").rglob("config.json"))


@pytest.mark.parametrize(
    ("kind", "count", "message"),
    [
        (5, 2**62, "more than 2097152 entries"),
        (5, 2**20, "beyond its end"),
        (8, 2**20, "beyond its end"),
        (9, 1, "unknown kind, 9"),
    ],
)
def test_a_gguf_file_whose_header_leads_out_of_it_is_refused(
    folder: Path, small_gguf: Callable[..., None], kind: int, count: int, message: str
) -> None:
    """Its reader would read empty values one by one, as many as the header says."""
    (folder / "g").mkdir()
    path = folder / "g" / "m.gguf"
    small_gguf(path)
    whole = path.read_bytes()
    at = whole.index(b"tokenizer.ggml.token_type") + len(b"tokenizer.ggml.token_type") + 4
    path.write_bytes(whole[:at] + struct.pack("<IQ", kind, count) + whole[at + 12 :])
    with pytest.raises(InputError, match=f"damaged, its .*{message}"):
        loaded(folder / "g")


def test_a_whole_gguf_file_is_read(folder: Path, small_gguf: Callable[..., None]) -> None:
    (folder / "g").mkdir()
    small_gguf(folder / "g" / "m.gguf")
    assert loaded(folder / "g").n_layers == 2


def test_a_converted_gguf_file_that_was_changed_in_the_cache_is_made_again(
    folder: Path, small_gguf: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors replaced there changed the scores but not the fingerprint."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (folder / "g").mkdir()
    small_gguf(folder / "g" / "m.gguf")
    ids = [[5, 6, 7, 8]]
    before = read(loaded(folder / "g"), ids, Window(1))
    (copy,) = (tmp_path / "cache").glob("*/*/model/model.safetensors")
    tensors = {name: tensor * 2 for name, tensor in load_file(copy).items()}
    save_file(tensors, copy, metadata={"format": "pt"})
    assert torch.equal(read(loaded(folder / "g"), ids, Window(1)), before)
    (copy.parent / "config.json").write_text("{}")
    assert torch.equal(read(loaded(folder / "g"), ids, Window(1)), before)


# -- chat templates ---------------------------------------------------------------------------

ENDLESS = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (ENDLESS, "takes too long"),
        ("{{ 'x' * 200000 }}", "writes too much"),
        ("{{ 'a ' * 45000 }}", "writes too much"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "fails .*unsafe"),
        ("{{ cycler.__init__.__globals__.os.popen('touch ran').read() }}", "fails .*unsafe"),
        ("{% include '/etc/passwd' %}", "fails"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "fails .*recursion"),
        ("{{ raise_exception('no\nno') }}", "fails .no no"),
        ("{% for", "fails"),
    ],
)
def test_a_chat_template_is_run_bounded_and_out_of_reach(
    folder: Path, template: str, message: str
) -> None:
    model = loaded(folder)
    model.tokenizer.chat_template = template
    with pytest.raises(InputError, match=f"its chat template {message}"):
        render("m", model.tokenizer, ["hello"], seconds=2 if template == ENDLESS else 600)
    assert not Path("ran").exists()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded on Linux")
def test_a_chat_template_cannot_fill_the_memory(folder: Path) -> None:
    model = loaded(folder)
    model.tokenizer.chat_template = "{{ ('a' * 20000000000) | length }}"
    with pytest.raises(InputError, match="too much memory"):
        render("m", model.tokenizer, ["hello"])


def test_prompts_are_what_the_library_makes_of_them(folder: Path) -> None:
    model = loaded(folder)
    model.tokenizer.chat_template = "{{ bos_token }}[{{ messages[0]['content'] | trim }}]"
    prompts = ["hello", " a b ", "ü"]
    assert render("m", model.tokenizer, prompts) == ["<s>[hello]", "<s>[a b]", "<s>[ü]"]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded on Linux")
def test_a_tokenizer_whose_rules_grow_a_text_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MEMORY", 2**26)
    normalize(folder, ("a", "a" * 2000), n=4)
    with pytest.raises(InputError, match="its tokenizer takes too") as caught:
        loaded(folder)
    assert str(caught.value).isprintable()
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded on Linux")
@pytest.mark.parametrize(
    ("rule", "n", "message"),
    [
        (("kitchen", "kitchen" * 2000), 4, "takes too much memory"),
        (("kitchen", "a " * 9000), 1, "writes too much"),
    ],
)
def test_rules_that_wait_for_a_word_of_the_corpus_meet_the_same_bounds(
    folder: Path, rule: tuple[str, str], n: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MEMORY", 2**26)
    normalize(folder, rule, n)
    model = loaded(folder)
    corpus = replace(load_corpus(HOME / "data" / "corpus"), neutral=[])
    for use in (
        lambda: comprehension(model, corpus, Pooling()),
        lambda: prompts_ids(model, ["Tell me of a kitchen."]),
    ):
        with pytest.raises(InputError, match=f"model 'm': its tokenizer {message} for .* text"):
            use()


def normalize(folder: Path, rule: tuple[str, str], n: int) -> None:
    """Give a tokenizer a rule that replaces a word, `n` times over."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    written = {"type": "Replace", "pattern": {"String": rule[0]}, "content": rule[1]}
    content["normalizer"] = {"type": "Sequence", "normalizers": [written] * n}
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_tokenizer_that_makes_long_texts_of_few_tokens_is_refused(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    rule = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 9}
    content["decoder"] = {"type": "Sequence", "decoders": [content["decoder"], rule, rule]}
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="its tokenizer makes long texts of few tokens"):
        loaded(folder)
