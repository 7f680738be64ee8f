"""Who is asked, when, and why not: from business events to what the persons saw and the reasons that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from msgspec import structs
from persons import DAY_MS, HOUR_MS, PURCHASE_SHOP, START_MS, Person, asked_by_staff, invited, new_person
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.signatures import verify_line
from bot.standins.demo import TOKYO, Buyer, World, open_world
from bot.standins.wire import serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTE_MS = 60_000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("invitations"), start_ms=START_MS, shop=PURCHASE_SHOP)
    yield world
    await world.close()


async def next_morning(world: World, hour: int = 10) -> None:
    """The next day at this hour in Tokyo."""
    now = datetime.fromtimestamp(world.clock.now_ms() / 1000, TOKYO)
    midnight = int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
    await world.advance_to(midnight + DAY_MS + hour * HOUR_MS)


async def buys(world: World, person: Person, order: str, **data: Any) -> None:
    bought = {"order": order, "amount": 5000, "product": "マグカップ", "store": "kyoto", **data}
    await world.event("purchase", person.buyer, **bought)
    await world.event("delivery", person.buyer, order=order)


async def test_the_reminder_comes_once_after_72_hours_and_says_it_is_the_last(world: World) -> None:
    await next_morning(world)
    person = await invited(world)
    person.looks()
    assert await person.waits(71 * HOUR_MS) == ""
    reminded = await person.waits(2 * HOUR_MS)
    assert "改めてのご案内です" in reminded
    assert "ご案内はこれで最後です" in reminded
    assert "満足していますか" in reminded
    assert await person.waits(10 * DAY_MS) == ""
    assert person.pushes() == 2


async def test_nobody_is_reminded_who_answered_anything(world: World) -> None:
    person = await invited(world)
    await person.taps("満足")
    assert await person.waits(5 * DAY_MS) == ""
    assert person.pushes() == 1


async def test_nothing_starts_in_quiet_hours_but_answers_are_answered(world: World) -> None:
    await next_morning(world, 20)
    await world.advance(30 * MINUTE_MS)
    person = new_person(world)
    await buys(world, person, "#late")
    assert await person.waits(11 * HOUR_MS) == ""
    assert (await person.last_invitation()).reason == "quiet_hours"
    assert "満足していますか" in await person.waits(2 * HOUR_MS)
    sent = person.bubbles()[0].at_ms
    assert datetime.fromtimestamp(sent / 1000, TOKYO).strftime("%H:%M") == "09:00"
    await world.advance(14 * HOUR_MS)  # 23:30
    assert "薦める可能性" in await person.taps("満足")


async def test_a_return_withdraws_the_survey_before_and_after_it_was_sent(world: World) -> None:
    await next_morning(world)
    planned, sent, other = new_person(world), await invited(world), await invited(world)
    await buys(world, planned, "#returned")
    await world.event("return", planned.buyer, order="#returned")
    await world.event("return", sent.buyer, order=sent.order)
    await world.event("return", other.buyer, order="#another-order")
    sent.looks(), other.looks()
    assert await planned.waits(6 * DAY_MS) == ""
    invitation = await planned.last_invitation()
    assert (invitation.state, invitation.reason) == ("withdrawn", "void:return")
    assert sent.pushes() == 1
    assert (await sent.sessions())[0].status == "voided"
    assert "終了しました" in await sent.taps("満足")
    assert other.pushes() == 2


async def test_a_return_after_the_first_answer_leaves_the_survey_alone(world: World) -> None:
    await next_morning(world)
    person = await invited(world)
    await person.taps("満足")
    await world.event("return", person.buyer, order=person.order)
    assert "理由" in await person.says("7")


async def test_conditions_join_the_order_of_the_purchase(world: World) -> None:
    await next_morning(world)
    cheap = new_person(world)
    await buys(world, cheap, "#cheap", amount=999)
    await world.advance(DAY_MS)
    assert await cheap.invitations() == []


async def test_the_contact_cap_keeps_the_reason_for_each_one_not_asked(world: World) -> None:
    await next_morning(world)
    person = await invited(world)
    await person.taps("満足")
    await world.event("ticket_resolved", person.buyer, ticket="T-gap")
    await world.advance(2 * HOUR_MS)
    assert (await person.last_invitation()).reason == "min_gap"
    await next_morning(world)
    await world.advance(15 * DAY_MS)
    await buys(world, person, "#again")
    await world.advance(2 * HOUR_MS)
    assert (await person.last_invitation()).reason == "touchpoint_gap"
    skipped = [i for i in await person.invitations() if i.state == "skipped"]
    assert len(skipped) == 2


async def test_the_same_event_is_surveyed_once(world: World) -> None:
    await next_morning(world)
    person = new_person(world)
    await buys(world, person, "#once")
    delivered = (await world.koe.store.read(lambda tx: tx.events_of(person.customer_id, types=("delivery",))))[0]
    assert delivered
    assert not await world.koe.events.take(_again(delivered.id, person), delivered.occurred_ms)
    await world.advance(DAY_MS)
    assert len(await person.invitations()) == 1


def _again(event_id: str, person: Person) -> Any:
    from bot.events.business import BusinessEvent, CustomerPart

    return BusinessEvent(event_id, "delivery", "2026-11-19T10:00:00+09:00", CustomerPart(person.customer_id))


async def test_an_unhappy_customer_is_left_in_peace_while_the_case_is_open(world: World) -> None:
    await next_morning(world)
    person = await invited(world)
    await person.taps("まだ届いていない")
    await world.advance(40 * DAY_MS)
    await next_morning(world)
    await world.event("ticket_resolved", person.buyer, ticket="T-open")
    await world.advance(2 * HOUR_MS)
    assert (await person.last_invitation()).reason in ("open_case", "after_complaint")


async def test_somebody_without_an_address_is_unreachable(world: World) -> None:
    await next_morning(world)
    nobody = Person(world, "C-nobody", "")
    await world.event("ticket_resolved", nobody.buyer, ticket="T-nobody")
    await world.advance(2 * HOUR_MS)
    assert (await nobody.last_invitation()).reason == "unreachable"


async def test_slack_is_asked_where_line_cannot_be(world: World) -> None:
    await next_morning(world)
    both = new_person(world)
    slack_id = world.slack.add_user("両方")
    buyer = Buyer(both.customer_id, "両方", "ja", both.user_id, slack_id)
    await world.event("ticket_resolved", buyer, ticket="T-both")
    await world.advance(2 * HOUR_MS)
    assert both.pushes() == 1
    assert world.slack.messages(world.slack.dm_of(slack_id)) == []
    blocked = new_person(world)
    slack_id = world.slack.add_user("ブロック中")
    world.line.block(blocked.user_id)
    await world.settle()
    buyer = Buyer(blocked.customer_id, "ブロック中", "ja", blocked.user_id, slack_id)
    await world.event("ticket_resolved", buyer, ticket="T-blocked")
    await world.advance(2 * HOUR_MS)
    assert blocked.pushes() == 0
    assert "手間や負担" in world.slack.transcript(world.slack.dm_of(slack_id))


async def test_history_never_triggers(world: World, tmp_path: Path) -> None:
    from bot.clock import Chance
    from bot.events.files import import_events

    person = new_person(world)
    line = (
        '{"id":"h1","type":"ticket_resolved","occurred_at":"2026-11-19T10:00:00+09:00","data":{"ticket":"H"},'
        f'"customer":{{"id":"{person.customer_id}","line_user_id":"{person.user_id}"}}}}\n'
    )
    (tmp_path / "old.jsonl").write_text(line)
    imported = await import_events(
        tmp_path / "old.jsonl",
        store=world.koe.store,
        clock=world.clock,
        chance=Chance(1),
        tz=TOKYO,
        workspaces=world.koe.workspaces,
    )
    assert imported.stored == 1
    assert await person.waits(3 * DAY_MS) == ""
    assert await person.invitations() == []


# ------------------------------------------------------------------------------------------------- other shops


async def test_sampling_leaves_people_out_with_a_reason(tmp_path: Path) -> None:
    rule = {"id": "half", "on": "ticket_resolved", "flow": "after_support", "sample": 0.5}
    world = await open_world(tmp_path, start_ms=START_MS, shop={"triggers": [rule], "digests": []})
    try:
        people = [new_person(world) for _ in range(40)]
        for number, person in enumerate(people):
            await world.event("ticket_resolved", person.buyer, ticket=f"T{number}")
        await world.advance(HOUR_MS)
        reasons = [(await person.last_invitation()).reason for person in people]
        assert set(reasons) == {"", "sampled_out"}
        assert 8 <= reasons.count("") <= 32
        assert sum(person.pushes() for person in people) == reasons.count("")
    finally:
        await world.close()


async def test_an_every_rule_asks_each_customer_again_when_their_time_has_come(tmp_path: Path) -> None:
    rule = {"id": "quarterly", "every": "90d", "flow": "relational", "expires": "7d"}
    world = await open_world(tmp_path, start_ms=START_MS, shop={"triggers": [rule], "digests": []})
    try:
        people = [new_person(world) for _ in range(3)]
        for person in people:
            await world.event("purchase", person.buyer, order="#1", amount=1)
        await world.koe.schedule()
        # planned two weeks ahead, so that no smaller survey comes shortly before
        await world.advance(20 * DAY_MS)
        assert [person.pushes() for person in people] == [1, 1, 1]
        await world.advance(60 * DAY_MS)
        assert [person.pushes() for person in people] == [1, 1, 1]
        await world.advance(40 * DAY_MS)
        assert [person.pushes() for person in people] == [2, 2, 2]
    finally:
        await world.close()


async def test_what_is_not_ours_goes_to_the_shops_own_tools_and_answers_do_not(tmp_path: Path) -> None:
    heard: list[tuple[dict[str, str], bytes]] = []

    async def tool(request: Request) -> Response:
        heard.append((dict(request.headers), await request.body()))
        return JSONResponse({})

    served = await serve(Starlette(routes=[Route("/shop", tool, methods=["POST"])]))
    world = await open_world(
        tmp_path, start_ms=START_MS, shop=PURCHASE_SHOP, settings={"LINE_RELAY_URL": served.url + "/shop"}
    )
    try:
        stranger = new_person(world)
        await stranger.says("営業時間を教えてください")
        await stranger.sends_photo()
        await stranger.says("私の回答")
        assert len(heard) == 2
        headers, body = heard[0]
        assert verify_line(headers, body, [world.line.to_bot.channel_secret])
        assert "営業時間" in body.decode()
        person = await invited(world)
        await person.taps("満足")
        await person.says("9")
        assert len(heard) == 2
        await person.says("やめる")
        await person.says("ありがとう")
        assert len(heard) == 3
    finally:
        await world.close()
        await served.close()


async def test_ordinary_words_under_an_unanswered_invitation_go_to_the_shop_and_the_survey_still_waits(
    tmp_path: Path,
) -> None:
    heard: list[str] = []

    async def tool(request: Request) -> Response:
        heard.append((await request.body()).decode())
        return Response()

    served = await serve(Starlette(routes=[Route("/shop", tool, methods=["POST"])]))
    world = await open_world(
        tmp_path, start_ms=START_MS, shop=PURCHASE_SHOP, settings={"LINE_RELAY_URL": served.url + "/shop"}
    )
    try:
        person = await invited(world)
        person.looks()
        assert "うまく読み取れませんでした" in await person.says("えっと")  # just invited: an attempt to answer
        assert heard == []
        await person.waits(2 * DAY_MS)
        for words in ("こんにちは", "駐車場はどこですか", "あした行きます"):
            assert "Koe:" not in await person.says(words)
            assert words in heard[-1]
        assert "Koe:" not in await person.sends_photo()
        assert "Koe:" not in await person.sends_sticker()
        assert len(heard) == 5
        assert await person.case() is None
        assert await person.answers() == {}
        assert "薦める可能性" in await person.says("やや満足")
        assert (await person.answers())["sat"].value == "4"
        assert "うまく読み取れませんでした" in await person.says("えっと")
        assert len(heard) == 5  # a survey that was begun answers for itself
    finally:
        await world.close()
        await served.close()


async def test_a_relay_that_is_down_disturbs_nobody(tmp_path: Path) -> None:
    world = await open_world(
        tmp_path, start_ms=START_MS, shop=PURCHASE_SHOP, settings={"LINE_RELAY_URL": "http://127.0.0.1:9/shop"}
    )
    try:
        stranger = new_person(world)
        assert "Koe:" not in await stranger.says("もしもし")
        person = await invited(world)
        assert "薦める可能性" in await person.taps("満足")
        dead = await world.koe.store.read(lambda tx: tx.jobs(state="dead", kind="relay"))
        assert "could not be reached" in dead[0].error
    finally:
        await world.close()


# ------------------------------------------------------------------------------------------------- poisoned events


async def test_an_event_our_own_code_cannot_digest_is_kept_and_stops_nobody(world: World) -> None:
    await next_morning(world)
    poisoned, beside = await invited(world), await invited(world)
    session = (await poisoned.sessions())[0]

    def corrupt(tx: Any) -> None:

        assert tx.save_session(structs.replace(session, state="[1,", version=session.version + 1))

    await world.koe.store.write(corrupt)
    event = world.line.text_event(poisoned.user_id, "満足")
    beside_event = world.line.text_event(beside.user_id, "満足")
    assert await world.line.to_bot.deliver_raw([event, beside_event]) == 200
    await world.advance(3_000)
    assert (await beside.answers())["sat"].value == "5"
    assert await world.line.to_bot.deliver_raw([event]) == 200  # delivered again: nothing happens twice
    dead = await world.koe.store.read(lambda tx: tx.jobs(state="dead", kind="inbound"))
    assert len(dead) == 1
    assert dead[0].customer_id == poisoned.customer_id
    assert "Error" in dead[0].error

    def repair(tx: Any) -> None:

        broken = tx.find_session(session.id)
        assert tx.save_session(structs.replace(session, version=broken.version + 1))
        assert tx.replay_job(dead[0].id, world.clock.now_ms())

    await world.koe.store.write(repair)
    await world.advance(10_000)
    assert (await poisoned.answers())["sat"].value == "5"


async def test_two_messages_at_once_are_one_conversation(world: World) -> None:
    await next_morning(world)
    person = await invited(world)
    events = [world.line.text_event(person.user_id, "満足") for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        for event in events:
            group.create_task(world.line.to_bot.deliver_raw([event]))
    await world.advance(3_000)
    assert len(await person.sessions()) == 1
    assert (await person.answers())["sat"].value == "5"


async def test_posting_needs_no_platform_to_answer(world: World) -> None:
    """The acknowledgement does not wait for LINE: it is down, and the event is stored all the same."""
    await next_morning(world)
    person = await invited(world)
    world.line.fail_next("*", 500, 2)
    async with asyncio.timeout(2), aiohttp.ClientSession():
        assert await world.line.taps_label(person.user_id, "満足") == 200
    await world.advance(2 * MINUTE_MS)
    assert "薦める可能性" in person.looks()


async def test_a_survey_that_staff_start_names_what_was_bought_last(world: World) -> None:
    await next_morning(world)
    person = new_person(world)
    for order, product in (("#first", "急須"), ("#last", ["手ぬぐい", "風呂敷"])):
        await world.event("purchase", person.buyer, order=order, amount=10, product=product)
        await world.advance(HOUR_MS)
    await asked_by_staff(world, person, "after_purchase")
    assert "手ぬぐいほか1点について、どの程度満足していますか" in await person.waits(HOUR_MS)


@pytest.mark.parametrize(
    ("language", "asked"),
    [
        ("ja", ("急須について、どの程度", "ご注文の商品について、どの程度")),
        ("en", ("satisfied are you with hand-thrown stonewa… and 2 more?", "satisfied are you with your order?")),
    ],
)
async def test_without_a_purchase_it_names_what_was_delivered_and_else_the_order(
    world: World, language: str, asked: tuple[str, str]
) -> None:
    await next_morning(world)
    delivered = {"ja": "【送料無料】急須", "en": ["hand-thrown stoneware mugs", "tea", "a tray"]}[language]
    for person, question in zip([new_person(world, language) for _ in asked], asked, strict=True):
        buyer = replace(person.buyer, language=language)
        if question is asked[0]:
            await world.event("delivery", buyer, order=person.order, product=delivered)
        else:
            await world.event("click", buyer, page="/")
        await asked_by_staff(world, person, "after_purchase")
        assert question in await person.waits(HOUR_MS)


async def test_a_delivery_without_its_purchase_names_its_own_product(world: World) -> None:
    await next_morning(world)
    person = new_person(world)
    await world.event("delivery", person.buyer, order={"amount": 5000}, product="風鈴")
    assert "風鈴について、どの程度満足していますか" in await person.waits(2 * HOUR_MS)


async def test_one_survey_at_an_address_at_a_time_and_an_older_button_is_a_late_answer(world: World) -> None:
    await next_morning(world)
    person = await invited(world)
    await person.taps("満足")
    await asked_by_staff(world, person, "relational")
    assert "お買い物全体について" in await person.waits(HOUR_MS)
    assert "理由" in await person.says("9")
    newer, older = await person.sessions()
    assert (older.status, newer.status) == ("superseded", "open")
    given = {a.question: a.value for a in await world.koe.store.read(lambda tx: tx.answers_of_session(newer.id))}
    assert given == {"nps": "9"}
    # the first survey's own question, further up in the chat
    assert "ご回答を受け取りました" in await person.taps_old("3点")
    kept = await world.koe.store.read(lambda tx: tx.answers_of_session(older.id))
    late = {answer.question: (answer.value, answer.late) for answer in kept}
    assert late == {"sat": ("5", False), "nps": ("3", True)}
    await person.says("品ぞろえがよいので")
    await person.waits(8_000)
    reason = (await world.koe.store.read(lambda tx: tx.answers_of_session(newer.id)))[-1]
    assert (reason.question, reason.value) == ("reason", "品ぞろえがよいので")
