"""What a trigger rule would have done on past events: whom it would have asked, and what would have held it back.

A simulation of the same pure functions that plan and decide (flows.triggers), over what is stored, in order of time.
It reads, a little at a time, and changes nothing.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bot.invitations import chance_of, facts_of, history_of, same_order
from flows import triggers
from flows.flow import Flow
from flows.triggers import DAY_MS, TriggerRule
from storage.records import Event
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.config import Shop

_PAGE = 200
"""Events, customers or decisions of one look at the database: nobody waits long behind it."""

Progress = Callable[[int, int], None]
"""Told (decided, planned so far) now and then."""


@dataclass(frozen=True, slots=True)
class WouldSend:
    """An invitation that would have been sent."""

    customer_id: str
    event_id: str
    """"" for a rule that asks in a rhythm."""
    at_ms: int
    channel: triggers.ChannelName


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would have become of the events in [start, end).

    Attributes:
        events: Of the rule's type, with a customer; for a rule that asks in a rhythm 0.
        matched: What the rule would have planned: sent, blocked, withdrawn and ahead together.
        sent: In order of time.
        blocked: Reason (flows.triggers.Reason) → how many would not have been sent.
        withdrawn: An event of `void_on` came first.
        ahead: Due only after `end_ms`.
        reminders: Whether the rule reminds: then each sent one may take a second message.
    """

    trigger_id: str
    start_ms: int
    end_ms: int
    events: int
    matched: int
    sent: tuple[WouldSend, ...]
    blocked: Mapping[str, int]
    withdrawn: int
    ahead: int
    reminders: bool

    @property
    def line_messages(self) -> int:
        """What the invitations would have cost on LINE: one push each, everything after it rides on free replies."""
        return sum(would.channel == "line" for would in self.sent)


@dataclass(order=True, frozen=True, slots=True)
class _Planned:
    due_ms: int
    number: int
    """Breaks ties in the order of planning."""
    customer_id: str = field(compare=False)
    event_id: str = field(compare=False)
    caused_ms: int = field(compare=False)
    data: Mapping[str, object] = field(compare=False)
    expires_ms: int = field(compare=False)


async def dry_run(
    store: Store,
    *,
    shop: Shop,
    flow: Flow,
    rule: TriggerRule,
    channels: Collection[str],
    now_ms: int,
    days: int,
    progress: Progress = lambda done, planned: None,
) -> DryRun:
    """The rule on the events of the last so many days, as if it had been in koe.yaml then.

    Invitations of other rules count for the contact cap as they were sent; those that this rule really sent in the
    window are left out, the simulated ones stand in their place. Imported history takes part: that is what a new shop
    has. Arms of experiments are left out: it is the rule as written. Reachable is who has an address today.

    Args:
        flow: The survey that the rule asks.
        channels: Those that are switched on.
        days: 1 or more.
    """
    run = _Run(shop, flow, rule, frozenset(channels), now_ms - days * DAY_MS, now_ms)
    await (run.plan_events(store) if rule.every_ms is None else run.plan_rhythm(store))
    while run.waiting:
        progress(run.matched - len(run.waiting), run.matched)
        await store.read(run.decide_some)
    progress(run.matched, run.matched)
    return run.result()


class _Run:
    """One simulation: what is planned, and what each customer was sent in it."""

    def __init__(
        self, shop: Shop, flow: Flow, rule: TriggerRule, channels: frozenset[str], start_ms: int, end_ms: int
    ) -> None:
        self._shop = shop
        self._flow = flow
        self._rule = rule
        self._channels = channels
        self._start_ms = start_ms
        self._end_ms = end_ms
        self._events = 0
        self._ahead = 0
        self._withdrawn = 0
        self._blocked: Counter[str] = Counter()
        self._sent: list[WouldSend] = []
        self._sent_to: defaultdict[str, list[WouldSend]] = defaultdict(list)
        self.matched = 0
        self.waiting: list[_Planned] = []

    def result(self) -> DryRun:
        return DryRun(
            trigger_id=self._rule.id,
            start_ms=self._start_ms,
            end_ms=self._end_ms,
            events=self._events,
            matched=self.matched,
            sent=tuple(self._sent),
            blocked=dict(self._blocked),
            withdrawn=self._withdrawn,
            ahead=self._ahead,
            reminders=self._rule.remind_ms is not None,
        )

    # -------------------- planning

    async def plan_events(self, store: Store) -> None:
        after: Event | None = None
        assert self._rule.on is not None

        def look(tx: Tx) -> list[Event]:
            found = tx.events_page(self._start_ms, self._end_ms, types=(self._rule.on or "",), after=after, limit=_PAGE)
            for event in found:
                if event.customer_id:
                    self._events += 1
                    self._plan_event(tx, event)
            return found

        while True:
            page = await store.read(look)
            if len(page) < _PAGE:
                return
            after = page[-1]

    def _plan_event(self, tx: Tx, event: Event) -> None:
        data = json.loads(event.data)
        if triggers.matches(self._rule, event.type, facts_of(tx, event, data)):
            due_ms = triggers.due_ms(self._rule, event.occurred_ms, self._shop.tz)
            self._plan(event.customer_id, event.id, event.occurred_ms, due_ms, data)

    async def plan_rhythm(self, store: Store) -> None:
        after = ""

        def look(tx: Tx) -> list[str]:
            found = tx.customers_after(after, limit=_PAGE)
            for customer_id in found:
                for at_ms in self._runs_for(tx, customer_id):
                    self._plan_run(customer_id, at_ms)
            return found

        while True:
            page = await store.read(look)
            if len(page) < _PAGE:
                return
            after = page[-1]

    def _runs_for(self, tx: Tx, customer_id: str) -> Iterator[int]:
        """The daily runs of an `every` rule that would have planned an invitation for this customer."""
        every_ms = self._rule.every_ms
        assert every_ms is not None
        if not any(a.blocked_ms is None for a in tx.addresses_of(customer_id)):
            return
        planned = [
            i.planned_ms
            for i in tx.invitations_of(customer_id)
            if i.trigger_id == self._rule.id and i.part == 1 and i.planned_ms < self._start_ms
        ]
        free_ms = max(planned) + every_ms if planned else self._start_ms
        while True:
            at_ms = triggers.next_slot_ms(self._rule, max(free_ms, self._start_ms) - 1, self._shop.tz)
            if at_ms >= self._end_ms:
                return
            yield at_ms
            free_ms = at_ms + every_ms

    def _plan_run(self, customer_id: str, at_ms: int) -> None:
        ahead_ms = self._shop.contact.relational_ahead
        due_ms = at_ms
        drawn = chance_of(self._name(customer_id, "", at_ms)) < self._rule.sample
        if self._flow.survey_kind == "relational" and ahead_ms is not None and drawn:
            due_ms = triggers.next_slot_ms(self._rule, at_ms + ahead_ms - DAY_MS, self._shop.tz)
        self._plan(customer_id, "", at_ms, due_ms, {})

    def _plan(self, customer_id: str, event_id: str, caused_ms: int, due_ms: int, data: Mapping[str, object]) -> None:
        self.matched += 1
        if due_ms >= self._end_ms:
            self._ahead += 1
            return
        expires_ms = due_ms + self._rule.expires_ms
        planned = _Planned(due_ms, self.matched, customer_id, event_id, caused_ms, data, expires_ms)
        heapq.heappush(self.waiting, planned)

    def _name(self, customer_id: str, event_id: str, caused_ms: int) -> str:
        """What chance is drawn by: the same each time this is simulated."""
        return f"dry:{self._rule.id}:{event_id or customer_id}:{caused_ms}"

    # -------------------- deciding

    def decide_some(self, tx: Tx) -> None:
        """Decide about the next ones, in order of time."""
        for _ in range(min(_PAGE, len(self.waiting))):
            planned = heapq.heappop(self.waiting)
            if self._is_void(tx, planned):
                self._withdrawn += 1
                continue
            reachable = {
                a.channel
                for a in tx.addresses_of(planned.customer_id)
                if a.channel in self._channels and (a.blocked_ms is None or a.blocked_ms > planned.due_ms)
            }
            decision = triggers.way_to_ask(
                self._shop.contact,
                candidate=triggers.Candidate(
                    survey_kind=self._flow.survey_kind, sample=self._rule.sample, give_up_ms=planned.expires_ms
                ),
                history=self._history(tx, planned),
                wanted=self._rule.channel,
                reachable=reachable,
                paused=False,  # what is paused today was not then
                now_ms=planned.due_ms,
                tz=self._shop.tz,
                draw=chance_of(self._name(planned.customer_id, planned.event_id, planned.caused_ms)),
            )
            match decision:
                case triggers.Wait(until_ms=until_ms, reason=reason):
                    if until_ms >= planned.expires_ms:
                        self._blocked[reason] += 1
                    elif until_ms >= self._end_ms:
                        self._ahead += 1
                    else:
                        heapq.heappush(self.waiting, replace(planned, due_ms=until_ms))
                case triggers.Skip(reason=reason):
                    self._blocked[reason] += 1
                case channel:
                    would = WouldSend(planned.customer_id, planned.event_id, planned.due_ms, channel)
                    self._sent.append(would)
                    self._sent_to[planned.customer_id].append(would)

    def _is_void(self, tx: Tx, planned: _Planned) -> bool:
        """Whether an event that withdraws it came between its cause and now."""
        if not self._rule.void_on:
            return False
        return any(
            event.id != planned.event_id
            and planned.caused_ms <= event.occurred_ms <= planned.due_ms
            and same_order(planned.data, json.loads(event.data))
            for event in tx.events_of(planned.customer_id, types=self._rule.void_on)
        )

    def _history(self, tx: Tx, planned: _Planned) -> triggers.History:
        """What would have been known of the customer then: what is stored, and what this run has sent."""
        flow, at_ms = self._flow, planned.due_ms
        known = history_of(
            tx.contacts_at(
                planned.customer_id,
                event_id=planned.event_id,
                touchpoint=flow.touchpoint,
                at_ms=at_ms,
                but_trigger=self._rule.id,
                since_ms=self._start_ms,
            )
        )
        mine = self._sent_to.get(planned.customer_id)
        if not mine:
            return known
        last_ms = mine[-1].at_ms

        def later(stored_ms: int | None) -> int:
            return last_ms if stored_ms is None else max(stored_ms, last_ms)

        relational = flow.survey_kind == "relational"
        return replace(
            known,
            event_surveyed=known.event_surveyed or any(would.event_id == planned.event_id != "" for would in mine),
            invitations_365d=known.invitations_365d + sum(would.at_ms > at_ms - 365 * DAY_MS for would in mine),
            last_invitation_ms=later(known.last_invitation_ms),
            last_relational_ms=later(known.last_relational_ms) if relational else known.last_relational_ms,
            last_touchpoint_ms=known.last_touchpoint_ms if relational else later(known.last_touchpoint_ms),
        )


def lines_of(found: DryRun) -> Iterator[tuple[str, int | None, int]]:
    """(reason, its rule of the contact cap, how many), in the order in which the rules are asked."""
    for reason in triggers.REASONS:
        if found.blocked.get(reason):
            yield reason, triggers.RULES.get(reason), found.blocked[reason]
