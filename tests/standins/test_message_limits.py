"""What the local LINE takes and refuses of message objects: the documented limits, each at its edge."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from linebot.v3.messaging import Message

from bot.standins.messages import check_messages, graphemes, utf16_units

FAMILY = "👨‍👩‍👧‍👦"


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def postback(**more: Any) -> dict[str, Any]:
    return {"type": "postback", "label": "9", "data": "v=9", **more}


def quick(*actions: dict[str, Any]) -> dict[str, Any]:
    return text("?", quickReply={"items": [{"type": "action", "action": action} for action in actions]})


def box(*contents: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "box", "layout": "vertical", "contents": list(contents), **more}


def bubble(*contents: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "bubble", "body": box(*contents), **more}


def flex(contents: dict[str, Any], alt: str = "質問") -> dict[str, Any]:
    return {"type": "flex", "altText": alt, "contents": contents}


def button(**more: Any) -> dict[str, Any]:
    return {"type": "button", "action": postback(**more)}


def words(content: str = "質問", **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": content, **more}


def template(**more: Any) -> dict[str, Any]:
    return {"type": "template", "altText": "質問", "template": more}


JUNK: list[Any] = [None, True, -1, 1.5, "", "x", [], {}, [None], [[1]], {"type": ["x"]}, {"type": {"a": 1}}]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a payload (the first three items of each list)."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


def with_junk(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return junk
    changed = copy.copy(value)
    changed[path[0]] = with_junk(value[path[0]], path[1:], junk)
    return changed


TAKEN = {
    "a text of 5000": text("あ" * 5000),
    "a text of 2500 apples": text("🍎" * 2500),
    "thirteen quick replies": quick(*[postback(label=str(n)) for n in range(13)]),
    "a label of twenty families": quick(postback(label=FAMILY * 20)),
    "data of 300": quick(postback(data="x" * 300)),
    "a display text of 300 families": quick(postback(displayText=FAMILY * 300)),
    "a quick reply that opens the camera": quick({"type": "camera", "label": "撮る"}),
    "a date": quick({"type": "datetimepicker", "label": "日", "data": "d", "mode": "date", "initial": "2026-11-19"}),
    "a bubble of eleven buttons": flex(bubble(words(wrap=True), *[button(label=str(n)) for n in range(11)])),
    "a flex label of 40": flex(bubble(button(label="あ" * 40))),
    "an altText of 1500": flex(bubble(words()), alt="あ" * 1500),
    "twelve bubbles": flex({"type": "carousel", "contents": [bubble(words(), size="kilo")] * 12}),
    "a text of spans": flex(bubble({"type": "text", "contents": [{"type": "span", "text": "声"}]})),
    "sizes and colours": flex(
        {
            "type": "bubble",
            "size": "giga",
            "styles": {"body": {"backgroundColor": "#FFFFFF"}},
            "body": box(
                words(size="xs", color="#1A1A1A", weight="bold", margin="12px", lineSpacing="4px"),
                {"type": "separator", "margin": "md"},
                {**box(words(), paddingAll="10px", backgroundColor="#FFFFFFCC"), "layout": "baseline"},
                {**button(), "style": "primary", "height": "sm", "color": "#06C755"},
            ),
        }
    ),
    "a sender's name of 20": text("x", sender={"name": "あ" * 20}),
    "a sender with line inside a word": text("x", sender={"name": "Online Koe"}),
    "a confirmation": template(type="confirm", text="よろしいですか？", actions=[postback(), postback()]),
    "a text with emoji": text("$ お礼", emojis=[{"index": 0, "productId": "5ac1", "emojiId": "001"}]),
    "a textV2 with a mention": {
        "type": "textV2",
        "text": "{you} さん {{声}}",
        "substitution": {"you": {"type": "mention", "mentionee": {"type": "all"}}},
    },
    "a sticker": {"type": "sticker", "packageId": "446", "stickerId": "1988"},
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no type": ({"text": "x"}, "messages[0].type"),
    "an unknown type": ({"type": "poll", "text": "x"}, "messages[0].type"),
    "an unknown property": (text("x", texts="y"), "messages[0].texts"),
    "a text that the SDK's trap lost": ({"type": "text"}, "messages[0].text"),
    "an empty text": (text(""), "messages[0].text"),
    "a text of 5001": (text("あ" * 5001), "messages[0].text"),
    "a text of 2501 apples": (text("🍎" * 2501), "messages[0].text"),
    "no quick replies at all": (quick(), "messages[0].quickReply.items"),
    "fourteen quick replies": (quick(*[postback()] * 14), "messages[0].quickReply.items"),
    "a quick reply without a label": (
        quick({"type": "postback", "data": "x"}),
        "messages[0].quickReply.items[0].action.label",
    ),
    "a label of 21": (quick(postback(label="あ" * 21)), "messages[0].quickReply.items[0].action.label"),
    "a postback without data": (
        quick({"type": "postback", "label": "9"}),
        "messages[0].quickReply.items[0].action.data",
    ),
    "empty data": (quick(postback(data="")), "messages[0].quickReply.items[0].action.data"),
    "data of 151 apples": (quick(postback(data="🍎" * 151)), "messages[0].quickReply.items[0].action.data"),
    "a display text of 301": (
        quick(postback(displayText="あ" * 301)),
        "messages[0].quickReply.items[0].action.displayText",
    ),
    "displayText and text": (
        quick(postback(displayText="a", text="b")),
        "messages[0].quickReply.items[0].action.text",
    ),
    "a menu switch in a quick reply": (
        quick({"type": "richmenuswitch", "label": "x", "data": "x"}),
        "messages[0].quickReply.items[0].action.type",
    ),
    "a script for a link": (
        quick({"type": "uri", "label": "x", "uri": "javascript:alert(1)"}),
        "messages[0].quickReply.items[0].action.uri",
    ),
    "a date that is none": (
        quick({"type": "datetimepicker", "label": "x", "data": "d", "mode": "date", "initial": "yesterday"}),
        "messages[0].quickReply.items[0].action.initial",
    ),
    "a camera in a bubble": (
        flex(bubble({"type": "button", "action": {"type": "camera", "label": "x"}})),
        "messages[0].contents.body.contents[0].action.type",
    ),
    "a flex label of 41": (
        flex(bubble(button(label="あ" * 41))),
        "messages[0].contents.body.contents[0].action.label",
    ),
    "an altText of 1501": (flex(bubble(words()), alt="あ" * 1501), "messages[0].altText"),
    "an empty altText": (flex(bubble(words()), alt=""), "messages[0].altText"),
    "an empty bubble": (flex({"type": "bubble"}), "messages[0].contents"),
    "thirteen bubbles": (
        flex({"type": "carousel", "contents": [bubble(words())] * 13}),
        "messages[0].contents.contents",
    ),
    "bubbles of two sizes": (
        flex({"type": "carousel", "contents": [bubble(words(), size="kilo"), bubble(words())]}),
        "messages[0].contents.contents",
    ),
    "a bubble over 30 KB": (flex(bubble(*[words("あ" * 1000)] * 11)), "messages[0].contents"),
    "a carousel over 50 KB": (
        flex({"type": "carousel", "contents": [bubble(*[words("あ" * 1000)] * 9)] * 2}),
        "messages[0].contents",
    ),
    "an empty text in a bubble": (flex(bubble(words(""))), "messages[0].contents.body.contents[0].text"),
    "a colour by name": (flex(bubble(words(color="red"))), "messages[0].contents.body.contents[0].color"),
    "a misspelt property": (flex(bubble(words(warp=True))), "messages[0].contents.body.contents[0].warp"),
    "a button in a baseline box": (
        flex({"type": "bubble", "body": {**box(button()), "layout": "baseline"}}),
        "messages[0].contents.body.contents[0].type",
    ),
    "a text for a body": (flex({"type": "bubble", "body": words()}), "messages[0].contents.body.type"),
    "a sender's name of 21": (text("x", sender={"name": "あ" * 21}), "messages[0].sender.name"),
    "a sender called LINE": (text("x", sender={"name": "LINE事務局"}), "messages[0].sender.name"),
    "a confirmation of three": (
        template(type="confirm", text="x", actions=[postback()] * 3),
        "messages[0].template.actions",
    ),
    "five template buttons": (
        template(type="buttons", text="x", actions=[postback()] * 5),
        "messages[0].template.actions",
    ),
    "a titled template text of 61": (
        template(type="buttons", title="t", text="x" * 61, actions=[postback()]),
        "messages[0].template.text",
    ),
    "eleven columns": (
        template(type="carousel", columns=[{"text": "x", "actions": [postback()]}] * 11),
        "messages[0].template.columns",
    ),
    "a loose brace": ({"type": "textV2", "text": "a } b"}, "messages[0].text"),
    "a placeholder without substitution": ({"type": "textV2", "text": "{you}"}, "messages[0].text"),
    "an emoji index beside the $": (
        text("お$", emojis=[{"index": 0, "productId": "1", "emojiId": "1"}]),
        "messages[0].emojis[0].index",
    ),
    "a picture over http": (
        {"type": "image", "originalContentUrl": "http://x/1.png", "previewImageUrl": "https://x/1.png"},
        "messages[0].originalContentUrl",
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_line_takes_is_taken_and_survives_the_sdk_unchanged(name: str) -> None:
    assert check_messages([TAKEN[name]]) == []
    if TAKEN[name]["type"] != "textV2":  # the SDK drops the mention's own type
        through = Message.from_dict(TAKEN[name]).to_dict()
        assert check_messages([through]) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_line_refuses_is_refused_with_the_property(name: str) -> None:
    message, where = REFUSED[name]
    assert where in [problem["property"] for problem in check_messages([message])]


@pytest.mark.parametrize("messages", [None, [], [text("x")] * 6, "x", [None]])
def test_a_call_carries_one_to_five_messages(messages: Any) -> None:
    assert check_messages(messages)


def test_lengths_are_counted_as_line_counts_them() -> None:
    assert utf16_units("🍎") == 2
    assert graphemes(FAMILY) == 1
    assert graphemes("👍🏽か゛") == 2 + 1, "a free-standing mark is a character of its own"
    assert graphemes("が") == 1
    assert graphemes("") == 0


@pytest.mark.parametrize("name", TAKEN)
def test_junk_anywhere_is_a_problem_or_harmless_and_never_an_error(name: str) -> None:
    for path in paths(TAKEN[name]):
        for junk in JUNK:
            check_messages([with_junk(TAKEN[name], path, junk)])
