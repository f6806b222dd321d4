"""Write the table of trials from finished steering units: the contract with `analysis`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipeline.provenance import BULKY, certificates, provenance
from representations.facts import SteeringFacts
from representations.steering.judges import OWN, Judge, target_scores
from representations.steering.opinions import CONTENT_FREE, QUESTION
from representations.steering.trials import Scenarios
from study import Study
from study.tables import BASELINE, MODEL, MORE_TRIAL_COLUMNS, TRIAL_COLUMNS
from study.write import Place, read_text, remove, write_table, write_text


def write_trials(
    study: Study,
    scenarios: Scenarios,
    judges: Sequence[Judge],
    finished: Sequence[SteeringFacts],
    scores: Place,
    folder: Place,
    started: float,
) -> None:
    """Judge all texts and write `trials.parquet` and `run.json`, each atomically.

    Parameters
    ----------
    study : Study
    scenarios : Scenarios
    judges : sequence of Judge
        All that the study names, except the model itself.
    finished : sequence of SteeringFacts
        In the order of the run: a model's baselines come before its trials.
    scores : Path or UPath
        The score folder that the peak was read from.
    folder : Path or UPath
    started : float
        Start time on the monotonic clock.
    """
    parts: list[pd.DataFrame] = []
    baselines: dict[str, pd.DataFrame] = {}
    for facts in finished:
        rows = pd.DataFrame(facts["rows"])
        if facts["layer"] is None:
            names = {c: f"baseline_{c}" for c in [*BASELINE, "opinions"]}
            some = rows.reindex(columns=["scenario", "seed", *names])
            baselines[facts["model"]] = some.rename(columns=names)
            continue
        rows = rows.merge(baselines[facts["model"]], on=["scenario", "seed"], validate="m:1")
        named: dict[str, Any] = {
            c: v for c, v in facts.items() if c in {"model", "precision", *MODEL, "layer", "place"}
        }
        rows = rows.assign(**named)
        parts.append(rows.assign(depth=rows["layer"] / rows["n_layers"], study=study.name))
    table = pd.concat(parts, ignore_index=True)
    table = table.reindex(columns=list(dict.fromkeys([*table, "opinions"])))
    columns = [*TRIAL_COLUMNS, *MORE_TRIAL_COLUMNS]
    by_name = {judge.name: judge for judge in judges}
    described: dict[str, Any] = {}
    for name in study.steering.judges:
        described[name] = own_facts(finished) if name == OWN else _described(by_name[name])
        for side, texts, asked in (
            ("score", "text", "opinions"),
            ("baseline_score", "baseline_text", "baseline_opinions"),
        ):
            targets = list(table["emotion"])
            table[f"{side}_{name}"] = (
                own_scores(list(table[asked]), targets)
                if name == OWN
                else target_scores(by_name[name], list(table[texts]), targets)
            )
            columns.append(f"{side}_{name}")
    remove(folder / "run.json")  # trials are not read without it, so both come from one run
    write_table(folder / "trials.parquet", table[columns])
    extraction = json.loads(read_text(scores / "run.json"))
    content = {
        "study": {k: v for k, v in study.echo().items() if k != "sha256"},
        "study_sha256": study.sha256,
        "scenarios_sha256": scenarios.sha256,
        "scores": {k: extraction.get(k) for k in ("study_sha256", "corpus_sha256", "git_commit")},
        "judges": described,
        "units": [{k: v for k, v in c.items() if k not in BULKY} for c in finished],
        "certificates": certificates(finished),
        "trials": len(table),
        "seconds": round(time.monotonic() - started, 1),
        **provenance(),
    }
    write_text(folder / "run.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _described(judge: Judge) -> dict[str, Any]:
    return {**judge.facts, "emotions": judge.emotions}


def own_scores(opinions: Sequence[Any], targets: Sequence[str]) -> list[float]:
    """Return the log-odds of each text's target; NaN where the model was not asked."""
    return [
        odds[target] if isinstance(odds, dict) else float("nan")
        for odds, target in zip(opinions, targets, strict=True)
    ]


def own_facts(finished: Sequence[SteeringFacts]) -> dict[str, Any]:
    """Describe the unsteered models as judges."""
    baselines = [facts for facts in finished if facts["layer"] is None]
    return {
        "kind": "the unsteered model's log-odds of the target against the other emotions",
        "question": QUESTION,
        "content_free": CONTENT_FREE,
        "auc": {facts["model"]: round(facts["own_auc"], 4) for facts in baselines},
        "emotions": list(baselines[0]["rows"][0]["opinions"]),
    }
