"""Models from the hub: fetch the files of one commit once, check their hashes, and keep them.

The library would load config, tokenizer and weights one by one from whatever a branch points to at
the moment, and convert pickle files with its own code or that of an open pull request. This module
resolves the commit first and fetches the necessary files from it; everything is then loaded from
their folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from representations.models.errors import CLOSED, FULL, causes, disk_error, oneline
from representations.models.headers import check_index
from representations.models.partial import clear, finish
from representations.models.waits import LongWait, bound_waits
from study.read import InputError, read_bytes
from study.registry import ModelSpec

#: Seconds that the hub has to answer a request, and the number of attempts.
ANSWER, TRIES = 10.0, 3
#: Seconds between attempts.
PAUSE = 2.0
#: Files that describe a model and its tokenizer; no other formats of the same, no pickle, no code.
NEEDED = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
NOT_NEEDED = ("*.index.json", "params.json", "tekken.json", "README*")
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

_COMMIT = re.compile("[0-9a-f]{40}")
#: Hosts that did not answer, with their errors; they are not asked again in the same run.
_silent: dict[str, str] = {}
#: The commits of branches when this process first asked.
_commits: dict[tuple[str, str], str] = {}

Result = TypeVar("Result")


def is_on_hub(spec: ModelSpec) -> bool:
    """Return whether a model's source is a repository on the hub."""
    return not spec.package and not os.path.isdir(spec.source)


def commit_of(spec: ModelSpec) -> str:
    """Return the commit of a model's revision; it stays the same throughout a process.

    Parameters
    ----------
    spec : ModelSpec

    Returns
    -------
    str
        40 hexadecimal digits. If the hub does not answer, the last commit that was fetched.

    Raises
    ------
    InputError
        If the hub has no such model or revision, or does not answer and there is no local copy.
    """
    if _COMMIT.fullmatch(spec.revision):
        return spec.revision
    key = spec.source, spec.revision
    if key not in _commits:
        try:
            _commits[key] = str(_info(spec).sha)
            _remember(spec, _commits[key])
        except Unreachable:
            here = _cache(spec) / "refs" / spec.revision
            if not here.is_file():
                raise
            _commits[key] = here.read_text().strip()
    return _commits[key]


def fetched(spec: ModelSpec, *, weights: bool = True) -> tuple[Path, str]:
    """Return a folder with a model's files from one commit, and the commit.

    Parameters
    ----------
    spec : ModelSpec
    weights : bool
        Whether to fetch the weights as well as config and tokenizer.

    Returns
    -------
    folder : Path
    commit : str

    Raises
    ------
    InputError
        If files cannot be fetched, or do not have the hub's hashes.
    """
    commit = commit_of(spec)
    folder = _kept(spec, commit, weights) or _download(spec, commit, weights)
    clear(_cache(spec))
    damaged = [path for path in sorted(folder.iterdir()) if not _as_named(path)]
    if damaged:
        for path in damaged:
            path.resolve().unlink()
            path.unlink()
        folder = _download(spec, commit, weights)
        for path in damaged:
            if path.exists() and not _as_named(path):
                raise InputError(
                    f"model {spec.name!r} ({spec.source}): {path.name} is not what the hub says "
                    "it is, twice; try again later, or through another network"
                )
    return folder, commit


def weight_files(folder: Path) -> list[str]:
    """Return the files in a folder from which the library reads a model's weights."""
    if (folder / SINGLE).exists():
        return [SINGLE]
    named = json.loads(read_bytes(folder / INDEX))["weight_map"].values()
    return sorted(set(named))


class Unreachable(InputError):
    """The hub cannot help at the moment; a local copy may do."""


class Silent(Unreachable):
    """The hub does not answer at all."""


# -- the local copy ---------------------------------------------------------------------------


def _cache(spec: ModelSpec) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{spec.source.replace('/', '--')}")


def _remember(spec: ModelSpec, commit: str) -> None:
    """Record the commit of a branch, as the library does."""
    path = _cache(spec) / "refs" / spec.revision
    with suppress(OSError):  # a cache that others have filled, and that is read only
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)


def _kept(spec: ModelSpec, commit: str, weights: bool) -> Path | None:
    """Return the folder of a commit's files, if it has all that is needed."""
    folder = _cache(spec) / "snapshots" / commit
    listing = _cache(spec) / "trees" / f"{commit}.json"
    try:
        names = sorted(json.loads(listing.read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError):  # fetched by other means: as it is
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    try:
        wanted = needed(spec, names)
        if weights and not {SINGLE, INDEX} & {*wanted}:
            return None
        wanted = [n for n in wanted if weights or n != SINGLE]
        if not names or not all((folder / name).exists() for name in wanted):
            return None
        if weights and not all((folder / name).exists() for name in weight_files(folder)):
            return None
    except (InputError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return folder


def _as_named(path: Path) -> bool:
    """Return whether a file in the cache has the hash in its name."""
    if not path.is_symlink():  # no links on this system, or files that someone else laid there
        return True
    name = Path(os.readlink(path)).name
    if len(name) not in (40, 64) or not re.fullmatch("[0-9a-f]+", name):
        return True
    try:
        with path.open("rb") as file:
            if len(name) == 64:
                return hashlib.file_digest(file, "sha256").hexdigest() == name
            content = file.read()
    except OSError:  # a link to nowhere
        return False
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == name


# -- the hub ----------------------------------------------------------------------------------


def needed(spec: ModelSpec, names: Iterable[str]) -> list[str]:
    """Return the files of a repository that describe a model, and the first of its weights.

    Parameters
    ----------
    spec : ModelSpec
    names : iterable of str

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        If they contain no model that can be read here.

    Examples
    --------
    >>> spec = ModelSpec("m", "", "a/m")
    >>> needed(spec, ["config.json", "model.safetensors", "pytorch_model.bin", "onnx/config.json"])
    ['config.json', 'model.safetensors']
    """
    names = sorted(names)
    label = f"model {spec.name!r} ({spec.source})"
    if "adapter_config.json" in names:
        raise InputError(f"{label} is an adapter; merge it with its base model")
    if "config.json" not in names and any(name.endswith(".gguf") for name in names):
        raise InputError(
            f"{label} holds GGUF files; get one of them, and name its folder as source and the "
            "file as file in a [[model]] entry"
        )
    if "config.json" not in names:
        raise InputError(f"{label} has no config.json; name a repository of a language model")
    found = [
        name
        for name in names
        if "/" not in name
        and any(fnmatch(name, pattern) for pattern in NEEDED)
        and not any(fnmatch(name, pattern) for pattern in NOT_NEEDED)
    ]
    if "tokenizer.json" not in names and "tekken.json" in names:
        found.append("tekken.json")
    return found + [name for name in (SINGLE, INDEX) if name in names][:1]


def _download(spec: ModelSpec, commit: str, weights: bool) -> Path:
    info = _info(spec, commit)
    sizes = {s.rfilename: s.size or 0 for s in info.siblings or []}
    wanted = needed(spec, sizes)
    if weights and not {SINGLE, INDEX} & {*wanted}:
        raise InputError(
            f"model {spec.name!r} ({spec.source}) has no weights as safetensors, and weights in "
            "pickle form are not read; name another repository, or a revision that has them"
        )
    folder = _files(spec, commit, [name for name in wanted if name != SINGLE], sizes)
    if weights:
        names = [SINGLE]
        if INDEX in wanted:
            check_index(spec, folder / INDEX)
            names = weight_files(folder)
        _finish(spec, commit, [s for s in info.siblings or [] if s.rfilename in names])
        _files(spec, commit, names, sizes)
    return folder


def _finish(spec: ModelSpec, commit: str, files: list[Any]) -> None:
    """Finish downloads of weights that a killed process began."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    for file in files:
        url = hf_hub_url(spec.source, file.rfilename, revision=commit)
        if file.lfs is not None:
            given = _cache(spec), url, file.lfs.sha256, file.lfs.size
            _asked(spec, lambda given=given: finish(*given), resumed=True)  # type: ignore[misc]


def _files(spec: ModelSpec, commit: str, names: list[str], sizes: dict[str, int]) -> Path:
    """Fetch files into the library's cache and return their folder."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # a run has a progress display of its own
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    absent = [name for name in names if name not in sizes]
    if absent:
        raise InputError(
            f"model {spec.name!r} ({spec.source}) has no {absent[0]}, which its index names; "
            "name another revision"
        )
    folder = _cache(spec) / "snapshots" / commit
    size = sum(sizes[name] for name in names if not (folder / name).exists())
    _check_space(spec, size)
    patterns = [re.sub(r"([\[\]*?])", r"[\1]", name) for name in names]
    return Path(
        _asked(
            spec,
            lambda: snapshot_download(
                spec.source, revision=commit, allow_patterns=patterns, etag_timeout=ANSWER
            ),
            resumed=True,
        )
    )


def _check_space(spec: ModelSpec, size: int) -> None:
    place = _cache(spec)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if size > free:
        raise InputError(
            f"model {spec.name!r} ({spec.source}) needs {size / 1e9:.1f} GB, and {place} has "
            f"{free / 1e9:.1f} GB left; free some space, or name another folder in HF_HOME"
        )


def _info(spec: ModelSpec, revision: str = "") -> Any:
    from huggingface_hub import HfApi

    def ask() -> Any:
        return HfApi().model_info(
            spec.source, revision=revision or spec.revision, timeout=ANSWER, files_metadata=True
        )

    return _asked(spec, ask)


def _asked(spec: ModelSpec, ask: Callable[[], Result], resumed: bool = False) -> Result:
    """Ask the hub; retry after passing faults, and do not ask a silent host again.

    With `resumed`, do not retry a broken download: the library has resumed it five times.
    """
    from huggingface_hub import constants

    if constants.ENDPOINT in _silent:
        raise Silent(
            f"model {spec.name!r} ({spec.source}): {_silent[constants.ENDPOINT]}, as before"
        )
    with _worded(spec):
        for left in reversed(range(TRIES)):
            bound_waits()
            try:
                return ask()
            except Exception as error:  # the hub's errors, the network's and the disk's
                if not left or not _passes(error, resumed):
                    raise
                time.sleep(PAUSE)
    raise AssertionError("the last try returns or raises")


def _passes(error: BaseException, resumed: bool) -> bool:
    """Return whether a retry may help, as after a server error or a broken connection."""
    status = _status(error)
    if status is not None:
        return status == 408 or status >= 500
    names = _chain(error)
    return "ConsistencyError" in names or ("TransportError" in names and not resumed)


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _chain(error: BaseException) -> set[str]:
    """Return the class names of an error and of its causes."""
    names: set[str] = set()
    for one in causes(error):
        names |= {kind.__name__ for kind in type(one).__mro__}
        if "Consistency check failed" in str(one):
            names.add("ConsistencyError")
    return names


@contextmanager
def _worded(spec: ModelSpec) -> Iterator[None]:
    """Turn any error about the hub into one line with its remedy."""
    from huggingface_hub import constants

    try:
        yield
    except InputError:
        raise
    except Exception as error:  # they share no base class
        text, remedy, kind = _reason(spec, error, constants.ENDPOINT)
        if kind is Silent:
            _silent[constants.ENDPOINT] = f"{text}; {remedy}"
        raise kind(f"model {spec.name!r} ({spec.source}): {text}; {remedy}") from error


def _reason(spec: ModelSpec, error: Exception, endpoint: str) -> tuple[str, str, type[InputError]]:
    """Return what happened, the remedy, and the class of error to raise."""
    names, status, disk = _chain(error), _status(error), disk_error(error)
    page = f"{endpoint}/{spec.source}"
    log_in = "log in (hf auth login), or set source to a local folder"
    if "GatedRepoError" in names:
        return "it is gated", f"accept its license at {page} and {log_in}", InputError
    if "RepositoryNotFoundError" in names:
        text = "the hub has no such model, or it is private"
        return text, f"check the name, {log_in}", InputError
    if "RevisionNotFoundError" in names:
        text = f"the hub has no revision {spec.revision!r} of it"
        return text, f"choose one of {page}/commits/main", InputError
    if "LongWait" in names:
        wait = next(str(one) for one in causes(error) if isinstance(one, LongWait))
        return wait, "run the same command again after that, or log in (hf auth login)", Unreachable
    if "EntryNotFoundError" in names:
        text = "a file that the hub lists is not there"
        return text, "try again later, or name another revision", InputError
    if status in (401, 403):
        return f"the hub refuses the token (status {status})", f"{log_in}", InputError
    if status == 429:
        return "the hub has had too many requests", "log in (hf auth login), or wait", Unreachable
    if status is not None:
        return f"the hub answers with status {status}", "try again later", Unreachable
    if "OfflineModeIsEnabled" in names:
        text = "not all its files are here, and HF_HUB_OFFLINE is set"
        return text, f"unset it, or bring them (hf download {spec.source})", Unreachable
    if disk in FULL:
        text = "the disk of the hub's cache is full"
        return text, "free some space, or name another folder in HF_HOME", InputError
    if disk in CLOSED:
        text = "the hub's cache cannot be written to"
        return text, "name another folder in HF_HOME", InputError
    if "ConsistencyError" in names:
        text = "a download ended too early, or has another size than the hub says"
        return text, "run again, whole files are kept", InputError
    if "TransportError" in names:
        text = f"the hub at {endpoint} cannot be reached ({oneline(error)})"
        return text, "connect, or set source to a local folder", Silent
    return oneline(error), "try again, or set source to a local folder", InputError
