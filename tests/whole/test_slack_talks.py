"""Talks in Slack: the customer's direct messages, `/survey` for staff, and the card of an unhappy customer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import structs
from persons import DAY_MS, HOUR_MS, PURCHASE_SHOP, START_MS, Person, invited, new_person

from bot.standins.demo import Buyer, World, open_world
from bot.standins.workspace import SlackMessage

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTE_MS = 60_000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("slack"), start_ms=START_MS, shop=PURCHASE_SHOP)
    yield world
    await world.close()


async def eventually(world: World, happened: Callable[[], bool]) -> None:
    """Bolt answers first and listens afterwards: wait for what the listener does."""
    changed = asyncio.Event()
    world.slack.on_change.append(changed.set)
    async with asyncio.timeout(5):
        while not happened():
            await changed.wait()
            changed.clear()
    world.slack.on_change.remove(changed.set)


@dataclass(slots=True)
class Member:
    """A customer in Slack, with the direct messages open."""

    world: World
    buyer: Buyer

    @property
    def user_id(self) -> str:
        return self.buyer.slack_user_id

    @property
    def place(self) -> str:
        return self.world.slack.dm_of(self.user_id)

    @property
    def screen(self) -> str:
        return self.world.slack.transcript(self.place)

    def messages(self) -> list[SlackMessage]:
        return self.world.slack.messages(self.place)

    async def says(self, text: str, *, after_ms: int = 3_000) -> None:
        assert (await self.world.slack.says(self.user_id, self.place, text)).ok
        await self.world.advance(after_ms)

    async def clicks(self, label: str, *, selected: Any = None) -> None:
        """The newest button that says `label` (with `selected`: the newest element of that kind)."""
        for message in reversed(self.messages()):
            for element in elements(message):
                if _label(element) == label or (selected is not None and element.get("type") == label):
                    ack = await self.world.slack.clicks(
                        self.user_id,
                        self.place,
                        message.ts,
                        element["action_id"],
                        value=element.get("value"),
                        selected=selected,
                    )
                    assert ack.ok
                    await self.world.advance(3_000)
                    return
        raise AssertionError(f"nothing says {label!r}:\n{self.screen}")

    async def answers(self) -> dict[str, str]:
        found = await self.world.koe.store.read(lambda tx: tx.answers_of(self.buyer.customer_id))
        return {answer.question: answer.value for answer in found}


def elements(message: SlackMessage) -> list[dict[str, Any]]:
    found = []
    for block in message.blocks:
        inside = [*(block.get("elements") or []), block.get("accessory")]
        found += [e for e in inside if isinstance(e, dict) and "action_id" in e]
    return found


def _label(element: dict[str, Any]) -> str:
    text = element.get("text")
    return str(text.get("text")) if isinstance(text, dict) else ""


async def member(world: World) -> Member:
    """A Slack customer with the survey after a purchase on the screen."""
    buyer = world.new_buyer("ja", channel="slack")
    order = "#" + buyer.customer_id.replace("C", "7")
    await world.event("purchase", buyer, order=order, amount=5000, product="マグカップ", store="kyoto")
    await world.event("delivery", buyer, order=order)
    person = Member(world, buyer)
    assert await world.until(lambda: bool(person.messages()), within_ms=2 * DAY_MS)
    return person


async def test_a_survey_by_buttons_checkboxes_window_and_words(world: World) -> None:
    person = await member(world)
    assert "マグカップについて、どの程度満足していますか" in person.screen
    await person.clicks("満足")
    assert "✓ 満足" in person.screen
    assert "[変更]" in person.screen
    await person.says("９")
    await person.clicks("書く")
    await eventually(world, lambda: world.slack.modal(person.user_id) is not None)
    assert (await world.slack.submits(person.user_id, {"answer": "箱がきれい <!channel> & <b>"})).ok
    await world.advance(10_000)
    assert "愛着度" in person.screen
    await person.clicks("4")
    await person.clicks("checkboxes", selected=["relief", "trust"])
    await person.clicks("決定")
    answers = await person.answers()
    assert (answers["sat"], answers["nps"], answers["affinity"]) == ("5", "9", "4")
    assert answers["reason"] == "箱がきれい <!channel> & <b>"
    assert set(answers["emotion"].split(";")) == {"relief", "trust"}
    assert world.slack.pings(person.place) == []


async def test_change_opens_the_choices_again_and_corrects(world: World) -> None:
    person = await member(world)
    await person.clicks("満足")
    await person.clicks("変更")
    await eventually(world, lambda: "[不満]" in person.screen)
    await person.clicks("不満")
    assert "✓ 不満" in person.screen
    assert (await person.answers())["sat"] == "1"


async def test_two_clicks_at_once_are_one_answer_and_one_next_question(world: World) -> None:
    person = await member(world)
    message = person.messages()[0]
    button = next(e for e in elements(message) if _label(e) == "満足")
    first, second = await world.slack.double_clicks(
        person.user_id, person.place, message.ts, button["action_id"], value=button["value"]
    )
    assert first.ok
    assert second.ok
    await world.advance(3_000)
    assert person.screen.count("薦める可能性") == 1


async def test_a_redelivered_event_does_nothing(world: World) -> None:
    person = await member(world)
    await person.clicks("満足")
    ack = await world.slack.says(person.user_id, person.place, "9")
    await world.advance(3_000)
    seen = person.screen
    assert (await world.slack.redeliver(ack.event_id)).ok
    assert (await world.slack.redeliver(ack.event_id, retry_num=2)).ok
    await world.advance(3_000)
    assert person.screen == seen


async def test_an_edited_comment_is_corrected_in_the_answer(world: World) -> None:
    person = await member(world)
    await person.clicks("満足")
    await person.says("9")
    ack = await world.slack.says(person.user_id, person.place, "とても良いで")
    await world.advance(10_000)
    await world.slack.edits(person.user_id, person.place, ack.ts, "とても良いです")
    await world.advance(3_000)
    assert (await person.answers())["reason"] == "とても良いです"


async def test_words_outside_a_survey_are_left_alone_in_slack_too(world: World) -> None:
    user_id = world.slack.add_user("通りすがり")
    place = world.slack.dm_of(user_id)
    for words in ("こんにちは", "9", "ヘルプ"):
        assert (await world.slack.says(user_id, place, words)).ok
        await world.settle()
    assert len(world.slack.messages(place)) == 3
    await world.slack.says(user_id, place, "私の回答")
    await world.settle()
    assert "保管しているご回答はありません" in world.slack.transcript(place)


async def test_an_event_our_own_code_cannot_digest_is_acknowledged_once_and_kept(world: World) -> None:
    person = await member(world)
    session = (await world.koe.store.read(lambda tx: tx.sessions_of(person.buyer.customer_id)))[0]
    broken = structs.replace(session, state="[1,", version=session.version + 1)
    assert await world.koe.store.write(lambda tx: tx.save_session(broken))
    ack = await world.slack.says(person.user_id, person.place, "満足")
    assert ack.ok
    assert (await world.slack.redeliver(ack.event_id)).ok
    dead = await world.koe.store.read(lambda tx: tx.jobs(state="dead", kind="inbound"))
    assert [(job.channel, job.customer_id) for job in dead] == [("slack", person.buyer.customer_id)]


# ------------------------------------------------------------------------------------------------- staff


async def opened(world: World, user_id: str = "U0STAFF") -> None:
    if world.slack.modal(user_id) is not None:
        await world.slack.closes(user_id, all_views=True)  # what a test before this one left open
    assert (await world.slack.command(user_id, "C0ALERTS", "/survey")).ok
    await eventually(world, lambda: world.slack.modal(user_id) is not None)


async def test_staff_start_a_survey_and_it_reaches_the_customer(world: World) -> None:
    person = new_person(world)
    await world.event("purchase", person.buyer, order="#s", amount=1)
    await opened(world)
    await world.slack.types("U0STAFF", "customer", person.customer_id)
    assert (await world.slack.submits("U0STAFF", {"customer": person.customer_id, "flow": "after_support"})).ok
    await world.settle()
    assert "手間や負担" in person.looks()
    invitation = await person.last_invitation()
    assert (invitation.trigger_id, invitation.requested_by) == ("staff", "U0STAFF")
    audit = await world.koe.store.read(lambda tx: tx.audit_entries())
    assert any(e.action == "survey.start" and e.subject == person.customer_id for e in audit)


async def test_survey_says_why_it_may_not_be_sent(world: World) -> None:
    person = await invited(world)
    await opened(world)
    await world.slack.types("U0STAFF", "customer", person.customer_id)
    await world.slack.submits("U0STAFF", {"customer": person.customer_id, "flow": "after_support"})
    assert "14日たっていません" in "".join(world.slack.modal_errors("U0STAFF").values()) or "14日" in str(
        world.slack.modal("U0STAFF")
    )
    await world.settle()
    assert person.pushes() == 1
    assert await world.slack.types("U0STAFF", "customer", "C-unknown") == []
    refused = await world.koe.store.read(lambda tx: tx.audit_entries())
    assert any(e.action == "survey.refused" and e.subject == person.customer_id for e in refused)


async def test_who_may_not_start_surveys_is_told_so(world: World) -> None:
    stranger = world.slack.add_user("新人")
    world.slack.channels["C0ALERTS"].members.append(stranger)
    await world.slack.command(stranger, "C0ALERTS", "/survey")
    await eventually(world, lambda: bool(world.slack.ephemerals(stranger)))
    assert "権限がありません" in world.slack.ephemerals(stranger)[0].text
    assert world.slack.modal(stranger) is None
    world.slack.channels["C0ALERTS"].members.remove(stranger)  # words stand only where everybody may read them


# ------------------------------------------------------------------------------------------------- cards


async def unhappy(world: World, words: str) -> Person:
    person = await invited(world)
    await person.taps("不満")
    await person.says("2")
    await world.line.says(person.user_id, words)
    await person.waits(8_000)
    return person


async def test_an_unhappy_answer_is_a_card_after_the_grace_time_and_not_before(world: World) -> None:
    person = await unhappy(world, "箱がつぶれていて使えません <!channel>")
    assert "つぶれて" not in world.slack.transcript("C0ALERTS")
    await world.advance(6 * MINUTE_MS)
    card = world.slack.transcript("C0ALERTS")
    assert "箱がつぶれていて使えません" in card
    assert person.customer_id in card
    assert world.slack.pings("C0ALERTS") == []
    notification = world.slack.messages("C0ALERTS")[-1].text
    assert "要対応：低い評価が届きました" in notification
    assert "つぶれて" not in notification


async def test_a_mis_tap_corrected_within_the_grace_time_is_no_card(world: World) -> None:
    before = len(world.slack.messages("C0ALERTS"))
    person = await invited(world)
    await person.taps("不満")
    await world.advance(2 * MINUTE_MS)
    await person.taps_old("満足")
    await world.advance(HOUR_MS)
    assert len(world.slack.messages("C0ALERTS")) == before
    assert await person.case() is None


async def test_contact_wanted_later_updates_the_one_card(world: World) -> None:
    person = await unhappy(world, "返事が遅い。")
    await world.advance(6 * MINUTE_MS)
    before = len(world.slack.messages("C0ALERTS"))
    await person.says("1")
    await person.taps("連絡を希望する")
    await world.advance(10 * MINUTE_MS)
    assert len(world.slack.messages("C0ALERTS")) == before
    assert "連絡希望：あり" in world.slack.transcript("C0ALERTS").rsplit("要対応", 1)[-1]


@pytest.mark.parametrize(
    ("private", "members", "missing"),
    [
        (False, ("U0STAFF",), ""),
        (True, ("U0STAFF", "U0NEW"), ""),
        (True, ("U0STAFF", "U0GUEST"), ""),
        (True, ("U0STAFF",), "groups:read"),
    ],
)
async def test_a_channel_in_which_somebody_may_not_read_them_hears_neither_words_nor_names(
    tmp_path: Path, private: bool, members: tuple[str, ...], missing: str
) -> None:
    world = await open_world(tmp_path, start_ms=START_MS, shop=PURCHASE_SHOP | {"alerts": {"channel": "C0OPEN"}})
    try:
        world.slack.add_user("新人", id="U0NEW")
        world.slack.add_user("外部", id="U0GUEST", is_restricted=True)
        world.slack.add_channel("everybody", private=private, members=members, id="C0OPEN")
        if missing:
            world.slack.scopes = frozenset({"chat:write", "users:read", "channels:read", "commands"})
        person = await unhappy(world, "秘密の文句")
        await world.advance(10 * MINUTE_MS)
        card = world.slack.transcript("C0OPEN")
        assert "要対応" in card
        assert "秘密の文句" not in card
        assert person.customer_id not in card
        assert world.line.users[person.user_id].name not in card
    finally:
        await world.close()


async def test_the_whole_talk_works_over_socket_mode_too(tmp_path: Path) -> None:
    world = await open_world(tmp_path, start_ms=START_MS, shop=PURCHASE_SHOP, transport="socket")
    try:
        person = await member(world)
        await person.clicks("満足")
        await person.says("10")
        assert (await person.answers())["nps"] == "10"
        assert "理由" in person.screen
    finally:
        await world.close()
