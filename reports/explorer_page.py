"""Write the explorer into a page that runs only its own script and loads nothing.

The chart is data: JSON in an element that the browser does not run. The script that draws it is
the same for every study, so the page's content security policy can allow it by its hash. Vega
interprets its expressions (`ast`); the policy would forbid compiling them.
"""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import io
from typing import Any

import altair as alt
import vl_convert

from study.text import script_data

SNIPPET = """
const {chart, tables} = JSON.parse(document.getElementById("explorer-chart").textContent);
const row = columns => values => Object.fromEntries(columns.map((name, i) => [name, values[i]]));
chart.datasets = Object.fromEntries(Object.entries(tables).map(
  ([name, [columns, ...rows]]) => [name, rows.map(row(columns))]));
const options = {renderer: "svg", actions: false, ast: true, mode: "vega-lite"};
vegaEmbed(document.getElementById("explorer"), chart, options).catch(console.error);
"""
POLICY = (
    "default-src 'none'; script-src {}; style-src 'unsafe-inline' data:; img-src data:; "
    "font-src data:; base-uri 'none'; form-action 'none'"
)


@functools.cache
def script() -> str:
    """Return Vega, Vega-Lite and the lines that draw the chart, as one script."""
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    bundle = str(vl_convert.javascript_bundle(SNIPPET, vl_version=version))
    # Pandoc replaces tabs and browsers replace line ends, either of which would change the hash.
    # In the bundle, both occur only within strings.
    return bundle.replace("\t", r"\t").replace("\r", r"\r").replace("</script", r"<\/script")


def policy() -> str:
    """Return the element that restricts a page to this script and forbids network access."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    content = POLICY.format(f"'sha256-{digest}'")
    return f'<meta http-equiv="Content-Security-Policy" content="{content}">\n'


def page(chart: Any) -> str:
    """Return the elements that show a chart.

    Parameters
    ----------
    chart : altair.TopLevelMixin

    Returns
    -------
    str
        HTML. If the page has a policy, it must allow the script, or nothing is shown.
    """
    spec = chart.to_dict()
    tables: dict[str, list[list[Any]]] = {}
    _take_tables(spec, tables)
    data = script_data({"chart": spec, "tables": tables})
    return (
        '<div id="explorer" style="width: 100%"></div>\n'
        f'<script type="application/json" id="explorer-chart">{data}</script>\n'
        f"<script>{script()}</script>"
    )


def _take_tables(part: Any, tables: dict[str, list[list[Any]]]) -> None:
    """Move the charts' CSV into tables, without duplicates: Vega's CSV reader compiles code."""
    if isinstance(part, list):
        for item in part:
            _take_tables(item, tables)
    elif isinstance(part, dict):
        data = part.get("data", {})
        if data.get("format", {}).get("type") == "csv":
            columns, *rows = csv.reader(io.StringIO(data["values"]))
            numeric = [column in data["format"]["parse"] for column in columns]
            table: list[list[Any]] = [columns]
            for row in rows:
                table.append([_value(*cell) for cell in zip(row, numeric, strict=True)])
            same = next((name for name, other in tables.items() if other == table), None)
            name = same or f"table{len(tables)}"
            tables[name] = table
            part["data"] = {"name": name}
        for key, item in part.items():
            if key != "data":
                _take_tables(item, tables)


def _value(text: str, numeric: bool) -> str | float | None:
    if not numeric:
        return text
    return float(text) if text else None
