"""The built-in surveys, answered in Slack from the first button to the last, with the real engine behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from functools import cache
from itertools import product
from typing import Any, Literal

import pytest

from bot.channel import Ignored, Turn
from bot.slack import messages
from bot.slack.messages import choices_again, parse_action, parse_event, render_turn
from bot.standins.blocks import validate_message, validate_view
from flows.builtin import builtin_library
from flows.engine import asked, new_state, step
from flows.exchange import Ask, Begin, Dates, Elapsed, End, Input, Record, Reply, Say, Typed
from flows.state import State
from flows.survey import Library

DECK = builtin_library().deck
SESSION = "0197a3c2-1111-7000-8000-000000000001"
START_MS = 1_795_050_000_000
DATES = Dates("11月24日（火）18:00まで", "11月25日（水）", "12月1日（火）")
VARS = {
    "name": "田中",
    "brand": "声の店",
    "team": "お客さま窓口",
    "here": "このDM",
    "expires": "11月30日（月）",
    "date": "11月16日（月）",
    "privacy_url": "https://shop.example/privacy",
    "retention": "2年",
    "support_hours": "平日10:00〜17:00",
}


@cache
def library() -> Library:
    return builtin_library()


class Customer:
    """A customer in Slack: sees what is rendered, and clicks on it."""

    def __init__(self, flow_id: str, lang: Literal["ja", "en"], monday: date) -> None:
        self.flow = library().flows[flow_id]
        self.lang = lang
        self.state: State = new_state(self.flow, lang=lang, vars=VARS, facts={})
        self.now_ms = START_MS
        self.recorded: list[Record] = []
        self.ended = ""
        self.question: Ask | None = None
        self.shown: list[Any] = []
        """The blocks of the question that waits."""
        self.answered: dict[str, list[Any]] = {}
        """The blocks of the messages that were updated, by question."""
        self.step(Begin(START_MS, monday, first_contact=True))

    def step(self, given: Input) -> None:
        moved = step(self.flow, self.state, given)
        self.state = State.parse(moved.state.dump())
        records = [output for output in moved.outputs if isinstance(output, Record)]
        shown = {record.question: asked(self.flow, self.state, record.question) for record in records}
        turn = Turn(
            session_id=SESSION,
            lang=self.lang,
            bubbles=tuple(output for output in moved.outputs if isinstance(output, Say | Ask)),
            recorded=tuple(records),
            shown={question: ask for question, ask in shown.items() if ask is not None},
        )
        asks = {bubble.question: bubble for bubble in turn.bubbles if isinstance(bubble, Ask)}
        for call in render_turn(turn, "U1", DECK):
            args = call.payload["args"]
            assert validate_message(args) == []
            assert args["text"].strip()
            if call.asks:
                self.question, self.shown = asks[call.asks], args["blocks"]
            if call.updates:
                self.answered[call.updates] = args["blocks"]
        self.recorded += records
        self.ended = next((output.outcome for output in moved.outputs if isinstance(output, End)), self.ended)

    def click(self, element: dict[str, Any], **changes: Any) -> None:
        self.now_ms += 5000
        action = {
            "action_id": element["action_id"],
            "value": element.get("value"),
            "action_ts": str(self.now_ms / 1000),
        }
        body = {"type": "block_actions", "user": {"id": "U1"}, "team": {"id": "T1"}, "actions": [action]}
        self.send({**body, "container": {"message_ts": "1.1"}, **changes})

    def send(self, body: dict[str, Any]) -> None:
        inbound = parse_action(body, workspace="T1", now_ms=self.now_ms)
        assert inbound is not None
        assert inbound.session_id == SESSION
        assert not isinstance(inbound.content, Ignored)
        self.step(Reply(self.now_ms, inbound.content, DATES, inbound.message_id))  # type: ignore[arg-type]

    def answer(self, pick: int) -> None:
        """Answer the question that waits with the control at this place."""
        assert self.question is not None
        match self.question.kind:
            case "multi":
                state: dict[str, Any] = {}
                for block in self.shown:
                    for element in block.get("elements", ()):
                        if element["type"] == "checkboxes":
                            chosen = element["options"][: pick or 1]
                            state[block["block_id"]] = {element["action_id"]: {"selected_options": chosen}}
                (done,) = [button for button in elements(self.shown) if button["action_id"] == messages.DONE]
                self.click(done, state={"values": state})
            case "text":
                (write,) = [button for button in elements(self.shown) if button["action_id"] == messages.WRITE]
                view = messages.answer_view(write["value"], DECK)
                assert view is not None
                assert validate_view(view) == []
                self.now_ms += 5000
                state = {"values": {"answer": {"answer": {"value": "とても使いやすいです"}}}}
                self.send(
                    {"type": "view_submission", "user": {"id": "U1"}, "view": {**view, "id": "V1", "state": state}}
                )
                self.now_ms += 6000
                self.step(elapsed_text(self.now_ms))
            case _:
                taps = [button for button in elements(self.shown) if button["action_id"].startswith(messages.TAP)]
                self.click(taps[min(pick, len(self.question.choices) - 1)])


def elapsed_text(at_ms: int) -> Input:
    return Elapsed(at_ms, "text", DATES)


def elements(blocks: list[Any]) -> Iterator[dict[str, Any]]:
    for block in blocks:
        if block["type"] == "actions":
            yield from block["elements"]


@pytest.mark.parametrize("flow_id", sorted(library().flows))
def test_a_built_in_survey_is_answered_to_its_end_by_clicking(flow_id: str) -> None:
    languages: tuple[Literal["ja", "en"], ...] = ("ja", "en")
    for lang, monday, pick in product(languages, (date(2026, 11, 16), date(2026, 11, 23)), (0, 1, 3, 99)):
        customer = Customer(flow_id, lang, monday)
        for _ in range(12):
            if customer.ended:
                break
            customer.answer(pick)
        assert customer.ended == "completed", (lang, monday, pick)
        assert customer.recorded, (lang, monday, pick)
        assert all(record.value is not None for record in customer.recorded)
        assert set(customer.answered) == {record.question for record in customer.recorded}, (lang, monday, pick)


@pytest.mark.parametrize("flow_id", sorted(library().flows))
def test_every_answer_can_be_changed_afterwards(flow_id: str) -> None:
    customer = Customer(flow_id, "ja", date(2026, 11, 16))
    for _ in range(12):
        if customer.ended:
            break
        customer.answer(1)
    first = {record.question: record.value for record in customer.recorded}
    changed = 0
    for question, blocks in list(customer.answered.items()):
        change = [button for button in elements(blocks) if button["action_id"] == messages.CHANGE]
        if not change:
            continue
        again = choices_again(change[0]["value"], blocks)
        assert again is not None
        assert validate_message({"blocks": again}) == []
        taps = [button for button in elements(again) if button["action_id"].startswith(messages.TAP)]
        if not taps:
            continue
        before = len(customer.recorded)
        customer.click(taps[2] if len(taps) > 2 else taps[0])
        assert len(customer.recorded) > before, json.dumps(again, ensure_ascii=False)
        assert customer.recorded[before].question == question
        assert customer.recorded[before].value != first[question]
        changed += 1
    assert changed


def test_an_edited_message_changes_the_comment_it_is_part_of_and_nothing_else() -> None:
    customer = Customer("after_purchase", "ja", date(2026, 11, 16))
    while customer.question is not None and customer.question.kind != "text":
        customer.answer(1)
    for number, words in enumerate(("箱がつぶれて", "いました")):
        customer.now_ms += 1000
        customer.step(Reply(customer.now_ms, Typed(words), DATES, f"17.{number}"))
    customer.now_ms += 6000
    customer.step(elapsed_text(customer.now_ms))
    assert customer.recorded[-1].value == "箱がつぶれて\nいました"

    edited = {"user": "U1", "ts": "17.0", "text": "箱がきれいで &lt;3"}
    event = {"type": "message", "subtype": "message_changed", "channel": "D1", "channel_type": "im", "message": edited}
    body = {"event_id": "Ev9", "event": {**event, "previous_message": {"text": "箱がつぶれて"}, "event_ts": "18.0"}}
    before = len(customer.recorded)
    inbound = parse_event(body, workspace="T1")
    customer.step(Reply(customer.now_ms + 1, inbound.content, DATES, inbound.message_id))  # type: ignore[arg-type]
    assert customer.recorded[before:][0].value == "箱がきれいで <3\nいました"
    assert len(customer.recorded) == before + 1
