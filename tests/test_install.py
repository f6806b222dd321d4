"""locks/install.py on machines that lack something or use a mirror of the index."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.scripts import script

ROOT = Path(__file__).resolve().parents[1]
WHEEL = "tiny-1.0-py3-none-any.whl"
USER = "Basic " + base64.b64encode(b"me:secret").decode()


class Mirror(BaseHTTPRequestHandler):
    """A package index with one package; it can require credentials and act as a proxy."""

    wheel: bytes
    asks = False
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        path = self.path.removeprefix("http://mirror.invalid")
        if self.asks and self.headers["Authorization"] != USER:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="mirror"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        pages = {
            "/simple/tiny/": f'<a href="/{WHEEL}">{WHEEL}</a>'.encode(),
            f"/{WHEEL}": self.wheel,
        }
        body = pages.get(path, b"")
        self.send_response(200 if path in pages else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("wheel") / WHEEL
    about = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "here = True\n")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{about}/WHEEL", tag)
        archive.writestr(f"{about}/RECORD", f"tiny.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n")
    return path.read_bytes()


@pytest.fixture
def mirror(wheel: bytes) -> Iterator[tuple[type[Mirror], str]]:
    handler = type("Handler", (Mirror,), {"wheel": wheel, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, wheel: bytes) -> Path:
    """Return a project with one list of one package; all tests share its .venv."""
    root = tmp_path_factory.mktemp("a clone")
    (root / "locks").mkdir()
    shutil.copy(ROOT / "locks" / "install.py", root / "locks")
    digest = hashlib.sha256(wheel).hexdigest()
    lists = {
        "judges": f"tiny==1.0 --hash=sha256:{digest}",
        "dev": f"tiny==1.0 --hash=sha256:{'0' * 64}",
        "lint": f"absent==1.0 --hash=sha256:{digest}",
    }
    for name, text in lists.items():
        (root / "locks" / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    return root


def install(clone: Path, part: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a user's variables, without this machine's settings for pip."""
    away = ("PIP_", "HTTP", "http", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "VENV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(away)}
    kept |= {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    return subprocess.run(
        [sys.executable, clone / "locks" / "install.py", part],
        cwd=clone,
        env=kept | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a failure, which follows the line that announces the work."""
    assert done.returncode == 1
    first, *rest = done.stderr.splitlines()
    assert first.startswith("setup: ")
    assert len(rest) == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return rest[0]


def has_tiny(clone: Path) -> bool:
    """Return whether .venv has the package, and remove it."""
    python = clone / ".venv" / "bin" / "python"
    found = subprocess.run([python, "-I", "-c", "import tiny"], capture_output=True, check=False)
    pip = [python, "-m", "pip", "uninstall", "--yes", "--quiet", "tiny"]
    subprocess.run(pip, capture_output=True, check=False)
    return found.returncode == 0


def test_a_users_settings_for_pip_hold_and_the_place_stays(
    clone: Path, mirror: tuple[type[Mirror], str], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    done = install(
        clone,
        "judges",
        PIP_INDEX_URL=f"http://{mirror[1]}/simple",
        PIP_USER="1",
        PIP_TARGET=str(elsewhere),
    )
    assert done.returncode == 0, done.stderr
    assert has_tiny(clone)
    assert not elsewhere.exists()


def test_a_mirror_may_ask_for_credentials(clone: Path, mirror: tuple[type[Mirror], str]) -> None:
    handler, host = mirror
    handler.asks = True
    assert "asks for credentials" in complaint(
        install(clone, "judges", PIP_INDEX_URL=f"http://{host}/simple")
    )
    done = install(clone, "judges", PIP_INDEX_URL=f"http://me:secret@{host}/simple")
    assert done.returncode == 0, done.stderr
    assert has_tiny(clone)
    assert "secret" not in done.stdout + done.stderr


def test_a_proxy_is_used(clone: Path, mirror: tuple[type[Mirror], str]) -> None:
    handler, host = mirror
    done = install(
        clone,
        "judges",
        PIP_INDEX_URL="http://mirror.invalid/simple",
        PIP_TRUSTED_HOST="mirror.invalid",
        HTTP_PROXY=f"http://{host}",
        http_proxy=f"http://{host}",
    )
    assert done.returncode == 0, done.stderr
    assert has_tiny(clone)
    assert handler.seen[0] == "http://mirror.invalid/simple/tiny/"


@pytest.mark.skipif(sys.platform != "linux", reason="torch has CUDA on Linux only")
def test_torch_comes_without_cuda_where_there_is_no_gpu_unless_pip_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = script("locks/install.py")
    monkeypatch.setattr(setup, "PYTHON", Path(sys.executable))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(setup, "DEVICES", (str(tmp_path / "absent"),))
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    assert setup.build_of_torch() == ["--extra-index-url", setup.WITHOUT_CUDA, *setup.TORCH]
    assert "torch without CUDA" in capsys.readouterr().err
    for name in ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX"):
        with monkeypatch.context() as told:
            told.setenv(f"PIP_{name}", "1" if name == "NO_INDEX" else "https://mirror.invalid")
            assert setup.build_of_torch() == setup.TORCH
    (tools / "nvidia-smi").write_text("", encoding="utf-8")
    (tools / "nvidia-smi").chmod(0o755)
    assert setup.build_of_torch() == setup.TORCH
    assert capsys.readouterr().err == ""


def test_an_index_beside_a_users_own_is_added(
    clone: Path, mirror: tuple[type[Mirror], str]
) -> None:
    """Like torch's index: the variable's value applies in addition to the command's."""
    python = clone / ".venv" / "bin" / "python"
    install(clone, "judges", PIP_INDEX_URL=f"http://{mirror[1]}/simple")  # makes .venv
    assert has_tiny(clone)
    variables = {"PIP_EXTRA_INDEX_URL": f"http://{mirror[1]}/simple", "PIP_RETRIES": "0"}
    done = subprocess.run(
        [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--index-url",
            "http://127.0.0.1:9/simple",
            "--extra-index-url",
            "http://127.0.0.1:9/whl",
            "tiny==1.0",
        ],
        env={"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert has_tiny(clone)


def test_what_the_index_lacks_or_changed_is_said_in_one_line(
    clone: Path, mirror: tuple[type[Mirror], str]
) -> None:
    index = f"http://{mirror[1]}/simple"
    assert "has no absent==1.0 for" in complaint(install(clone, "lint", PIP_INDEX_URL=index))
    changed = complaint(install(clone, "dev", PIP_INDEX_URL=index))
    assert "not the one in locks/" in changed
    log = Path(changed.rpartition(": ")[2].rstrip(")"))
    assert "DO NOT MATCH" in log.read_text(encoding="utf-8")
    assert not has_tiny(clone)


def test_a_pip_without_access_is_said_in_one_line(clone: Path) -> None:
    said = complaint(install(clone, "judges", PIP_INDEX_URL="http://127.0.0.1:9/simple"))
    assert "cannot reach the package index" in said
    assert all(word in said for word in ("PIP_INDEX_URL", "HTTPS_PROXY"))


def test_the_time_in_pips_log_is_not_taken_for_what_the_index_answered() -> None:
    setup = script("locks/install.py")
    for milliseconds in ("401", "403", "407"):
        line = f"2026-11-29T12:34:56,{milliseconds}   Could not fetch URL http://127.0.0.1:9/simple"
        refused = "connection error: Max retries exceeded"
        assert "cannot reach" in setup.meaning(f"{line}: {refused}")
    line = "2026-11-29T12:34:56,000   Could not fetch URL http://127.0.0.1:401/simple"
    assert "cannot reach" in setup.meaning(f"{line}: {refused}")
    assert "credentials" in setup.meaning(f"{line}: 403 Client Error: Forbidden for url")


def test_a_home_that_is_closed_does_not_matter(
    clone: Path, mirror: tuple[type[Mirror], str]
) -> None:
    index = f"http://{mirror[1]}/simple"
    done = install(clone, "judges", PIP_INDEX_URL=index, HOME="/dev/null/home")
    assert done.returncode == 0, done.stderr
    assert has_tiny(clone)


def test_a_folder_that_cannot_be_written_is_said_in_one_line(clone: Path) -> None:
    said = complaint(install(clone, "judges", VENV="/dev/null/venv"))
    assert "/dev/null/venv cannot be made" in said


def test_a_python_without_venv_is_said_in_one_line(clone: Path, tmp_path: Path) -> None:
    """Like Debian's Python, whose venv explains this in four lines."""
    says = "The virtual environment was not created because ensurepip is not\navailable. On Debian"
    script = f"import sys\nprint({says!r})\nsys.exit(1)\n"
    (tmp_path / "venv.py").write_text(script, encoding="utf-8")
    done = install(clone, "judges", VENV=str(tmp_path / "new"), PYTHONPATH=str(tmp_path))
    said = complaint(done)
    assert "has no venv" in said
    assert "python3-venv" in said
    assert "PYTHON=" in said


@pytest.mark.parametrize(
    ("script", "says"),
    [(None, "no python-of-nowhere here"), ("#!/bin/sh\nexit 1\n", "is older than 3.11")],
)
def test_make_names_a_python_that_is_absent_or_old(
    tmp_path: Path, script: str | None, says: str
) -> None:
    python = "python-of-nowhere"
    if script:
        python = str(tmp_path / "python3")
        Path(python).write_text(script, encoding="utf-8")
        Path(python).chmod(0o755)
    venv = tmp_path / "venv"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLA"))}
    done = subprocess.run(
        ["make", f"VENV={venv}", f"PYTHON={python}", f"{venv}/.base"],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    assert says in lines[0]
    assert "PYTHON=" in lines[0]
