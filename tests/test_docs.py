"""The pages beside the code agree with the code, with each other, and with what ships."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import yaml

import analysis
from analysis.planning.simulate import simulate_scores
from representations.corpus.corpus import load_corpus
from study import load_study
from study.registry import find_model
from tests.scripts import script

HOME = Path(__file__).resolve().parent.parent
FOLDERS = (
    "analysis",
    "benchmarks",
    "data",
    "docs",
    "examples",
    "pipeline",
    "reports",
    "representations",
    "study",
)
PAGES = sorted(
    path for pattern in ("*.md", *(f"{f}/**/*.md" for f in FOLDERS)) for path in HOME.glob(pattern)
)
EXAMPLES = sorted((HOME / "examples").glob("*.toml"))


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return script("docs/reference.py")


def test_api_page_is_what_the_docstrings_say(reference):
    assert reference.API.read_text(encoding="utf-8") == reference.api_page(), "run make docs"


def test_each_folder_lists_its_modules(reference):
    for folder in reference.FOLDERS:
        page = (HOME / folder / "README.md").read_text(encoding="utf-8")
        assert page == reference.readme(folder), "run make docs"


def test_every_folder_of_code_has_a_page(reference):
    inside = [p.parent for top in reference.FOLDERS for p in (HOME / top).glob("**/__init__.py")]
    assert {p.relative_to(HOME).as_posix() for p in inside} <= set(reference.FOLDERS)


def test_the_planning_page_says_what_the_simulations_found():
    """If not: python benchmarks/models_needed.py --write."""
    planning = script("benchmarks/models_needed.py")
    found = pd.read_csv(planning.RESULTS)
    page = planning.PAGE.read_text(encoding="utf-8")
    inside = page.split(planning.BEGIN)[1].split(planning.END)[0]
    assert inside.strip() == planning.of_verdicts(found)
    alike = found[found["family_sd"] == 0]
    # The verdict's level is 0.05; 100 studies say so within 0.045.
    assert (alike["difference"] < 0.095).all()
    assert (found["n_sim"] >= 100).all()


def test_the_planning_page_says_which_margins_are_reached():
    """If not: python benchmarks/few_families.py --write."""
    few = script("benchmarks/few_families.py")
    found = pd.read_csv(few.MARGINS)
    page = few.PAGE.read_text(encoding="utf-8")
    inside = page.split("<!-- begin margins -->")[1].split("<!-- end margins -->")[0]
    assert inside.strip() == few.of_margins(found)
    curve = found[found["margin"] == "curve_delta"].set_index(["n_models", "vertex_sd"])["together"]
    # What the page says of the margin that the studies preregister.
    assert curve[9, 0.02] > 3 * 0.1
    assert 0.09 < curve[60, 0.02] < 0.12


def test_the_planning_page_says_what_families_as_units_cost():
    """If not: python benchmarks/few_families.py --write."""
    few = script("benchmarks/few_families.py")
    found = pd.read_csv(few.POWER)
    page = few.PAGE.read_text(encoding="utf-8")
    inside = page.split("<!-- begin families power -->")[1].split("<!-- end families power -->")[0]
    assert inside.strip() == few.of_power(found)
    nine = found[found["n_models"] == 9]
    assert nine["over_models"].between(0.72, 0.88).all()
    assert nine["over_families"].between(0.52, 0.7).all()
    assert nine["restored_by"].between(6, 7).all()


def test_every_public_function_is_on_the_api_page(reference):
    page = reference.API.read_text(encoding="utf-8")
    assert [
        name for name in analysis.__all__ if f"`{name}`" not in page and f".{name}`" not in page
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(HOME).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(HOME).as_posix())
def test_commands_name_files_and_targets_that_there_are(page):
    targets = set(re.findall(r"^([\w-]+):", (HOME / "Makefile").read_text("utf-8"), re.M))
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", page.read_text("utf-8"), re.S | re.M):
        for target in re.findall(r"^make ([\w-]+)", block, re.M):
            assert target in targets
        for study in re.findall(r"--study ([\w/.-]+)", block):
            if study not in ("my.toml", "my/study.toml"):
                load_study(study if "." not in study else HOME / study)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(HOME).as_posix())
def test_modules_that_pages_name_are_there(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    there = {path.name for path in HOME.glob("*.py")} | {
        path.name for folder in (*FOLDERS, "tests") for path in (HOME / folder).glob("**/*.py")
    }
    named = {name.rpartition("/")[2] for name in re.findall(r"`([\w/]+\.py)`", text)}
    assert named - there <= {"embedding_share.py"}  # the example of CONTRIBUTING


def test_readme_example_works_as_written(tmp_path, monkeypatch, capsys):
    code = re.search(r"```python\n(.*?)```", (HOME / "README.md").read_text("utf-8"), re.S)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    made = simulate_scores(families=(1, 1, 1), seed=1).table
    made[["model", "family", "depth", "score"]].to_csv("scores.csv", index=False)
    with pd.option_context("display.max_columns", None, "display.width", 1000):
        exec(code[1], {})
    assert "hump" in capsys.readouterr().out


def test_readme_names_functions_and_studies_that_there_are():
    text = (HOME / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+_(?:test|curves|table|summary|scores))", text))
    assert named < set(analysis.__all__)
    for row in re.findall(r"^\| `(\w+)` \|", text, re.M):
        load_study(row)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_are_sound(path):
    study = load_study(path)
    corpus = load_corpus(HOME / study.corpus)
    corpus.restricted(study.emotions or None, study.topics or None)
    for name in study.models:
        assert find_model(name, study.model).source


def test_politeness_is_crossed_and_of_one_length():
    corpus = load_corpus(HOME / "examples" / "politeness")
    cells = {(p.emotion, p.topic) for p in corpus.passages}
    assert len(cells) == len(corpus.passages) == len(corpus.emotions) * len(corpus.topics) == 48
    lengths = {len(p.text.split()) for p in (*corpus.passages, *corpus.neutral)}
    assert lengths == {52}


def test_citation_and_changelog_name_the_version():
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((HOME / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == project["version"]
    assert citation["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} < set(citation)
    changes = (HOME / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{project['version']}]" in changes


def test_readme_shows_what_the_set_up_downloads():
    """If not: python benchmarks/setup_size.py --write."""
    size = script("benchmarks/setup_size.py")
    measured = pd.read_csv(size.RESULTS)
    inside = size.README.read_text(encoding="utf-8").split(size.BEGIN)[1].split(size.END)[0]
    assert inside.strip() == size.shown(measured).strip()
    assert set(size.SHOWN) <= set(measured["role"]) == set(size.ROLES)


def test_readme_says_how_much_faster_steering_in_batches_is():
    measured = pd.read_csv(HOME / "benchmarks" / "results" / "steering.csv").set_index("way")
    text = " ".join((HOME / "README.md").read_text(encoding="utf-8").split())
    assert f"{measured.loc['batch', 'ratio']:.0f} times as fast as one text at a time" in text


def test_readme_shows_the_benchmark_as_it_was_measured():
    measured = pd.read_csv(HOME / "benchmarks" / "results" / "extraction.csv")
    shown = re.findall(
        r"^\| (read.*?|write) \| (.+?) \| (\d+) \| ([\d.]+) \| (\d+) \|$",
        (HOME / "README.md").read_text(encoding="utf-8"),
        re.M,
    )
    assert shown == [
        (r.task, r.way, str(r.tokens_per_second), f"{r.ratio:.2f}", str(r.peak_mb))
        for r in measured.itertuples()
    ]
