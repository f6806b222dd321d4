"""Find the table in a JSON file: records, lists by layer, or either of them by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from analysis.loading.columns import role_of
from analysis.loading.options import hint
from study.read import InputError

_STEP = re.compile(r"\{(\w+)\}|\[\*\]|\[(\d+)\]|([^.\[\]{}]+)")
_LAYER_KEY = re.compile(r"^(?:layers?|block|l|h)?[ _.-]*(-?\d+)$", re.I)
#: Deepest nesting that is looked through.
MAX_DEPTH = 12


def tables_of(content: Any, where: str, records: str | None = None) -> list[pd.DataFrame]:
    """Return the tables in the content of a JSON file.

    Parameters
    ----------
    content : list or dict
    where : str
        The file, for messages.
    records : str, optional
        The path to the records or lists: steps joined by points, ``[*]`` for the items of a list,
        ``{name}`` for each key, which becomes the column of that name.

    Raises
    ------
    InputError
        If there is no table, lists side by side have different lengths, or there are several
        places that may be meant.

    Examples
    --------
    >>> content = {"model": "m", "layer_data": [{"layer": 0, "acc": 0.5}, {"layer": 1, "acc": 0.7}]}
    >>> tables_of(content, "run.json")[0]
      model  layer  acc
    0     m      0  0.5
    1     m      1  0.7
    >>> tables_of({"gpt2": [0.5, 0.7], "opt": [0.4, 0.6]}, "all.json", "{model}")[0]
       layer model  score
    0      0  gpt2    0.5
    1      1  gpt2    0.7
    2      0   opt    0.4
    3      1   opt    0.6
    """
    if records:
        return [_at(content, records, where)]
    if _by_column(content):
        return [pd.DataFrame({k: list(v.values()) for k, v in content.items()})]
    found = _tables(content, {}, where, "", 0)
    if not found:
        raise InputError(
            f"{where}: no list of numbers or of records by layer; say where it is with "
            f"{hint('records', 'results[*]')}"
        )
    # Tables at one kind of place belong together; at several kinds, which is meant?
    kinds: dict[tuple[Any, ...], list[tuple[str, pd.DataFrame]]] = {}
    for path, table in found:
        kinds.setdefault(tuple(table.columns), []).append((path, table))
    if len(kinds) > 1:
        with_layers = {k: v for k, v in kinds.items() if "layer" in {str(c).lower() for c in k}}
        kinds = with_layers if len(with_layers) == 1 else kinds
    if len(kinds) > 1:
        places = [paths[0][0] or "(top)" for paths in kinds.values()]
        raise InputError(
            f"{where}: numbers in several places ({', '.join(places[:6])}); say which with "
            f"{hint('records', next(p for p in places if p != '(top)'))}"
        )
    (same,) = kinds.values()
    return [pd.concat([table for _, table in same], ignore_index=True)]


def _by_column(content: Any) -> bool:
    """Say whether a JSON file is as pandas writes it: by column, and each by the same rows."""
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        return False
    rows = {tuple(column) for column in content.values()}
    return len(rows) == 1 and any(role_of(k) in ("layer", "depth") for k in content)


def _tables(
    node: Any, facts: Mapping[str, Any], where: str, path: str, depth: int
) -> list[tuple[str, pd.DataFrame]]:
    """Return the tables at and below a place, each with its path."""
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, list):
        return _of_list(node, facts, where, path)
    if not isinstance(node, dict):
        return []
    plain = {k: v for k, v in node.items() if not isinstance(v, list | dict)}
    layers = {k: _LAYER_KEY.match(str(k)) for k in node}
    if len(node) > 1 and all(layers.values()):
        numbered = [(int(match[1]), node[k]) for k, match in layers.items() if match]
        rows = [_row(value, {**facts, "layer": number}) for number, value in numbered]
        return [(path, _frame(rows))] if all(r is not None for r in rows) else []
    lists = {k: v for k, v in node.items() if _is_numbers(v)}
    inner = {k: v for k, v in node.items() if isinstance(v, dict | list) and k not in lists}
    out: list[tuple[str, pd.DataFrame]] = []
    if lists:
        table = _of_columns(lists, {**facts, **plain}, where, path)
        if table is not None:
            out.append((path, table))
    beside = {**facts, **plain}
    names = [k for k, v in inner.items() if isinstance(v, dict)]
    alike = len(names) > 1 and _same_form([v for v in inner.values() if isinstance(v, dict)])
    for key, value in inner.items():
        more = dict(beside)
        if alike and key in names:
            more[_level(depth, facts)] = key
        step = f"{path}.{key}" if path else str(key)
        out += _tables(value, more, where, step, depth + 1)
    return out


def _level(depth: int, facts: Mapping[str, Any]) -> str:
    """Name the column of a level of keys; what it holds is told by its values later."""
    return next(name for i in range(depth, 99) if (name := f"key {i + 1}") not in facts)


def _same_form(values: list[dict[str, Any]]) -> bool:
    """Say whether dicts have their keys, or the kinds of their values, in common."""
    kinds = [{type(v) for v in value.values()} for value in values]
    shared = set.intersection(*(set(value) for value in values))
    return bool(shared) or all(k == kinds[0] for k in kinds)


def _of_list(
    node: list[Any], facts: Mapping[str, Any], where: str, path: str
) -> list[tuple[str, pd.DataFrame]]:
    if node and all(isinstance(item, dict) for item in node):
        rows = [_row(item, facts) for item in node]
        if all(row is not None for row in rows):
            return [(f"{path}[*]", _frame(rows))]
        out = []
        for item in node:
            out += _tables(item, facts, where, f"{path}[*]", 1)
        return out
    if _is_numbers(node):
        table = pd.DataFrame({**facts, "layer": range(len(node)), "score": node})
        return [(path, table)]
    return []


def _row(item: Any, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a record without lists as one row, its inner dicts' fields named by both keys."""
    if isinstance(item, int | float) and not isinstance(item, bool):
        return {**facts, "score": item}
    if not isinstance(item, dict):
        return None
    row = dict(facts)
    for key, value in item.items():
        if isinstance(value, dict):
            inner = _row(value, {})
            if inner is None:
                return None
            row |= {f"{key}.{name}": v for name, v in inner.items()}
        elif _is_numbers(value) and len(value) > 1:
            return None
        elif not isinstance(value, list):
            row[key] = value
    return row


def _frame(rows: list[dict[str, Any] | None]) -> pd.DataFrame:
    return pd.DataFrame([row for row in rows if row is not None])


def _is_numbers(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(v, int | float) or v is None for v in value)
        and not all(isinstance(v, bool) for v in value)
    )


def _of_columns(
    lists: Mapping[str, list[Any]], facts: Mapping[str, Any], where: str, path: str
) -> pd.DataFrame | None:
    """Return lists side by side as columns; without a list of layers, their order is the layer."""
    from analysis.loading.columns import role_of

    lengths = {k: len(v) for k, v in lists.items()}
    place = f"{where}{f': {path}' if path else ''}"
    roles = {k: role_of(k) for k in lists}
    if len(set(lengths.values())) > 1:
        if any(role in ("layer", "depth") for role in roles.values()):
            said = ", ".join(f"{k} has {n}" for k, n in lengths.items())
            named = next((k for k, r in roles.items() if r == "score"), "LIST")
            raise InputError(
                f"{place}: lists of different lengths ({said}); make them one value for each layer"
                f", or say which to take with {hint('records', named)}"
            )
        known = {k for k, role in roles.items() if role == "score"}
        if known:
            said = ", ".join(f"{k} has {n}" for k, n in lengths.items())
            raise InputError(
                f"{place}: lists of different lengths ({said}); say which to take with "
                f"{hint('records', sorted(known)[0])}"
            )
        # By model: each has layers of its own.
        parts = [
            pd.DataFrame({**facts, "key 1": k, "layer": range(len(v)), "score": v})
            for k, v in lists.items()
        ]
        return pd.concat(parts, ignore_index=True)
    if len(lists) > 1 and not any(role in ("layer", "depth", "score") for role in roles.values()):
        parts = [
            pd.DataFrame({**facts, _level(0, facts): k, "layer": range(len(v)), "score": v})
            for k, v in lists.items()
        ]
        return pd.concat(parts, ignore_index=True)
    if next(iter(lengths.values())) < 2:
        return None
    table = pd.DataFrame({**facts, **lists})
    if not any(role in ("layer", "depth") for role in roles.values()):
        table.insert(len(facts), "layer", range(len(table)))
    return table


def _at(content: Any, records: str, where: str) -> pd.DataFrame:
    """Return the table at a path."""
    steps = list(_STEP.finditer(records))
    if not steps or _STEP.sub("", records).strip("."):
        raise InputError(
            f"records is {records!r}; write keys joined by points, [*] for the items of a list "
            "and {name} for each key: results.{model}[*].accuracy"
        )
    rows = []
    for value, facts, last in _walk(content, steps, {}, where, records):
        if isinstance(value, list):
            for i, item in enumerate(value):
                row = _row(item, {"layer": i, **facts})
                if row is None:
                    raise InputError(f"{where}: {records}: item {i} is neither number nor record")
                rows.append(row)
        elif isinstance(value, dict):
            row = _row(value, facts)
            if row is None:
                table = _tables(value, facts, where, records, 0)
                if len(table) == 1:
                    rows += [
                        {str(k): v for k, v in r.items()} for r in table[0][1].to_dict("records")
                    ]
                    continue
                raise InputError(f"{where}: {records} leads to no record; say more of the path")
            rows.append(row)
        else:
            row = dict(facts)
            row[last or "score"] = value
            rows.append(row)
    if not rows:
        raise InputError(f"{where}: nothing is at {records}")
    return pd.DataFrame(rows)


def _walk(
    node: Any, steps: list[re.Match[str]], facts: dict[str, Any], where: str, records: str
) -> Iterator[tuple[Any, dict[str, Any], str | None]]:
    if not steps:
        yield node, facts, None
        return
    step, rest = steps[0], steps[1:]
    if isinstance(node, dict):
        facts = {**{k: v for k, v in node.items() if not isinstance(v, list | dict)}, **facts}
    if step[1]:
        if not isinstance(node, dict):
            raise InputError(f"{where}: {records}: {step[0]} needs names, here is a list")
        for key, value in node.items():
            if isinstance(value, list | dict) or not rest:
                yield from _walk(value, rest, {**facts, step[1]: key}, where, records)
    elif step[0] == "[*]":
        if not isinstance(node, list):
            raise InputError(f"{where}: {records}: [*] needs a list")
        for i, value in enumerate(node):
            more = {} if isinstance(value, dict) and "layer" in value else {"layer": i}
            yield from _walk(value, rest, {**facts, **more}, where, records)
    else:
        name: Any = int(step[2]) if step[2] else step[3]
        try:
            value = node[name]
        except (KeyError, IndexError, TypeError):
            there = ", ".join(map(str, node)) if isinstance(node, dict) else f"{len(node)} items"
            raise InputError(
                f"{where}: {records}: no {str(name)!r}; there are {there[:200]}"
            ) from None
        if not rest and not isinstance(value, list | dict):
            facts.pop(name, None)
            yield value, facts, str(name)
        else:
            yield from _walk(value, rest, facts, where, records)
