"""A cluster started by a run itself: reachable only from this machine, leaving nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

SCRIPT = """
import psutil, ray, sys
from pathlib import Path
from pipeline.ray_engine import cluster

with cluster(None, "cpu", 1, Path(sys.argv[1]), "it"):
    assert ray.get(ray.remote(lambda: 1).remote()) == 1
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        for found in process.net_connections("inet"):
            if found.status == psutil.CONN_LISTEN:
                print(process.name(), found.laddr.ip)
"""


def test_ray_listens_on_this_machine_only_and_leaves_no_token(tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=kept | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listening = [line.split()[-1] for line in done.stdout.splitlines()]
    assert listening
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert not (tmp_path / ".ray").exists()
