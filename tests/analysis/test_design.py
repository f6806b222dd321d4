"""Power by simulation: reproducible, and right at the extremes."""

import joblib
import numpy as np
import pytest
from joblib.parallel import ThreadingBackend

from analysis.over_models.invariance import decide_invariance
from analysis.over_models.sums import vertex
from analysis.planning.design import Truth, design_power, draw_study, models_needed, plot_power
from analysis.planning.margins import reachable_margins
from study.read import InputError

QUIET = {"vertex": 0.01, "level": 0.01, "height": 0.005, "method": 0.005}


def test_large_effects_are_found_and_small_ones_are_not():
    settings = {"families": (4, 4, 4), "model_sd": QUIET, "n_sim": 5, "n_boot": 99}
    there = design_power(family_sd=0.2, method_effect=0.1, **settings).set_index("test")
    assert there.loc["invariance", "difference"] > 0.6
    moved = design_power(scale_change=0.4, **settings).set_index("test")
    assert moved.loc["scale", "difference"] > 0.6
    assert there.loc["method, paired over families", "difference"] == 1
    assert (there["truth"] == "difference").sum() == 8
    none = design_power(topic_sd=0.01, **settings).set_index("test")
    assert none.loc["invariance", "same"] > 0.6
    assert none.loc["scale", "same"] > 0.3
    assert none.loc["scale", "difference"] < 0.3
    assert none.loc["method, paired over families", "difference"] < 0.5
    assert np.allclose(none[["difference", "same", "undecided"]].sum(axis=1), 1)


def test_every_margin_and_the_estimator_of_the_peak_reach_the_simulation():
    settings = {"families": (4, 4, 4), "model_sd": QUIET, "n_sim": 5, "n_boot": 99}

    def same(test, **more):
        table = design_power(topic_sd=0.001, **settings, **more).set_index("test")
        return table.loc[test, "same"]

    assert same("invariance") > 0.6
    assert same("invariance", curve_delta=1e-6) == same("invariance", amplitude_delta=1e-6) == 0
    # At the end of the range, the vertex stays in place; the highest layer is the last, no peak.
    assert same("scale", vertex=1.0, peak="vertex") > 0.6
    assert same("scale", vertex=1.0) == 0


def test_small_designs_decide_nothing_about_families():
    table = design_power(n_sim=3, n_boot=39, families=(1, 1)).set_index("test")
    assert table.loc["invariance", "undecided"] == 1
    assert table.loc["scale", "undecided"] == 1
    assert table.loc["method, Mann-Whitney", "undecided"] == 1


def test_same_seed_same_table_for_any_number_of_jobs():
    first, again = (design_power(n_sim=4, n_boot=19, seed=4, n_jobs=n) for n in (None, 2))
    assert first.equals(again)
    assert not first.equals(design_power(n_sim=4, n_boot=19, seed=5))


class Counting(ThreadingBackend):
    """A cluster's backend is registered by name and set by the surrounding configuration."""

    taken = 0

    def submit(self, func, callback=None):
        Counting.taken += 1
        return super().submit(func, callback)


def test_a_backend_set_from_without_takes_the_studies():
    joblib.register_parallel_backend("counting", Counting)
    with joblib.parallel_config("counting", n_jobs=2):
        table = design_power(n_sim=4, n_boot=19, seed=4)
    assert Counting.taken > 0
    assert table.equals(design_power(n_sim=4, n_boot=19, seed=4))


def test_departure_is_from_the_mean_of_the_families():
    setting = Truth(departure=0.1, topic_sd=0.0, model_sd={}, families=(2, 3, 1))
    data = draw_study(setting, np.random.default_rng(0))[0]
    turn = vertex(data.coef[0])
    means = np.array([turn[data.group == g].mean() for g in range(3)])
    assert means[-1] - means.mean() == pytest.approx(0.1)


def test_more_topics_less_noise():
    spread = []
    for n_topics in (4, 400):
        setting = Truth(n_topics=n_topics, model_sd={}, families=(30,))
        data = draw_study(setting, np.random.default_rng(0))[0]
        spread.append(vertex(data.coef[0]).std())
    assert spread[0] > 5 * spread[1]


def test_models_needed_and_its_plot(tmp_path):
    table = models_needed((1, 4), n_families=3, n_sim=4, n_boot=39, family_sd=0.3, model_sd=QUIET)
    assert table["right"].tolist()[0] == 0
    assert table["needed"].tolist() == [4.0, 4.0]
    path = tmp_path / "power.png"
    plot_power(table).save(path, verbose=False)
    assert path.stat().st_size > 1000


def test_reachable_margins_are_those_that_studies_keep():
    setting = Truth(families=(3, 3, 3), topic_sd=0.02)
    table = reachable_margins(families=(3, 3, 3), topic_sd=0.02, n_sim=30, seed=5)
    margins = table.set_index("margin")["together"].to_dict()
    kept = 0
    for number in range(30):
        data = draw_study(setting, np.random.default_rng((5, number)))[0]
        row = decide_invariance(
            data, margins["delta"], 19, 0, 0.05, margins["curve_delta"], margins["amplitude_delta"]
        )
        kept += all(row[p] <= 0.05 for p in ("p_equivalence", "p_curve", "p_amplitude"))
    assert 23 <= kept <= 26  # four in five; the studies at a margin itself may go either way
    more = reachable_margins(families=(8, 8, 8), topic_sd=0.02, n_sim=30).set_index("margin")
    assert (more["together"] < 0.8 * table.set_index("margin")["together"]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reachable_margins(n_sim=0), "n_sim 0"),
        (lambda: reachable_margins(enough=1.5, n_sim=1), "enough 1.5: .* above 0, at most 1"),
        (lambda: reachable_margins(families=()), r"families \(\): .* each 1 or more"),
        (lambda: reachable_margins(sizes=3), "no design setting 'sizes'"),
        (lambda: reachable_margins(family_sd=0.1), "families that differ have no margin"),
        (lambda: design_power(n_sim=0), "n_sim 0"),
        (lambda: design_power(n_boot=0, n_sim=1), "n_boot 0: .* 1 or more"),
        (lambda: design_power(seed=-1, n_sim=1), "seed -1: .* 0 or more"),
        (lambda: design_power(delta=0, n_sim=1), "delta 0: .* above 0, at most 1"),
        (lambda: design_power(curve_delta=2, n_sim=1), "curve_delta 2: .* above 0, at most 1"),
        (lambda: design_power(peak="top", n_sim=1), "no estimator 'top' of the peak"),
        (lambda: design_power(alpha=2, n_sim=1), "alpha is 2; it must lie between 0 and 0.5"),
        (lambda: design_power(families=()), r"families \(\): .* each 1 or more"),
        (lambda: design_power(rho=1.5), "rho 1.5: give a number from -1 to 1"),
        (lambda: models_needed((2, 0)), r"per_family \(2, 0\): .* each 1 or more"),
        (lambda: models_needed((2,), n_families=1, n_sim=1), "n_families 1: .* 2 or more"),
        (lambda: models_needed((2,), enough=0, n_sim=1), "enough 0: .* above 0, at most 1"),
        (lambda: models_needed((2,), families=(2, 2)), "families: per_family and n_families"),
        (lambda: Truth(families=(2, 0)), r"families \(2, 0\): .* each 1 or more"),
        (lambda: Truth(families=3), "families 3: give a tuple"),
        (lambda: Truth(n_layers=(33, 12)), r"n_layers \(33, 12\): give the smallest"),
        (lambda: Truth(n_layers=(0, 12)), r"n_layers \(0, 12\): .* each 4 or more"),
        (lambda: Truth(n_topics=0), "n_topics 0: give a whole number, 1 or more"),
        (lambda: Truth(n_emotions=1.5), "n_emotions 1.5: give a whole number, 1 or more"),
        (lambda: Truth(topic_sd=-1), "topic_sd -1: give a number, 0 or more"),
        (lambda: Truth(vertex=float("nan")), "vertex nan: give a number"),
        (lambda: design_power(vertex=50, n_sim=1), "vertex 50: give a number from 0 to 1"),
        (lambda: Truth(family_sd=2), "family_sd 2: give a number from 0 to 1"),
        (lambda: Truth(departure=-3), "departure -3: give a number from -1 to 1"),
        (lambda: Truth(scale_change=4), "scale_change 4: give a number from -1 to 1"),
        (lambda: Truth(model_sd={"vertex": 2}), "'vertex'.* 2: give a number from 0 to 1"),
        (lambda: Truth(model_sd={"vertx": 0.1}), "model_sd .*; its keys are vertex, level"),
        (lambda: Truth(model_sd=0.1), "model_sd 0.1: give a mapping"),
        (lambda: Truth(model_sd={"level": -1}), r"model_sd\['level'\] -1: .* 0 or more"),
        (lambda: design_power(n_simulations=3), "no design setting 'n_simulations'"),
        (lambda: plot_power(design_power(n_sim=1, n_boot=19)), "no column 'per_family'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
