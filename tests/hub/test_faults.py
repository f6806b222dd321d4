"""Faults of a hub: each is retried, or ends in one line with its remedy."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from flask import Response, request
from huggingface_hub import constants
from server import Hub, refusal

from pipeline.pins import at_commit, pinned
from representations.models import hub as hub_module
from representations.models.hub import commit_of, fetched
from study import HOME
from study.read import InputError
from study.registry import ModelSpec

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": bytes(range(256)) * 2000,
    "pytorch_model.bin": b"cos\nsystem\n",
}
SPEC = ModelSpec("m", "f", "a/m")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub of one model in place of the real one, with short waits and an empty cache."""
    server = Hub()
    server.add("a/m", FILES)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_user")
    monkeypatch.setattr(hub_module, "ANSWER", 0.5)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub_module._silent.clear()
    hub_module._commits.clear()
    yield server
    server.ended.set()
    server.close()


def said(spec=SPEC):
    """Return the error line of fetching a model."""
    with pytest.raises(InputError) as caught:
        fetched(spec)
    line = str(caught.value)
    assert line.startswith(f"model '{spec.name}' ({spec.source})")
    assert "\n" not in line
    return line


def at(kind, answer, times=99):
    """Make a fault of the first requests of a kind; `answer` makes the response."""
    seen = Counter()

    def fault(asked, repository, path):
        if asked != kind or (kind != "info" and not path.endswith("safetensors")):
            return None
        seen[asked] += 1
        return answer() if seen[asked] <= times else None

    return fault


def status(code, name="", **headers):
    return lambda: refusal(code, name, "No.", **headers)


def broken():
    """Send half of a file, then close the connection."""

    size = len(FILES["model.safetensors"])

    def pieces():
        yield FILES["model.safetensors"][: size // 2]
        raise ConnectionError("cut")

    return Response(pieces(), headers={"Content-Length": str(size)})


def short():
    return Response(FILES["model.safetensors"][:-7])


def wrong():
    return Response(bytes(len(FILES["model.safetensors"])))


def page():
    return Response("<html>Log in to the network</html>", mimetype="text/html")


def stalled(hub):
    def answer():
        hub.ended.wait(600)
        return Response("late")

    return answer


PASSING = {
    "a 500 of the hub": at("info", status(500), 1),
    "a 502 of the hub, twice": at("info", status(502), 2),
    "a 503 at a file": at("file", status(503), 1),
    "a 503 of the CDN": at("cdn", status(503), 1),
    "a 504 of the CDN, twice": at("cdn", status(504), 2),
    "a limit at a file that says how long": at("cdn", status(429, **{"Retry-After": "1"}), 1),
    "a broken connection": at("cdn", broken, 1),
    "wrong content": at("cdn", wrong, 1),
    "too short a file": at("cdn", short, 1),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_waited_for(hub, name):
    hub.fault = PASSING[name]
    folder, commit = fetched(SPEC)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not (folder / "pytorch_model.bin").exists()
    assert commit in hub.repositories["a/m"].commits


LASTING = {
    "gated": (at("file", status(403, "GatedRepo")), "it is gated; accept its license at http"),
    "private": (at("info", status(401, "RepoNotFound")), "no such model, or it is private; check"),
    "bad token": (at("info", status(401)), r"refuses the token \(status 401\); log in"),
    "forbidden": (at("info", status(403)), r"refuses the token \(status 403\); log in"),
    "limited": (at("info", status(429)), "too many requests; log in .*, or wait"),
    "limited for an hour": (
        at("info", status(429, **{"Retry-After": "3600"})),
        r"asks to wait for 3600 s; run the same command again after that",
    ),
    "limited for an hour at a file": (
        at("cdn", status(429, **{"ratelimit": '"api";r=0;t=3600'})),
        r"asks to wait for 3600 s",
    ),
    "down": (at("info", status(500)), "answers with status 500; try again later"),
    "CDN down": (at("cdn", status(503)), "answers with status 503; try again later"),
    "always cut": (at("cdn", broken), "(ended too early|cannot be reached)"),
    "always short": (at("cdn", short), "ended too early, or has another size .*; run again"),
    "always wrong": (at("cdn", wrong), "not what the hub says it is, twice; try again later"),
    "a page instead": (at("info", page), "try again, or set source to a local folder"),
    "gone": (at("file", status(404, "EntryNotFound")), "hub lists is not there; try again later"),
}


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_ends_in_one_line(hub, name):
    hub.fault, message = LASTING[name]
    line = said()
    assert hub_module.re.search(message, line), line


@pytest.mark.parametrize("kind", ["info", "cdn"])
def test_a_hub_that_stalls_is_left_alone(hub, kind):
    hub.fault = at(kind, stalled(hub))
    assert "cannot be reached" in said()
    asked = len(hub.asked)
    assert said(ModelSpec("n", "f", "a/n")).endswith("set source to a local folder, as before")
    assert len(hub.asked) == asked


def test_no_server_is_found_out_once(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub at http://127.0.0.1:9 cannot be reached" in said()


def test_what_is_here_needs_no_server(hub, monkeypatch):
    folder, commit = fetched(SPEC)
    hub_module._commits.clear()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert fetched(SPEC) == (folder, commit)


def test_offline_without_a_copy_says_so(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set; unset it, or bring them (hf download a/m)" in said()


def test_a_missing_model_and_a_missing_revision_differ(hub):
    assert "no such model, or it is private" in said(ModelSpec("n", "f", "a/other"))
    line = said(ModelSpec("m", "f", "a/m", revision="v9"))
    assert "no revision 'v9' of it; choose one of http" in line


def test_a_branch_that_moves_does_not_move_a_study(hub, tmp_path):
    first = commit_of(SPEC)
    second = hub.repositories["a/m"].commit(FILES | {"config.json": b'{"model_type": "gpt2"}'})
    assert first != second
    assert fetched(SPEC)[1] == first  # all through a process
    commits = pinned(tmp_path, [SPEC])
    hub_module._commits.clear()  # another run
    assert pinned(tmp_path, [SPEC]) == commits == {"a/m@main": first}
    folder, commit = fetched(at_commit(SPEC, commits))
    assert commit == first
    assert b"llama" in (folder / "config.json").read_bytes()
    assert commit_of(SPEC) == second  # a new study


# -- the disk ---------------------------------------------------------------------------------


def test_a_disk_that_is_too_small_is_named_before(hub, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "free some space, or name another folder in HF_HOME" in said()
    assert not [path for kind, _, path in hub.asked if kind == "cdn"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk of the hub's cache is full; free some space"),
        (errno.EROFS, "the hub's cache cannot be written to; name another folder in HF_HOME"),
        (errno.EACCES, "the hub's cache cannot be written to; name another folder in HF_HOME"),
    ],
)
def test_what_a_disk_says_is_not_the_hubs_fault(hub, monkeypatch, number, message):
    def refuse(*args, **given):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("huggingface_hub.file_download.http_get", refuse)
    assert message in said()


def test_a_damaged_copy_is_fetched_again(hub):
    folder, _ = fetched(SPEC)
    for name in ("model.safetensors", "config.json"):
        blob = (folder / name).resolve()
        blob.write_bytes(blob.read_bytes()[:-1] + b"!")
        assert (fetched(SPEC)[0] / name).read_bytes() == FILES[name]


def test_a_copy_that_is_gone_is_fetched_again(hub):
    folder, _ = fetched(SPEC)
    (folder / "model.safetensors").resolve().unlink()
    assert (fetched(SPEC)[0] / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_damaged_copy_without_a_hub_is_refused(hub):
    folder, _ = fetched(SPEC)
    (folder / "model.safetensors").resolve().write_bytes(b"damaged")
    hub.fault = lambda *asked: refusal(500, "", "No.")
    assert "answers with status 500" in said()


# -- contents of a repository -----------------------------------------------------------------

INDEX = {"model.safetensors.index.json": b'{"weight_map": {"a": "model-1.safetensors"}}'}
HELD = {
    "pickle files only": (
        {k: v for k, v in FILES.items() if k != "model.safetensors"},
        "no weights as safetensors, and weights in pickle form are not read",
    ),
    "a GGUF file": ({"m.gguf": b"GGUF"}, "holds GGUF files; get one of them, and name its folder"),
    "an adapter": (FILES | {"adapter_config.json": b"{}"}, "is an adapter; merge it"),
    "no config": ({"model.safetensors": b""}, "has no config.json"),
    "an index to nothing": (
        {"config.json": b"{}", "tokenizer.json": b"{}", **INDEX},
        "has no model-1.safetensors, which its index names",
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_a_repository_that_holds_no_model_is_named(hub, name):
    files, message = HELD[name]
    hub.add("a/m", files)
    assert message in said()
    fetched_ = {path for kind, _, path in hub.asked if kind != "info"}
    assert not {"pytorch_model.bin", "m.gguf"} & fetched_


def test_an_index_to_a_pickle_file_is_not_followed(hub):
    index = json.dumps({"weight_map": {"a": "pytorch_model.bin"}}).encode()
    files = {k: v for k, v in FILES.items() if k != "model.safetensors"}
    hub.add("a/m", files | {"model.safetensors.index.json": index})
    with pytest.raises(
        InputError, match=r"names 'pytorch_model\.bin', which is not a .safetensors"
    ):
        fetched(SPEC)


def test_two_at_once_fetch_one_copy(hub):
    results = []
    threads = [threading.Thread(target=lambda: results.append(fetched(SPEC))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1]
    assert Path(results[0][0], "model.safetensors").exists()


# -- a process that is killed -----------------------------------------------------------------

WEIGHTS = FILES["model.safetensors"]
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
FETCH = """
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = 1000
from representations.models.hub import fetched
from study.registry import ModelSpec
fetched(ModelSpec("m", "f", "a/m"))
"""


def test_a_download_that_a_kill_cut_off_is_finished(hub, tmp_path):
    half = len(WEIGHTS) // 2

    def pieces():
        yield WEIGHTS[:half]
        hub.ended.wait(600)

    length = {"Content-Length": str(len(WEIGHTS))}
    hub.fault = at("cdn", lambda: Response(pieces(), headers=length), 1)
    blobs = tmp_path / "hub" / "models--a--m" / "blobs"
    given = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "hub"), "PYTHONPATH": str(HOME)}
    child = subprocess.Popen([sys.executable, "-c", FETCH], env=os.environ | given)
    while sum(path.stat().st_size for path in blobs.glob(f"{SHA256}*")) < half // 2:
        assert child.poll() is None
        threading.Event().wait(0.02)
    child.kill()
    child.wait()
    (part,) = blobs.glob("*.incomplete")
    begun = part.stat().st_size
    os.utime(part, (0, 0))
    ranges = []

    def note(kind, repository, path):
        if kind == "cdn":
            ranges.append((request.headers.get("Range"), request.headers.get("Authorization")))

    hub.fault = note
    folder, _ = fetched(SPEC)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert ranges == [(f"bytes={begun}-", None)]
    assert not list(blobs.glob("*.incomplete"))


@pytest.mark.parametrize("content", [b"damaged", WEIGHTS + b"!", WEIGHTS, b""])
def test_what_a_kill_left_is_trusted_only_by_its_hash(hub, tmp_path, content):
    blobs = tmp_path / "hub" / "models--a--m" / "blobs"
    blobs.mkdir(parents=True)
    for name in ("1", "2"):
        (blobs / f"{SHA256}.{name}.incomplete").write_bytes(content)
        os.utime(blobs / f"{SHA256}.{name}.incomplete", (0, time.time() - 60))
    busy = blobs / "another.3.incomplete"
    busy.write_bytes(b"is being written")
    folder, _ = fetched(SPEC)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert list(blobs.glob("*.incomplete")) == [busy]
    os.utime(busy, (0, 0))
    fetched(SPEC)
    assert not busy.exists()
