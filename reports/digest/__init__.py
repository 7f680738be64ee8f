"""The weekly digest: gather → is there enough to say? → a typed context that any renderer can print safely.

`gather` reads the roll-up and bounded windows only: its input does not grow with the history of the shop.
What may not be shown (fewer than ten answers) has left the context already, so no template can print it.

Source: docs/metrics.md ("Before any number", "Whether it moved", "Response and completion").
"""

from reports.digest.comments import Commented, gather_commented
from reports.digest.context import DigestContext, Missing
from reports.digest.gather import Gathered, gather, looked_back, with_texts
from reports.digest.reach import LineMessages, Reach
from reports.digest.scores import Comparison, IndexLine, IndexRow, Row
from reports.digest.shop import DigestRule, Shop
from reports.digest.weeks import (
    ROLLING_WEEKS,
    Every,
    WeekRange,
    last_complete_period,
    parse_period,
    parse_week,
    week_name,
)

__all__ = [
    "ROLLING_WEEKS",
    "Commented",
    "Comparison",
    "DigestContext",
    "DigestRule",
    "Every",
    "Gathered",
    "IndexLine",
    "IndexRow",
    "LineMessages",
    "Missing",
    "Reach",
    "Row",
    "Shop",
    "WeekRange",
    "gather",
    "gather_commented",
    "last_complete_period",
    "looked_back",
    "parse_period",
    "parse_week",
    "week_name",
    "with_texts",
]
