"""Follow the recipes of CONTRIBUTING.md to the letter in a copy of the project."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest
from test_tutorials import scratch_copy

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(section: str) -> list[str]:
    """Return the code blocks of a section, in order."""
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M)
    assert found is not None
    return re.findall(r"^```\w+\n(.*?)^```", found[1], re.S | re.M)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with all five recipes in it."""
    root = scratch_copy(tmp_path_factory.mktemp("recipes"))

    def insert(name: str, code: str, before: str) -> None:
        path = root / name
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{name}: {before}"
        path.write_text(text.replace(before, code + before), encoding="utf-8")

    function, entry = blocks("A metric")
    insert("representations/metrics.py", f"{function}\n\n", "#: Every metric, by the name")
    insert("representations/metrics.py", entry, '    "auc": Metric(')
    insert("study/tables.py", '"dispersion", ', '"cosine", "anisotropy")')
    entry, family, _ = blocks("A model, or a family of models")
    with (root / "data" / "models.toml").open("a", encoding="utf-8") as registry:
        registry.write(f"\n{entry}")
    insert("tests/representations/conftest.py", family, '    "Mistral": {')
    judge, lines = blocks("A judge")
    insert("representations/steering/judges.py", f"{judge}\n\n", "def load_judge(")
    insert("representations/steering/judges.py", lines, "    return ClassifierJudge(name")
    (statistic,) = blocks("A test")
    (root / "analysis/profiles/embedding_share.py").write_text(statistic, encoding="utf-8")
    line = "from analysis.profiles.embedding_share import embedding_share\n"
    insert("analysis/profiles/__init__.py", line, "from analysis.profiles.localization import")
    insert("analysis/profiles/__init__.py", '"embedding_share", ', '"fit_curves"')
    insert("analysis/__init__.py", line, "from analysis.profiles.localization import")
    insert("analysis/__init__.py", '    "embedding_share",\n', '    "fit_curves",\n')
    function, rule, entry = blocks("A claim")
    with (root / "analysis/claims/contested.py").open("a", encoding="utf-8") as claims:
        claims.write(f"\n\n{function}")
    insert("analysis/claims/rules.py", indent(rule, "    "), '    "valence": (')
    insert("data/claims.toml", f"{entry}\n", '[[claim]]\nkey = "valence"\n')
    return root


def run(copy: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


TORCH_SIDE = """
import numpy as np
from representations import METRICS, load_corpus, load_judge, registry
from representations.metrics import Layer
from study.tables import METRIC_ORDER
assert set(METRICS) == set(METRIC_ORDER)

rng = np.random.default_rng(0)
emotion, topic = np.repeat(np.arange(3), 8), np.tile(np.arange(4), 6)
texts = rng.normal(size=(24, 16)).astype(np.float32)
facts = dict(emotion=emotion, topic=topic, n_emotions=3, n_topics=4,
             fold=np.array([0, 0, 1, 1]), neutral_topic=np.repeat(np.arange(4), 2),
             neutral=rng.normal(size=(8, 16)).astype(np.float32))
def score(texts):
    layer = Layer(texts=texts, **facts)
    found = METRICS["dispersion"].compute(layer, np.ones((2, 4)))
    assert found.shape == (2, 3)
    return found[0].mean()
apart = texts + 3 * rng.normal(size=(3, 16))[emotion].astype(np.float32)
assert score(apart) > 2 * score(texts)

judge = load_judge("exclamation", load_corpus("data/corpus"))
assert judge.score(["Oh! No! Yes.", "So."])[:, 0].round(2).tolist() == [0.67, 0.0]
assert registry()["pythia-70m"].family == "Pythia"
from representations.models.size import expected_parameters
assert 5e7 < expected_parameters(registry()["pythia-70m"]) < 1e8
"""
STATISTICS = """
import analysis
scores = analysis.load_scores("data/scores/demo")
shares = analysis.embedding_share(scores, chance=0.5, metric="auc")
assert len(shares) == 8 and (shares["estimate"] <= 1).all(), shares
assert shares["estimate"].max() > 0.5, shares
claims = analysis.claims_table(scores, n_boot=20).set_index("key")
assert claims.loc["first-block", "claim"].startswith("The first block")
assert claims.loc["first-block", "verdict"] in ("supported", "contradicted", "undecided")
"""


@pytest.mark.parametrize("code", [TORCH_SIDE, STATISTICS], ids=["torch side", "statistics"])
def test_what_the_recipes_add_works(copy: Path, code: str) -> None:
    run(copy, "-c", code)


def test_the_command_of_a_new_family_passes(copy: Path) -> None:
    _, command = blocks("A model, or a family of models")[1:]
    python, *arguments = command.split()
    assert python == ".venv/bin/python"
    assert "passed" in run(copy, *arguments, "-p", "no:cacheprovider")


def test_what_the_recipes_add_keeps_its_example_and_the_order_of_imports(copy: Path) -> None:
    run(copy, "-m", "pytest", "-p", "no:cacheprovider", "analysis/profiles/embedding_share.py")
    lint = "from importlinter.cli import lint_imports\n"
    run(copy, "-c", f"{lint}raise SystemExit(lint_imports(no_cache=True, no_logo=True))")
