"""Score all layers of a unit with the metrics of `metrics.py`, with topic-bootstrap replicates.

Everything is computed from weights on topics: a row of ones gives the estimate, and a row of
multinomial counts gives one bootstrap replicate. All rows use the same few matrix products. A
repeated topic thus stays within one fold and is never compared with itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from representations.metrics import METRICS, Layer
from representations.pooled import Activations
from study.arrays import FloatArray
from study.read import InputError


def separation_scores(
    activations: ArrayLike | Activations,
    emotions: Sequence[str],
    topics: Sequence[str],
    *,
    metrics: Sequence[str] = ("auc", "crossnobis", "cosine"),
    neutral: ArrayLike | Activations | None = None,
    neutral_topics: Sequence[str] = (),
    folds: int = 6,
    replicates: int = 200,
    denoise: float = 0.0,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score how well emotions separate at each layer, with topic-bootstrap replicates.

    Parameters
    ----------
    activations : array_like, shape (texts, layers + 1, width)
        Pooled activations from any tool, such as this project, nnsight or TransformerLens. An
        object with this shape that returns one layer as ``activations[:, layer]``, such as a
        dataset of h5py or zarr, is read one layer at a time.
    emotions, topics : sequence of str, length texts
        Labels of each text. Folds and bootstrap draws are whole topics.
    metrics : sequence of str
        Names from `METRICS`.
    neutral : array_like, shape (neutral texts, layers + 1, width), optional
        Activations of neutral texts, for `anisotropy` and for denoising.
    neutral_topics : sequence of str, length neutral texts
    folds : int
        Cross-validation folds; at most the number of topics.
    replicates : int
        Bootstrap replicates.
    denoise : float in [0, 1)
        Project out the first principal components of the neutral texts, as few as explain this
        share of their variance (Sofroniew et al. 2026 use 0.5); 0 leaves the texts unchanged.
    seed : int
        Seed of the folds and of the bootstrap.

    Returns
    -------
    scores : DataFrame
        Columns emotion, layer, metric, score, in each metric's own units.
    replicates : DataFrame
        Columns layer, metric, replicate (from 1), score: replicates of the mean over emotions.

    Raises
    ------
    InputError
        For an unknown metric, fewer than two emotions or topics, an emotion that occurs in only
        one topic, arrays whose shapes do not match, or values that are not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> emotions, topics = np.repeat(["joy", "fear"], 8), np.tile(list("abcdefgh"), 2)
    >>> activations = rng.normal(size=(16, 3, 5))
    >>> activations[:8, 1] += 2  # at layer 1 the two emotions are far apart
    >>> scores, _ = separation_scores(activations, emotions, topics, metrics=["auc"],
    ...                               replicates=10)
    >>> scores.groupby("layer")["score"].mean().round(1).tolist()[1]
    1.0
    """
    values = _indexable(activations)
    quiet = _indexable(np.zeros((0, *values.shape[1:])) if neutral is None else neutral)
    _check(values, emotions, topics, quiet, neutral_topics, metrics, denoise)
    emotion_names, emotion = np.unique(np.asarray(emotions), return_inverse=True)
    topic_names, topic = np.unique(np.asarray(topics), return_inverse=True)
    known = {name: code for code, name in enumerate(topic_names)}
    n_topics = len(topic_names)
    fold, weights = topic_weights(n_topics, folds, replicates, seed)

    def score_layer(index: int) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
        texts, plain = _layer(values, index), _layer(quiet, index)
        if denoise > 0:
            texts = texts - projection(texts, plain, denoise)
        layer = Layer(
            texts=texts,
            emotion=emotion,
            topic=topic,
            n_emotions=len(emotion_names),
            n_topics=n_topics,
            fold=fold,
            neutral=plain,
            neutral_topic=np.array([known[t] for t in neutral_topics], dtype=np.int64),
        )
        tables = []
        for name in metrics:
            metric = METRICS[name]
            score = metric.compute(layer, weights).astype(np.float64)
            labels = ["neutral"] if metric.on_neutral else emotion_names
            here = {"layer": index, "metric": name}
            estimate = {"emotion": labels, **here, "score": score[0]}
            number = np.arange(1, replicates + 1)
            draws = {**here, "replicate": number, "score": np.nanmean(score[1:], axis=1)}
            tables.append((pd.DataFrame(estimate), pd.DataFrame(draws)))
        return tables

    # Layers in parallel, each on one thread: the matrices are too small to split.
    workers = min(4, os.cpu_count() or 1)
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        done = [pair for pairs in pool.map(score_layer, range(values.shape[1])) for pair in pairs]
    scores, resampled = zip(*done, strict=True)
    return pd.concat(scores, ignore_index=True), pd.concat(resampled, ignore_index=True)


def _indexable(values: ArrayLike | Activations) -> Activations:
    """Return an object with a shape unchanged, and anything else as an array."""
    kept: Activations = values if hasattr(values, "shape") else np.asarray(values)  # type: ignore[assignment]
    return kept


def _check(
    values: Activations,
    emotions: Sequence[str],
    topics: Sequence[str],
    neutral: Activations,
    neutral_topics: Sequence[str],
    metrics: Sequence[str],
    denoise: float,
) -> None:
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise InputError(f"unknown metric {unknown[0]!r}; choose from {', '.join(METRICS)}")
    if len(values.shape) != 3:
        raise InputError(f"activations have shape {values.shape}, not (texts, layers + 1, width)")
    if not values.shape[0] == len(emotions) == len(topics):
        raise InputError(
            f"{values.shape[0]} activations, {len(emotions)} emotions and {len(topics)} topics; "
            "there must be one of each for every text"
        )
    if neutral.shape != (len(neutral_topics), *values.shape[1:]):
        raise InputError(
            f"neutral activations {neutral.shape} do not fit {len(neutral_topics)} topics "
            f"and texts of shape {values.shape[1:]}"
        )
    seen: dict[str, set[str]] = {}
    for emotion, topic in zip(emotions, topics, strict=True):
        seen.setdefault(emotion, set()).add(topic)
    if len(seen) < 2:
        raise InputError(f"{len(seen)} emotion(s); separation needs at least two")
    lonely = sorted(emotion for emotion, where in seen.items() if len(where) < 2)
    if lonely:
        raise InputError(
            f"emotion {lonely[0]!r} occurs in only one topic; folds are whole topics, "
            "so each emotion needs at least two"
        )
    stray = sorted(set(neutral_topics) - set(topics))
    if stray:
        raise InputError(f"neutral texts of topic {stray[0]!r}, which no other text has")
    needs = [m for m in metrics if METRICS[m].on_neutral]
    if (needs or denoise > 0) and len(set(neutral_topics)) < 2:
        raise InputError(
            f"{needs[0] if needs else 'denoise'} needs neutral texts of at least two topics"
        )
    if not 0 <= denoise < 1:
        raise InputError(f"denoise is {denoise}; it is a share of variance in [0, 1)")


def topic_weights(
    n_topics: int, folds: int, replicates: int, seed: int
) -> tuple[NDArray[np.int64], FloatArray]:
    """Return the fold of each topic, and the weights on topics of the estimate and replicates.

    Parameters
    ----------
    n_topics, folds, replicates, seed : int

    Returns
    -------
    fold : ndarray of int, shape (topics,)
    weights : ndarray, shape (1 + replicates, topics)

    Examples
    --------
    >>> fold, weights = topic_weights(4, folds=2, replicates=3, seed=0)
    >>> np.bincount(fold).tolist(), weights.sum(axis=1).tolist()
    ([2, 2], [4.0, 4.0, 4.0, 4.0])
    """
    rng = np.random.default_rng(seed)
    fold = rng.permutation(n_topics) % min(folds, n_topics)
    draws = _topic_draws(rng, fold, replicates)
    return fold, np.vstack([np.ones(n_topics), draws]).astype(np.float32)


def _topic_draws(
    rng: np.random.Generator, fold: NDArray[np.int64], replicates: int
) -> NDArray[np.int64]:
    """Draw the count of each topic in each replicate, shape (replicates, topics).

    A draw within a single fold, which happens with very few topics, has no score and is redrawn.
    """
    n_topics = len(fold)
    draws = np.zeros((replicates, n_topics), dtype=np.int64)
    lonely = np.ones(replicates, dtype=bool)
    while lonely.any():
        draws[lonely] = rng.multinomial(
            n_topics, np.full(n_topics, 1 / n_topics), size=int(lonely.sum())
        )
        folds_drawn = [(draws[:, fold == f].sum(axis=1) > 0) for f in np.unique(fold)]
        lonely = np.sum(folds_drawn, axis=0) < 2
    return draws


def _layer(values: Activations, index: int) -> FloatArray:
    # Contiguous, because the last digits depend on the memory layout.
    layer = np.ascontiguousarray(values[:, index], dtype=np.float32)
    if not np.isfinite(layer).all():
        raise InputError(f"activations at layer {index} are not finite")
    return layer


def projection(texts: FloatArray, neutral: FloatArray, share: float) -> FloatArray:
    """Project texts on the first principal components of the neutral texts.

    Parameters
    ----------
    texts : ndarray, shape (texts, width)
    neutral : ndarray, shape (neutral texts, width)
    share : float
        Uses as few components as explain this share of the neutral texts' variance.

    Returns
    -------
    ndarray, shape (texts, width)
    """
    kept = first_components(neutral, share)
    return np.asarray(texts @ kept.T @ kept)


def first_components(neutral: FloatArray, share: float) -> FloatArray:
    """Return the first principal components of neutral texts, shape (components, width).

    As few as explain this share of the texts' variance.

    Examples
    --------
    >>> first_components(np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 0.5).shape
    (1, 2)
    """
    _, spectrum, components = np.linalg.svd(neutral - neutral.mean(axis=0), full_matrices=False)
    held = np.cumsum(spectrum**2) / max(float((spectrum**2).sum()), 1e-30)
    return np.asarray(components[: int(np.searchsorted(held, share)) + 1])


def shuffled_within_topics(emotions: Sequence[str], topics: Sequence[str], seed: int) -> list[str]:
    """Permute emotion labels among the texts of each topic: the null of no emotion effect.

    Parameters
    ----------
    emotions, topics : sequence of str, length texts
    seed : int

    Returns
    -------
    list of str, length texts

    Examples
    --------
    >>> shuffled_within_topics(["joy", "fear"], ["a", "b"], seed=0)
    ['joy', 'fear']
    """
    rng = np.random.default_rng(seed)
    labels, groups = np.array(emotions), np.array(topics)
    for topic in np.unique(groups):
        here = np.flatnonzero(groups == topic)
        labels[here] = labels[rng.permutation(here)]
    return [str(label) for label in labels]
