"""Build a self-contained HTML page about a study: claims, models and a figure."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pandas as pd

from analysis.figures.cover import cover
from analysis.loading.options import fact_of
from analysis.loading.scores import Scores
from analysis.profiles.curves import fit_curves
from analysis.reporting.web import POLICY, STYLE
from analysis.wording import intervals, p_value
from study.text import html_text


def page(scores: Scores, claims: Mapping[str, pd.DataFrame], models: pd.DataFrame) -> str:
    """Return the page.

    Parameters
    ----------
    scores : Scores
    claims : mapping of str to DataFrame
        The claims that can be tested in each scope (`of_scope`), by the scope in words.
    models : DataFrame
        Joined rows of `u_shape_test` and `fit_curves`.

    Returns
    -------
    str
        HTML with all text escaped.
    """
    rules = scores.run["study"]["preregistered"]
    method = rules["method"]
    chosen = {
        "peak": rules.get("peak", "extremum"),
        "delta": rules["delta"],
        "alpha": rules["alpha"],
    }
    shown = "".join(
        f"<h3>What holds {html_text(words)}</h3>{_claims(table)}"
        for words, table in claims.items()
        if len(table)
    )
    curves = {
        "Model": models["model"],
        "Method": models["method"],
        "Peak": intervals(models, "peak", "peak_low", "peak_high"),
        "p": [p_value(p) for p in models["p"]],
        "Verdict": models["verdict"],
        "Reason": models["reason"],
    }
    fits = fit_curves(scores, metric=rules["metric"], method=method, **chosen)
    image = io.BytesIO()
    cover(scores, rules["metric"], fits, method).save(image, format="svg", verbose=False)
    drawing = image.getvalue().decode("utf-8")
    drawing = drawing[drawing.index("<svg") :]
    title = html_text(f"Scores by layer: {scores.name}")
    notes = [*scores.run.get("notes", []), *scores.run.get("assumed", [])]
    said = f"How the table was read: {'; '.join(map(fact_of, notes))}." if notes else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">{POLICY}<title>{title}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>
<body><h1>{title}</h1><p>{html_text(said)}</p>
<h2>Claims</h2>{shown}
{drawing}
<h2>Models</h2>{_table(curves)}
</body></html>
"""


def _claims(table: pd.DataFrame) -> str:
    return _table(
        {
            "Claim": table["claim"],
            "Estimate": intervals(table),
            "p": [p_value(p) for p in table["p_holm"]],
            "Verdict": table["verdict"],
            "Reason": table["reason"],
        }
    )


def _table(columns: dict[str, object]) -> str:
    frame = pd.DataFrame({k: list(v) for k, v in columns.items()})  # type: ignore[call-overload]
    return f'<div class="wide">{frame.to_html(index=False, escape=True, border=0)}</div>'
