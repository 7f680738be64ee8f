"""One business event as a row of its table: what shops write, read once, here. No I/O, no "today".

Source: docs/events.md ("Types in use").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import timedelta, tzinfo
from typing import Any

from flows.days import local_date, midnight_ms
from reports.answers.file import instant_ms
from reports.segments import Deed
from reports.values import amount_of, is_set, yes_or_no

Row = tuple[Any, ...]

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "purchases": {
        "customer": "str",
        "order": "str",
        "at_ms": "int64",
        "amount": "float64",
        "cost": "float64",
        "units": "float64",
        "product": "str",
        "discount": "bool",
        "channel": "str",
        "void": "bool",
    },
    "deliveries": {"order": "str", "at_ms": "int64", "due_ms": "float64", "units": "float64"},
    "returns": {"order": "str", "at_ms": "int64", "units": "float64"},
    "visits": {"visitor": "str", "at_ms": "int64", "converted": "bool", "bot": "bool"},
    "contracts": {"customer": "str", "at_ms": "int64", "what": "str"},
    "referrals": {"customer": "str", "referrer": "str", "at_ms": "int64", "rewarded": "str"},
    "posts": {"at_ms": "int64", "incentivised": "str"},
    "ticket_steps": {"ticket": "str", "customer": "str", "at_ms": "int64", "what": "str", "automatic": "bool"},
    "promise_steps": {"promise": "str", "at_ms": "int64", "due_ms": "float64", "kept_ms": "float64", "void": "bool"},
    "searches": {"at_ms": "int64", "query": "str", "hits": "float64"},
    "feedback": {"session": "str", "at_ms": "int64", "resolved": "bool"},
    "messages": {"message": "str", "customer": "str", "at_ms": "int64", "what": "str"},
    "views": {"page": "str", "at_ms": "int64", "seconds": "float64"},
    "surveys": {"session": "str", "at_ms": "int64", "what": "str", "question": "str", "via": "str"},
    "cards": {"at_ms": "int64", "cards": "float64"},
}
SEVERAL = "(several)"
"""The product of an order with more than one."""
_LONGEST_TERM = 40
_DATE_ALONE = re.compile(r"\s*\d{4}\D\d{1,2}\D\d{1,2}日?\s*")


def deadline_ms(value: object, tz: tzinfo) -> int | None:
    """The last instant at which a written due time is kept; of a date alone the end of that day."""
    if not isinstance(value, str) or not value.strip():
        return None
    at_ms = instant_ms(value.strip(), tz)
    if at_ms is None or not _DATE_ALONE.fullmatch(unicodedata.normalize("NFKC", value)):
        return at_ms
    following = local_date(at_ms, tz) + timedelta(days=1)
    return midnight_ms(following, tz) - 1


def _text(value: object) -> str:
    """An id or a word as text; a number that came out of a spreadsheet as 900.0 is 900."""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # pandas compares texts up to a NUL only; the store keeps none either
    return str(value).replace("\0", "\ufffd").strip()[:200] if isinstance(value, str | int | float) else ""


def _number(value: object) -> float:
    found = amount_of(value)
    return float("nan") if found is None else found


def _amount(value: object) -> float:
    found = amount_of(value)
    return float("nan") if found is None or found < 0 else found


def _instant(value: object, tz: tzinfo) -> float:
    at_ms = instant_ms(value.strip(), tz) if isinstance(value, str) else None
    return float("nan") if at_ms is None else float(at_ms)


def _known(value: object) -> str:
    found = yes_or_no(value)
    return "" if found is None else "yes" if found else "no"


def _product(data: Mapping[str, Any]) -> str:
    value = data.get("product") or data.get("item")
    if isinstance(value, list):
        names = sorted({_text(name) for name in value} - {""})
        return SEVERAL if len(names) > 1 else "".join(names)
    return _text(value)


def _term(value: object) -> str:
    """What somebody searched for, folded so that one term is one text, without anything a terminal would obey."""
    text = unicodedata.normalize("NFKC", _text(value)).casefold()
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_LONGEST_TERM]


def _purchase(event: Deed, _: tzinfo) -> Row | None:
    data = event.data
    return (
        _text(event.customer),
        _text(data.get("order")),
        event.at_ms,
        _amount(data.get("amount")),
        _amount(data.get("cost")),
        _amount(data.get("units")),
        _product(data),
        is_set(data.get("discount")) or is_set(data.get("points")),
        _text(data.get("channel")),
        is_set(data.get("cancelled")) or is_set(data.get("test")),
    )


def _delivery(event: Deed, tz: tzinfo) -> Row | None:
    at = _instant(event.data.get("at"), tz)
    due = deadline_ms(event.data.get("due"), tz)
    return (
        _text(event.data.get("order")),
        event.at_ms if at != at else int(at),
        float("nan") if due is None else float(due),
        _amount(event.data.get("units")),
    )


def _return(event: Deed, _: tzinfo) -> Row | None:
    order = _text(event.data.get("order"))
    return (order, event.at_ms, _amount(event.data.get("units"))) if order else None


def _visit(event: Deed, _: tzinfo) -> Row | None:
    visitor = _text(event.data.get("visitor")) or _text(event.customer)
    return (
        (visitor, event.at_ms, is_set(event.data.get("converted")), is_set(event.data.get("bot"))) if visitor else None
    )


def _contract(event: Deed, _: tzinfo) -> Row | None:
    return (_text(event.customer), event.at_ms, event.type.removeprefix("contract_")) if event.customer else None


def _referral(event: Deed, _: tzinfo) -> Row | None:
    new, referrer = _text(event.data.get("new_customer")) or _text(event.customer), _text(event.data.get("referrer"))
    if not new or not referrer or new == referrer:
        return None
    return (new, referrer, event.at_ms, _known(event.data.get("rewarded")))


def _post(event: Deed, _: tzinfo) -> Row | None:
    return (event.at_ms, _known(event.data.get("incentivised")))


def _ticket(event: Deed, _: tzinfo) -> Row | None:
    ticket = _text(event.data.get("ticket"))
    if not ticket:
        return None
    what = event.type.removeprefix("ticket_")
    return (ticket, _text(event.customer), event.at_ms, what, is_set(event.data.get("automatic")))


def _promise(event: Deed, tz: tzinfo) -> Row | None:
    promise, due = _text(event.data.get("id")), deadline_ms(event.data.get("due"), tz)
    kept = _instant(event.data.get("kept_at"), tz)
    void = is_set(event.data.get("cancelled"))
    if due is None and (not promise or (kept != kept and not void)):
        return None
    return (promise, event.at_ms, float("nan") if due is None else float(due), kept, void)


def _search(event: Deed, _: tzinfo) -> Row | None:
    hits = _number(event.data.get("hits"))
    return None if hits != hits else (event.at_ms, _term(event.data.get("query")), hits)


def _answered(event: Deed, _: tzinfo) -> Row | None:
    resolved = yes_or_no(event.data.get("resolved"))
    return None if resolved is None else (_text(event.data.get("session")), event.at_ms, resolved)


def _message(event: Deed, _: tzinfo) -> Row | None:
    message, who = _text(event.data.get("message")), _text(event.customer) or _text(event.data.get("visitor"))
    if not message or not who:
        return None
    return (message, who, event.at_ms, "click" if event.type == "click" else "delivered")


def _view(event: Deed, _: tzinfo) -> Row | None:
    page = _text(event.data.get("page"))
    return (page, event.at_ms, _amount(event.data.get("seconds"))) if page else None


def _survey(event: Deed, _: tzinfo) -> Row | None:
    session = _text(event.data.get("session"))
    if not session:
        return None
    what = event.type.removeprefix("survey_")
    return (session, event.at_ms, what, _text(event.data.get("question")), _text(event.data.get("via")).casefold())


def _cards(event: Deed, _: tzinfo) -> Row | None:
    cards = _amount(event.data.get("cards", 1))
    return None if cards != cards else (event.at_ms, cards)


READERS: Mapping[str, tuple[str, Callable[[Deed, tzinfo], Row | None]]] = {
    "purchase": ("purchases", _purchase),
    "delivery": ("deliveries", _delivery),
    "return": ("returns", _return),
    "visit": ("visits", _visit),
    "contract_start": ("contracts", _contract),
    "contract_renew": ("contracts", _contract),
    "contract_cancel": ("contracts", _contract),
    "referral": ("referrals", _referral),
    "ugc": ("posts", _post),
    "ticket_opened": ("ticket_steps", _ticket),
    "ticket_replied": ("ticket_steps", _ticket),
    "ticket_resolved": ("ticket_steps", _ticket),
    "promise": ("promise_steps", _promise),
    "faq_search": ("searches", _search),
    "faq_feedback": ("feedback", _answered),
    "message_delivered": ("messages", _message),
    "click": ("messages", _message),
    "page_view": ("views", _view),
    "survey_invited": ("surveys", _survey),
    "survey_delivered": ("surveys", _survey),
    "survey_started": ("surveys", _survey),
    "survey_shown": ("surveys", _survey),
    "survey_answered": ("surveys", _survey),
    "survey_completed": ("surveys", _survey),
    "survey_skipped": ("surveys", _survey),
    "card_shipped": ("cards", _cards),
}
"""Type of an event → its table, and what makes its row; None for one that says nothing."""
EVENT_TYPES = tuple(READERS)
"""The types of events that a figure is made of."""
