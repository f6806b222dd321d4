"""Build small random models of any kind in the library, from its config with smaller sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from representations.models.weights import checked_config
from representations.survey.kinds import SETTINGS, WIDTH
from study.registry import ModelSpec

#: The vocabulary sizes of tokenizer and model; the ids in between are for images and the like.
KNOWN, VOCABULARY = 512, 640

#: Sizes by name; the first match counts.
SIZES: tuple[tuple[str, int], ...] = (
    (r"vocab_size", VOCABULARY),
    (r"max_position|n_positions|n_ctx|max_seq_len|context_length|model_max_length", 512),
    (r"image_size|crop_size", 28),
    (r"patch_size", 14),
    (
        r"^(num_hidden_layers|(n|num)_layers?|layers|(num_)?(en|de)coder_layers|depth|num_blocks)$",
        4,
    ),
    (r"num_layers_per_stack|num_global_layers|resampler_depth|aligner_num_add_layers", 2),
    (r"attn_layer_period|layer_group_size|n_layers_per_attn_res_block", 2),
    (r"attn_layer_offset", 1),
    (r"num_kv_shared_layers", 2),
    (r"experts_per_tok|moe_topk|moe_k$|num_experts_per_token", 2),
    (r"n_groups?$|topk_group|num_expert_group|mamba_n_groups", 1),
    (r"shared_experts$", 1),
    (r"(num|n)_.*experts$|^num_experts|zero_expert_num", 4),
    (r"intermediate|ffn|^dim_ff$|^dff$|d_ff$|mlp_dim|^d_inner$|feed_forward|expert_dim", 64),
    (r"mamba_d_ssm|lru_width", WIDTH),
    (r"qk_head_dim", 24),
    (r"rope_head_dim", 8),
    (r"rotary_dim|d_rel", 8),
    (r"head_dim|dim_head|head_size|d_head|headdim|kv_channels|d_kv|dim_kv", 16),
    (r"key_value_heads|kv_heads|query_groups", 2),
    (r"heads$|^n_head$", 4),
    (r"rank|router_hidden_size|per_layer_input$|pronunciation_embed|shape_embed", 8),
    (
        r"hidden_size|^d_model|^n_embd$|emb(ed(ding)?)?_(proj_)?dim$|embedding_size|projection_dim",
        64,
    ),
    (r"state(_size|_dim)?$|mamba_d_state", 8),
    (r"chunk(_size|_length)$|window|local_attention$|index_topk$|block_size$", 16),
    (r"ngram_vocab_size_base|hash_byte_group_vocab", 97),
)
SPECIAL = ("pad", "bos", "eos")


def cut(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a config's settings with smaller sizes, and without settings derived from sizes.

    Parameters
    ----------
    settings : dict
        The settings of a config of the library.

    Returns
    -------
    dict
    """
    small: dict[str, Any] = {}
    far = VOCABULARY
    for name, value in settings.items():
        if isinstance(value, dict) and "model_type" in value:
            small[name] = {**cut(value), "model_type": value["model_type"]}
        elif isinstance(value, bool) or not isinstance(value, int):
            continue
        elif re.search(r"(token|image|audio|video)\w*_(id|index)$", name):
            known = [i for i, n in enumerate(SPECIAL) if name == f"{n}_token_id"]
            far -= 1
            small[name] = known[0] if known else far
        else:
            fits = [size for pattern, size in SIZES if re.search(pattern, name)]
            if fits:
                small[name] = VOCABULARY if name == "vocab_size" else min(value, fits[0])
    if "kv_lora_rank" in small and "num_key_value_heads" in small:  # keys come from the latent
        small["num_key_value_heads"] = small["num_attention_heads"]
    if "qk_rope_head_dim" in small and settings.get("head_dim") == settings["qk_rope_head_dim"]:
        small["head_dim"] = small["qk_rope_head_dim"]
    return small


def config_of(kind: str) -> Any:
    """Return a small config of a kind.

    Parameters
    ----------
    kind : str
        A model type of the library.

    Returns
    -------
    PretrainedConfig
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    known = CONFIG_MAPPING[kind]
    try:
        settings = known().to_dict()
    except (ValueError, StrictDataclassError):  # its own defaults do not go together
        settings = {}
    return known(**_merged(cut(settings), kind))


def _merged(settings: dict[str, Any], kind: str) -> dict[str, Any]:
    for name, value in settings.items():
        if isinstance(value, dict):
            settings[name] = _merged(value, value.get("model_type", ""))
    own = SETTINGS.get(kind, {})
    return settings | {
        name: {**settings.get(name, {}), **value} if isinstance(value, dict) else value
        for name, value in own.items()
    }


def tokenizer_of(texts: Iterable[str]) -> Any:
    """Return a byte-level tokenizer trained on a few texts.

    Parameters
    ----------
    texts : iterable of str

    Returns
    -------
    PreTrainedTokenizerFast
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    marks = [f"<{name}>" for name in SPECIAL]
    trainer = trainers.BpeTrainer(
        vocab_size=KNOWN,
        special_tokens=marks,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    named = {f"{name}_token": mark for name, mark in zip(SPECIAL, marks, strict=True)}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **named)


def save(kind: str, folder: Path, tokenizer: Any, seed: int = 0) -> None:
    """Write a small random model of a kind in the form of a hub repository.

    Parameters
    ----------
    kind : str
    folder : Path
    tokenizer : PreTrainedTokenizerFast
        From `tokenizer_of`.
    seed : int
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as WITH_IMAGES,
    )

    auto = AutoModelForImageTextToText if kind in WITH_IMAGES else AutoModelForCausalLM
    torch.manual_seed(seed)
    config = checked_config(ModelSpec(kind, kind, ""), config_of(kind))
    model = auto.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:  # or it would say the same of all texts
                parameter.mul_(3)
            elif parameter.is_floating_point():  # gates that begin at 0 would hide what they let in
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
