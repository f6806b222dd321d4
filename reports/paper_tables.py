"""The tables of the paper: one function per table, from the findings of one study."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from analysis.claims.registry import Evidence
from analysis.loading.scores import PROFILE
from analysis.over_models.bayes import family_departures
from analysis.wording import (
    intervals,
    listing,
    markdown_column,
    number,
    p_value,
    size,
    typeset,
    verdict_mark,
)
from reports.elsewhere_text import ABSENT, PRESENT, names_methods
from reports.paper import Findings
from study.read import InputError
from study.text import Markdown, markdown

#: Citations of the claims' sources.
CITED = {
    "Jeong 2026": Markdown("@jeong2026"),
    "Jeong 2026b": Markdown("@jeong2026shared"),
    "van der Ben et al. 2026": Markdown("@vanderben2026"),
}


def _typeset(
    found: Findings, rows: pd.DataFrame, columns: dict[str, str], widths: list[float], group: int
) -> Markdown:
    """Typeset a table, without the column of methods where a table from elsewhere names none."""
    if not names_methods(found):
        widths = [w for w, name in zip(widths, columns, strict=True) if name != "method"]
        columns = {name: title for name, title in columns.items() if name != "method"}
    return typeset(rows, columns, widths, group=group)


def claims_overview(found: Findings) -> Markdown:
    """Typeset every claim with its estimate, p and verdict, in both scopes."""
    claims = found.claims
    table, columns = claims, {"claim": "Claim"}
    for ending, heading in (("", "Models like these"), ("_these", "These models")):
        estimate, low, high = (f"{name}{ending}" for name in ("estimate", "low", "high"))
        shown = {
            f"value{ending}": intervals(claims, estimate, low, high),
            f"p_text{ending}": [p_value(p) for p in claims[f"p_holm{ending}"]],
            f"mark{ending}": markdown_column(verdict_mark(v) for v in claims[f"verdict{ending}"]),
        }
        table = table.assign(**shown)
        columns |= dict(zip(shown, (heading, "p", "Verdict"), strict=True))
    return typeset(table, columns, widths=[25, 17, 7, 13, 17, 7, 14])


def reasons_table(found: Findings) -> Markdown:
    """Typeset the rule and the reason of every claim's verdict."""
    table = found.claims.assign(
        source=markdown_column(CITED.get(s, markdown(s)) for s in found.claims["source"]),
    )
    columns = {
        "claim": "Claim",
        "source": "Source",
        "rule": "Rule",
        "reason": "Models like these",
        "reason_these": "These models",
    }
    if found.scores.is_foreign and not any(found.claims["source"]):
        del columns["source"]
        return typeset(table, columns, widths=[18, 22, 30, 30])
    return typeset(table, columns, widths=[18, 12, 20, 25, 25])


def models_table(found: Findings) -> Markdown:
    """Typeset the models."""
    table, facts = found.scores.table, found.models
    precision = table[table["weights"] == "trained"].groupby("model")["precision"].unique()
    names = [listing(sorted(precision[m])) if m in precision else "" for m in facts["model"]]
    facts = facts.assign(size=[size(n) for n in facts["n_params"]], precision=names)
    columns = {
        "family": "Family",
        "model": "Model",
        "n_layers": "Blocks",
        "size": "Parameters",
        "instruct": "Instruct",
        "precision": "Precision",
    }
    if found.scores.is_foreign and set(names) <= {"", "unknown"}:
        del columns["precision"]
    return typeset(facts, columns, group=1)


def shape_table(found: Findings, metric: str | None = None) -> Markdown:
    """Typeset the shape of every trained profile: one metric with its tests, or all metrics."""
    rows = found.shapes_of("trained", metric).merge(found.fits, on=PROFILE, suffixes=("", "_fit"))
    # If no profile could be fitted, the table has reasons instead of these columns.
    fitted = ["vertex", "vertex_low", "vertex_high", "p_fit", "extremum", "best"]
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *fitted])))
    rows = (
        rows[rows["labels"] == "true"]
        .assign(
            rank=rows["model"].map({m: i for i, m in enumerate(found.models["model"])}),
            order=rows["metric"].map({m: i for i, m in enumerate(found.separation)}),
            measure=rows["metric"].map(found.titles),
            peak=intervals(rows, "peak", "peak_low", "peak_high"),
            p_curve=[p_value(p) for p in rows["p_fit"]],
            p_u=[p_value(p) for p in rows["p"]],
            turn=[number(x) for x in rows["vertex"]],
        )
        .sort_values(["rank", "order", "method"])
    )
    if metric is not None:
        columns = {
            "model": "Model",
            "method": "Method",
            "peak": "Peak",
            "p_curve": "Curvature",
            "p_u": "Turn",
            "verdict": "Verdict",
        }
        return _typeset(found, rows, columns, [26, 18, 22, 11, 9, 14], group=1)
    columns = {
        "model": "Model",
        "measure": "Measure",
        "method": "Method",
        "peak": "Peak",
        "turn": "Vertex",
        "best": "Form",
        "verdict": "Verdict",
    }
    return _typeset(found, rows, columns, [21, 19, 15, 20, 11, 10, 12], group=2)


def controls_table(found: Findings) -> Markdown:
    """Typeset the controls over models on the primary metric."""
    rows = found.evidence[found.primary_metric].controls
    rows = rows[rows["level"] == "models"]
    rows = rows.assign(
        contrast=[c.replace(" - ", " − ") for c in rows["contrast"]],
        value=intervals(rows, digits=3),
        p=[p_value(p) for p in rows["p"]],
        verdict=rows["verdict"].where(rows["p"].notna(), "not testable"),
    )
    columns = {
        "contrast": "Contrast",
        "value": "Estimate",
        "p": "p",
        "n_models": "n",
        "verdict": "Verdict",
        "reason": "Reason",
    }
    return typeset(rows, columns, widths=[20, 22, 8, 4, 12, 34])


def peaks_table(found: Findings) -> Markdown:
    """Typeset the pooled depth of the peak by measure and method."""
    peaks = found.peaks
    rows = peaks.assign(
        measure=peaks["metric"].map(found.titles),
        value=intervals(peaks),
        rank=peaks["metric"].map({m: i for i, m in enumerate(found.separation)}),
        p=[p_value(p) for p in peaks["p"]],
        tau=[number(t) for t in peaks["tau"]],
        pooled=[f"{a} of {b}" for a, b in zip(peaks["n_pooled"], peaks["n_models"], strict=True)],
    ).sort_values(["rank", "method"])
    columns = {
        "measure": "Measure",
        "method": "Method",
        "value": "Depth",
        "tau": "SD",
        "p": "p",
        "pooled": "Models",
        "verdict": "Verdict",
    }
    return _typeset(found, rows, columns, [28, 18, 18, 6, 8, 10, 12], group=1)


def invariance_table(found: Findings) -> Markdown:
    """Typeset the test of invariance over families by measure, if any can be tested."""
    rows = _by_metric(found, lambda e: e.invariance)
    if rows.empty:
        return ABSENT
    shown = {name: [p_value(p) for p in rows[name]] for name in ("p_chi2", "p_boot", "p_perm")}
    rows["estimate"] = rows["estimate"].where(rows["p"].notna())
    rows["reason"] = rows["reason"].str.partition("; ")[0]  # the text has the rest
    rows = rows.assign(measure=rows["metric"].map(found.titles), value=intervals(rows), **shown)
    columns = {
        "measure": "Measure",
        "value": "Departure",
        "p_chi2": "χ²",
        "p_boot": "Bootstrap",
        "p_perm": "Permuted",
        "verdict": "Verdict",
        "reason": "Reason",
    }
    return typeset(rows, columns, widths=[17, 18, 8, 11, 11, 13, 32])


def scale_table(found: Findings) -> Markdown:
    """Typeset the test of invariance over sizes by measure, if any can be tested."""
    rows = _by_metric(found, lambda e: e.scale)
    if rows.empty:
        return ABSENT
    rows = rows.assign(
        measure=rows["metric"].map(found.titles),
        value=intervals(rows),
        p=[p_value(p) for p in rows["p"]],
    )
    columns = {
        "measure": "Measure",
        "value": "Change",
        "p": "p",
        "verdict": "Verdict",
        "reason": "Reason",
    }
    return typeset(rows, columns, widths=[20, 20, 8, 13, 39])


def tables_sentence(found: Findings) -> Markdown:
    """Refer to the tables on architecture and scale that the study has."""
    there = [
        label
        for label, table in (
            (Markdown("@tbl-invariance"), invariance_table(found)),
            (Markdown("@tbl-departures"), departures_table(found)),
            (Markdown("@tbl-scale"), scale_table(found)),
        )
        if table is not ABSENT
    ]
    if not there:
        return PRESENT
    verb = "has" if len(there) == 1 else "have"
    return Markdown("{} {} the details.").format(listing(there), verb)


def departures_table(found: Findings) -> Markdown:
    """Typeset the posterior departures of families on the primary metric, if there are any."""
    rules = {name: found.rules[name] for name in ("delta", "peak", "alpha")}
    try:
        rows = family_departures(found.evidence[found.primary_metric].trained, **rules)
    except InputError:  # the table of invariance has the reason
        return ABSENT
    if rows["p_beyond"].isna().all():
        return ABSENT
    rows = rows.assign(
        value=intervals(rows),
        place=[number(x) for x in rows["place"]],
        p=[number(p) for p in rows["p_beyond"]],
    )
    columns = {
        "family": "Family",
        "n_models": "Models",
        "place": "Peak",
        "value": "Departure",
        "p": "P(beyond)",
    }
    return typeset(rows, columns, widths=[28, 12, 12, 30, 18])


def crossed_table(found: Findings) -> Markdown:
    """Typeset the effects of text, familiarity and state."""
    rows = found.crossed
    rows = rows.assign(
        value=intervals(rows),
        p=[p_value(p) for p in rows["p"]],
        model=rows["model"].replace("all", "all models"),
        verdict=rows["verdict"].where(rows["p"].notna(), "not testable"),
    )
    columns = {
        "effect": "Effect",
        "scope": "Scope",
        "model": "Model",
        "value": "Difference",
        "p": "p",
        "verdict": "Verdict",
    }
    return typeset(rows, columns, [14, 20, 24, 22, 8, 12], group=1)


def _by_metric(found: Findings, test: Callable[[Evidence], pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of a test for each measure; none if it can run on no measure.

    A measure without p is not testable, in the words of the table of claims.
    """
    tables = []
    for name in found.separation:
        try:
            tables.append(test(found.evidence[name]))
        except InputError as error:
            row = {"metric": name, "verdict": "not testable", "reason": str(error)}
            tables.append(pd.DataFrame([row]))
    numbers = ["estimate", "low", "high", "p", "p_chi2", "p_boot", "p_perm"]
    rows = pd.concat(tables, ignore_index=True)
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *numbers])))
    rows["verdict"] = rows["verdict"].where(rows["p"].notna(), "not testable")
    return rows if rows["p"].notna().any() else rows.iloc[:0]


def certificates_table(found: Findings) -> Markdown:
    """Typeset the certificates of the models, from the record of the run.

    The largest difference belongs to the check that comes closest to its limit.
    """
    rows = []
    for one in found.scores.run.get("certificates", []):
        compared = [check for check in one["checks"] if check["limit"] > 0]
        if not compared:
            continue
        worst = max(compared, key=lambda check: check["value"] / check["limit"])
        rows.append(
            {
                "Model": one["model"],
                "Weights": one["weights"],
                "Precision": one["precision"],
                "Checks": len({check["check"] for check in one["checks"]}),
                "Closest to its limit": worst["check"],
                "Difference": f"{worst['value']:.0e}",
                "Limit": f"{worst['limit']:.0e}",
            }
        )
    if not rows:
        return ABSENT
    return typeset(pd.DataFrame(rows))


def run_table(found: Findings) -> Markdown:
    """Typeset how the score tables were made, from the record of the run."""
    run = found.scores.run
    facts = {
        "Study file (SHA-256)": None if found.scores.is_foreign else run.get("study_sha256"),
        "Corpus (SHA-256)": run.get("corpus_sha256"),
        "Commit": run.get("git_commit"),
        "Command": " ".join(run.get("command", [])),
        "Written": run.get("written"),
        "Versions": ", ".join(f"{k} {v}" for k, v in run.get("versions", {}).items() if v),
        "Seed": run["study"].get("seed"),
        "Source": run.get("source"),
        "Mapping file (SHA-256)": run.get("study_sha256") if found.scores.is_foreign else None,
        "Tables": f"{len(found.scores.table):,} scores",
    }
    rows = [(name, str(value)) for name, value in facts.items() if value]
    return typeset(pd.DataFrame(rows, columns=["What", "Value"]), widths=[22, 78])
