"""Whom the shop can still reach: LINE messages left, blocks after an invitation, buyers who are linked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from flows.days import midnight_ms
from reports.digest.response import rate
from reports.digest.weeks import WeekRange
from reports.metrics import Result
from storage.store import Tx

BLOCKED_WITHIN_MS = 3 * 86_400_000
FORECAST_AFTER_MS = 3 * 86_400_000
"""How much of a month must have passed before its pace says anything."""
_LINE_ZONE = ZoneInfo("Asia/Tokyo")
"""LINE counts a month in Japanese time, wherever the shop is."""


@dataclass(frozen=True, slots=True)
class LineMessages:
    """LINE's own count of this month, everything that the account sent: Koe's messages and the shop's others."""

    limit: int | None
    """None: without a limit."""
    used: int


@dataclass(frozen=True, slots=True)
class Reach:
    """What is left to send, and who can be sent to."""

    line: LineMessages | None
    left: int | None
    """Messages left this month."""
    left_at_month_end: int | None
    """What will be left when the month goes on as it began, at least 0; None within its first three days."""
    blocked: Result
    """Blocked LINE within three days of an invitation / people invited there in the period."""
    linked: Result
    """Buyers of the period who can be written to on LINE / buyers of the period that are known by an id."""
    settled: bool
    """Whether three days have passed since the last of these invitations could be sent."""


def reach_of(tx: Tx, weeks: WeekRange, now_ms: int, tz: ZoneInfo, *, line: LineMessages | None) -> Reach:
    """The reach of the period; `line` is what LINE says at `now_ms`."""
    start_ms, end_ms = weeks.instants(tz)
    invited, blocked = tx.blocks_after_invitations(start_ms, end_ms, within_ms=BLOCKED_WITHIN_MS)
    buyers, linked = tx.buyers_linked(start_ms, end_ms)
    each = [] if weeks.weeks == 1 else [week.instants(tz) for week in weeks.each()]
    weekly_invited = [tx.blocks_after_invitations(*week, within_ms=BLOCKED_WITHIN_MS)[0] for week in each]
    weekly_buyers = [tx.buyers_linked(*week)[0] for week in each]
    left = None if line is None or line.limit is None else max(0, line.limit - line.used)
    return Reach(
        line,
        left,
        None if line is None else left_at_month_end(line, now_ms),
        rate("line_blocked", blocked, invited, weeks.span(), each=weekly_invited),
        rate("line_linked", linked, buyers, weeks.span(), each=weekly_buyers),
        now_ms >= end_ms + BLOCKED_WITHIN_MS,
    )


def left_at_month_end(line: LineMessages, now_ms: int) -> int | None:
    """What will be left of the month's messages if they go on being used at the pace of the month so far.

    >>> noon_of_the_16th = 1794798000000  # 2026-11-16 12:00 in Japan: 15.5 days of 30
    >>> left_at_month_end(LineMessages(limit=10_000, used=3_100), noon_of_the_16th)
    4000
    """
    today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(_LINE_ZONE).date()
    first = today.replace(day=1)
    start_ms = midnight_ms(first, _LINE_ZONE)
    end_ms = midnight_ms(date(first.year + first.month // 12, first.month % 12 + 1, 1), _LINE_ZONE)
    if line.limit is None or now_ms - start_ms < FORECAST_AFTER_MS:
        return None
    return max(0, line.limit - round(line.used * (end_ms - start_ms) / (now_ms - start_ms)))
