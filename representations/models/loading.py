"""Load causal language models, trained or untrained, and find their blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import transformers
from torch import nn

from representations.facts import ModelFacts
from representations.models.blocks import find_blocks, parameter_count
from representations.models.errors import loading_errors, oneline
from representations.models.forms import MADE, form_of, plain, settings_for
from representations.models.headers import check_counts
from representations.models.products import with_onednn
from representations.models.tokenizers import settled, tokenizer_folder, tokenizer_in
from representations.models.weights import check_whole, checked_config, local_folder
from study.read import InputError
from study.registry import ModelSpec

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class LoadedModel:
    """A model ready to use: its blocks are known and its tokenizer can pad.

    Attributes
    ----------
    model : PreTrainedModel
        The causal language model with its head.
    body : Module
        The part with the embedding and the blocks, without the head.
    blocks : ModuleList
        The transformer blocks; the residual stream after block l is layer l.
    tokenizer : PreTrainedTokenizer
    spec : ModelSpec
    n_params : int
    precision : str
        Dtype of the computation, preceded by the quantization of the weights, if any.
    fingerprint : str
        Hub commit or sha256 of the weights, or a hash of config and seed.
    certificate : dict
        The result of `representations.certificate`; empty until it has run.
    """

    model: Any
    body: nn.Module
    blocks: nn.ModuleList
    tokenizer: Any
    spec: ModelSpec
    n_params: int
    precision: str
    fingerprint: str
    certificate: dict[str, Any] = field(default_factory=dict)

    @property
    def n_layers(self) -> int:
        """The number of transformer blocks."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """The width of the residual stream."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def device(self) -> torch.device:
        """The device of the embedding, which is where token ids go."""
        device = self.model.get_input_embeddings().weight.device
        assert isinstance(device, torch.device)
        return device

    @property
    def prompting(self) -> str:
        """How the model is prompted, for `run.json`."""
        if not self.spec.instruct or not self.tokenizer.chat_template:
            return "plain"
        return f"chat template, thinking {'on' if self.spec.thinking else 'off'}"

    def facts(self) -> ModelFacts:
        """Return the model's facts for tables and messages."""
        return {
            "model": self.spec.name,
            "family": self.spec.family,
            "source": self.spec.source,
            "fingerprint": self.fingerprint,
            "n_params": self.n_params,
            "n_layers": self.n_layers,
            "width": self.width,
            "instruct": self.spec.instruct,
            "prompting": self.prompting,
            "precision": self.precision,
            "device": str(self.device),
        }

    def run(self, part: nn.Module, **inputs: Any) -> Any:
        """Run the model, or its body, on texts; on a CPU with the products of `with_onednn`.

        Raises
        ------
        InputError
            If it fails, except for lack of memory or in a hook. Dimensions that do not match show
            only here, some of them only with long texts.
        """
        try:
            with with_onednn(part):
                return part(**inputs)
        except Exception as error:  # each architecture fails in its own way
            if is_of_memory(error) or not _is_of_library(error):
                raise
            raise InputError(
                f"model {self.spec.name!r}: fails on a text ({oneline(error)}); it is not a causal "
                "language model, or its config.json belongs to other weights"
            ) from error

    def check_known(self, token_ids: Iterable[Sequence[int]]) -> None:
        """Refuse tokens without an embedding: after one, a GPU can no longer be used.

        Raises
        ------
        InputError
        """
        largest = max((max(ids) for ids in token_ids if len(ids)), default=0)
        known = len(self.model.get_input_embeddings().weight)
        if largest >= known:
            raise InputError(
                f"model {self.spec.name!r}: its tokenizer gives token {largest}, but its embedding "
                f"ends before {known}; get tokenizer and weights of the same model"
            )


def _is_of_library(error: Exception) -> bool:
    """Return whether an error comes from a model's own code rather than from a hook of ours."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = str(trace.tb_frame.f_globals.get("__name__")) if trace else ""
    return module.partition(".")[0] in ("torch", "transformers")


def is_of_memory(error: Exception) -> bool:
    """Return whether memory ran out; on a CPU, torch has no class for this error."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "can't allocate memory" in str(error)


def load(
    spec: ModelSpec,
    *,
    untrained_seed: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> LoadedModel:
    """Load a model and its tokenizer.

    Parameters
    ----------
    spec : ModelSpec
    untrained_seed : int, optional
        Give the model random weights from this seed instead of its trained ones: the same
        config, with the initialization of the architecture's authors.
    device : str
        "auto" is the GPU if there is one; "balanced" spreads a model over several.
    dtype : {"auto", "float32", "bfloat16", "float16", "8bit", "4bit"}
        "auto" is float32 on CPU and bfloat16 on GPU. For the last two, bitsandbytes quantizes
        plain weights and computes in bfloat16; an untrained model is then in bfloat16.

    Returns
    -------
    LoadedModel
        In evaluation mode, without gradients.

    Raises
    ------
    InputError
        If the weights cannot be found, read or trusted.
    """
    place, kind = resolved(device, dtype)
    transformers.utils.logging.disable_progress_bar()  # a run has a progress bar of its own
    transformers.utils.logging.set_verbosity_error()
    config_only = untrained_seed is not None and bool(spec.config)
    if config_only:
        config = config_from(spec)
        source = tokenizer_folder(spec)
        with loading_errors(spec, source):
            tokenizer = tokenizer_in(spec, source)
        fingerprint = f"config {dict(spec.config)}"
        model = None
    else:
        folder, fingerprint = local_folder(spec)
        with loading_errors(spec, folder):
            config = config_in(spec, folder)
            tokenizer = tokenizer_in(spec, folder)
            trained = untrained_seed is None
            model = _weights(spec, folder, config, kind, place) if trained else None
    precision = precision_of(spec, config, kind)
    if model is None:
        assert untrained_seed is not None
        precision = plain(kind)
        model = _placed(_untrained(spec, config, untrained_seed, DTYPES[precision]), place)
        fingerprint = f"untrained seed {untrained_seed} of {fingerprint}"
    model.config.return_dict = True  # some configs ask for tuples
    model = model.eval().requires_grad_(False)
    body, blocks = find_blocks(model, spec.blocks)
    known = len(model.get_input_embeddings().weight)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= known:
        if tokenizer.eos_token_id is None:
            raise InputError(
                f"model {spec.name!r}: its tokenizer has neither a pad nor an end token; "
                "set one in its tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token
    spec = settled(spec, tokenizer, trained=untrained_seed is None)
    family = spec.family or str(config.get_text_config().model_type)
    return LoadedModel(
        model=model,
        body=body,
        blocks=blocks,
        tokenizer=tokenizer,
        spec=replace(spec, family=family),
        n_params=parameter_count(model, body),
        precision=precision,
        fingerprint=fingerprint,
    )


def precision_of(spec: ModelSpec, config: Any, kind: str) -> str:
    """Return the name of a model's precision: the form of its weights, then the dtype.

    Parameters
    ----------
    spec : ModelSpec
    config : PretrainedConfig
    kind : str
        The requested precision.

    Returns
    -------
    str
        For instance "float32", "Q4_1 float32", "fp8 bfloat16" or "8bit bfloat16".
    """
    form = spec.precision or form_of(config)
    parts = [form, kind, "bfloat16"] if kind in MADE else [form, kind]
    return " ".join(filter(None, parts))


def resolved(device: str, dtype: str, elsewhere: bool = False) -> tuple[str, str]:
    """Return the device and dtype that "auto" stands for on this machine.

    Parameters
    ----------
    device, dtype : str
    elsewhere : bool
        Whether the device belongs to another machine, so do not look for it here.

    Returns
    -------
    device, dtype : str

    Raises
    ------
    InputError
        For an unknown dtype or a missing device.

    Examples
    --------
    >>> resolved("cpu", "auto")
    ('cpu', 'float32')
    """
    if dtype not in ("auto", *DTYPES, *MADE):
        known = ", ".join((*DTYPES, *MADE))
        raise InputError(f"unknown precision {dtype!r}; choose auto, {known}")
    place = device
    if device == "auto":
        place = "cuda" if torch.cuda.is_available() else "cpu"
    elif device != "balanced" and not elsewhere:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device {device!r}: {oneline(error)}; try --device auto") from None
    return place, dtype if dtype != "auto" else ("float32" if place == "cpu" else "bfloat16")


def config_in(spec: ModelSpec, folder: str) -> Any:
    """Read the config of a model in a folder.

    Parameters
    ----------
    spec : ModelSpec
    folder : str

    Returns
    -------
    PretrainedConfig

    Raises
    ------
    InputError
        If it does not describe a causal language model. Errors of the library about a file that
        it cannot read pass through.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return checked_config(spec, config)


def config_from(spec: ModelSpec) -> Any:
    """Build the config of a model from its dimensions.

    Parameters
    ----------
    spec : ModelSpec

    Returns
    -------
    PretrainedConfig

    Raises
    ------
    InputError
        For an unknown model type, or impossible dimensions.
    """
    from transformers import AutoConfig

    settings = dict(spec.config)
    check_counts(spec, settings)
    try:
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    except Exception as error:  # each architecture checks its dimensions in its own way
        raise InputError(f"model {spec.name!r}: bad config ({oneline(error)})") from None
    return checked_config(spec, config)


def _weights(spec: ModelSpec, folder: str, config: Any, kind: str, place: str) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as WITH_IMAGES,
    )

    # For some kinds the library has both classes, only one of which loads everything in the files.
    auto = AutoModelForImageTextToText if config.model_type in WITH_IMAGES else AutoModelForCausalLM
    extra = settings_for(spec, config, kind, place)
    dtype = DTYPES.get(kind, torch.bfloat16)
    model, told = auto.from_pretrained(
        folder,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # `check_whole` refuses them by name
        **extra,
    )
    check_whole(spec, config, told)
    if "device_map" in extra:  # it is already placed, and cannot be moved or cast
        return model.eval()
    # What was not quantized in fp8 weights has stayed as it was stored.
    return _placed(_cast(model, dtype), place)


def _untrained(spec: ModelSpec, config: Any, seed: int, dtype: torch.dtype) -> Any:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM
    from transformers import AutoModelForImageTextToText as WithImages

    text = text_config(config)
    alone = type(text) in MODEL_FOR_CAUSAL_LM_MAPPING  # or there is no class for the text's part
    auto, config = (AutoModelForCausalLM, text) if alone else (WithImages, config)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = auto.from_config(config, dtype=torch.float32)
    except Exception as error:  # each architecture fails on impossible dimensions in its own way
        raise InputError(f"model {spec.name!r}: cannot be built ({oneline(error)})") from error
    return _cast(model, dtype)


def _cast(model: Any, dtype: torch.dtype) -> Any:
    """Cast only the parameters: rounding would change the position angles, which are buffers."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    return model


def text_config(config: Any) -> Any:
    """Return the config of the language model alone, with embeddings tied as in the whole model.

    Parameters
    ----------
    config : PretrainedConfig

    Returns
    -------
    PretrainedConfig
    """
    text = config.get_text_config()
    if text is not config:
        text = deepcopy(text)
        text.tie_word_embeddings = getattr(
            config, "tie_word_embeddings", getattr(text, "tie_word_embeddings", False)
        )
    return text


def _placed(model: Any, place: str) -> Any:
    if place != "balanced":
        return model.to(place)
    from accelerate import dispatch_model, infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    memory = get_balanced_memory(model, no_split_module_classes=model._no_split_modules)
    plan = infer_auto_device_map(model, memory, no_split_module_classes=model._no_split_modules)
    return dispatch_model(model, plan)
