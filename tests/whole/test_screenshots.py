"""Pictures of every card, window and refusal that staff see, and of what customers are asked for, in Japanese and
English (`make screenshots`).

Koe itself makes each state, against the stand-ins; the demo's page draws it. To add a picture, write a scene and a line
in SCENES.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from looked import CHANNEL, MINUTE_MS, Looked, eventually, unhappy
from persons import DAY_MS, HOUR_MS, PURCHASE_SHOP, START_MS, Person, invited, new_person
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from bot.staff.survey import ABOUT, COMMAND
from bot.standins import serve
from bot.standins.demo import Buyer, World, open_world
from bot.standins.page import page_app
from bot.standins.reading import block_words
from bot.standins.story import Story

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FOLDER = Path(__file__).parents[2] / "docs" / "images" / "staff"
LIMIT = 120_000
"""Bytes of a picture."""
SHOP: dict[str, object] = PURCHASE_SHOP | {
    "alerts": {
        "channel": CHANNEL,
        "grace": "5m",
        "follow_up": "1d",
        "escalate": [{"after": "4h", "to": ["U0MANAGER"]}],
    },
    "digests": [{"id": "weekly", "channel": "C0DIGEST", "weekday": "mon", "at": "09:00"}],
    "staff": {
        "managers": ["U0MANAGER"],
        "may_trigger": ["U0STAFF"],
        "may_handle_cases": ["U0STAFF", "U0MANAGER", "U0SECOND"],
    },
}
MORE: Final[dict[str, dict[str, object]]] = {
    "window-survey-most": {"contact": {"per_year": 1}},
    "line-quote": {"ask_to_quote": True},
    "line-referral": {
        "referral": {
            "reward": {"ja": "500円分のクーポン", "en": "a 500 yen coupon"},
            "url": "https://shop.example.com/friends",
            "every": "180d",
        }
    },
}
"""What the shop of one picture has beside SHOP."""
NAMES: Final = {
    "ja": {"U0STAFF": "高木（スタッフ）", "U0SECOND": "中島 京子（スタッフ）", "U0MANAGER": "店長（マネージャー）"},
    "en": {"U0STAFF": "Dana Reed", "U0SECOND": "Kim Ito", "U0MANAGER": "Sam Hill (manager)"},
}

pytestmark = [
    pytest.mark.screenshots,
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed: apt-get install chromium"),
]


@dataclass(slots=True)
class Stage:
    """A shop with its staff, in one language, and the window through which one of them looks at Slack."""

    world: World
    tab: Page
    url: str
    lang: str

    def say(self, ja: str, en: str) -> str:
        return ja if self.lang == "ja" else en

    async def unhappy(self, ja: str = "", en: str = "") -> Looked:
        words = self.say(
            ja or "箱がつぶれていて、贈り物に使えませんでした",
            en or "The box was crushed, I couldn't give it as a present",
        )
        return await unhappy(self.world, words, language=self.lang)

    def buyer(self, person: Person) -> Buyer:
        """As the shop's systems know them: all of one name."""
        return replace(person.buyer, name=self.say("田中", "Emma"), language="ja" if self.lang == "ja" else "en")

    async def look(self, user: str = "U0STAFF", channel: str = "") -> None:
        """Open Slack as this person, at this channel; the first one is that of alerts."""
        await self.tab.goto(f"{self.url}/?lang={self.lang}")
        await expect(self.tab.locator("#clock")).to_contain_text(":")
        await self.tab.locator("#me").select_option(user)
        if channel:
            await self.tab.locator(f'[data-channel="{channel}"]').click()
        await expect(self.tab.locator("#messages")).to_have_attribute("aria-busy", "false")
        # as high as what stands in it, and nothing has the focus
        await self.tab.evaluate("document.getElementById('messages').style.flex = 'none'")
        await self.tab.evaluate("document.activeElement.blur()")

    async def card(self) -> Locator:
        """The newest card, alone."""
        await self.look()
        return self.tab.locator("#messages .post:not(.reply)").filter(has_not=self.tab.locator(".only-you")).last

    async def thread(self) -> Locator:
        """All messages of the alert channel."""
        await self.look()
        return self.tab.locator("#messages")

    async def told(self, user: str = "U0STAFF") -> Locator:
        """What this person alone was told last."""
        await self.look(user)
        return self.tab.locator("#messages .post").filter(has=self.tab.locator(".only-you")).last

    async def phone(self, person: Person) -> Locator:
        """The customer's LINE, at its newest message."""
        await self.tab.set_viewport_size({"width": 1280, "height": 900})
        await self.look()
        await self.tab.locator("#customer").select_option(person.user_id)
        await expect(self.tab.locator("#chat")).to_have_attribute("aria-busy", "false")
        return self.tab.locator(".phone")

    async def asks(self, text: str, user: str = "U0MANAGER") -> Locator:
        """What this person alone is told after `/survey TEXT`."""
        before = len(self.world.slack.ephemerals(user))
        await self.world.slack.command(user, CHANNEL, COMMAND, text)
        await eventually(self.world, lambda: len(self.world.slack.ephemerals(user)) > before, 60)
        return await self.told(user)

    async def chooses(self, person: Person, user: str) -> Locator:
        """The window of `/survey` with this customer in it."""
        slack = self.world.slack
        await slack.command(user, CHANNEL, COMMAND, "")
        await eventually(self.world, lambda: slack.modal(user) is not None)
        await slack.types(user, "customer", person.order)
        await slack.picks(user, "customer", person.customer_id)
        await eventually(
            self.world, lambda: self._verdict in "\n".join(block_words((slack.modal(user) or {})["blocks"]))
        )
        return await self.window(user)

    @property
    def _verdict(self) -> str:
        return self.say("この1年のご案内", "Invitations within a year")

    async def verdict(self, person: Person) -> Locator:
        """The part of the window of `/survey` that says whether this customer may be asked, alone."""
        await self.chooses(person, "U0STAFF")
        return self.tab.locator(".sheet-body > div").filter(has_text=self._verdict)

    async def lists(self, persons: list[Person], *more: str) -> None:
        """A manager drops a list of customers into the window of `/survey bulk`, and gets the preview."""
        slack = self.world.slack
        await slack.command("U0MANAGER", CHANNEL, COMMAND, "bulk")
        await eventually(self.world, lambda: slack.modal("U0MANAGER") is not None)
        rows = "\n".join(["customer", *(person.customer_id for person in persons), *more])
        file_id = slack.adds_file("U0MANAGER", "list.csv", rows.encode())
        await slack.submits("U0MANAGER", {"file": file_id})

    async def bulk_message(self) -> Locator:
        """What the manager reads in the messages with the app."""
        await self.look("U0MANAGER", self.world.slack.dm_of("U0MANAGER"))
        return self.tab.locator("#messages .post").last

    async def presses_bulk(self, action: str) -> None:
        dm = self.world.slack.dm_of("U0MANAGER")
        await self.world.slack.clicks("U0MANAGER", dm, self.world.slack.messages(dm)[-1].ts, action)
        await self.world.settle()

    async def window(self, user: str = "U0STAFF") -> Locator:
        """The window that is open."""
        await self.look(user)
        sheet = self.tab.locator(".sheet")
        await expect(sheet).to_be_visible()
        await self.tab.evaluate("document.activeElement.blur()")
        return sheet


# ------------------------------------------------------------------------------------------------- scenes


async def card_open(on: Stage) -> Locator:
    looked = await on.unhappy()
    await looked.person.taps(on.say("連絡を希望する", "Yes, here"))
    await on.world.advance(6 * MINUTE_MS)
    return await on.card()


async def card_claimed(on: Stage) -> Locator:
    looked = await on.unhappy()
    await looked.presses("claim")
    return await on.card()


async def card_snoozed(on: Stage) -> Locator:
    looked = await on.unhappy()
    await looked.presses("claim")
    await looked.opens("snooze")
    await looked.submits(until=(on.world.clock.now_ms() + 3 * HOUR_MS) // 1000)
    return await on.card()


async def card_changed(on: Stage) -> Locator:
    looked = await on.unhappy()
    await looked.person.taps_old("8")
    await on.world.advance(6 * MINUTE_MS)
    return await on.card()


async def card_corrected(on: Stage) -> Locator:
    """A mis-tap that was put right after the card was posted."""
    person = await invited(on.world, on.lang)
    await person.taps(on.say("不満", "Dissatisfied"))
    await on.world.advance(6 * MINUTE_MS)
    await person.taps_old(on.say("満足", "Satisfied"))
    await on.world.advance(6 * MINUTE_MS)
    return await on.card()


async def card_overdue(on: Stage) -> Locator:
    looked = await on.unhappy()
    await looked.person.taps(on.say("連絡を希望する", "Yes, here"))
    await looked.presses("claim")
    due_ms = (await looked.case()).due_ms
    assert due_ms is not None
    await on.world.advance_to(due_ms + HOUR_MS + MINUTE_MS)
    return await on.thread()


async def card_apologised(on: Stage) -> Locator:
    looked = await on.unhappy()
    await looked.person.taps(on.say("連絡を希望する", "Yes, here"))
    await on.world.advance(6 * DAY_MS)
    return await on.thread()


async def card_sent(on: Stage) -> Locator:
    looked = await on.unhappy()
    await replied(on, looked)
    return await on.card()


async def replied(on: Stage, looked: Looked) -> None:
    await looked.replies(
        on.say(
            "傷んだ商品をお届けし、申し訳ございません。交換品を本日お送りします。",
            "We're sorry it arrived damaged. A replacement is on its way today.",
        )
    )


async def thread(on: Stage) -> Locator:
    """The whole talk: claimed, answered, the customer's answer, a call, a hand-over."""
    looked = await on.unhappy()
    await looked.presses("claim")
    await replied(on, looked)
    await looked.person.says(
        on.say("ありがとうございます。箱も替えてもらえますか", "Thank you. Could it come in a new box?")
    )
    await looked.opens("call")
    await looked.submits(reached="yes", note=on.say("明日の午前着をご希望", "Would like it tomorrow morning"))
    await looked.opens("hand_over")
    await looked.submits(to="U0SECOND", note=on.say("発送の確認をお願いします", "Please check the parcel"))
    return await on.thread()


async def card_blocked(on: Stage) -> Locator:
    looked = await on.unhappy()
    await looked.presses("claim")
    on.world.line.block(looked.person.user_id)
    await on.world.advance(3_000)
    return await on.card()


async def card_unsent(on: Stage) -> Locator:
    """A reply that could not be sent in time."""
    looked = await on.unhappy()
    on.world.line.fail_next("/v2/bot/message/push", "monthly", 40)
    await replied(on, looked)
    await on.world.advance(DAY_MS)
    return await on.thread()


async def card_resolved(on: Stage) -> Locator:
    looked = await on.unhappy()
    await on.world.advance(2 * HOUR_MS)
    await replied(on, looked)
    await looked.resolves()
    return await on.card()


async def card_solved(on: Stage) -> Locator:
    """Settled, and the customer says so."""
    looked = await on.unhappy()
    await replied(on, looked)
    await looked.resolves()
    await looked.person.waits(DAY_MS)
    await looked.person.taps(on.say("解決した", "Solved"))
    return await on.thread()


async def card_reopened(on: Stage) -> Locator:
    looked = await on.unhappy()
    await replied(on, looked)
    await looked.resolves()
    await looked.person.waits(DAY_MS)
    await looked.person.taps(on.say("まだ困っている", "Still a problem"))
    return await on.thread()


async def card_erased(on: Stage) -> Locator:
    looked = await on.unhappy()
    await replied(on, looked)
    await looked.person.says(on.say("削除", "erase"))
    await looked.person.taps(on.say("削除する", "Erase"))
    await on.world.advance(HOUR_MS)
    return await on.thread()


async def card_hidden(on: Stage) -> Locator:
    """In a public channel."""
    on.world.slack.channels[CHANNEL].private = False
    await on.unhappy()
    return await on.card()


async def window_words(on: Stage) -> Locator:
    on.world.slack.channels[CHANNEL].private = False
    looked = await on.unhappy()
    await replied(on, looked)
    await looked.opens("words")
    return await on.window()


async def window_reply(on: Stage) -> Locator:
    await (await on.unhappy()).opens("reply")
    return await on.window()


async def window_reply_silence(on: Stage) -> Locator:
    looked = await on.unhappy()
    await looked.person.taps(on.say("連絡は不要", "No, thank you"))
    await looked.opens("reply")
    return await on.window()


async def window_preview(on: Stage) -> Locator:
    looked = await on.unhappy()
    await looked.opens("reply")
    words = on.say(
        "箱がつぶれており、申し訳ございません。交換品を本日お送りします。",
        "We're sorry about the box. A new one leaves today.",
    )
    await on.world.slack.submits("U0STAFF", {"text.damaged": words})
    return await on.window()


async def window_late(on: Stage) -> Locator:
    """Somebody settled it while the reply stood in the preview."""
    looked = await on.unhappy()
    await looked.opens("reply")
    words = on.say("交換品を本日お送りします。", "A new one leaves today.")
    await on.world.slack.submits("U0STAFF", {"text.damaged": words})
    await looked.resolves("U0SECOND")
    await looked.submits()
    return await on.window()


async def window_hand_over(on: Stage) -> Locator:
    await (await on.unhappy()).opens("hand_over")
    return await on.window()


async def window_call(on: Stage) -> Locator:
    await (await on.unhappy()).opens("call")
    return await on.window()


async def window_snooze(on: Stage) -> Locator:
    await (await on.unhappy()).opens("snooze")
    return await on.window()


async def window_resolve(on: Stage) -> Locator:
    await (await on.unhappy()).opens("resolve")
    return await on.window()


async def window_survey(on: Stage) -> Locator:
    await on.world.slack.command("U0STAFF", CHANNEL, COMMAND, "")
    await eventually(on.world, lambda: on.world.slack.modal("U0STAFF") is not None)
    return await on.window()


async def unasked(on: Stage) -> Person:
    """A customer with an order below what is asked about."""
    person = new_person(on.world, on.lang)
    await on.world.event("purchase", on.buyer(person), order=person.order, amount=500)
    await on.world.settle()
    return person


async def answered(on: Stage, count: int) -> None:
    """So many customers are asked; one in four is silent."""
    for number in range(count):
        person = await invited(on.world, on.lang)
        if number % 4:
            await person.taps(on.say("満足", "Satisfied"))
            await person.taps(str(7 + number % 4))


async def window_survey_search(on: Stage) -> Locator:
    """The list of those who are found while somebody types."""
    for _ in range(3):
        await unasked(on)
    sheet = await window_survey(on)
    await sheet.get_by_label(on.say("お客さま", "Customer")).press_sequentially(on.say("田中", "Emma"))
    await expect(sheet.locator(".b-found button")).to_have_count(3)
    return sheet


async def window_survey_ok(on: Stage) -> Locator:
    on.world.line.api.quota = 5_000
    return await on.chooses(await unasked(on), "U0STAFF")


async def window_survey_blocked(on: Stage) -> Locator:
    return await on.chooses(await invited(on.world, on.lang), "U0STAFF")


async def window_survey_override(on: Stage) -> Locator:
    return await on.chooses(await invited(on.world, on.lang), "U0MANAGER")


async def window_survey_sent(on: Stage) -> Locator:
    await on.chooses(await unasked(on), "U0STAFF")
    await on.world.slack.submits("U0STAFF", {"channel": "line"})
    return await on.window()


async def window_survey_planned(on: Stage) -> Locator:
    await on.chooses(await unasked(on), "U0STAFF")
    tomorrow = on.world.clock.now_ms() + DAY_MS
    await on.world.slack.submits("U0STAFF", {"when": tomorrow // 1000})
    return await on.window()


async def window_survey_past(on: Stage) -> Locator:
    """A time that has passed: the sentence stands under its field."""
    await on.chooses(await unasked(on), "U0STAFF")
    await on.world.slack.submits("U0STAFF", {"when": (on.world.clock.now_ms() - DAY_MS) // 1000})
    return await on.window()


async def window_survey_overridden(on: Stage) -> Locator:
    await window_survey_override(on)
    reason = on.say("お電話で、お客さまからご希望がありました", "The customer asked for it on the phone")
    await on.world.slack.submits("U0MANAGER", {"override": reason, "flow": "after_support"})
    return await on.window("U0MANAGER")


async def window_survey_not_overridden(on: Stage) -> Locator:
    """The customer stopped surveys while the reason was being typed."""
    person = await invited(on.world, on.lang)
    await on.chooses(person, "U0MANAGER")
    await stops(on, person)
    reason = on.say("お電話で、お客さまからご希望がありました", "The customer asked for it on the phone")
    await on.world.slack.submits("U0MANAGER", {"override": reason})
    return await on.window("U0MANAGER")


async def stops(on: Stage, person: Person) -> None:
    now_ms = on.world.clock.now_ms()
    await on.world.koe.store.write(lambda tx: tx.set_consent(person.customer_id, "surveys", False, now_ms, "customer"))


async def window_survey_stopped(on: Stage) -> Locator:
    person = await unasked(on)
    await stops(on, person)
    return await on.verdict(person)


async def window_survey_blocked_account(on: Stage) -> Locator:
    person = await unasked(on)
    on.world.line.block(person.user_id)
    await on.world.advance(3_000)
    return await on.verdict(person)


async def window_survey_case(on: Stage) -> Locator:
    return await on.verdict((await on.unhappy()).person)


async def window_survey_ticket(on: Stage) -> Locator:
    person = await unasked(on)
    await on.world.event("ticket_opened", on.buyer(person), ticket="T1")
    return await on.verdict(person)


async def window_survey_complaint(on: Stage) -> Locator:
    person = await unasked(on)
    await on.world.event("complaint", on.buyer(person))
    return await on.verdict(person)


async def window_survey_most(on: Stage) -> Locator:
    """As often as once a year allows."""
    person = await invited(on.world, on.lang)
    await on.world.advance(40 * DAY_MS)
    return await on.verdict(person)


async def window_survey_touchpoint(on: Stage) -> Locator:
    person = await invited(on.world, on.lang)
    await on.world.advance(20 * DAY_MS)
    return await on.verdict(person)


async def window_survey_overall(on: Stage) -> Locator:
    person = await unasked(on)
    await on.chooses(person, "U0STAFF")
    await on.world.slack.submits("U0STAFF", {"flow": "relational"})
    await on.world.slack.closes("U0STAFF")
    await on.world.advance(20 * DAY_MS)
    return await on.verdict(person)


async def window_survey_overall_ahead(on: Stage) -> Locator:
    person = await unasked(on)
    await on.chooses(person, "U0STAFF")
    in_ten_days = (on.world.clock.now_ms() + 10 * DAY_MS) // 1000
    await on.world.slack.submits("U0STAFF", {"flow": "relational", "when": in_ten_days})
    await on.world.slack.closes("U0STAFF")
    return await on.verdict(person)


async def window_survey_unreachable(on: Stage) -> Locator:
    person = new_person(on.world, on.lang)
    nowhere = replace(on.buyer(person), line_user_id="")
    await on.world.event("purchase", nowhere, order=person.order, amount=500)
    return await on.verdict(person)


async def window_survey_paused(on: Stage) -> Locator:
    await on.asks("pause after_purchase")
    return await on.verdict(await unasked(on))


async def window_survey_night(on: Stage) -> Locator:
    """Outside the hours it waits for the morning."""
    person = await unasked(on)
    await on.world.advance(12 * HOUR_MS)
    return await on.verdict(person)


async def message_menu(on: Stage) -> Locator:
    """The shortcuts of a message."""
    person = await unasked(on)
    words = on.say(
        f"注文{person.order}の件、箱がつぶれていたそうです", f"About order {person.order}: the box was crushed"
    )
    await on.world.slack.says("U0STAFF", CHANNEL, words)
    await on.tab.set_viewport_size({"width": 1280, "height": 560})
    await on.look()
    await on.tab.evaluate("document.getElementById('messages').style.flex = ''")
    await on.tab.locator(".more").last.click()
    await expect(on.tab.get_by_role("menuitem")).to_be_visible()
    return on.tab.locator(".room")


async def window_survey_message(on: Stage) -> Locator:
    person = await unasked(on)
    words = on.say(
        f"注文{person.order}の件、箱がつぶれていたそうです", f"About order {person.order}: the box was crushed"
    )
    said = await on.world.slack.says("U0STAFF", CHANNEL, words)
    await on.world.slack.shortcut("U0STAFF", ABOUT, channel_id=CHANNEL, ts=said.ts)
    await eventually(on.world, lambda: on.world.slack.modal("U0STAFF") is not None)
    return await on.window()


async def told_help(on: Stage) -> Locator:
    return await on.asks("help")


async def told_status(on: Stage) -> Locator:
    await answered(on, 16)
    await on.asks("pause after_support")
    await on.world.advance(HOUR_MS)
    return await on.asks("status")


async def told_results(on: Stage) -> Locator:
    await answered(on, 16)
    return await on.asks("results NPS 7d")


async def told_results_few(on: Stage) -> Locator:
    await answered(on, 4)
    return await on.asks("results NPS 7d")


async def told_find(on: Stage) -> Locator:
    return await on.asks(f"find {(await invited(on.world, on.lang)).order}", "U0STAFF")


async def told_find_several(on: Stage) -> Locator:
    for _ in range(3):
        await unasked(on)
    return await on.asks(f"find {on.say('田中', 'Emma')}", "U0STAFF")


async def told_find_nobody(on: Stage) -> Locator:
    return await on.asks("find C9999", "U0STAFF")


async def told_digest(on: Stage) -> Locator:
    await answered(on, 16)
    await on.world.advance(5 * DAY_MS)
    return await on.asks("digest 2026-W47")


async def told_pause(on: Stage) -> Locator:
    return await on.asks("pause after_purchase")


async def told_resume(on: Stage) -> Locator:
    await on.asks("pause after_purchase")
    await on.world.advance(HOUR_MS)
    return await on.asks("resume after_purchase")


async def told_dry_run(on: Stage) -> Locator:
    await answered(on, 12)
    person = await invited(on.world, on.lang)
    await on.world.event("purchase", person.buyer, order="#again", amount=5000)
    await on.world.event("delivery", person.buyer, order="#again")
    await on.world.advance(2 * HOUR_MS)
    return await on.asks("dry-run after-purchase 7d")


async def window_bulk(on: Stage) -> Locator:
    await on.world.slack.command("U0MANAGER", CHANNEL, COMMAND, "bulk")
    await eventually(on.world, lambda: on.world.slack.modal("U0MANAGER") is not None)
    return await on.window("U0MANAGER")


async def window_bulk_read(on: Stage) -> Locator:
    await on.lists([await unasked(on)])
    return await on.window("U0MANAGER")


async def bulk_preview(on: Stage) -> Locator:
    """Of seven, one has stopped surveys and one was asked only just now; one comes twice, two are nobody."""
    persons = [await unasked(on) for _ in range(5)]
    stopped, asked = await unasked(on), await invited(on.world, on.lang)
    await stops(on, stopped)
    on.world.line.api.quota = 5_000
    await on.lists([*persons, stopped, asked, persons[0]], "X1", "X2")
    await on.world.slack.closes("U0MANAGER", all_views=True)
    await on.world.settle()
    return await on.bulk_message()


async def bulk_refused(on: Stage) -> Locator:
    """A file that cannot be read: of another encoding, and without a column that names customers."""
    slack = on.world.slack
    await slack.command("U0MANAGER", CHANNEL, COMMAND, "bulk")
    await eventually(on.world, lambda: slack.modal("U0MANAGER") is not None)
    content = on.say("お客さま番号\nC1001", "name,mail\nEmma,emma@example.com").encode(on.say("cp932", "utf-8"))
    file_id = slack.adds_file("U0MANAGER", "list.csv", content)
    await slack.submits("U0MANAGER", {"file": file_id})
    await slack.closes("U0MANAGER", all_views=True)
    await on.world.settle()
    return await on.bulk_message()


async def bulk_sending(on: Stage) -> Locator:
    """More than one unit of work: the first is sent."""
    await on.lists([await unasked(on) for _ in range(60)])
    await on.world.slack.closes("U0MANAGER", all_views=True)
    await on.world.settle()
    await on.presses_bulk("koe.bulk.send")
    return await on.bulk_message()


async def bulk_stopped(on: Stage) -> Locator:
    await bulk_sending(on)
    await on.presses_bulk("koe.bulk.cancel")
    await on.world.advance(MINUTE_MS)
    return await on.bulk_message()


async def bulk_done(on: Stage) -> Locator:
    await bulk_preview(on)
    await on.presses_bulk("koe.bulk.send")
    await on.world.advance(10_000)
    return await on.bulk_message()


async def home(on: Stage) -> Locator:
    looked = await on.unhappy()
    await looked.presses("claim")
    await on.unhappy("まだ届きません", "It has not arrived")
    for _ in range(11):
        new_person(on.world, on.lang)
    await on.world.slack.opens_home("U0STAFF")
    await eventually(on.world, lambda: on.world.slack.home("U0STAFF") is not None)
    await on.look(channel="HOME")
    return on.tab.locator("#messages")


async def home_empty(on: Stage) -> Locator:
    """The first morning."""
    await on.world.slack.opens_home("U0STAFF")
    await eventually(on.world, lambda: on.world.slack.home("U0STAFF") is not None)
    await on.look(channel="HOME")
    return on.tab.locator("#messages")


async def home_trouble(on: Stage) -> Locator:
    """LINE refuses the token: sending waits, and staff read so."""
    on.world.line.api.access_token = "another"
    person = new_person(on.world, on.lang)
    await on.world.event("purchase", on.buyer(person), order=person.order, amount=5000)
    await on.world.event("delivery", on.buyer(person), order=person.order)
    await on.world.advance(2 * HOUR_MS)
    return await home_empty(on)


async def answered_all(on: Stage, person: Person, comment: str) -> None:
    """A whole survey of a content customer, what is not asked for skipped."""
    person.looks()
    shown = await person.taps(on.say("満足", "Satisfied"))
    for _ in range(8):
        if on.say("ありがとうございました", "Thank you for") in shown:
            break
        if on.say("薦める可能性", "How likely") in shown:
            shown = await person.says("9")
        elif comment and on.say("理由", "reason") in shown:
            await person.says(comment)
            shown = await person.waits(8_000)
        else:
            shown = await person.says(on.say("スキップ", "skip"))


async def line_referral(on: Stage) -> Locator:
    person = await invited(on.world, on.lang)
    await answered_all(on, person, "")
    return await on.phone(person)


async def line_quote(on: Stage) -> Locator:
    person = await invited(on.world, on.lang)
    await answered_all(on, person, on.say("梱包がきれいでした", "Beautifully packed"))
    return await on.phone(person)


async def home_cases(on: Stage) -> Locator:
    looked = await on.unhappy()
    await looked.presses("claim")
    await on.unhappy("まだ届きません", "It has not arrived")
    await on.world.slack.opens_home("U0STAFF")
    await eventually(on.world, lambda: on.world.slack.home("U0STAFF") is not None)
    await on.world.slack.clicks_home("U0STAFF", "koe.home.cases")
    await eventually(on.world, lambda: on.world.slack.modal("U0STAFF") is not None)
    return await on.window()


async def refused_unlisted(on: Stage) -> Locator:
    looked = await on.unhappy()
    user = on.world.slack.add_user(on.say("新人", "Newcomer"), locale=on.say("ja-JP", "en-US"))
    on.world.slack.channels[CHANNEL].members.append(user)
    await looked.presses("claim", user)
    return await on.told(user)


async def refused_guest(on: Stage) -> Locator:
    looked = await on.unhappy()
    user = on.world.slack.add_user(on.say("協力会社", "Partner"), locale=on.say("ja-JP", "en-US"), is_restricted=True)
    on.world.slack.channels[CHANNEL].members.append(user)
    await looked.presses("claim", user)
    return await on.told(user)


async def refused_taken(on: Stage) -> Locator:
    looked = await on.unhappy()
    await asyncio.gather(looked.clicks("claim", "U0SECOND"), looked.clicks("claim", "U0STAFF"))
    await on.world.advance(3_000)
    case = await looked.case()
    return await on.told("U0STAFF" if case.assignee == "U0SECOND" else "U0SECOND")


async def refused_blocked(on: Stage) -> Locator:
    looked = await on.unhappy()
    on.world.line.block(looked.person.user_id)
    await on.world.advance(3_000)
    await looked.clicks("reply")
    await eventually(on.world, lambda: bool(on.world.slack.ephemerals("U0STAFF")))
    return await on.told()


SCENES: Final[dict[str, Callable[[Stage], Awaitable[Locator]]]] = {
    scene.__name__.replace("_", "-"): scene
    for scene in (
        card_open,
        card_claimed,
        card_snoozed,
        card_changed,
        card_corrected,
        card_overdue,
        card_apologised,
        card_sent,
        card_unsent,
        card_blocked,
        card_resolved,
        card_solved,
        card_reopened,
        card_erased,
        card_hidden,
        thread,
        window_reply,
        window_reply_silence,
        window_preview,
        window_late,
        window_hand_over,
        window_call,
        window_snooze,
        window_resolve,
        window_words,
        window_survey,
        window_survey_search,
        window_survey_ok,
        window_survey_blocked,
        window_survey_override,
        window_survey_overridden,
        window_survey_not_overridden,
        window_survey_past,
        window_survey_sent,
        window_survey_planned,
        window_survey_stopped,
        window_survey_blocked_account,
        window_survey_case,
        window_survey_ticket,
        window_survey_complaint,
        window_survey_most,
        window_survey_touchpoint,
        window_survey_overall,
        window_survey_overall_ahead,
        window_survey_unreachable,
        window_survey_paused,
        window_survey_night,
        message_menu,
        window_survey_message,
        told_help,
        told_status,
        told_results,
        told_results_few,
        told_find,
        told_find_several,
        told_find_nobody,
        told_digest,
        told_pause,
        told_resume,
        told_dry_run,
        window_bulk,
        window_bulk_read,
        bulk_refused,
        bulk_preview,
        bulk_sending,
        bulk_stopped,
        bulk_done,
        home,
        home_empty,
        home_trouble,
        home_cases,
        line_referral,
        line_quote,
        refused_unlisted,
        refused_guest,
        refused_taken,
        refused_blocked,
    )
}
"""By the name of the picture."""


# ------------------------------------------------------------------------------------------------- drawing


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def stage(tmp_path: Path, chromium: Browser, lang: str, name: str) -> AsyncIterator[Stage]:
    world = await open_world(tmp_path, start_ms=START_MS, shop={**SHOP, **MORE.get(name, {}), "language": lang})
    world.slack.channels[CHANNEL].members.append(world.slack.add_user("", id="U0SECOND"))
    for user_id, called in NAMES[lang].items():
        user = world.slack.users[user_id]
        user.name, user.locale = called, "ja-JP" if lang == "ja" else "en-US"
    page = page_app(line=world.line, slack=world.slack, story=Story(world), lang="ja" if lang == "ja" else "en")
    served = await serve(page)
    context = await chromium.new_context(
        viewport={"width": 1280, "height": 1700}, locale=lang, timezone_id="Asia/Tokyo"
    )
    context.set_default_timeout(60_000)
    yield Stage(world, await context.new_page(), served.url, lang)
    await context.close()
    page.state.stop()
    await served.close()
    await world.close()


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("name", SCENES)
async def test_picture(stage: Stage, name: str, lang: str) -> None:
    shown = await SCENES[name](stage)
    await expect(shown).to_be_visible()
    FOLDER.mkdir(exist_ok=True)
    drawn = FOLDER / f"{name}-{lang}.png"
    await shown.screenshot(path=drawn, animations="disabled", caret="hide")
    assert drawn.stat().st_size < LIMIT
