"""Strategies that generate hostile inputs."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

ODD = [
    "",
    " ",
    ".",
    "..",
    "../..",
    "/etc/passwd",
    "../../../tmp/x",
    "a/b",
    "a\\b",
    "~",
    "$(id)",
    "`id`",
    "; rm -rf /",
    "| cat",
    "-rf",
    "--help",
    "a\nb",
    "a\x00b",
    "\x1b[31mred",
    "x" * 300,
    "é",
    "\u202egnp.exe",
    "con",
    "demo",
    "*",
    "%s%n",
    "{0}",
    "{topic.__class__}",
    "package:os",
    "package:",
    "package:a.b",
    "http://127.0.0.1:9/x",
    "a/..",
    "./a",
    "NaN",
    "'",
    '"',
    "𝔘",
]
texts = st.sampled_from(ODD) | st.text(max_size=20)
numbers = (
    st.sampled_from([0, -1, 1, 2**31, 2**63 - 1, -(2**63), 10**30, 0.0, -0.0, 1e308, 5e-324])
    | st.integers(-5, 5)
    | st.floats()
)
values = st.recursive(
    texts | numbers | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=6,
)


def toml(value: Any) -> str:
    """Generate any of `values` as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{text(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def text(value: str) -> str:
    escaped = (
        c if (c.isalnum() and c.isascii()) or c in " ./-_" else f"\\U{ord(c):08x}" for c in value
    )
    return '"' + "".join(escaped) + '"'


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """Generate a good file with a few bytes or lines cut, doubled or overwritten."""
    content = whole
    for _ in range(draw(st.integers(1, 3))):
        lines = content.split(b"\n")
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        i, j = (draw(st.integers(0, len(lines) - 1)) for _ in "ij")
        kind = draw(st.integers(0, 5))
        if kind == 0:
            content = content[:at]
        elif kind == 1:
            content = content[:at] + draw(st.binary(min_size=1, max_size=6)) + content[at + 1 :]
        elif kind == 2:
            content = b"\n".join([*lines[:i], *lines[i + 1 :]])
        elif kind == 3:
            content = b"\n".join([*lines[:i], lines[j], *lines[i:]])
        elif kind == 4:
            line = lines[i].split(b"=")[0] + b"= " + toml(draw(values)).encode(errors="replace")
            content = b"\n".join([*lines[:i], line, *lines[i + 1 :]])
        else:
            codec = draw(st.sampled_from(["utf-16", "utf-8-sig", "latin-1", "utf-32", "cp037"]))
            content = content.decode("utf-8", "replace").encode(codec, "replace")
    return content


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, spots: tuple[int, ...] = ()) -> bytes:
    """Generate a good binary file that is cut, or has bytes and integers overwritten.

    Integers are overwritten at `spots`, where the format keeps lengths, counts, types and offsets,
    or within the first 4,096 bytes.
    """
    content = bytearray(whole)
    places = st.sampled_from(spots) if spots else st.integers(0, min(len(whole) - 8, 4096))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        kind = draw(st.integers(0, 5))
        if kind == 0:
            del content[at:]
        elif kind == 1:
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=8))
        elif kind == 2:
            del content[at : at + draw(st.integers(1, 64))]
        else:
            size = draw(st.sampled_from([4, 8]))
            odd = st.sampled_from(
                [
                    0,
                    1,
                    2,
                    7,
                    9,
                    255,
                    2**15,
                    2**24,
                    2**31 - 1,
                    2**31,
                    2**32 - 1,
                    2**40,
                    2**62,
                    2**63,
                    2**64 - 1,
                ]
            )
            number = draw(odd | st.integers(0, 2**64 - 1)) % 2 ** (8 * size)
            place = draw(places)
            content[place : place + size] = number.to_bytes(size, "little")
    return bytes(content)


@st.composite
def rewritten(
    draw: st.DrawFn, whole: Any, keys: tuple[str, ...] = (), odd: st.SearchStrategy[Any] = values
) -> Any:
    """Generate a good JSON structure with values replaced, removed, doubled or nested."""
    value = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        node = value
        while True:
            known = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not known:
                break
            key = draw(st.sampled_from(known))
            if not isinstance(node[key], dict | list) or draw(st.booleans()):
                break
            node = node[key]
        kind = draw(st.integers(0, 5))
        if isinstance(node, dict) and (kind == 0 or not known):
            node[draw(st.sampled_from(keys) if keys else texts)] = copy.deepcopy(draw(odd))
        elif not known or kind <= 2:
            other = node[key] if known else 0
            new = copy.deepcopy(draw(odd))  # what is sampled is always the same object
            if known and isinstance(other, int | float) and draw(st.booleans()):
                new = draw(numbers)
            if known:
                node[key] = new
        elif kind == 3:
            del node[key]
        elif kind == 4:
            node[key] = copy.deepcopy(node[draw(st.sampled_from(known))])
        else:
            node[key] = draw(st.sampled_from([[node[key]], {"a": node[key]}, [node[key]] * 3]))
    return value
