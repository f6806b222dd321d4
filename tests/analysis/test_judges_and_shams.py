"""What counts as a success in steering: whole texts, beyond the sham, by two judges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.proportion import proportion_confint

from analysis.claims.steering import by_two_judges, share_opinion, steering
from analysis.claims.table import claims_table
from analysis.planning.simulate import simulate_scores
from analysis.trials.agreement import judge_agreement, partial_conjunction
from analysis.trials.regimes import regime_table
from analysis.trials.shares import upper_end, weighted_mean_of
from analysis.trials.success import at_chosen_strength, beside_published, steering_summary
from analysis.trials.table import TRIAL, Trials, as_trials, outcomes
from study.read import InputError
from tests.planted_trials import make_trials


def test_only_whole_texts_count_unless_asked() -> None:
    trials = make_trials(models=1, effect=0.3)
    whole = steering_summary(trials, by=("strength",)).set_index("strength")
    either = steering_summary(trials, by=("strength",), whole=False).set_index("strength")
    assert whole.loc[0.8, "estimate"] == 0
    assert whole.loc[0.8, "over_baseline"] == pytest.approx(either.loc[0.8, "estimate"])
    assert either.loc[0.8, "estimate"] > 0.9
    assert whole.loc[0.4, "estimate"] == either.loc[0.4, "estimate"]
    assert either["verdict"].eq("beyond sham").all()
    assert whole.loc[0.8, "verdict"] == "not beyond sham"  # its shams are whole


def none_works(scenarios: int, models: int = 1) -> pd.DataFrame:
    """Return trials at one strength of which no text and no sham exceeds its baseline."""
    table = make_trials(models=models, families=models, scenarios=scenarios).table
    table = table[table["strength"] == 0.2]
    return table.assign(score_local=table["baseline_score_local"] - 0.1)


def test_no_success_at_all_is_no_proof_until_scenarios_are_many() -> None:
    few = steering_summary(none_works(6)).iloc[0]
    assert few["verdict"] == "undecided"
    assert few["reason"].endswith("the scenarios do not differ, which leaves no error to judge by")
    assert np.isnan(few["difference_low"])
    assert np.isnan(few["difference_high"])
    # Were a tenth of the scenarios to work, 30 would all fail in 0.9^30 = 4% of the studies.
    assert steering_summary(none_works(30)).iloc[0]["verdict"] == "not beyond sham"
    # Three families say nothing of others if they do not differ; these models are another matter.
    three = none_works(30, models=3)
    pooled = steering_summary(three, by=()).iloc[0]
    assert pooled["verdict"] == "undecided"
    assert "the families do not differ" in pooled["reason"]
    fixed = steering_summary(three, by=(), scope="these models").iloc[0]
    assert fixed["verdict"] == "not beyond sham"


@pytest.mark.parametrize("scenarios", [2, 3])
def test_a_third_of_successes_is_not_said_to_be_none(scenarios: int) -> None:
    rng = np.random.default_rng(scenarios)
    table = none_works(scenarios)
    table = table[table["emotion"] == "sad"]
    steered, said = table["kind"] == "steered", []
    for _ in range(20):
        works = steered & (rng.random(len(table)) < 0.3)
        score = table["score_local"].where(~works, 1.0)
        said.append(steering_summary(table.assign(score_local=score))["verdict"].iloc[0])
    assert said.count("not beyond sham") <= 1


def test_the_upper_end_is_wilsons_where_successes_are_rare() -> None:
    # One success among 60 texts of 20 scenarios: Student's end alone is below a margin of 0.05.
    value, weight = np.zeros(60), np.full(60, 1 / 60)
    value[0] = 1.0
    mean = weighted_mean_of(value.reshape(20, 3).mean(axis=1), np.full(20, 1 / 20))
    level = 2 * stats.norm.sf(stats.t.isf(0.05, 19))
    wilson = proportion_confint(1, 60, level, method="wilson")[1]
    assert mean.ends(0.1)[1] < 0.05 < wilson
    assert upper_end(value, weight, [mean], 0.05) == pytest.approx(wilson, rel=0.03)
    # Scenarios that succeed or fail as a whole count as one text each.
    value[:3] = 1.0
    mean = weighted_mean_of(value.reshape(20, 3).mean(axis=1), np.full(20, 1 / 20))
    wilson = proportion_confint(1, 20, level, method="wilson")[1]
    assert upper_end(value, weight, [mean], 0.05) == pytest.approx(wilson, rel=0.03)


def test_the_strength_is_chosen_for_whole_success() -> None:
    # Where text breaks, success is as common, and its margin over the shams is the largest: only
    # there and, with a smaller margin, at 0.4 do shams lose.
    table = make_trials(models=1, effect=0.3, sham=0.3).table
    for strength, scenarios in ((0.4, ["s0", "s1", "s2", "s3", "s4"]), (0.8, None)):
        lost = (table["kind"] == "sham") & (table["strength"] == strength)
        lost &= True if scenarios is None else table["scenario"].isin(scenarios)
        table["score_local"] = table["score_local"].mask(lost, -1.0)
    found = outcomes(table)
    assert set(at_chosen_strength(found, whole=False)["strength"]) == {0.8}
    chosen = at_chosen_strength(found)
    assert set(chosen["strength"]) == {0.4}
    assert len(chosen) == 30
    assert beside_published(table)["estimate"].iloc[1] > 0.9


def test_the_matched_sham_decides_and_the_isotropic_one_stands_beside() -> None:
    trials = make_trials(effect=0.3, sham=-0.3, matched=0.3, sweep_effect=0.0, breaks=9)
    found = outcomes(trials)
    peak = found[found["place"] == "peak"]
    assert peak["sham_kind"].eq("matched sham").all()
    assert found.loc[found["place"] == "sweep", "sham_kind"].eq("sham").all()
    matched = trials.table[trials.table["kind"] == "matched sham"].set_index([*TRIAL])
    gain = matched["score_local"] - matched["baseline_score_local"]
    assert np.allclose(
        peak.set_index([*TRIAL])["sham_gain"], gain.loc[pd.MultiIndex.from_frame(peak[TRIAL])]
    )
    row = steering_summary(trials).iloc[0]
    assert row["verdict"] == "not beyond sham"
    assert row["sham_kind"] == "matched sham"
    assert row["isotropic"] < 0.3 < 0.8 < row["sham"]
    kinds = regime_table(trials).groupby("kind")["n"].sum()
    assert kinds.to_dict() == {"steered": 240, "sham": 240, "matched sham": 240}
    assert steering_summary(make_trials()).iloc[0]["sham_kind"] == "sham"
    unpaired = trials.table[(trials.table["kind"] != "steered") | (trials.table["place"] != "peak")]
    with pytest.raises(InputError, match="has no row of kind 'steered'"):
        as_trials(unpaired)


def test_judges_that_agree_and_one_that_does_not() -> None:
    trials = make_trials(effect=0.02, breaks=9)
    same = judge_agreement(trials).iloc[0]
    assert same["agreement"] == 1
    assert same["kappa"] == 1
    assert same["n"] == 320
    noise = np.random.default_rng(1).normal(size=len(trials.table))
    other = trials.table.assign(score_other=noise, baseline_score_other=0.0)
    assert abs(judge_agreement(other)["kappa"].iloc[0]) < 0.15


def test_kappa_equals_sklearns_and_the_textbooks() -> None:
    rng = np.random.default_rng(3)
    table = make_trials(effect=0.02).table
    table["score_other"] += rng.normal(0, 0.05, len(table))
    found = judge_agreement(table).iloc[0]
    kept = table[table["score_other"].notna() & (table["distinct_2"] >= 0.5)]
    mine, others = (
        kept[f"score_{judge}"] > kept[f"baseline_score_{judge}"] for judge in ("local", "other")
    )
    assert found["n"] == len(kept) == 280
    assert found["kappa"] == pytest.approx(cohen_kappa_score(mine, others), abs=1e-12)
    # Fleiss, Levin, Paik (2003), Statistical methods for rates and proportions, chapter 18: 2 x 2
    # tables have SE(kappa) from three terms.
    p = pd.crosstab(mine, others).to_numpy() / len(kept)
    row, column, kappa = p.sum(axis=1), p.sum(axis=0), found["kappa"]
    chance = row @ column
    a = sum(p[i, i] * (1 - (row[i] + column[i]) * (1 - kappa)) ** 2 for i in (0, 1))
    b = (1 - kappa) ** 2 * sum(p[i, 1 - i] * (column[i] + row[1 - i]) ** 2 for i in (0, 1))
    c = (kappa - chance * (1 - kappa)) ** 2
    se = np.sqrt(a + b - c) / ((1 - chance) * np.sqrt(len(kept)))
    assert found["high"] - kappa == pytest.approx(stats.norm.isf(0.025) * se)


def test_no_partial_conjunction_from_one_true_hypothesis() -> None:
    """2,000 draws with one of three hypotheses true: two are "shown" in at most 5%."""
    rng = np.random.default_rng(8)
    p = rng.random((2000, 3))
    p[:, 0] = 1e-6
    assert np.mean([partial_conjunction(row) < 0.05 for row in p]) < 0.06
    p[:, 1] = 1e-6
    assert np.mean([partial_conjunction(row) < 0.05 for row in p]) == 1


def claims(trials: Trials) -> pd.DataFrame:
    rules = {"target": 0.5, "delta": 0.1, "alpha": 0.05}
    study = replace(
        simulate_scores(families=(1, 1), seed=1), run={"study": {"preregistered": rules}}
    )
    return claims_table(study, trials, n_boot=19).set_index("key")


def test_claims_about_steering_follow_the_truth() -> None:
    works = claims(make_trials(effect=0.6, scenarios=14, models=6, families=6))
    few = claims(make_trials(effect=0.6, scenarios=14))
    assert few.loc["steering", "verdict"] == "undecided"
    assert works.loc["steering", "verdict"] == "supported"
    # Without any effect, half of the texts exceed their baselines.
    nothing = claims(make_trials(effect=0.0, scenarios=14, models=6, families=6))
    assert nothing.loc["steering", "verdict"] == "contradicted"
    assert works.loc["regime-cause", "verdict"] == "not testable"
    two = few.loc["regimes"]
    assert two["verdict"] == "undecided"
    assert "two families; at least three are needed" in two["reason"]
    # All texts collapse or work; none explodes.
    trials = make_trials(effect=0.6, scenarios=14, models=9, families=9)
    assert claims(trials).loc["regimes", "verdict"] == "contradicted"
    odd = (trials.table["strength"] == 0.4) & (trials.table["kind"] == "steered")
    three = trials.table.assign(perplexity=trials.table["perplexity"].where(~odd, 900.0))
    assert claims(Trials(three)).loc["regimes", "verdict"] == "supported"


def test_one_judge_alone_decides_nothing() -> None:
    """Of 20 studies that one judge supports and another does not, none is supported."""
    rng = np.random.default_rng(2)
    table = make_trials(effect=0.6, scenarios=8, models=5, families=5, breaks=9).table
    shared = table["score_local"] - table["baseline_score_local"]
    first = share_opinion(table, "local", 0.05, 0)
    assert first.word(0.05) == "supported"
    verdicts = []
    for _ in range(20):
        noise = rng.normal(0, 0.1, len(table))
        torn = table.assign(score_other=noise, baseline_score_other=0.0)
        opinions = {"local": first, "other": share_opinion(torn, "other", 0.05, 0)}
        row = by_two_judges(torn, 0.05, opinions.__getitem__)
        verdicts.append(row["verdict"])
        assert "supported by judge local alone" in row["reason"]
    assert set(verdicts) == {"undecided"}
    alone = steering(table.drop(columns=["score_other", "baseline_score_other"]), 0.05, 0)
    assert alone["verdict"] == "undecided"
    assert alone["reason"].endswith("supported by judge local alone")
    # A third judge who sees what the first does decides.
    three = torn.assign(score_own=shared, baseline_score_own=0.0)
    row = steering(three, 0.05, 0)
    assert row["verdict"] == "supported"
    assert "judge other (κ = " in row["reason"]
    # One who knows none of the emotions has no say.
    mute = table.assign(score_other=np.nan, baseline_score_other=np.nan)
    assert steering(mute, 0.05, 0)["verdict"] == "undecided"


def test_judges_who_say_the_opposite_are_named() -> None:
    """The first judge sees a third succeed, the second and third all do."""
    table = make_trials(models=3, families=3, scenarios=12).table
    table = table[table["strength"] == 0.4].drop(columns=["score_other", "baseline_score_other"])
    steered, base = table["kind"] == "steered", table["baseline_score_local"]
    half = steered & (np.random.default_rng(0).random(len(table)) < 0.3)
    table["score_local"] = base + np.where(half, 0.3, -0.3)
    for judge in ("second", "third"):
        table[f"baseline_score_{judge}"] = base
        table[f"score_{judge}"] = base + np.where(steered, 0.3, -0.3)
    row = steering(table, 0.05, 0)
    assert row["verdict"] == "supported"
    assert row["estimate"] == 1  # a judge's who supports it
    assert row["reason"].startswith("by judge second, 100% of texts are whole and above")
    assert "; judge local (κ = " in row["reason"]
    assert "; judge third (κ = 1.00): 100%" in row["reason"]
    assert row["reason"].endswith("; contradicted by judge local alone")
    # Two against two decide nothing, whichever p is the smaller.
    fourth = table.assign(score_fourth=table["score_local"], baseline_score_fourth=base)
    row = steering(fourth, 0.05, 0)
    assert (row["verdict"], row["p"] < 0.05) == ("undecided", True)
    assert row["estimate"] < 0.6
    assert (
        "; supported by judge second and third; contradicted by judge local and fourth"
        in (row["reason"])
    )
