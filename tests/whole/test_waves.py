"""A long survey in several sessions: one invitation, days apart, joined by its wave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from persons import DAY_MS, HOUR_MS, START_MS, Person, new_person

from bot.standins.demo import World, open_world
from storage.records import Invitation

pytestmark = pytest.mark.asyncio(loop_scope="module")

_SHOP: dict[str, object] = {
    "triggers": [
        {"id": "yearly", "on": "anniversary", "flow": "cx11", "sample": 0.999},
        {"id": "yearly-long", "on": "jubilee", "flow": "jcsi6"},
        {"id": "after-support", "on": "ticket_resolved", "flow": "after_support", "delay": "1h"},
    ],
    "digests": [],
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    world = await open_world(tmp_path_factory.mktemp("waves"), start_ms=START_MS, shop=_SHOP)
    yield world
    await world.close()


@dataclass(slots=True)
class _Wave:
    """A person and the wave that was begun with them."""

    person: Person

    async def answers(self, value: str, times: int) -> str:
        seen = ""
        for _ in range(times):
            seen = await self.person.says(value)
        return seen

    async def parts(self) -> list[Invitation]:
        found = await self.person.invitations()
        return sorted((i for i in found if i.trigger_id.startswith("yearly")), key=lambda i: i.planned_ms)


async def _begun(world: World, event: str = "anniversary", language: str = "ja") -> _Wave:
    person = new_person(world, language)
    await world.event(event, person.buyer)
    await world.advance(60_000)
    return _Wave(person)


async def test_eleven_items_are_asked_in_two_sessions_that_share_a_wave(world: World) -> None:
    wave = await _begun(world)
    person = wave.person
    first = person.looks()
    assert "2回に分けて" in first
    assert "今回は7問" in first
    assert "後日改めて" in await wave.answers("5", 7)
    assert await person.waits(2 * DAY_MS) == ""
    second = await person.waits(DAY_MS + HOUR_MS)
    assert "続きを4問" in second
    assert "全2回の2回目" in second
    ended = await wave.answers("4", 4)
    assert "改善に役立てます" in ended
    assert await person.waits(20 * DAY_MS) == ""

    sessions = (await person.sessions())[::-1]
    assert [session.status for session in sessions] == ["completed", "completed"]
    assert {session.wave_id for session in sessions} == {sessions[0].id}
    answers = await person.answers()
    assert len(answers) == 11
    assert {answer.wave_id for answer in answers.values()} == {sessions[0].id}
    assert {answer.flow_id for answer in answers.values()} == {"cx11"}


async def test_a_wave_is_one_invitation_for_the_contact_cap_and_in_the_response_rate(world: World) -> None:
    before_ms = world.clock.now_ms()
    wave = await _begun(world)
    await wave.answers("5", 7)
    await wave.person.waits(3 * DAY_MS + HOUR_MS)
    after_ms = world.clock.now_ms() + 1
    one, two = await wave.parts()
    assert (one.part, two.part, two.state) == (1, 2, "sent")
    seen = await world.koe.store.read(
        lambda tx: tx.contacts(wave.person.customer_id, event_id="", touchpoint="relationship", now_ms=after_ms)
    )
    assert seen.invitations_365d == 1
    assert seen.last_invitation_ms == one.sent_ms
    counts = await world.koe.store.read(lambda tx: tx.response_counts(before_ms, after_ms))
    assert (counts.invited, counts.answered, counts.completed) == (1, 1, 1)
    await world.event("ticket_resolved", wave.person.buyer, ticket="T-wave")
    await world.advance(2 * HOUR_MS)
    assert (await wave.person.last_invitation()).reason == "min_gap", "the cap still holds for other surveys"


async def test_a_survey_of_22_questions_takes_three_sessions_within_fourteen_days(world: World) -> None:
    wave = await _begun(world, "jubilee")
    person = wave.person
    for part, (questions, ending) in enumerate(((7, "後日改めて"), (7, "後日改めて"), (8, "改善に役立てます")), 1):
        assert f"{questions}問" in person.looks()
        seen = await wave.answers("5", questions)
        assert ending in seen, part
        await person.world.advance(3 * DAY_MS + HOUR_MS)
    answers = await person.answers()
    assert len(answers) == 22
    assert len({answer.session_id for answer in answers.values()}) == 3
    assert len({answer.wave_id for answer in answers.values()}) == 1
    times = [answer.answered_ms for answer in answers.values()]
    assert max(times) - min(times) < 14 * DAY_MS


async def test_a_first_session_that_is_broken_off_or_left_empty_plans_no_second(world: World) -> None:
    stopped, silent, skipped = await _begun(world), await _begun(world), await _begun(world)
    await stopped.answers("4", 3)
    await stopped.person.says("やめる")
    await skipped.answers("スキップ", 7)
    await world.advance(15 * DAY_MS)
    for wave in (stopped, silent, skipped):
        assert [invitation.part for invitation in await wave.parts()] == [1]


async def test_who_stops_surveys_or_erases_answers_is_not_asked_the_rest(world: World) -> None:
    stops, erases = await _begun(world), await _begun(world)
    for wave in (stops, erases):
        await wave.answers("4", 7)
    await stops.person.says("配信停止")
    await stops.person.taps("停止する")
    await erases.person.says("削除")
    await erases.person.taps("削除する")
    for wave in (stops, erases):
        wave.person.looks()
    await world.advance(15 * DAY_MS)
    for wave, reason in ((stops, "opted_out"), (erases, "erased")):
        assert wave.person.looks() == ""
        assert [(i.part, i.state) for i in await wave.parts()] == [(1, "sent"), (2, "withdrawn")]
        assert (await wave.parts())[1].reason == reason


async def test_the_rest_waits_while_somebody_looks_after_the_customer_and_ends_with_the_wave(world: World) -> None:
    wave = await _begun(world)
    await wave.answers("4", 6)
    await wave.person.says("担当者")
    await wave.answers("4", 1)
    wave.person.looks()
    await world.advance(16 * DAY_MS)
    assert "続きを" not in wave.person.looks()
    second = (await wave.parts())[1]
    assert (second.part, second.state, second.reason) == (2, "skipped", "open_case")


async def test_a_second_session_may_be_put_off_once_and_stays_within_the_wave(world: World) -> None:
    wave = await _begun(world)
    person = wave.person
    await wave.answers("5", 7)
    await person.waits(3 * DAY_MS + HOUR_MS)
    await person.taps("あとで答える")
    again = await person.waits(3 * DAY_MS + HOUR_MS)
    assert "全2回の2回目" in again
    assert "あとで答える" not in again
    assert [i.part for i in await wave.parts()] == [1, 2, 2]
    first, *later = await wave.parts()
    assert first.wave_id
    assert {i.wave_id for i in later} == {first.wave_id}
    assert all(
        i.expires_ms is not None and i.expires_ms <= first.sent_ms + 14 * DAY_MS + HOUR_MS
        for i in later
        if first.sent_ms
    )
    await wave.answers("4", 4)
    assert len(await person.answers()) == 11


async def test_a_wave_in_slack_and_in_english_goes_the_same_way(tmp_path: Path) -> None:
    world = await open_world(tmp_path, start_ms=START_MS, shop=_SHOP)
    try:
        buyer = world.new_buyer("en", channel="slack")
        channel = world.slack.dm_of(buyer.slack_user_id)
        await world.event("anniversary", buyer)
        await world.advance(60_000)
        assert "in 2 parts: 7 of them today" in world.slack.transcript(channel)
        for _ in range(7):
            await world.slack.says(buyer.slack_user_id, channel, "5")
            await world.advance(3_000)
        assert "ask you the rest another day" in world.slack.transcript(channel)
        await world.advance(3 * DAY_MS + HOUR_MS)
        assert "Here are the next 4 questions (part 2 of 2" in world.slack.transcript(channel)
    finally:
        await world.close()


async def test_what_happened_to_a_customer_decides_which_questions_fit(tmp_path: Path) -> None:
    shop: dict[str, object] = {
        "triggers": [
            {"id": "trust", "on": "trust_day", "flow": "trust6"},
            {"id": "overall", "on": "overall_day", "flow": "relational"},
        ],
        "repeat_interval": "60d",
        "digests": [],
    }
    world = await open_world(tmp_path, start_ms=START_MS, shop=shop)
    try:
        calm, hurt, early, ripe, unknown = (new_person(world) for _ in range(5))
        await world.event("complaint", hurt.buyer, incident_id="I-1")
        await world.event("purchase", ripe.buyer, order="#1", amount=5000)
        await world.advance(30 * DAY_MS)
        await world.event("purchase", early.buyer, order="#2", amount=5000)
        for person in (calm, hurt):
            await world.event("trust_day", person.buyer)
        for person in (early, ripe, unknown):
            await world.event("overall_day", person.buyer)
        await world.advance(60_000)
        told = {name: person.looks() for name, person in (("calm", calm), ("hurt", hurt))}
        assert "5問" in told["calm"]
        assert "6問" in told["hurt"]
        # reason counts among the questions that are announced
        assert "6問" in early.looks()
        assert "8問" in ripe.looks()
        assert "6問" in unknown.looks()
    finally:
        await world.close()
