"""Closed weeks as columns: the same as their rows, whatever was changed, added or deleted since they were made."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_history import MONDAY, NOW_MS, TOKYO, monday_ms, weeks_ago

from reports.columns import packed, texts_of, unpacked
from reports.event_tables import RawEvents
from reports.look_back import (
    AnswerWeeks,
    answer_columns,
    columns_form,
    deeds_between,
    event_columns,
    keep_weeks,
    read_events,
    weeks_over,
    written_between,
    written_weeks,
)
from storage.records import Answer, Event, Told
from storage.store import Store, Tx, open_store
from tests.examples import of_each_hundred

FORM = columns_form("answers", TOKYO)
SPAN = (monday_ms(weeks_ago(3)), monday_ms(MONDAY))
"""Three weeks that are over before the last one begins."""
WEEKS = [week for _, week in weeks_over(*SPAN, TOKYO)]
CUSTOMERS = ("C001", "C002", "")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await open_store(f"sqlite:///{tmp_path / 'koe.db'}", now_ms=NOW_MS) as opened:
        yield opened


def answer(number: int, **fields: Any) -> Answer:
    given_ = {
        "session_id": "S1",
        "customer_id": "C001",
        "instrument": "nps",
        "value": "9",
        "missing": "",
        "channel": "line",
        "answered_ms": SPAN[0],
    } | fields
    at_ms = given_["answered_ms"]
    return Answer(
        id=f"A{number:04}",
        question=given_["instrument"],
        wording_id="w1",
        label_set="",
        numeric=given_["instrument"] != "reason",
        lang="ja",
        survey_kind="transactional",
        touchpoint="purchase",
        segment="umeda",
        flow_id="f",
        revision="r",
        shown_ms=at_ms - 5_000,
        week=next(monday for monday, _ in weeks_over(at_ms, at_ms + 1, TOKYO)).isoformat(),
        **given_,
    )


def begin(tx: Tx, builder: str) -> None:
    tx.begin_columns("answers", WEEKS, builder=builder)


def keep(tx: Tx, builder: str) -> list[bool]:
    return [
        tx.keep_columns(
            "answers",
            week,
            packed(answer_columns(tx, *week)),
            form=FORM,
            stored=tx.stored_between("answers", *week),
            builder=builder,
        )
        for week in WEEKS
    ]


def as_told(tx: Tx) -> list[Told]:
    """The answers as they are read: from columns where there are any, else from rows."""
    weeks = AnswerWeeks(tx, TOKYO)
    return [
        Told(weeks.customers[who], at_ms, *weeks.cells[cell])
        for part in weeks.between(*SPAN)
        for who, cell, at_ms in zip(part.who.tolist(), part.cell.tolist(), part.at_ms.tolist(), strict=True)
    ]


def left_on_disk(tx: Tx) -> set[Told]:
    """Every answer in any columns, whether they are still read or not."""
    found = set()
    for (columns,) in tx._db.all("SELECT columns FROM week_columns WHERE builder = ''"):
        week = unpacked(columns)
        customers, cells = texts_of(week["customers"]), texts_of(week["cells"])
        for who, cell, at_ms in zip(*(week[name].tolist() for name in ("who", "cell", "at_ms")), strict=True):
            found.add(Told(customers[who], at_ms, *cells[cell]))
    return found


class _Undo(Exception):
    pass


_ANSWERS = st.fixed_dictionaries(
    {
        "session_id": st.sampled_from(["S1", "S2"]),
        "customer_id": st.sampled_from(CUSTOMERS),
        "instrument": st.sampled_from(["nps", "nps", "reason"]),
        "value": st.sampled_from(["0", "9"]),
        "missing": st.sampled_from(["", "", "", "skipped"]),
        "channel": st.sampled_from(["line", "slack"]),
        # the first and the last millisecond of a week, and ties between
        "answered_ms": st.builds(
            lambda week, at_ms: week[0] + at_ms,
            st.sampled_from(WEEKS[:2]),
            st.sampled_from([0, 1, 1, 7 * 86_400_000 - 1]),
        ),
    }
)
_STEPS = st.lists(
    st.one_of(
        *[st.tuples(st.just("record"), _ANSWERS)] * 4,
        *[st.tuples(st.just("keep"), st.none())] * 2,
        st.tuples(st.just("retract"), st.tuples(st.sampled_from(["S1", "S2"]), st.sampled_from(["nps", "reason"]))),
        st.tuples(st.just("erase answers"), st.sampled_from(["S1", "S2"])),
        st.tuples(st.just("erase customer"), st.sampled_from(["C001", "C002"])),
        st.tuples(st.just("forget"), st.sampled_from([WEEKS[0][1], WEEKS[1][0] + 5])),
        st.tuples(st.just("begin"), st.none()),
        st.tuples(st.just("keep what was begun"), st.none()),
    ),
    min_size=6,
    max_size=30,
)


def play(tx: Tx, steps: list[tuple[str, Any]]) -> Iterator[str]:
    """What was done, step by step."""
    read: list[tuple[int, bytes]] = []
    for number, (what, subject) in enumerate(steps):
        match what:
            case "record":
                tx.record_answer(answer(number, **subject))
            case "keep":
                begin(tx, "me")
                assert keep(tx, "me") == [True] * len(WEEKS)
            case "begin":
                begin(tx, "slow")
                read = [(tx.stored_between("answers", *week), packed(answer_columns(tx, *week))) for week in WEEKS]
            case "keep what was begun":
                for week, (stored, columns) in zip(WEEKS, read, strict=False):
                    tx.keep_columns("answers", week, columns, form=FORM, stored=stored, builder="slow")
            case "retract":
                tx.retract_answer(*subject, NOW_MS)
            case "erase answers":
                tx.erase_answers("", NOW_MS, session_id=subject)
            case "erase customer":
                tx.erase_customer(subject, NOW_MS)
            case "forget":
                tx.forget_before(subject, NOW_MS, limit=10)
        yield what


@settings(deadline=None, max_examples=of_each_hundred(80), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_columns_say_what_the_rows_say_after_any_history(store: Store, steps: list[tuple[str, Any]]) -> None:
    """Kept early, kept late, read before something changed and kept after it."""

    def unit(tx: Tx) -> None:
        for what in play(tx, steps):
            rows = tx.told_between(*SPAN)
            assert as_told(tx) == rows, what
            written = [(monday, written_between(tx, *week)) for monday, week in weeks_over(*SPAN, TOKYO)]
            assert list(written_weeks(tx, *SPAN, tz=TOKYO)) == written, what
            assert left_on_disk(tx) <= set(rows), what
        raise _Undo  # leaves the database as it was for the next example

    with pytest.raises(_Undo):
        await store.write(unit)


_REMOVALS: dict[str, Callable[[Tx], object]] = {
    "a correction": lambda tx: tx.record_answer(answer(9, value="0")),
    "an answer taken back": lambda tx: tx.retract_answer("S1", "nps", NOW_MS),
    "a message taken back": lambda tx: tx.forget_words("S1", "m1", NOW_MS),
    "a session erased": lambda tx: tx.erase_answers("", NOW_MS, session_id="S1"),
    "a customer erased": lambda tx: tx.erase_customer("C001", NOW_MS),
    "the end of the retention": lambda tx: tx.forget_before(WEEKS[0][1], NOW_MS, limit=10),
}


@pytest.mark.parametrize("what", _REMOVALS)
async def test_columns_go_with_an_answer_that_goes_and_those_of_other_weeks_stay(store: Store, what: str) -> None:
    def unit(tx: Tx) -> None:
        tx.record_answer(answer(1, message_ids="m1"))
        tx.record_answer(answer(2, session_id="S2", customer_id="C002", answered_ms=WEEKS[1][0]))
        begin(tx, "me")
        assert keep(tx, "me") == [True] * len(WEEKS)
        assert left_on_disk(tx) == set(tx.told_between(*SPAN))
        _REMOVALS[what](tx)
        assert left_on_disk(tx) == {Told("C002", WEEKS[1][0], *tx.told_between(*WEEKS[1])[0][2:])}
        assert tx.kept_between("answers", *SPAN, form=FORM) == WEEKS[1:]

    await store.write(unit)


async def test_what_was_read_before_an_answer_went_is_not_kept_even_after_somebody_else_began(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.record_answer(answer(1))
        begin(tx, "slow")
        stored, columns = tx.stored_between("answers", *WEEKS[0]), packed(answer_columns(tx, *WEEKS[0]))
        tx.record_answer(answer(2, value="0"))
        assert not tx.keep_columns("answers", WEEKS[0], columns, form=FORM, stored=stored, builder="slow")
        begin(tx, "quick")
        assert not tx.keep_columns("answers", WEEKS[0], columns, form=FORM, stored=stored, builder="slow")
        assert keep(tx, "quick") == [True] * len(WEEKS)
        assert [told.value for told in as_told(tx)] == ["0"]

    await store.write(unit)


async def test_a_customer_counts_once_a_week_where_the_latest_comment_is(store: Store) -> None:
    written = [
        ("C001", "丁寧でした", "line"), ("C001", "and quick", "slack"), ("C001", "スキップ", "line"),
        ("C002", "fine", "slack"), ("", "㉑", "line"), ("", "\u200b", "line"),
    ]  # fmt: skip

    def unit(tx: Tx) -> None:
        for number, (customer, words, channel) in enumerate(written):
            given_ = {"customer_id": customer, "value": words, "channel": channel, "answered_ms": SPAN[0] + number}
            tx.record_answer(answer(number, instrument="reason", session_id=f"S{number}", **given_))
        found = written_between(tx, *WEEKS[0])
        assert {(where.lang, where.channel): n for where, n in found.items()} == {("en", "slack"): 2, ("en", "line"): 1}

    await store.write(unit)


# -------------------------------------------------------------------------------------------------------------- events

_DATA = {
    "purchase": {"order": "O1", "amount": "1,200円", "product": "mug", "discount": True},
    "delivery": {"order": "O1", "due": "2026-11-04", "at": "2026-11-03 10:00"},
    "referral": {"new_customer": "C009", "referrer": "C002"},
    "contract_renew": {},
    "faq_search": {"query": "送料"},
}
_EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(sorted(_DATA)),
        "customer_id": st.sampled_from(CUSTOMERS),
        "occurred_ms": st.builds(
            lambda week, at_ms: week[0] + at_ms, st.sampled_from(WEEKS), st.sampled_from([0, 1, 2])
        ),
    }
)
_HAPPENED = st.lists(
    st.one_of(
        *[st.tuples(st.just("note"), _EVENTS)] * 4,
        *[st.tuples(st.just("keep"), st.none())] * 2,
        st.tuples(st.just("erase"), st.sampled_from(["C001", "C002"])),
    ),
    min_size=4,
    max_size=25,
)


def told(events: RawEvents) -> dict[str, list[Any]]:
    """Column → values, texts as texts: whatever order these came in."""
    columns = events.columns()
    texts = texts_of(columns["texts"])
    return {
        name: texts_of(column)
        if column.dtype == "uint8"
        else [texts[code] for code in column.tolist()]
        if column.dtype == "int32"
        else [repr(value) for value in column.tolist()]
        for name, column in columns.items()
        if name != "texts" and len(column)
    }


@settings(deadline=None, max_examples=of_each_hundred(80), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_HAPPENED, cut=st.tuples(st.sampled_from([0, 1]), st.sampled_from([1, 2])))
async def test_events_in_columns_are_those_of_the_rows(
    store: Store, steps: list[tuple[str, Any]], cut: tuple[int, int]
) -> None:
    """Whole weeks, and windows that begin and end inside one."""
    form = columns_form("events", TOKYO)

    def unit(tx: Tx) -> None:
        for number, (what, subject) in enumerate(steps):
            if what == "note":
                data = json.dumps(_DATA[subject["type"]], ensure_ascii=False)
                tx.note_event(Event(id=f"E{number:02}", received_ms=NOW_MS, data=data, **subject))
            elif what == "erase":
                tx.erase_customer(subject, NOW_MS)
            else:
                tx.begin_columns("events", WEEKS, builder="me")
                for week in WEEKS:
                    columns, stored = packed(event_columns(tx, *week, TOKYO)), tx.stored_between("events", *week)
                    assert tx.keep_columns("events", week, columns, form=form, stored=stored, builder="me")
            for start_ms, end_ms in (SPAN, (WEEKS[0][0] + cut[0], WEEKS[1][0] + cut[1])):
                read, rows = RawEvents(TOKYO), RawEvents(TOKYO)
                read_events(tx, read, start_ms, end_ms)
                rows.add(deeds_between(tx, start_ms, end_ms))
                assert told(read) == told(rows), what
            if what == "erase":
                kept = tx._db.all("SELECT columns FROM week_columns WHERE builder = ''")
                assert all(f'"{subject}"'.encode() not in columns for (columns,) in kept)
        raise _Undo

    with pytest.raises(_Undo):
        await store.write(unit)


async def test_columns_of_events_go_with_a_customer_who_is_erased_and_with_whom_they_referred(store: Store) -> None:
    form = columns_form("events", TOKYO)
    happened = [("purchase", "C001"), ("referral", ""), ("purchase", "C002")]

    def unit(tx: Tx) -> None:
        tx.begin_columns("events", WEEKS, builder="me")
        for number, (week, (what, customer)) in enumerate(zip(WEEKS, happened, strict=True)):
            data = json.dumps({"new_customer": "C009", "referrer": "C001"} if what == "referral" else {})
            tx.note_event(Event(f"E{number}", what, week[0], NOW_MS, customer, data))
            columns, stored = packed(event_columns(tx, *week, TOKYO)), tx.stored_between("events", *week)
            assert tx.keep_columns("events", week, columns, form=form, stored=stored, builder="me")
        tx.erase_customer("C001", NOW_MS)
        assert tx.kept_between("events", *SPAN, form=form) == WEEKS[2:]
        assert not [row for row in tx._db.all("SELECT columns FROM week_columns") if b"C001" in row[0]]

    await store.write(unit)


# ------------------------------------------------------------------------------------------------------- keeping them


async def test_a_week_is_made_once_and_anew_after_it_changed(store: Store) -> None:
    def answers(tx: Tx) -> None:
        for number, (start_ms, _) in enumerate(WEEKS):
            tx.record_answer(answer(number, session_id=f"S{number}", answered_ms=start_ms))
            tx.record_answer(answer(number + 10, session_id=f"T{number}", answered_ms=start_ms + 1))

    async def kept(now_ms: int = NOW_MS, worth_keeping: int = 2) -> int:
        return await keep_weeks(
            store,
            *SPAN,
            subject="answers",
            now_ms=now_ms,
            tz=TOKYO,
            builder="me",
            worth_keeping=worth_keeping,
        )

    await store.write(answers)
    assert await kept(worth_keeping=3) == 0
    assert await kept(now_ms=WEEKS[1][1]) == 2
    assert [await kept(), await kept()] == [1, 0]
    await store.write(lambda tx: tx.record_answer(answer(20, session_id="late", answered_ms=WEEKS[1][0])))
    assert [await kept(), await kept()] == [1, 0]
    await store.write(lambda tx: tx.retract_answer("S0", "nps", NOW_MS))
    assert [await kept(), await kept()] == [0, 0]
    assert [await kept(worth_keeping=1), await kept(worth_keeping=1)] == [1, 0]
    # other settings make other columns of the same time
    found = await store.read(lambda tx: tx.kept_between("answers", *SPAN, form="other"))
    assert found == []
    with pytest.raises(ValueError, match="no week is that long"):
        await store.write(lambda tx: tx.begin_columns("answers", [SPAN], builder="me"))
