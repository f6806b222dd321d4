"""Load and validate score tables, and provide the profiles that every test uses.

A *profile* is one depth curve: the scores of one model under one method, weights, labels and
metric, averaged over emotions. Within `analysis` a profile is oriented so that larger means
better separated; results go back to the metric's own units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.loading.checks import (
    MAX_SCORE,
    MIN_SCORE,
    in_range,
    out_of_order,
    tidied,
)
from analysis.loading.grouping import Runs, may_repeat, wide
from analysis.loading.parquet import read_rows, read_table
from analysis.loading.run_file import read_run
from study import tables
from study.arrays import Float64Array
from study.read import InputError as InputError
from study.read import is_there, locate

if TYPE_CHECKING:
    from upath import UPath

PROFILE, MODEL = list(tables.PROFILE), list(tables.MODEL)
COLUMNS, REPLICATE_COLUMNS = list(tables.SCORE_COLUMNS), list(tables.REPLICATE_COLUMNS)

#: Columns of names, without missing values; the last is only in `scores.parquet`.
NAMES = ["study", *PROFILE, "family", "emotion"]
NUMBERS = ["n_params", "n_layers", "layer", "depth", "score"]

_DEFAULTS: dict[str, Any] = {
    "study": "data",
    "weights": "trained",
    "seed": 0,
    "precision": "unknown",
    "method": "all",
    "labels": "true",
    "metric": "score",
    "n_params": np.nan,
    "instruct": False,
    "emotion": "all",
}


@dataclass(frozen=True)
class Profile:
    """One depth curve, oriented so that larger means better separated.

    Attributes
    ----------
    keys : mapping
        The columns of `PROFILE` and `MODEL` with this profile's values.
    layer : ndarray of int, shape (n_points,)
    depth : ndarray, shape (n_points,)
        Layer / number of layers, increasing within [0, 1].
    separation : ndarray, shape (n_points,)
        `sign` times the mean score over emotions.
    replicates : ndarray, shape (n_replicates, n_points), or None
        Topic-bootstrap replicates of `separation`.
    sign : {+1, -1}
        Multiply by it to return to the metric's own units.
    n_topics : int, or None where unknown
        Number of topics in the bootstrap; it limits the precision of the error estimates.
    """

    keys: Mapping[str, Any]
    layer: NDArray[np.int64]
    depth: Float64Array
    separation: Float64Array
    replicates: Float64Array | None
    sign: int
    n_topics: int | None = None

    @property
    def name(self) -> str:
        """A label for messages: the values of the keys, joined."""
        return " / ".join(str(self.keys[k]) for k in PROFILE if k not in ("seed", "precision"))


@dataclass(frozen=True)
class Scores:
    """A study's scores, validated.

    Attributes
    ----------
    table : DataFrame
        Columns `COLUMNS`, one row per profile, emotion and layer, in the metric's own units.
    replicates : DataFrame or None
        Columns `REPLICATE_COLUMNS`; None for tables from elsewhere that have none.
    directions : mapping of str to {+1, -1}
        Per metric, +1 if a larger score means better separated, -1 if a smaller one does.
    run : mapping
        The contents of `run.json` (empty for tables from elsewhere); `run["study"]` holds the
        preregistered study file.
    """

    table: pd.DataFrame
    replicates: pd.DataFrame | None
    directions: Mapping[str, int]
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.table["study"].iloc[0])

    def select(self, **levels: Any) -> Scores:
        """Select the rows whose columns have the given value, or one of the given values.

        Parameters
        ----------
        **levels : value, list of values, or None
            For instance ``metric="auc", weights="trained"``. None ignores a column.

        Returns
        -------
        Scores

        Raises
        ------
        InputError
            If a value does not occur; the message lists those that do.

        Examples
        --------
        >>> import pandas as pd
        >>> data = pd.DataFrame({"model": "m", "family": "f", "depth": [0, .25, .5, .75, 1],
        ...                      "score": [.1, .3, .4, .3, .2]})
        >>> len(as_scores(data).select(model="m").table)
        5
        """
        keep = np.ones(len(self.table), dtype=bool)
        keep_replicates = np.ones(0 if self.replicates is None else len(self.replicates), bool)
        for column, value in levels.items():
            if value is None:
                continue
            wanted = _listed(value)
            here = self.table[column]
            absent = [v for v in wanted if not (here == v).any()]
            if absent:
                raise InputError(
                    f"{column} {absent[0]!r} is not in the table of study {self.name!r}; "
                    f"it has {', '.join(map(repr, sorted(here.unique().tolist())))}"
                )
            keep &= here.isin(wanted).to_numpy()
            if self.replicates is not None and column in self.replicates:
                keep_replicates &= self.replicates[column].isin(wanted).to_numpy()
        if not keep.any():
            raise InputError(
                f"no row of study {self.name!r} has "
                + ", ".join(f"{c} = {v!r}" for c, v in levels.items() if v is not None)
            )
        replicates = None
        if keep_replicates.any() and self.replicates is not None:
            whole = keep_replicates.all()
            replicates = self.replicates if whole else self.replicates.loc[keep_replicates]
        table = self.table if keep.all() else self.table[keep]
        return replace(self, table=table, replicates=replicates)

    def profiles(self) -> Iterator[Profile]:
        """Yield the profiles, sorted by `PROFILE`.

        Yields
        ------
        Profile
        """
        n_topics = len(self.run["topics"]) if "topics" in self.run else None
        runs = Runs(self.table, PROFILE)
        draws = wide(self.replicates, PROFILE, "replicate", "layer", "score")
        layers, depths, scores = (self.table[c].to_numpy() for c in ("layer", "depth", "score"))
        facts = {k: self.table[k].iloc[runs.first()].to_numpy() for k in [*PROFILE, *MODEL]}
        for number, key in enumerate(runs.of):
            rows = runs.rows(key)
            layer, first, which = np.unique(layers[rows], return_index=True, return_inverse=True)
            sign = self.directions[facts["metric"][number]]
            copies = draws(key, layer)
            yield Profile(
                keys={k: values[number] for k, values in facts.items()},
                layer=layer.astype(np.int64),
                depth=depths[rows[first]].astype(np.float64),
                separation=sign * np.bincount(which, scores[rows]) / np.bincount(which),
                replicates=None if copies is None else sign * copies,
                sign=sign,
                n_topics=n_topics,
            )


def load_scores(path: str | Path | UPath, **levels: Any) -> Scores:
    """Read and validate the score tables of one study.

    Parameters
    ----------
    path : str, Path or UPath
        The study's folder, with `scores.parquet`, `run.json` and (if any) `replicates.parquet`;
        a URL as well (``s3://bucket/scores/demo``).
    **levels : value, list of values, or None
        As for `Scores.select`: read only these rows. Tables are sorted by model, so one model's
        rows are read without the rest.

    Returns
    -------
    Scores

    Raises
    ------
    InputError
        If a file is missing or unreadable, the tables break a rule of `as_scores`, or a value
        does not occur.
    """
    folder = locate(path)
    run = read_run(folder / "run.json")
    directions = {}
    for metric, facts in run.get("metrics", {}).items():
        directions[metric] = 1 if facts.get("higher_is_better", True) else -1
    wanted = {c: _listed(value) for c, value in levels.items() if value is not None}
    table = read_rows(folder / "scores.parquet", COLUMNS, wanted)
    replicates = None
    if is_there(folder / "replicates.parquet"):
        shared = {c: values for c, values in wanted.items() if c in REPLICATE_COLUMNS}
        replicates = read_table(
            folder / "replicates.parquet", REPLICATE_COLUMNS, lean=True, levels=shared
        )
        if replicates.empty:
            replicates = None
    return _validated(table, replicates, directions, run, str(folder / "scores.parquet"))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set) else [value]


def as_scores(data: Scores | pd.DataFrame, higher_is_better: bool = True) -> Scores:
    """Return a study's scores, or a bare table as scores.

    Parameters
    ----------
    data : Scores or DataFrame
        A DataFrame needs model, family, depth and score; any other column of `COLUMNS` is optional
        and defaults to one level.
    higher_is_better : bool
        Whether a larger score means better separated, for a DataFrame.

    Returns
    -------
    Scores

    Raises
    ------
    InputError
        For a missing column, a score that is not finite, a depth outside [0, 1], duplicate rows, or
        several studies in one table.

    Examples
    --------
    >>> import pandas as pd
    >>> data = pd.DataFrame({"model": "m", "family": "f", "depth": [0, .25, .5, .75, 1],
    ...                      "score": [.1, .3, .4, .3, .2]})
    >>> next(as_scores(data).profiles()).separation
    array([0.1, 0.3, 0.4, 0.3, 0.2])
    """
    if isinstance(data, Scores):
        return data
    if not isinstance(data, pd.DataFrame):
        raise InputError(f"scores must be a DataFrame, not {type(data).__name__}")
    table = data.reset_index(drop=True)
    missing = [c for c in ("model", "family", "depth", "score") if c not in table]
    if missing:
        raise InputError(
            f"the table has no column {missing[0]!r}; it needs model, family, depth and score"
        )
    if table.empty:
        raise InputError("the table has no rows")
    for column, value in _DEFAULTS.items():
        if column not in table:
            table[column] = value
    table = tidied(table, "the table", NAMES, ["depth", "score"])
    if "layer" not in table:
        ranks = table.groupby(PROFILE, sort=False)["depth"].rank(method="dense")
        table["layer"] = ranks.fillna(0).astype(np.int64) - 1
    if "n_layers" not in table:
        table["n_layers"] = table.groupby("model", sort=False)["layer"].transform("max")
    directions = dict.fromkeys(table["metric"].unique(), 1 if higher_is_better else -1)
    return _validated(table[COLUMNS], None, directions, {}, "the table")


def metric_order(metrics: Iterable[str]) -> list[str]:
    """Return the metrics in reporting order; unknown ones come last, by name.

    Examples
    --------
    >>> metric_order(["mine", "cosine", "auc", "auc"])
    ['auc', 'cosine', 'mine']
    """
    return _in_order(metrics, tables.METRIC_ORDER)


def method_order(methods: Iterable[str]) -> list[str]:
    """Return the methods in reporting order; unknown ones come last, by name."""
    return _in_order(methods, tables.METHODS)


def _in_order(found: Iterable[str], known: tuple[str, ...]) -> list[str]:
    here = set(found)
    return [name for name in known if name in here] + sorted(here - set(known))


def _validated(
    table: pd.DataFrame,
    replicates: pd.DataFrame | None,
    directions: Mapping[str, int],
    run: Mapping[str, Any],
    where: str,
) -> Scores:
    """Check the rules that every test relies on; report the first fault."""
    if table.empty:
        raise InputError(f"{where}: no rows")
    studies = table["study"].unique().tolist()
    if len(studies) > 1:
        raise InputError(
            f"{where}: rows of several studies ({', '.join(map(str, studies))}); "
            "analyze one study at a time"
        )
    table = tidied(table, where, NAMES, NUMBERS)
    checked = [(table, [*PROFILE, "emotion", "layer"])]
    if replicates is not None:
        replicates = tidied(replicates, where, NAMES[:-1], [*NUMBERS, "replicate"], lean=True)
        checked.append((replicates, [*PROFILE, "replicate", "layer"]))
    for frame, unique in checked:
        for column in ("depth", "score", "layer"):
            bad = ~np.isfinite(frame[column].to_numpy(dtype=np.float64))
            if bad.any():
                raise InputError(f"{where}: {column} is not finite in {_row(frame, bad)}")
        fraction = ((frame["layer"] % 1 != 0) | (frame["layer"].abs() > 10**6)).to_numpy()
        if fraction.any():
            raise InputError(f"{where}: layer is no whole number in {_row(frame, fraction)}")
        if not in_range(frame["score"].to_numpy(dtype=np.float64)):
            raise InputError(
                f"{where}: scores beyond {MAX_SCORE:g}, or all within {MIN_SCORE:g} of 0; multiply "
                "them by a constant, which changes no test"
            )
        outside = (frame["depth"] < 0) | (frame["depth"] > 1)
        if outside.any():
            raise InputError(
                f"{where}: depth outside [0, 1] in {_row(frame, outside.to_numpy())}; "
                "depth is layer / number of layers"
            )
        if may_repeat(frame, PROFILE, unique[-2:]):
            twice = frame.duplicated(unique).to_numpy()
            if twice.any():
                raise InputError(f"{where}: duplicate layer in {_row(frame, twice)}")
    wrong = out_of_order(
        Runs(table, PROFILE).numbers(), table["layer"].to_numpy(), table["depth"].to_numpy()
    )
    if wrong is not None:
        here = np.arange(len(table)) == wrong
        raise InputError(f"{where}: depth does not grow with the layer in {_row(table, here)}")
    if not table["instruct"].isin([False, True]).all():
        raise InputError(f"{where}: column 'instruct' must hold true or false")
    if (table["n_params"] <= 0).any() or (table["n_layers"] < 0).any():
        raise InputError(f"{where}: n_params must be above 0 or missing, n_layers not below 0")
    for column, what in (("family", "family"), ("n_params", "number of parameters")):
        kinds = table[["model", column]].drop_duplicates()["model"]
        if kinds.duplicated().any():
            model = kinds[kinds.duplicated()].iloc[0]
            raise InputError(f"{where}: model {model!r} has more than one {what}")
    unknown = sorted(set(table["metric"].unique()) - set(directions))
    if unknown:
        raise InputError(f"{where}: run.json does not declare the metric {unknown[0]!r}")
    return Scores(table.reset_index(drop=True), replicates, dict(directions), dict(run))


def _row(frame: pd.DataFrame, bad: NDArray[np.bool_]) -> str:
    """Name the first bad row by its profile and depth."""
    row = frame[bad].iloc[0]
    return " / ".join(str(row[c]) for c in PROFILE) + f" at layer {row['layer']}"
