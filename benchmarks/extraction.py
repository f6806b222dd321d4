"""Compare the speed and memory of extraction with a user's alternatives.

    python benchmarks/extraction.py                prints the table, writes results/extraction.csv
    python benchmarks/extraction.py --only write   one task; the rows of the others stay

Every contestant is a separate process that stays alive. They take turns, so drifts in the machine's
speed affect all of them equally. Figures are medians over the rounds; compare their ratios. nnsight
and TransformerLens take part if they are installed (pip install -e '.[peers]'). All use float32,
the default on a CPU, except those marked bfloat16: CPUs with instructions for it (avx512_bf16,
amx) gain much, others lose.
"""

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch
from transformers.cache_utils import DynamicLayer

from representations.activations import Window, pad, read, token_batches
from representations.corpus.corpus import load_corpus
from representations.generation import Sampling, prompts_ids, write
from representations.models.loading import LoadedModel, load
from representations.models.products import with_onednn
from representations.prompt_cache import read_prompts
from representations.shared_attention import attention_to
from study.registry import find_model

RESULTS = Path(__file__).parent / "results"
MODEL = "smollm2-135m-instruct"
WINDOW = Window(8)
SAMPLING = Sampling(max_new_tokens=40, min_new_tokens=40, temperature=0.8)
#: The number of stories to write, and of those in a batch.
STORIES, BATCH = 96, 96


def texts(task: str, n: int) -> list[str]:
    """Return the first passages of the corpus, or twice as many of their first sentences."""
    passages = [p.text for p in load_corpus("data/corpus").passages]
    if task == "read sentences":
        sentences = [re.split(r"(?<=[.!?])\s", text)[0] for text in passages]
        return [s for s in sentences if len(s.split()) > WINDOW.skip][: 2 * n]
    return passages[:n]


def ours(loaded: LoadedModel, texts: list[str]) -> int:
    ids = loaded.tokenizer(texts)["input_ids"]
    read(loaded, ids, WINDOW)
    return sum(map(len, ids))


@torch.inference_mode()
def bare(loaded: LoadedModel, texts: list[str]) -> int:
    """Run the forward pass on the same batches and keep nothing: the lower bound on the cost."""
    ids = loaded.tokenizer(texts)["input_ids"]
    for batch in token_batches([len(i) for i in ids], 16, 4096):
        tokens, _ = pad([ids[i] for i in batch], loaded.tokenizer.pad_token_id, "right")
        loaded.body(input_ids=tokens, use_cache=False)
    return sum(map(len, ids))


@torch.inference_mode()
def one_at_a_time(loaded: LoadedModel, texts: list[str]) -> int:
    """Read text by text, with the head and all hidden states, as people commonly do."""
    ids = loaded.tokenizer(texts)["input_ids"]
    for one in ids:
        output = loaded.model(input_ids=torch.tensor([one]), output_hidden_states=True)
        torch.stack([hidden[0, 8:].mean(dim=0) for hidden in output.hidden_states])
    return sum(map(len, ids))


@torch.inference_mode()
def with_nnsight(loaded: LoadedModel, texts: list[str]) -> int:
    """Save each layer's mean in an nnsight trace, texts padded and batched as they come."""
    from nnsight import LanguageModel

    wrapped = LanguageModel(loaded.model, tokenizer=loaded.tokenizer)
    tokens = 0
    for start in range(0, len(texts), 16):
        inputs = loaded.tokenizer(texts[start : start + 16], return_tensors="pt", padding=True)
        weights = WINDOW.weights(inputs["attention_mask"]).unsqueeze(1)
        tokens += int(inputs["attention_mask"].sum())
        means = []
        with wrapped.trace(dict(inputs)):
            for layer in wrapped.model.layers:
                hidden = layer.output
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
                means.append(torch.bmm(weights, hidden).save())
    return tokens


@torch.inference_mode()
def with_our_batches(loaded: LoadedModel, texts: list[str]) -> int:
    """Save each layer's mean in an nnsight trace of the body, in this project's batches."""
    from nnsight import NNsight

    ids = loaded.tokenizer(texts)["input_ids"]
    wrapped = NNsight(loaded.body)
    for batch in token_batches([len(i) for i in ids], 16, 4096):
        tokens, mask = pad([ids[i] for i in batch], loaded.tokenizer.pad_token_id, "right")
        weights = WINDOW.weights(mask).unsqueeze(1)
        means = []
        with wrapped.trace(input_ids=tokens, use_cache=False):
            for layer in wrapped.layers:
                hidden = layer.output
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
                means.append(torch.bmm(weights, hidden).save())
    return sum(map(len, ids))


@torch.inference_mode()
def with_transformer_lens(loaded: LoadedModel, texts: list[str]) -> int:
    """Cache the residual stream after each block with TransformerLens, in our batches."""
    from transformer_lens.model_bridge import TransformerBridge

    global _bridge
    if _bridge is None:
        _bridge = TransformerBridge.boot_transformers(
            str(loaded.model.name_or_path),
            hf_model=loaded.model,
            tokenizer=loaded.tokenizer,
            device="cpu",
            dtype=torch.float32,
        )
    ids = loaded.tokenizer(texts)["input_ids"]
    wanted = lambda name: name.endswith("hook_resid_post") or name == "blocks.0.hook_resid_pre"  # noqa: E731
    for batch in token_batches([len(i) for i in ids], 16, 4096):
        tokens, mask = pad([ids[i] for i in batch], loaded.tokenizer.pad_token_id, "right")
        weights = WINDOW.weights(mask).unsqueeze(1)
        _, cache = _bridge.run_with_cache(tokens, names_filter=wanted)
        for hidden in cache.values():
            torch.bmm(weights, hidden)
    return sum(map(len, ids))


_bridge = None


def prompts(loaded: LoadedModel, texts: list[str]) -> list[list[int]]:
    """Return the prompts of the first stories of the corpus, in the order of a study."""
    corpus = load_corpus("data/corpus")
    cells = [(e.name, t.name) for t in corpus.topics for e in corpus.emotions]
    n = STORIES if len(texts) > 16 else 16  # 16 to warm up
    return prompts_ids(loaded, [corpus.prompt(e, t, chat=True) for e, t in cells[:n]])


def ours_writing(loaded: LoadedModel, texts: list[str]) -> int:
    asked = prompts(loaded, texts)
    stories = write(loaded, asked, list(range(len(asked))), SAMPLING, WINDOW, max_texts=BATCH)
    return sum(map(len, stories.token_ids))


class Still(DynamicLayer):
    """Fixed keys and values, returned with room for new ones that are never stored."""

    def __init__(self, layer: DynamicLayer, more: int) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = (
            torch.cat([part, part.new_zeros(*part.shape[:2], more, part.shape[3])], dim=2)
            for part in (layer.keys, layer.values)
        )
        self.used = layer.keys.shape[2]

    def get_seq_length(self) -> int:
        """Return the number of positions returned so far."""
        return self.used

    def update(self, key_states, value_states, *args, **kwargs):
        """Return keys and values with one more position per new token."""
        self.used += key_states.shape[2]
        return self.keys[:, :, : self.used], self.values[:, :, : self.used]


@torch.inference_mode()
def bare_writing(loaded: LoadedModel, texts: list[str]) -> int:
    """Run the forward passes alone: the same shapes, no sampling, no pooling, no growing cache."""
    asked = sorted(map(tuple, prompts(loaded, texts)))
    written = 0
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        _, cache, mask = read_prompts(loaded, batch)
        cache.layers = [Still(layer, SAMPLING.max_new_tokens) for layer in cache.layers]
        token = torch.ones(len(batch), 1, dtype=torch.int64)
        for _ in range(SAMPLING.max_new_tokens - 1):
            mask = torch.cat([mask, mask.new_ones(len(batch), 1)], dim=1)
            last = mask.sum(dim=1, keepdim=True) - 1
            loaded.model(
                input_ids=token, attention_mask=mask, position_ids=last, past_key_values=cache
            )
        written += len(batch) * SAMPLING.max_new_tokens
    return written


@torch.inference_mode()
def bound_of_writing(loaded: LoadedModel, texts: list[str]) -> int:
    """Multiply the model's matrices and pass over the cache once per step: what no code can save.

    Prompts are read and kept as ours are: what they share once. The products are ours too.
    """
    asked = sorted(map(tuple, prompts(loaded, texts)))
    matrices = [m for m in loaded.model.modules() if isinstance(m, torch.nn.Linear)]
    more = SAMPLING.max_new_tokens
    for start in range(0, len(asked), BATCH):
        _, cache, mask = read_prompts(loaded, asked[start : start + BATCH], more=more)
        with attention_to(cache) as beginnings:
            shared = [part for pair in beginnings.held for part in pair] if beginnings else []
        layers = [Still(layer, more) for layer in cache.layers]
        rows = {m.in_features: torch.ones(len(mask), m.in_features) for m in matrices}
        for step in range(1, SAMPLING.max_new_tokens):
            with with_onednn(loaded.model):
                for matrix in matrices:
                    matrix(rows[matrix.in_features])
            for part in shared:
                part.sum()
            for layer in layers:
                layer.keys[:, :, : layer.used + step].sum()
                layer.values[:, :, : layer.used + step].sum()
    return len(asked) * SAMPLING.max_new_tokens


@torch.inference_mode()
def generated(loaded: LoadedModel, asked: list[list[int]]) -> list[list[int]]:
    """Write with transformers' generate, in our batches without shared readings of prompts."""
    whole = []
    for start in range(0, len(asked), 48):
        ids, mask = pad(asked[start : start + 48], loaded.tokenizer.pad_token_id, "left")
        new = loaded.model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=SAMPLING.max_new_tokens,
            min_new_tokens=SAMPLING.max_new_tokens,
            do_sample=True,
            temperature=SAMPLING.temperature,
            top_k=SAMPLING.top_k,
            pad_token_id=loaded.tokenizer.pad_token_id,
        )[:, ids.shape[1] :]
        whole += [
            prompt + row.tolist()
            for prompt, row in zip(asked[start : start + 48], new, strict=True)
        ]
    return whole


def generate_in_batches(loaded: LoadedModel, texts: list[str]) -> int:
    """Write with generate alone, which gives no activations."""
    asked = prompts(loaded, texts)
    generated(loaded, asked)
    return len(asked) * SAMPLING.max_new_tokens


@torch.inference_mode()
def generate_then_read(loaded: LoadedModel, texts: list[str]) -> int:
    """Write with generate, then read prompts and stories again for their activations."""
    asked = prompts(loaded, texts)
    whole = generated(loaded, asked)
    for start in range(0, len(whole), 16):
        ids, mask = pad(whole[start : start + 16], loaded.tokenizer.pad_token_id, "left")
        output = loaded.body(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        kept = SAMPLING.max_new_tokens - WINDOW.skip
        torch.stack([hidden[:, -kept:-1].mean(dim=1) for hidden in output.hidden_states], dim=1)
    return len(asked) * SAMPLING.max_new_tokens


@torch.inference_mode()
def one_at_a_time_writing(loaded: LoadedModel, texts: list[str]) -> int:
    """Write story by story with generate, then read prompt and story in a second pass."""
    written = 0
    for prompt in prompts(loaded, texts)[:6]:  # slow enough for six to tell
        (whole,) = generated(loaded, [prompt])
        output = loaded.model(input_ids=torch.tensor([whole]), output_hidden_states=True)
        start = len(prompt) + WINDOW.skip
        torch.stack([hidden[0, start:].mean(dim=0) for hidden in output.hidden_states])
        written += len(whole) - len(prompt)
    return written


CONTESTANTS = {
    "read": {
        "emotion-depth": ours,
        "bare forward pass": bare,
        "one at a time": one_at_a_time,
        "nnsight": with_nnsight,
        "nnsight, our batches": with_our_batches,
        "TransformerLens": with_transformer_lens,
        "emotion-depth, bfloat16": ours,
        "bare forward pass, bfloat16": bare,
        "one at a time, bfloat16": one_at_a_time,
    },
    "read sentences": {
        "emotion-depth": ours,
        "bare forward pass": bare,
        "one at a time": one_at_a_time,
        "nnsight": with_nnsight,
        "TransformerLens": with_transformer_lens,
    },
    "write": {
        "emotion-depth": ours_writing,
        "bare forward pass": bare_writing,
        "matrices and cache traffic alone": bound_of_writing,
        "generate in batches": generate_in_batches,
        "generate in batches, then read": generate_then_read,
        "one at a time": one_at_a_time_writing,
    },
}
NEEDS = {
    "nnsight": "nnsight",
    "nnsight, our batches": "nnsight",
    "TransformerLens": "transformer_lens",
}


def serve(task: str, name: str, n: int) -> None:
    """Run one contestant: for every line on standard input, do the work and print its figures."""
    dtype = "bfloat16" if name.endswith("bfloat16") else "float32"
    loaded = load(find_model(MODEL), device="cpu", dtype=dtype)
    work = CONTESTANTS[task][name]
    asked = texts(task, n)
    work(loaded, asked[:16])  # warm up
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        tokens = work(loaded, asked)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"rate": tokens / seconds, "peak": peak}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", choices=list(CONTESTANTS), help="one task; the rows of the others stay"
    )
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(*args.serve, args.texts)
    rows = []
    for task, contestants in CONTESTANTS.items():
        if args.only not in (None, task):
            continue
        running = {}
        for name in contestants:
            if name in NEEDS and find_spec(NEEDS[name]) is None:
                print(f"{name} is not installed and takes no part")
                continue
            command = [sys.executable, __file__, "--texts", str(args.texts), "--serve", task, name]
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            if any(line.strip() == "ready" for line in iter(process.stdout.readline, "")):
                running[name] = process
            else:
                print(f"{name} failed to start and takes no part")
        figures = {name: [] for name in running}
        for _ in range(args.rounds):
            for name, process in running.items():
                process.stdin.write("\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    raise SystemExit(f"{task}, {name}: ended; see what --serve prints")
                figures[name].append(json.loads(line))
        for process in running.values():
            process.communicate()
        for name, results in figures.items():
            rows.append(
                {
                    "task": task,
                    "way": name,
                    "tokens_per_second": round(statistics.median(r["rate"] for r in results)),
                    "ratio": statistics.median(
                        r["rate"] / own["rate"]
                        for r, own in zip(results, figures["emotion-depth"], strict=True)
                    ),
                    "peak_mb": round(max(r["peak"] for r in results)),
                }
            )
    table = pd.DataFrame(rows).round({"ratio": 2})
    print(table.to_string(index=False))
    RESULTS.mkdir(exist_ok=True)
    if args.only:
        before = pd.read_csv(RESULTS / "extraction.csv")
        table = pd.concat([before[before["task"] != args.only], table])
    table.to_csv(RESULTS / "extraction.csv", index=False)


if __name__ == "__main__":
    main()
