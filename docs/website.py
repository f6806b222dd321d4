"""Render the documentation as a website: the same Markdown pages, by Quarto.

    python docs/website.py [QUARTO] [--output FOLDER]

Copies the pages to build/site and renders them to build/site/_site. The copies differ from the
originals in three ways: README.md becomes index.qmd, links point to the copies (or to the file in
the checkout, if it is not a page), and diagrams get the fence that Quarto draws, {mermaid}. The
originals keep the fence that GitHub draws.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOME))

from reports.ready import too_old  # noqa: E402

PATTERNS = (
    "*.md",
    "docs/**/*.md",
    "data/corpus/DATASHEET.md",
    *(
        f"{top}/**/README.md"
        for top in ("analysis", "benchmarks", "pipeline", "reports", "representations", "study")
    ),
)
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)([^)]*\))")
_CODE = re.compile(r"^```.*?^```[^\n]*$", re.S | re.M)


def copies() -> dict[Path, Path]:
    """Return each page with the name of its copy, both relative to their roots."""
    pages = sorted(path.relative_to(HOME) for p in PATTERNS for path in HOME.glob(p))
    return {
        page: page.with_name("index.qmd") if page.stem == "README" else page.with_suffix(".qmd")
        for page in pages
    }


def linked(page: Path, target: str, pages: dict[Path, Path]) -> str:
    """Return a link of a page as its copy needs it.

    Parameters
    ----------
    page : Path
        The page, relative to the project.
    target : str
        Where its link leads, without the anchor.
    pages : dict
        The names of the copies.
    """
    if re.match(r"[a-z]+:", target):
        return target
    path = Path(os.path.normpath(page.parent / target))
    path = path / "README.md" if path / "README.md" in pages else path
    if path in pages:
        return Path(os.path.relpath(pages[path], page.parent)).as_posix()
    if path.suffix == ".png":
        return target
    # A file of the checkout, from _site/PAGE.html: up to _site, and out of build/site/_site.
    return "/".join([".."] * (len(page.parent.parts) + 3)) + f"/{path.as_posix()}"


def converted(page: Path, text: str, pages: dict[Path, Path]) -> str:
    """Return the text of a page's copy."""

    def with_links(prose: str) -> str:
        return _LINK.sub(lambda m: m[1] + linked(page, m[2], pages) + m[3], prose)

    parts, end = [], 0
    for block in _CODE.finditer(text):
        code = re.sub(r"\A```mermaid$", "```{mermaid}", block[0], flags=re.M)
        parts += [with_links(text[end : block.start()]), code]
        end = block.end()
    return "".join([*parts, with_links(text[end:])])


def stage(folder: Path) -> None:
    """Write the copies of all pages, their pictures and the settings to a folder."""
    pages = copies()
    for page, copy in pages.items():
        place = folder / copy
        place.parent.mkdir(parents=True, exist_ok=True)
        text = converted(page, (HOME / page).read_text(encoding="utf-8"), pages)
        place.write_text(text, encoding="utf-8")
    for picture in HOME.glob("docs/*.png"):
        shutil.copy(picture, folder / "docs")
    shutil.copy(HOME / "docs" / "_quarto.yml", folder)


def main(arguments: list[str] | None = None) -> int:
    """Stage the pages and render them; one line says so if Quarto is missing or too old."""
    parser = argparse.ArgumentParser(description="Render the documentation as a website.")
    parser.add_argument("quarto", nargs="?", default="quarto")
    parser.add_argument("--output", type=Path, default=HOME / "build/site", metavar="FOLDER")
    options = parser.parse_args(arguments)
    if shutil.which(options.quarto) is None:
        print("docs: no website, because Quarto is not installed", file=sys.stderr)
        return 0
    if wrong := too_old(options.quarto):
        print(f"docs: no website, because {wrong.partition(':')[0]}", file=sys.stderr)
        return 0
    shutil.rmtree(options.output, ignore_errors=True)
    stage(options.output)
    return subprocess.run([options.quarto, "render", options.output], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
