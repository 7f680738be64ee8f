"""Pages by key: every row once, in order of time, however many share an instant."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs
from store_rows import DAY, NOON, answer, case, event, session

from storage.records import Answer, Case
from storage.store import Store, Tx


def _all_answers(tx: Tx, limit: int, **wanted: object) -> list[Answer]:
    found: list[Answer] = []
    while True:
        page = tx.answers_page(0, NOON + 9 * DAY, after=found[-1] if found else None, limit=limit, **wanted)  # type: ignore[arg-type]
        found += page
        if len(page) < limit:
            return found


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_of_answers_make_up_the_whole(store: Store, limit: int) -> None:
    given = [
        answer(
            "9", session_id=f"S{n % 4}", question=f"q{n}", answered_ms=NOON + n // 6 * 1000, segment="渋谷" * (n % 2)
        )
        for n in range(12)
    ]

    def unit(tx: Tx) -> None:
        for one in given:
            tx.record_answer(one)
        # corrected twice, the second time within the same millisecond
        first = given[0]
        for value in ("3", "4"):
            tx.record_answer(structs.replace(first, id=f"{first.id}-{value}", value=value, answered_ms=NOON + 5))

    await store.write(unit)
    ids = lambda found: [one.id for one in found]  # noqa: E731
    counted = await store.read(lambda tx: _all_answers(tx, limit))
    assert sorted(ids(counted)) == sorted([f"{given[0].id}-4", *ids(given[1:])])
    assert [one.answered_ms for one in counted] == sorted(one.answered_ms for one in counted)
    history = await store.read(lambda tx: _all_answers(tx, limit, history=True))
    assert len(set(ids(history))) == len(history) == 14
    assert {one.id for one in history if one.replaced_ms is not None} == {given[0].id, f"{given[0].id}-3"}
    segment = await store.read(lambda tx: _all_answers(tx, limit, segment="渋谷"))
    assert sorted(ids(segment)) == sorted(ids(given[1::2]))
    assert await store.read(lambda tx: _all_answers(tx, limit, flow="another")) == []
    assert await store.read(Tx.answers_span) == (NOON, NOON + 1000)
    assert await store.read(lambda tx: tx.answers_page(NOON + 1, NOON + 5)) == []


async def test_pages_of_cases_come_with_their_survey(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.new_session(session("S1", segment="渋谷"))
        for n in range(5):
            tx.put_case(case(f"K{n}", customer_id=f"C{n}", session_id="S1" if n % 2 else "", opened_ms=NOON + n // 3))

    await store.write(unit)

    def read(tx: Tx, **wanted: str) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        after: Case | None = None
        while page := tx.cases_page(0, NOON + DAY, after=after, limit=2, **wanted):  # type: ignore[arg-type]
            found += [(one.case.id, one.flow_id, one.segment) for one in page]
            after = page[-1].case
        return found

    assert await store.read(read) == [
        ("K0", "", ""),
        ("K1", "after_purchase", "渋谷"),
        ("K2", "", ""),
        ("K3", "after_purchase", "渋谷"),
        ("K4", "", ""),
    ]
    assert [row[0] for row in await store.read(lambda tx: read(tx, segment="渋谷"))] == ["K1", "K3"]
    assert [row[0] for row in await store.read(lambda tx: read(tx, flow="after_purchase"))] == ["K1", "K3"]
    assert await store.read(Tx.cases_span) == (NOON, NOON + 1)


async def test_pages_of_events_are_of_all_types_unless_some_are_named(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for n in range(5):
            tx.note_event(event(f"e{n}", "purchase" if n % 2 else "visit"))

    await store.write(unit)
    assert [e.id for e in await store.read(lambda tx: tx.events_page(0, NOON + 1))] == ["e0", "e1", "e2", "e3", "e4"]
    named = await store.read(lambda tx: tx.events_page(0, NOON + 1, types=("purchase",)))
    assert [e.id for e in named] == ["e1", "e3"]
    assert await store.read(Tx.events_span) == (NOON, NOON)


@pytest.mark.parametrize("span", [Tx.answers_span, Tx.events_span, Tx.cases_span])
async def test_of_nothing_there_is_no_span(store: Store, span: Callable[[Tx], object]) -> None:
    assert await store.read(span) is None
