"""The torch side: texts and models in, activations and separation scores out.

Models are loaded with their transformer blocks found, texts are read and written with activations
taken on the way, and pooled activations become layer-wise separation scores. A name is imported
when it is first asked for: the registry and the corpus need no torch.
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
