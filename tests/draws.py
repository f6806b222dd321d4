"""Measure how close draws come to another token: no test may depend on the last digits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from representations import generation
from representations.generation import Sampling

#: Other batch sizes and other processors shift probabilities by about 1e-7.
SAFE = 1e-6


def distance(logits: Tensor, uniform: Tensor, sampling: Sampling) -> float:
    """Return the smallest change of logits or random numbers that would change a token."""
    best = logits.topk(min(sampling.top_k + 1, logits.shape[-1]), dim=-1).values.double()
    gaps = (best[:, :-1] - best[:, 1:]).nan_to_num(posinf=1.0)
    if sampling.temperature == 0:
        return float(gaps[:, 0].min())
    mass = (best[:, : sampling.top_k] / sampling.temperature).softmax(dim=-1).cumsum(dim=-1)
    chosen = (mass <= uniform[:, None]).sum(dim=-1, keepdim=True)
    edge = (mass[:, :-1] - uniform[:, None]).abs().min()
    neighbors = torch.cat([chosen - 1, chosen], dim=1).clamp(0, gaps.shape[1] - 1)
    return min(float(edge), float(gaps.gather(1, neighbors).min()))


@contextmanager
def measured() -> Iterator[list[float]]:
    """Collect the distances of all draws in this process."""
    found: list[float] = []
    draw = generation.draw

    def noted(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
        found.append(distance(logits, uniform, sampling))
        return draw(logits, uniform, sampling)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "draw", noted)
        yield found
