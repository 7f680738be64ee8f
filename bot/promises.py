"""What Koe promises in words: by when somebody answers, when a survey closes, when we ask again.

Only what the shop can keep: promises fall on days on which somebody is there. Reckoned once per day and
language, because every input of a conversation carries them.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from bot.config import Shop
from flows.exchange import Dates

Lang = Literal["ja", "en"]

LATER_DAYS = 3
"""[あとで答える]: the invitation comes again this many days later."""
UNUSED_DAYS = 7
"""まだ使っていない: time enough to use the item."""
_AGAIN_AT = time(10)
"""When it comes again, in the shop's time zone."""

_DAYS_JA = "月火水木金土日"
_DAYS_EN = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS_EN = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Promises:
    """Dates and times of one shop. Pure but for what it remembers of the present day."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._tz = shop.tz
        self._hours = shop.support_hours
        self._closed = self._hours.closed
        self._today: dict[str, tuple[int, int, Dates]] = {}

    def dates(self, now_ms: int, lang: str) -> Dates:
        """The promises that hold at `now_ms`, in words of that language."""
        known = self._today.get(lang)
        if known is not None and known[0] <= now_ms < known[1]:
            return known[2]
        today = self._local(now_ms).date()
        dates = Dates(
            reply_by=self.reply_by_text(self.reply_by_ms(now_ms), lang),
            later=self.date_text(self.again_ms(now_ms, "later"), lang),
            again=self.date_text(self.again_ms(now_ms, "unused"), lang),
        )
        from_ms, until_ms = self._ms(today, time()), self._ms(today + timedelta(days=1), time())
        self._today[lang] = (from_ms, until_ms, dates)
        return dates

    def reply_by_ms(self, now_ms: int) -> int:
        """By when staff will have answered: closing time of the next working day after today.

        Today does not count, so that a message just before closing promises nothing that cannot be kept; it
        is always within two working days. Weekends and holidays are passed over.
        """
        day = self._local(now_ms).date()
        for _ in range(366):
            day += timedelta(days=1)
            if self.is_working(day):
                break
        return self._ms(day, _clock(self._hours.hours[1]))

    def working_after_ms(self, start_ms: int, work_ms: int) -> int:
        """When `work_ms` of support hours have passed since `start_ms`; nights, weekends and holidays do not count.

        Nothing passed yet is the start itself, or the next opening. After two years without a working day: two years.
        """
        day, left_ms, closes_ms = self._local(start_ms).date(), work_ms, start_ms
        for _ in range(732):
            opens_ms = max(start_ms, self._ms(day, _clock(self._hours.hours[0])))
            closes_ms = self._ms(day, _clock(self._hours.hours[1]))
            if self.is_working(day) and opens_ms < closes_ms:
                if opens_ms + left_ms <= closes_ms:
                    return opens_ms + left_ms
                left_ms -= closes_ms - opens_ms
            day += timedelta(days=1)
        return closes_ms

    def is_working(self, day: date) -> bool:
        """True when somebody is there on this day."""
        return day.weekday() in self._hours.days and day not in self._closed

    def again_ms(self, now_ms: int, kind: Literal["later", "unused"]) -> int:
        """When an invitation that was put off comes again: 10:00, in three days, or in a week if unused."""
        return self.morning_ms(now_ms, LATER_DAYS if kind == "later" else UNUSED_DAYS)

    def morning_ms(self, now_ms: int, days: int) -> int:
        """10:00 so many days later: when something goes on that the customer left off."""
        return self._ms(self._local(now_ms).date() + timedelta(days=days), _AGAIN_AT)

    def reply_by_text(self, ms: int, lang: str) -> str:
        """With its preposition: 「11月24日（火）18:00まで」, "by Tue 24 Nov, 18:00"."""
        at = self._local(ms)
        if lang == "en":
            return f"by {self.date_text(ms, lang)}, {at:%H:%M}"
        return f"{self.date_text(ms, lang)}{at:%H:%M}まで"

    def date_text(self, ms: int, lang: str) -> str:
        """A day: 「11月30日（月）」, "Mon 30 Nov"."""
        day = self._local(ms)
        if lang == "en":
            return f"{_DAYS_EN[day.weekday()]} {day.day} {_MONTHS_EN[day.month - 1]}"
        return f"{day.month}月{day.day}日（{_DAYS_JA[day.weekday()]}）"

    def support_hours_text(self, lang: str) -> str:
        """When somebody is there: 「平日10:00〜17:00」, "Mon–Fri 10:00–17:00"."""
        start, end = (f"{minutes // 60}:{minutes % 60:02}" for minutes in self._hours.hours)
        days = self._hours.days
        run = days == tuple(range(days[0], days[0] + len(days)))
        if lang == "en":
            names = [_DAYS_EN[day] for day in days]
            spoken = f"{names[0]}–{names[-1]}" if run and len(days) > 1 else ", ".join(names)
            return f"{'daily' if len(days) == 7 else spoken} {start}–{end}"
        if days == (0, 1, 2, 3, 4):
            return f"平日{start}〜{end}"
        if len(days) == 7:
            return f"毎日{start}〜{end}"
        if run and len(days) > 2:
            return f"{_DAYS_JA[days[0]]}〜{_DAYS_JA[days[-1]]}曜日{start}〜{end}"
        return f"{'・'.join(_DAYS_JA[day] for day in days)}曜日{start}〜{end}"

    def retention_text(self, lang: str) -> str:
        """How long answers are kept: 「2年」, "2 years"."""
        count, unit = self._shop.retention
        if lang == "en":
            word = {"y": "year", "mo": "month", "d": "day"}[unit]
            return f"{count} {word}" if count == 1 else f"{count} {word}s"
        return f"{count}{ {'y': '年', 'mo': 'か月', 'd': '日'}[unit] }"

    def _local(self, ms: int) -> datetime:
        return datetime.fromtimestamp(ms / 1000, UTC).astimezone(self._tz)

    def _ms(self, day: date, at: time) -> int:
        return round(datetime.combine(day, at, self._tz).timestamp() * 1000)


def _clock(minutes: int) -> time:
    # a shop that closes at midnight promises 23:59, which names the right day
    return time(23, 59) if minutes == 1440 else time(minutes // 60, minutes % 60)
