"""Steering trials of known truth, for tests."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.trials.table import Trials, as_trials

STRENGTHS = (0.1, 0.2, 0.4, 0.8)


def make_trials(
    effect: float = 0.3,
    sham: float = 0.0,
    models: int = 2,
    scenarios: int = 10,
    seed: int = 0,
    breaks: float = 0.8,
    families: int = 2,
    sweep_effect: float | None = None,
    matched: float | None = None,
) -> Trials:
    """Make trials with a gain of effect x strength / 0.4, plus noise.

    `sham` is the effect of the isotropic shams, `matched` that of the matched ones at the peak.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for m in range(models):
        places = [(5, "peak", STRENGTHS, effect)]
        if sweep_effect is not None:
            places += [(layer, "sweep", (0.2,), sweep_effect) for layer in (1, 9)]
        for layer, place, strengths, slope in places:
            for emotion in ("happy", "sad", "calm"):
                for scenario in range(scenarios):
                    base = rng.uniform(0.1, 0.3)
                    for strength in strengths:
                        sizes = {"steered": slope, "sham": sham}
                        if matched is not None and place == "peak":
                            sizes["matched sham"] = matched
                        for kind, size in sizes.items():
                            gain = size * min(strength, 0.4) / 0.4 + rng.normal(0, 0.05)
                            broken = kind == "steered" and strength >= breaks
                            rows.append(
                                {
                                    "study": "s",
                                    "model": f"m{m}",
                                    "family": f"f{m % families}",
                                    "n_params": 1e8 * (m + 1),
                                    "layer": layer,
                                    "place": place,
                                    "depth": layer / 10,
                                    "emotion": emotion,
                                    "seed": 0,
                                    "scenario": f"s{scenario}",
                                    "strength": strength,
                                    "kind": kind,
                                    "text": "x",
                                    "baseline_text": "y",
                                    "n_tokens": 30,
                                    "perplexity": 20.0,
                                    "baseline_perplexity": 10.0,
                                    "distinct_2": 0.1 if broken else 0.95,
                                    "baseline_distinct_2": 0.95,
                                    "share_foreign_script": 0.0,
                                    "score_local": base + gain,
                                    "baseline_score_local": base,
                                    "score_other": base + gain if emotion != "calm" else np.nan,
                                    "baseline_score_other": base if emotion != "calm" else np.nan,
                                }
                            )
    return as_trials(pd.DataFrame(rows))
