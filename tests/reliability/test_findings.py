"""One plain test per fault found by fuzzing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline.plan import plan
from representations.corpus.corpus import CorpusError, load_corpus
from representations.steering.trials import load_scenarios
from study import HOME, load_study
from study.read import InputError, one_line, read_bytes
from study.registry import find_model, registry

CORPUS = HOME / "data" / "corpus"


def study(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CORPUS, tmp_path / "corpus"))


# -- the study file ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 20_000, "nested too deeply"),
        ("seed = " + "9" * 5000, "not readable as TOML"),
        ('models = ["gpt2"]\nname = "' + "x" * 300 + '"', "use at most 64"),
        ('models = ["gpt2"]\nuntrained_seeds = [-5]', r"untrained_seeds\[0\] = -5"),
        ('models = ["gpt2"]\nuntrained_seeds = [1, 1]', "each once"),
        ('models = ["gpt2"]\n[steering]\nseeds = [9999999999]', r"steering.seeds\[0\]"),
        ('models = ["gpt2"]\n[generation]\nmin_new_tokens = -1', "min_new_tokens = -1"),
        (
            'models = ["gpt2"]\n[generation]\nmin_new_tokens = 20\nmax_new_tokens = 10',
            r"generation\.min_new_tokens = 20 is above generation\.max_new_tokens = 10",
        ),
        ('models = ["gpt2"]\n[steering]\nmax_new_tokens = 7', r"steering\.min_new_tokens = 8 is"),
        ('models = ["gpt2"]\n[scoring]\nmetrics = ["auc", "auc"]', "scoring.metrics"),
        ('models = ["gpt2"]\n[preregistered]\nperplexity_ratio = -2', "perplexity_ratio"),
    ],
)
def test_a_study_file_that_asks_for_nonsense_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_study(study(tmp_path, text))


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 5000 + ".toml", "a\0b", "a\0b.toml"])
def test_a_name_that_no_file_can_have_is_an_unknown_study(name: str) -> None:
    with pytest.raises(InputError):
        load_study(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, corpus: Path) -> None:
    os.mkfifo(tmp_path / "study.toml")
    with pytest.raises(InputError, match="not a regular file"):
        load_study(tmp_path / "study.toml")
    (corpus / "passages.jsonl").unlink()
    (corpus / "passages.jsonl").symlink_to("/dev/zero")
    with pytest.raises(CorpusError, match="not a regular file"):
        load_corpus(corpus)


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(2000))
    with pytest.raises(OSError, match="larger than"):
        read_bytes(path, largest=1000)


def test_a_message_is_one_line_whatever_the_input_holds() -> None:
    text = "a\nb\r\x1b[2Jc\u2028d" + "x" * 10_000 + " remedy"
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= 1000
    assert line.startswith("a b \\x1b[2Jc d")
    assert line.endswith("remedy")
    assert str(InputError(text)) == line


# -- models -----------------------------------------------------------------------------------

OWN = {"name": "m", "family": "f", "source": "x/y"}
DIGEST = {"sha256": "0" * 64}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"instruct": "yes"}, "instruct = 'yes' must be true or false"),
        ({"file": 3}, "file = 3 must be a text"),
        ({"config": 3}, "config must be a table"),
        ({"revision": []}, "must be a text"),
        ({"sha256": "../../../../tmp"}, "64 hexadecimal digits"),
        ({"file": "../../x"}, "within its folder"),
        ({"file": "/etc/passwd"}, "within its folder"),
        ({"file": "*"}, "within its folder"),
        ({"source": "package:json", "file": "x"}, "need file and sha256"),
    ],
)
def test_a_model_s_entry_is_checked(entry: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry([OWN | entry])


@pytest.mark.parametrize("name", ["marked.sub", "", ".os", "../x", "\0"])
@pytest.mark.parametrize("field", ["source", "tokenizer"])
def test_looking_for_a_package_runs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, name: str
) -> None:
    """To find a.b, Python imports a, so a study file could have run any installed module."""
    (tmp_path / "marked").mkdir()
    (tmp_path / "marked" / "__init__.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="package:NAME"):
        registry([OWN | {"file": "x"} | DIGEST | {field: f"package:{name}"}])


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", ""])
def test_a_model_s_name_may_be_no_path(name: str) -> None:
    with pytest.raises(InputError, match="unknown model"):
        find_model(name)


def test_two_models_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    two = load_study(study(tmp_path, 'models = ["a/foo", "b/foo"]\nweights = ["trained"]'))
    with pytest.raises(InputError, match="both be called 'foo'"):
        plan(two, load_corpus(CORPUS), tmp_path / "out", "cpu")
    with pytest.raises(InputError, match="two entries have this name"):
        registry([OWN, OWN | {"source": "c/d"}])


def test_a_further_precision_reads_passages_of_trained_models_only(tmp_path: Path) -> None:
    text = 'models = ["a/b"]\nprecisions = ["float32", "bfloat16"]'
    units = plan(load_study(study(tmp_path, text)), load_corpus(CORPUS), tmp_path / "out", "cpu")
    further = [unit for unit in units if unit.dtype == "bfloat16"]
    assert [(unit.weights, unit.method) for unit in further] == [("trained", "comprehension")]
    assert len(units) == 5  # three methods of the trained model, one of its twin
    text += '\nmethods = ["generation"]'
    with pytest.raises(InputError, match="only read passages; add comprehension to methods"):
        load_study(study(tmp_path, text))


# -- texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_corpus_s_name_may_be_no_path(name: str) -> None:
    with pytest.raises(CorpusError, match="no such folder"):
        load_corpus(name)


def test_a_passage_with_a_number_of_thousands_of_digits_is_a_fault(corpus: Path) -> None:
    with (corpus / "passages.jsonl").open("a") as file:
        file.write('{"emotion": ' + "9" * 5000 + "}\n")
    with pytest.raises(CorpusError, match="line 481: broken JSON"):
        load_corpus(corpus)


def test_a_corpus_s_toml_may_be_nested_without_end(corpus: Path) -> None:
    (corpus / "topics.toml").write_text("topic = " + "[" * 20_000)
    with pytest.raises(CorpusError, match="nested too deeply"):
        load_corpus(corpus)


def test_faults_without_number_are_counted_and_not_shown(corpus: Path) -> None:
    (corpus / "passages.jsonl").write_text("{\n" * 500)
    with pytest.raises(CorpusError, match=r"and \d+ more$") as caught:
        load_corpus(corpus)
    assert len(caught.value.faults) > 500
    assert len(str(caught.value).splitlines()) == 101


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scenario = 3", "scenario = 3 must be a list"),
        ("scenario = [3]", r"scenario\[0\] must be a table"),
        ("a = " + "[" * 20_000, "nested too deeply"),
    ],
)
def test_scenarios_of_another_form_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = study(tmp_path, text)
    with pytest.raises(InputError, match=message):
        load_scenarios(path)


def test_a_template_of_scenarios_is_filled_and_not_interpreted(tmp_path: Path) -> None:
    opening = json.dumps("He said {0} and {x.y}.")
    path = study(
        tmp_path, f'plain = "{{a!r:>9}} {{opening}}"\n[[scenario]]\nname = "a"\nopening = {opening}'
    )
    prompt = load_scenarios(path).prompt("a", chat=False)
    assert prompt == "{a!r:>9} He said {0} and {x.y}."


def test_a_folder_of_units_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "units").symlink_to(tmp_path / "elsewhere")
    one = load_study(study(tmp_path, 'models = ["gpt2"]\nweights = ["untrained"]'))
    with pytest.raises(InputError, match="outside the study's folder"):
        plan(one, load_corpus(CORPUS), tmp_path / "out", "cpu")
