"""A weekly digest and its thread are posted exactly once, wherever between computing and noting the server dies."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.crash.shop import SHOP, open_shop
from tests.nursery import Nursery

WITH_DIGEST = SHOP + "digests: [{id: weekly, channel: C0DIGEST, weekday: mon, at: '09:00'}]\n"


LONGER = [
    pytest.param(point, marks=pytest.mark.prove)
    for point in ("worker.before_send=kill@1", "worker.finished=kill@1", "worker.after_send=kill@3")
]


@pytest.mark.parametrize(
    "failpoint", ["digests.computed=kill@1", "worker.after_send=kill@1", "worker.after_send=kill@2", *LONGER]
)
async def test_a_kill_leaves_one_digest(tmp_path: Path, nursery: Nursery, failpoint: str) -> None:
    async with open_shop(tmp_path, nursery, shop_yaml=WITH_DIGEST) as shop:
        assert await shop.start()
        await shop.stop()
        shop.change("UPDATE jobs SET due_ms = 0, claim_ms = 0 WHERE kind = 'digest'")
        async with shop.kept_up(failpoint):
            await shop.until(lambda: shop.rows("SELECT 1 FROM digests WHERE posted_ms IS NOT NULL"), "never posted")
            await shop.until(
                lambda: not shop.rows("SELECT 1 FROM jobs WHERE key LIKE 'digest-p%' AND state IN ('ready', 'leased')"),
                "its thread was never posted",
            )
            await shop.settled()
            posted = shop.slack.messages("C0DIGEST")
            (first,) = [message for message in posted if message.thread_ts is None]
            parts = shop.rows("SELECT id FROM jobs WHERE key LIKE 'digest-part:%'")
            replies = [message for message in posted if message.thread_ts == first.ts]
            assert len(replies) == len(parts) >= 2
            assert len({message.text for message in replies}) == len(replies)
            assert len(shop.rows("SELECT id FROM jobs WHERE key LIKE 'digest-post:%'")) == 1
            assert shop.wrong() == []
        assert shop.deaths == [-signal.SIGKILL], "the point was not reached"
