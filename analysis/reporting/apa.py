"""Write estimates, intervals, statistics and p as journals ask for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from analysis.wording import NBSP, number, numbered, p_value
from study.read import InputError
from study.text import visible

#: APA leaves out the zero of a p (p = .013); "plain" keeps it, as the paper's tables do.
Style = Literal["apa", "plain"]
STYLES: tuple[Style, ...] = ("apa", "plain")
#: What stands in a score table where nothing was named.
UNNAMED = ("", "all", "none", "unknown", "nan", "<NA>")


@dataclass(frozen=True)
class Row:
    """One row of a result table, and how its numbers are written.

    Attributes
    ----------
    values : mapping
        Its columns.
    style : {"apa", "plain"}
    digits : int
        Decimals of estimates and intervals.
    confidence : float
        The level of the intervals, unless the row has a column of it.
    names : mapping
        What to call a value of the table, such as a metric.

    Examples
    --------
    >>> row = Row({"estimate": 0.494, "low": 0.41, "high": 0.58, "t": -2.5, "df": 4, "p": 0.0132})
    >>> row.estimate("depth"), row.statistic("t"), row.p()
    ('depth = 0.49, 95% CI [0.41, 0.58]', 't(4) = −2.50', 'p = .013')
    >>> Row({"p": 0.0132}, style="plain").p(), Row({"p": 0.0002}).p("p", "p of equivalence")
    ('p = 0.013', 'p of equivalence < .001')
    """

    values: Mapping[str, Any]
    style: Style = "apa"
    digits: int = 2
    confidence: float = 0.95
    names: Mapping[str, str] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Say whether the row has a value in this column."""
        return name in self.values and bool(pd.notna(self.values[name]))

    def text(self, name: str) -> str:
        """Return a value as text: its name if it has one, empty if there is none."""
        value = self.values[name] if self.has(name) else ""
        text = f"{value:g}" if isinstance(value, float) else str(value)
        return visible(self.names.get(text, text))

    def named(self, name: str) -> str:
        """Return a value as text; empty where the table names nothing."""
        text = self.text(name)
        return "" if text in UNNAMED else text

    def number(self, name: str, digits: int | None = None) -> str:
        """Return a number with a true minus sign and fixed decimals."""
        value = float(self.values[name])
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        return number(value, self.digits if digits is None else digits)

    def value(self, label: str, name: str, digits: int | None = None) -> str:
        """Return "label = 0.48"; empty if the number is missing."""
        return f"{label} = {self.number(name, digits)}" if self.has(name) else ""

    def estimate(
        self,
        label: str,
        name: str = "estimate",
        low: str = "low",
        high: str = "high",
        kind: str = "CI",
    ) -> str:
        """Return "label = 0.48, 95% CI [0.41, 0.55]", without what is missing."""
        said = [self.value(label, name)]
        if said[0] and self.has(low) and self.has(high):
            said.append(self.interval(low, high, kind))
        return joined(said)

    def interval(self, low: str, high: str, kind: str = "CI") -> str:
        """Return "95% CI [0.41, 0.55]"."""
        return f"{self.level} {kind} [{self.number(low)}, {self.number(high)}]"

    @property
    def level(self) -> str:
        """The level of the intervals, as "95%"."""
        level = self.values["confidence"] if self.has("confidence") else self.confidence
        return f"{100 * float(level):.3g}%"

    def statistic(self, letter: str, name: str = "t", df: str = "df") -> str:
        """Return "t(4) = 2.31"; empty if it is missing."""
        if not self.has(name):
            return ""
        inside = ""
        if self.has(df) and math.isfinite(float(self.values[df])):
            inside = f"({self.df(df)})"
        return f"{letter}{inside} = {self.number(name, 2)}"

    def df(self, name: str = "df") -> str:
        """Return degrees of freedom: whole, or with two decimals."""
        return self.number(name, 0 if float(self.values[name]).is_integer() else 2)

    def freedom(self) -> str:
        """Return "df = 4"; empty if it is missing."""
        return f"df = {self.df()}" if self.has("df") else ""

    def p(self, name: str = "p", label: str = "p") -> str:
        """Return "p = .013" or "p < .001"; empty if it is missing."""
        if not self.has(name):
            return ""
        text = p_value(float(self.values[name]), sign=True).replace(NBSP, " ")
        if self.style == "apa":
            text = "> .999" if text == "= 1.000" else text.replace("0.", ".")
        return f"{label} {text}"

    def count(self, name: str, noun: str, plural: str | None = None) -> str:
        """Return "9 models"; empty if it is missing."""
        if not self.has(name):
            return ""
        return numbered(int(self.values[name]), noun, plural)

    def models(self, name: str = "n_models") -> str:
        """Return "9 models of 5 families"."""
        families = self.count("n_families", "family", "families")
        return " of ".join(filter(None, [self.count(name, "model"), families]))

    def conditions(self, *more: str) -> str:
        """Return what the row is about, in parentheses: method, metric, controls; may be empty."""
        given = [self.named("method"), self.named("metric"), *more]
        if self.text("weights") == "untrained":
            given.append("untrained")
        if self.text("labels") == "shuffled":
            given.append("shuffled labels")
        said = joined(given)
        return f" ({said})" if said else ""


def check_style(style: str) -> None:
    """Raise `InputError` for a style that is not there."""
    if style not in STYLES:
        raise InputError(f"no style {style!r}; there are {', '.join(map(repr, STYLES))}")


def joined(parts: list[str]) -> str:
    """Join the parts that are there with commas."""
    return ", ".join(part for part in parts if part)


def sentence(finding: str, numbers: list[str]) -> str:
    """Return a finding with its numbers as one sentence.

    Examples
    --------
    >>> sentence("the peak was at the target", ["M = 0.48", "", "p = .013"])
    'The peak was at the target: M = 0.48, p = .013.'
    """
    said = joined(numbers)
    text = f"{finding}: {said}" if said else finding
    return f"{text[:1].upper()}{text[1:]}."


def undecided(question: str, row: Row) -> str:
    """Return a finding that leaves a question open, with the reason."""
    reason = row.text("reason")
    return f"{question} is undecided ({reason})" if reason else f"{question} is undecided"
