"""The form in which weights are stored: how to load it, and its name in the tables."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from study.read import InputError
from study.registry import ModelSpec

#: Precisions that bitsandbytes makes while loading; computation is in bfloat16.
MADE = {"8bit": "load_in_8bit", "4bit": "load_in_4bit"}
#: The module that reads each form, and the package that installs it.
LIBRARIES = {
    "awq": ("gptqmodel", "gptqmodel"),
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "compressed-tensors": ("compressed_tensors", "compressed-tensors"),
    "gptq": ("gptqmodel", "gptqmodel"),
    "torchao": ("torchao", "torchao"),
}
#: Forms that are converted to plain numbers while loading, because their kernels need certain GPUs;
#: so are compressed tensors, by their own library.
PLAIN = ("fp8", "mxfp4")
#: Forms that transformers makes while loading, but does not load from files.
UNSAVED = ("hqq", "quanto")


def plain(kind: str) -> str:
    """Return the precision of a model with random weights when `kind` is requested."""
    return "bfloat16" if kind in MADE else kind


def form_of(config: Any) -> str:
    """Return the form of the weights according to a config; "" if they are plain.

    Parameters
    ----------
    config : PretrainedConfig

    Returns
    -------
    str
        The method, with the bits if the config gives them, for instance "fp8" or "gptq-4bit".

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> form_of(SimpleNamespace(quantization_config={"quant_method": "gptq", "bits": 4}))
    'gptq-4bit'
    """
    told = _told(config)
    method, bits = told.get("quant_method", ""), told.get("bits") or told.get("nbits")
    if method == "bitsandbytes" and told.get("load_in_4bit"):
        bits = 4
    elif method == "bitsandbytes":
        bits = 8
    return f"{method}-{bits}bit" if method and bits else str(method)


def _told(config: Any) -> dict[str, Any]:
    told = getattr(config, "quantization_config", None) or {}
    return dict(told) if isinstance(told, dict) else dict(told.to_dict())


def settings_for(spec: ModelSpec, config: Any, kind: str, place: str) -> dict[str, Any]:
    """Return the arguments with which `from_pretrained` loads weights of this form.

    Parameters
    ----------
    spec : ModelSpec
    config : PretrainedConfig
    kind : str
        The requested precision.
    place : str
        The device.

    Returns
    -------
    dict
        Empty for plain weights.

    Raises
    ------
    InputError
        If the library that reads the form is not installed, or nothing reads it here.
    """
    method = _told(config).get("quant_method", "")
    if kind in MADE and method:
        raise InputError(
            f"model {spec.name!r}: precision {kind!r} needs plain weights, and these are "
            f"{form_of(config)}; leave it out of precisions"
        )
    if kind in MADE:
        import torch
        from transformers import BitsAndBytesConfig

        _check_library(spec, "bitsandbytes")
        made = BitsAndBytesConfig(**{MADE[kind]: True}, bnb_4bit_compute_dtype=torch.bfloat16)
        return {"quantization_config": made, "device_map": _map(place)}
    if not method:
        return {}
    if method in PLAIN:
        from transformers import FineGrainedFP8Config, Mxfp4Config

        as_plain = FineGrainedFP8Config if method == "fp8" else Mxfp4Config
        return {"quantization_config": as_plain(dequantize=True)}
    _check_library(spec, method)
    if method == "compressed-tensors":
        from transformers import CompressedTensorsConfig

        return {"quantization_config": CompressedTensorsConfig(run_compressed=False)}
    return {"device_map": _map(place)}


def _map(place: str) -> Any:
    return "balanced" if place == "balanced" else {"": place}


def _check_library(spec: ModelSpec, method: str) -> None:
    if method not in LIBRARIES:
        from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

        if method in AUTO_QUANTIZER_MAPPING and method not in UNSAVED:
            return  # the library reports what is missing
        raise InputError(
            f"model {spec.name!r}: nothing here reads weights in the form {method!r}; get the "
            "model's plain weights, or another form of it"
        )
    module, package = LIBRARIES[method]
    if find_spec(module) is None:
        raise InputError(
            f"model {spec.name!r}: weights in the form {method} need {package}, which is "
            f"not installed; pip install {package}"
        )
