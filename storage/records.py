"""Frozen rows: what leaves this room. Times are integer milliseconds UTC, named `…_ms`; ids are time-ordered
UUID texts.

What is made for every answer – sessions, answers, jobs – is a struct: made in a tenth of the time that a frozen
dataclass takes, and a row by `astuple`. The others are dataclasses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace


@dataclass(frozen=True, slots=True)
class Event:
    """A business event of the shop (purchase, delivery, return, ticket_resolved …)."""

    id: str
    type: str
    occurred_ms: int
    received_ms: int
    customer_id: str
    """"" when the event names no customer."""
    data: str
    """JSON object as text."""
    imported: bool = False
    """True for history: it never triggers."""


class Happening(NamedTuple):
    """What a figure needs of a business event: a year of them is read for each digest."""

    occurred_ms: int
    id: str
    type: str
    customer_id: str
    data: str


class Told(NamedTuple):
    """What a customer said to a question that is scored; the names behind the time are those of a cell of the
    roll-up."""

    customer_id: str
    answered_ms: int
    instrument: str
    wording_id: str
    label_set: str
    survey_kind: str
    touchpoint: str
    segment: str
    channel: str
    lang: str
    value: str


@dataclass(frozen=True, slots=True)
class Customer:
    """A person who buys. `id` is the shop's own id."""

    id: str
    name: str
    language: str
    """"ja", "en" or "" when unknown."""
    created_ms: int


@dataclass(frozen=True, slots=True)
class Address:
    """Where a customer can be written to. `customer_id` is "" while nobody knows whose it is."""

    channel: str
    workspace: str
    external_id: str
    customer_id: str
    source: str
    """Where the link comes from: event, import, order, card, account_link, chat."""
    certainty: Literal["claimed", "coded", "linked", ""]
    language: str
    created_ms: int
    blocked_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """One decision to ask (or not to ask) one customer, with its reason."""

    id: str
    trigger_id: str
    """Rule of koe.yaml, or "staff"."""
    flow_id: str
    survey_kind: str
    touchpoint: str
    customer_id: str
    event_id: str
    channel: str
    """"" until a channel is chosen."""
    segment: str
    state: Literal["planned", "sent", "skipped", "withdrawn"]
    reason: str
    """Why it was skipped or withdrawn, or what it waits for; "" otherwise."""
    planned_ms: int
    due_ms: int
    expires_ms: int | None
    sent_ms: int | None
    session_id: str
    note: str = ""
    requested_by: str = ""
    """Slack user id of the member of staff for trigger "staff"."""
    experiment: str = ""
    """The experiment it takes part in, and the arm its customer was assigned; "" for none."""
    arm: str = ""
    wave_id: str = ""
    """For a survey of several sessions, once its first is sent: the id of that session. "" otherwise."""
    part: int = 1
    """Which session of its wave it asks for: 1, 2, 3."""
    override_reason: str = ""
    """Why a member of staff had it sent past the contact cap; "" when nobody did."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A survey that a member of staff sends to a list of customers."""

    id: str
    flow_id: str
    channel: str
    """"line", "slack", or "" for the first one that each customer has."""
    note: str
    file_id: str
    """Slack's id of the dropped file."""
    requested_by: str
    """Slack user id."""
    workspace: str
    lang: str
    state: str
    """reading, ready (previewed), sending; done, cancelled, refused, expired."""
    created_ms: int
    message_ref: str = ""
    """Where its message stands, as Slack names it; "" until it does."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A survey to which nobody is invited for the time being."""

    flow_id: str
    at_ms: int
    actor: str
    """As in the audit."""


class Session(Struct, frozen=True):
    """One conversation. It moves by compare-and-set on `version`."""

    id: str
    invitation_id: str
    flow_id: str
    revision: str
    survey_kind: str
    touchpoint: str
    segment: str
    customer_id: str
    channel: str
    workspace: str
    external_id: str
    lang: str
    state: str
    """The engine's state as text."""
    status: str
    """"open", or the outcome of flows.exchange.End."""
    version: int
    created_ms: int
    started_ms: int | None
    """First answer."""
    ended_ms: int | None
    expires_ms: int | None
    wave_id: str = ""
    """The first session of the wave it is part of; "" for a survey of one session."""

    def moved(self, *, state: str, started_ms: int | None, status: str, ended_ms: int | None) -> Session:
        """The session after a step: its next version."""
        return replace(
            self, version=self.version + 1, state=state, started_ms=started_ms, status=status, ended_ms=ended_ms
        )


class Answer(Struct, frozen=True):
    """One answer to one question. One answer counts per (session, question); the others are its history."""

    id: str
    session_id: str
    customer_id: str
    question: str
    instrument: str
    """"" for a shop's own question."""
    wording_id: str
    label_set: str
    value: str
    """Scale: "8"; choice, yes/no: code; multi-select: codes joined by ";"; text: the words; "" when
    missing."""
    missing: str
    """"" (answered), "skipped" or "dk"."""
    numeric: bool
    """True when the value is countable (everything but free text): only such answers are rolled up."""
    lang: str
    channel: str
    survey_kind: str
    touchpoint: str
    segment: str
    flow_id: str
    revision: str
    shown_ms: int
    answered_ms: int
    week: str
    """Monday of the ISO week of `answered_ms` in the shop's time zone: "2026-11-16"."""
    late: bool = False
    message_ids: str = ""
    """Platform message ids the words came from, joined by ";"."""
    replaced_ms: int | None = None
    """When it stopped counting: corrected, off the path, withdrawn."""
    quote_ok: bool = False
    wave_id: str = ""
    """The wave of its session: items of one battery that share it belong together. "" for a survey of one session."""


@dataclass(frozen=True, slots=True)
class Comment:
    """Free text as it was written, with a rating of the same session."""

    instrument: str
    survey_kind: str
    touchpoint: str
    segment: str
    wording_id: str
    customer_id: str
    answered_ms: int
    words: str
    """"" when it was skipped."""
    rating: str
    """"" when there is none."""
    quote_ok: bool
    channel: str


JobState = Literal["ready", "leased", "done", "cancelled", "expired", "dead", "uncertain", "held"]


class Job(Struct, frozen=True):
    """Something to do at a time: a call to a platform (kind "send"), a timer, an invitation, a digest.

    Jobs of one `lane` run one after the other in order of `id`; jobs without a lane ("") are independent.
    """

    id: str
    kind: str
    due_ms: int
    payload: str
    """JSON object as text; for "send" the final body."""
    lane: str = ""
    key: str = ""
    """Unique among all jobs ever put ("" = none): put_job with a used key does nothing."""
    channel: str = ""
    session_id: str = ""
    customer_id: str = ""
    asks: str = ""
    updates: str = ""
    expires_ms: int | None = None
    """After this instant it is not worth doing."""
    created_ms: int = 0
    state: JobState = "ready"
    attempts: int = 0
    lease_owner: str = ""
    lease_until_ms: int | None = None
    fence: int = 0
    """Grows with each claim; a finish with an older fence is refused."""
    error: str = ""
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A customer being looked after."""

    id: str
    customer_id: str
    session_id: str
    reason: str
    words: str
    state: Literal["grace", "open", "claimed", "settled"]
    """grace: the customer may still correct a mis-tap; claimed: somebody looks after it; settled: closed, `outcome`
    says how."""
    contact: Literal["", "yes", "no"]
    opened_ms: int
    due_ms: int | None
    """The time promised to the customer, or by which staff should have answered."""
    outcome: str = ""
    settled_ms: int | None = None
    card_ref: str = ""
    assignee: str = ""
    """Slack user id of who looks after it; stays when it is settled."""
    assignee_name: str = ""
    claimed_ms: int | None = None
    snoozed_ms: int | None = None
    """Nobody is reminded of it before."""
    replied_ms: int | None = None
    """First reply that a platform accepted, or call that reached the customer."""
    overdue_ms: int | None = None
    """When staff were told that the time was missed."""
    apologised_ms: int | None = None
    """When the customer was told so; once."""
    asked_ms: int | None = None
    """When the customer was asked whether all is well; once."""
    after: Literal["", "solved", "still"] = ""
    """Their answer to that."""
    reply_token: str = ""
    """The customer's latest single-use reply token (LINE), given out at `reply_token_ms`."""
    reply_token_ms: int = 0


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """One entry of a case's history."""

    id: str
    case_id: str
    at_ms: int
    actor: str
    """Slack user id, "customer" or "koe"."""
    actor_name: str
    """As it was then; "" for the customer and for Koe."""
    kind: str
    """What happened: "claimed", "reply", "wrote" … (docs/staff.md)."""
    words: str = ""
    """A reply's, a note's, a customer's words; the outcome of a settled case."""
    job_id: str = ""
    """The message it sent to the customer."""
    ref: str = ""
    """Where it stands in the card's thread."""
    message_id: str = ""
    """The customer's own message that it shows, as the platform names it."""


@dataclass(frozen=True, slots=True)
class CaseOrigin:
    """A case with the survey it came from; "" for one that came from none, or whose session was forgotten."""

    case: Case
    flow_id: str
    survey_kind: str
    touchpoint: str
    segment: str
    channel: str


@dataclass(frozen=True, slots=True)
class Rating:
    """One counted answer as the trust balance needs it."""

    id: str
    instrument: str
    value: str
    answered_ms: int


@dataclass(frozen=True, slots=True)
class Relationship:
    """What happened between the shop and one customer, as the trust balance reads it; each list oldest first."""

    customer_id: str
    events: tuple[Event, ...] = ()
    """Also those without a customer that name one of the customer's tickets or orders."""
    ratings: tuple[Rating, ...] = ()
    opt_outs_ms: tuple[int, ...] = ()
    """Each time the customer stopped surveys that were not stopped."""
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustDrop:
    """A trust balance that fell, once per customer and fall."""

    customer_id: str
    at_ms: int
    """When it was found."""
    high: float
    balance: float
    case_id: str = ""
    """The case that was opened for it, "" when none was."""


@dataclass(frozen=True, slots=True)
class Contacts:
    """What the contact cap must know of one customer (docs/contact-cap.md)."""

    opted_out: bool
    blocked: bool
    open_case: bool
    last_complaint_ms: int | None
    """Latest complaint, apology or open ticket event."""
    open_ticket: bool
    event_surveyed: bool
    """An invitation for the same event was already sent."""
    invitations_365d: int
    last_invitation_ms: int | None
    last_relational_ms: int | None
    next_relational_ms: int | None
    """Due time of a planned relational invitation."""
    last_touchpoint_ms: int | None
    """Latest transactional invitation of the same touchpoint."""


@dataclass(frozen=True, slots=True)
class RollupCell:
    """Counts of one value in one ISO week (see Tx.rollup)."""

    week: str
    instrument: str
    wording_id: str
    label_set: str
    survey_kind: str
    touchpoint: str
    segment: str
    channel: str
    lang: str
    value: str
    missing: str
    answers: int
    """Counted answers (unit per_event)."""
    customers: int
    """Customers whose latest counted valid answer of this (week, instrument, survey_kind, touchpoint) is this
    one."""


@dataclass(frozen=True, slots=True)
class LatestCell:
    """Customers whose latest valid answer in a window is this one (see Tx.latest_cells)."""

    wording_id: str
    label_set: str
    segment: str
    channel: str
    lang: str
    value: str
    customers: int


@dataclass(frozen=True, slots=True)
class ResponseCounts:
    """Invitations and sessions of a window [start, end) by the time the invitation was sent."""

    invited: int
    answered: int
    completed: int
    started: int
    undeliverable: int
    """Known not to have arrived: blocked or refused by the platform."""
    skipped: tuple[tuple[str, int], ...]
    """(reason, count), most frequent first."""


@dataclass(frozen=True, slots=True)
class ResponsePart:
    """What became of the invitations of one segment on one channel; counted as in ResponseCounts."""

    segment: str
    channel: str
    invited: int
    answered: int
    completed: int
    started: int
    undeliverable: int


@dataclass(frozen=True, slots=True)
class Exposure:
    """How a customer came into an experiment: first instants over all their invitations of it."""

    customer_id: str
    arm: str
    planned_ms: int
    sent_ms: int | None
    """None while none was sent."""


@dataclass(frozen=True, slots=True)
class Registration:
    """An experiment as it was registered, before it started."""

    id: str
    definition: str
    registered_ms: int


@dataclass(frozen=True, slots=True)
class SentConversation:
    """How far the conversation of one sent invitation came."""

    invitation_id: str
    sent_ms: int
    flow_id: str
    status: str
    state: str
    """The engine's state as text; "" once it was forgotten."""


@dataclass(frozen=True, slots=True)
class Invited:
    """One invitation that was sent, and whether it was answered."""

    customer_id: str
    channel: str
    sent_ms: int
    answered: bool
    """At least one valid answer, in time, within 7 days."""
    undeliverable: bool
    """Known not to have arrived: blocked or refused by the platform."""
    first_event_ms: int | None
    """The customer's first event that is known."""


@dataclass(frozen=True, slots=True)
class DelayCount:
    """Customers whose latest answer to a question was this one, by how soon after the invitation it came."""

    survey_kind: str
    touchpoint: str
    wording_id: str
    label_set: str
    week: str
    """The Monday of the answer's."""
    segment: str
    channel: str
    early: bool
    value: str
    customers: int


@dataclass(frozen=True, slots=True)
class Digest:
    """One digest of one period. `posted_ms` is None until the platform accepted it."""

    id: str
    period: str
    state: Literal["due", "posted", "paused"]
    """paused: it said nothing new and was not posted."""
    content: str
    created_ms: int
    posted_ms: int | None
    ref: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what: each trigger by staff, export, erase."""

    id: str
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Consent:
    """What a customer agreed to or not, once."""

    kind: str
    """"surveys" (False is the opt-out), "news", "quote", "storage"."""
    given: bool
    at_ms: int
    source: str


@dataclass(frozen=True, slots=True)
class MatchKey:
    """What a customer is recognised by besides the shop's id."""

    kind: str
    key_hash: str
    source: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything that is stored about one customer; each list oldest first."""

    customer_id: str
    customer: Customer | None
    """None while only others spoke of this id."""
    addresses: tuple[Address, ...]
    match_keys: tuple[MatchKey, ...]
    consents: tuple[Consent, ...]
    """Also those given in a chat before anybody knew whose it is."""
    events: tuple[Event, ...]
    invitations: tuple[Invitation, ...]
    sessions: tuple[Session, ...]
    answers: tuple[Answer, ...]
    """With their history: `replaced_ms` says since when one no longer counts."""
    cases: tuple[Case, ...]
    case_events: tuple[CaseEvent, ...]
    jobs: tuple[Job, ...]
    """What waits to be done, and what was done: a message that was sent keeps its text until it is erased."""
    audit: tuple[AuditEntry, ...]
    trust_drops: tuple[TrustDrop, ...] = ()
    referral_code: str = ""
    """Under which they refer others; "" when they never asked for one."""

    def __bool__(self) -> bool:
        """Whether anything is stored (the audit, which outlives everything, aside)."""
        return (
            self.customer is not None
            or any(
                kept
                for kept in (
                    self.addresses,
                    self.match_keys,
                    self.consents,
                    self.events,
                    self.invitations,
                    self.sessions,
                )
            )
            or bool(self.answers or self.cases or self.jobs)
        )
