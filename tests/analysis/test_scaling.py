"""The rows of a thousand models: the same numbers as row by row, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import InputError, Scores, fit_curves, load_scores, localization_test, u_shape_test
from analysis.loading.scores import PROFILE
from analysis.planning.simulate import combine, simulate_scores, write_study

#: Memory allowed per replicate for a thousand models with 24 million replicates.
BYTES = 4 * 2**30 / 24e6

MEMORY = """
import json, resource, sys
import analysis
peak = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
scores = analysis.load_scores(sys.argv[1])
loaded = peak()
for test in (analysis.fit_curves, analysis.u_shape_test, analysis.localization_test):
    test(scores)
print(json.dumps([len(scores.replicates), loaded - before, peak() - before]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study")
    write_study(path, n_models=55, n_emotions=3)
    return path


@pytest.fixture(scope="module")
def study(folder: Path) -> Scores:
    return load_scores(folder)


def test_memory_by_replicate_leaves_room_for_a_thousand_models(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(folder)], capture_output=True, text=True, check=True
    )
    rows, loaded, tested = json.loads(done.stdout)
    assert rows == 55 * 4 * 200 * 30
    assert loaded < BYTES * rows
    assert tested < BYTES * rows


def test_replicates_are_what_the_file_holds(folder: Path, study: Scores) -> None:
    assert study.replicates is not None
    assert study.replicates["model"].dtype == "category"
    plain = pd.read_parquet(folder / "replicates.parquet")[list(study.replicates)]
    for column in plain:
        np.testing.assert_array_equal(study.replicates[column].to_numpy(), plain[column].to_numpy())


@pytest.mark.parametrize("shuffled", [False, True])
def test_profiles_are_those_of_a_grouped_table(study: Scores, shuffled: bool) -> None:
    part = study.select(model=["m1", "m2", "m10"])
    assert part.replicates is not None
    if shuffled:
        part = replace(
            part,
            table=part.table.sample(frac=1, random_state=0),
            replicates=part.replicates.sample(frac=1, random_state=0),
        )
    profiles = list(part.profiles())
    expected = part.table.groupby(PROFILE, sort=True)
    assert [tuple(p.keys[k] for k in PROFILE) for p in profiles] == list(expected.groups)
    copies = part.replicates.groupby(PROFILE, sort=True, observed=True)
    for profile, (key, rows) in zip(profiles, expected, strict=True):
        sign = -1 if profile.keys["metric"] in ("cosine", "anisotropy") else 1
        mean = rows.groupby("layer")["score"].mean()
        np.testing.assert_array_equal(profile.layer, mean.index)
        np.testing.assert_allclose(profile.separation, sign * mean, rtol=1e-14)
        wide = copies.get_group(key).pivot(index="replicate", columns="layer", values="score")
        np.testing.assert_array_equal(profile.replicates, sign * wide.to_numpy(np.float64))


def test_a_missing_replicate_is_missing_and_others_layers_are_left_out() -> None:
    scores = simulate_scores(families=(1,), n_layers=(12, 12), n_replicates=30)
    assert scores.replicates is not None
    gap = (scores.replicates["layer"] == 4) & (scores.replicates["replicate"] == 7)
    less = replace(
        scores,
        table=scores.table[scores.table["layer"] > 0],
        replicates=scores.replicates[~gap],
    )
    (profile,) = less.profiles()
    assert profile.replicates is not None
    assert profile.replicates.shape == (30, 12)
    assert np.argwhere(np.isnan(profile.replicates)).tolist() == [[6, 3]]


def test_models_are_fitted_alike_alone_and_among_others(study: Scores) -> None:
    together = fit_curves(study).set_index(["model", "metric"])
    for model in ("m1", "m33"):
        alone = fit_curves(study.select(model=model)).set_index(["model", "metric"])
        pd.testing.assert_frame_equal(alone, together.loc[alone.index])


def test_many_models_are_located_where_they_were_put(study: Scores) -> None:
    found = localization_test(study)
    assert (found["verdict"] == "at target").all()
    assert found["estimate"].sub(0.5).abs().max() < 0.03
    assert found["n_models"].eq(55).all()
    over = u_shape_test(study).query("level == 'models'")
    assert (over["verdict"] == "hump").all()


def test_leaving_each_model_out_equals_doing_so() -> None:
    """Find the turn over models from the other models themselves instead of from sums."""
    from analysis.profiles.lines import EDGE
    from analysis.profiles.shape import _common_turns
    from analysis.profiles.splines import GRID

    curves = np.cumsum(np.random.default_rng(0).normal(size=(7, len(GRID))), axis=1)
    inner = (GRID >= EDGE) & (GRID <= 1 - EDGE)
    expected = []
    for i in range(len(curves)):
        rest = np.delete(curves, i, axis=0)
        mean, se = rest.mean(axis=0), rest.std(axis=0, ddof=1) / np.sqrt(len(rest))
        expected.append(np.median(GRID[inner & (mean + se >= mean[inner].max())]))
    np.testing.assert_allclose(_common_turns(GRID, curves, inner), expected)


def test_replicates_that_occur_twice_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("run.json", "scores.parquet"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    replicates = pd.read_parquet(folder / "replicates.parquet")
    last = replicates.iloc[[-1]].assign(score=0.5)
    pd.concat([replicates, last]).to_parquet(tmp_path / "replicates.parquet")
    with pytest.raises(InputError, match=r"duplicate layer in m55 .* anisotropy at layer 34"):
        load_scores(tmp_path)


def test_studies_put_together_keep_their_replicates(study: Scores) -> None:
    one, two = study.select(model="m1"), study.select(model="m2")
    both = combine(one, two)
    assert both.replicates is not None
    assert len(list(both.profiles())) == 8
    assert all(p.replicates is not None for p in both.profiles())
