"""The nightly look at trust balances: a fall is kept once, and brings a case unless somebody has looked after the
customer since. Reads in short units beside the serving loop; writes only what it found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from datetime import time as time_of_day
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bot.cases import Cases
from bot.outbox import Outbox, Units
from flows.exchange import OpenCase
from reports.trust import account as trust
from reports.trust.entries import RELEVANT_TYPES, due_ms, longest_wait_ms, read_entries
from storage.records import Job, TrustDrop
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.config import Shop

log = structlog.get_logger(__name__)

_AT = time_of_day(3, 30)
_CUSTOMERS_AT_ONCE = 20
_PROMISES_AT_ONCE = 500
_PROMISES_BACK_MS = 400 * trust.DAY_MS
"""A promise for a day further ahead than this is found when something else happens to its customer."""


class TrustWatch:
    """Looks for balances that fell, every night."""

    def __init__(
        self,
        *,
        shop: Shop,
        store: Store,
        cases: Cases,
        units: Units,
    ) -> None:
        self._shop = shop
        self._rules = shop.trust.rules
        self._store = store
        self._cases = cases
        self._units = units

    def schedule(self, tx: Tx, outbox: Outbox) -> None:
        """See to it that the next night has its job; none while falls are not reported."""
        if self._rules.drop_points is None:
            return
        now = datetime.fromtimestamp(outbox.now_ms / 1000, self._shop.tz)
        night = datetime.combine(now.date(), _AT, self._shop.tz)
        if night <= now:
            night = datetime.combine(now.date() + timedelta(days=1), _AT, self._shop.tz)
        outbox.queue(tx, "trust", due_ms=int(night.timestamp() * 1000), key=f"trust:{night.date().isoformat()}")

    async def due(self, job: Job) -> None:
        """A "trust" job. Done again from the start after a crash: what was kept before is not kept twice."""
        if self._rules.drop_points is not None:
            now_ms = self._units.clock.now_ms()
            customers = await self._touched(now_ms)
            for start in range(0, len(customers), _CUSTOMERS_AT_ONCE):
                some = customers[start : start + _CUSTOMERS_AT_ONCE]
                for customer_id, drop in await self._store.read(partial(self._look, some, now_ms=now_ms)):
                    await self._keep(customer_id, drop)

        def end(tx: Tx, outbox: Outbox) -> None:
            tx.finish_job(job, state="done", at_ms=outbox.now_ms)
            self.schedule(tx, outbox)

        await self._units.write(end)

    async def _touched(self, now_ms: int) -> list[str]:
        """Whose balance can have fallen: customers to whom something happened, or a deadline passed, of late."""
        rules, tz = self._rules, self._shop.tz
        since_ms = now_ms - rules.drop_within_ms
        found = set(
            await self._store.read(
                lambda tx: tx.customers_touched(since_ms, now_ms + 1, slack_ms=longest_wait_ms(rules))
            )
        )
        after = (0, "")
        while True:
            promises = await self._store.read(
                partial(Tx.promises_since, since_ms=now_ms - _PROMISES_BACK_MS, after=after, limit=_PROMISES_AT_ONCE)
            )
            found.update(event.customer_id for event in promises if since_ms <= due_ms(event, tz) <= now_ms)
            if len(promises) < _PROMISES_AT_ONCE:
                return sorted(found - {""})
            after = (promises[-1].occurred_ms, promises[-1].id)

    def _look(self, customers: Sequence[str], tx: Tx, *, now_ms: int) -> list[tuple[str, trust.Drop]]:
        found = []
        for customer_id in customers:
            entries = read_entries(tx, customer_id, now_ms, rules=self._rules, tz=self._shop.tz, types=RELEVANT_TYPES)
            drop = trust.drop_of(entries, now_ms, self._rules, since_ms=tx.last_trust_drop_ms(customer_id))
            if drop is not None:
                found.append((customer_id, drop))
        return found

    async def _keep(self, customer_id: str, drop: trust.Drop) -> None:
        def unit(tx: Tx, outbox: Outbox) -> str | None:
            last_ms = tx.last_trust_drop_ms(customer_id)
            if tx.erased_ms(customer_id) is not None or (last_ms is not None and last_ms >= drop.withdrawals[-1].at_ms):
                return None
            case_id = self._case(tx, customer_id, drop, outbox)
            tx.note_trust_drop(TrustDrop(customer_id, drop.at_ms, drop.high, drop.balance, case_id))
            return case_id

        case_id = await self._units.write(unit)
        if case_id is not None:
            log.info("trust_drop", fall=round(drop.high - drop.balance, 2), case=case_id)

    def _case(self, tx: Tx, customer_id: str, drop: trust.Drop, outbox: Outbox) -> str:
        """The id of the case that opens; "" when one is open, when one was opened after the last of what happened –
        somebody has heard of it – or when nobody would be told."""
        if self._shop.alerts is None or tx.open_case(customer_id) is not None:
            return ""
        if any(case.opened_ms >= drop.withdrawals[-1].at_ms for case in tx.cases_of(customer_id)):
            return ""
        self._cases.open_for(tx, customer_id, "", OpenCase("trust_drop"), outbox)
        opened = tx.open_case(customer_id)
        return "" if opened is None else opened.id
