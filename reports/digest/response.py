"""What became of the invitations of a week."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from reports import procedures
from reports.digest.weeks import WeekRange
from reports.disclosure import gives_few_away
from reports.metrics import SUPPRESS_BELOW, Result, Span, record, sibling
from storage.records import ResponseCounts
from storage.store import Tx

RESPONSE_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Counts:
    """How many invitations there were is always told; what became of one to nine of them is not."""

    invited: int
    undeliverable: int
    """Of these, known not to have arrived."""
    answered: int | None
    """Of those that arrived; None where the response rate may not be told."""
    started: int
    completed: int | None
    """Of those started; None where the completion rate may not be told."""
    held: int
    """Decisions not to ask."""
    skipped: tuple[tuple[str, int], ...]
    """Their reasons, the most frequent first; () of fewer than ten."""


@dataclass(frozen=True, slots=True)
class Response:
    """What became of the invitations sent in the week. Rates are result records over delivered
    invitations/sessions."""

    counts: Counts
    rate: Result
    completion: Result
    immature: bool
    """Some invitations are younger than the seven days in which an answer counts."""


def response_of(tx: Tx, weeks: WeekRange, now_ms: int, tz: ZoneInfo) -> Response:
    """What became of the invitations that were sent in these weeks, as known at `now_ms`. Of several weeks nothing is
    told that would give a small one away beside the digests of the others."""
    start_ms, end_ms = weeks.instants(tz)
    counts = tx.response_counts(start_ms, end_ms)
    each = [counts] if weeks.weeks == 1 else [tx.response_counts(*week.instants(tz)) for week in weeks.each()]
    answered = rate("response_rate", counts.answered, _arrived(counts), weeks.span(), each=map(_arrived, each))
    started = (week.started for week in each)
    completed = rate("completion_rate", counts.completed, counts.started, weeks.span(), each=started)
    held = sum(n for _, n in counts.skipped)
    why = held >= SUPPRESS_BELOW and not gives_few_away(sum(n for _, n in week.skipped) for week in each)
    return Response(
        Counts(
            invited=counts.invited,
            undeliverable=counts.undeliverable,
            answered=None if answered.status == "suppressed" else counts.answered,
            started=counts.started,
            completed=None if completed.status == "suppressed" else counts.completed,
            held=held,
            skipped=counts.skipped if why else (),
        ),
        answered,
        completed,
        immature=counts.invited > 0 and now_ms < end_ms + RESPONSE_MS,
    )


def _arrived(counts: ResponseCounts) -> int:
    return counts.invited - counts.undeliverable


def rate(metric: str, part: int, whole: int, window: Span, *, each: Iterable[int] = ()) -> Result:
    """A share of events as a record that may be printed (S3).

    Args:
        each: the whole, week by week. The share is suppressed (flag `sibling`) where the weeks of ten and more, whose
            digests tell theirs, leave one to nine.
    """
    # an address that is known as blocked only now may still have answered before: never more than all
    whole = max(0, whole)
    part = min(part, whole)
    counts = {"yes": part, "no": whole - part} if whole else {}
    found = procedures.share(part, whole)
    result = record(metric, "share", found, whole, form="share", window=window, unit="per_event", counts=counts)
    return (sibling(result) if gives_few_away(each) else result).shown()
