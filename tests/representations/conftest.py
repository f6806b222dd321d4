"""Small random models of the five families, a tokenizer, and a study of them."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

import extraction
from representations.models.blocks import find_blocks
from representations.models.loading import LoadedModel
from study.registry import ModelSpec

WIDTH, N_LAYERS, VOCABULARY = 32, 3, 400

LLAMA_LIKE = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

FAMILIES = {
    "GPT-2": {
        "model_type": "gpt2",
        "n_embd": WIDTH,
        "n_layer": N_LAYERS,
        "n_head": 4,
        "vocab_size": VOCABULARY,
        "n_positions": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "Gemma": {**LLAMA_LIKE, "model_type": "gemma3_text", "sliding_window": 16},
    "Qwen": {**LLAMA_LIKE, "model_type": "qwen2"},
    "Llama": {**LLAMA_LIKE, "model_type": "llama"},
    "Mistral": {**LLAMA_LIKE, "model_type": "ministral3"},
}


@pytest.fixture(scope="session")
def tokenizer():
    """A byte-level tokenizer with its own beginning, end and padding tokens."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 3], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def tiny(family: str, tokenizer, seed: int = 0) -> LoadedModel:
    """A small random model with weights large enough to make its layers differ."""
    settings = dict(FAMILIES[family])
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(4)
    body, blocks = find_blocks(model)
    return LoadedModel(
        model=model,
        body=body,
        blocks=blocks,
        tokenizer=tokenizer,
        spec=ModelSpec(name=f"tiny-{family}", family=family, source="random"),
        n_params=sum(p.numel() for p in model.parameters()),
        precision="float32",
        fingerprint=f"seed {seed}",
    )


@pytest.fixture(scope="session")
def small(tokenizer):
    """Make a model of a family for a test that damages it."""
    return lambda family: tiny(family, tokenizer)


@pytest.fixture(scope="session", params=list(FAMILIES))
def model(request, tokenizer) -> LoadedModel:
    """Each family in turn."""
    return tiny(request.param, tokenizer)


@pytest.fixture(scope="session", params=list(FAMILIES))
def double(request, tokenizer) -> LoadedModel:
    """Each family in turn in float64, where no token depends on the last digits of its batch."""
    return in_float64(tiny(request.param, tokenizer))


def in_float64(loaded: LoadedModel) -> LoadedModel:
    """Rotate a model's weights in place."""
    loaded.model.double()
    return loaded


@pytest.fixture(scope="session")
def llama(tokenizer) -> LoadedModel:
    """One family, for tests where one is enough."""
    return tiny("Llama", tokenizer)


@pytest.fixture(scope="session")
def double_llama(tokenizer) -> LoadedModel:
    """The same in float64."""
    return in_float64(tiny("Llama", tokenizer))


@pytest.fixture(scope="session")
def small_llama_settings() -> dict:
    """Dimensions of a small Llama, for tests that save one."""
    return dict(LLAMA_LIKE)


@pytest.fixture(scope="session")
def five(tmp_path_factory, tokenizer):
    """A study of five small random models, one of each family, with every method and control."""
    home = tmp_path_factory.mktemp("study")
    entries = []
    for family, settings in FAMILIES.items():
        settings = dict(settings)
        torch.manual_seed(1)
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        AutoModelForCausalLM.from_config(config).save_pretrained(home / family)
        tokenizer.save_pretrained(home / family)
        entries.append(
            f'[[model]]\nname = "tiny-{family}"\nfamily = "{family}"\nsource = "{home / family}"\n'
        )
    names = ", ".join(f'"tiny-{family}"' for family in FAMILIES)
    path = home / "five.toml"
    path.write_text(
        f'name = "five"\nmodels = [{names}]\nemotions = ["happy", "afraid", "calm"]\ntopics = 4\n'
        + "".join(entries)
        + "[generation]\nmax_new_tokens = 14\nmin_new_tokens = 12\nneutral_per_topic = 1\n"
        "[pooling]\nskip = 4\n[scoring]\nfolds = 2\nreplicates = 6\n"
        '[steering]\nemotions = ["happy", "calm"]\nn_scenarios = 2\nstrengths = [0.5]\n'
        'max_new_tokens = 6\nmin_new_tokens = 6\njudges = ["nrclex"]\n'
    )
    return path


@pytest.fixture(scope="session")
def five_here(five, tmp_path_factory):
    """The study's tables as the local engine makes them."""
    out = tmp_path_factory.mktemp("here")
    assert extraction.main(["--study", str(five), "--out", str(out)]) == 0
    return out
