import pytest
import torch

from representations import generation
from representations.activations import Steer, Window, residual_stream
from representations.generation import Sampling, draw, highest, write
from representations.prompt_cache import read_prompts
from study.read import InputError

pytestmark = pytest.mark.arithmetic

WINDOW = Window(skip=3)


def prompts(lengths, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 400, (n,), generator=generator).tolist() for n in lengths]


def test_a_story_does_not_depend_on_its_batch(double):
    asked, seeds = prompts([9, 4, 7, 12, 5, 8] * 5 + [6, 3]), list(range(32))
    sampling = Sampling(max_new_tokens=14)
    together = write(double, asked, seeds, sampling, WINDOW, max_texts=32)
    for index in (0, 1, 5, 30, 31):
        alone = write(double, [asked[index]], [seeds[index]], sampling, WINDOW)
        assert alone.token_ids[0] == together.token_ids[index]
        torch.testing.assert_close(
            alone.activations[0], together.activations[index], rtol=1e-4, atol=1e-4
        )


def test_pooling_while_decoding_equals_a_second_pass(model):
    asked = prompts([9, 5, 7])
    stories = write(model, asked, [1, 2, 3], Sampling(max_new_tokens=16), WINDOW)
    for index, (prompt, new) in enumerate(zip(asked, stories.token_ids, strict=True)):
        layers = {}
        with residual_stream(model.blocks, layers.__setitem__):
            model.body(input_ids=torch.tensor([prompt + new]), use_cache=False)
        fed = len(new) - 1 if len(new) == 16 else len(new)
        assert stories.pooled_tokens[index] == max(fed - WINDOW.skip, 0)
        for layer, hidden in layers.items():
            start = len(prompt) + WINDOW.skip
            expected = hidden[0, start : len(prompt) + fed].mean(dim=0)
            torch.testing.assert_close(
                stories.activations[index, layer], expected, rtol=1e-4, atol=1e-4
            )


def test_greedy_writing_equals_generate(double):
    asked = prompts([9, 5])
    stories = write(double, asked, [0, 0], Sampling(max_new_tokens=10, temperature=0), WINDOW)
    for prompt, new in zip(asked, stories.token_ids, strict=True):
        expected = double.model.generate(
            torch.tensor([prompt]), max_new_tokens=10, do_sample=False, pad_token_id=0
        )[0, len(prompt) :].tolist()
        assert new == [t for t in expected if t != 2]


def test_the_same_seed_writes_the_same_and_another_does_not(llama):
    asked = prompts([6, 6])
    sampling = Sampling(max_new_tokens=12)
    first = write(llama, asked, [5, 6], sampling, WINDOW)
    again = write(llama, asked, [5, 6], sampling, WINDOW)
    other = write(llama, asked, [7, 8], sampling, WINDOW)
    assert first.token_ids == again.token_ids
    assert first.token_ids != other.token_ids


def test_sampling_follows_the_probabilities():
    logits = torch.tensor([0.1, 0.6, 0.3]).log().expand(3000, 3)
    uniform = (torch.arange(3000) + 0.5) / 3000
    tokens = draw(logits, uniform, Sampling(top_k=3))
    assert torch.bincount(tokens).tolist() == pytest.approx([300, 1800, 900], abs=2)
    two = draw(logits, uniform, Sampling(top_k=2))
    assert torch.bincount(two, minlength=3).tolist() == pytest.approx([0, 2000, 1000], abs=2)


@pytest.mark.parametrize(("equal", "length"), [(False, 30), (True, 30), (True, 5)])
def test_stories_that_end_leave_the_batch(double, equal, length, monkeypatch):
    """Every text is the same as in a batch of which none leaves, also while it is steered.

    Gemma's windows of 16 positions are full before it writes, or fill while it does.
    """
    ends = torch.arange(2, 60)
    monkeypatch.setattr(generation, "end_tokens", lambda loaded, n_tokens: ends)
    asked = [[1, *range(60, 60 + length), 100 + (0 if equal else n)] for n in range(12)]
    sampling = Sampling(max_new_tokens=30, min_new_tokens=3)
    vectors = torch.randn(12, double.width, generator=torch.Generator().manual_seed(2)).double()
    sizes = []
    handle = double.blocks[0].register_forward_hook(
        lambda module, args, output: sizes.append(len(args[0])) if args else None
    )
    found = []
    try:
        for full in (generation.FULL, 0.0):
            monkeypatch.setattr(generation, "FULL", full)
            found.append(
                write(
                    double,
                    asked,
                    range(12),
                    sampling,
                    Window(2),
                    hook=lambda rows: Steer(vectors[rows]),
                    hook_layers=[1],
                )
            )
    finally:
        handle.remove()
    left, stayed = found
    assert len({len(ids) for ids in stayed.token_ids}) > 4
    assert left.token_ids == stayed.token_ids
    assert left.pooled_tokens == stayed.pooled_tokens
    torch.testing.assert_close(left.activations, stayed.activations, rtol=1e-5, atol=1e-5)
    assert min(sizes) <= 3


@pytest.mark.parametrize("vocabulary", [40, 640, 12_800, 50_257])
def test_the_highest_logits_are_those_of_topk(vocabulary):
    draws = torch.Generator().manual_seed(1)
    mixed = torch.randperm(vocabulary, generator=draws)
    logits = torch.stack([mixed, torch.arange(vocabulary), -torch.arange(vocabulary)]).float()
    for k in (1, 30):
        found, expected = highest(logits, k), logits.topk(k)
        assert torch.equal(found[0], expected.values)
        assert torch.equal(found[1], expected.indices)


def test_the_head_gets_the_last_position_of_prompts_as_a_copy(llama):
    """For a view of several prompts, torch reads the head's matrix once per prompt."""
    seen = []
    handle = llama.model.lm_head.register_forward_pre_hook(lambda module, args: seen.append(*args))
    try:
        read_prompts(llama, prompts([5, 8, 6]))
    finally:
        handle.remove()
    assert [tuple(hidden.shape) for hidden in seen] == [(3, 1, llama.width)]
    assert seen[0].is_contiguous()


def test_stories_end_at_the_end_token_and_not_before_the_minimum(llama):
    bias = torch.zeros(llama.model.config.vocab_size)
    bias[2] = 50.0  # the model now always wants to end

    class Ending(torch.nn.Module):
        def __init__(self, head):
            super().__init__()
            self.head = head

        def forward(self, hidden):
            return self.head(hidden) + bias

    head = llama.model.lm_head
    llama.model.lm_head = Ending(head)
    try:
        asked = prompts([5, 8])
        at_once = write(llama, asked, [0, 1], Sampling(max_new_tokens=9), WINDOW)
        later = write(llama, asked, [0, 1], Sampling(max_new_tokens=9, min_new_tokens=6), WINDOW)
    finally:
        llama.model.lm_head = head
    assert at_once.token_ids == [[], []]
    assert at_once.pooled_tokens == [0, 0]
    assert not at_once.activations.isnan().any()
    assert [len(new) for new in later.token_ids] == [6, 6]
    assert later.pooled_tokens == [3, 3]


def test_a_vector_of_zeros_changes_nothing_and_each_text_has_its_own(double_llama):
    asked, seeds = prompts([9, 4, 7]), [1, 2, 3]
    sampling = Sampling(max_new_tokens=12, temperature=0)
    plain = write(double_llama, asked, seeds, sampling, WINDOW)
    vectors = torch.zeros(3, double_llama.width)
    vectors[1] = torch.linspace(-20, 20, double_llama.width)
    steered = write(
        double_llama,
        asked,
        seeds,
        sampling,
        WINDOW,
        hook=lambda batch: Steer(vectors[batch]),
        hook_layers=[2],
        max_texts=2,
    )
    assert steered.token_ids[0] == plain.token_ids[0]
    assert steered.token_ids[2] == plain.token_ids[2]
    assert steered.token_ids[1] != plain.token_ids[1]


def test_bad_settings_are_refused(llama):
    with pytest.raises(InputError, match="at least 2"):
        Sampling(max_new_tokens=1)
    with pytest.raises(InputError, match="one for each"):
        write(llama, [[1]], [], Sampling(), WINDOW)
