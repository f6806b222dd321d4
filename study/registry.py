"""The registry of models: their names, families and sources."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from study.home import HOME, find
from study.read import InputError, read_toml
from study.typed import typed


@dataclass(frozen=True)
class ModelSpec:
    """One entry of the registry.

    Attributes
    ----------
    name : str
        The model's name in studies and tables.
    family : str
        The architecture's family, by which the invariance tests group models.
    source : str
        A hub repository, ``package:MODULE`` or a folder.
    instruct : bool
        Whether the model is tuned to follow instructions (it then needs a chat template).
    revision : str
        The hub revision.
    file, sha256, install : str
        The GGUF file in a package or folder, its checksum, and how to install the package.
    thinking : bool
        Whether to ask a model that can think aloud to do so before it answers.
    precision : str
        The quantization of the weights, empty if none.
    licence : str
        The weights' license.
    tokenizer : str
        Where the tokenizer of a config-only model comes from; the model's own source if empty.
    config : mapping
        Model type and dimensions, for a model built from its config alone.
    blocks : str
        The dotted path of the list of transformer blocks; if empty, it is searched for.
    """

    name: str
    family: str
    source: str
    instruct: bool = False
    revision: str = "main"
    file: str = ""
    sha256: str = ""
    install: str = ""
    precision: str = ""
    licence: str = ""
    tokenizer: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    blocks: str = ""
    thinking: bool = False

    @property
    def package(self) -> str:
        """The Python package that carries the weights, or an empty string."""
        return self.source.removeprefix("package:") if self.source.startswith("package:") else ""


def registry(extra: Iterable[Mapping[str, Any]] = ()) -> dict[str, ModelSpec]:
    """Return the known models by name: those in `data/models.toml` and a study's own entries.

    Parameters
    ----------
    extra : iterable of mappings
        Entries in the form of the registry; they override entries of the same name.

    Returns
    -------
    dict of str to ModelSpec

    Raises
    ------
    InputError
        For an entry with an unknown or missing field, a field of the wrong type or that points
        outside its folder, or two entries of the same name in one place.

    Examples
    --------
    >>> registry()["gpt2"].family
    'GPT-2'
    """
    path = find(HOME / "data" / "models.toml")
    _, content = read_toml(path, "the registry is not there; install emotion-depth again")
    entries = content.get("model")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: has no models; add [[model]] tables")
    return _by_name(entries) | _by_name(extra)


def _by_name(entries: Iterable[Mapping[str, Any]]) -> dict[str, ModelSpec]:
    specs: dict[str, ModelSpec] = {}
    for entry in entries:
        spec = _checked(entry)
        if spec.name in specs:
            raise InputError(f"[[model]] {spec.name!r}: two entries have this name; rename one")
        specs[spec.name] = spec
    return specs


def _checked(entry: Mapping[str, Any]) -> ModelSpec:
    """Check an untrusted entry: its fields, their types, and where they point."""
    label = f"[[model]] {entry.get('name', '?')!r}"
    spec = typed(ModelSpec, entry, label)
    for name in ("name", "family", "source"):
        if not getattr(spec, name).strip():
            raise InputError(f"{label}: field {name!r} is missing")
    for name in ("source", "tokenizer"):
        package = getattr(spec, name)
        # A dot would import the parent package and so run its code.
        if package.startswith("package:") and not package[len("package:") :].isidentifier():
            raise InputError(f"{label}: {name} = {package!r} must be package:NAME, without a dot")
    parts = PurePath(spec.file).parts
    if spec.file and (
        PurePath(spec.file).is_absolute() or ".." in parts or set("*?[") & {*spec.file}
    ):
        raise InputError(f"{label}: file = {spec.file!r} must be a file's name within its folder")
    if spec.sha256 and not re.fullmatch("[0-9a-f]{64}", spec.sha256):
        raise InputError(f"{label}: sha256 must be 64 hexadecimal digits in lower case")
    if spec.package and not (spec.file and spec.sha256):
        raise InputError(f"{label}: weights in a package need file and sha256")
    return spec


def find_model(name: str, extra: Iterable[Mapping[str, Any]] = ()) -> ModelSpec:
    """Look up a model in the registry, or accept a folder or hub repository.

    Parameters
    ----------
    name : str
        A name in the registry, a folder, or ``owner/name`` on the hub.
    extra : iterable of mappings
        As for `registry`.

    Returns
    -------
    ModelSpec
        For a folder or a hub repository the family is the config's model type (filled in when
        it is loaded), and `instruct` is a guess from the name; loading its tokenizer settles it.

    Raises
    ------
    InputError
        If the name is neither.
    """
    specs = registry(extra)
    if name in specs:
        return specs[name]
    short = name.rstrip("/").rsplit("/", 1)[-1]
    tuned = any(mark in short.lower() for mark in ("instruct", "-it", "chat"))
    if os.path.isdir(name) or (name.count("/") == 1 and not name.startswith((".", "/"))):
        return ModelSpec(name=short, family="", source=name, instruct=tuned)
    raise InputError(
        f"unknown model {name!r}; known are {', '.join(specs)}, or name a folder or OWNER/NAME"
    )
