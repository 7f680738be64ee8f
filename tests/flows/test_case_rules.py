"""What may be done with a case, and what becomes of it: every deed in every state, and whatever order they come in."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.builtin import builtin_library
from flows.cases import (
    BEHAVIOURS,
    DAY_MS,
    OUTCOMES,
    Answer,
    Claim,
    Deed,
    HandOver,
    Outcome,
    Refusal,
    Resolve,
    Snooze,
    Standing,
    StillAProblem,
    Wrote,
    act,
    behaviour_of,
    is_thanks,
)

NOW = 1_795_050_000_000
OPEN = Standing("open")
MINE = Standing("claimed", "U1")
SETTLED = Standing("settled", "U1", settled_ms=NOW, outcome="exchange")


@pytest.mark.parametrize(
    ("case", "deed", "after"),
    [
        (OPEN, Claim("U1"), MINE),
        (MINE, Claim("U1"), MINE),
        (MINE, Claim("U2"), "taken"),
        (SETTLED, Claim("U1"), "settled"),
        (Standing("grace"), Claim("U1"), "grace"),
        (OPEN, HandOver("U1", "U2"), Standing("claimed", "U2")),
        (MINE, HandOver("U1", "U2"), Standing("claimed", "U2")),
        (MINE, HandOver("U2", "U1"), "already"),
        (MINE, Snooze("U1", NOW + DAY_MS), Standing("claimed", "U1", NOW + DAY_MS)),
        (MINE, Snooze("U1", NOW), "snooze_past"),
        (MINE, Snooze("U1", NOW + 31 * DAY_MS), "snooze_far"),
        (OPEN, Answer("U2"), Standing("claimed", "U2")),
        (MINE, Answer("U2"), MINE),
        (Standing("claimed", "U1", NOW + 1), Answer("U1"), MINE),
        (OPEN, Resolve("U1", "refund"), Standing("settled", "U1", settled_ms=NOW, outcome="refund")),
        (MINE, Resolve("U2", "refund"), Standing("settled", "U1", settled_ms=NOW, outcome="refund")),
        (SETTLED, Resolve("U1", "refund"), "settled"),
        (SETTLED, Answer("U1"), "settled"),
        (Standing("settled", outcome="erased"), Answer("U1"), "erased"),
        (Standing("claimed", "U1", NOW + 1), Wrote("まだです"), MINE),
        (SETTLED, Wrote("まだ届きません"), MINE),
        (SETTLED, Wrote("ありがとうございました。"), "settled"),
        (Standing("settled", settled_ms=NOW - 8 * DAY_MS, outcome="refund"), Wrote("こんにちは"), "settled"),
        (Standing("settled", settled_ms=NOW, outcome="mis_tap"), Wrote("こんにちは"), "settled"),
        (Standing("settled", settled_ms=NOW, outcome="erased"), Wrote("こんにちは"), "erased"),
        (Standing("settled", settled_ms=NOW - 90 * DAY_MS, outcome="refund"), StillAProblem(), OPEN),
        (SETTLED, StillAProblem(), MINE),
    ],
)
def test_each_deed(case: Standing, deed: Deed, after: Standing | Refusal) -> None:
    assert act(case, deed, NOW) == after


STAFF = st.sampled_from(["U1", "U2", "U3"])
DEEDS = st.one_of(
    st.builds(Claim, STAFF),
    st.builds(HandOver, STAFF, STAFF),
    st.builds(Snooze, STAFF, st.integers(NOW - DAY_MS, NOW + 90 * DAY_MS)),
    st.builds(Answer, STAFF),
    st.builds(Resolve, STAFF, st.sampled_from(OUTCOMES)),
    st.builds(Wrote, st.text(max_size=80)),
    st.just(StillAProblem()),
)


@given(st.lists(st.tuples(DEEDS, st.integers(0, 3 * DAY_MS)), max_size=30))
def test_whatever_happens_a_case_stays_whole(deeds: list[tuple[Deed, int]]) -> None:
    case, now_ms = OPEN, NOW
    for deed, passed_ms in deeds:
        now_ms += passed_ms
        after = act(case, deed, now_ms)
        if not isinstance(after, Standing):
            assert after in get_args(Refusal)
            continue
        # somebody has it exactly when it is claimed; it has an end and an outcome exactly when it is settled
        assert bool(after.assignee) or after.state != "claimed"
        assert (after.state == "settled") == (after.settled_ms is not None) == bool(after.outcome)
        # only the customer opens what staff have settled
        if case.state == "settled" and after.state != "settled":
            assert isinstance(deed, Wrote | StillAProblem)
        # a claim is taken away by a hand-over only
        if case.state == after.state == "claimed" and case.assignee != after.assignee:
            assert isinstance(deed, HandOver)
        case = after


@pytest.mark.parametrize(
    "text",
    [
        "ありがとうございます",
        "ご対応ありがとうございました！",
        "早速のご返信、ありがとうございます。",
        "Thanks!",
        "thank you so much.",
    ],
)
def test_thanks_open_nothing_again(text: str) -> None:
    assert is_thanks(text)


@pytest.mark.parametrize(
    "text", ["", "ありがとう、でもまだ届きません", "Thank you, but it is still broken", "助かりません", "thanks " * 20]
)
def test_anything_more_than_thanks_does(text: str) -> None:
    assert not is_thanks(text)


@pytest.mark.parametrize(
    ("reason", "words", "effort", "expected"),
    [
        ("undelivered", "", False, "late"),
        ("unsolved", "壊れています", False, "unsolved"),
        ("unhappy", "箱がつぶれていた", False, "damaged"),
        ("unhappy", "届くのが遅れました", False, "late"),
        ("unhappy", "返信が遅い", True, "effort"),
        ("unhappy", "サイズを間違えて送ってきた", False, "wrong"),
        ("unhappy", "I will translate it", False, "general"),
        ("unhappy", "", True, "effort"),
        ("request", "交換できますか", False, "request"),
        ("trust_drop", "", False, "general"),
    ],
)
def test_what_an_apology_must_admit(reason: str, words: str, effort: bool, expected: str) -> None:
    assert behaviour_of(reason, words, effort=effort) == expected


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_every_text_to_start_from_has_a_time_and_apologises(behaviour: str, lang: str) -> None:
    reply_by = "11月24日（火）17:00まで" if lang == "ja" else "by Tue 24 Nov, 17:00"
    text = builtin_library().deck.text(f"care.{behaviour}", lang, {"reply_by": reply_by})
    assert reply_by in text
    assert behaviour == "request" or ("申し訳ございません" if lang == "ja" else "sorry") in text


def test_every_outcome_is_named_once() -> None:
    assert get_args(Outcome) == OUTCOMES
