"""Result tables in words."""

from analysis.sentences.say import kind_of, say

__all__ = ["kind_of", "say"]
