"""Published depths: every entry names its source and follows the rules of entry."""

import re
import tomllib
from pathlib import Path

import pytest

from study.home import find

ENTRIES = tomllib.loads(Path(find("data/published/depths.toml")).read_text())["depth"]
FAMILIES = {m["family"] for m in tomllib.loads(Path(find("data/models.toml")).read_text())["model"]}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e['arxiv']} {e['models']}")
def test_a_published_depth_names_its_source_and_follows_the_rules_of_entry(entry):
    needed = ("arxiv", "url", "place", "quote", "models", "kind", "method")
    assert all(entry.get(key, "").strip() for key in needed)
    assert re.fullmatch(r"\d{4}\.\d{5}", entry["arxiv"])
    assert entry["url"].startswith("https://arxiv.org/")
    assert entry["arxiv"] in entry["url"]
    assert len(entry["quote"].split()) <= 25
    assert ("family" not in entry) or entry["family"] in FAMILIES
    assert ("layer" in entry) != ("depth" in entry)
    if "layer" in entry:
        assert 0 <= entry["layer"] <= entry["n_layers"]
        assert entry["n_layers_from"] in ("paper", "config")
        assert re.search(rf"\b{entry['layer']}\b", entry["quote"])
    else:
        assert 0 <= entry["depth"] <= 1
        assert f"{100 * entry['depth']:g}%" in entry["quote"]
