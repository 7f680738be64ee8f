"""What customers are told of how long their words are kept: answers go when their time is over, traffic after two
months, at night and in short units.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from datetime import time as time_of_day
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bot.outbox import Outbox, Units
from storage.records import Job
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.config import Shop

log = structlog.get_logger(__name__)

_READING_MS = 500
_DAY_MS = 86_400_000
_FORGET_AT_ONCE = 20
_TIDIED_AT_ONCE = 500
_TRAFFIC_KEPT_MS = 60 * _DAY_MS


class Retention:
    """Jobs of kinds "retain", "tidy" and "compact"."""

    def __init__(self, *, shop: Shop, store: Store, units: Units) -> None:
        self._shop = shop
        self._store = store
        self._units = units

    def schedule(self, tx: Tx, outbox: Outbox) -> None:
        """Its next job: the coming night, once."""
        now = datetime.fromtimestamp(outbox.now_ms / 1000, self._shop.tz)
        night = datetime.combine(now.date() + timedelta(days=1), time_of_day(3), self._shop.tz)
        outbox.queue(tx, "retain", due_ms=int(night.timestamp() * 1000), key=f"retain:{night.date().isoformat()}")

    def retain(self, tx: Tx, job: Job, outbox: Outbox) -> None:
        """Keep what customers are told: answers older than `retention` go, some at a time, every night."""
        before_ms = outbox.now_ms - self._shop.retention_days * _DAY_MS
        forgotten = tx.forget_before(before_ms, outbox.now_ms, limit=_FORGET_AT_ONCE)
        tx.finish_job(job, state="done", at_ms=outbox.now_ms)
        if forgotten:
            log.info("answers_past_retention", conversations=forgotten)
            more = "retain" if forgotten == _FORGET_AT_ONCE else "compact"
            due_ms = outbox.now_ms + _READING_MS
            outbox.queue(tx, more, due_ms=due_ms)
        if job.key:
            # the first of a night, not one that goes on
            due_ms = outbox.now_ms + _READING_MS
            outbox.queue(tx, "tidy", due_ms=due_ms)
        self.schedule(tx, outbox)

    async def tidy(self, job: Job) -> None:
        """Ids of platform events and messages that were sent go after two months, in short units: the platforms have
        long stopped sending again. Repeated after a crash it finds less to do."""
        before_ms = self._units.clock.now_ms() - _TRAFFIC_KEPT_MS
        for forget in (Tx.forget_inbound, Tx.forget_done):
            after = await self._store.write(partial(forget, before_ms=before_ms, after=(), limit=_TIDIED_AT_ONCE))
            while after:
                after = await self._store.write(
                    partial(forget, before_ms=before_ms, after=after, limit=_TIDIED_AT_ONCE)
                )
        at_ms = self._units.clock.now_ms()
        await self._store.write(lambda tx: tx.finish_job(job, state="done", at_ms=at_ms))

    async def compact(self, job: Job) -> None:
        """Empty the database's log; somebody who is reading just now is waited for."""
        emptied = await self._store.compact()

        def unit(tx: Tx, outbox: Outbox) -> None:
            if emptied:
                tx.finish_job(job, state="done", at_ms=outbox.now_ms)
            else:
                due_ms = outbox.now_ms + _READING_MS
                outbox.expect(due_ms)
                tx.put_back_job(job, due_ms=due_ms, error="being read")

        await self._units.write(unit)
