import pytest
import torch
from torch import nn

from representations import generation
from representations.activations import Window
from representations.generation import Sampling, write
from representations.products import FEW, weights_first

pytestmark = pytest.mark.arithmetic


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (4, 3), (FEW, 1), (FEW + 1, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_products_equal_those_of_the_layers(double, shape, bias):
    layer = nn.Linear(12, 20, bias=bias).double()
    double.model.extra = layer
    x = torch.randn(*shape, 12, dtype=torch.float64)
    try:
        with torch.inference_mode():
            expected = layer(x)
            with weights_first(double):
                assert "forward" in vars(layer)
                torch.testing.assert_close(layer(x), expected)
        assert "forward" not in vars(layer)
    finally:
        del double.model.extra


def test_layers_with_a_method_of_their_own_keep_it(llama):
    head = llama.model.lm_head
    own = head.forward = lambda x: nn.functional.linear(x, head.weight)
    try:
        with weights_first(llama):
            assert head.forward is own
        assert head.forward is own
    finally:
        del head.forward


def test_the_methods_are_restored_after_an_exception(llama):
    with pytest.raises(IndexError), weights_first(llama):
        llama.model.lm_head(torch.zeros(1, 1, llama.width))[1]
    assert not any("forward" in vars(m) for m in llama.model.modules() if type(m) is nn.Linear)


def test_stories_are_those_of_the_layers(double, monkeypatch):
    """The same tokens, whatever the order of the products, also where a model rejects one order."""
    asked = [[1, *range(60, 72), 100 + n] for n in range(8)]

    def written():
        return write(double, asked, range(8), Sampling(max_new_tokens=12), Window(2))

    found = written()
    orders = []

    class Rejecting:
        def __init__(self, loaded):
            orders.append(loaded)

        def __enter__(self):
            raise RuntimeError("view size is not compatible")

        def __exit__(self, *error):
            return False

    monkeypatch.setattr(generation, "weights_first", Rejecting)
    plain = written()
    assert len(orders) == 1
    assert found.token_ids == plain.token_ids
    torch.testing.assert_close(found.activations, plain.activations, rtol=1e-4, atol=1e-5)
