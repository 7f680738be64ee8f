"""Weeks of believable history, lived through the real code paths: people buy, are asked over HTTP, and answer in
the LINE stand-in by tapping and typing. A fixed seed makes it the same history each time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bot import buttons
from bot.standins.demo import DAY_MS, Buyer, World
from bot.standins.line_chats import Tappable
from storage.records import Case
from storage.store import Tx

_WAVES = (4, 5, 6)
"""Days from Thursday on (Monday, Tuesday, Wednesday) on which parcels arrive: all answers of a week fall into one ISO
week, and the last one is there when the demo begins."""
_ASKED_MS = 100 * 60_000
"""Longer than the delays of the demo's koe.yaml."""
_LOOKED_AT_MS = 2 * 3_600_000
"""After the answers of a wave came: within the time that was promised."""
_NEW_BUYERS_A_WAVE = (14, 20)
_CASES_A_WAVE = (3, 5)
_COMING_BACK = 0.035
"""Of the content ones among earlier buyers, how many buy again in a wave; of the others fewer. The contact cap leaves
most of them in peace."""
_LATE = 0.06
_SENT_BACK = 0.25
"""Of the let down."""
_ANSWERING = 0.66
_LOOKED_AFTER = 0.95
_ENGLISH = 0.08

_COMMENTS = {
    "good": [
        "梱包がとても丁寧で安心しました。",
        "商品の質が良く、すぐ届いたので満足です。",
        "贈り物に使いました。喜んでもらえました。",
        "スタッフの方の説明がわかりやすかったです。",
        "色合いが写真どおりで気に入っています。",
    ],
    "fair": [
        "普通に使えています。",
        "送料がもう少し安いとうれしいです。",
        "説明書の字が小さいと感じました。",
        "配送日をもう少し細かく選べるとよいです。",
    ],
    "poor": [
        "箱がつぶれていて、贈り物に使えませんでした。",
        "届くのが予定より2日遅れました。",
        "問い合わせの返信が遅く、不安になりました。",
        "思っていた色と違いました。",
    ],
}
_COMMENTS_EN = {
    "good": ["Lovely packaging and quick delivery.", "Great quality, I will buy again."],
    "fair": ["It does the job.", "Shipping was a little expensive."],
    "poor": ["It came two days late.", "The box was damaged."],
}
_DONE = ("決定", "Done")


@dataclass(slots=True)
class Visitor:
    """One simulated customer: how content they are, and what they do next on the screen in front of them."""

    buyer: Buyer
    mood: float
    """0 (let down) to 1 (delighted)."""
    rng: random.Random
    picked: int = 0
    order: str = ""
    bought_ms: int = 0

    @property
    def kind(self) -> str:
        return "poor" if self.mood < 0.4 else "fair" if self.mood < 0.7 else "good"

    async def act(self, world: World) -> bool:
        """Do the next thing: tap, or type; False when nothing more is asked."""
        line, user_id = world.line, self.buyer.line_user_id
        chat = line.chat(user_id)
        if not chat or chat[-1].sender == "user":
            return False
        newest = [t for t in line.tappables(user_id) if t.entry_id == chat[-1].id]
        offered = [(t, b) for t in newest if (b := buttons.parse(t.data)) is not None]
        values = _once([t for t, b in offered if not b.node.startswith("@")])
        if any(t.label in _DONE for t, _ in offered):
            return await self._pick_feelings(world, values, offered)
        if len(values) >= 2:
            await self._answer(world, values)
            return True
        contact = [t for t, b in offered if b.node == "@contact"]
        if contact:
            chosen = contact[0] if self.rng.random() < 0.6 else contact[-1]
            await line.taps(user_id, chosen.data, chosen.display_text)
            return False
        if offered:
            return await self._write(world, [t for t, _ in offered])
        return False

    async def _answer(self, world: World, values: list[Tappable]) -> None:
        scored = {t: b.value for t in values if (b := buttons.parse(t.data)) is not None}
        numbers = {t: int(value) for t, value in scored.items() if value.isdigit()}
        if not numbers:
            yes = self.rng.random() < 0.25 + 0.5 * self.mood
            chosen = values[0] if yes else values[-1]
        else:
            low, high = min(numbers.values()), max(numbers.values())
            node = buttons.parse(values[0].data)
            mood = 1 - self.mood if node is not None and node.node.startswith("effort") else self.mood
            wanted = low + (high - low) * min(1.0, max(0.0, mood + self.rng.gauss(0, 0.11)))
            chosen = min(numbers, key=lambda t: (abs(numbers[t] - wanted), numbers[t]))
            if self.rng.random() < 0.15 and chosen.label.isdigit():
                await world.line.says(self.buyer.line_user_id, f"{chosen.label}点")
                return
        await world.line.taps(self.buyer.line_user_id, chosen.data, chosen.display_text)

    async def _pick_feelings(
        self, world: World, values: list[Tappable], offered: list[tuple[Tappable, buttons.Button]]
    ) -> bool:
        user_id = self.buyer.line_user_id
        done = next(t for t, _ in offered if t.label in _DONE)
        free = [t for t in values if (b := buttons.parse(t.data)) and b.value not in ("other", "done")]
        wanted = 1 + round(self.mood + self.rng.random())
        nothing = [t for t in values if (b := buttons.parse(t.data)) and b.value == "none"]
        if not self.picked and nothing and self.rng.random() < 0.45 - 0.5 * self.mood:
            self.picked = 9
            await world.line.taps(user_id, nothing[0].data, nothing[0].display_text)
        elif self.picked < wanted and free:
            self.picked += 1
            plain = [t for t in free if (b := buttons.parse(t.data)) and b.value != "none"] or free
            chosen = self.rng.choice(plain)
            await world.line.taps(user_id, chosen.data, chosen.display_text)
        else:
            await world.line.taps(user_id, done.data, done.display_text)
        return True

    async def _write(self, world: World, offered: list[Tappable]) -> bool:
        user_id = self.buyer.line_user_id
        if self.rng.random() < 0.45:
            comments = _COMMENTS if self.buyer.language == "ja" else _COMMENTS_EN
            await world.line.says(user_id, self.rng.choice(comments[self.kind]))
        else:
            await world.line.taps(user_id, offered[0].data, offered[0].display_text)
        return True


def _open_case(tx: Tx, *, customer_id: str) -> Case | None:
    return tx.open_case(customer_id)


def _once(values: list[Tappable]) -> list[Tappable]:
    """Each value once: a scale shows its numbers in the bubble and again as quick replies."""
    seen: dict[str, Tappable] = {}
    for tappable in values:
        seen.setdefault(tappable.data, tappable)
    return list(seen.values())


async def live_through(world: World, weeks: int, progress: Callable[[int], None] = lambda week: None) -> None:
    """`weeks` weeks of purchases, support cases and answers, from the clock's present on."""
    known: list[Visitor] = []
    for week in range(weeks):
        start_ms = world.clock.now_ms()
        for day in _WAVES:
            await world.advance_to(start_ms + day * DAY_MS)
            heard = await _wave(world, week, known)
            await world.advance(_LOOKED_AT_MS)
            await _look_after(world, heard)
        await world.advance_to(start_ms + 7 * DAY_MS)
        progress(week + 1)


async def _wave(world: World, week: int, known: list[Visitor]) -> list[Visitor]:
    """One day's parcels and closed support cases. Returns those whose they are; the new ones are added to `known`."""
    rng = world.rng
    visitors = [v for v in known if _comes_back(world, v)]
    events = [_buys(world, v) for v in visitors]
    buyers = rng.randint(*_NEW_BUYERS_A_WAVE)
    for number in range(buyers + rng.randint(*_CASES_A_WAVE)):
        buyer = world.new_buyer("en" if rng.random() < _ENGLISH else "ja")
        case = number >= buyers
        # most are content, a few are let down; the shop gets a little better over the weeks
        mood = rng.betavariate(2.2, 2.0) if case else rng.betavariate(4.0, 1.4)
        visitor = Visitor(buyer, min(1.0, mood + 0.005 * week), random.Random(rng.random()))  # noqa: S311
        visitors.append(visitor)
        known.append(visitor)
        events.append(world.support_case(buyer) if case else _buys(world, visitor))
    await asyncio.gather(*events)
    await world.advance(_ASKED_MS)
    answering = [v for v in visitors if rng.random() < _ANSWERING]
    while answering:
        more = await asyncio.gather(*(v.act(world) for v in answering))
        answering = [v for v, again in zip(answering, more, strict=True) if again]
        # long enough for bubbles of free text to be one answer
        await world.advance(rng.randrange(20_000, 90_000))
    return visitors


def _comes_back(world: World, visitor: Visitor) -> bool:
    since_ms = world.clock.now_ms() - visitor.bought_ms
    return visitor.order != "" and since_ms > 10 * DAY_MS and world.rng.random() < _COMING_BACK * 2 * visitor.mood


async def _buys(world: World, visitor: Visitor) -> None:
    late = visitor.rng.random() < _LATE
    if late:
        visitor.mood *= 0.5
    visitor.bought_ms = world.clock.now_ms()
    visitor.picked = 0
    visitor.order = await world.purchase(visitor.buyer, late_days=visitor.rng.randint(1, 3) if late else 0)


async def _look_after(world: World, visitors: list[Visitor]) -> None:
    """The shop takes back what does not please, and settles what it heard, as its own ticket system would report it;
    now and then it does not."""
    for visitor in visitors:
        if visitor.order and visitor.kind == "poor" and visitor.rng.random() < _SENT_BACK:
            await world.event("return", visitor.buyer, order=visitor.order)
        customer_id = visitor.buyer.customer_id
        case = await world.koe.store.read(partial(_open_case, customer_id=customer_id))
        if case is not None and world.rng.random() < _LOOKED_AFTER:
            await world.event("complaint_resolved", visitor.buyer)
