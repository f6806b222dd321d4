"""Simulate the margins within which a design can show that families are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.over_models.departures import departures
from analysis.over_models.whole_curve import whole_curve
from analysis.planning.design import ENOUGH, draw_study, truth_of
from analysis.planning.ranges import require_count, require_share
from analysis.profiles.uncertainty import check_alpha
from study.read import InputError

#: The upper bounds that `invariance_test` compares with each margin.
BOUNDS = {
    "delta": "departure_upper",
    "curve_delta": "curve_upper",
    "amplitude_delta": "amplitude_upper",
}


def reachable_margins(
    *,
    n_sim: int = 200,
    enough: float = ENOUGH,
    seed: int = 0,
    alpha: float = 0.05,
    **truth: Any,
) -> pd.DataFrame:
    """Find the margins within which a design shows sameness in most studies.

    Parameters
    ----------
    n_sim : int
        Simulated studies of families that do not differ.
    enough : float
        Share of the studies in which sameness is to be shown.
    seed : int
    alpha : float
        Level of the equivalence tests.
    **truth
        Attributes of `Truth`: the families, how models differ, and the noise.

    Returns
    -------
    DataFrame
        Three rows, ``margin``: delta (depth of the peak), curve_delta (share of the mean curve's
        rise) and amplitude_delta (share of the mean amplitude). ``alone``: the margin within which
        `enough` of the studies show this one to be the same; ``together``: the margins within
        which `enough` of the studies show all three, which *invariant* requires;
        ``n_models, n_families, n_sim``.

    Raises
    ------
    InputError
        For an unknown attribute, a value outside its range, or families that differ.

    Notes
    -----
    A margin is kept where a study's upper bound of the departures, over all families (and depths),
    lies below it. So the margin that a share of the studies keeps is that quantile of their bounds.
    For all three, the same quantile is raised until the share of studies that keep all is reached.

    Examples
    --------
    >>> table = reachable_margins(families=(3, 3, 3), n_sim=20)
    >>> table["margin"].tolist()
    ['delta', 'curve_delta', 'amplitude_delta']
    >>> bool((table["alone"] <= table["together"]).all())
    True
    """
    setting = truth_of(truth)
    require_count("n_sim", n_sim)
    require_count("seed", seed, 0)
    require_share("enough", enough)
    check_alpha(alpha)
    if setting.family_sd or setting.departure:
        raise InputError("families that differ have no margin of sameness; leave them alike")
    bounds = np.empty((n_sim, len(BOUNDS)))
    for number in range(n_sim):
        data = draw_study(setting, np.random.default_rng((seed, number)))[0]
        row = departures(data, 1.0, alpha) | whole_curve(data, 1.0, 1.0, alpha)
        # A bound that is missing is above every margin.
        bounds[number] = np.nan_to_num([row[name] for name in BOUNDS.values()], nan=np.inf)
    ordered = np.sort(bounds, axis=0)
    least = int(np.ceil(enough * n_sim)) - 1
    rank = next(k for k in range(least, n_sim) if (bounds <= ordered[k]).all(1).mean() >= enough)
    return pd.DataFrame(
        {
            "margin": list(BOUNDS),
            "alone": ordered[least],
            "together": ordered[rank],
            "n_models": sum(setting.families),
            "n_families": len(setting.families),
            "n_sim": n_sim,
        }
    )
