"""Read numbers by layer from any source to the tables that the tests take."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from analysis.loading.balance import balanced
from analysis.loading.cells import Marks
from analysis.loading.columns import ASK, HIGHER, directions_in, key_of
from analysis.loading.depths import with_depths
from analysis.loading.files import SourceFile, names_from_paths, source_files
from analysis.loading.formats import as_pandas, tables_in
from analysis.loading.layouts import long_table
from analysis.loading.mapping import WORDS, plural, read_mapping
from analysis.loading.model_names import family_of, is_tuned, size_of
from analysis.loading.options import Options, check_names, hint, some
from analysis.loading.repetitions import DRAWN, errors_from
from study.read import InputError
from study.settings import Preregistered
from study.tables import METRIC_ORDER, PROFILE, REPLICATE_COLUMNS, SCORE_COLUMNS

#: Fewest layers of a curve that can be tested.
MIN_LAYERS = 5
_DEFAULTS: dict[str, Any] = {
    "weights": "trained",
    "seed": 0,
    "precision": "unknown",
    "method": "all",
    "labels": "true",
    "metric": "score",
    "emotion": "all",
}
_TRUE = {"true", "yes", "1", "1.0", "y", "instruct", "chat"}


@dataclass(frozen=True)
class Reading:
    """The tables of a source, and how they were read.

    Attributes
    ----------
    table : DataFrame
        Columns `SCORE_COLUMNS`.
    replicates : DataFrame or None
        Columns `REPLICATE_COLUMNS`.
    directions : dict of str to {+1, -1}
    run : dict
        Preregistered rules, words, `notes` (how it was read) and `assumed`.
    where : str
    """

    table: pd.DataFrame
    replicates: pd.DataFrame | None
    directions: dict[str, int]
    run: dict[str, Any]
    where: str


def read(source: Any, options: Options, mapping: Any = None) -> Reading:
    """Read a path, glob, URL, mapping file or frame; the parameters are `read_scores`'s."""
    run: dict[str, Any] = {"words": {}, "metrics": {}, "preregistered": False}
    is_frame = not isinstance(source, str | PurePath) and not hasattr(source, "protocol")
    if mapping is not None or (not is_frame and str(source).endswith(".toml")):
        found = read_mapping(mapping or source, source if mapping is not None else None)
        mapping = mapping or source
        source, run, options = found.source, found.run, options.over(found.options)
    notes: dict[str, None] = {}
    assumed: dict[str, None] = {}
    marks = Marks()
    if is_frame:
        where, parts = (
            "the table",
            [long_table(as_pandas(source), "the table", options, notes, marks)],
        )
    else:
        where, parts = _from_files(source, options, notes, marks)
    notes |= dict.fromkeys(marks.said())
    table = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    if table.empty:
        raise InputError(f"{where}: has no rows")
    name = run.get("study", {}).get("name") or ("data" if is_frame else _study_name(source))
    run["words"] = _words(table, run["words"])
    table = table.drop(columns="called", errors="ignore")
    table = _complete(table, where, options, notes, marks)
    for option in ("n_layers", "layer_zero", "family"):
        check_names(option, getattr(options, option), "model", table["model"].unique())
    # Metrics of a mapping file that the table lacks are refused below, by the file's name.
    metrics = [*table["metric"].unique(), *run["metrics"]]
    check_names("higher_is_better", options.higher_is_better, "metric", metrics)
    table, layer_zero = with_depths(table, where, options, notes, assumed)
    _refuse_duplicates(table, where)
    table = _named_models(table, where, options, notes, assumed)
    table, replicates, repeated = errors_from(table, where, options, notes, assumed)
    _refuse_short(table, where)
    table, left_out = balanced(table, where, options.strict)
    assumed |= dict.fromkeys(left_out)
    _differing(table, where, options, assumed)
    directions = directions_in(table, where, options, assumed)
    for metric in run["metrics"]:
        if metric not in directions:
            raise InputError(
                f"{mapping}: [metrics.{metric!r}]: the table has {', '.join(directions)}"
            )
    table = table.assign(study=name)[list(SCORE_COLUMNS)]
    if replicates is not None:
        replicates = replicates.assign(study=name)[list(REPLICATE_COLUMNS)]
    run |= {
        "study": _rules(run.get("study", {}), table, name, notes),
        "metrics": {
            m: {
                "label": m.replace("_", " "),
                **run["metrics"].get(m, {}),
                "higher_is_better": directions[m] > 0,
            }
            for m in directions
        },
        "notes": list(notes),
        "assumed": list(assumed),
        "repetitions": repeated,
        "layer_zero": layer_zero,
        "source": "a table in memory" if is_frame else str(source),
    }
    return Reading(table, replicates, directions, run, where)


def _from_files(
    source: Any, options: Options, notes: dict[str, None], marks: Marks
) -> tuple[str, list[pd.DataFrame]]:
    files = source_files(source)
    where = str(files[0].path) if len(files) == 1 else f"{source}"
    parts: list[tuple[SourceFile, pd.DataFrame]] = []
    for file in files:
        for number, frame in enumerate(tables_in(file, options)):
            try:
                parts.append((file, long_table(frame, str(file.path), options, notes, marks)))
            except InputError:
                if number == 0 and file.suffix not in (".md", ".markdown"):
                    raise
                last = frame
        if not any(f is file for f, _ in parts):
            long_table(last, str(file.path), options, notes, marks)
    named = all("model" in part for _, part in parts)
    out = []
    if not named:
        values = _models_of(files, notes)
        at = {str(file.path): i for i, file in enumerate(files)}
        for file, part in parts:
            mine = {k: v[at[str(file.path)]] for k, v in values.items()}
            out.append(part.assign(**{k: v for k, v in mine.items() if k not in part}))
        if len(files) > 1:
            _refuse_same_names(values, files)
            told = [k for k in values if k == "model" or len(set(values[k])) > 1]
            each = " and ".join(k for k in told if k != "family")
            notes[f"{len(files)} files are read as one {each} each"] = None
    else:
        out = [
            part.assign(**{k: v for k, v in f.fields.items() if k not in part}) for f, part in parts
        ]
        if len(files) > 1:
            notes[f"{len(files)} files are read"] = None
    return where, out


def _models_of(files: list[SourceFile], notes: dict[str, None]) -> dict[str, list[str]]:
    fields = {name: [f.fields[name] for f in files] for name in files[0].fields}
    if "model" in fields:
        notes[f"{', '.join(fields)} from the names in the path"] = None
        return fields
    if len(files) == 1:
        return {"model": [PurePath(str(files[0].path)).stem], **fields}
    values, place = names_from_paths(files)
    notes[f"models are named by {place}"] = None
    folder = values.pop("folder", None)
    if folder is not None:
        values["family"] = [family_of(f) or f for f in folder]
        notes["families are named by the folder"] = None
    return {**values, **fields}


def _refuse_same_names(values: Mapping[str, list[str]], files: list[SourceFile]) -> None:
    """Raise if two files have the same model, method, concept, ... by their names."""
    seen: dict[tuple[str, ...], str] = {}
    for file, model, *names in zip(files, values["model"], *values.values(), strict=True):
        path, other = str(file.path), seen.setdefault(tuple(names), str(file.path))
        if other != path:
            raise InputError(
                f"{other} and {path}: two models are called {model!r}; rename one, or say what the "
                "folders are by a name in the path: 'results/{method}/{model}.csv'"
            )


def _study_name(source: Any) -> str:
    name = (
        re.sub(r"[{}*?\[\]]+", "", PurePath(str(source)).stem) or PurePath(str(source)).parent.name
    )
    return name.strip("._-") or "data"


def _words(table: pd.DataFrame, said: Mapping[str, str]) -> dict[str, str]:
    """Return what the concepts are called: as said, or as their column is."""
    if "concept" not in said and "called" in table:
        name = str(table["called"].iloc[0]).replace("_", " ").strip().lower()
        if name.isalpha() and name not in ("label", "value", "dataset"):
            return {"concept": name, "concepts": plural(name), **said}
    one = said.get("concept", WORDS["concept"])
    return {"concept": one, "concepts": plural(one), **said}


def _complete(
    table: pd.DataFrame, where: str, options: Options, notes: dict[str, None], marks: Marks
) -> pd.DataFrame:
    """Fill in the columns that the tests take, and check the scores."""
    table = table.rename(columns={"concept": "emotion"})
    if "model" not in table:
        table["model"] = "model"
    for column, value in _DEFAULTS.items():
        if column not in table:
            table[column] = value
    drawn = [k for k in DRAWN if k in table]
    if drawn:  # draws without a concept are of the mean over concepts
        mean = table["emotion"].isna() & table[drawn].notna().any(axis=1)
        table["emotion"] = table["emotion"].mask(mean, "all")
    for column in ("model", "emotion", "method", "metric", "weights", "precision"):
        missing = table[column].isna() | (table[column].astype(str).str.strip() == "")
        if missing.any():
            raise InputError(f"{where}: column {column!r} has no value in row {_first(missing)}")
        table[column] = table[column].astype(str)
    labels = table["labels"].astype(str).str.lower()
    table["labels"] = labels.map(lambda v: "true" if v in ("true", "real") else "shuffled")
    table["weights"] = table["weights"].str.lower()
    score = table["score"]
    if not pd.api.types.is_numeric_dtype(score) or pd.api.types.is_bool_dtype(score):
        bad = pd.to_numeric(score, errors="coerce").isna() & score.notna()
        seen = repr(score[bad].iloc[0]) if bad.any() else str(score.dtype)
        raise InputError(
            f"{where}: column of scores: {seen} in row {_first(bad)} is no number; give "
            f"{hint('columns', {'score': 'COLUMN'})}"
        )
    bad = ~pd.Series(np.isfinite(score.astype(np.float64)), table.index)
    if bad.any():
        if options.missing == "drop":
            notes[f"rows without a score left out: {int(bad.sum())}"] = None
            table = table[~bad].reset_index(drop=True)
        else:
            raise InputError(
                f"{where}: column of scores ({table[bad]['metric'].iloc[0]}): "
                f"{_bad_score(table, bad, marks)}; complete it, or give {hint('missing', 'drop')}"
            )
    if table.empty:
        raise InputError(f"{where}: no row has a score")
    return table.assign(score=table["score"].astype(np.float64))


def _bad_score(table: pd.DataFrame, bad: pd.Series, marks: Marks) -> str:
    """Say what the first score is that is no finite number, and where."""
    row = table[bad].iloc[0]
    what = "none" if pd.isna(row["score"]) else f"{row['score']} is not finite"
    depth = "layer" if "layer" in row else "depth"
    at = f"{depth} {row[depth]}"
    for column in ("emotion", "method", "fold", "split", "seed", "topic"):
        if column in table and len(table[column].unique()) > 1:
            at += f", {'concept' if column == 'emotion' else column} {row[column]}"
    empty = f" (cells with {some(sorted(map(repr, marks.empty)))} count as empty)"
    given = empty if what == "none" and marks.empty else ""
    return f"{what} for {row['model']!r} at {at}{given}"


def _first(bad: pd.Series) -> int:
    return int(bad.to_numpy().argmax()) + 1


def _refuse_duplicates(table: pd.DataFrame, where: str) -> None:
    """Raise for rows that nothing tells apart, naming the columns that do."""
    repeats = [k for k in ("topic", "bootstrap", "replicate", "split", "fold") if k in table]
    keys = [*PROFILE, "emotion", "layer", *repeats]
    twice = table.duplicated(keys, keep=False)
    if not twice.any():
        return
    first = table[twice].iloc[0]
    same = table[(table[keys] == first[keys]).all(axis=1)]
    others = [c for c in table.columns if c.startswith("~") and len(same[c].unique()) > 1]
    place = f"{first['model']!r}, {first['metric']}, layer {first['layer']}"
    if others:
        name = others[0][1:]
        values = ", ".join(map(str, same[others[0]].unique()[:4]))
        raise InputError(
            f"{where}: {len(same)} rows for {place}; they differ in column "
            f"{' and '.join(repr(o[1:]) for o in others[:4])} ({values}): choose with "
            f"{hint('where', {name: same[others[0]].iloc[0]})}, or keep both as methods with "
            f"{hint('columns', {'method': name})}, or as repetitions with "
            f"{hint('columns', {'fold': name})}"
        )
    raise InputError(
        f"{where}: {len(same)} rows for {place} that no column tells apart; delete all but one, or "
        "add a column that says what they are (concept, method or fold)"
    )


def _refuse_short(table: pd.DataFrame, where: str) -> None:
    layers = table.groupby("model", sort=False)["layer"].nunique()
    if (layers < MIN_LAYERS).all():
        raise InputError(
            f"{where}: {layers.index[0]!r} has {layers.iloc[0]} layers; a curve needs at least "
            f"{MIN_LAYERS}"
        )


def _families_told(table: pd.DataFrame, given: Mapping[str, str]) -> pd.Series:
    """Return each row's family by the caller or the column, missing where neither names one."""
    by_caller = table["model"].map(dict(given)).astype(object)
    if "family" not in table:
        return by_caller
    column = table["family"].astype("string").str.strip().astype(object)
    told = by_caller.fillna(column.where(column != ""))
    return told.fillna(told.groupby(table["model"], sort=False).transform("first"))


def _named_models(
    table: pd.DataFrame,
    where: str,
    options: Options,
    notes: dict[str, None],
    assumed: dict[str, None],
) -> pd.DataFrame:
    """Add family, size and whether tuned, each from a column, the caller, or the model's name."""
    models = list(dict.fromkeys(table["model"]))
    given = options.family
    if isinstance(given, str):
        table["family"] = given
    else:
        told = _families_told(table, given or {})
        unnamed = list(dict.fromkeys(table["model"][told.isna()]))
        names = {m: family_of(m) for m in unnamed}
        unknown = [m for m in unnamed if names[m] is None]
        if len(unknown) < len(unnamed):
            by = Counter(name or "unknown" for name in names.values())
            notes["families by name: " + ", ".join(f"{k} {n}" for k, n in by.items())] = None
        if unknown and len(models) > 1:
            assumed[
                f"no family is known for {some(unknown)}: they are taken as one, 'unknown'; "
                f"otherwise give {hint('family', {unknown[0]: 'FAMILY'})}"
            ] = None
        by_name = table["model"].map({m: names[m] or "unknown" for m in unnamed})
        table["family"] = told.fillna(by_name).astype(str)
    if "n_params" not in table:
        sizes = {m: size_of(m) for m in models}
        if any(s == s for s in sizes.values()):
            notes["sizes by name"] = None
        table["n_params"] = table["model"].map(sizes)
    elif not pd.api.types.is_numeric_dtype(table["n_params"]):
        table["n_params"] = table["n_params"].astype(str).map(size_of)
    table["n_params"] = table["n_params"].astype(np.float64)
    if "instruct" in table:
        table["instruct"] = table["instruct"].astype(str).str.lower().isin(_TRUE)
    else:
        tuned = {m: is_tuned(m) for m in models}
        if any(tuned.values()):
            notes[f"tuned by name: {some([m for m in models if tuned[m]])}"] = None
        table["instruct"] = table["model"].map(tuned)
    for column in ("family", "n_params", "instruct"):
        several = table.groupby("model", sort=False)[column].nunique()
        if several.max() > 1:
            raise InputError(
                f"{where}: model {several.idxmax()!r} has more than one {column}; are two models "
                "called so? rename one"
            )
    return table


def _differing(table: pd.DataFrame, where: str, options: Options, assumed: dict[str, None]) -> None:
    """Say, or refuse where strict, that models differ in their concepts or metrics."""
    n = table["model"].nunique()
    main = table[(table["weights"] == "trained") & (table["labels"] == "true")]
    for column, what in (("emotion", "concepts"), ("metric", "metrics")):
        by = main.groupby("metric")["model"].nunique() if column == "metric" else None
        if by is None:
            sets = main.groupby(["model", "metric"])["emotion"].agg(frozenset)
            uneven = sets.groupby("metric").nunique()
            if not (uneven > 1).any():
                continue
            of = sets.xs(str(uneven.idxmax()), level="metric")
            most = max(of, key=len)
            model = next(m for m, s in of.items() if s != most)
            lacking = sorted(most ^ of.to_dict()[model])
            said = f"models differ in their {what} ({model}: {some(lacking)})"
            said += "; each curve is the mean over those that the model has"
        else:
            if (by == n).all():
                continue
            said = f"metric {by.idxmin()!r} is there for {by.min()} of {n} models"
        if options.strict:
            raise InputError(f"{where}: {said}; complete the table, or leave strict out")
        assumed[said] = None


def _rules(
    study: Mapping[str, Any], table: pd.DataFrame, name: str, notes: dict[str, None]
) -> dict[str, Any]:
    rules = dict(study.get("preregistered") or {})
    standard = Preregistered()
    for key in ("target", "delta", "alpha", "curve_delta", "amplitude_delta", "peak"):
        rules.setdefault(key, getattr(standard, key))
    metrics = list(table["metric"].unique())
    order = [*HIGHER, *METRIC_ORDER, *ASK]
    common = table.groupby("metric")["model"].nunique()
    best = sorted(
        metrics,
        key=lambda m: (-common[m], order.index(key_of(m)) if key_of(m) in order else len(order)),
    )[0]
    if rules.get("metric") and rules["metric"] not in metrics:
        raise InputError(
            f"preregistered.metric is {rules['metric']!r}; the table has {', '.join(metrics)}"
        )
    if "metric" not in rules and len(metrics) > 1:
        notes[f"of {len(metrics)} metrics, {best} is taken as the primary one"] = None
    rules.setdefault("metric", best)
    methods = list(table.loc[table["metric"] == rules["metric"], "method"].unique())
    if rules.get("method") and rules["method"] not in methods:
        raise InputError(
            f"preregistered.method is {rules['method']!r}; the table has {', '.join(methods)}"
        )
    if "method" not in rules and len(methods) > 1:
        notes[f"of {len(methods)} methods, {methods[0]} is taken as the primary one"] = None
    rules.setdefault("method", methods[0])
    return {**study, "name": name, "preregistered": rules}
