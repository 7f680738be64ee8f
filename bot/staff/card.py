"""The card of an unhappy customer, as staff see it in the alert channel. Pure.

A notification shows on locked screens: it never holds a customer's words. The words themselves stand only
in text that Slack does not parse, and with what identifies other people (phone, mail, card numbers) masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from bot.channel import JsonObject
from bot.slack import blocks as kit
from bot.slack.words import cut, escape
from bot.staff.reasons import day_text, time_text
from reports.rounding import signed

Reason = Literal["unhappy", "undelivered", "unsolved", "request", "person", "contact", "photo", "trust_drop"]

Delivery = Literal["", "waiting", "accepted", "failed", "uncertain", "late", "cancelled"]

ACTION = "koe.case"
"""Begins the action ids of a card's buttons: koe.case.claim …"""
WORDS = f"{ACTION}.words"
"""Action id of the button that shows what a card leaves out."""
VERBS = ("claim", "reply", "hand_over", "call", "snooze", "resolve")
WORDED = frozenset(("reply", "call", "missed_call", "note", "wrote"))
"""Entries of a thread that quote somebody."""
_RINGS = frozenset(("overdue", "escalated", "woke", "still", "reopened"))
"""Entries that call for somebody: shown in the channel too, and to whoever looks after the case."""
_WORDS_LIMIT = 1500
_MINUTE_MS = 60_000
_STAFF_ID = re.compile(r"[UWS][A-Z0-9]{2,20}")
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
    "head.resolved": ("対応済み", "Done"),
    "head.settled": ("対応不要", "Nothing to do"),
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
    "ledger": ("信頼の記録：{lines}", "Trust record: {lines}"),
    "before": ("これまで：{answers}", "Before: {answers}"),
    "open": ("担当：未定", "Unclaimed"),
    "claimed": ("対応中 @{staff}（{since}から）", "In progress, @{staff} since {since}"),
    "claimed.plain": ("対応中", "In progress"),
    "snoozed": ("{until}まで保留", "Snoozed until {until}"),
    "overdue": ("期限を過ぎています。", "Overdue."),
    "overdue.hours": ("期限を{hours}時間過ぎています。", "{hours} hours overdue."),
    "overdue.days": ("期限を{days}日過ぎています。", "{days} days overdue."),
    "overdue.day": ("期限を1日過ぎています。", "1 day overdue."),
    "overdue.hour": ("期限を1時間過ぎています。", "1 hour overdue."),
    "told.no": ("お客さまには未連絡です。", "The customer has not been told."),
    "told.yes": ("お客さまには遅れをお詫びしました。", "The customer has been told."),
    "delivery.waiting": ("返信は送信待ちです。", "The reply waits to be sent."),
    "delivery.accepted": (
        "{here}が送信を受け付けました（届いたか、読まれたかは分かりません）。",
        "Accepted by {here} (delivery and reading cannot be known).",
    ),
    "delivery.failed": ("返信を送れませんでした。", "The reply could not be sent."),
    "delivery.uncertain": ("返信が送られたかどうか分かりません。", "Nobody knows whether the reply was sent."),
    "delivery.late": (
        "返信を23時間以内に送れませんでした。お客さまには届いていません。",
        "The reply could not be sent within 23 hours. The customer has not received it.",
    ),
    "delivery.cancelled": (
        "お客さまが内容を削除されたため、待っていた返信は送っていません。",
        "A reply that was waiting has not been sent, because the customer erased the content.",
    ),
    "blocked": (
        "お客さまがブロック中のため届きません。電話かメールをご検討ください。",
        "The customer has blocked the account. Consider phone or e-mail.",
    ),
    "suggestion": ("お返事の例：{text}", "A reply to start from: {text}"),
    "changed": ("お客さまが{old}から{new}に訂正しました。", "The customer changed {old} to {new}."),
    "settled": (
        "お客さまの訂正により、対応は不要になりました。",
        "The customer corrected the answer: nothing to do.",
    ),
    "resolved": ("解決", "Resolved"),
    "first_reply": ("初回返信まで{time}", "first reply {time}"),
    "after.solved": ("お客さま「解決した」", "customer: solved"),
    "after.still": ("お客さま「まだ困っている」", "customer: still a problem"),
    "outcome.exchange": ("交換を手配", "exchange arranged"),
    "outcome.refund": ("返金を手配", "refund arranged"),
    "outcome.resend": ("再送を手配", "sent again"),
    "outcome.explained": ("ご説明", "explained"),
    "outcome.improve": ("改善を約束", "improvement promised"),
    "outcome.unreached": ("連絡がつかず終了", "could not be reached"),
    "outcome.other": ("その他", "other"),
    "button.words": ("内容を見る", "Show comment"),
    "button.claim": ("担当する", "Claim"),
    "button.reply": ("返信する", "Reply"),
    "button.hand_over": ("引き継ぐ", "Hand over"),
    "button.call": ("電話メモ", "Call note"),
    "button.snooze": ("あとで", "Snooze"),
    "button.resolve": ("解決", "Resolve"),
    "note.reply": ("@{staff}の返信", "Reply by @{staff}"),
    "note.call": ("電話（通話できました）@{staff}", "Call, customer reached, @{staff}"),
    "note.missed_call": ("電話（不在）@{staff}", "Call, no answer, @{staff}"),
    "note.note": ("メモ @{staff}", "Note by @{staff}"),
    "note.wrote": ("お客さまから返信がありました", "The customer wrote"),
    "note.took_back": ("お客さまがメッセージを取り消しました。", "The customer took a message back."),
    "note.sent_photo": ("お客さまから写真が届きました。", "The customer sent a photo."),
    "note.sent_sticker": ("お客さまからスタンプが届きました。", "The customer sent a sticker."),
    "note.sent_other": ("お客さまからファイルが届きました。", "The customer sent a file."),
    "note.handed_over": ("@{staff}から@{to}に引き継ぎました。", "Handed over from @{staff} to @{to}."),
    "note.reopened": (
        "お客さまからご連絡があり、対応を再開します。",
        "The customer wrote again: the case is open again.",
    ),
    "note.overdue": (
        "お約束の時間（{due}）を過ぎました。まだお返事していません。",
        "The promised time ({due}) has passed and nobody has answered.",
    ),
    "note.apologised": (
        "お客さまに遅れをお詫びし、{due}までのご連絡をお約束しました。",
        "The customer was told about the delay and promised an answer by {due}.",
    ),
    "note.escalated": (
        "まだお返事していないお客さまがいます。ご確認ください。",
        "This customer is still waiting for an answer. Please have a look.",
    ),
    "note.woke": ("保留の時間が終わりました。", "The time to come back to this has come."),
    "note.solved": ("お客さまから「解決した」とのお返事です。", "The customer says it is solved."),
    "note.still": (
        "お客さまから「まだ困っている」とのお返事です。対応を再開します。",
        "The customer says it is still a problem: the case is open again.",
    ),
    "note.reply_failed": (
        "返信を送れませんでした。電話かメールをご検討ください。",
        "The reply could not be sent. Consider phone or e-mail.",
    ),
    "note.hidden": ("（このチャンネルには表示しません）", "(not shown in this channel)"),
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
    state: Literal["open", "claimed", "settled", "resolved", "erased"] = "open"
    case_id: str = ""
    """Carried by the buttons; without it there are none."""
    staff: str = ""
    """Who looks after it, by name."""
    claimed_ms: int | None = None
    snoozed_ms: int | None = None
    overdue_ms: int | None = None
    """For how long the promised time has passed without an answer."""
    customer_told: bool = False
    delivery: Delivery = ""
    blocked: bool = False
    outcome: str = ""
    first_reply_ms: int | None = None
    """From the opening to the first reply."""
    after: Literal["", "solved", "still"] = ""
    suggestion: str = ""
    """A reply to start from."""
    ledger: tuple[str, ...] = ()
    """What stands in the account of the customer's trust (`ledger_line`)."""
    timezone: str = "Asia/Tokyo"


@dataclass(frozen=True, slots=True)
class NoteFacts:
    """One entry of a case's history, as its thread shows it."""

    kind: str
    words: str = ""
    staff: str = ""
    to: str = ""
    assignee: str = ""
    """Slack user id of who looks after it: reminded by name."""
    due_ms: int | None = None
    here: str = ""
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
        return erased_message(lang, unsent=card.delivery == "cancelled")
    dot = " · " if lang == "en" else "・"
    scores = [_rated(rating, lang) for rating in card.ratings] or [what]
    head = f"head.{card.state}" if card.state in ("resolved", "settled") else "head"
    made = [kit.words((dot.join([_say(head, lang), *scores]), True))]
    if card.words.strip():
        if with_words:
            comment = cut(masked(card.words.strip()), _WORDS_LIMIT)
            made.append(kit.quote(f'"{comment}"' if lang == "en" else f"「{comment}」"))
        else:
            made.append(kit.small_plain(_say("hidden", lang)))
    made.append(kit.words(("\n".join(_lines(card, lang, tz, due, dot)), False)))
    made.append(kit.small_plain(_state_line(card, lang, tz)))
    if card.state in ("open", "claimed") and card.suggestion and with_words:
        made.append(
            kit.small_plain(
                _say("suggestion", lang, text=(" " if lang == "en" else "").join(card.suggestion.split("\n")))
            )
        )
    buttons = list(_buttons(card, lang, with_words=with_words)) if card.case_id else []
    if buttons:
        made.append(kit.actions(buttons, block_id=f"{ACTION}:{card.case_id}:{card.state}"))
    return _message(notification, made)


def render_note(note: NoteFacts, lang: str, *, with_words: bool) -> JsonObject:
    """{"text", "blocks", …} of one entry in a card's thread; quotes stand only where comments may be read."""
    tz = ZoneInfo(note.timezone)
    if note.kind == "erased":
        return erased_message(lang)
    due = "" if note.due_ms is None else time_text(note.due_ms, lang, tz)
    who = {"staff": note.staff or "–", "to": note.to or "–", "due": due}
    sentence = _say(f"note.{note.kind}", lang, **who)
    if note.kind in WORDED and not with_words:
        sentence += _say("note.hidden", lang) if lang != "en" else f" {_say('note.hidden', lang)}"
    made = []
    if note.kind in _RINGS:
        called = note.words.split() if note.kind == "escalated" else [note.assignee]
        rung = [
            f"<!subteam^{name}>" if name[0] == "S" else f"<@{name}>" for name in called if _STAFF_ID.fullmatch(name)
        ]
        if rung:
            # ids of koe.yaml and of whoever clicked: nobody else can be called from here
            made.append({"type": "section", "text": {"type": "mrkdwn", "text": " ".join(rung), "verbatim": True}})
    made.append(kit.words((sentence, False)))
    if note.kind in WORDED and with_words and note.words.strip():
        made.append(kit.quote(cut(note.words.strip(), _WORDS_LIMIT)))
    message = _message(sentence, made)
    if note.kind in _RINGS:
        message["reply_broadcast"] = True
    return message


def _buttons(card: CardFacts, lang: str, *, with_words: bool) -> Iterator[JsonObject]:
    if card.state in ("open", "claimed"):
        first = "claim" if card.state == "open" else "reply"
        for verb in VERBS[VERBS.index(first) :]:
            style = "primary" if verb == first else ""
            yield kit.button(_say(f"button.{verb}", lang), f"{ACTION}.{verb}", card.case_id, style=style)
    if not with_words:
        yield kit.button(_say("button.words", lang), WORDS, card.case_id)


def erased_message(lang: str, *, unsent: bool = False) -> JsonObject:
    """What stands in the place of a card, or of an entry in its thread, whose customer wanted the content erased.
    `unsent`: a reply was still waiting, which they do not get."""
    sentences = [_say("erased", lang), *([_say("delivery.cancelled", lang)] if unsent else [])]
    return _message(sentences[0], [kit.words(((" " if lang == "en" else "").join(sentences), False))])


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
            answers.append(f"{day}{comma}{_rated(rating, lang)}")
        lines.append(_say("before", lang, answers=("; " if lang == "en" else "、").join(answers)))
    lines += card.ledger
    return lines


def ledger_line(entries: Sequence[tuple[int, str, float]], lang: str, tz: ZoneInfo) -> str:
    """Entries of a trust account as (time, what, points): 「信頼の記録：11/10 お届けの遅れ -3.9」."""
    comma = ", " if lang == "en" else " "
    told = [f"{_short_day(at_ms, lang, tz)}{comma}{what} {signed(points, 1)}" for at_ms, what, points in entries]
    return _say("ledger", lang, lines=("; " if lang == "en" else "、").join(told))


def _state_line(card: CardFacts, lang: str, tz: ZoneInfo) -> str:
    parts = []
    if card.changed is not None:
        parts.append(_say("changed", lang, old=card.changed[0], new=card.changed[1]))
    match card.state:
        case "resolved":
            parts.append(_resolved_line(card, lang))
        case "claimed" if card.staff and card.claimed_ms is not None:
            parts.append(_say("claimed", lang, staff=cut(card.staff, 60), since=_moment(card.claimed_ms, lang, tz)))
        case "claimed":
            parts.append(_say("claimed.plain", lang))
        case "settled":
            parts.append(_say("settled", lang))
        case _:
            parts.append(_say("open", lang))
    if card.state in ("open", "claimed"):
        if card.snoozed_ms is not None:
            parts.append(_say("snoozed", lang, until=time_text(card.snoozed_ms, lang, tz)))
        if card.overdue_ms is not None:
            parts.append(_overdue(card.overdue_ms, lang))
            parts.append(_say("told.yes" if card.customer_told else "told.no", lang))
        if card.blocked:
            parts.append(_say("blocked", lang))
        elif card.delivery:
            parts.append(_say(f"delivery.{card.delivery}", lang, here=card.here))
    return "".join(_set_off(parts, lang))


def _overdue(ms: int, lang: str) -> str:
    hours = ms // (60 * _MINUTE_MS)
    days = hours // 24
    if days:
        return _say("overdue.day" if days == 1 else "overdue.days", lang, days=days)
    key = "overdue" if hours == 0 else "overdue.hour" if hours == 1 else "overdue.hours"
    return _say(key, lang, hours=hours)


def _set_off(parts: list[str], lang: str) -> Iterator[str]:
    """Parts that are no sentence are set off from what follows."""
    end, space, dot = (".", " ", " · ") if lang == "en" else ("。", "", "・")
    for part in parts[:-1]:
        yield f"{part}{space if part.endswith(end) else dot}"
    yield from parts[-1:]


def _rated(rating: Rating, lang: str) -> str:
    """「満足度 やや不満」, "recommend 2", "Satisfaction: Dissatisfied"."""
    colon = ":" if lang == "en" and rating.name and not rating.label[:1].isdigit() else ""
    return f"{rating.name}{colon} {rating.label}".strip()


def _resolved_line(card: CardFacts, lang: str) -> str:
    head = _say("resolved", lang)
    if card.staff:
        head += f", @{cut(card.staff, 60)}" if lang == "en" else f" @{cut(card.staff, 60)}"
    parts = [head]
    if f"outcome.{card.outcome}" in _TEXTS:
        parts.append(_say(f"outcome.{card.outcome}", lang))
    if card.first_reply_ms is not None:
        parts.append(_say("first_reply", lang, time=duration_text(card.first_reply_ms, lang)))
    if card.after:
        parts.append(_say(f"after.{card.after}", lang))
    return (", " if lang == "en" else "・").join(parts)


def duration_text(ms: int, lang: str) -> str:
    """How long something took: 「2時間10分」, "2 h 10 min"; days from two on.

    >>> duration_text(7_800_000, "ja"), duration_text(7_800_000, "en"), duration_text(0, "ja")
    ('2時間10分', '2 h 10 min', '1分未満')
    """
    minutes = max(0, ms) // _MINUTE_MS
    if minutes == 0:
        return "under a minute" if lang == "en" else "1分未満"
    days, hours, rest = 0, minutes // 60, minutes % 60
    if hours >= 48:
        days, hours, rest = hours // 24, hours % 24, 0
    units = (("d", "日"), ("h", "時間"), ("min", "分"))
    counted = [(count, unit) for count, unit in zip((days, hours, rest), units, strict=True) if count]
    return (
        " ".join(f"{count} {en}" for count, (en, _) in counted)
        if lang == "en"
        else "".join(f"{count}{ja}" for count, (_, ja) in counted)
    )


def outcome_label(outcome: str, lang: str) -> str:
    """How a case was settled, in words."""
    return _say(f"outcome.{outcome}", lang)


def _moment(at_ms: int, lang: str, tz: ZoneInfo) -> str:
    """A time gone by: 「11/24 11:02」, "24 Nov 11:02"."""
    return f"{_short_day(at_ms, lang, tz)} {datetime.fromtimestamp(at_ms / 1000, tz):%H:%M}"


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
