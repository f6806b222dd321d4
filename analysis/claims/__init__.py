"""Published claims: each is a rule, tested on the data of one study."""

from analysis.claims.published_check import published_check
from analysis.claims.table import claims_table

__all__ = ["claims_table", "published_check"]
