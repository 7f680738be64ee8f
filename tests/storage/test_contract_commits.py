"""Units of work: all or nothing, apart from each other, durable before they are answered (P1, P5, P13)."""

from __future__ import annotations

import asyncio
import threading

import pytest
from msgspec import structs
from store_rows import NOON, answer, case, customer, digest, event, invitation, job, session

from storage import failpoints
from storage.errors import Conflict, StoreBusy, StoreError
from storage.store import Store, Tx, open_store


async def test_units_of_many_callers_all_come_back_with_their_own_result(store: Store) -> None:
    def unit(number: int) -> object:
        def write(tx: Tx) -> int:
            assert tx.note_inbound("line", "Udest", f"e{number}", NOON)
            return number

        return write

    results = await asyncio.gather(*(store.write(unit(number)) for number in range(300)))  # type: ignore[arg-type]
    assert results == list(range(300))


async def test_a_failing_unit_is_undone_alone(store: Store) -> None:
    class Refused(Exception):
        pass

    def good(number: int) -> object:
        return lambda tx: tx.note_inbound("line", "Udest", f"good{number}", NOON)

    def bad(number: int) -> object:
        def write(tx: Tx) -> None:
            tx.note_inbound("line", "Udest", f"bad{number}", NOON)
            raise Refused(number)

        return write

    units = [good(n) if n % 3 else bad(n) for n in range(60)]
    results = await asyncio.gather(*(store.write(unit) for unit in units), return_exceptions=True)  # type: ignore[arg-type]
    assert [isinstance(result, Refused) for result in results] == [n % 3 == 0 for n in range(60)]

    def check(tx: Tx) -> None:
        for number in range(60):
            kind = "good" if number % 3 else "bad"
            assert tx.note_inbound("line", "Udest", f"{kind}{number}", NOON) == (kind == "bad")

    await store.write(check)


@pytest.mark.parametrize("alone", [False, True], ids=["all repeatable", "one that is not"])
async def test_a_unit_that_fails_among_repeatable_ones_is_undone_alone(store: Store, alone: bool) -> None:
    ran: list[int] = []

    class Refused(Exception):
        pass

    def unit(number: int) -> object:
        def write(tx: Tx) -> int:
            ran.append(number)
            assert tx.note_inbound("line", "Udest", f"e{number}", NOON), "what an earlier run stored is gone"
            if number == 20:
                raise Refused
            return number

        return write

    units = [store.write(unit(n), repeatable=not (alone and n == 7)) for n in range(40)]  # type: ignore[arg-type]
    results = await asyncio.gather(*units, return_exceptions=True)
    assert [n for n, result in enumerate(results) if isinstance(result, Refused)] == [20]
    assert [result for result in results if not isinstance(result, Refused)] == [n for n in range(40) if n != 20]
    assert ran.count(7) == (1 if alone else 2), "a unit that does not say so is never run twice"
    stored = await store.write(lambda tx: [n for n in range(40) if not tx.note_inbound("line", "Udest", f"e{n}", NOON)])
    assert stored == [n for n in range(40) if n != 20]


async def test_a_patient_unit_runs_before_the_next_one_and_shares_its_commit(store: Store) -> None:
    order: list[str] = []
    patient = asyncio.create_task(store.write(lambda tx: order.append("patient"), within_s=3600))
    await asyncio.sleep(0)
    failpoints.arm("store.before_commit=diskfull@1")
    with pytest.raises(StoreBusy):
        await store.write(lambda tx: order.append("next"))
    with pytest.raises(StoreBusy):
        await patient
    assert order == ["patient", "next"]


async def test_a_patient_unit_waits_no_longer_than_it_said_nor_once_it_is_hurried_nor_past_the_end(url: str) -> None:
    store = await open_store(url, now_ms=1)
    await store.write(lambda tx: None, within_s=0.001)
    hurried = asyncio.create_task(store.write(lambda tx: "hurried", within_s=3600))
    await asyncio.sleep(0)
    store.hurry()
    assert await hurried == "hurried"
    last = asyncio.create_task(store.write(lambda tx: "last", within_s=3600))
    await asyncio.sleep(0)
    await store.close()
    assert await last == "last"


async def test_a_conflict_inside_a_unit_has_this_rooms_name(store: Store) -> None:
    def unit(tx: Tx) -> str:
        tx.put_case(case("K1"))
        try:
            tx.put_case(case("K2"))
        except Conflict:
            return "told"
        return "not told"

    assert await store.write(unit) == "told"
    assert await store.read(lambda tx: tx.find_case("K1")) is not None


async def test_a_unit_that_stops_iterating_is_an_error_and_not_a_hang(store: Store) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(store.write(lambda tx: next(iter(()))), 5)


async def test_a_cancelled_caller_leaves_no_transaction_open_and_harms_nobody(store: Store) -> None:
    failpoints.arm("store.before_commit=sleep:0.3@1")
    committing = asyncio.create_task(store.write(lambda tx: tx.put_customer(customer("slow"))))
    await asyncio.sleep(0.1)
    queued = asyncio.create_task(store.write(lambda tx: tx.put_customer(customer("queued"))))
    other = asyncio.create_task(store.write(lambda tx: tx.put_customer(customer("other"))))
    await asyncio.sleep(0)
    committing.cancel()
    queued.cancel()
    await other
    for task in (committing, queued):
        with pytest.raises(asyncio.CancelledError):
            await task

    def check(tx: Tx) -> tuple[bool, ...]:
        return tuple(tx.find_customer(name) is not None for name in ("slow", "queued", "other"))

    # what had started is stored whole; what had not was never begun
    assert await store.read(check) == (True, False, True)


async def test_what_was_written_is_there_for_the_next_reader(store: Store) -> None:
    for number in range(20):
        await store.write(lambda tx, n=number: tx.put_customer(customer(f"C{n}")))
        assert await store.read(lambda tx, n=number: tx.find_customer(f"C{n}")) is not None


async def test_neither_the_loop_nor_readers_wait_for_a_commit(store: Store) -> None:
    failpoints.arm("store.before_commit=sleep:0.5@1")
    writer = asyncio.create_task(store.write(lambda tx: tx.put_customer(customer("half"))))
    await asyncio.sleep(0.1)
    assert await store.read(lambda tx: tx.find_customer("half")) is None
    both = threading.Barrier(2)
    await asyncio.gather(*(store.read(lambda tx: both.wait(5)) for _ in range(2)))
    assert not writer.done(), "all of this happened while the commit was on its way"
    await writer
    assert await store.read(lambda tx: tx.find_customer("half")) is not None


async def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError):
        await store.read(lambda tx: tx.put_customer(customer()))
    await store.write(lambda tx: tx.put_customer(customer()))


async def test_a_full_disk_fails_the_whole_batch_and_the_next_one_works(store: Store) -> None:
    failpoints.arm("store.before_commit=diskfull@1")
    results = await asyncio.gather(
        *(store.write(lambda tx, n=n: tx.put_customer(customer(f"C{n}"))) for n in range(5)), return_exceptions=True
    )
    lost = [n for n, result in enumerate(results) if isinstance(result, StoreBusy)]
    assert lost
    assert all(result is None or isinstance(result, StoreBusy) for result in results)
    stored = await store.read(lambda tx: [n for n in range(5) if tx.find_customer(f"C{n}")])
    assert sorted(lost + stored) == [0, 1, 2, 3, 4]
    await store.write(lambda tx: tx.put_customer(customer("after")))
    assert await store.read(lambda tx: tx.check_integrity()) == []


async def test_a_closed_store_says_so_and_finishes_what_was_queued(url: str) -> None:
    store = await open_store(url, now_ms=1)
    queued = [asyncio.create_task(store.write(lambda tx, n=n: tx.note_inbound("l", "w", f"{n}", 1))) for n in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert all([await task for task in queued])
    with pytest.raises(StoreError, match="closed"):
        await store.write(lambda tx: None)
    with pytest.raises(StoreError, match="closed"):
        await store.read(lambda tx: None)


# ------------------------------------------------------------------------------------------------------ conversations


async def test_of_two_steps_from_the_same_version_one_wins(store: Store) -> None:
    await store.write(lambda tx: tx.new_session(session()))
    read = await store.read(lambda tx: tx.find_session("S1"))
    assert read is not None
    for round_ in range(2, 60):
        steps = [structs.replace(read, version=round_, state=f"{round_}{who}") for who in "ab"]
        won = await asyncio.gather(*(store.write(lambda tx, step=step: tx.save_session(step)) for step in steps))
        assert sorted(won) == [False, True]
        stored = await store.read(lambda tx: tx.find_session("S1"))
        assert stored == steps[won.index(True)]


async def test_an_invitation_has_one_open_session(store: Store) -> None:
    starts = [
        store.write(lambda tx, n=n: tx.new_session(session(f"S{n}", invitation_id="I1", created_ms=NOON + n)))
        for n in range(20)
    ]
    results = await asyncio.gather(*starts, return_exceptions=True)
    assert sum(result is None for result in results) == 1
    assert all(result is None or isinstance(result, Conflict) for result in results)


async def test_the_session_of_an_address_is_the_open_one_created_last(store: Store) -> None:
    def unit(tx: Tx) -> list[str]:
        found = []
        for number in (1, 3, 2):
            tx.new_session(session(f"S{number}", created_ms=NOON + number))
        for ended in ("S3", "S2", "S1"):
            current = tx.current_session("line", "Udest", "U001")
            assert current is not None
            found.append(current.id)
            last = tx.find_session(ended)
            assert last is not None
            assert tx.save_session(structs.replace(last, version=2, status="completed", ended_ms=NOON + 9))
        assert tx.current_session("line", "Udest", "U001") is None
        assert tx.current_session("line", "Uother", "U001") is None
        return found

    assert await store.write(unit) == ["S3", "S2", "S1"]
    assert [row.id for row in await store.read(lambda tx: tx.sessions_of("C001", limit=2))] == ["S3", "S2"]


async def test_open_invitations_are_those_that_may_still_be_answered(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_invitation(invitation("1", state="planned", sent_ms=None))
        tx.put_invitation(invitation("2", session_id="S2", planned_ms=NOON + 1))
        tx.put_invitation(invitation("3", session_id="S3"))
        tx.put_invitation(invitation("4", session_id="S4"))
        tx.put_invitation(invitation("5", state="skipped", sent_ms=None))
        tx.new_session(session("S2"))
        tx.new_session(session("S3", started_ms=NOON))
        tx.new_session(session("S4", status="expired"))

    await store.write(unit)
    assert [row.id for row in await store.read(lambda tx: tx.open_invitations("C001"))] == ["1", "2"]


async def test_responses_are_counted_by_the_time_of_the_invitation(store: Store) -> None:
    week_ms = 7 * 86_400_000

    def unit(tx: Tx) -> None:
        for number in range(1, 8):
            tx.put_invitation(invitation(f"I{number}", session_id=f"S{number}", sent_ms=NOON + number))
        tx.put_invitation(invitation("I8", sent_ms=NOON + 100))
        for number in range(3):
            tx.put_invitation(invitation(f"X{number}", state="skipped", reason="min_gap", sent_ms=None))
        tx.put_invitation(invitation("X9", state="skipped", reason="opted_out", sent_ms=None))
        tx.new_session(session("S1", status="completed", started_ms=NOON))
        tx.record_answer(answer(session_id="S1"))
        tx.new_session(session("S2", started_ms=NOON))
        tx.record_answer(answer("", session_id="S2", missing="skipped"))
        tx.new_session(session("S3", status="expired"))
        tx.record_answer(answer(session_id="S3", late=True))
        tx.new_session(session("S4", started_ms=NOON))
        tx.record_answer(answer(session_id="S4", answered_ms=NOON + 4 + week_ms))
        tx.new_session(session("S5", status="blocked"))
        tx.new_session(session("S6"))
        dead = tx.put_job(job("J6", session_id="S6"), claim_for="w1", lease_until_ms=NOON)
        assert dead is not None
        tx.finish_job(dead, state="dead", at_ms=NOON)

    await store.write(unit)
    counts = await store.read(lambda tx: tx.response_counts(NOON, NOON + 100))
    assert (counts.invited, counts.answered, counts.completed, counts.started, counts.undeliverable) == (7, 1, 1, 3, 2)
    assert counts.skipped == (("min_gap", 3), ("opted_out", 1))


async def test_a_digest_is_made_and_posted_once_per_period(store: Store) -> None:
    assert await store.write(lambda tx: tx.put_digest(digest()))
    assert not await store.write(lambda tx: tx.put_digest(digest(content="other")))
    await store.write(lambda tx: tx.mark_digest_posted("weekly", "2026-W46", NOON, "C1:1"))
    await store.write(lambda tx: tx.mark_digest_posted("weekly", "2026-W46", NOON + 1, "C1:2"))
    found = await store.read(lambda tx: tx.find_digest("weekly", "2026-W46"))
    assert found == digest(state="posted", posted_ms=NOON, ref="C1:1")


async def test_a_session_keeps_its_flow_revision_and_its_prompts(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_revision("f", "r1", "first", NOON)
        tx.put_revision("f", "r1", "again", NOON)
        tx.new_session(session())
        tx.put_prompt_ref("S1", "nps", "D1:1")
        tx.put_prompt_ref("S1", "nps", "D1:2")
        tx.put_prompt_ref("unknown", "nps", "D1:3")

    await store.write(unit)
    assert await store.read(lambda tx: (tx.find_revision("r1"), tx.find_revision("r2"))) == ("first", None)
    assert await store.read(lambda tx: (tx.prompt_ref("S1", "nps"), tx.prompt_ref("S1", "sat"))) == ("D1:2", "")


@pytest.mark.parametrize("text", ["\ud83d", "a\x00b", "𠮷野家 👨‍👩‍👧 é", "'; DROP TABLE answers; --", "x" * 1_000_000])
async def test_any_text_is_kept_or_cleaned_and_never_breaks_a_unit(store: Store, text: str) -> None:
    cleaned = text.replace("\0", "\ufffd").replace("\ud83d", "\ufffd")

    def unit(tx: Tx) -> None:
        tx.put_customer(customer(name=text))
        tx.new_session(session(state=text))
        tx.record_answer(answer(text, question="reason", instrument="reason", numeric=False))
        tx.put_job(job("J1", payload=text))
        tx.put_case(case(words=text))
        tx.note_event(event("e1", data=text))
        tx.note_inbound("line", "Udest", text[:50], NOON)
        tx.set_meta("k", text)

    await store.write(unit)

    def check(tx: Tx) -> list[str]:
        found = (tx.find_customer("C001"), tx.find_session("S1"), tx.find_job("J1"), tx.find_case("K1"))
        assert all(found)
        whole = [found[0].name, found[1].state, found[2].payload, found[3].words]  # type: ignore[union-attr]
        return [*whole, tx.answers_of("C001")[0].value, tx.get_meta("k") or ""]

    assert await store.read(check) == [cleaned] * 6
    assert not await store.write(lambda tx: tx.note_inbound("line", "Udest", text[:50], NOON))
