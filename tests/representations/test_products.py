import pytest
import torch
from torch import nn

from representations.activations import Window, read
from representations.generation import Sampling, write
from representations.models import products
from representations.models.products import available, with_onednn
from study.read import InputError

pytestmark = pytest.mark.arithmetic
needs_onednn = pytest.mark.skipif(
    not available(), reason="this processor or this build of torch does not use it"
)


@needs_onednn
@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (4, 3), (300, 1), (2, 0), ()])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_products_equal_those_of_the_layers(shape, bias):
    layer, x = nn.Linear(12, 20, bias=bias), torch.randn(*shape, 12)
    expected = layer(x)
    with with_onednn(layer):
        assert "forward" in vars(layer)
        torch.testing.assert_close(layer(x), expected)
    assert "forward" not in vars(layer)


@needs_onednn
@torch.inference_mode()
def test_texts_need_not_lie_side_by_side_in_memory():
    layer, x = nn.Linear(12, 20), torch.randn(12, 7, 5).permute(2, 1, 0)
    expected = layer(x)
    with with_onednn(layer):
        torch.testing.assert_close(layer(x), expected)
        torch.testing.assert_close(layer(x[:, -1:]), expected[:, -1:])


@pytest.mark.parametrize("x", [torch.randn(3, 13), torch.randn(3, 12).bfloat16()])
@torch.inference_mode()
def test_what_does_not_fit_is_the_models_fault(llama, x):
    """Said in one line, not as a fault of ours."""
    with pytest.raises(InputError, match="fails on a text"):
        llama.run(nn.Linear(12, 20), input=x)


class Quantized(nn.Linear):
    """A subclass, as libraries that quantize have."""


@pytest.mark.parametrize(
    "layer", [Quantized(4, 5), nn.Linear(4, 5).double(), nn.Linear(4, 5).bfloat16()]
)
@torch.inference_mode()
def test_other_layers_are_left_alone(layer):
    with with_onednn(layer):
        assert "forward" not in vars(layer)


@torch.inference_mode()
def test_layers_with_a_method_of_their_own_keep_it(llama):
    head = llama.model.lm_head
    own = head.forward = lambda x: nn.functional.linear(x, head.weight)
    try:
        with with_onednn(llama.model):
            assert head.forward is own
        assert head.forward is own
    finally:
        del head.forward


def test_gradients_are_those_of_the_layer():
    layer, x = nn.Linear(4, 5).requires_grad_(False), torch.randn(3, 4, requires_grad=True)
    with with_onednn(layer):
        layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(dim=0).expand(3, 4))


@torch.inference_mode()
def test_the_methods_are_restored_after_an_exception(llama):
    with pytest.raises(IndexError), with_onednn(llama.model):
        llama.model.lm_head(torch.zeros(1, 1, llama.width))[1]
    assert not any("forward" in vars(m) for m in llama.model.modules())


@needs_onednn
def test_a_model_reads_and_writes_the_same(llama, monkeypatch):
    asked = [[1, *range(60, 72), 100 + n] for n in range(8)]
    once, calls = products._product, []

    def counted(layer, x):
        calls.append(layer)
        return once(layer, x)

    monkeypatch.setattr(products, "_product", counted)

    def both():
        stories = write(llama, asked, range(8), Sampling(max_new_tokens=12), Window(2))
        return read(llama, asked, Window(2)), stories

    means, stories = both()
    linear = {m for m in llama.model.modules() if type(m) is nn.Linear}
    assert set(calls) == linear
    monkeypatch.setattr(products, "available", lambda: False)
    calls.clear()
    plain_means, plain = both()
    assert not calls
    torch.testing.assert_close(means, plain_means, rtol=1e-4, atol=1e-5)
    agree = [a == b for a, b in zip(stories.token_ids, plain.token_ids, strict=True)]
    assert sum(agree) >= 7  # rounding may turn a draw
    torch.testing.assert_close(
        stories.activations[agree], plain.activations[agree], rtol=1e-4, atol=1e-5
    )
