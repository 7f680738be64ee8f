"""The card of an unhappy customer, as staff see it in the alert channel. Pure.

A notification shows on locked screens: it never holds a customer's words. The words themselves stand only
in text that Slack does not parse, and with what identifies other people (phone, mail, card numbers) masked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from bot.channel import JsonObject
from bot.slack import blocks as kit
from bot.slack.words import cut, escape
from bot.staff.survey import day_text, time_text

Reason = Literal["unhappy", "undelivered", "unsolved", "request", "person", "contact", "photo", "trust_drop"]

_WORDS_LIMIT = 1500
_MAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")
_NUMBER = re.compile(r"(?<![\d０-９])[+＋]?[\d０-９](?:[-－ー ‐–().（）]?[\d０-９]){8,}(?![\d０-９])")

_TEXTS: dict[str, tuple[str, str]] = {
    "alert": ("要対応：{what}（期限 {due}）", "Needs attention: {what} (due {due})"),
    "alert.plain": ("要対応：{what}", "Needs attention: {what}"),
    "unhappy": ("低い評価が届きました", "a low rating came in"),
    "undelivered": ("商品が届いていないとの連絡です", "an order has not arrived"),
    "unsolved": ("まだ解決していないとの連絡です", "an enquiry is not solved"),
    "request": ("お問い合わせが届きました", "a request came in"),
    "person": ("担当者へのご連絡の希望です", "a customer asks for a person"),
    "contact": ("ご連絡の希望が届きました", "a customer wants contact"),
    "photo": ("写真が届きました", "a photo came in"),
    "trust_drop": ("信頼残高が下がりました", "a customer's trust balance fell"),
    "head": ("要対応", "Needs attention"),
    "hidden": (
        "コメントあり（このチャンネルには表示しません）",
        "There is a comment (not shown in this channel)",
    ),
    "contact.yes": ("連絡希望：あり（{here}で、{due}まで）", "Wants contact: yes ({here}, by {due})"),
    "contact.yes.plain": ("連絡希望：あり", "Wants contact: yes"),
    "contact.no": ("連絡希望：なし", "Wants contact: no"),
    "contact.unknown": ("連絡希望：未確認", "Wants contact: not said"),
    "customer": ("お客さま：{who}", "Customer: {who}"),
    "order": ("ご注文：{order}", "Order: {order}"),
    "delivered": ("{day}お届け", "delivered {day}"),
    "before": ("これまで：{answers}", "Before: {answers}"),
    "open": ("担当：未定", "Unclaimed"),
    "changed": ("お客さまが{old}から{new}に訂正しました。", "The customer changed {old} to {new}."),
    "settled": (
        "お客さまの訂正により、対応は不要になりました。",
        "The customer corrected the answer: nothing to do.",
    ),
    "resolved": ("解決しました。", "Resolved."),
    "erased": ("お客さまのご希望により、内容を消去しました。", "Content erased at the customer's request."),
}


@dataclass(frozen=True, slots=True)
class Rating:
    """One answer in words: 「満足度」「やや不満」, "recommend" "2"."""

    name: str
    label: str
    at_ms: int | None = None
    """When it was given; shown for earlier answers."""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What is known about a case, in the card's language where it is words."""

    reason: Reason
    ratings: tuple[Rating, ...] = ()
    words: str = ""
    """The customer's comment as written."""
    contact: Literal["", "yes", "no"] = ""
    due_ms: int | None = None
    here: str = ""
    """Where the customer is written to: "LINE", "Slack"."""
    customer_id: str = ""
    customer_name: str = ""
    nth_order: int | None = None
    order_id: str = ""
    item: str = ""
    delivered_ms: int | None = None
    earlier: tuple[Rating, ...] = ()
    """Answers of former surveys, newest first."""
    changed: tuple[str, str] | None = None
    """(old, new) after the customer corrected the answer."""
    state: Literal["open", "settled", "resolved", "erased"] = "open"
    timezone: str = "Asia/Tokyo"


def render_card(card: CardFacts, lang: str, *, with_words: bool) -> JsonObject:
    """{"text", "blocks"} for chat.postMessage and chat.update.

    Args:
        with_words: Whether the readers of the channel may read comments; without, the card only says that
        there is one.
    """
    tz = ZoneInfo(card.timezone)
    due = "" if card.due_ms is None else time_text(card.due_ms, lang, tz)
    what = _say(card.reason, lang)
    notification = _say("alert.plain", lang, what=what)
    if card.due_ms is not None:
        at = datetime.fromtimestamp(card.due_ms / 1000, tz)
        notification = _say("alert", lang, what=what, due=f"{_short_day(card.due_ms, lang, tz)} {at:%H:%M}")
    if card.state == "erased":
        return _message(notification, [kit.words((_say("erased", lang), False))])
    dot = " · " if lang == "en" else "・"
    scores = [f"{rating.name} {rating.label}" for rating in card.ratings] or [what]
    made = [kit.words((dot.join([_say("head", lang), *scores]), True))]
    if card.words.strip():
        if with_words:
            comment = cut(masked(card.words.strip()), _WORDS_LIMIT)
            made.append(kit.quote(f'"{comment}"' if lang == "en" else f"「{comment}」"))
        else:
            made.append(kit.small_plain(_say("hidden", lang)))
    made.append(kit.words(("\n".join(_lines(card, lang, tz, due, dot)), False)))
    made.append(kit.small_plain(_state_line(card, lang)))
    return _message(notification, made)


def masked(words: str) -> str:
    """The words without mail addresses and long numbers (phones, cards): colleagues need neither.

    >>> masked("090-1234-5678 か a.b@example.jp へ。注文は1042です")
    '●●● か ●●● へ。注文は1042です'
    """
    return _NUMBER.sub("●●●", _MAIL.sub("●●●", words))


def _lines(card: CardFacts, lang: str, tz: ZoneInfo, due: str, dot: str) -> list[str]:
    lines = []
    match card.contact:
        case "yes":
            key = "contact.yes" if due and card.here else "contact.yes.plain"
            lines.append(_say(key, lang, here=card.here, due=due))
        case "no":
            lines.append(_say("contact.no", lang))
        case "":
            lines.append(_say("contact.unknown", lang))
    if card.customer_id or card.customer_name:
        parts = [_who(card, lang)]
        if card.nth_order:
            parts.append(_nth(card.nth_order, lang))
        lines.append(_say("customer", lang, who=(", " if lang == "en" else dot).join(parts)))
    if card.order_id or card.item:
        name = " ".join(part for part in (f"#{card.order_id}" if card.order_id else "", card.item) if part)
        parts = [cut(name, 200)]
        if card.delivered_ms is not None:
            parts.append(_say("delivered", lang, day=_short_day(card.delivered_ms, lang, tz)))
        lines.append(_say("order", lang, order=(", " if lang == "en" else dot).join(parts)))
    if card.earlier:
        answers = []
        for rating in card.earlier[:3]:
            day = "" if rating.at_ms is None else _short_day(rating.at_ms, lang, tz)
            comma = ", " if day and lang == "en" else " " if day else ""
            answers.append(f"{day}{comma}{rating.name} {rating.label}")
        lines.append(_say("before", lang, answers=("; " if lang == "en" else "、").join(answers)))
    return lines


def _state_line(card: CardFacts, lang: str) -> str:
    parts = []
    if card.changed is not None:
        parts.append(_say("changed", lang, old=card.changed[0], new=card.changed[1]))
    parts.append(_say("open" if card.state == "erased" else card.state, lang))
    return (" " if lang == "en" else "").join(parts)


def _who(card: CardFacts, lang: str) -> str:
    name = cut(card.customer_name, 100)
    if not name:
        return card.customer_id
    shown = name if lang == "en" else f"{name}様"
    if not card.customer_id:
        return shown
    return f"{shown} ({card.customer_id})" if lang == "en" else f"{shown}（{card.customer_id}）"


def _nth(number: int, lang: str) -> str:
    if lang != "en":
        return f"{number}回目のご購入"
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending} order"


def _short_day(at_ms: int, lang: str, tz: ZoneInfo) -> str:
    """Without the weekday: 「8/14」, "14 Aug" – days gone by are no promise."""
    day = day_text(at_ms, lang, tz)
    return day.split(" ", 1)[1] if lang == "en" else day.split("（")[0]


def _message(notification: str, blocks: list[JsonObject]) -> JsonObject:
    return {
        "text": escape(notification),
        "blocks": blocks,
        "mrkdwn": False,
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _say(key: str, lang: str, **values: object) -> str:
    ja, en = _TEXTS[key]
    return (en if lang == "en" else ja).format(**values)
