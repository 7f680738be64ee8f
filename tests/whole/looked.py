"""A customer who is looked after, during a test: what staff do with the card, and what stands on it then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from persons import Person, invited

from bot.standins.demo import World
from bot.standins.to_bot import Ack
from bot.standins.workspace import SlackMessage
from storage.records import Case, CaseEvent

__all__ = ["CHANNEL", "MINUTE_MS", "Looked", "eventually", "unhappy"]

MINUTE_MS = 60_000
CHANNEL = "C0ALERTS"


async def eventually(world: World, happened: Callable[[], bool], within_s: float = 60.0) -> None:
    """Bolt answers first and listens afterwards: wait for what the listener does."""
    changed = asyncio.Event()
    world.slack.on_change.append(changed.set)
    async with asyncio.timeout(within_s):
        while not happened():
            await changed.wait()
            changed.clear()
    world.slack.on_change.remove(changed.set)


@dataclass(slots=True)
class Looked:
    """A customer with a case, and the card that staff see of it."""

    world: World
    person: Person
    case_id: str

    async def case(self) -> Case:
        found = await self.world.koe.store.read(lambda tx: tx.find_case(self.case_id))
        assert found is not None
        return found

    async def history(self) -> list[CaseEvent]:
        return await self.world.koe.store.read(lambda tx: tx.case_events(self.case_id))

    async def kinds(self) -> list[str]:
        return [event.kind for event in await self.history()]

    async def message(self) -> SlackMessage:
        ts = (await self.case()).card_ref.partition(":")[2]
        return next(m for m in self.world.slack.messages(CHANNEL) if m.ts == ts)

    async def card(self) -> str:
        """The card as it stands, and its thread, a paragraph a message."""
        message = await self.message()
        thread = [m for m in self.world.slack.messages(CHANNEL) if m.thread_ts == message.ts]
        return "\n".join(json.dumps(m.blocks, ensure_ascii=False) for m in [message, *thread])

    async def labels(self) -> list[str]:
        message = await self.message()
        rows = [block["elements"] for block in message.blocks if block["type"] == "actions"]
        return [element["text"]["text"] for row in rows for element in row]

    async def clicks(self, verb: str, user: str = "U0STAFF") -> Ack:
        message = await self.message()
        return await self.world.slack.clicks(user, CHANNEL, message.ts, f"koe.case.{verb}")

    async def presses(self, verb: str, user: str = "U0STAFF") -> None:
        """Clicks, and everything that follows at once has happened."""
        assert (await self.clicks(verb, user)).ok
        await self.world.advance(3_000)

    async def opens(self, verb: str, user: str = "U0STAFF") -> None:
        if self.world.slack.modal(user) is not None:
            await self.world.slack.closes(user, all_views=True)
        assert (await self.clicks(verb, user)).ok
        await eventually(self.world, lambda: self.world.slack.modal(user) is not None)

    async def submits(self, user: str = "U0STAFF", **values: Any) -> Ack:
        ack = await self.world.slack.submits(user, values)
        await self.world.advance(3_000)
        return ack

    async def replies(self, text: str, user: str = "U0STAFF") -> Ack:
        await self.opens("reply", user)
        field = next(b for b in self.world.slack.modal(user)["blocks"] if b["block_id"].startswith("text."))  # type: ignore[index]
        assert (await self.world.slack.submits(user, {field["block_id"]: text})).ok
        return await self.submits(user)

    async def resolves(self, user: str = "U0STAFF", outcome: str = "exchange", **values: Any) -> Ack:
        await self.opens("resolve", user)
        return await self.submits(user, outcome=outcome, **values)

    def told(self, user: str = "U0STAFF") -> str:
        """What this member of staff alone was told last."""
        shown = self.world.slack.ephemerals(user)
        return json.dumps(shown[-1].blocks, ensure_ascii=False) if shown else ""


async def unhappy(
    world: World, words: str = "箱がつぶれていて使えません", *, language: str = "ja", asked: Person | None = None
) -> Looked:
    """Somebody who finds fault with what they bought, and whom staff have a card of; who `asked` is has the survey on
    the screen."""
    person = await invited(world, language) if asked is None else asked
    await person.taps("不満" if language == "ja" else "Dissatisfied")
    await person.says("2")
    await world.line.says(person.user_id, words)
    await person.waits(8_000)
    # the case opens with the ending, in which contact is offered
    await person.says("1")
    await world.advance(6 * MINUTE_MS)
    case = await person.case()
    assert case is not None
    assert case.card_ref
    return Looked(world, person, case.id)
