"""Test what the numerical precision of the same weights does to their separation."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd

from analysis.loading.scores import Scores, as_scores
from analysis.over_models.method_contrast import method_test
from analysis.over_models.sums import main_rows
from analysis.scopes import LIKE_THESE, Scope
from study.read import InputError

#: What the test calls a model's two precisions.
LOW, HIGH = "low precision", "high precision"


def bits(precision: str) -> tuple[float, float]:
    """Return the bits per number of the weights and of the computation, as far as the name says.

    Examples
    --------
    >>> bits("Q4_K_M bfloat16"), bits("float32"), bits("int8")
    ((4.0, 16.0), (32.0, 32.0), (8.0, 8.0))
    >>> bits("unknown")
    (nan, nan)
    """
    found = re.findall(r"\d+", precision)
    if not found:
        return float("nan"), float("nan")
    computed = re.findall(r"\d+", precision.rpartition(" ")[2]) or found
    return float(found[0]), float(computed[-1])


def precision_test(
    scores: Scores | pd.DataFrame,
    *,
    method: str = "comprehension",
    metric: str | None = None,
    delta: float | None = None,
    scope: Scope | None = LIKE_THESE,
    alpha: float = 0.05,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    """Compare the lowest and the highest precision of the same weights, paired by model.

    Parameters
    ----------
    scores : Scores or DataFrame
        With the column precision. Untrained models and shuffled labels are ignored, as are models
        with one precision.
    method : str
        The method whose scores are compared.
    metric, delta, scope, alpha, higher_is_better
        As in `method_test`.

    Returns
    -------
    DataFrame
        As from `method_test`, with a = "low precision" and b = "high precision": "a better" means
        that the lower precision separates better.

    Raises
    ------
    InputError
        If no model has two precisions.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> table = simulate_scores(families=(1, 1), n_topics=12).table
    >>> both = pd.concat([table, table.assign(precision="int8", score=table["score"] - 0.02)])
    >>> bool(precision_test(both)["estimate"].iloc[0].round(3) == -0.02)
    True
    """
    scores = main_rows(as_scores(scores, higher_is_better)).select(method=method)
    names: dict[tuple[str, str], str] = {}
    for model, found in scores.table.groupby("model", observed=True)["precision"].unique().items():
        known = sorted((bits(str(name)), str(name)) for name in found if bits(str(name))[0] > 0)
        if len(known) > 1 and known[0][0] < known[-1][0]:
            names |= {(str(model), known[0][1]): LOW, (str(model), known[-1][1]): HIGH}
    if not names:
        raise InputError(
            f"study {scores.name!r} has no model with the same weights at two precisions; "
            "list both under precisions in the study file"
        )
    paired = replace(
        scores,
        table=_relabeled(scores.table, names),
        replicates=None if scores.replicates is None else _relabeled(scores.replicates, names),
    )
    return method_test(paired, a=LOW, b=HIGH, metric=metric, delta=delta, scope=scope, alpha=alpha)


def one_precision(scores: Scores) -> Scores:
    """Return the scores with one precision per model and weights: the one of all methods.

    Further precisions of a study read passages only, and have a test of their own. Where several
    have as many methods, the highest stays.
    """
    table = scores.table
    keys = ["model", "weights"]
    if (table.groupby(keys, observed=True)["precision"].nunique() < 2).all():
        return scores
    counted = table.groupby([*keys, "precision"], observed=True)["method"].nunique().reset_index()
    counted["bits"] = [bits(name) for name in counted["precision"]]
    best = counted.sort_values(["method", "bits"]).groupby(keys, observed=True).last().reset_index()
    kept = set(best[[*keys, "precision"]].itertuples(index=False, name=None))
    return replace(
        scores,
        table=_kept(table, kept),
        replicates=None if scores.replicates is None else _kept(scores.replicates, kept),
    )


def _kept(table: pd.DataFrame, kept: set[tuple[str, ...]]) -> pd.DataFrame:
    rows = zip(table["model"], table["weights"], table["precision"], strict=True)
    return table[[row in kept for row in rows]]


def _relabeled(table: pd.DataFrame, names: dict[tuple[str, str], str]) -> pd.DataFrame:
    """Write a model's two precisions into the column of methods; drop all other rows."""
    labels = [names.get(pair, "") for pair in zip(table["model"], table["precision"], strict=True)]
    table = table.assign(method=labels, precision="both")
    return table[table["method"] != ""]
