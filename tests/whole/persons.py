"""A person in LINE during a test: does something, and reads what appeared on the screen since."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.clock import SystemClock
from bot.staff.asking import Started, SurveyRequest
from bot.standins.demo import DAY_MS, HOUR_MS, PRESENT, TOKYO, Buyer, World
from bot.standins.line_chats import ChatEntry
from storage.records import Answer, Case, Invitation, Session

__all__ = [
    "DAY_MS",
    "HOUR_MS",
    "PRESENT",
    "PURCHASE_SHOP",
    "START_MS",
    "Person",
    "asked_by_staff",
    "at",
    "doctor",
    "invited",
    "new_person",
]

START_MS = int(PRESENT.timestamp() * 1000)
"""Thursday, 19 November 2026, 10:00 in Tokyo."""

PURCHASE_SHOP: dict[str, object] = {
    "triggers": [
        {
            "id": "after-purchase",
            "on": "delivery",
            "when": {"order.amount": {"gte": 1000}},
            "flow": "after_purchase",
            "channel": ["line", "slack"],
            "segment": "order.store",
            "delay": "1h",
            "expires": "7d",
            "remind": "72h",
            "void_on": ["return"],
        },
        {"id": "after-support", "on": "ticket_resolved", "flow": "after_support", "delay": "1h"},
    ],
    "digests": [],
}


@dataclass(slots=True)
class Person:
    """A customer with LINE. Every method that acts lets three seconds pass and returns what Koe said meanwhile."""

    world: World
    customer_id: str
    user_id: str
    seen: int = 0

    def looks(self) -> str:
        """What appeared since the last look: Koe's words and buttons."""
        whole = self.world.line.transcript(self.user_id)
        fresh, self.seen = whole[self.seen :], len(whole)
        return fresh

    async def _after(self, status: int) -> str:
        assert status == 200
        await self.world.advance(3_000)
        return self.looks()

    async def says(self, text: str) -> str:
        return await self._after(await self.world.line.says(self.user_id, text))

    async def taps(self, label: str) -> str:
        return await self._after(await self.world.line.taps_label(self.user_id, label))

    async def taps_old(self, display: str) -> str:
        """Taps the first button in the whole chat that says so, however old it is."""
        button = next(b for b in self.world.line.tappables(self.user_id) if display in (b.label, b.display_text))
        return await self._after(await self.world.line.taps(self.user_id, button.data, button.display_text))

    async def sends_sticker(self) -> str:
        return await self._after(await self.world.line.sends_sticker(self.user_id))

    async def sends_photo(self) -> str:
        return await self._after(await self.world.line.sends_photo(self.user_id))

    async def waits(self, ms: int) -> str:
        await self.world.advance(ms)
        return self.looks()

    def bubbles(self) -> list[ChatEntry]:
        """What Koe sent, oldest first."""
        return [entry for entry in self.world.line.chat(self.user_id) if entry.sender == "bot"]

    def pushes(self) -> int:
        return sum(entry.via == "push" for entry in self.bubbles())

    async def answers(self) -> dict[str, Answer]:
        """The counted answers by question."""
        found = await self.world.koe.store.read(lambda tx: tx.answers_of(self.customer_id))
        return {answer.question: answer for answer in found}

    async def sessions(self) -> list[Session]:
        """Newest first."""
        return await self.world.koe.store.read(lambda tx: tx.sessions_of(self.customer_id))

    async def invitations(self) -> list[Invitation]:
        return await self.world.koe.store.read(lambda tx: tx.invitations_of(self.customer_id))

    async def last_invitation(self) -> Invitation:
        return max(await self.invitations(), key=lambda invitation: invitation.planned_ms)

    @property
    def order(self) -> str:
        """The number of the order that `invited` makes."""
        return self.customer_id.replace("C", "#7")

    @property
    def buyer(self) -> Buyer:
        """As the shop's systems know them."""
        return Buyer(self.customer_id, "田中", "ja", self.user_id)

    async def case(self) -> Case | None:
        return await self.world.koe.store.read(lambda tx: tx.open_case(self.customer_id))


def new_person(world: World, language: str = "ja") -> Person:
    buyer = world.new_buyer("en" if language == "en" else "ja")
    return Person(world, buyer.customer_id, buyer.line_user_id)


async def invited(world: World, language: str = "ja", *, support: bool = False) -> Person:
    """A person who bought something (or whose support case was closed) and has the survey on the screen, unread."""
    buyer = world.new_buyer("en" if language == "en" else "ja")
    person = Person(world, buyer.customer_id, buyer.line_user_id)
    if support:
        await world.support_case(buyer)
    else:
        order, product = person.order, "マグカップ" if language == "ja" else "stoneware mugs"
        await world.event("purchase", buyer, order=order, amount=5000, product=product, store="kyoto")
        await world.event("delivery", buyer, order=order)
    arrived = await world.until(lambda: bool(person.bubbles()), within_ms=2 * DAY_MS)
    assert arrived, [(i.state, i.reason) for i in await person.invitations()]
    return person


async def asked_by_staff(world: World, person: Person, flow: str) -> None:
    """A member of staff starts a survey, past the contact cap."""
    request = SurveyRequest(
        flow_id=flow,
        customer_id=person.customer_id,
        at_ms=None,
        note="",
        requested_by="U0STAFF",
        request_id=f"{flow}-{person.customer_id}",
        workspace="T0",
        override_reason="asked by phone",
    )
    outbox = world.koe.worker.outbox()
    started = await world.koe.store.write(lambda tx: world.koe.invitations.start_by_staff(tx, request, outbox))
    world.koe.worker.take(outbox)
    assert isinstance(started, Started), started


def at(day: int, hour: int, minute: int = 0, *, month: int = 11, year: int = 2026) -> int:
    """An instant in Tokyo, in milliseconds."""
    return int(datetime(year, month, day, hour, minute, tzinfo=TOKYO).timestamp() * 1000)


async def doctor(world: World, monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    """What `koe doctor` prints beside the running server, at the time of the story."""
    for name, value in {
        "KOE_DATABASE_URL": f"sqlite:///{world.directory / 'koe.db'}",
        "KOE_CONFIG": str(world.directory / "koe.yaml"),
        "KOE_SECRET_KEY": "k" * 43,
        "COLUMNS": "400",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(SystemClock, "now_ms", lambda _: world.clock.now_ms())
    ran = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", *options])
    assert ran.exit_code == 0, ran.output
    return ran.output
