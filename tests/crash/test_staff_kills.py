"""P1, P2 for staff: a sent window of /survey, a command, a confirmed list and a settled case survive kill -9 and happen
once."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bot.standins.wire import NotOnScreenError
from tests.crash.shop import SHOP, LinePerson, Shop, open_shop
from tests.nursery import Nursery

CHANNEL, BOSS = "C0ALERTS", "U0STAFF"
WITH_BOSS = SHOP.replace("may_trigger", "managers")

Presses = Callable[[], Awaitable[bool]]
"""What the person does, and again when they see an error; whether it was taken."""


async def _known(shop: Shop) -> LinePerson:
    person = shop.customer("line")
    assert isinstance(person, LinePerson)
    await shop.event("account_opened", person.customer)
    await shop.settled()
    return person


async def _window(shop: Shop, callback: str) -> None:
    await shop.until(lambda: (shop.slack.modal(BOSS) or {}).get("callback_id") == callback, f"no {callback} opened")


async def _customer(shop: Shop) -> str:
    return (await _known(shop)).customer["id"]


async def _survey(shop: Shop, customer_id: str) -> Presses:
    await shop.slack.command(BOSS, CHANNEL, "/survey")
    await _window(shop, "koe.survey")
    await shop.slack.types(BOSS, "customer", customer_id)
    await shop.slack.picks(BOSS, "customer", customer_id)

    async def presses() -> bool:
        ack = await shop.slack.submits(BOSS)
        # after a restart Slack is asked first who that is
        return ack.ok and isinstance(ack.body, dict) and ack.body["response_action"] == "update"

    return presses


async def _nothing(_: Shop) -> str:
    return ""


async def _pause(shop: Shop, _: str) -> Presses:
    async def presses() -> bool:
        return (await shop.slack.command(BOSS, CHANNEL, "/survey", "pause short")).ok

    return presses


async def _preview(shop: Shop) -> str:
    persons = [await _known(shop) for _ in range(2)]
    await shop.slack.command(BOSS, CHANNEL, "/survey", "bulk")
    await _window(shop, "koe.bulk")
    content = "\n".join(["customer", *(person.customer["id"] for person in persons)]).encode()
    await shop.slack.submits(BOSS, {"file": shop.slack.adds_file(BOSS, "list.csv", content)})
    dm = shop.slack.dm_of(BOSS)
    await shop.until(lambda: shop.slack.messages(dm), "no preview came")
    await shop.settled()
    return shop.slack.messages(dm)[0].ts


async def _list(shop: Shop, ts: str) -> Presses:
    async def presses() -> bool:
        try:
            return (await shop.slack.clicks(BOSS, shop.slack.dm_of(BOSS), ts, "koe.bulk.send")).ok
        except NotOnScreenError:
            return True  # it was stored before the end: the message has changed

    return presses


async def _open_case(shop: Shop) -> str:
    person = await _known(shop)
    await shop.line.says(person.user_id, "配信停止")
    await shop.until(lambda: shop.line.tappables(person.user_id), "the question never came")
    await shop.line.taps_label(person.user_id, "お知らせも止めたい")
    await shop.until(lambda: shop.slack.messages(CHANNEL), "no card came")
    await shop.settled()
    await shop.slack.clicks(BOSS, CHANNEL, shop.slack.messages(CHANNEL)[0].ts, "koe.case.resolve")
    await _window(shop, "koe.case.resolve")
    return ""


async def _case(shop: Shop, _: str) -> Presses:
    async def presses() -> bool:
        return (await shop.slack.submits(BOSS, {"outcome": "other"})).ok

    return presses


Before = Callable[[Shop], Awaitable[str]]
Begin = Callable[[Shop, str], Awaitable[Presses]]

DEEDS: dict[str, tuple[Before, Begin, str, str]] = {
    "survey": (_customer, _survey, "survey.start", "SELECT COUNT(*) FROM invitations WHERE state = 'sent'"),
    "pause": (_nothing, _pause, "survey.pause", "SELECT COUNT(*) FROM pauses"),
    "list": (_preview, _list, "bulk.send", "SELECT COUNT(*) / 2 FROM invitations WHERE state = 'sent'"),
    "case": (_open_case, _case, "case.resolve", "SELECT COUNT(*) FROM case_events WHERE kind = 'resolved'"),
}
"""What stands before it, and how it begins in the life that ends; its audit row; what it leaves, counted."""

CASES = [
    ("survey", "slack.before_ack"),
    ("pause", "slack.before_ack"),
    *(
        pytest.param(deed, point, marks=pytest.mark.prove)
        for deed in DEEDS
        for point in ("slack.before_ack", "worker.claimed", "worker.finished")
        if (deed, point) not in (("survey", "slack.before_ack"), ("pause", "slack.before_ack"))
        # a command's own job posts nothing, so that no sending of it is finished
        and (deed, point) != ("pause", "worker.finished")
    ),
]


@pytest.mark.parametrize(("deed", "point"), CASES)
async def test_what_staff_do_survives_a_kill_and_happens_once(
    tmp_path: Path, nursery: Nursery, deed: str, point: str
) -> None:
    before, begin, action, left = DEEDS[deed]
    async with open_shop(tmp_path, nursery, shop_yaml=WITH_BOSS) as shop:
        async with shop.kept_up():
            await shop.until(shop.is_ready, "never ready")
            subject = await before(shop)
        async with shop.kept_up(f"{point}=kill@1"):
            await shop.until(shop.is_ready, "never ready")
            presses = await begin(shop, subject)
            taken = await presses()
            await shop.until(lambda: shop.deaths, "the point was not reached")
            await shop.until(shop.is_ready, "did not come back")
            if not taken:
                await shop.until(presses, "it could not be pressed again")
            await shop.until(lambda: shop.rows(left) == [(1,)], "it was not done")
            await shop.settled()
            assert shop.rows(left) == [(1,)]
            assert shop.rows("SELECT COUNT(*) FROM audit WHERE action = ?", action) == [(1,)]
            # a card and a preview lose the mark of the job that posted them when they are brought up to date
            wrong = [words for words in shop.wrong() if "does not show the message" not in words]
            assert wrong == []
        assert shop.deaths == [-signal.SIGKILL]
