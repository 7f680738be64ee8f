"""Business events of a small shop, for tests of the figures made of them. Days are local days of May 2026 in Tokyo."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from reports.event_tables import EventTables, event_tables
from reports.kpi.window import Window
from reports.metrics import Result
from reports.segments import DAY_MS, Deed

TOKYO = ZoneInfo("Asia/Tokyo")
NEAR = 5.1e-5
"""Half of the last of four printed decimals."""


def at(day: float, month: int = 5) -> int:
    """Noon of a day of the month; a fraction moves it, days before the first and after the last are those around."""
    begin = datetime(2026, month, 1, 12, tzinfo=TOKYO)
    return int((begin + timedelta(days=day - 1)).timestamp() * 1000)


def happened(customer: str, type: str, at_ms: int, **data: Any) -> Deed:  # noqa: A002
    return Deed(customer, type, at_ms, data)


def bought(customer: str, *days: float, **data: Any) -> list[Deed]:
    """A purchase for each day."""
    return [happened(customer, "purchase", at(day), **data) for day in days]


def tables(*events: Deed | list[Deed]) -> EventTables:
    flat = [event for part in events for event in (part if isinstance(part, list) else [part])]
    return event_tables(flat, TOKYO)


def window(first: float = 1, after: float = 32, seen: float | None = None) -> Window:
    """From the midnight before a day of May to that before another, May by default; seen from its end or later."""
    half = DAY_MS // 2
    end = at(after) - half
    return Window(at(first) - half, end, end if seen is None else at(seen), TOKYO)


MAY = window()


def scored(result: Result) -> tuple[float | None, float | None, float | None]:
    return result.score, result.ci_low, result.ci_high


def one(found: Any, metric: str, variant: str = "share", segment: str = "") -> Result:
    """The one record of that name."""
    (result,) = [r for r in found if (r.metric, r.variant, r.segment) == (metric, variant, segment)]
    assert isinstance(result, Result)
    return result
