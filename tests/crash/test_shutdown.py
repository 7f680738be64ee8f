"""P28: SIGTERM under load, again and again: gone within ten seconds, nothing lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.crash.shop import ANSWERS, LinePerson, open_shop
from tests.nursery import Nursery


async def _stop_under_load(directory: Path, nursery: Nursery, *, times: int, people: int) -> None:
    async with open_shop(directory, nursery) as shop:
        customers = [LinePerson(shop) for _ in range(people)]

        async def lives(person: LinePerson) -> None:
            await shop.purchase(person.customer)
            for question, value in ANSWERS:
                await person.answers(question, value)
            await shop.until(person.thanked, "no thanks came")

        assert await shop.start()
        talks = asyncio.gather(*(lives(person) for person in customers))
        try:
            for _ in range(times):
                await asyncio.sleep(0.05)  # some way into the talks
                took_s = await shop.stop()
                assert took_s < 10
                assert shop.life is not None
                assert shop.life.status == 0, shop.tail()
                left = shop.rows("SELECT id, kind, state, attempts FROM jobs WHERE state = 'leased'")
                assert left == [], "what was running had ended, or been given back"
                assert await shop.start()
            await talks
        finally:
            talks.cancel()
            await asyncio.gather(talks, return_exceptions=True)
        await shop.settled()
        assert shop.wrong() == []
        await shop.stop()


async def test_stopping_under_load_loses_nothing(tmp_path: Path, nursery: Nursery) -> None:
    await _stop_under_load(tmp_path, nursery, times=4, people=20)


@pytest.mark.prove
async def test_stopping_fifty_times_under_load_loses_nothing(tmp_path: Path, nursery: Nursery) -> None:
    await _stop_under_load(tmp_path, nursery, times=50, people=300)
