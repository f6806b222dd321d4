"""Fuzz the parsers of untrusted files, guided by coverage.

    python tests/reliability/atheris_targets.py                  the targets
    python tests/reliability/atheris_targets.py study -runs=100  one, with libFuzzer's options

atheris changes inputs until they reach new lines of code. The run ends if an input gives anything
but a result or an `InputError` of printable lines, or takes ten seconds; a file `crash-...` then
holds the input.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

HOME = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HOME), str(Path(__file__).parent)]

with atheris.instrument_imports(include=["analysis", "gguf", "inputs", "representations", "study"]):
    from gguf import GGUFReader, GGUFWriter

    from analysis.loading.parquet import read_table
    from analysis.loading.run_file import read_run
    from pipeline.units import load_facts, open_unit, save_unit
    from representations.corpus.corpus import load_corpus
    from representations.models.headers import check_gguf
    from representations.pooled import PooledUnit
    from representations.steering.trials import load_scenarios
    from study import load_study
    from study.read import InputError

import numpy as np  # noqa: E402
import test_fuzz_corpus as good_corpus  # noqa: E402
import test_fuzz_tables as good_tables  # noqa: E402

SCRATCH = Path(tempfile.mkdtemp())


def from_file(name: str, parse: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Return a function that writes its input to a file and parses it."""

    def one(data: bytes) -> None:
        path = SCRATCH / name
        path.write_bytes(data)
        parse(path)

    return one


def corpus_file(name: str) -> Callable[[bytes], None]:
    """Return a function that replaces one file of a corpus with its input."""

    def one(data: bytes) -> None:
        good_corpus.write(SCRATCH, {name: data})
        load_corpus(SCRATCH)

    return one


def unit(path: Path) -> None:
    load_facts(path)
    with open_unit(path) as kept:
        for layer in range(kept.activations.shape[1]):
            kept.activations[:, layer]


def gguf_file(path: Path) -> None:
    try:
        check_gguf(path)
    except ValueError as error:
        raise InputError(str(error)) from None
    # An accepted input must not hang the library; a rejected one must give a single line.
    with suppress(Exception):
        GGUFReader(path)


def gguf() -> bytes:
    path = SCRATCH / "good.gguf"
    to = GGUFWriter(path, "llama")
    to.add_block_count(1)
    to.add_token_list(["a", "b"])
    to.add_token_types([1, 1])
    to.add_tensor("token_embd.weight", np.ones((2, 4), np.float32))
    to.write_header_to_file()
    to.write_kv_data_to_file()
    to.write_tensors_to_file()
    to.close()
    return path.read_bytes()


def parquet() -> bytes:
    path = SCRATCH / "good.parquet"
    good_tables.good().to_parquet(path)
    return path.read_bytes()


def safetensors() -> bytes:
    path = SCRATCH / "good.safetensors"
    arrays = np.ones((2, 2, 3), np.float32), np.zeros((1, 2, 3), np.float32)
    save_unit(path, PooledUnit(*arrays, {"emotions": ["a", "b"]}))
    return path.read_bytes()


#: For each target, the function to call and a good first input.
TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], bytes]]] = {
    "study": (from_file("study.toml", load_study), (HOME / "data/studies/demo.toml").read_bytes),
    "scenarios": (
        from_file("scenarios.toml", load_scenarios),
        (HOME / "data/scenarios.toml").read_bytes,
    ),
    **{
        name: (corpus_file(name), good_corpus.WHOLE[name].encode)
        for name in ("emotions.toml", "topics.toml", "prompts.toml", "passages.jsonl")
    },
    "table": (from_file("scores.parquet", read_table), parquet),
    "run": (from_file("run.json", read_run), lambda: good_tables.RUN),
    "unit": (from_file("unit.safetensors", unit), safetensors),
    "gguf": (from_file("model.gguf", gguf_file), gguf),
}


def main() -> None:
    """Fuzz the target that the command line names, until its -runs are done."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit("\n".join(TARGETS))
    call, good = TARGETS[sys.argv.pop(1)]

    def one(data: bytes) -> None:
        try:
            call(data)
        except InputError as refusal:
            lines = getattr(refusal, "faults", (str(refusal),))
            assert all(line.strip() and line.isprintable() for line in lines), lines
            assert max(map(len, lines)) < 2000, lines

    seeds = SCRATCH / "seeds"
    seeds.mkdir()
    (seeds / "good").write_bytes(good())
    atheris.Setup([*sys.argv, str(seeds), "-timeout=60", "-rss_limit_mb=4096"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
