"""The style that all figures share: colors, theme, names and orders.

All colors come from the palette of Okabe and Ito, which readers with color-vision deficiency can
distinguish and which keeps its order in gray. Line types and shapes repeat the information in
color. Widths match an A4 text column.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import plotnine as p9
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from analysis.loading.scores import Scores
from study import METHODS
from study.read import InputError
from study.text import broken, visible

#: Width of every figure in inches.
WIDTH = 6.3
#: The most that fits on a page of A4.
MAX_HEIGHT = 9.3
#: With more panels than this, they are small, and six stand side by side.
FEW = 18
#: Sizes of the titles of panels in points, of few panels and of many.
TITLE, SMALL_TITLE = 8.5, 6.0
#: The width that the marks of the vertical axis and the margins take, in inches.
BESIDE = 0.65
#: The method of a table that names none; it needs no legend.
NO_METHOD = "all"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GRAY = "#7A7F87"
SOFT = "#5B6472"
COLORS = dict(zip(METHODS, PALETTE, strict=False))
UNTRAINED = "untrained"


class PlainText(p9.theme_minimal):  # type: ignore[misc]
    """A minimal theme that does not read dollar signs in a name as a formula."""

    def __init__(self, base_size: float = 11) -> None:
        super().__init__(base_size=base_size)
        self._rcParams["text.parse_math"] = False


def house_style(height: float) -> p9.theme:
    """Return the shared theme, for a figure of this height in inches, or of a page's."""
    return PlainText(base_size=9) + p9.theme(
        figure_size=(WIDTH, min(height, MAX_HEIGHT)),
        panel_grid_minor=p9.element_blank(),
        panel_grid_major=p9.element_line(color="#E4E7EB", size=0.4),
        panel_spacing=0.02,
        strip_text=p9.element_text(size=TITLE, weight="bold", ha="left", ma="left", x=0),
        axis_title=p9.element_text(size=8.5, color=SOFT),
        axis_text=p9.element_text(size=7.5, color=SOFT),
        legend_position="bottom",
        legend_title=p9.element_blank(),
        legend_text=p9.element_text(size=8.5),
        legend_key_width=22,
        plot_margin=0.01,
    )


def panel_columns(n_panels: int, usual: int = 3) -> int:
    """Return how many panels stand side by side.

    >>> panel_columns(2), panel_columns(9), panel_columns(50)
    (2, 3, 6)
    """
    return min(n_panels, usual) if n_panels <= FEW else 6


def text_width(text: str, size: float, weight: str = "bold") -> float:
    """Return the width of one line of text in inches."""
    font = FontProperties(size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def in_room(
    columns: int, width: float = WIDTH, size: float | None = None, beside: float = BESIDE
) -> Callable[[str], str]:
    r"""Return a function that breaks the title of a panel where it would be cut.

    Parameters
    ----------
    columns : int
        Panels side by side.
    width, beside : float
        Of the figure, and of the marks and margins beside all panels, in inches.
    size : float, optional
        Of the titles, in points. Default: the usual one, and a small one with six columns.

    Examples
    --------
    >>> in_room(3)("Qwen · Qwen2.5-1.5B-Instruct")
    'Qwen · \nQwen2.5-1.5B-Instruct'
    >>> in_room(3)("Llama · HuggingFaceTB/SmolLM2-135M-Instruct")
    'Llama · \nHuggingFaceTB/\nSmolLM2-135M-Instruct'
    """
    room = 0.93 * ((width - beside) / columns - 0.07)  # on a screen, letters are up to 6% wider
    points = size or (TITLE if columns < 6 else SMALL_TITLE)

    def fits(line: str) -> bool:
        return text_width(line, points) <= room

    return lambda title: "\n".join(
        line for part in title.split("\n") for line in broken(part, fits)
    )


def small_panels(n_panels: int) -> list[Any]:
    """Return what makes many panels readable: small titles, and few marks on the axes."""
    if n_panels <= FEW:
        return []
    return [
        p9.scale_x_continuous(breaks=[0, 0.5, 1], labels=["0", "½", "1"], limits=(0, 1)),
        p9.theme(
            strip_text=p9.element_text(size=SMALL_TITLE, ha="left", ma="left", x=0),
            axis_text=p9.element_text(size=5.5, color=SOFT),
        ),
    ]


def metric_label(scores: Scores, metric: str) -> str:
    """Return the axis label that the study declares for a metric."""
    label = scores.run.get("metrics", {}).get(metric, {}).get("label", metric)
    return visible(str(label))


def model_order(scores: Scores) -> list[str]:
    """Return the models ordered by family and, within a family, by size."""
    facts = scores.table.drop_duplicates("model").sort_values(["family", "n_params", "model"])
    return [str(model) for model in facts["model"]]


def depth_scale() -> p9.scale_x_continuous:
    """Return the depth axis, labeled at the quarters."""
    return p9.scale_x_continuous(
        breaks=[0, 0.25, 0.5, 0.75, 1], labels=["0", "¼", "½", "¾", "1"], limits=(0, 1)
    )


def band(target: float, delta: float, vertical: bool = False) -> list[Any]:
    """Return the equivalence band and its center, across the depth axis."""
    ends = {"min": target - delta, "max": target + delta}
    depth, other = ("x", "y") if vertical else ("y", "x")
    around = {f"{depth}{end}": value for end, value in ends.items()}
    whole = {f"{other}min": -float("inf"), f"{other}max": float("inf")}
    line = p9.geom_vline if vertical else p9.geom_hline
    return [
        p9.annotate("rect", **around, **whole, fill=PALETTE[4], alpha=0.15),
        line(**{f"{depth}intercept": target}, color=PALETTE[4], size=0.5),
    ]


def absent(reason: str) -> p9.ggplot:
    """Return a strip that replaces a figure and says why there is nothing to draw."""
    data = pd.DataFrame({"x": [0.0], "y": [0.0], "text": [reason]})
    return (
        p9.ggplot(data, p9.aes("x", "y", label="text"))
        + p9.geom_text(size=9, color=GRAY)
        + PlainText()
        + p9.theme_void()
        + p9.theme(figure_size=(WIDTH, 0.6))
    )


def require(table: pd.DataFrame, columns: list[str], name: str) -> None:
    """Raise `InputError` if a result table lacks a column that the figure draws."""
    missing = [c for c in columns if c not in table]
    if missing:
        raise InputError(f"the table for {name} has no column {missing[0]!r}")
