"""What our own code could not digest is kept, and goes its ordinary way once an operator lets it run again."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from persons import PURCHASE_SHOP, START_MS, Person, doctor, invited, new_person

from bot.standins.demo import World, open_world
from storage.records import Job

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("replay"), start_ms=START_MS, shop=PURCHASE_SHOP)
    yield world
    await world.close()


def by_hand(world: World, sql: str, *values: str) -> None:
    """What a bug or a hand in the file could leave behind, and how it is mended."""
    db = sqlite3.connect(Path(world.directory) / "koe.db")
    with db:
        db.execute(sql, values)
    db.close()


async def dead(world: World, kind: str) -> list[Job]:
    return list(await world.koe.store.read(lambda tx: tx.jobs(state="dead", kind=kind)))


async def poisoned_message(world: World) -> tuple[Person, str]:
    """A customer whose answer could not be digested, and the state that was broken."""
    person = await invited(world)
    person.looks()
    [session] = await person.sessions()
    by_hand(world, "UPDATE sessions SET state = '[1,' WHERE id = ?", session.id)
    assert "Koe:" not in await person.says("やや満足")
    return person, session.state


async def poisoned_event(world: World) -> Person:
    """A customer whose closed support case was stored, but our rules failed on what was stored before it."""
    person = new_person(world)
    await world.event("purchase", person.buyer, order=person.order, amount=5000, product="傘", store="kyoto")
    by_hand(world, "UPDATE events SET data = '{' WHERE customer_id = ?", person.customer_id)
    await world.event("ticket_resolved", person.buyer, order=person.order, ticket="T-1")
    return person


async def test_the_doctor_lists_both_kinds_and_runs_them_again_beside_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, state = await poisoned_message(world)
    asking = await poisoned_event(world)
    listed = await doctor(world, monkeypatch)
    [inbound], [event] = await dead(world, "inbound"), await dead(world, "event")
    for kept in (inbound, event):
        assert kept.id in listed
        assert kept.error.split(":")[0] in listed
    assert (inbound.customer_id, event.customer_id) == (answered.customer_id, asking.customer_id)

    by_hand(world, "UPDATE sessions SET state = ? WHERE customer_id = ?", state, answered.customer_id)
    assert "1 of 1 jobs will run again." in await doctor(world, monkeypatch, "--replay", inbound.id)
    assert "薦める可能性" in await answered.waits(10_000)
    assert (await answered.answers())["sat"].value == "4"

    by_hand(world, "UPDATE events SET data = '{}' WHERE customer_id = ? AND type = 'purchase'", asking.customer_id)
    assert "1 of 1 jobs will run again." in await doctor(world, monkeypatch, "--replay", "all")
    await asking.waits(2 * 3_600_000)
    assert "手間や負担" in world.line.transcript(asking.user_id)
    assert await dead(world, "inbound") == await dead(world, "event") == []


async def test_one_that_still_fails_is_given_up_again_with_its_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, state = await poisoned_message(world)
    await doctor(world, monkeypatch, "--replay", "all")
    found: list[Any] = []
    for _ in range(12):
        await person.waits(15 * 60_000)
        found = await dead(world, "inbound")
        if found:
            break
    assert "given up" in found[0].error
    assert await person.answers() == {}
    by_hand(world, "UPDATE sessions SET state = ? WHERE customer_id = ?", state, person.customer_id)
    await doctor(world, monkeypatch, "--replay", "all")
    await person.waits(10_000)
    assert (await person.answers())["sat"].value == "4"
