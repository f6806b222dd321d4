"""A study of numbers from elsewhere: a TOML file that says where they are and what is tested."""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from analysis.loading.options import Options
from analysis.loading.run_file import MetricFacts
from study.read import InputError, locate, read_toml
from study.settings import Preregistered
from study.typed import typed

#: What a paper calls the things that are separated, and what it calls them in our own studies.
WORDS = {"concept": "concept", "concepts": "concepts"}
OURS = {"concept": "emotion", "concepts": "emotions"}


@dataclass(frozen=True)
class Mapped(Options):
    """The fields of a mapping file: those of `Options`, and what makes a study of the numbers.

    Attributes
    ----------
    source : str
        The files, relative to the mapping file.
    name, description : str
    metrics : mapping of str to MetricFacts
        Label, direction and chance of a measure.
    words : mapping of str to str
        "concept" and "concepts": what a paper calls them.
    preregistered : Preregistered
    claims : str
        A file of claims, relative to the mapping file.
    """

    source: str = ""
    name: str = ""
    description: str = ""
    metrics: Mapping[str, MetricFacts] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    preregistered: Preregistered = field(default_factory=Preregistered)
    claims: str = ""

    def __post_init__(self) -> None:
        """Leave the checks of `Options` to `read_mapping`, which names the file."""


@dataclass(frozen=True)
class MappingFile:
    """A mapping file, read.

    Attributes
    ----------
    source : str or Path
    options : dict
        For `Options`.
    run : dict
        What becomes `Scores.run`.
    """

    source: Any
    options: dict[str, Any]
    run: dict[str, Any]


def words_of(run: Mapping[str, Any]) -> dict[str, str]:
    """Return what a study's concepts are called: concept, and concepts in the plural.

    >>> words_of({})["concepts"]
    'emotions'
    """
    return {**OURS, **run.get("words", {})}


def plural(word: str) -> str:
    """Return a word in the plural.

    >>> plural("category"), plural("class"), plural("trait")
    ('categories', 'classes', 'traits')
    """
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


def read_mapping(path: Any, source: Any = None) -> MappingFile:
    """Read a mapping file.

    Raises
    ------
    InputError
        For a field that is unknown or of the wrong type, or no source.
    """
    raw, content = read_toml(locate(path), "not found")
    rules = content.get("preregistered", {})
    mapped = typed(Mapped, content, str(path))
    if source is None:
        if not mapped.source:
            raise InputError(f"{path}: field 'source' is missing: the file or files, or a glob")
        source = mapped.source
        if "://" not in source and not os.path.isabs(source):
            source = os.path.normpath(Path(str(path)).parent / source)
    for key in mapped.words:
        if key not in WORDS:
            raise InputError(
                f"{path}: unknown field words.{key}; the fields are {', '.join(WORDS)}"
            )
    options = {f.name: getattr(mapped, f.name) for f in fields(Options) if f.name in content}
    try:
        Options(**options)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    given = {
        name: facts.get("higher_is_better")
        for name, facts in content.get("metrics", {}).items()
        if "higher_is_better" in facts
    }
    if given:
        options["higher_is_better"] = given
    registered = {k: v for k, v in asdict(mapped.preregistered).items() if k in rules}
    claims = str(Path(str(path)).parent / mapped.claims) if mapped.claims else ""
    run = {
        "study": {
            "name": mapped.name or Path(str(path)).stem,
            "description": mapped.description,
            "preregistered": registered,
        },
        "study_sha256": hashlib.sha256(raw).hexdigest(),
        "preregistered": bool(rules),
        "words": dict(mapped.words),
        "metrics": {k: dict(v) for k, v in content.get("metrics", {}).items()},
        "claims": claims,
    }
    return MappingFile(source, options, run)
