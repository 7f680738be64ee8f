"""Answers and their roll-up: whatever happens to answers, the roll-up equals a recomputation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from store_rows import DAY, NOON, WEEK, WEEK_BEFORE, answer, customer, event, new_id, session

from storage.errors import Conflict
from storage.records import Answer, Comment
from storage.store import Store, Tx


def cells(tx: Tx, **wanted: str) -> dict[tuple[str, str], tuple[int, int]]:
    """(value, missing) → (answers, customers); and the roll-up is right."""
    kept = tx.rollup("", "9999")
    assert kept == tx.recompute_rollup()
    return {
        (cell.value, cell.missing): (cell.answers, cell.customers)
        for cell in kept
        if all(getattr(cell, name) == value for name, value in wanted.items())
    }


async def test_an_answer_comes_back_as_it_was_recorded(store: Store) -> None:
    given_ = answer("relief;trust", late=True, message_ids="m1;m2", quote_ok=True, segment="渋谷")
    await store.write(lambda tx: tx.record_answer(given_))
    assert await store.read(lambda tx: tx.answers_of_session("S1")) == [given_]


async def test_the_same_answer_twice_is_refused(store: Store) -> None:
    given_ = answer()
    await store.write(lambda tx: tx.record_answer(given_))
    with pytest.raises(Conflict):
        await store.write(lambda tx: tx.record_answer(given_))
    assert await store.read(cells) == {("9", ""): (1, 1)}


async def test_a_correction_replaces_the_counted_answer_and_keeps_the_former_one(store: Store) -> None:
    first, second = answer("2"), answer("9", answered_ms=NOON + 60_000)

    def unit(tx: Tx) -> None:
        tx.record_answer(first)
        tx.record_answer(second)

    await store.write(unit)
    assert await store.read(lambda tx: tx.answers_of_session("S1")) == [second]
    history = await store.read(lambda tx: tx.answers_of_session("S1", history=True))
    assert history == [structs.replace(first, replaced_ms=NOON + 60_000), second]
    assert await store.read(lambda tx: tx.answers_of("C001", history=True)) == history
    assert await store.read(cells) == {("9", ""): (1, 1)}


async def test_a_retracted_answer_stops_counting_and_the_one_before_it_steps_in(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.record_answer(answer("3", session_id="S1", answered_ms=NOON))
        tx.record_answer(answer("9", session_id="S2", answered_ms=NOON + DAY))
        assert cells(tx) == {("3", ""): (1, 0), ("9", ""): (1, 1)}
        tx.retract_answer("S2", "nps", NOON + 2 * DAY)
        tx.retract_answer("S2", "nps", NOON + 3 * DAY)
        tx.retract_answer("S2", "unknown", NOON + 3 * DAY)

    await store.write(unit)
    assert await store.read(cells) == {("3", ""): (1, 1)}


async def test_only_the_latest_answer_of_a_customer_and_week_counts_whatever_order_they_come_in(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.record_answer(answer("9", session_id="S2", answered_ms=NOON + DAY))
        tx.record_answer(answer("3", session_id="S1", answered_ms=NOON))
        tx.record_answer(answer("5", session_id="S3", answered_ms=NOON - 7 * DAY, week=WEEK_BEFORE))

    await store.write(unit)
    assert await store.read(lambda tx: cells(tx, week=WEEK)) == {("3", ""): (1, 0), ("9", ""): (1, 1)}
    assert await store.read(lambda tx: cells(tx, week=WEEK_BEFORE)) == {("5", ""): (1, 1)}


async def test_on_the_same_millisecond_the_highest_id_is_the_latest(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.record_answer(answer("9", id="b", session_id="S2"))
        tx.record_answer(answer("3", id="a", session_id="S1"))

    await store.write(unit)
    assert await store.read(cells) == {("3", ""): (1, 0), ("9", ""): (1, 1)}
    told = await store.read(lambda tx: tx.told_between(NOON, NOON + 1))
    assert [one.value for one in told] == ["3", "9"]


async def test_answers_of_nobody_count_one_by_one(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for number in range(3):
            tx.record_answer(answer("7", customer_id="", session_id=f"S{number}"))
        tx.retract_answer("S0", "nps", NOON)

    await store.write(unit)
    assert await store.read(cells) == {("7", ""): (2, 2)}
    told = await store.read(lambda tx: tx.told_between(NOON, NOON + 1))
    assert [one.value for one in told] == ["7", "7"]


async def test_skipped_and_unknown_answers_are_counted_apart_and_supersede_nobody(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.record_answer(answer("7", session_id="S1"))
        tx.record_answer(answer("", session_id="S2", missing="skipped", answered_ms=NOON + 1))
        tx.record_answer(answer("", session_id="S3", missing="dk", answered_ms=NOON + 2))

    await store.write(unit)
    assert await store.read(cells) == {("7", ""): (1, 1), ("", "skipped"): (1, 0), ("", "dk"): (1, 0)}


async def test_free_text_and_own_questions_are_kept_but_not_rolled_up(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.record_answer(answer("とても良い", question="reason", instrument="reason", numeric=False))
        tx.record_answer(answer("yes", question="gift", instrument=""))
        tx.record_answer(answer("relief;trust", question="emotion", instrument="emotion"))

    await store.write(unit)
    assert await store.read(cells) == {("relief;trust", ""): (1, 1)}
    assert len(await store.read(lambda tx: tx.answers_of("C001"))) == 3


async def test_kinds_and_touchpoints_are_never_pooled(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.record_answer(answer("9", session_id="S1", survey_kind="transactional"))
        tx.record_answer(answer("3", session_id="S2", survey_kind="relational", answered_ms=NOON + 1))
        tx.record_answer(answer("4", session_id="S3", touchpoint="support", answered_ms=NOON + 2))

        tx.record_answer(answer("5", session_id="S4", answered_ms=NOON - 1))
        tx.record_answer(answer("6", session_id="S5", touchpoint="support", answered_ms=NOON + 1))

    await store.write(unit)
    assert await store.read(cells) == {
        ("9", ""): (1, 1),
        ("3", ""): (1, 1),
        ("4", ""): (1, 1),
        ("5", ""): (1, 0),
        ("6", ""): (1, 0),
    }


async def test_a_window_of_several_weeks_counts_each_customer_once(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.record_answer(answer("2", session_id="S1", answered_ms=NOON - 7 * DAY, week=WEEK_BEFORE))
        tx.record_answer(answer("9", session_id="S2", answered_ms=NOON))
        tx.record_answer(answer("6", session_id="S3", customer_id="C002", answered_ms=NOON - 7 * DAY, week=WEEK_BEFORE))
        tx.record_answer(answer("", session_id="S4", customer_id="C002", missing="skipped"))

    await store.write(unit)

    def latest(start_ms: int, end_ms: int) -> Any:
        return lambda tx: {
            cell.value: cell.customers for cell in tx.latest_cells("nps", "transactional", "purchase", start_ms, end_ms)
        }

    assert await store.read(latest(NOON - 8 * DAY, NOON + 1)) == {"9": 1, "6": 1}
    assert await store.read(latest(NOON - 8 * DAY, NOON)) == {"2": 1, "6": 1}  # the end stands outside
    assert await store.read(latest(NOON + 1, NOON + 2)) == {}


async def test_words_taken_back_go_from_the_answer_and_from_its_history(store: Store) -> None:
    def unit(tx: Tx) -> int:
        tx.record_answer(answer("古い言葉", question="reason", instrument="reason", numeric=False, message_ids="m1"))
        tx.record_answer(answer("新しい", question="reason", instrument="reason", numeric=False, message_ids="m1;m2"))
        return tx.forget_words("S1", "m1", NOON + 1)

    assert await store.write(unit) == 2
    assert await store.read(lambda tx: tx.answers_of_session("S1")) == []
    assert {row.value for row in await store.read(lambda tx: tx.answers_of_session("S1", history=True))} == {""}


# ------------------------------------------------------------------------------------------------------- properties

# Few values, the usual one several times: collisions are what the roll-up is about.
_ANSWERS = st.fixed_dictionaries(
    {
        "session_id": st.sampled_from(["S1", "S2", "S3"]),
        "question": st.sampled_from(["nps", "nps", "again"]),
        "instrument": st.sampled_from(["nps", "nps", "nps", "nps", ""]),
        "customer_id": st.sampled_from(["C001", "C001", "C001", "C002", ""]),
        "touchpoint": st.sampled_from(["purchase", "purchase", "purchase", "support"]),
        "wording_id": st.sampled_from(["w1", "w1", "w1", "w2"]),
        "week": st.sampled_from([WEEK, WEEK, WEEK, WEEK_BEFORE]),
        "answered_ms": st.integers(NOON - 2, NOON + 2),
        "missing": st.sampled_from(["", "", "", "", "skipped", "dk"]),
        "numeric": st.sampled_from([True, True, True, True, False]),
        "value": st.sampled_from(["1", "9", "a;b"]),
    }
)
_RECORD = st.tuples(st.just("record"), _ANSWERS)
_RETRACT = st.tuples(
    st.just("retract"), st.tuples(st.sampled_from(["S1", "S2", "S3"]), st.sampled_from(["nps", "again"]))
)
_ERASE = st.sampled_from([("erase_session", "S1"), ("erase_answers", "C002"), ("erase_customer", "C001")])
_STEPS = st.lists(st.one_of(_RECORD, _RECORD, _RECORD, _RETRACT, _ERASE), min_size=6, max_size=30)


class _Undo(Exception):
    pass


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_the_roll_up_equals_a_recomputation_after_anything(store: Store, steps: list[tuple[str, Any]]) -> None:
    def unit(tx: Tx) -> None:
        for number in (1, 2, 3):
            tx.new_session(session(f"S{number}"))
        for what, subject in steps:
            match what:
                case "record":
                    value = "" if subject["missing"] else subject["value"]
                    tx.record_answer(answer(**(subject | {"value": value, "id": new_id("A")})))
                case "retract":
                    tx.retract_answer(*subject, NOON)
                case "erase_session":
                    tx.erase_answers("C001", NOON, session_id=subject)
                case "erase_answers":
                    tx.erase_answers(subject, NOON)
                case "erase_customer":
                    tx.erase_customer(subject, NOON)
            assert tx.rollup("", "9999") == tx.recompute_rollup()
            assert all(cell.answers > 0 for cell in tx.rollup("", "9999"))
        raise _Undo  # leaves the database as it was for the next example

    with pytest.raises(_Undo):
        await store.write(unit)


async def test_answers_past_their_age_go_and_their_counts_stay(store: Store) -> None:
    old, new = answer(answered_ms=NOON - 30 * DAY, week="2026-10-12"), answer("3", session_id="S2", id=new_id("A"))
    await store.write(lambda tx: (tx.new_session(session("S1")), tx.record_answer(old), tx.record_answer(new)))
    assert await store.write(lambda tx: tx.forget_before(NOON - 20 * DAY, NOON, limit=10)) == 1
    assert await store.write(lambda tx: tx.forget_before(NOON - 20 * DAY, NOON, limit=10)) == 0

    def left(tx: Tx) -> tuple[object, ...]:
        return (
            tx.answers_of_session("S1", history=True),
            tx.find_session("S1").state,  # type: ignore[union-attr]
            [a.value for a in tx.answers_of_session("S2")],
            {cell.week: cell.answers for cell in tx.rollup("", "9999")},
            tx.check_integrity(),
        )

    assert await store.read(left) == ([], "", ["3"], {"2026-10-12": 1, WEEK: 1}, [])


async def test_free_text_comes_with_the_latest_rating_of_its_session(store: Store) -> None:
    def words(value: str, **other: Any) -> Answer:
        reason = {"question": "reason", "instrument": "reason", "wording_id": "reason.score", "numeric": False}
        return answer(value, **(reason | other))

    def unit(tx: Tx) -> None:
        tx.record_answer(answer("3", answered_ms=NOON - 9))
        tx.record_answer(answer("9", question="again", answered_ms=NOON - 5))
        tx.record_answer(answer("", question="third", missing="skipped", answered_ms=NOON - 4))
        tx.record_answer(words("丁寧でした", quote_ok=True, segment="渋谷"))
        tx.record_answer(words("", session_id="S2", missing="skipped", answered_ms=NOON + 1))
        tx.record_answer(words("店の設問", session_id="S3", instrument=""))
        tx.record_answer(words("あとで", session_id="S4", answered_ms=NOON + 60_000))

    await store.write(unit)
    found = await store.read(lambda tx: tx.comments_between(NOON, NOON + 60_000, rated_by="nps"))
    assert found == [
        Comment(
            "reason", "transactional", "purchase", "渋谷", "reason.score", "C001", NOON, "丁寧でした", "9", True, "line"
        ),
        Comment("reason", "transactional", "purchase", "", "reason.score", "C001", NOON + 1, "", "", False, "line"),
    ]


async def test_answers_to_several_questions_and_the_purchase_before_each_are_found(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_customer(customer())
        for number, (occurred_ms, type_) in enumerate(
            ((1, "purchase"), (3, "purchase"), (4, "return"), (6, "purchase"))
        ):
            tx.note_event(event(f"E{number}", type_, occurred_ms=NOON + occurred_ms))
        for number, instrument in enumerate(("nps", "repeat_intent", "jcsi6_e1")):
            given = answer(
                id=f"A{number}", session_id=f"S{number}", question=instrument, instrument=instrument, wave_id="W1"
            )
            tx.record_answer(structs.replace(given, answered_ms=NOON + 5))
        tx.record_answer(
            answer(id="A9", session_id="S9", customer_id="C002", instrument="repeat_intent", answered_ms=NOON + 5)
        )

    await store.write(unit)
    several = ("jcsi6_e1", "nps")
    found = await store.read(lambda tx: tx.answers_between(NOON, NOON + 9, instruments=several))
    assert [(a.instrument, a.wave_id) for a in found] == [("nps", "W1"), ("jcsi6_e1", "W1")]
    bought = await store.read(lambda tx: tx.bought_before(NOON, NOON + 9, instrument="repeat_intent"))
    assert bought == {"A1": NOON + 3}
    await store.write(lambda tx: tx.retract_answer("S0", "nps", NOON + 9))
    history = await store.read(lambda tx: tx.answers_of("C001", history=True))
    assert {a.wave_id for a in history} == {"W1"}
