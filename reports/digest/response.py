"""What became of the invitations of a week."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from reports import procedures
from reports.digest.weeks import WeekRange
from reports.metrics import Result, Span, record
from storage.records import ResponseCounts
from storage.store import Tx

RESPONSE_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Response:
    """What became of the invitations sent in the week. Rates are result records over delivered
    invitations/sessions."""

    counts: ResponseCounts
    rate: Result
    completion: Result
    immature: bool
    """Some invitations are younger than the seven days in which an answer counts."""


def response_of(tx: Tx, week: WeekRange, now_ms: int, tz: ZoneInfo) -> Response:
    """What became of the invitations that were sent in these weeks, as known at `now_ms`."""
    start_ms, end_ms = week.instants(tz)
    counts = tx.response_counts(start_ms, end_ms)
    delivered = counts.invited - counts.undeliverable
    return Response(
        counts,
        rate("response_rate", counts.answered, delivered, week.span()),
        rate("completion_rate", counts.completed, counts.started, week.span()),
        immature=counts.invited > 0 and now_ms < end_ms + RESPONSE_MS,
    )


def rate(metric: str, part: int, whole: int, window: Span) -> Result:
    """A share of events as a record that may be printed (S3)."""
    # an address that is known as blocked only now may still have answered before: never more than all
    whole = max(0, whole)
    part = min(part, whole)
    counts = {"yes": part, "no": whole - part} if whole else {}
    found = procedures.share(part, whole)
    return record(metric, "share", found, whole, form="share", window=window, unit="per_event", counts=counts).shown()
