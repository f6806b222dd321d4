"""Write result tables for other programs: Markdown, LaTeX, Word and CSV, with the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.reporting.apa import Row, Style, check_style
from analysis.reporting.say import kind_of
from analysis.reporting.shown import PRINTED, Shown
from analysis.wording import NBSP, NONE, typeset
from study.home import requirements
from study.read import InputError
from study.text import Markdown, csv_text, visible
from study.write import write_text

#: Pandoc's Markdown without what could carry code: names of others are text.
SOURCE = "markdown-raw_html-raw_tex-raw_attribute-latex_macros"
#: What a LaTeX font without Greek letters and signs lacks.
LATEX = {
    "−": "$-$",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "χ": r"$\chi$",
    "κ": r"$\kappa$",
    "²": r"\textsuperscript{2}",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    NBSP: "~",
}
#: A longer line of a LaTeX table has columns of text that wrap.
LINE = 90


@dataclass(frozen=True)
class Layout:
    """A result as it is printed.

    Attributes
    ----------
    table : DataFrame
        Texts, under their headings.
    notes : list of str
        What is the same in all rows, and what the columns mean.
    """

    table: pd.DataFrame
    notes: list[str]


def laid_out(
    result: pd.DataFrame,
    *,
    style: Style = "apa",
    digits: int | None = None,
    confidence: float = 0.95,
    names: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Layout:
    """Lay a result out as a printed table; parameters as in `to_markdown`.

    Examples
    --------
    >>> power = pd.DataFrame({"margin": ["delta"], "alone": [0.14], "together": [0.18],
    ...                       "n_models": [9], "n_families": [5], "n_sim": [200]})
    >>> laid_out(power).table.to_dict("records")
    [{'Margin': 'delta', 'By itself': '0.14', 'Together': '0.18', 'Models': '9', 'Families': '5', \
'Studies': '200'}]
    """
    check_style(style)
    kind = kind_of(result)
    printed = PRINTED[kind.name]
    decimals = kind.digits if digits is None else digits
    rows = [
        Row({str(k): v for k, v in row.items()}, style, decimals, confidence, names or {})
        for row in result.to_dict("records")
    ]
    levels = sorted({row.level for row in rows})
    said = [f"{level} intervals in brackets." for level in levels[:1] if len(levels) == 1]
    columns: dict[str, list[str]] = {}
    for shown in printed.columns:
        cells = [_cell(row, shown, len(levels) > 1) for row in rows]
        if not any(cells):
            continue
        if shown.how == "text" and len(set(cells)) == 1 and len(rows) > 1 and _about(shown):
            said.append(f"{shown.heading}: {cells[0]}.")
            continue
        columns[shown.heading] = [cell or NONE for cell in cells]
    if not any("[" in cell for cells in columns.values() for cell in cells):
        said = said[1:] if len(levels) == 1 else said
    given = [f"{visible(note).rstrip('.')}." for note in notes]
    return Layout(pd.DataFrame(columns), [*filter(None, [printed.note]), *said, *given])


def _about(shown: Shown) -> bool:
    return shown.heading not in ("Claim", "Verdict")


def _cell(row: Row, shown: Shown, own_level: bool) -> str:
    if shown.how == "text":
        return row.named(shown.column)
    if not row.has(shown.column):
        return ""
    match shown.how:
        case "p":
            return row.p(shown.column, "").strip().removeprefix("= ")
        case "count":
            return row.number(shown.column, 0)
        case "statistic":
            return row.number(shown.column, 2)
        case "df":
            return row.df(shown.column)
        case "interval" if row.has(shown.low) and row.has(shown.high):
            ends = f"[{row.number(shown.low)}, {row.number(shown.high)}]"
            return f"{row.number(shown.column)} {ends}" + (f" {row.level}" if own_level else "")
    return row.number(shown.column)


def to_markdown(
    result: pd.DataFrame,
    path: str | Path | None = None,
    *,
    caption: str = "",
    notes: Sequence[str] = (),
    style: Style = "apa",
    digits: int | None = None,
    confidence: float = 0.95,
    names: Mapping[str, str] | None = None,
) -> str:
    r"""Return a result as a Markdown table with its notes, and write it if there is a path.

    Parameters
    ----------
    result : DataFrame
        Any table that a function of this package returns, or some of its rows.
    path : str or Path, optional
        The file to write.
    caption : str
    notes : sequence of str
        Further sentences below the table, for instance which way a metric points.
    style : {"apa", "plain"}
        "apa" writes p without the zero before its point.
    digits : int, optional
        Decimals of estimates and intervals; default: 2, for `control_test` 3.
    confidence : float
        The level of the intervals, for tables without the column ``confidence``.
    names : mapping of str to str, optional
        What to call a model, method or metric of the table.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If the table is not the result of a test, or the style is unknown.

    Examples
    --------
    >>> margins = pd.DataFrame({"margin": ["delta"], "alone": [0.14], "together": [0.18]})
    >>> print(to_markdown(margins, caption="Margins", notes=["200 studies"]))
    | Margin | By itself | Together |
    |:--------|-----------:|----------:|
    | delta | 0.14 | 0.18 |
    <BLANKLINE>
    : Margins
    <BLANKLINE>
    *Note.* Margins within which most simulated studies show sameness\. 200 studies\.
    <BLANKLINE>
    """
    layout = laid_out(
        result, style=style, digits=digits, confidence=confidence, names=names, notes=notes
    )
    parts: list[Markdown] = [typeset(layout.table)]
    if caption:
        parts.append(Markdown(": {}").format(caption))
    parts.append(Markdown("*Note.* {}").format(" ".join(layout.notes)))
    text = str(Markdown("\n\n").join(parts)) + "\n"
    return _written(text, path)


def to_latex(
    result: pd.DataFrame,
    path: str | Path | None = None,
    *,
    caption: str = "",
    label: str = "",
    notes: Sequence[str] = (),
    style: Style = "apa",
    digits: int | None = None,
    confidence: float = 0.95,
    names: Mapping[str, str] | None = None,
) -> str:
    r"""Return a result as a LaTeX table with its notes, and write it if there is a path.

    The document needs ``\usepackage{booktabs,array}``.

    Parameters
    ----------
    result, path, caption, notes, style, digits, confidence, names
        As in `to_markdown`.
    label : str
        For references to the table, for instance "tab:peaks".

    Returns
    -------
    str

    Raises
    ------
    InputError
        As in `to_markdown`; also if jinja2 is missing.
    """
    layout = laid_out(
        result, style=style, digits=digits, confidence=confidence, names=names, notes=notes
    )
    try:
        table = layout.table.style.hide(axis="index").format(_latex)
    except ImportError:
        raise InputError(f"LaTeX needs jinja2: pip install {requirements('report')}") from None
    table = table.format_index(_latex, axis=1)
    body = table.to_latex(hrules=True, column_format=_columns(layout.table))
    lines = [r"\begin{table}", r"\centering"]
    lines += [rf"\caption{{{_latex(caption)}}}"] if caption else []
    lines += [rf"\label{{{label}}}"] if label else []
    note = _latex(" ".join(layout.notes))
    lines += [body.rstrip(), r"\par\smallskip", rf"{{\footnotesize \emph{{Note.}} {note}}}"]
    return _written("\n".join([*lines, r"\end{table}", ""]), path)


def _latex(text: object) -> str:
    """Return a text as LaTeX that shows it as it is."""
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    signs |= LATEX | {c: f"\\{c}" for c in "&%$#_{}"}
    return "".join(signs.get(c, c) for c in visible(str(text)))


def _columns(table: pd.DataFrame) -> str:
    """Return the columns' alignment; in a wide table, columns of text wrap."""
    widths = {name: max(map(len, [str(name), *table[name]])) for name in table}
    numeric = {name: all(c[:1] in "0123456789−–.<>∞" for c in table[name]) for name in table}
    wide = sum(widths.values()) > LINE
    words = sum(width for name, width in widths.items() if not numeric[name])
    left = max(LINE - sum(width for name, width in widths.items() if numeric[name]), LINE / 3)
    return "".join(
        "r"
        if numeric[name]
        else rf">{{\raggedright\arraybackslash}}p{{{left * width / words / LINE:.3f}\linewidth}}"
        if wide
        else "l"
        for name, width in widths.items()
    )


def to_docx(
    result: pd.DataFrame,
    path: str | Path,
    *,
    caption: str = "",
    notes: Sequence[str] = (),
    style: Style = "apa",
    digits: int | None = None,
    confidence: float = 0.95,
    names: Mapping[str, str] | None = None,
) -> Path:
    """Write a result as a table for Word, with its notes; return the path.

    Parameters
    ----------
    result, path, caption, notes, style, digits, confidence, names
        As in `to_markdown`.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        As in `to_markdown`; also if pandoc is missing.
    """
    try:
        import pypandoc  # part of the extra "render"
    except ImportError:
        raise InputError(f"Word files need pandoc: pip install {requirements('render')}") from None
    text = to_markdown(
        result,
        caption=caption,
        notes=notes,
        style=style,
        digits=digits,
        confidence=confidence,
        names=names,
    )
    target = Path(path)
    try:
        pypandoc.convert_text(text, "docx", SOURCE, outputfile=str(target))
    except RuntimeError as error:
        raise InputError(f"cannot write {target}: {str(error).splitlines()[0]}") from None
    return target


def to_csv(result: pd.DataFrame, path: str | Path | None = None) -> str:
    """Return all columns of a result as CSV, unrounded, and write it if there is a path.

    Texts that a spreadsheet would compute get an apostrophe.

    Parameters
    ----------
    result : DataFrame
    path : str or Path, optional

    Returns
    -------
    str

    Raises
    ------
    InputError
        If the file cannot be written.

    Examples
    --------
    >>> print(to_csv(pd.DataFrame({"model": ["=1+1"], "p": [0.0132]})), end="")
    model,p
    '=1+1,0.0132
    """
    cells: Any = result.map(lambda cell: csv_text(cell) if isinstance(cell, str) else cell)
    return _written(str(cells.to_csv(index=False)), path)


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        write_text(Path(path), text)
    return text
