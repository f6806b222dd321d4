"""What a table leaves out: families and sizes by the models' names, depths by the layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import InputError, read_scores, u_shape_test
from analysis.loading.model_names import _registry, family_of, is_tuned, size_of
from analysis.loading.options import fact_of
from tests import forms

pytestmark = pytest.mark.filterwarnings("ignore::analysis.loading.options.SourceWarning")


def test_empty_families_are_named_by_the_model_or_the_caller() -> None:
    rows = [
        (model, "", layer, 0.1 * layer) for model in ("gpt2", "mine", "other") for layer in range(6)
    ]
    table = pd.DataFrame(rows, columns=["model", "family", "layer", "score"])
    table.loc[table.query("model == 'other'").index[:2], "family"] = " Owl "
    first = read_scores(table)
    families = first.table.groupby("model")["family"].unique().map(list).to_dict()
    assert families == {"gpt2": ["GPT-2"], "mine": ["unknown"], "other": ["Owl"]}
    assert any("no family is known for mine" in said for said in first.run["assumed"])
    again = read_scores(table, family={"mine": "Llama", "other": "Hawk"})
    families = again.table.groupby("model")["family"].unique().map(list).to_dict()
    assert families == {"gpt2": ["GPT-2"], "mine": ["Llama"], "other": ["Hawk"]}


def test_names_say_family_size_and_tuning() -> None:
    names = {
        "openai-community/gpt2-xl": ("GPT-2", 1558e6, False),
        "google/gemma-2-2b-it": ("Gemma", 2e9, True),
        "Qwen/Qwen2.5-1.5B": ("Qwen", 1.5e9, False),
        "meta-llama/Llama-3.1-8B-Instruct": ("Llama", 8e9, True),
        "mistralai/Mistral-7B-v0.3": ("Mistral", 7e9, False),
        "EleutherAI/pythia-410m-deduped": ("Pythia", 410e6, False),
        "allenai/OLMo-2-1124-7B-SFT": ("OLMo", 7e9, True),
        "microsoft/phi-2": ("Phi", np.nan, False),
        "tiiuae/falcon-7b": ("Falcon", 7e9, False),
        "facebook/opt-1.3b": ("OPT", 1.3e9, False),
        "mistralai/Mixtral-8x7B-v0.1": ("Mistral", 56e9, False),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": ("Qwen", 7e9, False),
        "HuggingFaceTB/SmolLM2-135M": ("Llama", 135e6, False),
    }
    for name, (family, size, tuned) in names.items():
        assert (family_of(name), is_tuned(name)) == (family, tuned), name
        np.testing.assert_equal(size_of(name), size)
    assert family_of("my-own-model") is None


def test_another_project_s_models_toml_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models.toml").write_text('[[model]]\nname = "gpt2-mine"')
    monkeypatch.setattr("study.registry.HOME", tmp_path)
    _registry.cache_clear()
    try:
        assert family_of("gpt2-mine") == "GPT-2"
    finally:
        _registry.cache_clear()


def test_layers_may_start_late_be_sparse_and_differ(tmp_path: Path) -> None:
    table = forms.truth()
    keep = ~table["model"].str.startswith("Qwen") | (table["layer"] % 3 == 2)
    scores = read_scores(table[keep & (table["layer"] > 1)])
    by = scores.table.groupby("model")["depth"].agg(["min", "size"])
    assert by.loc["Qwen2.5-0.5B", "size"] == 8
    assert by.loc["gpt2", "min"] == 2 / 12
    assert u_shape_test(scores)["verdict"].iloc[-1] == "hump"


@pytest.mark.parametrize(
    ("layers", "options", "depths", "zero"),
    [
        (range(9), {}, [0, 8 / 12], "assumed"),
        (range(12), {}, [1 / 12, 1], "block"),
        (range(13), {}, [0, 1], "embedding"),
        (range(1, 13), {}, [1 / 12, 1], "embedding"),
        (range(9), {"layer_zero": "block"}, [1 / 12, 9 / 12], "block"),
        (range(9), {"n_layers": 24}, [0, 8 / 24], "assumed"),
        (range(9), {"n_layers": {"m": 24}}, [0, 8 / 24], "assumed"),
    ],
)
@pytest.mark.parametrize("of", ["{}/12", "L{} of 12", "**layer {} / 12** (best)"])
def test_layers_of_a_total_give_the_number_of_layers(
    of: str, layers: range, options: dict[str, Any], depths: list[float], zero: str
) -> None:
    cells = [of.format(layer) for layer in layers]
    scores = read_scores(pd.DataFrame({"model": "m", "layer": cells, "accuracy": 0.5}), **options)
    assert scores.table["depth"].iloc[[0, -1]].tolist() == pytest.approx(depths)
    assert scores.run["layer_zero"] == zero
    assert not any("no number of layers" in said for said in scores.run["assumed"])


@pytest.mark.parametrize(("zero", "n"), [("embedding", 80), ("block", 81)])
def test_the_hint_has_the_tables_own_number_of_layers(zero: str, n: int) -> None:
    table = pd.DataFrame({"model": "m", "layer": np.arange(81), "accuracy": 0.5})
    said = read_scores(table, layer_zero=zero).run["assumed"]
    assert any(f"to confirm or correct it, give --n-layers m={n} " in note for note in said)
    assert fact_of(said[0]).endswith("is taken as the last of the model")
    with pytest.raises(InputError, match=r"from the end \(-81 to -1\); give --n-layers m=80 "):
        read_scores(table.assign(layer=table["layer"] - 81))
