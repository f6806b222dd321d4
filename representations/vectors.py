"""Compute emotion vectors from activations, and export them in common formats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from representations.pooled import PooledUnit
from study.arrays import Float32Array
from study.read import InputError
from study.write import Place, slug, write_atomically

DEFINITION = "mean activation of the emotion's texts minus the mean of the other emotions' means"


def emotion_vectors(unit: PooledUnit, emotions: Sequence[str] = ()) -> dict[str, Float32Array]:
    """Return a vector per emotion and layer.

    Parameters
    ----------
    unit : PooledUnit
        Pooled activations with their texts' emotions.
    emotions : sequence of str
        Which vectors; all by default. The others still count in the mean that is subtracted.

    Returns
    -------
    dict of str to ndarray, shape (layers + 1, width)
        In the units of the residual stream.

    Raises
    ------
    InputError
        For an emotion without texts, or if all texts have the same emotion.

    Notes
    -----
    v_e = m_e - mean of m_f over the other emotions f, with m the mean over an emotion's texts.
    Emotions have equal weight, whatever their numbers of texts.
    """
    labels = np.array(unit.facts["emotions"])
    known = sorted(set(labels.tolist()))
    unknown = [e for e in emotions if e not in known]
    if unknown:
        raise InputError(
            f"no vector for the emotion {unknown[0]!r}: the activations have {', '.join(known)}; "
            "choose steering.emotions among the study's emotions"
        )
    if len(known) < 2:
        raise InputError("a vector needs texts of at least two emotions; the study has one")
    _, n_layers, width = unit.activations.shape
    means = np.empty((len(known), n_layers, width))
    for layer in range(n_layers):
        texts = np.asarray(unit.activations[:, layer])
        for row, emotion in enumerate(known):
            means[row, layer] = texts[labels == emotion].mean(axis=0, dtype=np.float64)
    total, n = means.sum(axis=0), len(known)
    vectors = means - (total - means) / (n - 1)
    return {e: vectors[known.index(e)].astype(np.float32) for e in emotions or known}


def sham(vector: Float32Array, seed: int) -> Float32Array:
    """Return a random direction with a vector's length.

    Parameters
    ----------
    vector : ndarray, shape (width,)
    seed : int

    Returns
    -------
    ndarray, shape (width,)

    Examples
    --------
    >>> vector = np.array([3, 4], dtype=np.float32)
    >>> bool(np.isclose(np.linalg.norm(sham(vector, 0)), 5))
    True
    """
    random = np.random.default_rng(seed).standard_normal(len(vector))
    scaled: Float32Array = (random * (np.linalg.norm(vector) / np.linalg.norm(random))).astype(
        np.float32
    )
    return scaled


def within_emotions(unit: PooledUnit, layer: int) -> Float32Array:
    """Return the texts' activations at a layer minus their emotion's mean, shape (texts, width).

    Raises
    ------
    InputError
        If no emotion has two different texts.
    """
    texts = np.array(unit.activations[:, layer], dtype=np.float32)
    labels = np.array(unit.facts["emotions"])
    for emotion in set(labels.tolist()):
        texts[labels == emotion] -= texts[labels == emotion].mean(axis=0)
    if not texts.any():
        raise InputError("a matched sham needs emotions with several texts; add topics")
    return texts


def matched_sham(vector: Float32Array, residuals: Float32Array, seed: int) -> Float32Array:
    """Return a random direction with a vector's length, drawn from a covariance.

    Parameters
    ----------
    vector : ndarray, shape (width,)
    residuals : ndarray, shape (texts, width)
        From `within_emotions`.
    seed : int

    Returns
    -------
    ndarray, shape (width,)

    Notes
    -----
    The direction is that of the sum of w_t r_t over texts, with standard normal weights w and
    residuals r: a normal draw whose covariance is proportional to the residuals'. An emotion's
    vector computed from texts of no particular emotion has this covariance, too.

    Examples
    --------
    >>> vector, flat = np.array([3, 4], dtype=np.float32), np.array([[1, 0]], dtype=np.float32)
    >>> abs(matched_sham(vector, flat, 0)).round(3).tolist()
    [5.0, 0.0]
    """
    weights = np.random.default_rng(seed).standard_normal(len(residuals))
    random = weights @ residuals.astype(np.float64)
    return np.asarray(random * (np.linalg.norm(vector) / np.linalg.norm(random)), np.float32)


def export_vectors(
    folder: Place, vectors: Mapping[str, Float32Array], facts: Mapping[str, Any]
) -> list[Place]:
    """Write a model's vectors as one safetensors file and one GGUF control vector each.

    Parameters
    ----------
    folder : Path or UPath
    vectors : mapping of str to ndarray, shape (layers + 1, width)
    facts : mapping
        model, model_type, n_layers, and further facts for the reader.

    Returns
    -------
    list of Path or UPath

    Raises
    ------
    InputError
        If the folder cannot be written.

    Notes
    -----
    The safetensors file has one tensor per emotion, whose row l is layer l, and the facts as JSON
    under ``facts`` in its header. A control vector in the format of llama.cpp and repeng has a
    tensor ``direction.b`` for the output of each block b except the first, counted from 0; this is
    layer b + 1 here.
    """
    from gguf import GGUFWriter
    from safetensors.numpy import save_file

    name = slug(facts["model"])
    header = {"format": "emotion-depth 1", "definition": DEFINITION, "facts": json.dumps(facts)}
    plain = folder / f"{name}.safetensors"
    arrays = {emotion: np.ascontiguousarray(v) for emotion, v in vectors.items()}
    write_atomically(plain, lambda p: save_file(arrays, p, metadata=header))
    paths: list[Place] = [plain]
    for emotion, vector in vectors.items():

        def write(path: Path, emotion: str = emotion, vector: Float32Array = vector) -> None:
            writer = GGUFWriter(path, "controlvector")
            writer.add_string("controlvector.model_hint", facts["model_type"])
            writer.add_uint32("controlvector.layer_count", len(vector) - 2)
            writer.add_name(f"{facts['model']}: {emotion}")
            writer.add_description(DEFINITION)
            for layer in range(2, len(vector)):
                writer.add_tensor(f"direction.{layer - 1}", np.ascontiguousarray(vector[layer]))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()

        paths.append(folder / f"{name}.{slug(emotion)}.gguf")
        write_atomically(paths[-1], write)
    return paths
