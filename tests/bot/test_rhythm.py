"""`every` rules: a survey in a rhythm, and the room the contact cap keeps for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.standins.demo import DAY_MS, PRESENT, Buyer, World, open_world
from storage.records import Invitation

_RULES = [
    {"id": "quarterly", "every": "90d", "flow": "relational", "sample": 0.5},
    {"id": "after-support", "on": "ticket_resolved", "flow": "after_support", "delay": "1h"},
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(
        tmp_path, start_ms=round(PRESENT.timestamp() * 1000), shop={"triggers": _RULES, "digests": []}
    )
    await opened.koe.schedule()
    yield opened
    await opened.close()


async def _invitations(world: World, buyer: Buyer) -> dict[str, Invitation]:
    found = await world.koe.store.read(lambda tx: tx.invitations_of(buyer.customer_id))
    return {invitation.trigger_id: invitation for invitation in found}


async def test_a_relational_survey_is_planned_ahead_and_wins_over_what_comes_before_it(world: World) -> None:
    buyers = [world.new_buyer("ja") for _ in range(8)]
    for number, buyer in enumerate(buyers):
        await world.event("purchase", buyer, order=f"#{number}", amount=5000, product="マグカップ")
    await world.advance(2 * DAY_MS)
    for buyer in buyers:
        await world.support_case(buyer)
    await world.advance(16 * DAY_MS)
    asked = 0
    for buyer in buyers:
        invitations = await _invitations(world, buyer)
        quarterly, support = invitations["quarterly"], invitations["after-support"]
        if quarterly.state == "sent":
            asked += 1
            assert quarterly.sent_ms is not None
            assert quarterly.sent_ms - quarterly.planned_ms == pytest.approx(14 * DAY_MS, abs=60_000)
            assert (support.state, support.reason) == ("skipped", "relational_ahead")
        else:
            assert (quarterly.state, quarterly.reason) == ("skipped", "sampled_out")
            assert support.state == "sent"
    assert 0 < asked < len(buyers)


async def test_a_rhythm_reaches_everybody_though_it_plans_some_at_a_time(world: World) -> None:
    buyers = [world.new_buyer("ja") for _ in range(120)]
    for number, buyer in enumerate(buyers):
        await world.event("purchase", buyer, order=f"#{number}", amount=5000, product="マグカップ")
    await world.advance(2 * DAY_MS)
    planned = [await _invitations(world, buyer) for buyer in buyers]
    assert all("quarterly" in found for found in planned)
    everything = await world.koe.store.read(
        lambda tx: [i for buyer in buyers for i in tx.invitations_of(buyer.customer_id)]
    )
    assert len(everything) == len(buyers), "each once, on the second day, too"
