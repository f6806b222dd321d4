"""The claims: each a sentence, its source, its rule in words, and the function that decides it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.claims import contested, depth
from analysis.claims import steering as steering_claims
from analysis.claims.depth import Row
from analysis.loading.scores import Scores
from analysis.over_models.invariance import invariance_test
from analysis.over_models.method_contrast import method_test
from analysis.over_models.scale import scale_test
from analysis.profiles.controls import ANISOTROPY, control_test
from analysis.profiles.localization import localization_test
from analysis.profiles.shape import u_shape_test
from analysis.trials.table import Trials

JEONG, STATIC = "Jeong 2026", "arXiv:2609.22208"
VALENCE, TUNING = "van der Ben et al. 2026", "Jeong 2026b"


@dataclass(frozen=True)
class Evidence:
    """What a claim is decided by: one study, one metric, and the choices of its study file.

    Each test runs once, when it is first asked for: the claims and the paper share its table.

    Attributes
    ----------
    scores : Scores
    trials : Trials, DataFrame or None
    metric, method : str
        The primary ones.
    rules : dict
        The preregistered target, delta and alpha.
    n_boot, seed : int
        Parametric-bootstrap replicates of the test of invariance, and the seed.
    """

    scores: Scores
    trials: Trials | pd.DataFrame | None
    metric: str
    method: str
    rules: dict[str, Any]
    n_boot: int
    seed: int

    @property
    def alpha(self) -> float:
        """The level of the tests."""
        return float(self.rules["alpha"])

    @cached_property
    def trained(self) -> Scores:
        """The primary metric of the trained models."""
        return self.scores.select(metric=self.metric, labels="true", weights="trained")

    @cached_property
    def with_controls(self) -> Scores:
        """The primary metric with untrained models, shuffled labels, and anisotropy if there."""
        more = {ANISOTROPY} & set(self.scores.table["metric"]) - {self.metric}
        return self.scores.select(metric=[self.metric, *more])

    @cached_property
    def shapes(self) -> pd.DataFrame:
        """The shapes of all profiles, untrained ones among them, and over models."""
        part = self.scores.select(metric=self.metric)
        return u_shape_test(part, weights=None, alpha=self.alpha)

    @property
    def primary_shapes(self) -> pd.DataFrame:
        """The shapes of trained models under the primary method."""
        self.trained.select(method=self.method)  # refuses a method that is not in the table
        rows = self.shapes
        return rows[(rows["weights"] == "trained") & (rows["method"] == self.method)]

    @cached_property
    def peaks(self) -> pd.DataFrame:
        """The pooled depth of the peak, one row per method."""
        return localization_test(
            self.trained,
            target=self.rules["target"],
            delta=self.rules["delta"],
            alpha=self.alpha,
            seed=self.seed,
        )

    @property
    def primary_peaks(self) -> pd.DataFrame:
        """The pooled depth of the peak under the primary method."""
        self.trained.select(method=self.method)
        return self.peaks[self.peaks["method"] == self.method]

    @cached_property
    def invariance(self) -> pd.DataFrame:
        """Whether families share the curve."""
        return invariance_test(
            self.trained,
            delta=self.rules["delta"],
            curve_delta=self.rules["curve_delta"],
            amplitude_delta=self.rules["amplitude_delta"],
            n_boot=self.n_boot,
            seed=self.seed,
            alpha=self.alpha,
        )

    @cached_property
    def scale(self) -> pd.DataFrame:
        """Whether sizes share the curve."""
        return scale_test(self.trained, delta=self.rules["delta"], alpha=self.alpha)

    @cached_property
    def methods(self) -> pd.DataFrame:
        """Which method separates better."""
        return method_test(self.trained, alpha=self.alpha)

    @cached_property
    def controls(self) -> pd.DataFrame:
        """What of the hump is learned."""
        scores = self.with_controls
        return control_test(
            scores,
            metric=self.metric,
            method=self.method,
            delta=self.rules["curve_delta"],
            alpha=self.alpha,
        )

    @property
    def steered(self) -> Trials | pd.DataFrame:
        """The steering trials.

        Raises
        ------
        InputError
            If the study has none.
        """
        return steering_claims.needed(self.trials)


@dataclass(frozen=True)
class Claim:
    """A sentence with a rule.

    Attributes
    ----------
    key : str
        How code and paper call it.
    sentence, rule : str
        In words; {target} and {delta} stand for the preregistered values.
    source : str
        Who said it.
    decide : callable
        Returns quantity, estimate, low, high, p, n, verdict and reason.
    """

    key: str
    sentence: str
    source: str
    rule: str
    decide: Callable[[Evidence], Row]

    def words(self, rules: Mapping[str, Any]) -> dict[str, str]:
        """Return key, claim, source and rule for a table."""
        return {
            "key": self.key,
            "claim": self.sentence.format(**rules),
            "source": self.source,
            "rule": self.rule.format(**rules),
        }


CLAIMS = (
    Claim(
        "every",
        "Separation is U-shaped in every model",
        JEONG,
        "every profile rises and falls; contradicted if one is shown not to",
        lambda e: depth.every_model(e.primary_shapes),
    ),
    Claim(
        "overall",
        "Separation is U-shaped over models",
        JEONG,
        "end slopes and two lines agree, the family as the unit",
        lambda e: depth.over_models(e.primary_shapes),
    ),
    Claim(
        "peak",
        "It peaks at {target:.0%} of the depth",
        JEONG,
        "equivalence of the pooled vertex within {delta:g} of {target:g}",
        lambda e: depth.peak(e.primary_peaks),
    ),
    Claim(
        "architecture",
        "The curve is the same in every architecture",
        JEONG,
        "family by curve in a mixed model; equivalence of whole curves, amplitudes and vertices",
        lambda e: depth.invariance(e.invariance),
    ),
    Claim(
        "scale",
        "The curve is the same at every scale",
        JEONG,
        "equivalence of the change of the vertex over the range of sizes",
        lambda e: depth.scale(e.scale),
    ),
    Claim(
        "method",
        "Generation separates better than reading",
        JEONG,
        "the difference, paired by model, with the family as the unit",
        lambda e: depth.methods(e.methods),
    ),
    Claim(
        "steering",
        "Steering succeeds in 92% of scenarios",
        JEONG,
        "more texts exceed their baseline than the published lower limit, and than the shams do",
        lambda e: steering_claims.steering(e.steered, e.alpha, e.seed),
    ),
    Claim(
        "regimes",
        "Steering has three regimes",
        JEONG,
        "at some strength, broken regimes in over 5% of texts, surgical in over a third",
        lambda e: steering_claims.regimes(e.steered, e.alpha),
    ),
    Claim(
        "regime-cause",
        "Regimes follow architecture, not scale",
        JEONG,
        "regime by family against regime by scale, the model as the unit",
        lambda e: steering_claims.regime_cause(e.steered, e.alpha, e.seed),
    ),
    Claim(
        "learned",
        "The U is learned: an untrained network has none",
        "control",
        "bulge of the curve, trained minus untrained, the family as the unit",
        lambda e: depth.learned(e.controls),
    ),
    Claim(
        "embeddings",
        "Much of the separation is in the embeddings",
        STATIC,
        "layer zero has more than half of the best layer's separation above chance",
        lambda e: contested.embeddings(e.trained, e.method, e.metric, e.alpha),
    ),
    Claim(
        "valence",
        "Valence is early in some models, absent in others",
        VALENCE,
        "valence's share of the distances falls with depth in one model, rises in another",
        lambda e: contested.valence(e.scores, e.method, e.alpha, e.seed),
    ),
    Claim(
        "tuning",
        "Instruction tuning moves the best layer",
        TUNING,
        "depth of the best layer, tuned against base models within families",
        lambda e: contested.tuning(e.trained, e.method, e.alpha, e.rules["delta"]),
    ),
    Claim(
        "precision",
        "Numerical precision changes separation",
        TUNING,
        "the same weights at two precisions, paired by model",
        lambda e: contested.precision(e.trained, e.method, e.alpha),
    ),
)
