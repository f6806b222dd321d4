"""Simulate studies with a known truth, for the tests, the benchmarks and power analysis."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.loading.scores import COLUMNS, REPLICATE_COLUMNS, Scores
from study.arrays import Float64Array
from study.read import InputError

SHAPES = ("hump", "trough", "flat", "rising", "saturating", "decay")
#: Level of every simulated profile: an AUC halfway between chance and 0.9.
LEVEL = 0.7
#: Depth at which the saturating and decaying shapes have covered 63% of their height.
SCALE = 0.2


def curve(
    depth: Float64Array, shape: str, vertex: float = 0.5, height: float = 0.1
) -> Float64Array:
    """Return a noise-free profile.

    Parameters
    ----------
    depth : ndarray
    shape : {"hump", "trough", "flat", "rising", "saturating", "decay"}
    vertex : float
        Depth of the turn, for hump and trough.
    height : float
        Hump and trough: the change over half of the depth (a hump at 0.5 stands `height` above
        both ends). Other shapes: the change from depth 0 to 1 (rising) or to the asymptote.

    Returns
    -------
    ndarray, the shape of `depth`

    Raises
    ------
    InputError
        If the shape is unknown.

    Examples
    --------
    >>> curve(np.array([0.0, 0.5, 1.0]), "hump").round(3)
    array([0.6, 0.7, 0.6])
    """
    parabola = height * ((depth - vertex) / 0.5) ** 2
    match shape:
        case "hump":
            return LEVEL - parabola
        case "trough":
            return LEVEL + parabola
        case "flat":
            return np.full_like(depth, LEVEL)
        case "rising":
            return LEVEL + height * depth
        case "saturating":
            return LEVEL - height * np.exp(-depth / SCALE)
        case "decay":
            return LEVEL + height * np.exp(-depth / SCALE)
    raise InputError(f"no shape {shape!r}; there are {', '.join(SHAPES)}")


def ar1_noise(
    rng: np.random.Generator, n_rows: int, n_points: int, sd: float, rho: float
) -> Float64Array:
    """Draw stationary AR(1) noise, shape (n_rows, n_points)."""
    steps = rng.standard_normal((n_rows, n_points))
    noise = np.empty_like(steps)
    noise[:, 0] = steps[:, 0]
    for i in range(1, n_points):
        noise[:, i] = rho * noise[:, i - 1] + np.sqrt(1 - rho**2) * steps[:, i]
    return sd * noise


def simulate_scores(
    families: Sequence[int] = (2, 2, 2, 2, 1),
    n_layers: tuple[int, int] = (12, 33),
    methods: Sequence[str] = ("comprehension",),
    n_emotions: int = 1,
    shape: str = "hump",
    vertex: float = 0.5,
    height: float = 0.1,
    noise_sd: float = 0.01,
    rho: float = 0.9,
    model_sd: Mapping[str, float] | None = None,
    family_sd: Mapping[str, float] | None = None,
    method_effect: float = 0.0,
    n_replicates: int = 200,
    seed: int = 0,
    weights: str = "trained",
    labels: str = "true",
    n_topics: int | None = None,
) -> Scores:
    """Simulate a study.

    A profile is its curve plus AR(1) noise over layers. Its replicates are the profile plus fresh
    noise with the same covariance, so their spread equals the sampling error. With `n_topics`, the
    replicates are a bootstrap of topics as in a real study, and each topic has its own AR(1)
    noise. Each emotion has its own noise (with SD `noise_sd` after averaging over emotions) and
    its own level, shared by all models.

    Parameters
    ----------
    families : sequence of int
        Number of models in each family; families are named A, B, ..., models m1, m2, ...
    n_layers : (int, int)
        Smallest and largest number of layers; each model's number is drawn from this range.
    methods : sequence of str
    n_emotions : int
    shape, vertex, height
        See `curve`.
    noise_sd : float
        Stationary standard deviation of a profile's noise, in units of the score.
    rho : float
        Correlation of the noise of neighboring layers.
    model_sd, family_sd : mapping, optional
        Standard deviations over models and over families, of "vertex", "level" and "height".
    method_effect : float
        What each method after the first adds to the level.
    n_replicates : int
        0 for a study without replicates.
    seed : int
        The same seed with other `weights` or `labels` gives the same models with other noise.
    weights, labels : str
        The values of these columns.
    n_topics : int, optional
        Number of topics that a profile averages over.

    Returns
    -------
    Scores

    Raises
    ------
    InputError
        If the shape is unknown.

    Examples
    --------
    >>> scores = simulate_scores(seed=1)
    >>> scores.table["model"].nunique(), scores.table["family"].nunique()
    (9, 5)
    """
    design = np.random.default_rng([seed, 0])
    rng = np.random.default_rng([seed, 1, *f"{weights} {labels}".encode()])
    spread_model = {"vertex": 0.0, "level": 0.0, "height": 0.0, **(model_sd or {})}
    spread_family = {"vertex": 0.0, "level": 0.0, "height": 0.0, **(family_sd or {})}
    emotion_level = 0.02 * rng.standard_normal(n_emotions)
    emotion_level -= emotion_level.mean()
    rows: list[pd.DataFrame] = []
    draws: list[pd.DataFrame] = []
    number = 0
    for family, n_models in enumerate(families):
        of_family = {k: sd * rng.standard_normal() for k, sd in spread_family.items()}
        for _ in range(n_models):
            number += 1
            top = int(design.integers(n_layers[0], n_layers[1] + 1))
            layer = np.arange(top + 1)
            depth = layer / top
            shift = {k: of_family[k] + sd * rng.standard_normal() for k, sd in spread_model.items()}
            base = shift["level"] + curve(
                depth, shape, vertex + shift["vertex"], height + shift["height"]
            )
            keys = {
                "study": "simulated",
                "model": f"m{number}",
                "weights": weights,
                "seed": 0,
                "precision": "float32",
                "labels": labels,
                "metric": "score",
                "family": chr(ord("A") + family),
                "n_layers": top,
                "n_params": float(np.exp(design.uniform(np.log(1e8), np.log(3e9)))),
                "instruct": bool(design.integers(2)),
            }
            for which, method in enumerate(methods):
                cells = n_emotions * (n_topics or 1)
                noise = ar1_noise(rng, cells, top + 1, noise_sd * np.sqrt(cells), rho)
                noise = noise.reshape(n_emotions, -1, top + 1)
                level = base + method_effect * (which > 0) + emotion_level[:, None]
                score = level + noise.mean(axis=1)
                long = {
                    "emotion": np.repeat([f"e{i + 1}" for i in range(n_emotions)], top + 1),
                    "layer": np.tile(layer, n_emotions),
                    "depth": np.tile(depth, n_emotions),
                    "score": score.ravel(),
                }
                rows.append(pd.DataFrame({**keys, "method": method, **long}))
                if n_replicates:
                    if n_topics:
                        drawn = rng.multinomial(
                            n_topics, np.full(n_topics, 1 / n_topics), n_replicates
                        )
                        spread = (drawn / n_topics - 1 / n_topics) @ noise.mean(axis=0)
                    else:
                        spread = ar1_noise(rng, n_replicates, top + 1, noise_sd, rho)
                    copies = {
                        "layer": np.tile(layer, n_replicates),
                        "depth": np.tile(depth, n_replicates),
                        "replicate": np.repeat(np.arange(1, n_replicates + 1), top + 1),
                        "score": (score.mean(axis=0) + spread).ravel(),
                    }
                    draws.append(pd.DataFrame({**keys, "method": method, **copies}))
    return Scores(
        table=pd.concat(rows, ignore_index=True)[COLUMNS],
        replicates=pd.concat(draws, ignore_index=True)[REPLICATE_COLUMNS] if draws else None,
        directions={"score": 1},
        run={"topics": [f"t{i + 1}" for i in range(n_topics)]} if n_topics else {},
    )


def combine(first: Scores, *others: Scores) -> Scores:
    """Combine simulated studies into one, such as trained models and their untrained twins.

    Examples
    --------
    >>> both = combine(simulate_scores(), simulate_scores(shape="decay", weights="untrained"))
    >>> sorted(both.table["weights"].unique())
    ['trained', 'untrained']
    """
    tables = [s.table for s in (first, *others)]
    replicates = [s.replicates for s in (first, *others) if s.replicates is not None]
    return replace(
        first,
        table=pd.concat(tables, ignore_index=True),
        replicates=pd.concat(replicates, ignore_index=True) if replicates else None,
        directions={k: v for s in (first, *others) for k, v in s.directions.items()},
    )


def write_study(
    folder: str | Path,
    n_models: int,
    n_points: int = 30,
    n_emotions: int = 20,
    metrics: Mapping[str, bool] | None = None,
    n_replicates: int = 200,
    n_topics: int = 24,
    n_families: int = 5,
    seed: int = 0,
) -> None:
    """Write the folder of a simulated study of any size, one model at a time.

    This serves to measure costs that grow with a study, so memory does not grow with `n_models`.
    The models' numbers of layers cycle from 5 fewer to 5 more than `n_points`. All profiles are
    humps, each with its own vertex, level and height, and have replicates from a bootstrap of
    topics.

    Parameters
    ----------
    folder : str or Path
        The folder to fill with `scores.parquet`, `replicates.parquet` and `run.json`, like
        `data/scores/<study>`.
    n_models, n_points, n_emotions, n_replicates, n_topics, n_families : int
        `n_points` is the mean number of layers per profile, at least 10.
    metrics : mapping of str to bool, optional
        Names, each with whether higher is better; default: four metrics.
    seed : int

    Raises
    ------
    InputError
        If `n_points` is below 10.

    Examples
    --------
    >>> import tempfile
    >>> from analysis import load_scores
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_study(folder, n_models=3, n_emotions=2, n_replicates=20)
    ...     scores = load_scores(folder)
    >>> len(list(scores.profiles()))
    12
    """
    if n_points < 10:
        raise InputError(f"n_points {n_points}: give 10 or more; every profile needs 5 layers")
    directions = metrics or {"auc": True, "crossnobis": True, "cosine": False, "anisotropy": False}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rules = {"target": 0.5, "delta": 0.1, "alpha": 0.05}
    run = {
        "study": {"name": "simulated", "preregistered": rules},
        "metrics": {k: {"higher_is_better": up} for k, up in directions.items()},
        "topics": [f"t{i + 1}" for i in range(n_topics)],
    }
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    writers: dict[str, pq.ParquetWriter] = {}
    try:
        for number in range(n_models):
            rng = np.random.default_rng([seed, number])
            top = n_points - 6 + number % 11
            keys: dict[str, str | int | bool] = {
                "study": "simulated",
                "model": f"m{number + 1}",
                "family": f"F{number % n_families + 1}",
                "n_params": int(10 ** rng.uniform(8, 10.5)),
                "n_layers": top,
                "instruct": False,
                "weights": "trained",
                "seed": 0,
                "precision": "float32",
                "method": "comprehension",
                "labels": "true",
            }
            tables = _model_tables(rng, keys, top, n_emotions, directions, n_replicates, n_topics)
            for name, table in zip(("scores", "replicates"), tables, strict=True):
                if name not in writers:
                    # Leave out Arrow's own schema; with it, text would not be read back as text.
                    writers[name] = pq.ParquetWriter(
                        folder / f"{name}.parquet",
                        table.schema,
                        compression="zstd",
                        store_schema=False,
                    )
                writers[name].write_table(table)
    finally:
        for writer in writers.values():
            writer.close()


def _model_tables(
    rng: np.random.Generator,
    keys: Mapping[str, str | int | bool],
    top: int,
    n_emotions: int,
    directions: Mapping[str, bool],
    n_replicates: int,
    n_topics: int,
) -> Iterator[pa.Table]:
    """Yield the rows of one model's scores, then those of its replicates."""
    layer, n = np.arange(top + 1), top + 1
    drawn = rng.multinomial(n_topics, np.full(n_topics, 1 / n_topics), n_replicates) / n_topics
    scores, draws = [], []
    for up in directions.values():
        vertex, level, height = rng.normal([0.5, 0.0, 0.1], [0.05, 0.03, 0.02])
        topics = ar1_noise(rng, n_topics, n, 0.05, 0.9)
        own = ar1_noise(rng, n_emotions, n, 0.02, 0.9)
        profile = curve(layer / top, "hump", vertex, height) + level + topics.mean(axis=0)
        sign = 1.0 if up else -1.0
        scores.append(sign * (profile + own - own.mean(axis=0)))
        draws.append(sign * (profile + (drawn - 1 / n_topics) @ topics))
    for column, values in (("emotion", scores), ("replicate", draws)):
        # The order of an extraction: by layer, then metric.
        score = np.stack(values).transpose(2, 0, 1)
        rows = score.shape[2]
        layers, metric, each = (i.ravel() for i in np.indices(score.shape))
        if column == "emotion":
            label = _text(each, [f"e{i + 1:02}" for i in range(rows)])
        else:
            label, score = pa.array(each + 1), score.astype(np.float32)
        yield pa.table(
            {
                **{
                    k: _text(np.zeros(score.size), [v])
                    if isinstance(v, str)
                    else pa.repeat(v, score.size)
                    for k, v in keys.items()
                },
                column: label,
                "layer": layers,
                "depth": layers / top,
                "metric": _text(metric, list(directions)),
                "score": score.ravel(),
            }
        )


def _text(codes: NDArray[Any], words: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array(words))
