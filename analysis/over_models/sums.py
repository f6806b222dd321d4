"""Reduce studies to the sums that the mixed model's likelihood depends on.

If every model has the same methods and emotions at each of its layers, the likelihood in the
module `mixed` depends on the data only through each model's own quadratic (the mean over methods
and emotions), the residual sum of squares and the sum of squares between emotions. A data
set is then a handful of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.loading.scores import Scores
from analysis.over_models.optimize import Codes
from study.arrays import Float64Array
from study.read import InputError


def basis(depth: Float64Array) -> Float64Array:
    """Shifted Legendre polynomials of depth, constant last, shape (n_points, 3).

    Examples
    --------
    >>> basis(np.array([0.0, 0.5, 1.0]))
    array([[-1. ,  1. ,  1. ],
           [ 0. , -0.5,  1. ],
           [ 1. ,  1. ,  1. ]])
    """
    return np.column_stack([2 * depth - 1, 6 * depth**2 - 6 * depth + 1, np.ones_like(depth)])


def vertex(coef: Float64Array) -> Float64Array:
    """Depth of the turn of curves in `basis`, shape (..., 3) to (...); NaN where there is none.

    Examples
    --------
    >>> vertex(np.array([[0.1, -0.2, 0.7], [0.1, 0.0, 0.7]])).round(3)
    array([0.583,   nan])
    """
    bend = np.where(coef[..., 1] == 0, np.nan, coef[..., 1])
    return np.asarray(0.5 - coef[..., 0] / (6 * bend), dtype=np.float64)


@dataclass(frozen=True)
class CurveData:
    """Sufficient statistics of n data sets over the same models and layers.

    Attributes
    ----------
    models, groups : tuple of str
        Names of the models (n_models) and of the groups (families) that they belong to.
    group : ndarray of int, shape (n_models,)
        Each model's group.
    coef : ndarray, shape (n, n_models, 3)
        Least-squares coefficients in `basis` of each model's mean profile.
    spread : ndarray, shape (n_models, 3, 3)
        Their covariance under the model's residuals, divided by the residual variance.
    rss : ndarray, shape (n,)
        Residual sum of squares after removing curves, methods and emotions.
    emotion_ss : ndarray, shape (n,)
        Sum of squares between emotions (0 with a single emotion).
    n_emotions, n_methods, n_cells : int
        `n_cells` is models x methods x layers; there are n_cells * n_emotions rows.
    depths, means : tuple of ndarray
        Each model's depths, shape (n_layers,), and means over emotions (of the first data set),
        shape (n_layers, n_methods), larger = better separated.
    methods : tuple of str
    sign : {+1, -1}
        Multiply separation by it to return to the metric's own units.
    """

    models: tuple[str, ...]
    groups: tuple[str, ...]
    group: Codes
    coef: Float64Array
    spread: Float64Array
    rss: Float64Array
    emotion_ss: Float64Array
    n_emotions: int
    n_methods: int
    n_cells: int
    depths: tuple[Float64Array, ...]
    means: tuple[Float64Array, ...]
    methods: tuple[str, ...]
    sign: int = 1

    @property
    def n_rows(self) -> int:
        """Rows of one data set."""
        return self.n_cells * self.n_emotions

    @property
    def rss_df(self) -> int:
        """Degrees of freedom of `rss`."""
        of_mean = self.n_cells - 3 * len(self.models) - 3 * (self.n_methods - 1)
        return of_mean + (self.n_emotions - 1) * (self.n_cells - 1)


def main_rows(scores: Scores) -> Scores:
    """Drop untrained models and shuffled labels, if there are any."""
    for column, wanted in (("weights", "trained"), ("labels", "true")):
        if len(scores.table[column].unique()) > 1:
            scores = scores.select(**{column: wanted})
    return scores


def curve_data(scores: Scores, metric: str, by: str = "family") -> CurveData:
    """Reduce one metric of a study to the sufficient statistics of the mixed model.

    Parameters
    ----------
    scores : Scores
        Untrained models and shuffled labels are ignored.
    metric : str
    by : str
        The column that groups the models.

    Returns
    -------
    CurveData
        With n = 1.

    Raises
    ------
    InputError
        If a model has several seeds or precisions, fewer than four layers, or lacks a method that
        others have. If models differ in emotions, each curve is the mean over the model's own.
    """
    table = main_rows(replace(scores, replicates=None).select(metric=metric)).table
    if by not in table:
        raise InputError(f"no column {by!r} to group the models by; there is 'family'")
    for column in ("seed", "precision", by):
        several = table.groupby("model")[column].nunique()
        if several.max() > 1:
            raise InputError(
                f"model {several.idxmax()!r} has several values of {column}; "
                f"choose one with scores.select({column}=...)"
            )
    sign = scores.directions[metric]
    models, facts = [], []
    separation = table.set_index(["model", "depth", "method", "emotion"])["score"] * sign
    cells = separation.unstack("emotion").sort_index()
    methods = sorted(table["method"].unique())
    cells = _balanced(cells, methods)
    depths = cells.index.get_level_values("depth").to_numpy(dtype=np.float64)
    everything = cells.to_numpy(dtype=np.float64)
    sizes = cells.groupby(level="model", sort=True).size()
    ends = sizes.cumsum()
    for model, start, end in zip(sizes.index, ends - sizes, ends, strict=True):
        rows = slice(start, end)
        depth = depths[rows][:: len(methods)]
        if len(depth) < 4:
            raise InputError(f"model {model!r} has {len(depth)} layers; the curve needs 4")
        models.append(str(model))
        facts.append((depth, everything[rows].reshape(len(depth), len(methods), -1)))
    groups = table.groupby("model")[by].first().astype(str).loc[models]
    names = tuple(sorted(groups.unique()))
    group = np.array([names.index(g) for g in groups], dtype=np.int64)
    return curve_sums(tuple(models), names, group, facts, sign, tuple(map(str, methods)))


def _balanced(cells: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """Return the cells, or their means if models differ in emotions; raise for a missing method.

    Each mean is over the emotions that the model has at every layer of every method.
    """
    if cells.isna().to_numpy().any():
        whole = cells.notna().groupby(level="model").all()
        if not whole.any(axis=1).all():
            raise InputError(
                f"model {whole.index[~whole.any(axis=1)][0]!r} has no emotion under all methods; "
                "keep the methods that share them with scores.select(method=[...])"
            )
        kept = cells.where(whole.reindex(cells.index, level="model"))
        cells = kept.mean(axis=1).to_frame("all")
    count = cells.groupby(level=["model", "method"]).size().unstack(fill_value=0)[methods]
    lacking = count.lt(count.max(axis=1), axis=0)
    if lacking.to_numpy().any():
        row, column = np.argwhere(lacking.to_numpy())[0]
        model, method = lacking.index[row], methods[column]
        raise InputError(
            f"model {model!r} lacks method {method!r} at some layer; keep the methods that all "
            "models have with scores.select(method=[...])"
        )
    return cells


def curve_sums(
    models: tuple[str, ...],
    groups: tuple[str, ...],
    group: Codes,
    facts: list[tuple[Float64Array, Float64Array]],
    sign: int = 1,
    methods: tuple[str, ...] = (),
) -> CurveData:
    """Reduce each model's depths and values (n_layers, n_methods, n_emotions) to a `CurveData`."""
    n_methods, n_emotions = facts[0][1].shape[1:]
    coef, spread, means, bases, contrasts = [], [], [], [], []
    rss, by_emotion, n_cells = 0.0, np.zeros(n_emotions), 0
    for depth, values in facts:
        z = basis(depth)
        mean = values.mean(axis=2)
        profile = mean.mean(axis=1)
        beta = np.linalg.lstsq(z, profile, rcond=None)[0]
        deviation = values - mean[:, :, None]
        rss += n_emotions * n_methods * float(((profile - z @ beta) ** 2).sum())
        rss += float((deviation**2).sum())
        by_emotion += deviation.sum(axis=(0, 1))
        n_cells += mean.size
        coef.append(beta)
        spread.append(np.linalg.inv(z.T @ z) / (n_emotions * n_methods))
        means.append(mean)
        bases.append(z)
        contrasts.append(mean - profile[:, None])
    # The methods' curves are fixed and within models, so they separate from the rest exactly.
    z, contrast = np.concatenate(bases), np.concatenate(contrasts)
    contrast = contrast - z @ np.linalg.lstsq(z, contrast, rcond=None)[0]
    rss += n_emotions * float((contrast**2).sum())
    emotion_ss = float((by_emotion**2).sum()) / n_cells
    return CurveData(
        models,
        groups,
        group,
        np.array(coef)[None],
        np.array(spread),
        np.array([rss - emotion_ss]),
        np.array([emotion_ss]),
        n_emotions,
        n_methods,
        n_cells,
        tuple(depth for depth, _ in facts),
        tuple(means),
        methods or tuple(f"method {k + 1}" for k in range(n_methods)),
        sign,
    )


def over_emotions(data: CurveData) -> CurveData:
    """Reduce a data set to its means over emotions; their intercepts become one common shift.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> data = curve_data(simulate_scores(n_emotions=4), "score")
    >>> data.n_rows // over_emotions(data).n_rows
    4
    """
    facts = [(d, mean[:, :, None]) for d, mean in zip(data.depths, data.means, strict=True)]
    return curve_sums(data.models, data.groups, data.group, facts, data.sign, data.methods)
