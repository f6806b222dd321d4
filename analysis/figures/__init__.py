"""Figures for the paper and for notebooks: functions of tables that return plotnine objects.

All figures use the style of `analysis.figures.style`; `figure.save("name.pdf")` writes a file.
"""

from analysis.figures.causal import causal_curves
from analysis.figures.cover import cover
from analysis.figures.profiles import (
    depth_profiles,
    emotion_heatmap,
    method_comparison,
    metric_profiles,
    profile_table,
)
from analysis.figures.results import (
    calibration,
    literature_forest,
    peak_forest,
    specification_curve,
    valence_course,
)
from analysis.figures.steering import depth_curves, dose_curves, regime_map, success_forest
from analysis.figures.style import absent, metric_label, model_order

__all__ = [
    "absent",
    "calibration",
    "causal_curves",
    "cover",
    "depth_curves",
    "depth_profiles",
    "dose_curves",
    "emotion_heatmap",
    "literature_forest",
    "method_comparison",
    "metric_label",
    "metric_profiles",
    "model_order",
    "peak_forest",
    "profile_table",
    "regime_map",
    "specification_curve",
    "success_forest",
    "valence_course",
]
