"""The hub on loopback with the nine models, and a small form of study `jeong2026`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from representations.corpus.corpus import load_corpus
from study import HOME

sys.path.insert(0, str(Path(__file__).parent))  # for `server` and `nine`

from nine import fill
from server import Hub

SMALLER = {
    "seed = 20260404\n": 'seed = 20260404\nemotions = ["happy", "afraid", "calm"]\ntopics = 4\n',
    "stories_per_cell = 2": "stories_per_cell = 1",
    "neutral_per_topic = 4": "neutral_per_topic = 1",
    "max_new_tokens = 96": "max_new_tokens = 14",
    "min_new_tokens = 32": "min_new_tokens = 12",
    "skip = 8": "skip = 4",
    "folds = 6": "folds = 2",
    "replicates = 500": "replicates = 20",
}
STEERING = """
[steering]
emotions = ["happy", "calm"]
n_scenarios = 2
strengths = [0.5]
max_new_tokens = 6
min_new_tokens = 6
judges = ["nrclex"]
"""


@pytest.fixture(scope="session")
def texts():
    """A part of the corpus."""
    return [passage.text for passage in load_corpus(HOME / "data" / "corpus").passages[::4]]


@pytest.fixture(scope="session")
def nine(tmp_path_factory, texts):
    """The hub, with the nine."""
    hub = Hub()
    fill(hub, tmp_path_factory.mktemp("nine"), texts)
    yield hub
    hub.close()


@pytest.fixture(scope="session")
def small_study(tmp_path_factory):
    """Study `jeong2026`, with few texts."""
    text = (HOME / "data" / "studies" / "jeong2026.toml").read_text(encoding="utf-8")
    for long, short in SMALLER.items():
        assert long in text
        text = text.replace(long, short)
    text += STEERING
    path = tmp_path_factory.mktemp("small") / "nine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def command(nine, tmp_path_factory):
    """Run a script as a user does, with the hub in place of the real one."""
    home = tmp_path_factory.mktemp("home")

    def run(*arguments, **environment):
        given = {
            "HF_ENDPOINT": nine.url,
            "HF_HOME": str(home / "hf"),
            "HF_TOKEN": "hf_of_a_user",
            "XDG_CACHE_HOME": str(home / "cache"),
            "PYTHONPATH": str(HOME),
            **environment,
        }
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=HOME,
            env=os.environ | given,
            capture_output=True,
            text=True,
            timeout=600,
        )

    run.home = home
    return run
