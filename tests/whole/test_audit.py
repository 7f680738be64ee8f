"""Each deed of staff leaves exactly one row in the audit: who, what, about whom, when."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from looked import CHANNEL, Looked, eventually, unhappy
from persons import HOUR_MS, PURCHASE_SHOP, START_MS, Person, doctor, new_person

from bot.clock import Chance
from bot.exports import Wanted, export
from bot.person import erase
from bot.standins.demo import World, open_world
from storage.records import AuditEntry

BOSS, STAFF, SECOND = "U0MANAGER", "U0STAFF", "U0SECOND"
SHOP: dict[str, object] = PURCHASE_SHOP | {
    "alerts": {"channel": CHANNEL, "grace": "5m"},
    "staff": {"managers": [BOSS], "may_trigger": [STAFF, SECOND]},
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("audit"), start_ms=START_MS, shop=SHOP)
    world.slack.channels[CHANNEL].members.append(world.slack.add_user("中島 京子", id=SECOND))
    yield world
    await world.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def looked(world: World) -> Looked:
    return await unhappy(world)


async def rows(world: World) -> list[AuditEntry]:
    """Oldest first."""
    return (await world.koe.store.read(lambda tx: tx.audit_entries(limit=1_000)))[::-1]


async def reachable(world: World) -> Person:
    person = new_person(world)
    await world.event("purchase", person.buyer, order=person.order, amount=500)
    await world.settle()
    return person


async def sends(world: World, user: str, person: Person, **values: str) -> None:
    """The window of `/survey` is filled in for this customer and sent."""
    await world.slack.command(user, CHANNEL, "/survey")
    await eventually(world, lambda: (world.slack.modal(user) or {}).get("callback_id") == "koe.survey", 60)
    await world.slack.types(user, "customer", person.customer_id)
    await world.slack.picks(user, "customer", person.customer_id)
    await eventually(world, lambda: "LINE通数" in str(world.slack.modal(user)), 60)
    assert "お送りします" in str((await world.slack.submits(user, values)).body)
    await world.slack.closes(user, all_views=True)


async def types(world: World, text: str) -> None:
    before = len(world.slack.ephemerals(BOSS))
    await world.slack.command(BOSS, CHANNEL, "/survey", text)
    await eventually(world, lambda: len(world.slack.ephemerals(BOSS)) > before, 60)


async def drops(world: World, *persons: Person) -> str:
    """A list is dropped and previewed; the ts of its preview."""
    await world.slack.command(BOSS, CHANNEL, "/survey", "bulk")
    await eventually(world, lambda: (world.slack.modal(BOSS) or {}).get("callback_id") == "koe.bulk", 60)
    content = "\n".join(["customer", *(person.customer_id for person in persons)]).encode()
    await world.slack.submits(BOSS, {"file": world.slack.adds_file(BOSS, "list.csv", content)})
    await world.slack.closes(BOSS, all_views=True)
    await world.settle()
    return world.slack.messages(world.slack.dm_of(BOSS))[-1].ts


CASE_DEEDS: dict[str, Callable[[Looked], Awaitable[object]]] = {
    # in this order, on one case
    "case.claim": lambda looked: looked.presses("claim"),
    "case.read": lambda looked: _reads(looked),
    "case.hand_over": lambda looked: _window(looked, "hand_over", to=SECOND, note="発送の確認"),
    "case.call": lambda looked: _window(looked, "call", reached="no"),
    "case.snooze": lambda looked: _window(looked, "snooze", until=(looked.world.clock.now_ms() + HOUR_MS) // 1000),
    "case.reply": lambda looked: looked.replies("交換いたします。"),
    "case.resolve": lambda looked: looked.resolves(),
}


async def _window(looked: Looked, verb: str, **values: object) -> None:
    await looked.opens(verb)
    await looked.submits(**values)


async def _reads(looked: Looked) -> None:
    """What a public card leaves out is asked for by its button; here as Slack would send it from there."""
    slack = looked.world.slack
    click = {
        "type": "button",
        "action_id": "koe.case.words",
        "block_id": "b",
        "value": looked.case_id,
        "action_ts": "1.1",
    }
    await slack.to_bot.send("interactive", {**slack._interaction(STAFF, "block_actions"), "actions": [click]})
    await eventually(looked.world, lambda: slack.modal(STAFF) is not None, 60)
    await slack.closes(STAFF)


@pytest.mark.parametrize("action", CASE_DEEDS)
async def test_each_deed_on_a_case_is_one_row(world: World, looked: Looked, action: str) -> None:
    before, since_ms = await rows(world), world.clock.now_ms()
    await CASE_DEEDS[action](looked)
    (row,) = (await rows(world))[len(before) :]
    assert (row.action, row.subject) == (action, looked.person.customer_id)
    assert row.actor.split(":")[-1] == STAFF
    assert looked.case_id in row.detail
    assert since_ms <= row.at_ms <= world.clock.now_ms()


async def _start(world: World, person: Person) -> None:
    await sends(world, BOSS, person)


async def _override(world: World, person: Person) -> None:
    await sends(world, BOSS, person, override="ご希望", flow="after_support")


async def _pause(world: World, _: Person) -> None:
    await types(world, "pause after_support")
    await types(world, "pause after_support")


async def _resume(world: World, _: Person) -> None:
    await types(world, "resume after_support")


async def _cancel(world: World, _: Person) -> None:
    ts = await drops(world, await reachable(world))
    await world.slack.double_clicks(BOSS, world.slack.dm_of(BOSS), ts, "koe.bulk.cancel")
    await world.settle()


DEEDS: dict[str, tuple[Callable[[World, Person], Awaitable[None]], str]] = {
    "survey.start": (_start, "customer"),
    "survey.override": (_override, "customer"),
    "survey.pause": (_pause, "after_support"),
    "survey.resume": (_resume, "after_support"),
    "bulk.cancel": (_cancel, ""),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def person(world: World) -> Person:
    return await reachable(world)


@pytest.mark.parametrize("action", DEEDS)
async def test_each_command_and_window_is_one_row(world: World, person: Person, action: str) -> None:
    deed, subject = DEEDS[action]
    before, since_ms = await rows(world), world.clock.now_ms()
    await deed(world, person)
    (row,) = (await rows(world))[len(before) :]
    assert row.action == action
    assert row.actor == f"slack:{world.slack.team_id}:{BOSS}"
    assert not subject or row.subject == {"customer": person.customer_id}.get(subject, subject)
    assert since_ms <= row.at_ms <= world.clock.now_ms()


async def test_a_list_is_one_row_and_one_for_each_survey_that_it_starts(world: World) -> None:
    persons = [await reachable(world) for _ in range(2)]
    ts = await drops(world, *persons)
    before = await rows(world)
    await world.slack.double_clicks(BOSS, world.slack.dm_of(BOSS), ts, "koe.bulk.send")
    await world.advance(10_000)
    fresh = (await rows(world))[len(before) :]
    assert [row.action for row in fresh] == ["bulk.send", "survey.start", "survey.start"]
    assert {row.subject for row in fresh[1:]} == {one.customer_id for one in persons}
    assert {row.actor for row in fresh} == {f"slack:{world.slack.team_id}:{BOSS}"}


async def test_an_export_and_an_erasure_at_the_terminal_are_in_the_audit(world: World, tmp_path: Path) -> None:
    person, koe, before = await reachable(world), world.koe, await rows(world)
    url = koe.settings.database_url
    wanted = Wanted(what="answers", form="csv", path=tmp_path / "answers.csv")
    await export(wanted, database_url=url, tz=koe.shop.tz, clock=world.clock, chance=Chance(4))
    await erase(koe.config, person.customer_id, clock=world.clock, chance=Chance(5))
    fresh = (await rows(world))[len(before) :]
    by_action = {row.action: row for row in fresh}
    assert sorted(row.action for row in fresh) == ["export.answers.begun", "export.answers.done", "person.erase"]
    assert by_action["person.erase"].subject.startswith("erased-"), "whom it was about is no longer said"
    assert all(row.at_ms == world.clock.now_ms() and row.actor for row in fresh)


async def test_an_operator_reads_the_newest_rows_at_the_terminal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await reachable(world)
    await world.advance(60_000)
    at = datetime.fromtimestamp(world.clock.now_ms() / 1000, world.koe.shop.tz)
    await sends(world, STAFF, person, note="x")
    await world.advance(60_000)
    hostile = "U0\u202eX\n2026-01-01 00:00 operator x"
    await world.koe.note_refused(hostile, "T9", "command:bulk", "bot")
    printed = (await doctor(world, monkeypatch, "--audit", "2")).splitlines()
    later = at + timedelta(minutes=1)
    assert printed == [
        f"{later:%Y-%m-%d %H:%M} slack:T9:U0\\u202eX\\u000a2026-01-01 00:00 operator x refused command:bulk: bot",
        f"{at:%Y-%m-%d %H:%M} slack:{world.slack.team_id}:{STAFF} survey.start {person.customer_id} after_purchase",
    ]
