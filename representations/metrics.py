"""The metrics of separation: scores per emotion at one layer, for many topic weightings at once.

To add one, write its function and enter it in `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Metric:
    """A way to score how well emotions separate at one layer.

    Attributes
    ----------
    compute : callable
        Takes a `Layer` and topic weights (rows, topics); returns scores (rows, emotions).
    label : str
        What figures call it, with its unit.
    higher_is_better : bool
        Its direction; declared here and nowhere else.
    chance : float or None
        Its expected value without any separation, where there is one.
    on_neutral : bool
        Whether it scores the neutral texts as a whole instead of each emotion.
    """

    compute: Callable[[Layer, Array], Array]
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
    """

    texts: Array
    emotion: NDArray[np.int64]
    topic: NDArray[np.int64]
    n_emotions: int
    n_topics: int
    fold: NDArray[np.int64]
    neutral: Array
    neutral_topic: NDArray[np.int64]

    @cached_property
    def counts(self) -> Array:
        """The number of texts in each cell, shape (topics, emotions)."""
        counts = np.zeros((self.n_topics, self.n_emotions), dtype=np.float32)
        np.add.at(counts, (self.topic, self.emotion), 1)
        return counts

    def cells(self, texts: Array) -> Array:
        """Sum texts (texts, width) within cells, shape (topics, emotions, width)."""
        sums = np.zeros((self.n_topics, self.n_emotions, texts.shape[1]), dtype=texts.dtype)
        np.add.at(sums, (self.topic, self.emotion), texts)
        return sums

    @cached_property
    def standardised(self) -> Array:
        """The texts, each dimension scaled to mean 0 and SD 1 over all of them.

        For conditioning only: metrics that use it are invariant to it, and standardise again
        within their training folds.
        """
        texts = self.texts.astype(np.float64)
        spread = texts.std(axis=0)
        scaled: Array = (texts - texts.mean(axis=0)) / np.where(spread > 0, spread, 1)
        return scaled


def auc(layer: Layer, weights: Array) -> Array:
    """Held-out one-versus-rest area under the ROC curve.

    Each training fold gives every emotion a direction, the difference of the mean over its texts
    and the mean over the others, in units standardised within that fold; a test text is scored
    by its projection, and ranked against the others of its own test fold.

    Parameters
    ----------
    layer : Layer
    weights : ndarray, shape (rows, topics)

    Returns
    -------
    ndarray, shape (rows, emotions)
        NaN where a bootstrap row holds no pair to rank.
    """
    texts = layer.standardised.astype(np.float32)
    width, n_rows = texts.shape[1], len(weights)
    cells = layer.cells(texts).reshape(layer.n_topics, -1)
    squares = np.zeros((layer.n_topics, width), dtype=np.float32)
    np.add.at(squares, layer.topic, texts**2)
    won = np.zeros((n_rows, layer.n_emotions))
    pairs = np.zeros_like(won)
    for fold in np.unique(layer.fold):
        train = layer.fold != fold
        sums = (weights[:, train] @ cells[train]).reshape(n_rows, layer.n_emotions, width)
        count = (weights[:, train] @ layer.counts[train])[:, :, None]
        total, n = sums.sum(axis=1, keepdims=True), count.sum(axis=1, keepdims=True)
        n = np.maximum(n, 1)
        variance = (weights[:, train] @ squares[train])[:, None, :] / n - (total / n) ** 2
        # Dimensions that are constant within a training fold say nothing; leave them out.
        scale = np.where(variance > 1e-6, 1 / np.maximum(variance, 1e-6), 0)
        direction = sums / np.maximum(count, 1)
        direction -= (total - sums) / np.maximum(n - count, 1)
        direction *= scale
        test = np.flatnonzero(layer.fold[layer.topic] == fold)
        text_weight = weights[:, layer.topic[test]]
        trained = (count[:, :, 0] > 0) & ((n - count)[:, :, 0] > 0)
        for code in range(layer.n_emotions):
            own = layer.emotion[test] == code
            projected = direction[:, code] @ texts[test].T
            higher = _pairs_won(projected, own, text_weight)
            won[:, code] += higher * trained[:, code]
            mass = text_weight[:, own].sum(axis=1) * text_weight[:, ~own].sum(axis=1)
            pairs[:, code] += mass * trained[:, code]
    return np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0)


def _pairs_won(values: Array, own: NDArray[np.bool_], weights: Array) -> Array:
    """Sum the weights of the pairs of an own text and another that the own one ranks above.

    By ranks, since the pairs grow with the square of the texts. A tie counts half.

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
    tied = np.flatnonzero(tie.any(axis=1))  # few rows, but where activations are constant
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


def crossnobis(layer: Layer, weights: Array) -> Array:
    """Mean cross-validated squared Mahalanobis distance of an emotion from the others.

    The product of two topics' difference vectors, averaged over the pairs of topics in different
    folds and divided by the width. The noise covariance of a pair comes from the other folds, so
    that independent noise averages out and no separation is 0; from the same texts it would
    leave a positive bias.

    Parameters
    ----------
    layer : Layer
    weights : ndarray, shape (rows, topics)

    Returns
    -------
    ndarray, shape (rows, emotions)
        NaN where a bootstrap row holds an emotion in one fold only.

    References
    ----------
    Walther et al. (2016), NeuroImage 137, 188-200.
    """
    n_topics, n_emotions = layer.n_topics, layer.n_emotions
    apart = (layer.fold[:, None] != layer.fold[None, :]).astype(np.float64)
    together = np.einsum("te,tu,uf->teuf", layer.counts, apart, layer.counts, optimize=True)
    shape = (len(weights), n_emotions, n_emotions)
    inner, pairs = np.zeros(shape), np.zeros(shape)
    heavy = weights.astype(np.float64)
    for table, total in ((_whitened_products(layer), inner), (together, pairs)):
        by_topic = heavy @ table.reshape(n_topics, -1)
        by_topic = by_topic.reshape(len(weights), n_emotions, n_topics, n_emotions)
        total += np.einsum("reuf,ru->ref", by_topic, heavy, optimize=True)
    inner = np.divide(inner, pairs, out=np.full(shape, np.nan), where=pairs > 0)
    own = np.einsum("ree->re", inner)
    distance = own[:, :, None] + own[:, None, :] - inner - inner.transpose(0, 2, 1)
    distance[:, np.arange(n_emotions), np.arange(n_emotions)] = 0
    some = np.isfinite(distance).sum(axis=2) - 1
    mean = np.nansum(distance, axis=2) / np.where(some > 0, some, np.nan)
    return np.asarray(mean / layer.texts.shape[1])


def _whitened_products(layer: Layer) -> Array:
    """Inner products of cells in different folds, whitened by the noise of the other folds.

    Returns
    -------
    ndarray, shape (topics, emotions, topics, emotions)
        Sums over the texts of two cells; 0 for topics of the same fold.
    """
    # A topic's own offset is common to its emotions, and would only add noise.
    centred = layer.standardised - _means(layer.standardised, layer.topic)[layer.topic]
    cells = layer.cells(centred)
    products = np.zeros((layer.n_topics, layer.n_emotions) * 2)
    folds = np.unique(layer.fold)
    for first, second in combinations(folds, 2):
        rest = np.flatnonzero(~np.isin(layer.fold, (first, second))[layer.topic])
        noise = ShrunkCovariance.of_cells(centred[rest], layer.emotion[rest], layer.topic[rest])
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


def cosine(layer: Layer, weights: Array) -> Array:
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


def anisotropy(layer: Layer, weights: Array) -> Array:
    """Mean cosine between neutral texts of different topics: what is shared by any two texts.

    Parameters
    ----------
    layer : Layer
    weights : ndarray, shape (rows, topics)

    Returns
    -------
    ndarray, shape (rows, 1)
        NaN for a bootstrap row that holds a single topic.
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


def _unit(vectors: Array) -> Array:
    """Scale vectors, shape (..., width), to length 1; zeros stay as they are."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1))


@dataclass(frozen=True)
class ShrunkCovariance:
    """A noise covariance, shrunk to its diagonal, that is never written out.

    In units of each dimension's SD it is ``shrinkage * I + (1 - shrinkage) / freedom * R'R`` with
    the standardised residuals R, so Woodbury's identity inverts it through the Gram matrix RR':
    its cost grows in proportion to the larger of texts and width, and to the smaller's square.

    Attributes
    ----------
    spread : ndarray, shape (width,)
    residual : ndarray, shape (texts or width, whichever is less, width)
        Residuals divided by `spread`, or a root of their sums of squares and products.
    shrinkage : float in (0, 1]
    freedom : int

    Notes
    -----
    The shrinkage is that of Schaefer and Strimmer (2005, Stat. Appl. Genet. Mol. Biol. 4, 32):
    sum over i != j of the sampling variance of the correlation r_ij, over the sum of r_ij**2.
    """

    spread: Array
    residual: Array
    shrinkage: float
    freedom: int

    @classmethod
    def of_cells(
        cls, texts: Array, emotion: NDArray[np.int64], topic: NDArray[np.int64]
    ) -> ShrunkCovariance:
        """Estimate it from what emotion and topic leave unexplained.

        Parameters
        ----------
        texts : ndarray, shape (texts, width)
            Centred within topics.
        emotion, topic : ndarray of int, shape (texts,)
        """
        freedom = len(texts) - len(np.unique(emotion)) - len(np.unique(topic)) + 1
        # Two folds leave no text, three topics leave one: take the dimensions as they are.
        if freedom < 1 or len(texts) == 0:
            return cls(np.ones(texts.shape[1]), texts[:0], 1.0, 1)
        residual = texts - _means(texts, emotion)[emotion]
        n = len(residual)
        spread = np.sqrt((residual**2).sum(axis=0) / freedom)
        spread = np.where(spread > 1e-6, spread, 1.0)
        residual /= spread
        # Sums over all pairs of dimensions, from sums over pairs of texts.
        squares = residual**2
        # Of more texts than dimensions a root of R'R says as much, in fewer rows.
        root = np.asarray(np.linalg.qr(residual, "r") if n > residual.shape[1] else residual)
        power = ((root @ root.T) ** 2).sum() - (squares.sum(axis=0) ** 2).sum()
        fourth = (squares.sum(axis=1) ** 2).sum() - np.vdot(squares, squares)
        noise = n / freedom**2 * (fourth / (n - 1) - power / (n - 1) ** 2)
        power = power / (n - 1) ** 2
        # Never 0: with more dimensions than texts the sample covariance is singular.
        shrinkage = float(np.clip(noise / power, 1e-3, 1)) if power > 0 else 1.0
        return cls(spread, root, shrinkage, freedom)

    def product(self, a: Array, b: Array) -> Array:
        """Return ``a @ inverse @ b.T`` for a of shape (m, width) and b of shape (n, width)."""
        a, b = a / self.spread, b / self.spread
        plain = a @ b.T
        if self.shrinkage == 1:
            return np.asarray(plain)
        ridge = self.shrinkage * self.freedom / (1 - self.shrinkage)
        gram = self.residual @ self.residual.T
        gram[np.diag_indices_from(gram)] += ridge
        explained = (a @ self.residual.T) @ cho_solve(cho_factor(gram), self.residual @ b.T)
        return np.asarray((plain - explained) / self.shrinkage)


def _means(texts: Array, group: NDArray[np.int64]) -> Array:
    """Mean of texts (texts, width) within each group, shape (groups, width)."""
    sums = np.zeros((int(group.max()) + 1, texts.shape[1]))
    np.add.at(sums, group, texts)
    return np.asarray(sums / np.maximum(np.bincount(group), 1)[:, None])


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
