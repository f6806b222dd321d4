"""Tables of several layouts: what columns side by side are, and which of their cells are empty."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import read_scores

pytestmark = pytest.mark.filterwarnings("ignore::analysis.loading.options.SourceWarning")


def side_by_side(names: list[str], layers: int = 9) -> pd.DataFrame:
    """Return a table with a column of scores for each name, each of its own level."""
    rises = {name: 0.5 + 0.1 * i + 0.01 * np.arange(layers) for i, name in enumerate(names)}
    return pd.DataFrame({"layer": np.arange(layers), **rises})


def test_concepts_and_models_may_have_words_of_spread_in_their_names() -> None:
    concepts = ["joy", "high_arousal", "low_arousal", "joy-max"]
    found = read_scores(side_by_side(concepts).assign(model="m"), wide="concept")
    assert sorted(found.table["emotion"].unique()) == ["high_arousal", "joy", "low_arousal"]
    assert any(note.startswith("column joy-max is not used") for note in found.run["notes"])
    models = ["qwen2.5-max", "qwen2.5-7b", "gemma-2-2b", "llama-3-low"]
    for wide in (None, "model"):
        found = read_scores(side_by_side(models).assign(acc_std=0.1), wide=wide)
        assert sorted(found.table["model"].unique()) == sorted(models)
        assert any(note.startswith("column acc_std is not used") for note in found.run["notes"])
