"""The strength at which steering works, and the one at which text breaks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.over_models.permutation import flip_p
from analysis.trials.dose import crossing, dose_response, half_effect, largest_flip_p
from tests.planted_trials import make_trials


def test_dose_response_recovers_half_effect_and_break() -> None:
    found = dose_response(make_trials(effect=0.4), n_boot=200)
    assert np.allclose(found["half_effect"], 0.2, atol=0.03)
    assert np.allclose(found["breaks"], 0.6)
    assert (found["half_low"] <= found["half_effect"]).all()
    assert (found["half_effect"] <= found["half_high"]).all()
    assert found["verdict"].eq("works before it breaks").all()
    whole = dose_response(make_trials(effect=0.4, breaks=9), n_boot=200)
    assert whole["breaks"].isna().all()
    assert whole["verdict"].eq("works before it breaks").all()
    early = dose_response(make_trials(effect=0.4, breaks=0.05), n_boot=200)
    assert early["verdict"].eq("breaks before it works").all()
    assert np.isnan(half_effect(np.array([1.0, 2.0]), np.array([-0.1, -0.2])))
    assert np.isnan(crossing(np.array([1.0]), np.array([0.3]), 0.5))


def noise(seed: int, scenarios: int = 20) -> pd.DataFrame:
    """Make trials whose text stays whole, and whose gains are those of their shams, or noise."""
    rng = np.random.default_rng(seed)
    table = make_trials(effect=0.0, models=1, scenarios=scenarios, breaks=9).table
    gain = rng.choice([-0.2, 0.2], len(table)) * rng.uniform(0.5, 1, len(table))
    return table.assign(score_local=table["baseline_score_local"] + gain)


def test_dose_response_seldom_decides_without_an_effect() -> None:
    """80 tables without an effect; the intervals alone would decide half of them."""
    found = pd.concat([dose_response(noise(seed), n_boot=100) for seed in range(80)])
    assert found["verdict"].ne("undecided").mean() < 0.08
    assert found["verdict"][found["p"] >= 0.05].eq("undecided").all()
    reason = "an effect beyond the sham is not shown"
    assert found["reason"][found["p"] >= 0.05].eq(reason).all()


def test_a_break_that_may_come_first_is_undecided() -> None:
    # Fewer than half of the texts break, but their share may be one half where the effect may be.
    table = make_trials(effect=0.4, models=1).table
    at = table["strength"].rank(method="dense") * 2 + table["scenario"].str[1:].astype(int)
    broken = (table["kind"] == "steered") & (at % 10 < 4)
    found = dose_response(table.assign(distinct_2=np.where(broken, 0.1, 0.95))).iloc[0]
    assert found["p"] == 2 / 2**10
    assert np.isnan(found["breaks"])
    assert found["breaks_low"] < found["half_high"]
    assert (found["verdict"], found["reason"]) == ("undecided", "the intervals overlap")
    whole = dose_response(make_trials(effect=0.4, models=1, breaks=9), n_boot=200).iloc[0]
    assert whole["reason"] == "no break of text is shown up to strength 0.8"


def test_scenarios_that_lack_a_strength_count_at_the_others() -> None:
    table = make_trials(effect=0.4, models=1).table
    lacks = table["scenario"].isin(["s0", "s1"]) & table["strength"].isin([0.1, 0.8])
    few = table["strength"].eq(0.8) & table["scenario"].ne("s3")
    full = dose_response(table, n_boot=200).iloc[0]
    for kept in (table[~lacks], table[~few]):
        found = dose_response(kept, n_boot=200).iloc[0]
        numbers = ["half_effect", "half_low", "half_high", "effect", "p"]
        assert found[numbers].notna().all()
        assert np.isclose(found["half_effect"], full["half_effect"], atol=0.03)
        assert (found["p"], found["verdict"]) == (2 / 2**10, "works before it breaks")


def test_largest_flip_p_accounts_for_the_choice() -> None:
    rng = np.random.default_rng(3)
    one = rng.normal(0.3, 1, 12)
    assert largest_flip_p(one[:, None], rng) == flip_p(one, rng)
    p = [largest_flip_p(rng.normal(size=(8, 4)), rng) for _ in range(400)]
    assert np.mean(np.array(p) < 0.05) < 0.05
    least = [flip_p(x[:, x.mean(axis=0).argmax()], rng) for x in rng.normal(size=(400, 8, 4))]
    assert np.mean(np.array(least) < 0.05) > 0.06
    values = rng.normal(0.4, 1, (8, 3))
    columns = [flip_p(v, rng) if v.mean() > 0 else 1.0 for v in values.T]
    assert min(columns) <= largest_flip_p(values, rng) <= 3 * min(columns)
    # Of the four flips, only the one observed has a second column as large: twice 1/4.
    assert largest_flip_p(np.array([[np.nan, 1.0], [1.0, 1.0]]), rng) == 0.5
    # Random flips, with the same scale of each column or another.
    many = rng.normal(0.2, 1, (40, 3))
    found = [largest_flip_p(many * by, np.random.default_rng(0)) for by in (1.0, [1.0, 9.0, 0.1])]
    assert found[0] == found[1] >= 2 / 20_001
