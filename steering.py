"""A study in, steering trials out: do the emotion vectors move what the models write?

    python steering.py                       the study `demo`, after its extraction
    python steering.py --study jeong2026     another one, or a .toml file of your own
    python steering.py --dry-run             what would be done
    python steering.py --export              the vectors as safetensors and GGUF control vectors

Every unit (a model's baselines, or all its trials at one layer) is finished as a whole and kept,
so a run that was stopped goes on where it was: give the same command again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from study.interruption import listen

if __name__ == "__main__":  # before the libraries, which take a while to load
    listen("steering.py", "finished units are kept, the same command goes on")

from rich import box
from rich.console import Console
from rich.table import Table

from analysis import fit_curves, load_scores, load_trials, steering_summary
from pipeline.engines import engine, run_parser
from pipeline.estimate import parameter_count
from pipeline.jobs import Engine, Job, Model, Report, progress_bar
from pipeline.plan import Task, check_links, plan
from pipeline.shards import (
    Shard,
    added_up,
    all_shards,
    n_shards,
    remove_shards,
    shard_jobs,
)
from pipeline.trial_tables import write_trials
from pipeline.units import load_facts, open_unit
from representations.corpus.corpus import Corpus, load_corpus
from representations.generation import WRITTEN
from representations.models.loading import LoadedModel
from representations.models.weights import local_folder
from representations.steering.judges import load_judge
from representations.steering.trials import Scenarios, baseline, load_scenarios, trials
from representations.vectors import emotion_vectors, export_vectors
from study import HOME, Study, load_study
from study.lock import only_run
from study.read import InputError
from study.write import (
    Place,
    fingerprint,
    is_there,
    locate,
    read_json,
    slug,
    write_text,
)

SCORES = HOME / "data" / "scores"
STEERING = HOME / "data" / "steering"


@dataclass(frozen=True, eq=False)
class Unit:
    """A model's baselines (no layer), or its trials at one layer."""

    task: Task
    layer: int | None
    place: str
    strengths: tuple[float, ...]
    n_texts: int
    path: Place

    @property
    def title(self) -> str:
        """How progress and messages call it."""
        where = "baseline" if self.layer is None else f"layer {self.layer}"
        return f"{self.task.spec.name}, {where}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study; return the exit code."""
    args = _parser().parse_args(arguments)
    try:
        study = load_study(args.study)
        corpus = load_corpus(HOME / study.corpus)
        used = corpus.restricted(study.emotions or None, study.topics or None)
        emotions = study.steering.emotions or tuple(e.name for e in used.emotions)
        study = replace(study, steering=replace(study.steering, emotions=emotions))
        scenarios = load_scenarios(HOME / study.steering.scenarios, study.steering.n_scenarios)
        scores = locate(args.scores or SCORES / study.name)
        folder = locate(args.out or STEERING / study.name)
        check_links(folder)
        with engine(args, folder, f"python steering.py --study {args.study}") as worker:
            tasks = read_tasks(study, used, scores, worker)
            if args.export:
                return export(study, tasks, folder)
            units = plan_units(study, scenarios, tasks, scores, folder)
            shards = shards_of(units, study, worker.device, args.shards)
            if args.dry_run:
                for unit, of in shards.items():
                    cut = f" in {of} shards" if of > 1 else ""
                    left = "done" if is_there(unit.path) else f"{unit.n_texts} texts{cut}"
                    print(f"{unit.title}: {left}")
                return 0
            return run(study, corpus, scenarios, shards, scores, folder, args, worker)
    except InputError as error:
        print(f"steering.py: {error}", file=sys.stderr)
        return 2


def read_tasks(study: Study, corpus: Corpus, scores: Place, worker: Engine) -> list[Task]:
    """Return the extraction's units that vectors are made of, one for each model."""
    tasks: dict[str, Task] = {}
    for task in plan(study, corpus, scores, worker.device, worker.elsewhere):
        if (task.weights, task.method) == ("trained", "comprehension"):
            tasks.setdefault(task.spec.name, task)
    for task in tasks.values():
        if not is_there(task.path):
            raise InputError(
                f"{scores}: no activations of {task.title} under this study's settings; "
                f"make them with: python extraction.py --study {study.name}"
            )
        unknown = set(study.steering.emotions) - set(load_facts(task.path)["emotions"])
        if unknown:
            raise InputError(
                f"study {study.name}: steering.emotions has {min(unknown)!r}, which has no vector; "
                f"choose from {', '.join(e.name for e in corpus.emotions)}"
            )
    if not tasks:
        raise InputError(
            f"study {study.name}: steering needs trained weights and the method comprehension"
        )
    return list(tasks.values())


def plan_units(
    study: Study, scenarios: Scenarios, tasks: list[Task], scores: Place, folder: Place
) -> list[Unit]:
    """List the units in the order of the work: each model's baselines, its peak, its sweep."""
    settings = study.steering
    cells = len(scenarios.openings) * len(settings.seeds)
    # A changed judge, or one more depth of a sweep, leaves finished units alone.
    apart = ("judges", "labels", "batch", "strengths", "sweep_depths", "sweep_strength")
    made_by = {k: v for k, v in asdict(settings).items() if k not in apart}
    units = []
    for task in tasks:
        n_layers = load_facts(task.path)["n_layers"]
        peak = peak_layer(study, scores, task.spec.name, n_layers)
        layers: dict[int | None, tuple[str, tuple[float, ...]]] = {
            None: ("baseline", ()), peak: ("peak", settings.strengths),
        }  # fmt: skip
        for depth in settings.sweep_depths:
            layers.setdefault(round(depth * n_layers), ("sweep", (settings.sweep_strength,)))
        for layer, (place, strengths) in layers.items():
            facts = [made_by, strengths, layer, task.path.name, scenarios.sha256, study.seed]
            key = fingerprint(facts)
            name = f"{slug(task.spec.name, 'baseline' if layer is None else layer)}.{key}.json"
            texts = cells * (2 * len(settings.emotions) * len(strengths) or 1)
            path = folder / "units" / name
            units.append(Unit(task, layer, place, strengths, texts, path))
    return units


def peak_layer(study: Study, scores: Place, model: str, n_layers: int) -> int:
    """Return the layer where the primary measure peaks: the vertex of a hump, else the maximum."""
    wanted = study.preregistered
    some = load_scores(scores).select(
        model=model, metric=wanted.metric, method=wanted.method, weights="trained", labels="true"
    )
    fit = fit_curves(some).iloc[0]
    depth = fit["vertex"] if fit["shape"] == "hump" else fit.get("extremum")
    if depth is None or not 0 <= depth <= 1:  # a profile of too few layers has no curve
        profile = next(some.profiles())
        depth = profile.depth[profile.separation.argmax()]
    return min(max(round(float(depth) * n_layers), 1), n_layers)


def run(
    study: Study,
    corpus: Corpus,
    scenarios: Scenarios,
    shards: Mapping[Unit, int],
    scores: Place,
    folder: Place,
    args: argparse.Namespace,
    worker: Engine,
) -> int:
    """Do the units that are not finished, then judge all texts and write the tables."""
    started = time.monotonic()
    with only_run(folder), progress_bar(Console(stderr=True)) as bar:
        judges = [
            load_judge(name, corpus, study.steering.labels.get(name))
            for name in study.steering.judges
        ]
        remove_shards(folder / "units")
        todo = {u: n for u, n in shards.items() if args.force or not is_there(u.path)}
        jobs = unit_jobs(todo, list(shards), study, scenarios, worker.device, args.force)
        worker.run(jobs, bar)
        remove_shards(folder / "units")
        bar.add_task("judging", total=None)
        finished = [(unit, read_json(unit.path)) for unit in shards]
        write_trials(study, scenarios, judges, finished, scores, folder, started)
    print_summary(Console(), folder)
    return 0


def shards_of(units: list[Unit], study: Study, device: str, asked: int | None) -> dict[Unit, int]:
    """Return into how many shards each unit is cut; baselines stay whole, for their norms."""
    specs = {} if asked else {unit.task.spec.name: unit.task.spec for unit in units}
    sizes = {name: parameter_count(spec) for name, spec in specs.items()}
    shards = {}
    for unit in units:
        # A text is written, then read for its perplexity.
        tokens = unit.n_texts * study.steering.max_new_tokens * (WRITTEN + 1)
        n_params = sizes.get(unit.task.spec.name, 0)
        of = n_shards(n_params, tokens, unit.n_texts, device, asked)
        shards[unit] = of if unit.layer is not None else 1
    return shards


def unit_jobs(
    todo: Mapping[Unit, int], units: list[Unit], study: Study, scenarios: Scenarios, device: str,
    again: bool,
) -> list[Job]:  # fmt: skip
    """Make each unit a job, or as many as it has shards; baselines come before their trials."""
    jobs: dict[Unit, list[Job]] = {}
    for unit, of in todo.items():
        first = next(u for u in units if u.task is unit.task and u.layer is None)
        job = Job(
            unit.title, unit.n_texts, partial(steer, unit, first, study, scenarios),
            Model(unit.task.spec, None, device, unit.task.dtype), tuple(jobs.get(first, ())),
        )  # fmt: skip
        jobs[unit] = shard_jobs(job, unit.path, of, partial(put_together, unit, of), again)
    return [job for some in jobs.values() for job in some]


def steer(
    unit: Unit,
    first: Unit,
    study: Study,
    scenarios: Scenarios,
    shard: Shard,
    loaded: LoadedModel,
    report: Report = lambda texts: None,
) -> None:
    """Write the texts of one unit, or a shard of it; keep them with their measures as one file.

    Its strengths are shares of the norms that `first`, the model's baselines, found.
    """

    def progress(tokens: int) -> None:
        # Tokens are written once and read once; a text is its share of both.
        report(0.5 * tokens / study.steering.max_new_tokens)

    began = time.monotonic()
    content: dict[str, Any] = {
        "model": loaded.spec.name, "family": loaded.spec.family, "n_params": loaded.n_params,
        "n_layers": loaded.n_layers, "instruct": loaded.spec.instruct,
        "precision": loaded.precision, "fingerprint": loaded.fingerprint,
        "device": loaded.device.type, "layer": unit.layer, "place": unit.place,
    }  # fmt: skip
    if unit.layer is None:
        rows, content["norms"] = baseline(loaded, study.steering, scenarios, study.seed, progress)
    else:
        norm = read_json(first.path)["norms"][unit.layer]
        with open_unit(unit.task.path) as kept:
            vectors = emotion_vectors(kept, study.steering.emotions)
        rows = trials(
            loaded, study.steering, scenarios, study.seed, vectors, unit.layer, norm,
            unit.strengths, progress, shard.texts(unit.n_texts),
        )  # fmt: skip
        content["norm"] = norm
    seconds = round(time.monotonic() - began, 1)
    content |= {"tokens": sum(row["n_tokens"] for row in rows), "seconds": seconds, "rows": rows}
    write_text(shard.path(unit.path), json.dumps(content, ensure_ascii=False))


def put_together(unit: Unit, of: int, *unused: object) -> None:
    """Make a unit of its shards."""
    content = added_up([read_json(s.path(unit.path)) for s in all_shards(of)], unit.path)
    write_text(unit.path, json.dumps(content, ensure_ascii=False))


def print_summary(console: Console, folder: Place) -> None:
    """Print how often the target emotion came out, by model and strength."""
    table = Table(title="Steering at the peak", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("model", "strength", "n", "over baseline", "sham", "over both", "verdict"):
        table.add_column(column)
    summary = steering_summary(load_trials(folder), by=("model", "strength"))
    for row in summary.to_dict("records"):
        table.add_row(
            row["model"], f"{row['strength']:g}", str(row["n"]),
            f"{row['estimate']:.0%} [{row['low']:.0%}, {row['high']:.0%}]",
            f"{row['sham']:.0%}", f"{row['success']:.0%}", row["verdict"],
        )  # fmt: skip
    console.print(table)
    console.print(f"Trials are in\n{folder}", highlight=False)


def export(study: Study, tasks: list[Task], folder: Place) -> int:
    """Write every model's vectors in forms that others read."""
    from transformers import AutoConfig

    for task in tasks:
        config = AutoConfig.from_pretrained(local_folder(task.spec)[0], trust_remote_code=False)
        facts: dict[str, Any] = {"study": study.name}
        facts["model_type"] = config.get_text_config().model_type
        with open_unit(task.path) as unit:
            names = ("model", "n_layers", "fingerprint", "precision")
            facts |= {name: unit.facts[name] for name in names}
            vectors = emotion_vectors(unit, study.steering.emotions)
        for path in export_vectors(folder / "vectors", vectors, facts):
            print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = run_parser("steering.py", __doc__)
    parser.add_argument("--scores", metavar="FOLDER", help="or a URL, instead of data/scores/STUDY")
    parser.add_argument("--out", metavar="FOLDER", help="or a URL, instead of data/steering/STUDY")
    parser.add_argument("--export", action="store_true", help="write the vectors, steer nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
