"""From an answer to the page behind the digest: posted with a button, opened by its link, shown to nobody else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from persons import DAY_MS, PURCHASE_SHOP, START_MS, invited

from bot.standins.demo import open_world
from tests import nursery

SHOP = PURCHASE_SHOP | {"digests": [{"id": "weekly", "channel": "C0DIGEST", "weekday": "mon", "at": "09:00"}]}


async def test_the_button_of_a_digest_opens_its_page_and_a_changed_link_does_not(tmp_path: Path) -> None:
    world = await open_world(tmp_path, start_ms=START_MS, shop=SHOP, reports=nursery.reports)
    try:
        person = await invited(world)
        await person.taps("満足")
        await person.says("10")
        await person.says("やめる")
        await world.koe.schedule()
        await world.advance(6 * DAY_MS)
        (message,) = [m for m in world.slack.messages("C0DIGEST") if not m.thread_ts]
        (address,) = [
            element["url"]
            for block in message.blocks
            if block["type"] == "actions"
            for element in block["elements"]
            if "url" in element
        ]
        assert address.startswith(f"{world.bot_url}/reports/weekly/2026-W47?token=")
        async with aiohttp.ClientSession() as http:
            async with http.get(address) as answer:
                assert answer.status == 200
                page = await answer.text()
                assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert "声の店" in page
            assert "n&lt;10" in page
            # one answer of 10 would be +100.0
            assert "100.0" not in page.replace("100.0%", "")
            assert person.customer_id not in page
            async with http.get(address.replace("2026-W47", "2026-W46")) as answer:
                assert answer.status == 403
            async with http.get(f"{world.bot_url}{urlsplit(address).path}") as answer:
                assert answer.status == 403
    finally:
        await world.close()
