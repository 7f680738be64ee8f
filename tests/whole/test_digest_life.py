"""Digests of a shop over its weeks: after a holiday, of a month, corrected, asked for, resting and back again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from pathlib import Path

from persons import DAY_MS, PURCHASE_SHOP, START_MS

from bot.standins.demo import TOKYO, World, open_world
from bot.standins.workspace import SlackMessage
from storage.records import Digest
from tests import nursery
from tests.reports.report_history import History

WEEKLY = {"id": "weekly", "channel": "C0DIGEST", "weekday": "mon", "at": "09:00", "on_holiday": "next_working_day"}
BOARD = {"id": "board", "channel": "C0DIGESTEN", "weekday": "mon", "at": "08:00", "every": "month", "language": "en"}
STAFF = "U0MANAGER"


def first_ones(world: World, channel: str) -> list[SlackMessage]:
    """The digests of a channel, without their threads."""
    return [message for message in world.slack.messages(channel) if message.thread_ts is None]


def said_in(message: SlackMessage) -> str:
    return json.dumps(message.blocks, ensure_ascii=False)


async def remember(world: World, history: History, told: Iterable[tuple[str, dict[str, object]]] = ()) -> None:
    """What the shop lived through before, and the digests (period, JSON) that it posted."""
    for period, content in told:
        history.digests.append(Digest("weekly", period, "posted", json.dumps({"json": content}), START_MS, START_MS))
    await world.koe.store.write(history.store)


async def until(world: World, day: date, hour: int) -> None:
    await world.advance_to(int(datetime(day.year, day.month, day.day, hour, 30, tzinfo=TOKYO).timestamp() * 1000))


async def test_after_a_holiday_it_comes_a_day_later_corrects_the_week_before_and_shows_it_on_demand(
    tmp_path: Path,
) -> None:
    world = await open_world(
        tmp_path, start_ms=START_MS, shop=PURCHASE_SHOP | {"digests": [WEEKLY]}, reports=nursery.reports
    )
    try:
        before = date(2026, 11, 9)
        history = History()
        history.nps(24, 16, 60, monday=before)
        history.nps(33, 9, 60)
        for day in (18, 20):  # of Friday's, two business days are over on Wednesday
            history.case(opened_ms=int(datetime(2026, 11, day, 8, tzinfo=TOKYO).timestamp() * 1000))
        headline = {"metric": "nps", "survey_kind": "transactional", "touchpoint": "purchase", "wording_id": "nps.1",
                    "label_set": "", "score": 16.7, "n_valid": 57,
                    "window": {"start": "2026-11-09", "end": "2026-11-16"}}  # fmt: skip
        await remember(world, history, [("2026-W46", {"primary": {"result": headline}})])
        await world.koe.schedule()
        await until(world, date(2026, 11, 23), 9)  # Labour Thanksgiving Day
        assert first_ones(world, "C0DIGEST") == []
        await until(world, date(2026, 11, 24), 9)
        (digest,) = first_ones(world, "C0DIGEST")
        assert "11/16〜11/22" in said_in(digest)
        assert "訂正：前週の +16.7 は、遅れて届いた3件を加えて +13.3（n=60）になりました。" in said_in(digest)
        thread = [said_in(message) for message in world.slack.messages("C0DIGEST") if message.thread_ts]
        assert "対応中 2件・2営業日を過ぎて未返信 1件" in " ".join(thread)
        (button,) = [e for b in digest.blocks for e in b.get("elements", ()) if e.get("value") == "weekly:2026-W46"]
        assert (await world.slack.clicks(STAFF, "C0DIGEST", digest.ts, button["action_id"], value=button["value"])).ok
        changed = asyncio.Event()
        world.slack.on_change.append(changed.set)
        while "11/9〜11/15" not in json.dumps(world.slack.modal(STAFF), ensure_ascii=False):
            changed.clear()
            await changed.wait()
        shown = json.dumps(world.slack.modal(STAFF), ensure_ascii=False)
        assert "+13.3" in shown
        assert len(first_ones(world, "C0DIGEST")) == 1, "shown to one person, posted to nobody"
    finally:
        await world.close()


async def test_a_month_has_a_digest_and_a_page_of_its_own_beside_the_weekly_one(tmp_path: Path) -> None:
    start_ms = START_MS + 16 * DAY_MS  # Saturday, 5 December
    world = await open_world(
        tmp_path, start_ms=start_ms, shop=PURCHASE_SHOP | {"digests": [WEEKLY, BOARD]}, reports=nursery.reports
    )
    try:
        history = History()
        for week in range(5):
            history.nps(20, 5, 30, monday=date(2026, 10, 26) + timedelta(weeks=week))
        await remember(world, history)
        await world.koe.schedule()
        await until(world, date(2026, 12, 7), 8)
        (board,) = first_ones(world, "C0DIGESTEN")
        assert "monthly digest, 26 Oct – 29 Nov" in said_in(board)
        assert "n=150" in said_in(board)
        stored = await world.koe.store.read(lambda tx: tx.find_digest("board", "2026-11"))
        assert stored is not None
        page = json.loads(stored.content)["page"]["html"]
        assert '<html lang="en">' in page
        assert "last 5 weeks" in page, "the month's own period can be chosen"
        assert "n=150" in page
        await until(world, date(2026, 12, 7), 9)
        (weekly,) = first_ones(world, "C0DIGEST")
        assert "11/30〜12/6" in said_in(weekly)
        assert len(first_ones(world, "C0DIGESTEN")) == 1
    finally:
        await world.close()


async def test_after_four_silent_weeks_it_says_that_it_rests_rests_and_comes_back(tmp_path: Path) -> None:
    start_ms = START_MS + 9 * DAY_MS  # Saturday, 28 November
    world = await open_world(
        tmp_path, start_ms=start_ms, shop=PURCHASE_SHOP | {"digests": [WEEKLY]}, reports=nursery.reports
    )
    try:
        history = History()
        history.nps(20, 10, 40, monday=date(2026, 10, 19))
        await remember(world, history, [(f"2026-W{week}", {"pause": ""}) for week in (44, 45, 46, 47)])
        await world.koe.schedule()
        await until(world, date(2026, 11, 30), 9)
        (resting,) = first_ones(world, "C0DIGEST")
        assert "このレポートは次回から休みます。回答が届くと再開します。" in said_in(resting)
        await until(world, date(2026, 12, 7), 9)
        assert first_ones(world, "C0DIGEST") == [resting]
        back = History(numbers=iter(range(900, 2000)))
        back.nps(12, 0, 12, monday=date(2026, 12, 7))
        await remember(world, back)
        await until(world, date(2026, 12, 14), 9)
        assert len(first_ones(world, "C0DIGEST")) == 2
        assert "回答が届いたため、このレポートを再開しました。" in said_in(first_ones(world, "C0DIGEST")[-1])
    finally:
        await world.close()
