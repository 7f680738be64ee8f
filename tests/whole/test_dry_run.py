"""A dry run against what really happened: the same rule on the same events asks the same customers, for the same
reasons not the others."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from persons import DAY_MS, HOUR_MS, PURCHASE_SHOP, START_MS, Person, at, new_person

from bot.commands import figures
from bot.dry_run import DryRun, dry_run, lines_of
from bot.standins.demo import World, open_world
from storage.records import Event
from storage.store import Tx

TRIGGER = "after-purchase"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = await open_world(tmp_path, start_ms=START_MS, shop=PURCHASE_SHOP)
    yield world
    await world.close()


async def buys(world: World, person: Person, order: str, amount: int = 5000) -> None:
    await world.event("purchase", person.buyer, order=order, amount=amount)
    await world.event("delivery", person.buyer, order=order)


async def simulated(world: World, *, days: int = 30, trigger: str = TRIGGER, **changes: object) -> DryRun:
    koe = world.koe
    rule = next(rule for rule in koe.shop.triggers if rule.id == trigger).model_copy(update=changes)
    return await dry_run(
        koe.store,
        shop=koe.shop,
        flow=koe.library.flows[rule.flow],
        rule=rule,
        channels=tuple(koe.channels),
        now_ms=world.clock.now_ms(),
        days=days,
    )


async def happened(persons: list[Person]) -> tuple[set[tuple[str, str]], Counter[str]]:
    """(customer, event) of what this rule really sent, and the reasons of what it did not."""
    sent: set[tuple[str, str]] = set()
    reasons: Counter[str] = Counter()
    for person in persons:
        for invitation in await person.invitations():
            if invitation.trigger_id == TRIGGER and invitation.state == "sent":
                sent.add((person.customer_id, invitation.event_id))
            elif invitation.trigger_id == TRIGGER:
                reasons[invitation.reason] += 1
    return sent, reasons


async def test_it_tells_what_the_rule_did_on_the_same_events(world: World) -> None:
    persons = [new_person(world) for _ in range(9)]
    often, stops, returns, small, helped, late, stranger, complains, twice = persons
    stranger.buyer.line_user_id = ""
    await buys(world, often, "#a1")
    await buys(world, stops, "#b1")
    await world.event("purchase", returns.buyer, order="#c1", amount=5000)
    await world.event("delivery", returns.buyer, order="#c1")
    await world.event("return", returns.buyer, order="#c1")
    await buys(world, small, "#d1", amount=500)
    await world.support_case(helped.buyer)
    nobody = replace(stranger.buyer, line_user_id="")
    await world.event("purchase", nobody, order="#e1", amount=5000)
    await world.event("delivery", nobody, order="#e1")
    await world.event("complaint", complains.buyer)
    await buys(world, complains, "#f1")
    await world.advance(3 * HOUR_MS)
    await stops.says("配信停止")
    await stops.taps("停止する")
    await world.advance_to(at(20, 20, 30))
    await buys(world, late, "#g1")  # due at 21:30, in quiet hours: it waits for the morning
    await world.advance_to(at(24, 11))
    for person, order in ((often, "#a2"), (stops, "#b2"), (helped, "#h1"), (twice, "#i1"), (twice, "#i2")):
        await buys(world, person, order)
    await world.advance_to(at(9, 11, month=12))
    await buys(world, often, "#a3")  # past 14 days, not past 30 of the same touchpoint
    await world.advance(2 * HOUR_MS)
    await buys(world, new_person(world), "#z1")  # not due yet
    await world.advance(60_000)

    found = await simulated(world)
    sent, reasons = await happened(persons)
    assert {(would.customer_id, would.event_id) for would in found.sent} == sent
    withdrawn = reasons.pop("void:return")
    assert found.withdrawn == withdrawn == 1
    assert found.blocked == reasons
    assert set(reasons) == {"min_gap", "opted_out", "unreachable", "touchpoint_gap"}
    assert found.ahead == 1
    assert found.line_messages == len(sent)
    assert found.matched == len(found.sent) + sum(found.blocked.values()) + found.withdrawn + found.ahead
    assert found.events == found.matched + 1, "the small order matches no rule"
    assert [number for _, number, _ in lines_of(found)] == [1, 5, 8, None], "in the order of the rules"
    assert at(21, 9) in {would.at_ms for would in found.sent}, "who waited for the morning was asked then"
    # the customer's own stop came after the first survey: it is a simulation of then, not of today
    assert stops.customer_id in {would.customer_id for would in found.sent}

    before = await world.koe.store.read(lambda tx: tx.job_counts())
    assert (await simulated(world)).sent == found.sent, "twice the same"
    assert await world.koe.store.read(lambda tx: tx.job_counts()) == before, "and nothing is changed"


async def test_history_that_was_imported_is_what_a_new_shop_tries_a_rule_on(world: World) -> None:
    person = new_person(world)
    await world.event("purchase", person.buyer, order="#1", amount=500)
    now_ms = world.clock.now_ms()

    def bring_in(tx: Tx) -> None:
        for number, days in enumerate((28, 20, 3)):
            occurred_ms = now_ms - days * DAY_MS
            data = f'{{"order": "#9{number}", "amount": 5000}}'
            event = Event(f"old-{number}", "delivery", occurred_ms, now_ms, person.customer_id, data, imported=True)
            assert tx.note_event(event)

    await world.koe.store.write(bring_in)
    # when: order.amount – the event itself stands in for an order nobody knows
    found = await simulated(world, when=None)
    assert [would.event_id for would in found.sent] == ["old-0"]
    assert found.blocked == {"min_gap": 1, "touchpoint_gap": 1}
    assert (await simulated(world, days=10, when=None)).sent[0].event_id == "old-2", "the window is where it begins"
    assert (await simulated(world, when=None, sample=0.0)).blocked == {"sampled_out": 3}


async def test_a_rule_in_a_rhythm_asks_each_customer_once_in_its_time(world: World) -> None:
    persons = [new_person(world) for _ in range(3)]
    for person in persons:
        await world.event("purchase", person.buyer, order=person.order, amount=500)
    rhythm = {"on": None, "when": None, "every_ms": 20 * DAY_MS, "delay_ms": 0, "void_on": (), "segment": None}
    found = await simulated(world, **rhythm)
    asked = Counter(would.customer_id for would in found.sent)
    assert asked == {person.customer_id: 1 for person in persons}
    assert found.blocked == {"touchpoint_gap": 3}, "a rhythm shorter than the gap runs into it"
    assert found.matched == 6


async def test_the_command_names_whom_and_what_it_would_have_cost(world: World) -> None:
    """Through the command itself, on the machine's clock: the events are of yesterday."""
    person = new_person(world)
    await world.event("purchase", person.buyer, order="#1", amount=500)
    yesterday_ms = int(time.time() * 1000) - DAY_MS
    noon_ms = yesterday_ms - yesterday_ms % DAY_MS + 3 * HOUR_MS
    data = '{"order": "#9", "amount": 5000}'

    def bring_in(tx: Tx) -> None:
        tx.note_event(Event("old-1", "purchase", noon_ms, noon_ms, person.customer_id, data, imported=True))
        tx.note_event(Event("old-2", "delivery", noon_ms, noon_ms, person.customer_id, data, imported=True))

    await world.koe.store.write(bring_in)
    config = world.koe.config
    rule = config.shop.triggers[0]
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("typer.echo", lambda line, **_: printed.append(line))
        await figures._dry_run(config, rule, 7, ids=True)
        told = "\n".join(printed)
    assert "1 would have been sent (1 on LINE, 0 in Slack)" in told
    assert "LINE messages: 1, and up to 1 more for reminders." in told
    assert person.customer_id in told.split("Customers:")[1]
