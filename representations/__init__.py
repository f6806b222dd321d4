"""The torch side: from texts and models to activations and separation scores.

Load models and find their transformer blocks, read and write texts while recording activations, and
turn pooled activations into layer-wise separation scores. Names are imported on first use, because
the registry and the corpus need no torch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "activations": ("Window", "read"),
    "corpus.checks": ("check_corpus",),
    "corpus.corpus": ("Corpus", "load_corpus"),
    "generation": ("Sampling", "write"),
    "metrics": ("METRICS", "Metric"),
    "models.loading": ("LoadedModel", "load"),
    "models.registry": ("ModelSpec", "find_model", "registry"),
    "pooled": ("PooledUnit",),
    "separation": ("separation_scores",),
    "steering.judges": ("load_judge",),
    "steering.trials": ("load_scenarios",),
    "vectors": ("emotion_vectors", "export_vectors"),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'representations' has no attribute {name!r}")
    return getattr(import_module(f"representations.{_WHERE[name]}"), name)
