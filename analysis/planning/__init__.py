"""Plan studies: simulate data with a known truth, and find out what a design can decide."""

from analysis.planning.design import design_power, models_needed, plot_power
from analysis.planning.margins import reachable_margins
from analysis.planning.preregistration import preregistration

__all__ = ["design_power", "models_needed", "plot_power", "preregistration", "reachable_margins"]
