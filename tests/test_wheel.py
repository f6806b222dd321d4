"""The wheel in its own environment, outside the checkout: it has what it needs, and works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from reliability.faults.small import save_model

from analysis.planning.simulate import simulate_scores

ROOT = Path(__file__).resolve().parents[1]
BUILD = """
from setuptools import build_meta
import sys
print(build_meta.{what}(sys.argv[1]))
"""
#: Four passages and four stories.
STUDY = """
models = ["tiny"]
methods = ["comprehension", "generation"]
emotions = ["happy", "afraid"]
topics = 2
[[model]]
name = "tiny"
family = "Llama"
source = "tiny"
[generation]
max_new_tokens = 14
min_new_tokens = 12
neutral_per_topic = 1
[pooling]
skip = 4
[scoring]
folds = 2
replicates = 6
[steering]
n_scenarios = 1
strengths = [0.5]
max_new_tokens = 8
judges = ["nrclex"]
"""

WITHOUT_TORCH = """
import sys
import emotion_depth

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Absent())
"""


def shipped() -> dict[str, bytes]:
    """Return the files in data/ that are not results, by their names in the wheel."""
    files = [p for p in (ROOT / "data").rglob("*") if p.is_file()]
    names = {p: p.relative_to(ROOT / "data").as_posix() for p in files}
    results = ("scores/", "steering/")
    return {
        f"study/data/{name}": path.read_bytes()
        for path, name in names.items()
        if not name.startswith(results)
    }


def build(what: str, source: Path, target: Path) -> Path:
    """Build a distribution with the project's own backend, which needs no network."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD.format(what=what), target],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built as pip and uv do it: from the sdist of a clone."""
    place = tmp_path_factory.mktemp("build")
    leave = shutil.ignore_patterns(
        ".*", "build", "units", "__pycache__", "*.egg-info", "_output", "tests", "benchmarks"
    )
    source = Path(shutil.copytree(ROOT, place / "source", symlinks=True, ignore=leave))
    sdist = build("build_sdist", source, place)
    shutil.unpack_archive(sdist, place, filter="data")
    return build("build_wheel", place / sdist.name.removesuffix(".tar.gz"), place)


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of a fresh environment that shares this one's other packages."""
    place = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "env"], check=True)
    programs = place / "env" / "bin"
    # `.pth` files in that folder are not read, including that of an editable install.
    (packages,) = (place / "env" / "lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--force-reinstall", wheel], check=True)
    return programs


@pytest.fixture
def away(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with the environment's programs first in PATH."""
    for variable in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", f"{environment}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "working folder"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def python(code: str) -> str:
    done = run("python", "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_inputs_as_they_are_and_no_results(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("study/data/")}
        assert {name: archive.read(name) for name in held} == shipped()
        packages = {name.split("/")[0] for name in archive.namelist()}
    assert not packages & {"data", "tests", "benchmarks", "docs", "locks"}


def test_studies_registry_corpus_and_scenarios_are_there(away: Path) -> None:
    said = python(
        "import study\n"
        "from study import load_study\n"
        "from study.registry import registry\n"
        "from representations.corpus.corpus import load_corpus\n"
        "from representations.steering.trials import load_scenarios\n"
        "print(study.__file__)\n"
        "demo = load_study('demo')\n"
        "print(demo.name, 'gpt2' in registry(), len(load_corpus(demo.corpus).passages),\n"
        "      len(load_scenarios(demo.steering.scenarios).openings))\n"
    )
    place, facts = said.splitlines()
    assert not Path(place).is_relative_to(ROOT)
    assert facts.split()[:3] == ["demo", "True", "480"]
    assert int(facts.split()[3]) > 10


def test_files_of_the_working_folder_win(away: Path) -> None:
    for name in ("studies/demo.toml", "studies/mine.toml", "models.toml"):
        (away / "data" / name).parent.mkdir(parents=True, exist_ok=True)
    (away / "data/studies/demo.toml").write_text('models = ["own"]', encoding="utf-8")
    (away / "data/studies/mine.toml").write_text('models = ["own"]', encoding="utf-8")
    entry = '[[model]]\nname = "own"\nfamily = "X"\nsource = "a/b"\n'
    (away / "data/models.toml").write_text(entry, encoding="utf-8")
    said = python(
        "from study import InputError, load_study\n"
        "from study.registry import registry\n"
        "print(load_study('demo').models, load_study('packaged').name, *registry())\n"
        "try:\n"
        "    load_study('other')\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    first, second = said.splitlines()
    assert first.split() == ["('own',)", "packaged", "own"]
    assert "there are causal, demo, jeong2026, mine, packaged, untrained" in second
    (away / "data/models.toml").write_text(entry.replace("family", "famly"), encoding="utf-8")
    done = run("emotion-depth", "extract", "--study", "mine", "--dry-run")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("emotion-depth extract: ")
    assert "[[model]] 'own'" in line
    assert "'famly'" in line


def test_three_lines_of_the_readme(away: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert code is not None
    made = simulate_scores(families=(1, 1, 1), seed=1).table
    made[["model", "family", "depth", "score"]].to_csv("scores.csv", index=False)
    wide = "import pandas\npandas.set_option('display.max_columns', None)\n"
    assert "hump" in python(wide + code[1])


def test_dry_run_of_the_demo_study(away: Path) -> None:
    done = run("emotion-depth", "extract", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "Study demo: 10 units" in done.stderr
    assert "for what is not done yet" not in done.stderr
    assert "not been loaded here yet" in done.stderr
    assert list(away.iterdir()) == []


def test_a_few_texts_are_extracted_steered_and_judged(away: Path) -> None:
    save_model(away / "tiny")
    (away / "few.toml").write_text(STUDY, encoding="utf-8")
    for word in ("extract", "steer"):
        done = run("emotion-depth", word, "--study", "few.toml")
        assert done.returncode == 0, done.stderr
    facts = json.loads((away / "data/scores/few/run.json").read_text(encoding="utf-8"))
    assert facts["command"] == ["emotion-depth", "extract", "--study", "few.toml"]
    assert facts["versions"]["emotion-depth"]
    assert facts["git_commit"] == ""
    assert (away / "data/steering/few/trials.parquet").exists()
    done = run("emotion-depth", "analyze", "data/scores/few")
    assert done.returncode == 0, done.stderr
    assert "Claims, by the study few" in done.stdout


def test_what_the_statistics_alone_lack_is_named(away: Path) -> None:
    for word in ("extract", "steer"):
        done = run("python", "-c", f"{WITHOUT_TORCH}sys.exit(emotion_depth.main([{word!r}]))")
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"emotion-depth {word}: needs the package 'torch': pip install ")
        assert "'torch>=2.7'" in line
        assert "'ray" not in line


def test_the_version_and_the_words_are_said(away: Path) -> None:
    assert run("emotion-depth", "--version").stdout.strip() == "0.1.0"
    assert run("emotion-depth", "sing").returncode == 2
