"""The torch side: from texts and models to activations and separation scores.

Load models and find their transformer blocks, read and write texts while recording activations, and
turn pooled activations into layer-wise separation scores. Names are imported on first use, because
the registry and the corpus need no torch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "representations.activations": ("Window", "read"),
    "representations.corpus.checks": ("check_corpus",),
    "representations.corpus.corpus": ("Corpus", "load_corpus"),
    "representations.generation": ("Sampling", "write"),
    "representations.metrics": ("METRICS", "Metric"),
    "representations.models.loading": ("LoadedModel", "load"),
    "study.registry": ("ModelSpec", "find_model", "registry"),
    "representations.pooled": ("PooledUnit",),
    "representations.separation": ("separation_scores",),
    "representations.steering.judges": ("load_judge",),
    "representations.steering.trials": ("load_scenarios",),
    "representations.vectors": ("emotion_vectors", "export_vectors"),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'representations' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
