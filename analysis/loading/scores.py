"""Load and validate score tables, and provide the profiles that every test uses.

A *profile* is one depth curve: the scores of one model under one method, weights, labels and
metric, averaged over emotions. Within `analysis` a profile is oriented so that larger means
better separated; results go back to the metric's own units.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.loading.balance import balanced
from analysis.loading.checks import is_plain, tidied
from analysis.loading.columns import directions_in
from analysis.loading.grouping import Runs, wide
from analysis.loading.options import Options, SourceWarning, check_names
from analysis.loading.parquet import read_rows, read_table
from analysis.loading.reading import read
from analysis.loading.run_file import read_run
from analysis.loading.validation import NAMES, validated
from study import tables
from study.arrays import Float64Array
from study.read import InputError as InputError
from study.read import is_there, locate

if TYPE_CHECKING:
    from upath import UPath

PROFILE, MODEL = list(tables.PROFILE), list(tables.MODEL)
COLUMNS, REPLICATE_COLUMNS = list(tables.SCORE_COLUMNS), list(tables.REPLICATE_COLUMNS)

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
        Number of topics in the bootstrap, or of a user's own repetitions; it limits the precision
        of the error estimates.
    repeated : str
        The kind of the user's repetitions ("fold", "standard error"); empty for a study of ours.
    """

    keys: Mapping[str, Any]
    layer: NDArray[np.int64]
    depth: Float64Array
    separation: Float64Array
    replicates: Float64Array | None
    sign: int
    n_topics: int | None = None
    repeated: str = ""

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

    @property
    def is_foreign(self) -> bool:
        """Whether the numbers come from elsewhere, and no run of ours made them."""
        return "notes" in self.run

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
        repeated = self.run.get("repetitions") or {}
        n_topics = len(self.run["topics"]) if "topics" in self.run else repeated.get("n")
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
                repeated=str(repeated.get("kind", "")),
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
    return _built(table, replicates, directions, run, str(folder / "scores.parquet"))


def read_scores(
    source: Any,
    *,
    mapping: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    sheet: str | None = None,
    header: int | None = None,
    records: str | None = None,
    wide: str | None = None,
    decimal: str | None = None,
    higher_is_better: bool | Mapping[str, bool] | None = None,
    n_layers: int | Mapping[str, int] | None = None,
    layer_zero: str | Mapping[str, str] | None = None,
    depth: str | None = None,
    family: str | Mapping[str, str] | None = None,
    missing: str = "refuse",
    correlation: float | None = None,
    test_share: float = 0.2,
    resampled: int | None = None,
    strict: bool = False,
) -> Scores:
    """Read scores by layer from any file, folder or frame.

    Layout, names and units are told from the data; the result says how in `run["notes"]`, and what
    had to be assumed in `run["assumed"]`. What is ambiguous is an error that lists the candidates.

    Parameters
    ----------
    source : str, Path or frame
        A study's folder; a file (CSV, TSV, Markdown, Excel, JSON, JSON lines, Parquet, Arrow,
        .npz, .safetensors); a folder of them, a glob, a URL; a path with names in it
        (``results/{model}/run.json``); a mapping file (.toml); or a frame of pandas, polars,
        pyarrow or anything with the Arrow PyCapsule interface.
    mapping : str or Path, optional
        A mapping file for a source that is given.
    columns : mapping of str to str, optional
        The column for a role: ``{"score": "probe_acc", "layer": "Layer"}``.
    where : mapping of str to value, optional
        Rows to keep, by column.
    sheet, header : str, int, optional
        Of an Excel file: its sheet, and the row of the header, from 1.
    records : str, optional
        Path to the records of a JSON file: ``layer_data[*]``, ``{model}.{method}[*]``.
    wide : {"model", "metric", "concept", "method", "layer"}, optional
        What columns of numbers side by side are.
    decimal : {".", ","}, optional
    higher_is_better : bool or mapping of str to bool, optional
        Whether larger means better separated, for each metric; required if it cannot be inferred.
    n_layers : int or mapping of str to int, optional
    layer_zero : {"embedding", "block"} or mapping of str to it, optional
        What layer 0 is: the embedding, or the first block's output.
    depth : {"share", "percent", "layer"}, optional
        Unit of the depth column.
    family : str or mapping of str to str, optional
    missing : {"refuse", "drop"}
        What to do with rows without a score.
    correlation : float, optional
        Between errors of neighboring layers, where only standard errors are known; by default the
        one under which the curvature has the largest error.
    test_share : float
        Share of the texts that random splits test on.
    resampled : int, optional
        How many topics or texts a bootstrap sample draws: the degrees of freedom of the error.
    strict : bool
        Refuse concepts or metrics that are not there throughout, instead of leaving them out.

    Returns
    -------
    Scores

    Raises
    ------
    InputError
        One line: which file and column, what was seen, and the option that helps.

    Warns
    -----
    SourceWarning
        For what was assumed or left out.

    Examples
    --------
    >>> import pandas as pd
    >>> probe = pd.DataFrame({"Model": "gpt2", "Layer": range(13), "probe_acc": 0.5})
    >>> scores = read_scores(probe)
    >>> scores.table[["model", "family", "layer", "depth", "metric"]].iloc[[6]]
      model family  layer  depth     metric
    6  gpt2  GPT-2      6    0.5  probe_acc
    """
    given = dict(locals())
    source, mapping = given.pop("source"), given.pop("mapping")
    options = Options(**{k: v for k, v in given.items() if v is not None})
    if isinstance(source, Scores) or (mapping is None and _is_study(source)):
        if unused := options.given():
            said = f"a study says how it is read; not used: {', '.join(unused)}"
            warnings.warn(said, SourceWarning, stacklevel=2)
        return source if isinstance(source, Scores) else load_scores(source)
    found = read(source, options, mapping)
    for said in found.run["assumed"]:
        warnings.warn(said, SourceWarning, stacklevel=2)
    return _built(found.table, found.replicates, found.directions, found.run, found.where)


def _is_study(source: Any) -> bool:
    """Say whether a source is the folder of a study with its scores."""
    if not isinstance(source, str | Path) or "{" in str(source):
        return False
    folder = locate(source)
    return is_there(folder / "run.json") and is_there(folder / "scores.parquet")


def _built(
    table: pd.DataFrame,
    replicates: pd.DataFrame | None,
    directions: Mapping[str, int],
    run: Mapping[str, Any],
    where: str,
) -> Scores:
    """Return validated scores, less the concepts that are not there at every layer."""
    table, replicates = validated(table, replicates, directions, where)
    table, left_out = balanced(table, where)
    if left_out:
        run = {**run, "assumed": [*run.get("assumed", []), *left_out]}
        for said in left_out:
            warnings.warn(said, SourceWarning, stacklevel=3)
    return Scores(table, replicates, dict(directions), dict(run))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set) else [value]


def as_scores(data: Any, higher_is_better: bool | None = None) -> Scores:
    """Return a study's scores, or a table or file as scores.

    Parameters
    ----------
    data : Scores, DataFrame, or any source of `read_scores`
        A DataFrame with model, family, depth and score is taken as it is; any other column of
        `COLUMNS` is optional and defaults to one level. Everything else goes to `read_scores`.
    higher_is_better : bool, optional
        Whether a larger score means better separation. Default: taken from the metric's name; an
        error if it does not tell.

    Returns
    -------
    Scores

    Raises
    ------
    InputError
        For a missing column, a score that is not finite, a depth outside [0, 1], duplicate rows,
        several studies in one table, or a metric whose direction cannot be known.

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
    if not isinstance(data, pd.DataFrame) or not is_plain(data):
        return read_scores(data, higher_is_better=higher_is_better)
    table = data.reset_index(drop=True)
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
    check_names("higher_is_better", higher_is_better, "metric", table["metric"].unique())
    directions = directions_in(table, "the table", Options(higher_is_better=higher_is_better))
    return _built(table[COLUMNS], None, directions, {}, "the table")


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
