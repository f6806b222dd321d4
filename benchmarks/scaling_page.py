"""Write the tables in docs/scaling.md from results/scaling.csv, and plan for many models.

    python benchmarks/scaling_page.py --gpu-hour 1.5 --tflops 990    plan with your own figures

`scaling.py` measures and writes the page; this module only does the arithmetic, without torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "scaling.csv"
EXTRACTION = HERE / "results" / "extraction.csv"
PAGE = HERE.parent / "docs" / "scaling.md"
READING = {"read": "reading", "keep": "keeping", "score": "scoring"}
TESTS = {
    "load": "load",
    "fit_curves": "curves",
    "u_shape_test": "U shape",
    "localization_test": "localization",
    "invariance_test": "invariance",
    "scale_test": "scale",
}


@dataclass(frozen=True)
class Assumptions:
    """Assumptions that were not measured; each is a command-line option."""

    models: int = 1000
    gpu_hour: float = 2.0
    core_hour: float = 0.05
    tflops: float = 312.0
    utilization: float = 0.3
    bytes_per_parameter: float = 2.0
    download_mb_s: float = 200.0
    gigabyte_month: float = 0.023
    gpus: int = 8


ABOUT = {
    "models": "models in the study",
    "gpu_hour": "price of a GPU hour, dollars",
    "core_hour": "price of an hour of a core as measured here, dollars",
    "tflops": "peak of the GPU in bfloat16, 10^12 operations per second",
    "utilization": "share of the peak that reading reaches",
    "bytes_per_parameter": "bytes of a weight file for each parameter",
    "download_mb_s": "rate at which weights arrive, MB per second",
    "gigabyte_month": "price of a gigabyte stored for a month, dollars",
    "gpus": "GPUs at work at once",
}


def exponent(x: pd.Series, y: pd.Series) -> float:
    """Return the slope of log y on log x by least squares."""
    return float(np.polyfit(np.log(x.astype(float)), np.log(y.astype(float)), 1)[0])


def power_law(x: pd.Series, y: pd.Series, at: float) -> float:
    """Return the value at `at` of the power law fitted to x and y."""
    slope, level = np.polyfit(np.log(x.astype(float)), np.log(y.astype(float)), 1)
    return float(np.exp(level + slope * np.log(at)))


def seconds_by(table: pd.DataFrame, part: str, steps: dict[str, str]) -> pd.DataFrame:
    """Return a part's seconds, one row per x and one column per step."""
    rows = table[(table["part"] == part) & table["step"].isin(steps)]
    wide = rows.pivot(index="x", columns="step", values="seconds")
    return wide[list(steps)].rename(columns=steps)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table with all columns but the first aligned right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])


def number(value: float) -> str:
    """Write a number with three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.4f}"


def growth(table: pd.DataFrame, part: str, what: str, steps: dict[str, str]) -> str:
    """Return a part's table: seconds of each step, their exponents, and the peak memory."""
    seconds = seconds_by(table, part, steps)
    seconds["together"] = seconds.sum(axis=1)
    peak = table[table["part"] == part].groupby("x")["peak_mb"].max()
    rows = [[f"{x:,.0f}", *map(number, seconds.loc[x]), f"{peak[x]:,.0f}"] for x in seconds.index]
    slopes = [f"{exponent(seconds.index.to_series(), seconds[c]):.2f}" for c in seconds]
    memory = f"{exponent(peak.index.to_series(), peak):.2f}"
    header = [what, *(f"{c}, s" for c in seconds), "peak, MB"]
    return markdown(header, [*rows, ["**exponent**", *slopes, memory]])


def of_models(table: pd.DataFrame, part: str = "model", wide: int = 4) -> str:
    """Return the cost of a token and the memory by model size, with so many bytes a parameter."""
    read = table[(table["part"] == part) & (table["step"] == "read")].sort_values("x")
    each, rows = read["seconds"] / read["tokens"], []
    for row, cost in zip(read.to_dict("records"), each, strict=True):
        kept = (row["n_layers"] + 1) * row["width"] * 4
        rows.append(
            [
                row["case"],
                f"{row['x'] / 1e6:,.0f}",
                f"{row['n_layers']:.0f} x {row['width']:.0f}",
                number(1 / cost),
                number(1e3 * cost),
                number(2 * row["x"] / cost / 1e9),
                f"{row['peak_mb']:,.0f}",
                f"{row['x'] * wide / 2**20:,.0f}",
                f"{kept / 1024:,.0f}",
            ]
        )
    rows.append(
        [
            "**exponent**",
            "",
            "",
            "",
            f"{exponent(read['x'], each):.2f}",
            "",
            f"{exponent(read['x'], read['peak_mb']):.2f}",
            "",
            "",
        ]
    )
    return markdown(
        [
            "model",
            "parameters, 10^6",
            "layers x width",
            "tokens/s",
            "ms per token",
            "10^9 operations/s",
            "peak, MB",
            "weights, MB",
            "kept per text, KB",
        ],
        rows,
    )


def on_gpu(table: pd.DataFrame) -> str:
    """Return the cost of reading and writing on a GPU by model size."""
    rows = table[table["part"] == "model on a GPU"].sort_values("x", kind="stable")
    read, written = (rows[rows["step"] == step] for step in ("read", "write"))
    fast, slow = read["tokens"] / read["seconds"], written["written"] / written["seconds"]
    cells = []
    for r, w, f, s in zip(
        read.to_dict("records"), written.to_dict("records"), fast, slow, strict=True
    ):
        size, weights = f"{r['x'] / 1e6:,.0f}", f"{r['x'] * 2 / 2**20:,.0f}"
        rate = number(2 * r["x"] * f / 1e12)
        memory = [f"{m['peak_mb']:,.0f}" for m in (r, w)]
        cells.append([r["case"], size, number(f), rate, number(s), weights, *memory])
    header = ["model", "parameters, 10^6", "tokens read/s", "10^12 operations/s"]
    header += ["tokens written/s", "weights, MB", "peak reading, MB", "peak writing, MB"]
    said = f"On one {read['device'].iloc[0]}, in bfloat16; stories in one batch of "
    said += f"{written['texts'].iloc[0]:.0f}, activations of every layer taken in both."
    return f"{said}\n\n{markdown(header, cells)}"


def of_shards(table: pd.DataFrame) -> str:
    """Return the time that workers take to share one unit."""
    rows = table[table["part"] == "shards"].to_dict("records")
    return markdown(
        ["shards, each with a worker", "cores each", "wall, s", "ratio"],
        [
            [
                f"{row['x']:.0f}",
                row["step"].split()[-1],
                number(row["wall"]),
                f"{row['wall'] / rows[0]['wall']:.2f}",
            ]
            for row in rows
        ],
    )


def of_memory(table: pd.DataFrame) -> str:
    """Say how the peak memory grows with the texts."""
    rows = table[table["part"] == "texts"]
    first, last = rows["x"].min(), rows["x"].max()
    peaks = {
        name: rows[rows["step"].isin(steps)].groupby("x")["peak_mb"].max()
        for name, steps in (("whole", list(READING)), ("reading", ["read"]), ("start", ["start"]))
    }
    slope = {name: exponent(peak.index.to_series(), peak) for name, peak in peaks.items()}
    kept = rows[rows["step"] == "keep"].set_index("x")["mb"]
    whole, start = peaks["whole"], peaks["start"]
    return (
        f"From {first:,.0f} texts to {last:,.0f}, the peak grows from {whole[first]:,.0f} to "
        f"{whole[last]:,.0f} MB, an exponent of {slope['whole']:.3f} (of reading alone, "
        f"{slope['reading']:.3f}). The texts themselves are {start[last] - start[first]:.0f} MB of "
        f"it; the means, {kept[first]:.2g} to {kept[last]:.0f} MB, are on disk."
    )


def plan(table: pd.DataFrame, speeds: pd.DataFrame, given: Assumptions) -> str:
    """Return the plan's table: time, storage and money for many models."""
    read = table[(table["part"] == "model") & (table["step"] == "read")]
    score = table[(table["part"] == "width") & (table["step"] == "score")]
    units = table[table["part"] == "study"]
    rate = speeds.set_index(["task", "way"])["tokens_per_second"]
    writing = rate["read", "emotion-depth"] / rate["write", "emotion-depth"]
    share = given.models / units["case"].nunique()
    tokens = units["tokens"] + writing * units["written"]
    gpu = (2 * units["n_params"] * tokens / (given.tflops * 1e12 * given.utilization)).sum()
    each = read["seconds"] / read["tokens"]
    cpu = sum(
        power_law(read["x"], each, n) * t for n, t in zip(units["n_params"], tokens, strict=True)
    )
    one = units.drop_duplicates("case")
    fetch = (one["n_params"] * given.bytes_per_parameter / 1e6 / given.download_mb_s).sum()
    # Scoring: twice, for true and for shuffled labels; linear in texts and layers.
    points = score["texts"] * (score["n_layers"] + 1)
    scoring = sum(
        2 * power_law(score["x"], score["seconds"] / points, w) * t * (n + 1)
        for w, t, n in zip(units["width"], units["texts"], units["n_layers"], strict=True)
    )
    kept = (units["texts"] * (units["n_layers"] + 1) * units["width"] * 4).sum() / 1e9
    largest = table[(table["part"] == "models analyzed") & (table["step"] == "load")]
    largest = largest.loc[largest["x"].idxmax()]
    # A simulated model has one method and true labels alone.
    tables = largest["mb"] / largest["x"] * 1.048576e-3 * 2 * len(units)
    hours = share * np.array([gpu, fetch, cpu, scoring]) / 3600
    stored = share * (kept + tables)
    rows = [
        ["tokens read", f"{share * units['tokens'].sum() / 1e9:,.2f} x 10^9"],
        ["tokens written", f"{share * units['written'].sum() / 1e9:,.2f} x 10^9"],
        ["cost of a written token, in read ones", f"{writing:.1f}"],
        ["GPU hours of reading and writing", number(hours[0])],
        ["hours of weights arriving", number(hours[1])],
        [
            f"wall hours on {given.gpus} GPUs, weights and computing in turn",
            number((hours[0] + hours[1]) / given.gpus),
        ],
        ["dollars for the GPUs", number((hours[0] + hours[1]) * given.gpu_hour)],
        ["the same on cores as measured here, hours", number(hours[2])],
        ["dollars for the cores instead of the GPUs", number(hours[2] * given.core_hour)],
        ["core hours of scoring", number(hours[3])],
        ["dollars for scoring", number(hours[3] * given.core_hour)],
        ["activations kept, GB", number(share * kept)],
        ["score tables, GB", number(share * tables)],
        ["dollars per month for storage", number(stored * given.gigabyte_month)],
    ]
    return markdown([f"{given.models:,} models", ""], rows)


def of_assumptions(given: Assumptions) -> str:
    """Return the plan's assumptions, with the options that change them."""
    return markdown(
        ["assumed", "value", "option"],
        [
            [ABOUT[f.name], f"{getattr(given, f.name):g}", f"`--{f.name.replace('_', '-')}`"]
            for f in fields(given)
        ],
    )


def sections(table: pd.DataFrame, speeds: pd.DataFrame) -> dict[str, str]:
    """Return the page's computed parts by name; a part without figures says how to get them."""
    made: dict[str, tuple[tuple[str, ...], Callable[[], str]]] = {
        "model": (("model",), lambda: of_models(table)),
        "gpu": (("model on a GPU",), lambda: on_gpu(table)),
        "shards": (("shards",), lambda: of_shards(table)),
        "texts": (("texts",), lambda: growth(table, "texts", "texts", READING)),
        "memory": (("texts",), lambda: of_memory(table)),
        "layers": (("layers",), lambda: growth(table, "layers", "layers", READING)),
        "width": (("width",), lambda: growth(table, "width", "width", {"score": "scoring"})),
        "models": (("models analyzed",), lambda: growth(table, "models analyzed", "models", TESTS)),
        "model-layers": (
            ("layers analyzed",),
            lambda: growth(table, "layers analyzed", "layers", TESTS),
        ),
        "replicates": (
            ("replicates analyzed",),
            lambda: growth(table, "replicates analyzed", "replicates", TESTS),
        ),
        "assumptions": ((), lambda: of_assumptions(Assumptions())),
        "plan": (
            ("model", "width", "study", "models analyzed"),
            lambda: plan(table, speeds, Assumptions()),
        ),
    }
    out = {}
    for name, (parts, make) in made.items():
        missing = [part for part in parts if part not in set(table["part"])]
        command = f'`python benchmarks/scaling.py --only "{missing[0]}"`' if missing else ""
        out[name] = f"*Not measured yet: {command}.*" if missing else make()
    return out


def filled(page: str, parts: dict[str, str]) -> str:
    """Return the page with new text between its markers."""
    for name, text in parts.items():
        marks = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if page.count(marks[0]) != 1 or page.count(marks[1]) != 1:
            raise ValueError(f"{PAGE}: there must be one place for {name!r}")
        before, after = page.split(marks[0])[0], page.split(marks[1])[1]
        page = f"{before}{marks[0]}\n\n{text}\n\n{marks[1]}{after}"
    return page


def write_page() -> None:
    """Fill docs/scaling.md from the committed figures."""
    parts = sections(pd.read_csv(RESULTS), pd.read_csv(EXTRACTION))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), parts), encoding="utf-8")


def main() -> None:
    """Print the plan with the assumptions of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for field in fields(Assumptions):
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=type(field.default),
            default=field.default,
            help=f"{ABOUT[field.name]} (default {field.default:g})",
        )
    given = Assumptions(**vars(parser.parse_args()))
    print(of_assumptions(given), end="\n\n")
    print(plan(pd.read_csv(RESULTS), pd.read_csv(EXTRACTION), given))


if __name__ == "__main__":
    main()
