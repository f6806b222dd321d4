"""Where the files that a study names are looked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import extraction
import steering
from analysis import InputError, preregistration
from analysis.__main__ import found
from study import home
from study.home import find, tried

ROOT = Path(__file__).parents[1]
STUDY = """
models = ["gpt2"]
weights = ["untrained"]
labels = ["true"]
corpus = "mine"
[steering]
scenarios = "mine.toml"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder beside the project's, which has data of its own."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_a_name_is_found_here_then_in_the_project(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = here.parent / "there"
    monkeypatch.setattr(home, "HOME", there)
    assert find("data/x") == Path("data/x")
    assert tried("data/x") == f"{here / 'data' / 'x'} or {there / 'data' / 'x'}"
    (there / "data" / "x").write_text("theirs")
    assert find("data/x").read_text() == "theirs"
    (here / "data").mkdir()
    (here / "data" / "x").write_text("mine")
    assert find("data/x").read_text() == "mine"
    assert find(there / "data" / "x").read_text() == "theirs"


def test_an_installation_finds_what_ships_last(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "IS_CHECKOUT", False)
    monkeypatch.setattr(home, "HOME", here)
    shipped = (ROOT / "data" / "scenarios.toml").read_text(encoding="utf-8")
    assert find("data/scenarios.toml").read_text(encoding="utf-8") == shipped
    assert tried("data/none.toml").count(" or ") == 1
    (here / "data").mkdir()
    (here / "data" / "scenarios.toml").write_text("mine")
    assert find("data/scenarios.toml").read_text() == "mine"


def test_a_study_s_corpus_may_be_in_the_working_folder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "s.toml").write_text(STUDY)
    run = ["--study", "s.toml", "--dry-run", "--out", str(here / "out")]
    both = f"{here / 'mine'} or {home.HOME / 'mine'}: no such folder"
    assert extraction.main(run) == 2
    assert both in capsys.readouterr().err
    shutil.copytree(ROOT / "examples" / "politeness", here / "mine")
    assert extraction.main(run) == 0


def test_a_study_is_analyzed_from_any_folder(here: Path) -> None:
    assert Path(found("demo")) == ROOT / "data" / "scores" / "demo"
    (here / "data" / "scores" / "demo").mkdir(parents=True)
    assert Path(found("demo")) == Path("data/scores/demo")


def test_a_preregistration_counts_a_corpus_in_the_working_folder(here: Path) -> None:
    (here / "s.toml").write_text(STUDY)
    with pytest.raises(InputError, match="mine: no such folder"):
        preregistration("s.toml", n_sim=0)
    shutil.copytree(ROOT / "examples" / "politeness", here / "mine")
    assert "four concepts" in preregistration("s.toml", n_sim=0)
    (here / "mine" / "emotions.toml").write_text("emotion = 3")
    with pytest.raises(InputError, match=r"has no emotions; add \[\[emotion\]\] tables"):
        preregistration("s.toml", n_sim=0)


def test_a_study_s_scenarios_may_be_in_the_working_folder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "s.toml").write_text(STUDY)
    shutil.copytree(ROOT / "examples" / "politeness", here / "mine")
    run = ["--study", "s.toml", "--dry-run", "--scores", str(here / "none")]
    both = f"{here / 'mine.toml'} or {home.HOME / 'mine.toml'}: no such file of scenarios"
    assert steering.main(run) == 2
    assert both in capsys.readouterr().err
    shutil.copy(ROOT / "data" / "scenarios.toml", here / "mine.toml")
    assert steering.main(run) == 2  # for want of scores
    assert "none: no such folder of scores" in capsys.readouterr().err
