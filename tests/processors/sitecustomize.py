"""Change the last bits of torch's products, as if another processor had computed them.

Python imports this module at startup if its folder is in PYTHONPATH, which child processes inherit.
SHAKEN_BITS is the number of bits that may change. The change depends only on the value: the same
operations still give equal results, while two ways to compute one thing differ more than usual.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

BITS = int(os.environ.get("SHAKEN_BITS", "0"))


def _shaken(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function of torch that returns one tensor."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        import torch

        result = function(*args, **options)
        if result.requires_grad or result.dtype not in (torch.float32, torch.float64):
            return result
        result = result.contiguous()
        bits = result.view(torch.int32 if result.dtype == torch.float32 else torch.int64)
        bits ^= (bits * 40503 >> 8) & (2**BITS - 1)
        return result

    return call


class _Finder:
    """Patches torch once it is imported."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(cls)  # type: ignore[arg-type]
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def load_and_patch(module: ModuleType) -> None:
            load(module)
            for place, names in (
                (module, ("addmm", "bmm", "matmul")),
                (module.nn.functional, ("linear", "scaled_dot_product_attention")),
            ):
                for one in names:
                    setattr(place, one, _shaken(getattr(place, one)))

        spec.loader.exec_module = load_and_patch  # type: ignore[method-assign]
        return spec


if BITS:
    sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]
