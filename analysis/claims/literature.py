"""Pool the depths of emotion that papers and reports print, with the source as the unit."""

from __future__ import annotations

import tomllib

import numpy as np
import pandas as pd

from analysis.families import (
    MIN_FAMILIES,
    ROUNDING,
    Estimate,
    meta_regression,
    regression_over_families,
    t_critical,
)
from analysis.profiles.uncertainty import check_alpha
from analysis.wording import numbered
from study.arrays import Float64Array
from study.home import find
from study.read import InputError

#: Below this, Satterthwaite's degrees of freedom give no dependable interval (Tipton 2015).
MIN_DF = 4.0
COLUMNS = (
    "source",
    "source_kind",
    "arxiv",
    "model",
    "family",
    "size",
    "kind",
    "measure",
    "method",
    "layer",
    "n_layers",
    "n_layers_from",
    "printed",
    "depth",
    "resolution",
    "place",
    "quote",
    "note",
    "url",
)
RESULT = (
    "estimate",
    "low",
    "high",
    "p",
    "p_elsewhere",
    "df",
    "tau",
    "tau_source",
    "prediction_low",
    "prediction_high",
    "without_low",
    "without_high",
)


def published_depths() -> pd.DataFrame:
    """Return the depths at which papers and reports say that emotion is represented.

    Returns
    -------
    DataFrame
        One row per figure in `data/published/depths.toml`:

        - source, source_kind ("paper", or "report" for a text without an arXiv number), arxiv,
          url, place, quote, note: where the figure stands, and its words.
        - model, family (missing for a figure over several families), size, method.
        - kind, measure: what the source calls the figure, and the measure behind it.
        - layer, n_layers, n_layers_from, printed: the source's own numbers; `printed` is a depth.
        - depth: layer / n_layers, or the depth that the source prints.
        - resolution: the smallest step in which the figure could have differed.

    Notes
    -----
    The resolution is one over the number of layers that the source compared, or the last digit of
    a printed depth if that is coarser, or the digit before it after a tilde.

    Examples
    --------
    >>> table = published_depths()
    >>> table.loc[table["model"] == "GPT-2-XL", ["source", "layer", "n_layers", "depth"]].round(3)
           source  layer  n_layers  depth
    9  Henry 2026     44        48  0.917
    """
    data = tomllib.loads(find("data/published/depths.toml").read_text(encoding="utf-8"))
    sources = {source["id"]: source for source in data["source"]}
    rows = []
    for entry in data["depth"]:
        source = sources[entry["source"]]
        row = {"source_kind": source["kind"], "arxiv": source.get("arxiv"), "url": source["url"]}
        notes = [text["note"] for text in (source, entry) if "note" in text]
        row |= entry | {"note": " ".join(notes), "resolution": _resolution(entry)}
        row["depth"] = entry.get("depth", entry.get("layer", 0) / entry.get("n_layers", 1))
        rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    return table.astype({"layer": "Int64", "n_layers": "Int64"})


def _resolution(entry: dict[str, str | int | float]) -> float:
    """Return the smallest step in which a printed depth could have differed."""
    probed = entry.get("n_probed", entry.get("n_layers"))
    step = 1 / float(probed) if probed else 0.0
    printed = str(entry.get("printed", ""))
    if printed:
        digits = len(printed.rstrip("%").partition(".")[2])
        unit = 10.0**-digits * (0.01 if printed.endswith("%") else 1.0)
        step = max(step, unit * (10 if printed.startswith("~") else 1))
    return step


def literature_test(
    depths: pd.DataFrame | None = None,
    *,
    target: float = 0.5,
    delta: float = 0.1,
    alpha: float = 0.05,
) -> pd.DataFrame:
    r"""Pool published depths with a random effect of the source, and compare them with the target.

    Parameters
    ----------
    depths : DataFrame, optional
        Columns source and depth, and optionally resolution (0 if it is missing). Default: the rows
        of `published_depths`.
    target, delta : float
        "At the target" means within target +- delta, in shares of the depth.
    alpha : float
        Level of the tests; intervals have level 1 - alpha.

    Returns
    -------
    DataFrame
        One row.

        - estimate, low, high: pooled depth with its interval over sources; df: Satterthwaite's
          degrees of freedom.
        - p: of equivalence, the larger of two one-sided p; p_elsewhere: two-sided, against a
          pooled depth at the nearer edge of target +- delta (1 inside it).
        - tau, tau_source: standard deviation of the depth over all figures, and its part between
          sources (REML); prediction_low, prediction_high: where the next source's figure would lie.
        - without_low, without_high: the smallest and the largest estimate without one source.
        - n_figures, n_sources; n_within: figures within delta of the target.
        - verdict: "at target" (p < alpha, and half of the figures are there, as another would be
          with a probability of at least one half), "elsewhere" (p_elsewhere < alpha), "undecided";
          reason.
        - target, delta; confidence: the level of the interval.

    Raises
    ------
    InputError
        If a column is missing, a depth is not within [0, 1], or target +- delta is not.

    Notes
    -----
    Figure i of source s is

    .. math:: y_{si} = \mu + u_s + v_{si} + e_{si}, \quad
              u_s \sim N(0, \tau_s^2), \; v_{si} \sim N(0, \tau_v^2)

    Sources print no standard errors. The only error known is that of rounding to a layer: the
    variance of e is that of a uniform distribution over the resolution r, :math:`r^2/12`. All other
    error, of measuring and of choosing the best of many layers, is in the two variances, which are
    estimated by restricted maximum likelihood.

    Given these as a working covariance, the mean is the generalized least-squares estimate. Its
    error is the cluster-robust CR2 over sources with Satterthwaite's degrees of freedom, which
    holds if the working covariance is wrong. With fewer than three sources, fewer than four degrees
    of freedom, or depths that are all the same, the verdict is "undecided".

    Published figures are no sample of models: whoever looks for one best layer prints one even if
    the curve is flat, sources measure different things, and a figure that confirms a known one is
    more likely to be printed. The pooled depth describes what is printed, not where emotion is.

    References
    ----------
    Pustejovsky, J. E., Tipton, E. (2022). Meta-analysis with robust variance estimation: expanding
    the range of working models. Prevention Science, 23, 425-438.
    Tipton, E. (2015). Small sample adjustments for robust variance estimation with meta-regression.
    Psychological Methods, 20, 375-393.

    Examples
    --------
    >>> literature_test()[["n_figures", "n_sources", "verdict"]]
       n_figures  n_sources    verdict
    0         30         10  undecided
    """
    if not (delta > 0 and target - delta >= 0 and target + delta <= 1):
        raise InputError(
            f"target {target} +- delta {delta} is not an interval within [0, 1]; give depths"
        )
    check_alpha(alpha)
    table = published_depths() if depths is None else depths
    for column in ("source", "depth"):
        if column not in table:
            raise InputError(f"the published depths have no column {column!r}; name it")
    outside = table[~table["depth"].between(0, 1)]
    if len(outside):
        raise InputError(
            f"the depth {outside['depth'].iloc[0]} of {outside['source'].iloc[0]} is not within "
            "[0, 1]; give layers as shares of the number of layers"
        )
    n_figures, n_sources = len(table), table["source"].nunique()
    within = int(((table["depth"] - target).abs() <= delta).sum())
    counts = {
        "n_figures": n_figures,
        "n_sources": n_sources,
        "n_within": within,
        "target": target,
        "delta": delta,
        "confidence": 1 - alpha,
    }
    if n_sources < MIN_FAMILIES:
        few = f"{numbered(n_sources, 'source')}; at least {MIN_FAMILIES} are needed"
        none = dict.fromkeys(RESULT, np.nan)
        return pd.DataFrame([{**none, "verdict": "undecided", "reason": few, **counts}])
    pooled, tau2 = source_mean(table)
    low, high = pooled.ends(alpha)
    gap = max(abs(pooled.estimate - target) - delta, 0.0)
    p = pooled.p_within(target - delta, target + delta)
    p_elsewhere = pooled.p(pooled.estimate - gap)
    spread = float(np.sqrt(tau2.sum()))
    error = float(np.hypot(pooled.se, spread))
    without = [
        source_mean(table[table["source"] != source])[0].estimate
        for source in table["source"].unique()
    ]
    where = f"{target - delta:.2f} to {target + delta:.2f}"
    verdict = "undecided"
    if pooled.exact:
        reason = "the depths do not differ, which leaves no error to judge by"
    elif pooled.df < MIN_DF:
        reason = f"{pooled.df:.1f} degrees of freedom; at least {MIN_DF:g} are needed"
    elif p_elsewhere < alpha:
        verdict, reason = "elsewhere", f"the pooled depth {pooled.estimate:.2f} is outside {where}"
    elif p >= alpha:
        reason = f"the pooled depth is neither shown inside {where} nor outside"
    elif 2 * within < n_figures or (
        abs(pooled.estimate - target) + t_critical(0.75, pooled.df) * error > delta
    ):
        reason = (
            f"the mean {pooled.estimate:.2f} is within {where}, but the figures differ (SD "
            f"{spread:.2f}): {within} of {n_figures} are there"
        )
    else:
        verdict, reason = "at target", f"the pooled depth {pooled.estimate:.2f} is within {where}"
    reach = t_critical(1 - alpha / 2, pooled.df) * error
    result = {
        "estimate": pooled.estimate,
        "low": low,
        "high": high,
        "p": p,
        "p_elsewhere": p_elsewhere,
        "df": pooled.df,
        "tau": spread,
        "tau_source": float(np.sqrt(tau2[1])),
        "prediction_low": pooled.estimate - reach,
        "prediction_high": pooled.estimate + reach,
        "without_low": min(without),
        "without_high": max(without),
    }
    return pd.DataFrame([{**result, "verdict": verdict, "reason": reason, **counts}])


def source_mean(table: pd.DataFrame) -> tuple[Estimate, Float64Array]:
    """Return the mean with its error over sources, and the variances within and between them.

    Parameters
    ----------
    table : DataFrame
        Columns source, depth and optionally resolution.

    Returns
    -------
    Estimate
        The generalized least-squares mean with its CR2 error over sources; none if all depths are
        the same.
    ndarray, shape (2,)
        Variances between the figures of a source and between sources, by restricted maximum
        likelihood.

    Examples
    --------
    >>> depths = pd.DataFrame({"source": list("aabc"), "depth": [0.4, 0.5, 0.6, 0.7]})
    >>> mean, tau2 = source_mean(depths)
    >>> round(mean.estimate, 2), mean.n_families
    (0.58, 3)
    """
    y = table["depth"].to_numpy(dtype=float)
    steps = table["resolution"] if "resolution" in table else pd.Series(0.0, table.index)
    variance = steps.to_numpy(dtype=float) ** 2 / 12
    source = pd.factorize(table["source"])[0]
    if np.ptp(y) <= ROUNDING:
        missing, n = float("nan"), int(source.max()) + 1
        return Estimate(float(y[0]), missing, missing, len(y), n), np.zeros(2)
    ones = np.ones((len(y), 1))
    tau2 = meta_regression(y, variance, ones, source)[2]
    cov = np.diag(variance + tau2[0]) + tau2[1] * (source[:, None] == source)
    return regression_over_families(y, ones, source, cov)[0], tau2
