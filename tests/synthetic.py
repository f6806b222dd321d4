"""A made-up study in the form of a real one, for the tests of the reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd

from analysis.loading.scores import Scores
from analysis.planning.simulate import combine, simulate_scores

FAMILIES = ("GPT-2", "Gemma", "Qwen", "Llama", "Mistral")
#: For each metric: higher is better, chance, label, shape of a trained and an untrained model.
METRICS = {
    "auc": (True, 0.5, "held-out AUC", "hump"),
    "crossnobis": (True, 0.0, "crossnobis distance", "saturating"),
    "cosine": (False, None, "cosine of raw means", "hump"),
    "anisotropy": (False, None, "cosine of neutral texts", "decay"),
}


def make_study(
    folder: Path,
    families: tuple[int, ...] = (2, 2, 2, 2, 1),
    methods: tuple[str, ...] = ("comprehension", "generation"),
    n_emotions: int = 20,
    seed: int = 1,
) -> Path:
    """Write `scores.parquet`, `replicates.parquet` and `run.json`; return the folder."""
    parts: list[Scores] = []
    for metric, (higher, _, _, trained) in METRICS.items():
        for weights, shape, height in (("trained", trained, 0.1), ("untrained", "decay", 0.03)):
            wanted = methods if weights == "trained" and metric != "anisotropy" else methods[:1]
            part = simulate_scores(
                families=families,
                n_layers=(12, 24),
                methods=wanted,
                shape=shape,
                height=height,
                n_emotions=1 if metric == "anisotropy" else n_emotions,
                weights=weights,
                model_sd={"vertex": 0.04, "level": 0.02, "height": 0.01},
                method_effect=0.02,
                n_replicates=40,
                seed=seed,
            )
            parts.append(_renamed(part, folder.name, metric, higher))
    study = combine(*parts)
    folder.mkdir(parents=True)
    study.table.to_parquet(folder / "scores.parquet", index=False)
    assert study.replicates is not None
    study.replicates.to_parquet(folder / "replicates.parquet", index=False)
    run = {
        "study": {
            "name": folder.name,
            "emotions": [f"e{i + 1}" for i in range(n_emotions)],
            "preregistered": {
                "metric": "auc",
                "method": "comprehension",
                "target": 0.5,
                "delta": 0.1,
                "alpha": 0.05,
            },
        },
        "study_sha256": "0" * 64,
        "metrics": {
            name: {"higher_is_better": higher, "label": label}
            | ({} if chance is None else {"chance": chance})
            for name, (higher, chance, label, _) in METRICS.items()
        },
        "emotions": [
            {"name": f"e{i + 1}", "valence": (i - n_emotions / 2) / n_emotions}
            for i in range(n_emotions)
        ],
        "models": [],
        "versions": {"python": "3.11"},
        "git_commit": "0" * 40,
        "units": [],
    }
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return folder


def _renamed(part: Scores, study: str, metric: str, higher: bool) -> Scores:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.assign(study=study, metric=metric)
        table["family"] = table["family"].map(dict(zip("ABCDE", FAMILIES, strict=True)))
        table["model"] = table["family"].str.lower() + "-" + table["model"].str[1:]
        if metric == "anisotropy" and "emotion" in table:
            table["emotion"] = "neutral"
        if not higher:
            table["score"] = 1 - table["score"]
        return table

    assert part.replicates is not None
    return replace(
        part,
        table=change(part.table),
        replicates=change(part.replicates),
        directions={metric: 1 if higher else -1},
    )
