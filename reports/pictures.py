"""Choose the format of the reports' pictures: SVG for pages and print, PNG for Word."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import plotnine


def choose(environment: Mapping[str, str] = os.environ) -> None:
    """Set the format in which the cells of a report draw.

    Word does not show every SVG, so where Quarto renders for Word, pictures are PNG with twice the
    pixels. Quarto tells cells its format in a file that QUARTO_EXECUTE_INFO names. The light
    renderer sets no such variable, and converts pictures itself.

    Examples
    --------
    >>> choose({})
    >>> plotnine.options.figure_format
    'svg'
    """
    file, target = environment.get("QUARTO_EXECUTE_INFO"), ""
    if file:
        info = json.loads(Path(file).read_text(encoding="utf-8"))
        target = info["format"]["identifier"]["target-format"]
    plotnine.options.figure_format = "retina" if target.startswith("docx") else "svg"
