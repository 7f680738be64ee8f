"""Whom to ask, and when: event + rule + history + now → invite, wait, or skip with a reason.

Time, chance and the time zone are handed in. The nine rules of the contact cap stand in `decide`, in order.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from flows.conditions import Condition

DAY_MS = 86_400_000
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS}
_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_RUN_MINUTE = 10 * 60
_LONGEST_MS = 3 * 366 * DAY_MS

ChannelName = Literal["line", "slack"]
CHANNELS: tuple[ChannelName, ...] = ("line", "slack")
"""Where a customer is asked, first one they have, when a rule or a member of staff does not say."""
BY_STAFF = "staff"
"""Stands for the rule in what staff start; no rule may be called so."""
Reason = Literal[
    "opted_out",
    "blocked",
    "open_case",
    "open_ticket",
    "after_complaint",
    "quiet_hours",
    "same_event",
    "min_gap",
    "per_year",
    "relational_gap",
    "relational_ahead",
    "touchpoint_gap",
    "sampled_out",
    # not of the cap: found by whoever looks for the customer's address and the invitation's age
    "unreachable",
    "expired",
    # a person stopped the survey for a while
    "paused",
]
REASONS: tuple[str, ...] = get_args(Reason)
"""Why an invitation was not sent, as stored with it; those of `decide` in the order of its rules."""
RULES: Mapping[str, int] = {
    "opted_out": 1,
    "blocked": 1,
    "open_case": 2,
    "open_ticket": 2,
    "after_complaint": 2,
    "quiet_hours": 3,
    "same_event": 4,
    "min_gap": 5,
    "per_year": 6,
    "relational_gap": 7,
    "relational_ahead": 7,
    "touchpoint_gap": 8,
    "sampled_out": 9,
}
"""Which of the nine rules of the contact cap a reason belongs to; what is missing here is none of them.

Source: docs/contact-cap.md.
"""

# ------------------------------------------------------------------------------------------ words in the file


def parse_duration(value: object) -> int:
    """Milliseconds of "7d", "72h", "5m", "30s", "2w".

    Raises:
        ValueError: for anything else, and for more than three years.

    >>> parse_duration("72h")
    259200000
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write a number and a unit, such as 7d, 72h or 5m")
    ms = int(match[1]) * _UNITS_MS[match[2]]
    if ms > _LONGEST_MS:
        raise ValueError(f"{value!r} is longer than three years")
    return ms


def parse_clock(value: object) -> int:
    """Minutes after midnight of "10:00"; "24:00" is the end of the day.

    Raises:
        ValueError: for anything that is no time of day.

    >>> parse_clock("09:30")
    570
    """
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        minutes = int(match[1]) * 60 + int(match[2])
        if int(match[2]) < 60 and minutes <= 1440:
            return minutes
    raise ValueError(f'{value!r} is not a time of day; write it as "10:00"')


def _slot(minutes: int) -> int:
    if minutes == 1440:
        raise ValueError('"24:00" is the end of a day; write "00:00"')
    return minutes


def parse_hours(value: object) -> tuple[int, int]:
    """(first minute, minute after the last) of "09:00-21:00".

    Raises:
        ValueError: when it is no such span, or does not end after it begins.

    >>> parse_hours("09:00-21:00")
    (540, 1260)
    """
    parts = value.split("-") if isinstance(value, str) else []
    if len(parts) != 2:
        raise ValueError(f'{value!r} is not a span of hours; write it as "09:00-21:00"')
    start, end = (parse_clock(part.strip()) for part in parts)
    if start >= end:
        raise ValueError(f"{value!r} ends before it begins; hours over midnight are not supported")
    return start, end


def _positive(ms: int) -> int:
    if ms <= 0:
        raise ValueError("must be longer than zero")
    return ms


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


_DURATION_SCHEMA = WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,6}[smhdw]$"})
Duration = Annotated[int, BeforeValidator(parse_duration), _DURATION_SCHEMA]
"""Milliseconds, written as "7d"."""
Span = Annotated[int, BeforeValidator(parse_duration), AfterValidator(_positive), _DURATION_SCHEMA]
"""A duration that is not zero."""
Clock = Annotated[
    int,
    BeforeValidator(parse_clock),
    AfterValidator(_slot),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2}$"}),
]
"""Minutes after midnight, written as "10:00"."""
Hours = Annotated[
    tuple[int, int],
    BeforeValidator(parse_hours),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2} *- *[0-9]{1,2}:[0-9]{2}$"}),
]
"""(first minute, minute after the last) of a day, written as "09:00-21:00"."""
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]


class TriggerRule(BaseModel):
    """One rule of koe.yaml: which event (or which rhythm) asks which survey, of whom, when and where.

    Times are milliseconds or minutes after midnight, whatever the file writes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Name
    on: Name | None = Field(default=None, description="Business event type that starts the survey.")
    every_ms: Span | None = Field(default=None, alias="every", description="Ask each customer in this rhythm: 90d.")
    when: Condition | None = Field(default=None, description="Condition on the event and its order.")
    flow: str = Field(min_length=1)
    channel: Annotated[tuple[ChannelName, ...], BeforeValidator(_listed), Field(min_length=1)] = CHANNELS
    segment: Name | None = Field(default=None, description="The fact that answers are grouped by in reports.")
    delay_ms: Duration = Field(default=0, alias="delay")
    at_minute: Clock | None = Field(default=None, alias="at", description='The next slot at this local time: "10:00".')
    sample: float = Field(default=1.0, ge=0.0, le=1.0, description="Share of customers who are asked.")
    expires_ms: Span = Field(default=7 * DAY_MS, alias="expires", description="How long the survey can be answered.")
    remind_ms: Span | None = Field(default=None, alias="remind", description="One reminder after this long.")
    void_on: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> TriggerRule:
        if (self.on is None) == (self.every_ms is None):
            raise ValueError("a rule starts with either `on: <event type>` or `every: <duration>`; write exactly one")
        if self.on is None and (self.when is not None or self.void_on or self.segment or self.delay_ms):
            raise ValueError("when, void_on, segment and delay need an event; an `every` rule has none")
        if len(set(self.channel)) != len(self.channel):
            raise ValueError("a channel is named twice")
        if self.remind_ms is not None and self.remind_ms >= self.expires_ms:
            raise ValueError("remind must come before expires, or nobody would ever be reminded")
        return self


class ContactRules(BaseModel):
    """How much of a customer's patience may be used. A value of null turns its rule off.

    Source: docs/contact-cap.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hours: Hours | None = Field(default=(9 * 60, 21 * 60), description='When Koe may start a talk: "09:00-21:00".')
    min_gap: Span | None = Field(default=14 * DAY_MS, description="Between any two invitations.")
    per_year: Annotated[int, Field(ge=1, le=366)] | None = Field(default=6, description="Invitations in 365 days.")
    touchpoint_gap: Span | None = Field(default=30 * DAY_MS, description="Between two about the same touchpoint.")
    relational_gap: Span | None = Field(default=90 * DAY_MS, description="After a relational survey.")
    relational_ahead: Span | None = Field(default=14 * DAY_MS, description="Before a planned relational survey.")
    after_complaint: Span | None = Field(default=3 * DAY_MS, description="After a complaint or an apology.")


# ------------------------------------------------------------------------------------------- events and rules


def event_facts(
    event_type: str, data: Mapping[str, object], order: Mapping[str, object] | None = None
) -> dict[str, object]:
    """What a condition can ask about: the event's fields by name and as `event.*`, its order's as `order.*`.

    Nested objects are reached by dots (`order.address.country`). What the event itself says about its order
    wins over what is known of the order.

    >>> event_facts("delivery", {"store": "A"}, {"amount": 5000})["order.amount"]
    5000
    """
    facts: dict[str, object] = {}
    if order is not None:
        _flatten("order", order, facts)
    _flatten("", data, facts)
    _flatten("event", data, facts)
    facts["event.type"] = event_type
    return facts


def _flatten(prefix: str, values: Mapping[str, object], into: dict[str, object], depth: int = 0) -> None:
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            if depth < 5:  # events come from outside; nobody writes conditions this deep
                _flatten(name, value, into, depth + 1)
        else:
            into[name] = value


def matches(rule: TriggerRule, event_type: str, facts: Mapping[str, object]) -> bool:
    """True when an event of this type with these facts asks the rule's survey."""
    return rule.on == event_type and (rule.when is None or rule.when.holds(facts))


def voids(rule: TriggerRule, event_type: str) -> bool:
    """True when an event of this type withdraws the rule's invitations that nobody has answered yet."""
    return event_type in rule.void_on


INCIDENTS = (
    "complaint",
    "complaint_unresolved",
    "complaint_ignored",
    "compensation",
    "apology",
    "defect_or_wrong_item",
    "billing_error",
    "late_delivery",
    "very_late_delivery",
    "promise_broken",
    "reply_overdue",
    "no_reply_72h",
    "terms_surprise",
)
"""Events that say that something went wrong for the customer."""


def customer_facts(
    now_ms: int, *, incident_ms: int | None, purchase_ms: int | None, repeat_interval_ms: int | None
) -> dict[str, object]:
    """What conditions can ask about a customer's past, besides the event: `customer.days_since_incident` (whole days),
    and `customer.purchase_age`, the time since the last purchase in usual intervals between two purchases.

    A fact whose time or interval is not known is left out.

    >>> customer_facts(90 * DAY_MS, incident_ms=None, purchase_ms=0, repeat_interval_ms=60 * DAY_MS)
    {'customer.purchase_age': 1.5}
    """
    facts: dict[str, object] = {}
    if incident_ms is not None:
        facts["customer.days_since_incident"] = (now_ms - incident_ms) // DAY_MS
    if purchase_ms is not None and repeat_interval_ms is not None:
        facts["customer.purchase_age"] = (now_ms - purchase_ms) / repeat_interval_ms
    return facts


def choose_channel(wanted: Sequence[ChannelName], available: Collection[str]) -> ChannelName | None:
    """The first of the wanted channels on which the customer can be reached; None when there is none."""
    return next((name for name in wanted if name in available), None)


def due_ms(rule: TriggerRule, occurred_ms: int, tz: tzinfo) -> int:
    """When the invitation is due: after the delay, at the next slot if the rule names one.

    Whole days of delay are days of the calendar, so that the hour stays when the clocks change. A slot that
    the clocks leave out on that day moves by the change.
    """
    ready_ms = _later(occurred_ms, rule.delay_ms, tz)
    return ready_ms if rule.at_minute is None else _next_slot(ready_ms, rule.at_minute, tz)


def next_slot_ms(rule: TriggerRule, after_ms: int, tz: tzinfo) -> int:
    """The next daily run of an `every` rule after `after_ms`: at its local time, 10:00 if it names none."""
    minute = _RUN_MINUTE if rule.at_minute is None else rule.at_minute
    return _next_slot(after_ms + 1, minute, tz)


def next_open_ms(contact: ContactRules, now_ms: int, tz: tzinfo) -> int:
    """The first instant at which Koe may start a conversation: now, or the next opening of the hours."""
    if contact.hours is None or _is_open(contact.hours, now_ms, tz):
        return now_ms
    start, _ = contact.hours
    today = _local(now_ms, tz).date()
    for days in range(8):
        for at_ms in _instants(today + timedelta(days=days), start, tz):
            if at_ms >= now_ms and _is_open(contact.hours, at_ms, tz):
                return at_ms
    raise AssertionError(f"no opening within a week of {now_ms} for {contact.hours} in {tz}")


# -------------------------------------------------------------------------------------------- the contact cap


@dataclass(frozen=True, slots=True)
class Candidate:
    """An invitation that could be sent now."""

    survey_kind: Literal["transactional", "relational"]
    sample: float = 1.0
    """Share of customers asked at this touchpoint."""
    give_up_ms: int | None = None
    """Waiting past this instant is skipping."""
    repeat: bool = False
    """True for what continues an earlier invitation and is one with it: the customer put it off, or a later
    session of a deep wave. Rules 4 to 8 do not apply to it."""
    overridden: bool = False
    """True when a member of staff who may do so answers for it: only rule 1 and the hours apply."""


@dataclass(frozen=True, slots=True)
class History:
    """What must be known of a customer, across all channels; the fields of storage's Contacts."""

    opted_out: bool = False
    blocked: bool = False
    open_case: bool = False
    last_complaint_ms: int | None = None
    """Latest complaint or apology."""
    open_ticket: bool = False
    event_surveyed: bool = False
    """An invitation for the same event was already sent."""
    invitations_365d: int = 0
    last_invitation_ms: int | None = None
    last_relational_ms: int | None = None
    next_relational_ms: int | None = None
    """Due time of another, relational invitation that is planned."""
    last_touchpoint_ms: int | None = None
    """Latest transactional invitation of the same touchpoint."""


@dataclass(frozen=True, slots=True)
class Invite:
    """Ask now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Decide again at `until_ms`."""

    until_ms: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Skip:
    """Do not ask. `allowed_from_ms` is when the reason will have passed, where that can be told."""

    reason: Reason
    allowed_from_ms: int | None = None


def decide(
    contact: ContactRules, *, candidate: Candidate, history: History, now_ms: int, tz: tzinfo, draw: float
) -> Invite | Wait | Skip:
    """Whether this customer may be asked now. The first rule that applies gives the reason.

    A gap of n days is over on the n-th day of the calendar after the invitation: with `min_gap: 14d` the
    answer is Skip on day 13 and Invite on day 14.

    Args:
        draw: 0 ≤ draw < 1, by chance but the same each time this invitation is decided about.

    Source: docs/contact-cap.md.
    """
    # 1 never again, or not reachable
    if history.opted_out:
        return Skip("opted_out")
    if history.blocked:
        return Skip("blocked")

    # 2 somebody who is being looked after is not asked how it went
    if not candidate.overridden and (wait := _looked_after(contact, candidate, history, now_ms, tz)) is not None:
        return wait

    # 3 nobody is woken
    open_ms = next_open_ms(contact, now_ms, tz)
    if open_ms > now_ms:
        return _wait(open_ms, "quiet_hours", candidate)
    if candidate.overridden:
        return Invite()

    if not candidate.repeat and (skip := _spent(contact, candidate, history, now_ms, tz)) is not None:
        return skip

    # 9 chance
    if draw >= candidate.sample:
        return Skip("sampled_out")
    return Invite()


def way_to_ask(
    contact: ContactRules,
    *,
    candidate: Candidate,
    history: History,
    wanted: Sequence[ChannelName],
    reachable: Collection[str],
    paused: bool,
    now_ms: int,
    tz: tzinfo,
    draw: float,
) -> ChannelName | Wait | Skip:
    """The channel on which to ask now, or why not: the contact cap (`decide`), and what is none of its rules.

    Args:
        wanted: Channels in order of preference.
        reachable: Channels on which the customer can be written to.
        paused: Whether staff paused the survey.
    """
    if history.opted_out:
        return Skip("opted_out")
    name = choose_channel(wanted, reachable)
    if name is None:
        return Skip("blocked" if history.blocked else "unreachable")
    if paused:
        return Skip("paused")
    if candidate.give_up_ms is not None and now_ms >= candidate.give_up_ms:
        return Skip("expired")
    decision = decide(contact, candidate=candidate, history=history, now_ms=now_ms, tz=tz, draw=draw)
    return name if isinstance(decision, Invite) else decision


def _looked_after(
    contact: ContactRules, candidate: Candidate, history: History, now_ms: int, tz: tzinfo
) -> Wait | Skip | None:
    """Rule 2: an open case or ticket, a complaint or an apology of late."""
    if history.open_case:
        return _wait(now_ms + DAY_MS, "open_case", candidate)
    if history.open_ticket:
        return _wait(now_ms + DAY_MS, "open_ticket", candidate)
    if contact.after_complaint is not None and history.last_complaint_ms is not None:
        calm_ms = _later(history.last_complaint_ms, contact.after_complaint, tz)
        if now_ms < calm_ms:
            return _wait(calm_ms, "after_complaint", candidate)
    return None


def _spent(contact: ContactRules, candidate: Candidate, history: History, now_ms: int, tz: tzinfo) -> Skip | None:
    """Rules 4 to 8: what earlier and planned invitations leave of a customer's patience."""
    # 4 once per event
    if history.event_surveyed:
        return Skip("same_event")

    # 5 any two
    if (free_ms := _free_again(history.last_invitation_ms, contact.min_gap, now_ms, tz)) is not None:
        return Skip("min_gap", free_ms)

    # 6 per year
    if contact.per_year is not None and history.invitations_365d >= contact.per_year:
        return Skip("per_year")

    # 7 a relational survey wins over whatever comes close to it
    if (free_ms := _free_again(history.last_relational_ms, contact.relational_gap, now_ms, tz)) is not None:
        return Skip("relational_gap", free_ms)
    if (
        candidate.survey_kind != "relational"
        and contact.relational_ahead is not None
        and history.next_relational_ms is not None
        and history.next_relational_ms <= _later(now_ms, contact.relational_ahead, tz)
    ):
        return Skip("relational_ahead")

    # 8 the same touchpoint
    if candidate.survey_kind == "transactional":
        free_ms = _free_again(history.last_touchpoint_ms, contact.touchpoint_gap, now_ms, tz)
        if free_ms is not None:
            return Skip("touchpoint_gap", free_ms)
    return None


def _wait(until_ms: int, reason: Reason, candidate: Candidate) -> Wait | Skip:
    if candidate.give_up_ms is not None and until_ms > candidate.give_up_ms:
        return Skip(reason, until_ms)
    return Wait(until_ms, reason)


def _free_again(last_ms: int | None, gap_ms: int | None, now_ms: int, tz: tzinfo) -> int | None:
    """When the gap after `last_ms` will be over; None when it is."""
    if last_ms is None or gap_ms is None:
        return None
    if gap_ms % DAY_MS:
        free_ms = last_ms + gap_ms
    else:
        # days, not hours: an invitation at 10:00:05 must not shut out the 10:00:00 slot a fortnight later
        day = _local(last_ms, tz).date() + timedelta(days=gap_ms // DAY_MS)
        free_ms = _instants(day, 0, tz)[0]
    return free_ms if now_ms < free_ms else None


# ------------------------------------------------------------------------------------------------- local time


def _local(ms: int, tz: tzinfo) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(tz)


def _is_open(hours: tuple[int, int], ms: int, tz: tzinfo) -> bool:
    local = _local(ms, tz)
    return hours[0] <= local.hour * 60 + local.minute < hours[1]


def _instants(day: date, minute: int, tz: tzinfo) -> tuple[int, int]:
    """The instants at which the clocks show this minute, in order: equal but on the days they change.

    A minute that is left out comes later by the change.
    """
    naive = datetime.combine(day, time(minute // 60, minute % 60))
    first, second = (round(naive.replace(tzinfo=tz, fold=fold).timestamp() * 1000) for fold in (0, 1))
    # in a gap fold=1 names an instant before the clocks change
    return (first, second) if first <= second else (first, first)


def _later(ms: int, duration_ms: int, tz: tzinfo) -> int:
    """`duration_ms` later; whole days keep the hour of the clock."""
    if duration_ms == 0 or duration_ms % DAY_MS:
        return ms + duration_ms
    local = _local(ms, tz)
    moved = local.replace(tzinfo=None, fold=0) + timedelta(milliseconds=duration_ms)
    return max(ms, round(moved.replace(tzinfo=tz, fold=local.fold).timestamp() * 1000))


def _next_slot(ms: int, minute: int, tz: tzinfo) -> int:
    today = _local(ms, tz).date()
    for days in range(-1, 4):
        for at_ms in _instants(today + timedelta(days=days), minute, tz):
            if at_ms >= ms:
                return at_ms
    raise AssertionError(f"no slot at minute {minute} within three days of {ms} in {tz}")
