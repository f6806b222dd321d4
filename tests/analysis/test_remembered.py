from dataclasses import replace

import numpy as np

from analysis.loading.scores import Profile
from analysis.planning.simulate import simulate_scores
from analysis.profiles.remembered import remembered
from analysis.profiles.uncertainty import assess, select_profiles


def test_rows_are_remembered_for_the_same_numbers_alone() -> None:
    calls = []

    @remembered
    def row(profile: Profile, errors: object, alpha: float) -> dict[str, float]:
        calls.append(profile)
        return {"sum": float(profile.separation.sum()), "alpha": alpha}

    scores = simulate_scores(families=(1, 1))
    profile, other = select_profiles(scores, metric="score")[:2]
    errors = assess(profile, 0)
    first = row(profile, errors, 0.05)
    first["alpha"] = 1.0  # a copy
    (again, *_) = select_profiles(scores, metric="score")
    assert row(again, assess(again, 0), 0.05)["alpha"] == 0.05
    assert len(calls) == 1
    moved = profile.separation.copy()
    moved[3] = np.nextafter(moved[3], 2)
    for changed in (
        (other, errors, 0.05),
        (replace(profile, separation=moved), errors, 0.05),
        (replace(profile, sign=-1), errors, 0.05),
        (replace(profile, keys={**profile.keys, "model": "x"}), errors, 0.05),
        (profile, "no errors", 0.05),
        (profile, replace(errors, df=3.0), 0.05),
        (profile, replace(errors, draws=errors.draws[1:]), 0.05),
        (profile, errors, 0.01),
    ):
        before = len(calls)
        row(*changed)
        assert len(calls) == before + 1
