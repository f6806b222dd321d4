"""Test what separation owes to the text, to its being the model's own, and to the model's state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.families import Estimate, mean_of, mean_over_families, too_few
from analysis.loading.scores import Scores, as_scores
from analysis.over_models.causal import without_ablation
from analysis.over_models.method_contrast import method_values
from analysis.over_models.sums import main_rows
from analysis.profiles.joint import over_topics
from analysis.profiles.uncertainty import check_alpha
from analysis.scopes import LIKE_THESE, THESE
from study.arrays import Float64Array
from study.read import InputError
from study.tables import BY

CROSSREADING = f"crossreading{BY}"
COLUMNS = [
    "metric",
    "effect",
    "scope",
    "model",
    "estimate",
    "low",
    "high",
    "t",
    "df",
    "p",
    "n_models",
    "n_families",
    "verdict",
    "reason",
]


def crossed_reading_test(
    scores: Scores | pd.DataFrame,
    *,
    metric: str | None = None,
    delta: float | None = None,
    alpha: float = 0.05,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    r"""Split the difference between writing and reading into text, familiarity and state.

    Parameters
    ----------
    scores : Scores or DataFrame
        With the methods "comprehension", "generation", "rereading" and, for each other writer,
        "crossreading of WRITER". Untrained models and shuffled labels are ignored.
    metric : str, optional
        Default: every metric in the table.
    delta : float, optional
        Equivalence margin, in the metric's own units. Without it, the verdict is never "alike".
    alpha : float
    higher_is_better : bool, optional
        For a DataFrame: whether a larger score means better separation.

    Returns
    -------
    DataFrame
        One row per metric, effect and scope, with the columns `COLUMNS`. Effects are differences
        in separation averaged over layers, in the metric's own units:

        - "text": other models' stories less the corpus's passages, both read;
        - "familiarity": a model's own stories less another's, beyond what the two readers and the
          two writers are worth;
        - "state": stories while they are written less the same stories reread.

        The scope "these models" takes the models as fixed and the topics as the sample, and also
        has one row per model for text and state. "Models like these" takes the families as the
        sample. Verdicts: "higher", "lower", "alike", "undecided"; for a metric of which lower is
        better, "higher" still means better separation.
        ``confidence`` is the level of the intervals.

    Raises
    ------
    InputError
        If the table has no crossreading, or alpha is no level.

    Notes
    -----
    With :math:`S_{rw}` the separation of reader r in the stories of writer w, familiarity is the
    mean over pairs of models of :math:`(S_{rr} + S_{ww} - S_{rw} - S_{wr}) / 2`: any additive
    effects of reader and writer cancel. Over topics, the error is that of the bootstrap replicates,
    which draw the same topics for all models, with Student's t at one degree of freedom fewer than
    there are topics. Over models, families count alike, however many models they have. State is the
    mean of the families' means, with Student's t over families. For text and familiarity, each
    family is left out in turn, as reader and as writer, because readers share writers; the
    pseudo-values are tested by Student's t [1]_. Fewer than three families leave that scope
    undecided.

    References
    ----------
    .. [1] Tukey, J. W. (1958). Bias and confidence in not-quite large samples. Annals of
       Mathematical Statistics, 29, 614.

    Examples
    --------
    >>> from analysis.planning.simulate import simulate_scores
    >>> study = simulate_scores(
    ...     families=(1, 1), n_topics=12, methods=("comprehension", "rereading", "generation"))
    >>> other = {"m1": "m2", "m2": "m1"}
    >>> crossed = study.table[study.table["method"] == "rereading"]
    >>> crossed = crossed.assign(method="crossreading of " + crossed["model"].map(other))
    >>> table = pd.concat([study.table, crossed])
    >>> crossed_reading_test(table)["effect"].unique().tolist()
    ['text', 'familiarity', 'state']
    """
    check_alpha(alpha)
    scores = without_ablation(main_rows(as_scores(scores, higher_is_better)))
    if not scores.table["method"].str.startswith(CROSSREADING).any():
        raise InputError(
            f"study {scores.name!r} has no crossreading; add it to the study's methods"
        )
    metrics = [metric] if metric is not None else sorted(scores.table["metric"].unique())
    rows = []
    for name in metrics:
        sign = scores.directions[name]
        for row in _rows(scores.select(metric=name), delta, alpha):
            ends = sorted(sign * row[end] for end in ("low", "high"))
            row |= {"metric": name, "low": ends[0], "high": ends[1]}
            rows.append(row | {key: sign * row[key] for key in ("estimate", "t")})
    return pd.DataFrame(rows).reindex(columns=COLUMNS).assign(confidence=1 - alpha)


def without_crossreading(scores: Scores) -> Scores:
    """Return the scores without those of other models' stories, which have a test of their own."""
    methods = scores.table["method"].unique().tolist()
    kept = [name for name in methods if not name.startswith(CROSSREADING)]
    return scores.select(method=kept) if len(kept) < len(methods) else scores


# -- the effects ------------------------------------------------------------------------------


def text_effects(values: pd.DataFrame) -> pd.Series:
    """Return each reader's separation in others' stories less that in the corpus's passages."""
    of_others = [name for name in values if str(name).startswith(CROSSREADING)]
    return (values[of_others].mean(axis=1) - values["comprehension"]).dropna()


def text_of_pairs(values: pd.DataFrame) -> pd.Series:
    """Return what `text_effects` averages over writers, by reader and writer."""
    of_others = [name for name in values if str(name).startswith(CROSSREADING)]
    read = values[of_others].sub(values["comprehension"], axis=0)
    read.columns = [str(name).removeprefix(CROSSREADING) for name in of_others]
    pairs = read.melt(var_name="writer", ignore_index=False).set_index("writer", append=True)
    return pairs["value"].dropna()


def state_effects(values: pd.DataFrame) -> pd.Series:
    """Return each model's separation while writing less that when rereading."""
    return (values["generation"] - values["rereading"]).dropna()


def familiarity_effects(values: pd.DataFrame) -> pd.Series:
    """Return the interaction of reader and writer of each pair of models."""
    names = values.index.astype(str)
    of_writer = values.reindex(columns=[f"{CROSSREADING}{name}" for name in names])
    read = of_writer.to_numpy(dtype=np.float64, copy=True)
    np.fill_diagonal(read, values["rereading"])
    own = np.diag(read)
    i, j = np.triu_indices(len(names), 1)
    pairs = (own[:, None] + own - read - read.T)[i, j] / 2
    return pd.Series(pairs, pd.MultiIndex.from_arrays([values.index[i], values.index[j]])).dropna()


Effect = Callable[[pd.DataFrame], pd.Series]
EFFECTS: dict[str, Effect] = {
    "text": text_effects,
    "familiarity": familiarity_effects,
    "state": state_effects,
}


def _rows(scores: Scores, delta: float | None, alpha: float) -> Iterator[dict[str, Any]]:
    values, facts, draws = method_values(scores, "mean")
    repeated = _replicates(values, draws)
    n_topics = next(scores.profiles()).n_topics
    for name, effect in EFFECTS.items():
        each = effect(values)
        models = values.index if name == "familiarity" else each.index
        row: dict[str, Any] = {"effect": name, "model": "all", "n_models": len(models)}
        row |= {"estimate": float(each.mean()), "low": np.nan, "high": np.nan, "t": np.nan}
        if each.empty:
            missing = "no model has what it takes"
            for scope in (THESE, LIKE_THESE):
                yield row | {"scope": scope, "verdict": "undecided", "reason": missing}
            continue
        over = [effect(one) for one in repeated]
        yield row | {"scope": THESE} | _over_topics(each, over, None, n_topics, alpha, delta)
        if name != "familiarity":
            for model in each.index:
                found = _over_topics(each, over, model, n_topics, alpha, delta)
                yield row | {"scope": THESE, "model": model, "n_models": 1} | found
        family = facts.loc[values.index, "family"]
        estimate = over_families(name, values, family)
        row |= {"scope": LIKE_THESE, "n_families": estimate.n_families}
        row |= {"estimate": estimate.estimate}
        if few := too_few(estimate.n_families):
            yield row | {"verdict": "undecided", "reason": few}
        else:
            yield row | decided(estimate, alpha, delta)


def _replicates(
    values: pd.DataFrame, draws: dict[tuple[str, str], Float64Array]
) -> list[pd.DataFrame]:
    """Return the table of values in each replicate; none if a profile lacks replicates."""
    rows, columns = np.nonzero(values.notna().to_numpy())
    models, methods = values.index.astype(str), values.columns.astype(str)
    cells = list(zip(models[rows], methods[columns], strict=True))
    if not cells or any(cell not in draws for cell in cells):
        return []
    n = min(draws[cell].size for cell in cells)
    wide = np.full((n, *values.shape), np.nan)
    for i, j, cell in zip(rows, columns, cells, strict=True):
        wide[:, i, j] = draws[cell][:n]
    return [pd.DataFrame(one, values.index, values.columns) for one in wide]


def _over_topics(
    each: pd.Series,
    repeated: Sequence[pd.Series],
    model: str | None,
    n_topics: int | None,
    alpha: float,
    delta: float | None,
) -> dict[str, Any]:
    """Test an effect with the topics as the sample: of all models, or of one."""

    def value(effects: pd.Series) -> float:
        return float(effects.mean() if model is None else effects[model])

    if not repeated:
        return {"estimate": value(each), "verdict": "undecided", "reason": "no replicates"}
    copies = np.array([value(one) for one in repeated])
    return decided(over_topics(value(each), copies, n_topics), alpha, delta)


def over_families(effect: str, values: pd.DataFrame, family: pd.Series) -> Estimate:
    """Estimate an effect with the families as the sample.

    Parameters
    ----------
    effect : {"text", "familiarity", "state"}
    values : DataFrame, shape (n_models, n_methods)
    family : Series, shape (n_models,)
        By model.
    """
    if effect == "state":
        each = state_effects(values)
        return mean_over_families(each.to_numpy(), family[each.index].tolist())
    pairs = text_of_pairs(values) if effect == "text" else familiarity_effects(values)
    pairs = pairs[pairs.index.isin(family.index, level=1)]  # other writers' families are unknown
    # Families count alike, however many models they have.
    share = (1 / family.map(family.value_counts())).to_dict()
    reader, writer = (pairs.index.get_level_values(level) for level in (0, 1))
    weight = np.array([share[r] * share[w] for r, w in zip(reader, writer, strict=True)])
    of = family.to_dict()
    families = [{of[r], of[w]} for r, w in zip(reader, writer, strict=True)]
    names = sorted(set().union(*families))

    def mean_without(name: str | None) -> float:
        kept = np.array([name not in both for both in families])
        return float(np.average(pairs[kept], weights=weight[kept])) if kept.any() else np.nan

    n, whole = len(names), mean_without(None)
    pseudo = np.array([n * whole - (n - 1) * mean_without(name) for name in names])
    return replace(mean_of(pseudo), estimate=whole, n=len(values), n_families=n)


def decided(estimate: Estimate, alpha: float, delta: float | None) -> dict[str, Any]:
    """Return estimate, interval, p, verdict and reason of an effect."""
    if estimate.exact or not np.isfinite(estimate.se):
        reason = "no error to test against"
        return {"estimate": estimate.estimate, "verdict": "undecided", "reason": reason}
    low, high = estimate.ends(alpha)
    row = {"estimate": estimate.estimate, "low": low, "high": high, "df": estimate.df}
    row["p"] = p = estimate.p()
    row["t"] = estimate.estimate / estimate.se
    if p <= alpha:
        verdict = "higher" if estimate.estimate > 0 else "lower"
        return row | {"verdict": verdict, "reason": f"separation differs (p = {p:.3g})"}
    within = 1.0 if delta is None else estimate.p_within(-delta, delta)
    if within <= alpha:
        reason = f"the difference is within {delta:g} (equivalence p = {within:.3g})"
        return row | {"verdict": "alike", "reason": reason}
    return row | {"verdict": "undecided", "reason": f"no difference is shown (p = {p:.3g})"}
