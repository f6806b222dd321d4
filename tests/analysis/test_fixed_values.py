"""Tests of these models against R's t tests over topics: tests/reference/fixed_models.R.

The replicates of a study with few topics can have exactly the covariance of the topic bootstrap:
two for each of a set of orthonormal contrasts of the topics.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import helmert

from analysis import as_scores, method_test
from analysis.claims.fixed_contested import embeddings
from analysis.loading.scores import Scores
from analysis.scopes import THESE
from study.arrays import Float64Array

R = json.loads((Path(__file__).parents[1] / "reference" / "fixed_models.json").read_text())
TOPICS, DELTA = R["topics"], R["delta"]
MODELS = ("m1", "m2", "m3")


def copies_of(values: Float64Array) -> Float64Array:
    """Return replicates, shape (n_replicates, n_layers), of values (n_topics, n_layers)."""
    contrasts = np.vstack([helmert(TOPICS), -helmert(TOPICS)])
    return values.mean(axis=0) + np.sqrt((len(contrasts) - 1) / 2) / TOPICS * contrasts @ values


@pytest.fixture(scope="module")
def study() -> Scores:
    tables, replicates = [], []
    for method, name in (("generation", "a"), ("comprehension", "b")):
        for model, values in zip(MODELS, R[name], strict=True):
            here = np.array(values)
            n = here.shape[1]
            keys = {"model": model, "family": f"of {model}", "method": method}
            place = {"layer": np.arange(n), "depth": np.linspace(0, 1, n), "n_layers": n - 1}
            tables.append(pd.DataFrame({**keys, **place, "score": here.mean(axis=0)}))
            for number, copy in enumerate(copies_of(here)):
                one = pd.DataFrame({**keys, **place, "score": copy})
                replicates.append(one.assign(replicate=number))
    scores = as_scores(pd.concat(tables), higher_is_better=True)
    keys = [c for c in scores.table if c not in ("layer", "depth", "score", "emotion")]
    facts = scores.table[keys].drop_duplicates(["model", "method"])
    copies = pd.concat(replicates).drop(columns=["family", "n_layers"])
    run = {"topics": list(range(TOPICS)), "metrics": {"score": {"chance": 0.5}}}
    return replace(scores, replicates=copies.merge(facts, on=["model", "method"]), run=run)


def test_methods_within_models_are_paired_t_tests(study: Scores) -> None:
    found = method_test(study, scope=THESE, delta=DELTA)
    within = found[found["test"] == "within model"]
    for name in ("estimate", "low", "high", "p"):
        assert_allclose(within[name], [each[name] for each in R["methods"]], rtol=1e-9)
    assert_allclose(within["p_holm"], R["holm"], rtol=1e-9)
    alike = [each["p_same"] < 0.05 <= each["p"] for each in R["methods"]]
    assert (within["verdict"] == "alike").tolist() == alike
    every = found[found["test"] == "every model"].iloc[0]
    for name in ("estimate", "low", "high"):
        assert_allclose(every[name], R["every"][name], rtol=1e-9)
    assert_allclose(every["p"], R["every"]["p_every"], rtol=1e-9)


def test_layer_0_is_compared_with_every_layer_by_one_sided_t_tests(study: Scores) -> None:
    row = embeddings(study, "generation", "score", 0.05, 0)
    assert row["verdict"] in ("supported", "undecided")
    assert_allclose(row["p"], R["halves"], rtol=1e-9)
