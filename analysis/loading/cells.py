"""Turn cells of text into numbers: marks of emphasis, percent signs, decimal commas."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.loading.options import hint
from study.read import InputError

#: What stands for a missing number.
MISSING = {"", "nan", "na", "n/a", "none", "null", "-", "–", "—"}
_NUMBER = re.compile(r"[-+]?((\d[\d,]*\.?\d*|\.\d+|\d*,\d+)([eE][-+]?\d+)?|inf(inity)?)", re.I)
_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_WORDS = re.compile(
    r"\((best|max|maximum|peak|min|last|first|final|top|worst)\)|[*_`†‡★↑↓✓🏆]", re.I
)
_SPREAD = re.compile(r"\s*(±|\+/-|\+-|\\pm).*$")


@dataclass
class Marks:
    """What was taken off the cells of a table, or for an empty cell, for the message."""

    taken: set[str] = field(default_factory=set)
    empty: set[str] = field(default_factory=set)

    def said(self) -> list[str]:
        """Return one sentence for each kind."""
        return sorted(self.taken)


def numbers(
    values: pd.Series, where: str, marks: Marks, decimal: str | None = None
) -> pd.Series | None:
    """Return cells as numbers, or None where they are words.

    Parameters
    ----------
    values : Series
        Numbers, or texts.
    where : str
        File and column, for messages.
    marks : Marks
        Is told what was taken off.
    decimal : str, optional
        The decimal sign; otherwise told from the cells.

    Raises
    ------
    InputError
        If some cells have decimal commas and others points, or commas may be either.

    Examples
    --------
    >>> marks = Marks()
    >>> numbers(pd.Series(["**0.895**", "0.9 (best)"]), "t.md: column 'acc'", marks).tolist()
    [0.895, 0.9]
    >>> marks.said()
    ["marks of emphasis and words such as 'best' are taken off"]
    >>> numbers(pd.Series(["0,53", "0,61"]), "t.csv: column 'acc'", marks).tolist()
    [0.53, 0.61]
    """
    if pd.api.types.is_bool_dtype(values):
        return None
    if pd.api.types.is_numeric_dtype(values):
        return values.astype(np.float64) if values.dtype.kind not in "iuf" else values
    missing = values.isna()
    texts = values[~missing].astype(str).str.strip()
    plain = texts.str.replace(_WORDS, "", regex=True).str.strip()
    emphasis = bool((plain != texts).any())
    spread = plain.str.replace(_SPREAD, "", regex=True)
    spreads = bool((spread != plain).any())
    bare = spread.str.replace("−", "-").str.replace(r"\s*%$", "", regex=True)
    percent = bool((bare != spread.str.replace("−", "-")).any())
    is_missing = bare.str.lower().isin(MISSING)
    some = bare[~is_missing]
    if some.empty:
        return pd.Series(np.nan, values.index) if missing.all() and len(values) else None
    if not some.str.fullmatch(_NUMBER).all():
        return None
    commas = some[some.str.contains(",")]
    if len(commas):
        some = _without_commas(some, commas, where, marks, decimal)
    if emphasis:
        marks.taken.add("marks of emphasis and words such as 'best' are taken off")
    if percent:
        marks.taken.add("percent signs are taken off, the numbers are taken as they are")
    if spreads:
        marks.taken.add("what follows ± is left out, which may be an SD or a standard error")
    marks.empty |= set(bare[is_missing]) - {""}
    return pd.to_numeric(some, errors="coerce").reindex(values.index)


def _without_commas(
    some: pd.Series, commas: pd.Series, where: str, marks: Marks, decimal: str | None
) -> pd.Series:
    points = some[some.str.contains(".", regex=False)]
    if decimal == ",":
        return some.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    thousands = bool(commas.str.fullmatch(_THOUSANDS).all())
    if decimal == "." or (thousands and len(points)):
        if not thousands:
            raise InputError(
                f"{where}: {commas.iloc[0]!r} has a comma that separates no thousands; "
                f"give {hint('decimal', ',')}"
            )
        marks.taken.add("commas between thousands are taken off")
        return some.str.replace(",", "", regex=False)
    if thousands:
        raise InputError(
            f"{where}: {commas.iloc[0]!r} may be a decimal comma or separate thousands; "
            f"give {hint('decimal', ',')}, or '.'"
        )
    if len(points) or not commas.str.fullmatch(_COMMA).all():
        other = (points if len(points) else commas).iloc[0]
        raise InputError(
            f"{where}: {commas.iloc[0]!r} has a decimal comma, {other!r} does not; write them "
            f"alike, or give {hint('decimal', ',')}"
        )
    marks.taken.add("decimal commas are read as such")
    return some.str.replace(",", ".", regex=False)


def cleaned(
    frame: pd.DataFrame, where: str, marks: Marks, decimal: str | None = None
) -> pd.DataFrame:
    """Return a table whose columns of numbers are numeric; the others are stripped texts."""
    out = {}
    for column in frame.columns:
        values = frame[column]
        found = numbers(values, f"{where}: column {column!r}", marks, decimal)
        if found is not None:
            out[column] = found
        elif values.dtype == object or pd.api.types.is_string_dtype(values):
            out[column] = values.map(_stripped)
        else:
            out[column] = values
    return pd.DataFrame(out, columns=frame.columns)


def _stripped(value: object) -> object:
    return re.sub(r"^[*_`]+|[*_`]+$", "", value.strip()) if isinstance(value, str) else value
