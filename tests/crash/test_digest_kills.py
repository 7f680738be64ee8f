"""A weekly digest is posted exactly once, wherever between computing and noting the server dies."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.crash.shop import SHOP, Nursery, open_shop

WITH_DIGEST = SHOP + "digests: [{id: weekly, channel: C0DIGEST, weekday: mon, at: '09:00'}]\n"


LONGER = [pytest.param(point, marks=pytest.mark.prove) for point in ("worker.before_send", "worker.finished")]


@pytest.mark.parametrize("point", ["digests.computed", "worker.after_send", *LONGER])
async def test_a_kill_leaves_one_digest(tmp_path: Path, nursery: Nursery, point: str) -> None:
    async with open_shop(tmp_path, nursery, shop_yaml=WITH_DIGEST) as shop:
        assert await shop.start()
        await shop.stop()
        shop.change("UPDATE jobs SET due_ms = 0, claim_ms = 0 WHERE kind = 'digest'")
        async with shop.kept_up(f"{point}=kill@1"):
            await shop.until(lambda: shop.rows("SELECT 1 FROM digests WHERE posted_ms IS NOT NULL"), "never posted")
            await shop.settled()
            assert len(shop.slack.messages("C0DIGEST")) == 1
            assert len(shop.rows("SELECT id FROM jobs WHERE key LIKE 'digest-post:%'")) == 1
            assert shop.wrong() == []
        assert shop.deaths == [-signal.SIGKILL], "the point was not reached"
