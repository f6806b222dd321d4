"""What a caller may say about a source, and how messages name what would help."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from study.read import InputError


class SourceWarning(UserWarning):
    """Something that was assumed or left out when numbers from elsewhere were read."""


@dataclass(frozen=True)
class Options:
    """How a source is to be read; what is empty or None is told from the data.

    Attributes
    ----------
    columns : mapping of str to str
        The column for a role: model, family, layer, depth, n_layers, n_params, instruct, concept,
        method, metric, score, weights, labels, precision, se, sd, n, or a kind of repetition.
    where : mapping of str to value
        Rows to keep, by column.
    sheet : str
        Of an Excel file.
    header : int
        Row of a table's header, from 1.
    records : str
        Path to the records of a JSON file: ``layer_data[*]``, ``{model}.{method}[*]``.
    wide : str
        What columns of numbers side by side are: model, metric, concept or layer.
    decimal : str
        "." or ",".
    higher_is_better : bool or mapping of metric to bool
    n_layers : int or mapping of model to int
    layer_zero : str or mapping of model to str
        "embedding", or "block" where layer 0 is the output of the first block.
    depth : str
        Unit of the depth column: "share", "percent" or "layer".
    family : str or mapping of model to str
    missing : str
        "refuse", or "drop" rows without a score.
    correlation : float, optional
        Between the errors of neighboring layers, where only standard errors are known; by default
        the one under which the curvature has the largest error.
    test_share : float
        Share of the texts that a random split tests on.
    resampled : int, optional
        How many topics or texts a bootstrap sample draws; by default as many as there are samples.
    strict : bool
        Refuse concepts or metrics that are not there throughout, instead of leaving them out.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, Any] = field(default_factory=dict)
    sheet: str | None = None
    header: int | None = None
    records: str | None = None
    wide: str | None = None
    decimal: str | None = None
    higher_is_better: bool | Mapping[str, bool] | None = None
    n_layers: int | Mapping[str, int] | None = None
    layer_zero: str | Mapping[str, str] | None = None
    depth: str | None = None
    family: str | Mapping[str, str] | None = None
    missing: str = "refuse"
    correlation: float | None = None
    test_share: float = 0.2
    resampled: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            values = value.values() if isinstance(value, Mapping) else [value]
            for one in values:
                if one is not None and one not in allowed:
                    known = ", ".join(map(str, allowed))
                    raise InputError(f"{name} is {one!r}; choose from {known}")
        for name in self.columns:
            if name not in ROLES:
                raise InputError(f"columns: no role {name!r}; choose from {', '.join(ROLES)}")
        if self.correlation is not None and not 0 <= self.correlation < 1:
            raise InputError(f"correlation is {self.correlation}; it must be in [0, 1)")
        if not 0 < self.test_share < 1:
            raise InputError(f"test_share is {self.test_share}; it must lie between 0 and 1")
        counts = self.n_layers.values() if isinstance(self.n_layers, Mapping) else [self.n_layers]
        for count in counts:
            if count is not None and not (isinstance(count, Integral) and int(count) > 0):
                raise InputError(f"n_layers is {count!r}; give a whole number, 1 or more")
        if self.resampled is not None and self.resampled < 3:
            raise InputError(
                f"resampled is {self.resampled}; an error needs at least 3 topics or texts"
            )

    def given(self) -> dict[str, Any]:
        """Return the options that are not the default."""
        default = Options()
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: v for name, v in values.items() if v != getattr(default, name)}

    def over(self, other: Mapping[str, Any]) -> Options:
        """Return these options; what they leave open comes from a mapping file."""
        said = self.given()
        merged = {**other, **said}
        for name in ("columns", "where"):
            merged[name] = {**other.get(name, {}), **said.get(name, {})}
        return Options(**merged)


CHOICES: dict[str, tuple[Any, ...]] = {
    "higher_is_better": (True, False),
    "wide": ("model", "metric", "concept", "layer", "method"),
    "decimal": (".", ","),
    "layer_zero": ("embedding", "block"),
    "depth": ("share", "percent", "layer"),
    "missing": ("refuse", "drop"),
}
#: Kinds of repetitions, the most telling of the error first.
REPETITIONS = ("topic", "bootstrap", "replicate", "split", "fold", "seed")
ROLES = (
    "model",
    "family",
    "layer",
    "depth",
    "n_layers",
    "n_params",
    "instruct",
    "concept",
    "method",
    "metric",
    "score",
    "weights",
    "labels",
    "precision",
    "se",
    "sd",
    "n",
    *REPETITIONS,
)


def check_names(option: str, given: Any, what: str, names: Iterable[str]) -> None:
    """Raise InputError if an option names a model or metric that is not there.

    Examples
    --------
    >>> check_names("n_layers", {"gtp2": 12}, "model", ["gpt2"])
    Traceback (most recent call last):
    study.read.InputError: n_layers: no model 'gtp2'; there are gpt2
    """
    there = list(dict.fromkeys(names))
    unknown = [name for name in given if name not in there] if isinstance(given, Mapping) else []
    if unknown:
        raise InputError(f"{option}: no {what} {unknown[0]!r}; there are {some(there, 20)}")


def some(names: Sequence[Any], most: int = 3) -> str:
    """Return the first names, and how many more there are.

    Examples
    --------
    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(map(str, names[:most]))}{more}"


def hint(option: str, value: Any) -> str:
    """Return how an option is given at the terminal and in Python.

    Examples
    --------
    >>> hint("layer_zero", "block")
    "--layer-zero block (in Python: layer_zero='block')"
    >>> hint("columns", {"layer": "L"})
    "--columns layer=L (in Python: columns={'layer': 'L'})"
    """
    flag = f"--{option.replace('_', '-')}"
    if isinstance(value, Mapping):  # of plain numbers, not NumPy's
        value = {k: getattr(v, "item", lambda v=v: v)() for k, v in value.items()}
    if isinstance(value, Mapping):
        said = " ".join(f"{_quoted(k)}={_quoted(v)}" for k, v in value.items())
    else:
        said = _quoted(value)
    return f"{flag} {said} (in Python: {option}={value!r})"


def fact_of(said: str) -> str:
    """Return how a source was read, without the option that would change it.

    Examples
    --------
    >>> fact_of(f"layer 0 is the embedding; otherwise give {hint('layer_zero', 'block')}")
    'layer 0 is the embedding'
    """
    return re.sub(r"; [^;]*\bgive --.*", "", said)


def _quoted(value: Any) -> str:
    return f"'{value}'" if " " in str(value) else str(value)
