"""Find the files of a source: a file, a folder, a glob, a URL, or a path with names in it."""

from __future__ import annotations

import os.path
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from study.read import SILENT, InputError, locate, refusing

#: Suffixes of files that can be read.
SUFFIXES = (
    ".csv",
    ".tsv",
    ".tab",
    ".txt",
    ".md",
    ".markdown",
    ".parquet",
    ".pq",
    ".arrow",
    ".feather",
    ".ipc",
    ".json",
    ".jsonl",
    ".ndjson",
    ".xlsx",
    ".npz",
    ".safetensors",
)
#: The most files of one source.
MAX_FILES = 20_000
#: Files of a run that hold no scores.
BESIDE = re.compile(r"^(readme|license|changelog|requirements|config|args|metadata)\b", re.I)
_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class SourceFile:
    """One file of a source, and what its path says.

    Attributes
    ----------
    path : Path or UPath
    fields : dict of str to str
        Values by role, from the names in the path.
    """

    path: Any
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """The kind of file, in lower case."""
        return PurePosixPath(str(self.path)).suffix.lower()


def source_files(source: Any) -> list[SourceFile]:
    """Return the files of a source, sorted by path.

    Parameters
    ----------
    source : str, Path or UPath
        A file; a folder, whose files of one kind are taken; a glob (``results/*.json``); or a path
        with names in it (``results/{model}/run.json``), each of which matches one part of a path.

    Raises
    ------
    InputError
        If there is no such file, or files of several kinds are found in a folder.

    Examples
    --------
    >>> [f.fields for f in source_files("tests/data/forms/{kind}_metrics.csv")]
    [{'kind': 'long'}]
    """
    text = str(source)
    if _NAME.search(text):
        found = _matching(text)
    elif isinstance(source, str) and any(c in text for c in "*?["):
        found = [SourceFile(p) for p in _glob(text)]
    else:
        place = locate(source)
        with refusing(place, *SILENT):
            if not place.exists():
                raise InputError(f"{text}: no such file or folder{_near(text)}")
            found = _in_folder(place) if place.is_dir() else [SourceFile(place)]
    if not found:
        raise InputError(f"{text}: no file matches it")
    if len(found) > MAX_FILES:
        raise InputError(f"{text}: {len(found)} files; at most {MAX_FILES} are read at once")
    for file in found:
        if file.suffix not in SUFFIXES:
            raise InputError(
                f"{file.path}: {file.suffix or 'a file without a suffix'} is not a table; "
                f"can be read: {', '.join(SUFFIXES)}"
            )
    return sorted(found, key=lambda f: str(f.path))


def _matching(template: str) -> list[SourceFile]:
    """Return the files whose paths match a template, with the values of its names."""
    pattern = re.escape(template)
    for name in set(_NAME.findall(template)):
        once = rf"(?P<{name}>[^/]+?)"
        pattern = pattern.replace(re.escape(f"{{{name}}}"), once, 1)
        pattern = pattern.replace(re.escape(f"{{{name}}}"), rf"(?P={name})")
    pattern = pattern.replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    found = []
    for path in _glob(_NAME.sub("*", template)):
        match = re.fullmatch(pattern, str(path)) or re.search(pattern + "$", str(path))
        if match:
            found.append(SourceFile(path, match.groupdict()))
    return found


def _glob(pattern: str) -> list[Any]:
    """Return the files that match a glob, local or at a URL."""
    protocol, mark, _ = pattern.partition("://")
    if mark and protocol not in ("file", "local"):
        from fsspec.core import url_to_fs

        with refusing(pattern, *SILENT):
            store, path = url_to_fs(pattern)
            return [locate(store.unstrip_protocol(p)) for p in store.glob(path)]
    import glob

    path = pattern.partition("://")[2] or pattern
    return [Path(p) for p in glob.iglob(path, recursive=True) if os.path.isfile(p)]


def _in_folder(folder: Any) -> list[SourceFile]:
    """Return a folder's files that hold tables, which must be of one kind."""
    found = [
        SourceFile(path)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not BESIDE.match(path.name)
    ]
    kinds = sorted({file.suffix for file in found})
    if len(kinds) > 1:
        one = f"{folder}/**/*{kinds[0]}"
        raise InputError(
            f"{folder}: has files of several kinds ({', '.join(kinds)}); choose one: '{one}'"
        )
    if not found:
        raise InputError(f"{folder}: has no file that can be read ({', '.join(SUFFIXES)})")
    return found


def _near(text: str) -> str:
    """Name what lies beside a missing file."""
    folder = Path(text).parent
    if "://" in text or not os.path.isdir(folder):
        return ""
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))[:8]
    return f"; in {folder} there are {', '.join(names)}" if names else ""


def names_from_paths(files: Sequence[SourceFile]) -> tuple[dict[str, list[str]], str]:
    """Return what the part of the paths that differs says of each file: its model.

    Returns
    -------
    values : dict of str to list of str
        The role "model", and "folder" where the folders differ too; empty for one file.
    where : str
        Which part of the path it was, for the message.

    Raises
    ------
    InputError
        If more than one part differs and neither names every file.

    Examples
    --------
    >>> files = [SourceFile(f"r/{name}/run.json") for name in ("gpt2", "pythia-70m")]
    >>> names_from_paths(files)
    ({'model': ['gpt2', 'pythia-70m']}, 'the folder')
    """
    parts = [PurePosixPath(str(f.path)).with_suffix("").parts for f in files]
    if len(files) == 1:
        return {}, ""
    n = min(map(len, parts))
    tails = [p[-n:] for p in parts]
    varies = [i for i in range(n) if len({t[i] for t in tails}) > 1]
    unique = [i for i in varies if len({t[i] for t in tails}) == len(files)]
    if not unique or len(varies) > 2:
        shown = "/".join(f"{{part{i}}}" if i in varies else tails[0][i] for i in range(n))
        raise InputError(
            f"{files[0].path} and {len(files) - 1} more: which part of the path names the model? "
            f"give the source with names in it, as {shown}{files[0].suffix} with {{model}}"
        )
    at = unique[-1]
    values = {"model": _trimmed([t[at] for t in tails])}
    rest = [i for i in varies if i != at]
    if rest:
        values["folder"] = [t[rest[0]] for t in tails]
    return values, "the file's name" if at == n - 1 else "the folder"


def _trimmed(names: list[str]) -> list[str]:
    """Take off the words that all names begin or end with, unless they name a model.

    >>> _trimmed(["results_gpt2_probe", "results_opt_probe"])
    ['gpt2', 'opt']
    """
    from analysis.loading.model_names import family_of

    split = [re.split(r"(_+|\.(?!\d))", name) for name in names]
    start, end = 0, 0
    while (
        all(len(s) > start + 2 for s in split) and len({tuple(s[: start + 2]) for s in split}) == 1
    ):
        if family_of("".join(split[0][: start + 1])):
            break
        start += 2
    while (
        all(len(s) > start + end + 2 for s in split)
        and len({tuple(s[len(s) - end - 2 :]) for s in split}) == 1
    ):
        end += 2
    return ["".join(s[start : len(s) - end]) for s in split]
