"""Planted effects of text, familiarity and state: each found, and not taken for another."""

import numpy as np
import pandas as pd
import pytest

from analysis import InputError, as_scores, crossed_reading_test, u_shape_test
from analysis.families import mean_of
from analysis.loading.scores import Scores
from analysis.over_models.crossed_reading import (
    EFFECTS,
    over_families,
    without_crossreading,
)
from analysis.scopes import LIKE_THESE, THESE

FAMILIES = (2, 2, 2, 2, 1)
N_TOPICS = 24


def values(effects, families=FAMILIES, sd=0.03, family_sd=0.0, seed=0):
    """Separation of each model under each method: what readers and writers are worth, and effects.

    Without effects, the corpus is worth as much as the average writer.
    """
    rng = np.random.default_rng(seed)
    family = [f"f{k}" for k, n in enumerate(families) for _ in range(n)]
    names = [f"m{k}" for k in range(len(family))]
    of = [int(f[1:]) for f in family]
    reader, writer = (
        sd * rng.normal(size=len(names)) + family_sd * rng.normal(size=len(families))[of]
        for _ in range(2)
    )
    rows = []
    for i in range(len(names)):
        row = {"comprehension": reader[i]}
        for j, other in enumerate(names):
            method = "rereading" if i == j else f"crossreading of {other}"
            read = reader[i] + writer[j] + effects.get("text", 0.0)
            row[method] = read + (effects.get("familiarity", 0.0) if i == j else 0.0)
        row["generation"] = row["rereading"] + effects.get("state", 0.0)
        rows.append({k: v + 0.2 * sd * rng.normal() for k, v in row.items()})
    return pd.DataFrame(rows, index=names), family


def study(effects, families=FAMILIES, seed=0, n_replicates=200, **spread):
    """The same as a table of scores, flat over layers, with topics drawn alike for all models."""
    table, family = values(effects, families, seed=seed, **spread)
    rng = np.random.default_rng([seed, 1])
    draws = rng.multinomial(N_TOPICS, np.full(N_TOPICS, 1 / N_TOPICS), n_replicates) / N_TOPICS
    rows, repeated = [], []
    for model, group in zip(table.index, family, strict=True):
        shared = 0.05 * rng.normal(size=N_TOPICS)  # topics that are hard for a model are always so
        for method, value in table.loc[model].dropna().items():
            topics = value + shared + 0.02 * rng.normal(size=N_TOPICS)
            facts = {"model": model, "family": group, "method": method, "metric": "auc"}
            score = topics.mean()
            for layer in range(6):
                rows.append({**facts, "layer": layer, "depth": layer / 5, "score": score})
                repeated += [
                    {**facts, "layer": layer, "depth": layer / 5, "replicate": k + 1, "score": one}
                    for k, one in enumerate(draws @ topics)
                ]
    whole = as_scores(pd.DataFrame(rows))
    replicates = pd.DataFrame(repeated).assign(
        **{c: whole.table[c].iloc[0] for c in ("weights", "seed", "precision", "labels", "study")}
    )
    run = {"topics": [f"t{k}" for k in range(N_TOPICS)], "study": {}}
    return Scores(whole.table, replicates, whole.directions, run)


@pytest.mark.parametrize("planted", sorted(EFFECTS))
def test_a_planted_effect_is_found_and_not_taken_for_another(planted):
    found = crossed_reading_test(study({planted: 0.2}, sd=0.02))
    whole = found[found["model"] == "all"].set_index(["effect", "scope"])
    for effect in EFFECTS:
        for scope in (THESE, LIKE_THESE):
            row = whole.loc[(effect, scope)]
            if effect == planted:
                assert row["verdict"] == "higher", row["reason"]
                assert row["estimate"] == pytest.approx(0.2, abs=0.03)
            elif scope == LIKE_THESE:
                assert row["verdict"] == "undecided", row["reason"]
    assert whole.loc[(planted, LIKE_THESE), "n_families"] == 5


def test_two_models_say_something_of_themselves_and_nothing_of_others():
    found = crossed_reading_test(study({"familiarity": 0.3}, families=(1, 1), sd=0.0), delta=0.1)
    whole = found[found["model"] == "all"].set_index(["effect", "scope"])
    assert whole.loc[("familiarity", THESE), "verdict"] == "higher"
    assert whole.loc[("familiarity", LIKE_THESE), "verdict"] == "undecided"
    assert "famil" in whole.loc[("familiarity", LIKE_THESE), "reason"]
    assert whole.loc[("state", THESE), "verdict"] == "alike"
    each = found[found["model"] != "all"]
    assert sorted(each["effect"].unique()) == ["state", "text"]


@pytest.mark.parametrize(
    ("families", "family_sd"),
    [((2, 2, 2, 2, 1), 0.0), ((4, 4, 4, 4), 0.05), ((3, 1, 1), 0.05), ((12, 1, 1, 1), 0.05)],
)
@pytest.mark.parametrize("effect", sorted(EFFECTS))
def test_size_over_models(effect, families, family_sd):
    """The text has the largest error: writers are few, and shared by all readers."""
    n, wrong = 100, 0
    for seed in range(n):
        table, family = values({}, families, family_sd=family_sd, seed=seed)
        wrong += over_families(effect, table, pd.Series(family, table.index)).p() <= 0.05
    assert wrong / n <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)


def test_a_large_family_counts_like_a_small_one():
    """The effect of each family is its own: with models of one family weighted by their number,
    a true null would be rejected twice as often as the level says.
    """
    n, families, wrong = 400, (12, 1, 1, 1), dict.fromkeys(EFFECTS, 0)
    for seed in range(n):
        table, family = values({}, families, sd=0.01, seed=seed)
        effects = 0.05 * np.random.default_rng([seed, 2]).normal(size=(2, len(families)))
        text, state = (e[[int(f[1:]) for f in family]] for e in effects)
        table["comprehension"] -= text
        table["generation"] += state
        for effect in EFFECTS:
            wrong[effect] += (
                over_families(effect, table, pd.Series(family, table.index)).p() <= 0.05
            )
    assert max(wrong.values()) / n <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / n)


def test_the_error_is_that_of_writers_too():
    """Taking readers as independent would reject far too often."""
    naive = 0
    for seed in range(200):
        table, _ = values({}, (4, 4, 4, 4), family_sd=0.05, seed=seed)
        naive += mean_of(EFFECTS["text"](table).to_numpy()).p() <= 0.05
    assert naive > 60


def test_the_other_tests_leave_crossreading_out():
    crossed = study({})
    plain = without_crossreading(crossed)
    assert set(plain.table["method"]) == {"comprehension", "generation", "rereading"}
    assert without_crossreading(plain) is plain
    assert len(u_shape_test(plain)) < len(u_shape_test(crossed))
    with pytest.raises(InputError, match="has no crossreading; add it"):
        crossed_reading_test(plain)


def test_a_writer_that_is_no_reader_has_no_family():
    whole = study({"text": 0.2}, families=(1, 1, 1, 1), sd=0.02)
    fewer = whole.select(model=["m1", "m2", "m3"])
    found = crossed_reading_test(fewer).set_index(["effect", "scope", "model"])
    row = found.loc[("text", LIKE_THESE, "all")]
    assert row["n_families"] == 3
    assert row["estimate"] == pytest.approx(0.2, abs=0.05)
