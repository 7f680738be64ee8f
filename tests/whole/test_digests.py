"""The weekly digest: on its Monday morning, once, whatever happens on the way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from persons import DAY_MS, HOUR_MS, PURCHASE_SHOP, START_MS, invited

from bot.standins.demo import TOKYO, World, open_world
from bot.standins.workspace import SlackMessage
from tests import nursery

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP = PURCHASE_SHOP | {
    "digests": [{"id": "weekly", "channel": "C0DIGEST", "weekday": "mon", "at": "09:00", "language": "ja"}]
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("digests"), start_ms=START_MS, shop=SHOP, reports=nursery.reports)
    yield world
    await world.close()


def posted_in(world: World) -> list[SlackMessage]:
    """The digests of the channel, without their threads."""
    return [message for message in world.slack.messages("C0DIGEST") if message.thread_ts is None]


def local(at_ms: float) -> str:
    return datetime.fromtimestamp(at_ms / 1000, TOKYO).strftime("%a %H:%M")


async def test_it_is_posted_once_on_monday_morning_and_names_what_was_answered(world: World) -> None:
    for score in ("10", "9", "3"):
        person = await invited(world)
        await person.taps("満足")
        await person.says(score)
        await person.says("やめる")
    await world.koe.schedule()
    await world.koe.schedule()  # a second start queues nothing more
    posted: list[str] = []
    world.slack.on_change.append(lambda: posted.append(local(world.clock.now_ms())))
    await world.advance(6 * DAY_MS)
    assert len(posted_in(world)) == 1
    assert "Mon 09:00" in posted
    shown = world.slack.transcript("C0DIGEST")
    assert "3件" in shown
    assert "n<10" in shown
    assert person.customer_id not in shown
    voices = await world.koe.store.read(lambda tx: tx.jobs(kind="voices"))
    assert voices == [], "nobody wrote anything: the week is not computed a second time"


async def test_a_failed_post_is_tried_again_and_stands_there_once(world: World) -> None:
    world.slack.fail_next("chat.postMessage", "500html", 1)
    before = len(posted_in(world))
    await world.advance(7 * DAY_MS)
    assert len(posted_in(world)) == before + 1


async def test_a_post_whose_answer_was_lost_is_looked_up_and_not_repeated(world: World) -> None:
    world.slack.fail_next("chat.postMessage", "reset_after_accept", 1)
    before = len(posted_in(world))
    await world.advance(7 * DAY_MS)
    assert len(posted_in(world)) == before + 1


async def test_posting_by_hand_and_by_schedule_is_one_post(world: World) -> None:
    rule = world.koe.shop.digests[0]
    stored = await world.koe.store.read(lambda tx: tx.find_digest("weekly", "2026-W48"))
    assert stored is not None
    # what the command computes is what was computed on Monday
    computed = json.loads(stored.content)
    outbox = world.koe.worker.outbox()
    again = await world.koe.store.write(lambda tx: world.koe.digests.queue_post(tx, rule, "2026-W48", computed, outbox))
    assert again is False


async def test_it_comes_at_the_same_local_hour_when_clocks_change(tmp_path: Path) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = int(datetime(2026, 10, 14, 12, tzinfo=berlin).timestamp() * 1000)
    shop = SHOP | {"timezone": "Europe/Berlin"}
    world = await open_world(tmp_path, start_ms=start, shop=shop, reports=nursery.reports)
    try:
        await world.koe.schedule()
        due: list[str] = []
        for _ in range(2):
            (job,) = await world.koe.store.read(lambda tx: tx.jobs(state="ready", kind="digest"))
            due.append(datetime.fromtimestamp(job.due_ms / 1000, berlin).strftime("%m-%d %H:%M %z"))
            if len(due) == 1:
                await world.advance_to(job.due_ms + HOUR_MS)
        assert due == ["10-19 09:00 +0200", "10-26 09:00 +0100"]
        assert len(posted_in(world)) == 1
    finally:
        await world.close()


async def test_a_process_that_slept_over_monday_catches_up_once(tmp_path: Path) -> None:
    world = await open_world(tmp_path, start_ms=START_MS, shop=SHOP, reports=nursery.reports)
    try:
        await world.koe.schedule()
        # asleep for two and a half weeks: one jump of the clock
        world.clock.advance(18 * DAY_MS)
        await world.settle()
        periods = await world.koe.store.read(
            lambda tx: [p for p in ("2026-W47", "2026-W48", "2026-W49") if tx.find_digest("weekly", p)]
        )
        assert len(posted_in(world)) == len(periods)
        assert "2026-W47" in periods
    finally:
        await world.close()


@pytest.mark.prove
async def test_what_customers_said_stands_in_the_thread_of_a_private_channel_only(tmp_path: Path) -> None:
    weekly = SHOP["digests"][0]
    both = [weekly, weekly | {"id": "open", "channel": "C0DIGESTEN"}]
    world = await open_world(tmp_path, start_ms=START_MS, shop=SHOP | {"digests": both}, reports=nursery.reports)
    try:
        world.slack.channels["C0DIGESTEN"].private = False
        for number in range(20):
            person = await invited(world)
            await person.taps("満足")
            await person.says("10" if number < 10 else "2")
            await person.says(f"箱の色がとてもよかったです、その{number}。")
            await person.says("やめる")
        await world.koe.schedule()
        await world.advance(7 * DAY_MS)
        for channel, shown in (("C0DIGEST", True), ("C0DIGESTEN", False)):
            messages = world.slack.messages(channel)
            assert len([message for message in messages if message.thread_ts is not None]) >= 2
            assert ("箱の色が" in world.slack.transcript(channel)) is shown
            assert not [message for message in messages if "箱の色が" in message.text], (
                "the notification has no comment"
            )
    finally:
        await world.close()
