"""Check the columns of a table: names that can be sorted, numbers that are numbers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.loading.columns import spread_columns
from study.read import InputError
from study.text import visible

#: Beyond these, squares and their sums overflow or underflow.
MAX_SCORE, MIN_SCORE = 1e60, 1e-60


def tidied(
    table: pd.DataFrame,
    where: str,
    names: Iterable[str],
    numbers: Iterable[str],
    lean: bool = False,
) -> pd.DataFrame:
    """Return a table with numbered rows, sortable names, and numeric numbers.

    Parameters
    ----------
    table : DataFrame
    where : str
        Beginning of the message.
    names : iterable of str
        Columns of texts, or of numbers that stand for names; every row must have a value. Numbers
        of models and families become texts.
    numbers : iterable of str
        Columns of numbers; values may be missing.
    lean : bool
        Keep categories; otherwise convert them to their values.

    Raises
    ------
    InputError
        For duplicate column names, a name that is missing or neither a text nor a number, texts and
        numbers in one column, or numbers that are not numeric.
    """
    if isinstance(table.columns, pd.MultiIndex) or table.columns.duplicated().any():
        raise InputError(f"{where}: the columns must have one name each")
    table = table.reset_index(drop=True)
    for column in names:
        table[column] = _names(table[column], f"{where}: column {column!r}", lean)
        if column in ("model", "family"):
            table[column] = _spelled(table[column])
    for column in numbers:
        table[column] = _numbers(table[column], f"{where}: column {column!r}")
    return table


def _names(values: pd.Series, where: str, lean: bool = False) -> pd.Series:
    missing = values.isna().to_numpy()
    if missing.any():
        raise InputError(f"{where} has no value in row {missing.argmax()}")
    if isinstance(values.dtype, pd.CategoricalDtype):
        _names(values.cat.categories.to_series(), where)
        return values if lean else values.astype(values.cat.categories.dtype)
    kind = values.dtype
    if pd.api.types.is_object_dtype(kind):
        kinds = {str if isinstance(v, str) else _is_number(v) for v in values}
        if len(kinds) > 1 or False in kinds:
            raise InputError(f"{where} must hold texts, or numbers, and not both")
    elif not (pd.api.types.is_string_dtype(kind) or pd.api.types.is_numeric_dtype(kind)):
        raise InputError(f"{where} holds {kind}, no names")
    for name in values.unique():
        if isinstance(name, str) and any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
            raise InputError(
                f"{where} has the name {visible(name)!r}, with control characters; rename it"
            )
    return values


def _spelled(values: pd.Series) -> pd.Series:
    """Return numbers that stand for names as texts."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.rename_categories(list(_spelled(values.cat.categories.to_series())))
    texts = values.empty or isinstance(values.iloc[0], str)
    return values if texts else values.map(str)


def _numbers(values: pd.Series, where: str) -> pd.Series:
    kind = values.dtype
    if pd.api.types.is_object_dtype(kind) and values.isna().all():
        return values.astype(np.float64)
    real = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind)
    if not real or pd.api.types.is_bool_dtype(kind):
        raise InputError(f"{where} is not numeric")
    return values if isinstance(kind, np.dtype) else values.astype(np.float64)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def in_range(values: NDArray[Any]) -> bool:
    """Say whether scores can be squared and summed."""
    largest = float(np.abs(values).max(initial=0.0))
    return largest == 0 or MIN_SCORE < largest < MAX_SCORE


def out_of_order(group: NDArray[np.int64], layer: NDArray[Any], depth: NDArray[Any]) -> int | None:
    """Return a row whose depth does not increase with its layer, or None.

    Parameters
    ----------
    group : ndarray of int, shape (rows,)
        The number of each row's profile.
    layer, depth : ndarray, shape (rows,)
    """
    order = np.lexsort((depth, layer, group))
    same = np.diff(group[order]) == 0
    up = np.diff(layer[order]) > 0
    grows = np.diff(depth[order]) > 0
    wrong = same & (up != grows)
    return int(order[1:][wrong][0]) if wrong.any() else None


def is_plain(data: pd.DataFrame) -> bool:
    """Say whether a table has the columns of ours by their names, and nothing about errors."""
    if isinstance(data.columns, pd.MultiIndex) or not {"model", "family", "depth", "score"} <= {
        *data.columns
    }:
        return False
    others = {"concept", "se", "sd", "fold", "split", "topic", "bootstrap", "replicate"}
    return not (others & {str(c) for c in data.columns} or spread_columns(data, "score"))
