"""Time steering in batches against one trial at a time.

    python benchmarks/steering.py [--texts 96] [--alone 6] [--model smollm2-135m-instruct]

The same trials, each with its own vector, are written in one batch and then one by one; the texts
must agree. Prints tokens per second, and writes benchmarks/results/steering.csv.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
import torch

from representations.activations import Steer, Window
from representations.generation import Sampling, prompt_ids, write
from representations.models.loading import load
from representations.steering.trials import load_scenarios
from study.registry import find_model


def main() -> None:
    """Time both, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=96)
    parser.add_argument("--alone", type=int, default=6)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    arguments = parser.parse_args()
    loaded = load(find_model(arguments.model))
    scenarios = load_scenarios(Path(__file__).parents[1] / "data" / "scenarios.toml")
    names = list(scenarios.openings)
    prompts = [
        prompt_ids(loaded, scenarios.prompt(names[i % len(names)], loaded.spec.instruct))
        for i in range(arguments.texts)
    ]
    torch.manual_seed(0)
    vectors = torch.randn(arguments.texts, loaded.width)
    sampling = Sampling(max_new_tokens=32, min_new_tokens=32, temperature=0)
    layer = loaded.n_layers // 2
    rows, texts = [], {}
    for way, n, batch in (
        ("batch", arguments.texts, arguments.texts),
        ("alone", arguments.alone, 1),
    ):
        start = time.perf_counter()
        stories = write(
            loaded,
            prompts[:n],
            list(range(n)),
            sampling,
            Window(1),
            max_texts=batch,
            hook=lambda rows: Steer(vectors[rows]),
            hook_layers=[layer],
        )
        seconds = time.perf_counter() - start
        tokens = sum(map(len, stories.token_ids))
        texts[way] = stories.token_ids
        rows.append(
            {
                "way": way,
                "texts": n,
                "tokens": tokens,
                "seconds": seconds,
                "tokens_per_second": tokens / seconds,
            }
        )
    same = sum(a == b for a, b in zip(texts["batch"], texts["alone"], strict=False))
    out = pd.DataFrame(rows).assign(model=arguments.model, threads=torch.get_num_threads())
    out["ratio"] = out["tokens_per_second"] / out["tokens_per_second"].iloc[-1]
    out["same_texts"] = f"{same} of {arguments.alone}"
    path = Path(__file__).parent / "results" / "steering.csv"
    out.to_csv(path, index=False, float_format="%.5g")
    print(out.to_string(index=False))


if __name__ == "__main__":
    main()
