"""Multiply a layer's weights by few texts in the order that is faster on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from representations.models.loading import LoadedModel

#: With up to this many rows x, `W x'` takes less time than `x W'`.
FEW = 256


@contextmanager
def weights_first(loaded: LoadedModel) -> Iterator[None]:
    """Let the linear layers of a model on a CPU compute `W x'` for few rows x, instead of `x W'`.

    Both give the same numbers but for rounding. Math libraries are faster if the first factor has
    more rows than the second has columns, as the weights have in decoding, where each text of a
    batch gives one row. The result is a transposed view: the texts lie side by side in memory. The
    layers' own methods are restored when the block ends.

    Parameters
    ----------
    loaded : LoadedModel

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> layer, x = nn.Linear(2, 3), torch.ones(5, 1, 2)
    >>> before = layer(x)
    >>> device = torch.device("cpu")
    >>> with weights_first(SimpleNamespace(model=nn.Sequential(layer), device=device)):
    ...     after = layer(x)
    >>> torch.allclose(before, after), after.stride(0)
    (True, 1)
    """
    layers = []
    if loaded.device.type == "cpu":
        # Not subclasses, which quantize, and not layers whose method someone else replaced.
        layers = [m for m in loaded.model.modules() if type(m) is nn.Linear]
        layers = [m for m in layers if "forward" not in vars(m) and _is_wide(m.weight)]
    try:
        for layer in layers:
            vars(layer)["forward"] = partial(_forward, layer)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _is_wide(weight: Tensor) -> bool:
    return weight.dtype in (torch.float32, torch.float64)


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) > FEW:
        return nn.functional.linear(x, layer.weight, layer.bias)
    if layer.bias is None:
        product = torch.mm(layer.weight, rows.T)
    else:
        product = torch.addmm(layer.bias[:, None], layer.weight, rows.T)
    return product.T.view(*x.shape[:-1], len(product))
