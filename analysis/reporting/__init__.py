"""Result tables in words and for other programs."""

from analysis.reporting.exports import to_csv, to_docx, to_latex, to_markdown
from analysis.reporting.say import kind_of, say

__all__ = ["kind_of", "say", "to_csv", "to_docx", "to_latex", "to_markdown"]
