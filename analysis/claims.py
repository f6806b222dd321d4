"""Every published claim against one study: what the data say, by which rule, with which verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.controls import ANISOTROPY, control_test
from analysis.invariance import invariance_test
from analysis.localization import localization_test
from analysis.methods import method_test
from analysis.regimes import regime_table, regime_test
from analysis.scale import scale_test
from analysis.scores import InputError, Scores, method_order, metric_order
from analysis.shape import u_shape_test
from analysis.steering import PUBLISHED, at_chosen_strength, over_scenarios, share
from analysis.trials import Trials, outcomes

COLUMNS = ["key", "claim", "source", "quantity", "estimate", "low", "high", "p", "p_holm", "n",
           "rule", "verdict", "reason"]  # fmt: skip
JEONG, STATIC = "Jeong 2026", "arXiv:2609.22208"
VALENCE, TUNING = "van der Ben et al. 2026", "Jeong 2026b"
Row = dict[str, Any]
#: Ranges of depth of a specification curve; the embeddings are layer 0.
LAYERS = {"all layers": (0.0, 1.0), "without embeddings": (1e-9, 1.0), "middle 80%": (0.1, 0.9)}


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
    shape = u_shape_test(main, method=reading, alpha=rules["alpha"], seed=seed)
    judged: list[tuple[str, str, str, str, Callable[[], Row]]] = [
        ("every", "Separation is U-shaped in every model", JEONG,
         "every profile rises and falls; contradicted where one is shown not to",
         lambda: _every_model(shape)),
        ("overall", "Separation is U-shaped over models", JEONG,
         "end slopes and two lines agree, the model as the unit",
         lambda: _over_models(shape)),
        ("peak", f"It peaks at {rules['target']:.0%} of the depth", JEONG,
         f"equivalence of the pooled vertex within {rules['delta']:g} of {rules['target']:g}",
         lambda: _peak(main, reading, rules, seed)),
        ("architecture", "The curve is the same in every architecture", JEONG,
         "family by curve in a mixed model, and equivalence of the vertices",
         lambda: _invariance(main, rules, n_boot, seed)),
        ("scale", "The curve is the same at every scale", JEONG,
         "equivalence of the change of the vertex over the range of sizes",
         lambda: _scale(main, rules)),
        ("method", "Generation separates better than reading", JEONG,
         "exact sign flips of the difference, paired by model",
         lambda: _methods(main, rules["alpha"])),
        ("steering", "Steering succeeds in 92% of scenarios", JEONG,
         "more texts over their baseline than the published share's lower limit, and than shams",
         lambda: _steering(_needed(trials), rules["alpha"], seed)),
        ("regimes", "Steering has three regimes", JEONG,
         "at some strength, broken regimes in over 5% of texts, surgical in over a third",
         lambda: _regimes(_needed(trials), rules["alpha"])),
        ("regime-cause", "Regimes follow architecture, not scale", JEONG,
         "regime by family against regime by scale, the model as the unit",
         lambda: _regime_cause(_needed(trials), rules["alpha"], seed)),
        ("learned", "The U is learned: an untrained network has none", "control",
         "bulge of the curve, trained minus untrained, the model as the unit",
         lambda: _learned(main_and_twins, reading, name, rules["alpha"], seed)),
        ("embeddings", "Much of the separation is in the embeddings", STATIC,
         "layer zero has more than half of the best layer's separation above chance",
         lambda: _embeddings(main, reading, name, rules["alpha"])),
        ("valence", "Valence is early in some models, absent in others", VALENCE,
         "scores by valence",
         lambda: _untestable("the scores are by emotion and not by valence")),
        ("tuning", "Instruction tuning moves the best layer", TUNING,
         "difference of the vertices of base and tuned twins",
         lambda: _untestable(_no_twins(main))),
    ]  # fmt: skip
    rows = []
    for key, claim, source, rule, judge in judged:
        try:
            row = judge()
        except InputError as error:
            row = _untestable(str(error))
        rows.append({"key": key, "claim": claim, "source": source, "rule": rule, **row})
    return holm(pd.DataFrame(rows).reindex(columns=COLUMNS), rules["alpha"])


def specification_table(scores: Scores, seed: int = 0) -> pd.DataFrame:
    """Locate the peak under every reasonable choice of analysis.

    Parameters
    ----------
    scores : Scores
        A study with `run.json`.
    seed : int

    Returns
    -------
    DataFrame
        Rows of `localization_test` for trained models and true labels, with the choices in the
        columns metric, method, layers (all, without the embeddings, or the middle) and peak (the
        quadratic's vertex, or the spline's extremum).

    Notes
    -----
    A specification curve shows whether a conclusion hangs on one choice among many that could
    have been made.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from analysis.simulate import simulate_scores
    >>> rules = {"target": 0.5, "delta": 0.1, "alpha": 0.05}
    >>> study = replace(simulate_scores(), run={"study": {"preregistered": rules}})
    >>> specification_table(study)["verdict"].value_counts().to_dict()
    {'at target': 6}
    """
    rules = preregistered(scores)
    main = scores.select(labels="true", weights="trained")
    separation = [m for m in metric_order(main.table["metric"]) if m != "anisotropy"]
    main = main.select(metric=separation)
    tables = []
    for layers, (low, high) in LAYERS.items():
        part = replace(
            main,
            table=main.table[main.table["depth"].between(low, high)],
            replicates=None if main.replicates is None
            else main.replicates[main.replicates["depth"].between(low, high)],
        )  # fmt: skip
        for peak in ("vertex", "extremum"):
            found = localization_test(
                part, target=rules["target"], delta=rules["delta"], alpha=rules["alpha"],
                peak=peak, seed=seed,
            )  # fmt: skip
            tables.append(found.assign(layers=layers))
    return pd.concat(tables, ignore_index=True)


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


def _untestable(reason: str) -> Row:
    return {"verdict": "not testable", "reason": reason}


def _needed(trials: Trials | pd.DataFrame | None) -> Trials | pd.DataFrame:
    if trials is None:
        raise InputError("the study has no steering trials")
    return trials


def _steering(trials: Trials | pd.DataFrame, alpha: float, seed: int) -> Row:
    table = at_chosen_strength(outcomes(trials))
    hits = table["over_baseline"].astype(float)
    found, published = share(int(hits.sum()), len(table), alpha), share(*PUBLISHED, alpha)
    above, beyond = (
        over_scenarios(
            np.asarray(d.groupby(table["scenario"]).mean(), dtype=np.float64), alpha, seed
        )
        for d in (hits - published["low"], hits - table["sham_over_baseline"])
    )
    against = [t for t in (above, beyond) if t["difference"] < 0]
    p = min(t["p"] for t in against) if against else max(above["p"], beyond["p"])
    word = "contradicted" if against else "supported"
    whole = (table["regime"] == "surgical").mean()
    return {
        "quantity": "share over the baseline", "n": table["model"].nunique(),
        **{key: found[key] for key in ("estimate", "low", "high")}, "p": p,
        "verdict": word if p < alpha else "undecided",
        "reason": f"{found['estimate']:.0%} of texts are over their baseline, "
        f"{table['sham_over_baseline'].mean():.0%} of shams and {table['success'].mean():.0%} over "
        f"both, {whole:.0%} with whole text; the published interval is from {published['low']:.0%}",
    }  # fmt: skip


def _regimes(trials: Trials | pd.DataFrame, alpha: float) -> Row:
    counts = regime_table(trials, by=("strength",))
    counts = counts[counts["kind"] == "steered"]
    # By luck alone, a text is over its baseline and its sham in a third of the trials.
    floors = {"surgical": 1 / 3, "repetitive collapse": 0.05, "explosive": 0.05}
    shown, missing = [], []
    for regime, floor in floors.items():
        k = counts.loc[counts["regime"] == regime, "n"].to_numpy(dtype=int)
        n = counts.groupby("strength")["n"].sum().to_numpy(dtype=int)
        shown.append(min(1.0, len(k) * float(stats.binom.sf(k - 1, n, floor).min())))
        missing.append(min(1.0, len(floors) * float(stats.binom.cdf(k, n, floor).max())))
    most = counts.groupby("regime")["share"].max()
    said = ", ".join(f"{regime} {most[regime]:.0%}" for regime in floors)
    row: Row = {"quantity": "rarest regime", "n": outcomes(trials)["model"].nunique(),
                "estimate": float(most[list(floors)].min())}  # fmt: skip
    reason = f"at the strength that has most of it: {said}"
    if max(shown) < alpha:
        return row | {"p": max(shown), "verdict": "supported", "reason": reason}
    word = "contradicted" if min(missing) < alpha else "undecided"
    p = min(missing) if word == "contradicted" else max(shown)
    return row | {"p": p, "verdict": word, "reason": reason}


def _regime_cause(trials: Trials | pd.DataFrame, alpha: float, seed: int) -> Row:
    found = regime_test(trials, alpha=alpha, seed=seed).set_index("by")
    family, scale = found.loc["family"], found.loc["scale"]
    if pd.isna(family["p"]) or family["p_min"] >= alpha:
        return _untestable(str(family["reason"]))
    verdict, p = "undecided", family["p"]
    if scale["p"] < alpha:
        verdict, p = "contradicted", scale["p"]
    elif family["p"] < alpha and scale["estimate"] < family["estimate"] / 10:
        verdict = "supported"
    return {
        "quantity": "share explained by family", "estimate": family["estimate"], "p": p,
        "n": family["n"], "verdict": verdict,
        "reason": f"family explains {family['estimate']:.0%} of the variance between models beyond "
        f"scale, scale {scale['estimate']:.0%} beyond family",
    }  # fmt: skip


def _every_model(shape: pd.DataFrame) -> Row:
    profiles = shape[shape["level"] == "profile"]
    n, humps = len(profiles), int((profiles["verdict"] == "hump").sum())
    against = profiles[profiles["verdict"].isin(["monotone", "trough"])]
    row: Row = {"quantity": "share of models", "estimate": humps / n, "n": n,
                "p": float(profiles["p"].max())}  # fmt: skip
    if len(against):
        shown = against["p"].where(
            against["verdict"] == "trough", against[["p_before", "p_after"]].max(axis=1)
        )
        first = against.iloc[int(np.argmin(shown))]
        row |= {"p": float(min(1.0, n * shown.min())), "verdict": "contradicted"}
        return row | {"reason": f"{first['model']}: {first['reason']}"}
    if humps == n:
        return row | {"verdict": "supported", "reason": f"a hump in {humps} of {n} models"}
    return row | {"verdict": "undecided", "reason": f"a hump is shown in {humps} of {n} models"}


def _over_models(shape: pd.DataFrame) -> Row:
    over = shape[shape["level"] == "models"].iloc[0]
    if pd.isna(over["p"]):
        return _untestable(str(over["reason"]))
    verdicts = {"hump": "supported", "trough": "contradicted", "monotone": "contradicted"}
    monotone = over["verdict"] == "monotone"
    return {
        "quantity": "weaker arm", "estimate": over["estimate"], "low": over["low"],
        "high": over["high"], "n": over["n_models"], "reason": over["reason"],
        "p": max(over["p_before"], over["p_after"]) if monotone else over["p"],
        "verdict": verdicts.get(over["verdict"], "undecided"),
    }  # fmt: skip


def _peak(main: Scores, method: str, rules: dict[str, Any], seed: int) -> Row:
    found = localization_test(
        main, method=method, target=rules["target"], delta=rules["delta"], alpha=rules["alpha"],
        seed=seed,
    ).iloc[0]  # fmt: skip
    words = {"at target": "supported", "elsewhere": "contradicted"}
    if found["n_models"] < 2:
        return _untestable("pooling needs at least two models")
    return {
        "quantity": "pooled depth", "estimate": found["estimate"], "low": found["low"],
        "high": found["high"], "n": found["n_models"], "reason": found["reason"],
        "p": found["p_elsewhere" if found["verdict"] == "elsewhere" else "p"],
        "verdict": words.get(found["verdict"], "undecided"),
    }  # fmt: skip


def _invariance(main: Scores, rules: dict[str, Any], n_boot: int, seed: int) -> Row:
    found = invariance_test(
        main, delta=rules["delta"], n_boot=n_boot, seed=seed, alpha=rules["alpha"]
    ).iloc[0]
    return _same(found, "largest departure", found["n_models"])


def _scale(main: Scores, rules: dict[str, Any]) -> Row:
    found = scale_test(main, delta=rules["delta"], alpha=rules["alpha"]).iloc[0]
    return _same(found, "change of depth", found["n"])


def _same(found: pd.Series, quantity: str, n: int) -> Row:
    """Return the row of a test that can show sameness or a difference."""
    words = {"invariant": "supported", "not invariant": "contradicted"}
    if pd.isna(found["p"]):
        return _untestable(str(found["reason"]))
    return {
        "quantity": quantity, "estimate": found["estimate"], "low": found["low"],
        "high": found["high"], "n": n, "reason": found["reason"],
        "p": found["p_equivalence" if found["verdict"] == "invariant" else "p"],
        "verdict": words.get(found["verdict"], "undecided"),
    }  # fmt: skip


def _methods(main: Scores, alpha: float) -> Row:
    found = method_test(main, alpha=alpha).iloc[0]
    words = {"a better": "supported", "b better": "contradicted"}
    if pd.isna(found["p"]) or found["p_min"] >= alpha:
        return _untestable(
            f"with {found['n']} paired models no exact p can be below {found['p_min']:g}"
        )
    return {
        "quantity": "difference", "estimate": found["estimate"], "low": found["low"],
        "high": found["high"], "n": found["n"], "p": found["p"], "reason": found["reason"],
        "verdict": words.get(found["verdict"], "undecided"),
    }  # fmt: skip


def _learned(scores: Scores, method: str, metric: str, alpha: float, seed: int) -> Row:
    found = control_test(scores, metric=metric, method=method, alpha=alpha, seed=seed)
    over = found[(found["level"] == "models") & (found["contrast"] == "trained - untrained")].iloc[
        0
    ]
    words = {"learned": "supported", "not learned": "contradicted"}
    if pd.isna(over["p"]):
        return _untestable(str(over["reason"]))
    return {
        "quantity": "bulge beyond the untrained", "estimate": over["estimate"],
        "low": over["low"], "high": over["high"], "p": over["p"], "n": over["n_models"],
        "verdict": words.get(over["verdict"], "undecided"), "reason": over["reason"],
    }  # fmt: skip


def _embeddings(main: Scores, method: str, metric: str, alpha: float) -> Row:
    chance = main.run.get("metrics", {}).get(metric, {}).get("chance")
    if chance is None:
        return _untestable(f"{metric} has no chance level to measure separation from")
    profiles = list(main.select(method=method).profiles())
    above = [p.separation - p.sign * chance for p in profiles]
    share = np.array([y[0] / y.max() for y in above if y.max() > 0])
    if share.size < 2:
        return _untestable("needs at least two models that separate emotions")
    error = float(stats.sem(share))
    if error == 0:
        return _untestable("the models do not differ")
    df = share.size - 1
    reach = float(stats.t.ppf(1 - alpha / 2, df)) * error
    mean = float(share.mean())
    p = float(2 * stats.t.sf(abs(mean - 0.5) / error, df))
    verdict = "undecided" if p >= alpha else "supported" if mean > 0.5 else "contradicted"
    return {
        "quantity": "share of the best layer", "estimate": mean, "low": mean - reach,
        "high": mean + reach, "p": p, "n": share.size, "verdict": verdict,
        "reason": f"layer 0 has {mean:.0%} of the best layer's separation above chance",
    }  # fmt: skip


def _no_twins(main: Scores) -> str:
    facts = main.table.drop_duplicates("model")
    kinds = facts.drop_duplicates(["family", "instruct"])["family"]
    if kinds.is_unique:
        return "no family has a base and an instruction-tuned model"
    return "base and tuned models of a family are not declared as twins of one another"
