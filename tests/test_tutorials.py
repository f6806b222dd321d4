"""Follow the tutorials to the letter: run every command and compare the output shown.

In a tutorial, a block of ``sh`` is input to a shell, and a block of ``python`` continues the last
one. A block of ``text`` right after one of them is its output: words must agree, numbers to one
unit of the last decimal shown, bars in length; ``...`` stands for anything. A block of ``toml``
must occur in one of the shipped examples. ``<!-- not run: reason -->`` before a block skips it.
``<!-- give or take 3/48: 0.896 0.938; 0.1: 2.47 -->`` before an output allows these numbers to
differ by more; for instance, another processor's rounding may move three of 48 texts to the other
side. Without numbers it applies to all of them.

    python tests/test_tutorials.py own-scores     writes the output of a tutorial's blocks into it
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
TUTORIALS = HOME / "docs" / "tutorials"
#: Where each tutorial must run; one of another name fails, so none goes untested.
NAMES = (
    *("csv-file", "json-folder", "probe-folds", "activations", "model-collection"),
    *(
        "own-scores",
        "own-concepts",
        "own-model",
        "other-engines",
        "nine-models",
        "planning",
        "quoting",
    ),
)
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+?) -->\s*)?"
    r"(?:<!-- give or take (?P<slack>[^>]+?) -->\s*)?"
    r"^```(?P<kind>\w+)\n(?P<body>.*?)^```$",
    re.S | re.M,
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_BARS = re.compile("[▁-█]")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    kind: str
    body: str
    why_not: str
    span: tuple[int, int]
    #: How far numbers may be off, by the number shown; "" for all others.
    slack: Mapping[str, float]


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [
        Block(m["kind"], m["body"], m["why"] or "", m.span("body"), slack(m["slack"] or ""))
        for m in _BLOCK.finditer(page)
    ]


def slack(said: str) -> dict[str, float]:
    """Parse the text after "give or take"; a distance is a number or a fraction."""
    found: dict[str, float] = {}
    for part in filter(None, said.split(";")):
        distance, _, words = part.partition(":")
        found |= dict.fromkeys(words.split() or [""], float(Fraction(distance.strip())))
    return found


def follow(page: str) -> Iterator[tuple[Block, str, Block | None]]:
    """Run a page's blocks in the current folder; yield each, its output, and the output shown."""
    names: dict[str, object] = {"__name__": "tutorial"}
    found = blocks(page)
    after: list[Block | None] = [*found[1:], None]
    for block, following in zip(found, after, strict=True):
        if block.why_not or block.kind not in ("sh", "python"):
            continue
        shown = following if following is not None and following.kind == "text" else None
        between = page[block.span[1] : shown.span[0]] if shown else ""
        if re.sub("<!--.*?-->\n", "", between, flags=re.S).count("\n") > 4:
            shown = None  # prose stands between them
        if block.kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.body, "<tutorial>", "exec"), names)
            yield block, printed.getvalue(), shown
        else:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.body],
                env={**os.environ, "PATH": path, "COLUMNS": "100", "TERM": "dumb"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block.body}\n{done.stdout}\n{done.stderr}"
            # A run reports its progress and plans on stderr, and its results on stdout.
            yield block, done.stdout or done.stderr, shown


def agrees(shown: str, printed: str, slack: Mapping[str, float] | None = None) -> bool:
    """Compare words and rounded numbers; ignore line breaks and rules of tables."""
    slack = slack or {}
    assert set(slack) <= {"", *_words(shown)}, "slack is given to numbers that are not shown"
    pattern = [_pattern(word) for word in _words(shown)]
    words = _words(printed)

    def fits(i: int, j: int) -> bool:
        while i < len(pattern):
            if pattern[i] is None:
                return any(fits(i + 1, k) for k in range(j, len(words) + 1))
            if j == len(words) or not _same(pattern[i] or "", words[j], slack):
                return False
            i, j = i + 1, j + 1
        return j == len(words)

    return fits(0, 0)


def _words(text: str) -> list[str]:
    return re.sub("[-─━╌]{3,}", " ", text).split()


def _pattern(word: str) -> str | None:
    return None if word == "..." else word


def _same(shown: str, printed: str, slack: Mapping[str, float]) -> bool:
    more = slack.get(shown, slack.get("", 0.0))
    shown, printed = (_BARS.sub("▁", text) for text in (shown, printed))
    if _NUMBER.sub("#", shown) != _NUMBER.sub("#", printed):
        return False
    for a, b in zip(_NUMBER.findall(shown), _NUMBER.findall(printed), strict=True):
        unit = 10.0 ** -len(a.partition(".")[2]) if "." in a else 0.0
        if abs(float(a) - float(b)) > 1.01 * unit + (more if "." in a else 0.0):
            return False
    return True


def scratch_copy(folder: Path) -> Path:
    """Copy the project without files that a fresh clone does not have."""
    leave = shutil.ignore_patterns(
        ".*", "build", "units", "__pycache__", "*.egg-info", "_output", "_freeze"
    )
    return Path(shutil.copytree(HOME, folder / "clone", ignore=leave))


def test_every_tutorial_is_followed():
    assert {path.stem for path in TUTORIALS.glob("*.md")} - {"README"} == set(NAMES)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.arithmetic) for name in NAMES]
)
def test_tutorial_works_as_written(name, tmp_path, monkeypatch):
    page = (TUTORIALS / f"{name}.md").read_text(encoding="utf-8")
    monkeypatch.chdir(scratch_copy(tmp_path))
    ran = 0
    for block, printed, shown in follow(page):
        ran += 1
        if shown is not None:
            assert agrees(shown.body, printed, shown.slack), (
                f"{name}: the output of\n{block.body}\nis\n{printed}\nshown is\n{shown.body}"
            )
    assert ran >= 2


@pytest.mark.parametrize("name", NAMES)
def test_shown_files_are_those_that_ship(name):
    examples = [path.read_text(encoding="utf-8") for path in (HOME / "examples").glob("*.toml")]
    examples += [p.read_text(encoding="utf-8") for p in (HOME / "examples").glob("*/*.toml")]
    for block in blocks((TUTORIALS / f"{name}.md").read_text(encoding="utf-8")):
        if block.kind == "toml":
            assert any(block.body in text for text in examples), block.body


def test_comparison_sees_what_differs():
    assert agrees("vertex 0.51 hump", "vertex  0.52\nhump")
    assert not agrees("vertex 0.51 hump", "vertex 0.53 hump")
    assert not agrees("vertex 0.51 hump", "vertex 0.51 trough")
    assert not agrees("9 models", "8 models")
    assert not agrees("vertex 0.51", "vertex 0.51 hump")
    assert agrees("a ... d", "a b c d")
    assert not agrees("a ... e", "a b c d")


def test_comparison_gives_the_slack_that_is_said_and_no_more():
    page = "```sh\ntrue\n```\n\n<!-- give or take 3/48: 0.938; 0.2: 0.43 -->\n```text\n```\n"
    given = blocks(page)[1].slack
    assert given == {"0.938": 0.0625, "0.43": 0.2}
    with pytest.raises(AssertionError, match="not shown"):
        agrees("0.938 0.250", "0.876 0.251", given)
    given.pop("0.43")
    assert agrees("0.938 0.250", "0.876 0.251", given)
    assert not agrees("0.938 0.250", "0.86 0.251", given)
    assert not agrees("0.938 0.250", "0.938 0.26", given)
    assert agrees("0.40 3 models", "0.45 3 models", slack("1/20"))
    assert not agrees("0.40 3 models", "0.40 4 models", slack("1/20"))


def write(name: str) -> None:
    """Write the output of a tutorial's blocks where it shows their output."""
    path = TUTORIALS / f"{name}.md"
    page = path.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(scratch_copy(Path(folder))):
        results = [(shown.span, printed) for _, printed, shown in follow(page) if shown is not None]
    for (start, end), printed in reversed(results):
        if "..." not in page[start:end].split():
            lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
            page = page[:start] + "\n".join(lines) + "\n" + page[end:]
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        write(argument)
