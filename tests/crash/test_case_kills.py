"""P1, P2 for staff: a click on a card and a sent reply survive kill -9 once they were stored, and happen once."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.crash.shop import LinePerson, Shop, open_shop
from tests.nursery import Nursery

CHANNEL = "C0ALERTS"
POINTS = ["slack.before_ack", "worker.after_send"]
LONGER = ["store.after_commit", "worker.claimed", "worker.before_send"]
WORDS = "交換品を本日お送りします。"


async def _card(shop: Shop) -> str:
    """Somebody wants to hear no news any more, which is a case; the ts of its card."""
    person = shop.customer("line")
    assert isinstance(person, LinePerson)
    # the shop knows them before they write
    await shop.event("account_opened", person.customer)
    await shop.line.says(person.user_id, "配信停止")
    await shop.until(lambda: shop.line.tappables(person.user_id), "the question never came")
    await shop.line.taps_label(person.user_id, "お知らせも止めたい")
    await shop.until(lambda: shop.slack.messages(CHANNEL), "no card came")
    await shop.settled()
    return shop.slack.messages(CHANNEL)[0].ts


def _look(shop: Shop) -> str:
    return json.dumps([message.blocks for message in shop.slack.messages(CHANNEL)], ensure_ascii=False)


@pytest.mark.parametrize("point", [*POINTS, *(pytest.param(point, marks=pytest.mark.prove) for point in LONGER)])
async def test_a_claim_and_a_reply_survive_a_kill_and_happen_once(tmp_path: Path, nursery: Nursery, point: str) -> None:
    async with open_shop(tmp_path, nursery) as shop:
        async with shop.kept_up():
            ts = await _card(shop)
            await shop.slack.clicks("U0STAFF", CHANNEL, ts, "koe.case.reply")
            await shop.until(lambda: shop.slack.modal("U0STAFF") is not None, "no window opened")
            view = shop.slack.modal("U0STAFF")
            assert view is not None
            field = next(block["block_id"] for block in view["blocks"] if block["block_id"].startswith("text."))
            await shop.slack.submits("U0STAFF", {field: WORDS})
        async with shop.kept_up(f"{point}=kill@1"):
            await shop.until(shop.is_ready, "never ready")
            await asyncio.gather(
                shop.slack.clicks("U0STAFF", CHANNEL, ts, "koe.case.claim"), shop.slack.submits("U0STAFF")
            )
            await shop.until(lambda: shop.deaths, "the point was not reached")
            await shop.until(shop.is_ready, "did not come back")
            if not shop.rows("SELECT 1 FROM jobs WHERE kind = 'staff' AND key <> ''"):
                # killed before anything was stored: the person sees an error and presses again
                await shop.slack.submits("U0STAFF")
            if not shop.rows("SELECT 1 FROM jobs WHERE kind = 'staff' AND key = ''"):
                await shop.slack.clicks("U0STAFF", CHANNEL, ts, "koe.case.claim")
            await shop.until(lambda: "送信を受け付けました" in _look(shop), "the reply never went out")
            await shop.settled()
        assert shop.deaths == [-signal.SIGKILL]
        # whichever came first: the case has one owner and one reply, which the customer saw once
        kinds = [kind for (kind,) in shop.rows("SELECT kind FROM case_events ORDER BY id")]
        assert kinds.count("reply") == 1
        assert kinds.count("claimed") <= 1
        assert shop.rows("SELECT state, assignee FROM cases") == [("claimed", "U0STAFF")]
        (user,) = shop.line.users
        assert shop.line.transcript(user).count(WORDS) == 1
        assert _look(shop).count(WORDS) == 1
        assert "対応中 @高木" in _look(shop)
