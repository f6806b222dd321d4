"""A local hub of one model that misbehaves according to the name of the repository's owner.

    python hub.py FOLDER

prints its address and serves the folder's files as `slow/tiny` (the weights take two seconds),
`cut/tiny` (the first download of the weights breaks halfway) and `short/tiny` (every download
does).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "c" * 40
SECONDS, PIECE = 2.0, 8192


class Hub(BaseHTTPRequestHandler):
    """Answers the requests of `huggingface_hub`."""

    protocol_version = "HTTP/1.1"
    folder: Path
    tried: set[str] = set()  # noqa: RUF012

    def do_HEAD(self) -> None:
        """Answer with a file's size and checksum."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """Answer with a file, or with the requested range of it."""
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        if self.path.startswith("/api/models/"):
            self._list()
            return
        owner, *_, name = self.path.strip("/").split("/")
        path = self.folder / name
        if "/resolve/" not in self.path or not path.is_file():
            body = json.dumps({"error": "Entry not found"}).encode()
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)
            return
        content = path.read_bytes()
        start = 0
        if "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            self._send(owner, name, content, start)

    def _list(self) -> None:
        """Answer with the commit of the only branch and its files."""
        parts = self.path.partition("?")[0].split("/")
        sizes = {path.name: path.stat().st_size for path in sorted(self.folder.iterdir())}
        found: Any = [
            {"type": "file", "path": name, "size": size, "oid": COMMIT}
            for name, size in sizes.items()
        ]
        if "tree" not in parts:
            siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
            found = {"id": "/".join(parts[3:5]), "sha": COMMIT, "siblings": siblings}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send(self, owner: str, name: str, content: bytes, start: int) -> None:
        weights = name.endswith(".safetensors")
        cut = weights and (owner == "short" or (owner == "cut" and name not in self.tried))
        self.tried.add(name)
        end = (start + len(content)) // 2 if cut else len(content)
        for place in range(start, end, PIECE):
            self.wfile.write(content[place : min(place + PIECE, end)])
            if weights and owner == "slow":
                time.sleep(SECONDS * PIECE / len(content))
        self.close_connection = cut

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    Hub.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
