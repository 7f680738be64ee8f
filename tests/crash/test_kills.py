"""P1, P2: kill -9 at every failpoint, at several passes of it, on every platform; then a restart, then the checker."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import pytest

from tests.crash.shop import Platform, answers_everything, open_shop
from tests.nursery import ROOT, Nursery

PASSES = (1, 2, 3)
"""Of a conversation's points: the invitation or the first answer, the next one, the last one."""

KILLS: dict[tuple[Platform, str], tuple[int, ...]] = {
    ("line", "conversation.received"): PASSES,
    ("line", "conversation.stored"): PASSES,
    ("line", "http.before_answer"): (1, 2, 3, 4),
    ("line", "worker.claimed"): PASSES,
    ("line", "worker.before_send"): PASSES,
    ("line", "worker.after_send"): PASSES,
    ("line", "worker.finished"): PASSES,
    # the first passes of a store are the start itself; then the event, the invitation, the sends, the answers
    ("line", "store.before_commit"): (1, 5, 7, 9),
    ("line", "store.after_commit"): (3, 6, 8, 10),
    ("slack", "conversation.received"): PASSES,
    ("slack", "conversation.stored"): PASSES,
    ("slack", "slack.before_ack"): PASSES,
    ("slack", "worker.claimed"): PASSES,
    ("slack", "worker.before_send"): PASSES,
    ("slack", "worker.after_send"): PASSES,
    ("slack", "worker.finished"): PASSES,
    ("slack", "store.before_commit"): (4, 7, 9),
    ("slack", "store.after_commit"): (6, 8, 11),
    ("socket", "conversation.received"): (1, 2),
    ("socket", "slack.before_ack"): (2, 3),
    ("socket", "worker.after_send"): (1, 3),
}
"""(where the customer is, the point): its passes."""

EVERY_COMMIT: list[tuple[Platform, str, tuple[int, ...]]] = [
    (platform, f"store.{moment}_commit", passes)
    for platform in ("line", "slack", "socket")
    for moment in ("before", "after")
    for passes in ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11))
]

ELSEWHERE = {
    "store.before_migration_commit": "tests/storage/test_sqlite.py",
    "digests.computed": "tests/crash/test_digest_kills.py",
    "digests.speaking": "tests/crash/test_digest_kills.py",
    "digests.spoken": "tests/crash/test_digest_kills.py",
    "export.window": "tests/bot/test_exports.py",
    "export.before_rename": "tests/bot/test_exports.py",
}
"""Points that are killed in another file."""


async def test_nothing_is_wrong_when_nothing_goes_wrong(tmp_path: Path, nursery: Nursery) -> None:
    async with open_shop(tmp_path, nursery) as shop, shop.kept_up():
        await answers_everything(shop, shop.customer("line"))
        await answers_everything(shop, shop.customer("slack"))
        assert shop.deaths == []
        assert shop.wrong() == []


@pytest.mark.parametrize(("platform", "point"), KILLS)
async def test_a_kill_loses_nothing_and_asks_nothing_twice(
    tmp_path: Path, nursery: Nursery, platform: Platform, point: str
) -> None:
    await _survive_each(tmp_path, nursery, platform, point, KILLS[platform, point])


@pytest.mark.prove
@pytest.mark.parametrize(("platform", "point", "passes"), EVERY_COMMIT)
async def test_a_kill_at_any_commit_loses_nothing(
    tmp_path: Path, nursery: Nursery, platform: Platform, point: str, passes: tuple[int, ...]
) -> None:
    await _survive_each(tmp_path, nursery, platform, point, passes)


async def _survive_each(
    tmp_path: Path, nursery: Nursery, platform: Platform, point: str, passes: tuple[int, ...]
) -> None:
    async with asyncio.TaskGroup() as all_at_once:
        for nth in passes:
            directory = tmp_path / str(nth)
            directory.mkdir()
            all_at_once.create_task(_survive(directory, nursery, platform, f"{point}=kill@{nth}"))


async def _survive(directory: Path, nursery: Nursery, platform: Platform, failpoint: str) -> None:
    async with open_shop(directory, nursery, socket_mode=platform == "socket") as shop:
        try:
            async with shop.kept_up(failpoint):
                await answers_everything(shop, shop.customer(platform))
                assert shop.wrong() == []
            assert shop.deaths == [-signal.SIGKILL], "the point was not reached"
        except Exception as error:
            error.add_note(failpoint)
            raise


def test_every_failpoint_has_a_crash_test() -> None:
    named = re.compile(r"\bhit\(\s*[\"']([\w.]+)[\"']\s*\)")
    sources = [path for room in ("bot", "storage", "reports", "flows") for path in (ROOT / room).rglob("*.py")]
    points = {
        name for path in sources if path.name != "failpoints.py" for name in named.findall(path.read_text("utf-8"))
    }
    killed = {point for _, point in KILLS}
    assert points == killed | set(ELSEWHERE)
    for point, file in ELSEWHERE.items():
        assert point in (ROOT / file).read_text("utf-8"), f"{file} does not speak of {point}"
