"""The metrics of separation at one layer, computed for many topic weightings at once.

To add a metric, write its function, add it to `METRICS`, and add its name to `METRIC_ORDER` in
`study/tables.py`, which declares the names for both sides. `separation.py` runs the metrics over
all layers of a unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from representations.covariance import ShrunkCovariance, blocks
from study.arrays import FloatArray

#: Replicates, and values, to process at once: enough for speed, few enough for memory.
ROWS = 32
VALUES = 2**20
ALL = slice(None)


@dataclass(frozen=True)
class Measure:
    """What a column of scores holds.

    Attributes
    ----------
    label : str
        Label in figures, with the unit.
    higher_is_better : bool
        Its direction, declared only here.
    chance : float or None
        Its expected value without an effect, if there is one.
    """

    label: str
    higher_is_better: bool
    chance: float | None


@dataclass(frozen=True)
class Metric:
    """A way to score the separation of emotions at one layer.

    Attributes
    ----------
    compute : callable
        Takes a `Layer` and topic weights (rows, topics); returns scores (rows, emotions).
    label : str
        Label in figures, with the unit.
    higher_is_better : bool
        Its direction, declared only here.
    chance : float or None
        Its expected value without separation, if there is one.
    on_neutral : bool
        Whether it scores the neutral texts as a whole instead of each emotion.
    """

    compute: Callable[[Layer, FloatArray], FloatArray]
    label: str
    higher_is_better: bool
    chance: float | None
    on_neutral: bool = False


@dataclass(frozen=True)
class Layer:
    """The pooled activations of all texts at one layer.

    Attributes
    ----------
    texts : ndarray, shape (texts, width)
    emotion, topic : ndarray of int, shape (texts,)
        Codes from 0.
    n_emotions, n_topics : int
    fold : ndarray of int, shape (topics,)
    neutral : ndarray, shape (neutral texts, width)
    neutral_topic : ndarray of int, shape (neutral texts,)
    tested : ndarray, shape (texts, width), optional
        The same texts under another condition: `auc` ranks these on the directions of `texts`.
    """

    texts: FloatArray
    emotion: NDArray[np.int64]
    topic: NDArray[np.int64]
    n_emotions: int
    n_topics: int
    fold: NDArray[np.int64]
    neutral: FloatArray
    neutral_topic: NDArray[np.int64]
    tested: FloatArray | None = None

    @cached_property
    def counts(self) -> FloatArray:
        """Number of texts per cell, shape (topics, emotions)."""
        counts = np.zeros((self.n_topics, self.n_emotions), dtype=np.float32)
        np.add.at(counts, (self.topic, self.emotion), 1)
        return counts

    def cells(self, texts: FloatArray, dtype: DTypeLike = np.float32) -> FloatArray:
        """Sum texts (texts, width) within cells, shape (topics, emotions, width)."""
        sums = np.zeros((self.n_topics, self.n_emotions, texts.shape[1]), dtype=dtype)
        np.add.at(sums, (self.topic, self.emotion), texts)
        return sums

    @cached_property
    def scale(self) -> tuple[FloatArray, FloatArray]:
        """Mean and SD of each dimension over all texts, both of shape (width,)."""
        mean = self.texts.mean(axis=0, dtype=np.float64)
        squares = np.zeros_like(mean)
        for some in blocks(self.texts):
            squares += ((self.texts[some] - mean) ** 2).sum(axis=0)
        spread = np.sqrt(squares / len(self.texts))
        return mean, np.where(spread > 0, spread, 1)

    def standardized(
        self, dtype: DTypeLike = np.float32, of: NDArray[np.integer] | slice = ALL
    ) -> FloatArray:
        """Return texts with each dimension scaled to mean 0 and SD 1 over all texts.

        Only for numerical conditioning: metrics that use it are invariant to it and standardize
        again within their training folds.

        Parameters
        ----------
        dtype : dtype
        of : ndarray of int, optional
            Which texts; all by default.

        Returns
        -------
        ndarray, shape (texts, width)
        """
        mean, spread = self.scale
        rows = np.arange(len(self.texts))[of]
        scaled = np.empty((len(rows), len(mean)), dtype=dtype)
        for some in blocks(scaled):
            scaled[some] = (self.texts[rows[some]] - mean) / spread
        return scaled


def auc(layer: Layer, weights: FloatArray) -> FloatArray:
    """Held-out one-versus-rest area under the ROC curve.

    Each training fold gives every emotion a direction: the mean over its texts minus the mean over
    the others, in units standardized within that fold. The score of a test text is its projection
    on the direction, ranked within its own test fold.

    Parameters
    ----------
    layer : Layer
    weights : ndarray, shape (rows, topics)

    Returns
    -------
    ndarray, shape (rows, emotions)
        NaN if a bootstrap row has no pair to rank.
    """
    texts, tested = layer.standardized(), layer.tested
    if tested is not None:
        mean, spread = layer.scale
        tested = ((tested - mean) / spread).astype(np.float32)
    width, n_rows = texts.shape[1], len(weights)
    cells = layer.cells(texts).reshape(layer.n_topics, -1)
    squares = np.zeros((layer.n_topics, width), dtype=np.float32)
    for some in blocks(texts):
        np.add.at(squares, layer.topic[some], texts[some] ** 2)
    won = np.zeros((n_rows, layer.n_emotions))
    pairs = np.zeros_like(won)
    for fold in np.unique(layer.fold):
        train = layer.fold != fold
        sums = (weights[:, train] @ cells[train]).reshape(n_rows, layer.n_emotions, width)
        count = weights[:, train] @ layer.counts[train]
        total, n = sums.sum(axis=1), np.maximum(count.sum(axis=1, keepdims=True), 1)
        variance = (weights[:, train] @ squares[train]) / n - (total / n) ** 2
        # Leave out dimensions that are constant within a training fold.
        sums *= np.where(variance > 1e-6, 1 / np.maximum(variance, 1e-6), 0)[:, None]
        others = n - count
        trained = (count > 0) & (others > 0)
        test = np.flatnonzero(layer.fold[layer.topic] == fold)
        held_out = texts[test] if tested is None else tested[test]
        step = max(1, VALUES // (len(test) * layer.n_emotions))
        for some in (slice(start, start + step) for start in range(0, n_rows, step)):
            # Divide after projecting: a fold has fewer texts than activations have dimensions.
            rows = sums[some].reshape(-1, width) @ held_out.T
            own_sum = rows.reshape(-1, layer.n_emotions, len(test))
            all_sum = own_sum.sum(axis=1, keepdims=True)
            projection = own_sum / np.maximum(count, 1)[some, :, None]
            projection -= (all_sum - own_sum) / np.maximum(others, 1)[some, :, None]
            text_weight = weights[some][:, layer.topic[test]]
            for code in range(layer.n_emotions):
                own = layer.emotion[test] == code
                higher = _pairs_won(projection[:, code], own, text_weight)
                won[some, code] += higher * trained[some, code]
                mass = text_weight[:, own].sum(axis=1) * text_weight[:, ~own].sum(axis=1)
                pairs[some, code] += mass * trained[some, code]
    return np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0)


def _pairs_won(values: FloatArray, own: NDArray[np.bool_], weights: FloatArray) -> FloatArray:
    """Sum the weights of the pairs in which an own text ranks above another.

    Uses ranks, because the number of pairs is quadratic in the texts. A tie counts half.

    Parameters
    ----------
    values : ndarray, shape (rows, texts)
    own : ndarray of bool, shape (texts,)
    weights : ndarray, shape (rows, texts)

    Returns
    -------
    ndarray, shape (rows,)

    Examples
    --------
    >>> own = np.array([True, False, False])
    >>> _pairs_won(np.array([[2.0, 1.0, 2.0]]), own, np.ones((1, 3)))
    array([1.5])
    """
    order = values.argsort(axis=1)
    values = np.take_along_axis(values, order, 1)
    weights = np.take_along_axis(weights, order, 1)
    mine = own[order]
    below = np.cumsum(np.where(mine, 0, weights), axis=1, dtype=np.float64)
    tie = values[:, 1:] == values[:, :-1]
    tied = np.flatnonzero(tie.any(axis=1))  # few rows, unless activations are constant
    if len(tied):
        tie, n = tie[tied], values.shape[1]
        first = np.where(np.pad(tie, ((0, 0), (1, 0))), 0, np.arange(n))
        last = np.where(np.pad(tie, ((0, 0), (0, 1))), n, np.arange(1, n + 1))
        first = np.maximum.accumulate(first, axis=1)
        last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
        upto = np.pad(below[tied], ((0, 0), (1, 0)))
        through = np.take_along_axis(upto, last, 1)
        below[tied] = (np.take_along_axis(upto, first, 1) + through) / 2
    return np.asarray((np.where(mine, weights, 0) * below).sum(axis=1))


def crossnobis(layer: Layer, weights: FloatArray) -> FloatArray:
    """Mean cross-validated squared Mahalanobis distance of an emotion from the others.

    The product of two topics' difference vectors, averaged over pairs of topics in different folds
    and divided by the width. The noise covariance of a pair comes from the other folds. Independent
    noise thus averages out, and the expectation without separation is 0; a covariance from the same
    texts would leave a positive bias.

    Parameters
    ----------
    layer : Layer
    weights : ndarray, shape (rows, topics)

    Returns
    -------
    ndarray, shape (rows, emotions)
        NaN if a bootstrap row has an emotion in only one fold.

    References
    ----------
    Walther et al. (2016), NeuroImage 137, 188-200.
    """
    apart = (layer.fold[:, None] != layer.fold[None, :]).astype(np.float64)
    pairs = np.einsum("te,tu,uf->teuf", layer.counts, apart, layer.counts, optimize=True)
    products = _whitened_products(layer)
    parts = [weights[start : start + ROWS] for start in range(0, len(weights), ROWS)]
    distance = np.vstack([_distances(products, pairs, part.astype(np.float64)) for part in parts])
    return np.asarray(distance / layer.texts.shape[1])


def _distances(products: FloatArray, pairs: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean distance of each emotion from the others.

    Parameters
    ----------
    products, pairs : ndarray, shape (topics, emotions, topics, emotions)
        Inner products of cells, and the number of pairs of texts in each.
    weights : ndarray, shape (rows, topics)

    Returns
    -------
    ndarray, shape (rows, emotions)
    """
    n_topics, n_emotions = products.shape[:2]
    shape = (len(weights), n_emotions, n_emotions)
    inner, count = np.zeros(shape), np.zeros(shape)
    for table, total in ((products, inner), (pairs, count)):
        by_topic = weights @ table.reshape(n_topics, -1)
        by_topic = by_topic.reshape(len(weights), n_emotions, n_topics, n_emotions)
        total += np.einsum("reuf,ru->ref", by_topic, weights, optimize=True)
    inner = np.divide(inner, count, out=np.full(shape, np.nan), where=count > 0)
    own = np.einsum("ree->re", inner)
    distance = own[:, :, None] + own[:, None, :] - inner - inner.transpose(0, 2, 1)
    distance[:, np.arange(n_emotions), np.arange(n_emotions)] = 0
    some = np.isfinite(distance).sum(axis=2) - 1
    return np.asarray(np.nansum(distance, axis=2) / np.where(some > 0, some, np.nan))


def _whitened_products(layer: Layer) -> FloatArray:
    """Inner products of cells in different folds, whitened by the noise of the other folds.

    Returns
    -------
    ndarray, shape (topics, emotions, topics, emotions)
        Sums over the texts of two cells; 0 for topics of the same fold.
    """
    spread = layer.scale[1]
    cells = layer.cells(layer.texts, np.float64)
    # The offset of a topic is common to its emotions and would only add noise.
    offset = cells.sum(axis=1) / np.maximum(layer.counts.sum(axis=1), 1)[:, None]
    cells = (cells - layer.counts[:, :, None] * offset[:, None, :]) / spread
    products = np.zeros((layer.n_topics, layer.n_emotions) * 2)
    folds = np.unique(layer.fold)
    for first, second in combinations(folds, 2):
        rest = np.flatnonzero(~np.isin(layer.fold, (first, second))[layer.topic])
        texts = layer.standardized(np.float64, rest)
        noise = ShrunkCovariance.of_cells(texts, layer.emotion[rest], layer.topic[rest])
        here, there = layer.fold == first, layer.fold == second
        block = noise.product(
            cells[here].reshape(-1, cells.shape[2]), cells[there].reshape(-1, cells.shape[2])
        )
        block = block.reshape(here.sum(), layer.n_emotions, there.sum(), layer.n_emotions)
        products[np.ix_(here, range(layer.n_emotions), there, range(layer.n_emotions))] = block
        products[np.ix_(there, range(layer.n_emotions), here, range(layer.n_emotions))] = (
            block.transpose(2, 3, 0, 1)
        )
    return products


def cosine(layer: Layer, weights: FloatArray) -> FloatArray:
    """Mean cosine between an emotion's mean activation and those of the other emotions.

    Parameters
    ----------
    layer : Layer
    weights : ndarray, shape (rows, topics)

    Returns
    -------
    ndarray, shape (rows, emotions)
        Lower is better separated.
    """
    cells = layer.cells(layer.texts).reshape(layer.n_topics, -1)
    means = (weights @ cells).reshape(len(weights), layer.n_emotions, -1)
    unit = _unit(means)
    others = np.einsum("red,rd->re", unit, unit.sum(axis=1)) - np.einsum("red,red->re", unit, unit)
    return np.asarray(others / (layer.n_emotions - 1))


def anisotropy(layer: Layer, weights: FloatArray) -> FloatArray:
    """Mean cosine between neutral texts of different topics: what any two texts share.

    Parameters
    ----------
    layer : Layer
    weights : ndarray, shape (rows, topics)

    Returns
    -------
    ndarray, shape (rows, 1)
        NaN for a bootstrap row with a single topic.
    """
    unit = _unit(layer.neutral)
    sums = np.zeros((layer.n_topics, unit.shape[1]))
    np.add.at(sums, layer.neutral_topic, unit)
    size = np.bincount(layer.neutral_topic, minlength=layer.n_topics)
    heavy = weights.astype(np.float64)
    product = ((heavy @ sums) ** 2).sum(axis=1) - heavy**2 @ (sums**2).sum(axis=1)
    pairs = (heavy @ size) ** 2 - heavy**2 @ size**2
    mean = np.divide(product, pairs, out=np.full_like(product, np.nan), where=pairs > 0)
    return np.asarray(mean[:, None])


def _unit(vectors: FloatArray) -> FloatArray:
    """Scale vectors, shape (..., width), to length 1; leave zeros unchanged."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1))


#: Every metric, by the name that studies and tables use.
METRICS: Mapping[str, Metric] = {
    "auc": Metric(auc, "Held-out AUC", higher_is_better=True, chance=0.5),
    "crossnobis": Metric(
        crossnobis, "Crossnobis distance per dimension", higher_is_better=True, chance=0.0
    ),
    "cosine": Metric(cosine, "Mean cosine between emotions", higher_is_better=False, chance=None),
    "anisotropy": Metric(
        anisotropy,
        "Mean cosine between neutral texts",
        higher_is_better=False,
        chance=None,
        on_neutral=True,
    ),
}
