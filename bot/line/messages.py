"""What LINE shows: bubbles of the conversation become message objects within LINE's limits. Pure.

A question is a Flex bubble: tappable on every client, LINE for PC included, and it stays. Quick replies
repeat it on phones, under the last message. Sources: https://developers.line.biz/en/reference/messaging-api/#message-objects,
.../using-quick-reply/, .../text-character-count/.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import msgspec

from bot import buttons
from bot.channel import JsonObject
from flows.exchange import Ask, Choice, Say

MOST_MESSAGES: Final = 5
MOST_QUICK_REPLIES: Final = 13
_TEXT_UNITS = 5000
_ALT_UNITS = 1500
_ALT_SHOWN = 40
"""What a lock screen shows of a notification (copy deck, section 3)."""
_LABEL = 20
_DISPLAY_TEXT = 300
_BUBBLE_BYTES = 30_000
_CAROUSEL_BYTES = 50_000
_FLEX_TEXT = 2000
_FLEX_LABEL = 80
_URI = 1000

# One ink, one grey, one blue: no colour says which answer is a good one.
_INK = "#1F2933"
_GREY = "#6B7280"
_BLUE = "#2F6690"
_LINE = "#CBD2D9"
_CELL = "#F5F7FA"

_ALT: dict[str, str] = {"ja": "次の質問です", "en": "Next question"}
"""For a question without a notification line of its own."""

_UNSENDABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_LINK = re.compile(r"https://[!#-;=?-~]{1,990}")


def render_messages(bubbles: Sequence[Say | Ask], session_id: str, lang: str) -> list[JsonObject]:
    """The message objects of one call, at most five; none for nothing to say."""
    messages: list[JsonObject] = []
    quick: list[JsonObject] = []
    for bubble in bubbles[:MOST_MESSAGES]:
        match bubble:
            case Say(text=text, choices=choices):
                if not choices and not _clean(text, _TEXT_UNITS).strip():
                    continue
                message = _say(bubble, session_id)
                quick = _quick_replies((choices,), session_id)
            case Ask():
                message = _ask(bubble, session_id, lang)
                quick = _quick_replies((_rest(bubble), bubble.controls, bubble.exits, bubble.small_choices), session_id)
        messages.append(message)
    if messages and quick:
        messages[-1]["quickReply"] = {"items": quick}
    return messages


_ANY_SESSION = "00000000-0000-7000-8000-000000000000"


def encode_messages(bubbles: tuple[Say | Ask, ...], session_id: str, lang: str) -> bytes:
    """The JSON of `render_messages`; b"" for nothing to say.

    Customers are asked the same questions: what was rendered once is kept, and only the session, which every button
    names, is put in. What says something of one customer alone (a name, an item, a comment) is not kept.
    """
    if not session_id or not _shared(bubbles):
        messages = render_messages(bubbles, session_id, lang)
        return msgspec.json.encode(messages) if messages else b""
    return _encoded(bubbles, lang).replace(_ANY_SESSION.encode(), session_id.encode())


@lru_cache(maxsize=1024)
def _encoded(bubbles: tuple[Say | Ask, ...], lang: str) -> bytes:
    messages = render_messages(bubbles, _ANY_SESSION, lang)
    return msgspec.json.encode(messages) if messages else b""


def _shared(bubbles: tuple[Say | Ask, ...]) -> bool:
    return all(isinstance(bubble, Ask) and bubble.shared for bubble in bubbles)


# ------------------------------------------------------------------------------------------- bubbles as they are stored

_SAY, _ASK = "say", "ask"


def pack_bubbles(bubbles: tuple[Say | Ask, ...]) -> str:
    """The bubbles as JSON text, for storage: a tenth of the messages that are rendered from them. "" when a customer
    would see nothing."""
    if not any(
        isinstance(bubble, Ask) or bubble.choices or _clean(bubble.text, _TEXT_UNITS).strip() for bubble in bubbles
    ):
        return ""
    return _packed_once(bubbles) if _shared(bubbles) else _packed(bubbles)


def unpack_bubbles(packed: Sequence[Any]) -> tuple[Say | Ask, ...]:
    """The bubbles that were packed, from the decoded JSON."""
    return tuple(_unpacked(kind, values) for kind, *values in packed)


def _packed(bubbles: tuple[Say | Ask, ...]) -> str:
    rows = [
        (_SAY if isinstance(bubble, Say) else _ASK, *(getattr(bubble, each.name) for each in fields(bubble)))
        for bubble in bubbles
    ]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"), default=_choice)


_packed_once = lru_cache(maxsize=1024)(_packed)


def _choice(choice: Choice) -> tuple[str, ...]:
    return (choice.label, choice.node, choice.value, choice.tap_text)


def _unpacked(kind: str, values: Sequence[Any]) -> Say | Ask:
    made: Any = Say if kind == _SAY else Ask
    bubble: Say | Ask = made(**{each.name: _restored(value) for each, value in zip(fields(made), values, strict=False)})
    return bubble


def _restored(value: Any) -> Any:
    """JSON knows lists only: choices and chosen codes are tuples."""
    if not isinstance(value, list):
        return value
    return tuple(Choice(*item) if isinstance(item, list) else item for item in value)


# ---------------------------------------------------------------------------------------------------- bubbles


def _say(say: Say, session_id: str) -> JsonObject:
    """Plain text; with choices a bubble: quick replies do not exist on LINE for PC and vanish on phones."""
    text = _clean(say.text, _TEXT_UNITS)
    if not say.choices:
        return {"type": "text", "text": text}
    body = [*_paragraphs(text), *_stack(say.choices, session_id)]
    return _fitting(body, text.split("\n", 1)[0], (say.text,), say.choices)


def _ask(ask: Ask, session_id: str, lang: str) -> JsonObject:
    if ask.kind == "text" and not ask.exits and not ask.small_choices and not ask.choices:
        # words are answered with words: plain text can be copied, and its links work
        plain = [words for words in (ask.intro, ask.text, ask.small) if words.strip()]
        text = _clean("\n\n".join(plain), _TEXT_UNITS)
        return {"type": "text", "text": text if text.strip() else _ALT.get(lang, _ALT["ja"])}
    body = _paragraphs(ask.intro)
    body += _paragraphs(ask.text, weight="bold", margin="lg" if body else "none")
    body += _ends(ask.low, ask.high)
    choices = _rest(ask)
    if ask.kind == "scale" and choices and all(len(choice.label) <= 2 for choice in choices):
        body += _numbers(choices, session_id)
    elif ask.kind == "yes_no" and len(choices) == 2:
        body.append(_row([_cell(choice, session_id) for choice in choices], margin="lg"))
    else:
        body += _stack(choices, session_id)
    if ask.kind == "multi":  # the way out of a multi-select must be seen
        body += _stack(ask.controls, session_id)
    elif ask.controls:
        body.append(_links(ask.controls, session_id, margin="md"))
    if ask.exits:
        body.append({"type": "separator", "margin": "lg", "color": _LINE})
        body += [_links((choice,), session_id, margin="sm") for choice in ask.exits]
    body += _small(ask.small)
    if ask.small_choices:
        body.append(_links(ask.small_choices, session_id, margin="sm", size="xs", color=_GREY))
    alt = ask.alt if ask.alt.strip() else _ALT.get(lang, _ALT["ja"])
    return _fitting(body, alt, (ask.intro, ask.text, ask.small), (*choices, *ask.controls, *ask.exits))


def _rest(ask: Ask) -> tuple[Choice, ...]:
    """What can still be chosen: in a multi-select without what is chosen already."""
    if ask.kind == "multi" and isinstance(ask.chosen, tuple) and ask.chosen:
        chosen = ask.chosen
        return tuple(choice for choice in ask.choices if choice.value not in chosen)
    return ask.choices


def _fitting(body: list[JsonObject], alt: str, words: Sequence[str], choices: Sequence[Choice]) -> JsonObject:
    """The bubble; plain text when it is larger than LINE takes: a long question is still a question."""
    alt = _clip(_clean(alt, _ALT_UNITS).strip().replace("\n", " "), _ALT_SHOWN) or "…"
    body = body or _paragraphs(alt)
    bubble = {
        "type": "bubble",
        "size": "giga",
        "body": {
            "type": "box",
            "layout": "vertical",
            "paddingAll": "16px",
            "backgroundColor": "#FFFFFF",
            "contents": body,
        },
    }
    if len(msgspec.json.encode(bubble)) > _BUBBLE_BYTES:
        lines = [*(part for part in words if part.strip()), *(f"・{choice.label}" for choice in choices)]
        return {"type": "text", "text": _clean("\n".join(lines), _TEXT_UNITS)}
    return {"type": "flex", "altText": alt, "contents": bubble}


def _paragraphs(text: str, *, weight: str = "regular", margin: str = "none") -> list[JsonObject]:
    """One part with the text; none when there is nothing to read in it."""
    text = _clean(text, _FLEX_TEXT)
    if not text.strip():
        return []
    return [
        {
            "type": "text",
            "text": text,
            "size": "md",
            "color": _INK,
            "weight": weight,
            "margin": margin,
            "wrap": True,
            "scaling": True,
        }
    ]


def _small(text: str) -> list[JsonObject]:
    """Small and grey. The first address in it opens on a tap: Flex text makes no links by itself."""
    text = _clean(text, _FLEX_TEXT)
    if not text.strip():
        return []
    part: JsonObject = {
        "type": "text",
        "text": text,
        "size": "xs",
        "color": _GREY,
        "margin": "lg",
        "wrap": True,
        "scaling": True,
    }
    if "https://" in text and (link := _LINK.search(text)):
        part["action"] = {"type": "uri", "label": "URL", "uri": link[0].rstrip(".,;:!?)]'")}
    return [part]


def _ends(low: str, high: str) -> list[JsonObject]:
    """The words at the two ends of the scale: side by side where they fit, else one under the other."""
    ends: list[JsonObject] = [
        {"type": "text", "text": shown, "size": "xs", "color": _GREY, "align": align, "wrap": True, "flex": flex}
        for words, align, flex in ((low, "start", 0), (high, "end", 1))
        if (shown := _clean(words, _FLEX_TEXT).strip())
    ]
    if not ends:
        return []
    if _width(low) + _width(high) <= 26:
        return [_row(ends, margin="lg", spacing="md")]
    return [{"type": "box", "layout": "vertical", "margin": "lg", "contents": ends}]


def _numbers(choices: Sequence[Choice], session_id: str) -> list[JsonObject]:
    """Cells of equal size and colour, ascending, in one row up to seven and in two beyond: 0–5, 6–10."""
    if len(choices) <= 7:
        return [_row([_cell(choice, session_id) for choice in choices], margin="sm", spacing="xs")]
    width = (len(choices) + 1) // 2
    rows = []
    for start in range(0, len(choices), width):
        row = [_cell(choice, session_id) for choice in choices[start : start + width]]
        row += [{"type": "box", "layout": "vertical", "flex": 1, "contents": []}] * (width - len(row))
        rows.append(_row(row, margin="sm", spacing="xs"))
    return rows


def _stack(choices: Sequence[Choice], session_id: str) -> list[JsonObject]:
    """Full-width cells under one another; in two columns when there are many short ones."""
    if len(choices) > 6 and all(_width(choice.label) <= 18 for choice in choices):
        pairs: list[JsonObject] = []
        for start in range(0, len(choices), 2):
            row = [_cell(choice, session_id) for choice in choices[start : start + 2]]
            if len(row) == 1:
                row.append({"type": "box", "layout": "vertical", "flex": 1, "contents": []})
            pairs.append(_row(row, margin="sm" if pairs else "lg", spacing="sm"))
        return pairs
    return [_cell(choice, session_id, margin="lg" if index == 0 else "sm") for index, choice in enumerate(choices)]


def _row(contents: list[JsonObject], *, margin: str, spacing: str = "sm") -> JsonObject:
    return {"type": "box", "layout": "horizontal", "margin": margin, "spacing": spacing, "contents": contents}


def _cell(choice: Choice, session_id: str, *, margin: str = "") -> JsonObject:
    """One answer to tap. A box, not a button: buttons cut their label, and six do not fit in a row."""
    cell: JsonObject = {
        "type": "box",
        "layout": "vertical",
        "flex": 1,
        "paddingTop": "12px",
        "paddingBottom": "12px",
        "justifyContent": "center",
        "cornerRadius": "8px",
        "borderWidth": "1px",
        "borderColor": _LINE,
        "backgroundColor": _CELL,
        "action": _tap(choice, session_id),
        "contents": [
            {
                "type": "text",
                "text": _clean(choice.label, _FLEX_LABEL).strip() or "・",
                "align": "center",
                "color": _INK,
                "wrap": True,
            }
        ],
    }
    if margin:  # in a row the spacing of the row counts, which a margin of its own would undo
        cell["margin"] = margin
    return cell


def _links(
    choices: Sequence[Choice], session_id: str, *, margin: str, size: str = "sm", color: str = _BLUE
) -> JsonObject:
    """Secondary things to tap, side by side: words without a frame, still as high as a finger."""
    return _row(
        [
            {
                "type": "box",
                "layout": "vertical",
                "flex": 1,
                "paddingTop": "8px",
                "paddingBottom": "8px",
                "action": _tap(choice, session_id),
                "contents": [
                    {
                        "type": "text",
                        "text": _clean(choice.label, _FLEX_LABEL).strip() or "・",
                        "size": size,
                        "align": "center",
                        "color": color,
                        "wrap": True,
                    }
                ],
            }
            for choice in choices
        ],
        margin=margin,
    )


def _tap(choice: Choice, session_id: str) -> JsonObject:
    """A postback that also leaves the customer's words in the chat."""
    return {
        "type": "postback",
        "label": _clip(_clean(choice.label, _FLEX_LABEL), _LABEL) or "・",
        "data": buttons.pack(session_id, choice.node, choice.value),
        "displayText": _clip(_clean(choice.tap_text or choice.label, _DISPLAY_TEXT * 4), _DISPLAY_TEXT) or "・",
    }


def _quick_replies(groups: Sequence[tuple[Choice, ...]], session_id: str) -> list[JsonObject]:
    """At most thirteen: a group joins when all of it fits and no label would be cut. Half a scale is
    worse than none, and the bubble has them all."""
    items: list[JsonObject] = []
    for group in groups:
        if len(items) + len(group) > MOST_QUICK_REPLIES:
            continue
        if all(0 < len(choice.label) <= _LABEL or 0 < _graphemes(choice.label) <= _LABEL for choice in group):
            items += [{"type": "action", "action": _tap(choice, session_id)} for choice in group]
    return items


# ------------------------------------------------------------------------------------------------------- text


def _clean(text: str, units: int) -> str:
    """The text without what LINE or JSON cannot carry, at most `units` UTF-16 units long."""
    if _UNSENDABLE.search(text):
        text = _UNSENDABLE.sub("", text.replace("\r\n", "\n"))
    if len(text) * 2 <= units or _units(text) <= units:
        return text
    kept: list[str] = []
    room = units - 1
    for cluster in _clusters(text):
        room -= _units(cluster)
        if room < 0:
            break
        kept.append(cluster)
    return "".join(kept) + "…"


def _clip(text: str, longest: int) -> str:
    """The first `longest` characters as a reader counts them."""
    if len(text) <= longest:
        return text
    clusters = list(_clusters(text))
    if len(clusters) <= longest:
        return text
    return "".join(clusters[: longest - 1]) + "…"


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _width(text: str) -> int:
    """Columns in a fixed-width font: full-width characters count two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _graphemes(text: str) -> int:
    return sum(1 for _ in _clusters(text))


def _clusters(text: str) -> Iterator[str]:
    """Characters as a reader counts them (nearly UAX 29: marks, joiners, skin tones, flags; where this
    differs it counts more, never fewer)."""
    cluster = ""
    flags = 0
    for char in text:
        flag = "\U0001f1e6" <= char <= "\U0001f1ff"
        joins = cluster not in ("", "\n", "\r") and (
            char in "\u200d\ufe0e\ufe0f\u20e3"
            or "\U0001f3fb" <= char <= "\U0001f3ff"
            or "\U000e0020" <= char <= "\U000e007f"
            or unicodedata.category(char) in ("Mn", "Me", "Mc")
            or (cluster[-1] == "\u200d" and unicodedata.category(char) == "So")
            or (flag and flags % 2 == 1)
        )
        if joins:
            cluster += char
        else:
            if cluster:
                yield cluster
            cluster = char
        flags = flags + 1 if flag else 0
    if cluster:
        yield cluster


# ----------------------------------------------------------------------------------------------------- limits


def validate_messages(messages: Sequence[JsonObject]) -> list[str]:
    """LINE's documented limits that its SDK does not check, each as `messages[0].text: …`; empty if none.

    Covers what Koe sends (text, flex, quick replies; postback, uri and message actions) and reports anything
    else as unknown.
    """
    problems: list[str] = []
    if not 1 <= len(messages) <= MOST_MESSAGES:
        problems.append(f"messages: {len(messages)} of 1 to {MOST_MESSAGES}")
    for index, message in enumerate(messages):
        problems += _breaches(message, f"messages[{index}]")
    return problems


def _breaches(message: JsonObject, at: str) -> Iterator[str]:
    match message.get("type"):
        case "text":
            yield from _length(message.get("text"), f"{at}.text", 1, _TEXT_UNITS, _units)
        case "flex":
            yield from _length(message.get("altText"), f"{at}.altText", 1, _ALT_UNITS, _units)
            yield from _flex_breaches(message.get("contents"), f"{at}.contents")
        case other:
            yield f"{at}.type: {other!r} is not one that Koe sends"
    if "quickReply" in message:
        items = message["quickReply"].get("items", [])
        if not 1 <= len(items) <= MOST_QUICK_REPLIES:
            yield f"{at}.quickReply.items: {len(items)} of 1 to {MOST_QUICK_REPLIES}"
        for number, item in enumerate(items):
            here = f"{at}.quickReply.items[{number}]"
            if item.get("type") != "action":
                yield f"{here}.type: {item.get('type')!r}"
            yield from _length(item.get("action", {}).get("label"), f"{here}.action.label", 1, _LABEL, _graphemes)
            yield from _action_breaches(item.get("action"), f"{here}.action")


def _flex_breaches(container: Any, at: str) -> Iterator[str]:
    if not isinstance(container, dict):
        yield f"{at}: missing"
        return
    bubbles = container.get("contents", []) if container.get("type") == "carousel" else [container]
    if container.get("type") == "carousel":
        size = len(msgspec.json.encode(container))
        if size > _CAROUSEL_BYTES:
            yield f"{at}: {size} bytes of {_CAROUSEL_BYTES}"
        if not 1 <= len(bubbles) <= 12:
            yield f"{at}.contents: {len(bubbles)} bubbles of 1 to 12"
    for bubble in bubbles:
        size = len(msgspec.json.encode(bubble))
        if size > _BUBBLE_BYTES:
            yield f"{at}: {size} bytes of {_BUBBLE_BYTES}"
        blocks = [bubble[name] for name in ("header", "hero", "body", "footer") if name in bubble]
        if bubble.get("type") != "bubble" or not blocks:
            yield f"{at}: a bubble needs a block"
        yield from chain.from_iterable(_component_breaches(block, at) for block in blocks)


def _component_breaches(component: JsonObject, at: str) -> Iterator[str]:
    kind = component.get("type")
    if kind == "text" and not component.get("text") and not component.get("contents"):
        yield f"{at}.text: empty"
    if kind == "button" or "action" in component:
        yield from _action_breaches(component.get("action"), f"{at}.{kind}.action")
    if kind == "button":
        yield from _length(component.get("action", {}).get("label"), f"{at}.button.label", 1, 40, _graphemes)
    if kind == "box":
        for child in component.get("contents", ()):
            yield from _component_breaches(child, f"{at}.box")


def _action_breaches(action: Any, at: str) -> Iterator[str]:
    if not isinstance(action, dict):
        yield f"{at}: missing"
        return
    if "label" in action:
        yield from _length(action["label"], f"{at}.label", 1, 40, _graphemes)
    match action.get("type"):
        case "postback":
            yield from _length(action.get("data"), f"{at}.data", 1, buttons.LINE_DATA, _units)
            if "displayText" in action:
                yield from _length(action["displayText"], f"{at}.displayText", 1, _DISPLAY_TEXT, _graphemes)
            if "displayText" in action and "text" in action:
                yield f"{at}: displayText and text together"
        case "message":
            yield from _length(action.get("text"), f"{at}.text", 1, _DISPLAY_TEXT, _graphemes)
        case "uri":
            yield from _length(action.get("uri"), f"{at}.uri", 1, _URI, _units)
            if not str(action.get("uri")).startswith(("https://", "http://", "line://", "tel:")):
                yield f"{at}.uri: not http, https, line or tel"
        case other:
            yield f"{at}.type: {other!r} is not one that Koe sends"


def _length(value: Any, at: str, least: int, most: int, count: Any) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{at}: missing"
    elif not least <= count(value) <= most:
        yield f"{at}: {count(value)} of {least} to {most}"
