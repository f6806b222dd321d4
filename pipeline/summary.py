"""Print the table at the end of a run: each profile as a sparkline, with its peak."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

from rich import box
from rich.table import Table

from study.terminal import Terminal
from study.text import visible
from study.write import Place, read_table, read_text

BARS = "▁▂▃▄▅▆▇█"


def print_summary(console: Terminal, folder: Place) -> None:
    """Print a study's profiles from its tables.

    Parameters
    ----------
    console : Terminal
    folder : Path or UPath
        The study's folder.
    """
    run = json.loads(read_text(folder / "run.json"))
    scores = read_table(folder / "scores.parquet")
    scores = scores[scores["labels"] == "true"]
    title = f"Study {run['study']['name']}: separation, from embedding to top"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, leading=1)
    table.add_column("model", overflow="fold")
    for column in ("metric", "profile", "best"):
        table.add_column(column, no_wrap=True)
    for (model, weights, method), rows in scores.groupby(["model", "weights", "method"]):
        lines = []
        for metric, facts in run["metrics"].items():
            profile = rows[rows["metric"] == metric].groupby("depth")["score"].mean()
            if profile.empty:  # ablation has metrics of its own
                continue
            sign = 1 if facts["higher_is_better"] else -1
            best = (sign * profile).idxmax()
            bars = sparkline((sign * profile).tolist())
            lines.append((metric, bars, f"{profile[best]:.2f} at {best:.2f}"))
        name = f"{visible(str(model))}\n{visible(str(weights))}, {visible(str(method))}"
        table.add_row(name, *("\n".join(cells) for cells in zip(*lines, strict=True)))
    console.print(table)
    console.print(
        "Bars run from the worst to the best layer of a profile; beside them the best\n"
        f"score and its depth (layer / layers). Tables are in\n{folder}"
    )


def sparkline(values: Sequence[float], width: int = 12) -> str:
    """Draw values as a line of bars, averaged to at most `width` of them.

    Parameters
    ----------
    values : sequence of float
    width : int

    Returns
    -------
    str

    Examples
    --------
    >>> sparkline([0, 1, 2, 1, 0])
    '▁▅█▅▁'
    """
    n = min(width, len(values))
    edges = [round(i * len(values) / n) for i in range(n + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    span = high - low or 1.0
    return "".join(BARS[min(int((m - low) / span * len(BARS)), len(BARS) - 1)] for m in means)
