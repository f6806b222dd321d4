"""Find the rows of each group in a long table without grouping the rows.

A study of a thousand models has tens of millions of replicates. Rows of a group are mostly
contiguous, so it is enough to group the contiguous runs; any other order only takes more time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Key = tuple[Any, ...]


class Runs:
    """The rows of each group of a table.

    Parameters
    ----------
    table : DataFrame
    by : sequence of str
        The columns whose values make a group.

    Attributes
    ----------
    of : mapping of tuple to ndarray of int
        The numbers of each group's runs, by the values of `by`, sorted. Rows with a missing value
        in one of the columns are in no group.

    Examples
    --------
    >>> runs = Runs(pd.DataFrame({"a": ["x", "y", "y", "x"]}), ["a"])
    >>> {key: runs.rows(key).tolist() for key in runs.of}
    {('x',): [0, 3], ('y',): [1, 2]}
    """

    def __init__(self, table: pd.DataFrame, by: Sequence[str]) -> None:
        new = np.zeros(len(table), dtype=bool)
        new[:1] = True
        for column in by:
            codes = _codes(table[column])
            new[1:] |= codes[1:] != codes[:-1]
        self._start = np.flatnonzero(new)
        self._length = np.diff(np.append(self._start, len(table)))
        keys = pd.DataFrame({c: table[c].iloc[self._start].to_numpy() for c in by})
        self.of: dict[Key, NDArray[np.intp]] = {
            key: runs.index.to_numpy() for key, runs in keys.groupby(list(by), sort=True)
        }

    def first(self) -> NDArray[np.intp]:
        """Return the first row of each group."""
        return np.array([self._start[runs[0]] for runs in self.of.values()], dtype=np.intp)

    def rows(self, key: Key) -> NDArray[np.intp]:
        """Return the rows of one group, in their order."""
        runs = self.of[key]
        length = self._length[runs]
        skipped = self._start[runs] - (np.cumsum(length) - length)
        return np.asarray(np.arange(length.sum()) + np.repeat(skipped, length))

    def numbers(self) -> NDArray[np.int64]:
        """Return the number of each row's group, or -1 for rows in no group."""
        number = np.full(len(self._start), -1, dtype=np.int64)
        for i, runs in enumerate(self.of.values()):
            number[runs] = i
        return np.repeat(number, self._length)


def may_repeat(table: pd.DataFrame, by: Sequence[str], within: Sequence[str]) -> bool:
    """Say whether two rows may agree in all columns; False is certain.

    Parameters
    ----------
    table : DataFrame
    by : sequence of str
        Columns that make groups.
    within : sequence of str
        Columns with few values that distinguish the rows of a group.

    Returns
    -------
    bool
        Also True if there are too many cells (groups by values) to check.

    Examples
    --------
    >>> table = pd.DataFrame({"a": ["x", "x", "y"], "n": [1, 2, 1]})
    >>> may_repeat(table, ["a"], ["n"]), may_repeat(table, [], ["a"])
    (False, True)
    """
    cell = Runs(table, by).numbers() if by else np.zeros(len(table), dtype=np.int64)
    for column in within:
        codes = _codes(table[column])
        if codes.dtype.kind not in "iu" or cell.min() < 0:
            return True
        least = int(codes.min())
        cell *= int(codes.max()) - least + 1
        cell += codes
        cell -= least
        if cell.max() > 10 * len(table) + 10**6:
            return True
    seen = np.zeros(int(cell.max()) + 1, dtype=bool)
    seen[cell] = True
    return int(seen.sum()) < len(table)


def wide(
    table: pd.DataFrame | None, by: Sequence[str], row: str, column: str, value: str
) -> Callable[[Key, NDArray[Any]], NDArray[np.float64] | None]:
    """Return a function that arranges the values of a group by row and column.

    Parameters
    ----------
    table : DataFrame or None
    by : sequence of str
        Columns that make groups.
    row, column, value : str
        Columns of the table.

    Returns
    -------
    callable
        Takes a group's key and the wanted values of `column`, sorted. Returns an array of shape
        (values of `row`, wanted), NaN for missing rows; None for an unknown key.

    Examples
    --------
    >>> table = pd.DataFrame({"a": "x", "i": [1, 1, 2], "j": [5, 6, 6], "v": [0.1, 0.2, 0.3]})
    >>> wide(table, ["a"], "i", "j", "v")(("x",), np.array([5, 6]))
    array([[0.1, 0.2],
           [nan, 0.3]])
    """
    if table is None:
        return lambda key, wanted: None
    runs = Runs(table, by)
    rows, columns, values = (table[c].to_numpy() for c in (row, column, value))

    def of(key: Key, wanted: NDArray[Any]) -> NDArray[np.float64] | None:
        if key not in runs.of:
            return None
        mine = runs.rows(key)
        labels, i = np.unique(rows[mine], return_inverse=True)
        j = np.searchsorted(wanted, columns[mine]).clip(max=len(wanted) - 1)
        here = wanted[j] == columns[mine]
        out = np.full((len(labels), len(wanted)), np.nan)
        out[i[here], j[here]] = values[mine[here]]
        return out

    return of


def _codes(column: pd.Series) -> NDArray[Any]:
    """Return numbers that differ whenever the values of the column differ."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes)
    if pd.api.types.is_numeric_dtype(column):
        return np.asarray(column)
    return np.asarray(pd.factorize(column)[0])
