"""The built-in flows, talked through at random in both languages: what customers read never has a gap, stays short and
holds no word that is not said to customers."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from flows.builtin import builtin_library
from flows.engine import (
    Ask,
    Begin,
    Choice,
    Dates,
    Elapsed,
    Input,
    Output,
    Record,
    Reply,
    Say,
    State,
    Tap,
    Typed,
    new_state,
    step,
)
from flows.survey import Flow
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


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("flow_id", FLOWS)
def test_a_content_customer_taps_to_the_end_within_five_countable_answers(flow_id: str, lang: Lang) -> None:
    flow = LIBRARY.flows[flow_id]
    best = {"ces_effort": "1"}
    for parity in (0, 1):
        state = new_state(flow, lang=lang, vars=VARS[lang], facts={})
        at_ms, day = 1_700_000_000_000, date(2026, 11, 19) + timedelta(weeks=parity)
        moved = step(flow, state, Begin(at_ms=at_ms, local_date=day))
        recorded: list[str] = []
        for _ in range(20):
            ask = next((output for output in moved.outputs if isinstance(output, Ask)), None)
            recorded += [output.question for output in moved.outputs if isinstance(output, Record)]
            if ask is None:
                break
            question = flow.question(ask.question)
            at_ms += 2_000
            if question.kind == "text":
                tap = Tap(ask.controls[0].node, ask.controls[0].value)
            elif question.kind == "multi":
                tap = Tap(question.id, question.exclusive)
            elif question.kind == "yes_no":
                tap = Tap(question.id, "yes")
            else:
                tap = Tap(question.id, best.get(question.instrument, str(question.high)))
            moved = step(flow, moved.state, Reply(at_ms, tap, DATES[lang]))
        counted = {q for q in recorded if flow.question(q).numeric}
        assert {q.id for q in flow.questions if q.weeks == ""} - {"emotion.other"} <= set(recorded)
        assert 1 <= len(counted) <= (8 if flow.survey_kind == "relational" else 5)
