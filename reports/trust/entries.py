"""What the trust account is made of: the stored events, answers, opt-outs and promises of a customer, as its entries.

Source: docs/metrics.md ("Trust balance").
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING

from flows.cases import RESOLVED
from reports.trust.account import (
    DEFAULT,
    HOUR_MS,
    NO_REPLY_MS,
    TYPES,
    Entry,
    Rules,
)
from storage.records import Case, Event, Relationship

if TYPE_CHECKING:
    from storage.store import Tx

_APOLOGY_MS = 24 * HOUR_MS
_SOURCES = frozenset(
    {
        "delivery",
        "ticket_opened",
        "ticket_replied",
        "ticket_resolved",
        "promise",
        "complaint",
        "apology",
        "faq_feedback",
    }
)
"""Business events from which entries are derived."""
_OTHER_BUSINESS = frozenset(
    {
        "purchase", "return", "visit", "contract_start", "contract_renew", "contract_cancel", "referral", "ugc",
        "faq_search", "click", "page_view", "survey_invited", "survey_delivered", "survey_started",
        "survey_answered", "survey_completed", "survey_skipped",
    }
)  # fmt: skip
RELEVANT_TYPES: tuple[str, ...] = (*TYPES, *sorted(_SOURCES))
"""Event types that can make an entry."""
_SAYS: dict[str, tuple[str, ...]] = {
    "delivery_on_time": ("order",),
    "late_delivery": ("order",),
    "very_late_delivery": ("order",),
    "fast_first_response": ("ticket",),
    "reply_in_time": ("ticket",),
    "reply_overdue": ("ticket",),
    "no_reply_72h": ("ticket",),
    "promise_kept": ("promise",),
    "promise_broken": ("promise",),
    "complaint_unresolved": ("incident_id",),
    "complaint_ignored": ("incident_id",),
}
"""Types that a shop may send itself → what in their data keeps the same from being derived once more."""


@dataclass(frozen=True, slots=True)
class _Fact:
    """A business event with its data read."""

    id: str
    type: str
    at_ms: int
    data: Mapping[str, object]

    def text(self, name: str) -> str:
        """An id in the data as text, "" where there is none."""
        value = self.data.get(name)
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""

    def yes(self, name: str) -> bool:
        value = self.data.get(name)
        return value is True or value == 1 or str(value).strip().casefold() in {"true", "yes", "y", "はい"}

    def names(self, *fields: str) -> tuple[str, ...]:
        return tuple(name for name in (self.text("incident_id"), *map(self.text, fields)) if name)


def entries_of(found: Relationship, *, rules: Rules = DEFAULT, tz: tzinfo = UTC) -> list[Entry]:
    """What the stored events, answers, opt-outs and promised contacts of one customer mean for the account.

    Derived anew at each reading, so that a corrected or late event just works. An entry of a deadline that has not
    passed yet lies in the future; `ledger` leaves it out until then. An event that was sent with a type of TYPES counts
    as it stands, and nothing is derived about the same order, ticket, promise or incident.

    Args:
        tz: of the days in `due` and `at` that have no time.
    """
    facts = [fact for event in found.events if (fact := _fact(event)) is not None]
    direct = [fact for fact in facts if fact.type in TYPES]
    said = {(name, fact.text(name)) for fact in direct for name in _SAYS.get(fact.type, ())}
    made = [Entry(fact.id, fact.at_ms, fact.type, fact.text("incident_id"), _names_of(fact)) for fact in direct]
    made += [
        Entry(fact.id, fact.at_ms, fact.type)
        for fact in facts
        if fact.type not in TYPES and fact.type not in _SOURCES and fact.type not in _OTHER_BUSINESS
    ]
    made += _deliveries(facts, said, rules, tz)
    made += _tickets(facts, said, rules)
    made += _promises(facts, said, tz)
    made += [entry for case in found.cases if (entry := _contact(case)) is not None]
    made += [
        Entry(fact.id, fact.at_ms, "faq_resolved")
        for fact in facts
        if fact.type == "faq_feedback" and fact.yes("resolved")
    ]
    complaints = _first_complaints(facts)
    made += _complaints(complaints, facts, found.cases, said, rules)
    made += _apologies(complaints, facts, made, rules)
    made += [Entry(f"opt_out:{at_ms}", at_ms, "opt_out") for at_ms in found.opt_outs_ms]
    made += [
        Entry(rating.id, rating.answered_ms, rating.instrument, code=int(rating.value))
        for rating in found.ratings
        if rating.instrument in rules.survey and re.fullmatch(r"-?[0-9]{1,3}", rating.value)
    ]
    return made


def read_entries(
    tx: Tx, customer_id: str, now_ms: int, *, rules: Rules = DEFAULT, tz: tzinfo, types: Sequence[str] = ()
) -> list[Entry]:
    """The entries of one stored customer within the horizon; of events of these types, or of all, so that a ledger can
    name the unknown ones."""
    history = tx.relationship(
        customer_id, types=types, instruments=tuple(rules.survey), since_ms=now_ms - rules.horizon_ms
    )
    return entries_of(history, rules=rules, tz=tz)


def _fact(event: Event) -> _Fact | None:
    """The event, unless it was cancelled or only a test."""
    try:
        data = json.loads(event.data)
    except ValueError:
        data = {}
    fact = _Fact(event.id, event.type, event.occurred_ms, data if isinstance(data, dict) else {})
    # a promise that is called off is known by its last event
    return None if fact.yes("test") or (fact.yes("cancelled") and fact.type != "promise") else fact


def _names_of(fact: _Fact) -> tuple[str, ...]:
    return fact.names("order", "ticket", "promise") if TYPES[fact.type].weight < 0 else ()


def _grouped(facts: Iterable[_Fact], types: set[str], name: str) -> Iterator[tuple[str, list[_Fact]]]:
    """(id in the data or "", events of these types about it in order of time); each one without an id by itself."""
    about: dict[str, list[_Fact]] = {}
    for fact in sorted((fact for fact in facts if fact.type in types), key=lambda fact: (fact.at_ms, fact.id)):
        if key := fact.text(name):
            about.setdefault(key, []).append(fact)
        else:
            yield "", [fact]
    yield from about.items()


def _deliveries(facts: list[_Fact], said: set[tuple[str, str]], rules: Rules, tz: tzinfo) -> Iterator[Entry]:
    """One entry per order, made of its last delivery: an order is there when its last parcel is."""
    for order, events in _grouped(facts, {"delivery"}, "order"):
        last = events[-1]
        due = _when(last.data.get("due"), tz)
        if due is None or (order and ("order", order) in said):
            continue
        given = _when(last.data.get("at"), tz)
        at_ms = last.at_ms if given is None else given.start_ms
        if at_ms < due.end_ms or at_ms == due.start_ms:
            type_ = "delivery_on_time"
        else:
            type_ = "very_late_delivery" if at_ms - due.start_ms >= rules.very_late_ms else "late_delivery"
        names = tuple(dict.fromkeys((order, *(name for e in events for name in (e.id, *e.names())))))
        yield Entry(last.id, at_ms, type_, names=names)


def _tickets(facts: list[_Fact], said: set[tuple[str, str]], rules: Rules) -> Iterator[Entry]:
    """How soon somebody answered: the first reply by a person, or the solution. A customer who waits gets the entry of
    each deadline that passes, the later one in the place of the former."""
    kinds = {"ticket_opened", "ticket_replied", "ticket_resolved"}
    for ticket, events in _grouped(facts, kinds, "ticket"):
        opened = next((event for event in events if event.type == "ticket_opened"), None)
        if opened is None or not ticket or ("ticket", ticket) in said:
            continue
        names = tuple(dict.fromkeys((ticket, *(name for e in events for name in (e.id, *e.names())))))
        reply = next(
            (
                event
                for event in events
                if event.type != "ticket_opened" and event.at_ms >= opened.at_ms and not event.yes("automatic")
            ),
            None,
        )
        waited_ms = math.inf if reply is None else reply.at_ms - opened.at_ms
        if reply is not None and waited_ms <= rules.reply_ms:
            if waited_ms <= rules.fast_reply_ms:
                yield Entry(f"{opened.id}:fast_first_response", reply.at_ms, "fast_first_response")
            yield Entry(f"{opened.id}:reply_in_time", reply.at_ms, "reply_in_time")
            continue
        overdue = f"{opened.id}:reply_overdue"
        yield Entry(overdue, opened.at_ms + rules.reply_ms, "reply_overdue", names=names)
        if waited_ms > NO_REPLY_MS:
            late_ms = opened.at_ms + NO_REPLY_MS
            yield Entry(f"{opened.id}:no_reply_72h", late_ms, "no_reply_72h", names=names, replaces=overdue)


def _promises(facts: list[_Fact], said: set[tuple[str, str]], tz: tzinfo) -> Iterator[Entry]:
    """A promise is broken when its time passes, and kept when it was; later events about it correct earlier ones."""
    for promise, events in _grouped(facts, {"promise"}, "id"):
        data = {name: value for event in events for name, value in event.data.items()}
        merged = _Fact(events[0].id, "promise", events[0].at_ms, data)
        due = _when(data.get("due"), tz)
        if due is None or merged.yes("cancelled") or (promise and ("promise", promise) in said):
            continue
        kept = _when(data.get("kept_at"), tz)
        names = tuple(dict.fromkeys((promise, *(name for e in events for name in (e.id, *e.names())))))
        yield _promise(events[0].id, due.end_ms, None if kept is None else kept.start_ms, names)


def _contact(case: Case) -> Entry | None:
    """Koe itself promised this customer a contact by a time: kept when somebody had answered or settled it by then. A
    customer who had to be told of another time was promised one that was missed."""
    if case.contact != "yes" or case.due_ms is None or case.outcome == "erased":
        return None
    if case.apologised_ms is not None:
        return _promise(f"case:{case.id}", case.overdue_ms or case.apologised_ms, None, (case.id,))
    met_ms = min((at_ms for at_ms in (case.replied_ms, case.settled_ms) if at_ms is not None), default=None)
    return _promise(f"case:{case.id}", case.due_ms, met_ms, (case.id,))


def _promise(id_: str, due_ms: int, kept_ms: int | None, names: tuple[str, ...]) -> Entry:
    if kept_ms is not None and kept_ms <= due_ms:
        return Entry(id_, kept_ms, "promise_kept")
    return Entry(id_, due_ms, "promise_broken", names=names)


_SOLVED = frozenset({"complaint_resolved", "ticket_resolved"})
_REACTED = _SOLVED | {
    "apology",
    "apology_24h",
    "apology_late",
    "compensation",
    "prevention_reported",
    "ticket_replied",
}
_ABOUT_EVERYTHING = frozenset({"apology", "compensation", "complaint_resolved"})
"""Without an incident these are meant for whatever the customer complained of."""


def _first_complaints(facts: list[_Fact]) -> dict[str, _Fact]:
    """Incident → the complaint that told of it first; one without an incident is its own."""
    out: dict[str, _Fact] = {}
    for incident, events in _grouped(facts, {"complaint"}, "incident_id"):
        out[incident or events[0].id] = events[0]
    return out


def _complaints(
    complaints: Mapping[str, _Fact],
    facts: list[_Fact],
    cases: Sequence[Case],
    said: set[tuple[str, str]],
    rules: Rules,
) -> Iterator[Entry]:
    """A complaint that is not solved in time: ignored when nobody reacted either."""
    if rules.resolve_ms is None:
        return
    settled = [(case.settled_ms, case.outcome) for case in cases if case.settled_ms and case.outcome in RESOLVED]
    solved_cases = [at_ms for at_ms, outcome in settled if outcome != "unreached"]
    answered_cases = [*(at_ms for at_ms, _ in settled), *(case.replied_ms for case in cases if case.replied_ms)]
    for incident, complaint in complaints.items():
        end_ms = complaint.at_ms + rules.resolve_ms
        if ("incident_id", incident) in said:
            continue
        reactions = {
            fact.type
            for fact in facts
            if fact.type in _REACTED
            and complaint.at_ms <= fact.at_ms <= end_ms
            and not fact.yes("automatic")
            and (
                fact.text("incident_id") in (incident, complaint.id)
                or (fact.type in _ABOUT_EVERYTHING and not fact.text("incident_id"))
            )
        }
        if reactions & _SOLVED or any(complaint.at_ms <= at_ms <= end_ms for at_ms in solved_cases):
            continue
        heard = reactions or any(complaint.at_ms <= at_ms <= end_ms for at_ms in answered_cases)
        type_ = "complaint_unresolved" if heard else "complaint_ignored"
        yield Entry(f"{complaint.id}:{type_}", end_ms, type_, names=(incident, complaint.id))


def _apologies(
    complaints: Mapping[str, _Fact], facts: list[_Fact], made: Sequence[Entry], rules: Rules
) -> Iterator[Entry]:
    """An apology is soon within 24 hours of the complaint; where nobody complained, of the failure itself."""
    failures = [entry for entry in made if rules.weights.get(entry.type, 0.0) < 0]
    for fact in facts:
        if fact.type != "apology":
            continue
        incident = fact.text("incident_id")
        if incident in complaints:
            known_ms = [complaints[incident].at_ms]
        else:
            known_ms = [
                entry.at_ms
                for entry in failures
                if incident and incident in (entry.id, *entry.names) and entry.at_ms <= fact.at_ms
            ]
        soon = bool(known_ms) and 0 <= fact.at_ms - min(known_ms) <= _APOLOGY_MS
        yield Entry(fact.id, fact.at_ms, "apology_24h" if soon else "apology_late", incident)


def longest_wait_ms(rules: Rules) -> int:
    """How long after an enquiry or a complaint it can still make an entry by itself."""
    return max(NO_REPLY_MS, rules.resolve_ms or 0)


def due_ms(event: Event, tz: tzinfo) -> int:
    """When what a "promise" event promises has to have happened; -1 where it does not say."""
    fact = _fact(event)
    due = None if fact is None else _when(fact.data.get("due"), tz)
    return -1 if due is None else due.end_ms


@dataclass(frozen=True, slots=True)
class _Moment:
    """An instant, or a whole local day [start, end)."""

    start_ms: int
    end_ms: int


_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _when(value: object, tz: tzinfo) -> _Moment | None:
    """The moment that a text of an event names; None where it names none."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            return _Moment(midnight_ms(day, tz), midnight_ms(day + timedelta(days=1), tz))
        at = datetime.fromisoformat(text)
        at_ms = int((at if at.tzinfo is not None else at.replace(tzinfo=tz)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return _Moment(at_ms, at_ms)


def midnight_ms(day: date, tz: tzinfo) -> int:
    return int(datetime.combine(day, time(), tz).timestamp() * 1000)
