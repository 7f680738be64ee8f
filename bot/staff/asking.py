"""Asking one customer by hand: what staff wish, how things stand, what comes of it. Values only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from flows.triggers import DAY_MS, ContactRules


@dataclass(frozen=True, slots=True)
class FlowOption:
    """A survey that staff can start."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CustomerHit:
    """A customer found by id, name or order number."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class SurveyRequest:
    """What a member of staff asked for."""

    request_id: str
    """The same however often one window is sent with the same wish: it is one survey, or one refusal. Another customer,
    survey or time in that window is another wish."""
    flow_id: str
    customer_id: str
    at_ms: int | None
    """None: now."""
    note: str
    requested_by: str
    """Slack user id."""
    workspace: str
    channel: str = ""
    """"line" or "slack"; "" is the first one the customer has."""
    override_reason: str = ""
    """Why it is to be sent past the contact cap; "" to keep to it."""


@dataclass(frozen=True, slots=True)
class Started:
    """The survey is on its way. `channel` is "line", "slack" or "" when not said."""

    channel: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """The survey goes out at `due_ms` (asked for, or the end of quiet hours)."""

    due_ms: int
    channel: str = ""


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """It may not be sent. `reason` is a code of the contact cap or of the look-up; `days` the limit it
    names."""

    reason: str
    allowed_from_ms: int | None = None
    days: int | None = None


@dataclass(frozen=True, slots=True)
class Eligibility:
    """How things stand with a customer before a survey is sent to them."""

    customer: CustomerHit
    refused: NotAllowed | None
    """What the contact cap says; None: it may be sent (when the hours allow it)."""
    channel: str
    """Where it would be sent; "" when the customer cannot be reached."""
    last_invited_ms: int | None
    invited_365d: int
    per_year: int | None
    opted_out: bool
    open_case: bool
    opens_ms: int
    """The first time from `due_ms` on at which surveys may be sent."""
    due_ms: int


@dataclass(frozen=True, slots=True)
class Budget:
    """LINE messages of this month; `limit` None: no cap is set."""

    used: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """None without a cap."""
        return None if self.limit is None else max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True)
class SurveyPorts:
    """What `/survey` needs of the rest.

    Attributes:
        flows: The surveys on offer in a language, first the most usual.
        channels: Where customers can be asked.
        find: Customers by id, name or order number, best first; an exact id or order number comes alone.
        recognise: The one customer whose id or order number a text names.
        eligibility: How things stand before it is sent. Changes nothing.
        overridable: Whether a reason may be overruled at all.
        budget: LINE's messages of this month; None: LINE is off; "unknown": it could not be asked.
        budget_known: The same as it was last told, without asking.
        start: Start it, if it may.
    """

    flows: Callable[[str], Sequence[FlowOption]]
    channels: Sequence[str]
    find: Callable[[str], Awaitable[Sequence[CustomerHit]]]
    recognise: Callable[[str], Awaitable[CustomerHit | None]]
    eligibility: Callable[[SurveyRequest], Awaitable[Eligibility | NotAllowed]]
    overridable: Callable[[str], bool]
    budget: Callable[[], Awaitable[Budget | str | None]]
    budget_known: Callable[[], Budget | str | None]
    start: Callable[[SurveyRequest], Awaitable[Started | Planned | NotAllowed]]


def limited(contact: ContactRules, reason: str, allowed_from_ms: int | None = None) -> NotAllowed:
    """A refusal of the contact cap with the limit that the shop has set."""
    limits = {
        "min_gap": contact.min_gap,
        "touchpoint_gap": contact.touchpoint_gap,
        "relational_gap": contact.relational_gap,
        "relational_ahead": contact.relational_ahead,
        "after_complaint": contact.after_complaint,
    }
    limit_ms = limits.get(reason)
    return NotAllowed(reason, allowed_from_ms, None if limit_ms is None else limit_ms // DAY_MS)
