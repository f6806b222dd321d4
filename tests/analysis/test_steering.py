"""Steering statistics against scipy and statsmodels, on planted trials of known truth."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotnine as p9
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from analysis import say
from analysis.claims.steering import share_opinion
from analysis.families import mean_of
from analysis.figures import steering as figures
from analysis.planning.simulate import simulate_scores
from analysis.scopes import LIKE_THESE, THESE, Scope
from analysis.trials.regimes import explained, regime_table, regime_test
from analysis.trials.shares import share, share_of, weighted_mean_of
from analysis.trials.success import (
    beside_published,
    depth_test,
    steering_summary,
)
from analysis.trials.table import (
    COLUMNS,
    REGIMES,
    Trials,
    as_trials,
    example_texts,
    load_trials,
    outcomes,
)
from study.read import InputError
from tests.planted_trials import make_trials


def planted(**columns: object) -> pd.DataFrame:
    """Make one trial with its sham, fluent and on target except for the given columns."""
    table = make_trials(models=1, scenarios=1).table
    table = table[(table["emotion"] == "happy") & (table["strength"] == 0.2)].copy()
    table["baseline_score_local"], table["score_local"] = 0.2, 0.2
    for column, value in {"score_local": 0.9, **columns}.items():
        table.loc[table["kind"] == "steered", column] = value
    return table


@pytest.mark.parametrize(
    ("columns", "regime"),
    [
        ({}, "surgical"),
        ({"score_local": 0.1}, "inert"),
        ({"distinct_2": 0.2}, "repetitive collapse"),
        ({"distinct_2": 0.2, "perplexity": 2.0}, "repetitive collapse"),
        ({"distinct_2": 0.2, "perplexity": 500.0}, "repetitive collapse"),
        ({"perplexity": 41.0}, "explosive"),
        ({"perplexity": 40.0}, "surgical"),
        ({"share_foreign_script": 0.9}, "inert"),
        ({"share_foreign_script": 0.9, "perplexity": 90.0}, "explosive"),
        ({"n_tokens": 0, "distinct_2": np.nan, "perplexity": np.nan}, "inert"),
        ({"n_tokens": 1, "distinct_2": np.nan}, "surgical"),
    ],
)
def test_regimes_by_rule(columns: dict[str, object], regime: str) -> None:
    found = outcomes(planted(**columns))
    assert found["regime"].tolist() == [regime]
    assert found["success"].tolist() == [
        regime != "inert" and columns.get("share_foreign_script", 0) == 0
    ]


def test_the_study_sets_the_bounds() -> None:
    run = {"study": {"preregistered": {"distinct_2": 0.1, "perplexity_ratio": 1.5}}}
    strict = Trials(planted(distinct_2=0.2, perplexity=16.0), run)
    assert outcomes(strict)["regime"].tolist() == ["explosive"]


def test_a_sham_that_does_as_much_is_no_success() -> None:
    table = planted()
    table.loc[table["kind"] == "sham", "score_local"] = 0.95
    found = outcomes(table).iloc[0]
    assert found["over_baseline"]
    assert not found["success"]
    assert found["regime"] == "inert"
    assert found["sham_regime"] == "surgical"


def test_intervals_equal_statsmodels_and_beta_quantiles() -> None:
    for k, n in ((37, 40), (0, 12), (12, 12), (3, 7)):
        found = share(k, n)
        wilson = proportion_confint(k, n, 0.05, method="wilson")
        assert np.allclose([found["low"], found["high"]], wilson, atol=1e-12)
        low = stats.beta.ppf(0.025, k, n - k + 1) if k else 0.0
        high = stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
        assert np.allclose([found["low_exact"], found["high_exact"]], [low, high])


def test_summary_finds_a_planted_effect_and_only_it() -> None:
    three: dict[str, Any] = {"models": 3, "families": 3, "breaks": 9.0}
    works = steering_summary(make_trials(**three), by=()).iloc[0]
    assert works["verdict"] == "beyond sham"
    assert works["estimate"] > 0.9
    assert works["p"] >= 2 / 2**10
    assert (works["n"], works["n_models"], works["n_families"]) == (360, 3, 3)
    alone = steering_summary(make_trials(breaks=9)).iloc[0]
    assert (alone["verdict"], alone["p"], alone["n_models"]) == ("beyond sham", 2 / 2**10, 1)
    two = steering_summary(make_trials(models=4), by=()).iloc[0]
    assert two["verdict"] == "undecided"
    assert "two families; at least three are needed" in two["reason"]
    same = steering_summary(make_trials(effect=0.3, sham=0.3, **three), by=()).iloc[0]
    assert same["verdict"] == "not beyond sham"
    assert same["estimate"] > 0.9
    worse = steering_summary(make_trials(effect=-0.3, **three), by=()).iloc[0]
    assert worse["verdict"] == "not beyond sham"
    few = steering_summary(make_trials(scenarios=4, **three), by=()).iloc[0]
    assert few["verdict"] == "undecided"
    assert "few scenarios" in few["reason"]


def test_shares_equal_clubsandwich_and_prop_test() -> None:
    # R: lm(hit ~ 1, weights = w), vcovCR(type = "CR2"); prop.test() at 2 * pnorm(qt(0.975, 4)) - 1
    case = json.loads((Path(__file__).parents[1] / "reference" / "families.json").read_text())
    case = case["shares"]
    rows = pd.DataFrame({key: case[key] for key in ("scenario", "model", "family")})
    found = share_of(pd.Series(case["hit"]), rows)
    scenarios, families = found.over
    assert np.allclose([found.estimate, families.estimate], case["estimate"])
    assert np.allclose([families.se, families.df], [case["se"], case["df"]])
    assert np.allclose(scenarios.se, case["scenario_se"])
    # Families that agree leave the binomial error.
    alone = replace(found, over=tuple(replace(each, se=0.0) for each in found.over))
    assert np.allclose(alone.ends(0.05), case["wilson"])
    assert (found.n_models, found.n_families) == (9, 5)


@pytest.mark.parametrize("shared", [0.0, 0.15])
def test_shares_cover_whatever_families_share(shared: float) -> None:
    """300 studies of nine models of five families; texts alone cover in half of them."""
    rng = np.random.default_rng(4)
    family = np.repeat(np.arange(5), (2, 2, 2, 2, 1))
    model, scenario = (part.ravel() for part in np.indices((9, 20)))
    rows = pd.DataFrame({"model": model, "scenario": scenario, "family": family[model]})
    inside, alone = [], []
    for _ in range(300):
        truth = np.clip(0.4 + shared * rng.standard_normal(5), 0.02, 0.98)[family[model]]
        hits = pd.Series(rng.random(model.size) < truth)
        low, high = share_of(hits, rows).ends(0.05)
        inside.append(low <= 0.4 <= high)
        texts = share(int(hits.sum()), hits.size)
        alone.append(texts["low"] <= 0.4 <= texts["high"])
    assert np.mean(inside) > 0.92
    assert (np.mean(alone) < 0.8) == (shared > 0)


def test_rows_that_pool_models_rest_on_families() -> None:
    table = steering_summary(make_trials(models=5, families=4, effect=0.1, seed=2), by=())
    row = table.iloc[0]
    assert (row["n_models"], row["n_families"]) == (5, 4)
    assert row["high"] - row["low"] > 2 * (share(*map(int, (row["n"] / 2, row["n"])))["high"] - 0.5)
    assert np.isnan(row["low_exact"])
    assert row["surgical_low"] <= row["surgical"] <= row["surgical_high"]
    two = steering_summary(make_trials(models=4), by=()).iloc[0]
    assert np.isnan(two["low"])
    one = steering_summary(make_trials(models=1)).iloc[0]
    wilson = share(round(one["estimate"] * one["n"]), int(one["n"]))
    assert one["low"] == wilson["low"]


def test_mcnemar_equals_the_binomial() -> None:
    trials = make_trials(effect=0.05, sham=0.02, seed=3)
    row = steering_summary(trials, by=()).iloc[0]
    table = outcomes(trials)
    only = int((table["whole_success"] & ~table["sham_whole_success"]).sum())
    other = int((table["sham_whole_success"] & ~table["whole_success"]).sum())
    assert row["p_mcnemar"] == pytest.approx(stats.binomtest(only, only + other).pvalue)


def test_size_under_a_null_with_scenarios_that_share_their_luck() -> None:
    """If the trials of a scenario move together, McNemar rejects too often and p does not."""
    rng = np.random.default_rng(5)
    template = make_trials(effect=0.0, models=1)
    table = template.table
    calibrated = naive = 0
    n = 150
    for _ in range(n):
        luck = {
            (s, k): rng.normal(0, 0.2)
            for s in table["scenario"].unique()
            for k in ("steered", "sham")
        }
        shift = [luck[key] for key in zip(table["scenario"], table["kind"], strict=True)]
        score = table["baseline_score_local"] + shift + rng.normal(0, 0.05, len(table))
        row = steering_summary(Trials(table.assign(score_local=score)), by=()).iloc[0]
        calibrated += row["p"] < 0.05
        naive += row["p_mcnemar"] < 0.05
    assert calibrated / n < 0.10
    assert naive / n > 0.30


def uneven(texts: dict[str, dict[str, int]], works: dict[str, bool]) -> pd.DataFrame:
    """Make models, each of a family, with a number of texts per scenario; a model works or not."""
    table = planted()
    parts = []
    for model, counts in texts.items():
        cells = [(name, seed) for name, n in counts.items() for seed in range(n)]
        for name, seed in cells:
            row = table.assign(model=model, family=model, scenario=name, seed=seed)
            good = row["kind"] == ("steered" if works[model] else "sham")
            parts.append(row.assign(score_local=np.where(good, 0.9, 0.1)))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("scope", [THESE, LIKE_THESE])
@pytest.mark.parametrize("names", ["ab", "abc"])
def test_the_difference_weights_models_as_the_shares_do(scope: Scope, names: str) -> None:
    # One model has ten times the texts of the others, and steering works in it alone.
    places = [f"s{i}" for i in range(8)]
    texts = {m: dict.fromkeys(places, 10 if m == "a" else 1) for m in names}
    trials = uneven(texts, {m: m == "a" for m in names})
    row = steering_summary(trials, by=(), scope=scope).iloc[0]
    assert row["difference"] == pytest.approx(row["estimate"] - row["sham"])
    assert row["difference"] == pytest.approx(2 / len(names) - 1)
    # No scenario differs from another, so there is no error and no interval.
    assert row[["difference_low", "difference_high"]].isna().all()
    assert row["verdict"] != "beyond sham"
    if (scope, names) == (THESE, "abc"):
        assert (row["verdict"], row["p"]) == ("not beyond sham", 2 / 2**8)
    # Any of the texts of the claim, too: the share is below the published one, and the shams.
    opinion = share_opinion(trials, "local", 0.05, 0, scope=scope)
    assert opinion.row["estimate"] == pytest.approx(1 / len(names))
    assert opinion.p_for == 1
    assert (opinion.p_against == 2 / 2**8) == (scope == THESE or names == "ab")


def test_scenarios_weigh_as_much_as_their_texts() -> None:
    counts = {f"s{i}": 1 + i for i in range(8)}
    works, fails = uneven({"m": counts}, {"m": True}), uneven({"m": counts}, {"m": False})
    some = works["scenario"].isin(["s6", "s7"])
    row = steering_summary(pd.concat([works[~some], fails[some]])).iloc[0]
    assert row["difference"] == pytest.approx(row["estimate"] - row["sham"])
    assert row["difference"] == pytest.approx((21 - 15) / 36)
    assert row["difference_low"] < row["difference"] < row["difference_high"]


def test_scenarios_count_in_a_share_as_their_texts_do() -> None:
    # One model; the scenarios have 2, 1 and 1 texts, of which 2, 1 and none succeed.
    rows = pd.DataFrame({"scenario": list("aabc"), "model": "m", "family": "f"})
    found = share_of(pd.Series([1, 1, 1, 0]), rows)
    (scenarios,) = found.over
    assert scenarios.estimate == found.estimate == 0.75
    # Weights 1/2, 1/4, 1/4 (sum of squares 3/8), deviations 1/4, 1/4, -3/4.
    squared = (1 / 8) ** 2 / (3 / 8) + (1 / 16) ** 2 / (7 / 8) + (3 / 16) ** 2 / (7 / 8)
    assert scenarios.se == pytest.approx(np.sqrt(squared))
    assert scenarios.df == pytest.approx(8 / 3 - 1)
    # Two even scenarios leave one degree of freedom, however their weights are rounded.
    for n in range(1, 50):
        even = pd.DataFrame({"scenario": list("ab") * n, "model": "m", "family": "f"})
        assert np.isfinite(share_of(pd.Series([1, 0] * n), even).p_above(0.1))


def test_weighted_means_cover() -> None:
    """2000 means of eight scenarios with 1 to 8 texts that share their scenario's luck."""
    rng = np.random.default_rng(6)
    weight = np.arange(1.0, 9.0) / 36
    inside = []
    for _ in range(2000):
        mean = weighted_mean_of(rng.normal(size=8), weight)
        low, high = mean.ends(0.05)
        inside.append(low <= 0 <= high)
    assert 0.925 < np.mean(inside) < 0.97
    values = rng.normal(size=8)
    even = weighted_mean_of(values, np.full(8, 1 / 8))
    assert np.allclose([even.ends(0.05)], [mean_of(values).ends(0.05)])


def test_summary_by_columns_and_judges() -> None:
    trials = make_trials()
    by = steering_summary(trials, by=("model", "strength"))
    assert len(by) == 8
    assert by["n"].eq(30).all()
    assert steering_summary(trials, by=(), judge="other")["n"].tolist() == [160]
    with pytest.raises(InputError, match="no judge 'x'"):
        steering_summary(trials, judge="x")
    with pytest.raises(InputError, match="no column 'color'"):
        steering_summary(trials, by=("color",))
    with pytest.raises(InputError, match="place 'sweep'"):
        steering_summary(trials, place="sweep")


def test_depth_test_tells_the_peak_from_elsewhere() -> None:
    best = depth_test(make_trials(effect=0.4, sweep_effect=0.0))
    assert best["verdict"].eq("best at peak").all()
    assert best["best"].eq(0.5).all()
    # At the sweep's strength the sham at the peak has no effect either, so only the sign changes.
    other = depth_test(make_trials(effect=0.0, sweep_effect=0.6))
    assert other["verdict"].eq("better elsewhere").all()
    with pytest.raises(InputError, match="no sweep"):
        depth_test(make_trials())


def test_depths_are_compared_where_a_scenario_has_all_of_them() -> None:
    trials = make_trials(effect=0.4, sweep_effect=0.0, models=1)
    table = trials.table.copy()
    for scenario, layer in (("s3", 5), ("s7", 9)):
        silent = (table["scenario"] == scenario) & (table["layer"] == layer)
        table.loc[silent, "score_local"] = np.nan
    row = depth_test(table).iloc[0]
    without = depth_test(table[~table["scenario"].isin(["s3", "s7"])]).iloc[0]
    shown = ["best", "estimate", "low", "high", "p", "n_scenarios", "verdict"]
    assert row[shown].to_dict() == without[shown].to_dict()
    assert (row["n_scenarios"], row["verdict"]) == (8, "best at peak")
    assert row["reason"].endswith("in the 8 of 10 scenarios with all depths")
    table.loc[(table["layer"] == 9), "score_local"] = np.nan
    table.loc[(table["layer"] == 9) & (table["scenario"] == "s3"), "score_local"] = 0.5
    none = depth_test(table).iloc[0]
    assert (none["verdict"], none["n_scenarios"]) == ("undecided", 0)
    assert none["reason"] == "no scenario has a judged text at every depth"
    table.loc[table["place"] == "peak", "score_local"] = np.nan
    silent = depth_test(table)
    assert silent["reason"].tolist() == ["no judged text at the peak"]
    assert "is undecided (no judged text at the peak)" in say(silent)[0]


def test_depth_test_correlates_with_separation() -> None:
    scores = simulate_scores(families=(1,), n_layers=(10, 10), shape="hump", seed=1)
    trials = make_trials(effect=0.4, sweep_effect=0.0, models=1)
    named = replace(trials, table=trials.table.assign(model=scores.table["model"].iloc[0]))
    # The peak is first on both; which of the two other layers is second is noise.
    assert depth_test(named, scores)["spearman"].iloc[0] in (0.5, 1.0)


def test_regimes_follow_family_or_scale_as_planted() -> None:
    rng = np.random.default_rng(0)
    family = np.repeat([0, 1, 2], 4)
    size = rng.normal(size=12)
    dummies, one = np.eye(3)[family], np.ones((12, 1))
    y = np.column_stack([family == 0, family == 1]) + rng.normal(0, 0.05, (12, 2))
    by_family = explained(y, dummies, np.column_stack([one, size]))
    by_scale = explained(y, size[:, None], np.column_stack([one, dummies]))
    assert by_family["p"] < 0.001
    assert by_family["estimate"] > 0.8
    assert by_scale["p"] > 0.05
    # With one value, the share explained beyond a constant is R squared.
    r = np.corrcoef(size, y[:, 0])[0, 1]
    assert explained(y[:, :1], size[:, None], one)["estimate"] == pytest.approx(r**2)


@pytest.mark.parametrize(
    ("family", "p_min"), [([0, 0, 1, 1], 8 / 24), ([0, 0, 0, 1, 1], 12 / 120), ([0, 1] * 4, 0.029)]
)
def test_relabelling_like_models_bounds_p(family: list[int], p_min: float) -> None:
    # Families are as far apart as they can be, and sizes do not differ: p is the smallest.
    rng = np.random.default_rng(1)
    dummies, n = np.eye(2)[family], len(family)
    y = dummies @ rng.normal(size=(2, 4)) + 1e-3 * rng.normal(size=(n, 4))
    alike = explained(y, dummies, np.column_stack([np.ones(n), np.full(n, 9.0)]))
    assert alike["p"] == alike["p_min"] == pytest.approx(p_min, rel=0.1)
    # With sizes that differ, only the identity leaves every result as it is.
    if n < 8:
        sizes = np.column_stack([np.ones(n), rng.normal(size=n)])
        assert explained(y, dummies, sizes)["p_min"] == pytest.approx(1 / np.prod(range(1, n + 1)))


def test_two_families_of_two_cannot_tell_family_from_scale() -> None:
    table = make_trials(models=4, families=2).table.assign(n_params=1e9)
    family = regime_test(table).set_index("by").loc["family"]
    assert "4 models in 2 families cannot tell" in family["reason"]


def test_two_models_decide_nothing_about_family_and_scale() -> None:
    found = regime_test(make_trials())
    assert found["verdict"].eq("undecided").all()
    assert found["reason"].str.contains("2 models in 2 families").all()


def test_regime_table_counts_everything_once() -> None:
    table = regime_table(make_trials())
    assert set(table["regime"]) == set(REGIMES)
    totals = table.groupby(["model", "strength", "kind"])["n"].sum()
    assert totals.eq(30).all()
    broken = table[(table["regime"] == "repetitive collapse") & (table["kind"] == "steered")]
    assert broken.set_index("strength")["n"][0.8].eq(30).all()


def test_published_beside_ours_and_examples_by_rule() -> None:
    trials = make_trials()
    table = beside_published(trials)
    assert table["source"].tolist() == ["Jeong 2026", "m0", "m1", "all models"]
    assert table["n"].tolist() == [40, 30, 30, 60]
    assert table["estimate"].iloc[0] == 0.925
    texts = example_texts(trials)
    assert not texts.duplicated(["model", "regime"]).any()
    group = outcomes(trials)
    group = group[(group["model"] == "m0") & (group["regime"] == "surgical")]
    gain = texts.loc[(texts["model"] == "m0") & (texts["regime"] == "surgical"), "gain"].iloc[0]
    assert gain == np.sort(group["gain"])[(len(group) - 1) // 2]


def test_owners_of_a_table_learn_which_columns_it_needs() -> None:
    with pytest.raises(InputError) as refused:
        as_trials(make_trials(models=1, scenarios=2).table.drop(columns="family"))
    message = str(refused.value)
    assert message.startswith("the table of trials: no column 'family'; it needs study, model, ")
    assert message.endswith(", and score_JUDGE and baseline_score_JUDGE for a judge")
    assert "steering.py" not in message
    for column in COLUMNS:
        assert f"{column}, " in message
        assert re.search(rf"\b{column}\b", str(as_trials.__doc__))


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    table = make_trials(models=1, scenarios=2).table
    cases = [
        (table.drop(columns="perplexity"), "no column 'perplexity'"),
        (table.drop(columns=["score_local", "score_other"]), "score_JUDGE"),
        (table.iloc[:0], "no trials"),
        (table.assign(kind="placebo"), "none of 'steered', 'sham', 'matched sham'"),
        (pd.concat([table, table.iloc[:1]]), "occurs twice"),
        (table[table["kind"] == "steered"], "needs a steered text and a sham"),
    ]
    for bad, message in cases:
        with pytest.raises(InputError, match=message):
            as_trials(bad)
    with pytest.raises(InputError, match=r"python steering\.py"):
        load_trials(tmp_path)
    (tmp_path / "trials.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="not readable"):
        load_trials(tmp_path)
    assert set(COLUMNS) <= set(table)


def test_every_figure_draws() -> None:
    trials = make_trials(sweep_effect=0.1)
    for figure in (
        figures.dose_curves(trials),
        figures.regime_map(trials),
        figures.success_forest(trials),
        figures.depth_curves(trials),
    ):
        assert isinstance(figure, p9.ggplot)
        figure.draw()
