"""Whether a comment may be quoted: asked once, kept with the comments, changed by a later tap."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from persons import DAY_MS, PURCHASE_SHOP, START_MS, Person, invited

from bot.standins.demo import World, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASKED = "お名前を出さずにご紹介してもよろしいですか"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    shop = {**PURCHASE_SHOP, "ask_to_quote": True, "unhappy": {"words": []}}
    world = await open_world(tmp_path_factory.mktemp("quotes"), start_ms=START_MS, shop=shop)
    yield world
    await world.close()


async def answers_all(person: Person, comment: str) -> str:
    """The last words on the screen after a survey with this comment, or without one."""
    person.looks()
    shown = await person.says("満足")
    for _ in range(8):
        if "ありがとうございました" in shown or "申し訳ございません" in shown:
            break
        if "薦める可能性" in shown:
            shown = await person.says("9")
        elif comment and "理由" in shown:
            await person.says(comment)
            shown = await person.waits(8_000)
        else:
            shown = await person.says("スキップ")
    return shown


async def allowed(person: Person) -> dict[str, bool]:
    return {name: answer.quote_ok for name, answer in (await person.answers()).items() if not answer.missing}


async def test_a_yes_is_kept_with_the_comment_and_nobody_is_asked_twice(world: World) -> None:
    person = await invited(world)
    assert ASKED in await answers_all(person, "梱包がきれいでした")
    assert await allowed(person) == {"sat": False, "nps": False, "reason": False}
    assert "お名前を出さずにご紹介することがあります" in await person.taps("サイトでも可")
    assert await allowed(person) == {"sat": False, "nps": False, "reason": True}
    await world.advance(40 * DAY_MS)
    await world.event("purchase", person.buyer, order="#again", amount=5000, product="傘", store="kyoto")
    await world.event("delivery", person.buyer, order="#again")
    assert await world.until(lambda: "どの程度満足" in person.looks(), within_ms=2 * DAY_MS)
    assert ASKED not in await answers_all(person, "また買います")
    found = await world.koe.store.read(lambda tx: tx.answers_of(person.customer_id))
    assert [a.quote_ok for a in found if a.question == "reason"] == [True, True]
    assert "承知しました" in await person.taps("紹介しない")
    found = await world.koe.store.read(lambda tx: tx.answers_of(person.customer_id))
    assert not any(a.quote_ok for a in found)


@pytest.mark.parametrize("choice", ["社内のみ", "紹介しない"])
async def test_anything_but_a_yes_keeps_the_words_inside(world: World, choice: str) -> None:
    person = await invited(world)
    await answers_all(person, "梱包がきれいでした")
    assert "承知しました" in await person.taps(choice)
    assert (await allowed(person))["reason"] is False


async def test_who_wrote_nothing_is_not_asked(world: World) -> None:
    assert ASKED not in await answers_all(await invited(world), "")
