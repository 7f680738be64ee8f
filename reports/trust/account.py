"""The trust balance (信頼残高) of one customer: from what happened to the lines of a ledger and their sum.

An operational early warning, no validated scale: whoever shows the number shows its lines (`trust_words.ledger_text`).
What happened is made of stored events and answers by `trust_entries`. All three are pure and load nothing beyond the
standard library, so that the server and `koe person` can use them. Many customers at once: `portfolio`.

Source: docs/metrics.md ("Trust balance"), after Covey 1989 (deposits and withdrawals).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

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
NO_REPLY_MS = 72 * HOUR_MS
"""What waits longer for an answer is as good as unanswered."""


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
    if not rules.fast_reply_ms <= rules.reply_ms < NO_REPLY_MS:
        yield ("times",), "times: fast_reply must not be longer than reply, and reply must be shorter than 72h"


def _days(ms: int) -> str:
    return f"{ms / DAY_MS:g}d"


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
