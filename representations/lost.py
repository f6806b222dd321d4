"""Score what ablation loses at each layer, with topic-bootstrap replicates."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from representations.metrics import Layer, Measure, auc
from representations.pooled import PooledUnit
from representations.separation import topic_weights
from study.arrays import FloatArray
from study.read import InputError

#: The measures, by the name that tables use.
MEASURES = {
    "separation_lost": Measure("Held-out AUC lost at the last layer", True, 0.0),
    "prediction_lost": Measure("Log-probability lost (nats per token)", True, 0.0),
}
#: Two in each half.
LEAST_TOPICS = 4
TOO_FEW = "ablation needs at least four, two in each half"


def halves(n_topics: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the half of each topic, and its place within the half, both shape (topics,).

    Raises
    ------
    InputError
        For fewer than four topics.

    Examples
    --------
    >>> half, place = halves(6, seed=0)
    >>> np.bincount(half).tolist(), sorted(place.tolist())
    ([3, 3], [0, 0, 1, 1, 2, 2])
    """
    if n_topics < LEAST_TOPICS:
        raise InputError(f"{n_topics} topics; {TOO_FEW}")
    order = np.random.default_rng(seed).permutation(n_topics)
    return order % 2, order // 2


def lost_scores(
    unit: PooledUnit, *, folds: int = 6, replicates: int = 200, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score what ablation loses at each layer, beyond what the control loses.

    Parameters
    ----------
    unit : PooledUnit
        As `representations.ablation.ablation` returns it.
    folds : int
        Of the whole study; each half of the topics has half as many.
    replicates, seed : int
        As in `separation_scores`, with the same topics in each replicate.

    Returns
    -------
    scores : DataFrame
        Columns emotion, layer, metric, score, for the metrics of `MEASURES`. Positive where the
        emotions' subspace loses more than the control's.
    replicates : DataFrame
        Columns layer, metric, replicate (from 1), score, averaged over emotions.

    Raises
    ------
    InputError
        For fewer than four topics, or an emotion that occurs in too few.

    Notes
    -----
    Separation at the last layer is the held-out area under the curve (`metrics.auc`) of ablated
    texts, ranked on the directions of the intact texts in the other folds of the same half of the
    topics, and averaged over halves. A probe that learns from ablated texts would find whatever
    trace of an emotion is left, however small, because it is blind to scale. This one asks whether
    the emotion arrives in the form and size that it has there without ablation. The subspace comes
    from the other half: with topics in common, its errors and the probe's would be the same, and a
    trace would be ranked the wrong way round.
    """
    facts = unit.facts
    names, emotion = np.unique(np.asarray(facts["emotions"]), return_inverse=True)
    topic_names, topic = np.unique(np.asarray(facts["topics"]), return_inverse=True)
    half, place = halves(len(topic_names), seed)
    weights = topic_weights(len(topic_names), folds, replicates, seed)[1]
    fold = place % max(2, min(folds, len(topic_names)) // 2)
    layers = facts["ablated_layers"]
    apart = []
    for state in range(1, 1 + 2 * len(layers)):
        sides = []
        for side in (0, 1):
            topics = np.flatnonzero(half == side)
            use = half[topic] == side
            texts = _texts(unit, 0)[use]
            layer = Layer(
                texts=texts,
                emotion=emotion[use],
                topic=np.searchsorted(topics, topic[use]),
                n_emotions=len(names),
                n_topics=len(topics),
                fold=fold[topics],
                neutral=texts[:0],
                neutral_topic=topic[:0],
                tested=_texts(unit, state)[use],
            )
            sides.append(auc(layer, weights[:, topics]))
        both = np.array(sides)
        known = np.isfinite(both)
        apart.append(_ratio(np.where(known, both, 0).sum(axis=0), known.sum(axis=0)))
    said = np.array(facts["log_likelihoods"], dtype=np.float64)[:, 1:]
    likelihood = _means(said, emotion, topic, weights, len(names))
    tables = []
    for number, layer in enumerate(layers):
        control = number + len(layers)
        for name, values in (("separation_lost", apart), ("prediction_lost", likelihood)):
            lost = values[control] - values[number]
            if np.isnan(lost[0]).any():
                lonely = names[np.isnan(lost[0])][0]
                raise InputError(
                    f"emotion {lonely!r} occurs in too few topics; ablation needs two in each half"
                )
            here = {"layer": layer, "metric": name}
            estimate = pd.DataFrame({"emotion": names, **here, "score": lost[0]})
            copies = {**here, "replicate": np.arange(1, replicates + 1)}
            # A draw without two folds of an emotion in either half has no score of its own.
            draws = pd.DataFrame(
                {
                    **copies,
                    "score": np.nanmean(np.where(np.isnan(lost[1:]), lost[0], lost[1:]), axis=1),
                }
            )
            tables.append((estimate, draws))
    scores, resampled = zip(*tables, strict=True)
    return pd.concat(scores, ignore_index=True), pd.concat(resampled, ignore_index=True)


def _texts(unit: PooledUnit, state: int) -> FloatArray:
    """Return the activations in a state; contiguous, because their last digits depend on it."""
    return np.ascontiguousarray(unit.activations[:, state], dtype=np.float32)


def _means(
    values: FloatArray,
    emotion: NDArray[np.int64],
    topic: NDArray[np.int64],
    weights: FloatArray,
    n_emotions: int,
) -> FloatArray:
    """Average values, shape (texts, states), by emotion: shape (states, rows, emotions)."""
    sums = np.zeros((weights.shape[1], n_emotions, values.shape[1]))
    counts = np.zeros((weights.shape[1], n_emotions))
    np.add.at(sums, (topic, emotion), values)
    np.add.at(counts, (topic, emotion), 1)
    rows = np.asarray(weights, dtype=np.float64)
    total, count = np.einsum("rt,tes->sre", rows, sums), (rows @ counts)[None]
    return _ratio(total, count)


def _ratio(total: FloatArray, count: FloatArray) -> FloatArray:
    """Divide, with NaN where nothing was counted."""
    empty = np.full(total.shape, np.nan)
    return np.asarray(np.divide(total, count, out=empty, where=count > 0))
