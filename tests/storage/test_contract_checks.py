"""What the checks of a digest read: who was invited, what they did before, how fast and how soon they answered."""

from __future__ import annotations

from store_rows import DAY, NOON, WEEK, address, answer, event, invitation, job, session

from storage.records import DelayCount, Invited, Told
from storage.store import Store, Tx

HOUR = DAY // 24
END = NOON + DAY


async def test_an_invitation_is_answered_in_time_or_not_and_known_as_undeliverable(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.note_event(event("first", customer_id="C001", occurred_ms=NOON - 90 * DAY))
        tx.note_event(event("again", customer_id="C001", occurred_ms=NOON - 9 * DAY))
        for number, more in enumerate((
            {"status": "completed", "started_ms": NOON},
            {"status": "completed", "started_ms": NOON},
            {"status": "blocked"},
            {"status": "completed", "started_ms": NOON},
        ), 1):  # fmt: skip
            tx.new_session(session(f"S{number}", external_id=f"U{number}", customer_id=f"C00{number}", **more))
            tx.put_invitation(
                invitation(f"i{number}", customer_id=f"C00{number}", session_id=f"S{number}", sent_ms=NOON + number)
            )
        tx.record_answer(answer("9", session_id="S1", answered_ms=NOON + 2 * DAY))
        tx.record_answer(answer("9", session_id="S2", customer_id="C002", answered_ms=NOON + 8 * DAY))
        tx.record_answer(answer("", session_id="S4", customer_id="C004", missing="skipped", answered_ms=NOON + HOUR))
        tx.put_invitation(invitation("nobody", customer_id="", sent_ms=NOON))
        tx.put_invitation(invitation("planned", customer_id="C005", state="planned", sent_ms=None))
        tx.put_invitation(invitation("later", customer_id="C006", sent_ms=END))

    await store.write(unit)
    assert await store.read(lambda tx: tx.invited_between(NOON, END)) == [
        Invited("C001", "line", NOON + 1, True, False, NOON - 90 * DAY),
        Invited("C002", "line", NOON + 2, False, False, None),
        Invited("C003", "line", NOON + 3, False, True, None),
        Invited("C004", "line", NOON + 4, False, False, None),
    ]


async def test_a_message_that_was_given_up_did_not_arrive(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_address(address())
        tx.new_session(session("S1"))
        tx.put_invitation(invitation("i1", session_id="S1"))
        claimed = tx.put_job(job("J1", session_id="S1"), claim_for="w", lease_until_ms=END)
        assert claimed is not None
        tx.finish_job(claimed, state="dead", at_ms=NOON, error="refused")

    await store.write(unit)
    (found,) = await store.read(lambda tx: tx.invited_between(NOON, END))
    assert (found.answered, found.undeliverable) == (False, True)


async def test_happenings_come_in_order_of_time_page_by_page_and_of_the_wanted_types(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for name, kind, at_ms in (
            ("c", "purchase", NOON), ("b", "purchase", NOON), ("a", "ticket_opened", NOON), ("d", "visit", NOON + 1),
            ("e", "purchase", NOON + 2), ("before", "purchase", NOON - 1), ("after", "purchase", END),
        ):  # fmt: skip
            tx.note_event(event(name, kind, occurred_ms=at_ms))

    await store.write(unit)
    types = ("purchase", "ticket_opened")
    first = await store.read(lambda tx: tx.happenings(NOON, END, types=types, limit=3))
    rest = await store.read(lambda tx: tx.happenings(NOON, END, types=types, after=first[-1], limit=3))
    assert [(one.id, one.type, one.occurred_ms) for one in (*first, *rest)] == [
        ("a", "ticket_opened", NOON), ("b", "purchase", NOON), ("c", "purchase", NOON), ("e", "purchase", NOON + 2),
    ]  # fmt: skip
    whole = await store.read(lambda tx: tx.find_event("b"))
    assert whole is not None
    assert (first[1].customer_id, first[1].data) == (whole.customer_id, whole.data)


async def test_what_customers_told_leaves_out_the_skipped_and_the_words(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.record_answer(answer("9", session_id="S0", answered_ms=NOON + 3))
        tx.record_answer(answer("4", session_id="S1"))
        tx.record_answer(answer("", session_id="S2", missing="skipped"))
        tx.record_answer(answer("7", session_id="S3", customer_id=""))
        tx.record_answer(answer("とても良い", session_id="S4", instrument="reason", numeric=False))
        tx.record_answer(answer("5", session_id="S4", question="own", instrument=""))
        tx.record_answer(answer("1", session_id="S5", answered_ms=NOON - 1))
        tx.record_answer(answer("2", session_id="S6", answered_ms=END))

    await store.write(unit)
    found = await store.read(lambda tx: tx.told_between(NOON, END))
    assert [(told.value, told.answered_ms) for told in found] == [("4", NOON), ("7", NOON), ("9", NOON + 3)]
    (whole,) = await store.read(lambda tx: tx.answers_of_session("S0"))
    assert all(getattr(found[2], name) == getattr(whole, name) for name in Told._fields)


async def test_answers_by_how_soon_they_came_once_per_customer(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for number, (customer, delay, value) in enumerate((
            ("C001", HOUR, "9"), ("C002", DAY, "3"), ("C003", HOUR, "2"), ("C003", 3 * DAY, "10"), ("", HOUR, "9"),
            ("", 2 * HOUR, "9"),
        )):  # fmt: skip
            name = f"S{number}"
            tx.new_session(session(name, external_id=f"U{number}", customer_id=customer, status="completed"))
            tx.put_invitation(invitation(f"i{number}", customer_id=customer, session_id=name))
            tx.record_answer(answer(value, session_id=name, customer_id=customer, answered_ms=NOON + delay))
        tx.record_answer(answer("1", session_id="nobody-asked", customer_id="C009"))

    await store.write(unit)
    found = await store.read(lambda tx: tx.values_by_delay("nps", NOON, END, early_ms=DAY))
    where = ("transactional", "purchase", "w1", "l1", WEEK, "", "line")
    assert found == [
        DelayCount(*where, False, "10", 1),
        DelayCount(*where, False, "3", 1),
        DelayCount(*where, True, "9", 3),
    ]


async def test_sessions_of_less_than_a_second_a_question_the_first_one_left_out(store: Store) -> None:
    def talk(tx: Tx, name: str, *spent: int) -> None:
        at = NOON
        for number, ms in enumerate(spent):
            tx.record_answer(answer("5", session_id=name, question=f"q{number}", shown_ms=at, answered_ms=at + ms))
            at += ms + 1

    def unit(tx: Tx) -> None:
        talk(tx, "quick", HOUR, 400, 900)
        talk(tx, "second", HOUR, 1000, 1000)
        talk(tx, "slow", 10, 5000, 400)
        talk(tx, "one", 10)
        talk(tx, "imported", 0, 0, 0)

    await store.write(unit)
    assert await store.read(lambda tx: tx.quick_sessions(NOON, END, ms_per_question=1000)) == ["quick"]
    assert await store.read(lambda tx: tx.quick_sessions(NOON + DAY, END + DAY, ms_per_question=1000)) == []


async def test_answers_beside_an_anchor_come_with_their_session(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for name, instrument, value in (
            ("S1", "nps", "9"), ("S1", "exp_price", "4"), ("S1", "sat5", "5"), ("S2", "nps", "3"),
            ("S3", "exp_info", "2"),
        ):  # fmt: skip
            tx.record_answer(answer(value, session_id=name, question=instrument, instrument=instrument))
        tx.record_answer(answer("", session_id="S4", question="exp_price", instrument="exp_price", missing="skipped"))

    await store.write(unit)

    def beside(tx: Tx, anchors: list[str]) -> list[tuple[str, str]]:
        rows = tx.answers_beside(NOON, END, anchors=anchors, instruments=["nps", "exp_price", "exp_info"])
        return [(row.session_id, row.instrument) for row in rows]

    assert await store.read(lambda tx: beside(tx, ["exp_price"])) == [
        ("S1", "exp_price"),
        ("S1", "nps"),
        ("S4", "exp_price"),
    ]
    assert await store.read(lambda tx: beside(tx, [])) == []
