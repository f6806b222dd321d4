"""Calibrated tests of layer-wise separation scores: tables in, labelled tables out.

Nothing here imports torch.
"""

from analysis.controls import control_test
from analysis.curves import fit_curves
from analysis.localization import localization_test
from analysis.scores import InputError, Scores, as_scores, load_scores
from analysis.shape import u_shape_test

__all__ = [
    "InputError",
    "Scores",
    "as_scores",
    "control_test",
    "fit_curves",
    "load_scores",
    "localization_test",
    "u_shape_test",
]
