"""How unhappy customers are looked after: counts, never names."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from reports import procedures
from reports.digest.response import rate
from reports.digest.weeks import WeekRange
from reports.disclosure import mondays_known, told_again
from reports.kpi.window import sampled
from reports.metrics import SUPPRESS_BELOW, Result, Span, record, sibling
from storage.records import Case
from storage.store import Tx

CASES_BACK_MS = 90 * 86_400_000
CLOSED_LOOP_MS = 48 * 3_600_000
BUSINESS_DAYS = 2
_WEEK_MS = 7 * 86_400_000
_CASE_WEEKS = -(-CASES_BACK_MS // _WEEK_MS)
_WEEKEND = (5, 6)


@dataclass(frozen=True, slots=True)
class Care:
    """Unhappy customers: counts, never names."""

    opened: int
    """In the week."""
    open_now: int
    overdue: int
    unattended: int
    """Open without a reply two business days after the answer."""
    closed_loop: Result
    """Answered or settled within 48 hours / opened in the week at least 48 hours ago and not taken back."""
    first_reply: Result
    """Median hours from the opening to the first reply, of the cases of the week that were answered."""
    solved: Result
    """Said "solved" / answered the question that followed a settled case, asked in the week."""
    recovered: Result
    """Likelihood to recommend after a settled case, minus that which opened it: mean over customers asked again,
    cases settled within CASES_BACK_MS; suppressed (flag `sibling`) while one to nine came or went since it was told."""


def care_of(tx: Tx, week: WeekRange, now_ms: int, tz: ZoneInfo, *, closed: Collection[date] | None = None) -> Care:
    """The cases of these weeks, and those that wait at `now_ms` – of weeks long over, as many weeks after their end, so
    that their digest says what it would have said then; `closed` are the days without anybody there before it, None =
    Saturdays and Sundays."""
    start_ms, end_ms = week.instants(tz)
    at_ms = min(now_ms, end_ms + (end_ms - start_ms))
    begins = [one.instants(tz)[0] for one in week.each()]
    span = week.span()
    cases = [
        case
        for case in tx.cases_between(min(start_ms, now_ms - CASES_BACK_MS), max(end_ms, now_ms + 1))
        if case.state != "grace" and case.opened_ms <= now_ms
    ]
    in_week = [case for case in cases if start_ms <= case.opened_ms < end_ms]
    flagged = [case for case in in_week if not _taken_back(case)]
    ripe = [case for case in flagged if case.opened_ms + CLOSED_LOOP_MS <= now_ms]
    waiting = [case for case in tx.cases_between(at_ms - CASES_BACK_MS, at_ms + 1) if _waits(case, at_ms)]
    return Care(
        opened=len(in_week),
        open_now=len(waiting),
        overdue=sum(1 for case in waiting if case.due_ms is not None and case.due_ms < at_ms),
        unattended=sum(
            1
            for case in waiting
            if (case.replied_ms is None or case.replied_ms > at_ms)
            and business_days_later(case.opened_ms, tz, closed=closed) < at_ms
        ),
        closed_loop=rate(
            "closed_loop_rate",
            sum(map(_closed_in_time, ripe)),
            len(ripe),
            span,
            each=_weekly((case.opened_ms for case in ripe), begins),
        ),
        first_reply=_first_reply(in_week, span),
        solved=_solved(cases, begins, end_ms, span),
        recovered=_recovered(tx, cases, now_ms, week.end, span),
    )


def business_days_later(at_ms: int, tz: ZoneInfo, *, closed: Collection[date] | None = None) -> int:
    """The same time of the day two business days later; from a day without anybody there, reckoned from the end of it.

    Args:
        closed: days without anybody there; None = Saturdays and Sundays.

    >>> friday = datetime(2026, 11, 20, 10, tzinfo=ZoneInfo("Asia/Tokyo"))
    >>> later = business_days_later(int(friday.timestamp() * 1000), ZoneInfo("Asia/Tokyo"))
    >>> datetime.fromtimestamp(later / 1000, ZoneInfo("Asia/Tokyo")).isoformat()
    '2026-11-24T10:00:00+09:00'
    """

    def is_closed(day: date) -> bool:
        return day.weekday() in _WEEKEND if closed is None else day in closed

    at = datetime.fromtimestamp(at_ms / 1000, tz)
    while is_closed(at.date()):
        at = datetime.combine(at.date() + timedelta(days=1), time(), tz)
    for _ in range(BUSINESS_DAYS):
        at += timedelta(days=1)
        while is_closed(at.date()):
            at += timedelta(days=1)
    return int(at.timestamp() * 1000)


def _waits(case: Case, at_ms: int) -> bool:
    """Somebody was to look after it at that time."""
    if case.settled_ms is not None:
        return case.opened_ms <= at_ms < case.settled_ms
    return case.state in ("open", "claimed") and case.opened_ms <= at_ms


def _closed_in_time(case: Case) -> bool:
    followed_up = [at_ms for at_ms in (case.replied_ms, case.settled_ms) if at_ms is not None]
    return bool(followed_up) and min(followed_up) - case.opened_ms <= CLOSED_LOOP_MS


def _taken_back(case: Case) -> bool:
    """The customer corrected a mis-tap, or erased everything, before anybody answered."""
    return case.outcome in ("corrected", "erased") and case.replied_ms is None


def _first_reply(cases: list[Case], span: Span) -> Result:
    hours = [(case.replied_ms - case.opened_ms) / 3_600_000 for case in cases if case.replied_ms is not None]
    found = sampled(hours, "median")
    return record(
        "case_first_reply_h", "median", found, len(hours), form="hours", window=span, unit="per_event"
    ).shown()


def _weekly(instants: Iterable[int], begins: Sequence[int]) -> Iterable[int]:
    """How many lie in each of the weeks that begin then."""
    return Counter(bisect_right(begins, at_ms) for at_ms in instants).values()


def _solved(cases: list[Case], begins: Sequence[int], end_ms: int, span: Span) -> Result:
    asked = [
        (case.asked_ms, case.after)
        for case in cases
        if case.asked_ms is not None and begins[0] <= case.asked_ms < end_ms and case.after
    ]
    solved = sum(after == "solved" for _, after in asked)
    return rate("case_solved", solved, len(asked), span, each=_weekly((at_ms for at_ms, _ in asked), begins))


def _recovered(tx: Tx, cases: list[Case], now_ms: int, end: date, span: Span) -> Result:
    again = list(_asked_again(tx, cases, now_ms))
    found = procedures.mean_of([one.change for one in again], -10, 10)
    result = record("case_recovered", "mean_change", found, len(again), form="mean", window=span, unit="per_event")
    # where ten are new, no sum under ten can hold them, and so none can hold this mean
    new = sum(one.again_ms > now_ms - _WEEK_MS for one in again)
    may = result.status == "suppressed" or new >= SUPPRESS_BELOW or _may_tell_again(tx, now_ms, end)
    return (result if may else sibling(result)).shown()


def _may_tell_again(tx: Tx, now_ms: int, end: date) -> bool:
    """Whether the mean may be told beside those of the digests that are known, of which no case is in two blocks."""
    weeks = len(mondays_known(end, block=_CASE_WEEKS))
    times = [now_ms - back * _WEEK_MS for back in range(weeks - 1, -1, -1)]
    cases = [case for case in tx.cases_between(times[0] - CASES_BACK_MS, now_ms + 1) if case.state != "grace"]
    spans = [(one.again_ms, one.opened_ms + CASES_BACK_MS) for one in _asked_again(tx, cases, now_ms)]
    return all(told_again(spans, times[begin:]) for begin in (0, _CASE_WEEKS))


class _AskedAgain(NamedTuple):
    """A customer who said after a case how likely they are to recommend the shop."""

    opened_ms: int
    again_ms: int
    change: float


def _asked_again(tx: Tx, cases: Iterable[Case], now_ms: int) -> Iterator[_AskedAgain]:
    for case in cases:
        if case.settled_ms is None or not case.session_id or not case.customer_id:
            continue
        given = [a for a in tx.answers_of(case.customer_id) if a.instrument == "nps" and not a.missing]
        before = next((a for a in given if a.session_id == case.session_id), None)
        later = [a for a in given if a.session_id != case.session_id and case.settled_ms < a.answered_ms <= now_ms]
        if before is not None and later:
            first = min(later, key=lambda a: a.answered_ms)
            yield _AskedAgain(case.opened_ms, first.answered_ms, float(first.value) - float(before.value))
