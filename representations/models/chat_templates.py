"""Chat templates come with a model, as programs: they are run in a process that can be ended.

The library runs them in a sandbox, out of reach of files and of Python's own objects. The sandbox
bounds neither time nor memory: two nested loops, or one product, can take hours or gigabytes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from representations.models.errors import oneline
from study.read import InputError

#: For all prompts of a unit; a real template takes a millisecond for each.
SECONDS = 8.0
#: Memory beyond what the process has.
MEMORY = 2**30
#: What a template may add to a prompt.
CHARACTERS = 100_000


def render(
    name: str, tokenizer: Any, prompts: Sequence[str], seconds: float = SECONDS
) -> list[str]:
    """Put each prompt through the chat template as a user's message.

    Parameters
    ----------
    name : str
        The model's, for messages.
    tokenizer : PreTrainedTokenizer
    prompts : sequence of str
    seconds : float
        The longest that all of them together may take.

    Returns
    -------
    list of str
        Each ends where the model's answer begins.

    Raises
    ------
    InputError
        If the template fails, does not end, or takes too much memory.
    """
    context = multiprocessing.get_context()
    ours, theirs = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(theirs, tokenizer, list(prompts)), daemon=True)
    worker.start()
    theirs.close()
    try:
        said, texts = ours.recv() if ours.poll(seconds) else ("takes too long", [])
    except EOFError:
        said, texts = "takes too much memory", []
    finally:
        worker.kill()
        worker.join()
        ours.close()
    if said:
        raise InputError(
            f"model {name!r}: its chat template {said}; get the model's own tokenizer_config.json, "
            "or set instruct = false"
        )
    return list(texts)


def _work(pipe: Connection, tokenizer: Any, prompts: list[str]) -> None:
    _limit_memory()
    texts = []
    try:
        for prompt in prompts:
            messages = [{"role": "user", "content": prompt}]
            text = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            if not isinstance(text, str) or len(text) > len(prompt) + CHARACTERS:
                pipe.send(("writes too much", []))
                return
            texts.append(text)
    except MemoryError:
        pipe.send(("takes too much memory", []))
        return
    except Exception as error:  # a template is a program, and fails as such
        pipe.send((f"fails ({oneline(error)})", []))
        return
    pipe.send(("", texts))


def _limit_memory() -> None:
    """Bound what this process may take, where the system can."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    except (ImportError, OSError, ValueError):  # not on this system; the time is still bounded
        pass
