"""Calibrated tests of layer-wise separation scores: tables in, labeled tables out.

Nothing here imports torch.
"""

from analysis.claims.literature import literature_test, published_depths
from analysis.claims.published_check import published_check
from analysis.claims.table import claims_table
from analysis.loading.options import SourceWarning
from analysis.loading.scores import Scores, as_scores, load_scores, read_scores
from analysis.over_models.bayes import family_departures
from analysis.over_models.causal import causal_profile
from analysis.over_models.crossed_reading import crossed_reading_test
from analysis.over_models.invariance import invariance_test
from analysis.over_models.method_contrast import method_test
from analysis.over_models.precision import precision_test
from analysis.over_models.scale import scale_test
from analysis.planning.design import design_power, models_needed, plot_power
from analysis.planning.margins import reachable_margins
from analysis.planning.preregistration import preregistration
from analysis.profiles.controls import control_test
from analysis.profiles.curves import fit_curves
from analysis.profiles.localization import localization_test
from analysis.profiles.shape import u_shape_test
from analysis.reporting.exports import to_csv, to_docx, to_latex, to_markdown
from analysis.reporting.say import say
from analysis.trials.dose import dose_response
from analysis.trials.regimes import regime_test
from analysis.trials.success import steering_summary
from analysis.trials.table import Trials, as_trials, load_trials
from study.read import InputError

__all__ = [
    "InputError",
    "Scores",
    "SourceWarning",
    "Trials",
    "as_scores",
    "as_trials",
    "causal_profile",
    "claims_table",
    "control_test",
    "crossed_reading_test",
    "design_power",
    "dose_response",
    "family_departures",
    "fit_curves",
    "invariance_test",
    "literature_test",
    "load_scores",
    "load_trials",
    "localization_test",
    "method_test",
    "models_needed",
    "plot_power",
    "precision_test",
    "preregistration",
    "published_check",
    "published_depths",
    "reachable_margins",
    "read_scores",
    "regime_test",
    "say",
    "scale_test",
    "steering_summary",
    "to_csv",
    "to_docx",
    "to_latex",
    "to_markdown",
    "u_shape_test",
]
