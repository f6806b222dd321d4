"""Score tables from any source: read, checked, and cut into the profiles that every test takes."""

from analysis.loading.scores import Scores, as_scores, load_scores

__all__ = ["Scores", "as_scores", "load_scores"]
