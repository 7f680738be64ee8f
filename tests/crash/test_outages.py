"""P9, P10: what a platform does to a call: it takes it and drops the line, it is down for a while, it says no."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from bot.standins.demo import HOUR_MS, World
from tests.crash.worlds import invited, sends, tap_data, world_of, wrong_in

PUSH, REPLY = "/v2/bot/message/push", "/v2/bot/message/reply"


def _posts(world: World, path: str) -> int:
    return sum(call.path == path for call in [*world.line.api.requests, *world.slack.api.requests])


@pytest.mark.parametrize("fault", ["reset_after_accept", "500_after_accept"])
async def test_line_takes_a_call_and_drops_the_line(tmp_path: Path, fault: str) -> None:
    async with world_of(tmp_path) as world:
        buyer = world.new_buyer("ja")
        await world.line.to_bot.settled()
        world.line.fail_next(PUSH, fault)
        world.line.fail_next(REPLY, fault)
        await invited(world, buyer)
        await world.advance(10_000)
        await world.line.taps(buyer.line_user_id, tap_data(world, buyer, "sat", "4"))
        await world.advance(10_000)
        asked = [job for job in await sends(world) if job.asks]
        assert [(job.asks, job.state, job.attempts) for job in asked] == [("sat", "done", 2), ("nps", "done", 2)]
        assert (_posts(world, PUSH), _posts(world, REPLY)) == (2, 2), "one POST for each attempt"
        assert wrong_in(world, plain=True) == []


async def test_slack_takes_a_message_and_drops_the_line(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        buyer = world.new_buyer("ja", channel="slack")
        world.slack.fail_next("chat.postMessage", "reset_after_accept")
        await invited(world, buyer)
        await world.advance(10_000)
        assert [(j.state, j.attempts) for j in await sends(world) if j.asks] == [("done", 2)]
        assert _posts(world, "chat.postMessage") == 1, "the second attempt looks before it posts"
        assert wrong_in(world, plain=True) == []


async def test_slack_without_the_history_scope_leaves_it_uncertain(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        world.slack.scopes = frozenset({"chat:write", "im:write", "users:read", "channels:read"})
        buyer = world.new_buyer("ja", channel="slack")
        world.slack.fail_next("chat.postMessage", "reset_after_accept")
        await invited(world, buyer)
        await world.advance(HOUR_MS)
        assert [j.state for j in await sends(world) if j.asks] == ["uncertain"]
        assert _posts(world, "chat.postMessage") == 1
        assert wrong_in(world, plain=True) == []


@pytest.mark.parametrize("fault", ["500", "502", "503", "429", "rate", "html500", "reset_before"])
async def test_an_outage_of_line_is_ridden_out_and_does_not_touch_slack(tmp_path: Path, fault: str) -> None:
    async with world_of(tmp_path) as world:
        buyers = [world.new_buyer("ja") for _ in range(5)]
        colleague = world.new_buyer("ja", channel="slack")
        await world.line.to_bot.settled()
        world.line.fail_next("*", fault, times=20)
        for buyer in [*buyers, colleague]:
            await invited(world, buyer)
        assert "満足" in world.slack.transcript(colleague.slack_user_id), "Slack waited for LINE"
        asked = await world.until(lambda: all(world.line.chat(b.line_user_id) for b in buyers), within_ms=4 * HOUR_MS)
        assert asked, "the backlog did not drain"
        attempts = Counter(job.attempts for job in await sends(world) if job.channel == "line")
        assert sum(n * count for n, count in attempts.items()) == _posts(world, PUSH)
        assert wrong_in(world, plain=True) == []


async def test_an_invitation_held_up_by_an_outage_does_not_come_at_night(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        buyer = world.new_buyer("ja")
        await world.line.to_bot.settled()
        await world.advance(int(10.97 * HOUR_MS))  # it is 20:58
        world.line.fail_next(PUSH, "503", times=9)
        await invited(world, buyer)
        await world.advance(20 * HOUR_MS)
        assert wrong_in(world) == []


@pytest.mark.prove
@pytest.mark.parametrize("platform", ["line", "slack"])
async def test_a_silent_platform_is_given_up_on_within_fifteen_seconds(tmp_path: Path, platform: str) -> None:
    async with world_of(tmp_path) as world:
        buyer = world.new_buyer("ja", channel="line" if platform == "line" else "slack")
        await world.line.to_bot.settled()
        world.line.fail_next(PUSH, "timeout")
        world.slack.fail_next("chat.postMessage", "timeout")
        started = time.monotonic()
        await invited(world, buyer)
        assert time.monotonic() - started < 15
        await world.advance(HOUR_MS)
        assert [j.state for j in await sends(world) if j.asks] == ["done"]
        assert wrong_in(world, plain=True) == []
