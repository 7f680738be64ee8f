"""Business events on their way in: stored, and their rules applied, in one transaction."""

from __future__ import annotations

import msgspec
import structlog

from bot import measures
from bot.conversation import Indigestible
from bot.events.business import BusinessEvent, store_event
from bot.invitations import Invitations
from bot.outbox import Outbox, Units
from storage.errors import StoreError
from storage.records import Event, Job
from storage.store import Tx

log = structlog.get_logger(__name__)


class EventIntake:
    """Takes events in, and again those that somebody replays.

    Args:
        workspaces: channel → our own id on its platform, by which customers' addresses are valid.
        match_key: of the keyed hashes by which a person is recognised again.
        rewarded: whether referrals are for something in return.
    """

    def __init__(
        self,
        *,
        invitations: Invitations,
        units: Units,
        workspaces: dict[str, str],
        match_key: bytes,
        rewarded: bool,
    ) -> None:
        self._invitations = invitations
        self._units = units
        self._workspaces = workspaces
        self._match_key = match_key
        self._rewarded = rewarded

    async def take(self, event: BusinessEvent, occurred_ms: int) -> bool:
        """Store it and apply its rules, in one transaction. False when its id is known.

        An event on which our own rules fail is stored all the same, with a dead job that applies them when replayed.
        """
        try:
            return await self._units.write(lambda tx, outbox: self._store(tx, event, occurred_ms, outbox))
        except Indigestible as bug:
            log.error("event_not_digested", id=event.id, type=event.type, where=bug.where)
            measures.dead_jobs.labels("event").inc()
            reason = str(bug)
        return await self._units.write(lambda tx, outbox: self._store(tx, event, occurred_ms, outbox, reason=reason))

    def _store(self, tx: Tx, event: BusinessEvent, occurred_ms: int, outbox: Outbox, *, reason: str = "") -> bool:
        stored = store_event(
            tx,
            event,
            occurred_ms,
            outbox,
            workspaces=self._workspaces,
            match_key=self._match_key,
            rewarded=self._rewarded,
        )
        if stored is None:
            return False
        if reason:
            tx.put_job(_dead(stored, reason, outbox))
            return True
        try:
            self._invitations.take_event(tx, stored, outbox)
        except StoreError:
            raise
        except Exception as bug:
            raise Indigestible(bug) from bug
        return True

    def again(self, tx: Tx, job: Job, outbox: Outbox) -> None:
        """An "event" job that somebody replayed: apply the rules to the stored event now."""
        event = tx.find_event(msgspec.json.decode(job.payload)["event"])
        if event is not None:
            self._invitations.take_event(tx, event, outbox)
        tx.finish_job(job, state="done", at_ms=outbox.now_ms)


def _dead(event: Event, reason: str, outbox: Outbox) -> Job:
    return Job(
        id=outbox.new_id(),
        kind="event",
        due_ms=outbox.now_ms,
        payload=msgspec.json.encode({"event": event.id}).decode(),
        customer_id=event.customer_id,
        created_ms=outbox.now_ms,
        state="dead",
        error=reason,
    )
