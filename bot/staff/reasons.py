"""Why a survey may not be sent, in words for staff; with the days, times and customers in them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Final

from bot.staff.asking import CustomerHit, NotAllowed

_REASONS: Final[Mapping[str, tuple[str, str]]] = {
    "opted_out": ("アンケートの停止を希望されています。", "This customer has stopped surveys."),
    "blocked": ("アカウントがブロックされているため、届きません。", "The customer has blocked the account."),
    "open_case": ("対応中のご相談があるため、送れません。", "The customer has an open case."),
    "open_ticket": (
        "解決していないお問い合わせがあるため、送れません。",
        "The customer has an open enquiry.",
    ),
    "after_complaint": (
        "ご不満をいただいた直後のため、送れません。",
        "The customer complained only recently.",
    ),
    "quiet_hours": (
        "お送りできる時間帯ではありません。",
        "It is outside the hours in which surveys may be sent.",
    ),
    "same_event": (
        "同じご注文・お問い合わせについて、すでにうかがっています。",
        "The customer was already asked about this.",
    ),
    "min_gap": (
        "前回のご案内から{days}日たっていません。",
        "Less than {days} days have passed since the last survey.",
    ),
    "per_year": ("この1年のご案内が上限に達しています。", "The limit of surveys within a year is reached."),
    "relational_gap": (
        "全体についてのアンケートから{days}日たっていません。",
        "Less than {days} days have passed since the overall survey.",
    ),
    "relational_ahead": (
        "まもなく全体についてのアンケートをお送りする予定です。",
        "The overall survey is due to be sent soon.",
    ),
    "touchpoint_gap": (
        "同じ場面のアンケートから{days}日たっていません。",
        "Less than {days} days have passed since a survey of this kind.",
    ),
    "sampled_out": ("今回は抽出の対象外です。", "The customer is not in this sample."),
    "unreachable": (
        "LINEにもSlackにもつながっていないため、送れません。",
        "The customer is connected to neither LINE nor Slack.",
    ),
    "expired": ("ご案内の期限を過ぎています。", "The invitation would come too late."),
    "paused": (
        "このアンケートは休止中です。再開するまで送れません。",
        "This survey is paused. It can be sent once it is resumed.",
    ),
    "unknown_flow": ("このアンケートは、もうありません。", "This survey no longer exists."),
    "unknown_customer": (
        "お客さまが見つかりません。番号かお名前をお確かめください。",
        "No such customer. Please check the id or name.",
    ),
}
_UNTIL_SETTLED: Final = frozenset({"open_case", "open_ticket"})
"""Reasons that end when somebody settles something; the time that comes with them is when Koe looks again."""
_DAYS: Final[Mapping[str, int]] = {"min_gap": 14, "relational_gap": 90, "touchpoint_gap": 30}
_UNSAID = ("いまは送れません。", "It may not be sent now.")
_FROM = ("{date}から送れます。", " It may be sent from {date}.")
_WEEKDAYS_JA = "月火水木金土日"
_WEEKDAYS_EN = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def reason_text(refused: NotAllowed, lang: str, tz: tzinfo) -> str:
    """Why a survey may not be sent, and from when it may.

    >>> from zoneinfo import ZoneInfo
    >>> reason_text(NotAllowed("min_gap", 1_796_000_400_000, 14), "ja", ZoneInfo("Asia/Tokyo"))
    '前回のご案内から14日たっていません。11/30（月）から送れます。'
    """
    ja, en = _REASONS.get(refused.reason, _UNSAID)
    days = refused.days or _DAYS.get(refused.reason, 0)
    sentence = (en if lang == "en" else ja).format(days=days)
    if refused.allowed_from_ms is None or refused.reason in _UNTIL_SETTLED:
        return sentence
    return sentence + _FROM[lang == "en"].format(date=day_text(refused.allowed_from_ms, lang, tz))


def reason_phrase(refused: NotAllowed, lang: str, tz: tzinfo) -> str:
    """`reason_text` without its full stop, for a list in which a number follows."""
    return reason_text(refused, lang, tz).removesuffix("." if lang == "en" else "。")


def day_text(at_ms: int, lang: str, tz: tzinfo) -> str:
    """A day for staff: 「11/24（火）」, "Tue 24 Nov"."""
    day = datetime.fromtimestamp(at_ms / 1000, tz)
    if lang == "en":
        return f"{_WEEKDAYS_EN[day.weekday()]} {day.day} {_MONTHS[day.month - 1]}"
    return f"{day.month}/{day.day}（{_WEEKDAYS_JA[day.weekday()]}）"


def time_text(at_ms: int, lang: str, tz: tzinfo) -> str:
    """A time for staff: 「11/24（火）18:00」, "Tue 24 Nov 18:00"."""
    at = datetime.fromtimestamp(at_ms / 1000, tz)
    return f"{day_text(at_ms, lang, tz)}{' ' if lang == 'en' else ''}{at:%H:%M}"


def who_text(customer: CustomerHit, lang: str) -> str:
    """A customer for staff: 「田中様（C001）」, "Tanaka (C001)"; the id alone when nobody knows a name."""
    if not customer.name:
        return customer.id
    return f"{customer.name} ({customer.id})" if lang == "en" else f"{customer.name}様（{customer.id}）"
