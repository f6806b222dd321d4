"""The evidence that decides claims: the tests of one study, each run once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.claims import steering as steering_claims
from analysis.loading.scores import Scores
from analysis.over_models.invariance import invariance_test
from analysis.over_models.method_contrast import method_test
from analysis.over_models.precision import precision_test
from analysis.over_models.scale import scale_test
from analysis.profiles.controls import ANISOTROPY, control_test
from analysis.profiles.localization import localization_test
from analysis.profiles.shape import u_shape_test
from analysis.scopes import LIKE_THESE, THESE, Scope
from analysis.trials.table import Trials


@dataclass(frozen=True)
class Evidence:
    """The evidence for a claim: one study, one metric, and the choices in the study file.

    Each test runs once, when first requested. The claims and the paper share its table.

    Attributes
    ----------
    scores : Scores
        With one precision per model.
    precisions : Scores
        With all precisions.
    trials : Trials, DataFrame or None
    metric, method : str
        The primary metric and method.
    rules : dict
        The preregistered target, delta and alpha.
    n_boot, seed : int
        Parametric-bootstrap replicates in the test of invariance, and the seed.
    """

    scores: Scores
    precisions: Scores
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
        """The primary metric with untrained models, shuffled labels, and anisotropy if present."""
        more = {ANISOTROPY} & set(self.scores.table["metric"]) - {self.metric}
        return self.scores.select(metric=[self.metric, *more])

    @cached_property
    def shapes(self) -> pd.DataFrame:
        """The shapes of all profiles, including untrained ones, and over models."""
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
            peak=self.rules["peak"],
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
        return self._invariance(LIKE_THESE)

    @cached_property
    def these_curves(self) -> pd.DataFrame:
        """Whether these models share the curve."""
        return self._invariance(THESE)

    def _invariance(self, scope: Scope) -> pd.DataFrame:
        return invariance_test(
            self.trained,
            delta=self.rules["delta"],
            curve_delta=self.rules["curve_delta"],
            amplitude_delta=self.rules["amplitude_delta"],
            peak=self.rules["peak"],
            n_boot=self.n_boot,
            scope=scope,
            seed=self.seed,
            alpha=self.alpha,
        )

    @cached_property
    def scale(self) -> pd.DataFrame:
        """Whether sizes share the curve."""
        return self._scale(LIKE_THESE)

    @cached_property
    def these_scale(self) -> pd.DataFrame:
        """Whether the sizes of these models share the curve."""
        return self._scale(THESE)

    def _scale(self, scope: Scope) -> pd.DataFrame:
        return scale_test(
            self.trained,
            delta=self.rules["delta"],
            peak=self.rules["peak"],
            scope=scope,
            alpha=self.alpha,
            seed=self.seed,
        )

    @cached_property
    def methods(self) -> pd.DataFrame:
        """Which method separates better."""
        return method_test(self.trained, scope=None, alpha=self.alpha)

    @cached_property
    def precision(self) -> pd.DataFrame:
        """Whether the numerical precision changes separation."""
        return precision_test(
            self.precisions, metric=self.metric, method=self.method, scope=None, alpha=self.alpha
        )

    @cached_property
    def controls(self) -> pd.DataFrame:
        """How much of the hump is learned."""
        scores = self.with_controls
        return control_test(
            scores,
            metric=self.metric,
            method=self.method,
            delta=self.rules["curve_delta"],
            scope=None,
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
