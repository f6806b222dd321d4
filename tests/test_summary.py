"""Two slides say what was claimed and found, and nothing overflows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from browser import browser
from paper_text import slides
from synthetic import make_study

from reports import story


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("slides")
    study = make_study(
        folder / "four", families=(2, 1, 1), methods=("comprehension",), n_emotions=2
    )
    with pytest.MonkeyPatch.context() as patch:
        return slides(study, folder, patch)


def test_the_page_is_whole_and_has_two_slides(made: list[Path]) -> None:
    page = made[0].read_text(encoding="utf-8")
    assert page.count('class="level1"') == 2
    text = " ".join(re.sub(r"<[^>]+>", "", page.split("<body>")[1]).split())
    assert story.TITLE in text
    assert " in four models. Of nine claims of one paper, " in text
    assert "How sure? " in text
    assert "Caveats. The study has four models in three families" in text
    assert not re.search(r"\b(nan|None|inf)\b", text)
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "<script" not in page


def test_the_print_has_two_pages_with_the_same_words(made: list[Path]) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext: the PDF was made but not read (apt install poppler-utils)")
    page, pdf = made[0].read_text(encoding="utf-8"), made[1]
    shown = subprocess.check_output(["pdftotext", "-layout", str(pdf), "-"], text=True)
    assert shown.count("\f") == 2
    first, second, _ = shown.split("\f")
    for row in re.findall(r"<td[^>]*>(.*?)</td>", page, re.DOTALL):
        cell = " ".join(re.sub(r"<[^>]+>", "", row).split())
        assert cell in " ".join(first.split())
    assert "Caveats." in second


def test_no_slide_overflows_a_window(made: list[Path]) -> None:
    if shutil.which("chromedriver") is None:
        pytest.skip("no chromedriver: the slides were made but not opened")
    with browser() as page:
        for width, height in ((1280, 720), (1920, 1080)):
            page.resize(width, height)
            page.open(made[0])
            sizes = page.run(
                "return [...document.querySelectorAll('section')].map("
                "s => [s.scrollWidth, s.scrollHeight, s.querySelectorAll('img').length])"
            )
            assert len(sizes) == 2
            assert all(w <= width and h <= height for w, h, _ in sizes), sizes
            assert page.run(
                "return [...document.images].every(i => i.complete && i.clientHeight > 250)"
            )
