"""Say every row of a result table in a sentence that a paper can quote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd

from analysis.reporting import of_claims, of_models, of_profiles, of_trials
from analysis.reporting.apa import Row, Style, check_style
from study.read import InputError


class Kind(NamedTuple):
    """A kind of result table.

    Attributes
    ----------
    name : str
        The function that makes it.
    columns : frozenset of str
        Columns that no other kind before it has together.
    write : callable
        Says one row.
    digits : int
        Decimals of its estimates.
    """

    name: str
    columns: frozenset[str]
    write: Callable[[Row], str]
    digits: int = 2


def _kind(name: str, columns: str, write: Callable[[Row], str], digits: int = 2) -> Kind:
    return Kind(name, frozenset(columns.split()), write, digits)


#: In this order: the first kind whose columns a table has.
KINDS = (
    _kind("claims_table", "claim quantity p_holm verdict", of_claims.of_claim),
    _kind("control_test", "contrast control_shape level", of_profiles.of_control, 3),
    _kind("u_shape_test", "level p_holm verdict", of_profiles.of_shape),
    _kind("fit_curves", "vertex shape n_points", of_profiles.of_curve),
    _kind("literature_test", "p_elsewhere n_figures", of_claims.of_literature),
    _kind("localization_test", "p_elsewhere n_pooled", of_profiles.of_peak),
    _kind("localization_test", "p_elsewhere peak scope", of_profiles.of_peak),
    _kind("invariance_test", "p_boot departure_of", of_models.of_invariance),
    _kind("invariance_test", "p_shape p_curve other", of_models.of_invariance),
    _kind("scale_test", "slope range p_equivalence", of_models.of_scale),
    _kind("method_test", "a b test hedges_g", of_models.of_methods),
    _kind("crossed_reading_test", "effect scope model p", of_models.of_crossed),
    _kind("causal_profile", "compared p_lost separation_depth", of_models.of_causal),
    _kind("family_departures", "family p_beyond", of_models.of_departure),
    _kind("steering_summary", "judge sham difference", of_trials.of_success),
    _kind("beside_published", "source sham success", of_trials.of_source),
    _kind("dose_response", "half_effect breaks", of_trials.of_dose),
    _kind("depth_test", "spearman n_depths", of_trials.of_depth),
    _kind("judge_agreement", "agreement kappa", of_trials.of_judges),
    _kind("regime_test", "by p_min n", of_trials.of_cause),
    _kind("regime_table", "kind regime share", of_trials.of_regime),
    _kind("published_check", "U d_bound n_a", of_claims.of_published, 3),
    _kind("design_power", "difference same undecided n_sim", of_claims.of_power),
    _kind("reachable_margins", "margin alone together", of_claims.of_margin),
    _kind("valence_table", "model depth share low", of_profiles.of_valence),
)


def kind_of(result: pd.DataFrame) -> Kind:
    """Return the kind of a result table, by its columns.

    Raises
    ------
    InputError
        If no function of this package makes such a table.

    Examples
    --------
    >>> kind_of(pd.DataFrame(columns=["margin", "alone", "together"])).name
    'reachable_margins'
    """
    for kind in KINDS:
        if kind.columns <= set(result.columns):
            return kind
    raise InputError(
        "this is not the whole result of a test: keep all of its columns; there are sentences for "
        + ", ".join(dict.fromkeys(kind.name for kind in KINDS))
    )


def say(
    result: pd.DataFrame,
    *,
    style: Style = "apa",
    digits: int | None = None,
    confidence: float = 0.95,
    names: Mapping[str, str] | None = None,
) -> list[str]:
    """Say every row of a result in one sentence: finding, estimate, interval, statistic, p and n.

    Parameters
    ----------
    result : DataFrame
        Any table that a function of this package returns, or some of its rows.
    style : {"apa", "plain"}
        "apa" writes p without the zero before its point; "plain" keeps it.
    digits : int, optional
        Decimals of estimates and intervals; default: 2, for `control_test` 3.
    confidence : float
        The level of the intervals, for tables without the column ``confidence``.
    names : mapping of str to str, optional
        What to call a model, method or metric of the table.

    Returns
    -------
    list of str
        One sentence per row, in the order of the table.

    Raises
    ------
    InputError
        If the table is not the result of a test, or the style is unknown.

    Notes
    -----
    The kind of table is recognized by its columns, so a table that was saved and read again can be
    said too. Numbers are rounded as in the table's own columns; a number that the table lacks is
    left out, and a verdict of "undecided" comes with its reason. With style "apa", a p above .9995
    is "p > .999" [1]_.

    References
    ----------
    .. [1] American Psychological Association (2020). Publication manual (7th ed.), sections 6.36
       and 6.43-6.45.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> from analysis.profiles.localization import localization_test
    >>> found = localization_test(simulate_scores(vertex=0.5, seed=1))
    >>> import textwrap
    >>> print(textwrap.fill(say(found, names={"score": "AUC"})[0], 90))
    The peak of the models was at the target of 0.50 ± 0.10 (comprehension, AUC, peak by
    extremum, models like these): pooled depth = 0.50, 95% CI [0.44, 0.55], df = 4, SD between
    models = 0.04, p of equivalence = .004, n = 9 of 9 models in 5 families.
    """
    check_style(style)
    kind = kind_of(result)
    decimals = kind.digits if digits is None else digits
    return [
        kind.write(
            Row({str(k): v for k, v in row.items()}, style, decimals, confidence, names or {})
        )
        for row in result.to_dict("records")
    ]
