"""Drive a headless Chromium with the W3C WebDriver protocol, without any package."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1100,1400",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


class Page:
    """One page of a browser without network."""

    def __init__(self, base: str) -> None:
        self.base = base
        options = {"goog:chromeOptions": {"args": ARGUMENTS}, "browserName": "chrome"}
        session = self.send("POST", "/session", {"capabilities": {"alwaysMatch": options}})
        self.base += f"/session/{session['sessionId']}"

    def send(self, verb: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, method=verb)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)["value"]

    def open(self, file: Path) -> None:
        self.send("POST", "/url", {"url": file.as_uri()})

    def resize(self, width: int, height: int = 1000) -> None:
        """Give the page a width narrower than any window, such as a phone's."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": size}
        self.send("POST", "/goog/cdp/execute", command)

    def run(self, script: str, *arguments: Any) -> Any:
        body = {"script": script, "args": list(arguments)}
        return self.send("POST", "/execute/sync", body)

    def wait(self, script: str, seconds: float = 600) -> Any:
        """Return a script's first true value."""
        until = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < until, f"never true: {script}"
            time.sleep(0.1)
        return value

    def point(self, script: str, press: bool = False) -> None:
        """Move the mouse to the middle of the element that a script returns, and click there."""
        target = self.run(script)
        moves: list[dict[str, Any]] = [
            {"type": "pointerMove", "duration": 0, "origin": target, "x": 0, "y": 0}
        ]
        if press:
            moves += [{"type": f"pointer{way}", "button": 0} for way in ("Down", "Up")]
        mouse = {"type": "pointer", "id": "mouse", "actions": moves}
        self.send("POST", "/actions", {"actions": [mouse]})

    def choose(self, select: int, value: str) -> None:
        """Choose an option of the page's n-th select box."""
        self.run(
            "const box = document.querySelectorAll('select')[arguments[0]];"
            "box.value = arguments[1]; box.dispatchEvent(new Event('input'));"
            "box.dispatchEvent(new Event('change'));",
            select,
            value,
        )

    def picture(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.send("GET", "/screenshot")))


@contextmanager
def browser() -> Iterator[Page]:
    """Start chromedriver and a page; end both."""
    driver = shutil.which("chromedriver")
    assert driver is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 600
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < until, "chromedriver does not start"
                time.sleep(0.1)
        page = Page(f"http://127.0.0.1:{port}")
        try:
            yield page
        finally:
            page.send("DELETE", "")
    finally:
        process.terminate()
        process.wait()
