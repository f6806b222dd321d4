"""Read Parquet files from untrusted sources: flat columns of limited size only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.read import InputError, is_there, store_errors

#: A file that unpacks to more than the first limit, and to more than the second times its own size,
#: is an attack on memory: real scores hardly compress.
DENSE, RATIO = 2 * 2**30, 400
_FLAT = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_null,
)


def read_table(
    path: Any,
    columns: Iterable[str] = (),
    writer: str = "extraction.py",
    lean: bool = False,
    levels: Mapping[str, list[Any]] | None = None,
) -> Any:
    """Read a Parquet file from an untrusted source.

    Parameters
    ----------
    path : Path or UPath
    columns : iterable of str
        Required columns; only these are read. All columns if empty.
    writer : str
        The script that writes such files, for the message.
    lean : bool
        Keep texts as categories and whole numbers in 32 bits where they fit, for tens of millions
        of rows: a fifth of the memory.
    levels : mapping of str to list
        Read only rows whose columns have one of the values; row groups whose bounds exclude them
        are skipped.

    Returns
    -------
    DataFrame

    Raises
    ------
    InputError
        If it is missing, damaged, nested, too large when unpacked, or lacks a column.
    """
    try:
        if not is_there(path):
            raise InputError(f"{path}: not found; python {writer} writes it")
        if not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path}: not a regular file")
        with store_errors(path), _opened(path) as file:
            return _read(path, file, list(columns), writer, lean, levels or {})
    except InputError:
        raise
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise InputError(f"{path}: not readable as Parquet ({error})") from None


def _opened(path: Any) -> Any:
    """Open a file; from a URL, fetch only the parts that are read."""
    if isinstance(path, Path):
        return path.open("rb")
    return path.fs.open(path.path, "rb", cache_type="none")


def _read(
    path: Any,
    file: Any,
    columns: list[str],
    writer: str,
    lean: bool,
    levels: Mapping[str, list[Any]],
) -> pd.DataFrame:
    schema = pq.read_schema(file)
    missing = [c for c in columns if c not in schema.names]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}; run {writer} again")
    wanted = columns or schema.names
    texts = []
    for name in wanted:
        if schema.names.count(name) > 1:
            raise InputError(f"{path}: two columns are called {name!r}")
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(fits(kind) for fits in _FLAT):
            raise InputError(f"{path}: column {name!r} holds {kind}, no texts or numbers")
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            texts.append(name)
    # Keep texts as codes until their size is known.
    parquet = pq.ParquetFile(file, read_dictionary=texts)
    size = file.seek(0, 2)
    groups = _groups(parquet.metadata, levels)
    rows = sum(parquet.metadata.row_group(g).num_rows for g in groups)
    _bearable(path, 8 * rows * len(wanted), size)
    keep = np.ones(rows, dtype=bool)
    for name, values in levels.items():
        keep &= _plain(parquet.read_row_groups(groups, [name])[name]).isin(values).to_numpy()
    longest, series = 0, {}
    for name in wanted:
        # One at a time, because more is read than kept.
        column = parquet.read_row_groups(groups, [name])[name]
        if name in texts:
            for chunk in column.chunks:
                chunk.dictionary.validate(full=True)  # bytes that are no UTF-8
                longest += len(chunk) * (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0)
            _bearable(path, longest, size)
        if not keep.all():
            column = column.filter(pa.array(keep))
        series[name] = _lean(column) if lean else _plain(column)
    return pd.DataFrame(series, copy=False)


def _groups(metadata: Any, levels: Mapping[str, list[Any]]) -> list[int]:
    """Return the row groups that may have rows with one of the values in every column."""
    names = [metadata.schema.column(j).path for j in range(metadata.num_columns)]
    groups = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        bounds = {name: group.column(names.index(name)).statistics for name in levels}
        if all(_may_hold(bounds[name], values) for name, values in levels.items()):
            groups.append(number)
    return groups


def _may_hold(bounds: Any, values: list[Any]) -> bool:
    if bounds is None or not bounds.has_min_max:
        return True
    try:
        return any(bounds.min <= value <= bounds.max for value in values)
    except TypeError:  # a text among numbers, which is not there
        return True


def _plain(column: pa.ChunkedArray) -> pd.Series:
    if pa.types.is_dictionary(column.type) and not pa.types.is_integer(column.type.value_type):
        column = pc.cast(column, pa.large_string())
    return pd.Series(column.to_pandas())


def _lean(column: pa.ChunkedArray) -> pd.Series:
    if pa.types.is_int64(column.type):
        bounds = pc.min_max(column).as_py()
        if bounds["min"] is not None and -(2**31) <= bounds["min"] <= bounds["max"] < 2**31:
            column = pc.cast(column, pa.int32())
    return pd.Series(column.to_pandas())


def _bearable(path: Any, dense: int, size: int) -> None:
    if dense > max(DENSE, RATIO * size):
        raise InputError(
            f"{path}: {size / 1e6:.1f} MB that unpack to {dense / 1e9:.0f} GB; get the file again"
        )


def read_rows(path: Any, columns: list[str], wanted: Mapping[str, list[Any]]) -> pd.DataFrame:
    """Read the rows with the wanted values; an error names a value that does not occur."""
    for column in wanted:
        if column not in columns:
            raise InputError(f"{path}: no column {column!r}; choose from {', '.join(columns)}")
    table: pd.DataFrame = read_table(path, columns, levels=wanted)
    for column, values in wanted.items():
        if absent := [v for v in values if not (table[column] == v).any()]:
            here = set(read_table(path, [column])[column])
            if absent[0] not in here:
                raise InputError(
                    f"{path}: {column} {absent[0]!r} is not in the table; "
                    f"it has {', '.join(map(repr, sorted(here)))}"
                )
    if wanted and table.empty:
        asked = ", ".join(f"{c} = {values}" for c, values in wanted.items())
        raise InputError(f"{path}: no row has {asked}")
    return table
