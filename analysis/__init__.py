"""Calibrated tests of layer-wise separation scores: tables in, labelled tables out.

Nothing here imports torch.
"""

from analysis.controls import control_test
from analysis.curves import fit_curves
from analysis.design import design_power, models_needed, plot_power
from analysis.invariance import invariance_test
from analysis.localization import localization_test
from analysis.methods import method_test
from analysis.published import published_check
from analysis.scale import scale_test
from analysis.scores import InputError, Scores, as_scores, load_scores
from analysis.shape import u_shape_test

__all__ = [
    "InputError",
    "Scores",
    "as_scores",
    "control_test",
    "design_power",
    "fit_curves",
    "invariance_test",
    "load_scores",
    "localization_test",
    "method_test",
    "models_needed",
    "plot_power",
    "published_check",
    "scale_test",
    "u_shape_test",
]
