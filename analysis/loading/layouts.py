"""Turn a table of any layout into a long one: one row for each score, columns by role."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from analysis.loading.cells import Marks, cleaned
from analysis.loading.columns import (
    SYNONYMS,
    columns_beside,
    is_metric,
    is_numeric,
    key_of,
    measures_in,
    metric_of,
    repetition_roles,
    role_of,
    roles_of,
    spread_columns,
)
from analysis.loading.model_names import family_of
from analysis.loading.options import REPETITIONS, Options, hint, some
from study.read import InputError

#: What stands before a layer's number, maybe behind the path of a module: model.layers.3.
_WORD = r"^(?:(?:[a-z_]+\.)*(?:layers?|blocks?|blk|l|h|hidden(?:[ _.]?states?)?))?"
_TOTAL = r"(?: *(?:/|of|out of) *(\d+)\b)?"
_LAYER = re.compile(rf"{_WORD}[ _.\-]*(-?\d+){_TOTAL}$", re.I)
_LAYER_CELL = re.compile(rf"{_WORD}[ _.#\-]*(-?\d+)\b{_TOTAL}.*$", re.I)
#: A kind of repetition, its number and what it measures: split0_test_score.
_REPEATED = re.compile(r"([a-z_ ]*[a-z])[ _.\-]*(\d+)(?:[ _.\-]+(.+))?", re.I)
_EMBEDDING = {
    *("emb", "embed", "embedding", "embeddings", "wte", "transformerwte", "embeddingoutput"),
    "input",
}
#: Fewest columns side by side that are layers.
MIN_WIDE = 4
#: Columns of a wide table that are facts about rows and no scores.
_INDEX = {"index", "unnamed0", "id", "row", "rank", "timestamp", "date"}
#: Roles of a row of a curve.
_OF_A_ROW = {"layer", "depth", "score", "se", "sd", "n", "n_layers", "n_params", "instruct"}


def long_table(
    frame: pd.DataFrame, where: str, options: Options, notes: dict[str, None], marks: Marks
) -> pd.DataFrame:
    """Return a long table with a column for each role that the table has.

    Parameters
    ----------
    frame : DataFrame
        As it stands in the file.
    where : str
        The file, for messages.
    options : Options
    notes : dict
        Sentences that say how it was read, in order; more are added.
    marks : Marks

    Returns
    -------
    DataFrame
        Columns by role (model, family, layer, depth, concept, method, metric, score, se, ...);
        columns without a role keep their names, behind a "~".

    Raises
    ------
    InputError
        If the layout is not clear; the message lists the candidates.
    """
    frame = frame.rename(columns=str)
    frame = cleaned(frame, where, marks, options.decimal)
    frame = _selected(frame, where, options)
    frame = _name_keys(frame, where, options)
    roles = roles_of(frame, options.columns, where)
    wide = _layer_columns(frame, roles)
    if options.wide == "layer" or (len(wide) >= MIN_WIDE and "layer" not in roles):
        return _from_layers(frame, wide, roles, where, notes)
    if "layer" not in roles and "depth" not in roles:
        lists = ", ".join(map(str, list(frame.columns)[:12]))
        raise InputError(
            f"{where}: no column of layers or depths among {lists}; give "
            f"{hint('columns', {'layer': _like_layers(frame)})}"
        )
    taken = set(roles.values())
    if "score" in roles:
        return _from_scores(frame, [roles["score"]], roles, options, notes)
    measures = measures_in(frame, taken)
    others = [c for c in _number_columns(frame) if c not in taken and key_of(c) not in _INDEX]
    beside = columns_beside(frame, others)
    named = [c for c in others if c not in beside]
    if options.wide == "metric" and not measures:
        measures = named
    if options.wide in (None, "metric") and measures:
        return _from_scores(frame, measures, roles, options, notes)
    if not options.wide and (columns := _repeated_columns(named, roles)):
        return _from_repetitions(frame, columns, roles, notes)
    if len(named) == 1 and not options.wide and not _are_models(named, roles):
        return _from_scores(frame, named, roles, options, notes)
    if not named:
        raise InputError(
            f"{where}: no column of scores among {', '.join(map(str, frame.columns))}; give "
            f"{hint('columns', {'score': 'COLUMN'})}"
        )
    kind = options.wide or _kind_of(named, roles, where)
    notes[
        f"columns {some(named, 4)} are taken as one {kind} each"
        if len(named) > 1
        else f"column {named[0]} is taken as one {kind}"
    ] = None
    _note_unused(frame, named, taken | {*named}, notes)
    kept = [c for c in frame.columns if c not in named]
    long = frame.melt(kept, named, var_name="~wide", value_name="~value")
    roles = {**roles, kind: "~wide", "score": "~value"}
    if "layer" not in roles and kind == "model":
        # Models of different numbers of layers have different depths.
        if long["~value"].isna().any():
            notes["empty cells are at depths that a model does not have"] = None
        return _as_roles(long.dropna(subset="~value"), roles)
    long = _without_shorter(_without_lacking(long, roles, ["~value"]), roles, where)
    return _as_roles(long, roles)


def _selected(frame: pd.DataFrame, where: str, options: Options) -> pd.DataFrame:
    for column, value in options.where.items():
        name = next((c for c in frame.columns if key_of(c) == key_of(column)), None)
        if name is None:
            raise InputError(
                f"{where}: no column {column!r} to choose by; there are "
                f"{', '.join(map(str, frame.columns))}"
            )
        wanted = [str(v) for v in (value if isinstance(value, list | tuple) else [value])]
        keep = frame[name].astype(str).isin(wanted)
        if not keep.any():
            there = ", ".join(map(str, frame[name].unique()[:10]))
            raise InputError(f"{where}: column {name!r} has no {value!r}; it has {there}")
        frame = frame[keep].reset_index(drop=True)
    return frame


def _name_keys(frame: pd.DataFrame, where: str, options: Options) -> pd.DataFrame:
    """Name the levels of a nested file by what they hold: models, measures, or ways."""
    given = options.columns.values()
    keys = [c for c in frame.columns if re.fullmatch(r"key \d+", str(c)) and c not in given]
    has = {role_of(c) for c in frame.columns} | set(options.columns)
    names = {}
    for column in keys:
        values = [str(v) for v in frame[column].unique()]
        if all(is_metric(v) for v in values) and "metric" not in has:
            role = "metric"
        elif all(family_of(v) for v in values) and "model" not in has:
            role = "model"
        elif len(keys) == 1 and "model" not in has:
            raise InputError(
                f"{where}: what are {some(values, 4)}? give {hint('columns', {'model': column})}, "
                f"or another role"
            )
        else:
            role = "method" if "method" not in has else "concept"
        names[column] = role
        has.add(role)
    return frame.rename(columns=names)


def _layer_columns(frame: pd.DataFrame, roles: dict[str, str]) -> dict[str, int]:
    """Return the columns that are layers, with their numbers."""
    out: dict[str, int | None] = {}
    for column in frame.columns:
        found = _LAYER.match(str(column).strip())
        if column in roles.values():
            continue
        if found:
            out[column] = int(found[1])
        elif key_of(column) in _EMBEDDING:
            out[column] = None
    numbers = _numbered(list(out.values()))
    return dict(zip(out, numbers, strict=True)) if len(set(numbers)) == len(out) else {}


def _from_layers(
    frame: pd.DataFrame,
    wide: dict[str, int],
    roles: dict[str, str],
    where: str,
    notes: dict[str, None],
) -> pd.DataFrame:
    if len(wide) < 2:
        raise InputError(f"{where}: no columns named by layer (0, 1, ... or layer_0, L1, ...)")
    roles = {k: v for k, v in roles.items() if k != "score"}
    notes[
        f"{len(wide)} columns are taken as layers {min(wide.values())} to {max(wide.values())}"
    ] = None
    if "model" not in roles:
        free = [
            c
            for c in frame.columns
            if c not in wide and c not in roles.values() and not is_numeric(frame[c])
        ]
        if len(free) == 1:
            roles["model"] = free[0]
    kept = [c for c in frame.columns if c not in wide]
    long = frame.melt(kept, list(wide), var_name="~wide", value_name="~value")
    roles = {**roles, "layer": "~wide", "score": "~value"}
    found = {c: _LAYER.match(c.strip()) for c in wide}
    totals = {c: f"{wide[c]}/{m[2]}" for c, m in found.items() if m and m[2]}
    long["~wide"] = long["~wide"].map({**wide, **totals})
    long = _without_shorter(_without_lacking(long, roles, ["~value"]), roles, where)
    return _as_roles(long, roles)


def _from_scores(
    frame: pd.DataFrame,
    scores: list[str],
    roles: dict[str, str],
    options: Options,
    notes: dict[str, None],
) -> pd.DataFrame:
    """Return a long table of one or more columns of scores, each with its own spread."""
    metrics = {score: metric_of(score) for score in scores}
    parts, used = [], set(roles.values())
    for score, metric in metrics.items():
        mine = _with_spread(frame, score, roles, options)
        used.update(mine.values())
        part = _without_lacking(frame, mine, scores) if len(scores) > 1 else frame
        if list(metrics.values()).count(metric) > 1:
            metric = score
        is_named = key_of(score) not in SYNONYMS["score"]
        parts.append(_as_roles(part, mine, metric=metric if is_named else None, drop=scores))
    if len(scores) > 1:
        notes[f"columns {some(scores, 4)} are taken as one metric each"] = None
    _note_unused(frame, scores, used, notes)
    return pd.concat(parts, ignore_index=True)


def _repeated_columns(named: list[str], roles: dict[str, str]) -> dict[str, tuple[str, int, str]]:
    """Return the columns that are repetitions: the kind, the number, and what is measured.

    Examples
    --------
    >>> _repeated_columns(["split0_test_f1", "split1_test_f1", "mean_test_f1", "b_2"], {})
    {'split0_test_f1': ('split', 0, 'test_f1'), 'split1_test_f1': ('split', 1, 'test_f1')}
    """
    out: dict[str, tuple[str, int, str]] = {}
    for column in named:
        found = _REPEATED.fullmatch(column)
        kind = role_of(found[1]) if found else None
        if found and kind in REPETITIONS and kind not in roles:
            out[column] = (str(kind), int(found[2]), found[3] or "")
    out = {c: v for c, v in out.items() if not v[2].lower().startswith("train")}
    return out if len(out) > 1 and len({kind for kind, _, _ in out.values()}) == 1 else {}


def _from_repetitions(
    frame: pd.DataFrame,
    columns: dict[str, tuple[str, int, str]],
    roles: dict[str, str],
    notes: dict[str, None],
) -> pd.DataFrame:
    """Return a long table of columns such as fold_0, fold_1, or split0_test_f1, split1_test_f1."""
    kind = next(kind for kind, _, _ in columns.values())
    notes[f"columns {some(list(columns), 4)} are taken as one {kind} each"] = None
    taken = {*columns, *roles.values()}
    unused = [c for c in _number_columns(frame) if c not in taken and key_of(c) not in _INDEX]
    if unused:
        notes[f"not used beside the {kind}s: {some(unused, 4)}"] = None
    roles = {**roles, kind: "~wide", "score": "~value"}
    measured = list(dict.fromkeys(what for _, _, what in columns.values()))
    parts = []
    for what in measured:
        mine = {c: number for c, (_, number, of) in columns.items() if of == what}
        kept = [c for c in frame.columns if c not in columns]
        long = frame.melt(kept, list(mine), var_name="~wide", value_name="~value")
        long["~wide"] = long["~wide"].map(mine)
        metric = what if is_metric(what) or len(measured) > 1 else None
        parts.append(_as_roles(_without_lacking(long, roles, ["~value"]), roles, metric))
    return pd.concat(parts, ignore_index=True)


def _without_lacking(long: pd.DataFrame, roles: dict[str, str], scores: list[str]) -> pd.DataFrame:
    """Leave out curves without any score: of concepts or metrics that a model lacks."""
    curve = [long[c] for role, c in roles.items() if role not in _OF_A_ROW]
    if not curve:
        return long
    lacks = long[roles["score"]].groupby(curve, dropna=False).transform("count") == 0
    has_others = long[scores].notna().any(axis=1).groupby(_models(long, roles)).transform("any")
    return long[~(lacks & has_others)]


def _without_shorter(long: pd.DataFrame, roles: dict[str, str], where: str) -> pd.DataFrame:
    """Leave out empty cells beyond the last score of a model: others have more layers."""
    known = long[roles["score"]].notna()
    if "layer" in roles:
        place = layer_numbers(long[roles["layer"]], where, _models(long, roles))
    else:
        place = pd.to_numeric(long[roles["depth"]], errors="coerce")
    last = place.where(known).groupby(_models(long, roles)).transform("max")
    return long[known | ~(place > last)]


def _models(long: pd.DataFrame, roles: dict[str, str]) -> pd.Series:
    return long[roles["model"]].fillna("") if "model" in roles else pd.Series("", long.index)


def _with_spread(
    frame: pd.DataFrame, score: str, roles: dict[str, str], options: Options
) -> dict[str, str]:
    """Return the roles with a score and the columns of its standard error and SD.

    The columns that the caller gives for them are the only ones then.
    """
    given = {"se", "sd"} & set(options.columns)
    found = {} if given else spread_columns(frame, score)
    kept = {k: v for k, v in roles.items() if not given or k in given or k not in ("se", "sd")}
    return {**found, **kept, "score": score}


def _note_unused(
    frame: pd.DataFrame, scores: list[str], used: set[str], notes: dict[str, None]
) -> None:
    """Say which columns tell of the spread of scores and are not used."""
    beside = columns_beside(frame, scores)
    unused = [c for c in frame.columns if c in beside and c not in used]
    if unused:
        are = "columns {} are" if len(unused) > 1 else "column {} is"
        notes[
            f"{are.format(some(unused, 4))} not used: errors come from standard errors, SDs with "
            "n, or repetitions"
        ] = None


def _are_models(named: list[str], roles: dict[str, str]) -> bool:
    return "model" not in roles and sum(bool(family_of(c)) for c in named) * 2 > len(named)


def _kind_of(named: list[str], roles: dict[str, str], where: str) -> str:
    """Return what columns side by side are, by their names."""
    if _are_models(named, roles):
        return "model"
    raise InputError(
        f"{where}: columns {some(named, 4)}: is each a model, a concept, a metric or a method? "
        f"give {hint('wide', 'concept' if 'model' in roles else 'model')}, or name the one to "
        f"take: {hint('columns', {'score': named[0]})}"
    )


def _as_roles(
    frame: pd.DataFrame, roles: dict[str, str], metric: str | None = None, drop: Any = ()
) -> pd.DataFrame:
    """Return the table with its columns named by role, others behind a "~"."""
    names = {column: role for role, column in roles.items()}
    rest = [c for c in frame.columns if c not in names and c not in drop]
    out = frame[[*names, *rest]].rename(columns={**names, **{c: f"~{c}" for c in rest}})
    if "depth" in roles and re.search("pct|percent", key_of(roles["depth"])):
        out = out.assign(depth_unit="percent")
    if "concept" in roles and not roles["concept"].startswith("~"):
        out = out.assign(called=roles["concept"])
    if metric is not None and "metric" not in out:
        out = out.assign(metric=metric)
    return out.reset_index(drop=True)


def layer_numbers(values: pd.Series, where: str, models: pd.Series | None = None) -> pd.Series:
    """Return layers as whole numbers: "layer_3", "L49 (best)" and "embedding" too.

    The embedding is layer -1 in models that have a layer 0 as well, which is then the first block.

    Examples
    --------
    >>> layer_numbers(pd.Series(["emb", "L1", "model.layers.2", "3 (best)"]), "t.md").tolist()
    [0, 1, 2, 3]
    >>> layer_numbers(pd.Series(["emb", "block.0", "block.1"]), "t.md").tolist()
    [-1, 0, 1]
    """
    if pd.api.types.is_numeric_dtype(values):
        return values
    out: list[int | None] = []
    for value in values:
        text = _layer_text(value)
        found = _LAYER_CELL.match(text)
        if key_of(text) in _EMBEDDING:
            out.append(None)
        elif found:
            out.append(int(found[1]))
        else:
            raise InputError(
                f"{where}: layer {value!r} has no number; write 0, 1, ... or layer_0, L1, embedding"
            )
    layers = pd.Series(out, values.index, dtype=object)
    by = pd.Series("", values.index) if models is None else models
    for rows in layers.groupby(by, dropna=False).groups.values():
        layers.loc[rows] = _numbered(list(layers.loc[rows]))
    return layers.astype(np.int64)


def _numbered(layers: list[int | None]) -> list[int]:
    """Return the embedding's number in its place: 0, or -1 where layer 0 is the first block."""
    embedding = -1 if 0 in layers else 0
    return [embedding if layer is None else layer for layer in layers]


def layer_totals(values: pd.Series) -> pd.Series:
    """Return the number of layers in cells such as "9/12", and NaN for others.

    Examples
    --------
    >>> layer_totals(pd.Series(["emb", "L1/12", "2 of 12 (best)", "3 (best)"])).tolist()
    [nan, 12.0, 12.0, nan]
    """
    if pd.api.types.is_numeric_dtype(values):
        return pd.Series(np.nan, values.index)
    return values.map(_layer_text).str.extract(_LAYER_CELL)[1].astype(np.float64)


def _layer_text(value: object) -> str:
    return re.sub(r"[*_`]{2}|[`★]", "", str(value)).strip()


def _like_layers(frame: pd.DataFrame) -> str:
    """Return the column to name in a hint: one without a role that counts like layers."""
    for column in frame.columns:
        values = frame[column].dropna()
        if role_of(column) is not None or not is_numeric(values) or values.nunique() < MIN_WIDE:
            continue
        if (values % 1 == 0).all() and values.min() >= -1:
            return str(column)
    return "COLUMN"


def _number_columns(frame: pd.DataFrame) -> list[str]:
    return [c for c in frame.columns if is_numeric(frame[c])]


__all__ = ["layer_numbers", "layer_totals", "long_table", "repetition_roles"]
