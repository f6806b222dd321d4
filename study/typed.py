"""Convert plain data to a dataclass, or say in one line which field is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from study.read import InputError

T = TypeVar("T")

_KINDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "left out",
}
_BOUNDS = {">=": "at least", "<=": "at most", ">": "above", "<": "below"}
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def typed(
    kind: type[T], content: Any, where: str, *, hidden: Iterable[str] = (), more: bool = False
) -> T:
    """Return plain data as a dataclass with checked fields.

    Parameters
    ----------
    kind : type
        A dataclass; its types may carry bounds (``Annotated[int, msgspec.Meta(ge=1)]``).
    content : mapping
        As read from TOML or JSON.
    where : str
        Beginning of the message: a file, or an entry in one.
    hidden : iterable of str
        Fields that the file cannot set.
    more : bool
        Whether fields that the dataclass does not have are allowed.

    Returns
    -------
    kind

    Raises
    ------
    InputError
        For a field that is unknown, missing, of the wrong type, or out of bounds. The message gives
        the field as named in the file, its value, and what is allowed.

    Examples
    --------
    >>> from study import Pooling
    >>> typed(Pooling, {"skip": 4}, "my.toml").skip
    4
    >>> typed(Pooling, {"skip": 0}, "my.toml")
    Traceback (most recent call last):
    ...
    study.read.InputError: my.toml: skip = 0 must be at least 1
    """
    if isinstance(content, Mapping) and not more:
        _refuse_unknown(kind, content, where, "", frozenset(hidden))
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {_sentence(str(error), content)}") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply") from None


def _refuse_unknown(
    kind: Any, content: Mapping[str, Any], where: str, prefix: str, hidden: frozenset[str]
) -> None:
    """Reject fields that a dataclass, or a dataclass within it, does not have."""
    known = [f.name for f in fields(kind) if f.name not in hidden]
    hints = get_type_hints(kind)
    for name, value in content.items():
        if name not in known:
            raise InputError(
                f"{where}: unknown field {prefix + name!r}; the fields are {', '.join(known)}"
            )
        inner = [hints[name], *get_args(hints[name])]
        by_name = get_origin(hints[name]) is Mapping
        for part in filter(is_dataclass, inner):
            parts = {f"{prefix}{name}.": value}
            if by_name and isinstance(value, Mapping):
                parts = {f"{prefix}{name}.{key}.": v for key, v in value.items()}
            if isinstance(value, list):
                parts = {f"{prefix}{name}[{i}].": v for i, v in enumerate(value)}
            for label, one in parts.items():
                if isinstance(one, Mapping):
                    _refuse_unknown(part, one, where, label, frozenset())


def _sentence(message: str, content: Any) -> str:
    """Translate a msgspec message into the terms of the file."""
    what, _, path = message.partition(" - at `$")
    path = path.rstrip("`")
    name, value, known = path.removeprefix("."), content, True
    for field, index in _STEP.findall(path):
        try:
            value = value[field or int(index)]
        except (KeyError, IndexError, TypeError):
            known = False
    missing = re.fullmatch(r"Object missing required field `(.+)`", what)
    if missing:
        return f"field {f'{name}.{missing[1]}'.lstrip('.')!r} is missing"
    shown = f"{name} = {value!r}" if known and "..." not in path else name
    bound = re.fullmatch(r"Expected `(?:array|str|int|float)` (>=|<=|>|<) (\S+)", what)
    if bound:
        limit = float(bound[2])
        least = str(int(limit)) if limit.is_integer() else f"{limit:g}"
        return f"{shown} must be {_BOUNDS[bound[1]]} {least}"
    length = re.fullmatch(r"Expected `str` of length >= 1", what)
    if length:
        return f"{shown} must not be empty"
    expected = re.match(r"Expected `(.+?)`", what)
    if expected:
        kinds = expected[1].split(" | ")
        table = kinds == ["object"] and name
        words = " or ".join(_KINDS.get(kind, kind) for kind in kinds)
        return f"{name if table else shown} must be {words}{f', [{name}]' if table else ''}"
    return f"{shown}: {what}"
