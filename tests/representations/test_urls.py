"""Studies with tables at a URL: in memory, and on an S3 server on loopback."""

import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import extraction
import steering
from analysis import load_scores, load_trials
from pipeline.units import load_facts
from study import HOME
from study.lock import only_run
from study.read import locate


@pytest.fixture(scope="module")
def s3():
    """An S3 server, with a bucket `study`; everything in this process finds it."""
    pytest.importorskip("s3fs", reason="needs the extra cluster")
    server_module = pytest.importorskip("moto.server", reason="needs the extra dev")
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        boto3.client("s3").create_bucket(Bucket="study")
        yield f"http://{host}:{port}"
        server.stop()


def run(study_file, out, *options):
    return extraction.main(["--study", str(study_file), "--out", out, *options])


def assert_same(a, b):
    """The content is the same; rows get new numbers."""
    pd.testing.assert_frame_equal(a.table, b.table)
    texts = dict.fromkeys(a.replicates.select_dtypes("category"), str)  # of any categories
    pd.testing.assert_frame_equal(a.replicates.astype(texts), b.replicates.astype(texts))


@pytest.mark.parametrize("shards", ["1", "3"])
def test_a_run_killed_twice_resumes_in_s3_to_the_same_tables(
    shards, five, five_here, s3, tmp_path, monkeypatch
):
    out = f"s3://study/scores/killed-{shards}"
    chosen = ["--models", "tiny-Llama", "--shards", shards]
    options = ["--study", str(five), "--out", out, *chosen]
    for wanted in (0, 1):
        process = subprocess.Popen(
            [sys.executable, "extraction.py", *options], cwd=HOME, stdout=-3, stderr=-3
        )
        deadline = time.monotonic() + 1200
        while process.poll() is None and time.monotonic() < deadline:
            there = locate(out)
            there.fs.invalidate_cache()
            units = there.fs.glob(f"{there.path}/units/*.safetensors")
            if (there / ".lock").exists() and len(units) >= wanted:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        there.fs.invalidate_cache()
        for name in there.fs.glob(f"{there.path}/units/*.safetensors"):
            assert load_facts(locate(f"s3://{name}"))["texts"] > 0  # what is there is whole
    assert (locate(out) / ".lock").exists()  # the process that held it is gone
    assert run(five, out, *chosen) == 0
    here = five_here if shards == "1" else tmp_path
    assert here is five_here or run(five, str(here), *chosen) == 0
    assert_same(load_scores(out), load_scores(here, model="tiny-Llama"))
    assert not (locate(out) / ".lock").exists()
    there.fs.invalidate_cache()
    assert len(there.fs.glob(f"{there.path}/units/*.safetensors")) == 4

    def refuse(*args, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pipeline.jobs.load", refuse)
    assert run(five, out, *chosen) == 0


def test_steering_goes_to_a_url_too(five, five_here):
    pytest.importorskip("nrclex")
    text = five.read_text().replace("\nmodels = [", '\nmodels = ["tiny-Llama"] # [')
    alone = five.with_name("alone.toml")
    alone.write_text(text)
    arguments = [
        "--study",
        str(alone),
        "--scores",
        str(five_here),
        "--out",
        "memory://study/steering",
    ]
    assert steering.main(arguments) == 0
    assert set(load_trials("memory://study/steering").table["model"]) == {"tiny-Llama"}


def test_a_bucket_without_permission_is_found_out_before_a_model_is_loaded(
    five, s3, monkeypatch, capsys
):
    import boto3

    iam = boto3.client("iam")
    iam.create_user(UserName="reader")
    allowed = {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]

    def refuse(*args, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pipeline.jobs.load", refuse)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    locate("s3://study").fs.clear_instance_cache()  # the keys are read when it is made
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)  # rights count from now
    assert run(five, "s3://study/scores/forbidden") == 2
    error = capsys.readouterr().err
    assert "s3://study/scores/forbidden: cannot be written to" in error
    assert "check the URL and your permissions" in error
    locate("s3://study").fs.clear_instance_cache()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("s3://nobody/scores", "cannot be written to (The specified bucket does not exist)"),
        ("nonsense://a/b", "nonsense://a/b: "),
    ],
)
def test_urls_that_lead_nowhere(out, message, five, s3, capsys):
    assert run(five, out) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_a_run_at_a_url_leaves_a_mark_while_it_is_at_work():
    folder = locate("memory://study/marked")
    with only_run(folder):
        assert (folder / ".lock").exists()
    assert not (folder / ".lock").exists()
