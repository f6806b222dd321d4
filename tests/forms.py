"""Write one set of numbers in every form of result file: `python tests/forms.py`.

Six models of three families; accuracy rises to about 60% of the depth and falls. The numbers are
simulated, so their truth is known: a hump in every model, at 0.6.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

DATA = Path(__file__).parent / "data" / "forms"
#: Blocks of each model.
MODELS = {
    "gpt2": 12,
    "gpt2-medium": 24,
    "pythia-70m": 12,
    "pythia-410m": 24,
    "Qwen2.5-0.5B": 24,
    "Qwen2.5-1.5B-Instruct": 28,
}


def truth() -> pd.DataFrame:
    """Return the numbers: model, layer, n_layers, accuracy, rounded to four decimals."""
    parts = []
    for number, (model, n) in enumerate(MODELS.items()):
        rng = np.random.default_rng([21, number])
        depth = np.arange(n + 1) / n
        score = 0.9 - 0.9 * (depth - 0.6) ** 2 + 0.01 * rng.standard_normal(n + 1)
        facts = {"model": model, "layer": np.arange(n + 1), "n_layers": n}
        parts.append(pd.DataFrame(facts | {"accuracy": score.round(4)}))
    return pd.concat(parts, ignore_index=True)


FORMS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {}
#: The option of `read_scores` that a form needs.
OPTIONS: dict[str, dict[str, Any]] = {
    "columns.csv": {"columns": {"score": "held out", "layer": "where"}},
    "one_sheet_of_two.xlsx": {"sheet": "probes"},
    "nested_by_pooling.json": {"records": "{model}.mean.layer_data[*].separation"},
    "blocks_from_zero.csv": {"n_layers": None},
    "two_row_header.xlsx": {"header": 2},
}
#: The source of a form that is more than its file.
SOURCES = {
    "files": "files/*.json",
    "named/results": "named/results/{model}/run.json",
    "families": "families/{family}/{model}.csv",
}


def form(name: str) -> Callable[[Callable[[pd.DataFrame, Path], Any]], Any]:
    """Register a function that writes the numbers in one form."""

    def keep(write: Callable[[pd.DataFrame, Path], Any]) -> Any:
        FORMS[name] = write
        return write

    return keep


@form("comma.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_csv(p, index=False)


@form("semicolon_decimal_comma.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_csv(p, index=False, sep=";", decimal=",")


@form("tab.tsv")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_csv(p, index=False, sep="\t")


@form("byte_order_mark.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_csv(p, index=False, encoding="utf-8-sig")


@form("utf16.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_csv(p, index=False, sep="\t", encoding="utf-16")


@form("excel_delimiter.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    text = t.to_csv(index=False, sep=";", decimal=",")
    p.write_text(f"sep=;\n{text}", encoding="utf-16")


@form("pandas_index.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_csv(p)


@form("synonyms.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t = t.rename(columns={"model": "Model Name", "layer": "Layer_Idx", "accuracy": "probe_acc"})
    t.drop(columns="n_layers").to_csv(p, index=False)


@form("columns.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t = t.rename(columns={"layer": "where", "accuracy": "held out"})
    t.assign(epochs=3).to_csv(p, index=False)


@form("depth_share.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t.assign(depth=t["layer"] / t["n_layers"])[["model", "depth", "accuracy"]].to_csv(
        p, index=False
    )


@form("depth_percent.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    depth = 100 * t["layer"] / t["n_layers"]
    t.assign(**{"depth (%)": depth})[["model", "depth (%)", "accuracy"]].to_csv(p, index=False)


@form("percent.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t["accuracy"] = [f"{100 * v:.2f}%" for v in t["accuracy"]]
    t.to_csv(p, index=False)


@form("blocks_from_zero.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t = t[t["layer"] > 0]
    t.assign(layer=t["layer"] - 1).to_csv(p, index=False)


@form("embedding_is_minus_one.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t.assign(layer=t["layer"] - 1).to_csv(p, index=False)


@form("embedding_and_blocks.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    names = {n: f"model.layers.{n - 1}" if n else "embedding" for n in t["layer"]}
    t.assign(layer=t["layer"].map(names)).to_csv(p, index=False)


@form("wide_by_model.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t.pivot(index="layer", columns="model", values="accuracy").to_csv(p)


@form("wide_by_layer.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    wide = t.pivot(index="model", columns="layer", values="accuracy")
    wide.rename(columns=lambda n: f"layer_{n}").to_csv(p)


@form("wide_by_metric.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    t.assign(train_acc=1.0, f1=t["accuracy"] - 0.01).to_csv(p, index=False)


@form("long_metrics.csv")
def _(t: pd.DataFrame, p: Path) -> None:
    long = t.assign(f1=t["accuracy"] - 0.01).melt(
        ["model", "layer", "n_layers"], ["accuracy", "f1"], "metric", "value"
    )
    long.to_csv(p, index=False)


@form("table.parquet")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_parquet(p, index=False)


@form("table.feather")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_feather(p)


@form("stream.arrow")
def _(t: pd.DataFrame, p: Path) -> None:
    import pyarrow as pa

    table = pa.Table.from_pandas(t, preserve_index=False)
    with pa.OSFile(str(p), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)


@form("records.json")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_json(p, orient="records", indent=0)


@form("pandas.json")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_json(p)


@form("lines.jsonl")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_json(p, orient="records", lines=True)


@form("lists_by_model.json")
def _(t: pd.DataFrame, p: Path) -> None:
    _json(p, {m: g["accuracy"].tolist() for m, g in t.groupby("model", sort=False)})


@form("lists_by_column.json")
def _(t: pd.DataFrame, p: Path) -> None:
    parts = {
        m: {"layers": g["layer"].tolist(), "accuracy": g["accuracy"].tolist()}
        for m, g in t.groupby("model", sort=False)
    }
    _json(p, parts)


@form("by_layer_key.json")
def _(t: pd.DataFrame, p: Path) -> None:
    parts = {
        m: {f"layer_{n}": {"accuracy": a} for n, a in zip(g["layer"], g["accuracy"], strict=True)}
        for m, g in t.groupby("model", sort=False)
    }
    _json(p, parts)


@form("nested_by_pooling.json")
def _(t: pd.DataFrame, p: Path) -> None:
    def layers(g: pd.DataFrame, minus: float) -> list[dict[str, float]]:
        both = zip(g["layer"], g["accuracy"], strict=True)
        return [{"layer": n, "separation": a - minus} for n, a in both]

    parts = {
        m: {pool: {"layer_data": layers(g, less)} for pool, less in (("mean", 0.0), ("last", 0.1))}
        for m, g in t.groupby("model", sort=False)
    }
    _json(p, parts)


@form("table.md")
def _(t: pd.DataFrame, p: Path) -> None:
    lines = ["# Probes", "", "| Model | Layer | Accuracy |", "|:--|--:|:-:|"]
    for m, g in t.groupby("model", sort=False):
        best = g["accuracy"].idxmax()
        for i, row in g.iterrows():
            word, value = f"L{row['layer']}", f"{100 * row['accuracy']:.2f}%"
            if i == best:
                word, value = f"{word} (best)", f"**{value}**"
            lines.append(f"| {m} | {word} | {value} |")
    p.write_text("\n".join(lines) + "\n", encoding="utf-8")


@form("sheet.xlsx")
def _(t: pd.DataFrame, p: Path) -> None:
    t.to_excel(p, index=False)


@form("one_sheet_of_two.xlsx")
def _(t: pd.DataFrame, p: Path) -> None:
    with pd.ExcelWriter(p) as book:
        t.assign(accuracy=0.5).to_excel(book, sheet_name="controls", index=False)
        t.to_excel(book, sheet_name="probes", index=False)


@form("two_row_header.xlsx")
def _(t: pd.DataFrame, p: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    page = book.active
    page.append(["Where", None, "What", None])
    page.merge_cells("A1:B1")
    page.append(["model", "layer", "n_layers", "accuracy"])
    for row in t.itertuples(index=False):
        page.append(list(row))
    book.save(p)


@form("arrays.npz")
def _(t: pd.DataFrame, p: Path) -> None:
    np.savez(p, **{m: g["accuracy"].to_numpy() for m, g in t.groupby("model", sort=False)})


@form("arrays.safetensors")
def _(t: pd.DataFrame, p: Path) -> None:
    from safetensors.numpy import save_file

    save_file({m: g["accuracy"].to_numpy() for m, g in t.groupby("model", sort=False)}, p)


@form("files")
def _(t: pd.DataFrame, p: Path) -> None:
    for m, g in t.groupby("model", sort=False):
        p.mkdir(parents=True, exist_ok=True)
        layers = g[["layer", "accuracy"]].to_dict("records")
        _json(
            p / f"probe_{m}_results.json",
            {"n_layers": int(g["n_layers"].iloc[0]), "layers": layers},
        )


@form("named/results")
def _(t: pd.DataFrame, p: Path) -> None:
    for m, g in t.groupby("model", sort=False):
        (p / str(m)).mkdir(parents=True, exist_ok=True)
        _json(p / str(m) / "run.json", {"auc_by_layer": None, "accuracy": g["accuracy"].tolist()})


@form("families")
def _(t: pd.DataFrame, p: Path) -> None:
    for m, g in t.groupby("model", sort=False):
        family = str(m).split("-")[0].split("2")[0].capitalize()
        (p / family).mkdir(parents=True, exist_ok=True)
        g[["layer", "accuracy"]].to_csv(p / family / f"{m}.csv", index=False)


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


def source_of(name: str) -> str:
    """Return the source and options of `read_scores` for a form."""
    return str(DATA / SOURCES.get(name, name))


if __name__ == "__main__":
    for name, write in FORMS.items():
        (DATA / name).parent.mkdir(parents=True, exist_ok=True)
        write(truth(), DATA / name)
