"""One model's depth curve: its errors, its fitted curve, its shape, and its controls."""

from analysis.profiles.controls import control_test
from analysis.profiles.curves import fit_curves
from analysis.profiles.localization import localization_test
from analysis.profiles.shape import u_shape_test

__all__ = ["control_test", "fit_curves", "localization_test", "u_shape_test"]
