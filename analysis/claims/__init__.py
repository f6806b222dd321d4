"""Published claims: each is a rule, tested on the data of one study."""

from analysis.claims.literature import literature_test, published_depths
from analysis.claims.published_check import published_check
from analysis.claims.table import claims_table

__all__ = ["claims_table", "literature_test", "published_check", "published_depths"]
