"""What a model's name says: its family, its size, whether it is tuned, how many layers it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from study.read import InputError
from study.registry import ModelSpec, registry

#: Families by what their models are called; the first that fits counts.
FAMILIES = (
    ("GPT-NeoX", r"gpt[-_ ]?neox"),
    ("GPT-Neo", r"gpt[-_ ]?neo"),
    ("GPT-J", r"gpt[-_ ]?j\b"),
    ("GPT-OSS", r"gpt[-_ ]?oss"),
    ("GPT-2", r"(distil)?gpt[-_ ]?2"),
    ("Gemma", r"(code|recurrent|shield)?gemma"),
    ("Qwen", r"(qwen|qwq)"),
    ("DeepSeek", r"deepseek(?!.*distill)"),
    ("Mistral", r"(mistral|mixtral|ministral|zephyr|codestral)"),
    ("Pythia", r"pythia"),
    ("OLMo", r"olmoe?"),
    ("Phi", r"phi[-_ ]?\d"),
    ("Falcon", r"falcon"),
    ("OPT", r"opt(?=[-_ ]?\d|$)"),
    ("BLOOM", r"bloomz?"),
    ("MPT", r"mpt(?=[-_ ]?\d|$)"),
    ("StableLM", r"stable[-_ ]?lm"),
    ("Yi", r"yi(?=[-_ ]?\d)"),
    ("Mamba", r"(falcon[-_ ]?)?mamba"),
    ("Granite", r"granite"),
    ("InternLM", r"internlm"),
    ("Command", r"(c4ai|command[-_ ]?r|aya)"),
    ("RWKV", r"rwkv"),
    ("T5", r"(flan[-_ ]?)?t5"),
    ("BERT", r"(distil|al|ro|de)?bert"),
    # Models of others on its architecture, last: many names carry "llama" beside their own.
    ("Llama", r"(tiny|code|open)?llama|smollm|vicuna|alpaca|tulu"),
)
_PATTERNS = tuple((name, re.compile(rf"(?<![a-z]){pattern}", re.I)) for name, pattern in FAMILIES)
_TUNED = re.compile(
    r"(?<![a-z])(instruct|inst|chat|it|sft|dpo|rlhf|ppo|orpo|tulu|zephyr|vicuna|alpaca|assistant)"
    r"(?![a-z])",
    re.I,
)
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s*([mb])(?![a-z])", re.I)
_EXPERTS = re.compile(r"(\d+)x(\d+(?:\.\d+)?)b", re.I)
#: Sizes that names give in words.
_NAMED_SIZES = {
    "distilgpt2": 82e6,
    "gpt2": 124e6,
    "gpt2-medium": 355e6,
    "gpt2-large": 774e6,
    "gpt2-xl": 1558e6,
}
#: Above the number of layers of any model.
MOST_LAYERS = 1000
_NAMED_LAYERS = {
    "distilgpt2": 6,
    "gpt2": 12,
    "gpt2-small": 12,
    "gpt2-medium": 24,
    "gpt2-large": 36,
    "gpt2-xl": 48,
}


def family_of(name: str) -> str | None:
    """Return a model's family by its name, or None where no pattern fits.

    Examples
    --------
    >>> family_of("meta-llama/Llama-3.2-1B"), family_of("Qwen2.5_0.5b"), family_of("mine")
    ('Llama', 'Qwen', None)
    """
    known = registered(name)
    if known is not None:
        return known.family
    for text in (name.rpartition("/")[2], name):
        for family, pattern in _PATTERNS:
            if pattern.search(text):
                return family
    return None


def size_of(name: str) -> float:
    """Return a model's number of parameters by its name; NaN where it does not say.

    Examples
    --------
    >>> size_of("Qwen2.5-1.5B"), size_of("pythia-70m"), size_of("mine")
    (1500000000.0, 70000000.0, nan)
    """
    short = _short(name)
    if short in _NAMED_SIZES:
        return _NAMED_SIZES[short]
    if experts := _EXPERTS.search(name):
        return float(experts[1]) * float(experts[2]) * 1e9
    found = _SIZE.search(name)
    if not found:
        return float("nan")
    return float(found[1]) * (1e6 if found[2].lower() == "m" else 1e9)


def is_tuned(name: str) -> bool:
    """Say whether a name says that its model is tuned to follow instructions.

    Examples
    --------
    >>> is_tuned("gemma-3-1b-it"), is_tuned("Llama-3.2-1B"), is_tuned("Mistral-7B-Instruct-v0.3")
    (True, False, True)
    """
    known = registered(name)
    return known.instruct if known is not None else bool(_TUNED.search(name))


def layers_of(name: str) -> int | None:
    """Return a model's number of blocks from the registry, or None where it is not in there.

    Examples
    --------
    >>> layers_of("openai-community/gpt2"), layers_of("mine")
    (12, None)
    """
    known = registered(name)
    return (known and layers_in(known.config)) or _NAMED_LAYERS.get(_short(name))


def layers_in(config: Mapping[str, Any]) -> int | None:
    """Return the number of blocks by a model's config, or None where it does not say.

    Examples
    --------
    >>> layers_in({"n_layer": 12}), layers_in({"num_hidden_layers": 26}), layers_in({})
    (12, 26, None)
    """
    n_layers = config.get("num_hidden_layers", config.get("n_layer"))
    return n_layers if type(n_layers) is int and 1 <= n_layers <= MOST_LAYERS else None


def registered(name: str) -> ModelSpec | None:
    """Return what `data/models.toml` says of a model, by its name or its repository."""
    return _registry().get(_short(name))


def _short(name: str) -> str:
    return name.rpartition("/")[2].strip().lower().replace("_", "-")


@lru_cache(maxsize=1)
def _registry() -> dict[str, ModelSpec]:
    try:
        specs = registry().values()
    except InputError:  # the working folder of an installation may have another models.toml
        return {}
    names = ((name, spec) for spec in specs for name in (spec.name, spec.source))
    return {_short(name): spec for name, spec in names if not name.startswith("package:")}
