"""Errors from a user's own repetitions: folds, seeds, topics, bootstraps, or standard errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.loading.columns import SHARES, key_of
from analysis.loading.options import REPETITIONS, Options, hint
from study.read import InputError
from study.tables import PROFILE

#: Draws that stand for a covariance that is known otherwise.
N_DRAWS = 400
#: Correlations of neighboring layers' errors that are tried where only standard errors are known.
CORRELATIONS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
#: Fewest repetitions that give an error.
MIN_REPETITIONS = 3
#: What is said of each kind beside its number.
WORTH = {
    "topic": "topics: a sample of the texts",
    "bootstrap": "bootstrap samples",
    "replicate": "replicates",
    "split": "random splits of one data set, which overlap: the variance is corrected for "
    "it (Nadeau and Bengio 2003)",
    "fold": "folds of one data set, which are not independent: the variance is corrected for "
    "it (Nadeau and Bengio 2003)",
    "seed": "seeds: they show how training varies, not how texts do, so errors may be too small",
}


def errors_from(
    table: pd.DataFrame,
    where: str,
    options: Options,
    notes: dict[str, None],
    assumed: dict[str, None],
) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, Any]]:
    r"""Average over repetitions, and turn their spread into replicates of the mean profile.

    Parameters
    ----------
    table : DataFrame
        Long, with the columns of a profile, emotion, layer, depth, score, and fold, seed, topic,
        split, bootstrap, replicate, or se, or sd and n.
    where : str
        The source, for messages.
    options : Options
    notes, assumed : dict
        Sentences; more are added.

    Returns
    -------
    table : DataFrame
        One row for each profile, emotion and layer.
    replicates : DataFrame or None
    repeated : dict
        kind, n (of the least repeated profile), said; empty without repetitions.

    Notes
    -----
    With K repetitions whose profiles deviate by :math:`d_k` from their mean, the covariance of the
    mean is :math:`c \sum_k d_k d_k' / (K - 1)`, known with K - 1 degrees of freedom: c = 1 / K for
    topics and seeds, 1 for bootstrap samples, and :math:`1 / K + n_{test} / n_{train}` for folds
    and splits. The replicates are normal draws with this covariance.

    Among bootstrap samples, rows without a number are the estimate, if there are any: the bootstrap
    of a cross-validated score can have another level. The degrees of freedom are those of the units
    that the samples draw from, if they are given.

    Standard errors give the diagonal only. The correlation of neighboring layers is given, or else
    the one of `CORRELATIONS` under which a quadratic's curvature has the largest error.

    References
    ----------
    Nadeau, C. and Bengio, Y. (2003). Inference for the generalization error. Machine Learning 52,
    239-281.
    """
    kinds = [k for k in REPETITIONS if k in table and len(table[k].unique()) > 1]
    if "weights" in table and len(table["weights"].unique()) > 1 and "seed" in kinds:
        kinds.remove("seed")  # of the initializations: profiles of their own
    keys = [*PROFILE, "emotion", "layer"]
    if kinds:
        kind = kinds[0]
        for other in kinds[1:]:
            notes[f"means over {other}s within each {kind}"] = None
        if "seed" in kinds or kind == "seed":
            table = table.rename(columns={"seed": "~seed"}).assign(seed=0)
            column = "~seed" if kind == "seed" else kind
        else:
            column = kind
        return _repeated(table, column, kind, keys, where, options, notes, assumed)
    se = _standard_errors(table, where, notes)
    if se is None:
        return table, None, {}
    return _with_se(table.assign(se=se), options, notes)


def _repeated(
    table: pd.DataFrame,
    column: str,
    kind: str,
    keys: list[str],
    where: str,
    options: Options,
    notes: dict[str, None],
    assumed: dict[str, None],
) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, Any]]:
    facts = [c for c in table.columns if c not in (*keys, column, "score") and c not in REPETITIONS]
    facts = [c for c in facts if not c.startswith("~")]
    table, estimate = _apart(table, column, kind, where)
    mean = estimate.groupby(keys, sort=False, as_index=False).agg(
        {**dict.fromkeys(facts, "first"), "score": "mean"}
    )
    profile = list(PROFILE)
    parts, counts, n_draws, few = [], [], [], []
    rng = np.random.default_rng(0)
    for _, mine in table.groupby(profile, sort=False):
        first = mine.iloc[0]
        model = str(first["model"])
        wide = mine.pivot_table(index=column, columns="layer", values="score", aggfunc="mean")
        lacking = wide.isna().any(axis=1)
        if lacking.any():
            if options.strict:
                raise InputError(f"{where}: {model}: {kind} {lacking.idxmax()} lacks a layer")
            notes[f"{model}: {int(lacking.sum())} {kind}s lack a layer and give no error"] = None
            wide = wide[~lacking]
        n = len(wide)
        if n < MIN_REPETITIONS:
            few.append(model)
            continue
        n_draws.append(n)
        counts.append((options.resampled if kind in DRAWN else None) or n)
        deviations = wide.to_numpy() - wide.to_numpy().mean(axis=0)
        # scale / (n - 1), less what `profile_errors` widens them by.
        z = rng.standard_normal((N_DRAWS, n)) @ deviations
        units = counts[-1]
        draws = z * np.sqrt(_scale(kind, n, options) / (n - 1) * (units - 1) / units)
        rows = mean[(mean[profile] == first[profile]).all(axis=1)]
        center = rows.groupby("layer")["score"].mean().reindex(wide.columns).to_numpy()
        parts.append(_draws(rows, wide.columns.to_numpy(), center + draws))
    if few:
        assumed[
            f"fewer than {MIN_REPETITIONS} {kind}s for {', '.join(few[:3])}: they give no error, "
            "which is estimated from the curve alone"
        ] = None
    if not parts:
        return mean, None, {}
    said = f"{min(n_draws)} {WORTH[kind]}"
    if kind in DRAWN and options.resampled is not None:
        said += f" of {options.resampled} topics or texts"
    elif kind in DRAWN:
        assumed[
            f"the {WORTH[kind]} are taken as of at least {min(n_draws)} topics or texts; if they "
            f"are of fewer, give {hint('resampled', 8)}"
        ] = None
    notes[f"errors from {said}"] = None
    if kind == "seed":
        assumed[f"errors are from {WORTH['seed']}"] = None
    return mean, pd.concat(parts, ignore_index=True), {"kind": kind, "n": min(counts), "said": said}


#: Kinds whose repetitions are draws of the estimate itself.
DRAWN = ("bootstrap", "replicate")


def _apart(
    table: pd.DataFrame, column: str, kind: str, where: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the draws, and what the curve is the mean of: rows without a number, or the draws."""
    rest = table[column].isna()
    if kind not in DRAWN or not rest.any():
        return table, table
    draws, estimate = table[~rest], table[rest]
    without = set(draws["model"]) - set(estimate["model"])
    if without:
        raise InputError(
            f"{where}: {min(without)!r} has {kind} numbers in all rows, other models have rows "
            f"without one, which are the estimate; add them, or leave them out everywhere"
        )
    return draws, estimate


def _scale(kind: str, n: int, options: Options) -> float:
    """Return the variance of the mean in units of the variance between repetitions.

    >>> round(_scale("fold", 5, Options()), 2), _scale("topic", 5, Options())
    (0.45, 0.2)
    """
    if kind in DRAWN:
        return 1.0
    if kind == "fold":
        return 1 / n + 1 / (n - 1)
    if kind == "split":
        return 1 / n + options.test_share / (1 - options.test_share)
    return 1 / n


def _draws(rows: pd.DataFrame, layers: np.ndarray, draws: np.ndarray) -> pd.DataFrame:
    first = rows.drop_duplicates("layer").set_index("layer").loc[layers].reset_index()
    keep = [c for c in first.columns if c not in ("score", "emotion", "se", "sd", "n")]
    out = pd.concat([first[keep]] * len(draws), ignore_index=True)
    out["replicate"] = np.repeat(np.arange(1, len(draws) + 1), len(layers))
    return out.assign(score=draws.ravel())


def _standard_errors(table: pd.DataFrame, where: str, notes: dict[str, None]) -> pd.Series | None:
    if "se" in table:
        se = table["se"]
        notes["errors from the column of standard errors"] = None
    elif "sd" in table and "n" in table:
        se = table["sd"] / table["n"] ** 0.5
        notes["standard errors = SD / sqrt(n)"] = None
    elif "sd" in table:
        notes[
            "an SD without n gives no standard error and is left aside; give "
            + hint("columns", {"n": "COLUMN"})
            + ", or if it is a standard error "
            + hint("columns", {"se": "COLUMN"})
        ] = None
        return None
    elif "n" in table and table["metric"].map(key_of).isin(SHARES).all():
        p = table["score"] / (100 if table["score"].max() > 1 else 1)
        if not p.between(0, 1).all():
            return None
        se = (p * (1 - p) / table["n"]) ** 0.5 * (100 if table["score"].max() > 1 else 1)
        notes["standard errors of proportions = sqrt(p (1 - p) / n)"] = None
    else:
        return None
    se = se.astype(np.float64)
    if se.isna().any() or (se < 0).any() or not np.isfinite(se).all():
        row = table[(se.isna() | (se < 0) | ~np.isfinite(se)).to_numpy()].iloc[0]
        raise InputError(
            f"{where}: the standard error of {row['metric']} for {row['model']!r} at layer "
            f"{row['layer']} is missing or below 0; correct it, or leave the column out"
        )
    return se


def _with_se(
    table: pd.DataFrame, options: Options, notes: dict[str, None]
) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, Any]]:
    parts, taken = [], []
    rng = np.random.default_rng(0)
    for _, rows in table.groupby(list(PROFILE), sort=False):
        per = rows.groupby("layer").agg(
            score=("score", "mean"), k=("score", "size"), se=("se", _root)
        )
        se, layers = (per["se"] / per["k"]).to_numpy(), per.index.to_numpy()
        correlation, cov = _largest(layers, se, options.correlation)
        taken.append(correlation)
        draws = rng.multivariate_normal(per["score"].to_numpy(), cov, N_DRAWS, method="eigh")
        parts.append(_draws(rows, layers, draws))
    low, high = min(taken), max(taken)
    how = f"of {low:g}" if low == high else f"of {low:g} to {high:g}"
    said = f"standard errors, with a correlation {how} between neighboring layers"
    if options.correlation is None:
        said += ", under which the curvature has the largest error"
        notes[f"errors from {said}; if it is known, give {hint('correlation', 0.5)}"] = None
    else:
        notes[f"errors from {said}, as given"] = None
    return table, pd.concat(parts, ignore_index=True), {"kind": "standard error", "said": said}


def _largest(layers: np.ndarray, se: np.ndarray, given: float | None) -> tuple[float, np.ndarray]:
    """Return a correlation of neighboring layers, and the covariance with these standard errors.

    Examples
    --------
    >>> _largest(np.arange(13), np.full(13, 0.1), None)[0]
    0.5
    >>> _largest(np.arange(49), np.full(49, 0.1), None)[0]
    0.9
    """
    if len(layers) < 3:
        return given or 0.0, np.diag(se**2)
    apart = np.abs(np.subtract.outer(layers, layers)) / max(np.median(np.diff(layers)), 1)
    curvature = np.linalg.pinv(np.vander(layers / np.ptp(layers), 3))[0]
    of = {c: np.outer(se, se) * c**apart for c in (CORRELATIONS if given is None else (given,))}
    worst = max(of, key=lambda c: float(curvature @ of[c] @ curvature))
    return worst, of[worst]


def _root(se: pd.Series) -> float:
    """Return the standard error of a sum over concepts, whose errors are taken as independent."""
    return float(np.sqrt((se**2).sum()))
