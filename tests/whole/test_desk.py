"""`/survey` as staff use it, through the stand-ins: commands, the window past the contact cap, a survey that pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path

import pytest
import pytest_asyncio
from persons import DAY_MS, HOUR_MS, PURCHASE_SHOP, START_MS, Person, invited, new_person

from bot.staff import commands
from bot.standins.demo import World, open_world
from bot.standins.reading import block_words
from bot.standins.slack import SlackMessage
from storage.records import AuditEntry
from tests import nursery
from tests.reports.report_history import History

SHOP = PURCHASE_SHOP | {
    "digests": [{"id": "weekly", "channel": "C0DIGEST", "weekday": "mon", "at": "09:00"}],
    "staff": {"managers": ["U0MANAGER"], "may_trigger": ["U0STAFF"], "may_read_comments": []},
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("desk"), start_ms=START_MS, shop=SHOP, reports=nursery.reports)
    world.slack.add_user("Mary", locale="en-GB", id="U0MARY")
    world.slack.channels["C0ALERTS"].members.append("U0MARY")
    yield world
    await world.close()


async def until(world: World, happened: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait for what the bot does after it has acknowledged."""
    changed = asyncio.Event()
    world.slack.on_change.append(changed.set)
    try:
        async with asyncio.timeout(within_s):
            while not happened():
                changed.clear()
                await changed.wait()
    finally:
        world.slack.on_change.remove(changed.set)


async def asks(
    world: World, text: str, user: str = "U0MANAGER", *, where: str = "C0ALERTS", within_s: float = 60.0
) -> str:
    """What the person alone reads after `/survey TEXT`, once it is computed."""

    def alone() -> list[SlackMessage]:
        return [message for message in world.slack.messages(where, seen_by=user) if message.only_for]

    before = len(alone())
    assert (await world.slack.command(user, where, "/survey", text)).ok

    def answer() -> str:
        shown = [
            "\n".join(block_words(message.blocks)) if message.blocks else message.text for message in alone()[before:]
        ]
        return next((words for words in shown if not words.startswith(("集計しています", "試算しています"))), "")

    await until(world, lambda: bool(answer()), within_s)
    return answer()


def window(world: World, user: str) -> str:
    return "\n".join(block_words((world.slack.modal(user) or {}).get("blocks", [])))


async def opened(world: World, user: str, person: Person) -> str:
    """The window of `/survey` with this customer chosen, as soon as it shows how things stand."""
    await world.slack.command(user, "C0ALERTS", "/survey")
    await until(world, lambda: "お客さま番号" in str(world.slack.modal(user)))
    options = await world.slack.types(user, "customer", person.customer_id)
    assert [option["value"] for option in options] == [person.customer_id]
    await world.slack.picks(user, "customer", person.customer_id)
    await until(world, lambda: "この1年のご案内" in window(world, user))
    return window(world, user)


async def audit(world: World) -> list[AuditEntry]:
    return await world.koe.store.read(lambda tx: tx.audit_entries(limit=5))


async def reachable(world: World) -> Person:
    """A customer whom nobody has asked so far."""
    person = new_person(world)
    await world.event("purchase", person.buyer, order=person.order, amount=500)
    await world.settle()
    return person


async def test_help_is_in_the_persons_language_and_names_every_word(world: World) -> None:
    for user, word in (("U0MANAGER", "アンケートを送ります"), ("U0MARY", "send a survey")):
        told = await asks(world, "help", user)
        assert word in told
        for name in ("status", "results", "digest", "find", "pause", "resume", "help"):
            assert f"/survey {name}" in told


async def test_a_paused_survey_is_skipped_with_its_own_reason_until_it_is_resumed(world: World) -> None:
    assert "休止しました" in await asks(world, "pause after_purchase")
    assert "すでに休止中" in await asks(world, "pause ご購入後")
    entry = (await audit(world))[0]
    assert (entry.action, entry.subject) == ("survey.pause", "after_purchase")
    assert entry.actor.endswith(":U0MANAGER")
    person = await reachable(world)
    await world.event("purchase", person.buyer, order="#paused", amount=5000)
    await world.event("delivery", person.buyer, order="#paused")
    await world.advance(2 * HOUR_MS)
    skipped = await person.last_invitation()
    assert (skipped.state, skipped.reason) == ("skipped", "paused")
    assert "休止中：ご購入後" in await asks(world, "status")
    assert "休止中" in await opened(world, "U0STAFF", person)
    ack = await world.slack.submits("U0STAFF")
    assert "休止中" in str(ack.body["errors"]["customer"])
    await world.slack.closes("U0STAFF")
    assert "再開しました" in await asks(world, "resume after_purchase")
    assert "休止していません" in await asks(world, "resume after_purchase")


@pytest.mark.parametrize("word", ["pause after_purchase", "resume after_purchase", "digest 2026-W46 post"])
async def test_what_changes_something_is_for_managers(world: World, word: str) -> None:
    assert "権限がありません" in await asks(world, word, "U0STAFF")
    assert (await audit(world))[0].action == "refused"


async def test_a_flow_nobody_knows_is_named_with_those_there_are(world: World) -> None:
    told = await asks(world, "pause <!channel>")
    assert "after_purchase" in told
    assert world.slack.pings("C0ALERTS") == [], "typed words are no mention"


async def test_status_counts_invitations_and_hides_few(world: World) -> None:
    told = await asks(world, "status")
    assert "実施中のアンケート（直近28日のご案内）" in told
    assert "処理待ち" in told


async def test_results_come_from_a_child_process_and_hide_few(world: World) -> None:
    person = await invited(world)
    await person.taps("満足")
    await person.taps("9")
    told = await asks(world, "results NPS 7d")
    assert told.startswith("NPS®　")
    assert "直近7日" in told
    assert "回答は1件です。n&lt;10 のため非表示とします" in told
    assert "+" not in told.split("Net Promoter")[0], "nothing of the score is shown"
    assert "指標「xyz」はありません" in await asks(world, "results xyz")
    assert "読み取れません" in await asks(world, "results nps 3000d")


async def test_what_a_handful_answered_is_told_to_those_alone_who_may_read_it_and_to_no_channel(world: World) -> None:
    history = History(numbers=iter(range(5000, 9000)))
    history.nps(6, 0, 6, monday=date(2026, 11, 16))
    history.invited(12, monday=date(2026, 11, 16))
    history.invite_everyone()
    await world.koe.store.write(history.store)

    def in_channels() -> list[SlackMessage]:
        return [m for name in ("C0ALERTS", "C0DIGEST") for m in world.slack.messages(name) if not m.only_for]

    before = in_channels()
    told = await asks(world, "results NPS 30d")
    assert "NPS" in told
    for user, where in (("U0STAFF", "C0ALERTS"), ("U0MARY", world.slack.dm_of("U0MARY"))):
        assert "staff.may_read_comments" in await asks(world, "results NPS 30d", user, where=where)
        assert (await audit(world))[0].detail.startswith("command:results")
    await world.settle()
    assert in_channels() == before
    status = await asks(world, "status")
    staff = await asks(world, "status", "U0STAFF")
    assert "回答 6（" in status
    assert "f：ご案内 18。回答が10件未満のため、表示しません。" in staff
    assert "回答 6" not in staff


async def test_find_says_who_it_is_and_what_they_were_sent(world: World) -> None:
    person = await invited(world)
    told = await asks(world, f"find {person.order}", "U0STAFF")
    assert f"様（{person.customer_id}）" in told
    assert "連絡先：LINE" in told
    assert "ご購入後：送信済み" in told
    assert "当てはまるお客さまはいません" in await asks(world, "find <!channel>", "U0STAFF")


async def test_a_digest_is_shown_to_the_person_and_posted_once_by_a_manager(world: World) -> None:
    def firsts() -> list[str]:
        """The messages of the channel itself: a digest is one of them, its details stand in its thread."""
        return [message.ts for message in world.slack.messages("C0DIGEST") if message.thread_ts is None]

    before = len(firsts())
    told = await asks(world, "digest 2026-W46")
    assert "あなただけに表示しています" in told
    assert "2026-W46" in told
    assert len(firsts()) == before
    assert "まだ終わっていません" in await asks(world, "digest 2027-W01")
    assert "を投稿します" in await asks(world, "digest 2026-W46 post")
    await world.settle()
    assert len(firsts()) == before + 1
    assert "すでに投稿されています" in await asks(world, "digest 2026-W46 post")


async def test_past_the_contact_cap_with_a_reason_and_an_audit_row(world: World) -> None:
    person = await reachable(world)
    assert "送れます。" in await opened(world, "U0STAFF", person)
    assert "LINE通数" in window(world, "U0STAFF")
    await world.slack.submits("U0STAFF", {"channel": "line"})
    await world.settle()
    assert len(person.bubbles()) == 1
    await world.slack.closes("U0STAFF")
    # the second one within 14 days: for staff an error, for the manager a field for the reason
    assert "ルール5" in await opened(world, "U0STAFF", person)
    assert "それでも送る理由" not in window(world, "U0STAFF")
    assert "14日たっていません" in str((await world.slack.submits("U0STAFF")).body["errors"])
    await world.slack.closes("U0STAFF")
    assert "それでも送る理由" in await opened(world, "U0MANAGER", person)
    ack = await world.slack.submits("U0MANAGER", {"override": "お客さまのご希望", "flow": "after_support"})
    assert "お送りします" in str(ack.body)
    await world.settle()
    assert len(person.bubbles()) == 2
    entry = (await audit(world))[0]
    assert (entry.action, entry.subject) == ("survey.override", person.customer_id)
    assert entry.detail == "after_support: past min_gap: お客さまのご希望"
    await world.slack.closes("U0MANAGER")


async def test_a_window_that_is_sent_after_the_customer_stopped_or_was_erased_sends_nothing(world: World) -> None:
    stopped, erased = await reachable(world), await reachable(world)
    await opened(world, "U0MANAGER", stopped)
    now_ms = world.clock.now_ms()
    await world.koe.store.write(lambda tx: tx.set_consent(stopped.customer_id, "surveys", False, now_ms, "customer"))
    ack = await world.slack.submits("U0MANAGER")
    assert "停止を希望されています" in ack.body["errors"]["customer"]
    await world.slack.closes("U0MANAGER")
    await opened(world, "U0MANAGER", erased)
    await world.koe.store.write(lambda tx: tx.erase_customer(erased.customer_id, now_ms))
    ack = await world.slack.submits("U0MANAGER")
    assert "見つかりません" in ack.body["errors"]["customer"]
    await world.slack.closes("U0MANAGER")
    await world.settle()
    assert not stopped.bubbles()
    assert not erased.bubbles()


async def test_an_override_does_not_outlive_a_stop_between_plan_and_send(world: World) -> None:
    person = await invited(world)
    await opened(world, "U0MANAGER", person)
    later = world.clock.now_ms() // 1000 + 3 * 3600
    values = {"when": later, "override": "ご希望", "flow": "after_support"}
    assert "お送りします" in str((await world.slack.submits("U0MANAGER", values)).body)
    await world.slack.closes("U0MANAGER")
    await person.says("配信停止")
    await person.taps("停止する")
    seen = len(person.bubbles())
    await world.advance(DAY_MS)
    assert len(person.bubbles()) == seen
    assert (await person.last_invitation()).reason == "opted_out"


async def test_a_message_brings_its_customer_and_its_words(world: World) -> None:
    person = await reachable(world)
    said = await world.slack.says("U0STAFF", "C0ALERTS", f"注文{person.order}の件、<!channel> 箱がつぶれていたそうです")
    await world.slack.shortcut("U0STAFF", "koe.about", channel_id="C0ALERTS", ts=said.ts)
    await until(world, lambda: world.slack.modal("U0STAFF") is not None)
    shown = window(world, "U0STAFF")
    assert "送れます。" in shown
    assert person.customer_id in shown
    ack = await world.slack.submits("U0STAFF")
    assert "お送りします" in str(ack.body)
    invitation = await person.last_invitation()
    assert "箱がつぶれていたそうです" in invitation.note
    await world.slack.closes("U0STAFF")
    assert world.slack.pings("C0ALERTS") == []


async def test_who_may_not_start_surveys_is_offered_no_customers(world: World) -> None:
    person = await reachable(world)
    await world.slack.command("U0STAFF", "C0ALERTS", "/survey")
    await until(world, lambda: world.slack.modal("U0STAFF") is not None)
    world.slack.modals["U0MARY"] = [world.slack.modals["U0STAFF"][-1]]
    assert await world.slack.types("U0MARY", "customer", person.customer_id) == []
    del world.slack.modals["U0MARY"]
    await world.slack.closes("U0STAFF")


async def test_a_dry_run_counts_and_names_nobody(world: World) -> None:
    person = await invited(world)
    before = len(person.bubbles())
    told = await asks(world, "dry-run after-purchase 7d", "U0STAFF")
    assert "送るはずだったもの：" in told
    assert "LINE通数：" in told
    assert "再案内があれば" in told
    assert person.customer_id not in told
    assert "ルール「x」はありません" in await asks(world, "dry-run x", "U0STAFF")
    await world.settle()
    assert len(person.bubbles()) == before


async def test_who_waits_for_a_long_dry_run_is_told_that_it_is_being_computed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_PATIENCE_S", (0.0,))
    before = len(world.slack.ephemerals("U0STAFF"))
    assert "送るはずだったもの：" in await asks(world, "dry-run after-purchase 30d", "U0STAFF")
    first, _ = world.slack.ephemerals("U0STAFF")[before:]
    assert first.text.startswith("試算しています")
    done = await world.koe.store.read(lambda tx: tx.jobs(kind="command", state="done"))
    assert {job.payload for job in done} == {"{}"}, "what was typed is forgotten"


async def test_slack_in_trouble_costs_no_answer(world: World) -> None:
    world.slack.fail_next("response_url", "ratelimited:1")
    assert "実施中" in await asks(world, "status")
    world.slack.fail_next("views.open", "ok_false:expired_trigger_id")
    told = await asks(world, "", "U0STAFF")
    assert "画面を開けませんでした" in told


async def test_over_socket_mode_it_is_the_same(tmp_path: Path) -> None:
    world = await open_world(tmp_path, start_ms=START_MS, shop=SHOP, transport="socket", reports=nursery.reports)
    try:
        person = await reachable(world)
        assert "送れます。" in await opened(world, "U0STAFF", person)
        assert "お送りします" in str((await world.slack.submits("U0STAFF")).body)
        await world.settle()
        assert len(person.bubbles()) == 1
        assert "休止しました" in await asks(world, "pause after_purchase")
    finally:
        await world.close()
