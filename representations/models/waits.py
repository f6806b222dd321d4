"""Bound how long a hub with too many requests may let a run wait; the library waits any time."""

from __future__ import annotations

import re
from typing import Any

#: Seconds that the hub may ask to wait.
LONGEST_WAIT = 60


class LongWait(Exception):
    """The hub asks to wait for longer than `LONGEST_WAIT`."""


def bound_waits() -> None:
    """Let the library's client refuse answers that ask for a long wait."""
    from huggingface_hub import get_session

    client = get_session()
    hooks = client.event_hooks
    if _refuse_long_wait not in hooks["response"]:
        client.event_hooks = hooks | {"response": [*hooks["response"], _refuse_long_wait]}


def _refuse_long_wait(response: Any) -> None:
    after = re.fullmatch(r"\s*(\d+)\s*", response.headers.get("retry-after", ""))
    limit = re.search(r"r=0;\s*t=(\d+)", response.headers.get("ratelimit", ""))
    seconds = max((int(found[1]) for found in (after, limit) if found), default=0)
    if response.status_code in (429, 503) and seconds > LONGEST_WAIT:
        raise LongWait(f"the hub asks to wait for {seconds} s")
