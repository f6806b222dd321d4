"""Calibrated tests of layer-wise separation scores: tables in, labelled tables out.

Nothing here imports torch.
"""

from analysis.scores import InputError, Scores, as_scores, load_scores

__all__ = ["InputError", "Scores", "as_scores", "load_scores"]
