"""Typeset result tables and numbers as Markdown for the paper.

The HTML and the PDF both come from this Markdown. Numbers are rounded, estimates have intervals,
and minus signs are true minus signs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from study.text import Markdown, markdown

#: Stands for a missing number.
NONE = "–"
#: A space that prevents a line break.
NBSP = "\xa0"


def number(value: float, digits: int = 2) -> str:
    """Return a number with fixed decimals and a true minus sign; a dash if it is missing.

    Examples
    --------
    >>> number(-0.126), number(float("nan"))
    ('−0.13', '–')
    """
    if pd.isna(value):
        return NONE
    text = f"{value:.{digits}f}"
    return (text[1:] if float(text) == 0 and text[0] == "-" else text).replace("-", "−")


def interval(estimate: float, low: float, high: float, digits: int = 2) -> str:
    r"""Return an estimate with its interval in brackets; words describe an open end.

    Examples
    --------
    >>> interval(0.512, 0.43, 0.601)
    '0.51\xa0[0.43,\xa00.60]'
    >>> inf = float("inf")
    >>> interval(0.5, -inf, inf), interval(0.5, 0.4, inf)
    ('0.50\xa0[no\xa0bounds]', '0.50\xa0[from\xa00.40]')
    """
    if pd.isna(estimate):
        return NONE
    if pd.isna(low) or pd.isna(high):
        return number(estimate, digits)
    ends = [number(end, digits) if math.isfinite(end) else "" for end in (low, high)]
    match ends:
        case ["", ""]:
            inside = "no bounds"
        case [start, ""]:
            inside = f"from {start}"
        case ["", end]:
            inside = f"to {end}"
        case _:
            inside = ", ".join(ends)
    return f"{number(estimate, digits)} [{inside}]".replace(" ", NBSP)


def intervals(
    table: pd.DataFrame,
    estimate: str = "estimate",
    low: str = "low",
    high: str = "high",
    digits: int = 2,
) -> list[str]:
    """Return `interval` for every row.

    Examples
    --------
    >>> intervals(pd.DataFrame({"estimate": [0.5], "low": [None], "high": [None]}))
    ['0.50']
    """
    values = table.reindex(columns=[estimate, low, high]).to_numpy(dtype=float)
    return [interval(a, b, c, digits) for a, b, c in values]


def p_value(p: float, sign: bool = False) -> str:
    r"""Return a p-value with three decimals, or "< 0.001".

    Parameters
    ----------
    p : float
    sign : bool
        Whether to write "=" before the number, for running text.

    Examples
    --------
    >>> p_value(0.0312), p_value(0.0001), p_value(0.0312, sign=True)
    ('0.031', '<\xa00.001', '=\xa00.031')
    """
    if pd.isna(p):
        return NONE
    text = "< 0.001" if p < 0.001 else f"{'= ' if sign else ''}{p:.3f}"
    return text.replace(" ", NBSP)


def count(n: int, singular: str, plural: str | None = None) -> str:
    """Return a count with its noun, in words up to ten.

    Examples
    --------
    >>> count(2, "model"), count(1, "family", "families"), count(12, "topic")
    ('two models', 'one family', '12 topics')
    """
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    noun = singular if n == 1 else plural or f"{singular}s"
    return f"{words[n] if n < len(words) else n} {noun}"


def numbered(n: int, singular: str, plural: str | None = None) -> str:
    """Return a number in digits with its noun.

    Examples
    --------
    >>> numbered(1, "family", "families"), numbered(12_000, "topic")
    ('1 family', '12,000 topics')
    """
    return f"{n:,} {singular if n == 1 else plural or f'{singular}s'}"


def each_of(n: int, singular: str) -> str:
    """Return "each of 3 models", or the only one.

    Examples
    --------
    >>> each_of(3, "model"), each_of(1, "model")
    ('each of 3 models', 'the one model')
    """
    return f"the one {singular}" if n == 1 else f"each of {numbered(n, singular)}"


def are_of(n: int, total: int, plural: str) -> str:
    """Return how many of several, with the verb.

    Examples
    --------
    >>> are_of(1, 3, "models"), are_of(2, 3, "models")
    ('1 of 3 models is', '2 of 3 models are')
    """
    return f"{n:,} of {total:,} {plural} {'is' if n == 1 else 'are'}"


def numbered_shape(n: int, shape: str) -> str:
    """Return how many curves have a shape, or are undecided.

    Examples
    --------
    >>> numbered_shape(2, "hump"), numbered_shape(1, "monotone"), numbered_shape(2, "undecided")
    ('2 humps', '1 monotone curve', '2 undecided')
    >>> numbered_shape(1, "several peaks")
    '1 with several peaks'
    """
    match shape:
        case "undecided":
            return f"{n:,} undecided"
        case "several peaks":
            return f"{n:,} with several peaks"
        case "monotone":
            return numbered(n, "monotone curve")
    return numbered(n, shape)


def with_article(shape: str) -> str:
    """Return the shape of a curve as a noun with its article.

    Examples
    --------
    >>> with_article("plateau"), with_article("monotone"), with_article("several peaks")
    ('a plateau', 'a monotone curve', 'several peaks')
    """
    return {"monotone": "a monotone curve", "several peaks": shape}.get(shape, f"a {shape}")


def listing(items: Iterable[str]) -> str:
    """Join words as in a sentence.

    Examples
    --------
    >>> listing(["a"]), listing(["a", "b"]), listing(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    *first, last = list(items) or [NONE]
    if not first:
        return last
    if any(isinstance(item, Markdown) for item in (*first, last)):
        return Markdown("{} and {}").format(Markdown(", ").join(first), last)
    return f"{', '.join(first)} and {last}"


def size(n_params: float) -> str:
    """Return a number of parameters in the usual form.

    Examples
    --------
    >>> size(134_515_008), size(1.24e9)
    ('135M', '1.2B')
    """
    if pd.isna(n_params):
        return NONE
    return f"{n_params / 1e9:.1f}B" if n_params >= 1e9 else f"{n_params / 1e6:.0f}M"


def inline_label(label: str) -> str:
    """Return a label in the form used within a sentence.

    Examples
    --------
    >>> inline_label("Held-out AUC"), inline_label("AUC of probes")
    ('held-out AUC', 'AUC of probes')
    """
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


def verdict_mark(verdict: str) -> Markdown:
    """Return a verdict as Markdown; decided verdicts are emphasized.

    Examples
    --------
    >>> verdict_mark("supported"), verdict_mark("contradicted"), verdict_mark("undecided")
    ('**supported**', '***contradicted***', 'undecided')
    """
    marks = {"supported": Markdown("**{}**"), "contradicted": Markdown("***{}***")}
    return marks.get(verdict, Markdown("{}")).format(verdict)


def typeset(
    table: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    widths: Sequence[float] | None = None,
    group: int = 0,
) -> Markdown:
    """Return a table as Markdown, with text aligned left and numbers aligned right.

    Parameters
    ----------
    table : DataFrame
        Floats are written with two decimals, integers without, and booleans as yes and no. Texts
        are escaped, unless they are Markdown in a column made by `markdown_column`.
    columns : mapping, optional
        The columns to show, with their headings; by default all columns, under their names.
    widths : sequence of float, optional
        Relative widths, for tables whose text must wrap; by default the longest entries.
    group : int
        Number of leading columns in which a value that repeats the row above is left out.

    Returns
    -------
    Markdown

    Examples
    --------
    >>> print(typeset(pd.DataFrame({"model": ["a", "a"], "vertex": [0.5, -1]}), group=1))
    | model | vertex |
    |:-------|--------:|
    | a | 0.50 |
    |   | −1.00 |
    """
    columns = dict(columns or {name: name for name in table.columns})
    cells = {name: [_cell(value) for value in table[name]] for name in columns}
    right = {name: _numeric(table[name], cells[name]) for name in columns}
    shown = {name: [markdown(text) for text in texts] for name, texts in cells.items()}
    for row in range(len(table) - 1, 0, -1):
        for name in list(columns)[:group]:
            if cells[name][row] != cells[name][row - 1]:
                break
            shown[name][row] = Markdown(" ")
    # When a line is too long, Pandoc uses the dashes as relative widths.
    dashes = [2 + max(map(len, [columns[name], *cells[name]])) for name in columns]
    if widths is not None:
        dashes = [max(2, round(100 * w / sum(widths))) for w in widths]
    rule = [
        Markdown("-") * n + Markdown(":") if right[name] else Markdown(":") + Markdown("-") * n
        for name, n in zip(columns, dashes, strict=True)
    ]
    rows = [columns.values(), *zip(*shown.values(), strict=True)]
    first, *rest = [Markdown("| {} |").format(Markdown(" | ").join(row)) for row in rows]
    return Markdown("\n").join([first, Markdown("|{}|").format(Markdown("|").join(rule)), *rest])


@dataclass(frozen=True)
class Kept:
    """Markdown in a table cell; pandas would turn it into a plain string in a column of text."""

    text: Markdown


def markdown_column(texts: Iterable[Markdown]) -> Any:
    """Return texts as a column that stays Markdown.

    Examples
    --------
    >>> table = pd.DataFrame({"n": [1]}).assign(mark=markdown_column([Markdown("*a*")]))
    >>> print(typeset(table, {"mark": "Mark"}))
    | Mark |
    |:------|
    | *a* |
    """
    return [Kept(text) for text in texts]


def _cell(value: object) -> str:
    if isinstance(value, Kept):
        return value.text
    if value is None or value is pd.NA:
        return NONE
    if isinstance(value, str):
        return value or " "
    if pd.api.types.is_bool(value):
        return "yes" if value else "no"
    if pd.api.types.is_integer(value):
        return f"{value:,}".replace("-", "−")
    if pd.api.types.is_float(value):
        return number(float(str(value)))
    return str(value)


def _numeric(column: pd.Series, cells: list[str]) -> bool:
    """Say whether a column holds numbers, including numbers already formatted as text."""
    if pd.api.types.is_bool_dtype(column):
        return False
    if pd.api.types.is_numeric_dtype(column):
        return True
    cells = [re.sub(r"\[(no|from|to)\xa0(bounds)?", "[", cell) for cell in cells]
    marks = {
        c for cell in cells for c in cell if not (c.isdigit() or c in f"−–.,%[]<>=≥≤ MBk{NBSP}")
    }
    return not marks and any(c.isdigit() or cell == NONE for cell in cells for c in cell)
