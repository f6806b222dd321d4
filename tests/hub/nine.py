"""Small random models with the names and file formats of the models in study `jeong2026`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from server import Hub
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoConfig, AutoModelForCausalLM, Mistral3ForConditionalGeneration

WIDTH, N_LAYERS, VOCABULARY = 32, 4, 640
LIKE_LLAMA: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 2048,
}
GPT2 = {
    "n_embd": WIDTH,
    "n_layer": N_LAYERS,
    "n_head": 4,
    "vocab_size": VOCABULARY,
    "n_positions": 1024,
}

#: Like the models' own templates: with a system message, a date, or blocks of thinking.
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
QWEN_TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Qwen, created by Alibaba "
    "Cloud. You are a helpful assistant.<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>"
    "{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_TEMPLATE = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}"
    "{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date_string + "
    "'\n\n<|eot_id|>' }}{%- for m in messages %}{{- '<|start_header_id|>' + m.role + "
    "'<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
MISTRAL_TEMPLATE = (
    "{{- bos_token }}{%- for m in messages %}{%- if m.role == 'user' %}"
    "{{- '[INST]' + m.content + '[/INST]' }}{%- else %}{{- m.content + eos_token }}{%- endif %}"
    "{%- endfor %}"
)


def tokenizer_of(special: Iterable[str], texts: Iterable[str], *, starts: str = "") -> Tokenizer:
    """A byte-level tokenizer, trained on the corpus, that puts `starts` before a text."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return _trained(inner, special, texts, pre_tokenizers.ByteLevel.alphabet(), starts)


def gemma_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer like SentencePiece, with bytes for unknown characters."""
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    special += [f"<0x{byte:02X}>" for byte in range(256)]
    return _trained(inner, special, texts, [], "<bos>", plain=256)


def _trained(
    inner: Tokenizer,
    special: Iterable[str],
    texts: Iterable[str],
    alphabet: list[str],
    starts: str,
    plain: int = 0,
) -> Tokenizer:
    special = list(special)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    if plain:  # bytes are no special tokens
        data = json.loads(inner.to_str())
        data["added_tokens"] = data["added_tokens"][: len(special) - plain]
        inner = Tokenizer.from_str(json.dumps(data))
    if starts:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{starts} $A",
            pair=f"{starts} $A {starts} $B",
            special_tokens=[(starts, inner.token_to_id(starts))],
        )
    return inner


def repository(
    folder: Path,
    model: Any,
    inner: Tokenizer,
    tokenizer_class: str,
    *,
    shard: str = "5GB",
    template: str = "",
    **settings: Any,
) -> dict[str, bytes]:
    """Return the files of a model's repository, with some of the junk found in real ones."""
    model.save_pretrained(folder, max_shard_size=shard)
    inner.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": tokenizer_class, "model_max_length": 1024, **settings}
    if template:
        settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files | {
        "README.md": b"---\nlicense: other\n---\n# A model\n",
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "pytorch_model.bin": b"cos\nsystem\n(S'false'\ntR.",
        "onnx/model.onnx": b"\x08\x07\x12\x07pytorch",
        "onnx/config.json": b'{"model_type": "bert"}',
        "original/consolidated.00.pth": b"cos\nsystem\n(S'false'\ntR.",
        "original/params.json": b'{"dim": 2048}',
        "modeling_custom.py": b"raise SystemExit('run')\n",
    }


def changed(files: dict[str, bytes], name: str, **values: Any) -> None:
    """Change entries of a JSON file; None removes one."""
    content = json.loads(files[name]) | values
    files[name] = json.dumps({k: v for k, v in content.items() if v is not None}).encode()


def build(model_type: str, seed: int, dtype: torch.dtype = torch.bfloat16, **settings: Any) -> Any:
    """Return a small random model whose layers differ."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **settings)
    return louder(AutoModelForCausalLM.from_config(config, dtype=torch.float32)).to(dtype)


def louder(model: Any) -> Any:
    """Enlarge a new model's weights, or it would give the same for all texts."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


def gpt2(folder: Path, inner: Tokenizer, seed: int) -> dict[str, bytes]:
    """A repository of 2019: float32, names without a prefix, a mask per layer in the weights."""
    model = build("gpt2", seed, torch.float32, **GPT2, bos_token_id=0, eos_token_id=0)
    files = repository(folder, model, inner, "GPT2Tokenizer")
    tensors = load_file(folder / "model.safetensors")
    tensors = {name.removeprefix("transformer."): t for name, t in tensors.items()}
    tensors.pop("lm_head.weight", None)
    for layer in range(N_LAYERS):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(64, 64).tril()[None, None].clone()
    files["model.safetensors"] = save(tensors, metadata={"format": "pt"})
    data = json.loads(inner.to_str())["model"]
    files["vocab.json"] = json.dumps(data["vocab"]).encode()
    files["merges.txt"] = ("#version: 0.2\n" + _lines(data["merges"])).encode()
    for junk in ("tf_model.h5", "flax_model.msgpack", "rust_model.ot", "64.tflite"):
        files[junk] = b"not ours"
    return files


def _lines(merges: list[Any]) -> str:
    return "".join(f"{m if isinstance(m, str) else ' '.join(m)}\n" for m in merges)


def ministral(folder: Path, inner: Tokenizer) -> dict[str, bytes]:
    """Nested beside a vision tower, its linear layers in fp8, and once more in Mistral's form."""
    torch.manual_seed(9)
    config = AutoConfig.for_model(
        "mistral3",
        text_config={"model_type": "ministral3", **LIKE_LLAMA, "tie_word_embeddings": True},
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 16,
            "intermediate_size": 32,
            "head_dim": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        image_token_index=10,
        spatial_merge_size=1,
        tie_word_embeddings=True,
    )
    model = louder(Mistral3ForConditionalGeneration(config)).to(torch.bfloat16)
    files = repository(
        folder,
        model,
        inner,
        "PreTrainedTokenizerFast",
        template=MISTRAL_TEMPLATE,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    tensors = load_file(folder / "model.safetensors")
    for name in [n for n in tensors if "language_model" in n and n.endswith("proj.weight")]:
        scale = tensors[name].float().abs().max() / 448
        tensors[name] = (tensors[name].float() / scale).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale.to(torch.bfloat16)
        stem = name.removesuffix("weight")
        tensors[f"{stem}activation_scale"] = torch.ones((), dtype=scale.dtype).bfloat16()
    files["model.safetensors"] = save(tensors, metadata={"format": "pt"})
    files["consolidated.safetensors"] = save({"tok_embeddings.weight": torch.ones(2, 2)})
    files["params.json"] = b'{"dim": 3072}'
    files["chat_template.jinja"] = MISTRAL_TEMPLATE.encode()
    changed(files, "tokenizer_config.json", chat_template=None)
    changed(
        files,
        "config.json",
        dtype="bfloat16",
        quantization_config={
            "quant_method": "fp8",
            "activation_scheme": "static",
            "weight_block_size": None,
            "dequantize": False,
            "modules_to_not_convert": ["vision_tower", "multi_modal_projector", "lm_head"],
        },
    )
    return files


def fill(hub: Hub, home: Path, texts: list[str]) -> None:
    """Put the nine into a hub."""
    of_gpt2 = tokenizer_of(["<|endoftext|>"], texts)
    hub.add("openai-community/gpt2", gpt2(home / "1", of_gpt2, 1))
    hub.add("openai-community/gpt2-medium", gpt2(home / "2", of_gpt2, 2))
    add_gemma(hub, home, gemma_tokenizer(texts))
    add_qwen(hub, home, tokenizer_of(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], texts))
    marks = ["begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id"]
    special = [f"<|{mark}|>" for mark in marks]
    add_llama(hub, home, tokenizer_of(special, texts, starts=special[0]))
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>"]
    of_mistral = tokenizer_of(special, texts, starts="<s>")
    hub.add("mistralai/Ministral-3-3B-Instruct-2512", ministral(home / "9", of_mistral))


def add_gemma(hub: Hub, home: Path, inner: Tokenizer) -> None:
    """Gated, with a special token at the beginning of each text."""
    settings = {"sliding_window": 64, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    names: dict[str, Any] = {f"{n}_token": f"<{n}>" for n in ("bos", "eos", "pad", "unk")}
    names["add_bos_token"] = True
    base, chat = (build("gemma3_text", seed, **LIKE_LLAMA, **settings) for seed in (3, 4))
    files = repository(home / "3", base, inner, "GemmaTokenizer", **names)
    hub.add("google/gemma-3-270m", files, gated=True)
    names["template"] = GEMMA_TEMPLATE
    files = repository(home / "4", chat, inner, "GemmaTokenizer", **names)
    changed(files, "generation_config.json", eos_token_id=[1, 5])
    hub.add("google/gemma-3-1b-it", files, gated=True)


def add_qwen(hub: Hub, home: Path, inner: Tokenizer) -> None:
    """The base model has a chat template as well."""
    settings = {"tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0}
    for number, name, end in ((5, "0.5B", "<|endoftext|>"), (6, "1.5B-Instruct", "<|im_end|>")):
        model = build("qwen2", number, **LIKE_LLAMA, **settings)
        files = repository(
            home / str(number),
            model,
            inner,
            "Qwen2Tokenizer",
            template=QWEN_TEMPLATE,
            eos_token=end,
            pad_token="<|endoftext|>",
        )
        hub.add(f"Qwen/Qwen2.5-{name}", files)


def add_llama(hub: Hub, home: Path, inner: Tokenizer) -> None:
    """Gated, without a token for padding; the larger one is in two files with an index."""
    settings = {"tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 1}
    names = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    base, chat = (build("llama", seed, **LIKE_LLAMA, **settings) for seed in (7, 8))
    files = repository(home / "7", base, inner, "PreTrainedTokenizerFast", **names)
    hub.add("meta-llama/Llama-3.2-1B", files, gated=True)
    names |= {"eos_token": "<|eot_id|>", "template": LLAMA_TEMPLATE, "shard": "80KB"}
    files = repository(home / "8", chat, inner, "PreTrainedTokenizerFast", **names)
    changed(files, "generation_config.json", eos_token_id=[1, 4])
    assert "model.safetensors.index.json" in files
    hub.add("meta-llama/Llama-3.2-3B-Instruct", files, gated=True)
