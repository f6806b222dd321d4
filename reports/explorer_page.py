"""Write the explorer into a page that runs only its own script and loads nothing.

What studies hold is data: JSON in an element that the browser does not run. The script
(`explorer.js` with Vega) is the same for every study, so the page's content security policy can
allow it by its hash. Vega interprets its expressions (`ast`); the policy would forbid compiling
them.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from analysis.claims.table import claims_table, preregistered, untestable_claims
from analysis.figures.explorer import charts, explorer
from analysis.over_models.precision import one_precision
from analysis.profiles.curves import fit_curves
from analysis.trials.table import example_texts, load_trials
from reports.paper import scores_of
from study.read import InputError
from study.text import script_data

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src {}; style-src 'unsafe-inline' data:; img-src data:; "
    "font-src data:; base-uri 'none'; form-action 'none'"
)
#: Headings of the columns.
HEADS = {
    "claims": ["Claim", "Scope", "Verdict", "Estimate", "p", "n", "Reason"],
    "examples": ["Model", "Regime", "Target", "Strength", "Text"],
}


def gather(data: Path, study: str) -> list[dict[str, Any]]:
    """Return what the page shows: the study first, then the others that are in the same folder.

    Parameters
    ----------
    data : Path
        The folder of scores and studies, in the project's folder.
    study : str
        A name or source, as for `reports.paper.scores_of`. Other studies are added to a name only,
        and only if they have trained models.

    Returns
    -------
    list of dict
        What `analysis.figures.explorer.explorer` returns for each.
    """
    found = [_explored(data, study)]
    if Path(study).name == study and (data / "scores" / study / "run.json").exists():
        for other in sorted(path.parent.name for path in (data / "scores").glob("*/run.json")):
            if other != study:
                try:
                    found.append(_explored(data, other))
                except InputError:  # an unfinished study, or one of untrained models alone
                    continue
    return found


def _explored(data: Path, study: str) -> dict[str, Any]:
    whole = scores_of(data, study)
    scores = one_precision(whole)
    rules = preregistered(scores)
    chosen = {name: rules[name] for name in ("peak", "delta", "alpha")}
    fits = fit_curves(scores, weights=None, **chosen)
    steered = data / "steering" / study / "trials.parquet"
    trials = None
    if not scores.is_foreign and steered.exists():
        trials = load_trials(steered.parent)
    claims = claims_table(whole, trials)
    if scores.is_foreign:
        claims = claims.drop(index=untestable_claims(claims).index)
    return explorer(scores, fits, claims, None if trials is None else example_texts(trials))


@functools.cache
def script() -> str:
    """Return Vega, Vega-Lite and the lines that draw the page, as one script."""
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    own = (HERE / "explorer.js").read_text(encoding="utf-8")
    bundle = str(vl_convert.javascript_bundle(own, vl_version=version))
    # Pandoc replaces tabs and browsers replace line ends, either of which would change the hash.
    # In the bundle, both occur only within strings.
    return bundle.replace("\t", r"\t").replace("\r", r"\r").replace("</script", r"<\/script")


def policy() -> str:
    """Return the element that restricts a page to this script and forbids network access."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    content = POLICY.format(f"'sha256-{digest}'")
    return f'<meta http-equiv="Content-Security-Policy" content="{content}">\n'


def page(studies: Sequence[dict[str, Any]]) -> str:
    """Return the elements that show studies.

    Parameters
    ----------
    studies : sequence of dict
        What `analysis.figures.explorer.explorer` returns, the first to be shown first.

    Returns
    -------
    str
        HTML. If the page has a policy, it must allow the script, or nothing is shown.
    """
    data = script_data({"charts": charts(), "studies": list(studies), "heads": HEADS})
    style = (HERE / "explorer.css").read_text(encoding="utf-8")
    return (
        f"<style>\n{style}</style>\n"
        '<div id="explorer">This page is drawn by a script, which did not run.</div>\n'
        f'<script type="application/json" id="explorer-data">{data}</script>\n'
        f"<script>{script()}</script>"
    )
