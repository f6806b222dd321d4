"""Find a model's weights on the hub, in a folder or in a package; convert GGUF files once.

Weights are read from safetensors or GGUF only, never from pickle files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from representations.models import hub
from representations.models.errors import oneline
from representations.models.headers import (
    MOST_OF,
    check_config_file,
    check_counts,
    check_gguf,
    check_index,
)
from study.read import InputError, read_bytes
from study.registry import ModelSpec

#: The prefix of unfinished copies.
PARTIAL = "unfinished."
#: The file in a copy that holds the hashes of the others.
HASHES = "hashes.json"

#: Kinds that are decoders even if `is_decoder` in their configs says otherwise.
DECODERS = ("gpt_neox", "gpt_neox_japanese", "trocr")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
#: Masks and angles in old files, and heads that predict tokens further ahead.
_NO_WEIGHT = re.compile(
    r"(\.attn\.(masked_)?bias|attention\.(masked_)?bias|inv_freq|position_ids)$|^(model\.)?mtp\b"
)


def cache_folder() -> Path:
    """Return the user's cache folder for converted weights."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "emotion-depth"


def local_folder(spec: ModelSpec) -> tuple[str, str]:
    """Return a folder that `from_pretrained` accepts, and the fingerprint of the weights."""
    if spec.package:
        ready = _whole(spec.sha256)
        if ready is None:
            with _held(spec.sha256):
                ready = _whole(spec.sha256) or _converted(spec, _packaged_file(spec))
        return str(ready), f"sha256 {spec.sha256}"
    folder = Path(spec.source)
    if os.path.isdir(folder):
        check_folder(spec, folder)
        if spec.file:
            return _own_gguf(spec, folder / spec.file)
        if not any(folder.glob("*.safetensors")):
            ggufs = sorted(folder.glob("*.gguf"))
            if len(ggufs) == 1:
                return _own_gguf(spec, ggufs[0])
            raise InputError(
                f"{folder}: model {spec.name!r} needs .safetensors files or exactly one .gguf "
                "file; weights in pickle form are not read"
            )
        digest = hashlib.sha256()
        for path in sorted(folder.glob("*.safetensors")):
            digest.update(_sha256(path).encode())
        return str(folder), f"sha256 {digest.hexdigest()}"
    folder, commit = hub.fetched(spec)
    check_folder(spec, folder)
    return str(folder), f"revision {commit}"


def check_folder(spec: ModelSpec, folder: Path) -> None:
    """Refuse a folder of weights with pipes, adapters, or an index that leads to pickle files."""
    for path in sorted(folder.iterdir()):
        if not path.is_file() and not path.is_dir():
            raise InputError(f"{path}: model {spec.name!r}: not a regular file; remove it")
    if (folder / "adapter_config.json").exists():
        raise InputError(
            f"{folder}: model {spec.name!r} is an adapter; merge it with its base model"
        )
    if spec.file and not (folder / spec.file).is_file():
        raise InputError(f"{folder}: model {spec.name!r} has no file {spec.file!r} there")
    for index in folder.glob("*.index.json"):
        check_index(spec, index)
    check_config_file(spec, folder / "config.json")


def check_package(spec: ModelSpec) -> None:
    """Check before any work that a packaged model is installed and has the right checksum.

    Raises
    ------
    InputError
        If the package is missing or its file's checksum differs.
    """
    if spec.package and converted_folder(spec) is None:
        with _held(spec.sha256):
            if converted_folder(spec) is None:
                _checked_sha256(spec, _packaged_file(spec))


def converted_folder(spec: ModelSpec) -> Path | None:
    """Return the folder of a packaged model's safetensors copy, if there is one."""
    target = cache_folder() / spec.sha256[:16] / "model"
    return target if spec.sha256 and (target / HASHES).exists() else None


def _whole(sha256: str) -> Path | None:
    """Return the folder of a GGUF file's safetensors copy, if its files are unchanged."""
    folder = cache_folder() / sha256[:16] / "model"
    try:
        noted = json.loads(read_bytes(folder / HASHES))
        whole = all(_sha256(folder / name) == hashed for name, hashed in noted.items())
    except (OSError, ValueError, AttributeError):  # absent or damaged
        return None
    return folder if whole else None


def _checked_sha256(spec: ModelSpec, path: Path) -> str:
    actual = _sha256(path)
    if spec.sha256 and actual != spec.sha256:
        raise InputError(
            f"{path}: sha256 is {actual}, the registry has {spec.sha256} for {spec.name!r}; "
            f"delete the file and get it again ({spec.install or 'from its source'})"
        )
    return actual


def _packaged_file(spec: ModelSpec) -> Path:
    """Find the GGUF file in a package, without importing the package."""
    found = importlib.util.find_spec(spec.package)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            f"model {spec.name!r}: the package {spec.package!r} is not installed; {spec.install}"
        )
    folder = Path(found.submodule_search_locations[0])
    if (folder / spec.file).exists():
        return folder / spec.file
    # Split over sibling packages: NAME.part00, NAME.part01, ... in the order of their names.
    parts = sorted(
        folder.parent.glob(f"{spec.package}_part*/data/{spec.file}.part*"), key=lambda p: p.name
    )
    if not parts:
        raise InputError(f"model {spec.name!r}: {spec.file} is not in the package; {spec.install}")
    return _assembled(spec, parts)


def _assembled(spec: ModelSpec, parts: list[Path]) -> Path:
    target = cache_folder() / spec.sha256[:16] / spec.file
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=PARTIAL) as scratch:
        joined = Path(scratch) / target.name
        with joined.open("wb") as file:
            for part in parts:
                file.write(part.read_bytes())
        os.replace(joined, target)
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _converted(spec: ModelSpec, gguf: Path) -> Path:
    """Return a folder with the GGUF's model as safetensors, converting it on first use.

    The copy is written beside its final place and renamed, so it is either complete or absent. It
    holds the hashes of its files; if one of them has changed, the copy is made again.
    """
    from gguf import GGUFReader
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    actual = _checked_sha256(spec, gguf)
    target = cache_folder() / actual[:16] / "model"
    if target.exists():  # but its files have changed
        shutil.rmtree(target)
    with gguf.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"{gguf}: not a GGUF file")
    try:
        check_gguf(gguf)
    except ValueError as error:
        raise InputError(f"{gguf}: damaged, {error}; get the file again") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        reader = GGUFReader(gguf)
        for name, field in reader.fields.items():
            if name.endswith(".block_count"):
                check_counts(spec, {"num_hidden_layers": int(field.contents())})
        config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
        n_layers = checked_config(spec, config).num_hidden_layers
        # The library would drop layers beyond the number in the header.
        found = {int(n) for t in reader.tensors for n in re.findall(r"^blk\.(\d+)", t.name)}
        if found != set(range(n_layers)):
            raise InputError(
                f"{gguf}: its header has {n_layers} layers, its weights {len(found)}; "
                "get the file again"
            )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model, told = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, output_loading_info=True
        )
        check_whole(spec, model.config, told)
    except InputError:
        raise
    except Exception as error:  # the reader raises whatever its parser stumbled on
        raise InputError(f"{gguf}: cannot be read as a GGUF model ({oneline(error)})") from error
    # What is saved is no longer quantized; save_pretrained refuses until nothing says it is.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=PARTIAL) as scratch:
        copy = Path(scratch) / target.name
        model.save_pretrained(copy)
        try:
            tokenizer.save_pretrained(copy)
        except Exception as error:  # the tokenizers library's error for a full disk
            raise OSError(oneline(error)) from error
        hashes = {path.name: _sha256(path) for path in sorted(copy.iterdir())}
        (copy / HASHES).write_text(json.dumps(hashes, indent=1))
        for path in copy.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        os.rename(copy, target)
    if gguf.is_relative_to(cache_folder()):
        gguf.unlink()  # no longer needed; the packages still hold its parts
    return target


def _own_gguf(spec: ModelSpec, path: Path) -> tuple[str, str]:
    actual = _sha256(path)
    ready = _whole(actual)
    if ready is None:
        with _held(actual):
            ready = _whole(actual) or _converted(spec, path)
    return str(ready), f"sha256 {actual}"


def checked_config(spec: ModelSpec, config: Any) -> Any:
    """Return a config after checking that its model can be built with local code only.

    The library would fetch kernels by any name in a config, and spend any amount of time to build
    a model of a million layers.

    Raises
    ------
    InputError
        If the config names code elsewhere, or a dimension is missing or absurd.
    """
    said = _not_causal(config)
    if said:
        raise InputError(f"model {spec.name!r}: {said}; choose a causal language model")
    text = config.get_text_config()
    for part, name in product((config, text), ("_attn_implementation", "_experts_implementation")):
        value = getattr(part, name, None)
        if isinstance(value, str) and ("/" in value or ":" in value):
            raise InputError(
                f"model {spec.name!r}: its config asks for code from {value!r}, which is not run; "
                f"remove {name} from it"
            )
    said = _not_causal(text)
    if said:
        raise InputError(f"model {spec.name!r}: {said}; choose a causal language model")
    for name, most in MOST_OF.items():
        value = getattr(text, name, None)
        if not isinstance(value, int) or not 1 <= value <= most:
            raise InputError(
                f"model {spec.name!r}: {name} = {value!r} in its config must be between 1 "
                f"and {most}"
            )
    return config


def _not_causal(config: Any) -> str:
    """Say why a model is not causal although the library lets it generate; empty if it is."""
    kind = config.model_type
    if kind.endswith("_assistant"):
        return f"{kind} is a draft model, which reads another model's activations"
    if getattr(config, "is_encoder_decoder", False):
        return f"{kind} is an encoder-decoder, whose decoder continues what an encoder has read"
    if getattr(config, "is_decoder", True) is False and kind not in DECODERS:
        return f"{kind} without is_decoder in its config is an encoder; its tokens see later ones"
    return ""


def check_whole(spec: ModelSpec, config: Any, told: Mapping[str, Any]) -> None:
    """Refuse weights that fill only part of the model, or that it uses only in part.

    Parameters
    ----------
    spec : ModelSpec
    config : PretrainedConfig
    told : mapping
        The loading info of `from_pretrained`. The library fills missing weights with random
        numbers and drops layers beyond those in the config.

    Raises
    ------
    InputError
    """
    missing = sorted(told["missing_keys"])
    if missing:
        raise InputError(
            f"model {spec.name!r}: its weights lack {len(missing)} tensors ({missing[0]}, ...); "
            "get the files again, all of them"
        )
    if mismatched := sorted(told["mismatched_keys"]):
        name, stored, wanted = mismatched[0]
        raise InputError(
            f"model {spec.name!r}: {len(mismatched)} tensors of its weights have other shapes than "
            f"its config.json says ({name} has {list(stored)}, not {list(wanted)}); get "
            "config.json and weights of the same model"
        )
    n_layers = config.get_text_config().num_hidden_layers
    unused = sorted(key for key in told["unexpected_keys"] if not _NO_WEIGHT.search(key))
    scales = [key for key in unused if "scale" in key.rsplit(".", 1)[-1]]
    beyond = [
        key
        for key in unused
        if key.endswith(".weight") and any(int(n) >= n_layers for n in _NUMBER.findall(key))
    ]
    if scales:
        raise InputError(
            f"model {spec.name!r}: its weights are quantized ({scales[0]}), and its config does "
            "not say how; get config.json again"
        )
    if beyond:
        raise InputError(
            f"model {spec.name!r}: its config has {n_layers} layers, its weights more "
            f"({beyond[0]}); get config.json again"
        )
    if unused:
        raise InputError(
            f"model {spec.name!r}: {len(unused)} tensors of its weights are not used "
            f"({unused[0]}, ...); get config.json and weights of the same model"
        )


@contextmanager
def _held(sha256: str) -> Iterator[None]:
    """Lock a file's place in the cache, where only one run at a time may make copies.

    Other runs wait, since they need the same copy. Unfinished copies of a killed run are deleted.
    """
    from safetensors import SafetensorError

    folder = cache_folder() / sha256[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for left in folder.glob(f"{PARTIAL}*"):
                shutil.rmtree(left)
            yield
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{folder}: cannot write a copy of the weights there ({oneline(error)}); free some "
            "space, or name another folder in XDG_CACHE_HOME"
        ) from error
