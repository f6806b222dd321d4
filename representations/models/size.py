"""Count a model's parameters from its config alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from representations.models.loading import config_from, config_in, text_config
from representations.models.weights import check_folder, converted_folder
from study.registry import ModelSpec


def expected_parameters(spec: ModelSpec) -> int:
    """Return a model's number of parameters from its config; 0 if that is missing or bad."""
    from transformers import AutoModelForCausalLM

    try:
        config = _config(spec)
        if config is None:
            return 0
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(text_config(config))
    except Exception:  # each architecture raises its own; loading the model will report it
        return 0
    return sum(p.numel() for p in model.parameters())


def _config(spec: ModelSpec) -> Any:
    """Return the config of a model with known dimensions or local files, else None."""
    if spec.config:
        return config_from(spec)
    folder = converted_folder(spec)
    if folder is None:
        if not os.path.isdir(spec.source):
            return None
        folder = Path(spec.source)
        check_folder(spec, folder)
    return config_in(spec, str(folder))
