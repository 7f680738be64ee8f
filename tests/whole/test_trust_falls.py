"""A trust balance that falls: found in the night, kept once, and shown to staff unless somebody looks after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bot.standins.demo import DAY_MS, HOUR_MS, PRESENT, Buyer, World, open_world
from storage.records import Case, Event, TrustDrop
from storage.store import Tx

ALERTS = "C0ALERTS"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path, start_ms=int(PRESENT.timestamp() * 1000), shop={"digests": [], "triggers": []})
    await opened.koe.schedule()
    yield opened
    await opened.close()


async def drops(world: World, *buyers: Buyer) -> list[TrustDrop]:
    """The falls of these customers, one customer's after the other's."""

    def kept(tx: Tx) -> list[TrustDrop]:
        return [drop for buyer in buyers for drop in tx.dossier(buyer.customer_id).trust_drops]

    return await world.koe.store.read(kept)


async def cases(world: World, buyer: Buyer) -> list[Case]:
    return await world.koe.store.read(lambda tx: tx.cases_of(buyer.customer_id))


async def test_a_very_late_delivery_brings_one_case_and_one_card(world: World) -> None:
    buyer, other = world.new_buyer("ja"), world.new_buyer("en")
    await world.event("delivery", buyer, order="7", due=(PRESENT - timedelta(days=4)).date().isoformat())
    await world.event("delivery", other, order="8", due=PRESENT.date().isoformat())
    await world.advance(DAY_MS)
    (found,) = await drops(world, buyer, other)
    (case,) = await cases(world, buyer)
    assert (found.customer_id, found.high, found.case_id) == (buyer.customer_id, 0.0, case.id)
    assert found.balance == pytest.approx(-8, abs=0.02)
    assert (case.reason, case.state, case.words) == ("trust_drop", "open", "")
    card = world.slack.transcript(ALERTS)
    assert "信頼残高が下がりました" in card
    assert "信頼の記録：11/19 お届けの大幅な遅れ -8.0" in card
    assert await cases(world, other) == []
    # the same fall is not found again, night after night
    await world.advance(3 * DAY_MS)
    assert await drops(world, buyer, other) == [found]
    assert await cases(world, buyer) == [case]


async def test_a_fall_while_a_case_is_open_or_after_somebody_looked_is_kept_without_another_case(world: World) -> None:
    buyer = world.new_buyer("ja")
    await world.event("billing_error", buyer)
    await world.advance(DAY_MS)
    await world.event("billing_error", buyer)
    await world.advance(DAY_MS)
    first, second = await drops(world, buyer)
    assert (first.case_id != "", second.case_id) == (True, "")
    assert second.high - second.balance == pytest.approx(8, abs=0.05)
    await world.event("complaint_resolved", buyer)
    await world.advance(2 * DAY_MS)
    assert len(await cases(world, buyer)) == 1
    await world.event("billing_error", buyer)
    await world.advance(DAY_MS)
    assert [case.state for case in await cases(world, buyer)] == ["settled", "open"]


async def test_a_promise_made_long_ago_is_found_when_its_day_passes(world: World) -> None:
    buyer = world.new_buyer("ja")
    day = datetime.fromtimestamp(world.clock.now_ms() / 1000, PRESENT.tzinfo).date() + timedelta(days=20)
    await world.event("promise", buyer, id="P1", due=day.isoformat())
    await world.advance(20 * DAY_MS)
    assert await drops(world, buyer) == []
    await world.advance(DAY_MS)
    (found,) = await drops(world, buyer)
    assert (found.customer_id, found.high) == (buyer.customer_id, 0.0)


async def test_a_reply_that_names_only_its_ticket_keeps_an_enquiry_from_being_unanswered(world: World) -> None:
    buyer, waiting = world.new_buyer("ja"), world.new_buyer("ja")
    for who, ticket in ((buyer, "T1"), (waiting, "T2")):
        await world.event("ticket_opened", who, ticket=ticket)
    await world.advance(HOUR_MS)
    now_ms = world.clock.now_ms()
    reply = Event("r1", "ticket_replied", now_ms, now_ms, "", '{"ticket": "T1"}')
    await world.koe.store.write(lambda tx: tx.note_event(reply))
    await world.advance(5 * DAY_MS)
    assert [found.customer_id for found in await drops(world, buyer, waiting)] == [waiting.customer_id]


async def test_where_nobody_would_be_told_no_case_opens(tmp_path: Path) -> None:
    world = await open_world(
        tmp_path,
        start_ms=int(PRESENT.timestamp() * 1000),
        shop={"digests": [], "triggers": [], "alerts": None},
    )
    try:
        await world.koe.schedule()
        buyer = world.new_buyer("ja")
        await world.event("billing_error", buyer)
        await world.advance(DAY_MS)
        assert [found.case_id for found in await drops(world, buyer)] == [""]
        assert await cases(world, buyer) == []
    finally:
        await world.close()


async def test_who_does_not_want_to_know_of_falls_is_not_told(tmp_path: Path) -> None:
    world = await open_world(
        tmp_path,
        start_ms=int(PRESENT.timestamp() * 1000),
        shop={"digests": [], "triggers": [], "trust": {"drop": None}},
    )
    try:
        await world.koe.schedule()
        buyer = world.new_buyer("ja")
        await world.event("billing_error", buyer)
        await world.advance(DAY_MS)
        assert await drops(world, buyer) == []
    finally:
        await world.close()
