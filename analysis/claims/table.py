"""Every published claim against one study: what the data say, by which rule, with which verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from statsmodels.stats.multitest import multipletests

from analysis.claims import contested, depth
from analysis.claims import steering as steered
from analysis.claims.depth import Row, untestable
from analysis.loading.scores import Scores, method_order, metric_order
from analysis.profiles.controls import ANISOTROPY
from analysis.profiles.shape import u_shape_test
from analysis.trials.table import Trials
from study.read import InputError

COLUMNS = ["key", "claim", "source", "quantity", "estimate", "low", "high", "p", "p_holm", "n",
           "rule", "verdict", "reason"]  # fmt: skip
JEONG, STATIC = "Jeong 2026", "arXiv:2609.22208"
VALENCE, TUNING = "van der Ben et al. 2026", "Jeong 2026b"


def claims_table(
    scores: Scores,
    trials: Trials | pd.DataFrame | None = None,
    metric: str | None = None,
    n_boot: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Judge every published claim by the study's own preregistered rule.

    Parameters
    ----------
    scores : Scores
        A study with `run.json`: target, delta and alpha are read from its study file.
    trials : Trials or DataFrame, optional
        Steering trials; without them the claims about steering are not testable.
    metric : str, optional
        Default: the study's primary metric.
    n_boot : int
        Parametric-bootstrap replicates of the test of invariance.
    seed : int

    Returns
    -------
    DataFrame
        One row a claim: key, claim, source; quantity, estimate, low, high, what was estimated; p of
        the test that decides, p_holm adjusted over the table; n, models; rule; verdict in
        {"supported", "contradicted", "undecided", "not testable"}; reason, in one sentence.

    Raises
    ------
    InputError
        If the study file does not say target, delta and alpha, or the metric is not in the table.

    Notes
    -----
    A claim is *supported* or *contradicted* only where a test shows it after Holm's correction
    over all claims that could be tested [1]_. A test that shows nothing leaves it *undecided*.

    References
    ----------
    .. [1] Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian
       Journal of Statistics, 6(2), 65-70.
    """
    rules = preregistered(scores)
    name = metric or primary_metric(scores)
    main = scores.select(metric=name, labels="true", weights="trained")
    main_and_twins = scores.select(metric=_with_anisotropy(scores, name), labels="true")
    reading = primary_method(scores)
    shape = u_shape_test(main, method=reading, alpha=rules["alpha"])
    judged: list[tuple[str, str, str, str, Callable[[], Row]]] = [
        ("every", "Separation is U-shaped in every model", JEONG,
         "every profile rises and falls; contradicted where one is shown not to",
         lambda: depth.every_model(shape)),
        ("overall", "Separation is U-shaped over models", JEONG,
         "end slopes and two lines agree, the model as the unit",
         lambda: depth.over_models(shape)),
        ("peak", f"It peaks at {rules['target']:.0%} of the depth", JEONG,
         f"equivalence of the pooled vertex within {rules['delta']:g} of {rules['target']:g}",
         lambda: depth.peak(main, reading, rules, seed)),
        ("architecture", "The curve is the same in every architecture", JEONG,
         "family by curve in a mixed model, and equivalence of the vertices",
         lambda: depth.invariance(main, rules, n_boot, seed)),
        ("scale", "The curve is the same at every scale", JEONG,
         "equivalence of the change of the vertex over the range of sizes",
         lambda: depth.scale(main, rules)),
        ("method", "Generation separates better than reading", JEONG,
         "exact sign flips of the difference, paired by model",
         lambda: depth.methods(main, rules["alpha"])),
        ("steering", "Steering succeeds in 92% of scenarios", JEONG,
         "more texts over their baseline than the published share's lower limit, and than shams",
         lambda: steered.steering(steered.needed(trials), rules["alpha"], seed)),
        ("regimes", "Steering has three regimes", JEONG,
         "at some strength, broken regimes in over 5% of texts, surgical in over a third",
         lambda: steered.regimes(steered.needed(trials), rules["alpha"])),
        ("regime-cause", "Regimes follow architecture, not scale", JEONG,
         "regime by family against regime by scale, the model as the unit",
         lambda: steered.regime_cause(steered.needed(trials), rules["alpha"], seed)),
        ("learned", "The U is learned: an untrained network has none", "control",
         "bulge of the curve, trained minus untrained, the model as the unit",
         lambda: depth.learned(main_and_twins, reading, name, rules["alpha"])),
        ("embeddings", "Much of the separation is in the embeddings", STATIC,
         "layer zero has more than half of the best layer's separation above chance",
         lambda: contested.embeddings(main, reading, name, rules["alpha"])),
        ("valence", "Valence is early in some models, absent in others", VALENCE,
         "valence's share of the distances falls with depth in one model, rises in another",
         lambda: contested.valence(scores, reading, rules["alpha"], seed)),
        ("tuning", "Instruction tuning moves the best layer", TUNING,
         "depth of the best layer, tuned against base models within families",
         lambda: contested.tuning(main, reading, rules["alpha"], rules["delta"])),
        ("precision", "Numerical precision changes separation", TUNING,
         "the same weights at two precisions, paired by model",
         lambda: contested.precision(main, reading, rules["alpha"])),
    ]  # fmt: skip
    rows = []
    for key, claim, source, rule, judge in judged:
        try:
            row = judge()
        except InputError as error:
            row = untestable(str(error))
        rows.append({"key": key, "claim": claim, "source": source, "rule": rule, **row})
    return holm(pd.DataFrame(rows).reindex(columns=COLUMNS), rules["alpha"])


def preregistered(scores: Scores) -> dict[str, Any]:
    """Return target, delta and alpha from the study file that the run echoes."""
    rules = scores.run.get("study", {}).get("preregistered", {})
    for key in ("target", "delta", "alpha"):
        if key not in rules:
            raise InputError(
                f"study {scores.name!r}: run.json has no study.preregistered.{key}; "
                "fix it in the study file and run extraction.py again"
            )
    return dict(rules)


def primary_metric(scores: Scores) -> str:
    """Return the metric that the study file names as primary, or the first in reporting order."""
    named = preregistered(scores).get("metric")
    return str(named) if named else metric_order(scores.table["metric"])[0]


def primary_method(scores: Scores) -> str:
    """Return the method that the study file names as primary, or the first in reporting order."""
    named = preregistered(scores).get("method")
    return str(named) if named else method_order(scores.table["method"])[0]


def _with_anisotropy(scores: Scores, metric: str) -> list[str]:
    return [metric, *({ANISOTROPY} & set(scores.table["metric"]) - {metric})]


def holm(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Adjust p over the claims that were tested; a verdict that does not survive is undecided.

    Examples
    --------
    >>> claims = pd.DataFrame({"p": [0.001, 0.04, None], "p_holm": None, "reason": "shown",
    ...                        "verdict": ["supported", "contradicted", "not testable"]})
    >>> holm(claims, 0.05)["verdict"].tolist()
    ['supported', 'contradicted', 'not testable']
    >>> claims["p"] = [0.03, 0.04, None]
    >>> holm(claims, 0.05)["verdict"].tolist()
    ['undecided', 'undecided', 'not testable']
    """
    out = table.astype({"p": float, "p_holm": float})
    tested = out["p"].notna()
    if tested.any():
        out.loc[tested, "p_holm"] = multipletests(out.loc[tested, "p"], alpha, method="holm")[1]
    lost = out["verdict"].isin(["supported", "contradicted"]) & (out["p_holm"] >= alpha)
    out.loc[lost, "reason"] += "; not after correction for the number of claims"
    out.loc[lost, "verdict"] = "undecided"
    return out
