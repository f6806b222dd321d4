"""Test whether every family of models has the same depth curve.

There are three verdicts: *not invariant* if a difference is shown, *invariant* if sameness is
shown, and *undecided* otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.loading.scores import Scores, as_scores
from analysis.over_models.departures import between_sd, departures, left_out
from analysis.over_models.fixed_curves import fixed_curves
from analysis.over_models.fixed_profiles import model_profiles
from analysis.over_models.mixed import RANDOM, SHOWN, draw, fall_back, likelihood_ratio, unbiased
from analysis.over_models.mixedlm import NOT_FITTED, mixedlm_fits
from analysis.over_models.permutation import n_partitions, permutation_p
from analysis.over_models.sums import CurveData, curve_data
from analysis.over_models.whole_curve import NO_PEAK, welch_p, what_differs, whole_curve
from analysis.profiles.curves import Peak, check_peak
from analysis.profiles.uncertainty import check_alpha
from analysis.scopes import LIKE_THESE, THESE, Scope, scopes_of
from analysis.wording import are_of, listing
from study.read import InputError

#: What is missing where no peak is shown.
OF_A_PEAK = (
    *("estimate", "low", "high", "departure_upper", "p_equivalence"),
    *("between_sd", "between_sd_low", "between_sd_high"),
)


def invariance_test(
    scores: Scores | pd.DataFrame,
    *,
    metric: str | None = None,
    by: str = "family",
    delta: float = 0.1,
    curve_delta: float = 0.1,
    amplitude_delta: float = 0.25,
    peak: Peak = "extremum",
    n_boot: int = 2000,
    scope: Scope | None = LIKE_THESE,
    alpha: float = 0.05,
    seed: int = 0,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    """Test whether families of models share the shape of their depth curve.

    Parameters
    ----------
    scores : Scores or DataFrame
        With columns model, family, depth, score and any others that a score table has.
        Untrained models and shuffled labels are ignored; methods are averaged.
    metric : str, optional
        Default: every metric in the table, one row each.
    by : str
        Column that groups the models.
    delta : float
        Equivalence margin for the depth of a family's peak, in units of depth.
    curve_delta : float
        Equivalence margin for a family's whole curve after removing level and amplitude, as a share
        of the mean curve's rise.
    amplitude_delta : float
        Equivalence margin for a family's amplitude, as a share of the mean amplitude.
    peak : {"vertex", "extremum", "center"}
        Where a model's curve peaks (see `fit_curves`), for models like these.
    n_boot : int
        Number of parametric-bootstrap replicates, and of random permutations if there are too many
        to enumerate.
    scope : {"models like these", "these models"}, optional
        Whether to generalize over families of models, or over topics with these models fixed. None
        reports both.
    alpha : float
    seed : int
    higher_is_better : bool, optional
        For a table: whether a larger score means better separation. Default: True; an error if
        the metric's name leaves it open ("loss", "distance", "cosine").

    Returns
    -------
    DataFrame
        One row per metric: ``lr, df, p_chi2, p_boot, p_perm, n_perm`` of the likelihood-ratio test
        of family x (d + d^2); ``p_welch`` of the same coefficients, if families have three
        models; ``p``, the largest of p_boot, p_perm and p_welch, which decides; ``differs``, what
        differs if a difference is shown (level, amplitude, place, shape);
        ``peak``, the estimator, and ``n_no_peak``, models whose curve is highest at an end;
        ``estimate, low, high``, the largest departure of a family's peak from the families'
        mean (``departure_of``), with its 1 - 2 alpha interval; ``departure_upper``, the largest
        upper bound over families; ``p_equivalence`` that every family is within delta;
        ``between_sd, between_sd_low, between_sd_high``, the standard deviation of the peak
        between families, with a 95% interval; ``lofo_r2, own_r2``, the
        variance within profiles explained by the other families' and by the family's own curve;
        ``curve_departure, curve_upper, curve_upper_of, curve_of, curve_depth, p_curve``,
        ``amplitude, amplitude_low, amplitude_high, amplitude_upper, amplitude_upper_of,
        amplitude_of, p_amplitude`` and
        ``p_peak``, of the whole curve (`whole_curve`); ``random_terms``, the random part of both
        hypotheses (``n_random`` terms), and ``converged`` of the tested fits; ``loglik_null,
        loglik_full, mixedlm_lr, mixedlm_converged, mixedlm_warnings, mixedlm_note``, from
        statsmodels' MixedLM of both hypotheses on the means over emotions; ``verdict, reason``;
        ``confidence``, the level of ``low, high``.
        ``attrs["mixedlm"]`` has MixedLM's fixed effects as records
        (`analysis.over_models.mixedlm.mixedlm_fits`).

        These models: one row about all of them, then one per pair (``model``, ``other``) of
        different groups:
        ``curve_departure`` (and ``estimate, low, high``, simultaneous over depth), the largest
        difference of the two shapes or, where they are shown to differ, the clearest one; in the
        first row, that of one pair, ``curve_of``; ``p_shape`` of no difference at any depth;
        ``amplitude`` and ``p_amplitude_differs``; ``level, p_level``, which decide nothing; ``p``
        of no difference in shape or amplitude (in the first row Holm's over pairs, of which those
        that are shown to be within the margins count as 1, unless all are); ``p_curve,
        p_amplitude`` of equivalence. *Invariant* needs both within their margins in every pair
        (`fixed_curves.fixed_curves`), and outweighs a difference that is within them.

    Raises
    ------
    InputError
        If some models lack a method, alpha is no level, n_boot is too small for it, or the
        estimator is unknown.

    Notes
    -----
    The model is ``separation ~ method x (d + d^2) + family x (d + d^2) + (1 + d + d^2 | model) +
    (1 | emotion)``, by maximum likelihood; under the null hypothesis families differ in level and
    share d and d^2. With few models the chi-square p is far too small; it is given for comparison
    only. The bootstrap draws data sets from the fitted null model [1]_, whose curve covariance is
    corrected for degrees of freedom (`mixed.unbiased`). The permutation
    test reassigns models to families and compares Pillai's trace of the models' (d, d^2)
    coefficients. Both assume that families have equal spread. Welch's test does not; it is used
    if families have three models or more. Because p is the largest of the three, a difference
    never rests on normality, exchangeability or equal spread alone.

    *Invariant* describes the whole curve: its normalized form, its amplitude and the depth of its
    turn must each be shown to be the same in all families. The turn itself must be shown, too: a
    plateau has no peak that could be at one depth, and if no peak is shown, its departures and
    their spread are missing. Levels may differ. Equivalence of the peaks
    is tested by two one-sided t tests per family on the models' peaks, with pooled
    within-family variance; all families have to pass (intersection-union [2]_). Models that are
    highest at an end of their range are left out there; with any of them the verdict is never
    *invariant*. The quadratics only test for a difference: `peak` locates what has to be shown to
    be the same. The
    interval of the between-family standard deviation is a generalized confidence interval [3]_.
    If the covariance of the random curves is singular under the null hypothesis, d^2 and then d
    leave the random part of both hypotheses, unless their spread between models is shown
    (`mixed.fall_back`).

    The test and its bootstrap use the likelihood of the module `mixed`, which treats emotions as
    crossed. MixedLM cannot combine crossed effects with correlated random curves. It is therefore
    fitted to the means over emotions, where the emotions' intercepts are a shift that the fixed
    intercept absorbs (module `mixedlm`). ``lr`` and ``mixedlm_lr`` are similar, and equal with one
    emotion. If the fast likelihood of those means differs from MixedLM's by more than 1e-6,
    ``reason`` says so.

    References
    ----------
    .. [1] Halekoh, U., Hojsgaard, S. (2014). A Kenward-Roger approximation and parametric
       bootstrap methods for tests in linear mixed models. J. Stat. Softw., 59(9).
    .. [2] Berger, R. L., Hsu, J. C. (1996). Bioequivalence trials, intersection-union tests and
       equivalence confidence sets. Statistical Science, 11(4), 283-319.
    .. [3] Weerahandi, S. (1993). Generalized confidence intervals. JASA, 88, 899-905.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(families=(4, 4, 4), model_sd={"vertex": 0.01}, noise_sd=0.003,
    ...                         n_replicates=0)
    >>> row = invariance_test(study, n_boot=500).iloc[0]
    >>> row["verdict"], bool(row["p_chi2"] < row["p"]), row["random_terms"]
    ('invariant', True, '(1 + d + d^2 | model)')
    """
    check_alpha(alpha)
    scores = as_scores(scores, higher_is_better)
    if (n_boot + 1) * alpha < 1:
        raise InputError(
            f"n_boot {n_boot} cannot give a p below alpha {alpha}; take at least "
            f"{int(np.ceil(1 / alpha - 1))}"
        )
    check_peak(peak)
    metrics = [metric] if metric is not None else sorted(scores.table["metric"].unique())
    wanted = scopes_of(scope)
    rows: list[dict[str, Any]] = []
    effects: list[dict[str, Any]] = []
    for name in metrics:
        if THESE in wanted:
            profiles = model_profiles(scores, name, by)
            groups = [str(profile.keys[by]) for profile in profiles]
            each = fixed_curves(profiles, groups, curve_delta, amplitude_delta, alpha, seed)
            of_these = [{"test": "invariance", "metric": name, **row} for row in each]
        if LIKE_THESE not in wanted:
            rows += of_these
            continue
        data = curve_data(scores, name, by)
        row = {
            "test": "invariance",
            "metric": name,
            "scope": LIKE_THESE,
            "by": by,
            **decide_invariance(
                data, delta, n_boot, seed, alpha, curve_delta, amplitude_delta, peak
            ),
        }
        reported = NOT_FITTED
        if np.isfinite(row["lr"]):
            reported, fixed = mixedlm_fits(data, row["n_random"])
            effects += [{"metric": name, **effect} for effect in fixed]
        note = f"; {reported['mixedlm_note']}" if reported["mixedlm_note"] else ""
        verdict, reason = row.pop("verdict"), row.pop("reason") + note
        rows.append({**row, **reported, "verdict": verdict, "reason": reason})
        rows += of_these if THESE in wanted else []
    table = pd.DataFrame(rows)
    table["confidence"] = np.where(table["scope"] == THESE, 1 - alpha, 1 - 2 * alpha)
    table.attrs["mixedlm"] = effects
    return table


def decide_invariance(
    data: CurveData,
    delta: float,
    n_boot: int,
    seed: int,
    alpha: float,
    curve_delta: float = 0.1,
    amplitude_delta: float = 0.25,
    peak: Peak = "extremum",
) -> dict[str, Any]:
    """One row of `invariance_test`, from the sufficient statistics."""
    rng = np.random.default_rng(seed)
    n_models, n_groups = len(data.models), len(data.groups)
    ways = n_partitions(data.group)
    row: dict[str, Any] = {
        "n_models": n_models,
        "n_groups": n_groups,
        "n_rows": data.n_rows,
        "lr": np.nan,
        "df": 2 * (n_groups - 1),
        "p_chi2": np.nan,
        "p_boot": np.nan,
        "p_perm": np.nan,
        "n_perm": ways if ways < 2**63 else np.inf,
        "p_welch": np.nan,
        "p": np.nan,
        "differs": "",
        "delta": delta,
        "curve_delta": curve_delta,
        "amplitude_delta": amplitude_delta,
        "peak": peak,
        **departures(data, delta, alpha, peak),
        **whole_curve(data, curve_delta, amplitude_delta, alpha),
        **between_sd(data, rng, peak=peak),
        **left_out(data),
        "random_terms": "",
        "n_random": 0,
        "converged": True,
        "alpha": alpha,
        "verdict": "undecided",
    }
    peakless = not row["p_peak"] <= alpha
    if peakless:
        row |= dict.fromkeys(OF_A_PEAK, np.nan) | {"departure_of": ""}
    hindrance = _hindrance(data)
    if hindrance:
        return {**row, "reason": hindrance}
    tested, note = bootstrap(data, n_boot, rng)
    row |= {**tested, "p_chi2": stats.chi2.sf(tested["lr"], row["df"])}
    row["p_perm"] = permutation_p(data.coef[0, :, :2], data.group, n_boot, rng)
    row["p_welch"] = welch_p(data.coef[0, :, :2], data.group)
    row["p"] = float(np.nanmax([row["p_boot"], row["p_perm"], row["p_welch"]]))
    row["verdict"], row["reason"] = _verdict(row, data)
    row["reason"] += note
    if peakless and row["verdict"] == "not invariant":
        row["reason"] += f"; {NO_PEAK}"
    return row


def bootstrap(
    data: CurveData, n_boot: int, rng: np.random.Generator, shown: float = SHOWN
) -> tuple[dict[str, Any], str]:
    """Likelihood ratio and its bootstrap p, with the random part that `fall_back` chooses.

    Returns
    -------
    columns : dict
        ``lr, p_boot, random_terms, n_random, converged``.
    note : str
        From `fall_back`.
    """
    n_random, note, lr, null, full = fall_back(data, shown)
    draws, null_draws, full_draws = likelihood_ratio(
        draw(data, unbiased(data, null, n_random), n_boot, rng), 1e-3, n_random
    )
    usable = null_draws.converged & full_draws.converged
    return {
        "lr": lr[0],
        "p_boot": (1 + (draws[usable] >= lr[0]).sum()) / (1 + usable.sum()),
        "random_terms": RANDOM[n_random].formula,
        "n_random": n_random,
        "converged": bool(null.converged[0] and full.converged[0] and usable.mean() > 0.99),
    }, note


def _hindrance(data: CurveData) -> str:
    """Say why nothing can be tested; empty if something can."""
    n_models, n_groups = len(data.models), len(data.groups)
    if n_groups < 2:
        return f"one group only ({data.groups[0]}): nothing to compare it with"
    if n_models == n_groups:
        return (
            f"each of the {n_groups} groups has only one model: a difference between groups "
            "cannot be told from a difference between models"
        )
    if data.rss[0] <= 1e-20 * data.n_rows * max(float(np.abs(data.coef).max()) ** 2, 1e-300):
        return "the profiles have no residual about their quadratics: no error to test against"
    return ""


def _verdict(row: dict[str, Any], data: CurveData) -> tuple[str, str]:
    alpha, delta = row["alpha"], row["delta"]
    if not row["converged"]:
        return "undecided", "a fit of the mixed model did not converge"
    if row["n_perm"] < 1 / alpha:
        return "undecided", (
            f"the models can be sorted into groups of these sizes in "
            f"only {row['n_perm']} ways: no permutation p can reach {alpha:g}"
        )
    if row["p"] <= alpha:
        differs = what_differs(data, alpha, row["peak"])
        row["differs"] = ", ".join(differs)
        note = (
            f"; their peaks are nonetheless within {delta:g} of the mean"
            if row["p_equivalence"] <= alpha and not row["n_no_peak"]
            else ""
        )
        what = f" in {listing(differs)}" if set(differs) - {"level"} else ""
        reason = f"the curves differ between groups{what} (p = {row['p']:.3g}){note}"
        return "not invariant", reason
    lacking = _lacking(row)
    if row["p_equivalence"] <= alpha and not lacking:
        return "invariant", (
            f"every group's curve is within {row['curve_delta']:.0%} of the mean's rise (at most "
            f"{row['curve_upper']:.0%}), its amplitude within {row['amplitude_delta']:.0%} and its "
            f"peak within {delta:g} (equivalence p = {row['p_equivalence']:.3g}), and no "
            "difference of the curves is shown"
        )
    if row["p_equivalence"] <= alpha:
        return "undecided", (
            f"neither difference (p = {row['p']:.3g}) nor sameness is shown: the peaks are "
            f"within {delta:g} of the mean, but {listing(lacking)}"
        )
    if not row["p_peak"] <= alpha:
        return (
            "undecided",
            f"neither difference (p = {row['p']:.3g}) nor sameness is shown: {NO_PEAK}",
        )
    if not np.isfinite(row["p_equivalence"]) and row["n_no_peak"]:
        why = _peakless(row)
    elif not np.isfinite(row["p_equivalence"]):
        bends = np.sign(data.coef[0, :, 1])
        why = f"{int((bends > 0).sum())} of {bends.size} curves bend upwards and the rest downwards"
    else:
        why = (
            f"the largest departure, {row['estimate']:+.3f}, has the interval "
            f"{row['low']:.3f} to {row['high']:.3f} against a margin of {delta:g}"
        )
    return "undecided", f"neither difference (p = {row['p']:.3g}) nor sameness is shown: {why}"


def _lacking(row: dict[str, Any]) -> list[str]:
    """List which parts of the whole curve are not shown to be the same."""
    alpha, out = row["alpha"], []
    if row["n_no_peak"]:
        out.append(_peakless(row))
    if not row["p_peak"] <= alpha:
        out.append("that the curves have a peak is not shown")
    if not row["curve_upper_of"]:
        return [*out, "a group has hardly any of the mean curve"]
    if not row["p_curve"] <= alpha:
        out.append(
            f"the shape of {row['curve_upper_of']} may depart by {row['curve_upper']:.0%} "
            f"of the rise, against a margin of {row['curve_delta']:.0%}"
        )
    if not row["p_amplitude"] <= alpha:
        out.append(
            f"the amplitude of {row['amplitude_upper_of']} may differ by "
            f"{row['amplitude_upper']:.0%} of the mean's, against a margin of "
            f"{row['amplitude_delta']:.0%}"
        )
    return out


def _peakless(row: dict[str, Any]) -> str:
    """Say how many models have no peak that could be compared."""
    of = are_of(int(row["n_no_peak"]), int(row["n_models"]), "models")
    return f"{of} highest at an end of their range"
