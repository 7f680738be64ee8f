"""P1, P2: kill -9 at every failpoint on every platform, at several passes of it in the longer proof; then a restart,
then the checker."""

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

AT_ONCE = 3
"""Lives beside each other: most of a life is waiting."""


def one_pass_each() -> list[tuple[Platform, tuple[str, ...]]]:
    """Every point at one of its passes: the first of one point, the second of the next one, and so on."""
    found: list[tuple[Platform, tuple[str, ...]]] = []
    platforms: tuple[Platform, ...] = ("line", "slack", "socket")
    for platform in platforms:
        points = [(point, passes) for (place, point), passes in KILLS.items() if place == platform]
        kills = [f"{point}=kill@{passes[nth % len(passes)]}" for nth, (point, passes) in enumerate(points)]
        found += [(platform, tuple(kills[first : first + AT_ONCE])) for first in range(0, len(kills), AT_ONCE)]
    return found


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


@pytest.mark.parametrize(("platform", "kills"), one_pass_each())
async def test_a_kill_loses_nothing_and_asks_nothing_twice(
    tmp_path: Path, nursery: Nursery, platform: Platform, kills: tuple[str, ...]
) -> None:
    await _survive_each(tmp_path, nursery, platform, kills)


@pytest.mark.prove
@pytest.mark.parametrize(("platform", "point"), KILLS)
async def test_a_kill_at_any_pass_loses_nothing_and_asks_nothing_twice(
    tmp_path: Path, nursery: Nursery, platform: Platform, point: str
) -> None:
    passes = KILLS[platform, point]
    await _survive_each(tmp_path, nursery, platform, tuple(f"{point}=kill@{nth}" for nth in passes))


@pytest.mark.prove
@pytest.mark.parametrize(("platform", "point", "passes"), EVERY_COMMIT)
async def test_a_kill_at_any_commit_loses_nothing(
    tmp_path: Path, nursery: Nursery, platform: Platform, point: str, passes: tuple[int, ...]
) -> None:
    await _survive_each(tmp_path, nursery, platform, tuple(f"{point}=kill@{nth}" for nth in passes))


async def _survive_each(tmp_path: Path, nursery: Nursery, platform: Platform, kills: tuple[str, ...]) -> None:
    async with asyncio.TaskGroup() as all_at_once:
        for kill in kills:
            directory = tmp_path / kill
            directory.mkdir()
            all_at_once.create_task(_survive(directory, nursery, platform, kill))


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
