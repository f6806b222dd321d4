"""The claims that contradict the published one: embeddings, valence, tuning and precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.claims.depth import Row, methods, untestable
from analysis.families import Estimate, mean_over_families, too_few
from analysis.loading.scores import Scores
from analysis.profiles.curves import fit_curves
from analysis.wording import count, listing, number
from study.arrays import Float64Array
from study.read import InputError

#: The metric whose scores per emotion are mean squared distances, which valence can split.
DISTANCE = "crossnobis"
N_PERMUTATIONS = 9999
#: Where "early" ends and "late" begins, as shares of the depth.
EARLY, LATE = 1 / 3, 2 / 3


def embeddings(main: Scores, method: str, metric: str, alpha: float) -> Row:
    """Judge whether layer 0 reaches more than half of the best layer's separation."""
    chance = main.run.get("metrics", {}).get(metric, {}).get("chance")
    if chance is None:
        return untestable(f"{metric} has no chance level, so there is no zero of separation")
    shares: dict[tuple[str, str], list[float]] = {}
    for profile in main.select(method=method).profiles():
        above = profile.separation - profile.sign * chance
        if above.max() > 0:
            of = shares.setdefault((profile.keys["model"], profile.keys["family"]), [])
            of.append(float(above[0] / above.max()))
    families = [family for _, family in shares]
    found = mean_over_families(np.array([np.mean(of) for of in shares.values()]), families)
    if found.exact:
        return untestable("needs two families with models that separate emotions, and differ")
    reason = f"layer 0 has {found.estimate:.0%} of the best layer's separation above chance"
    words = ("supported", "contradicted")
    return _over_families(found, 0.5, words, "share of the best layer", reason, alpha)


def _over_families(
    found: Estimate, null: float, words: tuple[str, str], quantity: str, reason: str, alpha: float
) -> Row:
    """Return the row of a mean over families: words[0] if above the null, words[1] if below."""
    low, high = found.ends(alpha)
    row: Row = {
        "quantity": quantity,
        "estimate": found.estimate,
        "low": low,
        "high": high,
        "p": found.p(null),
        "n": found.n,
        "verdict": "undecided",
        "reason": reason,
    }
    if few := too_few(found.n_families):
        return row | {"reason": f"{reason}; {few}"}
    if row["p"] < alpha:
        row["verdict"] = words[0] if found.estimate > null else words[1]
    return row


def valence_table(scores: Scores, method: str = "comprehension", seed: int = 0) -> pd.DataFrame:
    r"""Return the share of the distance between emotions that valence explains, by layer.

    Parameters
    ----------
    scores : Scores
        A study with the metric crossnobis and the emotions' valence in its run.json.
    method : str
    seed : int
        Seed of the permutations.

    Returns
    -------
    DataFrame
        One row per trained model and layer: model, depth; share of the mean squared distance;
        low and high, the central 95% of the share when valence is permuted over emotions.

    Raises
    ------
    InputError
        If the table has no crossnobis, or run.json has no valence for its emotions.

    Notes
    -----
    Let the squared distance between emotions i and j be :math:`s (v_i - v_j)^2 + c`, with valence
    v. An emotion's score is the mean over the other emotions, which is linear in
    :math:`x_i = \frac{n}{n-1} (v_i - \bar v)^2` with slope s. The slope of the scores on x is thus
    the squared distance per unit of valence, and :math:`2 s \bar x / \bar y` is valence's share.
    Valence enters only as the distance from neutral. Anything else that sets emotions of strong
    valence apart is counted with it.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from analysis.planning.simulate import simulate_scores
    >>> valences = [{"name": f"e{i + 1}", "valence": v} for i, v in enumerate((-0.9, -0.4, 0, 0.6))]
    >>> study = simulate_scores(families=(1, 1), n_emotions=4)
    >>> study = replace(study, table=study.table.assign(metric=DISTANCE),
    ...                 directions={DISTANCE: 1}, run={"emotions": valences})
    >>> valence_table(study).columns.tolist()
    ['model', 'depth', 'share', 'low', 'high']
    """
    parts = []
    for model, (depth, y, x) in _distances(scores, method).items():
        total = np.where(y.mean(axis=0) > 0, y.mean(axis=0), np.nan)
        observed, shuffled = _share(y / total, x, seed)
        low, high = np.percentile(shuffled, [2.5, 97.5], axis=0)
        parts.append(
            pd.DataFrame(
                {"model": model, "depth": depth, "share": observed, "low": low, "high": high}
            )
        )
    return pd.concat(parts, ignore_index=True)


def valence(scores: Scores, method: str, alpha: float, seed: int = 0) -> Row:
    """Judge whether valence is early and collapses in one model, and comes late in another.

    The test compares the share of `valence_table` in the first third of the depth with that in the
    last third. p comes from permuting valence over emotions, with a Bonferroni correction for
    picking the two extreme models. The claim is contradicted if the share is shown to rise in all
    models, or to fall in all.
    """
    shares, fall_p, rise_p = {}, [], []
    family = scores.table.groupby("model")["family"].first()
    for model, (depth, y, x) in _distances(scores, method).items():
        early, late = y[:, depth <= EARLY].sum(axis=1), y[:, depth >= LATE].sum(axis=1)
        if min(early.mean(), late.mean()) <= 0:
            return untestable(f"{model} does not separate emotions at both ends of its depth")
        early, late = early / early.mean(), late / late.mean()
        observed, shuffled = _share(np.column_stack([early, early - late]), x, seed)
        above = (1 + (shuffled >= observed).sum(axis=0)) / (N_PERMUTATIONS + 1)
        below = (1 + (shuffled <= observed).sum(axis=0)) / (N_PERMUTATIONS + 1)
        shares[model] = observed
        fall_p.append(max(above))
        rise_p.append(below[1])
    n = len(shares)
    if n < 2:
        return untestable("needs at least two models: the claim is that they differ")
    names, drop = list(shares), np.array([share[1] for share in shares.values()])
    most, least = int(np.argmin(fall_p)), int(np.argmin(rise_p))
    mean = mean_over_families(drop, family.loc[names])
    low, high = mean.ends(alpha)
    row: Row = {
        "quantity": "valence, early minus late",
        "n": n,
        "estimate": mean.estimate,
        "low": low,
        "high": high,
        "reason": "valence explains this much of the squared distances: "
        + listing(
            f"{_percent(shares[names[i]][0])} early and {_percent(shares[names[i]][0] - drop[i])} "
            f"late in {names[i]}"
            for i in dict.fromkeys([most, least])
        ),
    }
    both = min(1.0, n * max(fall_p[most], rise_p[least]))
    same = min(1.0, 2 * min(max(rise_p), max(fall_p)))
    if both < alpha:
        return row | {"p": both, "verdict": "supported"}
    if same < alpha:
        return row | {"p": same, "verdict": "contradicted"}
    return row | {"p": both, "verdict": "undecided"}


def _percent(share: float) -> str:
    return f"{number(100 * share, 0)}%"


def _distances(
    scores: Scores, method: str
) -> dict[str, tuple[Float64Array, Float64Array, Float64Array]]:
    """Return each trained model's depths, scores (emotions, layers) and x of `valence_table`."""
    if DISTANCE not in set(scores.table["metric"]):
        raise InputError(f"scores.parquet lacks the metric {DISTANCE}, which valence can split")
    known = {e["name"]: e["valence"] for e in scores.run.get("emotions", []) if "valence" in e}
    some = scores.select(metric=DISTANCE, method=method, weights="trained", labels="true")
    out = {}
    ordered = some.table.sort_values(["family", "n_params", "model"], kind="stable")
    for model, rows in ordered.groupby("model", sort=False):
        wide = rows.pivot_table(index="emotion", columns="depth", values="score")
        v = np.array([known.get(emotion, np.nan) for emotion in wide.index], dtype=np.float64)
        if np.isnan(v).any():
            raise InputError(
                f"run.json has no valence for the emotion {wide.index[np.isnan(v)][0]!r}"
            )
        x = (v - v.mean()) ** 2 * v.size / (v.size - 1)
        if np.ptp(x) == 0:
            raise InputError("all emotions are equally far from neutral valence")
        out[str(model)] = (wide.columns.to_numpy(dtype=np.float64), wide.to_numpy(np.float64), x)
    return out


def _share(y: Float64Array, x: Float64Array, seed: int) -> tuple[Float64Array, Float64Array]:
    """Return valence's share of y (emotions, columns), and the permuted shares (draws, columns)."""
    centered = (x - x.mean()) * 2 * x.mean() / ((x - x.mean()) ** 2).sum()
    rng = np.random.default_rng(seed)
    draws = rng.permuted(np.tile(centered, (N_PERMUTATIONS, 1)), axis=1)
    return centered @ y, draws @ y


def tuning(main: Scores, method: str, alpha: float, delta: float) -> Row:
    """Judge whether instruction tuning moves the best layer, from models within families.

    The best layer is the maximum of the spline. Each family with both kinds contributes the mean
    depth of its tuned models minus that of its base models; the family is the unit.
    """
    fits = fit_curves(main, method=method, alpha=alpha)
    if "extremum" not in fits:
        return untestable(f"no profile can be analyzed: {fits['reason'].iloc[0]}")
    one = (
        fits.groupby("model")
        .agg(
            best=("extremum", "mean"),
            family=("family", "first"),
            tuned=("instruct", "first"),
            size=("n_params", "first"),
        )
        .astype({"tuned": float})
        .dropna(subset=["best"])
    )
    family = one.groupby("family")
    both = [name for name, kinds in family["tuned"] if len(set(kinds)) > 1]
    if not both:
        return untestable("no family has both a base and an instruction-tuned model")
    best = one[one["family"].isin(both)].groupby(["family", "tuned"])["best"].mean().unstack()
    moves = mean_over_families((best[1.0] - best[0.0]).to_numpy(), best.index)
    if len(both) < 2:
        return untestable(
            "only one family has both a base and an instruction-tuned model; two are needed"
        )
    if moves.exact:
        return untestable("the families do not differ, which leaves no error to test against")
    moved = moves.estimate
    means = one[one["family"].isin(both)].groupby(["family", "tuned"])["size"].mean().unstack()
    larger, equal = int((means[1.0] > means[0.0]).sum()), int((means[1.0] == means[0.0]).sum())
    reason = (
        f"the best layer of tuned models is {abs(moved):.2f} of the depth "
        f"{'later' if moved > 0 else 'earlier'} than that of base models of the same family "
        f"({count(len(both), 'family', 'families')} with both kinds)"
    )
    if equal < len(both):
        where = count(larger, "family", "families")
        reason += f"; the tuned models are larger in {where}, so size may be the cause"
    row = _over_families(
        replace(moves, n=len(one)),
        0.0,
        ("supported",) * 2,
        "change of the best layer",
        reason,
        alpha,
    )
    p_same = moves.p_within(-delta, delta)
    if row["verdict"] == "undecided" and p_same < alpha and not too_few(moves.n_families):
        return row | {"verdict": "contradicted", "p": p_same}
    return row


def precision(table: pd.DataFrame) -> Row:
    """Judge whether separation differs between two precisions of the same weights."""
    row = methods(table)
    if row["verdict"] == "not testable":
        return row
    # The estimate is in the metric's own units: if smaller is better, a rise is a loss.
    metric = table["metric"].iloc[0]
    return row | {
        "quantity": "low minus high precision",
        "verdict": "undecided" if row["verdict"] == "undecided" else "supported",
        "reason": f"{metric} changes by {row['estimate']:+.3f} from the highest to the lowest "
        f"precision of the same weights; {row['reason']}",
    }
