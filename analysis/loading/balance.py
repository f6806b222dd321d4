"""The one rule for concepts that some layers lack: they are left out, and a note names them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.loading.grouping import Runs
from analysis.loading.options import some
from study.read import InputError

#: Columns that name the table's parts, each of which must be balanced.
BY = ("model", "weights", "seed", "precision", "method", "labels", "metric")


def balanced(
    table: pd.DataFrame, where: str, strict: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    """Keep, in each profile, the concepts that have a score at each of its layers.

    A curve is the mean over concepts. A concept that is there at some layers only would bend it by
    its own level, which is no effect of depth.

    Parameters
    ----------
    table : DataFrame
        With the columns of a profile, emotion and layer; no row twice.
    where : str
        Beginning of the message.
    strict : bool
        Refuse instead of leaving out.

    Returns
    -------
    table : DataFrame
    left_out : list of str
        One sentence for each profile that lost concepts.

    Raises
    ------
    InputError
        If a profile would have no concept left, or `strict` and something is missing.

    Examples
    --------
    >>> rows = pd.DataFrame({"emotion": ["joy", "joy", "fear"], "layer": [0, 1, 0], "score": 0.5})
    >>> kept, said = balanced(rows.assign(**dict.fromkeys(BY, "a")), "the table")
    >>> kept["emotion"].tolist(), said
    (['joy', 'joy'], ['a (a, a): fear is not there at every layer and left out'])
    """
    runs = Runs(table, list(BY))
    number = runs.numbers()
    if len(number) == 0:
        return table, []
    cells = pd.DataFrame(
        {
            "profile": number,
            "emotion": pd.factorize(table["emotion"])[0],
            "layer": table["layer"].to_numpy(),
        }
    )
    per = cells.groupby("profile", sort=True)
    layers, concepts = per["layer"].nunique(), per["emotion"].nunique()
    lacking = per.size() < layers * concepts
    if not lacking.any():
        return table, []
    names = np.array(table["emotion"].unique(), dtype=object)
    keep, said = np.ones(len(table), dtype=bool), []
    for profile in lacking.index[lacking]:
        mine = np.flatnonzero(number == profile)
        counts = cells.iloc[mine].groupby("emotion").size()
        gone = counts.index[counts < layers[profile]]
        row = table.iloc[mine[0]]
        shown = some([str(names[i]) for i in gone], 5)
        place = f"{row['model']} ({row['method']}, {row['metric']})"
        verb = "is" if len(gone) == 1 else "are"
        if strict:
            raise InputError(
                f"{where}: {place}: {shown} {verb} not there at every layer; complete it, or "
                "leave strict out, and the curve is the mean over the others"
            )
        if len(gone) == len(counts):
            raise InputError(
                f"{where}: {place}: none of {shown} is there at all {layers[profile]} layers; "
                "complete one, or keep the layers that all have"
            )
        said.append(f"{place}: {shown} {verb} not there at every layer and left out")
        keep[
            mine[cells["emotion"].to_numpy()[mine][:, None].__eq__(gone.to_numpy()).any(axis=1)]
        ] = False
    return table[keep].reset_index(drop=True), said
