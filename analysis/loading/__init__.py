"""Read score tables from any source, check them, and split them into profiles for the tests."""

from analysis.loading.scores import Scores, as_scores, load_scores

__all__ = ["Scores", "as_scores", "load_scores"]
