"""Digests of one store, one touchpoint, one channel, each for its own people: the numbers are those of the part only,
and beside the digest of everybody they give no handful away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import pytest
import pytest_asyncio
from persons import DAY_MS, PURCHASE_SHOP, START_MS

from bot.standins.demo import TOKYO, World, open_world
from tests import nursery
from tests.reports.report_history import History

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEEKLY = {"id": "weekly", "channel": "C0DIGEST", "at": "09:00"}
SHIBUYA = {
    "id": "shibuya", "channel": "C0SHIBUYA", "weekday": "mon", "at": "08:00", "language": "en",
    "where": {"segment": "渋谷店"},
}  # fmt: skip
SHINJUKU = {"id": "shinjuku", "channel": "C0SHINJUKU", "at": "08:30", "where": {"segment": "新宿店"}}
UMEDA = {"id": "umeda", "channel": "C0UMEDA", "at": "09:00", "where": {"segment": "梅田店"}}
SUPPORT = {"id": "support", "channel": "C0SUPPORT", "weekday": "tue", "where": {"touchpoint": "support"}}
LINE = {"id": "line", "channel": "C0LINE", "every": "month", "language": "en", "where": {"channel": "line"}}
EFFORT = {"id": "effort", "channel": "C0EFFORT", "primary_metric": "ces_effort", "where": {"touchpoint": "support"}}
RULES: list[dict[str, Any]] = [WEEKLY, SHIBUYA, SHINJUKU, UMEDA, SUPPORT, LINE, EFFORT]
WEEK = "2026-W49"


def lived() -> History:
    """November: thirty in LINE and twelve in Slack each week. In the first week of December three stores, of which one
    is a handful, and fifteen who were asked about support."""
    history = History()
    for monday in (date(2026, 10, 26), *(date(2026, 11, day) for day in (2, 9, 16, 23))):
        history.nps(20, 5, 30, monday=monday, segment="渋谷店")
        history.nps(2, 8, 12, monday=monday, segment="新宿店", channel="slack")
    last = date(2026, 11, 30)
    history.nps(20, 10, 40, monday=last, segment="渋谷店")
    history.nps(5, 15, 40, monday=last, segment="新宿店")
    history.nps(0, 5, 5, monday=last, segment="梅田店")
    history.nps(6, 3, 15, monday=last, segment="新宿店", touchpoint="support")
    history.scores("ces_effort", {1: 20, 4: 10, 7: 5}, monday=last, touchpoint="support")
    return history


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    shop = PURCHASE_SHOP | {"digests": RULES}
    start_ms = START_MS + 16 * DAY_MS  # Saturday, 5 December
    world = await open_world(tmp_path_factory.mktemp("parts"), start_ms=start_ms, shop=shop, reports=nursery.reports)
    try:
        for rule in RULES:
            if rule["channel"] not in world.slack.channels:
                world.slack.add_channel(str(rule["id"]), members=("U0MANAGER",), id=str(rule["channel"]))
        await world.koe.store.write(lived().store)
        await world.koe.schedule()
        await world.advance_to(int(datetime(2026, 12, 8, 10, tzinfo=TOKYO).timestamp() * 1000))
        yield world
    finally:
        await world.close()


def first_of(world: World, rule: dict[str, Any]) -> str:
    """The first message that stands in a digest's own channel."""
    (message,) = [m for m in world.slack.messages(str(rule["channel"])) if m.thread_ts is None]
    return json.dumps(message.blocks, ensure_ascii=False)


async def told(world: World, rule: dict[str, Any], period: str = WEEK) -> dict[str, Any]:
    """Its numbers, as they are stored."""
    stored = await world.koe.store.read(lambda tx: tx.find_digest(str(rule["id"]), period))
    assert stored is not None
    content: dict[str, Any] = json.loads(stored.content)["json"]
    return content


async def test_a_store_reads_its_own_numbers_in_its_own_channel_and_language(world: World) -> None:
    digest = await told(world, SHIBUYA)
    result = digest["primary"]["result"]
    assert (digest["language"], digest["filtered"], result["segment"]) == ("en", "渋谷店", "渋谷店")
    assert (result["n_valid"], result["score"]) == (40, pytest.approx(25.0))
    shown = first_of(world, SHIBUYA)
    assert "+25.0" in shown
    assert "weekly digest, 30 Nov – 6 Dec" in shown
    assert "n=40" in shown
    assert "新宿店" not in shown


async def test_everybodys_digest_holds_all_stores(world: World) -> None:
    result = (await told(world, WEEKLY))["primary"]["result"]
    assert (result["n_valid"], result["score"]) == (85, pytest.approx(100 * (25 - 30) / 85))
    assert "週次レポート 11/30〜12/6" in first_of(world, WEEKLY)


async def test_the_store_that_would_give_the_smallest_one_away_says_that_it_is_hidden(world: World) -> None:
    # everybody less Shibuya less this one are the five of Umeda
    result = (await told(world, SHINJUKU))["primary"]["result"]
    assert (result["n_valid"], result["score"], result["counts"]) == (40, None, {})
    assert "sibling" in result["flags"]
    assert "差し引きで求められるため非表示" in first_of(world, SHINJUKU)


async def test_a_store_under_ten_says_so(world: World) -> None:
    result = (await told(world, UMEDA))["primary"]["result"]
    assert (result["n_valid"], result["status"], result["score"]) == (5, "suppressed", None)
    assert "n<10" in first_of(world, UMEDA)


async def test_a_touchpoint_has_its_numbers_on_its_own_day(world: World) -> None:
    digest = await told(world, SUPPORT)
    result = digest["primary"]["result"]
    assert (result["touchpoint"], result["n_valid"], result["score"]) == ("support", 15, pytest.approx(20.0))
    assert {row["result"]["touchpoint"] for row in digest["metrics"]} <= {"support"}
    assert "n=15" in first_of(world, SUPPORT)


async def test_a_digest_leads_with_its_own_question(world: World) -> None:
    primary = (await told(world, EFFORT))["primary"]["result"]
    assert (primary["metric"], primary["n_valid"], primary["score"]) == ("ces_effort", 35, pytest.approx(100 * 15 / 35))
    shown = first_of(world, EFFORT)
    assert "手間の指標 +42.9" in shown
    assert "対象：お問い合わせ後" in shown


async def test_a_month_of_one_channel_is_told_by_itself(world: World) -> None:
    digest = await told(world, LINE, "2026-11")
    primary = digest["primary"]
    assert (primary["result"]["n_valid"], primary["result"]["score"]) == (150, pytest.approx(50.0))
    assert (digest["language"], digest["filtered"]) == ("en", "LINE")
    assert {week["n_valid"] for week in primary["trend"] if week["n_valid"]} == {30}
    assert "monthly digest, 26 Oct – 29 Nov" in first_of(world, LINE)
