"""Simulate what a design can decide: size, power, coverage, and the share left undecided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from statsmodels.stats.proportion import proportion_confint

from analysis.families import family_means
from analysis.over_models.invariance import decide_invariance
from analysis.over_models.method_contrast import paired_over_families
from analysis.over_models.rank_tests import mann_whitney, signed_rank
from analysis.over_models.scale import decide_scale, vertex_variance
from analysis.over_models.sums import CurveData, basis, curve_sums
from analysis.over_models.whole_curve import places
from analysis.planning.ranges import (
    require_count,
    require_counts,
    require_number,
    require_share,
)
from analysis.planning.simulate import ar1_noise, curve
from analysis.profiles.curves import Peak, check_peak
from analysis.profiles.uncertainty import check_alpha
from study.arrays import Float64Array
from study.read import InputError

if TYPE_CHECKING:
    import plotnine as p9

#: The outcomes of a simulated test.
DIFFERENCE, SAME, UNDECIDED = "difference", "same", "undecided"
OUTCOMES = {
    "not invariant": DIFFERENCE,
    "a better": DIFFERENCE,
    "b better": DIFFERENCE,
    "invariant": SAME,
    "undecided": UNDECIDED,
}
#: A design decides if at least this share of its studies does.
ENOUGH = 0.8
#: What differs between models.
OVER_MODELS = ("vertex", "level", "height", "method")


@dataclass(frozen=True)
class Truth:
    """The truth of simulated studies. Depths are in [0, 1]; the rest is in score units.

    Attributes
    ----------
    families : tuple of int
        Models in each family.
    n_layers : (int, int)
        Smallest and largest number of layers, at least 4: curves have 5 points or more.
    n_topics : int
    topic_sd : float
        Standard deviation of one topic's profile at one layer; a study's is / sqrt(n_topics).
    rho : float
        Correlation of neighboring layers' noise.
    vertex, height : float
        See `analysis.planning.simulate.curve`.
    model_sd : mapping
        Standard deviations over models of "vertex", "level", "height" and "method" (its effect).
    family_sd : float
        Standard deviation of the vertex between families.
    departure : float
        Difference between the last family's vertex and the mean over families.
    scale_change : float
        Change of the vertex from the smallest to the largest model, 0.1 to 3 billion parameters.
    method_effect : float
        Separation under method a minus that under method b.
    n_emotions : int
        1 for profiles averaged over emotions; otherwise each emotion has its own noise.

    Raises
    ------
    InputError
        For a value outside its range.
    """

    families: tuple[int, ...] = (2, 2, 2, 2, 1)
    n_layers: tuple[int, int] = (12, 33)
    n_topics: int = 24
    topic_sd: float = 0.05
    rho: float = 0.9
    vertex: float = 0.5
    height: float = 0.1
    model_sd: Mapping[str, float] = field(
        default_factory=lambda: {"vertex": 0.05, "level": 0.03, "height": 0.02, "method": 0.01}
    )
    family_sd: float = 0.0
    departure: float = 0.0
    scale_change: float = 0.0
    method_effect: float = 0.0
    n_emotions: int = 1

    def __post_init__(self) -> None:
        require_counts("families", self.families)
        require_counts("n_layers", self.n_layers, 4)
        if len(self.n_layers) != 2 or self.n_layers[0] > self.n_layers[1]:
            raise InputError(f"n_layers {self.n_layers!r}: give the smallest, then the largest")
        for name in ("n_topics", "n_emotions"):
            require_count(name, getattr(self, name))
        require_number("rho", self.rho, -1, 1)
        require_number("topic_sd", self.topic_sd, 0)
        for name in ("vertex", "family_sd"):
            require_number(name, getattr(self, name), 0, 1)
        for name in ("departure", "scale_change"):  # differences of depths
            require_number(name, getattr(self, name), -1, 1)
        for name in ("height", "method_effect"):
            require_number(name, getattr(self, name))
        if not isinstance(self.model_sd, Mapping) or set(self.model_sd) - set(OVER_MODELS):
            raise InputError(
                f"model_sd {self.model_sd!r}: give a mapping; its keys are {', '.join(OVER_MODELS)}"
            )
        for key, sd in self.model_sd.items():
            require_number(f"model_sd[{key!r}]", sd, 0, 1 if key == "vertex" else np.inf)


def truth_of(settings: Mapping[str, Any]) -> Truth:
    """Return a truth of these settings; raise InputError if one is unknown or out of range."""
    unknown = sorted(set(settings) - set(Truth.__dataclass_fields__))
    if unknown:
        raise InputError(
            f"no design setting {unknown[0]!r}; there are {', '.join(Truth.__dataclass_fields__)}"
        )
    return Truth(**settings)


def design_power(
    n_sim: int = 200,
    n_boot: int = 199,
    seed: int = 0,
    delta: float = 0.1,
    alpha: float = 0.05,
    n_jobs: int | None = None,
    *,
    curve_delta: float = 0.1,
    amplitude_delta: float = 0.25,
    peak: Peak = "extremum",
    **truth: Any,
) -> pd.DataFrame:
    """Simulate studies of one design and count the outcomes of every test.

    Parameters
    ----------
    n_sim : int
        Simulated studies.
    n_boot : int
        Bootstrap replicates (and random permutations) per study.
    seed : int
    delta, alpha : float
        Equivalence margin, as a share of the depth, and level of the tests.
    n_jobs : int, optional
        Studies to simulate at once, as in `joblib.Parallel`: None is one at a time, unless
        `joblib.parallel_config` says otherwise. Each study has its own seed, so the table does not
        depend on this number.
    curve_delta, amplitude_delta, peak
        The other margins and the estimator of the peak, as in `invariance_test`.
    **truth
        Attributes of `Truth`.

    Returns
    -------
    DataFrame
        One row per test: ``test, n_models, truth`` (whether the effect is present),
        ``difference, same, undecided`` (shares of studies), ``low, high`` (95% Clopper-Pearson
        interval of the share of differences), ``coverage`` of its 95% interval, ``n_sim`` and the
        design. The row "invariance" counts verdicts; the rows chi-square, bootstrap and permutation
        count the p-values behind them.

    Raises
    ------
    InputError
        For an unknown attribute, or a value outside its range.

    Notes
    -----
    To run the studies on a Ray cluster, call ``ray.util.joblib.register_ray()`` first and wrap the
    call in ``with joblib.parallel_config("ray"):``.

    Examples
    --------
    >>> table = design_power(n_sim=20, n_boot=19, families=(3, 3))
    >>> table.loc[table["test"] == "method, paired over families", "n_models"].item()
    6
    """
    setting = truth_of(truth)
    require_count("n_sim", n_sim)
    require_count("n_boot", n_boot)
    require_count("seed", seed, 0)
    rules: dict[str, Any] = {"delta": delta, "alpha": alpha}
    rules |= {"curve_delta": curve_delta, "amplitude_delta": amplitude_delta, "peak": peak}
    for name in ("delta", "curve_delta", "amplitude_delta"):
        require_share(name, rules[name])
    check_alpha(alpha)
    check_peak(peak)
    studies = Parallel(n_jobs=n_jobs)(
        delayed(_study)(setting, (seed, number), n_boot, rules) for number in range(n_sim)
    )
    seen: dict[str, list[tuple[str, bool | None]]] = {}
    for test, outcome, covered in chain.from_iterable(studies):
        seen.setdefault(test, []).append((outcome, covered))
    there = {
        "invariance": setting.family_sd > 0 or setting.departure != 0,
        "scale": setting.scale_change != 0,
        "method": setting.method_effect != 0,
    }
    rows = []
    for test, results in seen.items():
        outcomes = [outcome for outcome, _ in results]
        hits = outcomes.count(DIFFERENCE)
        low, high = proportion_confint(hits, n_sim, method="beta")
        inside = [c for _, c in results if c is not None]
        rows.append(
            {
                "test": test,
                "n_models": sum(setting.families),
                "truth": DIFFERENCE if there[test.split(",")[0]] else "none",
                "difference": hits / n_sim,
                "low": low,
                "high": high,
                "same": outcomes.count(SAME) / n_sim,
                "undecided": outcomes.count(UNDECIDED) / n_sim,
                "coverage": np.mean(inside) if inside else np.nan,
                "n_sim": n_sim,
                **rules,
                "families": " ".join(map(str, setting.families)),
                "n_topics": setting.n_topics,
                "n_layers": "{}-{}".format(*setting.n_layers),
                "family_sd": setting.family_sd,
                "departure": setting.departure,
                "scale_change": setting.scale_change,
                "method_effect": setting.method_effect,
                "model_sd": setting.model_sd.get("vertex", 0.0),
            }
        )
    return pd.DataFrame(rows)


def models_needed(
    per_family: Sequence[int] = (1, 2, 3, 4, 6, 8, 12),
    n_families: int = 5,
    enough: float = ENOUGH,
    **settings: Any,
) -> pd.DataFrame:
    """Find how many models per family are needed to decide whether families differ.

    Parameters
    ----------
    per_family : sequence of int
        The numbers of models per family to try.
    n_families : int
    enough : float
        The share of studies that must reach the right verdict.
    **settings
        As for `design_power`. Without family_sd and departure the right verdict is *invariant*,
        otherwise *not invariant*.

    Returns
    -------
    DataFrame
        One row per number of models per family, with the columns of `design_power` for the
        invariance verdict, ``per_family``, ``right`` (the share of right verdicts) and, the same in
        every row, ``needed``: the smallest number tried that reaches `enough`, or NaN.

    Raises
    ------
    InputError
        For an unknown setting, or a value outside its range.

    Examples
    --------
    >>> table = models_needed((1, 4), n_families=3, n_sim=20, n_boot=39, family_sd=0.3)
    >>> table["needed"].tolist()
    [4.0, 4.0]
    """
    require_counts("per_family", per_family)
    require_count("n_families", n_families, 2)
    require_share("enough", enough)
    if "families" in settings:
        raise InputError("families: per_family and n_families say which, so leave it out")
    rows = []
    for count in per_family:
        table = design_power(families=(count,) * n_families, **settings)
        rows.append(table[table["test"] == "invariance"].assign(per_family=count))
    out = pd.concat(rows, ignore_index=True)
    wanted = SAME if (out["truth"] == "none").all() else DIFFERENCE
    out["right"] = out[wanted]
    reached = out.loc[out["right"] >= enough, "per_family"]
    return out.assign(needed=float(reached.min()) if len(reached) else np.nan)


def plot_power(table: pd.DataFrame, x: str = "per_family") -> p9.ggplot:
    """Plot the shares of the three verdicts against a column of the design.

    Parameters
    ----------
    table : DataFrame
        From `models_needed`, or concatenated rows of `design_power`.
    x : str
        The column on the horizontal axis.

    Returns
    -------
    plotnine.ggplot

    Examples
    --------
    >>> table = models_needed((1, 2), n_families=3, n_sim=5, n_boot=19)
    >>> type(plot_power(table)).__name__
    'ggplot'
    """
    # Import plotnine here: users of the tests alone may not have installed it.
    import plotnine as p9

    if x not in table:
        raise InputError(f"no column {x!r} in the table; it has {', '.join(table.columns)}")
    names = {DIFFERENCE: "not invariant", SAME: "invariant", UNDECIDED: "undecided"}
    long = table.melt(id_vars=[x, "test"], value_vars=list(names), value_name="share")
    long["verdict"] = pd.Categorical(long["variable"].map(names), list(names.values()))
    return (
        p9.ggplot(long, p9.aes(x, "share", color="verdict"))
        + p9.geom_line()
        + p9.geom_point(size=2)
        + p9.geom_hline(yintercept=ENOUGH, linetype="dotted")
        + p9.facet_wrap("test")
        + p9.scale_y_continuous(limits=(0, 1))
        + p9.scale_colour_manual(["#D55E00", "#0072B2", "#999999"])
        + p9.labs(x=x.replace("_", " "), y="share of simulated studies", color="verdict")
        + p9.theme_minimal()
    )


def draw_study(
    setting: Truth, rng: np.random.Generator
) -> tuple[CurveData, Float64Array, Float64Array, Float64Array]:
    """Draw one study: sums, method means (n_models, 2), log10 sizes and sampling variances."""
    n_families, n_models = len(setting.families), sum(setting.families)
    group = np.repeat(np.arange(n_families), setting.families)
    # If one of G families shifts by s, it differs from the mean over families by s (G - 1) / G.
    shift = setting.family_sd * rng.standard_normal(n_families)
    shift[-1] += setting.departure * n_families / max(n_families - 1, 1)
    size = rng.uniform(8.0, np.log10(3e9), n_models)
    slope = setting.scale_change / (np.log10(3e9) - 8.0)
    sd = {k: setting.model_sd.get(k, 0.0) for k in OVER_MODELS}
    noise_sd = setting.topic_sd / np.sqrt(setting.n_topics)
    facts, pairs, variances = [], np.empty((n_models, 2)), np.empty(n_models)
    for m in range(n_models):
        top = int(rng.integers(setting.n_layers[0], setting.n_layers[1] + 1))
        depth = np.arange(top + 1) / top
        turn = setting.vertex + shift[group[m]] + sd["vertex"] * rng.standard_normal()
        turn += slope * (size[m] - 8.0)
        height = setting.height + sd["height"] * rng.standard_normal()
        base = curve(depth, "hump", turn, height) + sd["level"] * rng.standard_normal()
        effect = setting.method_effect + sd["method"] * rng.standard_normal()
        n = 2 * setting.n_emotions
        noise = ar1_noise(rng, n, top + 1, noise_sd * np.sqrt(setting.n_emotions), setting.rho)
        values = base[:, None, None] + noise.T.reshape(top + 1, 2, setting.n_emotions)
        values[:, 0] += effect
        lag = np.abs(np.subtract.outer(np.arange(top + 1), np.arange(top + 1)))
        pairs[m] = values.mean(axis=(0, 2))
        facts.append((depth, values))
        coef = np.linalg.lstsq(basis(depth), values.mean(axis=(1, 2)), rcond=None)[0]
        variances[m] = vertex_variance(coef, depth, noise_sd**2 / 2 * setting.rho**lag)
    names = tuple(f"m{m + 1}" for m in range(n_models))
    data = curve_sums(names, tuple(f"f{g + 1}" for g in range(n_families)), group, facts)
    return data, pairs, size, variances


def _study(
    setting: Truth, seed: tuple[int, int], n_boot: int, rules: Mapping[str, Any]
) -> list[tuple[str, str, bool | None]]:
    """Return (test, outcome, whether its interval covers the truth) for one simulated study."""
    return list(_outcomes(setting, np.random.default_rng(seed), n_boot, rules))


def _outcomes(
    setting: Truth, rng: np.random.Generator, n_boot: int, rules: Mapping[str, Any]
) -> Iterator[tuple[str, str, bool | None]]:
    delta, alpha = rules["delta"], rules["alpha"]
    data, pairs, size, variances = draw_study(setting, rng)
    row = decide_invariance(data, n_boot=n_boot, seed=int(rng.integers(2**31)), **rules)
    covered: bool | None = None
    if np.isfinite(row["between_sd_high"]) and setting.departure == 0:
        covered = bool(row["between_sd_low"] <= setting.family_sd <= row["between_sd_high"])
    yield "invariance", OUTCOMES[row["verdict"]], covered
    for name in ("chi2", "boot", "perm"):
        p = row[f"p_{name}"]
        yield f"invariance, p_{name}", DIFFERENCE if p <= alpha else UNDECIDED, None
    p = row["p_equivalence"]
    yield "invariance, p_equivalence", SAME if p <= alpha else UNDECIDED, None
    peak, there = places(data, rules["peak"])
    row = decide_scale(peak[there], variances[there], size[there], data.group[there], delta, alpha)
    covered = None
    if np.isfinite(row["low"]):
        change = setting.scale_change * np.ptp(size) / (np.log10(3e9) - 8.0)
        covered = bool(row["low"] <= change <= row["high"])
    yield "scale", OUTCOMES[row["verdict"]], covered
    x, y = pairs.T
    family = [data.groups[g] for g in data.group]
    of_x, of_y = family_means(x, family), family_means(y, family)
    effect = setting.method_effect
    for test, row in (
        ("paired over families", paired_over_families(x, y, family, alpha)),
        ("signed-rank", signed_rank(of_x, of_y, alpha, "")),
        ("Mann-Whitney", mann_whitney(x, y, alpha)),
    ):
        covered = bool(row["low"] <= effect <= row["high"]) if np.isfinite(row["low"]) else None
        yield f"method, {test}", OUTCOMES[row["verdict"]], covered
