"""Published depths: their rules of entry, and the test that pools them, against metafor."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.claims.literature import literature_test, published_depths, source_mean
from study.home import find
from study.read import InputError

DATA = tomllib.loads(Path(find("data/published/depths.toml")).read_text())
ENTRIES, SOURCES = DATA["depth"], {source["id"]: source for source in DATA["source"]}
MODELS = tomllib.loads(Path(find("data/models.toml")).read_text())["model"]
FAMILIES = {m["family"] for m in MODELS} | {"GPT-Neo", "OPT", "Pythia"}
REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda s: s["id"])
def test_a_source_is_named_and_used(source):
    assert source["kind"] in ("paper", "report")
    assert (source["kind"] == "paper") == bool(
        re.fullmatch(r"\d{4}\.\d{5}", source.get("arxiv", ""))
    )
    assert source["url"].startswith("https://")
    assert "github.com" not in source["url"] or re.search(r"/[0-9a-f]{40}$", source["url"])
    assert any(entry["source"] == source["id"] for entry in ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e['source']} {e['model']}")
def test_a_published_depth_names_its_source_and_follows_the_rules_of_entry(entry):
    needed = ("place", "quote", "model", "kind", "measure")
    assert entry["source"] in SOURCES
    assert all(entry.get(key, "").strip() for key in needed)
    assert entry["method"] in ("comprehension", "generation", "rereading", "both")
    assert len(entry["quote"].split()) <= 25
    assert ("family" not in entry) or entry["family"] in FAMILIES
    assert ("family" in entry) == ("size" in entry)
    assert ("layer" in entry) != ("depth" in entry)
    assert ("n_layers" in entry) == (entry.get("n_layers_from") in ("source", "config"))
    if "layer" in entry:
        assert 0 <= entry["layer"] <= entry["n_layers"]
        assert re.search(rf"\b(L|)?{entry['layer']}\b", entry["quote"])
    else:
        assert entry["printed"] in entry["quote"]
        share = float(entry["printed"].strip("~%")) / (100 if "%" in entry["printed"] else 1)
        assert 0 <= entry["depth"] <= 1
        assert share == pytest.approx(entry["depth"])


def test_depths_are_shares_with_the_step_in_which_they_were_read():
    table = published_depths().set_index(["source", "model"])
    assert len(table) == len(ENTRIES)
    assert table.loc[("Henry 2026", "GPT-2-XL"), ["depth", "resolution"]].tolist() == [
        pytest.approx(44 / 48),
        pytest.approx(1 / 48),
    ]
    assert table.loc[("mufxio 2026", "Qwen3-8B"), "resolution"] == pytest.approx(1 / 4)
    about = table.loc[("Jeong 2026a", "nine models of five families")]
    assert (about["depth"], about["resolution"]) == (0.5, pytest.approx(0.1))


@pytest.mark.parametrize("which", ["all", "paper", "report"])
def test_pooling_equals_metafor_and_clubsandwich(which):
    table = pd.read_csv(REFERENCE / "literature_data.csv")
    case = json.loads((REFERENCE / "literature.json").read_text())[which]
    pooled, tau2 = source_mean(table if which == "all" else table[table["source_kind"] == which])
    found = (pooled.estimate, pooled.se, pooled.df, *np.sqrt(tau2))
    there = (case[key] for key in ("estimate", "se", "df", "tau_figure", "tau_source"))
    assert found == pytest.approx(tuple(there), rel=2e-6)


def sources(means, within=0.02, seed=0):
    """Return three figures of each source, around its mean."""
    rng = np.random.default_rng(seed)
    depth = np.repeat(means, 3) + within * rng.standard_normal(3 * len(means))
    return pd.DataFrame({"source": np.repeat(np.arange(len(means)), 3), "depth": depth})


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ([0.49, 0.5, 0.51, 0.5, 0.48, 0.52], "at target"),
        ([0.78, 0.8, 0.82, 0.79, 0.8, 0.81], "elsewhere"),
        ([0.2, 0.8, 0.3, 0.7, 0.5, 0.6], "undecided"),
        ([0.5, 0.5], "undecided"),
    ],
)
def test_the_verdict_has_three_values(means, verdict):
    row = literature_test(sources(means)).iloc[0]
    assert row["verdict"] == verdict
    assert row["n_sources"] == len(means)


def test_one_source_counts_once_however_much_it_prints():
    few = sources([0.3, 0.5, 0.7, 0.5, 0.4, 0.6])
    more = pd.concat([few, *[few[few["source"] == 0]] * 20])
    one, many = literature_test(few).iloc[0], literature_test(more).iloc[0]
    assert many["estimate"] == pytest.approx(one["estimate"], abs=0.03)
    assert many["high"] - many["low"] > 0.8 * (one["high"] - one["low"])


@pytest.mark.parametrize("resolution", [0.0, 0.1])
@pytest.mark.parametrize("depth", [0.5, 0.3])
def test_depths_that_do_not_differ_leave_no_error(depth, resolution):
    same = pd.DataFrame({"source": list("abcde"), "depth": depth, "resolution": resolution})
    row = literature_test(same).iloc[0]
    assert (row["verdict"], row["estimate"]) == ("undecided", depth)
    assert row["reason"] == "the depths do not differ, which leaves no error to judge by"
    assert row[["low", "high", "p", "p_elsewhere", "prediction_low"]].isna().all()
    # The others may do so without the one that differs.
    one = literature_test(same.assign(depth=[*same["depth"][:4], 0.6])).iloc[0]
    assert one["without_low"] == depth
    assert one["low"] < one["estimate"] < one["high"]


def test_what_is_no_table_of_depths_is_refused():
    with pytest.raises(InputError, match="no column 'source'"):
        literature_test(pd.DataFrame({"depth": [0.5]}))
    with pytest.raises(InputError, match="shares of the number of layers"):
        literature_test(pd.DataFrame({"source": ["a"], "depth": [12.0]}))
    with pytest.raises(InputError, match="not an interval"):
        literature_test(delta=0.7)


def test_the_interval_covers_as_often_as_it_says_in_simulated_literatures():
    table = pd.read_csv("benchmarks/results/published_coverage.csv")
    error = np.sqrt(0.05 * 0.95 / table["n_studies"])
    assert (table["covers"] > 0.95 - 3 * error).all()
    assert (table[["at_target", "elsewhere"]].sub(3 * error, axis=0) < 0.05).all(axis=None)
