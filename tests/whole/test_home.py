"""App Home as it runs: opened, followed and used, through the stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from persons import PURCHASE_SHOP, START_MS, invited

from bot.staff import home
from bot.standins.demo import World, open_world
from bot.standins.reading import block_words
from tests import nursery

DIGEST = {"digests": [{"id": "weekly", "channel": "C0DIGEST", "weekday": "mon", "at": "09:00"}]}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(
        tmp_path_factory.mktemp("home"), start_ms=START_MS, shop=PURCHASE_SHOP | DIGEST, reports=nursery.reports
    )
    assert world.koe.home is not None
    world.koe.home._round_s = 0.01
    world.slack.add_user("新人", id="U0NEW")
    world.slack.add_user("外部", id="U0GUEST", is_restricted=True)
    yield world
    await world.close()


async def until(world: World, happened: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait for what the bot does after it has acknowledged."""
    changed = asyncio.Event()
    world.slack.on_change.append(changed.set)
    async with asyncio.timeout(within_s):
        while not happened():
            changed.clear()
            await changed.wait()
    world.slack.on_change.remove(changed.set)


async def rests(world: World) -> None:
    """Returns when no Home is on its way."""
    assert world.koe.home is not None
    while running := set(world.koe.home._running):
        await asyncio.wait(running)


def published(world: World, user: str) -> int:
    """How often this person's Home was published."""
    return sum(record.path == "views.publish" and record.body["user_id"] == user for record in world.slack.api.requests)


def words(view: dict[str, Any] | None) -> str:
    return "\n".join(block_words((view or {}).get("blocks", [])))


async def home_of(world: World, user: str, said: str) -> str:
    """The person's Home, as soon as it says this."""
    await until(world, lambda: said in words(world.slack.home(user)))
    return words(world.slack.home(user))


async def test_opening_the_home_publishes_it_in_the_persons_language(world: World) -> None:
    world.slack.add_user("Mary", locale="en-GB", id="U0MARY")
    assert (await world.slack.opens_home("U0STAFF")).ok
    assert "対応中のご相談はありません。" in await home_of(world, "U0STAFF", "動作状況")
    await world.slack.opens_home("U0MARY")
    await home_of(world, "U0MARY", "This page is for staff.")
    await world.slack.opens_home("U0GUEST")
    await home_of(world, "U0GUEST", "ゲストの方は")


async def test_the_messages_tab_and_a_repeated_event_publish_nothing(world: World) -> None:
    opened = await world.slack.opens_home("U0STAFF")
    await home_of(world, "U0STAFF", "動作状況")
    await rests(world)
    before = published(world, "U0STAFF")
    await world.slack.redeliver(opened.event_id)
    await world.slack.opens_home("U0STAFF", tab="messages")
    # whoever comes later has their Home: what was to follow from the two has happened
    world.slack.add_user("Late", locale="en-GB", id="U0LATE")
    await world.slack.opens_home("U0LATE")
    await home_of(world, "U0LATE", "This page is for staff.")
    await rests(world)
    assert published(world, "U0STAFF") == before


async def test_a_case_appears_on_the_home_of_whoever_has_looked(world: World) -> None:
    await world.slack.opens_home("U0STAFF")
    await home_of(world, "U0STAFF", "対応中のご相談はありません。")
    person = await invited(world)
    await person.taps("不満")
    await world.advance(10 * 60_000)
    assert person.customer_id in await home_of(world, "U0STAFF", person.customer_id)
    assert (await world.slack.clicks_home("U0STAFF", home.CASES)).ok
    await until(world, lambda: world.slack.modal("U0STAFF") is not None)
    view = world.slack.modal("U0STAFF") or {}
    assert person.customer_id in words(view)
    await world.slack.closes("U0STAFF")


async def test_its_buttons_ask_for_the_permission_each_time(world: World) -> None:
    await world.slack.opens_home("U0STAFF")
    await home_of(world, "U0STAFF", "動作状況")
    world.slack.homes["U0NEW"] = world.slack.homes["U0STAFF"]  # as if it had been published before the list changed
    assert (await world.slack.clicks_home("U0NEW", home.START)).ok
    await until(world, lambda: world.slack.modal("U0NEW") is not None)
    view = world.slack.modal("U0NEW") or {}
    assert "権限がありません" in words(view)
    entries = await world.koe.store.read(lambda tx: tx.audit_entries(limit=5))
    refused = next(entry for entry in entries if entry.action == "refused")
    assert refused.actor.endswith(":U0NEW")
    assert refused.detail == "action:koe.home.start: unlisted"


async def test_start_opens_the_window_of_the_survey(world: World) -> None:
    await world.slack.opens_home("U0STAFF")
    await home_of(world, "U0STAFF", "動作状況")
    assert (await world.slack.clicks_home("U0STAFF", home.START)).ok
    await until(world, lambda: world.slack.modal("U0STAFF") is not None)
    view = world.slack.modal("U0STAFF") or {}
    assert view["callback_id"] == "koe.survey"
    await world.slack.closes("U0STAFF")


async def test_the_digest_is_shown_to_this_person_alone_and_posted_nowhere(world: World) -> None:
    await world.slack.opens_home("U0STAFF")
    await home_of(world, "U0STAFF", "動作状況")
    before = len(world.slack.messages("C0DIGEST"))
    with pytest.raises(LookupError):
        await world.slack.clicks_home("U0STAFF", home.DIGEST)
    await world.koe.schedule()
    world.koe.glance.changed()  # a glance is believed for two seconds
    await world.slack.clicks_home("U0STAFF", home.REFRESH)
    await home_of(world, "U0STAFF", "weekly")
    assert (await world.slack.clicks_home("U0STAFF", home.DIGEST)).ok
    await until(world, lambda: "集計しています" in words(world.slack.modal("U0STAFF")))
    await until(world, lambda: "集計しています" not in words(world.slack.modal("U0STAFF")))
    text = words(world.slack.modal("U0STAFF"))
    assert "集計できませんでした" not in text
    assert "NPS" in text
    assert len(world.slack.messages("C0DIGEST")) == before
    await world.slack.closes("U0STAFF")


async def test_a_home_that_slack_does_not_take_is_no_ones_failure(world: World) -> None:
    world.slack.fail_next("views.publish", "ratelimited:1")
    assert (await world.slack.opens_home("U0MANAGER")).ok
    async with asyncio.timeout(60):
        while not any(record.status == 429 for record in world.slack.api.requests):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
    await rests(world)
    assert (await world.slack.opens_home("U0MANAGER")).ok
    await home_of(world, "U0MANAGER", "動作状況")
