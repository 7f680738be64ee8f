"""P3, P5: an event that comes twice has one effect; two that come at once have both theirs, in one conversation."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bot.standins.wire import JsonObject
from storage.store import Tx
from tests.crash.shop import LinePerson, Shop, open_shop
from tests.crash.worlds import invited, world_of, wrong_in
from tests.nursery import Nursery

TIMES = 100
ROUNDS = 200

WORDS_ONLY = """
id: short
name: {ja: 一言, en: A word}
survey_kind: transactional
touchpoint: purchase
invite: inv.purchase
questions:
  - {id: reason, instrument: reason}
endings: [{say: end.middle}]
"""


def _sees(person: LinePerson, questions: list[str]) -> bool:
    return person.asked() == questions


async def _asked(shop: Shop, count: int) -> list[LinePerson]:
    people = [LinePerson(shop) for _ in range(count)]
    await asyncio.gather(*(shop.purchase(person.customer) for person in people))
    for person in people:
        await shop.until(partial(_sees, person, ["sat"]), "not asked")
    return people


async def _deliver_twice_at_once(shop: Shop, events: Sequence[JsonObject]) -> None:
    for event in events:
        statuses = await asyncio.gather(*(shop.line.to_bot.deliver_raw([event]) for _ in range(2)))
        assert statuses == [200, 200]


async def _tap_and_type_twice(shop: Shop, people: Sequence[LinePerson]) -> list[JsonObject]:
    """Each tap, and each number typed, comes twice at once. All their events."""
    taps = [shop.line.postback_event(p.user_id, p.data_of("sat", "4")) for p in people]
    await _deliver_twice_at_once(shop, taps)
    await shop.settled()
    typed = [shop.line.text_event(p.user_id, "9") for p in people]
    await _deliver_twice_at_once(shop, typed)
    await shop.settled()
    return [*taps, *typed]


async def test_the_same_event_twice_at_once_has_one_effect_also_after_a_restart(
    tmp_path: Path, nursery: Nursery
) -> None:
    async with open_shop(tmp_path, nursery) as shop:
        assert await shop.start()
        people = await _asked(shop, TIMES // 2)
        events = await _tap_and_type_twice(shop, people)
        assert len(events) == TIMES
        assert shop.wrong() == []
        assert shop.life is not None
        shop.life.signal(signal.SIGKILL)
        await shop.life.ended()
        assert await shop.start()
        await _deliver_twice_at_once(shop, events)
        await shop.settled()
        assert shop.wrong() == []
        assert all(person.asked() == ["sat", "nps", "gift"] for person in people)
        values = shop.rows("SELECT question, value, COUNT(*) FROM answers GROUP BY 1, 2 ORDER BY 1")
        assert values == [("nps", "9", TIMES // 2), ("sat", "4", TIMES // 2)]
        await shop.stop()


async def test_without_the_memory_of_events_the_checker_sees_the_second_effect(
    tmp_path: Path, nursery: Nursery
) -> None:
    async with open_shop(tmp_path, nursery) as shop:
        assert await shop.start()
        await shop.stop()
        # as if the key of `inbound` were not unique: no event is ever found to be known
        shop.change(
            "CREATE TRIGGER forget AFTER INSERT ON inbound BEGIN DELETE FROM inbound WHERE event_id = NEW.event_id; END"
        )
        assert await shop.start()
        await _tap_and_type_twice(shop, await _asked(shop, 3))
        wrong = "\n".join(shop.wrong())
        assert "acknowledged unstored" in wrong
        assert "was asked 2 times" in wrong or "answered" in wrong
        await shop.stop()


async def test_an_event_of_slack_twice_at_once_has_one_effect(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        buyers = [world.new_buyer("ja", channel="slack") for _ in range(10)]
        for buyer in buyers:
            await invited(world, buyer)
            await world.advance(3_000)
            ack = await world.slack.says(buyer.slack_user_id, world.slack.dm_of(buyer.slack_user_id), "満足")
            again = await asyncio.gather(*(world.slack.redeliver(ack.event_id, n) for n in (1, 2)))
            assert [ack.status, *(a.status for a in again)] == [200, 200, 200]
        await world.advance(10_000)
        assert wrong_in(world, plain=True) == []
        for buyer in buyers:
            answers = await world.koe.store.read(partial(Tx.answers_of, customer_id=buyer.customer_id, history=True))
            assert [(a.question, a.value) for a in answers] == [("sat", "5")]


async def test_two_messages_within_a_millisecond_are_both_in_the_one_conversation(tmp_path: Path) -> None:
    async with world_of(tmp_path, WORDS_ONLY) as world:
        buyers = [world.new_buyer("ja") for _ in range(ROUNDS)]
        await world.line.to_bot.settled()
        await asyncio.gather(
            *(world.event("purchase", b, order=b.customer_id, amount=5400, product="本", units=1) for b in buyers)
        )
        await world.settle()
        for some in (buyers[n : n + 20] for n in range(0, ROUNDS, 20)):
            pairs = [world.line.text_event(b.line_user_id, words) for b in some for words in ("早い", "きれい")]
            statuses = await asyncio.gather(*(world.line.to_bot.deliver_raw([event]) for event in pairs))
            assert set(statuses) == {200}
        await world.advance(20_000)
        for buyer in buyers:
            sessions = await world.koe.store.read(partial(Tx.sessions_of, customer_id=buyer.customer_id))
            answers = await world.koe.store.read(partial(Tx.answers_of, customer_id=buyer.customer_id, history=True))
            assert [session.status for session in sessions] == ["completed"]
            assert [sorted(answer.value.split()) for answer in answers] == [["きれい", "早い"]]
        assert wrong_in(world, plain=True) == []
