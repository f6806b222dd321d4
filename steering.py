"""Steer a study's models: do the emotion vectors change what they write?

    python steering.py                     the study `demo`, after extraction
    python steering.py --study jeong2026   another study, or a .toml file
    python steering.py --dry-run           list the units with their cost
    python steering.py --export            write vectors as safetensors and GGUF

A unit is a model's baselines, or all its trials at one layer. Each is saved
when it is finished. To resume a run that was stopped, run the same command
again.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from study.interruption import listen

if __name__ == "__main__":  # before importing the libraries, which takes a while
    listen("steering.py", "finished units are kept; run the same command again to continue")

from rich import box
from rich.table import Table

from analysis import fit_curves, load_scores, load_trials, steering_summary
from pipeline.estimate import print_estimate
from pipeline.jobs import Engine
from pipeline.options import run_parser
from pipeline.pins import at_unit
from pipeline.plan import ExtractionUnit, check_links, plan
from pipeline.runner import Run, run_script
from pipeline.steer import PEAK, SteeringUnit, all_done, units_of_work
from pipeline.trial_tables import write_trials
from pipeline.units import load_facts, open_unit
from representations.corpus.corpus import Corpus
from representations.models.weights import local_folder
from representations.steering.judges import OWN, load_judge
from representations.steering.opinions import CONTENT_FREE, QUESTION
from representations.steering.trials import Scenarios, load_scenarios
from representations.vectors import emotion_vectors, export_vectors
from study import HOME, Study
from study.home import command
from study.read import InputError
from study.tables import KINDS
from study.terminal import Terminal
from study.write import Place, fingerprint, is_there, locate, read_json, slug

SCORES = HOME / "data" / "scores"
STEERING = HOME / "data" / "steering"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study; return the exit code."""
    parser = run_parser("steering.py", __doc__, "data/steering/STUDY")
    parser.add_argument(
        "--scores",
        metavar="FOLDER",
        help="folder or URL of the scores (default: data/scores/STUDY)",
    )
    parser.add_argument("--export", action="store_true", help="write the vectors, steer nothing")
    return run_script(parser, arguments, STEERING, steer_study)


def steer_study(run: Run) -> list[str]:
    """Run the unfinished units, then judge all texts and write the tables."""
    emotions = run.study.steering.emotions or tuple(e.name for e in run.used.emotions)
    study = replace(run.study, steering=replace(run.study.steering, emotions=emotions))
    scenarios = load_scenarios(study.steering.scenarios, study.steering.n_scenarios)
    scores = locate(run.args.scores or SCORES / study.name)
    check_links(run.folder)
    asked = ["--study", run.args.study, *(["--out", str(scores)] if run.args.scores else [])]
    extracted = f"{command('extraction.py')} {shlex.join(asked)}"
    sources = vector_sources(study, run.used, scores, run.engine, extracted)
    if run.args.export:
        export(study, sources, run.folder)
        return []
    units = plan_units(study, scenarios, sources, scores, run.folder)
    shards = run.shard_counts(units_of_work(units, study, run.used, scenarios, run.engine.device))
    if run.args.dry_run:
        print_estimate(run.console, f"Steering of study {study.name}", shards, run.folder)
        return []
    with run.alone() as display:
        named = study.steering.judges
        others = [name for name in named if name != OWN]
        judges = [load_judge(n, run.corpus, study.steering.labels.get(n)) for n in others]
        failures = run.do(shards, display)
        complete = [unit for unit in units if all_done(unit, units)]
        if complete:
            display.start(1, 1)
            display.begin("judging")
            finished = [read_json(unit.path) for unit in complete]
            write_trials(study, scenarios, judges, finished, scores, run.folder, run.started)
            display.at(1)
            display.end("judging")
    if complete:
        run.print_results(lambda console: print_summary(console, run.folder, study))
    return failures


def vector_sources(
    study: Study, corpus: Corpus, scores: Place, engine: Engine, extracted: str
) -> list[ExtractionUnit]:
    """Return the extraction units that the vectors are made from, one per model.

    `extracted` is the command that makes them.
    """
    if not (scores.is_dir() if isinstance(scores, Path) else is_there(scores)):
        raise InputError(
            f"{scores}: no such folder of scores; make it with: {extracted}, or name the folder "
            "of this study's scores with --scores"
        )
    sources: dict[str, ExtractionUnit] = {}
    for unit in plan(study, corpus, scores, engine.device, engine.elsewhere):
        if (unit.weights, unit.method) == ("trained", "comprehension"):
            sources.setdefault(unit.spec.name, unit)
    for unit in sources.values():
        if not is_there(unit.path):
            raise InputError(
                f"{scores}: no activations of {unit.title} under this study's settings; "
                f"make them with: {extracted}"
            )
    if not sources:
        raise InputError(
            f"study {study.name}: steering needs trained weights and the method comprehension"
        )
    return list(sources.values())


def plan_units(
    study: Study, scenarios: Scenarios, sources: list[ExtractionUnit], scores: Place, folder: Place
) -> list[SteeringUnit]:
    """List the units in the order of the run: each model's baselines, its peak, its sweep."""
    settings = study.steering
    cells = len(scenarios.openings) * len(settings.seeds)
    # A changed judge, or a new depth in the sweep, does not invalidate finished units.
    sweep = ("sweep_depths", "sweep_every", "sweep_strength")
    apart = ("judges", "labels", "batch", "strengths", *sweep)
    made_by = {k: v for k, v in asdict(settings).items() if k not in apart}
    units = []
    for source in sources:
        n_layers = load_facts(source.path)["n_layers"]
        peak = peak_layer(study, scores, source.spec.name, n_layers)
        layers: dict[int | None, tuple[str, tuple[float, ...]]] = {
            None: ("baseline", ()),
            peak: (PEAK, settings.strengths),
        }
        swept = [round(depth * n_layers) for depth in settings.sweep_depths]
        if settings.sweep_every:
            swept += range(settings.sweep_every, n_layers + 1, settings.sweep_every)
        for layer in swept:
            layers.setdefault(layer, ("sweep", (settings.sweep_strength,)))
        for layer, (place, strengths) in layers.items():
            facts = [made_by, strengths, layer, source.path.name, scenarios.sha256, study.seed]
            kinds = KINDS if place == PEAK else KINDS[:2]
            asks = OWN in settings.judges and place != "sweep"
            if place == PEAK:
                facts.append(kinds)
            if asks:
                facts.append([QUESTION, CONTENT_FREE])
            key = fingerprint(facts)
            name = f"{slug(source.spec.name, 'baseline' if layer is None else layer)}.{key}.json"
            # Baselines have one text per cell.
            n = len(kinds) * len(settings.emotions) * len(strengths) if layer is not None else 1
            path = folder / "units" / name
            units.append(SteeringUnit(source, layer, place, strengths, cells * n, path, asks))
    return units


def peak_layer(study: Study, scores: Place, model: str, n_layers: int) -> int:
    """Return the layer where the primary measure peaks, or is highest where no peak is shown."""
    wanted = study.preregistered
    some = load_scores(scores).select(
        model=model, metric=wanted.metric, method=wanted.method, weights="trained", labels="true"
    )
    fit = fit_curves(some, peak=wanted.peak).iloc[0]
    depth = fit.get(wanted.peak)
    if depth is None or not 0 <= depth <= 1:  # a profile with too few layers has no curve
        profile = next(some.profiles())
        depth = profile.depth[profile.separation.argmax()]
    return min(max(round(float(depth) * n_layers), 1), n_layers)


def print_summary(console: Terminal, folder: Place, study: Study) -> None:
    """Print how often a whole text showed the target emotion, by model and strength."""
    title = "Steering at the peak: whole texts above their baseline"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in (
        "model",
        "strength",
        "n",
        "whole, over baseline",
        "sham",
        "whole or not",
        "verdict",
    ):
        table.add_column(column)
    alpha = study.preregistered.alpha
    summary = steering_summary(load_trials(folder), by=("model", "strength"), alpha=alpha)
    for row in summary.to_dict("records"):
        table.add_row(
            row["model"],
            f"{row['strength']:g}",
            str(row["n"]),
            f"{row['estimate']:.0%} [{row['low']:.0%}, {row['high']:.0%}]",
            f"{row['sham']:.0%}",
            f"{row['over_baseline']:.0%}",
            row["verdict"],
        )
    console.print(table)
    console.print(
        'A whole text is readable, neither repetitive nor explosive; "whole or not" counts\n'
        "repetitive and explosive texts, too. The sham is the matched one, where there is one."
    )
    console.print(f"Trials are in\n{folder}")


def export(study: Study, sources: list[ExtractionUnit], folder: Place) -> None:
    """Write every model's vectors in formats that other tools read."""
    from transformers import AutoConfig

    for source in sources:
        spec = at_unit(source.spec, load_facts(source.path)["fingerprint"])
        config = AutoConfig.from_pretrained(local_folder(spec)[0], trust_remote_code=False)
        facts: dict[str, Any] = {"study": study.name}
        facts["model_type"] = config.get_text_config().model_type
        with open_unit(source.path) as unit:
            names = ("model", "n_layers", "fingerprint", "precision")
            facts |= {name: unit.facts[name] for name in names}
            vectors = emotion_vectors(unit, study.steering.emotions)
        for path in export_vectors(folder / "vectors", vectors, facts):
            print(path)


if __name__ == "__main__":
    sys.exit(main())
