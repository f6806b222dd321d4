from contextlib import suppress

import pytest
import torch
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer

from representations.activations import Window
from representations.generation import Sampling, write
from representations.shared_attention import Beginnings, CannotShare, keep_once, may_share

pytestmark = pytest.mark.arithmetic

#: (texts, query heads, key heads, width of keys, width of values)
TEXTS, HEADS, KEY_HEADS, WIDTH, VALUE_WIDTH = 5, 6, 2, 8, 4


@pytest.fixture
def batch():
    """Two beginnings of lengths 7 and 5 for five texts with 2, 2, 3, 2 and 8 positions of padding.

    The cut is at 8. The last text has nothing before it; the third begins with a part of the first
    beginning.
    """
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    lengths, which, padding, cut = [7, 5], [0, 1, 0, 1, 1], [2, 3, 3, 3, 8], 8
    layer = DynamicLayer()
    layer.update(draw(2, KEY_HEADS, 7, WIDTH), draw(2, KEY_HEADS, 7, VALUE_WIDTH))
    keys, values = layer.keys, layer.values
    cache = DynamicCache()
    cache.layers = [layer]
    shift = [pad - (7 - lengths[stem]) for pad, stem in zip(padding, which, strict=True)]
    beginnings = keep_once(cache, torch.tensor(which), torch.tensor(shift), cut, more=2)

    # What one copy per text would hold.
    full = [torch.zeros(TEXTS, KEY_HEADS, cut, part.shape[-1]).double() for part in (keys, values)]
    mask = torch.zeros(TEXTS, 1, 1, cut, dtype=torch.bool)
    for text in range(TEXTS):
        for place in range(padding[text], cut):
            column = place - shift[text]
            mask[text, 0, 0, place] = True
            for whole, part in zip(full, (keys, values), strict=True):
                whole[text, :, place] = part[which[text], :, column]
    return beginnings, cache, full, mask, draw


def expected(query, keys, values, mask):
    groups = HEADS // KEY_HEADS
    keys, values = (part.repeat_interleave(groups, dim=1) for part in (keys, values))
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(query, keys, values, attn_mask=mask, scale=0.3).transpose(1, 2)


def test_attention_equals_that_to_copies(batch):
    """Three new positions at first, with their own order, and one after the other then."""
    beginnings, cache, full, mask, draw = batch
    for new in (3, 1, 1):
        own = [draw(TEXTS, KEY_HEADS, new, part.shape[-1]) for part in full]
        full = [torch.cat([whole, part], dim=2) for whole, part in zip(full, own, strict=True)]
        before = mask[:, :, -1:].expand(-1, -1, new, -1)
        causal = torch.ones(new, new, dtype=torch.bool).tril().expand(TEXTS, 1, -1, -1)
        mask = torch.cat([before, causal], dim=3)
        query = draw(TEXTS, HEADS, new, WIDTH)
        key, value = cache.update(*own, 0)
        found, _ = beginnings.attend(torch.nn.Identity(), query, key, value, mask, scaling=0.3)
        torch.testing.assert_close(found, expected(query, *full, mask))
    assert cache.get_seq_length() == 13


def test_without_padding_no_mask_is_needed(batch):
    *_, draw = batch
    layer = DynamicLayer()
    keys, values = layer.update(draw(1, KEY_HEADS, 6, WIDTH), draw(1, KEY_HEADS, 6, VALUE_WIDTH))
    cache = DynamicCache()
    cache.layers = [layer]
    nothing = torch.zeros(TEXTS, dtype=torch.int64)
    beginnings = keep_once(cache, nothing, nothing, cut=6, more=4)
    own = [draw(TEXTS, KEY_HEADS, 1, part.shape[-1]) for part in (keys, values)]
    query = draw(TEXTS, HEADS, 1, WIDTH)
    key, value = cache.update(*own, 0)
    found, _ = beginnings.attend(torch.nn.Identity(), query, key, value, None, scaling=0.3)
    full = [
        torch.cat([part.expand(TEXTS, -1, -1, -1), new], dim=2)
        for part, new in zip((keys, values), own, strict=True)
    ]
    torch.testing.assert_close(found, expected(query, *full, None))


@pytest.mark.parametrize("change", ["other keys", "twice", "a bias", "a soft cap", "float mask"])
def test_other_attention_is_refused(batch, change):
    beginnings, cache, full, mask, draw = batch
    own = [draw(TEXTS, KEY_HEADS, 1, part.shape[-1]) for part in full]
    query = draw(TEXTS, HEADS, 1, WIDTH)
    mask = torch.cat([mask, torch.ones(TEXTS, 1, 1, 1, dtype=torch.bool)], dim=3)
    key, value = cache.update(*own, 0)
    more = {}
    if change == "other keys":
        key = key.clone()
    elif change == "a bias":
        more["position_bias"] = draw(1, HEADS, 1, 9)
    elif change == "a soft cap":
        more["softcap"] = 20.0
    elif change == "float mask":
        mask = mask.double()
    elif change == "twice":
        beginnings.attend(torch.nn.Identity(), query, key, value, mask)
    with pytest.raises(CannotShare):
        beginnings.attend(torch.nn.Identity(), query, key, value, mask, **more)


def test_attention_outside_the_interface_is_noticed(batch):
    beginnings, cache, full, _, draw = batch
    own = [draw(TEXTS, KEY_HEADS, 1, part.shape[-1]) for part in full]
    cache.update(*own, 0)
    with pytest.raises(CannotShare, match="interface"):
        beginnings.expect(None)


@pytest.mark.parametrize("when", ["always", "from the second pass on"])
def test_a_model_that_attends_otherwise_writes_the_same(double_llama, when, monkeypatch):
    asked = [[1, *range(5, 40), 40 + end, 50 + end] for end in range(6)]
    sampling = Sampling(max_new_tokens=12, min_new_tokens=12)
    first = write(double_llama, asked, range(6), sampling, Window(3), max_texts=3)
    attend, passes = Beginnings.attend, []

    def other(self, module, query, key, *args, **kwargs):
        passes.append(query.shape[2])
        other = when == "always" or passes[-1] == 1
        return attend(self, module, query, key * 1.0 if other else key, *args, **kwargs)

    monkeypatch.setattr(Beginnings, "attend", other)
    second = write(double_llama, asked, range(6), sampling, Window(3), max_texts=3)
    assert len(passes) == 1 + (when != "always") * double_llama.n_layers  # one batch tried it
    assert first.token_ids == second.token_ids
    torch.testing.assert_close(first.activations, second.activations, rtol=1e-5, atol=1e-5)


def test_transformers_gets_its_attention_back(batch):
    beginnings, *_ = batch
    before = AttentionInterface()["sdpa"]
    with beginnings:
        assert AttentionInterface()["sdpa"] == beginnings.attend
    with suppress(ZeroDivisionError), beginnings:
        raise ZeroDivisionError
    assert AttentionInterface()["sdpa"] is before


def test_half_precision_and_other_attention_keep_copies(small):
    loaded = small("Llama")
    assert may_share(loaded)
    loaded.model.set_attn_implementation("eager")
    assert not may_share(loaded)
    loaded.model.set_attn_implementation("sdpa")
    loaded.model.bfloat16()
    assert not may_share(loaded)
