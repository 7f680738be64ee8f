"""The trust balance (信頼残高) of one customer: from what happened to the lines of a ledger and their sum.

An operational early warning, no validated scale: whoever shows the number shows its lines (`ledger_text`). Pure, and
loads nothing beyond the standard library, so that the server and `koe person` can use it. Many customers at once:
reports.portfolio.

Source: docs/metrics.md ("Trust balance"), after Covey 1989 (deposits and withdrawals).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Literal

from flows.cases import RESOLVED
from reports.rounding import signed
from storage.records import Case, Event, Relationship

if TYPE_CHECKING:
    from storage.store import Tx

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
HORIZON_HALF_LIVES = 10
"""What is older than so many half-lives counts for less than a thousandth of its weight and is not read."""
_TOLERANCE = 1e-9

Behaviour = Literal["understanding", "care", "promise", "clarity", "honesty", "recovery", "voice"]
"""The six of the account, and "voice": what the customer said in a survey about no behaviour in particular."""
BEHAVIOURS: tuple[Behaviour, ...] = (
    "understanding",
    "care",
    "promise",
    "clarity",
    "honesty",
    "recovery",
    "voice",
)
Reason = Literal["counted", "cooldown", "no_incident", "recovery_cap", "superseded", "duplicate", "unknown"]
"""Why a line has the effective weight it has; a truncated recovery is "recovery_cap" whatever is left of it."""
Band = Literal["overdrawn", "thin", "good", "solid"]
Lang = Literal["ja", "en"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What the account knows of an event type: a deposit (weight > 0) or a withdrawal."""

    behaviour: Behaviour
    weight: float
    recovery: bool = False
    """Makes good an earlier withdrawal, and counts only up to a share of it."""


TYPES: dict[str, Kind] = {
    "need_recorded_used": Kind("understanding", 1),
    "feedback_acted_on": Kind("understanding", 3),
    "interview_held": Kind("understanding", 2),
    "personal_followup": Kind("understanding", 1),
    "over_promotion": Kind("understanding", -2),
    "opt_out": Kind("understanding", -3),
    "fast_first_response": Kind("care", 1),
    "personal_note": Kind("care", 1),
    "birthday_greeting": Kind("care", 0.5),
    "inconsistent_answer": Kind("care", -4),
    "promise_kept": Kind("promise", 2),
    "delivery_on_time": Kind("promise", 1),
    "reply_in_time": Kind("promise", 1),
    "announcement_on_schedule": Kind("promise", 1),
    "promise_broken": Kind("promise", -6),
    "late_delivery": Kind("promise", -4),
    "very_late_delivery": Kind("promise", -8),
    "reply_overdue": Kind("promise", -4),
    "no_reply_72h": Kind("promise", -8),
    "terms_confirmed": Kind("clarity", 1),
    "delay_prenotified": Kind("clarity", 1),
    "faq_resolved": Kind("clarity", 0.5),
    "terms_surprise": Kind("clarity", -6),
    "incident_disclosed": Kind("honesty", 2),
    "self_reported_error": Kind("honesty", 3),
    "defect_or_wrong_item": Kind("honesty", -6),
    "billing_error": Kind("honesty", -8),
    "apology_24h": Kind("recovery", 2, recovery=True),
    "apology_late": Kind("recovery", 1, recovery=True),
    "compensation": Kind("recovery", 2, recovery=True),
    "complaint_resolved": Kind("recovery", 2, recovery=True),
    "prevention_reported": Kind("recovery", 2, recovery=True),
    "complaint_unresolved": Kind("recovery", -6),
    "complaint_ignored": Kind("recovery", -12),
}
"""Every type of the account with the weight it has unless koe.yaml says otherwise."""

_FIVE = {5: 1.0, 4: 1.0, 3: 0.0, 2: -3.0, 1: -3.0}
_AGREEMENT = {5: 1.0, 4: 0.5, 3: 0.0, 2: -1.5, 1: -3.0}
SURVEY: dict[str, Mapping[int, float]] = {
    "nps": {code: 2.0 if code >= 9 else 0.0 if code >= 7 else -4.0 for code in range(11)},
    "ces_effort": {code: 1.0 if code <= 2 else 0.0 if code <= 4 else -3.0 for code in range(1, 8)},
    "csat5": _FIVE,
    "sat5": _FIVE,
    "affinity": {5: 2.0, 4: 1.0, 3: 0.0, 2: -2.0, 1: -4.0},
    "trust6_understanding": _AGREEMENT,
    "trust6_care": _AGREEMENT,
    "trust6_promise": _AGREEMENT,
    "trust6_clarity": _AGREEMENT,
    "trust6_honesty": _AGREEMENT,
    "trust6_recovery": _AGREEMENT,
}
"""Instrument → code of the answer → points."""

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
_ASYMMETRIC = (
    ("promise_broken", "promise_kept"),
    ("late_delivery", "delivery_on_time"),
    ("reply_overdue", "reply_in_time"),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """Every number of the account (section `trust` of koe.yaml); `sanity` says which cannot stand together."""

    weights: Mapping[str, float] = field(default_factory=lambda: {name: kind.weight for name, kind in TYPES.items()})
    """Event type → points."""
    survey: Mapping[str, Mapping[int, float]] = field(default_factory=lambda: dict(SURVEY))
    """Instrument → code → points; a code that is not there gives none."""
    half_life_deposit_ms: int = 180 * DAY_MS
    half_life_withdrawal_ms: int = 360 * DAY_MS
    floor: float = -100.0
    cap: float = 100.0
    good_from: float = 5.0
    solid_from: float = 15.0
    cooldown_ms: int = 7 * DAY_MS
    """A deposit of a type counts once in this time."""
    recovery_share: float = 0.8
    """Of the weight of a withdrawal, what can be made good."""
    drop_points: float | None = 5.0
    """A fall by more than this is reported; None: none is."""
    drop_within_ms: int = 7 * DAY_MS
    fast_reply_ms: int = HOUR_MS
    reply_ms: int = 24 * HOUR_MS
    """How soon a customer is promised an answer to an enquiry."""
    very_late_ms: int = 3 * DAY_MS
    resolve_ms: int | None = 7 * DAY_MS
    """How long a complaint may take; None: no entry is made of the time it takes."""

    @property
    def horizon_ms(self) -> int:
        """How far back events and answers are read."""
        return HORIZON_HALF_LIVES * max(self.half_life_deposit_ms, self.half_life_withdrawal_ms)


DEFAULT = Rules()
_NO_REPLY_MS = 72 * HOUR_MS
_APOLOGY_MS = 24 * HOUR_MS


def sanity(rules: Rules) -> Iterator[tuple[tuple[str, ...], str]]:
    """What cannot stand in the rules: (path below `trust`, sentence). The account must stay one in which trust is
    slower to win than to lose."""
    for name, weight in rules.weights.items():
        if TYPES[name].weight > 0 > weight:
            yield ("weights", name), f"{name} is a deposit; {weight:g} is below 0"
        elif TYPES[name].weight < 0 < weight:
            yield ("weights", name), f"{name} is a withdrawal; {weight:g} is above 0"
    for bad, good in _ASYMMETRIC:
        down, up = abs(rules.weights[bad]), abs(rules.weights[good])
        if down < 2 * up - _TOLERANCE:
            yield (
                ("weights", bad if rules.weights[bad] != TYPES[bad].weight else good),
                f"{bad} ({rules.weights[bad]:g}) must weigh at least twice as much as {good} ({rules.weights[good]:g})",
            )
    if rules.half_life_withdrawal_ms < rules.half_life_deposit_ms:
        yield (
            ("half_life", "withdrawal"),
            f"half_life: withdrawals ({_days(rules.half_life_withdrawal_ms)}) must not fade sooner than deposits "
            f"({_days(rules.half_life_deposit_ms)})",
        )
    if rules.floor >= 0:
        yield ("floor",), f"floor is {rules.floor:g}; it must be below 0"
    if rules.cap <= 0:
        yield ("cap",), f"cap is {rules.cap:g}; it must be above 0"
    if not 0 < rules.good_from < rules.solid_from:
        yield (
            ("bands",),
            f"bands: good ({rules.good_from:g}) must lie above 0 and below solid ({rules.solid_from:g})",
        )
    elif 0 < rules.cap < rules.solid_from:
        yield ("bands",), f"bands: solid ({rules.solid_from:g}) lies above the cap ({rules.cap:g}): nobody gets there"
    if not rules.fast_reply_ms <= rules.reply_ms < _NO_REPLY_MS:
        yield ("times",), "times: fast_reply must not be longer than reply, and reply must be shorter than 72h"


def _days(ms: int) -> str:
    return f"{ms / DAY_MS:g}d"


# ------------------------------------------------------------------------------------------------- the account


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened, before the rules of the account are applied."""

    id: str
    at_ms: int
    type: str
    """Of TYPES, or an instrument of the survey."""
    incident: str = ""
    """Of a recovery: the name of the withdrawal that it makes good."""
    names: tuple[str, ...] = ()
    """Of a withdrawal: what a recovery may call it, besides its id."""
    code: int | None = None
    """Of a survey answer."""
    replaces: str = ""
    """The id of the entry in whose place this one stands from its time on."""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry as it stands in the account at a time."""

    id: str
    at_ms: int
    type: str
    behaviour: Behaviour | None
    """None for an unknown type."""
    weight: float
    effective: float
    """What is left of the weight after the rules: see `reason`."""
    contribution: float
    """`effective`, faded since `at_ms`."""
    reason: Reason
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of one customer at one time; lines in the order in which they count (time, id)."""

    at_ms: int
    lines: tuple[Line, ...]
    balance: float
    """Sum of the contributions, cut at floor and cap; 0 without any."""
    band: Band

    @property
    def unknown(self) -> int:
        """How many entries had a type that the account does not know."""
        return sum(line.reason == "unknown" for line in self.lines)


@dataclass(slots=True)
class _Incident:
    """What can be made good of one failure, whatever it is called."""

    debt: float = 0.0
    credited: float = 0.0


def band_of(balance: float, rules: Rules = DEFAULT) -> Band:
    """The band of a balance.

    >>> [band_of(b) for b in (-0.1, 0.0, 4.99, 5.0, 15.0)]
    ['overdrawn', 'thin', 'thin', 'good', 'solid']
    """
    if balance < 0:
        return "overdrawn"
    if balance < rules.good_from:
        return "thin"
    return "good" if balance < rules.solid_from else "solid"


def ledger(entries: Iterable[Entry], at_ms: int, rules: Rules = DEFAULT) -> Ledger:
    """The account at a time, from the entries up to it; the order in which they are given does not matter.

    An entry contributes effective weight · 2^(−age / half-life). In the order of (time, id): a repeated id counts once;
    a deposit of a type that counted within the cooldown gets nothing; a recovery needs a withdrawal of its incident at
    or before it, and all recoveries of an incident together get `recovery_share` of its weight at most; of the
    answers to an instrument the latest counts.
    """
    ordered: list[Entry] = []
    repeated: list[Entry] = []
    seen: set[str] = set()
    for entry in sorted((entry for entry in entries if entry.at_ms <= at_ms), key=_place):
        (repeated if entry.id in seen else ordered).append(entry)
        seen.add(entry.id)
    latest = {entry.type: entry.id for entry in ordered if entry.type in rules.survey}
    replaced = {entry.replaces for entry in ordered if entry.replaces}
    last_counted: dict[str, int] = {}
    incidents: dict[str, _Incident] = {}
    booked: dict[str, float] = {}
    lines = [_line(entry, _weight(entry, rules), 0.0, "duplicate", at_ms, rules) for entry in repeated]
    for entry in ordered:
        weight = effective = _weight(entry, rules)
        reason: Reason = "counted"
        if entry.type in rules.survey:
            if latest[entry.type] != entry.id:
                effective, reason = 0.0, "superseded"
        elif entry.type not in TYPES:
            reason = "unknown"
        elif TYPES[entry.type].recovery:
            effective, reason = _recovered(weight, incidents.get(entry.incident), rules)
        elif TYPES[entry.type].weight > 0:
            before = last_counted.get(entry.type)
            if before is not None and entry.at_ms - before < rules.cooldown_ms:
                effective, reason = 0.0, "cooldown"
            else:
                last_counted[entry.type] = entry.at_ms
        else:
            booked[entry.id] = -weight
            _open_incident(entry, -weight - booked.get(entry.replaces, 0.0), incidents)
            if entry.id in replaced:
                effective, reason = 0.0, "superseded"
        lines.append(_line(entry, weight, effective, reason, at_ms, rules))
    lines.sort(key=lambda line: (line.at_ms, line.id))
    total = math.fsum(line.contribution for line in lines)
    balance = min(rules.cap, max(rules.floor, total))
    return Ledger(at_ms, tuple(lines), balance, band_of(balance, rules))


def _place(entry: Entry) -> tuple[object, ...]:
    # A recovery finds a failure of the same instant, whatever their ids. Beyond the id only so that two different
    # entries with one id and time do not depend on who came first.
    recovery = entry.type in TYPES and TYPES[entry.type].recovery
    return entry.at_ms, recovery, entry.id, entry.type, entry.incident, entry.names, entry.code or 0, entry.replaces


def _weight(entry: Entry, rules: Rules) -> float:
    points = rules.survey.get(entry.type)
    if points is not None:
        return 0.0 if entry.code is None else points.get(entry.code, 0.0)
    return rules.weights.get(entry.type, 0.0)


def _line(entry: Entry, weight: float, effective: float, reason: Reason, at_ms: int, rules: Rules) -> Line:
    half_life_ms = rules.half_life_deposit_ms if effective > 0 else rules.half_life_withdrawal_ms
    faded = effective * 2.0 ** (-(at_ms - entry.at_ms) / half_life_ms) if effective else 0.0
    return Line(
        entry.id, entry.at_ms, entry.type, behaviour_of(entry.type), weight, effective, faded, reason, entry.code
    )


def _open_incident(entry: Entry, debt: float, incidents: dict[str, _Incident]) -> None:
    """Book a failure under all its names. One that is known under some of them already is the same incident."""
    names = [name for name in (entry.id, *entry.names) if name]
    whole = _Incident(debt)
    for former in {id(incidents[name]): incidents[name] for name in names if name in incidents}.values():
        whole.debt += former.debt
        whole.credited += former.credited
        names += [name for name, found in incidents.items() if found is former]
    for name in names:
        incidents[name] = whole


def _recovered(weight: float, incident: _Incident | None, rules: Rules) -> tuple[float, Reason]:
    if incident is None:
        return 0.0, "no_incident"
    effective = min(weight, max(0.0, rules.recovery_share * incident.debt - incident.credited))
    incident.credited += effective
    return effective, "counted" if effective >= weight - _TOLERANCE else "recovery_cap"


def behaviour_of(type_: str) -> Behaviour | None:
    """To which behaviour a type or instrument belongs; None for an unknown one."""
    if type_ in TYPES:
        return TYPES[type_].behaviour
    if type_ in SURVEY:
        named = type_.removeprefix("trust6_")
        return next((behaviour for behaviour in BEHAVIOURS if behaviour == named), "voice")
    return None


@dataclass(frozen=True, slots=True)
class Drop:
    """A balance that fell by more than the rules let pass."""

    high: float
    """The highest balance of the time looked at …"""
    balance: float
    """… and the one at its end."""
    at_ms: int
    withdrawals: tuple[Line, ...]
    """What brought it down, oldest first; never empty."""


def drop_of(
    entries: Sequence[Entry], at_ms: int, rules: Rules = DEFAULT, *, since_ms: int | None = None
) -> Drop | None:
    """The fall from the highest balance within `drop_within_ms` before `at_ms`, when it is more than `drop_points`.

    Args:
        since_ms: do not look further back: when a former drop of this customer was reported.
    """
    if rules.drop_points is None:
        return None
    start_ms = max(at_ms - rules.drop_within_ms, at_ms - rules.drop_within_ms if since_ms is None else since_ms)
    turns = {entry.at_ms for entry in entries if start_ms < entry.at_ms <= at_ms}
    now = ledger(entries, at_ms, rules)
    # between two entries a balance has no summit of its own: deposits fade sooner than withdrawals
    looks = {start_ms, *turns, *(turn - 1 for turn in turns)}
    high, high_ms = max((ledger(entries, look, rules).balance, look) for look in looks)
    withdrawals = tuple(line for line in now.lines if line.contribution < 0 and line.at_ms > high_ms)
    if not withdrawals or high - now.balance <= rules.drop_points + _TOLERANCE:
        return None
    return Drop(high, now.balance, at_ms, withdrawals)


# -------------------------------------------------------------------------------------- from what is stored to entries


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
        if waited_ms > _NO_REPLY_MS:
            late_ms = opened.at_ms + _NO_REPLY_MS
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
    return max(_NO_REPLY_MS, rules.resolve_ms or 0)


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
            return _Moment(_midnight_ms(day, tz), _midnight_ms(day + timedelta(days=1), tz))
        at = datetime.fromisoformat(text)
        at_ms = int((at if at.tzinfo is not None else at.replace(tzinfo=tz)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return _Moment(at_ms, at_ms)


def _midnight_ms(day: date, tz: tzinfo) -> int:
    return int(datetime.combine(day, time(), tz).timestamp() * 1000)


# ----------------------------------------------------------------------------------------------------------- words

_TYPE_NAMES: dict[str, tuple[str, str]] = {
    "need_recorded_used": ("ご要望を記録して活用", "a recorded wish was used"),
    "feedback_acted_on": ("ご意見を反映", "feedback was acted on"),
    "interview_held": ("お話をうかがう機会", "an interview was held"),
    "personal_followup": ("個別のフォロー", "a personal follow-up"),
    "over_promotion": ("過度な販促", "too much promotion"),
    "opt_out": ("アンケートの停止", "stopped surveys"),
    "fast_first_response": ("すばやい初回応答", "a quick first reply"),
    "personal_note": ("手書きのひとこと", "a personal note"),
    "birthday_greeting": ("お誕生日のごあいさつ", "a birthday greeting"),
    "inconsistent_answer": ("窓口によって異なるご案内", "contradictory answers"),
    "promise_kept": ("約束どおり対応", "a promise was kept"),
    "delivery_on_time": ("予定どおりのお届け", "delivered on time"),
    "reply_in_time": ("期限内の返信", "a reply in time"),
    "announcement_on_schedule": ("告知どおりの実施", "done as announced"),
    "promise_broken": ("約束の不履行", "a promise was broken"),
    "late_delivery": ("お届けの遅れ", "a late delivery"),
    "very_late_delivery": ("お届けの大幅な遅れ", "a very late delivery"),
    "reply_overdue": ("返信の遅れ", "a reply was overdue"),
    "no_reply_72h": ("72時間返信なし", "no reply for 72 hours"),
    "terms_confirmed": ("条件の事前確認", "terms were confirmed beforehand"),
    "delay_prenotified": ("遅れの事前連絡", "a delay was announced beforehand"),
    "faq_resolved": ("FAQで解決", "solved by the FAQ"),
    "terms_surprise": ("条件の行き違い", "terms were not as understood"),
    "incident_disclosed": ("不具合の自主的な開示", "a problem was disclosed"),
    "self_reported_error": ("誤りの自己申告", "an error was admitted unasked"),
    "defect_or_wrong_item": ("不良品・商品違い", "a defective or wrong item"),
    "billing_error": ("請求の誤り", "a billing error"),
    "apology_24h": ("24時間以内のおわび", "an apology within 24 hours"),
    "apology_late": ("24時間を過ぎてのおわび", "an apology after 24 hours"),
    "compensation": ("返金・再送などの補償", "a refund, replacement or coupon"),
    "complaint_resolved": ("お申し出の解決", "a complaint was resolved"),
    "prevention_reported": ("再発防止のご報告", "prevention was reported"),
    "complaint_unresolved": ("お申し出が期限までに未解決", "a complaint was not resolved in time"),
    "complaint_ignored": ("お申し出への対応なし", "a complaint was ignored"),
    "nps": ("薦める可能性", "would recommend"),
    "ces_effort": ("手間・負担", "effort"),
    "csat5": ("満足度", "satisfaction"),
    "sat5": ("満足度", "satisfaction"),
    "affinity": ("愛着度", "attachment"),
    "trust6_understanding": ("信頼の回答：理解", "on trust, understanding"),
    "trust6_care": ("信頼の回答：小さな心配り", "on trust, small attentions"),
    "trust6_promise": ("信頼の回答：約束", "on trust, promises"),
    "trust6_clarity": ("信頼の回答：期待の明確化", "on trust, clear expectations"),
    "trust6_honesty": ("信頼の回答：誠実さ", "on trust, honesty"),
    "trust6_recovery": ("信頼の回答：謝罪と回復", "on trust, apology and recovery"),
}
_BEHAVIOUR_NAMES: dict[Behaviour, tuple[str, str]] = {
    "understanding": ("相手を理解する", "understanding the customer"),
    "care": ("小さなことを大切にする", "caring about small things"),
    "promise": ("約束を守る", "keeping promises"),
    "clarity": ("期待を明確にする", "making expectations clear"),
    "honesty": ("誠実さを示す", "showing integrity"),
    "recovery": ("誠実な謝罪とリカバリー", "apologising and making good"),
    "voice": ("アンケートの回答", "survey answers"),
}
_BAND_NAMES: dict[Band, tuple[str, str]] = {
    "overdrawn": ("赤字", "overdrawn"),
    "thin": ("薄い", "thin"),
    "good": ("良好", "good"),
    "solid": ("厚い", "solid"),
}
_REASON_NAMES: dict[Reason, tuple[str, str]] = {
    "counted": ("", ""),
    "cooldown": ("短期間の繰り返しのため加算なし", "repeated too soon, not counted"),
    "no_incident": ("対応する出来事がないため加算なし", "no such incident, not counted"),
    "recovery_cap": ("回復の上限まで", "up to the limit of a recovery"),
    "superseded": ("その後の記録に置き換え", "replaced by a later one"),
    "duplicate": ("重複のため計上なし", "a duplicate, not counted"),
    "unknown": ("種類が不明のため計上なし", "of an unknown type, not counted"),
}
_NOTICE = (
    "記録された出来事から計算した、対応の優先順位を決めるための目安です。検証された心理尺度ではありません。"
    "価格や利用条件の判断には使わないでください。",
    "A rule of thumb made from recorded events, for deciding whom to look after first; not a validated scale. "
    "Never use it for prices or eligibility.",
)


def type_name(type_: str, lang: Lang) -> str:
    """An event type or instrument in words; an unknown one is called by its name."""
    return _TYPE_NAMES.get(type_, (type_, type_))[lang == "en"]


def behaviour_name(behaviour: Behaviour, lang: Lang) -> str:
    """A behaviour in words."""
    return _BEHAVIOUR_NAMES[behaviour][lang == "en"]


def band_name(band: Band, lang: Lang) -> str:
    """A band in words."""
    return _BAND_NAMES[band][lang == "en"]


def notice(lang: Lang) -> str:
    """What has to stand wherever a balance is shown."""
    return _NOTICE[lang == "en"]


def line_text(line: Line, at_ms: int, lang: Lang) -> str:
    """ "+1.59 約束どおり対応（60日前）", "+1.59 a promise was kept (60 days ago)"."""
    days = max(0, at_ms - line.at_ms) // DAY_MS
    what = type_name(line.type, lang)
    if line.code is not None:
        what += f" {line.code}" if lang == "en" else f" {line.code}点"
    if lang == "en":
        notes = ["today" if days == 0 else "1 day ago" if days == 1 else f"{days} days ago"]
    else:
        notes = ["本日" if days == 0 else f"{days}日前"]
    notes += [note for note in (_REASON_NAMES[line.reason][lang == "en"],) if note]
    points = signed(line.contribution, 2)
    return f"{points} {what} ({', '.join(notes)})" if lang == "en" else f"{points} {what}（{'、'.join(notes)}）"


def ledger_text(account: Ledger, lang: Lang) -> list[str]:
    """The balance with its band, what it is not, and every line, newest first: one text line each."""
    balance = signed(account.balance, 2)
    band = band_name(account.band, lang)
    head = f"Trust balance: {balance} ({band})" if lang == "en" else f"信頼残高：{balance}（{band}）"
    known = [line for line in account.lines if line.reason != "unknown"]
    lines = [line_text(line, account.at_ms, lang) for line in reversed(known)]
    if not known:
        lines.append("nothing recorded" if lang == "en" else "記録はありません")
    if account.unknown:
        types = Counter(line.type for line in account.lines if line.reason == "unknown")
        listed = (", " if lang == "en" else "、").join(f"{name} {count}" for name, count in sorted(types.items()))
        lines.append(f"not counted, unknown types: {listed}" if lang == "en" else f"種類が不明のため計上なし：{listed}")
    return [head, notice(lang), *lines]
