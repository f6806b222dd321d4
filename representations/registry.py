"""The registry of models: which there are, and where each comes from."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from representations.errors import InputError

REGISTRY = Path(__file__).resolve().parent.parent / "data" / "models.toml"


@dataclass(frozen=True)
class ModelSpec:
    """One entry of the registry.

    Attributes
    ----------
    name : str
        How studies and tables call the model.
    family : str
        The architecture's family, the grouping that the invariance tests use.
    source : str
        A hub repository, ``package:MODULE`` or a folder.
    instruct : bool
        Whether the model is tuned to follow instructions (it then needs a chat template).
    revision : str
        The hub revision.
    file, sha256, install : str
        The GGUF file in a package or folder, its checksum, and how to install the package.
    precision : str
        The weights' quantisation, empty if none.
    licence : str
        The weights' licence.
    tokenizer : str
        Where the tokenizer of a config-only model comes from; the model's own source if empty.
    config : mapping
        Model type and dimensions for a model that is built from its config alone.
    blocks : str
        The dotted path of the list of transformer blocks; found in the module tree if empty.
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

    @property
    def package(self) -> str:
        """The Python package that carries the weights, or an empty string."""
        return self.source.removeprefix("package:") if self.source.startswith("package:") else ""


def registry(extra: Iterable[Mapping[str, Any]] = ()) -> dict[str, ModelSpec]:
    """Return the known models by name: `data/models.toml` and entries of a study's own.

    Parameters
    ----------
    extra : iterable of mappings
        Entries in the registry's form; they go before entries of the same name.

    Returns
    -------
    dict of str to ModelSpec

    Raises
    ------
    InputError
        For an entry with an unknown or a missing field.

    Examples
    --------
    >>> registry()["gpt2"].family
    'GPT-2'
    """
    known = {f.name for f in fields(ModelSpec)}
    specs = {}
    for entry in [*tomllib.loads(REGISTRY.read_text(encoding="utf-8"))["model"], *extra]:
        unknown = sorted(set(entry) - known)
        if unknown:
            raise InputError(
                f"[[model]] {entry.get('name', '?')!r}: unknown field {unknown[0]!r}; "
                f"the fields are {', '.join(sorted(known))}"
            )
        for name in ("name", "family", "source"):
            if not isinstance(entry.get(name), str) or not entry[name]:
                raise InputError(f"[[model]] {entry.get('name', '?')!r}: field {name!r} is missing")
        specs[entry["name"]] = ModelSpec(**entry)
    return specs


def find_model(name: str, extra: Iterable[Mapping[str, Any]] = ()) -> ModelSpec:
    """Look a model up by its name in the registry, or take a folder or hub repository as it is.

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
        it is loaded), and `instruct` says whether the name has "instruct", "-it" or "chat".

    Raises
    ------
    InputError
        If the name is neither.
    """
    specs = registry(extra)
    if name in specs:
        return specs[name]
    folder = Path(name)
    short = name.rstrip("/").rsplit("/", 1)[-1]
    tuned = any(mark in short.lower() for mark in ("instruct", "-it", "chat"))
    if folder.is_dir() or (name.count("/") == 1 and not name.startswith((".", "/"))):
        return ModelSpec(name=short, family="", source=name, instruct=tuned)
    raise InputError(
        f"unknown model {name!r}; known are {', '.join(specs)}, or name a folder or OWNER/NAME"
    )
