"""The checker would see it: each promise broken by hand, in a history that was in order."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bot.standins.demo import Buyer, World
from tests.checker import check_history
from tests.crash.worlds import invited, tap_data, world_of, wrong_in


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[tuple[World, Buyer]]:
    """Two questions asked in LINE, the first one answered; one asked in Slack."""
    async with world_of(tmp_path) as world:
        buyer, colleague = world.new_buyer("ja"), world.new_buyer("ja", channel="slack")
        await invited(world, buyer)
        await invited(world, colleague)
        await world.line.taps(buyer.line_user_id, tap_data(world, buyer, "sat", "4"))
        await world.advance(5_000)
        assert wrong_in(world, plain=True) == []
        yield world, buyer


TAMPERED = {
    "an event forgotten": ("DELETE FROM inbound WHERE channel = 'line'", "was acknowledged unstored"),
    "an answer lost": ("DELETE FROM answers", "was asked nps before sat was answered"),
    "a count wrong": ("UPDATE rollup SET answers = answers + 1", "the roll-up differs"),
    "a job left leased": (
        "UPDATE jobs SET state = 'leased', claim_ms = 1, finished_ms = NULL WHERE asks = 'nps'",
        "still leased",
    ),
    "a job never done": (
        "UPDATE jobs SET state = 'ready', claim_ms = 1, finished_ms = NULL WHERE asks = 'nps'",
        "was not done",
    ),
    "sent though cancelled": (
        "UPDATE jobs SET state = 'cancelled', finished_ms = finished_ms - 60000 WHERE asks = 'nps'",
        "after it was cancelled",
    ),
    "sent after the opt-out": (
        "UPDATE sessions SET status = 'opted_out', ended_ms = created_ms - 60000",
        "after the session was opted_out",
    ),
    "a message of no job": ("DELETE FROM jobs WHERE asks = 'sat'", "does not exist"),
}


@pytest.mark.parametrize("name", TAMPERED)
async def test_the_checker_sees(told: tuple[World, Buyer], name: str) -> None:
    world, _ = told
    sql, words = TAMPERED[name]
    with closing(sqlite3.connect(world.directory / "koe.db")) as db:
        assert db.execute(sql).rowcount > 0
        db.commit()
    assert any(words in sentence for sentence in wrong_in(world)), wrong_in(world)


async def test_the_checker_sees_a_question_on_the_screen_twice(told: tuple[World, Buyer]) -> None:
    world, buyer = told
    chat = world.line.chats[buyer.line_user_id]
    chat.entries.append(chat.entries[-1])
    assert any("sees 2 times what 1 jobs said" in sentence for sentence in wrong_in(world))


async def test_the_checker_sees_a_question_that_is_missing_on_the_screen(told: tuple[World, Buyer]) -> None:
    world, buyer = told
    del world.line.chats[buyer.line_user_id].entries[-1]
    assert any("sees 0 times what 1 jobs said" in sentence for sentence in wrong_in(world))


async def test_the_checker_sees_questions_in_the_wrong_order(told: tuple[World, Buyer]) -> None:
    world, buyer = told
    world.line.chats[buyer.line_user_id].entries.reverse()
    assert any("of the same lane" in sentence for sentence in wrong_in(world))


async def test_the_checker_sees_what_was_sent_at_night(told: tuple[World, Buyer]) -> None:
    world, _ = told
    wrong = check_history(
        world.directory / "koe.db", now_ms=world.clock.now_ms(), line=world.line, hours=(21 * 60, 22 * 60)
    )
    assert any("in quiet hours" in sentence for sentence in wrong)
