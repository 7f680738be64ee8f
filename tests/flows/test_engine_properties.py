"""Any flow, any inputs: `step` never raises, ends or keeps waiting, survives dump and load, records only what its
question allows."""

from __future__ import annotations

import json
from datetime import date
from itertools import permutations
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from talks import DATES, START_MS, VARS, Talk, library

from flows.engine import new_state, step, summary
from flows.exchange import (
    Ask,
    Begin,
    Choice,
    Content,
    Elapsed,
    End,
    Input,
    Media,
    NotOurs,
    Record,
    Reply,
    Retract,
    Say,
    Stop,
    Tap,
    Typed,
    Unsent,
    Wake,
)
from flows.flow import Flow, Question
from flows.source import DefinitionErrors, parse_yaml
from flows.state import State
from tests.examples import of_each_hundred

BOTH = {"ja": "問い", "en": "A question"}
OWN: dict[str, dict[str, Any]] = {
    "scale": {"type": "scale", "text": BOTH, "low": 1, "high": 4},
    "choice": {
        "type": "choice",
        "text": BOTH,
        "choices": [{"value": value, "text": {"ja": value, "en": value}} for value in ("a", "b", "c")],
    },
    "multi": {
        "type": "multi",
        "text": BOTH,
        "choices": [{"value": value, "text": {"ja": value, "en": value}} for value in ("a", "b", "other", "none")],
        "exclusive": "none",
        "other": "other",
        "shuffle": True,
    },
    "yes_no": {"type": "yes_no", "text": BOTH},
    "text": {"type": "text", "text": BOTH},
}
WHEN: dict[str, list[dict[str, Any]]] = {
    "scale": [{"gte": 3}, {"lt": 2}],
    "choice": [{"in": ["a", "b"]}, {"ne": "a"}],
    "multi": [{"eq": "a"}, {"not_in": ["none"]}],
    "yes_no": [{"eq": "yes"}],
    "text": [{"ne": ""}],
}


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """A flow that an author could have written; those the loader refuses are not drawn again but left out."""
    kinds = draw(st.lists(st.sampled_from([*OWN, "sat5", "nps", "reason", "emotion"]), min_size=1, max_size=6))
    questions: list[dict[str, Any]] = []
    for index, kind in enumerate(kinds):
        body = dict(OWN[kind]) if kind in OWN else {"instrument": kind}
        body["id"] = f"q{index}"
        earlier = [(f"q{i}", k) for i, k in enumerate(kinds[:index]) if k in WHEN]
        if earlier and draw(st.booleans()):
            name, its_kind = draw(st.sampled_from(earlier))
            body["when"] = {name: draw(st.sampled_from(WHEN[its_kind]))}
        if draw(st.integers(0, 5)) == 0:
            body["weeks"] = draw(st.sampled_from(["even", "odd"]))
        questions.append(body)
    flow = {
        "id": "any",
        "survey_kind": "relational",
        "touchpoint": "any",
        "invite": "inv.relational",
        "exits": draw(st.sampled_from([[], ["undelivered", "unused"], ["unsolved"]])),
        "questions": questions,
        "endings": [{"when": "unhappy", "say": "end.apology"}, {"say": "end.middle"}],
    }
    try:
        return library().read_flow(parse_yaml(json.dumps(flow).encode(), "any.yaml"))
    except DefinitionErrors:
        questions[:] = [{key: value for key, value in question.items() if key != "when"} for question in questions]
        return library().read_flow(parse_yaml(json.dumps(flow).encode(), "any.yaml"))


WORDS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "9",
            "８くらい",
            "8か9",
            "はい",
            "いいえ",
            "戻る",
            "back",
            "スキップ",
            "やめる",
            "担当者",
            "ヘルプ",
            "わからない",
            "決定",
            "a",
            "1と2",
            "全部",
            "特にない",
            "満足",
            "まだ届いていない",
            "交換できますか",
            "続ける",
            "ここで終える",
            "連絡を希望する",
            "配信停止",
            "あとで",
            "",
            " ",
            "👍",
            "\ud800",
            "x" * 3000,
        ]
    ),
)
NODES = st.sampled_from(
    ["q0", "q1", "q2", "q3", "q1.other", "@exit", "@later", "@contact", "@inquiry", "@control", "@rights", "", "?"]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            "0",
            "1",
            "2",
            "3",
            "5",
            "9",
            "a",
            "b",
            "other",
            "none",
            "a;b",
            "none;a",
            "yes",
            "no",
            "skip:q0",
            "skip:q1",
            "skip",
            "done",
            "remove",
            "person",
            "back",
            "change",
            "erase",
            "go",
            "end",
            "later",
            "never",
            "undelivered",
            "unused",
            "unsolved",
            "-1",
            "٣",
            "999999999999",
        ]
    ),
    st.text(max_size=5),
)
CONTENT: st.SearchStrategy[Content] = st.one_of(
    st.builds(Typed, WORDS),
    st.builds(Tap, NODES, VALUES),
    st.builds(Media, st.sampled_from(["sticker", "photo", "other"]), st.text(max_size=3)),
    st.builds(Unsent, st.sampled_from(["m0", "m1", "m2", ""])),
)
MOVES = st.lists(
    st.tuples(
        st.one_of(
            CONTENT,
            st.sampled_from(["text", "remind", "expire", "nothing"]),
            st.sampled_from([Stop(0, "voided"), Stop(0, "erased"), Stop(0, "blocked")]),
            st.just(None),
        ),
        st.one_of(st.integers(-20_000, 60_000), st.just(900_000)),
    ),
    max_size=40,
)


def may_stand(question: Question, value: object) -> bool:
    """Whether this is an answer to it."""
    if question.kind == "scale":
        return type(value) is int and question.low <= value <= question.high
    if question.kind == "text":
        return isinstance(value, str) and bool(value.strip())
    if question.kind == "multi":
        alone = isinstance(value, tuple) and question.exclusive in value and len(value) > 1
        return isinstance(value, tuple) and value == tuple(c for c in question.codes if c in value) != () and not alone
    return value in question.codes


def as_input(move: object, at_ms: int, index: int) -> Input:
    match move:
        case str():
            return Elapsed(at_ms, move, DATES["ja"])
        case Stop(_, reason):
            return Stop(at_ms, reason)
        case None:
            return Begin(at_ms, date(2026, 11, 16), True, 0.5)
        case _:
            return Reply(at_ms, move, DATES["ja"], message_id=f"m{index % 4}")  # type: ignore[arg-type]


@settings(max_examples=of_each_hundred(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(flows(), MOVES, st.sampled_from(["ja", "en"]), st.sampled_from([date(2026, 11, 9), date(2026, 11, 16)]))
def test_any_inputs_to_any_flow_keep_every_promise(
    flow: Flow, moves: list[tuple[Any, int]], lang: str, week: date
) -> None:
    state = new_state(flow, lang=lang, vars=VARS[lang], facts={})
    at_ms = START_MS
    ended = 0
    inputs: list[Input] = [Begin(at_ms, week, False, 0.1)]
    for index, (move, after) in enumerate(moves):
        at_ms += after
        inputs.append(as_input(move, at_ms, index))
    for event in inputs:
        before = state.dump()
        result = step(flow, state, event)
        assert state.dump() == before, "the state that was given is not touched"
        text = result.state.dump()
        json.loads(text)
        state = State.parse(text)
        assert state == result.state
        bubbles = [output for output in result.outputs if isinstance(output, Ask | Say)]
        assert len(bubbles) <= 2
        for output in result.outputs:
            match output:
                case Record(question, value):
                    asked = flow.question(question)
                    assert may_stand(asked, value) or (value is None and output.missing in ("skipped", "dk"))
                    assert not isinstance(value, str) or len(value) <= 1000
                case Retract(question):
                    assert flow.find(question)
                case Ask():
                    assert output.text.strip()
                    assert output.alt
                    check_buttons((*output.choices, *output.controls, *output.exits, *output.small_choices))
                    assert output.kind == "text" or output.choices
                case Say():
                    assert output.text.strip()
                    assert "{" not in output.text
                    check_buttons(output.choices)
                case Wake():
                    assert output.at_ms > event.at_ms
                case NotOurs():
                    assert result.outputs == (output,)
                    assert text == before, "the conversation stands where it stood"
                case End():
                    ended += 1
        assert ended <= 1, "it ends once"
        assert (state.phase == "done") == bool(ended)
        if state.phase == "asking":
            waiting = flow.question(state.at)
            assert waiting.id in state.shown
        assert all(given.name for given in summary(flow, state))


def check_buttons(choices: tuple[Choice, ...]) -> None:
    assert len({(choice.node, choice.value) for choice in choices}) == len(choices)
    for choice in choices:
        assert choice.label
        assert len(choice.value) <= 60


@settings(max_examples=of_each_hundred(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(flows(), st.integers(0, 10))
def test_a_patient_customer_reaches_the_end_of_any_flow(flow: Flow, pick: int) -> None:
    talk = Talk(flow, sample=pick / 11)
    outputs = talk.do("begin")
    for _ in range(40):
        if talk.state.phase == "done":
            break
        ask = next(output for output in outputs if isinstance(output, Ask))
        if ask.kind == "text":
            talk.do("type よかったです")
            outputs = talk.do("timer text")
        else:
            choice = ask.choices[pick % len(ask.choices)]
            outputs = talk.do(f"tap {choice.node} {choice.value}")
            if ask.kind == "multi" and talk.state.at == ask.question and talk.state.phase == "asking":
                outputs = talk.do("tap @control done")
    assert talk.state.outcome == "completed"
    assert set(talk.answers) == set(talk.state.answers)


@settings(max_examples=of_each_hundred(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(flows())
def test_a_stored_definition_is_the_same_flow(flow: Flow) -> None:
    again = library().flow_from(flow.definition())
    assert again.revision == flow.revision
    assert again.definition() == flow.definition()


def test_taps_delivered_in_any_order_give_the_same_answers() -> None:
    flow = library().flows["unboxing"]
    taps = [("sat", "2", 10), ("delight", "4", 20), ("sat", "5", 30), ("delight", "3", 40)]
    wanted: dict[str, object] | None = None
    for order in permutations(taps):
        talk = Talk(flow)
        talk.do("begin")
        for node, value, at_s in order:
            result = step(flow, talk.state, Reply(START_MS + at_s * 1000, Tap(node, value), DATES["ja"]))
            talk.state = State.parse(result.state.dump())
            talk.log += result.outputs
        wanted = wanted or {"sat": 5, "delight": 3}
        assert talk.answers == wanted, order


@given(st.permutations([("10", 10), ("2つめ", 11), ("3つめ", 12)]), st.integers(0, 2))
def test_bubbles_of_a_comment_are_put_in_the_order_they_were_written(
    order: list[tuple[str, int]], closed_after: int
) -> None:
    flow = library().flows["after_purchase"]
    talk = Talk(flow)
    talk.do("begin", after=0)
    talk.do("tap sat 4", after=1)
    talk.do("tap nps 8", after=1)
    for index, (words, at_s) in enumerate(order):
        event = Reply(START_MS + at_s * 1000, Typed(words), DATES["ja"], message_id=f"w{at_s}")
        result = step(flow, talk.state, event)
        talk.state, talk.log = State.parse(result.state.dump()), [*talk.log, *result.outputs]
        if index == closed_after:
            result = step(flow, talk.state, Elapsed(START_MS + 20_000, "text", DATES["ja"]))
            talk.state, talk.log = State.parse(result.state.dump()), [*talk.log, *result.outputs]
    assert talk.answers["reason"] == "10\n2つめ\n3つめ"
    assert "affinity" not in talk.answers
