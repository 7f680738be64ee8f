"""What the trust balance reads and keeps: relationships, who was touched of late, and falls."""

from __future__ import annotations

from store_rows import DAY, NOON, answer, case, customer, event

from storage.records import TrustDrop
from storage.store import Store, Tx

INSTRUMENTS = ("nps", "sat5")


async def test_a_relationship_holds_what_counts_and_loose_events_about_its_tickets_and_orders(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.note_event(event("open", "ticket_opened", data='{"ticket": "T1"}'))
        tx.note_event(event("bought", "purchase", data='{"order": 7}', occurred_ms=NOON - DAY))
        tx.note_event(event("reply", "ticket_replied", customer_id="", data='{"ticket": "T1"}', occurred_ms=NOON + 1))
        tx.note_event(event("there", "delivery", customer_id="", data='{"order": "7"}', occurred_ms=NOON + 2))
        tx.note_event(event("stray", "ticket_replied", customer_id="", data='{"ticket": "T9"}'))
        tx.note_event(event("hers", "ticket_opened", customer_id="C002", data='{"ticket": "T2"}'))
        tx.record_answer(answer("9", id="A1"))
        tx.record_answer(answer("", id="A2", question="sat", instrument="sat5", missing="skipped"))
        tx.record_answer(answer("5", id="A3", question="ease", instrument="ces_ease"))
        for at, given in ((1, True), (2, False), (3, False), (4, True), (5, False)):
            tx.set_consent("C001", "surveys", given, NOON + at, "chat:line")
        tx.set_consent("C001", "news", False, NOON + 6, "chat:line")
        tx.put_case(case("K1"))

    await store.write(unit)
    found = await store.read(lambda tx: tx.relationship("C001", instruments=INSTRUMENTS, since_ms=0))
    assert [row.id for row in found.events] == ["bought", "open", "reply", "there"]
    assert {row.customer_id for row in found.events} == {"C001"}
    assert [(row.id, row.instrument, row.value) for row in found.ratings] == [("A1", "nps", "9")]
    assert found.opt_outs_ms == (NOON + 2, NOON + 5)
    assert [row.id for row in found.cases] == ["K1"]
    some = await store.read(
        lambda tx: tx.relationships("", "C9", instruments=INSTRUMENTS, since_ms=NOON, types=("ticket_opened",))
    )
    assert [(row.customer_id, [e.id for e in row.events]) for row in some] == [("C001", ["open"]), ("C002", ["hers"])]
    nobody = await store.read(lambda tx: tx.relationship("C003", instruments=INSTRUMENTS, since_ms=0))
    assert (nobody.customer_id, nobody.events, nobody.cases) == ("C003", (), ())


async def test_everybody_is_walked_over_once_page_by_page(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_customer(customer("C3"))
        tx.put_customer(customer("C1"))
        tx.note_event(event("e", customer_id="C2"))
        tx.note_event(event("nobody", customer_id=""))
        tx.record_answer(answer("9", customer_id="C4"))
        tx.record_answer(answer("9", customer_id="C3", session_id="S2"))

    await store.write(unit)
    pages, last = [], ""
    while page := await store.read(lambda tx, last=last: tx.customers_after(last, limit=2)):
        pages.append(page)
        last = page[-1]
    assert pages == [["C1", "C2"], ["C3", "C4"]]


async def test_who_was_touched_of_late(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.note_event(event("old", customer_id="old", occurred_ms=NOON - 10 * DAY))
        tx.note_event(event("slack", customer_id="slack", occurred_ms=NOON - 3 * DAY))
        tx.note_event(
            event("o", "ticket_opened", customer_id="asked", occurred_ms=NOON - 90 * DAY, data='{"ticket": 1}')
        )
        tx.note_event(event("r", "ticket_replied", customer_id="", data='{"ticket": 1}'))
        tx.record_answer(answer("1", customer_id="said"))
        tx.set_consent("left", "surveys", False, NOON, "chat:line")
        tx.put_case(case("K", customer_id="promised", opened_ms=NOON - 9 * DAY, due_ms=NOON))
        for number in range(3):
            made_ms = NOON - (50 - number) * DAY
            tx.note_event(event(f"p{number}", "promise", customer_id="hopes", occurred_ms=made_ms))

    await store.write(unit)
    touched = await store.read(lambda tx: tx.customers_touched(NOON - DAY, NOON + 1, slack_ms=2 * DAY))
    assert touched == ["asked", "left", "promised", "said", "slack"]
    first = await store.read(lambda tx: tx.promises_since(NOON - 49 * DAY, after=(0, ""), limit=1))
    assert [row.id for row in first] == ["p1"]
    place = (first[0].occurred_ms, first[0].id)
    rest = await store.read(lambda tx: tx.promises_since(NOON - 49 * DAY, after=place, limit=9))
    assert [row.id for row in rest] == ["p2"]


async def test_a_fall_is_kept_once_and_goes_with_its_customer(store: Store) -> None:
    fall = TrustDrop("C001", NOON, 2.5, -4.0, "K1")
    assert await store.write(lambda tx: tx.note_trust_drop(fall))
    assert not await store.write(lambda tx: tx.note_trust_drop(fall))
    assert await store.read(lambda tx: tx.last_trust_drop_ms("C001")) == NOON
    assert await store.read(lambda tx: tx.last_trust_drop_ms("C002")) is None
    assert (await store.read(lambda tx: tx.dossier("C001"))).trust_drops == (fall,)
    await store.write(lambda tx: tx.erase_customer("C001", NOON))
    assert (await store.read(lambda tx: tx.dossier("C001"))).trust_drops == ()
    assert not await store.write(lambda tx: tx.note_trust_drop(fall))
