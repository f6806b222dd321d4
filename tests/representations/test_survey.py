"""The survey of kinds of models, on a handful of them; its page is complete."""

import re
from importlib.metadata import version

import pytest
import torch

from representations.corpus.corpus import load_corpus
from representations.models.blocks import find_blocks
from representations.models.loading import load
from representations.survey.__main__ import main
from representations.survey.run import examine, kinds
from representations.survey.small import config_of, save, tokenizer_of
from study import HOME
from study.read import InputError
from study.registry import ModelSpec

PAGE = (HOME / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def texts():
    return [passage.text for passage in load_corpus(HOME / "data" / "corpus").passages]


@pytest.mark.parametrize(
    "kind",
    [
        "gpt2",  # plain; then with a recurrent state, beside a tower, and two attentions in a block
        "jamba",
        "qwen3_next",
        "qwen3_vl",
        "longcat_flash",
        "llama4",
        "nemotron_h_omni",  # its head is that of the model within it
    ],
)
def test_kinds_that_are_read_written_and_steered(kind, texts):
    found = examine(kind, texts)
    assert (found.read, found.write, found.steer, found.says) == ("exact", "exact", "exact", "")
    assert 0 < found.difference < 1e-4


@pytest.mark.parametrize("kind", ["mamba", "rwkv", "openai-gpt"])
def test_kinds_that_keep_no_cache_read_only(kind, texts):
    found = examine(kind, texts)
    assert (found.read, found.write, found.steer) == ("exact", "refused", "exact")
    assert re.search(r"keeps no keys and values, .* let it read only", found.says)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("bert", "is an encoder; its tokens see later ones"),
        ("bart", "is an encoder-decoder, whose decoder continues"),
        ("gemma4_assistant", "is a draft model"),
        ("gemma3n_text", r"layer 0 has the shape \[4, 1, 24, 64\]"),
        ("deepseek_v4", r"layer 0 has the shape \[1, 24, 4, 64\]"),
        ("cpmant", r"layer 0 has the shape \[1, 56, 64\]"),
        ("xlnet", r"layer 0 has the shape \[24, 1, 64\]"),
        ("mllama", "comes 0 times in a pass"),
    ],
)
def test_kinds_that_are_refused_say_why(kind, says, texts):
    found = examine(kind, texts)
    assert found.read == "refused"
    assert re.search(says, found.says)


def test_the_blocks_that_a_study_names_are_taken(texts, tmp_path):
    save("git", tmp_path, tokenizer_of(texts[::4]))
    with pytest.raises(InputError, match=r"2 lists of 4 modules could be its blocks.*blocks = "):
        load(ModelSpec("m", "f", str(tmp_path)), device="cpu", dtype="float32")
    spec = ModelSpec("m", "f", str(tmp_path), blocks="git.encoder.layer")
    loaded = load(spec, device="cpu", dtype="float32")
    assert loaded.blocks is loaded.model.git.encoder.layer
    with pytest.raises(InputError, match=r"'git\.encoder' .* is not a module list"):
        find_blocks(loaded.model, "git.encoder")


def test_configs_are_small_and_of_their_kind():
    config = config_of("qwen3_vl")
    assert config.model_type == "qwen3_vl"
    assert config.get_text_config().num_hidden_layers == 4


def test_the_page_has_every_kind_of_its_version():
    """To write it again: `python -m representations.models --survey --out docs/models.md`."""
    rows = set(re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE))
    (made,) = re.findall(r"with transformers (\S+) and torch", PAGE)
    assert "| failed |" not in PAGE
    if made == version("transformers"):
        assert rows == {kind for some in kinds() for kind in some}
    assert len(rows) > 100


def test_the_command_examines_kinds_and_writes_a_page(tmp_path, capsys):
    assert main(["--survey", "llama", "--out", str(tmp_path / "page.md")]) == 0
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert re.search(
        r"^\| `llama` \| exact \| exact \| exact \| \de-\d+ \| \|$", page, re.MULTILINE
    )
    assert "Of 1 kinds, 1 can be read and steered, and 1 of these can write" in page
    assert main(["--survey", "no-such-kind"]) == 2
    assert "unknown kind 'no-such-kind'" in capsys.readouterr().err


def test_angles_of_positions_are_not_rounded_with_the_weights(texts, tmp_path):
    save("llama", tmp_path, tokenizer_of(texts[::4]))
    spec = ModelSpec("m", "f", str(tmp_path))
    for seed in (None, 0):
        loaded = load(spec, device="cpu", dtype="bfloat16", untrained_seed=seed)
        assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
        assert loaded.model.model.rotary_emb.inv_freq.dtype == torch.float32
