"""A weekly digest, its thread and what customers said are posted exactly once, wherever between computing and noting
the server dies."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from reports.digest import parse_period
from storage.records import Job
from storage.store import open_store
from tests.crash.shop import SHOP, Shop, open_shop
from tests.nursery import Nursery
from tests.reports.report_history import History

WITH_DIGEST = SHOP + "digests: [{id: weekly, channel: C0DIGEST, weekday: mon, at: '09:00'}]\n"

PROVE = pytest.mark.prove
LONGER = [
    pytest.param(point, marks=PROVE)
    for point in (
        "worker.before_send=kill@1",
        "worker.finished=kill@1",
        "worker.after_send=kill@2",
        "worker.after_send=kill@3",
    )
]


@pytest.mark.parametrize("failpoint", ["digests.computed=kill@1", "worker.after_send=kill@1", *LONGER])
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


@pytest.mark.parametrize("failpoint", ["digests.spoken=kill@1", pytest.param("digests.speaking=kill@1", marks=PROVE)])
async def test_a_kill_leaves_what_customers_said_once_in_the_thread(
    tmp_path: Path, nursery: Nursery, failpoint: str
) -> None:
    async with open_shop(tmp_path, nursery, shop_yaml=WITH_DIGEST) as shop:
        assert await shop.start()
        await shop.stop()
        ((wanted,),) = shop.rows("SELECT payload FROM jobs WHERE kind = 'digest'")
        period = json.loads(wanted)["period"]
        ts = await _first_message(shop)
        history = History()
        for number in range(24):
            rating = 10 if number % 2 else 2
            history.comment(
                f"箱の色がとてもよかったです、その{number}。", rating, monday=parse_period(period).weeks.first
            )
        now_ms = time.time_ns() // 1_000_000
        said = {"digest": "weekly", "period": period, "ref": f"C0DIGEST:{ts}"}
        job = Job(id="01890000-0000-7000-8000-000000000001", kind="voices", due_ms=0, payload=json.dumps(said),
                  key=f"digest-voices:weekly:{period}", created_ms=now_ms)  # fmt: skip
        store = await open_store(f"sqlite:///{shop.database}", now_ms=now_ms)
        try:
            await store.write(history.store)
            await store.write(lambda tx: tx.put_job(job))
        finally:
            await store.close()
        async with shop.kept_up(failpoint):
            await shop.until(
                lambda: shop.rows("SELECT 1 FROM jobs WHERE id = ? AND state = 'done'", job.id), "never said"
            )
        assert shop.deaths == [-signal.SIGKILL], "the point was not reached"
        (reply,) = [message for message in shop.slack.messages("C0DIGEST") if message.thread_ts == ts]
        assert "箱の色が" in json.dumps(reply.blocks, ensure_ascii=False)
        assert "箱の色が" not in reply.text, "the notification has no comment"
        assert not shop.rows("SELECT 1 FROM jobs WHERE payload LIKE '%箱の色%'")


async def _first_message(shop: Shop) -> str:
    """A digest's first message, as if it had been posted before."""
    headers = {"Authorization": f"Bearer {shop.environ['SLACK_BOT_TOKEN']}"}
    body = {"channel": "C0DIGEST", "text": "週次レポート"}
    url = f"{shop.environ['SLACK_API_BASE_URL']}chat.postMessage"
    async with shop.http.post(url, json=body, headers=headers) as answer:
        return str((await answer.json())["ts"])
