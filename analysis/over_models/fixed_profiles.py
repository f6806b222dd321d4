"""The profile of each of these models: its mean over methods, with the replicates of that mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.loading.scores import Profile, Scores
from analysis.over_models.sums import curve_data, main_rows


def model_profiles(scores: Scores, metric: str) -> list[Profile]:
    """Return one profile per model, averaged over methods; sorted by model.

    Untrained models and shuffled labels are ignored.

    Raises
    ------
    InputError
        As from `sums.curve_data`.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(families=(1, 1), methods=("comprehension", "generation"))
    >>> [str(profile.keys["model"]) for profile in model_profiles(study, "score")]
    ['m1', 'm2']
    """
    data = curve_data(scores, metric)
    of: dict[str, list[Profile]] = {}
    for profile in main_rows(scores.select(metric=metric)).profiles():
        of.setdefault(str(profile.keys["model"]), []).append(profile)
    out = []
    for model, mean in zip(data.models, data.means, strict=True):
        copies = [p.replicates for p in of[model] if p.replicates is not None]
        together = None
        if len(copies) == len(of[model]):
            n = min(map(len, copies))
            together = np.mean([copy[:n] for copy in copies], axis=0)
        out.append(replace(of[model][0], separation=mean.mean(axis=1), replicates=together))
    return out
