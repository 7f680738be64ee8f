"""Each reads their own language: a colleague with an English Slack in a shop that is Japanese by default, and customers
of both; and what somebody is told whose window could not be opened in time."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from looked import CHANNEL, Looked, eventually, unhappy
from persons import PURCHASE_SHOP, START_MS

from bot.standins.demo import World, open_world
from bot.standins.reading import block_words
from bot.standins.to_bot import Ack
from tests import nursery

EMMA, BOSS = "U0EMMA", "U0MANAGER"
SHOP: dict[str, object] = PURCHASE_SHOP | {
    "alerts": {"channel": CHANNEL, "grace": "5m"},
    "digests": [{"id": "weekly", "channel": "C0DIGEST", "weekday": "mon", "at": "09:00"}],
    "staff": {"managers": [BOSS, EMMA]},
}
KANA = re.compile(r"[ぁ-んァ-ヶ]")
LATE = {
    EMMA: "It took too long to open the window. Please do the same once more.",
    BOSS: "時間がかかり、画面を開けませんでした。お手数ですが、同じ操作をもう一度お願いいたします。",
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("words"), start_ms=START_MS, shop=SHOP, reports=nursery.reports)
    world.slack.channels[CHANNEL].members.append(world.slack.add_user("Emma Brown", locale="en-GB", id=EMMA))
    await world.koe.schedule()
    yield world
    await world.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def english(world: World) -> Looked:
    return await unhappy(world, "The box was crushed", language="en")


def shown(world: World, user: str) -> str:
    """The window in front of this person, every word of it."""
    view = world.slack.modal(user)
    assert view is not None
    return json.dumps([view["title"], view["blocks"], view.get("submit"), view["close"]], ensure_ascii=False)


async def test_an_english_colleague_and_an_english_customer_read_english(world: World, english: Looked) -> None:
    for verb in ("reply", "hand_over", "call", "snooze", "resolve"):
        await english.opens(verb, EMMA)
        assert not KANA.search(shown(world, EMMA)), verb
    await english.opens("reply", EMMA)
    field = next(b["block_id"] for b in world.slack.modal(EMMA)["blocks"] if b["block_id"].startswith("text."))  # type: ignore[index]
    await world.slack.submits(EMMA, {field: "We'll send a new box today."})
    assert "This is Emma from" in shown(world, EMMA)
    assert not KANA.search(shown(world, EMMA))
    english.person.looks()
    await english.submits(EMMA)
    reply = english.person.looks()
    assert "We'll send a new box today." in reply
    assert "You can reply right here." in reply
    assert not KANA.search(reply)


async def test_an_english_colleague_writes_to_a_japanese_customer_in_japanese_from_an_english_window(
    world: World,
) -> None:
    looked = await unhappy(world)
    await looked.opens("reply", EMMA)
    view = world.slack.modal(EMMA)
    assert view is not None
    labels = [view["title"], view["submit"], view["close"], *(block.get("label") for block in view["blocks"])]
    assert not KANA.search(json.dumps(labels, ensure_ascii=False))
    field = next(block for block in view["blocks"] if block["block_id"].startswith("text."))
    assert KANA.search(field["element"]["initial_value"]), "what the customer will read"
    await world.slack.closes(EMMA)


async def test_who_comes_too_late_is_told_so_in_their_own_language(world: World) -> None:
    looked = await unhappy(world)
    await looked.presses("claim", BOSS)
    claim = {"type": "button", "action_id": "koe.case.claim", "block_id": "b", "value": looked.case_id}
    for number, (user, said) in enumerate(((EMMA, "is looking after this already"), ("U0STAFF", "権限がありません"))):
        payload = {
            **world.slack._interaction(user, "block_actions"),
            "actions": [{**claim, "action_ts": f"{number}.1"}],
        }
        assert (await world.slack.to_bot.send("interactive", payload)).ok
        await world.settle()
        assert said in looked.told(user)


@pytest.mark.parametrize("text", ["help", "status", "find C999", "pause x", "dry-run x", "results x", "digest 2026-99"])
async def test_every_command_answers_in_the_persons_language(world: World, text: str) -> None:
    for user, japanese in ((EMMA, False), (BOSS, True)):
        before = len(world.slack.ephemerals(user))
        await world.slack.command(user, CHANNEL, "/survey", text)
        await eventually(world, lambda: len(world.slack.ephemerals(user)) > before, 60)  # noqa: B023
        told = "\n".join(block_words(world.slack.ephemerals(user)[-1].blocks))
        assert bool(KANA.search(told)) is japanese, told


# --------------------------------------------------------------------------------------------- too late for a window


async def _home(world: World, user: str, button: str) -> Ack:
    if world.slack.home(user) is None:
        await world.slack.opens_home(user)
        await eventually(world, lambda: world.slack.home(user) is not None, 60)
    return await world.slack.clicks_home(user, button)


async def _about(world: World, user: str) -> Ack:
    said = await world.slack.says(user, CHANNEL, "箱の件")
    return await world.slack.shortcut(user, "koe.about", channel_id=CHANNEL, ts=said.ts)


WINDOWS: dict[str, Callable[[World, Looked, str], Awaitable[Ack]]] = {
    "the command": lambda world, _, user: world.slack.command(user, CHANNEL, "/survey"),
    "the command for a list": lambda world, _, user: world.slack.command(user, CHANNEL, "/survey", "bulk"),
    "the shortcut": lambda world, _, user: world.slack.shortcut(user, "koe.start"),
    "the shortcut on a message": lambda world, _, user: _about(world, user),
    "the button of a case": lambda _, looked, user: looked.clicks("reply", user),
    "App Home, a survey": lambda world, _, user: _home(world, user, "koe.home.start"),
    "App Home, the cases": lambda world, _, user: _home(world, user, "koe.home.cases"),
    "App Home, the digest": lambda world, _, user: _home(world, user, "koe.home.digest"),
}


@pytest.mark.parametrize("way", WINDOWS)
async def test_who_presses_too_late_for_a_window_is_told_what_to_do(world: World, english: Looked, way: str) -> None:
    def read(user: str) -> list[str]:
        """What this person alone can read: below a message, or from the app."""
        alone = [*world.slack.ephemerals(user), *world.slack.messages(world.slack.dm_of(user))]
        return [json.dumps([message.text, message.blocks], ensure_ascii=False) for message in alone]

    for user in (EMMA, BOSS):
        before = len(read(user))
        world.slack.fail_next("views.open", "ok_false:expired_trigger_id")
        assert (await WINDOWS[way](world, english, user)).ok
        await eventually(world, lambda: len(read(user)) > before, 60)  # noqa: B023
        assert LATE[user] in read(user)[-1] or any(LATE[user] in words for words in read(user)[before:])
        assert len(read(user)) == before + 1, "said once"
