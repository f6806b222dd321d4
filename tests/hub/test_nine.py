"""A small form of study `jeong2026`, from nothing to claims and steering, and again offline."""

import json

import pandas as pd
import pytest

from tests.paper_text import text_of_paper


@pytest.fixture(scope="module")
def scores(command, small_study, tmp_path_factory):
    """The folder of tables, with all units from the hub."""
    folder = tmp_path_factory.mktemp("scores")
    done = command("extraction.py", "--study", small_study, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def units(folder):
    return json.loads((folder / "run.json").read_text())["units"]


def test_all_units_of_the_nine_are_made(scores, nine):
    found = units(scores)
    assert len(found) == 36
    assert len({unit["model"] for unit in found}) == 9
    for unit in found:
        if unit["weights"] == "trained":
            commits = nine.repositories[unit["source"]].commits
            assert unit["fingerprint"].removeprefix("revision ") in commits


def test_each_model_has_a_certificate_and_a_commit_that_it_is_held_to(scores, nine):
    run = json.loads((scores / "run.json").read_text())
    assert len(run["certificates"]) == 18
    for certificate in run["certificates"]:
        checks = {check["check"] for check in certificate["checks"]}
        assert ("written and read" in checks) == (certificate["weights"] == "trained")
        assert all(check["value"] <= check["limit"] for check in certificate["checks"])
    pins = json.loads((scores / "models.json").read_text())
    for name, repository in nine.repositories.items():
        assert pins[f"{name}@main"] == repository.branches["main"]


def test_only_what_a_model_needs_is_fetched(scores, nine):
    fetched = {path for kind, _, path in nine.asked if kind != "info"}
    assert "model-00001-of-00002.safetensors" in fetched
    assert "chat_template.jinja" in fetched
    strange = (".bin", ".pth", ".h5", ".onnx", ".py", ".msgpack", ".ot", ".tflite")
    assert not [path for path in fetched if path.endswith(strange)]
    assert not {"consolidated.safetensors", "params.json", "onnx/config.json"} & fetched


def test_trained_and_untrained_are_of_one_size(scores):
    """A tower for images is not part of the language model, trained or untrained."""
    sizes = pd.DataFrame(units(scores)).groupby("model")[["n_params", "n_layers"]].nunique()
    assert (sizes == 1).all().all()


def test_the_analysis_and_steering_accept_the_tables(scores, command, small_study, tmp_path):
    done = command("-m", "analysis", scores)
    assert done.returncode == 0, done.stderr
    assert "ministral" in done.stdout
    arguments = ("--study", small_study, "--scores", scores, "--out", tmp_path)
    done = command("steering.py", *arguments)
    assert done.returncode == 0, done.stderr
    trials = pd.read_parquet(tmp_path / "trials.parquet")
    assert trials["model"].nunique() == 9


def test_the_paper_is_made_from_the_tables_of_the_nine(scores, monkeypatch):
    text = text_of_paper(scores, monkeypatch)
    assert "nine models of five families" in text or "nine models and five families" in text
    assert "Ministral" in text or "ministral" in text
    assert "Certificates" in text or "certificate" in text


def test_offline_the_same_comes_out_again(scores, command, small_study, tmp_path):
    """Nothing listens at that port, and the run does not try it."""
    chosen = ["gemma-3-1b-it", "llama-3.2-3b-instruct", "ministral-3-3b-instruct"]
    options = ("--study", small_study, "--out", tmp_path, "--models", *chosen)
    done = command("extraction.py", *options, HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    before, again = (pd.read_parquet(folder / "scores.parquet") for folder in (scores, tmp_path))
    before = before[before["model"].isin(chosen)].reset_index(drop=True)
    texts = dict.fromkeys(before.select_dtypes("category"), str)
    pd.testing.assert_frame_equal(before.astype(texts), again.astype(texts))
