"""Invariances of the shape tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import Scores, fit_curves, localization_test, u_shape_test
from analysis.planning.simulate import simulate_scores

SEEDS = st.integers(0, 10_000)
few = settings(max_examples=8, derandomize=True)
WHERE = ["vertex", "vertex_low", "vertex_high", "fieller_low", "fieller_high"]


def study(seed: int, replicates: bool, **truth: object) -> Scores:
    return simulate_scores(  # type: ignore[arg-type]
        **{
            "families": (1, 1),
            "n_layers": (12, 20),
            "noise_sd": 0.02,
            "seed": seed,
            "n_replicates": 60 if replicates else 0,
            **truth,
        }
    )


def changed(scores: Scores, **columns: object) -> Scores:
    replicates = scores.replicates
    if replicates is not None:
        replicates = replicates.assign(**columns)  # type: ignore[arg-type]
    return replace(scores, table=scores.table.assign(**columns), replicates=replicates)  # type: ignore[arg-type]


@few
@given(SEEDS, st.booleans())
def test_order_of_rows_does_not_matter(seed: int, replicates: bool) -> None:
    scores = study(seed, replicates)
    order = np.random.default_rng(seed).permutation(len(scores.table))
    mixed = replace(scores, table=scores.table.iloc[order])
    if scores.replicates is not None:
        mixed = replace(mixed, replicates=scores.replicates.sample(frac=1, random_state=seed))
    pd.testing.assert_frame_equal(fit_curves(scores), fit_curves(mixed))
    pd.testing.assert_frame_equal(u_shape_test(scores), u_shape_test(mixed))
    pd.testing.assert_frame_equal(localization_test(scores), localization_test(mixed))


@few
@given(SEEDS, st.booleans(), st.sampled_from([1e-3, 0.5, 100.0]), st.sampled_from([-2.0, 0.0, 5.0]))
def test_units_of_the_score_do_not_matter(
    seed: int, replicates: bool, scale: float, shift: float
) -> None:
    scores = study(seed, replicates)
    other = changed(scores, score=lambda table: shift + scale * table["score"])
    one, two = fit_curves(scores), fit_curves(other)
    pd.testing.assert_frame_equal(one[[*WHERE, "verdict"]], two[[*WHERE, "verdict"]], rtol=1e-4)
    np.testing.assert_allclose(two["curvature"], scale * one["curvature"], rtol=1e-6)
    columns = ["p", "verdict", "breakpoint"]
    pd.testing.assert_frame_equal(
        u_shape_test(scores)[columns], u_shape_test(other)[columns], rtol=1e-4
    )


@few
@given(SEEDS, st.floats(0.2, 0.8))
def test_reversing_depth_mirrors_the_vertex(seed: int, vertex: float) -> None:
    scores = study(seed, True, vertex=vertex)
    mirrored = changed(
        scores,
        depth=lambda table: 1 - table["depth"],
        layer=lambda table: table["n_layers"] - table["layer"],
    )
    one, two = fit_curves(scores), fit_curves(mirrored)
    for here, there in (
        ("vertex", "vertex"),
        ("vertex_low", "vertex_high"),
        ("fieller_low", "fieller_high"),
        ("extremum", "extremum"),
    ):
        np.testing.assert_allclose(two[there], 1 - one[here], rtol=1e-6, atol=0.006)
    first, second = u_shape_test(scores), u_shape_test(mirrored)
    # A plateau levels off at its end; reversed, it is level at the beginning.
    plateau = (first["verdict"] == "plateau") | (second["verdict"] == "plateau")
    assert first["verdict"][~plateau].tolist() == second["verdict"][~plateau].tolist()
    np.testing.assert_allclose(second["breakpoint"], 1 - first["breakpoint"], atol=1e-6)
    np.testing.assert_allclose(second["p"], first["p"], rtol=1e-6)


@few
@given(SEEDS)
def test_duplicating_rows_does_not_narrow_an_interval_from_replicates(seed: int) -> None:
    scores = study(seed, True)
    again = pd.concat([scores.table, scores.table.assign(emotion="again")])
    doubled = replace(scores, table=again)
    pd.testing.assert_frame_equal(fit_curves(scores), fit_curves(doubled))
    pd.testing.assert_frame_equal(u_shape_test(scores), u_shape_test(doubled))


@few
@given(SEEDS, st.sampled_from(["hump", "trough", "saturating", "flat"]))
def test_mirrored_scores_with_the_other_direction_give_the_same_verdicts(
    seed: int, shape: str
) -> None:
    scores = study(seed, True, shape=shape)
    mirrored = replace(
        changed(scores, score=lambda table: -table["score"]), directions={"score": -1}
    )
    for test in (u_shape_test, localization_test, fit_curves):
        one, two = test(scores), test(mirrored)
        assert one["verdict"].tolist() == two["verdict"].tolist()
        pd.testing.assert_series_equal(one["p"], two["p"])
