r"""Turn strings from tables, run files and models into what a place shows, escaped for that place.

A string that others wrote becomes Markdown, a script's data or a line of a terminal here and
nowhere else (`tests/test_house.py` checks this). Names keep looking like themselves; control
characters and those that change a text's direction are shown as escapes such as ``\x1b``.

This module imports only the standard library.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from string import Formatter
from typing import Any, SupportsIndex

#: What Markdown, or Quarto's additions to it, may give a meaning: punctuation of ASCII. Periods
#: and hyphens within a word or number have none, nor have the five signs that are left out.
_SPECIAL = re.compile(r"(?<![^\W_])[-.]|[-.](?![^\W_])|[!\"#$&'()*+:<=>@\[\\\]^_`{|}~]")


def visible(text: str) -> str:
    r"""Return a text in one line, with characters that have no shape of their own as escapes.

    Examples
    --------
    >>> print(visible("a\x1b[31mb\n\u202ec"))
    a\x1b[31mb\n\u202ec
    """
    return "".join(
        c
        if c.isprintable() or unicodedata.category(c) == "Zs"
        else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def broken(text: str, fits: Callable[[str], bool], after: str = " /-_") -> list[str]:
    """Return the lines of a text that is too long for one.

    They end after a space or, where one is still too long, after a slash, a hyphen, any letter.

    Examples
    --------
    >>> broken("Qwen/Qwen2.5-0.5B-Instruct", lambda line: len(line) <= 13)
    ['Qwen/', 'Qwen2.5-0.5B-', 'Instruct']
    """
    if len(text) < 2 or fits(text):
        return [text]
    lines = [""]
    for part in re.split(f"(?<={after[0]})", text) if after else text:
        if lines[-1] and not fits(lines[-1] + part):
            lines.append("")
        lines[-1] += part
    return [line for part in lines for line in broken(part, fits, after[1:])]


class Markdown(str):
    r"""Text that Jupyter and Quarto show as Markdown.

    Outside this module it is made only of literals. `format`, `join` and `+` escape every value
    that is not Markdown itself.

    Examples
    --------
    >>> print(Markdown("*{}* of {:.1%}").format("a*b", 0.5))
    *a\*b* of 50.0%
    """

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)

    def format(self, *args: Any, **kwargs: Any) -> Markdown:
        """Fill in values, escaped."""
        return Markdown(_ESCAPING.vformat(str(self), args, kwargs))

    def join(self, parts: Iterable[str], /) -> Markdown:
        """Join texts, escaped."""
        return Markdown(str.join(self, map(markdown, parts)))

    def __add__(self, other: str, /) -> Markdown:
        return Markdown(str.__add__(self, markdown(other)))

    def __radd__(self, other: str, /) -> Markdown:
        return Markdown(str.__add__(markdown(other), self))

    def __mul__(self, n: SupportsIndex, /) -> Markdown:
        return Markdown(str.__mul__(self, n))


class _Escaping(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Markdown) and not format_spec:
            return str(value)
        return str(markdown(format(value, format_spec)))


_ESCAPING = _Escaping()


def markdown(text: str) -> Markdown:
    r"""Return a text as Markdown that shows it as it is; Markdown is returned unchanged.

    Every character that pandoc or Quarto might read as markup is escaped: no raw attribute,
    shortcode, citation, link, image or block can result.

    Examples
    --------
    >>> print(markdown("a|b <unk> x_y*z gpt-2 0.5 {{< env KEY >}}"))
    a\|b \<unk\> x\_y\*z gpt-2 0.5 \{\{\< env KEY \>\}\}
    """
    if isinstance(text, Markdown):
        return text
    return Markdown(_SPECIAL.sub(r"\\\g<0>", visible(str(text))))


def html_text(text: str) -> str:
    """Return a text as HTML that shows it as it is.

    Examples
    --------
    >>> html_text("<b> & 'c'")
    '&lt;b&gt; &amp; &#x27;c&#x27;'
    """
    return html.escape(visible(text))


def script_data(value: Any) -> str:
    r"""Return a value as JSON that can stand in a script element of HTML.

    Examples
    --------
    >>> print(script_data({"name": "</script>"}))
    {"name":"\u003c/script\u003e"}
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def csv_text(text: str) -> str:
    r"""Return a text as a cell of CSV that a spreadsheet shows and does not compute.

    A cell that begins as a formula does (``=``, ``+``, ``-``, ``@``) gets an apostrophe before it,
    by which spreadsheets know a text.

    Examples
    --------
    >>> csv_text("=1+1"), csv_text("gpt-2")
    ("'=1+1", 'gpt-2')
    """
    shown = visible(text)
    return f"'{shown}" if shown.lstrip()[:1] in tuple("=+-@") else shown
