"""An unhappy customer is looked after: from the card in Slack to the reply in LINE, back again, and "are you all right
now?"; and what happens when two staff, the customer, Slack or an erasure come in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from looked import CHANNEL, MINUTE_MS, Looked, eventually, unhappy
from persons import DAY_MS, HOUR_MS, PURCHASE_SHOP, START_MS, Person, asked_by_staff, at, invited, new_person
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.clock import Chance
from bot.config import Config, Staff
from bot.person import erase
from bot.staff.card import VERBS
from bot.standins.demo import World, open_world
from bot.standins.wire import serve
from storage import failpoints
from storage.store import Tx

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP: dict[str, object] = PURCHASE_SHOP | {
    "alerts": {
        "channel": CHANNEL,
        "grace": "5m",
        "follow_up": "1d",
        "escalate": [{"after": "4h", "to": ["U0MANAGER"]}, {"after": "2d", "to": ["S0LEADS"]}],
    },
    "staff": {"may_trigger": ["U0STAFF"], "may_handle_cases": ["U0STAFF", "U0MANAGER", "U0SECOND"]},
}
HOSTILE = "<!channel> <@U0STAFF> <https://evil.example|銀行> *太字* @here"


async def opened(tmp_path: Path, *, staff: dict[str, object] | None = None, **options: Any) -> World:
    shop = SHOP if staff is None else {**SHOP, "staff": staff}
    world = await open_world(tmp_path, start_ms=START_MS, shop=shop, **options)
    second = world.slack.add_user("中島 京子（スタッフ）", id="U0SECOND")
    world.slack.channels[CHANNEL].members.append(second)
    return world


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await opened(tmp_path_factory.mktemp("cases"))
    yield world
    await world.close()


# ------------------------------------------------------------------------------------------------- the loop


async def test_the_whole_loop(world: World) -> None:
    looked = await unhappy(world)
    person = looked.person
    assert await looked.labels() == ["担当する", "返信する", "引き継ぐ", "電話メモ", "あとで", "解決"]
    assert "お返事の例：傷んだ商品をお届けし" in await looked.card()

    await looked.presses("claim")
    assert "対応中 @高木（11/19" in await looked.card()
    assert "担当する" not in await looked.labels()

    await looked.opens("reply")
    modal = json.dumps(world.slack.modal("U0STAFF"), ensure_ascii=False)
    assert "傷んだ商品をお届けし、申し訳ございません。" in modal
    await world.slack.submits("U0STAFF", {"text.damaged": "交換品を本日お送りします。"})
    preview = json.dumps(world.slack.modal("U0STAFF"), ensure_ascii=False)
    wanted = "声の店 お客さま窓口の高木です。\n交換品を本日お送りします。\nこのトークにそのままご返信いただけます。"
    assert json.dumps(wanted, ensure_ascii=False)[1:-1] in preview
    person.looks()
    await looked.submits()
    assert wanted.replace("\n", "\n  ") in person.looks()
    assert "LINEが送信を受け付けました（届いたか、読まれたかは分かりません）。" in await looked.card()
    case = await looked.case()
    assert case.replied_ms is not None

    assert "Koe:" not in await person.says(f"箱も替えてください {HOSTILE}"), "a person answers"
    assert "箱も替えてください" in await looked.card()
    assert world.slack.pings(CHANNEL) == []

    await looked.resolves()
    card = await looked.card()
    assert "解決 @高木・交換を手配・初回返信まで" in card
    assert await looked.labels() == []
    assert await person.case() is None

    asked = await person.waits(DAY_MS)
    assert "先日の件は、その後いかがでしょうか。" in asked
    assert "お知らせいただき、ありがとうございます。" in await person.taps("解決した")
    assert "お客さま「解決した」" in await looked.card()
    assert await looked.kinds() == ["opened", "claimed", "reply", "wrote", "resolved", "asked", "solved"]
    audit = await world.koe.store.read(lambda tx: tx.audit_entries())
    mine = [entry.action for entry in reversed(audit) if entry.subject == person.customer_id]
    assert mine == ["case.claim", "case.reply", "case.resolve"]


async def test_still_a_problem_opens_the_case_again_and_nobody_is_asked_twice(world: World) -> None:
    looked = await unhappy(world)
    await looked.presses("claim")
    await looked.resolves()
    await looked.person.waits(DAY_MS)
    said = await looked.person.taps("まだ困っている")
    assert "まだお困りとのこと、申し訳ございません。" in said
    assert "17:00までにこのトークでご連絡します。" in said
    case = await looked.case()
    assert (case.state, case.assignee, case.after) == ("claimed", "U0STAFF", "still")
    assert "「まだ困っている」とのお返事です" in await looked.card()
    await looked.resolves(outcome="refund")
    assert "いかがでしょうか" not in await looked.person.waits(5 * DAY_MS)
    assert (await looked.case()).state == "settled"


async def test_words_after_the_end_open_it_again_but_thanks_do_not(world: World) -> None:
    looked = await unhappy(world)
    await looked.replies("交換いたします。")
    await looked.resolves()
    await looked.person.says("ご対応ありがとうございました")
    assert (await looked.case()).state == "settled"
    await looked.person.says("まだ届きません")
    case = await looked.case()
    assert (case.state, case.settled_ms) == ("claimed", None)
    assert "対応を再開します" in await looked.card()
    await looked.resolves(outcome="resend")
    await world.advance(8 * DAY_MS)
    await looked.person.says("営業時間を教えてください")
    assert (await looked.case()).state == "settled", "a week later it is another matter"


async def test_a_fresh_reply_token_is_used_and_a_push_otherwise(world: World) -> None:
    looked = await unhappy(world)
    await looked.replies("ご不便をおかけしました。")
    pushes = looked.person.pushes()
    await world.line.says(looked.person.user_id, "今すぐ返事をください")
    await looked.replies("はい、承ります。")
    assert "はい、承ります。" in looked.person.looks()
    assert looked.person.pushes() == pushes
    await world.advance(5 * MINUTE_MS)
    await looked.replies("追ってご案内します。")
    assert looked.person.pushes() == pushes + 1


async def test_words_before_anybody_looks_after_a_customer_belong_to_the_shop(world: World) -> None:
    looked = await unhappy(world)
    await looked.person.says("営業時間を教えてください")
    assert "wrote" not in await looked.kinds()


async def test_a_clear_answer_to_an_open_survey_stays_one_while_staff_are_talking(world: World) -> None:
    person = await invited(world)
    await person.taps("不満")
    await world.advance(6 * MINUTE_MS)
    case = await person.case()
    assert case is not None
    looked = Looked(world, person, case.id)
    await looked.replies("どのような点でお困りでしょうか。")
    await person.says("箱が開いていました")
    assert "箱が開いていました" in await looked.card()
    await person.says("2")
    assert (await person.answers())["nps"].value == "2"


async def test_hand_over_call_note_and_snooze(world: World) -> None:
    looked = await unhappy(world)
    await looked.opens("hand_over")
    await looked.submits(to="U0SECOND", note="常連の方です")
    assert (await looked.case()).assignee == "U0SECOND"
    card = await looked.card()
    assert "対応中 @中島" in card
    assert "@高木から@中島に引き継ぎました。" in card
    assert "常連の方です" in card
    await looked.opens("call", "U0SECOND")
    await looked.submits("U0SECOND", reached="yes", note="交換をご希望")
    assert "電話（通話できました）@中島" in await looked.card()
    assert (await looked.case()).replied_ms is not None
    await looked.opens("snooze", "U0SECOND")
    until_s = world.clock.now_ms() // 1000 + 7200
    await looked.submits("U0SECOND", until=until_s)
    assert "まで保留" in await looked.card()
    await world.advance(2 * HOUR_MS)
    assert "保留の時間が終わりました。" in await looked.card()
    assert (await looked.case()).snoozed_ms is None
    await looked.resolves("U0SECOND")


async def test_who_may_look_after_cases_but_not_read_comments_sees_neither(tmp_path: Path) -> None:
    staff = {"may_handle_cases": ["U0STAFF", "U0SECOND"], "may_read_comments": ["U0MANAGER"]}
    world = await opened(tmp_path, staff=staff)
    try:
        looked = await unhappy(world, "箱がつぶれた秘密の文句")
        assert "秘密" not in await looked.card()
        await looked.clicks("words")
        await eventually(world, lambda: bool(world.slack.ephemerals("U0STAFF")))
        assert "権限がありません" in world.slack.ephemerals("U0STAFF")[-1].text + looked.told()
        assert world.slack.modal("U0STAFF") is None
        await looked.opens("reply")
        window = json.dumps(world.slack.modal("U0STAFF"), ensure_ascii=False)
        assert "傷んだ商品" not in window.replace("傷んだ商品が届いた", ""), "the text would give the comment away"
        await looked.opens("words", "U0MANAGER")
        assert "箱がつぶれた秘密の文句" in json.dumps(world.slack.modal("U0MANAGER"), ensure_ascii=False)
    finally:
        await world.close()


async def test_a_refusal_reaches_somebody_who_has_left_the_channel_as_a_direct_message(world: World) -> None:
    looked = await unhappy(world)
    stranger = world.slack.add_user("新人")
    await looked.opens("hand_over")
    members = world.slack.channels[CHANNEL].members
    members.remove("U0STAFF")
    try:
        await looked.submits(to=stranger)
    finally:
        members.append("U0STAFF")
    assert (await looked.case()).state == "open"
    assert "その方には引き継げません。" in world.slack.transcript(world.slack.dm_of("U0STAFF"))


async def test_a_case_is_not_handed_to_who_may_not_look_after_cases(world: World) -> None:
    looked = await unhappy(world)
    stranger = world.slack.add_user("新人")
    await looked.opens("hand_over")
    await looked.submits(to=stranger)
    assert (await looked.case()).state == "open"
    assert "引き継げません" in looked.told()


async def test_who_may_not_look_after_cases_is_told_so_and_nothing_happens(world: World) -> None:
    looked = await unhappy(world)
    stranger = world.slack.add_user("見学者")
    world.slack.channels[CHANNEL].members.append(stranger)
    await looked.presses("claim", stranger)
    assert (await looked.case()).state == "open"
    assert "権限がありません" in looked.told(stranger)
    await looked.clicks("reply", stranger)
    await eventually(world, lambda: len(world.slack.ephemerals(stranger)) >= 2)
    assert world.slack.modal(stranger) is None
    world.slack.channels[CHANNEL].members.remove(stranger)


@pytest.mark.parametrize("who", ["guest", "bot", "stranger", "gone", "unlisted"])
async def test_nobody_who_may_not_does_anything_to_a_case_with_any_button(world: World, who: str) -> None:
    looked = await unhappy(world)
    user = world.slack.add_user(
        who, is_bot=who == "bot", is_restricted=who == "guest", team_id="T9OTHER" if who == "stranger" else None
    )
    world.slack.users[user].deleted = who == "gone"
    world.slack.channels[CHANNEL].members.append(user)
    before, kinds = await looked.case(), await looked.kinds()
    for count, verb in enumerate(VERBS, 1):
        await looked.presses(verb, user)
        async with asyncio.timeout(5):
            while len(await refusals(world, user)) < count:  # noqa: ASYNC110 - the audit tells nobody that it grew
                await asyncio.sleep(0.01)
    assert await looked.case() == before
    assert await looked.kinds() == kinds
    assert world.slack.modal(user) is None
    world.slack.channels[CHANNEL].members.remove(user)


@pytest.mark.parametrize("verb", ["reply", "hand_over", "call", "snooze", "resolve"])
async def test_a_window_of_somebody_who_lost_the_permission_meanwhile_does_nothing(
    world: World, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = await unhappy(world)
    await looked.opens(verb, "U0SECOND")
    view = world.slack.modal("U0SECOND")
    assert view is not None
    before, kinds = await looked.case(), await looked.kinds()
    assert world.koe.access is not None
    monkeypatch.setattr(world.koe.access, "_staff", Staff(may_handle_cases=("U0STAFF",)))
    texts = [block["block_id"] for block in view["blocks"] if block["block_id"].startswith("text.")]
    filled: dict[str, dict[str, Any]] = {
        "reply": dict.fromkeys(texts, "交換します。"),
        "hand_over": {"to": "U0STAFF"},
        "call": {"reached": "yes"},
        "snooze": {"until": (world.clock.now_ms() + DAY_MS) // 1000},
        "resolve": {"outcome": "exchange"},
    }
    values = filled[verb]
    await world.slack.submits("U0SECOND", values)
    if verb == "reply":
        await world.slack.submits("U0SECOND")
    await world.advance(3_000)
    assert await refusals(world, "U0SECOND")
    assert await looked.case() == before
    assert await looked.kinds() == kinds
    assert "交換します。" not in world.line.transcript(looked.person.user_id)
    if world.slack.modal("U0SECOND") is not None:
        await world.slack.closes("U0SECOND", all_views=True)


async def refusals(world: World, user: str) -> list[str]:
    """What this person tried and may not do, as the audit has it."""
    entries = await world.koe.store.read(lambda tx: tx.audit_entries(limit=1_000))
    return [entry.detail for entry in entries if entry.action == "refused" and entry.actor.endswith(f":{user}")]


# ------------------------------------------------------------------------------------------------- promises


async def test_a_missed_promise_is_told_to_staff_first_and_to_the_customer_once(tmp_path: Path) -> None:
    world = await opened(tmp_path)
    try:
        looked = await unhappy(world)
        await looked.person.taps("連絡を希望する")
        case = await looked.case()
        assert case.due_ms == at(20, 17), "Thursday's promise is Friday's closing time"
        await world.advance_to(at(20, 17) + MINUTE_MS)
        assert "お約束の時間（11/20（金）17:00）を過ぎました" in await looked.card()
        assert "期限を過ぎています。お客さまには未連絡です。" in await looked.card()
        assert "お約束した時間" not in looked.person.looks()
        # Saturday, Sunday and the holiday on Monday do not count: the customer hears on Tuesday
        await world.advance_to(at(20, 20, 1))
        assert "期限を3時間過ぎています。お客さまには未連絡です。" in await looked.card(), "the card counts on"
        await world.advance_to(at(23, 9))
        assert "期限を2日過ぎています。" in await looked.card()
        await world.advance_to(at(24, 10, 59))
        assert "お約束した時間" not in looked.person.looks()
        await world.advance_to(at(24, 11, 1))
        told = looked.person.looks()
        assert "お約束した時間までにお返事できず、申し訳ございません。" in told
        assert "11月25日（水）17:00までに、担当のお客さま窓口からご連絡します。" in told
        await world.advance_to(at(30, 12))
        assert "お約束した時間" not in looked.person.looks(), "once"
        assert (await looked.kinds()).count("overdue") == 2, "staff are told of the second one, too"
    finally:
        await world.close()


async def test_who_is_waiting_too_long_in_working_hours_is_shown_to_more_people(tmp_path: Path) -> None:
    world = await opened(tmp_path)
    try:
        looked = await unhappy(world)
        opened_ms = (await looked.case()).opened_ms
        answered = await unhappy(world)
        await answered.replies("ご連絡ありがとうございます。")
        await world.advance_to(opened_ms + 4 * HOUR_MS - MINUTE_MS)
        assert world.slack.pings(CHANNEL) == []
        await world.advance_to(opened_ms + 4 * HOUR_MS + MINUTE_MS)
        assert world.slack.pings(CHANNEL) == ["<@U0MANAGER>"]
        # two days are 48 hours of work, at seven hours a day
        await world.advance_to(at(27, 9))
        assert "<!subteam^S0LEADS>" not in world.slack.pings(CHANNEL)
        await world.advance_to(at(1, 17, month=12))
        assert "<!subteam^S0LEADS>" in world.slack.pings(CHANNEL)
        assert "escalated" not in await answered.kinds()
    finally:
        await world.close()


# ------------------------------------------------------------------------------------------------- in between


async def test_a_double_click_claims_once(world: World) -> None:
    looked = await unhappy(world)
    message = await looked.message()
    first, second = await world.slack.double_clicks("U0STAFF", CHANNEL, message.ts, "koe.case.claim")
    await world.advance(3_000)
    assert (first.ok, second.ok) == (True, True)
    assert (await looked.kinds()).count("claimed") == 1


async def test_of_two_who_claim_in_the_same_second_one_has_it_and_the_other_is_told(world: World) -> None:
    looked = await unhappy(world)
    acks = await asyncio.gather(looked.clicks("claim", "U0STAFF"), looked.clicks("claim", "U0SECOND"))
    assert all(ack.ok for ack in acks)
    await world.advance(3_000)
    case = await looked.case()
    loser, winner = ("U0SECOND", "高木") if case.assignee == "U0STAFF" else ("U0STAFF", "中島")
    assert (await looked.kinds()).count("claimed") == 1
    assert f"@{winner}さんがすでに担当しています。" in looked.told(loser)


async def test_a_case_resolved_while_a_reply_is_typed_keeps_the_words_and_sends_nothing(world: World) -> None:
    looked = await unhappy(world)
    await looked.opens("reply")
    await looked.resolves("U0SECOND")
    looked.person.looks()
    await world.slack.submits("U0STAFF", {"text.damaged": "これから交換します。"})
    errors = world.slack.modal_errors("U0STAFF")
    assert errors == {"text.damaged": "この対応は、すでに終わっています。何も送信・変更していません。"}
    assert "これから交換します。" in json.dumps(world.slack.modal("U0STAFF"), ensure_ascii=False)
    await world.slack.closes("U0STAFF")

    # between the preview and its button, too
    second = await unhappy(world)
    await second.opens("reply")
    await world.slack.submits("U0STAFF", {"text.damaged": "これから交換します。"})
    await second.resolves("U0SECOND")
    second.person.looks()
    await second.submits()
    shown = json.dumps(world.slack.modal("U0STAFF"), ensure_ascii=False)
    assert "すでに終わっています" in shown
    assert "これから交換します。" in shown
    assert second.person.looks() == ""
    await world.slack.closes("U0STAFF", all_views=True)


async def test_a_window_sent_after_its_case_was_erased_does_nothing(world: World) -> None:
    looked = await unhappy(world)
    await looked.opens("reply")
    await world.koe.store.write(lambda tx: tx.erase_customer(looked.person.customer_id, world.clock.now_ms()))
    await world.slack.submits("U0STAFF", {"text.damaged": "こんにちは"})
    assert "消去しました" in "".join(world.slack.modal_errors("U0STAFF").values())
    await world.slack.closes("U0STAFF")
    await world.advance(MINUTE_MS)
    assert "こんにちは" not in world.line.transcript(looked.person.user_id)


async def test_one_window_sent_twice_is_one_reply(world: World) -> None:
    looked = await unhappy(world)
    await looked.opens("reply")
    await world.slack.submits("U0STAFF", {"text.damaged": "一度だけお送りします。"})
    view = world.slack.modal("U0STAFF")
    payload = {**world.slack._interaction("U0STAFF", "view_submission"), "view": view, "response_urls": []}
    again = {**world.slack._interaction("U0STAFF", "view_submission"), "view": view, "response_urls": []}
    acks = await asyncio.gather(
        world.slack.to_bot.send("interactive", payload), world.slack.to_bot.send("interactive", again)
    )
    assert all(ack.ok for ack in acks)
    await world.advance(3_000)
    assert looked.person.looks().count("一度だけお送りします。") == 1
    await world.slack.closes("U0STAFF", all_views=True)


async def test_a_deleted_channel_loses_no_case_and_the_next_change_posts_its_card(tmp_path: Path) -> None:
    world = await opened(tmp_path)
    try:
        channel = world.slack.channels.pop(CHANNEL)
        person = await invited(world)
        await person.taps("不満")
        await world.advance(10 * MINUTE_MS)
        case = await person.case()
        assert case is not None
        assert (case.state, case.card_ref) == ("open", "")
        dead = await world.koe.store.read(lambda tx: tx.jobs(state="dead", kind="send"))
        assert [job.error for job in dead] == ["channel_not_found"]
        world.slack.channels[CHANNEL] = channel
        await person.says("2")
        await world.line.says(person.user_id, "使えません")
        await person.waits(8_000)
        await person.says("1")
        await person.taps("連絡を希望する")
        await world.advance(HOUR_MS)
        case = await person.case()
        assert case is not None
        assert case.card_ref
        assert "使えません" in world.slack.transcript(CHANNEL)
    finally:
        await world.close()


async def test_a_token_without_the_scope_to_look_at_the_channel_shows_neither_words_nor_names(tmp_path: Path) -> None:
    world = await opened(tmp_path)
    try:
        world.slack.scopes = frozenset({"chat:write", "im:write", "users:read", "commands", "groups:history"})
        looked = await unhappy(world, "秘密の文句")
        await looked.presses("claim")
        await looked.replies("ご連絡ありがとうございます。")
        await looked.person.says("秘密の返事")
        shown = world.slack.transcript(CHANNEL)
        assert "秘密" not in shown
        assert looked.person.customer_id not in shown
        assert "お客さまから返信がありました（このチャンネルには表示しません）" in shown
        assert "対応中" in shown
        # who may read comments opens them for themselves, and that is kept
        assert (await looked.labels())[-1] == "内容を見る"
        await looked.opens("words")
        window = json.dumps(world.slack.modal("U0STAFF"), ensure_ascii=False)
        assert "「秘密の文句」" in window
        assert "秘密の返事" in window
        assert looked.person.customer_id in window
        audit = await world.koe.store.read(lambda tx: tx.audit_entries())
        assert [(e.actor, e.action) for e in audit if e.action == "case.read"] == [("U0STAFF", "case.read")]
    finally:
        await world.close()


async def test_over_socket_mode_what_comes_in_between_ends_the_same(tmp_path: Path) -> None:
    world = await opened(tmp_path, transport="socket")
    try:
        looked = await unhappy(world)
        message = await looked.message()
        # two people, one of them twice
        first, second, other = await asyncio.gather(
            looked.clicks("claim"),
            world.slack.clicks("U0STAFF", CHANNEL, message.ts, "koe.case.claim"),
            looked.clicks("claim", "U0SECOND"),
        )
        assert (first.ok, second.ok, other.ok) == (True, True, True)
        await world.advance(3_000)
        assert (await looked.kinds()).count("claimed") == 1
        # settled while a reply is typed
        await looked.opens("reply")
        await world.slack.submits("U0STAFF", {"text.damaged": "これから交換します。"})
        await looked.resolves("U0SECOND")
        await looked.submits()
        assert "すでに終わっています" in json.dumps(world.slack.modal("U0STAFF"), ensure_ascii=False)
        await world.slack.closes("U0STAFF", all_views=True)
        assert "これから交換します。" not in world.line.transcript(looked.person.user_id)
        # a window that is sent after its case was erased
        gone = await unhappy(world)
        await gone.opens("reply")
        await world.koe.store.write(lambda tx: tx.erase_customer(gone.person.customer_id, world.clock.now_ms()))
        await world.slack.submits("U0STAFF", {"text.damaged": "こんにちは"})
        assert "消去しました" in "".join(world.slack.modal_errors("U0STAFF").values())
        await world.slack.closes("U0STAFF")
        # Slack's Web API in trouble while clicks come over the socket
        third = await unhappy(world)
        world.slack.fail_next("chat.update", "ratelimited:7", 2)
        await third.replies("お待たせいたしました。")
        await world.advance(10 * MINUTE_MS)
        assert "LINEが送信を受け付けました" in await third.card()
        assert third.person.looks().count("お待たせいたしました。") == 1
    finally:
        await world.close()


LONGER = [pytest.param(fault, marks=pytest.mark.prove) for fault in ("reset_before", "500json")]


@pytest.mark.parametrize("fault", ["ratelimited:7", "reset_after_accept", *LONGER])
async def test_slack_in_trouble_delays_the_card_and_loses_no_click(tmp_path: Path, fault: str) -> None:
    world = await opened(tmp_path)
    try:
        looked = await unhappy(world)
        world.slack.fail_next("users.info", fault, 2)
        world.slack.fail_next("chat.update", fault, 2)
        assert (await looked.clicks("claim")).ok
        await world.advance(10 * MINUTE_MS)
        assert (await looked.case()).assignee == "U0STAFF"
        assert "対応中 @" in await looked.card()
        world.slack.fail_next("chat.postMessage", fault, 1)
        await looked.replies("お待たせいたしました。")
        await world.advance(10 * MINUTE_MS)
        assert (await looked.card()).count("お待たせいたしました。") == 1
        assert looked.person.looks().count("お待たせいたしました。") == 1
    finally:
        await world.close()


async def test_a_click_that_cannot_be_stored_is_not_acknowledged(world: World) -> None:
    looked = await unhappy(world)
    failpoints.arm("store.before_commit=raise")
    try:
        assert not (await looked.clicks("claim")).ok
    finally:
        failpoints.arm("")
    await world.advance(3_000)
    assert (await looked.case()).state == "open"
    await looked.presses("claim")
    assert (await looked.case()).state == "claimed"


async def test_a_blocked_customer_is_not_written_to_and_the_card_says_so(world: World) -> None:
    looked = await unhappy(world)
    world.line.block(looked.person.user_id)
    await world.advance(3_000)
    assert "お客さまがブロック中のため届きません。電話かメールをご検討ください。" in await looked.card()
    before = len(world.slack.ephemerals("U0STAFF"))
    await looked.clicks("reply")
    await eventually(world, lambda: len(world.slack.ephemerals("U0STAFF")) > before)
    assert "ブロック中のため届きません" in looked.told() + world.slack.ephemerals("U0STAFF")[-1].text


# ------------------------------------------------------------------------------------------------- privacy


async def test_erasing_takes_the_words_from_the_card_and_from_the_thread(world: World) -> None:
    looked = await unhappy(world, "秘密の苦情です")
    await looked.replies("秘密の返信です。")
    await looked.person.says("秘密の返事です")
    await looked.opens("call")
    await looked.submits(reached="yes", note="秘密のメモです")
    assert (await looked.card()).count("秘密の") >= 4
    await looked.person.says("削除")
    await looked.person.taps("削除する")
    await world.advance(HOUR_MS)
    card = await looked.card()
    assert "秘密の" not in card
    assert card.count("お客さまのご希望により、内容を消去しました。") >= 4
    assert all("秘密の" not in event.words for event in await looked.history())
    audit = await world.koe.store.read(lambda tx: tx.audit_entries())
    mine = [(entry.actor, entry.action) for entry in audit if entry.subject == looked.person.customer_id]
    assert mine == [("customer", "answers.erase"), ("U0STAFF", "case.call"), ("U0STAFF", "case.reply")]
    await world.koe.store.compact()
    assert "秘密のメモです".encode() not in b"".join(f.read_bytes() for f in world.directory.glob("koe.db*"))


async def test_my_answers_shows_nothing_of_what_staff_wrote(world: World) -> None:
    looked = await unhappy(world)
    await looked.replies("社内の言葉です。")
    looked.person.looks()
    mine = await looked.person.says("私の回答")
    assert "社内の言葉" not in mine
    assert "箱がつぶれて" in mine


async def test_a_button_of_somebody_elses_case_does_nothing(world: World) -> None:
    looked, other = await unhappy(world), await unhappy(world)
    await looked.presses("claim")
    await looked.resolves()
    await looked.person.waits(DAY_MS)
    button = next(b for b in world.line.tappables(looked.person.user_id) if b.label == "まだ困っている")
    await world.line.taps(other.person.user_id, button.data, "まだ困っている")
    await world.advance(3_000)
    assert (await looked.case()).after == ""

    def integrity(tx: Tx) -> list[str]:
        return tx.check_integrity()

    assert await world.koe.store.read(integrity) == []


async def test_koe_person_erase_takes_the_words_from_slack_while_the_server_runs(world: World) -> None:
    looked = await unhappy(world, "極秘の苦情です")
    await looked.replies("極秘の返信です。")
    card = await looked.message()
    koe = world.koe
    config = Config(settings=koe.settings, shop=koe.shop, library=koe.library)
    erased = await erase(config, looked.person.customer_id, clock=world.clock, chance=Chance(3))
    assert erased.by_server
    await world.advance(MINUTE_MS)
    shown = [m for m in world.slack.messages(CHANNEL) if card.ts in (m.ts, m.thread_ts)]
    assert len(shown) == 2
    for message in shown:
        assert "極秘" not in json.dumps(message.blocks, ensure_ascii=False) + message.text
        assert "内容を消去しました" in json.dumps(message.blocks, ensure_ascii=False)


async def test_a_card_that_arrives_after_its_customer_was_erased_loses_its_words(world: World) -> None:
    person = await invited(world)
    await person.taps("不満")
    await world.line.says(person.user_id, "1")
    await person.waits(3_000)
    await person.says("極秘の苦情が遅れて届く")
    await person.waits(8_000)
    posted = len(world.slack.messages(CHANNEL))
    world.slack.fail_next("chat.postMessage", "slow:0.6")
    advancing = asyncio.ensure_future(world.advance(6 * MINUTE_MS))
    await eventually(world, lambda: len(world.slack.messages(CHANNEL)) > posted)
    await world.koe.store.write(lambda tx: tx.erase_customer(person.customer_id, world.clock.now_ms()))
    await advancing
    await world.advance(MINUTE_MS)
    assert "極秘" not in json.dumps(world.slack.messages(CHANNEL)[-1].blocks, ensure_ascii=False)


async def test_a_customer_in_slack_is_answered_in_their_direct_messages(world: World) -> None:
    buyer = world.new_buyer("en", channel="slack")
    await world.event("purchase", buyer, order="#slack", amount=5000, product="mug", store="kyoto")
    await world.event("delivery", buyer, order="#slack")
    place = world.slack.dm_of(buyer.slack_user_id)
    await world.until(lambda: bool(world.slack.messages(place)), within_ms=DAY_MS)
    await world.slack.says(buyer.slack_user_id, place, "dissatisfied")
    await world.advance(6 * MINUTE_MS)
    case = await world.koe.store.read(lambda tx: tx.open_case(buyer.customer_id))
    assert case is not None
    looked = Looked(world, Person(world, buyer.customer_id, ""), case.id)
    await looked.replies(f"We'll replace it. {HOSTILE}")
    dm = world.slack.transcript(place)
    assert "This is our team from Koe Store." in dm, "the name is not one that they could read"
    assert "You can reply right here." in dm
    assert world.slack.pings(place) == []
    assert "Slackが送信を受け付けました" in await looked.card()
    await world.slack.says(buyer.slack_user_id, place, "Thank you, tomorrow would be fine")
    await world.advance(3_000)
    assert "tomorrow would be fine" in await looked.card()
    await looked.resolves()
    await world.advance(DAY_MS)
    asked = world.slack.messages(place)[-1]
    button = next(e for b in asked.blocks if b["type"] == "actions" for e in b["elements"] if "still" in e["value"])
    await world.slack.clicks(buyer.slack_user_id, place, asked.ts, button["action_id"], value=button["value"])
    await world.advance(3_000)
    assert (await looked.case()).state == "claimed"
    answered = next(m for m in world.slack.messages(place) if m.ts == asked.ts)
    assert [block["type"] for block in answered.blocks] == ["rich_text", "rich_text"], "no buttons are left"
    assert "✓ Still a problem" in json.dumps(answered.blocks, ensure_ascii=False)
    # words that are edited, or deleted, change in the thread
    wrote = await world.slack.says(buyer.slack_user_id, place, "Tuesday would suit me")
    await world.advance(3_000)
    assert wrote.ts is not None
    await world.slack.edits(buyer.slack_user_id, place, wrote.ts, "Friday would suit me")
    await world.advance(3_000)
    card = await looked.card()
    assert "Friday would suit me" in card
    assert "Tuesday would suit me" not in card


async def test_a_message_that_is_taken_back_leaves_the_thread(world: World) -> None:
    looked = await unhappy(world)
    await looked.replies("どのような状態でしょうか。")
    await looked.person.says("取り消したい言葉です")
    await looked.person.says("残す言葉です")
    assert "取り消したい言葉です" in await looked.card()
    said = next(e for e in world.line.chat(looked.person.user_id) if e.message.get("text") == "取り消したい言葉です")
    assert await world.line.unsends(looked.person.user_id, said.id) == 200
    await world.advance(3_000)
    card = await looked.card()
    assert "取り消したい言葉です" not in card
    assert "お客さまがメッセージを取り消しました。" in card
    assert "残す言葉です" in card
    assert [event.words for event in await looked.history() if event.kind in ("wrote", "took_back")] == [
        "",
        "残す言葉です",
    ]
    await world.koe.store.compact()
    assert "取り消したい言葉です".encode() not in b"".join(f.read_bytes() for f in world.directory.glob("koe.db*"))


async def test_the_card_shows_an_answer_that_was_corrected_after_it_was_posted(world: World) -> None:
    looked = await unhappy(world)
    await looked.person.taps_old("8")
    card = await looked.card()
    assert "薦める可能性 8点" in card
    assert "お客さまが2点から8点に訂正しました。" in card
    assert (await looked.case()).state == "open"


async def test_the_comment_of_a_survey_that_is_taken_back_leaves_the_card(world: World) -> None:
    looked = await unhappy(world, "やはり消したい感想です")
    assert "やはり消したい感想です" in await looked.card()
    said = next(e for e in world.line.chat(looked.person.user_id) if e.message.get("text") == "やはり消したい感想です")
    await world.line.unsends(looked.person.user_id, said.id)
    await world.advance(3_000)
    assert "やはり消したい感想です" not in await looked.card()


async def test_a_reply_that_waits_when_its_customer_erases_is_not_sent_and_the_card_says_so(world: World) -> None:
    looked = await unhappy(world)
    await looked.person.taps("連絡を希望する")
    await looked.person.says("削除")
    await world.advance(2 * MINUTE_MS)
    world.line.fail_next("/v2/bot/message/push", "monthly")
    await looked.replies("待っている返信です。")
    assert "返信は送信待ちです。" in await looked.card()
    await looked.person.taps("削除する")
    await world.advance(3 * HOUR_MS)
    card = await looked.card()
    assert "お客さまが内容を削除されたため、待っていた返信は送っていません。" in card
    assert "待っている返信です" not in card + world.line.transcript(looked.person.user_id)


async def test_a_reply_that_waits_survives_an_opt_out(world: World) -> None:
    looked = await unhappy(world)
    await looked.person.says("配信停止")
    world.line.fail_next("/v2/bot/message/push", "monthly")
    await looked.replies("お約束の品をお送りします。")
    await looked.person.taps("停止する")
    await world.advance(3 * HOUR_MS)
    assert "お約束の品をお送りします。" in world.line.transcript(looked.person.user_id)
    assert "LINEが送信を受け付けました" in await looked.card()


async def test_a_reply_that_could_not_be_sent_within_a_day_is_told_to_staff_and_the_promise_counts_as_missed(
    tmp_path: Path,
) -> None:
    world = await opened(tmp_path)
    try:
        looked = await unhappy(world)
        await looked.person.taps("連絡を希望する")
        await world.advance_to(at(20, 16))
        world.line.fail_next("/v2/bot/message/push", "monthly", 40)
        await looked.replies("届かない返信です。")
        await world.advance_to(at(20, 17, 30))
        assert "期限を" not in await looked.card(), "an answer is on its way"
        await world.advance_to(at(21, 16, 30))
        card = await looked.card()
        assert "返信を23時間以内に送れませんでした。お客さまには届いていません。" in card
        assert "返信を送れませんでした。電話かメールをご検討ください。" in card
        assert "期限を23時間過ぎています。" in card
        assert "お約束の時間（11/20（金）17:00）を過ぎました" in card
        assert (await looked.case()).replied_ms is None
    finally:
        await world.close()


async def test_who_wants_no_contact_is_not_asked_afterwards_and_staff_are_reminded_of_it(world: World) -> None:
    looked = await unhappy(world)
    await looked.person.taps("連絡は不要")
    await looked.opens("reply")
    assert "お客さまは「連絡は不要」とお答えです。" in json.dumps(world.slack.modal("U0STAFF"), ensure_ascii=False)
    await looked.opens("resolve")
    assert "follow_up" not in json.dumps(world.slack.modal("U0STAFF"))
    await looked.submits(outcome="improve")
    assert (await looked.case()).state == "settled"
    assert "いかがでしょうか" not in await looked.person.waits(3 * DAY_MS)


async def test_after_the_shops_own_tools_settled_it_the_customer_is_asked_as_well(world: World) -> None:
    looked = await unhappy(world)
    await world.event("complaint_resolved", looked.person.buyer, complaint="c1")
    assert (await looked.case()).state == "settled"
    asked = await looked.person.waits(DAY_MS)
    assert "先日の件は、その後いかがでしょうか。" in asked
    await looked.person.taps("まだ困っている")
    assert (await looked.case()).state == "open"


async def test_with_a_relay_the_shops_tool_hears_it_too_and_keeps_the_token(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def tool(request: Request) -> Response:
        heard.append(await request.body())
        return Response("ok")

    served = await serve(Starlette(routes=[Route("/hook", tool, methods=["POST"])]))
    world = await opened(tmp_path, settings={"LINE_RELAY_URL": f"{served.url}/hook"})
    try:
        looked = await unhappy(world)
        await looked.replies("ご不便をおかけしました。")
        pushes = looked.person.pushes()
        await world.line.says(looked.person.user_id, "今すぐ返事をください")
        await world.advance(1_000)
        assert any("今すぐ返事をください".encode() in body for body in heard)
        assert "今すぐ返事をください" in await looked.card()
        await looked.replies("はい、承ります。")
        assert looked.person.pushes() == pushes + 1
    finally:
        await world.close()
        await served.close()


async def test_the_card_of_a_survey_that_staff_started_names_the_order_it_asked_about(world: World) -> None:
    person = new_person(world)
    for order, product in (("#old", "急須"), ("#asked", "風鈴")):
        await world.event("purchase", person.buyer, order=order, amount=10, product=product)
        await world.advance(1_000)
    await asked_by_staff(world, person, "after_purchase")
    await world.advance(DAY_MS)
    await world.event("purchase", person.buyer, order="#later", amount=10, product="湯呑み")
    looked = await unhappy(world, asked=person)
    card = await looked.card()
    assert "#asked 風鈴" in card
    assert not [other for other in ("#old", "#later", "湯呑み") if other in card]
