"""The built-in flows, talked through at random in both languages: what customers read never has a gap, stays short and
holds no word that is not said to customers."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from flows.builtin import builtin_library
from flows.engine import new_state, step
from flows.exchange import Ask, Begin, Choice, Dates, Elapsed, End, Input, Output, Record, Reply, Say, Tap, Typed
from flows.flow import Flow
from flows.source import parse_yaml
from flows.state import State
from flows.texts import LANGS, Lang

LIBRARY = builtin_library()
FLOWS = sorted(LIBRARY.flows)
DATES: dict[Lang, Dates] = {
    "ja": Dates("11月24日（火）18:00まで", "11月24日（火）", "11月28日（土）"),
    "en": Dates("by Tue 24 Nov, 18:00", "Tue 24 Nov", "Sat 28 Nov"),
}
VARS: dict[Lang, dict[str, str]] = {
    "ja": {
        "name": "田中",
        "brand": "声の店",
        "team": "お客さま窓口",
        "here": "このトーク",
        "item": "季節のギフトセット（大）",
        "expires": "11月30日（月）",
        "date": "11月23日（月）",
        "privacy_url": "https://example.com/privacy",
        "retention": "2年",
        "support_hours": "平日10:00〜17:00",
    },
    "en": {
        "name": "Hanako",
        "brand": "Koe Store",
        "team": "our team",
        "here": "this chat",
        "item": "the gift set",
        "expires": "Mon 30 Nov",
        "date": "Mon 23 Nov",
        "privacy_url": "https://example.com/privacy",
        "retention": "2 years",
        "support_hours": "Mon–Fri 10:00–17:00",
    },
}
TYPED = [
    "8",
    "9点",
    "はい",
    "戻る",
    "スキップ",
    "ヘルプ",
    "特にない",
    "決定",
    "8か9",
    "???",
    "箱がつぶれていました",
    "交換できますか",
    "やめる",
    "満足",
    "わからない",
]


def talk(flow: Flow, lang: Lang, seed: int, *, turns: int = 25) -> Iterator[tuple[Output, ...]]:
    """The outputs of each turn of one talk; the state goes through text between every two."""
    chance = random.Random(seed)
    facts = {"order.item": VARS[lang]["item"]} if seed % 4 else {}
    known = {k: v for k, v in VARS[lang].items() if seed % 4 or k not in ("name", "item", "expires")}
    state = new_state(flow, lang=lang, vars=known, facts=facts)
    at_ms = 1_700_000_000_000
    week = date(2026, 11, 19) + timedelta(weeks=seed % 2)
    said: Input = Begin(at_ms=at_ms, local_date=week, first_contact=seed % 3 == 0, sample=chance.random())
    offered: list[Choice] = []
    for turn in range(turns):
        moved = step(flow, state, said)
        yield moved.outputs
        for output in moved.outputs:
            if isinstance(output, Ask):
                offered = [*output.choices, *output.controls, *output.exits, *output.small_choices]
            elif isinstance(output, Say):
                offered += output.choices
        state = State.parse(moved.state.dump())
        at_ms += chance.choice((500, 3_000, 60_000))
        if chance.random() < 0.65 and offered:
            choice = chance.choice(offered)
            said = Reply(at_ms, Tap(choice.node, choice.value), DATES[lang])
        elif chance.random() < 0.2:
            said = Elapsed(at_ms, chance.choice(("text", "remind")), DATES[lang])
        else:
            said = Reply(at_ms, Typed(chance.choice(TYPED)), DATES[lang], message_id=str(turn))


NEVER = re.compile(
    r"[{}！!…]|スコア|NPS|CES|セッション|エラー|無効|推奨者|批判者|\bNone\b(?! in)|様様|^様|、、|。。|  ", re.MULTILINE
)


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("flow_id", FLOWS)
def test_no_talk_shows_a_gap_a_long_bubble_or_a_word_that_is_not_said(flow_id: str, lang: Lang) -> None:
    flow = LIBRARY.flows[flow_id]
    for seed in range(60):
        for outputs in talk(flow, lang, seed):
            bubbles = [output for output in outputs if isinstance(output, Say | Ask)]
            assert len(bubbles) <= 2, outputs
            for bubble in bubbles:
                text = f"{bubble.intro}\n\n{bubble.text}".strip() if isinstance(bubble, Ask) else bubble.text
                assert text.strip() == text
                assert not NEVER.search(text), text
                assert "\n\n\n" not in text, text
                assert sum(1 for line in text.split("\n") if line) <= 5, text
                assert len(text) <= (120 if lang == "ja" else 300), text
                assert all(choice.label and "{" not in choice.label for choice in bubble.choices)
                if isinstance(bubble, Ask):
                    assert bubble.alt
                    assert len(bubble.alt) <= (40 if lang == "ja" else 80)
                    assert VARS[lang]["item"] not in bubble.alt


def answered(
    flow: Flow, lang: Lang, *, week: int = 0, part: int = 1, sample: float = 0.0, **facts: object
) -> list[str]:
    """The questions that a customer who is content with everything is asked, in their order, each answered."""
    best = {"ces_effort": "1"}
    state = new_state(flow, lang=lang, vars=VARS[lang], facts=facts, part=part)
    at_ms, day = 1_700_000_000_000, date(2026, 11, 19) + timedelta(weeks=week)
    moved = step(flow, state, Begin(at_ms=at_ms, local_date=day, sample=sample))
    recorded: list[str] = []
    for _ in range(20):
        ask = next((output for output in moved.outputs if isinstance(output, Ask)), None)
        recorded += [output.question for output in moved.outputs if isinstance(output, Record)]
        if ask is None:
            break
        assert ask.text.strip()
        question = flow.question(ask.question)
        at_ms += 2_000
        said: Input
        if question.kind == "text":
            words = Reply(at_ms, Typed("良かったです" if lang == "ja" else "It was good"), DATES[lang], message_id="m")
            at_ms += 10_000
            moved, said = step(flow, moved.state, words), Elapsed(at_ms, "text", DATES[lang])
        elif question.kind == "multi":
            said = Reply(at_ms, Tap(question.id, question.exclusive), DATES[lang])
        elif question.kind == "yes_no":
            said = Reply(at_ms, Tap(question.id, "yes"), DATES[lang])
        else:
            said = Reply(at_ms, Tap(question.id, best.get(question.instrument, str(question.high))), DATES[lang])
        moved = step(flow, State.parse(moved.state.dump()), said)
    assert moved.outputs[-1] == End("completed")
    return recorded


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("flow_id", FLOWS)
def test_a_content_customer_is_asked_every_question_of_a_session_and_no_more_than_are_allowed(
    flow_id: str, lang: Lang
) -> None:
    flow = LIBRARY.flows[flow_id]
    for week in (0, 1):
        for part in range(1, flow.parts + 1):
            recorded = answered(flow, lang, week=week, part=part)
            counted = {question for question in recorded if flow.question(question).numeric}
            always = {q.id for q in flow.questions if q.part == part and not (q.weeks or q.block or q.when)}
            assert always <= set(recorded)
            assert 1 <= len(counted) <= (8 if flow.survey_kind == "relational" else 5)


# ------------------------------------------------------------------------------------------------ every instrument


def alone(instrument: str) -> Flow:
    """A survey with this question only."""
    text = f"""\
id: alone
survey_kind: relational
touchpoint: relationship
invite: inv.relational
questions: [{{id: it, instrument: {instrument}}}]
endings: [{{when: unhappy, say: end.apology}}, {{say: end.middle}}]
"""
    return LIBRARY.read_flow(parse_yaml(text.encode(), "alone.yaml"))


def test_every_instrument_can_be_asked_and_answered_in_both_languages() -> None:
    for instrument in LIBRARY.instruments:
        flow = alone(instrument)
        for lang in LANGS:
            assert answered(flow, lang) == ["it"], (instrument, lang)


def test_every_instrument_but_the_other_versions_of_one_is_asked_by_a_flow_or_a_block() -> None:
    asked = {question.instrument for flow in LIBRARY.flows.values() for question in flow.questions}
    asked |= {item.instrument for block in LIBRARY.blocks.values() for item in block.items}
    assert set(LIBRARY.instruments) - asked == {"csat5", "csat10", "ces_ease", "buy_reason", "expectation"}


# -------------------------------------------------------------------------------------------------------- blocks

SUPPORT = {"event.type": "ticket_resolved"}
BLOCKS = """\
id: points
survey_kind: transactional
touchpoint: purchase
invite: inv.purchase
questions: [{id: sat, instrument: sat5}]
blocks: {ask: [purchase, digital, support]}
endings: [{say: end.middle}]
"""


def asked_block(flow: Flow, sample: float, **facts: object) -> list[str]:
    return [question for question in answered(flow, "ja", sample=sample, **facts) if flow.question(question).block]


def test_half_of_the_support_surveys_ask_the_support_block() -> None:
    flow = LIBRARY.flows["after_support"]
    with_block = sum(bool(asked_block(flow, draw / 400, **SUPPORT)) for draw in range(400))
    assert 160 <= with_block <= 240
    assert not any(asked_block(flow, draw / 50) for draw in range(50)), "no event, nothing that it is about"


def test_consistency_gives_way_to_trouble_after_an_incident() -> None:
    flow = LIBRARY.flows["after_support"]
    draw = next(draw / 100 for draw in range(100) if asked_block(flow, draw / 100, **SUPPORT))
    usual = ["support.exp_response", "support.exp_support"]
    assert asked_block(flow, draw, **SUPPORT) == [*usual, "support.exp_consistency"]
    incident = {"customer.days_since_incident": 20}
    assert asked_block(flow, draw, **SUPPORT, **incident) == [*usual, "support.exp_trouble"]
    long_ago = {"customer.days_since_incident": 181}
    assert asked_block(flow, draw, **SUPPORT, **long_ago) == [*usual, "support.exp_consistency"]


def test_one_of_the_blocks_that_fit_the_event_is_asked_each_as_likely() -> None:
    flow = LIBRARY.read_flow(parse_yaml(BLOCKS.encode(), "points.yaml"))
    drawn = [asked_block(flow, draw / 400, **{"event.type": "delivery"}) for draw in range(400)]
    whole = {
        "purchase": ["product", "price", "info", "delivery", "packaging"],
        "digital": ["site", "checkout", "info", "followup"],
    }
    for name, items in whole.items():
        times = drawn.count([f"{name}.exp_{item}" for item in items])
        assert 160 <= times <= 240, name
    assert all(drawn)


def test_an_unhappy_customer_is_spared_the_block_and_hears_the_apology() -> None:
    flow = LIBRARY.flows["after_support"]
    draw = next(draw / 100 for draw in range(100) if asked_block(flow, draw / 100, **SUPPORT))
    state = new_state(flow, lang="ja", vars=VARS["ja"], facts=SUPPORT)
    moved = step(flow, state, Begin(at_ms=1_000, local_date=date(2026, 11, 19), sample=draw))
    for at_ms, value in (
        (3_000, Tap("effort", "7")),
        (6_000, Tap("sat", "1")),
        (9_000, Tap("@control", "skip:reason")),
    ):
        moved = step(flow, moved.state, Reply(at_ms, value, DATES["ja"]))
    assert moved.outputs[-1] == End("completed")
    assert any(isinstance(output, Say) and "申し訳ございません" in output.text for output in moved.outputs)
