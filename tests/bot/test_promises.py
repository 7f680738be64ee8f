"""What is promised in words: only days on which somebody is there, in the form people read."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config import Shop
from bot.promises import Promises

TOKYO = ZoneInfo("Asia/Tokyo")
SHOP: dict[str, Any] = {
    "brand": {"ja": "声の店", "en": "Koe Store"},
    "privacy_url": "https://example.com/privacy",
    "support_hours": {"days": "mon-fri", "hours": "10:00-18:00", "holidays": "JP"},
    "retention": "2y",
}


def promises(**values: Any) -> Promises:
    return Promises(Shop.model_validate(SHOP | values))


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=TOKYO).timestamp() * 1000)


@pytest.mark.parametrize(
    ("asked", "promised"),
    [
        ("2026-11-19T10:00", "2026-11-20T18:00"),  # Thursday → Friday
        ("2026-11-19T03:00", "2026-11-20T18:00"),  # before opening: the day itself never counts
        ("2026-11-20T17:59", "2026-11-24T18:00"),  # Friday → over the weekend and 勤労感謝の日 to Tuesday
        ("2026-11-21T12:00", "2026-11-24T18:00"),  # Saturday
        ("2026-05-02T12:00", "2026-05-07T18:00"),  # Golden Week
        ("2026-09-18T12:00", "2026-09-24T18:00"),  # 敬老の日, a day between two holidays, 秋分の日
        ("2026-12-31T12:00", "2027-01-04T18:00"),  # New Year, into a year not looked at before
    ],
)
def test_an_answer_is_promised_by_closing_time_of_the_next_working_day(asked: str, promised: str) -> None:
    assert promises().reply_by_ms(at(asked)) == at(promised)


def test_without_a_country_only_the_days_of_the_week_count() -> None:
    hours = {"days": "mon-fri", "hours": "10:00-18:00"}
    assert promises(support_hours=hours).reply_by_ms(at("2026-11-20T12:00")) == at("2026-11-23T18:00")


def test_a_shop_open_till_midnight_promises_the_right_day() -> None:
    hours = {"days": "mon-sun", "hours": "10:00-24:00"}
    assert promises(support_hours=hours).reply_by_ms(at("2026-11-20T12:00")) == at("2026-11-21T23:59")


def test_a_promise_names_day_weekday_and_time_with_its_preposition() -> None:
    by = promises()
    assert by.reply_by_text(at("2026-11-24T18:00"), "ja") == "11月24日（火）18:00まで"
    assert by.reply_by_text(at("2026-11-24T18:00"), "en") == "by Tue 24 Nov, 18:00"
    assert by.reply_by_text(at("2026-11-24T09:05"), "ja") == "11月24日（火）09:05まで"


def test_a_day_is_named_with_its_weekday() -> None:
    assert promises().date_text(at("2026-11-30T23:59"), "ja") == "11月30日（月）"
    assert promises().date_text(at("2026-11-30T00:00"), "en") == "Mon 30 Nov"


def test_the_days_of_an_input_are_in_its_language() -> None:
    by, now_ms = promises(), at("2026-11-19T12:00")
    ja, en = by.dates(now_ms, "ja"), by.dates(now_ms, "en")
    assert (ja.reply_by, ja.later, ja.again) == ("11月20日（金）18:00まで", "11月22日（日）", "11月26日（木）")
    assert (en.reply_by, en.later, en.again) == ("by Fri 20 Nov, 18:00", "Sun 22 Nov", "Thu 26 Nov")
    assert by.again_ms(now_ms, "later") == at("2026-11-22T10:00")
    assert by.again_ms(now_ms, "unused") == at("2026-11-26T10:00")


def test_what_is_remembered_of_a_day_ends_with_it() -> None:
    by = promises()
    assert by.dates(at("2026-11-19T23:59:59"), "ja").reply_by == "11月20日（金）18:00まで"
    assert by.dates(at("2026-11-20T00:00"), "ja").reply_by == "11月24日（火）18:00まで"
    assert by.dates(at("2026-11-19T23:59:59"), "ja").reply_by == "11月20日（金）18:00まで"


@given(
    zone=st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"})),
    now_ms=st.integers(at("2010-01-01T00:00"), at("2037-01-01T00:00")),
    steps=st.lists(st.integers(0, 40 * 3_600_000), max_size=4),
)
def test_what_is_remembered_is_what_would_be_reckoned_in_any_zone(zone: str, now_ms: int, steps: list[int]) -> None:
    by = promises(timezone=zone, support_hours={"days": "mon-fri", "hours": "10:00-18:00"})
    for step in (0, *steps):
        now_ms += step
        assert by.dates(now_ms, "en") == promises(
            timezone=zone, support_hours={"days": "mon-fri", "hours": "10:00-18:00"}
        ).dates(now_ms, "en")
        assert by.reply_by_ms(now_ms) > now_ms


@pytest.mark.parametrize(
    ("days", "hours", "ja", "en"),
    [
        ("mon-fri", "10:00-17:00", "平日10:00〜17:00", "Mon–Fri 10:00–17:00"),
        ("mon-sun", "9:00-24:00", "毎日9:00〜24:00", "daily 9:00–24:00"),
        ("tue-sat", "10:00-17:30", "火〜土曜日10:00〜17:30", "Tue–Sat 10:00–17:30"),
        ("mon,wed,fri", "10:00-17:00", "月・水・金曜日10:00〜17:00", "Mon, Wed, Fri 10:00–17:00"),
        ("sat", "10:00-12:00", "土曜日10:00〜12:00", "Sat 10:00–12:00"),
    ],
)
def test_support_hours_are_told_as_people_say_them(days: str, hours: str, ja: str, en: str) -> None:
    by = promises(support_hours={"days": days, "hours": hours})
    assert (by.support_hours_text("ja"), by.support_hours_text("en")) == (ja, en)


@pytest.mark.parametrize(
    ("written", "ja", "en", "days"),
    [
        ("2y", "2年", "2 years", 732),
        ("1y", "1年", "1 year", 366),
        ("18mo", "18か月", "18 months", 558),
        ("90d", "90日", "90 days", 90),
    ],
)
def test_how_long_answers_are_kept_is_told(written: str, ja: str, en: str, days: int) -> None:
    by = promises(retention=written)
    assert (by.retention_text("ja"), by.retention_text("en")) == (ja, en)
    assert Shop.model_validate(SHOP | {"retention": written}).retention_days == days


@pytest.mark.parametrize(
    ("start", "hours", "end"),
    [
        ("2026-11-19T10:00", 0, "2026-11-19T10:00"),
        ("2026-11-19T10:00", 4, "2026-11-19T14:00"),
        ("2026-11-19T10:00", 8, "2026-11-19T18:00"),
        ("2026-11-19T17:00", 2, "2026-11-20T11:00"),
        ("2026-11-19T03:00", 1, "2026-11-19T11:00"),  # the night does not count
        ("2026-11-20T17:30", 1, "2026-11-24T10:30"),  # over the weekend and 勤労感謝の日
        ("2026-11-21T12:00", 0, "2026-11-24T10:00"),  # nobody is there before Tuesday
        ("2026-11-19T10:00", 24, "2026-11-24T18:00"),
    ],
)
def test_hours_of_work_pass_only_while_somebody_is_there(start: str, hours: float, end: str) -> None:
    assert promises().working_after_ms(at(start), round(hours * 3_600_000)) == at(end)


@given(
    start=st.integers(at("2026-01-01T00:00"), at("2027-12-31T00:00")),
    first=st.integers(0, 100 * 3_600_000),
    second=st.integers(1, 100 * 3_600_000),
)
def test_two_stretches_of_work_are_as_long_as_their_sum(start: int, first: int, second: int) -> None:
    shop = promises()
    whole = shop.working_after_ms(start, first + second)
    assert whole == shop.working_after_ms(shop.working_after_ms(start, first), second)
    assert whole >= start + first + second
