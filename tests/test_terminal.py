"""A terminal shows strings that others wrote as plain text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from synthetic import make_study

import analysis.__main__
import extraction
from pipeline.progress import OnTerminal
from pipeline.summary import print_summary
from study.home import HOME
from study.read import STORES, InputError, locate, one_line
from study.terminal import Terminal

#: Names of models that contain markup, or codes for colors, titles and clearing the screen.
MARKUP = ["m[/b]", "[/...]", "[bold]m", "[link=file:///etc]x[/link]", "m\\[red]", ":smile:", "m\\"]
CODES = {
    "\x1b[31mred": r"\x1b[31mred",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x1b[2J": r"\x1b[2J",
    "\x9b2J": r"\x9b2J",
    "a\rb\x08c": r"a\rb\x08c",
    "\u202egnp.exe": r"\u202egnp.exe",
}
STUDY = """
name = "mine"
models = [{names}]
methods = ["comprehension"]
emotions = ["happy", "afraid"]
topics = 4
"""
ENTRY = '[[model]]\nname = {}\nfamily = "F"\nsource = "nobody/{}"\n'


@pytest.mark.parametrize("name", [*MARKUP, *CODES])
def test_strings_are_printed_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with OnTerminal(Terminal(width=200, force_terminal=True), verbose=True) as bar:
        bar.start(1, 1)
        bar.begin(name)
        bar.note(f"note {name}")
    console = Terminal(width=200)
    console.print(f"say {name}")
    out = capsys.readouterr().out
    shown = CODES.get(name, name)
    assert f"note {shown}\n" in re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", out).replace("\r", "")
    assert f"say {shown}\n" in out
    assert name not in CODES or name not in out


def test_a_dry_run_shows_names_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    names = [*MARKUP, "\x1b[31mred"]
    quoted = [json.dumps(name) for name in names]
    entries = [ENTRY.format(name, i) for i, name in enumerate(quoted)]
    path.write_text(STUDY.format(names=", ".join(quoted)) + "\n".join(entries), encoding="utf-8")
    status = extraction.main(["--study", str(path), "--dry-run", "--out", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert "\x1b" not in err
    if status == 0:
        shown = re.sub(r"[\s│]+", "", err)
        assert all(name in shown for name in MARKUP)
    else:
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('emotions = ["happy"]', "emotions has 1; separation needs at least two: name more"),
        ('topics = ["photographs"]', "topics has 1; separation needs at least two: name more"),
        (
            'emotions = ["happy", "afraid"]\nsteering.emotions = ["sad"]',
            "steering.emotions has 'sad', which has no vector; choose from ",
        ),
    ],
)
def test_a_dry_run_refuses_what_the_run_would_refuse_later(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'models = ["smollm2-135m-instruct"]\n{line}\n', encoding="utf-8")
    assert extraction.main(["--study", str(path), "--dry-run", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"extraction.py: study mine: {message}")


def renamed(folder: Path, names: list[str]) -> Path:
    """Make a study whose models have these names."""
    study = make_study(folder, families=(1,) * len(names), n_emotions=2, methods=("comprehension",))
    for table in ("scores", "replicates"):
        rows = pd.read_parquet(study / f"{table}.parquet")
        to = dict(zip(rows["model"].unique(), names, strict=True))
        rows.assign(model=rows["model"].map(to)).to_parquet(study / f"{table}.parquet", index=False)
    return study


def test_verdicts_and_summary_show_names_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    study = renamed(tmp_path / "mine", MARKUP[:4])
    assert analysis.__main__.main([str(study)]) == 0
    print_summary(Terminal(width=300), study)
    out = capsys.readouterr().out
    assert all(out.count(name) >= 2 for name in MARKUP[:4])


def test_the_summary_of_six_metrics_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(Terminal(width=80), HOME / "data" / "scores" / "causal")
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    assert "…" not in out
    for whole in ("smollm2-135m-instruct", "untrained, comprehension", "prediction_lost"):
        assert whole in out
    assert len(re.findall(r" [▁-█]+ +\d\.\d\d at \d\.\d\d", out)) == 4 * 4 + 2 * 2


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "github://a:b@c/x",
        "zip://x::file.zip",
        "simplecache::s3://bucket/x",
        "reference://x",
        "http://host/x",
        "sftp://host/x",
        "\x1b[31m://x",
        "://x",
    ],
)
def test_other_protocols_are_refused_in_one_line(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="is not a store") as caught:
        locate(url)
    assert all(store in str(caught.value) for store in STORES)
    assert extraction.main(["--study", "demo", "--dry-run", "--out", url]) == 2
    err = capsys.readouterr().err
    assert err.startswith("extraction.py: ")
    assert err.count("\n") == 1
    assert err.strip().isprintable()


def test_messages_show_codes_and_stay_one_line() -> None:
    assert one_line("a\n\x1b[31mb\u202e") == r"a \x1b[31mb\u202e"
