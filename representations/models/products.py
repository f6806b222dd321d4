"""Compute the linear layers of a model on a CPU with oneDNN, which torch comes with."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

#: The operation of `torch.ops.mkldnn`; it takes weights in the layout in which torch keeps them.
OPERATION = "_linear_pointwise"


@contextmanager
def with_onednn(model: nn.Module) -> Iterator[None]:
    """Let the linear layers of a model in float32 on an x86 processor use oneDNN.

    torch itself uses oneDNN for lower precisions only, and MKL for float32. Both give the same
    numbers but for rounding. On the AMD processor where it was measured, oneDNN is faster with the
    few rows of decoding, most of all in heads with large vocabularies; long batches of texts take
    as long with either. The layers' own methods are restored when the block ends.

    Parameters
    ----------
    model : Module

    Examples
    --------
    >>> layer, x = nn.Linear(2, 3), torch.ones(5, 1, 2)
    >>> with torch.inference_mode():
    ...     before = layer(x)
    ...     with with_onednn(layer):
    ...         after = layer(x)
    >>> torch.allclose(before, after)
    True
    """
    layers: list[nn.Linear] = []
    if available() and not torch.is_grad_enabled():  # oneDNN's product keeps no gradients
        # No subclasses, which quantize.
        layers = [m for m in model.modules() if type(m) is nn.Linear and _fits(m)]
    try:
        for layer in layers:
            vars(layer)["forward"] = partial(_product, layer)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def available() -> bool:
    """Return whether this build of torch has the operation, and is for an x86 processor."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    usable = torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)  # type: ignore[no-untyped-call]
    return x86 and usable and hasattr(torch.ops.mkldnn, OPERATION)


def _fits(layer: nn.Linear) -> bool:
    """Return whether a layer has plain weights, and a method that no other library replaced."""
    weight = layer.weight
    plain = type(weight) is nn.Parameter and weight.dtype == torch.float32
    here = weight.device.type == "cpu" and weight.is_contiguous()
    return plain and here and "forward" not in vars(layer)


def _product(layer: nn.Linear, x: Tensor) -> Tensor:
    if x.dtype != torch.float32 or x.numel() == 0:
        return nn.Linear.forward(layer, x)
    product: Tensor = getattr(torch.ops.mkldnn, OPERATION)(
        x, layer.weight, layer.bias, "none", [], ""
    )
    return product
