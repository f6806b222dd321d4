"""The terminal, on which strings are plain text and only `rich.text.Text` has a style."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from study.text import visible


class Terminal(Console):
    r"""A console that shows every string as it is: no markup, no escape codes, no emoji names.

    This also holds for the strings in tables, titles and columns. For a style, pass a `Text` made
    by `styled`.

    Examples
    --------
    >>> Terminal(width=40).print("[bold]m[/b] :smile:\x1b[31m")
    [bold]m[/b] :smile:\x1b[31m
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as plain text, its lines kept."""
        lines = (visible(line) for line in text.split("\n"))
        kept = {key: options[key] for key in ("style", "justify", "overflow") if key in options}
        return Text("\n".join(lines), **kept)


def styled(text: str, style: str) -> Text:
    r"""Return a plain text with a style for a terminal.

    Examples
    --------
    >>> styled("a[/b]", "bold").markup
    '[bold]a\\[/b][/bold]'
    """
    return Text("\n".join(map(visible, text.split("\n"))), style=style)
