"""LINE's webhook bodies in their documented form (fixtures/line), and what Koe understands of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.channel import Blocked, Followed, Ignored, Inbound
from bot.line import BadWebhook, parse_webhook
from flows.exchange import Media, Tap, Typed, Unsent

FIXTURES = Path(__file__).parent / "fixtures" / "line"
DESTINATION = "U8e742f61d673b39c7fff3cecb7536ef0"
CUSTOMER = "U4af4980629f1d8c1c1b8e0a0b0c0d0e0"
SESSION = "0197a3c2-1111-7000-8000-000000000001"
AT_MS = 1_763_625_600_000


def load(name: str) -> list[Inbound]:
    return parse_webhook((FIXTURES / f"{name}.json").read_bytes())


def one(**event: Any) -> Inbound:
    """An event of a customer, with these fields replaced."""
    plain = {
        "type": "message",
        "mode": "active",
        "timestamp": AT_MS,
        "source": {"type": "user", "userId": CUSTOMER},
        "webhookEventId": "01KAH",
        "deliveryContext": {"isRedelivery": False},
        "replyToken": "token",
        "message": {"id": "1", "type": "text", "text": "9"},
    }
    body = json.dumps({"destination": DESTINATION, "events": [plain | event]}).encode()
    [inbound] = parse_webhook(body)
    return inbound


UNDERSTOOD = {
    "text": Typed("9点です"),
    "text_emoji": Typed("とても良いです🍎"),
    "text_emoji_only": Media("sticker"),
    "text_parentheses": Typed("8(普通)"),
    "text_quoting": Typed("これです"),
    "postback": Tap("nps", "9"),
    "postback_rights": Tap("@rights", "unsubscribe"),
    "postback_foreign": Ignored("postback"),
    "postback_datetime": Ignored("postback"),
    "postback_rich_menu": Ignored("postback"),
    "sticker": Media("sticker"),
    "sticker_with_words": Media("sticker", "楽しみ！"),
    "sticker_of_a_new_kind": Media("sticker"),
    "image": Media("photo"),
    "audio": Media("other"),
    "location": Media("other"),
    "message_of_a_new_kind": Media("other"),
    "follow": Followed(),
    "follow_without_detail": Followed(),
    "unfollow": Blocked(),
    "unsend": Unsent("325708"),
    "message_edited": Ignored("messageEdited"),
    "account_link": Ignored("accountLink"),
    "account_link_failed": Ignored("accountLink"),
    "membership": Ignored("membership"),
    "group_text": Ignored("message"),
    "room_text": Ignored("message"),
    "join": Ignored("join"),
    "delivery": Ignored("delivery"),
    "standby": Typed("9"),
    "mode_of_a_new_kind": Typed("9"),
    "redelivery": Typed("9"),
    "without_user_id": Ignored("message"),
    "event_of_a_new_kind": Ignored("hologram"),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_each_documented_event_is_understood(name: str) -> None:
    [inbound] = load(name)
    assert inbound.content == UNDERSTOOD[name]
    event = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))["events"][0]
    assert (inbound.channel, inbound.workspace, inbound.at_ms) == ("line", DESTINATION, AT_MS)
    assert inbound.event_id == event["webhookEventId"]
    assert json.loads(inbound.raw) == event


def test_every_fixture_has_its_expectation() -> None:
    assert {path.stem for path in FIXTURES.glob("*.json")} == {
        *UNDERSTOOD,
        "empty",
        "console_verify",
        "batch",
    }


def test_a_message_keeps_whom_to_answer_and_with_which_token() -> None:
    [inbound] = load("text")
    assert inbound.external_id == CUSTOMER
    assert len(inbound.reply_token) == 32
    assert inbound.message_id
    assert inbound.session_id == ""
    assert not inbound.standby


def test_a_tap_names_its_session() -> None:
    assert load("postback")[0].session_id == SESSION
    assert load("postback_rights")[0].session_id == ""


@pytest.mark.parametrize("name", ["event_of_a_new_kind", "postback_foreign", "membership", "account_link"])
def test_an_event_that_is_ignored_keeps_its_customer_and_token(name: str) -> None:
    [inbound] = load(name)
    assert inbound.external_id == CUSTOMER
    assert inbound.reply_token


@pytest.mark.parametrize("name", ["group_text", "room_text", "join", "message_edited"])
def test_nothing_can_be_answered_into_a_group(name: str) -> None:
    [inbound] = load(name)
    assert (inbound.external_id, inbound.reply_token) == ("", "")


def test_another_module_owns_the_chat_in_standby_and_in_modes_without_a_token() -> None:
    assert load("standby")[0].standby
    assert load("mode_of_a_new_kind")[0].standby
    assert not one(mode="observer").standby
    assert not load("redelivery")[0].standby


def test_a_connection_check_has_no_events_and_the_old_one_has_dummies_nobody_answers() -> None:
    assert load("empty") == []
    dummies = load("console_verify")
    assert [each.content for each in dummies] == [Ignored("message"), Ignored("message")]
    assert {(each.external_id, each.reply_token) for each in dummies} == {("", "")}


def test_a_batch_is_in_the_order_of_its_timestamps_and_survives_an_odd_event() -> None:
    inbound = load("batch")
    assert [each.content for each in inbound] == [
        Ignored("message"),
        Tap("sat", "4"),
        Blocked(),
        Typed("三番目"),
    ]
    assert inbound[0].event_id == "01KAHODD"
    assert len({each.external_id for each in inbound}) == 3


def test_events_of_one_millisecond_keep_their_order() -> None:
    events = [
        {
            "type": "message",
            "timestamp": AT_MS,
            "source": {"type": "user", "userId": CUSTOMER},
            "webhookEventId": str(number),
            "message": {"id": str(number), "type": "text", "text": str(number)},
        }
        for number in range(5)
    ]
    body = json.dumps({"destination": DESTINATION, "events": events}).encode()
    assert [each.event_id for each in parse_webhook(body)] == ["0", "1", "2", "3", "4"]


def test_an_event_without_an_id_is_named_by_its_bytes() -> None:
    first, again, other = (
        one(webhookEventId=None),
        one(webhookEventId=None),
        one(webhookEventId=None, timestamp=5),
    )
    assert first.event_id == again.event_id
    assert first.event_id.startswith("sha256:")
    assert other.event_id != first.event_id


@pytest.mark.parametrize("timestamp", [None, "1763625600000", -1, 0, 10**19, 1.5, True, [], 10**4000])
def test_an_event_outside_time_is_noted_and_asks_nothing(timestamp: Any) -> None:
    inbound = one(timestamp=timestamp)
    assert (inbound.content, inbound.at_ms, inbound.external_id) == (Ignored("message"), 0, CUSTOMER)


@pytest.mark.parametrize(
    "event",
    [
        {"message": None},
        {"message": "text"},
        {"message": {}},
        {"message": {"type": "text"}},
        {"message": {"type": "text", "text": ""}},
        {"message": {"type": "text", "text": 9}},
        {"message": {"type": ["text"], "text": "9"}},
        {"type": "postback", "postback": None},
        {"type": "postback", "postback": {"data": {"a": 1}}},
        {"type": "unsend", "unsend": {}},
        {"type": "unsend"},
        {"type": None},
        {"type": 5},
        {"source": None},
        {"source": {"type": "planet", "userId": CUSTOMER}},
        {"source": {"type": "user", "userId": 7}},
        {"source": {"type": "user", "userId": "U" * 10_000}},
    ],
)
def test_an_event_of_the_wrong_shape_is_ignored_and_not_lost(event: Any) -> None:
    inbound = one(**event)
    assert isinstance(inbound.content, Ignored)
    assert inbound.event_id == "01KAH"


def test_what_no_database_takes_is_taken_out_of_the_words() -> None:
    assert one(message={"id": "1", "type": "text", "text": "a\x00b\ud800c"}).content == Typed("abc")
    assert one(source={"type": "user", "userId": "U\x00"}).external_id == ""


def test_a_megabyte_of_text_is_cut_where_lines_input_box_ends() -> None:
    content = one(message={"id": "1", "type": "text", "text": "あ" * 1_000_000}).content
    assert isinstance(content, Typed)
    assert len(content.text) == 10_000


@pytest.mark.parametrize(
    "emojis",
    [
        None,
        {},
        [None],
        [{"index": -5, "length": 6}],
        [{"index": 0, "length": 10**12}],
        [{"index": 3, "length": 2}],
        [{"index": "0", "length": "6"}],
        [{"index": 0.5, "length": 6}],
    ],
)
def test_emoji_positions_that_point_nowhere_leave_the_words_alone(emojis: Any) -> None:
    assert one(message={"id": "1", "type": "text", "text": "良い(love)", "emojis": emojis}).content == Typed(
        "良い(love)"
    )


def test_the_same_emoji_position_twice_takes_nothing_more() -> None:
    twice = [{"index": 2, "length": 6}] * 2
    assert one(message={"id": "1", "type": "text", "text": "良い(love)です", "emojis": twice}).content == Typed(
        "良いです"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"not json",
        b"\xff\xfe",
        b'{"events": []}',
        b'{"destination": "U1"}',
        b'{"destination": "U1", "events": null}',
        b'{"destination": "U1", "events": {}}',
        b'{"destination": 7, "events": []}',
        b'{"destination": "", "events": []}',
        b'{"destination": "' + b"U" * 1000 + b'", "events": []}',
        b'{"destination": "U1", "events": []',
        b"[" * 500_000,
        b'{"destination": "U1", "events": [' + b"[" * 500_000 + b"]" * 500_000 + b"]}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=range(18),
)
def test_a_body_that_is_no_webhook_is_refused(body: bytes) -> None:
    with pytest.raises(BadWebhook):
        parse_webhook(body)


def test_one_unreadable_event_does_not_cost_the_others() -> None:
    good = json.dumps({"type": "follow", "timestamp": 5, "source": {"type": "user", "userId": "U2"}})
    for odd in (
        '{"type": "message", "message": {"text": "\\ud800"}}',
        '{"type": "message", "timestamp": ' + "9" * 6000 + "}",
        '{"type": "message", "timestamp": NaN}',
        '{"type": "message", "a": ' + "[" * 600 + "]" * 600 + "}",
        "null",
        "7",
        "[]",
        '"text"',
    ):
        inbound = parse_webhook(f'{{"destination": "U1", "events": [{odd}, {good}]}}'.encode())
        assert Followed() in [each.content for each in inbound], odd
        assert len(inbound) == 2
    [broken, kept] = parse_webhook(b'{"destination": "U1", "events": [{"type": "\xff"}, ' + good.encode() + b"]}")
    assert isinstance(broken.content, Ignored)
    assert kept.content == Followed()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)
fields = st.sampled_from(
    ["type", "mode", "timestamp", "source", "webhookEventId", "replyToken", "message", "postback", "unsend"]
)


@given(st.lists(st.dictionaries(fields, json_values) | json_values, max_size=4))
def test_any_events_give_as_many_inbound(events: list[Any]) -> None:
    body = json.dumps({"destination": "U1", "events": events}).encode()
    inbound = parse_webhook(body)
    assert len(inbound) == len(events)
    assert inbound == sorted(inbound, key=lambda each: each.at_ms)
    for each in inbound:
        each.event_id.encode()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        parse_webhook(body)
    except BadWebhook:
        return
