"""The shop at a glance: what App Home and status show, and what LINE says is left of the month's messages."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from bot.clock import Clock
from bot.staff.asking import Budget
from bot.staff.home import WINDOW_DAYS, Health, HomeCase, HomeFacts, Running
from flows.survey import Library
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.line import LineChannel

log = structlog.get_logger(__name__)

_DAY_MS = 86_400_000
_CASES_AT_A_GLANCE = 200
_GLANCE_S = 2.0
_HARDLY_DUE_MS = 3_000
_BUDGET_MS = 10 * 60_000


class LineBudget:
    """LINE's messages of this month, as LINE tells them; `line` is None when LINE is off."""

    def __init__(self, line: LineChannel | None) -> None:
        self._line = line
        self._told: tuple[int, Budget] | None = None

    def known(self) -> Budget | str | None:
        """As they were last told; "unknown" before that, None when LINE is off."""
        if self._line is None:
            return None
        return "unknown" if self._told is None else self._told[1]

    async def fetch(self, now_ms: int) -> Budget | str | None:
        """Asked every ten minutes; "unknown" when LINE does not say, None when LINE is off."""
        if self._line is None:
            return None
        from bot.line import LineError

        if self._told is None or abs(now_ms - self._told[0]) >= _BUDGET_MS:
            try:
                quota = await self._line.fetch_quota()
            except LineError as error:
                log.warning("line_quota_unknown", reason=str(error))
                return "unknown"
            self._told = now_ms, Budget(quota.used, quota.limit)
        return self._told[1]


class Glance:
    """What staff see of the shop; the same for all who look.

    Args:
        paused: what the worker does not send just now (see `Health.paused`).
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        library: Library,
        budget: LineBudget,
        paused: Callable[[], tuple[tuple[str, int], ...]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._library = library
        self._budget = budget
        self._paused = paused
        self._seen: tuple[float, HomeFacts] | None = None

    def changed(self) -> None:
        """Something happened that may show: look anew the next time."""
        self._seen = None

    async def facts(self) -> HomeFacts:
        """What App Home shows, at most two seconds old (of real time: the demo's clock stands still)."""
        now_ms, now_s = self._clock.now_ms(), time.monotonic()
        known = self._seen
        if known is not None and now_s - known[0] < _GLANCE_S:
            return known[1]

        facts, budget = await asyncio.gather(
            self._store.read(lambda tx: self._look(tx, now_ms)), self._budget.fetch(now_ms)
        )
        facts = replace(facts, budget=budget)
        self._seen = now_s, facts
        return facts

    def _look(self, tx: Tx, now_ms: int) -> HomeFacts:
        counts_by_kind = tx.job_counts()
        overdue, oldest_due_ms = tx.overdue_jobs(now_ms - _HARDLY_DUE_MS)
        cases = []
        for case in tx.open_cases(limit=_CASES_AT_A_GLANCE):
            customer = tx.find_customer(case.customer_id)
            name = "" if customer is None else customer.name
            cases.append(HomeCase(case.customer_id, name, case.opened_ms, case.due_ms, case.assignee))
        digests = [(json.loads(job.payload)["digest"], job.due_ms) for job in tx.jobs(kind="digest", state="ready")]
        return HomeFacts(
            now_ms=now_ms,
            cases=tuple(cases),
            surveys=tuple(
                Running(*self._names_of(flow_id), *counts)
                for flow_id, *counts in tx.responses_by_flow(now_ms - WINDOW_DAYS * _DAY_MS, now_ms)
            ),
            paused=tuple((*self._names_of(pause.flow_id), pause.at_ms) for pause in tx.pauses()),
            planned=counts_by_kind.get(("invite", "ready"), 0),
            digests=tuple(sorted(digests, key=lambda post: post[1])),
            health=Health(
                overdue=overdue,
                oldest_due_ms=oldest_due_ms,
                dead=sum(count for (_, state), count in counts_by_kind.items() if state == "dead"),
                uncertain=sum(count for (_, state), count in counts_by_kind.items() if state == "uncertain"),
                paused=self._paused(),
            ),
        )

    def _names_of(self, flow_id: str) -> tuple[str, str]:
        """A survey's name in ja and en; its id when it is no longer offered."""
        flow = self._library.flows.get(flow_id)
        return (flow_id, flow_id) if flow is None else (flow.name_in("ja"), flow.name_in("en"))
