"""The story of the demo: what the page's buttons do, and how its clock goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from bot.standins.demo import DAY_MS, TOKYO, Buyer, World

Lang = Literal["ja", "en"]

_IDLE_S = 3.0
_SOON_MS = 15 * 60_000
_WEEKDAYS = "月火水木金土日"


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
                await self.world.until(lambda: asked(self.world, buyer), within_ms=3 * DAY_MS)
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
            due_ms = await self.world.koe.store.read(lambda tx: tx.next_due_ms(self.world.clock.now_ms()))
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


def asked(world: World, buyer: Buyer) -> bool:
    """Whether this customer has been sent something in LINE."""
    return any(entry.sender == "bot" for entry in world.line.chat(buyer.line_user_id))
