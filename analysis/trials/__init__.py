"""Steering trials: their table, success against baseline and sham, dose, and regimes."""

from analysis.trials.dose import dose_response
from analysis.trials.regimes import regime_test
from analysis.trials.success import steering_summary
from analysis.trials.table import Trials, as_trials, load_trials

__all__ = ["Trials", "as_trials", "dose_response", "load_trials", "regime_test", "steering_summary"]
