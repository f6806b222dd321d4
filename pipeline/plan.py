"""The units of a study: what there is to do, in which order, and where each result lies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from representations.corpus.corpus import Corpus
from representations.metrics import METRICS
from representations.models.loading import resolved
from representations.models.registry import ModelSpec, find_model
from representations.models.weights import check_package
from study import METHODS, Study
from study.read import InputError
from study.write import Place, fingerprint, slug

#: Of the units' files: it goes up when they would be read in another way.
FORMAT = 2


@dataclass(frozen=True, eq=False)
class Task:
    """One unit of work: a model with its weights, read in one way."""

    spec: ModelSpec
    weights: str
    seed: int
    dtype: str
    method: str
    path: Place

    @property
    def title(self) -> str:
        """How progress and messages call it."""
        return f"{self.spec.name}, {self.weights}, {self.method}"

    @property
    def model_key(self) -> tuple[str, str, int, str]:
        """Tasks with the same key share a loaded model."""
        return self.spec.name, self.weights, self.seed, self.dtype


def check_links(folder: Place) -> None:
    """Refuse a study's folder whose own folders lead out of it: files would be written there.

    Raises
    ------
    InputError
    """
    if not isinstance(folder, Path):
        return
    for inner in (folder / "units", folder / "vectors"):
        if inner.is_symlink() and not inner.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{inner}: links to {inner.resolve()}, outside the study's folder; "
                "name another folder with --out"
            )


def plan(
    study: Study, corpus: Corpus, folder: Place, device: str = "auto", elsewhere: bool = False
) -> list[Task]:
    """List the units of a study, in the order of the work.

    Parameters
    ----------
    study : Study
    corpus : Corpus
        Restricted to the study's emotions and topics.
    folder : Path or UPath
        The study's folder of score tables.
    device : str
        As for `representations.models.loading.load`; it decides the dtype that "auto" stands for.
    elsewhere : bool
        Whether the device is another machine's, and not looked for here.

    Returns
    -------
    list of Task

    Raises
    ------
    InputError
        For an unknown model or metric, or weights that are not installed or not the right ones.
    """
    unknown = [m for m in study.scoring.metrics if m not in METRICS]
    if unknown:
        raise InputError(
            f"study {study.name}: scoring.metrics has unknown {unknown[0]!r}; "
            f"choose from {', '.join(METRICS)}"
        )
    check_links(folder)
    tasks = []
    specs: dict[str, str] = {}
    for name in study.models:
        spec = find_model(name, study.model)
        if specs.setdefault(spec.name, name) != name:
            raise InputError(
                f"study {study.name}: {specs[spec.name]!r} and {name!r} would both be called "
                f"{spec.name!r} in the tables; give them [[model]] entries with other names"
            )
        for weights in study.weights:
            if weights == "trained" or not spec.config:
                check_package(spec)
            seeds = study.untrained_seeds if weights == "untrained" else (0,)
            methods = study.methods if weights == "trained" else study.untrained_methods
            for seed in seeds:
                for precision in study.precisions:
                    dtype = resolved(device, precision, elsewhere)[1]
                    for method in sorted(methods, key=METHODS.index):
                        made_by = [
                            FORMAT, asdict(spec), weights, seed, dtype, method, corpus.sha256,
                            [e.name for e in corpus.emotions], [t.name for t in corpus.topics],
                            study.seed, study.pooling.skip, study.pooling.size,
                            asdict(study.generation) if method != "comprehension" else None,
                        ]  # fmt: skip
                        name_ = slug(spec.name, weights, seed, dtype, method)
                        path = folder / "units" / f"{name_}.{fingerprint(made_by)}.safetensors"
                        tasks.append(Task(spec, weights, seed, dtype, method, path))
    return tasks
