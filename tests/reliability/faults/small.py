"""A study small enough to run in a second: corpus, models and study file."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFWriter
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from representations.corpus.corpus import load_corpus

HOME = Path(__file__).resolve().parents[3]
STUDY = """
name = "faults"
corpus = "{corpus}"
models = ["tiny"]
[[model]]
name = "tiny"
family = "Llama"
source = "{model}"
[generation]
max_new_tokens = 14
min_new_tokens = 12
neutral_per_topic = 1
batch = 8
[pooling]
skip = 4
[scoring]
folds = 2
replicates = 6
[steering]
emotions = ["happy", "afraid"]
n_scenarios = 3
strengths = [0.5, 1.0]
sweep_depths = [0.2, 1.0]
sweep_strength = 0.5
max_new_tokens = 8
judges = ["nrclex"]
"""


def save_corpus(folder: Path) -> Path:
    """Extract three emotions and four topics from the corpus; checking all of it takes longer."""
    whole = HOME / "data" / "corpus"
    part = load_corpus(whole).restricted(("happy", "afraid", "calm"), 4)
    folder.mkdir()
    shutil.copy(whole / "prompts.toml", folder)
    heads = {
        "emotions.toml": [f'[[emotion]]\nname = "{e.name}"\n' for e in part.emotions],
        "topics.toml": [f'[[topic]]\nname = "{t.name}"\ntext = "{t.text}"\n' for t in part.topics],
        "passages.jsonl": [json.dumps(asdict(p)) + "\n" for p in part.passages],
        "neutral.jsonl": [
            json.dumps({"topic": p.topic, "text": p.text}) + "\n" for p in part.neutral
        ],
    }
    for name, lines in heads.items():
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def save_model(folder: Path) -> Path:
    """Save a small random model as a user would."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train([str(HOME / "data" / "corpus" / "passages.jsonl")], trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        "llama",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=600,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def save_gguf(folder: Path) -> Path:
    """Save a small random model as a GGUF."""
    rng = np.random.default_rng(0)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, letters[0] + letters[1], "<|endoftext|>"]
    writer = GGUFWriter(folder / "model.gguf", "qwen2")
    width, inner, layers = 32, 64, 4
    writer.add_block_count(layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_merges([f"{letters[0]} {letters[1]}"])
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_pad_token_id(len(tokens) - 1)
    shapes = {
        "attn_q": (width, width),
        "attn_k": (width // 2, width),
        "attn_v": (width // 2, width),
        "attn_output": (width, width),
        "ffn_gate": (inner, width),
        "ffn_up": (inner, width),
        "ffn_down": (width, inner),
        "attn_norm": (width,),
        "ffn_norm": (width,),
    }
    tensors = {f"blk.{b}.{n}.weight": s for b in range(layers) for n, s in shapes.items()}
    tensors |= {
        f"blk.{b}.{n}.bias": shapes[n][:1]
        for b in range(layers)
        for n in ("attn_q", "attn_k", "attn_v")
    }
    tensors |= {"token_embd.weight": (len(tokens), width), "output_norm.weight": (width,)}
    for name, shape in tensors.items():
        writer.add_tensor(name, rng.normal(0, 0.3, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder
