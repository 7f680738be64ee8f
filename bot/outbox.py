"""Jobs queued by a unit of work, to be handed to the worker once they are durable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from bot.channel import JsonObject
from bot.clock import Chance, Clock
from flows.state import State
from storage.records import Job, Session
from storage.store import Store, Tx

T = TypeVar("T")

LEASE_MS = 60_000
"""Longer than any call may take (15 s), short enough that a dead process is noticed within a minute."""

UNASKED = "unasked:"
"""Begins the key of a message that answers nobody: an invitation, a reminder. An outage must not move it into the
hours in which Koe starts no talk."""


@dataclass(slots=True)
class Outbox:
    """Collects what a unit queues. Due jobs whose lane is free come leased to this process at once (saving a claim);
    those behind another job of their lane are found when that one ends, the others when their time comes."""

    owner: str
    now_ms: int
    chance: Chance
    claimed: list[Job] = field(default_factory=list)
    next_due_ms: int | None = None

    payloads: dict[str, JsonObject] = field(default_factory=dict)
    """By job id: what a leased job's payload was made from, so that sending need not decode it again."""

    behind: set[str] = field(default_factory=set)
    """Lanes in which a due job waits for another to end."""

    moved: list[tuple[Session, State]] = field(default_factory=list)
    """Open sessions that this unit moved, as they stand once it is durable."""

    def put(self, tx: Tx, job: Job, payload: JsonObject | None = None) -> bool:
        """Queue it in this transaction; False when its key is used. `payload` is what `job.payload` was made from."""
        if job.due_ms > self.now_ms:
            queued = tx.put_job(job)
            self.expect(job.due_ms)
            return queued is not None
        queued = tx.put_job(job, claim_for=self.owner, lease_until_ms=self.now_ms + LEASE_MS)
        if queued is None:
            return False
        if queued.state == "leased":
            self.claimed.append(queued)
            if payload is not None:
                self.payloads[queued.id] = payload
        else:
            self.behind.add(queued.lane)
        return True

    def queue(
        self,
        tx: Tx,
        kind: str,
        payload: object = None,
        *,
        due_ms: int | None = None,
        lane: str = "",
        key: str = "",
        channel: str = "",
        session_id: str = "",
        customer_id: str = "",
        expires_ms: int | None = None,
    ) -> bool:
        """Queue a job of this kind, due now unless it says when; False when its key is used.

        Args:
            payload: what its JSON is made of; a text stands as it is.
        """
        text = payload if isinstance(payload, str) else msgspec.json.encode({} if payload is None else payload).decode()
        job = Job(
            id=self.new_id(),
            kind=kind,
            due_ms=self.now_ms if due_ms is None else due_ms,
            payload=text,
            lane=lane,
            key=key,
            channel=channel,
            session_id=session_id,
            customer_id=customer_id,
            expires_ms=expires_ms,
            created_ms=self.now_ms,
        )
        # of other kinds nobody asks for it
        return self.put(tx, job, payload if kind == "send" and isinstance(payload, dict) else None)

    def new_id(self) -> str:
        return self.chance.new_id(self.now_ms)

    def expect(self, due_ms: int) -> None:
        """Something will be due then."""
        if self.next_due_ms is None or due_ms < self.next_due_ms:
            self.next_due_ms = due_ms


@dataclass(frozen=True, slots=True)
class Units:
    """Units of work that may queue jobs, each with an outbox of its own.

    Args:
        owner: the process to which due jobs come leased.
        queued: told of what a unit queued, as soon as it is durable.
    """

    store: Store
    clock: Clock
    chance: Chance
    owner: str
    queued: Callable[[Outbox], None]

    async def write(self, unit: Callable[[Tx, Outbox], T]) -> T:
        """What the unit came to; its time is that of its outbox."""
        outbox = Outbox(owner=self.owner, now_ms=self.clock.now_ms(), chance=self.chance)
        found = await self.store.write(lambda tx: unit(tx, outbox))
        self.queued(outbox)
        return found
