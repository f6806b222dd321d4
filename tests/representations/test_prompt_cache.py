import pytest
import torch

from representations import generation, prompt_cache
from representations.activations import Window
from representations.generation import Sampling, write
from representations.key_cache import reserve
from representations.prompt_cache import best_cut, read_prompts, stems
from representations.shared_attention import Beginnings, attention_to

pytestmark = pytest.mark.arithmetic

SAMPLING = Sampling(max_new_tokens=24, min_new_tokens=24)
WINDOW = Window(skip=3)


def tree(instructions, topics=3, emotions=4, seed=1):
    """Prompts like those of a study: common words first, then the topic, then the emotion."""
    generator = torch.Generator().manual_seed(seed)

    def words(n):
        return torch.randint(3, 400, (n,), generator=generator).tolist()

    start = words(instructions)
    tops = [words(2 + n % 2) for n in range(topics)]
    ends = [words(1 + n % 3) for n in range(emotions)]
    return [start + top + end for top in tops for end in ends]


@pytest.mark.parametrize("instructions", [9, 30])
def test_stories_do_not_depend_on_what_is_shared(double, instructions, monkeypatch):
    """Gemma's windows of 16 positions are full in one case, and fill while writing in the other."""
    asked = tree(instructions)
    # Some are equal, and all of them in the second call, as in steering.
    asked += asked[:3]
    equal = [asked[0]] * 4 + [asked[1]] * 4
    assert best_cut([tuple(prompt) for prompt in asked]) > 0
    seeds = range(len(asked))
    once = [write(double, part, seeds[: len(part)], SAMPLING, WINDOW) for part in (asked, equal)]
    monkeypatch.setattr(generation, "may_share", lambda loaded: False)
    copies = [write(double, part, seeds[: len(part)], SAMPLING, WINDOW) for part in (asked, equal)]
    monkeypatch.setattr(prompt_cache, "best_cut", lambda prompts: 0)
    monkeypatch.setattr(generation, "reserve", lambda cache, more: None)
    apart = [write(double, part, seeds[: len(part)], SAMPLING, WINDOW) for part in (asked, equal)]
    for first, second, third in zip(once, copies, apart, strict=True):
        assert first.token_ids == second.token_ids == third.token_ids
        torch.testing.assert_close(first.activations, third.activations, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(second.activations, third.activations, rtol=1e-5, atol=1e-5)


def test_beginnings_are_kept_once(llama):
    asked = tree(40)
    caches = [read_prompts(llama, asked, more=more)[1] for more in (None, 8)]
    assert not isinstance(attention_to(caches[0]), Beginnings)
    with attention_to(caches[1]) as beginnings:
        assert isinstance(beginnings, Beginnings)
    copied = sum(layer.keys.numel() for layer in caches[0].layers)
    own = sum(layer.keys.numel() for layer in caches[1].layers)
    shared = sum(keys.numel() for keys, _ in beginnings.held)
    assert own + shared < 0.4 * copied


def test_fewer_tokens_are_read(llama):
    asked = tree(40, topics=4, emotions=8)
    seen = []
    handle = llama.blocks[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]),
        with_kwargs=True,
    )
    try:
        read_prompts(llama, asked)
    finally:
        handle.remove()
    read = sum(hidden.shape[0] * hidden.shape[1] for hidden in seen)
    assert read < 0.2 * sum(map(len, asked))


def test_prompts_without_a_common_beginning_are_read_in_one_pass():
    assert best_cut([(1, 2, 3), (4, 2, 3), (5, 2, 3)]) == 0
    assert best_cut([(1,)]) == 0
    assert best_cut([(1, 2, 3, 4)]) == 0


def test_every_prompt_begins_with_its_stem():
    prompts = [tuple(prompt) for prompt in tree(5)] + [(7,), (7, 8)]
    longest = max(map(len, prompts))
    for cut in range(1, longest):
        heads, which = stems(prompts, cut)
        for prompt, stem in zip(prompts, which, strict=True):
            start = prompt[: max(cut - longest + len(prompt), 0)]
            assert heads[stem][: len(start)] == start
        assert not any(a != b and b[: len(a)] == a for a in heads for b in heads)


def test_reserved_memory_that_is_full_goes_on(double):
    """Text beyond the reserved room is the same as without reserving."""
    asked = [tuple(prompt) for prompt in tree(9)][:3]
    found = []
    for more in (0, 4, 64):
        logits, cache, mask = read_prompts(double, asked)
        reserve(cache, more)
        for _ in range(12):
            mask = torch.cat([mask, mask.new_ones(len(asked), 1)], dim=1)
            output = double.model(
                input_ids=logits.argmax(dim=-1)[:, None],
                attention_mask=mask,
                position_ids=mask.sum(dim=1, keepdim=True) - 1,
                past_key_values=cache,
            )
            logits = output.logits[:, -1]
        found.append(logits)
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found[0], found[2], rtol=1e-9, atol=1e-9)
