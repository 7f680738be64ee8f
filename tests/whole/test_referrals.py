"""Referring somebody: who is asked, what they are told, and how the friend's first order counts."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from persons import DAY_MS, PURCHASE_SHOP, START_MS, Person, invited, new_person

from bot.standins.demo import World, open_world
from storage.records import Event

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFERRAL = {
    "reward": {"ja": "500円分のクーポン", "en": "a 500 yen coupon"},
    "url": "https://shop.example.com/friends",
    "every": "180d",
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    shop = {**PURCHASE_SHOP, "referral": REFERRAL}
    world = await open_world(tmp_path_factory.mktemp("referrals"), start_ms=START_MS, shop=shop)
    yield world
    await world.close()


async def answers_all(person: Person, satisfaction: str, likelihood: str) -> str:
    """The last words on the screen after a whole survey, everything else skipped."""
    person.looks()
    shown = await person.says(satisfaction)
    for _ in range(8):
        if "ありがとうございました" in shown or "申し訳ございません" in shown:
            break
        shown = await person.says(likelihood if "薦める可能性" in shown else "スキップ")
    return shown


async def referrals_of(world: World, customer_id: str) -> list[Event]:
    return await world.koe.store.read(lambda tx: tx.events_of(customer_id, types=("referral",)))


async def code_of(person: Person) -> str:
    told = await person.taps("くわしく見る")
    found = re.search(r"ご紹介コードは ([2-9A-HJKMNP-Z]{6}) です", told)
    assert found is not None, told
    return found[1]


@pytest.mark.parametrize(("satisfaction", "likelihood"), [("満足", "10"), ("どちらともいえない", "6")])
async def test_the_offer_is_marked_as_advertising_and_the_same_whatever_the_score(
    world: World, satisfaction: str, likelihood: str
) -> None:
    person = await invited(world)
    ended = await answers_all(person, satisfaction, likelihood)
    assert "ご回答ありがとうございました" in ended
    offer = ended.partition("【広告】")[2]
    assert "500円分のクーポンを差し上げます" in offer
    assert "点数やご感想の内容に関係ありません" in offer
    assert "「PR」とお書き添えください" in offer
    assert (await person.sessions())[0].status == "completed"
    assert "承知しました" in await person.taps("今回は見送る")
    assert person.pushes() == 1, "the offer rides on the reply"


async def test_who_is_looked_after_is_not_asked(world: World) -> None:
    person = await invited(world)
    ended = await answers_all(person, "不満", "1")
    assert "ご期待に沿えず、申し訳ございません" in ended
    assert await person.case() is not None
    assert "【広告】" not in ended


async def test_a_friends_first_order_with_the_code_counts_once_and_as_rewarded(world: World) -> None:
    person = await invited(world)
    await answers_all(person, "満足", "9")
    code = await code_of(person)
    assert "https://shop.example.com/friends" in person.world.line.transcript(person.user_id)
    assert await code_of(person) == code, "the same code each time"
    friend = new_person(world)
    for number, written in enumerate((f" {code.lower()} ", code)):
        await world.event("purchase", friend.buyer, order=f"#f{number}", amount=3000, referral_code=written)
    (counted,) = await referrals_of(world, friend.customer_id)
    told = f'{{"new_customer":"{friend.customer_id}","referrer":"{person.customer_id}","rewarded":true}}'
    assert counted.data == told


async def test_neither_oneself_nor_an_old_customer_nor_a_wrong_code_counts(world: World) -> None:
    person = await invited(world)
    await answers_all(person, "満足", "9")
    code = await code_of(person)
    await world.event("purchase", person.buyer, order="#own", amount=3000, referral_code=code)
    old = new_person(world)
    await world.event("purchase", old.buyer, order="#old1", amount=3000)
    await world.event("purchase", old.buyer, order="#old2", amount=3000, referral_code=code)
    stranger = new_person(world)
    await world.event("purchase", stranger.buyer, order="#s", amount=3000, referral_code="AAAAAA")
    await world.event("purchase", new_person(world).buyer, order="#t", amount=3000, referral_code=["A"])
    for customer in (person, old, stranger):
        assert await referrals_of(world, customer.customer_id) == []


async def test_nobody_is_asked_again_within_half_a_year(world: World) -> None:
    person = await invited(world)
    assert "【広告】" in await answers_all(person, "満足", "9")
    for wait_days, asked in ((40, False), (150, True)):
        await world.advance(wait_days * DAY_MS)
        person.looks()
        order = f"#again{wait_days}"
        await world.event("purchase", person.buyer, order=order, amount=5000, product="傘", store="kyoto")
        await world.event("delivery", person.buyer, order=order)
        assert await world.until(lambda: "どの程度満足" in person.looks(), within_ms=2 * DAY_MS)
        assert ("【広告】" in await answers_all(person, "満足", "9")) is asked


async def test_an_erased_customer_leaves_no_code_and_no_name_with_those_they_referred(world: World) -> None:
    person = await invited(world)
    await answers_all(person, "満足", "9")
    code = await code_of(person)
    friend = new_person(world)
    await world.event("purchase", friend.buyer, order="#e1", amount=3000, referral_code=code)
    found = await world.koe.store.read(lambda tx: tx.dossier(person.customer_id))
    assert found.referral_code == code
    now_ms = world.clock.now_ms()
    await world.koe.store.write(lambda tx: tx.erase_customer(person.customer_id, now_ms))
    assert await world.koe.store.read(lambda tx: tx.customer_of_referral_code(code)) is None
    (counted,) = await referrals_of(world, friend.customer_id)
    assert person.customer_id not in counted.data
