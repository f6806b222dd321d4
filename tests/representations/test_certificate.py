"""What a certificate accepts, and each fault that it must refuse."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from representations.activations import PooledMean, residual_stream
from representations.certificate import LIMITS, certificate
from representations.comparisons import apart
from representations.models.blocks import find_blocks
from representations.separation import separation_scores
from study.read import InputError

PASSAGES = [
    "The kettle had not boiled when she heard the gate, and she knew by the step who it was.",
    "He counted the coins twice, put them back into the jar, and looked out at the rain.",
    "Nobody spoke on the way home; the dog ran ahead, and came back, and ran ahead again.",
]
PROMPTS = ["Write a short story about a person at the sea who feels calm.", "Write about a train."]


def checks(loaded, **options):
    found = certificate(replace(loaded, certificate={}), PASSAGES, PROMPTS, **options)
    return {check["check"] for check in found["checks"]}


def refused(loaded, match):
    with pytest.raises(InputError, match=f"fails its certificate, {match}"):
        checks(loaded)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.arithmetic
def test_the_five_families_pass_in_each_precision(model, dtype, small):
    loaded = small(model.spec.family)
    loaded.model.to(dtype)
    loaded.precision = str(dtype).removeprefix("torch.")
    assert checks(loaded) == {
        "tokenizer",
        "layers",
        "stream",
        "hidden states",
        "last layer",
        "padding",
        "repetition",
        "scores",
        "steering",
        "steering goes on",
        "prompt",
        "writing in a batch",
        "written and read",
        "drawn again",
    }


def test_it_is_computed_once(llama):
    loaded = replace(llama, certificate={})
    assert certificate(loaded, PASSAGES, PROMPTS) is certificate(loaded, [], [])


def test_a_model_that_only_reads_need_not_write(llama):
    assert "written and read" not in checks(llama, writes=False)


def test_a_block_that_is_not_called_is_refused(llama):
    """Its place in the means would hold arbitrary memory."""
    blocks = nn.ModuleList([*llama.blocks, nn.Identity()])
    refused(replace(llama, blocks=blocks), "layers: layer 4 comes 0 times")
    pool = PooledMean(torch.ones(1, 3), 4, 32, llama.device)
    with residual_stream(blocks, pool):
        llama.body(torch.tensor([[5, 6, 7]]))
    with pytest.raises(InputError, match="layer 4 of the residual stream comes 0 times"):
        pool.means.sum()


def test_a_block_that_is_called_twice_is_refused(small):
    loaded = small("Llama")
    loaded.model.model.layers[2] = loaded.model.model.layers[1]
    body, blocks = find_blocks(loaded.model)
    refused(replace(loaded, body=body, blocks=blocks), "layers: layer 2 comes 2 times")


def test_attention_in_both_directions_is_refused(small, small_llama_settings):
    config = AutoConfig.for_model(
        "gemma3_text", **small_llama_settings, sliding_window=16, use_bidirectional_attention=True
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    body, blocks = find_blocks(model)
    like = small("Gemma")
    refused(replace(like, model=model, body=body, blocks=blocks), "padding: a text alone")


def test_a_cache_that_forgets_the_padding_is_refused(small):
    loaded = small("Llama")
    forward = loaded.model.forward
    loaded.model.forward = lambda attention_mask=None, **given: forward(**given)
    refused(loaded, "writing in a batch")


def test_positions_that_start_anew_while_writing_are_refused(small):
    loaded = small("Llama")
    forward = loaded.model.forward

    def anew(position_ids=None, input_ids=None, **given):
        if input_ids.shape[1] == 1:
            position_ids = torch.zeros_like(input_ids)
        return forward(input_ids=input_ids, position_ids=position_ids, **given)

    loaded.model.forward = anew
    # A prompt's last token may be read alone too, after what a batch shares.
    refused(loaded, "written and read|writing in a batch")


def test_a_model_that_is_never_the_same_is_refused(small):
    loaded = small("GPT-2")
    loaded.model.train()
    refused(loaded, "(hidden states|padding|repetition)")


def test_scores_that_a_second_run_does_not_give_are_refused(small, monkeypatch):
    """Use a metric of random numbers on identical activations."""
    drawn = iter(range(100))
    loaded = small("Llama")

    def score(*args, **options):
        scores, replicates = separation_scores(*args, **options)
        return scores.assign(score=scores["score"] + next(drawn)), replicates

    monkeypatch.setattr("representations.comparisons.separation_scores", score)
    refused(loaded, "scores: scores of two passes differ by")


def test_stories_that_a_second_run_does_not_write_are_refused(small, monkeypatch):
    monkeypatch.setattr(
        "representations.generation._uniform", lambda seeds, steps: torch.rand(len(seeds), steps)
    )
    refused(small("Llama"), "drawn again: stories that are drawn twice from one seed differ")


def test_a_block_whose_output_is_not_the_stream_is_refused(small):
    loaded = small("Llama")
    block = loaded.blocks[1]
    loaded.model.model.layers[1] = Halves(block)
    blocks = nn.ModuleList([loaded.blocks[0], block, loaded.blocks[2]])
    refused(replace(loaded, blocks=blocks), "stream: a block does not go on .* at layer 2")


class Halves(nn.Module):
    """Goes on with half of what its block returns."""

    def __init__(self, block):
        super().__init__()
        self.block = block
        self.attention_type = getattr(block, "attention_type", None)

    def forward(self, *args, **kwargs):
        return self.block(*args, **kwargs) / 2


def test_a_tokenizer_without_files_is_refused(small):
    """The library makes an empty tokenizer, which leads to empty stories."""

    class Empty:
        def __call__(self, texts, **given):
            return {"input_ids": [[] for _ in texts]}

        def decode(self, ids, **given):
            return ""

    refused(replace(small("Llama"), tokenizer=Empty()), "tokenizer: 'The kettle")


def test_a_template_that_ignores_the_message_is_refused(small, tokenizer):
    loaded = small("Llama")
    other = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>")
    other.chat_template = "{{ 'Hello. ' }}"
    spec = replace(loaded.spec, instruct=True)
    refused(replace(loaded, tokenizer=other, spec=spec), "prompt: 'Write a short story")


def test_differences_count_where_massive_dimensions_hide_them():
    a = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(0))
    a[..., 0] = 1e4
    b = a.clone()
    b[1, 2, 1:] *= 1.5
    value, layer = apart(a, b)
    assert layer == 2
    assert 0.4 < value < 0.6
    assert apart(a, a)[0] == 0
    assert apart(a, a * torch.nan)[0] > max(LIMITS.values())
