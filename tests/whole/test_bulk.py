"""A survey to a list, through the stand-ins: dropped, previewed, confirmed, sent, and none of it twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import pytest
import pytest_asyncio
from persons import DAY_MS, PURCHASE_SHOP, START_MS, Person, new_person

from bot.standins.demo import World, open_world
from bot.standins.reading import block_words
from bot.standins.wire import NotOnScreenError
from bot.standins.workspace import SlackMessage

SHOP = PURCHASE_SHOP | {"staff": {"managers": ["U0MANAGER"], "may_trigger": ["U0STAFF"]}}
BOSS = "U0MANAGER"
ASKED_AGAIN_MS = 10 * 60_000
"""After so long LINE is asked again how many messages are left."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("bulk"), start_ms=START_MS, shop=SHOP)
    yield world
    await world.close()


async def until(world: World, happened: Callable[[], bool]) -> None:
    changed = asyncio.Event()
    world.slack.on_change.append(changed.set)
    try:
        async with asyncio.timeout(10):
            while not happened():
                changed.clear()
                await changed.wait()
    finally:
        world.slack.on_change.remove(changed.set)


async def customers(world: World, count: int) -> list[Person]:
    persons = [new_person(world) for _ in range(count)]
    for person in persons:
        await world.event("purchase", person.buyer, order=person.order, amount=500)
    return persons


def a_list(persons: Iterable[Person], *more: str) -> bytes:
    return "\n".join(["customer,name", *(f"{p.customer_id},x" for p in persons), *more]).encode()


async def drops(world: World, content: bytes, user: str = BOSS) -> str:
    """Drop a file into the window; what the bot then writes to the person."""
    await world.slack.command(user, "C0ALERTS", "/survey", "bulk")
    await until(world, lambda: (world.slack.modal(user) or {}).get("callback_id") == "koe.bulk")
    file_id = world.slack.adds_file(user, "list.csv", content)
    ack = await world.slack.submits(user, {"file": file_id})
    assert "まだ何も送りません" in str(ack.body)
    await world.slack.closes(user, all_views=True)
    await world.settle()
    return shown(world, user)


def message(world: World, user: str = BOSS) -> SlackMessage:
    return world.slack.messages(world.slack.dm_of(user))[-1]


def shown(world: World, user: str = BOSS) -> str:
    return "\n".join(block_words(message(world, user).blocks))


async def presses(world: World, action: str, user: str = BOSS) -> None:
    assert (await world.slack.clicks(user, world.slack.dm_of(user), message(world, user).ts, action)).ok
    await world.settle()


async def test_a_list_is_previewed_confirmed_and_sent_to_everybody_once(world: World) -> None:
    persons = await customers(world, 4)
    stopped = persons[3]
    now_ms = world.clock.now_ms()
    await world.koe.store.write(lambda tx: tx.set_consent(stopped.customer_id, "surveys", False, now_ms, "customer"))
    told = await drops(world, a_list(persons, f"{persons[0].customer_id},again", "NOBODY,x", "<!channel>,x"))
    assert "一覧：7行、お客さま 4人" in told
    assert "重複 1行" in told
    assert "見つからない行 2行（7、8行目）" in told
    assert "送れる方：3人（LINE 3、Slack 0）" in told
    assert "ルール1" in told
    assert "停止を希望されています" in told
    assert "LINE通数：3通" in told
    assert not any(person.bubbles() for person in persons), "nothing before it is confirmed"

    dm = world.slack.dm_of(BOSS)
    first, second = await world.slack.double_clicks(BOSS, dm, message(world).ts, "koe.bulk.send")
    assert first.ok
    assert second.ok
    await world.settle()
    await world.advance(10_000)
    assert [len(person.bubbles()) for person in persons] == [1, 1, 1, 0]
    told = shown(world)
    assert "完了しました：4人" in told
    assert "受け付けた方：3人" in told
    assert "ルール1" in told
    assert len(world.slack.messages(dm)) == 1, "one message from preview to the end"
    assert "[送る]" not in told
    entries = await world.koe.store.read(lambda tx: tx.audit_entries(limit=20))
    assert [entry.action for entry in entries].count("bulk.send") == 1
    assert sum(entry.action == "survey.start" for entry in entries) == 3


async def test_the_same_list_again_is_held_back_by_the_cap(world: World) -> None:
    persons = await customers(world, 2)
    await drops(world, a_list(persons))
    await presses(world, "koe.bulk.send")
    await world.advance(5_000)
    told = await drops(world, a_list(persons))
    assert "送れる方がいません。" in told
    assert "ルール5" in told
    assert "[送る]" not in told


async def test_a_crash_between_two_units_loses_and_repeats_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.staff.bulk._SEND_AT_ONCE", 2)
    persons = await customers(world, 5)
    await drops(world, a_list(persons))
    await presses(world, "koe.bulk.send")
    assert "送信中：2/5人" in shown(world)
    assert sum(bool(person.bubbles()) for person in persons) == 2
    # the worker dies with the next unit claimed, and comes back: what it held is released
    now_ms = world.clock.now_ms() + 3_000
    held = await world.koe.store.write(lambda tx: tx.claim_jobs("dead", now_ms, now_ms + 60_000, limit=50))
    assert [job.kind for job in held] == ["bulk"]
    await world.koe.store.write(lambda tx: tx.release_leases(now_ms))
    await world.advance(20_000)
    assert [len(person.bubbles()) for person in persons] == [1] * 5
    assert "完了しました：5人" in shown(world)


async def test_it_can_be_stopped_on_the_way_and_dropped_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.staff.bulk._SEND_AT_ONCE", 1)
    persons = await customers(world, 3)
    await drops(world, a_list(persons))
    await presses(world, "koe.bulk.cancel")
    assert "何も送っていません" in shown(world)
    assert not any(person.bubbles() for person in persons)
    await drops(world, a_list(persons))
    await presses(world, "koe.bulk.send")
    await presses(world, "koe.bulk.cancel")
    await world.advance(DAY_MS // 24)
    assert "中止しました：1/3人" in shown(world)
    assert sum(bool(person.bubbles()) for person in persons) == 1


async def test_who_is_erased_between_preview_and_sending_is_sent_nothing(world: World) -> None:
    persons = await customers(world, 2)
    await drops(world, a_list(persons))
    now_ms = world.clock.now_ms()
    await world.koe.store.write(lambda tx: tx.erase_customer(persons[0].customer_id, now_ms))
    await presses(world, "koe.bulk.send")
    await world.advance(5_000)
    assert [len(person.bubbles()) for person in persons] == [0, 1]
    assert "お客さまが見つかりません" in shown(world)


async def test_a_preview_that_nobody_confirms_is_forgotten_after_a_day(world: World) -> None:
    persons = await customers(world, 1)
    await drops(world, a_list(persons))
    await world.advance(DAY_MS + 60_000)
    assert "24時間たったため" in shown(world)
    assert not persons[0].bubbles()


async def test_a_list_that_costs_more_than_is_left_cannot_be_sent(world: World) -> None:
    persons = await customers(world, 2)
    before, world.line.api.quota = world.line.api.quota, world.line.api.usage + 1
    await world.advance(ASKED_AGAIN_MS)
    told = await drops(world, a_list(persons))
    assert "残り通数が足りない" in told
    assert "[送る]" not in told
    world.line.api.quota = before
    await world.advance(ASKED_AGAIN_MS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("customer\n田中".encode("cp932"), "Shift_JIS"),
        (b"a,b\n1,2", "列名が必要です"),
        (b"customer\n", "お客さまの行がありません"),
        (b"x" * 1_000_001, "大きすぎます"),
    ],
)
async def test_a_file_that_is_no_list_is_told_so(world: World, content: bytes, said: str) -> None:
    assert said in await drops(world, content)


async def test_slack_in_trouble_while_the_file_is_read(world: World) -> None:
    persons = await customers(world, 1)
    world.slack.fail_next("files.info", "ratelimited:1")
    world.slack.fail_next("download", "503")
    await drops(world, a_list(persons))
    await world.advance(120_000)
    assert "送れる方：1人" in shown(world)
    await presses(world, "koe.bulk.cancel")
    world.slack.fail_next("files.info", "ok_false:file_not_found")
    assert "ファイルが見つかりません" in await drops(world, a_list(persons))


async def test_only_managers_send_to_lists(world: World) -> None:
    await world.slack.command("U0STAFF", "C0ALERTS", "/survey", "bulk")
    await until(world, lambda: bool(world.slack.ephemerals("U0STAFF")))
    assert "staff.managers" in str(world.slack.ephemerals("U0STAFF")[-1].blocks)
    persons = await customers(world, 1)
    await drops(world, a_list(persons))
    # somebody who was a manager when the preview came, and is none any more
    dm = world.slack.dm_of(BOSS)
    world.slack.channels[dm].members.append("U0STAFF")
    before = len(world.slack.ephemerals("U0STAFF"))
    assert (await world.slack.clicks("U0STAFF", dm, message(world).ts, "koe.bulk.send")).ok
    await world.settle()
    assert len(world.slack.ephemerals("U0STAFF")) == before + 1
    await world.advance(10_000)
    assert not persons[0].bubbles()
    await presses(world, "koe.bulk.cancel")


async def test_the_stand_in_takes_only_what_slack_would(world: World) -> None:
    await world.slack.command(BOSS, "C0ALERTS", "/survey", "bulk")
    await until(world, lambda: (world.slack.modal(BOSS) or {}).get("callback_id") == "koe.bulk")
    mine, theirs = world.slack.adds_file(BOSS, "list.csv", b"x"), world.slack.adds_file("U0STAFF", "list.csv", b"x")
    picture = world.slack.adds_file(BOSS, "list.png", b"x")
    for wrong in ([theirs], [picture], [mine, mine], []):
        with pytest.raises(NotOnScreenError):
            await world.slack.submits(BOSS, {"file": wrong})
    await world.slack.closes(BOSS)
    (person,) = await customers(world, 1)
    await world.slack.command(BOSS, "C0ALERTS", "/survey")
    await until(world, lambda: (world.slack.modal(BOSS) or {}).get("callback_id") == "koe.survey")
    with pytest.raises(NotOnScreenError, match="type first"):
        await world.slack.picks(BOSS, "customer", person.customer_id)
    assert await world.slack.types(BOSS, "customer", "") == [], "Slack asks for nothing yet"
    assert len(await world.slack.types(BOSS, "customer", person.customer_id)) == 1
    assert (await world.slack.picks(BOSS, "customer", person.customer_id)).ok
    await world.slack.closes(BOSS)
