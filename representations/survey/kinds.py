"""Settings that some kinds of models need, beside smaller sizes, to be built small."""

from __future__ import annotations

from typing import Any

WIDTH = 64
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
THREE_WAYS = {"rope_parameters": {**ROPE, "mrope_section": [4, 2, 2]}}
SHARED = {"attention_hidden_size": 128, "attention_head_dim": 32, "num_query_groups": 4}
MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 16}

#: Settings by kind. They keep every kind of layer of the architecture among the four.
SETTINGS: dict[str, dict[str, Any]] = {
    "chameleon": {"vocabulary_map": {"<image>": 600}},
    "cosmos3_edge_text": {"head_dim": 16, **THREE_WAYS},
    "deepseek_ocr2_text": {
        "mlp_layer_types": ["dense", "sparse"] * 2,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
    },
    "diffusion_gemma_text": {
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 32,
        "global_head_dim": 16,
    },
    "dots3_note_audio_encoder": {"adapter_input_size": WIDTH, "adapter_out_dim": WIDTH},
    "dots3_note_vision_encoder": {
        "mlp_layer_types": ["dense"] * 4,
        "per_layer_config": None,
        "adapter_in_dim": WIDTH,
        "adapter_out_dim": WIDTH,
    },
    "emu3": {"vocabulary_map": {"<image>": 600, "<|extra_200|>": 601}},
    "ernie4_5_vl_moe_text": {"rope_parameters": {**ROPE, "mrope_section": [3, 3, 2]}},
    "granite4_vision": {
        "deepstack_layer_map": [[0, 0], [1, 1]],
        "spatial_target_layers": [2, 3],
        "downsample_rate": "1/2",
    },
    "hunyuan_vl_text": {"head_dim": 16, "rope_parameters": {**ROPE, "mrope_section": [2, 2, 2, 2]}},
    "mistral4": {"qk_nope_head_dim": 8, "qk_rope_head_dim": 8},
    "molmo2_adapter": {"vision_feature_layer": [2, 3]},
    "bamba": {**MAMBA2, "attn_layer_indices": [1, 3]},
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE}},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0}},
    "deepseek_v2": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "deepseek_v4": {"num_key_value_heads": 1, "o_groups": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note_text": {
        "num_key_value_heads": 4,
        "head_dim": 24,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 8,
        "swa_kv_lora_rank": 8,
        "swa_head_dim": 24,
        "swa_qk_nope_head_dim": 16,
        "swa_v_head_dim": 16,
    },
    "falcon_h1": {"mamba_d_ssm": 128, **MAMBA2},
    "gemma3n_text": {"intermediate_size": 64},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "gemma4_assistant": {
        "text_config": {
            "model_type": "gemma4_text",
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 4,
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 0,
        }
    },
    "glm4v_text": THREE_WAYS,
    "glm46v_text": THREE_WAYS,
    "glm4v_moe_text": {"rope_parameters": {**ROPE, "mrope_section": [2, 1, 1]}},
    "glm_ocr_text": THREE_WAYS,
    "glmga_text": THREE_WAYS,
    "granitemoehybrid": {
        **MAMBA2,
        "layer_types": ["mamba", "attention", "mamba", "attention"],
    },
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "ministral": {"head_dim": 16},
    "nemotron": {"num_key_value_heads": 2},
    "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 16},
    "paddleocr_vl_text": THREE_WAYS,
    "perception_lm": {
        "vision_config": {
            "architecture": "vit_pe_core_tiny_patch16_384",
            "model_args": {"embed_dim": WIDTH, "depth": 2, "num_heads": 4},
        }
    },
    "qwen2_5_omni_text": THREE_WAYS,
    "qwen2_vl_text": THREE_WAYS,
    "qwen2_5_vl_text": THREE_WAYS,
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 16,
        "indexer_compress_ratio": 2,
    },
    "reformer": {"is_decoder": True, "axial_pos_embds": False, "attn_layers": ["local", "lsh"] * 2},
    "step3p7": {"text_config": {"sliding_window": 16}},
    "zamba": {
        "layers_block_type": ["mamba", "hybrid"] * 2,
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
    },
    "zamba2": {
        "layers_block_type": ["mamba", "hybrid"] * 2,
        "n_mamba_heads": 8,
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
        "num_query_groups": 4,
    },
}
