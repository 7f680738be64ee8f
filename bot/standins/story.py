"""The story of the demo: what the page's buttons do, and the same played by itself (`koe demo --headless`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bot.standins.demo import DAY_MS, TOKYO, Buyer, World
from bot.standins.slack import SlackStandin

Lang = Literal["ja", "en"]

_THINKS_MS = 3_000
_THREAD_MS = 60_000
"""The thread of a digest is posted a message a second; what customers said comes last."""
_IDLE_S = 3.0
_SOON_MS = 15 * 60_000
_STAFF = "U0STAFF"
_ALERTS = "C0ALERTS"
_WEEKDAYS = "月火水木金土日"


class StoryFailedError(Exception):
    """The named step of the headless story did not happen; `seen` is what was on screen instead."""

    def __init__(self, step: str, seen: str) -> None:
        super().__init__(f"the story failed at: {step}\nwhat was there instead:\n{seen}")
        self.step = step


@dataclass(slots=True)
class Story:
    """What the page asks for. One thing happens at a time."""

    world: World
    busy: bool = False
    on_change: list[Callable[[], None]] = field(default_factory=list)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _touched: float = 0.0

    def now_text(self, lang: str) -> str:
        now = datetime.fromtimestamp(self.world.clock.now_ms() / 1000, TOKYO)
        if lang == "ja":
            return f"{now.month}月{now.day}日（{_WEEKDAYS[now.weekday()]}）{now:%H:%M}"
        return f"{now:%a} {now.day} {now:%b}, {now:%H:%M}"

    async def purchase(self, lang: str) -> None:
        """A new customer buys; their parcel arrives, and an hour later comes the survey."""
        await self._ask(lang, self.world.purchase)

    async def support_case(self, lang: str) -> None:
        """A new customer's support case is closed; an hour later comes the survey."""
        await self._ask(lang, self.world.support_case)

    async def _ask(self, lang: str, happens: Callable[[Buyer], Awaitable[object]]) -> None:
        async with self._lock:
            self._busy(True)
            try:
                buyer = self.world.new_buyer("en" if lang == "en" else "ja")
                await happens(buyer)
                await self.world.until(lambda: _asked(self.world, buyer), within_ms=3 * DAY_MS)
            finally:
                self._busy(False)

    async def week_passes(self) -> None:
        """Seven days, from due job to due job."""
        async with self._lock:
            self._busy(True)
            try:
                await self.world.advance(7 * DAY_MS)
            finally:
                self._busy(False)

    def touch(self) -> None:
        """Somebody did something: let them finish before time moves on."""
        self._touched = asyncio.get_running_loop().time()

    async def keep_time(self) -> None:
        """While nobody does anything, jump to what is due within the next minutes (an alert's grace time …)."""
        while True:
            await asyncio.sleep(0.5)
            if self._lock.locked() or asyncio.get_running_loop().time() - self._touched < _IDLE_S:
                continue
            due_ms = await self.world.koe.store.read(lambda tx: tx.next_due_ms())
            now_ms = self.world.clock.now_ms()
            if due_ms is not None and now_ms < due_ms <= now_ms + _SOON_MS:
                self.world.clock.advance_to(due_ms)
                self._changed()

    def _busy(self, busy: bool) -> None:
        self.busy = busy
        self._changed()

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()


def _asked(world: World, buyer: Buyer) -> bool:
    return any(entry.sender == "bot" for entry in world.line.chat(buyer.line_user_id))


# ------------------------------------------------------------------------------------------------- headless


@dataclass(slots=True)
class Play:
    """The story told by itself, step by step; each step is checked against what a person would see."""

    world: World
    say: Callable[[str], None]

    async def run(self) -> None:
        """Raises StoryFailedError at the step that did not happen."""
        world = self.world
        content, detractor = world.new_buyer("ja"), world.new_buyer("en")
        colleague = world.new_buyer("ja", channel="slack")
        for buyer in (content, detractor, colleague):
            await world.purchase(buyer)
        await self._content_customer(content)
        await self._detractor(detractor)
        await self._looked_after(detractor)
        await self._slack_customer(colleague)
        tired = world.new_buyer("ja")
        await world.support_case(tired)
        await self._tired_customer(tired)
        self._show("Slack · #voc-alerts", _tail(world.slack.transcript("C0ALERTS"), 16))
        await self._week()

    async def _content_customer(self, buyer: Buyer) -> None:
        world, line = self.world, self.world.line
        await self._invited("購入のあと、アンケートが届く", buyer, "満足していますか")
        user = buyer.line_user_id
        await self._step("満足度にタップで答える", line.taps_label(user, "やや満足"), user, "薦める可能性")
        await self._step("9点と文字で答える", line.says(user, "９点"), user, "理由")
        await self._step("前の質問に戻って訂正する", line.taps_label(user, "満足"), user, "変更しました")
        for words in ("届くのが早くて助かりました。", "箱もきれいで", "贈り物に使えました"):
            await line.says(user, words)
        await self._step("三通に分けた理由がひとつの答えになる", world.advance(8_000), user, "愛着度")
        answers = await world.koe.store.read(lambda tx: tx.answers_of(buyer.customer_id))
        reason = next((a.value for a in answers if a.instrument == "reason"), "")
        self._check("三通が保存されている", "早くて" in reason and "贈り物" in reason, reason)
        await self._step("愛着度を漢数字で答える", line.says(user, "四"), user, "感情")
        await self._step("安心感を選ぶ", line.taps_label(user, "安心感"), user, "選択中：「安心感」")
        await self._step("ワクワク感も選ぶ", line.taps_label(user, "ワクワク感"), user, "ワクワク感")
        await self._step("決定する", line.taps_label(user, "決定"), user, "承りました")
        # which question comes last depends on the week: about prices, or about expectations
        last = "はい" if "多少高くても" in line.transcript(user) else "期待どおり"
        await self._step("最後の質問に答え、お礼で終わる", line.taps_label(user, last), user, "スタッフの励み")
        self._show(f"LINE・{buyer.name}様（購入後、満足）", line.transcript(user))

    async def _tired_customer(self, buyer: Buyer) -> None:
        world, line = self.world, self.world.line
        await self._invited("問い合わせのあと、アンケートが届く", buyer, "手間や負担")
        user = buyer.line_user_id
        await self._step("手間は7と答える", line.taps_label(user, "7"), user, "満足していますか")
        await self._step("不満と答える", line.says(user, "不満"), user, "理由")
        await line.says(user, "返信が遅く、三回も同じ説明をしました。")
        await self._step("お詫びが届く", world.advance(8_000), user, "申し訳ございません")
        await self._step("連絡を希望する", line.taps_label(user, "連絡を希望する"), user, "担当者から")
        self._show(f"LINE・{buyer.name}様（お問い合わせ後、手間が大きい）", line.transcript(user))
        await self._alerted("担当者のSlackにカードが届く", "三回も同じ説明")

    async def _detractor(self, buyer: Buyer) -> None:
        world, line = self.world, self.world.line
        await self._invited("an English customer is asked", buyer, "How satisfied are you")
        user = buyer.line_user_id
        await self._step("a tap: dissatisfied", line.taps_label(user, "Dissatisfied"), user, "How likely")
        await self._step("two, in words", line.says(user, "two"), user, "reason")
        await line.says(user, "The box was crushed, I couldn't give it as a present")
        await self._step("the comment is taken", world.advance(8_000), user, "attachment")
        await self._step("skips one", line.says(user, "skip"), user, "sorry")
        self._show(f"LINE · {buyer.name} (detractor)", line.transcript(user))
        await self._alerted("the card reaches staff", "crushed")

    async def _looked_after(self, buyer: Buyer) -> None:
        """From the card to the customer's chat and back: claimed, answered, written back, settled, asked once more."""
        world, line, slack = self.world, self.world.line, self.world.slack
        user = buyer.line_user_id
        card = next(m for m in slack.messages(_ALERTS) if not m.thread_ts and "crushed" in json.dumps(m.blocks))

        async def clicks(verb: str) -> None:
            await slack.clicks(_STAFF, _ALERTS, card.ts, f"koe.case.{verb}")

        async def window(verb: str) -> dict[str, Any]:
            await clicks(verb)
            await _seen(slack, lambda: slack.modal(_STAFF) is not None)
            return slack.modal(_STAFF) or {}

        def shown() -> str:
            return slack.transcript(_ALERTS)

        await clicks("claim")
        await world.advance(_THINKS_MS)
        self._check("担当者がカードのボタンで担当する", "対応中 @高木" in shown(), shown())
        field = next(b["block_id"] for b in (await window("reply"))["blocks"] if b["block_id"].startswith("text."))
        await slack.submits(_STAFF, {field: "We'll send a new box today, free of charge."})
        preview = json.dumps(slack.modal(_STAFF), ensure_ascii=False)
        self._check("送る前に、お客さまに届く文章を確かめる", "This is 高木 from Koe Store." in preview, preview)
        await self._step("the reply reaches the customer in LINE", slack.submits(_STAFF), user, "a new box today")
        self._check("送信の結果がカードに出る", "LINEが送信を受け付けました" in shown(), shown())
        await line.says(user, "Thank you. Could it come on Saturday?")
        await world.advance(_THINKS_MS)
        self._check("お客さまの返信がカードのスレッドに届く", "Could it come on Saturday?" in shown(), shown())
        await window("resolve")
        await slack.submits(_STAFF, {"outcome": "resend"})
        await world.advance(_THINKS_MS)
        self._check("対応を終える", "解決 @高木・再送を手配・初回返信まで" in shown(), shown())
        asked = await world.until(lambda: "How are things now?" in line.transcript(user), within_ms=3 * DAY_MS)
        self._check("asked once whether all is well", asked, line.transcript(user))
        await self._step("it is", line.taps_label(user, "Solved"), user, "Thank you for letting us know")
        self._check("お客さまの答えがカードに出る", "お客さま「解決した」" in shown(), shown())
        self._show(f"LINE · {buyer.name} (looked after)", _tail(line.transcript(user), 14))

    async def _slack_customer(self, buyer: Buyer) -> None:
        world, slack = self.world, self.world.slack
        channel = slack.dm_of(buyer.slack_user_id)
        arrived = await world.until(lambda: bool(slack.messages(channel)), within_ms=3 * DAY_MS)
        self._check("SlackのDMにアンケートが届く", arrived, slack.transcript(channel))
        await self._in_slack("満足と文字で答える（Slack）", buyer, "満足", "薦める可能性")
        await self._in_slack("10点と答え、理由を聞かれる（Slack）", buyer, "10", "理由")
        await slack.says(buyer.slack_user_id, channel, "包装がていねいでした。")
        await world.advance(8_000)
        self._check(
            "理由のあと、愛着度を聞かれる（Slack）", "愛着度" in slack.transcript(channel), slack.transcript(channel)
        )
        await self._in_slack("愛着度は5と答える（Slack）", buyer, "5", "感情")
        await self._in_slack(
            "信頼と応援したいを選ぶ（Slack）", buyer, "信頼と応援したい", "選択中：「信頼、応援したい」"
        )
        await self._in_slack("決定する（Slack）", buyer, "決定", "承りました")
        last = "はい" if "多少高くても" in slack.transcript(channel) else "期待どおり"
        await self._in_slack("最後の質問に答え、お礼で終わる（Slack）", buyer, last, "スタッフの励み")
        self._show(f"Slack DM・{buyer.name}様", slack.transcript(channel))

    async def _week(self) -> None:
        world, slack = self.world, self.world.slack

        def posts() -> int:
            return sum(message.thread_ts is None for message in slack.messages("C0DIGEST"))

        before, replies = posts(), len(slack.messages("C0DIGEST"))
        arrived = await world.until(lambda: posts() > before, within_ms=7 * DAY_MS)
        await world.advance(_THREAD_MS)
        self._check("1週間たつと週報が届く", arrived, slack.transcript("C0DIGEST"))
        shown = slack.transcript("C0DIGEST")
        self._check("週報にNPSと件数と信頼区間がある", all(w in shown for w in ("NPS", "n=", "95%")), shown)
        self._check("週報は一度だけ", posts() == before + 1, shown)
        in_thread = len(slack.messages("C0DIGEST")) - replies - 1
        self._check("くわしい内容がスレッドに続く", in_thread >= 3, shown)
        self._show("Slack · #voc-digest", shown)

    # --- telling

    async def _invited(self, step: str, buyer: Buyer, expected: str) -> None:
        await self.world.until(lambda: _asked(self.world, buyer), within_ms=3 * DAY_MS)
        seen = self.world.line.transcript(buyer.line_user_id)
        self._check(step, expected in seen, seen)

    async def _step(self, step: str, action: Awaitable[object], user_id: str, expected: str) -> None:
        seen = len(self.world.line.chat(user_id))
        await action
        await self.world.advance(_THINKS_MS)
        chat = self.world.line.chat(user_id)
        fresh = self.world.line.transcript(user_id)
        answered = any(entry.sender == "bot" for entry in chat[seen:])
        self._check(step, answered and expected in fresh, fresh)

    async def _in_slack(self, step: str, buyer: Buyer, words: str, expected: str) -> None:
        slack = self.world.slack
        channel = slack.dm_of(buyer.slack_user_id)
        before = slack.transcript(channel).count(expected)
        await slack.says(buyer.slack_user_id, channel, words)
        await self.world.advance(_THINKS_MS)
        seen = slack.transcript(channel)
        self._check(step, seen.count(expected) > before, seen)

    async def _alerted(self, step: str, words: str) -> None:
        slack = self.world.slack
        await self.world.until(lambda: words in slack.transcript("C0ALERTS"), within_ms=3_600_000)
        self._check(step, words in slack.transcript("C0ALERTS"), slack.transcript("C0ALERTS"))

    def _check(self, step: str, happened: bool, seen: str) -> None:
        if not happened:
            raise StoryFailedError(step, _tail(seen, 40))
        self.say(f"✓ {step}")

    def _show(self, title: str, transcript: str) -> None:
        self.say(f"\n── {title} " + "─" * max(0, 60 - len(title)) + f"\n{transcript}\n")


async def _seen(slack: SlackStandin, happened: Callable[[], bool]) -> None:
    """Returns when it is on the screen: the bot acknowledges a click first and opens its window afterwards. Gives up
    after a while; the step that follows says what was there instead."""
    changed = asyncio.Event()
    slack.on_change.append(changed.set)
    try:
        async with asyncio.timeout(_IDLE_S):
            while not happened():
                await changed.wait()
                changed.clear()
    except TimeoutError:
        return
    finally:
        slack.on_change.remove(changed.set)


def _tail(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[-lines:])
