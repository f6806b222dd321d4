"""Read score tables from any source, check them, and split them into profiles for the tests."""

from analysis.loading.options import SourceWarning
from analysis.loading.scores import Scores, as_scores, load_scores, read_scores

__all__ = ["Scores", "SourceWarning", "as_scores", "load_scores", "read_scores"]
