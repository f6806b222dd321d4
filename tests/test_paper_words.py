"""The paper of anybody's table speaks of what is in it: really different forms, read as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reports.paper import limits_sentence
from tests import forms
from tests.paper_text import text_of_paper

#: Words of our own studies, and what stands where a table names nothing.
OURS = (
    *("emotion", "comprehension", "rereading", "SmolLM2", "steer", "passage", "valence"),
    *("crossnobis", "anisotropy", "untrained", "twin", "corpus", "stories", "certificate"),
    *("jeong", "nan", "none", "unknown", r"\ball\b, |, all\b|\(all\)"),
)


def small() -> pd.DataFrame:
    """Return the numbers of three of the models, one of each family."""
    table = forms.truth()
    return table[table["model"].isin(["gpt2", "pythia-70m", "Qwen2.5-0.5B"])]


def noisy(column: str, n: int) -> pd.DataFrame:
    """Return the numbers n times, with noise of their own."""
    rng = np.random.default_rng(5)
    parts = [
        small().assign(
            **{column: i}, accuracy=lambda t: t["accuracy"] + 0.01 * rng.normal(size=len(t))
        )
        for i in range(n)
    ]
    return pd.concat(parts, ignore_index=True)


def bare(folder: Path) -> Path:
    small().to_csv(folder / "bare.csv", index=False)
    return folder / "bare.csv"


def folds(folder: Path) -> Path:
    noisy("fold", 5).to_csv(folder / "folds.tsv", sep="\t", index=False)
    return folder / "folds.tsv"


def spread(folder: Path) -> Path:
    small().assign(accuracy_std=0.05, n=40).to_excel(folder / "spread.xlsx", index=False)
    return folder / "spread.xlsx"


def nested(folder: Path) -> Path:
    forms.FORMS["nested_by_pooling.json"](small(), folder / "nested.json")
    return folder / "nested.json"


def losses(folder: Path) -> Path:
    """One column for each trait, smaller is better; a mapping file says so."""
    wide = small().assign(honesty=lambda t: 1 - t["accuracy"], humor=lambda t: 1.1 - t["accuracy"])
    wide.drop(columns="accuracy").to_csv(folder / "losses.csv", index=False)
    (folder / "losses.toml").write_text(
        'source = "losses.csv"\nwide = "concept"\nhigher_is_better = false\n'
        'layer_zero = "embedding"\nn_layers = {pythia-70m = 12}\n[words]\nconcept = "trait"\n'
    )
    return folder / "losses.toml"


#: By form: what its paper must say.
SAID: dict[Callable[[Path], Path], tuple[str, ...]] = {
    bare: ("language models separate classes?", "The table has no repetitions", "bare.csv"),
    folds: ("comes from 5 folds of one data set, which are not independent",),
    spread: ("standard errors, with a correlation of", "under which the curvature has the largest"),
    nested: ("There are two methods: last and mean", "of 2 methods, mean is taken as the primary"),
    losses: ("separate traits?", "two traits", "Traits", "smaller is better separated"),
}


@pytest.mark.parametrize("form", SAID, ids=lambda f: f.__name__)
def test_no_word_of_a_paper_is_of_another_study(
    form: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = text_of_paper(form(tmp_path), monkeypatch)
    for word in OURS:
        found = re.search(rf".{{40}}\b{word}.{{20}}", text.replace(str(tmp_path), ""), re.I)
        assert not found, found
    for said in SAID[form]:
        assert said in text, said


def test_the_limits_count_the_families_with_one_model() -> None:
    models = {"model": list("abc"), "family": list("FFG"), "n_params": [1e8, 2e9, 2e9]}
    table = pd.DataFrame({"weights": ["trained"], "precision": ["float32"], "labels": ["shuffled"]})
    found: Any = SimpleNamespace(
        models=pd.DataFrame(models | {"instruct": [True, False, False]}),
        scores=SimpleNamespace(table=table, is_foreign=False),
        n_twins=3,
    )
    said = str(limits_sentence(found)).replace("\\", "")
    assert "three models in two families, of which one has only one model. The sizes are" in said
    found.models = found.models.iloc[:1]
    said = str(limits_sentence(found)).replace("\\", "")
    assert said.startswith("The study has one model in one family. ")
    assert "sizes" not in said
