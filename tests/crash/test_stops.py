"""P27: who opts out, blocks the account or has everything erased hears nothing more, also not what was already on its
way out: claimed by the worker, or waiting for another attempt."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bot.line import LineChannel
from bot.outbox import Outbox
from bot.standins.demo import DAY_MS, Buyer, World
from storage.store import Tx
from tests.crash.shop import LinePerson, open_shop
from tests.crash.worlds import invited, plan_invitation, sends, tap_data, world_of, wrong_in
from tests.nursery import Nursery

Stop = Callable[[World, Buyer], Awaitable[None]]


async def _opts_out(world: World, buyer: Buyer) -> None:
    assert await world.line.says(buyer.line_user_id, "配信停止") == 200
    assert await world.line.taps(buyer.line_user_id, "k1::@rights:unsub.yes") == 200


async def _blocks(world: World, buyer: Buyer) -> None:
    world.line.block(buyer.line_user_id)
    await world.line.to_bot.settled()


async def _has_it_erased(world: World, buyer: Buyer) -> None:
    assert await world.line.says(buyer.line_user_id, "削除") == 200
    assert await world.line.taps(buyer.line_user_id, "k1::@rights:erase.yes") == 200


STOPS = pytest.mark.parametrize("stop", [_opts_out, _blocks, _has_it_erased], ids=["opt-out", "block", "erasure"])


def _questions_sent(world: World) -> list[str]:
    """Calls of LINE that carried a survey's button, as they went out."""
    return [str(call.body)[:200] for call in world.line.api.requests if "k1:0" in str(call.body)]


@STOPS
async def test_nothing_is_sent_when_it_comes_between_claim_and_send(tmp_path: Path, stop: Stop) -> None:
    async with world_of(tmp_path) as world:
        koe, buyer = world.koe, world.new_buyer("ja")
        await world.line.to_bot.settled()
        await world.event("return", buyer, order="#1", items=1)  # the customer and their address are known now
        await world.settle()
        # an answer of ours leaves a connection open: with one, nothing is asked again before the request goes out
        assert await world.line.says(buyer.line_user_id, "配信停止") == 200
        await world.settle()
        # a decision like the worker's own, except that what it claimed is handed over later
        outbox: Outbox = koe.worker.outbox()

        def decide(tx: Tx) -> None:
            koe.invitations.due(tx, plan_invitation(tx, buyer, outbox), outbox)

        await koe.store.write(decide)
        assert [(job.kind, job.asks, job.state) for job in outbox.claimed] == [("send", "sat", "leased")]
        await stop(world, buyer)
        koe.worker.take(outbox)
        await world.advance(2 * DAY_MS)
        assert _questions_sent(world) == []
        assert [(j.state, j.asks) for j in await sends(world) if j.asks] == [("cancelled", "sat")]
        assert wrong_in(world) == []


@STOPS
async def test_nothing_is_sent_when_it_comes_while_a_push_waits_for_a_connection(tmp_path: Path, stop: Stop) -> None:
    async with world_of(tmp_path) as world:
        buyer = world.new_buyer("ja")
        await world.line.to_bot.settled()
        await world.event("return", buyer, order="#1", items=1)  # the customer and their address are known now
        await world.settle()
        line = world.koe.channels["line"]
        assert isinstance(line, LineChannel)
        turns = line._poster._turns
        while not turns.locked():
            await turns.acquire()
        outbox: Outbox = world.koe.worker.outbox()
        await world.koe.store.write(
            lambda tx: world.koe.invitations.due(tx, plan_invitation(tx, buyer, outbox), outbox)
        )
        world.koe.worker.take(outbox)
        async with asyncio.timeout(30):
            while not turns._waiters:  # noqa: ASYNC110 - who waits for a turn tells nobody
                await asyncio.sleep(0)
        await stop(world, buyer)
        turns.release()
        await world.advance(2 * DAY_MS)
        assert _questions_sent(world) == []
        assert [(j.state, j.asks) for j in await sends(world) if j.asks] == [("cancelled", "sat")]
        assert wrong_in(world) == []


@STOPS
async def test_nothing_is_sent_when_it_comes_between_two_attempts(tmp_path: Path, stop: Stop) -> None:
    async with world_of(tmp_path) as world:
        buyer = world.new_buyer("ja")
        await world.line.to_bot.settled()
        world.line.fail_next("/v2/bot/message/push", 503)
        await invited(world, buyer)
        tried = _questions_sent(world)
        assert len(tried) == 1
        await stop(world, buyer)
        await world.advance(2 * DAY_MS)
        assert _questions_sent(world) == tried
        assert wrong_in(world) == []


@STOPS
async def test_nothing_is_sent_when_it_comes_in_the_middle_of_a_survey(tmp_path: Path, stop: Stop) -> None:
    async with world_of(tmp_path) as world:
        buyer = world.new_buyer("ja")
        await invited(world, buyer)
        world.line.fail_next("/v2/bot/message/reply", 503)
        await world.line.taps(buyer.line_user_id, tap_data(world, buyer, "sat", "4"))
        await world.settle()
        tried = _questions_sent(world)
        await stop(world, buyer)
        await world.advance(10 * DAY_MS)
        assert _questions_sent(world) == tried
        assert wrong_in(world) == []


async def test_an_opt_out_acknowledged_before_a_kill_holds_after_it(tmp_path: Path, nursery: Nursery) -> None:
    async with open_shop(tmp_path, nursery) as shop:
        person = LinePerson(shop)
        shop.line.fail_next("/v2/bot/message/push", 503, times=2)
        assert await shop.start()
        await shop.purchase(person.customer)
        await shop.until(lambda: shop.rows("SELECT 1 FROM jobs WHERE asks = 'sat' AND attempts > 0"), "not tried")
        assert await shop.line.says(person.user_id, "配信停止") == 200
        assert await shop.line.taps(person.user_id, "k1::@rights:unsub.yes") == 200
        assert shop.life is not None
        shop.life.signal(signal.SIGKILL)
        await shop.life.ended()
        asked = person.asked()
        assert await shop.start()
        await shop.settled()
        assert person.asked() == asked
        assert shop.wrong(plain=False) == []
        await shop.stop()
