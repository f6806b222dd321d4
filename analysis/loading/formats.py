"""Read one file of a source to tables: CSV, Markdown, Excel, JSON, Parquet, Arrow, arrays."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.loading.files import SourceFile
from analysis.loading.nested import tables_of
from analysis.loading.options import Options, hint
from analysis.loading.parquet import read_table
from study.home import requirements
from study.read import InputError, read_bytes, reason

#: What an archive may unpack to: more is an attack on memory.
MAX_UNPACKED = 2**30
_EXCEL_SIGN = re.compile(r'"?sep=(.)"?[ ,;]*', re.I)
_RULE = re.compile(r"^\s*\|?[\s:|-]+\|[\s:|-]*$")


def tables_in(file: SourceFile, options: Options) -> list[pd.DataFrame]:
    """Return the tables in a file, as they stand: texts are not yet numbers.

    Raises
    ------
    InputError
        If the file cannot be read as what its suffix says, or what to read is not clear.
    """
    path, suffix = file.path, file.suffix
    if suffix in (".parquet", ".pq"):
        return [read_table(path, writer="what")]
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        raise InputError(f"{path}: not found") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from None
    if not content.strip():
        raise InputError(f"{path}: is empty")
    try:
        found = _read(file, content, options)
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None
    except ImportError as error:
        raise InputError(
            f"{path}: reading {suffix} needs {error.name}: pip install {requirements('sources')}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, MemoryError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not readable as {suffix} ({reason(error)})") from None
    except Exception as error:  # libraries' own kinds: pyarrow's, openpyxl's, safetensors'
        raise InputError(f"{path}: not readable as {suffix} ({reason(error)})") from None
    if not any(len(table) for table in found):
        raise InputError(f"{path}: has no rows")
    return [table for table in found if len(table)]


def _read(file: SourceFile, content: bytes, options: Options) -> list[pd.DataFrame]:
    path, suffix = file.path, file.suffix
    if suffix in (".arrow", ".feather", ".ipc"):
        import pyarrow as pa
        import pyarrow.feather

        if content[:6] == b"ARROW1" or content[:4] == b"FEA1":
            return [pa.feather.read_table(pa.BufferReader(content)).to_pandas()]
        return [pa.ipc.open_stream(content).read_all().to_pandas()]
    if suffix in (".npz", ".safetensors"):
        return [_of_arrays(arrays(suffix, content, str(path)), str(path))]
    if suffix == ".xlsx":
        return [sheet(content, str(path), options)]
    text = decoded(content)
    if suffix == ".json":
        return tables_of(json.loads(text), str(path), options.records)
    if suffix in (".jsonl", ".ndjson"):
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        return tables_of(lines, str(path), options.records)
    if suffix in (".md", ".markdown"):
        return list(markdown_tables(text, str(path)))
    return [delimited(text, str(path), options)]


def decoded(content: bytes) -> str:
    """Return a file's text: UTF-8, with or without a byte order mark, or UTF-16.

    Examples
    --------
    >>> decoded("né".encode("utf-16")), decoded("né".encode("utf-8-sig"))
    ('né', 'né')
    """
    marks = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
    for mark, encoding in marks.items():
        if content.startswith(mark):
            return content.decode(encoding)
    half = content[1:200:2]
    if len(half) > 4 and half.count(0) > len(half) * 0.8:
        return content.decode("utf-16-le")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def delimited(text: str, where: str, options: Options) -> pd.DataFrame:
    """Read text with a delimiter: tab, semicolon, comma or |, whichever gives even rows.

    Raises
    ------
    InputError
        If rows have more cells than the header.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    lines = [line for i, line in enumerate(lines) if not (line.startswith("#") and i < 50)]
    # What Excel reads as the delimiter, and does not count as a row.
    named = _EXCEL_SIGN.fullmatch(lines[0]) if lines else None
    lines = lines[(named is not None) + (options.header or 1) - 1 :]
    if not lines:
        raise InputError(f"{where}: has no rows")
    sign = named[1] if named else _delimiter(lines)
    rows = list(csv.reader(lines, delimiter=sign))
    header = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], 2):
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            raise InputError(
                f"{where}: line {number} has {len(row)} cells, the header {len(header)}; put "
                f"quotation marks around cells with a {sign!r} in them, or use another delimiter"
            )
    body = [[*row, *[""] * (len(header) - len(row))][: len(header)] for row in rows[1:]]
    return pd.DataFrame(body, columns=_named(header, where), dtype=object)


def _delimiter(lines: list[str]) -> str:
    """Return the delimiter that splits all lines into the same, largest number of cells."""
    best, most = ",", (False, 0)
    for sign in ("\t", ";", ",", "|"):
        try:
            widths = [len(row) for row in csv.reader(lines[:50], delimiter=sign)]
        except csv.Error:
            continue
        if min(widths, default=0) > 1:
            fits = (len(set(widths)) == 1, widths[0])
            if fits[0] > most[0] or (fits[0] == most[0] and fits[1] > most[1]):
                # A decimal comma splits as evenly as a semicolon does; the other sign counts.
                if sign == "," and best in ("\t", ";") and most[0]:
                    continue
                best, most = sign, fits
    return best


def _named(header: list[str], where: str) -> list[str]:
    """Return the header; a first column without a name is the index that pandas writes."""
    names = ["index" if i == 0 and not name else name for i, name in enumerate(header)]
    if "" in names[1:]:
        while names and not names[-1]:
            names = [*names[:-1], f"unnamed {len(names)}"]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{where}: two columns are called {name!r}; rename one")
    return names


def markdown_tables(text: str, where: str) -> Iterator[pd.DataFrame]:
    r"""Yield the pipe tables of a Markdown text that have numbers; cells keep their marks.

    Examples
    --------
    >>> page = "# Run\n\n| layer | acc |\n|---|---|\n| L0 | **0.5** |\n"
    >>> next(markdown_tables(page, "run.md"))
      layer      acc
    0    L0  **0.5**
    """
    lines = text.splitlines()
    found = False
    for i, line in enumerate(lines):
        if not (_RULE.match(line) and "-" in line and i and "|" in lines[i - 1]):
            continue
        header = [re.sub(r"[*_`]{1,2}(.+?)[*_`]{1,2}$", r"\1", c) for c in _cells(lines[i - 1])]
        rows = []
        for below in lines[i + 1 :]:
            if "|" not in below:
                break
            cells = _cells(below)
            rows.append([*cells, *[""] * (len(header) - len(cells))][: len(header)])
        if rows:
            found = True
            yield pd.DataFrame(rows, columns=_named(header, where), dtype=object)
    if not found:
        raise InputError(f"{where}: has no Markdown table (| layer | score |, |---|---|, rows)")


def _cells(line: str) -> list[str]:
    inner = re.sub(r"^\s*\||\|\s*$", "", line)
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", inner)]


def sheet(content: bytes, where: str, options: Options) -> pd.DataFrame:
    """Read one sheet of an Excel file.

    Raises
    ------
    InputError
        If several sheets have cells and none is named, the sheet is not there or is empty, or the
        header has merged cells.
    """
    _bearable(content, where)
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
    filled = [s for s in book.worksheets if s.max_row > 1]
    names = [s.title for s in book.worksheets]
    if options.sheet is not None:
        if options.sheet not in names:
            raise InputError(f"{where}: no sheet {options.sheet!r}; there are {', '.join(names)}")
        page = book[options.sheet]
        if page.max_row < 2:
            others = ", ".join(s.title for s in filled) or "none"
            raise InputError(
                f"{where}: sheet {options.sheet!r} is empty; with numbers: {others} "
                f"({hint('sheet', filled[0].title if filled else 'NAME')})"
            )
    elif len(filled) > 1:
        raise InputError(
            f"{where}: sheets {', '.join(s.title for s in filled)}: which one? give "
            f"{hint('sheet', filled[0].title)}"
        )
    elif not filled:
        raise InputError(f"{where}: every sheet is empty ({', '.join(names)})")
    else:
        page = filled[0]
    top = options.header or 1
    merged = [r for r in page.merged_cells.ranges if r.min_row <= top <= r.max_row]
    if merged:
        rows = page.iter_rows(min_row=1, max_row=min(page.max_row, 10), values_only=True)
        full = [i for i, row in enumerate(rows, 1) if sum(c is not None for c in row) > 1]
        next_row = next((i for i in full if i > top), top + 1)
        raise InputError(
            f"{where}: sheet {page.title!r}: the header has merged cells ({merged[0]}); name the "
            f"row that has a name in each column: {hint('header', next_row)}"
        )
    rows = [list(row) for row in page.iter_rows(min_row=top, values_only=True)]
    header = ["" if c is None else str(c).strip() for c in rows[0]]
    body = [row for row in rows[1:] if any(c is not None for c in row)]
    table = pd.DataFrame(body, columns=_named(header, where), dtype=object)
    return table.dropna(axis=1, how="all").infer_objects()


def arrays(suffix: str, content: bytes, where: str) -> dict[str, np.ndarray]:
    """Return the named arrays of a .npz or .safetensors file."""
    if suffix == ".npz":
        _bearable(content, where)
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    from safetensors.numpy import load

    return dict(load(content))


def _bearable(content: bytes, where: str) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > MAX_UNPACKED:
        raise InputError(f"{where}: unpacks to {size / 1e9:.1f} GB; at most 1 GB is read")


def _of_arrays(found: Mapping[str, np.ndarray], where: str) -> pd.DataFrame:
    """Return arrays, one for each model, as a table: layers along the last axis."""
    many = {name: a for name, a in found.items() if a.ndim in (1, 2) and a.dtype.kind in "iuf"}
    if not many:
        shapes = ", ".join(f"{name} {a.shape}" for name, a in found.items())
        raise InputError(
            f"{where}: no arrays of numbers with one or two axes ({shapes}); write one for each "
            "model, of shape (layers,) or (concepts, layers)"
        )
    rows = []
    for name, values in many.items():
        one = np.atleast_2d(values).astype(np.float64)
        for number, line in enumerate(one):
            facts: dict[str, Any] = {"model": name, "layer": np.arange(one.shape[1]), "score": line}
            if values.ndim == 2:
                facts["concept"] = f"{number + 1}"
            rows.append(pd.DataFrame(facts))
    return pd.concat(rows, ignore_index=True)


def as_pandas(frame: Any) -> pd.DataFrame:
    """Return any frame as a pandas DataFrame: polars, pyarrow, or with the Arrow interface."""
    if isinstance(frame, pd.DataFrame):
        if isinstance(frame.columns, pd.MultiIndex) or frame.columns.duplicated().any():
            raise InputError("the table: the columns must have one name each")
        named = [n for n in frame.index.names if n is not None]
        return frame.reset_index() if named else frame.reset_index(drop=True)
    import narwhals as nw
    import pyarrow as pa

    try:
        found: pd.DataFrame
        if hasattr(frame, "__arrow_c_stream__"):
            found = pa.table(frame).to_pandas()
        else:
            native = nw.from_native(frame)
            found = (native.collect() if isinstance(native, nw.LazyFrame) else native).to_pandas()
    except (TypeError, ValueError, pa.ArrowException):
        raise InputError(
            f"scores must be a table (pandas, polars, Arrow) or a path, not {type(frame).__name__}"
        ) from None
    return found
