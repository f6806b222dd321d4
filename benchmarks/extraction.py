"""Compare the speed and memory of extraction with the alternatives that a user has.

    python benchmarks/extraction.py             prints the table, writes results/extraction.csv

Every contestant is a separate process that stays alive. They take turns, so a machine whose speed
drifts affects all alike. Figures are medians over the rounds; compare their ratios. nnsight and
TransformerLens take part if they are installed (pip install -e '.[peers]'). All use float32, the
default on a processor, except those marked bfloat16: processors with instructions for it
(avx512_bf16, amx) gain much, others lose.
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

from representations.activations import Window, pad, read, token_batches
from representations.corpus.corpus import load_corpus
from representations.generation import Sampling, prompt_ids, write
from representations.models.loading import LoadedModel, load
from representations.models.registry import find_model

RESULTS = Path(__file__).parent / "results"
MODEL = "smollm2-135m-instruct"
WINDOW = Window(8)
SAMPLING = Sampling(max_new_tokens=32, min_new_tokens=32, temperature=0.8)


def texts(task: str, n: int) -> list[str]:
    """Return the corpus's first passages, or twice as many of their first sentences."""
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
    """Read text by text, with the head and all hidden states, as is commonly done."""
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
    """Return the prompts for half as many stories as there are texts."""
    corpus = load_corpus("data/corpus")
    cells = [(p.emotion, p.topic) for p in corpus.passages[: len(texts) // 2]]
    return [prompt_ids(loaded, corpus.prompt(e, t, chat=True)) for e, t in cells]


def ours_writing(loaded: LoadedModel, texts: list[str]) -> int:
    asked = prompts(loaded, texts)
    stories = write(loaded, asked, list(range(len(asked))), SAMPLING, WINDOW, max_texts=48)
    return sum(map(len, stories.token_ids))


@torch.inference_mode()
def one_at_a_time_writing(loaded: LoadedModel, texts: list[str]) -> int:
    """Write story by story with generate, then read prompt and story in a second pass."""
    written = 0
    for prompt in prompts(loaded, texts)[:6]:  # slow enough for six to tell
        whole = loaded.model.generate(
            torch.tensor([prompt]),
            max_new_tokens=32,
            min_new_tokens=32,
            do_sample=True,
            temperature=0.8,
            top_k=50,
            pad_token_id=loaded.tokenizer.pad_token_id,
        )
        output = loaded.model(input_ids=whole, output_hidden_states=True)
        start = len(prompt) + 8
        torch.stack([hidden[0, start:].mean(dim=0) for hidden in output.hidden_states])
        written += whole.shape[1] - len(prompt)
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
    "write": {"emotion-depth": ours_writing, "one at a time": one_at_a_time_writing},
}
NEEDS = {
    "nnsight": "nnsight",
    "nnsight, our batches": "nnsight",
    "TransformerLens": "transformer_lens",
}


def serve(task: str, name: str, n: int) -> None:
    """Be one contestant: for every line on standard input, do the work and print its figures."""
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
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(*args.serve, args.texts)
    rows = []
    for task, contestants in CONTESTANTS.items():
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
    table.to_csv(RESULTS / "extraction.csv", index=False)


if __name__ == "__main__":
    main()
