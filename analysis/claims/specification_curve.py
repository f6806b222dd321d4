"""The specification curve: where the peak is, under every reasonable choice of analysis."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from analysis.claims.table import preregistered
from analysis.loading.scores import Scores, metric_order
from analysis.profiles.curves import PEAKS
from analysis.profiles.localization import localization_test

#: The ranges of depth in a specification curve; the embeddings are layer 0.
LAYERS = {"all layers": (0.0, 1.0), "without embeddings": (1e-9, 1.0), "middle 80%": (0.1, 0.9)}


def specification_table(scores: Scores, seed: int = 0) -> pd.DataFrame:
    """Locate the peak under every reasonable choice of analysis.

    Parameters
    ----------
    scores : Scores
        A study with `run.json`.
    seed : int

    Returns
    -------
    DataFrame
        Rows of `localization_test` for trained models and true labels. The columns metric, method,
        layers (all, without the embeddings, or the middle) and peak (the quadratic's vertex, the
        spline's extremum, or the center of the top) hold the choices.

    Notes
    -----
    A specification curve shows whether a conclusion depends on one choice among many reasonable
    ones.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from analysis.planning.simulate import simulate_scores
    >>> rules = {"target": 0.5, "delta": 0.1, "alpha": 0.05}
    >>> study = replace(simulate_scores(), run={"study": {"preregistered": rules}})
    >>> specification_table(study)["verdict"].value_counts().to_dict()
    {'at target': 9}
    """
    rules = preregistered(scores)
    main = scores.select(labels="true", weights="trained")
    separation = [m for m in metric_order(main.table["metric"]) if m != "anisotropy"]
    main = main.select(metric=separation)
    tables = []
    for layers, (low, high) in LAYERS.items():
        part = replace(
            main,
            table=main.table[main.table["depth"].between(low, high)],
            replicates=None
            if main.replicates is None
            else main.replicates[main.replicates["depth"].between(low, high)],
        )
        if part.table.empty:  # models of so few layers that none lies there
            continue
        for peak in PEAKS:
            found = localization_test(
                part,
                target=rules["target"],
                delta=rules["delta"],
                alpha=rules["alpha"],
                peak=peak,
                seed=seed,
            )
            tables.append(found.assign(layers=layers))
    return pd.concat(tables, ignore_index=True)
