"""What every hostile input is held to, and the count of those that were tried.

An input ends in a result or in an `InputError` of one line: not in another exception, in more than
ten seconds, in code that it brought along, or in a file outside the output folder.
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

from analysis.scores import InputError as AnalysisError
from representations.errors import InputError

RESULTS = Path(__file__).parent / "results" / "inputs.json"
LIMIT = 10.0
#: Each test's inputs are multiples of this.
SHORT, LONG = 20, 600
#: What no input may set off. `exec` and `import` are left out: libraries do both by themselves.
FORBIDDEN = {
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class",
    "socket.connect", "socket.getaddrinfo", "urllib.Request", "ctypes.dlopen",
}  # fmt: skip
CHANGES = {
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod",
    "os.truncate", "shutil.rmtree", "shutil.move",
}  # fmt: skip


class Hang(BaseException):
    """Not an Exception, so that no handler under test swallows it."""


class Watch:
    """Notes what a guarded call does to the machine, through Python's audit events."""

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
    """Calls what is under test with one input, and counts it."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)

    def __call__(
        self, target: str, call: Callable[[], Any], outputs: Path | None = None
    ) -> tuple[Any, str]:
        """Return the result and "", or None and the error's line; fail for anything else."""
        counts = self.counts[target]
        counts["inputs"] += 1
        began = time.perf_counter()
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
        except (InputError, AnalysisError) as refusal:
            error = str(refusal)
            # A corpus lists all its faults, one a line.
            lines = getattr(refusal, "faults", (error,))
            assert all(line.strip() and line.isprintable() for line in lines), f"{error!r}"
            assert max(map(len, lines)) < 2000, f"{len(error)} characters: {error[:300]}"
        seconds = time.perf_counter() - began
        assert seconds < LIMIT, f"{target}: {seconds:.1f} s"
        assert not self.watch.seen, f"{target}: {self.watch.seen}"
        counts["refused" if error else "results"] += 1
        counts["slowest_ms"] = max(counts["slowest_ms"], round(1000 * seconds))
        return result, error


@contextmanager
def _alarm() -> Iterator[None]:
    def hang(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def pytest_configure(config: pytest.Config) -> None:
    """Set how many inputs a test tries; must come before the tests are imported."""
    long = config.getoption("--long")
    settings.register_profile(
        "reliability", max_examples=LONG if long else SHORT, deadline=None, database=None,
        derandomize=not long, print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large,
                               HealthCheck.filter_too_much],
    )  # fmt: skip
    settings.load_profile("reliability")


@pytest.fixture(scope="session")
def guard(request: pytest.FixtureRequest) -> Iterator[Guard]:
    """The guard; after a long run its counts are kept."""
    one = Guard()
    yield one
    if request.config.getoption("--long") and one.counts:
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        kept |= {target: dict(counts) for target, counts in one.counts.items()}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
