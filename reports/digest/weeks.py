"""The periods of digests: whole weeks of a shop, Monday 00:00 to Monday 00:00 in its zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from flows.days import midnight_ms
from reports.disclosure import mondays_known
from reports.metrics import Span

Every = Literal["week", "month"]
ROLLING_WEEKS: Final = 4
"""What leads where a week is thin."""

REMEMBERED_WEEKS: Final = 24
"""Digests this long ago are taken to be known, at least."""

_WEEK = re.compile(r"([0-9]{4})-W([0-9]{2})")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")


@dataclass(frozen=True, slots=True)
class WeekRange:
    """Whole weeks [first Monday, end Monday)."""

    first: date
    weeks: int

    @property
    def end(self) -> date:
        return self.first + timedelta(weeks=self.weeks)

    def span(self) -> Span:
        return Span(self.first.isoformat(), self.end.isoformat())

    def has(self, week: str) -> bool:
        return self.first.isoformat() <= week < self.end.isoformat()

    def joined(self, later: WeekRange) -> WeekRange:
        return WeekRange(self.first, self.weeks + later.weeks)

    def before(self, weeks: int) -> WeekRange:
        """The weeks right before these."""
        return WeekRange(self.first - timedelta(weeks=weeks), weeks)

    def first_week(self) -> WeekRange:
        """The earliest of these weeks alone."""
        return WeekRange(self.first, 1)

    def last(self, weeks: int) -> WeekRange:
        """So many weeks with the same end."""
        return WeekRange(self.end - timedelta(weeks=weeks), weeks)

    def each(self) -> list[WeekRange]:
        """The weeks one by one."""
        return [WeekRange(self.first + timedelta(weeks=later), 1) for later in range(self.weeks)]

    def within(self, other: WeekRange) -> WeekRange:
        """Those of these weeks that are among others; none of them is a range of no weeks."""
        first, end = max(self.first, other.first), min(self.end, other.end)
        return WeekRange(first, max(0, (end - first).days // 7))

    def instants(self, tz: ZoneInfo) -> tuple[int, int]:
        """[start, end) in milliseconds."""
        return midnight_ms(self.first, tz), midnight_ms(self.end, tz)


def remembered(end: date) -> list[WeekRange]:
    """The weeks of the digests that are taken to be known (`mondays_known`), the oldest first and the one before `end`
    last; this half year begins at place REMEMBERED_WEEKS."""
    return [WeekRange(monday, 0).before(1) for monday in mondays_known(end, block=REMEMBERED_WEEKS)]


@dataclass(frozen=True, slots=True)
class Period:
    """What one digest reports: an ISO week ("2026-W47"), or a month ("2026-11") of whole weeks – from the week that
    holds its first day up to that which holds the next month's, so that every week belongs to one month."""

    name: str
    weeks: WeekRange
    every: Every

    def earlier(self, back: int = 1) -> Period:
        """The period so many periods before."""
        found = self
        for _ in range(back):
            day = found.weeks.first - timedelta(days=1)
            found = _week_of(day) if self.every == "week" else month_ending_by(found.weeks.first)
        return found

    @property
    def first_of_month(self) -> bool:
        """Whether it is the first one after the end of a month, as each month is."""
        return self.every == "month" or self.weeks.end.day <= 7

    @property
    def quarter_over(self) -> tuple[date, date] | None:
        """[first day, end) of the calendar quarter that ended with it or in its last week, None when none did."""
        if self.every == "month":
            year, month = map(int, self.name.split("-"))
            end = date(year + month // 12, month % 12 + 1, 1)
        elif self.first_of_month:
            end = self.weeks.end.replace(day=1)
        else:
            return None
        if end.month not in (1, 4, 7, 10):
            return None
        return (date(end.year - 1, 10, 1) if end.month == 1 else date(end.year, end.month - 3, 1)), end


def parse_period(text: str) -> Period:
    """The period of this name.

    Raises:
        ValueError: there is none; the sentence says what is wrong.

    >>> parse_period("2026-W47").weeks.first.isoformat(), parse_period("2026-11").weeks
    ('2026-11-16', WeekRange(first=datetime.date(2026, 10, 26), weeks=5))
    """
    month = _MONTH.fullmatch(text)
    if month is None:
        monday = parse_week(text)
        return Period(week_name(monday), WeekRange(monday, 1), "week")
    try:
        return _month(date(int(month[1]), int(month[2]), 1))
    except ValueError as error:
        raise ValueError(f"month {text!r} does not exist: {error}") from error


def last_complete_period(now_ms: int, tz: ZoneInfo, every: Every = "week") -> str:
    """The last period whose weeks are over at `now_ms`."""
    today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(tz).date()
    if every == "week":
        return week_name(today - timedelta(days=7))
    return month_ending_by(_monday(today)).name


def parse_week(text: str) -> date:
    """The Monday of an ISO week.

    >>> parse_week("2026-W47").isoformat()
    '2026-11-16'
    """
    found = _WEEK.fullmatch(text)
    if found is None:
        raise ValueError(f"week {text!r} is not an ISO week such as 2026-W46")
    try:
        return date.fromisocalendar(int(found[1]), int(found[2]), 1)
    except ValueError as error:
        raise ValueError(f"week {text!r} does not exist: {error}") from error


def week_name(day: date) -> str:
    """The ISO week of a day: "2026-W47"."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _week_of(day: date) -> Period:
    return Period(week_name(day), WeekRange(_monday(day), 1), "week")


def _month(first: date) -> Period:
    following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    start, end = _monday(first), _monday(following)
    return Period(f"{first.year:04d}-{first.month:02d}", WeekRange(start, (end - start).days // 7), "month")


def month_ending_by(monday: date) -> Period:
    """The last month whose weeks are over on this Monday."""
    first = monday.replace(day=1)
    month = _month(first)
    return month if month.weeks.end <= monday else _month((first - timedelta(days=1)).replace(day=1))


def year_of(monday: date) -> WeekRange:
    """The year that a week belongs to, as long as its twelve months: from the week that holds New Year's Day up to that
    which holds the next one.

    >>> year_of(date(2026, 12, 28)).first.isoformat(), year_of(date(2026, 12, 21)).first.isoformat()
    ('2026-12-28', '2025-12-29')
    """
    year = (monday + timedelta(days=6)).year
    first, end = _monday(date(year, 1, 1)), _monday(date(year + 1, 1, 1))
    return WeekRange(first, (end - first).days // 7)
