"""A model hub on loopback: repositories, branches, commits, Git LFS, and a CDN elsewhere."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, jsonify, redirect, request, send_file
from werkzeug.serving import make_server

Files = Mapping[str, bytes]
#: Takes the kind of a request ("info", "file", "cdn"), the repository and the file's path; returns
#: the response to send instead, or None for the usual one.
Fault = Callable[[str, str, str], Any]


@dataclass
class Repository:
    """A repository: the files of its commits, and the commits of its branches."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def commit(self, files: Files, branch: str = "main") -> str:
        """Add a commit, and move a branch there."""
        parts = [f"{name} {len(content)}" for name, content in sorted(files.items())]
        digest = hashlib.sha1("\n".join([*parts, str(len(self.commits))]).encode()).hexdigest()
        self.commits[digest] = dict(files)
        self.branches[branch] = digest
        return digest

    def find(self, revision: str) -> str | None:
        """Return the commit of a branch, or of a commit."""
        found = self.branches.get(revision, revision)
        return found if found in self.commits else None


def in_lfs(name: str) -> bool:
    """Return whether a file is in Git LFS, and so named by its sha256."""
    return name.endswith((".safetensors", ".bin", ".pth", ".onnx", ".model", ".h5", ".gguf"))


def etag(name: str, content: bytes) -> str:
    """Return the name of a file in the hub and in the cache."""
    if in_lfs(name):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """The server, in its own thread.

    Attributes
    ----------
    url : str
    repositories : dict of str to Repository
    fault : callable or None
    asked : list of (kind, repository, path)
        Every request.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.fault: Fault | None = None
        self.asked: list[tuple[str, str, str]] = []
        self.ended = threading.Event()
        app = Flask("hub")
        app.before_request(self._before)
        app.add_url_rule("/api/models/<owner>/<name>", view_func=self.info)
        app.add_url_rule("/api/models/<owner>/<name>/revision/<path:revision>", view_func=self.info)
        app.add_url_rule("/api/models/<owner>/<name>/tree/<path:revision>", view_func=self.tree)
        app.add_url_rule("/<owner>/<name>/resolve/<revision>/<path:path>", view_func=self.resolve)
        app.add_url_rule("/cdn/<owner>/<name>/<commit>/<path:path>", view_func=self.cdn)
        app.add_url_rule(
            "/api/resolve-cache/<owner>/<name>/<commit>/<path:path>", view_func=self.plain
        )
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def add(self, name: str, files: Files, *, gated: bool = False) -> str:
        """Make a repository of one commit and return the commit."""
        self.repositories[name] = repository = Repository(gated=gated)
        return repository.commit(files)

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _before(self) -> Any:
        values = request.view_args or {}
        first = request.path.split("/")[1]
        kind = {"cdn": "cdn"}.get(first, "file")
        if request.path.startswith("/api/models/"):
            kind = "info"
        repository = f"{values.get('owner')}/{values.get('name')}"
        path = values.get("path", "")
        self.asked.append((kind, repository, path))
        return self.fault(kind, repository, path) if self.fault is not None else None

    def _found(self, owner: str, name: str, revision: str) -> tuple[Repository, str] | Response:
        repository = self.repositories.get(f"{owner}/{name}")
        if repository is None:  # a stranger cannot tell it from a private one
            return refusal(401, "RepoNotFound", "Invalid username or password.")
        commit = repository.find(revision)
        if commit is None:
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository, commit

    def info(self, owner: str, name: str, revision: str = "main") -> Response:
        """Answer with the contents of a repository at a revision."""
        found = self._found(owner, name, revision)
        if isinstance(found, Response):
            return found
        repository, commit = found
        siblings = []
        for path, content in sorted(repository.commits[commit].items()):
            entry: dict[str, Any] = {"rfilename": path}
            if "blobs" in request.args:
                entry |= {"size": len(content), "blobId": etag("", content)}
                if in_lfs(path):
                    sha256 = etag(path, content)
                    entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        name = f"{owner}/{name}"
        gated = "manual" if repository.gated else False
        return jsonify(
            {
                "_id": "0",
                "id": name,
                "modelId": name,
                "sha": commit,
                "siblings": siblings,
                "private": False,
                "gated": gated,
                "disabled": False,
                "tags": [],
            }
        )

    def tree(self, owner: str, name: str, revision: str) -> Response:
        """Answer with the list of files at a revision."""
        found = self._found(owner, name, revision.split("/")[0])
        if isinstance(found, Response):
            return found
        repository, commit = found
        entries = []
        for path, content in sorted(repository.commits[commit].items()):
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
            entry["oid"] = etag("", content)
            if in_lfs(path):
                sha256 = etag(path, content)
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
            entries.append(entry)
        return jsonify(entries)

    def resolve(self, owner: str, name: str, revision: str, path: str) -> Response:
        """Redirect a reader to the file: here or in the CDN."""
        found = self._found(owner, name, revision)
        if isinstance(found, Response):
            return found
        repository, commit = found
        if repository.gated and not request.headers.get("authorization"):
            return refusal(401, "GatedRepo", f"Access to model {owner}/{name} is restricted.")
        if path not in repository.commits[commit]:
            answer = refusal(404, "EntryNotFound", "Entry not found")
            answer.headers["X-Repo-Commit"] = commit
            return answer
        content = repository.commits[commit][path]
        where = f"{owner}/{name}/{commit}/{path}"
        if in_lfs(path):
            answer = Response(status=302)
            answer.headers["Location"] = f"http://localhost:{self.port}/cdn/{where}"
            answer.headers["X-Linked-Etag"] = f'"{etag(path, content)}"'
            answer.headers["X-Linked-Size"] = str(len(content))
        else:
            answer = redirect(f"/api/resolve-cache/{where}", 307)  # type: ignore[assignment]
            answer.autocorrect_location_header = False
        answer.headers["X-Repo-Commit"] = commit
        return answer

    def plain(self, owner: str, name: str, commit: str, path: str) -> Response:
        """Send a file of git."""
        answer = self.cdn(owner, name, commit, path)
        answer.headers["X-Repo-Commit"] = commit
        return answer

    def cdn(self, owner: str, name: str, commit: str, path: str) -> Response:
        """Send a file, or the requested part of it."""
        content = self.repositories[f"{owner}/{name}"].commits[commit][path]
        return send_file(io.BytesIO(content), "application/octet-stream", etag=etag(path, content))


def refusal(status: int, code: str, message: str, **headers: str) -> Response:
    """Return an error as the hub words it."""
    answer = Response(f'{{"error": "{message}"}}', status, mimetype="application/json")
    answer.headers["X-Error-Code"] = code
    answer.headers["X-Error-Message"] = message
    answer.headers.update(headers)
    return answer
