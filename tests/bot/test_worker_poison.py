"""What our own code, the disk or a restart does wrong ends in a recorded attempt, and never in the others' way."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from bot.app import build
from bot.clock import Chance, StoryClock
from bot.loading import load
from bot.standins.demo import DAY_MS, HOUR_MS, PRESENT, Buyer, World, open_world
from storage import failpoints
from storage.records import Job
from storage.store import Tx, open_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

START_MS = int(PRESENT.timestamp() * 1000)
SUPPORT: dict[str, object] = {
    "triggers": [{"id": "after-support", "on": "ticket_resolved", "flow": "after_support"}],
    "digests": [],
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("poison"), start_ms=START_MS, shop=SUPPORT)
    yield world
    await world.close()


def job(world: World, kind: str, **fields: Any) -> Job:
    now_ms = world.clock.now_ms()
    row: dict[str, Any] = {
        "id": world.koe.chance.new_id(now_ms),
        "due_ms": now_ms,
        "payload": "{}",
        "created_ms": now_ms,
    }
    return Job(kind=kind, **(row | fields))


async def queue(world: World, *jobs: Job) -> None:
    def unit(tx: Tx) -> None:
        for each in jobs:
            tx.put_job(each)

    await world.koe.store.write(unit)
    # a command beside the server queued them: the worker looks again every few seconds
    await world.advance(6_000)


async def asked(world: World, number: str) -> Buyer:
    buyer = world.new_buyer("ja")
    await world.event("ticket_resolved", buyer, ticket=number)
    await world.settle()
    return buyer


async def test_a_job_that_always_raises_is_given_up_with_its_reason_while_others_run(world: World) -> None:
    bad = job(world, "invite", payload="not json")
    await queue(world, bad)
    buyer = await asked(world, "T-beside")
    assert "手間や負担" in world.line.transcript(buyer.line_user_id)
    with capture_logs() as logged:
        await world.advance(2 * DAY_MS)
    assert any(entry["event"] == "job_failed" for entry in logged)
    given_up = await world.koe.store.read(lambda tx: tx.find_job(bad.id))
    assert given_up is not None
    assert (given_up.state, given_up.attempts) == ("dead", 12)
    assert "given up after" in given_up.error
    assert "JSONDecodeError" in given_up.error


async def test_a_business_event_on_which_our_rules_fail_is_stored_and_can_be_replayed(world: World) -> None:
    buyer = world.new_buyer("ja")
    await world.event("purchase", buyer, order="7", amount=5)
    corrupt(world, f"UPDATE events SET data = '{{' WHERE customer_id = '{buyer.customer_id}'")
    await world.event("ticket_resolved", buyer, order="7", ticket="T-poison")  # 202 all the same
    beside = await asked(world, "T-beside-poison")
    assert "手間や負担" in world.line.transcript(beside.line_user_id)
    dead = await world.koe.store.read(lambda tx: tx.jobs(state="dead", kind="event"))
    assert len(dead) == 1
    assert "JSONDecodeError" in dead[0].error
    corrupt(world, f"UPDATE events SET data = '{{}}' WHERE type = 'purchase' AND customer_id = '{buyer.customer_id}'")
    assert await world.koe.store.write(lambda tx: tx.replay_job(dead[0].id, world.clock.now_ms()))
    await world.advance(6_000)
    assert "手間や負担" in world.line.transcript(buyer.line_user_id)


def corrupt(world: World, sql: str) -> None:
    """What a bug or a hand in the file could leave behind."""
    with sqlite3.connect(world.directory / "koe.db") as db:
        db.execute(sql)
    db.close()


async def test_a_kind_nobody_knows_is_dead_at_once_and_says_so(world: World) -> None:
    odd = job(world, "teleport")
    await queue(world, odd)
    found = await world.koe.store.read(lambda tx: tx.find_job(odd.id))
    assert found is not None
    assert (found.state, "no handler" in found.error) == ("dead", True)


async def test_a_send_that_is_given_up_frees_its_lane(world: World) -> None:
    lane = "line:x:y"
    first = job(world, "send", payload="broken", lane=lane, channel="line")
    second = job(world, "invite", payload='{"invitation":"none"}', lane=lane)
    await queue(world, first, second)
    await world.advance(2 * DAY_MS)
    states = await world.koe.store.read(lambda tx: [tx.find_job(i.id) for i in (first, second)])
    assert [s.state for s in states if s is not None] == ["dead", "done"]


async def test_a_dead_job_can_be_replayed(world: World) -> None:
    dead = job(world, "invite", payload='{"invitation":"gone"}', state="dead", error="for the test")
    await queue(world, dead)
    assert await world.koe.store.write(lambda tx: tx.replay_job(dead.id, world.clock.now_ms()))
    await world.advance(6_000)
    found = await world.koe.store.read(lambda tx: tx.find_job(dead.id))
    assert found is not None
    assert found.state == "done"


async def test_a_disk_that_fills_while_sending_stops_nothing_for_good(world: World) -> None:
    buyer = await asked(world, "T-disk")
    failpoints.arm("store.before_commit=diskfull")
    try:
        assert await world.line.says(buyer.line_user_id, "2") == 503
    finally:
        failpoints.arm("")
    assert await world.line.says(buyer.line_user_id, "2") == 200
    await world.advance(HOUR_MS)
    assert "満足していますか" in world.line.transcript(buyer.line_user_id)
    assert world.line.transcript(buyer.line_user_id).count("満足していますか") == 1


async def test_the_health_pages_tell_of_dead_jobs(world: World) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(f"{world.bot_url}/metrics") as answer:
        text = await answer.text()
    assert 'koe_jobs{kind="invite",state="dead"}' in text
    assert "koe_jobs_dead_total" in text


async def test_what_fails_while_starting_closes_what_was_opened(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("failing")
    config = load(environ=_environ(world) | {"KOE_DATABASE_URL": f"sqlite:///{folder / 'koe.db'}"}, env_file=None)
    with pytest.raises(AttributeError):
        await build(replace(config, shop=None), clock=StoryClock(START_MS), chance=Chance(1))  # type: ignore[arg-type]
    # the lock of the server is free again
    again = await open_store(f"sqlite:///{folder / 'koe.db'}", now_ms=time.time_ns() // 1_000_000, server=True)
    await again.close()


def _environ(world: World) -> dict[str, str]:
    settings = world.koe.settings
    return {
        "KOE_CONFIG": str(world.directory / "koe.yaml"),
        "KOE_SECRET_KEY": settings.secret_key.get_secret_value(),
        "KOE_EVENTS_SECRETS": world.secret,
        "LINE_CHANNEL_SECRETS": world.line.to_bot.channel_secret,
        "LINE_CHANNEL_ACCESS_TOKEN": world.line.api.access_token,
        "LINE_API_BASE_URL": settings.line_api_base_url,
        "SLACK_BOT_TOKEN": world.slack.api.bot_token,
        "SLACK_SIGNING_SECRETS": world.slack.to_bot.signing_secret,
        "SLACK_API_BASE_URL": settings.slack_api_base_url,
    }
