"""List the units of a study: what to run, in which order, and where each result is saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from representations.ablation import passes
from representations.corpus.corpus import Corpus
from representations.generation import WRITTEN
from representations.lost import LEAST_TOPICS, TOO_FEW
from representations.metrics import METRICS
from representations.models.forms import plain
from representations.models.loading import resolved
from representations.models.weights import check_package
from representations.stories import EngineStories, story_cells
from study import METHODS, Study
from study.read import InputError
from study.registry import ModelSpec, find_model
from study.tables import BY, OF_CORPUS
from study.write import Place, fingerprint, slug

#: Version of the unit files; raise it when their meaning changes.
FORMAT = 2
#: Layers of a model, for estimates before it is loaded.
LAYERS = 24


@dataclass(frozen=True, eq=False)
class ExtractionUnit:
    """A unit of extraction: a model and its weights under one method.

    `told` has its stories, where another engine wrote them; `writer` is the unit whose stories it
    reads; `detail` is what tells its title from those of the same model's other units.
    """

    spec: ModelSpec
    weights: str
    seed: int
    dtype: str
    method: str
    path: Place
    told: EngineStories | None = None
    writer: ExtractionUnit | None = None
    detail: str = ""

    @property
    def title(self) -> str:
        """Name in progress output and messages."""
        by = f" by {self.told.engine}" if self.told and self.method == "generation" else ""
        return f"{self.spec.name}, {self.weights}{self.detail}, {self.method}{by}"

    @property
    def untrained_seed(self) -> int | None:
        """Seed of random weights; None for trained weights."""
        return self.seed if self.weights == "untrained" else None

    @property
    def model_key(self) -> tuple[str, str, int, str]:
        """Units with the same key share a loaded model."""
        return self.spec.name, self.weights, self.seed, self.dtype


def check_links(folder: Place) -> None:
    """Reject a study folder whose subfolders link out of it: files would be written there.

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
    study: Study,
    corpus: Corpus,
    folder: Place,
    device: str = "auto",
    elsewhere: bool = False,
    stories: Mapping[str, EngineStories] | None = None,
) -> list[ExtractionUnit]:
    """List the units of a study in the order in which they run.

    Parameters
    ----------
    study : Study
    corpus : Corpus
        Restricted to the study's emotions and topics.
    folder : Path or UPath
        The study's score folder.
    device : str
        As for `representations.models.loading.load`; it decides the dtype that "auto" means.
    elsewhere : bool
        Whether the device is on another machine, so its presence is not checked here.
    stories : mapping of str to EngineStories, optional
        Of models whose stories another engine wrote. Such a model's stories replace generation of
        its trained weights only.

    Returns
    -------
    list of ExtractionUnit

    Raises
    ------
    InputError
        For an unknown model, metric or emotion to steer toward, too few emotions or topics, or if
        weights are not installed or are the wrong ones.
    """
    unknown = [m for m in study.scoring.metrics if m not in METRICS]
    if unknown:
        raise InputError(
            f"study {study.name}: scoring.metrics has unknown {unknown[0]!r}; "
            f"choose from {', '.join(METRICS)}"
        )
    emotions, n_topics = [e.name for e in corpus.emotions], len(corpus.topics)
    for name, n in (("emotions", len(emotions)), ("topics", n_topics)):
        if n < 2:
            raise InputError(
                f"study {study.name}: {name} has {n}; separation needs at least two: "
                f"name more, or leave {name} out to use all of the corpus"
            )
    unknown = [e for e in study.steering.emotions if e not in emotions]
    if unknown:
        raise InputError(
            f"study {study.name}: steering.emotions has {unknown[0]!r}, which has no vector; "
            f"choose from {', '.join(emotions)}"
        )
    if "ablation" in study.methods + study.untrained_methods and n_topics < LEAST_TOPICS:
        raise InputError(f"study {study.name}: {n_topics} topics; {TOO_FEW}")
    check_links(folder)
    units: list[ExtractionUnit] = []
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
            kinds = [resolved(device, p, elsewhere)[1] for p in study.precisions]
            if weights == "untrained":
                kinds = [plain(kind) for kind in kinds]
            for seed in seeds:
                for dtype in dict.fromkeys(kinds[:1] if weights == "untrained" else kinds):
                    detail = f" with seed {seed}" if len(seeds) > 1 else ""
                    if dtype != kinds[0]:  # a further precision reads passages only
                        methods, detail = ("comprehension",), f" in {dtype}"
                    told = (stories or {}).get(spec.name) if weights == "trained" else None
                    writer: ExtractionUnit | None = None
                    for method in sorted({*methods} - {"crossreading"}, key=METHODS.index):
                        of_unit = [asdict(spec), weights, seed, dtype, method]
                        of_unit += [told.sha256] if told and method not in OF_CORPUS else []
                        key = fingerprint([FORMAT, *of_unit, *_settings(study, corpus, method)])
                        stem = slug(spec.name, weights, seed, dtype, method)
                        path = folder / "units" / f"{stem}.{key}.safetensors"
                        reads = writer if method == "rereading" else None
                        unit = ExtractionUnit(
                            spec, weights, seed, dtype, method, path, told, reads, detail
                        )
                        writer = unit if method == "generation" else writer
                        units.append(unit)
    return units + _crossreading(study, corpus, units)


def _crossreading(
    study: Study, corpus: Corpus, units: list[ExtractionUnit]
) -> list[ExtractionUnit]:
    """List the units in which a model reads the stories of another one."""
    if "crossreading" not in study.methods:
        return []
    names = dict(zip(study.models, dict.fromkeys(unit.spec.name for unit in units), strict=True))
    wanted = {(names[reader], names[writer]) for reader, writer in study.crossreading_pairs}
    trained = [unit for unit in units if unit.weights == "trained"]
    writers = [unit for unit in trained if unit.method == "generation"]
    found = []
    for reader in {unit.model_key: unit for unit in trained}.values():
        by_name = {w.spec.name: w for w in writers if w.dtype == reader.dtype}
        for name, writer in by_name.items():
            pair = (reader.spec.name, name)
            if reader.spec.name == name or (wanted and pair not in wanted):
                continue
            method = f"crossreading{BY}{name}"
            of_unit = [asdict(reader.spec), "trained", reader.seed, reader.dtype, method]
            key = fingerprint(
                [FORMAT, *of_unit, writer.path.name, *_settings(study, corpus, method)]
            )
            stem = slug(reader.spec.name, "trained", reader.seed, reader.dtype, method)
            path = reader.path.with_name(f"{stem}.{key}.safetensors")
            found.append(replace(reader, method=method, path=path, writer=writer))
    return found


def _settings(study: Study, corpus: Corpus, method: str) -> list[Any]:
    """Return the settings that decide the content of a unit; batch sizes do not."""
    emotions, topics = [e.name for e in corpus.emotions], [t.name for t in corpus.topics]
    pooling = [study.seed, study.pooling.skip, study.pooling.size]
    stories = {k: v for k, v in asdict(study.generation).items() if k != "batch"}
    used = [corpus.sha256, emotions, topics, *pooling]
    if method == "ablation":
        return [*used, asdict(study.ablation)]
    return [*used, None if method in OF_CORPUS else stories]


def text_count(unit: ExtractionUnit, study: Study, corpus: Corpus) -> int:
    """Return the number of texts that a unit reads or writes."""
    if unit.method == "comprehension":
        return len(corpus.passages) + len(corpus.neutral)
    if unit.method == "ablation":
        return len(corpus.passages)
    return len(story_cells(corpus, study.generation))


def token_counts(method: str, study: Study, corpus: Corpus) -> tuple[int, int]:
    """Estimate the number of tokens that a unit reads and writes.

    Parameters
    ----------
    method : str
    study : Study
    corpus : Corpus

    Returns
    -------
    read, written : int
    """
    if method == "comprehension":
        words = sum(len(p.text.split()) for p in (*corpus.passages, *corpus.neutral))
        return int(1.35 * words), 0
    if method == "ablation":
        most = study.ablation.tokens or float("inf")
        once = sum(min(most, 1.35 * len(p.text.split())) for p in corpus.passages)
        return int(once * passes(LAYERS, study.ablation.every)), 0
    stories = len(story_cells(corpus, study.generation))
    tokens = stories * study.generation.max_new_tokens
    if method != "generation":
        return tokens, 0
    prompt = corpus.prompt(corpus.emotions[0].name, corpus.topics[0].name, chat=True)
    return int(stories * 1.5 * len(prompt.split())), tokens


def effort(unit: ExtractionUnit, study: Study, corpus: Corpus) -> int:
    """Estimate the cost of a unit in tokens read; a written token counts as `WRITTEN`."""
    read, written = token_counts(unit.method, study, corpus)
    return read + (written if unit.told else WRITTEN * written)
