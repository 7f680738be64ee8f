"""Who is who, what the contact cap must know, and a person's rights (reliability.md P25, P26)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from store_rows import (
    DAY,
    NOON,
    address,
    answer,
    audit,
    case,
    customer,
    event,
    invitation,
    job,
    session,
)

from storage.errors import Conflict
from storage.records import CaseEvent, Contacts, Exposure, Registration
from storage.store import Store, Tx, registrations_in


async def test_an_event_is_stored_once_and_a_platform_event_is_seen_once(store: Store) -> None:
    first = event("e1", data='{"order": "O-1"}')
    assert await store.write(lambda tx: tx.note_event(first))
    assert not await store.write(lambda tx: tx.note_event(replace(first, type="return")))
    assert await store.read(lambda tx: tx.find_event("e1")) == first
    assert await store.write(lambda tx: tx.note_inbound("line", "Udest", "w1", NOON))
    assert not await store.write(lambda tx: tx.note_inbound("line", "Udest", "w1", NOON + 1))
    assert await store.write(lambda tx: tx.note_inbound("line", "Uother", "w1", NOON))
    assert await store.write(lambda tx: tx.note_inbound("slack", "Udest", "w1", NOON))


async def test_events_are_found_by_customer_type_and_time(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for number, type_ in enumerate(("purchase", "delivery", "return")):
            tx.note_event(event(f"e{number}", type_, occurred_ms=NOON + number))
        tx.note_event(event("e9", customer_id="C002"))

    await store.write(unit)
    read = store.read
    assert [row.id for row in await read(lambda tx: tx.events_of("C001"))] == ["e2", "e1", "e0"]
    assert [row.id for row in await read(lambda tx: tx.events_of("C001", types=("return", "purchase")))] == ["e2", "e0"]
    assert [row.id for row in await read(lambda tx: tx.events_of("C001", limit=1))] == ["e2"]
    assert [row.id for row in await read(lambda tx: tx.events_between(NOON, NOON + 2))] == ["e0", "e9", "e1"]
    assert [row.id for row in await read(lambda tx: tx.events_between(NOON, NOON + 2, type="delivery"))] == ["e1"]


async def test_events_come_in_pages_in_order_of_time_and_id(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for number in (3, 1, 2, 4, 0):
            tx.note_event(event(f"e{number}", occurred_ms=NOON + number // 2))
        tx.note_event(event("other", "visit"))
        tx.note_event(event("later", occurred_ms=NOON + 9))

    await store.write(unit)
    seen: list[str] = []
    last = None
    while True:
        page = await store.read(
            lambda tx, after=last: tx.events_page(NOON, NOON + 9, types=("purchase", "return"), after=after, limit=2)
        )
        seen += [row.id for row in page]
        if len(page) < 2:
            break
        last = page[-1]
    assert seen == ["e0", "e1", "e2", "e3", "e4"]


async def test_conversations_of_sent_invitations_come_in_pages(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for number in range(5):
            tx.put_invitation(invitation(f"i{number}", session_id=f"S{number}", sent_ms=NOON + number // 2))
            tx.new_session(session(f"S{number}", invitation_id=f"i{number}", state=f"[{number}]"))
        tx.put_invitation(invitation("early", session_id="S0", sent_ms=NOON - 1))
        tx.put_invitation(invitation("unsent", session_id="S0", sent_ms=None))

    await store.write(unit)
    seen: list[str] = []
    after = (-1, "")
    while True:
        page = await store.read(lambda tx, after=after: tx.conversations_sent(NOON, NOON + 9, after=after, limit=2))
        seen += [found.state for found in page]
        if len(page) < 2:
            break
        after = (page[-1].sent_ms, page[-1].invitation_id)
    assert seen == ["[0]", "[1]", "[2]", "[3]", "[4]"]


async def test_a_customer_is_filled_in_and_never_emptied(store: Store) -> None:
    await store.write(lambda tx: tx.put_customer(customer(name="", language="ja")))
    await store.write(lambda tx: tx.put_customer(customer(name="山田", language="", created_ms=NOON + 5)))
    assert await store.read(lambda tx: tx.find_customer("C001")) == customer(name="山田", language="ja")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("C00%", []),
        ("c001", ["C001"]),
        ("_", ["C_2"]),
        ("100%", ["C_2"]),
        ("!", ["C3!"]),
        ("花", ["C001"]),
        ("O-77", ["C3!"]),
        ("O-7", []),
        ("' OR 1=1 --", []),
        ("  ", []),
        ("C", ["C001", "C3!", "C_2"]),
    ],
)
async def test_customers_are_found_by_what_was_typed_and_by_nothing_else(
    store: Store, words: str, found: list[str]
) -> None:
    def unit(tx: Tx) -> None:
        tx.put_customer(customer("C001", name="山田 花子"))
        tx.put_customer(customer("C_2", name="100% 太郎"))
        tx.put_customer(customer("C3!", name="Ann"))
        tx.note_event(event("e1", customer_id="C3!", data='{"order": "O-77"}'))

    await store.write(unit)
    assert [row.id for row in await store.read(lambda tx: tx.search_customers(words))] == found


async def test_an_address_is_linked_and_never_unlinked_and_keeps_its_block(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_address(address(customer_id="", certainty="", source="chat"))
        tx.put_address(address(customer_id="C001", certainty="coded", source="card", language="en"))
        tx.set_blocked("line", "Udest", "U001", NOON)
        tx.put_address(address(customer_id="", certainty="", source="chat", language=""))
        tx.put_address(address(customer_id="C666", certainty="claimed", source="order"))

    await store.write(unit)
    found = await store.read(lambda tx: tx.find_address("line", "Udest", "U001"))
    assert found == address(certainty="coded", source="card", language="ja", blocked_ms=NOON)
    await store.write(lambda tx: tx.put_address(address(customer_id="C002", certainty="linked")))
    await store.write(lambda tx: tx.set_blocked("line", "Udest", "U001", None))
    assert await store.read(lambda tx: [row.customer_id for row in tx.addresses_of("C002")]) == ["C002"]
    assert await store.read(lambda tx: tx.addresses_of("C001")) == []
    assert await store.read(lambda tx: tx.addresses_of("")) == []


async def test_equal_ids_of_two_workspaces_are_two_addresses(store: Store) -> None:
    await store.write(lambda tx: tx.put_address(address(workspace="A", customer_id="C001")))
    await store.write(lambda tx: tx.put_address(address(workspace="B", customer_id="C002")))
    found = await store.read(lambda tx: tx.find_address("line", "B", "U001"))
    assert found is not None
    assert found.customer_id == "C002"
    assert await store.read(lambda tx: tx.find_address("line", "C", "U001")) is None


async def test_the_latest_word_on_consent_holds_whatever_order_it_arrives_in(store: Store) -> None:
    assert await store.read(lambda tx: tx.consent("C001", "surveys")) is None
    await store.write(lambda tx: tx.set_consent("C001", "surveys", False, NOON + 5, "chat"))
    await store.write(lambda tx: tx.set_consent("C001", "surveys", True, NOON, "chat"))
    assert await store.read(lambda tx: tx.consent("C001", "surveys")) is False
    await store.write(lambda tx: tx.set_consent("C001", "surveys", True, NOON + 6, "chat"))
    assert await store.read(lambda tx: tx.consent("C001", "surveys")) is True


async def test_a_match_key_leads_to_one_customer(store: Store) -> None:
    await store.write(lambda tx: tx.put_match_key("C001", "email", "hash", "event", NOON))
    await store.write(lambda tx: tx.put_match_key("C002", "email", "hash", "event", NOON + 1))
    before, after = await store.read(lambda tx: (tx.dossier("C001"), tx.dossier("C002")))
    assert before.match_keys == ()
    assert [(key.kind, key.key_hash, key.created_ms) for key in after.match_keys] == [("email", "hash", NOON + 1)]


# ------------------------------------------------------------------------------------------- the contact cap's facts

NOTHING = Contacts(
    opted_out=False,
    blocked=False,
    open_case=False,
    last_complaint_ms=None,
    open_ticket=False,
    event_surveyed=False,
    invitations_365d=0,
    last_invitation_ms=None,
    last_relational_ms=None,
    next_relational_ms=None,
    last_touchpoint_ms=None,
)


def contacts(tx: Tx) -> Contacts:
    return tx.contacts("C001", event_id="e1", touchpoint="purchase", now_ms=NOON)


async def test_of_an_unknown_customer_there_is_nothing_to_know(store: Store) -> None:
    assert await store.read(contacts) == NOTHING


async def test_only_invitations_that_were_sent_count_as_contacts(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_invitation(invitation("1", sent_ms=NOON - 3 * DAY, touchpoint="support", event_id="e0"))
        tx.put_invitation(invitation("2", sent_ms=NOON - 20 * DAY, event_id="e1"))
        tx.put_invitation(invitation("3", sent_ms=NOON - 40 * DAY, survey_kind="relational"))
        tx.put_invitation(invitation("4", sent_ms=NOON - 365 * DAY))  # a year ago to the millisecond: outside
        tx.put_invitation(invitation("5", state="skipped", reason="min_gap", sent_ms=None, event_id="e1"))
        tx.put_invitation(invitation("6", state="planned", sent_ms=None, survey_kind="relational", due_ms=NOON + 9))
        tx.put_invitation(invitation("7", state="planned", sent_ms=None, survey_kind="relational", due_ms=NOON + 5))
        tx.put_invitation(invitation("8", customer_id="C002", sent_ms=NOON - 1))

    await store.write(unit)
    assert await store.read(contacts) == replace(
        NOTHING,
        event_surveyed=True,
        invitations_365d=3,
        last_invitation_ms=NOON - 3 * DAY,
        last_relational_ms=NOON - 40 * DAY,
        next_relational_ms=NOON + 5,
        last_touchpoint_ms=NOON - 20 * DAY,
    )


async def test_complaints_open_tickets_cases_blocks_and_the_opt_out_are_seen(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.note_event(event("1", "complaint", occurred_ms=NOON - 9))
        tx.note_event(event("2", "ticket_opened", occurred_ms=NOON - 8, data='{"ticket": 1}'))
        tx.note_event(event("3", "ticket_opened", occurred_ms=NOON - 7, data='{"ticket": "2"}'))
        tx.note_event(event("4", "ticket_resolved", occurred_ms=NOON - 6, data='{"ticket": "2"}'))
        tx.put_case(case())
        tx.put_address(address("U001", blocked_ms=NOON))
        tx.set_consent("C001", "surveys", False, NOON, "chat")

    await store.write(unit)
    assert await store.read(contacts) == replace(
        NOTHING, opted_out=True, blocked=True, open_case=True, last_complaint_ms=NOON - 8, open_ticket=True
    )

    def settle(tx: Tx) -> None:
        tx.note_event(event("5", "ticket_resolved", data='{"ticket": "1"}'))
        tx.put_case(case(state="settled", outcome="answered"))
        tx.put_address(address("U002", channel="slack"))

    await store.write(settle)
    assert await store.read(contacts) == replace(NOTHING, opted_out=True, last_complaint_ms=NOON - 9)


async def test_customers_are_due_when_reachable_and_not_lately_planned(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for name in ("C1", "C2", "C3", "C4", "C5"):
            tx.put_customer(customer(name))
            if name != "C4":
                tx.put_address(address(f"U{name}", name, blocked_ms=NOON if name == "C3" else None))
        tx.put_invitation(invitation("1", trigger_id="quarterly", customer_id="C2", state="skipped", sent_ms=None))
        tx.put_invitation(invitation("2", trigger_id="after-purchase", customer_id="C5"))

    await store.write(unit)

    def due(tx: Tx) -> list[str]:
        return [row.id for row in tx.customers_due("quarterly", NOON - DAY, after="", limit=9)]

    assert await store.read(due) == ["C1", "C5"]
    later = await store.read(lambda tx: tx.customers_due("quarterly", NOON + 1, after="C1", limit=1))
    assert [row.id for row in later] == ["C2"]


async def test_the_sessions_of_a_wave_are_one_invitation_of_the_day_of_the_first(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.put_customer(customer())
        tx.put_address(address())
        for part in (1, 2, 3):
            at_ms = NOON + part * DAY
            tx.new_session(session(f"W{part}", wave_id="W1"))
            tx.put_invitation(
                invitation(
                    f"w{part}", survey_kind="relational", sent_ms=at_ms, planned_ms=at_ms, session_id=f"W{part}",
                    wave_id="W1", part=part, trigger_id="yearly",
                )
            )  # fmt: skip

    await store.write(unit)
    seen = await store.read(lambda tx: tx.contacts("C001", event_id="", touchpoint="", now_ms=NOON + 5 * DAY))
    assert (seen.invitations_365d, seen.last_invitation_ms, seen.last_relational_ms) == (1, NOON + DAY, NOON + DAY)
    assert (await store.read(lambda tx: tx.response_counts(NOON, NOON + 9 * DAY))).invited == 1
    since_ms = NOON + 2 * DAY
    due = await store.read(lambda tx: tx.customers_due("yearly", since_ms, after="", limit=9))
    assert [found.id for found in due] == ["C001"], "the rhythm runs from the first session"
    again = await store.read(lambda tx: tx.find_invitation("w3"))
    assert again is not None
    assert (again.wave_id, again.part) == ("W1", 3)
    assert {found.wave_id for found in await store.read(lambda tx: tx.sessions_of("C001"))} == {"W1"}


async def test_a_customer_has_one_case_that_is_not_settled(store: Store) -> None:
    await store.write(lambda tx: tx.put_case(case("K1")))
    with pytest.raises(Conflict):
        await store.write(lambda tx: tx.put_case(case("K2")))
    await store.write(lambda tx: tx.put_case(case("K1", state="settled")))
    await store.write(lambda tx: tx.put_case(case("K2", state="grace", opened_ms=NOON + 1)))
    assert (await store.read(lambda tx: tx.open_case("C001"))) == case("K2", state="grace", opened_ms=NOON + 1)
    assert [row.id for row in await store.read(lambda tx: tx.cases_between(NOON, NOON + 2))] == ["K1", "K2"]


# -------------------------------------------------------------------------------------------------------- erasure

CANARY = "C-canary"
WORD = "ひみつの言葉"


def fill(tx: Tx) -> None:
    """A canary customer in every table."""
    tx.put_customer(customer(CANARY, name=WORD))
    tx.put_address(address("U-canary", CANARY))
    tx.put_match_key(CANARY, "email", "h-canary", "event", NOON)
    tx.set_consent(CANARY, "surveys", True, NOON, "chat")
    tx.note_event(event("e1", customer_id=CANARY, data=f'{{"order": "O-canary", "note": "{WORD}"}}'))
    tx.put_invitation(invitation("I1", customer_id=CANARY, session_id="S1", note=WORD))
    tx.put_invitation(invitation("I2", customer_id=CANARY, state="planned", sent_ms=None))
    tx.new_session(session("S1", customer_id=CANARY, external_id="U-canary", state=f'{{"words": "{WORD}"}}'))
    tx.record_answer(answer("3", customer_id=CANARY))
    tx.record_answer(answer(WORD, customer_id=CANARY, question="reason", instrument="reason", numeric=False))
    tx.record_answer(answer(WORD + "2", customer_id=CANARY, question="reason", instrument="reason", numeric=False))
    tx.record_answer(answer("8", customer_id="C002", session_id="S2"))
    tx.put_prompt_ref("S1", "nps", "D-canary:1")
    tx.put_case(case("K1", customer_id=CANARY, words=WORD))
    alert = job("J1", session_id="S1", customer_id=CANARY, lane="line:U-canary", key=f"a:{CANARY}", payload=WORD)
    sent = tx.put_job(alert, claim_for="w1", lease_until_ms=NOON + 9)
    assert sent is not None
    tx.finish_job(sent, state="done", at_ms=NOON, ref="D-canary:1")
    tx.put_job(job("J2", session_id="S1", customer_id=CANARY, payload=WORD), claim_for="w1", lease_until_ms=NOON + 9)
    tx.put_job(job("J3", customer_id=CANARY, kind="invite", payload=f'{{"customer": "{CANARY}"}}'))
    tx.audit(audit(subject=CANARY, detail=WORD))


async def test_erased_answers_leave_the_counts_the_states_and_the_jobs(store: Store) -> None:
    await store.write(fill)
    before = await store.read(lambda tx: tx.find_session("S1"))
    assert before is not None
    assert await store.write(lambda tx: tx.erase_answers(CANARY, NOON, session_id="S1")) == 3

    def check(tx: Tx) -> None:
        assert tx.answers_of_session("S1", history=True) == []
        assert [cell.value for cell in tx.rollup("", "9999")] == ["8"]
        after = tx.find_session("S1")
        assert after is not None
        assert (after.state, after.status, after.version, after.ended_ms) == ("", "erased", 2, NOON)
        assert tx.current_session("line", "Udest", "U-canary") is None
        assert {row.id: (row.state, row.payload) for row in tx.jobs() if row.session_id} == {
            "J1": ("done", "{}"),
            "J2": ("cancelled", "{}"),
        }
        planned = tx.find_job("J3")
        assert planned is not None
        assert planned.state == "ready"  # an invitation to another survey is not part of these answers
        found = tx.find_case("K1")
        assert found is not None
        assert found.words == ""
        assert tx.prompt_ref("S1", "nps") == ""
        assert tx.check_integrity() == []

    await store.read(check)
    # a step that was under way when the answers were erased
    assert not await store.write(lambda tx: tx.save_session(structs.replace(before, version=2, state=WORD)))
    assert not await store.write(lambda tx: tx.save_session(structs.replace(before, version=3, state=WORD)))


async def test_erasing_a_customer_leaves_nothing_on_the_disk(store: Store, tmp_path: Path) -> None:
    await store.write(fill)
    await store.write(lambda tx: tx.erase_customer(CANARY, NOON))
    assert await store.compact()
    assert await store.read(lambda tx: tx.check_integrity()) == []
    for file in list(tmp_path.iterdir()):  # noqa: ASYNC240 – nobody else waits
        content = file.read_bytes()
        for trace in (CANARY, WORD, "U-canary", "O-canary", "h-canary", "D-canary"):
            assert trace.encode() not in content, (file.name, trace)
    counts = await store.read(lambda tx: tx.response_counts(NOON, NOON + 1))
    assert counts.invited == 1


async def test_nothing_revives_an_erased_customer(store: Store) -> None:
    await store.write(fill)
    before = await store.read(lambda tx: tx.find_session("S1"))
    assert before is not None
    await store.write(lambda tx: tx.erase_customer(CANARY, NOON))

    def late(tx: Tx) -> None:
        assert tx.erased_ms(CANARY) == NOON
        assert tx.erased_ms("C002") is None
        assert not tx.note_event(event("e1", customer_id=CANARY))
        assert tx.note_event(event("e2", customer_id=CANARY, data='{"order": "O-canary"}'))
        tx.put_customer(customer(CANARY))
        tx.put_address(address("U-canary", CANARY))
        tx.put_match_key(CANARY, "email", "h-canary", "event", NOON)
        tx.put_invitation(invitation("I3", customer_id=CANARY))
        tx.set_consent(CANARY, "surveys", True, NOON, "chat")
        tx.put_case(case("K9", customer_id=CANARY))
        assert not tx.save_session(structs.replace(before, version=before.version + 1))
        assert not tx.save_session(structs.replace(before, version=before.version + 2))
        tx.put_prompt_ref("S1", "nps", "D-canary:2")
        tx.record_answer(answer("10", customer_id=CANARY))

    await store.write(late)

    def check(tx: Tx) -> None:
        assert tx.find_customer(CANARY) is None
        assert tx.find_address("line", "Udest", "U-canary") is None
        assert tx.dossier(CANARY).match_keys == ()
        assert tx.events_of(CANARY) == []
        assert tx.find_invitation("I3") is None
        assert tx.consent(CANARY, "surveys") is None
        assert tx.find_case("K9") is None
        assert tx.search_customers("canary") == []
        assert tx.prompt_ref("S1", "nps") == ""
        assert tx.answers_of_session("S1", history=True) == []
        assert [row.subject.startswith("erased-") for row in tx.audit_entries()] == [True]

    await store.read(check)


async def test_answers_given_before_anybody_knew_the_customer_are_erased_with_the_session(store: Store) -> None:
    def unit(tx: Tx) -> int:
        first = session("S1", customer_id="")
        tx.new_session(first)
        tx.record_answer(answer("4", customer_id=""))
        tx.put_job(job("J1", session_id="S1"))
        assert tx.save_session(structs.replace(first, version=2, customer_id="C001"))
        assert tx.cancel_jobs(NOON, customer_id="C001") == 1
        return tx.erase_answers("C001", NOON)

    assert await store.write(unit) == 1
    assert await store.read(lambda tx: tx.answers_of_session("S1")) == []
    assert await store.read(lambda tx: tx.check_integrity()) == []


async def test_a_customer_comes_into_an_experiment_once_and_leaves_it_when_erased(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for number, (who, arm, state, sent) in enumerate(
            (
                ("C001", "A", "sent", NOON + DAY),
                ("C001", "A", "sent", NOON + 9 * DAY),
                ("C002", "B", "skipped", None),
                ("C003", "", "sent", NOON),
            )
        ):
            tx.put_invitation(
                invitation(
                    f"i{number}", customer_id=who, experiment="x" if arm else "", arm=arm, state=state,
                    planned_ms=NOON + number, sent_ms=sent, session_id=f"S{number}",
                )
            )  # fmt: skip
        for number, at_ms in ((0, NOON + 2 * DAY), (3, NOON + 3 * DAY)):
            tx.new_session(session(f"S{number}"))
            tx.record_answer(answer("9", session_id=f"S{number}", answered_ms=at_ms))

    await store.write(unit)
    assert await store.read(lambda tx: tx.exposures("x")) == [
        Exposure("C001", "A", NOON, NOON + DAY),
        Exposure("C002", "B", NOON + 2, None),
    ]
    found = await store.read(lambda tx: tx.answers_in_experiment("x"))
    assert [row.session_id for row in found] == ["S0"]
    assert await store.read(lambda tx: tx.exposures("")) == []
    await store.write(lambda tx: tx.erase_customer("C001", NOON + 10 * DAY))
    assert [row.customer_id for row in await store.read(lambda tx: tx.exposures("x"))] == ["C002"]
    assert await store.read(lambda tx: tx.answers_in_experiment("x")) == []


async def test_an_experiment_keeps_its_time_until_it_is_another(store: Store, tmp_path: Path) -> None:
    first, same, other = (Registration("x", text, at) for text, at in (("{1}", 1), ("{1}", 2), ("{2}", 3)))
    for registration, kept in ((first, first), (same, first), (other, other)):
        await store.write(lambda tx, r=registration: tx.register_experiment(r))  # type: ignore[misc]
        assert await store.read(lambda tx: tx.registrations()) == [kept]
    assert registrations_in(f"sqlite:///{tmp_path / 'nowhere.db'}") == []
    assert not (tmp_path / "nowhere.db").exists()


async def test_a_message_that_is_changed_or_taken_back_changes_in_the_history_of_its_case(store: Store) -> None:
    def heard(event_id: str, message_id: str) -> CaseEvent:
        return CaseEvent(event_id, "K1", NOON, "customer", "", "wrote", "前の言葉", message_id=message_id)

    def unit(tx: Tx) -> None:
        tx.put_case(case("K1"))
        for event_id, message_id in (("E1", "m1"), ("E2", "m2"), ("E3", "")):
            tx.note_case_event(heard(event_id, message_id))
        tx.put_job(job("1", key="note:E1", payload="前の言葉", customer_id="C001"))
        (changed,) = tx.change_heard_message("C001", "m1", "後の言葉", key="note:", at_ms=NOON)
        assert (changed.id, changed.kind, changed.words) == ("E1", "wrote", "後の言葉")
        assert [(j.state, j.payload, j.key) for j in tx.jobs()] == [("cancelled", "{}", "")]
        (gone,) = tx.change_heard_message("C001", "m2", "", key="note:", at_ms=NOON)
        assert (gone.id, gone.kind, gone.words) == ("E2", "took_back", "")
        assert tx.change_heard_message("C002", "m1", "", key="note:", at_ms=NOON) == [], "somebody else's"
        assert tx.change_heard_message("C001", "", "", key="note:", at_ms=NOON) == []
        assert [event.words for event in tx.case_events("K1")] == ["後の言葉", "", "前の言葉"]

    await store.write(unit)


async def test_platform_events_of_long_ago_are_forgotten_in_steps(store: Store) -> None:
    def unit(tx: Tx) -> None:
        for channel, number in (("line", 1), ("line", 2), ("slack", 3), ("slack", 4), ("slack", 5)):
            tx.note_inbound(channel, "W", f"e{number}", NOON if number in (2, 5) else NOON - DAY)
        after: tuple[str, ...] = ()
        for step in range(3):
            after = tx.forget_inbound(NOON, after, limit=2)
            assert bool(after) == (step < 2)
        seen = [tx.note_inbound(channel, "W", f"e{number}", NOON) for channel, number in (("line", 1), ("line", 2))]
        assert seen == [True, False]
        seen = [tx.note_inbound("slack", "W", f"e{number}", NOON) for number in (3, 4, 5)]
        assert seen == [True, True, False]

    await store.write(unit)


async def test_addresses_that_events_told_of_come_newest_first_and_without_blocked_ones(store: Store) -> None:
    def tell(tx: Tx) -> list[str]:
        for at_ms, (name, source) in enumerate(
            [("U-old", "event"), ("U-wrote", "chat"), ("U-blocked", "event"), ("U-file", "import"), ("U-new", "event")]
        ):
            tx.put_address(address(name, source=source, created_ms=at_ms))
        tx.set_blocked("line", "Udest", "U-blocked", 9)
        return [found.external_id for found in tx.told_addresses("line", limit=2)]

    assert await store.write(tell) == ["U-new", "U-file"]
