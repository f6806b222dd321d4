"""Calibrated tests of layer-wise separation scores: tables in, labelled tables out.

Nothing here imports torch.
"""

from analysis.claims import claims_table
from analysis.controls import control_test
from analysis.curves import fit_curves
from analysis.design import design_power, models_needed, plot_power
from analysis.dose import dose_response
from analysis.invariance import invariance_test
from analysis.localization import localization_test
from analysis.methods import method_test
from analysis.published import published_check
from analysis.regimes import regime_test
from analysis.scale import scale_test
from analysis.scores import InputError, Scores, as_scores, load_scores
from analysis.shape import u_shape_test
from analysis.steering import steering_summary
from analysis.trials import Trials, as_trials, load_trials

__all__ = [
    "InputError",
    "Scores",
    "Trials",
    "as_scores",
    "as_trials",
    "claims_table",
    "control_test",
    "design_power",
    "dose_response",
    "fit_curves",
    "invariance_test",
    "load_scores",
    "load_trials",
    "localization_test",
    "method_test",
    "models_needed",
    "plot_power",
    "published_check",
    "regime_test",
    "scale_test",
    "steering_summary",
    "u_shape_test",
]
