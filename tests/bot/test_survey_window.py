"""The window of `/survey` against the whole product: who it is and whether they may be asked, before it is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.standins.demo import PRESENT, World, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path, start_ms=round(PRESENT.timestamp() * 1000), shop={"digests": []})
    yield opened
    await opened.close()


async def _standing(world: World, customer: str) -> str:
    """What the window says of a customer who was found by these words and chosen."""
    slack = world.slack

    changed = asyncio.Event()
    slack.on_change.append(changed.set)

    async def shown(words: str) -> str:
        # Slack is answered first, the window follows
        async with asyncio.timeout(5):
            while True:
                changed.clear()
                blocks = json.dumps((slack.modal("U0STAFF") or {}).get("blocks"), ensure_ascii=False)
                if words in blocks:
                    return blocks
                await changed.wait()

    await slack.command("U0STAFF", "C0ALERTS", "/survey")
    await shown("お客さま番号")
    (option,) = await slack.types("U0STAFF", "customer", customer)
    await slack.picks("U0STAFF", "customer", option["value"])
    standing = await shown("この1年のご案内")
    await slack.closes("U0STAFF", all_views=True)
    return standing


async def test_choosing_tells_whether_a_customer_may_be_asked_whatever_their_id_looks_like(world: World) -> None:
    buyer = world.new_buyer("ja")
    buyer.customer_id = "shop-会員-77"
    await world.event("purchase", buyer, order="#77", amount=5000, product="マグカップ")
    assert "送れます。" in await _standing(world, "shop-会員-77")
    await world.support_case(buyer)
    await world.until(lambda: bool(world.line.chat(buyer.line_user_id)), within_ms=86_400_000)
    assert "前回のご案内から14日たっていません" in await _standing(world, "#77")
