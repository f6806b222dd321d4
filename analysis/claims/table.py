"""Test every published claim on one study: what the data say, by which rule, with which verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from statsmodels.stats.multitest import multipletests

from analysis.claims.registry import Evidence
from analysis.claims.rules import claims_for
from analysis.loading.scores import Scores, method_order, metric_order, read_scores
from analysis.over_models.causal import without_ablation
from analysis.over_models.crossed_reading import without_crossreading
from analysis.over_models.precision import one_precision
from analysis.scopes import THESE, WORDS, Scope
from analysis.trials.table import Trials
from study.read import InputError

COLUMNS = [
    "key",
    "claim",
    "source",
    "quantity",
    "estimate",
    "low",
    "high",
    "confidence",
    "p",
    "p_holm",
    "n",
    "rule",
    "verdict",
    "reason",
]
#: What a claim's row says about these models: the same columns, with this ending.
ENDING = "_these"
OF_THESE = ["quantity", "estimate", "low", "high", "confidence", "p", "p_holm", "verdict", "reason"]
COLUMNS += [f"{name}{ENDING}" for name in OF_THESE]


def claims_table(
    scores: Any,
    trials: Trials | pd.DataFrame | None = None,
    *,
    metric: str | None = None,
    n_boot: int = 2000,
    seed: int = 0,
    claims: str | Path | None = None,
) -> pd.DataFrame:
    """Judge every claim by the study's own preregistered rule.

    Parameters
    ----------
    scores : Scores, or any source of `read_scores`
        Target, delta and alpha come from the study file; for a table from elsewhere they come from
        its mapping file, or are the standard ones.
    trials : Trials or DataFrame, optional
        Steering trials; without them the claims about steering are not testable.
    metric : str, optional
        Default: the study's primary metric.
    n_boot : int
        Parametric-bootstrap replicates in the test of invariance.
    seed : int
    claims : str or Path, optional
        A file of claims; default: the file that the mapping file names, or ours
        (data/claims.toml).

    Returns
    -------
    DataFrame
        One row per claim: key, claim, source; quantity, with its estimate, low and high, and
        confidence, the level of that interval; p of the test that decides, and p_holm, adjusted
        over the table; n, the number of models; rule; verdict in {"supported", "contradicted",
        "undecided", "not testable"}; reason, in one sentence. These columns are about models like
        these. The same with the ending ``_these`` (quantity_these to reason_these) say what holds
        in these models, over topics like these.

    Raises
    ------
    InputError
        If the study file lacks target, delta or alpha, or the metric is not in the table.

    Notes
    -----
    A claim is *supported* or *contradicted* only if a test shows so after Holm's correction over
    all testable claims [1]_, within each scope. A test that shows nothing leaves it *undecided*. In
    models like these, the families are the sample (at least three). In these models, the topics
    are (for steering, the scenarios), and a claim must hold in each model: a p is the largest over
    models, or, against the claim, the smallest after Holm's correction over models.

    References
    ----------
    .. [1] Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian
       Journal of Statistics, 6(2), 65-70.
    """
    return decided(evidence_of(scores, trials, metric=metric, n_boot=n_boot, seed=seed), claims)


def evidence_of(
    scores: Any,
    trials: Trials | pd.DataFrame | None = None,
    *,
    metric: str | None = None,
    n_boot: int = 2000,
    seed: int = 0,
) -> Evidence:
    """Return the evidence that decides the claims; parameters as in `claims_table`."""
    if not isinstance(scores, Scores):
        scores = read_scores(scores)
    precisions = without_ablation(without_crossreading(scores))
    scores = one_precision(precisions)
    rules = preregistered(scores)
    if metric is not None:
        scores.select(metric=metric)  # refuses a metric that is not in the table
    return Evidence(
        scores=scores,
        precisions=precisions,
        trials=trials,
        metric=metric or primary_metric(scores),
        method=primary_method(scores),
        rules=rules,
        n_boot=n_boot,
        seed=seed,
    )


def decided(evidence: Evidence, claims: Any = None) -> pd.DataFrame:
    """Return the table of claims for one study's evidence."""
    rows = []
    for claim in claims_for(evidence, claims):
        row = claim.words(evidence.rules)
        for ending, decide in (("", claim.decide), (ENDING, claim.decide_these)):
            found = decide(evidence)
            if pd.notna(found.get("low")):
                found = {"confidence": 1 - evidence.alpha, **found}
            row |= {f"{name}{ending}": value for name, value in found.items()}
        rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    for ending in ("", ENDING):
        table = holm(table, evidence.alpha, ending)
    return table


def of_scope(claims: pd.DataFrame, scope: Scope) -> pd.DataFrame:
    """Return the claims that can be tested in a scope, with its results in the main columns.

    Examples
    --------
    >>> claims = pd.DataFrame({"claim": ["a", "b"], "verdict": ["undecided"] * 2,
    ...                        "verdict_these": ["supported", "not testable"]})
    >>> of_scope(claims, "these models")
      claim    verdict
    0     a  supported
    """
    if scope == THESE:
        claims = of_these(claims)
    else:
        claims = claims.drop(columns=[name for name in claims if str(name).endswith(ENDING)])
    return claims[claims["verdict"] != "not testable"].reset_index(drop=True)


def of_these(claims: pd.DataFrame) -> pd.DataFrame:
    """Return all claims with what holds in these models in the main columns."""
    named = {n: str(n).removesuffix(ENDING) for n in claims if str(n).endswith(ENDING)}
    return claims.drop(columns=list(named.values())).rename(columns=named)


def scope_words(scores: Scores) -> dict[Scope, str]:
    """Return how a sentence names each scope, for the errors that the study has."""
    kind = str((scores.run.get("repetitions") or {}).get("kind", ""))
    if scores.replicates is None:
        fixed = "in these models, by the scatter of their curves"
    elif kind == "standard error":
        fixed = "in these models, by their standard errors"
    elif kind:
        fixed = f"in these models, over {kind}s like these"
    else:
        fixed = WORDS[THESE]
    return WORDS | {THESE: fixed}


def untestable_claims(claims: pd.DataFrame) -> pd.DataFrame:
    """Return the claims that can be tested in neither scope."""
    both = claims["verdict"].eq("not testable"), claims[f"verdict{ENDING}"].eq("not testable")
    return claims[both[0] & both[1]]


def preregistered(scores: Scores) -> dict[str, Any]:
    """Return target, margins and alpha from the copy of the study file in run.json.

    Older runs have no margins for whole curves and no estimator of the peak; they get the defaults.
    """
    rules = scores.run.get("study", {}).get("preregistered", {})
    for key in ("target", "delta", "alpha"):
        if key not in rules:
            raise InputError(
                f"study {scores.name!r}: run.json has no study.preregistered.{key}; "
                "fix it in the study file and run extraction.py again"
            )
    defaults = {"curve_delta": 0.10, "amplitude_delta": 0.25, "peak": "extremum"}
    return {**defaults, **rules}


def primary_metric(scores: Scores) -> str:
    """Return the metric that the study file names as primary, or the first in reporting order."""
    named = preregistered(scores).get("metric")
    return str(named) if named else metric_order(scores.table["metric"])[0]


def primary_method(scores: Scores) -> str:
    """Return the method that the study file names as primary, or the first in reporting order."""
    named = preregistered(scores).get("method")
    return str(named) if named else method_order(scores.table["method"])[0]


def holm(table: pd.DataFrame, alpha: float, ending: str = "") -> pd.DataFrame:
    """Adjust p over the claims that were tested; verdicts that do not survive become undecided.

    `ending` is that of the columns of a scope.

    Examples
    --------
    >>> claims = pd.DataFrame({"p": [0.001, 0.04, None], "p_holm": None, "reason": "shown",
    ...                        "verdict": ["supported", "contradicted", "not testable"]})
    >>> holm(claims, 0.05)["verdict"].tolist()
    ['supported', 'contradicted', 'not testable']
    >>> claims["p"] = [0.03, 0.04, None]
    >>> holm(claims, 0.05)["verdict"].tolist()
    ['undecided', 'undecided', 'not testable']

    Without a p, a verdict does not survive either:

    >>> holm(claims.assign(p=[None, 0.01, None]), 0.05)["verdict"].tolist()
    ['undecided', 'contradicted', 'not testable']
    """
    p, p_holm, verdict, reason = (
        f"{name}{ending}" for name in ("p", "p_holm", "verdict", "reason")
    )
    out = table.astype({p: float, p_holm: float})
    tested = out[p].notna()
    if tested.any():
        out.loc[tested, p_holm] = multipletests(out.loc[tested, p], alpha, method="holm")[1]
    lost = out[verdict].isin(["supported", "contradicted"]) & ~(out[p_holm] < alpha)
    out.loc[lost, reason] += "; not significant after Holm's correction over the claims"
    out.loc[lost, verdict] = "undecided"
    return out
