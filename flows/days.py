"""The days of a place: when one begins, and in which of them an instant lies."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def midnight_ms(day: date, tz: tzinfo) -> int:
    """The first instant of a local day.

    >>> midnight_ms(date(1970, 1, 2), UTC)
    86400000
    """
    return int(datetime.combine(day, time(), tz).timestamp() * 1000)


def local_date(at_ms: int, tz: tzinfo) -> date:
    """The local day of an instant.

    >>> local_date(86_400_000, UTC).isoformat()
    '1970-01-02'
    """
    return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(tz).date()
