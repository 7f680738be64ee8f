"""What differs from run to run: the time and chance. Nobody else asks for either."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import time
from typing import Protocol


class Clock(Protocol):
    """Koe's time. Signatures and platform time-outs use the real clock instead (design: a demo never bends those)."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        ...

    async def wait(self, signal: asyncio.Event, until_ms: int | None) -> None:
        """Return when `signal` is set or the time has come, whichever is first; with None only the signal counts."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def wait(self, signal: asyncio.Event, until_ms: int | None) -> None:
        timeout_s = None if until_ms is None else max(0.0, (until_ms - self.now_ms()) / 1000)
        try:
            async with asyncio.timeout(timeout_s):
                await signal.wait()
        except TimeoutError:
            return


class StoryClock:
    """A clock that somebody else moves: it starts at `start_ms`, and jumps when told.

    With `ticking` it also runs at the pace of real time between jumps (the demo page); without, time stands still
    (tests, the headless story). It never goes back.
    """

    def __init__(self, start_ms: int, *, ticking: bool = False) -> None:
        self._base_ms = start_ms
        self._ticking = ticking
        self._since = time.monotonic()
        self._waiting: set[asyncio.Event] = set()

    def now_ms(self) -> int:
        if not self._ticking:
            return self._base_ms
        return self._base_ms + int((time.monotonic() - self._since) * 1000)

    def advance_to(self, at_ms: int) -> None:
        """Jump to `at_ms`; a time already past changes nothing."""
        if at_ms > self.now_ms():
            self._base_ms = at_ms
            self._since = time.monotonic()
        for moved in tuple(self._waiting):
            moved.set()

    def run(self) -> None:
        """From now on it also runs by itself."""
        self._base_ms, self._since, self._ticking = self.now_ms(), time.monotonic(), True
        self.advance_to(0)

    def advance(self, by_ms: int) -> None:
        self.advance_to(self.now_ms() + by_ms)

    async def wait(self, signal: asyncio.Event, until_ms: int | None) -> None:
        moved = asyncio.Event()
        self._waiting.add(moved)
        signalled = asyncio.ensure_future(signal.wait())
        try:
            while not signal.is_set() and (until_ms is None or self.now_ms() < until_ms):
                moved.clear()
                jumped = asyncio.ensure_future(moved.wait())
                timeout_s = (until_ms - self.now_ms()) / 1000 if self._ticking and until_ms is not None else None
                await asyncio.wait({signalled, jumped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                jumped.cancel()
        finally:
            signalled.cancel()
            self._waiting.discard(moved)


class Chance:
    """Draws and ids. A seed makes a run repeatable (demo, simulator); without one the system's source is used."""

    def __init__(self, seed: int | None = None) -> None:
        self._random: random.Random = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311 - seeded runs only
        self._seeded = seed is not None
        self._pool: list[int] = []
        self._last_ms = 0
        self._counter = 0

    def _bits(self) -> int:
        """64 of them; the system's are fetched a page at a time."""
        if self._seeded:
            return self._random.getrandbits(64)
        if not self._pool:
            self._pool = list(struct.unpack("512Q", os.urandom(4096)))
        return self._pool.pop()

    def draw(self) -> float:
        """0 ≤ x < 1."""
        return self._random.random()

    def new_id(self, now_ms: int) -> str:
        """A UUID (version 7) text that sorts by time and, within this process, by order of making.

        >>> chance = Chance(1)
        >>> first, second = chance.new_id(1_000), chance.new_id(1_000)
        >>> first < second, len(first), first[14]
        (True, 36, '7')
        """
        if now_ms > self._last_ms:
            self._last_ms, self._counter = now_ms, 0
        else:
            # 12 bits count within a millisecond; a clock set back keeps the order of making
            self._counter += 1
            if self._counter > 0xFFF:
                self._last_ms += 1
                self._counter = 0
        text = f"{self._last_ms:012x}7{self._counter:03x}{(self._bits() >> 2) | (0b10 << 62):016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
