"""P2: no platform is told that an event is stored before it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.standins.demo import Transport
from storage import failpoints
from tests.crash.worlds import invited, tap_data, world_of, wrong_in


@pytest.mark.parametrize("deed", ["raise", "diskfull"])
async def test_line_gets_503_while_the_store_fails_and_its_redelivery_counts(tmp_path: Path, deed: str) -> None:
    async with world_of(tmp_path) as world:
        buyer = world.new_buyer("ja")
        await invited(world, buyer)
        tap = world.line.postback_event(buyer.line_user_id, tap_data(world, buyer, "sat", "4"))
        failpoints.arm(f"store.before_commit={deed}")
        assert await world.line.to_bot.deliver_raw([tap]) == 503
        failpoints.arm("")
        assert await world.koe.store.read(lambda tx: tx.answers_of(buyer.customer_id)) == []
        assert await world.line.to_bot.deliver_raw([tap]) == 200
        await world.settle()
        answers = await world.koe.store.read(lambda tx: tx.answers_of(buyer.customer_id))
        assert [(answer.question, answer.value) for answer in answers] == [("sat", "4")]
        assert wrong_in(world, plain=True) == []


@pytest.mark.parametrize("transport", ["http", "socket"])
async def test_slack_gets_no_acknowledgement_while_the_store_fails(tmp_path: Path, transport: Transport) -> None:
    async with world_of(tmp_path, transport=transport) as world:
        if transport == "socket":
            world.slack.to_bot.ack_timeout_s = 1.0
        buyer = world.new_buyer("ja", channel="slack")
        await invited(world, buyer)
        dm = world.slack.dm_of(buyer.slack_user_id)
        failpoints.arm("store.before_commit=raise")
        refused = await world.slack.says(buyer.slack_user_id, dm, "満足")
        failpoints.arm("")
        assert refused.status == (503 if transport == "http" else 0)
        assert (await world.slack.redeliver(refused.event_id)).status == 200
        await world.advance(10_000)
        answers = await world.koe.store.read(lambda tx: tx.answers_of(buyer.customer_id))
        assert [(answer.question, answer.value) for answer in answers] == [("sat", "5")]
        assert wrong_in(world, plain=True) == []


async def test_a_blocked_store_delays_the_acknowledgement(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        buyer = world.new_buyer("ja", channel="slack")
        await invited(world, buyer)
        failpoints.arm("store.before_commit=sleep:0.3@1")
        ack = await world.slack.says(buyer.slack_user_id, world.slack.dm_of(buyer.slack_user_id), "満足")
        assert ack.status == 200
        assert failpoints.passes("store.before_commit") >= 1, "acknowledged before the commit"
        await world.advance(10_000)
        assert wrong_in(world, plain=True) == []


@pytest.mark.parametrize("transport", ["http", "socket"])
async def test_events_nobody_knows_are_acknowledged_and_stored(tmp_path: Path, transport: Transport) -> None:
    async with world_of(tmp_path, transport=transport) as world:
        assert (await world.slack.sends_event({"type": "brand_new_event", "user": "U0STAFF"})).status == 200
        event = {**world.line.text_event(world.line.add_user("佐藤"), "こんにちは"), "type": "brandNew"}
        assert await world.line.to_bot.deliver_raw([event]) == 200
        await world.settle()
        assert wrong_in(world) == []
