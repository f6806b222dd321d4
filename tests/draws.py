"""How near tokens come to being others: what last digits can turn, no test may hang on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from representations import generation
from representations.generation import Sampling

#: Batches of other sizes, and other processors, move a share of the probability by some 1e-7.
SAFE = 1e-6


def distance(logits: Tensor, uniform: Tensor, sampling: Sampling) -> float:
    """Return how far logits or random numbers may move, at least, before a token is another."""
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
    """Collect the distances of all draws that are made in this process."""
    found: list[float] = []
    draw = generation.draw

    def noted(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
        found.append(distance(logits, uniform, sampling))
        return draw(logits, uniform, sampling)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "draw", noted)
        yield found
