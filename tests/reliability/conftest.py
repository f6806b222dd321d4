"""The rule for every hostile input, and the count of inputs tried.

An input must give a result or a one-line `InputError`. It must not raise another exception, use
more than ten seconds of CPU time, run its own code, or write a file outside the output folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from study.read import InputError

sys.path.insert(0, str(Path(__file__).parent))  # for `hostile`

#: Needs atheris; `test_atheris.py` runs it.
collect_ignore = ["atheris_targets.py"]

RESULTS = Path(__file__).parent / "results" / "inputs.json"
#: Limit in seconds of CPU time, which does not depend on other load on the machine.
LIMIT = 10.0
#: Limit in wall seconds, for code that waits instead of working.
WAITING = 600.0
#: The number of inputs of each test is a multiple of this.
SHORT, LONG = 20, 300
#: Events that no input may cause. `exec` and `import` are left out: libraries cause both.
FORBIDDEN = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "socket.connect",
    "socket.getaddrinfo",
    "urllib.Request",
    "ctypes.dlopen",
}
CHANGES = {
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.truncate",
    "shutil.rmtree",
    "shutil.move",
}


class Hang(BaseException):
    """A BaseException, which no handler under test can swallow."""


class Watch:
    """Records what a guarded call does to the machine, through Python's audit events."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in FORBIDDEN:
            self.seen.append(f"{event} {args!r:.200}")
        elif event == "open":
            path, mode, flags = (*args, None, None)[:3]
            writes = isinstance(mode, str) and any(c in mode for c in "wax+")
            writes |= isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
            if writes and isinstance(path, str | bytes):
                self._outside(event, path)
        elif event in CHANGES and isinstance(args[0], str | bytes | os.PathLike):
            for path in args[: 2 if event in {"os.rename", "os.link", "shutil.move"} else 1]:
                self._outside(event, path)

    def _outside(self, event: str, path: Any) -> None:
        assert self.allowed is not None
        real = os.path.realpath(os.fsdecode(path))
        if not real.startswith((*self.allowed, "/dev/null")) and "__pycache__" not in real:
            self.seen.append(f"{event} {real}")


class Guard:
    """Calls the function under test with one input, and counts it."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)

    def __call__(
        self, target: str, call: Callable[[], Any], outputs: Path | None = None
    ) -> tuple[Any, str]:
        """Return the result and "", or None and the error line; fail on anything else."""
        counts = self.counts[target]
        counts["inputs"] += 1
        began = time.process_time()
        error = ""
        result = None
        self.watch.seen.clear()
        try:
            with _alarm():
                self.watch.allowed = (str(outputs.resolve()),) if outputs else ("/nowhere",)
                try:
                    result = call()
                finally:
                    self.watch.allowed = None
        except InputError as refusal:
            error = str(refusal)
            # The error of a corpus lists all its faults, one per line.
            lines = getattr(refusal, "faults", (error,))
            assert all(line.strip() and line.isprintable() for line in lines), f"{error!r}"
            assert max(map(len, lines)) < 2000, f"{len(error)} characters: {error[:300]}"
        seconds = time.process_time() - began
        assert seconds < LIMIT, f"{target}: {seconds:.1f} s"
        assert not self.watch.seen, f"{target}: {self.watch.seen}"
        counts["refused" if error else "results"] += 1
        counts["slowest_ms"] = max(counts["slowest_ms"], round(1000 * seconds))
        return result, error


@contextmanager
def _alarm() -> Iterator[None]:
    def hang(number: int, frame: object) -> None:
        raise Hang

    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, LIMIT),
        (signal.ITIMER_REAL, signal.SIGALRM, WAITING),
    )
    before = [signal.signal(number, hang) for _, number, _ in timers]
    for timer, _, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (timer, number, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def pytest_configure(config: pytest.Config) -> None:
    """Set how many inputs a test tries; must come before the tests are imported."""
    long = config.getoption("--long")
    settings.register_profile(
        "reliability",
        max_examples=LONG if long else SHORT,
        deadline=None,
        database=None,
        derandomize=not long,
        print_blob=True,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
        ],
    )
    settings.load_profile("reliability")


@pytest.fixture(scope="session")
def guard(request: pytest.FixtureRequest) -> Iterator[Guard]:
    """The guard; after a long run it saves its counts."""
    one = Guard()
    yield one
    if request.config.getoption("--long") and one.counts:
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        kept |= {target: dict(counts) for target, counts in one.counts.items()}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


# -- small models that a test may damage ------------------------------------------------------

DIMENSIONS = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 400,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small Llama with a byte tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(["the quick brown fox jumps over the lazy dog"], trainer)
    folder = tmp_path_factory.mktemp("models") / "small"
    config = AutoConfig.for_model("llama", **DIMENSIONS)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **tokens).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_gguf() -> Callable[..., None]:
    """A function that writes a small Llama as a GGUF file with `blocks` in its header."""
    import gguf
    import numpy as np
    from tokenizers.pre_tokenizers import ByteLevel

    def write(path: Path, blocks: int = 2, without: str = "") -> None:
        to = gguf.GGUFWriter(path, "llama")
        to.add_block_count(blocks)
        to.add_context_length(64)
        to.add_embedding_length(16)
        to.add_feed_forward_length(32)
        to.add_head_count(4)
        to.add_head_count_kv(2)
        to.add_layer_norm_rms_eps(1e-5)
        to.add_rope_dimension_count(4)
        tokens = ["<pad>", "<s>", "</s>", *sorted(ByteLevel.alphabet()), "th"]
        to.add_vocab_size(len(tokens))
        to.add_tokenizer_model("gpt2")
        to.add_token_list(tokens)
        to.add_token_types([3, 3, 3] + [1] * 257)
        to.add_token_merges(["t h"])
        to.add_bos_token_id(1)
        to.add_eos_token_id(2)
        to.add_pad_token_id(0)
        shapes = {"token_embd": (260, 16), "output_norm": (16,), "output": (260, 16)}
        for i in range(2):
            each = {
                "attn_norm": (16,),
                "ffn_norm": (16,),
                "attn_q": (16, 16),
                "attn_k": (8, 16),
                "attn_v": (8, 16),
                "attn_output": (16, 16),
                "ffn_gate": (32, 16),
                "ffn_up": (32, 16),
                "ffn_down": (16, 32),
            }
            shapes |= {f"blk.{i}.{name}": shape for name, shape in each.items()}
        rng = np.random.default_rng(0)
        for name, shape in shapes.items():
            if name != without:
                to.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
        to.write_header_to_file()
        to.write_kv_data_to_file()
        to.write_tensors_to_file()
        to.close()

    return write
