"""The story of the demo, played by itself (`koe demo --headless`): customers, staff and the manager, in turn."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bot.standins.demo import DAY_MS, HOUR_MS, Buyer, World
from bot.standins.story import asked
from bot.standins.wire import NotOnScreenError
from bot.standins.workspace import SlackMessage

_THINKS_MS = 3_000
_WRITES_MS = 8_000
"""After this long without another message, what a customer wrote is one answer."""
_THREAD_MS = 60_000
"""The thread of a digest is posted a message a second; what customers said comes last."""
_PATIENCE_S = 30.0
"""For how long a person waits for a window, in real time: the machine may be busy."""
_STAFF, _MANAGER = "U0STAFF", "U0MANAGER"
_ALERTS, _DIGEST = "C0ALERTS", "C0DIGEST"


class StoryFailedError(Exception):
    """The named step of the story did not happen; the message shows what was on screen instead."""

    def __init__(self, step: str, seen: str) -> None:
        super().__init__(f"the story failed at: {step}\nwhat was there instead:\n{seen}")
        self.step = step


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
        self._act("購入のあと：満足したお客さま", "after a purchase: a content customer")
        await self._content_customer(content)
        self._act("購入のあと：英語のお客さまのご不満", "after a purchase: an unhappy customer writes English")
        await self._detractor(detractor)
        self._act("スタッフが /survey で送り、ご不満に対応する", "staff send a survey, and look after who is unhappy")
        regular = world.new_buyer("ja")
        await self._surveyed_by_staff(regular)
        await self._looked_after(regular)
        self._act("Slackのメッセージからアンケートを送る", "a survey about a message in Slack")
        await self._from_a_message(world.new_buyer("ja"))
        self._act("SlackのDMで答えるお客さま", "a customer who answers in Slack")
        await self._slack_customer(colleague)
        self._act("お問い合わせのあと：手間が大きかったお客さま", "after a support case: high effort")
        tired = world.new_buyer("ja")
        await world.support_case(tired)
        await self._tired_customer(tired)
        self._act("1週間後：店長が読む週報", "a week later: what the manager reads")
        await self._week()

    # --- customers

    async def _content_customer(self, buyer: Buyer) -> None:
        world, line = self.world, self.world.line
        await self._invited("購入のあと、アンケートが届く", buyer, "満足していますか")
        user = buyer.line_user_id
        await self._step("満足度にタップで答える", line.taps_label(user, "やや満足"), user, "薦める可能性")
        await self._step("9点と文字で答える", line.says(user, "９点"), user, "理由")
        await self._step("前の質問に戻って訂正する", line.taps_label(user, "満足"), user, "変更しました")
        for words in ("届くのが早くて助かりました。", "箱もきれいで", "贈り物に使えました"):
            await line.says(user, words)
        await self._step("三通に分けた理由がひとつの答えになる", world.advance(_WRITES_MS), user, "愛着度")
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
        self._show(f"LINE・{buyer.name}様", line.transcript(user))

    async def _detractor(self, buyer: Buyer) -> None:
        world, line = self.world, self.world.line
        await self._invited("an English customer is asked", buyer, "How satisfied are you")
        user = buyer.line_user_id
        await self._step("a tap: dissatisfied", line.taps_label(user, "Dissatisfied"), user, "How likely")
        await self._step("two, in words", line.says(user, "two"), user, "reason")
        await line.says(user, "The box was crushed, I couldn't give it as a present")
        await self._step("the comment is taken", world.advance(_WRITES_MS), user, "attachment")
        await self._step("skips one, and reads an apology", line.says(user, "skip"), user, "sorry")
        self._show(f"LINE · {buyer.name}", line.transcript(user))
        await self._alerted("the card reaches staff", "crushed")

    async def _slack_customer(self, buyer: Buyer) -> None:
        world, slack = self.world, self.world.slack
        channel = slack.dm_of(buyer.slack_user_id)
        arrived = await world.until(lambda: bool(slack.messages(channel)), within_ms=3 * DAY_MS)
        self._check("SlackのDMにアンケートが届く", arrived, slack.transcript(channel))
        await self._in_slack("満足と文字で答える", buyer, "満足", "薦める可能性")
        await self._in_slack("10点と答え、理由を聞かれる", buyer, "10", "理由")
        await slack.says(buyer.slack_user_id, channel, "包装がていねいでした。")
        await world.advance(_WRITES_MS)
        seen = slack.transcript(channel)
        self._check("理由のあと、愛着度を聞かれる", "愛着度" in seen, seen)
        await self._in_slack("愛着度は5と答える", buyer, "5", "感情")
        await self._in_slack("信頼と応援したいを選ぶ", buyer, "信頼と応援したい", "選択中：「信頼、応援したい」")
        await self._in_slack("決定する", buyer, "決定", "承りました")
        last = "はい" if "多少高くても" in slack.transcript(channel) else "期待どおり"
        await self._in_slack("最後の質問に答え、お礼で終わる", buyer, last, "スタッフの励み")
        self._show(f"Slack DM・{buyer.name}様", slack.transcript(channel))

    async def _tired_customer(self, buyer: Buyer) -> None:
        world, line = self.world, self.world.line
        await self._invited("問い合わせのあと、アンケートが届く", buyer, "手間や負担")
        user = buyer.line_user_id
        await self._step("手間は7と答える", line.taps_label(user, "7"), user, "満足していますか")
        await self._step("不満と答える", line.says(user, "不満"), user, "理由")
        await line.says(user, "返信が遅く、三回も同じ説明をしました。")
        await self._step("お詫びが届く", world.advance(_WRITES_MS), user, "申し訳ございません")
        await self._step("連絡を希望する", line.taps_label(user, "連絡を希望する"), user, "担当者から")
        self._show(f"LINE・{buyer.name}様", line.transcript(user))
        card = await self._alerted("担当者のSlackにカードが届く", "三回も同じ説明")
        self._show("Slack・#voc-alerts", self._thread(card))

    # --- staff

    async def _surveyed_by_staff(self, buyer: Buyer) -> None:
        """The window of `/survey`, how things stand with the customer, and the survey in their LINE."""
        slack = self.world.slack
        await self._bought_little(buyer)
        await slack.command(_STAFF, _ALERTS, "/survey")
        await self._until_shown("担当者が /survey と入力し、画面が開く", "お客さま")
        offered = await slack.types(_STAFF, "customer", buyer.customer_id)
        found = [option["value"] for option in offered]
        self._check("お客さまを番号で探す", found == [buyer.customer_id], str(offered))
        await slack.picks(_STAFF, "customer", buyer.customer_id)
        await self._until_shown("送れるかどうかが、選ぶとすぐに表示される", "送れます。")
        self._show("Slack・高木が見ている画面", slack.window(_STAFF))
        await self._sent(buyer)

    async def _from_a_message(self, buyer: Buyer) -> None:
        """The shortcut on a message: the customer and the words are those of the message."""
        slack = self.world.slack
        order = await self._bought_little(buyer)
        said = await slack.says(_MANAGER, _ALERTS, f"注文{order}のお客さまから、お礼のお電話がありました。")
        about = next(shortcut for shortcut in slack.shortcuts if shortcut["type"] == "message")
        await slack.shortcut(_STAFF, about["callback_id"], channel_id=_ALERTS, ts=said.ts)
        await self._until_shown("メッセージのメニューから、そのお客さまの画面が開く", "送れます。")
        shown = slack.window(_STAFF)
        self._check("メッセージが社内メモに入る", "お礼のお電話" in shown and buyer.customer_id in shown, shown)
        self._show("Slack・高木が見ている画面", shown)
        await self._sent(buyer)

    async def _bought_little(self, buyer: Buyer) -> str:
        """An order below what the shop's rule asks about; its number."""
        order = f"#{buyer.customer_id.removeprefix('C')}"
        await self.world.event("purchase", buyer, order=order, amount=800, product="手ぬぐい", units=1, store="online")
        await self.world.settle()
        return order

    async def _sent(self, buyer: Buyer) -> None:
        slack = self.world.slack
        await self._does("送る", slack.submits(_STAFF))
        self._check("送ったことが画面に出る", "お送りします。" in slack.window(_STAFF), slack.window(_STAFF))
        await slack.closes(_STAFF)
        await self._invited("お客さまのLINEにアンケートが届く", buyer, "満足していますか")

    async def _looked_after(self, buyer: Buyer) -> None:
        """From a low score to the customer's chat and back: a card, claimed, answered, written back, settled, asked
        once more."""
        world, line, slack = self.world, self.world.line, self.world.slack
        user = buyer.line_user_id
        await self._step("不満と答える", line.taps_label(user, "不満"), user, "薦める可能性")
        await self._step("2点と答える", line.taps_label(user, "2"), user, "理由")
        await line.says(user, "手ぬぐいに、しみがありました。")
        await self._step("理由を書く", world.advance(_WRITES_MS), user, "愛着度")
        await self._step("お詫びが届く", line.taps_label(user, "1"), user, "申し訳ございません")
        await self._step("連絡を希望する", line.taps_label(user, "連絡を希望する"), user, "担当者から")
        card = await self._alerted("担当者のSlackにカードが届く", "しみがありました")
        self._show("Slack・#voc-alerts", self._thread(card))

        def shown() -> str:
            return self._thread(card)

        async def opens(verb: str, words: str) -> None:
            await slack.clicks(_STAFF, _ALERTS, card.ts, f"koe.case.{verb}")
            await self._until_shown(f"「{words}」の画面が開く", words)

        await self._does("「担当する」を押す", slack.clicks(_STAFF, _ALERTS, card.ts, "koe.case.claim"))
        self._check("カードが対応中になる", "対応中 @高木" in shown(), shown())
        await opens("reply", "お客さまに返信")
        view: dict[str, Any] = slack.modal(_STAFF) or {}
        written = next(block["block_id"] for block in view["blocks"] if block["block_id"].startswith("text."))
        words = "しみのある品をお届けし、申し訳ございません。新しい手ぬぐいを本日お送りします。"
        await self._does("返信を書く", slack.submits(_STAFF, {written: words}))
        preview = slack.window(_STAFF)
        self._check("送る前に、お客さまに届く文章を確かめる", "お客さま窓口の高木です。" in preview, preview)
        self._show("Slack・高木が見ている画面", preview)
        await self._step(
            "返信がお客さまのLINEに届く", slack.submits(_STAFF), user, "新しい手ぬぐいを本日お送りします。"
        )
        self._check("送信の結果がカードに出る", "LINEが送信を受け付けました" in shown(), shown())
        await self._does("お客さまが返信する", line.says(user, "ありがとうございます。お待ちしています。"))
        self._check("お客さまの返信がカードのスレッドに届く", "お待ちしています" in shown(), shown())
        await opens("resolve", "対応を終える")
        await self._does("結果を選んで対応を終える", slack.submits(_STAFF, {"outcome": "resend"}))
        self._check("カードが解決になる", "解決 @高木・再送を手配・初回返信まで" in shown(), shown())
        arrived = await world.until(lambda: "その後いかが" in line.transcript(user), within_ms=3 * DAY_MS)
        self._check("「その後いかがでしょうか」と、一度だけたずねる", arrived, line.transcript(user))
        await self._step("解決したと答える", line.taps_label(user, "解決した"), user, "ありがとうございます")
        self._check("お客さまの答えがカードに出る", "お客さま「解決した」" in shown(), shown())
        self._show(f"LINE・{buyer.name}様", line.transcript(user))
        self._show("Slack・#voc-alerts", shown())

    # --- the manager

    async def _week(self) -> None:
        world, slack = self.world, self.world.slack

        def posts() -> int:
            return sum(message.thread_ts is None for message in slack.messages(_DIGEST))

        before, replies = posts(), len(slack.messages(_DIGEST))
        arrived = await world.until(lambda: posts() > before, within_ms=7 * DAY_MS)
        await world.advance(_THREAD_MS)
        self._check("1週間たつと週報が届く", arrived, slack.transcript(_DIGEST))
        shown = slack.transcript(_DIGEST)
        self._check("週報にNPSと件数と信頼区間がある", all(w in shown for w in ("NPS", "n=", "95%")), shown)
        self._check("週報は一度だけ", posts() == before + 1, shown)
        in_thread = len(slack.messages(_DIGEST)) - replies - 1
        self._check("くわしい内容がスレッドに続く", in_thread >= 3, shown)
        self._show("Slack・#voc-digest", shown)

    # --- telling

    async def _invited(self, step: str, buyer: Buyer, expected: str) -> None:
        await self.world.until(lambda: asked(self.world, buyer), within_ms=3 * DAY_MS)
        seen = self.world.line.transcript(buyer.line_user_id)
        self._check(step, expected in seen, seen)

    async def _does(self, step: str, action: Awaitable[object]) -> None:
        """Somebody does something, and what follows at once has happened."""
        try:
            await action
        except NotOnScreenError as missing:
            raise StoryFailedError(step, str(missing)) from missing
        await self.world.advance(_THINKS_MS)

    async def _step(self, step: str, action: Awaitable[object], user_id: str, expected: str) -> None:
        """Somebody does something, upon which the customer is told what is `expected`."""
        seen = len(self.world.line.chat(user_id))
        await self._does(step, action)
        chat = self.world.line.chat(user_id)
        answered = any(entry.sender == "bot" for entry in chat[seen:])
        shown = self.world.line.transcript(user_id)
        self._check(step, answered and expected in shown, shown)

    async def _in_slack(self, step: str, buyer: Buyer, words: str, expected: str) -> None:
        slack = self.world.slack
        channel = slack.dm_of(buyer.slack_user_id)
        before = slack.transcript(channel).count(expected)
        await self._does(step, slack.says(buyer.slack_user_id, channel, words))
        seen = slack.transcript(channel)
        self._check(step, seen.count(expected) > before, seen)

    async def _alerted(self, step: str, words: str) -> SlackMessage:
        """The card in which these words stand."""
        slack = self.world.slack

        def cards() -> list[SlackMessage]:
            asked_about = (m for m in slack.messages(_ALERTS) if not m.thread_ts and m.bot_id)
            return [m for m in asked_about if words in json.dumps(m.blocks, ensure_ascii=False)]

        await self.world.until(lambda: bool(cards()), within_ms=HOUR_MS)
        self._check(step, bool(cards()), slack.transcript(_ALERTS))
        return cards()[-1]

    async def _until_shown(self, step: str, words: str) -> None:
        """The window shows these words: the bot acknowledges a click first and opens its window afterwards."""
        slack, changed = self.world.slack, asyncio.Event()
        slack.on_change.append(changed.set)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while words not in slack.window(_STAFF):
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            pass
        finally:
            slack.on_change.remove(changed.set)
        self._check(step, words in slack.window(_STAFF), slack.window(_STAFF) or "no window")

    def _thread(self, card: SlackMessage) -> str:
        """A card and what was written under it, as staff see it."""
        return self.world.slack.transcript(_ALERTS, thread_ts=card.ts)

    def _check(self, step: str, happened: bool, seen: str) -> None:
        if not happened:
            raise StoryFailedError(step, "\n".join(seen.splitlines()[-40:]))
        self.say(f"✓ {step}")

    def _act(self, ja: str, en: str) -> None:
        self.say(f"\n■ {ja} – {en}")

    def _show(self, title: str, transcript: str) -> None:
        # bold is read as bold, not as stars
        seen = re.sub(r"\*([^*\n]+)\*", r"\1", transcript)
        self.say(f"\n── {title} " + "─" * max(0, 60 - len(title)) + f"\n{seen}\n")
