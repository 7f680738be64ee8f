"""The flows that come with Koe, as LINE shows them: every bubble reachable by taps, skips and odd words."""

from __future__ import annotations

import json
from datetime import date

import pytest
from linebot.v3.messaging import Message

from bot import buttons
from bot.channel import JsonObject
from bot.line import messages, validate_messages
from bot.line.messages import encode_messages, pack_bubbles, render_messages, unpack_bubbles
from flows.builtin import builtin_library
from flows.engine import new_state, step
from flows.exchange import Ask, Begin, Content, Dates, Media, Reply, Say, Tap, Typed
from flows.state import State

SESSION = "0197a3c2-1111-7000-8000-000000000001"
MONDAY = date(2026, 11, 16)
AT_MS = 1_795_050_000_000
VALUES = {
    "ja": {
        "name": "田中",
        "brand": "声の店",
        "team": "お客さま窓口",
        "item": "季節のギフトセット（大）",
        "order.item": "季節のギフトセット（大）",
        "here": "このトーク",
        "privacy_url": "https://example.com/privacy",
        "support_hours": "平日10:00〜17:00",
        "retention": "2年",
    },
    "en": {
        "name": "Hanako",
        "brand": "Koe Store",
        "team": "our team",
        "item": "the seasonal gift set",
        "order.item": "the seasonal gift set",
        "here": "this chat",
        "privacy_url": "https://example.com/privacy",
        "support_hours": "Mon–Fri 10:00–17:00",
        "retention": "2 years",
    },
}
DATES = Dates(reply_by="11月24日（火）18:00まで", later="11月24日（火）", again="11月30日（月）")
LIBRARY = builtin_library()


def offered(bubble: Say | Ask) -> list[Content]:
    """What a customer could do with it: its first, middle and last choice, all else that is shown, odd things."""
    choices = bubble.choices
    some = {choices[index] for index in (0, len(choices) // 2, -1)} if choices else set()
    also = (*bubble.controls, *bubble.exits, *bubble.small_choices) if isinstance(bubble, Ask) else ()
    taps: list[Content] = [Tap(choice.node, choice.value) for choice in (*sorted(some, key=str), *also)]
    return [*taps, Typed("うーん"), Typed("戻る"), Media("sticker")]


def walk(flow_id: str, lang: str, most: int = 400) -> list[tuple[Say | Ask, ...]]:
    """The turns of a flow, breadth first, each state once."""
    flow = LIBRARY.flows[flow_id]
    state = new_state(flow, lang=lang, vars=VALUES[lang], facts={})
    first = step(flow, state, Begin(at_ms=AT_MS, local_date=MONDAY, first_contact=True, sample=0.5))
    turns: list[tuple[Say | Ask, ...]] = []
    waiting: list[tuple[State, tuple[Say | Ask, ...]]] = []
    seen: set[tuple[Say | Ask, ...]] = set()

    def take(state: State, bubbles: tuple[Say | Ask, ...]) -> None:
        if bubbles and bubbles not in seen:
            seen.add(bubbles)
            turns.append(bubbles)
            waiting.append((state, bubbles))

    take(first.state, tuple(out for out in first.outputs if isinstance(out, Say | Ask)))
    while waiting and len(turns) < most:
        state, bubbles = waiting.pop(0)
        for number, content in enumerate(offered(bubbles[-1])):
            reply = Reply(at_ms=AT_MS + 60_000, content=content, dates=DATES, message_id=str(number))
            after = step(flow, state, reply)
            take(after.state, tuple(out for out in after.outputs if isinstance(out, Say | Ask)))
    return turns


def tapped(message: JsonObject) -> set[tuple[str, str]]:
    """All that can be tapped in a message's bubble and quick replies."""
    found = set()
    components = [message.get("contents", {}).get("body", {}), *message.get("quickReply", {}).get("items", [])]
    while components:
        component = components.pop()
        action = component.get("action", {})
        if action.get("type") == "postback":
            button = buttons.parse(action["data"])
            assert button is not None
            found.add((button.node, button.value))
        components += component.get("contents", ())
    return found


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("flow_id", sorted(LIBRARY.flows))
def test_every_bubble_of_the_flow_is_valid_and_shows_all_that_can_be_tapped(flow_id: str, lang: str) -> None:
    turns = walk(flow_id, lang)
    assert len(turns) > 10
    for bubbles in turns:
        assert unpack_bubbles(json.loads(pack_bubbles(bubbles))) == bubbles, "what was stored is sent after a restart"
        messages = render_messages(bubbles, SESSION, lang)
        assert validate_messages(messages) == []
        assert len(messages) == len(bubbles)
        for message in messages:
            assert Message.from_dict(message).to_dict() == message
        last, shown = bubbles[-1], tapped(messages[-1])
        wanted = {(choice.node, choice.value) for choice in last.choices}
        if isinstance(last, Ask):
            more = (*last.controls, *last.exits, *last.small_choices)
            wanted |= {(choice.node, choice.value) for choice in more}
            if isinstance(last.chosen, tuple):
                wanted -= {(last.question, value) for value in last.chosen}
        assert shown == wanted


def test_a_rendering_that_is_kept_holds_nothing_of_one_customer_and_the_questions_still_find_it() -> None:
    kept = messages._encoded
    kept.cache_clear()
    for name, item, session in (("田中", "青いマグカップ", SESSION), ("佐藤", "赤い傘", SESSION.replace("1", "2"))):
        flow = LIBRARY.flows["after_purchase"]
        values = {**VALUES["ja"], "name": name, "item": item}
        state = new_state(flow, lang="ja", vars=values, facts={"order": {"item": item}})
        talk: list[Content] = [Tap("sat", "4"), Typed("戻る"), Tap("sat", "2"), Typed("むむ"), Tap("nps", "8")]
        talk += [Typed(f"{name}です"), Typed("スキップ"), Typed("4")]
        result = step(flow, state, Begin(AT_MS, MONDAY))
        before = kept.cache_info()
        encode_messages(tuple(o for o in result.outputs if isinstance(o, Ask)), session, "ja")
        assert kept.cache_info() == before, "an invitation bears a name"
        for number, content in enumerate(talk, 1):
            result = step(flow, result.state, Reply(AT_MS + number * 10_000, content, DATES))
            bubbles = tuple(output for output in result.outputs if isinstance(output, Say | Ask))
            before = kept.cache_info()
            encoded = encode_messages(bubbles, session, "ja").decode()
            assert session in encoded or not any(isinstance(b, Ask) and b.choices for b in bubbles)
            after = kept.cache_info()
            if any(words in encoded for words in (name, item)):
                assert after == before
            elif session != SESSION and bubbles and all(isinstance(bubble, Ask) for bubble in bubbles):
                assert after.hits == before.hits + 1, "the second customer is asked what the first one was"
    assert kept.cache_info().currsize == kept.cache_info().hits > 3
