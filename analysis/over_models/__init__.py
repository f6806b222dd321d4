"""Many models: invariance of the depth curve over families, scale, and the method contrast."""

from analysis.over_models.causal import causal_profile, without_ablation
from analysis.over_models.crossed_reading import crossed_reading_test, without_crossreading
from analysis.over_models.invariance import invariance_test
from analysis.over_models.method_contrast import method_test
from analysis.over_models.precision import one_precision, precision_test
from analysis.over_models.scale import scale_test

__all__ = [
    "causal_profile",
    "crossed_reading_test",
    "invariance_test",
    "method_test",
    "one_precision",
    "precision_test",
    "scale_test",
    "without_ablation",
    "without_crossreading",
]
