"""Chat templates that think, state the date, or omit the token that begins a text."""

from dataclasses import replace

import pytest
import torch
from nine import LIKE_LLAMA, build, tokenizer_of
from transformers import PreTrainedTokenizerFast

from representations.activations import Window
from representations.generation import Sampling, prompts_ids, write
from representations.models.blocks import find_blocks
from representations.models.chat_templates import Thoughts, is_tuned, render
from representations.models.loading import LoadedModel
from study.registry import ModelSpec

#: Like Qwen3: without thinking, an empty thought precedes the answer.
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}"
)
DATED = "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}"
SPECIAL = ["<pad>", "<s>", "</s>", "<think>", "</think>", "<|im_start|>", "<|im_end|>"]


@pytest.fixture
def tokenizer(texts):
    """A tokenizer that puts a token before each text and knows the marks of thoughts."""
    inner = tokenizer_of(SPECIAL, texts, starts="<s>")
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


@pytest.fixture
def loaded(tokenizer):
    model = build("llama", 3, torch.float32, **LIKE_LLAMA).eval()
    body, blocks = find_blocks(model)
    spec = ModelSpec("m", "f", "random", instruct=True)
    return LoadedModel(model, body, blocks, tokenizer, spec, 1, "float32", "seed 3")


def test_thinking_is_off_unless_it_is_asked_for(loaded):
    loaded.tokenizer.chat_template = QWEN3
    off = render("m", loaded.tokenizer, ["A story."])[0]
    on = render("m", loaded.tokenizer, ["A story."], thinking=True)[0]
    assert off.endswith("<think>\n\n</think>\n\n")
    assert on.endswith("assistant\n")
    assert loaded.prompting == "chat template, thinking off"
    spec = replace(loaded.spec, thinking=True)
    assert replace(loaded, spec=spec).prompting == "chat template, thinking on"
    assert replace(loaded, spec=replace(spec, instruct=False)).prompting == "plain"


def test_the_date_in_a_prompt_is_always_the_same(loaded):
    loaded.tokenizer.chat_template = DATED
    assert render("m", loaded.tokenizer, ["A story."]) == ["26 Jul 2024 A story."]


@pytest.mark.parametrize("start", ["", "{{ bos_token }}", "{{ bos_token }}{{ bos_token }}"])
def test_a_prompt_begins_once(loaded, start):
    loaded.tokenizer.chat_template = start + "{{ messages[0].content }}"
    (ids,) = prompts_ids(loaded, ["A story."])
    plain = loaded.tokenizer("A story.")["input_ids"]
    assert ids == plain
    assert ids.count(loaded.tokenizer.bos_token_id) == 1


def test_a_tokenizer_that_begins_no_text_gets_no_beginning(loaded, texts):
    other = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_of(SPECIAL, texts), bos_token="<s>", eos_token="</s>"
    )
    other.chat_template = "{{ messages[0].content }}"
    (ids,) = prompts_ids(replace(loaded, tokenizer=other), ["A story."])
    assert other.bos_token_id not in ids


def test_thoughts_are_no_part_of_what_is_said(tokenizer):
    begin, end = tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    thoughts = Thoughts(tokenizer, [[5, 6], [5, begin], [begin, end]], torch.device("cpu"))
    steps = [[begin, 9, 9], [9, end, 9], [end, 9, 9], [9, 9, 9]]
    said = [thoughts.after(torch.tensor(step)).tolist() for step in steps]
    assert said == [
        [False, False, True],
        [False, False, True],
        [False, True, True],
        [True, True, True],
    ]
    assert thoughts.said.tolist() == [1, 2, 4]


def test_thoughts_enter_neither_mean_nor_story(loaded):
    """A model forced to think for four tokens before it says anything."""
    begin, end = loaded.tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    script = [begin, 20, 21, end, 30, 31, 32, 33, 34, 35]
    forward, step = loaded.model.forward, iter(script)

    def scripted(**given):
        output = forward(**given)
        output.logits[:, -1] = 0
        output.logits[:, -1, next(step)] = 50
        return output

    loaded.model.forward = scripted
    sampling = Sampling(max_new_tokens=len(script), temperature=0)
    stories = write(loaded, [[5, 6]], [0], sampling, Window(1))
    assert stories.token_ids == [[30, 31, 32, 33, 34, 35]]
    assert stories.pooled_tokens == [4]  # without the first that is said, and the last


@pytest.mark.parametrize(
    ("name", "tuned"),
    [("Qwen3-8B", True), ("Qwen3-8B-Base", False), ("gemma-3-4b-pt", False), ("basecamp", True)],
)
def test_a_model_with_a_chat_template_is_taken_for_tuned(tokenizer, name, tuned):
    tokenizer.chat_template = QWEN3
    assert is_tuned(tokenizer, name) is tuned
    tokenizer.chat_template = None
    assert not is_tuned(tokenizer, name)
