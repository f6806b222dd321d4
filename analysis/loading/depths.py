"""Depth of every row: from a depth column, or from layer numbers and the number of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.loading.layouts import layer_numbers, layer_totals
from analysis.loading.model_names import layers_of
from analysis.loading.options import Options, hint, some
from study.read import InputError


def with_depths(
    table: pd.DataFrame,
    where: str,
    options: Options,
    notes: dict[str, None],
    assumed: dict[str, None],
) -> tuple[pd.DataFrame, str]:
    """Return the table with layer, depth and n_layers as the tests take them.

    Layer 0 is then the embedding, and depth is layer / n_layers.

    Parameters
    ----------
    table : DataFrame
        With model, and layer or depth.
    where : str
        The source, for messages.
    options : Options
    notes, assumed : dict
        Sentences that say what was done, and what was assumed; more are added.

    Returns
    -------
    table : DataFrame
    layer_zero : str
        "embedding" or "block" as said or as follows from the numbers of layers, "assumed" where
        neither, "" where depths were given.

    Raises
    ------
    InputError
        If depths are not shares, models count layers differently, or layers do not fit n_layers.
    """
    if "depth" in table and options.depth != "layer":
        return _shares(table, where, options, notes), ""
    if "depth" in table:
        table = table.rename(columns={"depth": "layer"})
    layer = layer_numbers(table["layer"], where, table["model"]).astype(np.float64)
    if layer.isna().any():
        raise InputError(
            f"{where}: layer is missing in row {int(layer.isna().to_numpy().argmax()) + 1}"
        )
    if (layer % 1 != 0).any():
        value = layer[layer % 1 != 0].iloc[0]
        raise InputError(
            f"{where}: layer {value:g} is not a whole number; is it a depth? give "
            f"{hint('columns', {'depth': 'layer'})}"
        )
    counts = _counts(table, notes)
    table = table.assign(layer=layer.astype(np.int64))
    ends = table.groupby("model", sort=False)["layer"].agg(["min", "max"])
    known = {m: _n_layers(m, counts, options, where) for m in ends.index}
    said = {m: _said(options.layer_zero, m) for m in ends.index}
    _refuse_mixed(ends, said, known, where)
    zero, shift, total, guessed, open_ = {}, {}, {}, [], []
    for model, low, high in ends.itertuples():
        n, way = known[model], said[model]
        if low < -1 or (high < 0 and low < 0):
            if n is None:
                raise InputError(
                    f"{where}: layers of {model!r} are counted from the end ({low} to {high}); "
                    f"give {hint('n_layers', {model: -low - 1})}"
                )
            shift[model], total[model], zero[model] = n + 1, n, "embedding"
            continue
        if low == -1:
            way = way or "block"
        if way is None and n is not None:
            way = "embedding" if high == n or low == 1 else "block" if high == n - 1 else None
        if n is not None and high + (way == "block") > n:
            raise InputError(
                f"{where}: model {model!r} has layer {high}, but {n} layers; correct n_layers "
                f"({hint('n_layers', {model: high})})"
            )
        if way is None and low == 0:
            open_.append(model)
        zero[model] = way or ("assumed" if low == 0 else "embedding")
        shift[model] = int(way == "block")
        total[model] = n or high + shift[model]
        if n is None:
            guessed.append(model)
    model = table["model"]
    layers = table["layer"] + model.map(shift)
    n_layers = model.map(total)
    if (n_layers <= 0).any():
        raise InputError(
            f"{where}: model {model[n_layers <= 0].iloc[0]!r} has one layer only; "
            "look at its layer column (--columns layer=NAME)"
        )
    notes["depth = layer / n_layers"] = None
    if guessed:
        assumed[
            f"no number of layers for {some(guessed)}: the table's last layer is taken as the "
            f"last of the model; to confirm or correct it, give "
            f"{hint('n_layers', {guessed[0]: total[guessed[0]]})}"
        ] = None
    if open_:
        assumed[
            f"layer 0 of {some(open_)} is taken as the embedding; if it is the first block's "
            f"output, give {hint('layer_zero', 'block')}"
        ] = None
    kinds = set(zero.values())
    way = "assumed" if "assumed" in kinds else kinds.pop() if len(kinds) == 1 else "mixed"
    if way == "block":
        notes["layer 0 is the first block's output"] = None
    return table.assign(layer=layers, n_layers=n_layers, depth=layers / n_layers), way


def _shares(
    table: pd.DataFrame, where: str, options: Options, notes: dict[str, None]
) -> pd.DataFrame:
    depth = pd.to_numeric(table["depth"], errors="coerce").astype(np.float64)
    if depth.isna().any():
        row = int(depth.isna().to_numpy().argmax())
        raise InputError(f"{where}: column depth has {table['depth'].iloc[row]!r} in row {row + 1}")
    low, high = float(depth.min()), float(depth.max())
    if options.depth == "percent" or (
        options.depth is None and "depth_unit" in table and (table["depth_unit"] == "percent").all()
    ):
        depth = depth / 100
        notes["depth in percent"] = None
    elif low < 0:
        raise InputError(f"{where}: column depth goes from {low:g} to {high:g}, below 0")
    elif high > 1:
        whole = (depth % 1 == 0).all()
        raise InputError(
            f"{where}: column depth goes from {low:g} to {high:g}, outside [0, 1]; give "
            + hint("depth", "layer" if whole and high < 100 else "percent")
            + f" or '{'percent' if whole and high < 100 else 'layer'}'"
        )
    if depth.max() > 1 or depth.min() < 0:
        raise InputError(f"{where}: column depth goes from {low:g} to {high:g}, beyond 100%")
    table = table.assign(depth=depth)
    if "n_layers" in table and table["n_layers"].notna().all():
        table["layer"] = (depth * table["n_layers"]).round().astype(np.int64)
        per = table.groupby("model")
        if (per["depth"].nunique() == per["layer"].nunique()).all():
            return table
    # Their order stands for the layers, which the tests only name.
    table["layer"] = table.groupby("model")["depth"].rank(method="dense").astype(np.int64) - 1
    return table.assign(n_layers=table.groupby("model")["layer"].transform("max"))


def _counts(table: pd.DataFrame, notes: dict[str, None]) -> pd.Series:
    """Return the numbers of layers in the table, by model: of n_layers, and of layers "9/12"."""
    totals = layer_totals(table["layer"])
    if totals.notna().any():
        cell = table["layer"][totals.notna()].iloc[0]
        notes[f"numbers of layers from cells such as {cell!r}"] = None
    columns = [table["n_layers"], totals] if "n_layers" in table else [totals]
    counts: pd.Series = pd.concat([column.set_axis(table["model"]) for column in columns])
    return counts.replace([np.inf, -np.inf], np.nan).dropna()


def _n_layers(model: Any, counts: pd.Series, options: Options, where: str) -> int | None:
    given = options.n_layers
    if isinstance(given, Mapping):
        given = given.get(str(model))
    if given is not None:
        return int(given)
    values = counts[counts.index == model].unique()
    if len(values) > 1:
        raise InputError(
            f"{where}: model {model!r} has more than one number of layers "
            f"({', '.join(f'{v:g}' for v in values[:3])}); are two models called so? rename one, "
            f"or give {hint('n_layers', {model: int(values[0])})}"
        )
    return int(values[0]) if len(values) else layers_of(str(model))


def _said(given: str | Mapping[str, str] | None, model: Any) -> str | None:
    return given.get(str(model)) if isinstance(given, Mapping) else given


def _refuse_mixed(
    ends: pd.DataFrame, said: Mapping[Any, str | None], known: Mapping[Any, int | None], where: str
) -> None:
    """Raise where some models count from 0 and others from 1, and nothing says what that means."""
    plain = [m for m in ends.index if said[m] is None and not _fits(ends.loc[m], known[m])]
    from_zero = [m for m in plain if ends.loc[m, "min"] == 0]
    from_one = [m for m in plain if ends.loc[m, "min"] == 1]
    if from_zero and from_one:
        both = {from_zero[0]: "block", from_one[0]: "embedding"}
        raise InputError(
            f"{where}: layers of {from_zero[0]!r} are counted from 0, of {from_one[0]!r} from 1; "
            f"if layer 0 is the embedding, give {hint('layer_zero', 'embedding')}; if both begin "
            f"at the first block, {hint('layer_zero', both)}"
        )


def _fits(ends: pd.Series, n: int | None) -> bool:
    return n is not None and (
        (ends["min"] == 0 and ends["max"] in (n, n - 1)) or (ends["min"] == 1 and ends["max"] == n)
    )
