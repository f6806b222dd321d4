"""Every public test on data that break statistics: finite results, or a stated reason.

Numerical warnings are errors in the whole suite, so none is swallowed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis as A
from analysis.loading.scores import Scores
from analysis.over_models.scale import vertex_variance
from analysis.planning.simulate import combine, simulate_scores
from analysis.trials.table import Trials
from study import HOME

RUN = {
    "study": {
        "preregistered": {
            "metric": "score",
            "method": "comprehension",
            "target": 0.5,
            "delta": 0.1,
            "alpha": 0.05,
        }
    },
    "metrics": {"score": {}},
}


def study(**settings: Any) -> Scores:
    return simulate_scores(
        **{
            "families": (2, 2, 1),
            "n_layers": (6, 9),
            "n_replicates": 20,
            "seed": 1,
            "methods": ("comprehension", "generation"),
            **settings,
        }
    )


def each(scores: Scores, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Scores:
    """Change both tables in the same way."""
    draws = None if scores.replicates is None else change(scores.replicates)
    return replace(scores, table=change(scores.table), replicates=draws)


def scored(by: Callable[[pd.DataFrame], Any]) -> Scores:
    return each(study(), lambda table: table.assign(score=by(table)))


def family(table: pd.DataFrame) -> Any:
    return table["family"].astype("category").cat.codes.astype(float)


def first_layers(n: int) -> Scores:
    return each(
        study(),
        lambda t: t[t["layer"] < n].assign(
            n_layers=n - 1, depth=lambda x: x["layer"] / max(n - 1, 1)
        ),
    )


def of_one_and_of_200_layers() -> Scores:
    """The first model has only its embedding, the others 200 layers."""

    def cut(table: pd.DataFrame) -> pd.DataFrame:
        one = table["model"] == "m1"
        kept = table[~one | (table["layer"] == 0)]
        return kept.assign(n_layers=np.where(kept["model"] == "m1", 0, kept["n_layers"]))

    return each(study(families=(1, 1, 1), n_layers=(200, 200), methods=("comprehension",)), cut)


def sized(n_params: Callable[[pd.DataFrame], Any]) -> Scores:
    return each(study(families=(2, 2)), lambda table: table.assign(n_params=n_params(table)))


def with_replicates(by: Callable[[pd.DataFrame], Any]) -> Scores:
    scores = study()
    assert scores.replicates is not None
    return replace(scores, replicates=scores.replicates.assign(score=by(scores.replicates)))


CASES: dict[str, Callable[[], Scores]] = {
    "all tied": lambda: scored(lambda t: 0.7),
    "all zero": lambda: scored(lambda t: 0.0),
    "families separated": lambda: scored(family),
    "methods separated": lambda: scored(lambda t: (t["method"] == "generation") * 1.0),
    "methods separated, barely anything else": lambda: scored(
        lambda t: (t["method"] == "generation") + 1e-9 * t["score"]
    ),
    "straight": lambda: scored(lambda t: t["depth"]),
    "exactly quadratic": lambda: scored(lambda t: -((t["depth"] - 0.5) ** 2)),
    "exactly quadratic, families separated": lambda: scored(
        lambda t: t["depth"] * (1 - t["depth"]) + family(t)
    ),
    "many ties": lambda: scored(lambda t: t["score"].round(1)),
    "a step": lambda: scored(lambda t: (t["depth"] > 0.5) * 1.0),
    "a spike": lambda: scored(lambda t: (t["layer"] == 3) * 1e9),
    "scale 1e50": lambda: scored(lambda t: t["score"] * 1e50),
    "scale 1e-50": lambda: scored(lambda t: t["score"] * 1e-50),
    "an offset of 1e12": lambda: scored(lambda t: t["score"] + 1e12),
    "one family": lambda: study(families=(4,)),
    "one model": lambda: study(families=(1,)),
    "two models": lambda: study(families=(1, 1)),
    "one method": lambda: study(methods=("comprehension",)),
    "no replicates": lambda: study(n_replicates=0),
    "one replicate": lambda: study(n_replicates=1),
    "two replicates": lambda: study(n_replicates=2),
    "one layer": lambda: first_layers(1),
    "two layers": lambda: first_layers(2),
    "three layers": lambda: first_layers(3),
    "four layers": lambda: first_layers(4),
    "200 layers": lambda: study(n_layers=(200, 200), families=(1, 1), methods=("comprehension",)),
    "1 and 200 layers": of_one_and_of_200_layers,
    "one size": lambda: sized(lambda t: 1e9),
    "no sizes": lambda: sized(lambda t: np.nan),
    "size and family collinear": lambda: sized(lambda t: np.where(t["family"] == "A", 1e8, 1e9)),
    "replicates tied": lambda: with_replicates(lambda t: 0.5),
    "replicates far off": lambda: with_replicates(
        lambda t: np.where(t["replicate"] % 2, 1e50, -1e50)
    ),
}


def against_twins(scores: Scores) -> pd.DataFrame:
    twins = each(scores, lambda table: table.assign(weights="untrained"))
    return A.control_test(combine(scores, twins))


TESTS: dict[str, Callable[[Scores], pd.DataFrame]] = {
    "fit_curves": A.fit_curves,
    "u_shape_test": A.u_shape_test,
    "localization_test": A.localization_test,
    "localization_test, extremum": partial(A.localization_test, peak="extremum"),
    "invariance_test": partial(A.invariance_test, n_boot=19),
    "scale_test": A.scale_test,
    "family_departures": A.family_departures,
    "method_test": A.method_test,
    "control_test": against_twins,
    "claims_table": lambda s: A.claims_table(replace(s, run=RUN), n_boot=19),
}


def finite_or_explained(call: Callable[[], pd.DataFrame]) -> None:
    try:
        table = call()
    except A.InputError:  # the reason; its form is the guard's to check
        return
    assert len(table)
    numbers = table.select_dtypes("number")
    infinite = [c for c in numbers if np.isinf(numbers[c].to_numpy(dtype=np.float64)).any()]
    assert not infinite, table[infinite]
    if "verdict" not in table:
        return
    for p in (c for c in numbers if c == "p" or c.startswith("p_")):
        inside = numbers[p].dropna().between(0, 1)
        assert inside.all(), table[p]
    main = [c for c in ("estimate", "low", "high", "p", "p_boot", "p_perm") if c in table]
    empty = table[main].isna().all(axis=1)
    reasons = table["reason"].fillna("").str.strip() if "reason" in table else empty.map(str)
    assert (reasons[empty] != "").all(), table[empty]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("test", TESTS)
def test_scores(test: str, case: str) -> None:
    finite_or_explained(lambda: TESTS[test](CASES[case]()))


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_a_scale_whose_squares_are_no_numbers_is_refused_with_the_remedy(scale: float) -> None:
    table = study().table
    with pytest.raises(A.InputError, match="multiply them by a constant"):
        A.as_scores(table.assign(score=table["score"] * scale))


# -- trials -----------------------------------------------------------------------------------

DEMO = A.load_trials(HOME / "data" / "steering" / "demo").table

TRIALS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "all succeed": lambda t: t.assign(
        score_local=(t["kind"] == "steered") * 1.0, baseline_score_local=0.5
    ),
    "none succeeds": lambda t: t.assign(
        score_local=(t["kind"] == "sham") * 1.0, baseline_score_local=0.5
    ),
    "all tied": lambda t: t.assign(score_local=0.5, baseline_score_local=0.5),
    "success is the model": lambda t: t.assign(
        score_local=t["model"].astype("category").cat.codes * 1.0, baseline_score_local=0.5
    ),
    "no opinion": lambda t: t.assign(score_local=np.nan, baseline_score_local=np.nan),
    "one model": lambda t: t[t["model"] == t["model"].iloc[0]],
    "one strength": lambda t: t[t["strength"] == t["strength"].max()],
    "one scenario": lambda t: t[t["scenario"] == t["scenario"].iloc[0]],
    "one trial": lambda t: t[
        (t["scenario"] == t["scenario"].iloc[0])
        & (t["emotion"] == t["emotion"].iloc[0])
        & (t["strength"] == 0.2)
        & (t["place"] == "peak")
    ],
    "no text long enough": lambda t: t.assign(perplexity=np.nan, distinct_2=np.nan, n_tokens=1),
    "perplexity 1e300": lambda t: t.assign(perplexity=1e300, baseline_perplexity=1e-300),
    "perplexity 1e-300": lambda t: t.assign(perplexity=1e-300, baseline_perplexity=1e300),
    "scores 1e300": lambda t: t.assign(score_local=t["score_local"] * 1e300),
    "all in another script": lambda t: t.assign(share_foreign_script=1.0),
}


@pytest.mark.parametrize("case", TRIALS)
@pytest.mark.parametrize("test", [A.steering_summary, A.dose_response, A.regime_test])
def test_trials(test: Callable[[Trials], pd.DataFrame], case: str) -> None:
    finite_or_explained(lambda: test(A.as_trials(TRIALS[case](DEMO))))


# -- plain tests of the findings --------------------------------------------------------------


def test_a_straight_profile_s_vertex_has_no_finite_variance() -> None:
    depth = np.linspace(0, 1, 7)
    assert vertex_variance(np.array([0.1, 0.0, 0.0]), depth, np.eye(7)) == np.inf
    assert A.scale_test(scored(lambda t: 0.0))["verdict"].item() == "undecided"


def test_replicates_that_only_shift_as_a_whole_do_not_vary_in_shape() -> None:
    table = A.fit_curves(CASES["replicates far off"]())
    assert set(table["reason"]) == {"the replicates do not vary"}


def test_claims_are_judged_where_no_profile_has_a_curve() -> None:
    claims = A.claims_table(replace(first_layers(2), run=RUN), n_boot=19)
    assert set(claims["verdict"]) <= {"undecided", "not testable"}
    assert (claims["reason"].str.len() > 0).all()
