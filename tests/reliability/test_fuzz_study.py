"""Study files and scenarios that are broken, odd or hostile."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hostile import broken, text, texts, toml, values
from hypothesis import given, settings
from hypothesis import strategies as st

import extraction
from pipeline.plan import plan
from representations.corpus.corpus import load_corpus
from representations.models.weights import local_folder
from representations.steering.trials import load_scenarios
from study import HOME, Study, load_study
from study.registry import find_model
from study.write import slug

DEMO = (HOME / "data" / "studies" / "demo.toml").read_bytes()
SCENARIOS = (HOME / "data" / "scenarios.toml").read_bytes()
NAMES = sorted(set(re.findall(r"^\[?(\w+)", DEMO.decode(), re.M)) | set(Study.__annotations__))
settings_ = st.dictionaries(st.sampled_from(NAMES) | texts, values, max_size=6)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module", autouse=True)
def begun(place: Path) -> None:
    """Do one-time work outside the guard: convert weights, let libraries make their folders."""
    for name in tomllib.loads(DEMO.decode())["models"]:
        local_folder(find_model(name))
    assert extraction.main(["--dry-run", "--study", "demo", "--out", str(place)]) == 0


@pytest.fixture(scope="module")
def corpus() -> Any:
    return load_corpus(HOME / "data" / "corpus")


def planned(path: Path, corpus: Any, out: Path) -> list[Any]:
    """Do what a run does with a study file before it loads any model."""
    study = load_study(path)
    used = corpus.restricted(study.emotions or None, study.topics or None)
    return plan(study, used, out, "cpu")


@given(content=broken(DEMO) | st.binary(max_size=200))
@settings(max_examples=3 * settings.default.max_examples)
def test_bytes(guard: Any, place: Path, corpus: Any, content: bytes) -> None:
    path = place / "bytes.toml"
    path.write_bytes(content)
    tasks, _ = guard("study file, bytes", lambda: planned(path, corpus, place / "out"))
    for task in tasks or ():
        assert task.path.resolve().parent == (place / "out" / "units").resolve()


@given(changes=settings_, table=st.sampled_from(["", *NAMES]))
@settings(max_examples=3 * settings.default.max_examples)
def test_structures(
    guard: Any, place: Path, corpus: Any, changes: dict[str, Any], table: str
) -> None:
    path = place / "structure.toml"
    top = {"models": ["smollm2-135m-instruct"]} | ({table: changes} if table else changes)
    content = "".join(f"{text(key)} = {toml(value)}\n" for key, value in top.items())
    path.write_bytes(content.encode())
    guard("study file, structure", lambda: planned(path, corpus, place / "out"))


@given(content=broken(SCENARIOS), n=st.integers(-3, 50))
@settings(max_examples=2 * settings.default.max_examples)
def test_scenarios(guard: Any, place: Path, content: bytes, n: int) -> None:
    path = place / "scenarios.toml"
    path.write_bytes(content)
    scenarios, _ = guard("scenarios", lambda: load_scenarios(path, n))
    for name in scenarios.openings if scenarios else ():
        scenarios.prompt(name, chat=True)


@given(
    entries=st.lists(
        st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "family",
                    "source",
                    "config",
                    "file",
                    "sha256",
                    "instruct",
                    "blocks",
                    "revision",
                    "tokenizer",
                    "package",
                ]
            ),
            values,
        ),
        max_size=3,
    )
)
@settings(max_examples=2 * settings.default.max_examples)
def test_models_of_the_study_s_own(
    guard: Any, place: Path, corpus: Any, entries: list[dict[str, Any]]
) -> None:
    path = place / "models.toml"
    named = [str(e.get("name", "x")) for e in entries] or ["x"]
    content = f"models = {toml(named)}\nmodel = {toml(entries)}\n"
    path.write_bytes(content.encode())
    tasks, _ = guard("models in a study file", lambda: planned(path, corpus, place / "out"))
    for task in tasks or ():
        assert task.path.resolve().parent == (place / "out" / "units").resolve()


@given(name=texts | st.text(max_size=400))
@settings(max_examples=2 * settings.default.max_examples)
def test_names_of_models(guard: Any, place: Path, name: str) -> None:
    guard("names of models", lambda: find_model(name))


@given(one=st.tuples(texts, texts), other=st.tuples(texts, texts))
@settings(max_examples=2 * settings.default.max_examples)
def test_names_become_files_that_stay_apart(
    guard: Any, place: Path, one: tuple[str, str], other: tuple[str, str]
) -> None:
    names = [guard("names of files", lambda pair=pair: slug(*pair))[0] for pair in (one, other)]
    for name in names:
        assert len(name) < 150
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name), name
    # Names are joined by a dot, so that ("a", "b") is ("a.b",); files also carry a fingerprint.
    if ".".join(one) != ".".join(other):
        assert names[0].lower() != names[1].lower() or one != other


@given(argument=texts)
@settings(max_examples=max(settings.default.max_examples // 4, 5))
def test_the_command_line(guard: Any, place: Path, argument: str) -> None:
    def call() -> int:
        return extraction.main(["--dry-run", "--study", argument.lstrip("-"), "--out", str(place)])

    code, _ = guard("names of studies", call, outputs=place)
    assert code in (0, 2)
