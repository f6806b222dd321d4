import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from representations.activations import (
    PooledMean,
    Steer,
    Window,
    pad,
    read,
    residual_stream,
    token_batches,
)
from representations.models.blocks import find_blocks
from study.read import InputError

pytestmark = pytest.mark.arithmetic


def texts(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 400, (n,), generator=generator).tolist() for n in lengths]


def seen(model, ids):
    """The residual stream at every layer, through the hooks."""
    found = {}
    with residual_stream(model.blocks, found.__setitem__), torch.no_grad():
        model.body(input_ids=torch.tensor(ids))
    return found


def test_hooks_see_what_transformers_calls_hidden_states(model):
    ids = texts([20, 20])
    found = seen(model, ids)
    with torch.no_grad():
        output = model.body(input_ids=torch.tensor(ids), output_hidden_states=True)
    hidden = output.hidden_states
    assert sorted(found) == list(range(model.n_layers + 1))
    for layer in range(model.n_layers):
        torch.testing.assert_close(found[layer], hidden[layer], rtol=0, atol=0)
    # The last block is before the final norm, which transformers' last hidden state is after.
    (norm,) = [m for name, m in model.body.named_children() if "norm" in name or name == "ln_f"]
    torch.testing.assert_close(norm(found[model.n_layers]), hidden[-1])
    assert not torch.allclose(found[model.n_layers], hidden[-1])


def test_layer_0_is_the_embedding_output(model):
    ids = torch.tensor(texts([12]))
    embedded = model.model.get_input_embeddings()(ids)
    if model.spec.family == "GPT-2":
        embedded = embedded + model.body.wpe(torch.arange(12))
    torch.testing.assert_close(seen(model, ids.tolist())[0], embedded)


def test_reading_is_the_plain_mean_over_the_window(model):
    ids = texts([25])
    found = seen(model, ids)
    pooled = read(model, ids, Window(skip=5, size=10))
    for layer, hidden in found.items():
        torch.testing.assert_close(
            pooled[0, layer], hidden[0, 5:15].mean(dim=0), rtol=1e-5, atol=1e-5
        )


def test_pooling_does_not_depend_on_the_batch(model):
    ids = texts([30, 11, 23, 9, 40, 17, 12, 28])
    together = read(model, ids, Window(8))
    for index, one in enumerate(ids):
        alone = read(model, [one], Window(8))
        torch.testing.assert_close(together[index], alone[0], rtol=1e-4, atol=1e-5)


def test_pooling_does_not_depend_on_the_padding_side(model):
    ids = texts([30, 11, 23])
    expected = read(model, ids, Window(8))
    tokens, mask = pad(ids, 0, "left")
    pool = PooledMean(Window(8).weights(mask), model.n_layers, model.width, model.device)
    position = (mask.cumsum(dim=1) - 1).clamp(min=0)
    with residual_stream(model.blocks, pool), torch.no_grad():
        model.body(input_ids=tokens, attention_mask=mask, position_ids=position)
    torch.testing.assert_close(pool.means, expected, rtol=1e-4, atol=1e-5)


def test_the_first_token_never_enters_a_mean():
    for side in ("left", "right"):
        _, mask = pad([[1, 2, 3], [4, 5]], 0, side)
        weights = Window(1).weights(mask)
        assert weights.sum(dim=1).tolist() == [1, 1]
        first = (mask.cumsum(dim=1) == 1) & (mask > 0)
        assert weights[first].tolist() == [0, 0]
    with pytest.raises(InputError, match="first token"):
        Window(0)


def test_a_text_shorter_than_the_skip_is_named_and_never_nan(llama):
    assert Window(8).weights(torch.ones(1, 5)).tolist() == [[0] * 5]
    with pytest.raises(InputError, match="text 1 has 8 tokens"):
        read(llama, texts([20, 8]), Window(8))


def test_infinite_activations_name_model_layer_and_dtype(llama):
    def burst(layer, hidden):
        return hidden * torch.inf

    with (
        residual_stream(llama.blocks, burst, [2]),
        pytest.raises(InputError, match=r"tiny-Llama.*float32.*layer 2"),
    ):
        read(llama, texts([20]), Window(8))


def test_batches_cover_every_text_within_the_limits():
    lengths = [5, 50, 7, 33, 8, 100, 2]
    batches = token_batches(lengths, max_texts=3, max_tokens=60)
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or (len(batch) <= 3 and len(batch) * longest <= 60)


def test_a_batch_that_does_not_fit_is_halved(llama, monkeypatch):
    ids = texts([20] * 8)
    expected = read(llama, ids, Window(8))
    forward, sizes = type(llama.body).forward, []

    def small_memory(self, input_ids, **options):
        sizes.append(len(input_ids))
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("no memory for more than two")
        return forward(self, input_ids=input_ids, **options)

    monkeypatch.setattr(type(llama.body), "forward", small_memory)
    torch.testing.assert_close(read(llama, ids, Window(8), max_texts=8), expected)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]


def test_steering_adds_at_its_layer_and_passes_on(model):
    ids = texts([10, 10])
    vectors = torch.zeros(2, model.width)
    vectors[1, 3] = 5.0
    before = seen(model, ids)
    with residual_stream(model.blocks, Steer(vectors), [2]):
        after = seen(model, ids)
    torch.testing.assert_close(after[1], before[1], rtol=0, atol=0)
    torch.testing.assert_close(after[2], before[2] + vectors[:, None])
    torch.testing.assert_close(after[3][0], before[3][0])
    assert not torch.allclose(after[3][1], before[3][1])


def test_steering_the_embedding(model):
    ids = texts([10])
    with residual_stream(model.blocks, Steer(torch.ones(1, model.width)), [0]):
        after = seen(model, ids)
    torch.testing.assert_close(after[0], seen(model, ids)[0] + 1)


def test_no_hook_is_left_after_an_exception(llama):
    def fail(layer, hidden):
        raise RuntimeError("halfway")

    def hooks():  # the library may have some of its own
        return [len(block._forward_hooks) + len(block._forward_pre_hooks) for block in llama.blocks]

    before = hooks()
    with pytest.raises(RuntimeError, match="halfway"), residual_stream(llama.blocks, fail):
        llama.body(input_ids=torch.tensor(texts([10])))
    assert hooks() == before


def test_a_layer_out_of_range_is_refused(llama):
    with (
        pytest.raises(InputError, match="not all within 0 to 3"),
        residual_stream(llama.blocks, lambda layer, hidden: None, [4]),
    ):
        pass


def test_blocks_are_found_inside_a_nested_config():
    text = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 100,
    }
    vision = {
        "model_type": "pixtral",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 14,
    }
    config = AutoConfig.for_model(
        "mistral3", text_config={"model_type": "ministral3", **text}, vision_config=vision
    )
    model = AutoModelForImageTextToText.from_config(config).eval()
    body, blocks = find_blocks(model)
    assert [type(b).__name__ for b in blocks] == ["Ministral3DecoderLayer"] * 2
    found = {}
    with residual_stream(blocks, found.__setitem__):
        body(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)
    assert {layer: tuple(h.shape) for layer, h in found.items()} == dict.fromkeys(
        range(3), (1, 3, 32)
    )


def test_blocks_that_cannot_be_told_apart_need_an_override(llama):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = llama.model.config
            self.left = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
            self.right = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
            self.box = nn.ModuleDict({"embedding": nn.Embedding(4, 2)})

        def get_input_embeddings(self):
            return self.box["embedding"]

    two = Two()
    with pytest.raises(InputError, match=r"2 lists of 3 modules.*blocks ="):
        find_blocks(two)
    assert find_blocks(two, "right")[1] is two.right
    with pytest.raises(InputError, match="no module"):
        find_blocks(two, "middle")
