"""Check what untrusted files say about a model before libraries act on it.

The library builds lists of any length that a config names. The GGUF reader reads values one by
one, even past the end of the file.
"""

from __future__ import annotations

import json
import mmap
import re
import struct
from pathlib import Path
from typing import Any

from representations.models.errors import oneline
from study.read import InputError, read_bytes
from study.registry import ModelSpec

#: Above the size of any model.
MOST_OF = {"num_hidden_layers": 1000, "hidden_size": 2**17, "vocab_size": 2**24}
#: Above the number of layers, heads, labels or experts of any model.
MOST = 2**20
_COUNT = re.compile(r"^n_|num|layers|heads|experts")
#: The bytes of each type of number.
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, LIST = 8, 9
#: Above the total length of any tokenizer's lists, which the reader reads one by one.
ENTRIES = 2**21


def check_counts(spec: ModelSpec, settings: Any) -> None:
    """Refuse impossible counts in a config before the library builds lists of that length.

    Parameters
    ----------
    spec : ModelSpec
    settings : dict
        The contents of a config file.

    Raises
    ------
    InputError
    """
    pending = [settings]
    while pending:
        part = pending.pop()
        for name, value in part.items() if isinstance(part, dict) else ():
            most = MOST_OF.get(name, MOST)
            if isinstance(value, int | float) and _COUNT.search(name) and value > most:
                raise InputError(
                    f"model {spec.name!r}: {name} = {value!r} in its config must be between 1 and "
                    f"{most}"
                )
            pending.append(value)


def check_config_file(spec: ModelSpec, path: Path) -> None:
    """Refuse a config with impossible counts before the library reads it.

    Parameters
    ----------
    spec : ModelSpec
    path : Path

    Raises
    ------
    InputError
    """
    try:
        settings = json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError):  # the library says what is wrong with it
        return
    check_counts(spec, settings)


def check_index(spec: ModelSpec, index: Path) -> None:
    """Refuse an index that names anything but safetensors: the library reads whatever it names.

    Parameters
    ----------
    spec : ModelSpec
    index : Path

    Raises
    ------
    InputError
    """
    try:
        named = set(json.loads(read_bytes(index))["weight_map"].values())
        unsafe = [name for name in named if not name.endswith(".safetensors") or "/" in name]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: model {spec.name!r}: damaged ({oneline(error)})") from None
    if unsafe:
        raise InputError(
            f"{index}: model {spec.name!r}: names {min(unsafe)!r}, which is not a .safetensors "
            "file beside it; weights in other forms are not read"
        )


def check_gguf(path: Path) -> None:
    """Refuse a GGUF file whose header points beyond its end, or would take forever to read.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ValueError
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        _Walk(content).header()


class _Walk:
    """A position in the header that advances as it reads."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.at, self.entries = content, 4, 0
        # In files for big-endian machines, the bytes of the version are reversed.
        self.order = "<" if content[4:6] != b"\0\0" else ">"

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self.content):
            raise ValueError("its header leads beyond its end")

    def number(self, form: str) -> int:
        begin = self.at
        self.skip(struct.calcsize(form))
        return int(struct.unpack_from(self.order + form, self.content, begin)[0])

    def header(self) -> None:
        self.number("I")
        tensors, fields = self.number("Q"), self.number("Q")
        for _ in range(fields):
            self.skip(self.number("Q"))
            self.value(self.number("I"))
        for _ in range(tensors):
            self.skip(self.number("Q"))
            self.skip(8 * self.number("I"))
            self.skip(12)

    def value(self, kind: int) -> None:
        if kind == TEXT:
            self.skip(self.number("Q"))
        elif kind == LIST:
            of, count = self.number("I"), self.number("Q")
            self.entries += count
            if self.entries > ENTRIES:
                raise ValueError(f"its lists have more than {ENTRIES} entries")
            for _ in range(count if of == TEXT else 0):
                self.skip(self.number("Q"))
            if of != TEXT:
                self.skip(count * self.size(of))
        else:
            self.skip(self.size(kind))

    def size(self, kind: int) -> int:
        if kind not in SIZES:
            raise ValueError(f"its header has a value of an unknown kind, {kind}")
        return SIZES[kind]
