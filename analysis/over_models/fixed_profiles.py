"""The profile of each of these models: its mean over methods, with the replicates of that mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.loading.scores import Profile, Scores
from analysis.over_models.sums import curve_data, main_rows


def model_profiles(scores: Scores, metric: str, by: str = "family") -> list[Profile]:
    """Return one profile per model, averaged over methods; sorted by model.

    Untrained models and shuffled labels are ignored. The column `by`, which groups the models, is
    among the profiles' keys.

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
    data = curve_data(scores, metric, by)
    of: dict[str, list[Profile]] = {}
    for profile in main_rows(scores.select(metric=metric)).profiles():
        of.setdefault(str(profile.keys["model"]), []).append(profile)
    out = []
    for model, group, mean in zip(data.models, data.group, data.means, strict=True):
        copies = [p.replicates for p in of[model] if p.replicates is not None]
        together = None
        if len(copies) == len(of[model]):
            n = min(map(len, copies))
            together = np.mean([copy[:n] for copy in copies], axis=0)
        first = of[model][0]
        keys = {**first.keys, by: data.groups[group]}
        mean_of = mean.mean(axis=1)
        out.append(replace(first, keys=keys, separation=mean_of, replicates=together))
    return out
