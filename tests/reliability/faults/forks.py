"""Run the project's commands in children forked after the slow imports.

    python forks.py

reads requests from standard input as JSON, one per line, and answers each with a line. `start`
forks a child that runs a script like `python SCRIPT ARGUMENTS`, from its first line to the end of
the interpreter, and answers with its process id. `wait` answers with its exit status. The child
behaves like a fresh interpreter but starts in milliseconds, which makes many kills affordable.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

PRELOADED = (
    "extraction",
    "steering",
    "analysis.claims",
    "analysis.figures",
    "safetensors.numpy",
    "gguf",
    "sklearn.linear_model",
    "transformers.models.llama.modeling_llama",
    "nbclient",
    "pypandoc",
    "transformers.models.auto.modeling_auto",
    "typst",
    "yaml",
    "pyarrow.parquet",
    "rich.progress",
)


def die_at_event(folder: str, number: int, with_signal: int) -> None:
    """Send the process a signal at its nth change of a file under a folder; 0 only counts."""
    count = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod"):
            return
        if event == "open" and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        if not str(args[0]).startswith(f"{folder}/"):
            return
        count += 1
        if count == number:
            os.kill(os.getpid(), with_signal)
        if number == 0:
            Path(folder + ".events").write_text(str(count))

    sys.addaudithook(hook)


def clock_backwards(step: float) -> None:
    """Let the wall clock go back a step at every reading."""
    now = [time.time()]

    def earlier() -> float:
        now[0] -= step
        return now[0]

    time.time = earlier


def out_of_memory(most: int, kind: str) -> None:
    """Refuse memory to every forward pass of more than this many texts."""
    import torch
    from transformers import PreTrainedModel

    errors = {
        "cuda": torch.OutOfMemoryError("CUDA out of memory."),
        "cpu": RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 99999999999 bytes. Error code 12 (Cannot allocate "
            "memory)"
        ),
        "python": MemoryError(),
    }
    whole = PreTrainedModel.__call__

    def call(self: Any, *args: Any, **options: Any) -> Any:
        ids = options.get("input_ids")
        if ids is not None and len(ids) > most:
            raise errors[kind]
        return whole(self, *args, **options)

    PreTrainedModel.__call__ = call  # type: ignore[method-assign]


def file_limit(size: int) -> None:
    """Refuse to let any file grow beyond this many bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


FAULTS = {f.__name__: f for f in (die_at_event, clock_backwards, out_of_memory, file_limit)}


def child(request: dict[str, Any]) -> None:
    """Become the requested command."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((1, request["out"]), (2, request["err"])):
        where = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(where, number)
    os.environ |= request["environment"]
    sys.argv = [request["script"], *request["arguments"]]
    for name, *arguments in request["faults"]:
        FAULTS[name](*arguments)
    try:
        if request["script"].endswith(".py"):
            sys.path.insert(0, str(Path(request["script"]).resolve().parent))
            runpy.run_path(request["script"], run_name="__main__")
        else:
            runpy.run_module(request["script"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        code = last_words()
    sys.stdout.flush()
    os._exit(code)  # the interpreter's own end would take longer than the study


def last_words() -> int:
    """Return the exit code of an uncaught exception."""
    try:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    except SystemExit as end:
        return int(end.code or 0)
    return 1


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        number = os.fork()
        if number == 0:
            sys.stdin.close()
            child(request)
        print(number, flush=True)


if __name__ == "__main__":
    main()
