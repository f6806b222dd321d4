"""Compare judges: how far they agree, and whether two of them show the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa

from analysis.profiles.uncertainty import check_alpha
from analysis.trials.table import TRIAL, Trials, as_trials, judged


def judge_agreement(
    trials: Trials | pd.DataFrame, *, whole: bool = True, alpha: float = 0.05
) -> pd.DataFrame:
    """Compare the judges by how often they agree that a text exceeds its baseline.

    Parameters
    ----------
    trials : Trials or DataFrame
    whole : bool
        Whether to compare them on whole texts only.
    alpha : float
        Intervals have level 1 - alpha.

    Returns
    -------
    DataFrame
        One row per pair of judges: a, b, n, agreement, kappa (Cohen's; low, high) and spearman (of
        the gains), over the steered texts and shams that both judge; missing if a judge gives all
        the same answer.

    Notes
    -----
    The interval of kappa is the asymptotic one, which treats texts as independent.

    References
    ----------
    Fleiss, J. L., Cohen, J., Everitt, B. S. (1969). Large sample standard errors of kappa and
    weighted kappa. Psychological Bulletin 72, 323-327.
    """
    check_alpha(alpha)
    trials = as_trials(trials)
    opinions = {judge: judged(trials, judge) for judge in trials.judges}
    rows: list[Mapping[str, Any]] = []
    for a, b in combinations(opinions, 2):
        both = opinions[a].merge(opinions[b], on=[*TRIAL, "kind"], suffixes=("", "_b"))
        both = both[both["whole"]] if whole else both
        rows.append({"a": a, "b": b, "n": len(both), **_agreement(both, alpha)})
    columns = ["a", "b", "n", "agreement", "kappa", "low", "high", "spearman"]
    return pd.DataFrame(rows, columns=columns)


def _agreement(both: pd.DataFrame, alpha: float) -> dict[str, float]:
    if both.empty:
        return {}
    x, y = (both[c].to_numpy(bool) for c in ("over_baseline", "over_baseline_b"))
    counts = np.array([[np.sum((x == i) & (y == j)) for j in (False, True)] for i in (False, True)])
    found = {"agreement": float(np.mean(x == y))}
    if len(set(x)) > 1 or len(set(y)) > 1:  # else chance agrees as often
        kappa = cohens_kappa(counts)
        reach = stats.norm.isf(alpha / 2) * np.sqrt(kappa.var_kappa)
        found |= {"kappa": kappa.kappa, "low": kappa.kappa - reach, "high": kappa.kappa + reach}
    gains = both["gain"].to_numpy(float), both["gain_b"].to_numpy(float)
    if len(both) > 2 and min(map(np.ptp, gains)) > 0:
        found["spearman"] = float(stats.spearmanr(*gains).statistic)
    return found


def partial_conjunction(p: Sequence[float], at_least: int = 2) -> float:
    """Return the p that at least some number of hypotheses hold, from a p for each.

    Parameters
    ----------
    p : sequence of float
        One-sided p, dependent in any way; at least `at_least` of them.
    at_least : int

    Returns
    -------
    float

    Notes
    -----
    p = (n - u + 1) p_(u), with p_(u) the u-th smallest of n: Bonferroni's correction over what is
    left when the u - 1 smallest are given away.

    References
    ----------
    Benjamini, Y., Heller, R. (2008). Screening for partial conjunction hypotheses. Biometrics 64,
    1215-1222.

    Examples
    --------
    >>> partial_conjunction([0.001, 0.3])
    0.3
    >>> partial_conjunction([0.001, 0.3, 0.002])
    0.004
    """
    return min(1.0, (len(p) - at_least + 1) * sorted(p)[at_least - 1])
