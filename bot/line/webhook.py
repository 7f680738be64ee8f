"""What LINE tells us: one webhook body in, a list of Inbound out. Pure, and total for each event.

LINE adds event types, fields and enum values without notice, so every event is read on its own and by hand:
what cannot be understood becomes Ignored, and never costs the other customers' events of the same body.
Source: https://developers.line.biz/en/reference/messaging-api/#webhooks and .../receiving-messages/.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import msgspec

from bot import buttons
from bot.channel import Blocked, Followed, Ignored, Inbound
from flows.exchange import Content, Media, Tap, Typed, Unsent

_LONGEST_TEXT = 10_000
"""LINE's own input box ends there; anything longer is not a customer typing."""
_LONGEST_ID = 256
_LATEST_MS = 4_102_444_800_000
"""2100-01-01: later timestamps are not times."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL and halves of surrogate pairs: no database takes them, and no keyboard makes them."""

_DUMMY_TOKENS = frozenset({"0" * 32, "f" * 32})
_DUMMY_USERS = ("Udeadbeef",)

_Json = dict[str, Any]


class BadWebhook(Exception):
    """The body is not a LINE webhook at all: not JSON, not an object, no destination, no list of events."""


class _Body(msgspec.Struct):
    destination: str
    events: list[msgspec.Raw]


def parse_webhook(body: bytes) -> list[Inbound]:
    """What happened, oldest first; empty for LINE's connection check.

    The signature must have been verified and the size limited by the caller. An event without an id of its
    own is named by the hash of its bytes, so that a repetition is still recognised.

    Raises:
        BadWebhook: Nothing in the body can be attributed to a channel.
    """
    try:
        envelope = msgspec.json.decode(body, type=_Body)
        found = [(raw, _read(raw)) for raw in map(bytes, envelope.events)]
        destination = envelope.destination
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        destination, found = _read_oddly(body)
    if not destination or len(destination) > _LONGEST_ID:
        raise BadWebhook("a LINE webhook names its channel in `destination`")
    inbound = [_inbound(destination, raw, event) for raw, event in found]
    inbound.sort(key=lambda each: each.at_ms)  # stable: events of one millisecond keep LINE's order
    return inbound


def _read(raw: bytes) -> _Json:
    """The event as an object; empty when it is none."""
    event: object = None
    try:
        event = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        # the standard library is milder: huge numbers, halves of surrogate pairs, bytes that are not UTF-8
        try:
            event = json.loads(raw.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return {}
    return event if isinstance(event, dict) else {}


def _read_oddly(body: bytes) -> tuple[str, list[tuple[bytes, _Json]]]:
    """The same from a body that is JSON by the milder rules only."""
    try:
        loaded = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        raise BadWebhook("a LINE webhook is a JSON object") from error
    if not isinstance(loaded, dict) or not isinstance(loaded.get("events"), list):
        raise BadWebhook("a LINE webhook is an object with a list of `events`")
    found = []
    for event in loaded["events"]:
        raw = json.dumps(event, separators=(",", ":")).encode()
        found.append((raw, event if isinstance(event, dict) else {}))
    return _checked_text(loaded, "destination"), found


def _inbound(destination: str, raw: bytes, event: _Json) -> Inbound:
    # only an escape can hide what no database takes
    text = _checked_text if b"\\u" in raw else _text
    kind = text(event, "type", 64)
    source = _object(event, "source")
    mode = text(event, "mode", 64)
    at_ms = event.get("timestamp")
    dated = isinstance(at_ms, int) and not isinstance(at_ms, bool) and 0 < at_ms < _LATEST_MS
    reply_token = text(event, "replyToken")
    external_id = text(source, "userId")
    # Koe talks in 1:1 only: in a group, a reply would be read by everybody
    private = source.get("type") == "user" or not source.keys() & {"type", "groupId", "roomId"}
    dummy = reply_token in _DUMMY_TOKENS or external_id.startswith(_DUMMY_USERS)
    if not private or dummy:
        external_id = reply_token = ""
    content: Content | Followed | Blocked | Ignored = Ignored(kind or "unreadable")
    session_id = message_id = ""
    if dated and external_id:
        match kind:
            case "message":
                message = _object(event, "message")
                message_id = text(message, "id")
                content = _said(message) or content
            case "postback":
                button = buttons.parse(_object(event, "postback").get("data"))
                if button is not None:  # else it belongs to the rich menu or to another tool of the shop
                    session_id, content = button.session_id, Tap(button.node, button.value)
            case "unsend":
                message_id = text(_object(event, "unsend"), "messageId")
                if message_id:
                    content = Unsent(message_id)
            case "follow":
                content = Followed()
            case "unfollow":
                content = Blocked()
    return Inbound(
        channel="line",
        workspace=destination,
        event_id=text(event, "webhookEventId") or "sha256:" + hashlib.sha256(raw).hexdigest(),
        at_ms=at_ms if dated and isinstance(at_ms, int) else 0,
        external_id=external_id,
        content=content,
        session_id=session_id,
        message_id=message_id,
        reply_token=reply_token,
        # a mode nobody told us about may speak if LINE gave it a token to speak with
        standby=mode == "standby" or (mode not in ("active", "") and not reply_token),
        raw=raw,
    )


def _said(message: _Json) -> Content | None:
    """What the customer sent; None when there is nothing in it."""
    match message.get("type"):
        case "text":
            text = message.get("text")
            if not isinstance(text, str) or not text:
                return None
            words, emoji = _without_emoji(text, message.get("emojis"))
            words = _UNSTORABLE.sub("", words)[:_LONGEST_TEXT]
            if words.strip() or not emoji:
                return Typed(words)
            return Media("sticker")  # only LINE's own emoji: a small sticker
        case "sticker":
            return Media("sticker", _UNSTORABLE.sub("", _text(message, "text", 100)))
        case "image":
            return Media("photo")
        case str():
            return Media("other")
        case _:
            return None


def _without_emoji(text: str, emojis: object) -> tuple[str, bool]:
    """The words without the placeholders of LINE's own emoji – (love) is a picture, not a word – and whether
    there were any. Positions count UTF-16 units; one that does not point at 「(…)」 is left alone."""
    if not isinstance(emojis, list) or not emojis:
        return text, False
    units = text.encode("utf-16-le", "surrogatepass")
    spans: list[tuple[int, int]] = []
    for emoji in emojis[:1000]:
        if not isinstance(emoji, dict):
            continue
        index, length = emoji.get("index"), emoji.get("length")
        if not isinstance(index, int) or not isinstance(length, int) or index < 0 or length < 2:
            continue
        start, end = index * 2, (index + length) * 2
        if end <= len(units) and units[start : start + 2] == b"(\x00" and units[end - 2 : end] == b")\x00":
            spans.append((start, end))
    kept, position = [], 0
    for start, end in sorted(spans):
        if start >= position:
            kept.append(units[position:start])
            position = end
    kept.append(units[position:])
    return b"".join(kept).decode("utf-16-le", "surrogatepass"), bool(spans)


def _object(of: _Json, key: str) -> _Json:
    value = of.get(key)
    return value if isinstance(value, dict) else {}


def _text(of: _Json, key: str, longest: int = _LONGEST_ID) -> str:
    """A short text of an object; "" when it is missing, no text, or too long to be what it should be."""
    value = of.get(key)
    return value if isinstance(value, str) and len(value) <= longest else ""


def _checked_text(of: _Json, key: str, longest: int = _LONGEST_ID) -> str:
    """The same; "" also when no database takes it."""
    value = _text(of, key, longest)
    return "" if _UNSTORABLE.search(value) else value
