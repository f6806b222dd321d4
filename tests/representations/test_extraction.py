"""The whole torch side: a study file in, score tables out."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

import extraction
from analysis import fit_curves, load_scores
from pipeline.units import load_facts, open_unit
from study import HOME, load_study

CONCEPTS = {
    "blunt": "He said what he meant, {0} and all, and left the {1} without a bow or another word.",
    "polite": "Would you be so kind, she asked, bowing over the {1}, as to hand me the {0} now?",
    "ornate": "Beneath a canopy of {0} light the {1} unfolded, petal upon petal, gilt and slow.",
}
TOPICS = {"bridge": "old iron", "harbour": "wet rope", "orchard": "green apple"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of three concepts other than emotions, in three topics."""
    folder = tmp_path_factory.mktemp("manners")
    heads = [f'[[emotion]]\nname = "{name}"\n' for name in CONCEPTS]
    (folder / "emotions.toml").write_text('concept = "manner"\n' + "".join(heads))
    topics = [f'[[topic]]\nname = "{name}"\ntext = "a {name}"\n' for name in TOPICS]
    (folder / "topics.toml").write_text("".join(topics))
    (folder / "prompts.toml").write_text(
        'chat = "Write about {topic} in a {emotion} manner."\n'
        'plain = "About {topic}, in a {emotion} manner:"\n'
        'chat_neutral = "Describe {topic}."\nplain_neutral = "About {topic}:"\n'
    )
    passages = [
        {"emotion": c, "topic": t, "text": text.format(thing, t)}
        for c, text in CONCEPTS.items()
        for t, thing in TOPICS.items()
    ]
    neutral = [
        {"topic": t, "text": f"The {t} is {n} meters long and was measured in spring."}
        for t in TOPICS
        for n in ("twelve", "eighty")
    ]
    for name, rows in (("passages", passages), ("neutral", neutral)):
        lines = [json.dumps(row) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, tokenizer, small_llama_settings):
    """A small random model of five layers, saved as a user's own would be."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    torch.manual_seed(1)
    config = AutoConfig.for_model("llama", **{**small_llama_settings, "num_hidden_layers": 5})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def study_file(tmp_path, corpus, model_folder):
    """A study of the small model with every method and control."""
    path = tmp_path / "manners.toml"
    path.write_text(
        f'name = "manners"\ncorpus = "{corpus}"\nmodels = ["tiny"]\n'
        f'[[model]]\nname = "tiny"\nfamily = "Llama"\nsource = "{model_folder}"\n'
        "[generation]\nmax_new_tokens = 16\nmin_new_tokens = 12\nneutral_per_topic = 2\nbatch = 4\n"
        "[pooling]\nskip = 4\nbatch_texts = 4\n[scoring]\nfolds = 3\nreplicates = 8\n"
    )
    return path


def run(study_file, out, *options):
    return extraction.main(["--study", str(study_file), "--out", str(out), *options])


@pytest.mark.arithmetic
def test_concepts_of_ones_own_go_through_the_whole_path(study_file, tmp_path, capsys):
    out = tmp_path / "scores"
    assert run(study_file, out) == 0
    printed = capsys.readouterr().out
    assert "comprehension" in printed
    assert "▁" in printed
    scores = load_scores(out)
    table = scores.table
    assert set(table["method"]) == {"comprehension", "generation", "rereading"}
    assert set(table["weights"]) == {"trained", "untrained"}
    assert set(table["labels"]) == {"true", "shuffled"}
    assert set(table["metric"]) == {"auc", "crossnobis", "cosine", "anisotropy"}
    assert set(table["emotion"]) == {*CONCEPTS, "neutral"}
    # 4 units x 2 labels x 6 layers x (3 metrics x 3 concepts + 1 for the neutral texts)
    assert len(table) == 4 * 2 * 6 * 10
    assert scores.replicates is not None
    assert len(scores.replicates) == 4 * 2 * 6 * 4 * 8
    assert (table["depth"] == table["layer"] / 5).all()
    assert (table["n_layers"] == 5).all()
    run_facts = json.loads((out / "run.json").read_text())
    assert run_facts["study"]["preregistered"]["target"] == 0.5
    assert run_facts["missing"] == []
    assert {u["method"] for u in run_facts["units"]} == {"comprehension", "generation", "rereading"}
    stories = (out / "stories.jsonl").read_text().splitlines()
    assert len(stories) == 9 + 6
    assert run(study_file, out, "--dry-run") == 0
    said = " ".join(re.sub("[│\n]", " ", capsys.readouterr().err).split())
    today = run_facts["certificates"][0]["written"][:10]
    assert said.count(f"passed on {today}: at most") == 2
    assert "before its first unit" not in said
    curves = fit_curves(scores, metric="auc", method="comprehension")
    assert len(curves) == 1
    assert np.isfinite(curves["vertex"]).all() or curves["reason"].notna().all()


@pytest.mark.arithmetic
def test_the_same_study_twice_gives_the_same_tables(study_file, tmp_path):
    assert run(study_file, tmp_path / "a") == 0
    assert run(study_file, tmp_path / "b") == 0
    for name in ("scores.parquet", "replicates.parquet"):
        a, b = (pd.read_parquet(tmp_path / side / name) for side in "ab")
        pd.testing.assert_frame_equal(a, b)
    assert (tmp_path / "a/stories.jsonl").read_text() == (tmp_path / "b/stories.jsonl").read_text()


def test_a_second_run_reuses_units_and_a_new_metric_needs_no_forward_pass(
    study_file, tmp_path, monkeypatch
):
    out = tmp_path / "scores"
    assert run(study_file, out) == 0

    def refuse(*args, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pipeline.jobs.load", refuse)
    assert run(study_file, out) == 0
    text = study_file.read_text().replace("replicates = 8", 'replicates = 9\nmetrics = ["auc"]')
    study_file.write_text(text)
    assert run(study_file, out) == 0
    assert set(load_scores(out).table["metric"]) == {"auc"}
    monkeypatch.undo()
    study_file.write_text(text.replace("skip = 4", "skip = 5"))
    before = set((out / "units").glob("*comprehension*.safetensors"))
    assert run(study_file, out, "--methods", "comprehension") == 0
    assert len(set((out / "units").glob("*comprehension*.safetensors")) - before) == 2


@pytest.mark.arithmetic
def test_rereading_pools_the_tokens_that_were_pooled_while_writing(study_file, tmp_path):
    out = tmp_path / "scores"
    assert run(study_file, out) == 0
    places = [next((out / "units").glob(f"*{m}*.safetensors")) for m in ("generation", "rereading")]
    with open_unit(places[0]) as written, open_unit(places[1]) as reread:
        assert written.facts["emotions"] == reread.facts["emotions"]
        # Layer 0 has no context, so only there do the same tokens give the same mean.
        np.testing.assert_allclose(
            written.activations[:, 0], reread.activations[:, 0], rtol=1e-4, atol=1e-5
        )
        assert not np.allclose(written.activations[:, 5], reread.activations[:, 5], atol=1e-3)


def test_a_dry_run_lists_the_units_and_writes_nothing(study_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.estimate._operations_per_second", lambda: 1e30)
    assert run(study_file, tmp_path / "scores", "--dry-run") == 0
    listed, certificates = capsys.readouterr().err.split("Certificates")
    assert listed.count("tiny") == 4
    for weights in ("trained", "untrained"):
        assert re.search(rf"tiny, {weights}, \w+ +│ before its first unit, about 1 s", certificates)
    assert "About 1 s for what is not done yet" in certificates
    assert not (tmp_path / "scores").exists()


def test_units_of_a_model_have_titles_of_their_own(study_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")  # so that no title is wrapped
    text = study_file.read_text()
    study_file.write_text(
        'precisions = ["float32", "bfloat16"]\nuntrained_seeds = [0, 1]\n'
        + re.sub(r"(?m)^(precisions|untrained_seeds) =.*\n", "", text)
    )
    assert run(study_file, tmp_path / "scores", "--dry-run") == 0
    listed = capsys.readouterr().err.split("Certificates")[0]
    titles = [t.strip() for t in re.findall(r"(?m)^[\s│]*(tiny, [^│]+?) *│", listed)]
    assert len(titles) == len(set(titles)) > 4
    assert "tiny, trained in bfloat16, comprehension" in titles
    assert "tiny, untrained with seed 1, comprehension" in titles


def name_models(study_file, names):
    """Change the study's models to include one that no hub has."""
    text = study_file.read_text().replace('["tiny"]', names)
    study_file.write_text(
        text + '[[model]]\nname = "absent"\nfamily = "X"\nsource = "nobody/nothing"\n'
    )


def test_a_failing_model_leaves_the_others_going(study_file, tmp_path, capsys):
    name_models(study_file, '["absent", "tiny"]')
    out = tmp_path / "scores"
    assert run(study_file, out, "--keep-going") == 1
    error = capsys.readouterr().err
    assert "model 'absent' (nobody/nothing)" in error
    assert "local folder" in error
    assert set(load_scores(out).table["model"]) == {"tiny"}
    assert len(json.loads((out / "run.json").read_text())["missing"]) == 4


@pytest.mark.parametrize(
    "wrong", [{"hidden_size": "wide"}, {"num_hidden_layers": 10**12}, {"num_attention_heads": 0}]
)
def test_a_model_with_a_bad_config_leaves_the_others_going(
    wrong, study_file, model_folder, tmp_path, capsys
):
    bad = tmp_path / "bad"
    shutil.copytree(model_folder, bad)
    config = json.loads((bad / "config.json").read_text())
    (bad / "config.json").write_text(json.dumps(config | wrong))
    text = study_file.read_text().replace('["tiny"]', '["bad", "tiny"]')
    study_file.write_text(text + f'[[model]]\nname = "bad"\nfamily = "X"\nsource = "{bad}"\n')
    assert run(study_file, tmp_path / "scores", "--dry-run") == 0
    assert run(study_file, tmp_path / "scores", "--keep-going") == 1
    error = capsys.readouterr().err
    assert "extraction.py: failed: bad, trained, comprehension: model 'bad'" in error
    assert "Traceback" not in error
    assert set(load_scores(tmp_path / "scores").table["model"]) == {"tiny"}


def test_a_study_whose_every_model_fails_ends_with_the_reasons(study_file, tmp_path, capsys):
    name_models(study_file, '["absent"]')
    out = tmp_path / "scores"
    assert run(study_file, out, "--keep-going") == 1
    assert capsys.readouterr().err.count("extraction.py: failed: absent") == 4
    assert not (out / "run.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('models = ["tiny"]', 'models = ["tinny"]'), "unknown model 'tinny'"),
        (("replicates = 8", 'metrics = ["auk"]'), "scoring.metrics"),
        (("[pooling]", "[poling]"), "unknown field 'poling'"),
        (("skip = 4", "skip = 0"), "pooling.skip = 0 must be at least 1"),
        (("skip = 4", 'skip = "four"'), "must be a whole number"),
        (('name = "manners"', 'name = "../up"'), "becomes a folder"),
        (('corpus = "', 'corpus = "/nowhere'), "nowhere"),
        (('name = "manners"', 'name = "manners"\nmethods = ["telepathy"]'), "unknown 'telepathy'"),
        (('name = "manners"', "name ="), "not readable as TOML"),
        (("replicates = 8", "replicates = 8\n[preregistered]\nmetric = 'x'"), "preregistered"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(change, message, study_file, tmp_path, capsys):
    study_file.write_text(study_file.read_text().replace(*change))
    out = tmp_path / "scores"
    assert run(study_file, out) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("extraction.py: ")
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


def test_unknown_names_on_the_command_line(study_file, tmp_path, capsys):
    assert extraction.main(["--study", "nonsense"]) == 2
    assert "study 'nonsense' is unknown; there are causal, demo" in capsys.readouterr().err
    (tmp_path / "scores.csv").touch()
    assert extraction.main(["--study", str(tmp_path / "scores.csv")]) == 2
    assert "scores.csv' is not a study file; there are causal" in capsys.readouterr().err
    assert run(study_file, tmp_path / "scores", "--models", "big") == 2
    assert "study manners has no model 'big'; it has tiny" in capsys.readouterr().err
    assert run(study_file, tmp_path / "scores", "--device", "tpu9") == 2
    assert "tpu9" in capsys.readouterr().err


def test_a_method_of_untrained_models_alone_can_be_chosen(study_file, tmp_path, capsys):
    methods = 'methods = ["generation"]\nuntrained_methods = ["comprehension"]\n'
    study_file.write_text(study_file.read_text().replace("models = [", methods + "models = ["))
    out = tmp_path / "scores"
    assert run(study_file, out, "--methods", "comprehension", "--dry-run") == 0
    printed = " ".join("".join(capsys.readouterr()).split())
    assert "tiny, untrained, comprehension" in printed
    assert "generation" not in printed
    assert run(study_file, out, "--methods", "rereading", "--dry-run") == 2
    assert "no method 'rereading'; it has generation, comprehension" in capsys.readouterr().err


def test_the_shipped_studies_are_valid():
    for path in sorted((HOME / "data" / "studies").glob("*.toml")):
        assert load_study(path).name == path.stem


def test_real_smollm2_reads_and_writes(tmp_path, capsys):
    """A handful of texts through the real model, from its package."""
    study = tmp_path / "handful.toml"
    study.write_text(
        'name = "handful"\nmodels = ["smollm2-135m-instruct"]\nweights = ["trained"]\n'
        'emotions = ["happy", "angry"]\ntopics = 3\nlabels = ["true"]\n'
        "[generation]\nmax_new_tokens = 14\nmin_new_tokens = 14\nneutral_per_topic = 1\n"
        "[scoring]\nreplicates = 4\n"
    )
    out = tmp_path / "scores"
    assert run(study, out) == 0
    table = load_scores(out).table
    assert set(table["n_layers"]) == {30}
    assert set(table["n_params"]) == {134515008}
    assert set(table["precision"]) == {"Q4_1 float32"}
    stories = [json.loads(s) for s in (out / "stories.jsonl").read_text().splitlines()]
    assert len(stories) == 9
    # What a model writes depends on the processor, but it must write something.
    assert sum(len(s["text"].split()) >= 4 for s in stories) > 4


def answered(prompts, unit):
    """Return what an engine would return for the stories of a finished unit."""
    by_cell = {(s["emotion"], s["topic"], s["number"]): s for s in load_facts(unit)["stories"]}
    for line in prompts.read_text().splitlines():
        request = json.loads(line)
        _, emotion, topic, number = request["custom_id"].split("/")
        story = by_cell[emotion, topic, int(number)]
        choice = {"index": 0, "text": story["text"], "token_ids": story["token_ids"]}
        response = {"status_code": 200, "body": {"choices": [choice]}}
        yield {"custom_id": request["custom_id"], "response": response, "error": None}


@pytest.mark.arithmetic
def test_stories_of_another_engine_are_read_as_while_writing(study_file, tmp_path, capsys):
    """Stories give the same activations, written here or handed in in another order."""
    prompts, stories = tmp_path / "prompts.jsonl", tmp_path / "stories.jsonl"
    assert run(study_file, tmp_path / "own", "--quiet") == 0
    assert run(study_file, tmp_path / "own", "--prompts-out", str(prompts)) == 0
    requests = [json.loads(line) for line in prompts.read_text().splitlines()]
    own = next((tmp_path / "own" / "units").glob("tiny.trained*generation*.safetensors"))
    written = load_facts(own)["stories"]
    assert [r["body"]["seed"] for r in requests] == [s["seed"] for s in written]
    assert {(r["url"], r["body"]["max_tokens"]) for r in requests} == {("/v1/completions", 16)}
    assert len({tuple(r["body"]["prompt"]) for r in requests}) == 3 * 3 + 3
    lines = [json.dumps({**answer, "engine": "a fast one"}) for answer in answered(prompts, own)]
    stories.write_text("\n".join(reversed(lines)))
    capsys.readouterr()
    shards = ("--shards", "2")
    assert run(study_file, tmp_path / "told", "--stories", str(stories), *shards) == 0
    assert "generation by a fast one" in capsys.readouterr().err
    for method in ("generation", "rereading"):
        paths = [
            next((tmp_path / side / "units").glob(f"tiny.trained*{method}*.safetensors"))
            for side in ("own", "told")
        ]
        assert paths[0].name != paths[1].name  # a later run without the file takes neither for both
        with open_unit(paths[0]) as a, open_unit(paths[1]) as b:
            assert a.facts["topics"] == b.facts["topics"]
            assert b.facts["written_by"].startswith("a fast one")
            for layer in range(a.activations.shape[1]):
                np.testing.assert_allclose(
                    a.activations[:, layer], b.activations[:, layer], rtol=1e-4, atol=1e-5
                )
    units = json.loads((tmp_path / "told" / "run.json").read_text())["units"]
    by = {u["method"]: u.get("written_by", "") for u in units if u["weights"] == "trained"}
    assert by["comprehension"] == ""
    assert by["generation"] == by["rereading"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines, lines[0]], "line 16: a second story"),
        (lambda lines: lines[1:], "lacks 1 of its 15 stories, for instance 'tiny/blunt/bridge/0'"),
        (lambda lines: ["{", *lines], "line 1: not a story"),
        (lambda lines: ['{"custom_id": "tiny/blunt/bridge/0"}'], "has no text and no token_ids"),
        (lambda lines: ['{"custom_id": "other/1", "text": "a"}'], "is not a story of this study"),
        (
            lambda lines: ['{"custom_id": "tiny/blunt/bridge/0", "error": {"message": "late"}}'],
            "the engine did not write",
        ),
        (
            lambda lines: [lines[0].replace("[5]", "[-5]"), *lines[1:]],
            "Expected `int` >= 0",
        ),
        (lambda lines: [lines[0].replace("[5]", "[999]"), *lines[1:]], "gives token 999"),
        (
            lambda lines: [lines[0].replace("[5]", str([5] * 17)), *lines[1:]],
            "has 17 tokens, and the study's generation.max_new_tokens is 16",
        ),
    ],
)
def test_what_is_no_story_of_the_study_is_refused(study_file, tmp_path, capsys, change, said):
    cells = [f"{c}/{t}/0" for t in TOPICS for c in CONCEPTS]
    cells += [f"/{t}/{k}" for t in TOPICS for k in range(2)]
    lines = [json.dumps({"custom_id": f"tiny/{cell}", "token_ids": [5]}) for cell in cells]
    path = tmp_path / "stories.jsonl"
    path.write_text("\n".join(change(lines)))
    options = ("--stories", str(path), "--methods", "generation", "--quiet")
    assert run(study_file, tmp_path / "out", *options) == 2
    assert said in capsys.readouterr().err


def test_a_story_given_as_text_is_tokenized_and_cut_at_its_end(study_file, tmp_path):
    cells = [f"{c}/{t}/0" for t in TOPICS for c in CONCEPTS]
    cells += [f"/{t}/{k}" for t in TOPICS for k in range(2)]
    text = "the quick brown fox jumps over"
    lines = [json.dumps({"custom_id": f"tiny/{c}", "text": text + "</s> lazy"}) for c in cells]
    (tmp_path / "stories.jsonl").write_text("\n".join(lines))
    out, options = tmp_path / "out", ("--methods", "generation", "--quiet")
    assert run(study_file, out, "--stories", str(tmp_path / "stories.jsonl"), *options) == 0
    told = [json.loads(line)["text"] for line in (out / "stories.jsonl").read_text().splitlines()]
    assert told == [text] * 15


def test_every_model_reads_the_stories_of_the_others(study_file, tmp_path, capsys, model_folder):
    """Writers are named in the column method; a changed story makes a new reading."""
    two = study_file.read_text().replace('models = ["tiny"]', 'models = ["tiny", "other"]')
    two = two.replace(
        "[generation]",
        f'[[model]]\nname = "other"\nfamily = "Llama"\nsource = "{model_folder}"\n[generation]',
    )
    methods = 'methods = ["comprehension", "generation", "rereading", "crossreading"]\n'
    study_file.write_text(two.replace("models = [", methods + 'weights = ["trained"]\nmodels = ['))
    out = tmp_path / "out"
    assert run(study_file, out, "--quiet", "--shards", "2") == 0
    table = load_scores(out).table
    crossed = table[table["method"].str.startswith("crossreading")]
    pairs = set(zip(crossed["model"], crossed["method"], strict=True))
    assert pairs == {("tiny", "crossreading of other"), ("other", "crossreading of tiny")}
    stories = [json.loads(line) for line in (out / "stories.jsonl").read_text().splitlines()]
    assert len(stories) == 2 * 15
    units = {p.name: p for p in (out / "units").glob("*.safetensors")}
    of = {f["method"]: f for f in map(load_facts, units.values()) if f["model"] == "tiny"}
    # The models are twins, so what "tiny" reads of "other" is what "other" rereads.
    assert of["crossreading of other"]["texts"] == of["rereading"]["texts"]
    assert run(study_file, out, "--methods", "crossreading", "--dry-run") == 0
    assert "tiny, trained, crossreading of other" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('crossreading_pairs = [["tiny", "tiny"]]', "pairs 'tiny' with itself"),
        ('crossreading_pairs = [["tiny", "nobody"]]', "names 'nobody', which is not among models"),
        (
            'untrained_methods = ["generation", "crossreading"]',
            "untrained_methods has crossreading",
        ),
        ('methods = ["crossreading"]', "crossreading without generation"),
    ],
)
def test_pairs_that_cannot_be_crossed(study_file, tmp_path, capsys, line, said):
    study_file.write_text(line + "\n" + study_file.read_text())
    assert run(study_file, tmp_path / "out") == 2
    assert said in capsys.readouterr().err
