"""The verbs of a transaction, in the words of the domain. SQL stands inside the verb that uses it.

A *unit* is a plain function of a `Tx`. `Store.write(unit)` runs it on the writer's thread in its own
savepoint and returns its result once the shared commit is durable (group commit); an exception rolls back
that unit alone and is raised to its caller. `Store.read(unit)` runs it on a reader's connection, which sees
the last commit.

Texts are kept as both databases can keep them: NUL and lone surrogates become U+FFFD
(storage.connection.clean).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from storage.connection import Connection, Row, clean
from storage.errors import Conflict, StoreError
from storage.records import (
    Address,
    Answer,
    AuditEntry,
    Batch,
    Case,
    CaseEvent,
    CaseOrigin,
    Comment,
    Consent,
    Contacts,
    Customer,
    DelayCount,
    Digest,
    Dossier,
    Event,
    Exposure,
    Invitation,
    Invited,
    Job,
    LatestCell,
    MatchKey,
    Pause,
    Rating,
    Registration,
    Relationship,
    ResponseCounts,
    RollupCell,
    SentConversation,
    Session,
    TrustDrop,
)
from storage.sqlite import SqliteEngine, peek

T = TypeVar("T")
Unit = Callable[["Tx"], T]

_DAY_MS = 86_400_000


class Tx:
    """One transaction. No verb awaits, commits or asks for the time."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    # --- what came in

    def note_inbound(self, channel: str, workspace: str, event_id: str, at_ms: int) -> bool:
        """True the first time this platform event is seen; False ever after."""
        return (
            self._db.run(
                "INSERT INTO inbound (channel, workspace, event_id, at_ms)"
                " VALUES (:channel, :workspace, :event_id, :at_ms)"
                " ON CONFLICT (channel, workspace, event_id) DO NOTHING",
                {"channel": channel, "workspace": workspace, "event_id": event_id, "at_ms": at_ms},
            )
            == 1
        )

    def note_event(self, event: Event) -> bool:
        """Store a business event. False (and nothing changes) when its id is known.

        An event about a customer who was erased is noted without the person and what it says.
        """
        gone = event.customer_id != "" and self.erased_ms(event.customer_id) is not None
        data = "{}" if gone else clean(event.data)
        order_id, ticket_id = _order_and_ticket(data)
        return (
            self._db.run(
                "INSERT INTO events (id, type, occurred_ms, received_ms, customer_id, data, imported,"
                " order_id, ticket_id)"
                " VALUES (:id, :type, :occurred_ms, :received_ms, :customer_id, :data, :imported, :order_id,"
                " :ticket_id)"
                " ON CONFLICT (id) DO NOTHING",
                {
                    "id": event.id,
                    "type": event.type,
                    "occurred_ms": event.occurred_ms,
                    "received_ms": event.received_ms,
                    "customer_id": "" if gone else event.customer_id,
                    "data": data,
                    "imported": int(event.imported),
                    "order_id": order_id,
                    "ticket_id": ticket_id,
                },
            )
            == 1
        )

    def find_event(self, event_id: str) -> Event | None:
        """The event, or None."""
        row = self._db.one(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events WHERE id = :id",
            {"id": event_id},
        )
        return _event(row) if row else None

    def events_of(self, customer_id: str, *, types: Sequence[str] = (), limit: int = 100) -> list[Event]:
        """Newest first."""
        rows = self._db.all(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events"
            " WHERE customer_id = :customer_id"
            " AND (:types = '' OR REPLACE(:types, :mark || type || :mark, '') <> :types)"
            " ORDER BY occurred_ms DESC, id DESC LIMIT :limit",
            {"customer_id": customer_id, "types": _marked(types), "mark": _MARK, "limit": limit},
        )
        return [_event(row) for row in rows]

    def events_between(
        self,
        start_ms: int,
        end_ms: int,
        *,
        type: str = "",  # noqa: A002 – the row's word
    ) -> list[Event]:
        """Events that occurred in [start, end), oldest first."""
        rows = self._db.all(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events"
            " WHERE occurred_ms >= :start_ms AND occurred_ms < :end_ms AND (:type = '' OR type = :type)"
            " ORDER BY occurred_ms, id",
            {"start_ms": start_ms, "end_ms": end_ms, "type": type},
        )
        return [_event(row) for row in rows]

    def events_page(
        self, start_ms: int, end_ms: int, *, types: Sequence[str] = (), after: Event | None = None, limit: int = 2_000
    ) -> list[Event]:
        """The next events of these types (or all) that occurred in [start, end), oldest first: those behind `after`,
        the last one of the page before. Fewer than `limit` are the last."""
        rows = self._db.all(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events"
            " WHERE occurred_ms >= :start_ms AND occurred_ms < :end_ms"
            " AND (occurred_ms > :after_ms OR (occurred_ms = :after_ms AND id > :after_id))"
            " AND (:types = '' OR REPLACE(:types, :mark || type || :mark, '') <> :types)"
            " ORDER BY occurred_ms, id LIMIT :limit",
            {
                "start_ms": start_ms if after is None else after.occurred_ms,
                "end_ms": end_ms,
                "after_ms": start_ms - 1 if after is None else after.occurred_ms,
                "after_id": "" if after is None else after.id,
                "types": _marked(types),
                "mark": _MARK,
                "limit": limit,
            },
        )
        return [_event(row) for row in rows]

    def events_span(self) -> tuple[int, int] | None:
        """When the first and the last event occurred, in ms; None while there is none."""
        row = self._db.one("SELECT (SELECT MIN(occurred_ms) FROM events), (SELECT MAX(occurred_ms) FROM events)")
        return None if row is None or row[0] is None else (row[0], row[1])

    # --- who is who

    def put_customer(self, customer: Customer) -> None:
        """Insert, or fill in name and language when the new ones are not empty. Nothing for one who was erased."""
        if self.erased_ms(customer.id) is not None:
            return
        self._db.run(
            "INSERT INTO customers (id, name, language, created_ms) VALUES (:id, :name, :language, :created_ms)"
            " ON CONFLICT (id) DO UPDATE SET"
            " name = CASE WHEN excluded.name <> '' THEN excluded.name ELSE customers.name END,"
            " language = CASE WHEN excluded.language <> '' THEN excluded.language ELSE customers.language"
            " END",
            {
                "id": customer.id,
                "name": clean(customer.name),
                "language": customer.language,
                "created_ms": customer.created_ms,
            },
        )

    def find_customer(self, customer_id: str) -> Customer | None:
        """The customer, or None."""
        row = self._db.one("SELECT id, name, language, created_ms FROM customers WHERE id = :id", {"id": customer_id})
        return Customer(*row) if row else None

    def search_customers(self, words: str, *, limit: int = 20) -> list[Customer]:
        """By id, name (a part is enough) or order number (whole); an exact id first. No words, no customers.

        Reads all customers: meant for a member of staff who types, not for a loop.
        """
        words = clean(words).strip()
        if not words:
            return []
        part = words.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
        rows = self._db.all(
            "SELECT id, name, language, created_ms FROM customers"
            " WHERE LOWER(id) LIKE :part ESCAPE '!' OR LOWER(name) LIKE :part ESCAPE '!'"
            " OR id IN (SELECT customer_id FROM events WHERE order_id = :words AND order_id <> '')"
            " ORDER BY CASE WHEN id = :words THEN 0 ELSE 1 END, id LIMIT :limit",
            {"part": f"%{part}%", "words": words, "limit": limit},
        )
        return [Customer(*row) for row in rows]

    def customers_of_order(self, order_id: str) -> list[str]:
        """Ids of the customers whose events name this order number; at most two."""
        rows = self._db.all(
            "SELECT DISTINCT customer_id FROM events"
            " WHERE order_id = :order_id AND order_id <> '' AND customer_id <> '' LIMIT 2",
            {"order_id": order_id},
        )
        return [row[0] for row in rows]

    def put_match_key(self, customer_id: str, kind: str, key_hash: str, source: str, at_ms: int) -> None:
        """From now on this key leads to this customer (and to no other). Nothing for one who was erased."""
        if self.erased_ms(customer_id) is not None:
            return
        self._db.run(
            "INSERT INTO match_keys (kind, key_hash, customer_id, source, created_ms)"
            " VALUES (:kind, :key_hash, :customer_id, :source, :at_ms)"
            " ON CONFLICT (kind, key_hash) DO UPDATE SET customer_id = excluded.customer_id, source = excluded.source,"
            " created_ms = excluded.created_ms",
            {
                "kind": kind,
                "key_hash": key_hash,
                "customer_id": customer_id,
                "source": source,
                "at_ms": at_ms,
            },
        )

    def customer_by_key(self, kind: str, key_hash: str) -> str | None:
        """The id of the customer this key leads to, or None."""
        row = self._db.one(
            "SELECT customer_id FROM match_keys WHERE kind = :kind AND key_hash = :key_hash",
            {"kind": kind, "key_hash": key_hash},
        )
        return row[0] if row else None

    def put_address(self, address: Address) -> None:
        """Insert, or link / refresh language of the existing one; never unlinks; a block is kept.

        A link to another customer replaces the present one only if it is at least as certain (linked, coded, claimed,
        "" in this order). Nothing is linked to a customer who was erased.
        """
        if address.customer_id and self.erased_ms(address.customer_id) is not None:
            return
        self._db.run(
            "INSERT INTO addresses (channel, workspace, external_id, customer_id, source, certainty, language,"
            " created_ms, blocked_ms)"
            " VALUES (:channel, :workspace, :external_id, :customer_id, :source, :certainty, :language,"
            " :created_ms, :blocked_ms)"
            " ON CONFLICT (channel, workspace, external_id) DO UPDATE SET"
            " language = CASE WHEN excluded.language <> '' THEN excluded.language ELSE addresses.language"
            " END,"
            " blocked_ms = COALESCE(addresses.blocked_ms, excluded.blocked_ms)",
            {
                "channel": address.channel,
                "workspace": address.workspace,
                "external_id": address.external_id,
                "customer_id": address.customer_id,
                "source": address.source,
                "certainty": address.certainty,
                "language": address.language,
                "created_ms": address.created_ms,
                "blocked_ms": address.blocked_ms,
            },
        )
        if address.customer_id:
            self._db.run(
                "UPDATE addresses SET customer_id = :customer_id, source = :source, certainty = :certainty"
                " WHERE channel = :channel AND workspace = :workspace AND external_id = :external_id"
                " AND (customer_id = '' OR :rank >="
                " CASE certainty WHEN 'linked' THEN 3 WHEN 'coded' THEN 2 WHEN 'claimed' THEN 1 ELSE 0 END)",
                {
                    "channel": address.channel,
                    "workspace": address.workspace,
                    "external_id": address.external_id,
                    "customer_id": address.customer_id,
                    "source": address.source,
                    "certainty": address.certainty,
                    "rank": ("", "claimed", "coded", "linked").index(address.certainty),
                },
            )

    def find_address(self, channel: str, workspace: str, external_id: str) -> Address | None:
        """The address, or None."""
        row = self._db.one(
            "SELECT channel, workspace, external_id, customer_id, source, certainty, language, created_ms, blocked_ms"
            " FROM addresses WHERE channel = :channel AND workspace = :workspace AND external_id = :external_id",
            {"channel": channel, "workspace": workspace, "external_id": external_id},
        )
        return Address(*row) if row else None

    def addresses_of(self, customer_id: str) -> list[Address]:
        """The addresses linked to this customer, oldest first; none for ""."""
        rows = self._db.all(
            "SELECT channel, workspace, external_id, customer_id, source, certainty, language, created_ms, blocked_ms"
            " FROM addresses WHERE customer_id = :customer_id AND customer_id <> ''"
            " ORDER BY created_ms, channel, workspace, external_id",
            {"customer_id": customer_id},
        )
        return [Address(*row) for row in rows]

    def set_blocked(self, channel: str, workspace: str, external_id: str, at_ms: int | None) -> None:
        """The customer blocked the account at that instant; None: took the block back. Unknown ones stay unknown."""
        self._db.run(
            "UPDATE addresses SET blocked_ms = :at_ms"
            " WHERE channel = :channel AND workspace = :workspace AND external_id = :external_id",
            {"channel": channel, "workspace": workspace, "external_id": external_id, "at_ms": at_ms},
        )

    def set_consent(self, customer_id: str, kind: str, given: bool, at_ms: int, source: str) -> None:
        """kind: "surveys" (given=False is the opt-out), "news", "quote", "storage". History is kept, the latest
        holds."""
        if self.erased_ms(customer_id) is not None:
            return
        self._db.run(
            "INSERT INTO consents (customer_id, kind, at_ms, given, source)"
            " VALUES (:customer_id, :kind, :at_ms, :given, :source)"
            " ON CONFLICT (customer_id, kind, at_ms) DO UPDATE SET given = excluded.given, source = excluded.source",
            {"customer_id": customer_id, "kind": kind, "at_ms": at_ms, "given": int(given), "source": source},
        )

    def consent(self, customer_id: str, kind: str) -> bool | None:
        """What the customer said last, or None if nothing."""
        row = self._db.one(
            "SELECT given FROM consents WHERE customer_id = :customer_id AND kind = :kind ORDER BY at_ms DESC LIMIT 1",
            {"customer_id": customer_id, "kind": kind},
        )
        return bool(row[0]) if row else None

    # --- invitations

    def put_invitation(self, invitation: Invitation) -> None:
        """Insert or replace by id. Nothing for a customer who was erased."""
        if invitation.customer_id and self.erased_ms(invitation.customer_id) is not None:
            return
        self._db.run(
            "INSERT INTO invitations (id, trigger_id, flow_id, survey_kind, touchpoint, customer_id,"
            " event_id, channel, segment, state, reason, planned_ms, due_ms, expires_ms, sent_ms, session_id, note,"
            " requested_by, experiment, arm, wave_id, part, override_reason)"
            " VALUES (:id, :trigger_id, :flow_id, :survey_kind, :touchpoint, :customer_id, :event_id, :channel,"
            " :segment, :state, :reason, :planned_ms, :due_ms, :expires_ms, :sent_ms, :session_id, :note,"
            " :requested_by, :experiment, :arm, :wave_id, :part, :override_reason)"
            " ON CONFLICT (id) DO UPDATE SET trigger_id = excluded.trigger_id, flow_id = excluded.flow_id,"
            " survey_kind = excluded.survey_kind, touchpoint = excluded.touchpoint, customer_id ="
            " excluded.customer_id,"
            " event_id = excluded.event_id, channel = excluded.channel, segment = excluded.segment,"
            " state = excluded.state, reason = excluded.reason, planned_ms = excluded.planned_ms,"
            " due_ms = excluded.due_ms, expires_ms = excluded.expires_ms, sent_ms = excluded.sent_ms,"
            " session_id = excluded.session_id, note = excluded.note, requested_by = excluded.requested_by,"
            " experiment = excluded.experiment, arm = excluded.arm, wave_id = excluded.wave_id, part = excluded.part,"
            " override_reason = excluded.override_reason",
            {
                "id": invitation.id,
                "trigger_id": invitation.trigger_id,
                "flow_id": invitation.flow_id,
                "survey_kind": invitation.survey_kind,
                "touchpoint": invitation.touchpoint,
                "customer_id": invitation.customer_id,
                "event_id": invitation.event_id,
                "channel": invitation.channel,
                "segment": invitation.segment,
                "state": invitation.state,
                "reason": invitation.reason,
                "planned_ms": invitation.planned_ms,
                "due_ms": invitation.due_ms,
                "expires_ms": invitation.expires_ms,
                "sent_ms": invitation.sent_ms,
                "session_id": invitation.session_id,
                "note": clean(invitation.note),
                "requested_by": invitation.requested_by,
                "experiment": invitation.experiment,
                "arm": invitation.arm,
                "wave_id": invitation.wave_id,
                "part": invitation.part,
                "override_reason": clean(invitation.override_reason),
            },
        )

    def find_invitation(self, invitation_id: str) -> Invitation | None:
        """The invitation, or None."""
        row = self._db.one(
            "SELECT id, trigger_id, flow_id, survey_kind, touchpoint, customer_id, event_id, channel, segment, state,"
            " reason, planned_ms, due_ms, expires_ms, sent_ms, session_id, note, requested_by,"
            " experiment, arm, wave_id, part, override_reason FROM invitations WHERE id = :id",
            {"id": invitation_id},
        )
        return Invitation(*row) if row else None

    def invitations_of(self, customer_id: str, *, limit: int = 100) -> list[Invitation]:
        """Every decision about this customer, newest first."""
        rows = self._db.all(
            "SELECT id, trigger_id, flow_id, survey_kind, touchpoint, customer_id, event_id, channel, segment, state,"
            " reason, planned_ms, due_ms, expires_ms, sent_ms, session_id, note, requested_by,"
            " experiment, arm, wave_id, part, override_reason FROM invitations"
            " WHERE customer_id = :customer_id ORDER BY planned_ms DESC, id DESC LIMIT :limit",
            {"customer_id": customer_id, "limit": limit},
        )
        return [Invitation(*row) for row in rows]

    def open_invitations(self, customer_id: str) -> list[Invitation]:
        """planned, or sent and neither started, ended nor expired. Oldest first."""
        rows = self._db.all(
            "SELECT i.id, i.trigger_id, i.flow_id, i.survey_kind, i.touchpoint, i.customer_id, i.event_id, i.channel,"
            " i.segment, i.state, i.reason, i.planned_ms, i.due_ms, i.expires_ms, i.sent_ms, i.session_id, i.note,"
            " i.requested_by, i.experiment, i.arm, i.wave_id, i.part, i.override_reason"
            " FROM invitations AS i LEFT JOIN sessions AS s ON s.id = i.session_id"
            " WHERE i.customer_id = :customer_id AND (i.state = 'planned'"
            " OR (i.state = 'sent' AND s.status = 'open' AND s.started_ms IS NULL))"
            " ORDER BY i.planned_ms, i.id",
            {"customer_id": customer_id},
        )
        return [Invitation(*row) for row in rows]

    def contacts(self, customer_id: str, *, event_id: str, touchpoint: str, now_ms: int) -> Contacts:
        """What the contact cap must know of this customer. Only what reached the platform (sent_ms) is an invitation;
        the sessions of a wave are one, sent with the first of them. `blocked` means that there are addresses and every
        one of them is blocked."""
        row = self._db.one(
            "SELECT"
            " COUNT(CASE WHEN event_id = :event_id AND event_id <> '' THEN 1 END),"
            " COUNT(CASE WHEN sent_ms > :year_ago THEN 1 END),"
            " MAX(sent_ms),"
            " MAX(CASE WHEN survey_kind = 'relational' THEN sent_ms END),"
            " MAX(CASE WHEN survey_kind = 'transactional' AND touchpoint = :touchpoint THEN sent_ms END)"
            " FROM invitations WHERE customer_id = :customer_id AND sent_ms IS NOT NULL AND part = 1",
            {
                "customer_id": customer_id,
                "event_id": event_id,
                "touchpoint": touchpoint,
                "year_ago": now_ms - 365 * _DAY_MS,
            },
        )
        assert row is not None
        surveyed, in_year, last, last_relational, last_touchpoint = row
        planned = self._db.one(
            "SELECT MIN(due_ms) FROM invitations"
            " WHERE customer_id = :customer_id AND state = 'planned' AND survey_kind = 'relational'",
            {"customer_id": customer_id},
        )
        blocked = self._db.one(
            "SELECT COUNT(*), COUNT(blocked_ms) FROM addresses WHERE customer_id = :customer_id AND customer_id <> ''",
            {"customer_id": customer_id},
        )
        # a ticket without a number is taken for resolved by any later resolution of the same customer
        ticket = self._db.one(
            "SELECT MAX(o.occurred_ms) FROM events AS o"
            " WHERE o.customer_id = :customer_id AND o.type = 'ticket_opened' AND NOT EXISTS ("
            "SELECT 1 FROM events AS r WHERE r.customer_id = o.customer_id AND r.type = 'ticket_resolved'"
            " AND r.occurred_ms >= o.occurred_ms AND (r.ticket_id = o.ticket_id OR o.ticket_id = ''))",
            {"customer_id": customer_id},
        )
        complaint = self._db.one(
            "SELECT MAX(occurred_ms) FROM events WHERE customer_id = :customer_id AND type IN ('complaint', 'apology')",
            {"customer_id": customer_id},
        )
        assert planned is not None
        assert blocked is not None
        assert ticket is not None
        assert complaint is not None
        complaints = [at for at in (complaint[0], ticket[0]) if at is not None]
        return Contacts(
            opted_out=self.consent(customer_id, "surveys") is False,
            blocked=0 < blocked[0] == blocked[1],
            open_case=self.open_case(customer_id) is not None,
            last_complaint_ms=max(complaints, default=None),
            open_ticket=ticket[0] is not None,
            event_surveyed=surveyed > 0,
            invitations_365d=in_year,
            last_invitation_ms=last,
            last_relational_ms=last_relational,
            next_relational_ms=planned[0],
            last_touchpoint_ms=last_touchpoint,
        )

    def contacts_at(
        self,
        customer_id: str,
        *,
        event_id: str,
        touchpoint: str,
        at_ms: int,
        but_trigger: str,
        since_ms: int,
    ) -> Contacts:
        """As `contacts`, as it was at an instant in the past, leaving out what this trigger sent from `since_ms` on.

        Blocks and addresses are those of today as far as they were there; an erased customer has no past.
        """
        params = {
            "customer_id": customer_id,
            "event_id": event_id,
            "touchpoint": touchpoint,
            "at_ms": at_ms,
            "year_ago": at_ms - 365 * _DAY_MS,
            "trigger_id": but_trigger,
            "since_ms": since_ms,
        }

        def one(sql: str) -> Row:
            row = self._db.one(sql, params)
            assert row is not None  # an aggregate always has one
            return row

        sent = one(
            "SELECT"
            " COUNT(CASE WHEN event_id = :event_id AND event_id <> '' THEN 1 END),"
            " COUNT(CASE WHEN sent_ms > :year_ago THEN 1 END),"
            " MAX(sent_ms),"
            " MAX(CASE WHEN survey_kind = 'relational' THEN sent_ms END),"
            " MAX(CASE WHEN survey_kind = 'transactional' AND touchpoint = :touchpoint THEN sent_ms END)"
            " FROM invitations WHERE customer_id = :customer_id AND sent_ms <= :at_ms AND part = 1"
            " AND NOT (trigger_id = :trigger_id AND sent_ms >= :since_ms)"
        )
        planned = one(
            "SELECT MIN(due_ms) FROM invitations WHERE customer_id = :customer_id AND survey_kind = 'relational'"
            " AND planned_ms <= :at_ms AND due_ms > :at_ms AND trigger_id <> :trigger_id"
            " AND (state = 'planned' OR sent_ms > :at_ms)"
        )
        blocked = one(
            "SELECT COUNT(*), COUNT(CASE WHEN blocked_ms <= :at_ms THEN 1 END) FROM addresses"
            " WHERE customer_id = :customer_id AND customer_id <> ''"
        )
        ticket = one(
            "SELECT MAX(o.occurred_ms) FROM events AS o"
            " WHERE o.customer_id = :customer_id AND o.type = 'ticket_opened' AND o.occurred_ms <= :at_ms"
            " AND NOT EXISTS (SELECT 1 FROM events AS r"
            " WHERE r.customer_id = o.customer_id AND r.type = 'ticket_resolved' AND r.occurred_ms <= :at_ms"
            " AND r.occurred_ms >= o.occurred_ms AND (r.ticket_id = o.ticket_id OR o.ticket_id = ''))"
        )
        complaint = one(
            "SELECT MAX(occurred_ms) FROM events WHERE customer_id = :customer_id"
            " AND type IN ('complaint', 'apology') AND occurred_ms <= :at_ms"
        )
        case = one(
            "SELECT COUNT(*) FROM cases WHERE customer_id = :customer_id AND customer_id <> ''"
            " AND opened_ms <= :at_ms AND (settled_ms IS NULL OR settled_ms > :at_ms)"
        )
        consent = self._db.one(
            "SELECT given FROM consents WHERE customer_id = :customer_id AND kind = 'surveys' AND at_ms <= :at_ms"
            " ORDER BY at_ms DESC LIMIT 1",
            params,
        )
        complaints = [at for at in (complaint[0], ticket[0]) if at is not None]
        return Contacts(
            opted_out=consent is not None and not consent[0],
            blocked=0 < blocked[0] == blocked[1],
            open_case=case[0] > 0,
            last_complaint_ms=max(complaints, default=None),
            open_ticket=ticket[0] is not None,
            event_surveyed=sent[0] > 0,
            invitations_365d=sent[1],
            last_invitation_ms=sent[2],
            last_relational_ms=sent[3],
            next_relational_ms=planned[0],
            last_touchpoint_ms=sent[4],
        )

    def pause_flow(self, flow_id: str, at_ms: int, actor: str) -> bool:
        """From now on nobody is invited to this survey. False when it is paused already."""
        return (
            self._db.run(
                "INSERT INTO pauses (flow_id, at_ms, actor) VALUES (:flow_id, :at_ms, :actor)"
                " ON CONFLICT (flow_id) DO NOTHING",
                {"flow_id": flow_id, "at_ms": at_ms, "actor": actor},
            )
            > 0
        )

    def resume_flow(self, flow_id: str) -> bool:
        """Ends a pause. False when there is none."""
        return self._db.run("DELETE FROM pauses WHERE flow_id = :flow_id", {"flow_id": flow_id}) > 0

    def pauses(self) -> list[Pause]:
        """The surveys that are paused, in order of id."""
        return [Pause(*row) for row in self._db.all("SELECT flow_id, at_ms, actor FROM pauses ORDER BY flow_id")]

    def is_paused(self, flow_id: str) -> bool:
        """Whether this survey is paused."""
        return self._db.one("SELECT 1 FROM pauses WHERE flow_id = :flow_id", {"flow_id": flow_id}) is not None

    # --- surveys to a list

    def put_batch(self, batch: Batch) -> None:
        """Insert or replace by id."""
        self._db.run(
            "INSERT INTO batches (id, flow_id, channel, note, file_id, requested_by, workspace, lang, state,"
            " created_ms, message_ref) VALUES (:id, :flow_id, :channel, :note, :file_id, :requested_by, :workspace,"
            " :lang, :state, :created_ms, :message_ref)"
            " ON CONFLICT (id) DO UPDATE SET state = excluded.state, message_ref = excluded.message_ref",
            {
                "id": batch.id,
                "flow_id": batch.flow_id,
                "channel": batch.channel,
                "note": clean(batch.note),
                "file_id": batch.file_id,
                "requested_by": batch.requested_by,
                "workspace": batch.workspace,
                "lang": batch.lang,
                "state": batch.state,
                "created_ms": batch.created_ms,
                "message_ref": batch.message_ref,
            },
        )

    def find_batch(self, batch_id: str) -> Batch | None:
        """The batch, or None."""
        row = self._db.one(
            "SELECT id, flow_id, channel, note, file_id, requested_by, workspace, lang, state, created_ms, message_ref"
            " FROM batches WHERE id = :id",
            {"id": batch_id},
        )
        return Batch(*row) if row else None

    def put_batch_rows(self, batch_id: str, customers: Iterable[tuple[int, str]]) -> None:
        """The (line, customer) of a batch's list, in the place of what was there. Nobody who was erased meanwhile."""
        self.forget_batch_rows(batch_id)
        for line, customer_id in customers:
            if self.erased_ms(customer_id) is None:
                self._db.run(
                    "INSERT INTO batch_rows (batch_id, line, customer_id, outcome)"
                    " VALUES (:batch_id, :line, :customer_id, '')",
                    {"batch_id": batch_id, "line": line, "customer_id": customer_id},
                )

    def open_batch_rows(self, batch_id: str, *, limit: int) -> list[tuple[int, str]]:
        """The next (line, customer) of a list about whom nothing is decided; the customer is "" once erased."""
        rows = self._db.all(
            "SELECT line, customer_id FROM batch_rows WHERE batch_id = :batch_id AND outcome = ''"
            " ORDER BY line LIMIT :limit",
            {"batch_id": batch_id, "limit": limit},
        )
        return [(line, customer_id) for line, customer_id in rows]

    def settle_batch_row(self, batch_id: str, line: int, outcome: str) -> None:
        """What became of one line: "sent", or the reason why not."""
        self._db.run(
            "UPDATE batch_rows SET outcome = :outcome WHERE batch_id = :batch_id AND line = :line",
            {"batch_id": batch_id, "line": line, "outcome": outcome},
        )

    def batch_counts(self, batch_id: str) -> Counter[str]:
        """Outcome → lines of a list; "" are those to come."""
        rows = self._db.all(
            "SELECT outcome, COUNT(*) FROM batch_rows WHERE batch_id = :batch_id GROUP BY outcome",
            {"batch_id": batch_id},
        )
        return Counter(dict(rows))

    def forget_batch_rows(self, batch_id: str) -> None:
        """The list is not needed any more."""
        self._db.run("DELETE FROM batch_rows WHERE batch_id = :batch_id", {"batch_id": batch_id})

    def customers_due(self, trigger_id: str, since_ms: int, *, after: str, limit: int) -> list[Customer]:
        """For `every` rules: customers with a reachable address and no invitation of this trigger planned since
        `since_ms`, in order of id, id > after."""
        rows = self._db.all(
            "SELECT c.id, c.name, c.language, c.created_ms FROM customers AS c"
            " WHERE c.id > :after"
            " AND EXISTS (SELECT 1 FROM addresses AS a"
            " WHERE a.customer_id = c.id AND a.customer_id <> '' AND a.blocked_ms IS NULL)"
            " AND NOT EXISTS (SELECT 1 FROM invitations AS i"
            " WHERE i.customer_id = c.id AND i.planned_ms >= :since_ms AND i.trigger_id = :trigger_id AND i.part = 1)"
            " ORDER BY c.id LIMIT :limit",
            {"trigger_id": trigger_id, "since_ms": since_ms, "after": after, "limit": limit},
        )
        return [Customer(*row) for row in rows]

    # --- experiments

    def register_experiment(self, registration: Registration) -> None:
        """Note an experiment. The same again keeps its time; whether another may take its place is for the caller."""
        self._db.run(
            "INSERT INTO experiments (id, definition, registered_ms) VALUES (:id, :definition, :registered_ms)"
            " ON CONFLICT (id) DO UPDATE SET definition = excluded.definition, registered_ms = excluded.registered_ms"
            " WHERE experiments.definition <> excluded.definition",
            {
                "id": registration.id,
                "definition": registration.definition,
                "registered_ms": registration.registered_ms,
            },
        )

    def registrations(self) -> list[Registration]:
        """Every experiment that was ever registered, in order of id."""
        return [
            Registration(*row)
            for row in self._db.all("SELECT id, definition, registered_ms FROM experiments ORDER BY id")
        ]

    def exposures(self, experiment: str) -> list[Exposure]:
        """Who came into an experiment, in order of customer; not those who were erased. Invitations that were planned
        and never sent have no `sent_ms`."""
        rows = self._db.all(
            "SELECT customer_id, MIN(arm), MIN(planned_ms), MIN(sent_ms) FROM invitations"
            " WHERE experiment = :experiment AND experiment <> '' AND customer_id <> ''"
            " GROUP BY customer_id ORDER BY customer_id",
            {"experiment": experiment},
        )
        return [Exposure(*row) for row in rows]

    def answers_in_experiment(self, experiment: str) -> list[Answer]:
        """Counted answers given to the surveys of an experiment, in order of time."""
        rows = self._db.all(
            "SELECT a.id, a.session_id, a.customer_id, a.question, a.instrument, a.wording_id, a.label_set, a.value,"
            " a.missing, a.countable, a.lang, a.channel, a.survey_kind, a.touchpoint, a.segment, a.flow_id,"
            " a.revision, a.shown_ms, a.answered_ms, a.week, a.late, a.message_ids, NULL, a.quote_ok"
            " FROM invitations AS i JOIN answers AS a ON a.session_id = i.session_id"
            " WHERE i.experiment = :experiment AND i.experiment <> '' AND i.customer_id <> ''"
            " ORDER BY a.answered_ms, a.id",
            {"experiment": experiment},
        )
        return [_answer(row) for row in rows]

    # --- conversations

    def put_revision(self, flow_id: str, revision: str, definition: str, at_ms: int) -> None:
        """Keep what a flow said; the same revision again changes nothing (it names its content)."""
        self._db.run(
            "INSERT INTO revisions (revision, flow_id, definition, created_ms)"
            " VALUES (:revision, :flow_id, :definition, :at_ms) ON CONFLICT (revision) DO NOTHING",
            {"revision": revision, "flow_id": flow_id, "definition": clean(definition), "at_ms": at_ms},
        )

    def find_revision(self, revision: str) -> str | None:
        """The definition of this revision, or None."""
        row = self._db.one("SELECT definition FROM revisions WHERE revision = :revision", {"revision": revision})
        return row[0] if row else None

    def new_session(self, session: Session) -> None:
        """Insert.

        Raises:
            Conflict: the id exists, or its invitation has an open session already.
        """
        self._db.run(
            "INSERT INTO sessions (id, invitation_id, flow_id, revision, survey_kind, touchpoint, segment,"
            " customer_id, channel, workspace, external_id, lang, state, status, version, created_ms, started_ms,"
            " ended_ms, expires_ms, wave_id)"
            " VALUES (:id, :invitation_id, :flow_id, :revision, :survey_kind, :touchpoint, :segment, :customer_id,"
            " :channel, :workspace, :external_id, :lang, :state, :status, :version, :created_ms,"
            " :started_ms, :ended_ms, :expires_ms, :wave_id)",
            {
                "id": session.id,
                "invitation_id": session.invitation_id,
                "flow_id": session.flow_id,
                "revision": session.revision,
                "survey_kind": session.survey_kind,
                "touchpoint": session.touchpoint,
                "segment": session.segment,
                "customer_id": session.customer_id,
                "channel": session.channel,
                "workspace": session.workspace,
                "external_id": session.external_id,
                "lang": session.lang,
                "state": clean(session.state),
                "status": session.status,
                "version": session.version,
                "created_ms": session.created_ms,
                "started_ms": session.started_ms,
                "ended_ms": session.ended_ms,
                "expires_ms": session.expires_ms,
                "wave_id": session.wave_id,
            },
        )

    def find_session(self, session_id: str) -> Session | None:
        """The session, or None. One that was erased is still there, empty, with status "erased"."""
        row = self._db.one(
            "SELECT id, invitation_id, flow_id, revision, survey_kind, touchpoint, segment, customer_id, channel,"
            " workspace, external_id, lang, state, status, version, created_ms, started_ms, ended_ms, expires_ms,"
            " wave_id FROM sessions WHERE id = :id",
            {"id": session_id},
        )
        return Session(*row) if row else None

    def current_session(self, channel: str, workspace: str, external_id: str) -> Session | None:
        """The open session of this address that was created last, or None."""
        row = self._db.one(
            "SELECT id, invitation_id, flow_id, revision, survey_kind, touchpoint, segment, customer_id, channel,"
            " workspace, external_id, lang, state, status, version, created_ms, started_ms, ended_ms, expires_ms,"
            " wave_id FROM sessions"
            " WHERE channel = :channel AND workspace = :workspace AND external_id = :external_id AND status = 'open'"
            " ORDER BY created_ms DESC, id DESC LIMIT 1",
            {"channel": channel, "workspace": workspace, "external_id": external_id},
        )
        return Session(*row) if row else None

    def session_of_message(self, channel: str, workspace: str, external_id: str, message_id: str) -> Session | None:
        """The session of this address with a counted answer that came from this message; None when there is none."""
        rows = self._db.all(
            "SELECT s.id, s.invitation_id, s.flow_id, s.revision, s.survey_kind, s.touchpoint, s.segment,"
            " s.customer_id, s.channel, s.workspace, s.external_id, s.lang, s.state, s.status, s.version,"
            " s.created_ms, s.started_ms, s.ended_ms, s.expires_ms, s.wave_id, a.message_ids"
            " FROM sessions s JOIN answers a ON a.session_id = s.id"
            " WHERE s.channel = :channel AND s.workspace = :workspace AND s.external_id = :external_id"
            " AND a.message_ids <> '' ORDER BY s.created_ms DESC",
            {"channel": channel, "workspace": workspace, "external_id": external_id},
        )
        found = next((row for row in rows if message_id in str(row[-1]).split(";")), None)
        return None if found is None else Session(*found[:-1])

    def sessions_of(self, customer_id: str, *, limit: int = 20) -> list[Session]:
        """Newest first."""
        rows = self._db.all(
            "SELECT id, invitation_id, flow_id, revision, survey_kind, touchpoint, segment, customer_id, channel,"
            " workspace, external_id, lang, state, status, version, created_ms, started_ms, ended_ms, expires_ms,"
            " wave_id FROM sessions WHERE customer_id = :customer_id ORDER BY created_ms DESC, id DESC LIMIT :limit",
            {"customer_id": customer_id, "limit": limit},
        )
        return [Session(*row) for row in rows]

    def save_session(self, session: Session) -> bool:
        """Compare-and-set: True if the stored version was session.version - 1. False, too, once it was erased.

        What names the session (id, created_ms, address, flow) stays as it was created.
        """
        params = {
            "id": session.id,
            "was": session.version - 1,
            "version": session.version,
            "state": clean(session.state),
            "lang": session.lang,
            "status": session.status,
            "customer_id": session.customer_id,
            "started_ms": session.started_ms,
            "ended_ms": session.ended_ms,
            "expires_ms": session.expires_ms,
        }
        # Most steps change neither status nor customer. A statement that does not name these columns leaves
        # their indexes alone: a third of the work, and no page of another hour's sessions touched.
        if self._db.run(
            "UPDATE sessions SET state = :state, version = :version, lang = :lang, started_ms = :started_ms,"
            " ended_ms = :ended_ms, expires_ms = :expires_ms"
            " WHERE id = :id AND version = :was AND status = :status AND customer_id = :customer_id"
            " AND status <> 'erased'",
            params,
        ):
            return True
        # A session that turns out to be another customer's takes its jobs along: cancelling and erasing find them.
        former = self._db.one("SELECT customer_id FROM sessions WHERE id = :id AND version = :was", params)
        if former is None:
            return False
        if former[0] != session.customer_id:
            self._db.run(
                "UPDATE jobs SET customer_id = :customer_id WHERE session_id = :id AND session_id <> ''", params
            )
        return (
            self._db.run(
                "UPDATE sessions SET state = :state, version = :version, lang = :lang, started_ms = :started_ms,"
                " ended_ms = :ended_ms, expires_ms = :expires_ms, status = :status, customer_id = :customer_id"
                " WHERE id = :id AND version = :was AND status <> 'erased'",
                params,
            )
            == 1
        )

    def put_prompt_ref(self, session_id: str, question: str, ref: str) -> None:
        """Keep the platform's name of the message that asked this question; nothing for a session that is gone."""
        self._db.run(
            "INSERT INTO prompts (session_id, question, ref)"
            " SELECT id, :question, :ref FROM sessions WHERE id = :session_id AND status <> 'erased'"
            " ON CONFLICT (session_id, question) DO UPDATE SET ref = excluded.ref",
            {"session_id": session_id, "question": question, "ref": ref},
        )

    def prompt_ref(self, session_id: str, question: str) -> str:
        """The message that asked this question last; "" when none is known."""
        row = self._db.one(
            "SELECT ref FROM prompts WHERE session_id = :session_id AND question = :question",
            {"session_id": session_id, "question": question},
        )
        return row[0] if row else ""

    # --- answers

    def record_answer(self, answer: Answer) -> None:
        """Make it the counted answer of its (session, question); the former one stays in the history. Keeps the
        roll-up equal to a recomputation in the same transaction.

        An answer that comes with `replaced_ms` is history only. Nothing is kept for a session that was erased.

        Raises:
            Conflict: this answer (session, question, id) is stored already.
        """
        if answer.replaced_ms is not None:
            self._keep_former(answer)
            return
        rolled_up = answer.numeric and answer.instrument != ""
        # One statement for three questions, and narrow columns: nearly every answer is the first of its
        # question and of its customer's week.
        found = self._db.one(
            "SELECT (SELECT id FROM answers WHERE session_id = :session_id AND question = :question),"
            " (SELECT id FROM answers WHERE customer_id = :customer_id AND instrument = :instrument AND week = :week"
            " AND survey_kind = :survey_kind AND touchpoint = :touchpoint AND missing = '' AND countable = 1 LIMIT 1),"
            " (SELECT status FROM sessions WHERE id = :session_id)",
            {
                "session_id": answer.session_id,
                "question": answer.question,
                "customer_id": answer.customer_id,
                "instrument": answer.instrument,
                "week": answer.week,
                "survey_kind": answer.survey_kind,
                "touchpoint": answer.touchpoint,
            },
        )
        assert found is not None
        if found[2] == "erased":
            return
        if found[0] == answer.id:
            raise Conflict(f"answer {answer.id} is stored already")
        if found[0] is not None:
            self.retract_answer(answer.session_id, answer.question, answer.answered_ms)
        latest = None
        if found[1] is not None and rolled_up and answer.missing == "" and answer.customer_id != "":
            latest = self._latest(
                answer.customer_id, answer.week, answer.instrument, answer.survey_kind, answer.touchpoint
            )
        value = clean(answer.value)
        self._db.run(
            "INSERT INTO answers (session_id, question, id, customer_id, instrument, wording_id, label_set, value,"
            " missing, countable, lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms,"
            " answered_ms, week, late, message_ids, quote_ok, wave_id)"
            " VALUES (:session_id, :question, :id, :customer_id, :instrument, :wording_id, :label_set, :value,"
            " :missing, :countable, :lang, :channel, :survey_kind, :touchpoint, :segment, :flow_id,"
            " :revision, :shown_ms, :answered_ms, :week, :late, :message_ids, :quote_ok, :wave_id)",
            {
                "session_id": answer.session_id,
                "question": answer.question,
                "id": answer.id,
                "customer_id": answer.customer_id,
                "instrument": answer.instrument,
                "wording_id": answer.wording_id,
                "label_set": answer.label_set,
                "value": value,
                "missing": answer.missing,
                "countable": 1 if answer.numeric else 0,
                "lang": answer.lang,
                "channel": answer.channel,
                "survey_kind": answer.survey_kind,
                "touchpoint": answer.touchpoint,
                "segment": answer.segment,
                "flow_id": answer.flow_id,
                "revision": answer.revision,
                "shown_ms": answer.shown_ms,
                "answered_ms": answer.answered_ms,
                "week": answer.week,
                "late": 1 if answer.late else 0,
                "message_ids": answer.message_ids,
                "quote_ok": 1 if answer.quote_ok else 0,
                "wave_id": answer.wave_id,
            },
        )
        if not rolled_up:
            return
        cell = (
            answer.week,
            answer.instrument,
            value,
            answer.missing,
            answer.survey_kind,
            answer.touchpoint,
            answer.segment,
            answer.channel,
            answer.lang,
            answer.wording_id,
            answer.label_set,
        )
        if answer.missing:
            self._add(cell, 1, 0)
        elif latest is None:
            self._add(cell, 1, 1)
        elif (latest[0], latest[1]) < (answer.answered_ms, answer.id):
            self._add(cell, 1, 1)
            self._add(latest[2:], 0, -1)
        else:
            self._add(cell, 1, 0)

    def retract_answer(self, session_id: str, question: str, at_ms: int) -> None:
        """The counted answer of this question, if there is one, stops counting and stays in the history."""
        row = self._db.one(
            "SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, NULL, quote_ok, wave_id FROM answers"
            " WHERE session_id = :session_id AND question = :question",
            {"session_id": session_id, "question": question},
        )
        if row:
            self._stop_counting(_answer(row))
            self._keep_former(replace(_answer(row), replaced_ms=at_ms))

    def _keep_former(self, answer: Answer) -> None:
        """An answer that does not count (any more) goes to the history."""
        self._db.run(
            "INSERT INTO former_answers (session_id, question, id, customer_id, instrument, wording_id,"
            " label_set, value,"
            " missing, countable, lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms,"
            " answered_ms, week, late, message_ids, quote_ok, replaced_ms, wave_id)"
            " VALUES (:session_id, :question, :id, :customer_id, :instrument, :wording_id, :label_set,"
            " :value, :missing, :countable, :lang, :channel, :survey_kind, :touchpoint, :segment, :flow_id, :revision,"
            " :shown_ms, :answered_ms, :week, :late, :message_ids, :quote_ok, :replaced_ms, :wave_id)",
            {
                "session_id": answer.session_id,
                "question": answer.question,
                "id": answer.id,
                "customer_id": answer.customer_id,
                "instrument": answer.instrument,
                "wording_id": answer.wording_id,
                "label_set": answer.label_set,
                "value": clean(answer.value),
                "missing": answer.missing,
                "countable": int(answer.numeric),
                "lang": answer.lang,
                "channel": answer.channel,
                "survey_kind": answer.survey_kind,
                "touchpoint": answer.touchpoint,
                "segment": answer.segment,
                "flow_id": answer.flow_id,
                "revision": answer.revision,
                "shown_ms": answer.shown_ms,
                "answered_ms": answer.answered_ms,
                "week": answer.week,
                "late": int(answer.late),
                "message_ids": answer.message_ids,
                "quote_ok": int(answer.quote_ok),
                "replaced_ms": answer.replaced_ms,
                "wave_id": answer.wave_id,
            },
        )

    def forget_words(self, session_id: str, message_id: str, at_ms: int) -> int:
        """The customer took a message back: the words of every answer made from it go, in the history too, and such
        an answer stops counting. Number of answers."""
        found = 0
        for answer in self.answers_of_session(session_id, history=True):
            if message_id in answer.message_ids.split(";"):
                found += 1
                if answer.replaced_ms is None:
                    self.retract_answer(session_id, answer.question, at_ms)
                self._db.run(
                    "UPDATE former_answers SET value = ''"
                    " WHERE session_id = :session_id AND question = :question AND id = :id",
                    {"session_id": session_id, "question": answer.question, "id": answer.id},
                )
        return found

    def answers_of_session(self, session_id: str, *, history: bool = False) -> list[Answer]:
        """The counted answers in order of time; with `history`, those that stopped counting, too."""
        rows = self._db.all(
            "SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, NULL AS replaced_ms, quote_ok, wave_id FROM answers WHERE session_id = :session_id"
            " UNION ALL"
            " SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, replaced_ms, quote_ok, wave_id FROM former_answers"
            " WHERE session_id = :session_id AND :history = 1"
            " ORDER BY answered_ms, id",
            {"session_id": session_id, "history": int(history)},
        )
        return [_answer(row) for row in rows]

    def answers_of(self, customer_id: str, *, history: bool = False) -> list[Answer]:
        """The counted answers of this customer in order of time; with `history`, the others, too."""
        rows = self._db.all(
            "SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, NULL AS replaced_ms, quote_ok, wave_id FROM answers WHERE customer_id = :customer_id"
            " UNION ALL"
            " SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, replaced_ms, quote_ok, wave_id FROM former_answers"
            " WHERE customer_id = :customer_id AND :history = 1"
            " ORDER BY answered_ms, id",
            {"customer_id": customer_id, "history": int(history)},
        )
        return [_answer(row) for row in rows]

    def rollup(self, first_week: str, last_week: str, *, instrument: str = "") -> list[RollupCell]:
        """The cells of the weeks first_week ≤ week ≤ last_week (Mondays), of one instrument or all.

        Only standard instruments are rolled up (a shop's own questions share no name to be added up under), and no
        free text. A skipped question is a cell with value "" and its `missing`; it has no customers. Without a
        customer every answer counts as one.
        """
        rows = self._db.all(
            "SELECT week, instrument, wording_id, label_set, survey_kind, touchpoint, segment, channel, lang, value,"
            " missing, answers, customers FROM rollup"
            " WHERE week >= :first_week AND week <= :last_week AND (:instrument = '' OR instrument = :instrument)"
            " ORDER BY week, instrument, value, missing, survey_kind, touchpoint, segment, channel, lang, wording_id,"
            " label_set",
            {"first_week": first_week, "last_week": last_week, "instrument": instrument},
        )
        return [RollupCell(*row) for row in rows]

    def recompute_rollup(self) -> list[RollupCell]:
        """The roll-up computed from raw rows, for the checker and for repairs (writes nothing)."""
        rows = self._db.all(
            "SELECT week, instrument, wording_id, label_set, survey_kind, touchpoint, segment, channel, lang, value,"
            " missing, COUNT(*), SUM(CASE WHEN missing = '' AND (customer_id = '' OR place = 1) THEN 1 ELSE 0 END)"
            " FROM (SELECT week, instrument, wording_id, label_set, survey_kind, touchpoint, segment, channel, lang,"
            " value, missing, customer_id, ROW_NUMBER() OVER (PARTITION BY customer_id, week, instrument, survey_kind,"
            " touchpoint, CASE WHEN missing = '' THEN 0 ELSE 1 END ORDER BY answered_ms DESC, id DESC) AS place"
            " FROM answers WHERE countable = 1 AND instrument <> '') AS counted"
            " GROUP BY week, instrument, value, missing, survey_kind, touchpoint, segment, channel, lang, wording_id,"
            " label_set"
            " ORDER BY week, instrument, value, missing, survey_kind, touchpoint, segment, channel, lang, wording_id,"
            " label_set"
        )
        return [RollupCell(*row) for row in rows]

    def answers_between(
        self, start_ms: int, end_ms: int, *, instrument: str = "", instruments: Sequence[str] = ()
    ) -> list[Answer]:
        """Counted answers given in [start, end), in order of time; of one instrument, of several, or all questions."""
        rows = self._db.all(
            "SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, NULL, quote_ok, wave_id FROM answers"
            " WHERE answered_ms >= :start_ms AND answered_ms < :end_ms "
            " AND (:instrument = '' OR instrument = :instrument)"
            " AND (:several = '' OR REPLACE(:several, :mark || instrument || :mark, '') <> :several)"
            " ORDER BY answered_ms, id",
            {
                "instrument": instrument,
                "several": _marked(instruments),
                "mark": _MARK,
                "start_ms": start_ms,
                "end_ms": end_ms,
            },
        )
        return [_answer(row) for row in rows]

    def answers_page(
        self,
        start_ms: int,
        end_ms: int,
        *,
        after: Answer | None = None,
        flow: str = "",
        segment: str = "",
        history: bool = False,
        limit: int = 2_000,
    ) -> list[Answer]:
        """The next counted answers given in [start, end), oldest first: those behind `after`, the last one of the page
        before; of one flow and segment, or all. With `history`, those that stopped counting, too. Fewer than `limit`
        are the last."""
        rows = self._db.all(
            "SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, NULL AS replaced_ms, quote_ok, wave_id FROM answers"
            " WHERE answered_ms >= :from_ms AND answered_ms < :end_ms"
            " AND (answered_ms, session_id, question, id) > (:after_ms, :after_session, :after_question, :after_id)"
            " AND (:flow = '' OR flow_id = :flow) AND (:segment = '' OR segment = :segment)"
            " UNION ALL"
            " SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, replaced_ms, quote_ok, wave_id FROM former_answers"
            " WHERE answered_ms >= :from_ms AND answered_ms < :end_ms AND :history = 1"
            " AND (answered_ms, session_id, question, id) > (:after_ms, :after_session, :after_question, :after_id)"
            " AND (:flow = '' OR flow_id = :flow) AND (:segment = '' OR segment = :segment)"
            " ORDER BY answered_ms, session_id, question, id LIMIT :limit",
            {
                "from_ms": start_ms if after is None else after.answered_ms,
                "end_ms": end_ms,
                "after_ms": start_ms - 1 if after is None else after.answered_ms,
                "after_session": "" if after is None else after.session_id,
                "after_question": "" if after is None else after.question,
                "after_id": "" if after is None else after.id,
                "flow": flow,
                "segment": segment,
                "history": int(history),
                "limit": limit,
            },
        )
        return [_answer(row) for row in rows]

    def answers_span(self) -> tuple[int, int] | None:
        """When the first and the last answer were given, former ones included, in ms; None while there is none."""
        row = self._db.one(
            "SELECT MIN(first_ms), MAX(last_ms) FROM (SELECT (SELECT MIN(answered_ms) FROM answers) AS first_ms,"
            " (SELECT MAX(answered_ms) FROM answers) AS last_ms"
            " UNION ALL SELECT (SELECT MIN(answered_ms) FROM former_answers),"
            " (SELECT MAX(answered_ms) FROM former_answers)) AS both"
        )
        return None if row is None or row[0] is None else (row[0], row[1])

    def answers_beside(
        self, start_ms: int, end_ms: int, *, anchors: Sequence[str], instruments: Sequence[str]
    ) -> list[Answer]:
        """Counted answers to `instruments`, by session, of the sessions in which one of the `anchors` was answered or
        skipped in [start, end); skipped ones too. Nothing without anchors."""
        rows = self._db.all(
            "SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, NULL, quote_ok FROM answers"
            " WHERE session_id IN (SELECT session_id FROM answers"
            " WHERE answered_ms >= :start_ms AND answered_ms < :end_ms"
            " AND REPLACE(:anchors, :mark || instrument || :mark, '') <> :anchors)"
            " AND REPLACE(:instruments, :mark || instrument || :mark, '') <> :instruments"
            " ORDER BY session_id, question",
            {
                "start_ms": start_ms,
                "end_ms": end_ms,
                "anchors": _marked(anchors),
                "instruments": _marked(instruments),
                "mark": _MARK,
            },
        )
        return [_answer(row) for row in rows]

    def comments_between(self, start_ms: int, end_ms: int, *, rated_by: str) -> list[Comment]:
        """Free text of instruments given in [start, end), in order of time, with the latest valid answer to the
        instrument `rated_by` in the same session."""
        rows = self._db.all(
            "SELECT instrument, survey_kind, touchpoint, segment, wording_id, customer_id, answered_ms, value, missing,"
            " COALESCE((SELECT rating.value FROM answers AS rating WHERE rating.session_id = answers.session_id"
            " AND rating.instrument = :rated_by AND rating.missing = ''"
            " ORDER BY rating.answered_ms DESC, rating.id DESC LIMIT 1), ''), quote_ok, channel FROM answers"
            " WHERE answered_ms >= :start_ms AND answered_ms < :end_ms AND countable = 0 AND instrument <> ''"
            " ORDER BY answered_ms, id",
            {"start_ms": start_ms, "end_ms": end_ms, "rated_by": rated_by},
        )
        return [_comment(row) for row in rows]

    def bought_before(self, start_ms: int, end_ms: int, *, instrument: str) -> dict[str, int]:
        """Answer → when its customer's last purchase before it took place, of counted answers given in [start, end);
        those of customers without one are left out."""
        rows = self._db.all(
            "SELECT a.id, MAX(e.occurred_ms) FROM answers AS a JOIN events AS e ON e.customer_id = a.customer_id"
            " WHERE a.answered_ms >= :start_ms AND a.answered_ms < :end_ms AND a.instrument = :instrument"
            " AND a.customer_id <> '' AND e.type = 'purchase' AND e.occurred_ms <= a.answered_ms GROUP BY a.id",
            {"start_ms": start_ms, "end_ms": end_ms, "instrument": instrument},
        )
        return dict(rows)

    def latest_values(
        self, instrument: str, survey_kind: str, touchpoint: str, start_ms: int, end_ms: int
    ) -> dict[str, int]:
        """value → number of customers whose latest counted valid answer in [start, end) has it: right for windows of
        several weeks, where adding up weekly roll-ups would count a customer twice. Without a customer every answer
        counts."""
        rows = self._db.all(
            "SELECT value, COUNT(*) FROM (SELECT value, customer_id, ROW_NUMBER() OVER"
            " (PARTITION BY customer_id ORDER BY answered_ms DESC, id DESC) AS place FROM answers"
            " WHERE answered_ms >= :start_ms AND answered_ms < :end_ms AND instrument = :instrument"
            " AND survey_kind = :survey_kind AND touchpoint = :touchpoint"
            " AND missing = '' AND countable = 1) AS valid"
            " WHERE place = 1 OR customer_id = '' GROUP BY value ORDER BY value",
            {
                "instrument": instrument,
                "survey_kind": survey_kind,
                "touchpoint": touchpoint,
                "start_ms": start_ms,
                "end_ms": end_ms,
            },
        )
        return dict(rows)

    def latest_cells(
        self, instrument: str, survey_kind: str, touchpoint: str, start_ms: int, end_ms: int
    ) -> list[LatestCell]:
        """What `latest_values` counts, by wording, segment, channel and language of that latest answer."""
        rows = self._db.all(
            "SELECT wording_id, label_set, segment, channel, lang, value, COUNT(*) FROM"
            " (SELECT wording_id, label_set, segment, channel, lang, value, customer_id, ROW_NUMBER() OVER"
            " (PARTITION BY customer_id ORDER BY answered_ms DESC, id DESC) AS place FROM answers"
            " WHERE answered_ms >= :start_ms AND answered_ms < :end_ms AND instrument = :instrument"
            " AND survey_kind = :survey_kind AND touchpoint = :touchpoint"
            " AND missing = '' AND countable = 1) AS valid"
            " WHERE place = 1 OR customer_id = ''"
            " GROUP BY wording_id, label_set, segment, channel, lang, value"
            " ORDER BY wording_id, label_set, segment, channel, lang, value",
            {
                "instrument": instrument,
                "survey_kind": survey_kind,
                "touchpoint": touchpoint,
                "start_ms": start_ms,
                "end_ms": end_ms,
            },
        )
        return [LatestCell(*row) for row in rows]

    def response_counts(self, start_ms: int, end_ms: int) -> ResponseCounts:
        """Invitations sent in [start, end) and what became of them; of a wave the first session is the invitation.

        answered: at least one valid answer, in time, within 7 days of the invitation (metrics.md §5, response_rate);
        started: the customer answered anything, completed: the conversation came to its end;
        undeliverable: blocked, or given up by the worker, before anything was answered. `skipped` counts decisions of
        the same window not to ask.
        """
        row = self._db.one(
            "SELECT COUNT(*),"
            " COUNT(CASE WHEN EXISTS (SELECT 1 FROM answers AS a WHERE a.session_id = i.session_id"
            " AND a.missing = '' AND a.late = 0"
            " AND a.answered_ms < i.sent_ms + 604800000) THEN 1 END),"
            " COUNT(CASE WHEN s.status = 'completed' THEN 1 END),"
            " COUNT(s.started_ms),"
            " COUNT(CASE WHEN s.started_ms IS NULL AND (s.status = 'blocked' OR EXISTS (SELECT 1 FROM jobs"
            " AS j"
            " WHERE j.session_id = i.session_id AND j.session_id <> '' AND j.kind = 'send' AND j.state = 'dead'))"
            " THEN 1 END)"
            " FROM invitations AS i LEFT JOIN sessions AS s ON s.id = i.session_id"
            " WHERE i.sent_ms >= :start_ms AND i.sent_ms < :end_ms AND i.part = 1",
            {"start_ms": start_ms, "end_ms": end_ms},
        )
        assert row is not None
        skipped = self._db.all(
            "SELECT reason, COUNT(*) AS times FROM invitations"
            " WHERE state = 'skipped' AND planned_ms >= :start_ms AND planned_ms < :end_ms AND part = 1"
            " GROUP BY reason ORDER BY times DESC, reason",
            {"start_ms": start_ms, "end_ms": end_ms},
        )
        invited, answered, completed, started, undeliverable = row
        return ResponseCounts(
            invited=invited,
            answered=answered,
            completed=completed,
            started=started,
            undeliverable=undeliverable,
            skipped=tuple((reason, count) for reason, count in skipped),
        )

    def blocks_after_invitations(self, start_ms: int, end_ms: int, *, within_ms: int) -> tuple[int, int]:
        """(people invited on LINE in [start, end), those of them who blocked the account within so long after it)."""
        row = self._db.one(
            "SELECT COUNT(DISTINCT s.external_id),"
            " COUNT(DISTINCT CASE WHEN a.blocked_ms >= i.sent_ms AND a.blocked_ms < i.sent_ms + :within_ms"
            " THEN s.external_id END)"
            " FROM invitations AS i JOIN sessions AS s ON s.id = i.session_id"
            " LEFT JOIN addresses AS a ON a.channel = s.channel AND a.workspace = s.workspace"
            " AND a.external_id = s.external_id"
            " WHERE i.sent_ms >= :start_ms AND i.sent_ms < :end_ms AND s.channel = 'line'",
            {"start_ms": start_ms, "end_ms": end_ms, "within_ms": within_ms},
        )
        assert row is not None
        return row[0], row[1]

    def buyers_linked(self, start_ms: int, end_ms: int) -> tuple[int, int]:
        """(customers with a purchase in [start, end), those of them who can be written to on LINE now)."""
        row = self._db.one(
            "SELECT COUNT(*), COUNT(CASE WHEN EXISTS (SELECT 1 FROM addresses AS a WHERE a.customer_id = b.customer_id"
            " AND a.customer_id <> '' AND a.channel = 'line' AND a.blocked_ms IS NULL) THEN 1 END)"
            " FROM (SELECT DISTINCT customer_id FROM events WHERE type = 'purchase' AND customer_id <> ''"
            " AND occurred_ms >= :start_ms AND occurred_ms < :end_ms) AS b",
            {"start_ms": start_ms, "end_ms": end_ms},
        )
        assert row is not None
        return row[0], row[1]

    def responses_by_flow(self, start_ms: int, end_ms: int) -> list[tuple[str, int, int, int]]:
        """(flow id, invited, answered, completed) of invitations sent in [start, end), counted as in `response_counts`;
        those who were invited most first."""
        rows = self._db.all(
            "SELECT i.flow_id, COUNT(*) AS invited,"
            " COUNT(CASE WHEN EXISTS (SELECT 1 FROM answers AS a WHERE a.session_id = i.session_id"
            " AND a.missing = '' AND a.late = 0 AND a.answered_ms < i.sent_ms + 604800000) THEN 1 END),"
            " COUNT(CASE WHEN s.status = 'completed' THEN 1 END)"
            " FROM invitations AS i LEFT JOIN sessions AS s ON s.id = i.session_id"
            " WHERE i.sent_ms >= :start_ms AND i.sent_ms < :end_ms AND i.part = 1"
            " GROUP BY i.flow_id ORDER BY invited DESC, i.flow_id",
            {"start_ms": start_ms, "end_ms": end_ms},
        )
        return [(flow_id, invited, answered, completed) for flow_id, invited, answered, completed in rows]

    def conversations_sent(
        self, start_ms: int, end_ms: int, *, after: tuple[int, str] = (-1, ""), limit: int = 1_000
    ) -> list[SentConversation]:
        """The next conversations whose invitation was sent in [start, end), by time and id of the invitation: those
        behind `after`. Fewer than `limit` are the last."""
        rows = self._db.all(
            "SELECT i.id, i.sent_ms, s.flow_id, s.status, s.state FROM invitations AS i"
            " JOIN sessions AS s ON s.id = i.session_id"
            " WHERE i.sent_ms IS NOT NULL AND i.sent_ms >= :start_ms AND i.sent_ms < :end_ms"
            " AND (i.sent_ms > :after_ms OR (i.sent_ms = :after_ms AND i.id > :after_id))"
            " ORDER BY i.sent_ms, i.id LIMIT :limit",
            {"start_ms": start_ms, "end_ms": end_ms, "after_ms": after[0], "after_id": after[1], "limit": limit},
        )
        return [SentConversation(*row) for row in rows]

    def invited_between(self, start_ms: int, end_ms: int) -> list[Invited]:
        """Invitations sent in [start, end) to customers who are known, in order of time; of a wave the first session is
        the invitation. What counts as answered and as undeliverable: see `response_counts`."""
        rows = self._db.all(
            "SELECT i.customer_id, i.channel, i.sent_ms,"
            " CASE WHEN EXISTS (SELECT 1 FROM answers AS a WHERE a.session_id = i.session_id"
            " AND a.missing = '' AND a.late = 0 AND a.answered_ms < i.sent_ms + 604800000) THEN 1 ELSE 0 END,"
            " CASE WHEN s.started_ms IS NULL AND (s.status = 'blocked' OR EXISTS (SELECT 1 FROM jobs AS j"
            " WHERE j.session_id = i.session_id AND j.session_id <> '' AND j.kind = 'send' AND j.state = 'dead'))"
            " THEN 1 ELSE 0 END,"
            " (SELECT MIN(e.occurred_ms) FROM events AS e WHERE e.customer_id = i.customer_id)"
            " FROM invitations AS i LEFT JOIN sessions AS s ON s.id = i.session_id"
            " WHERE i.sent_ms >= :start_ms AND i.sent_ms < :end_ms AND i.part = 1 AND i.customer_id <> ''"
            " ORDER BY i.sent_ms, i.id",
            {"start_ms": start_ms, "end_ms": end_ms},
        )
        return [Invited(row[0], row[1], row[2], bool(row[3]), bool(row[4]), row[5]) for row in rows]

    def events_of_invited(self, start_ms: int, end_ms: int, *, types: Sequence[str], since_ms: int) -> list[Event]:
        """Events of these types in [since, end) of the customers who were invited in [start, end), oldest first."""
        rows = self._db.all(
            "SELECT e.id, e.type, e.occurred_ms, e.received_ms, e.customer_id, e.data, e.imported"
            " FROM (SELECT DISTINCT customer_id FROM invitations"
            " WHERE sent_ms >= :start_ms AND sent_ms < :end_ms AND part = 1 AND customer_id <> '') AS who"
            " JOIN events AS e ON e.customer_id = who.customer_id"
            " AND e.occurred_ms >= :since_ms AND e.occurred_ms < :end_ms"
            " WHERE REPLACE(:types, :mark || e.type || :mark, '') <> :types"
            " ORDER BY e.occurred_ms, e.id",
            {"start_ms": start_ms, "end_ms": end_ms, "since_ms": since_ms, "types": _marked(types), "mark": _MARK},
        )
        return [_event(row) for row in rows]

    def values_by_delay(self, instrument: str, start_ms: int, end_ms: int, *, early_ms: int) -> list[DelayCount]:
        """Latest valid answers to an instrument, one per customer, survey_kind and touchpoint, of those who were
        invited in [start, end), counted by value and by whether they came within `early_ms` of the invitation."""
        rows = self._db.all(
            "SELECT survey_kind, touchpoint, wording_id, label_set, early, value, COUNT(*) FROM ("
            "SELECT a.survey_kind, a.touchpoint, a.wording_id, a.label_set, a.value, a.customer_id,"
            " CASE WHEN a.answered_ms < i.sent_ms + :early_ms THEN 1 ELSE 0 END AS early,"
            " ROW_NUMBER() OVER (PARTITION BY a.customer_id, a.survey_kind, a.touchpoint"
            " ORDER BY a.answered_ms DESC, a.id DESC) AS place"
            " FROM invitations AS i JOIN answers AS a ON a.session_id = i.session_id"
            " WHERE i.sent_ms >= :start_ms AND i.sent_ms < :end_ms AND i.session_id <> ''"
            " AND a.instrument = :instrument AND a.missing = '' AND a.countable = 1) AS valid"
            " WHERE place = 1 OR customer_id = ''"
            " GROUP BY survey_kind, touchpoint, wording_id, label_set, early, value"
            " ORDER BY survey_kind, touchpoint, wording_id, label_set, early, value",
            {"start_ms": start_ms, "end_ms": end_ms, "instrument": instrument, "early_ms": early_ms},
        )
        return [DelayCount(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6]) for row in rows]

    def quick_sessions(self, start_ms: int, end_ms: int, *, ms_per_question: int) -> list[str]:
        """Sessions of [start, end) whose questions took less than so long on average from being shown to being
        answered, the first one left out: it waited with the invitation. Not those of one question, nor those without
        any times, as imported ones are."""
        rows = self._db.all(
            "SELECT session_id FROM (SELECT session_id, CASE WHEN answered_ms > shown_ms THEN answered_ms - shown_ms"
            " ELSE 0 END AS spent, ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY shown_ms, answered_ms) AS place"
            " FROM answers WHERE answered_ms >= :start_ms AND answered_ms < :end_ms) AS timed"
            " GROUP BY session_id HAVING COUNT(*) > 1 AND SUM(spent) > 0"
            " AND SUM(CASE WHEN place > 1 THEN spent ELSE 0 END) < :ms_per_question * (COUNT(*) - 1)"
            " ORDER BY session_id",
            {"start_ms": start_ms, "end_ms": end_ms, "ms_per_question": ms_per_question},
        )
        return [row[0] for row in rows]

    def _latest(self, customer_id: str, week: str, instrument: str, survey_kind: str, touchpoint: str) -> Row | None:
        """The customer's latest valid answer of this week: time, id, then the eleven columns of its cell."""
        return self._db.one(
            "SELECT answered_ms, id, week, instrument, value, missing, survey_kind, touchpoint, segment,"
            " channel, lang, wording_id, label_set FROM answers"
            " WHERE customer_id = :customer_id AND instrument = :instrument AND week = :week"
            " AND survey_kind = :survey_kind AND touchpoint = :touchpoint AND missing = '' AND countable = 1"
            " ORDER BY answered_ms DESC, id DESC LIMIT 1",
            {
                "customer_id": customer_id,
                "week": week,
                "instrument": instrument,
                "survey_kind": survey_kind,
                "touchpoint": touchpoint,
            },
        )

    def _stop_counting(self, former: Answer) -> None:
        """Take a counted answer out of the counts; the next latest of its customer steps in."""
        self._db.run(
            "DELETE FROM answers WHERE session_id = :session_id AND question = :question",
            {"session_id": former.session_id, "question": former.question},
        )
        if not former.numeric or former.instrument == "":
            return
        cell = (
            former.week,
            former.instrument,
            former.value,
            former.missing,
            former.survey_kind,
            former.touchpoint,
            former.segment,
            former.channel,
            former.lang,
            former.wording_id,
            former.label_set,
        )
        if former.missing:
            self._add(cell, -1, 0)
        elif former.customer_id == "":
            self._add(cell, -1, -1)
        else:
            following = self._latest(
                former.customer_id, former.week, former.instrument, former.survey_kind, former.touchpoint
            )
            if following is None:
                self._add(cell, -1, -1)
            elif (following[0], following[1]) < (former.answered_ms, former.id):
                self._add(cell, -1, -1)
                self._add(following[2:], 0, 1)
            else:
                self._add(cell, -1, 0)

    def _add(self, cell: Row, answers: int, customers: int) -> None:
        """Add to a cell of the roll-up; one that comes to nothing goes."""
        (
            week,
            instrument,
            value,
            missing,
            survey_kind,
            touchpoint,
            segment,
            channel,
            lang,
            wording_id,
            label_set,
        ) = cell
        params = {
            "week": week,
            "instrument": instrument,
            "value": value,
            "missing": missing,
            "survey_kind": survey_kind,
            "touchpoint": touchpoint,
            "segment": segment,
            "channel": channel,
            "lang": lang,
            "wording_id": wording_id,
            "label_set": label_set,
            "answers": answers,
            "customers": customers,
        }
        self._db.run(
            "INSERT INTO rollup (week, instrument, value, missing, survey_kind, touchpoint, segment, channel, lang,"
            " wording_id, label_set, answers, customers)"
            " VALUES (:week, :instrument, :value, :missing, :survey_kind, :touchpoint, :segment, :channel, :lang,"
            " :wording_id, :label_set, :answers, :customers)"
            " ON CONFLICT (week, instrument, value, missing, survey_kind, touchpoint, segment, channel,"
            " lang, wording_id, label_set) DO UPDATE SET answers = rollup.answers + excluded.answers,"
            " customers = rollup.customers + excluded.customers",
            params,
        )
        if answers < 0:
            self._db.run(
                "DELETE FROM rollup WHERE week = :week AND instrument = :instrument AND value = :value"
                " AND missing = :missing AND survey_kind = :survey_kind AND touchpoint = :touchpoint"
                " AND segment = :segment AND channel = :channel AND lang = :lang AND wording_id = :wording_id"
                " AND label_set = :label_set AND answers = 0",
                params,
            )

    def allow_quotes(self, customer_id: str, agreed: bool) -> None:
        """Whether this customer's comments may be used outside the company; it holds for those given before, too."""
        self._db.run(
            "UPDATE answers SET quote_ok = :agreed WHERE customer_id = :customer_id AND customer_id <> ''"
            " AND countable = 0 AND missing = ''",
            {"customer_id": customer_id, "agreed": 1 if agreed else 0},
        )

    # --- referrals

    def referral_offered_ms(self, customer_id: str) -> int | None:
        """When this customer was last asked to refer somebody; None: never."""
        row = self._db.one(
            "SELECT offered_ms FROM referrers WHERE customer_id = :customer_id", {"customer_id": customer_id}
        )
        return row[0] if row else None

    def note_referral_offer(self, customer_id: str, at_ms: int) -> None:
        """This customer is asked now to refer somebody."""
        self._db.run(
            "INSERT INTO referrers (customer_id, code, offered_ms) VALUES (:customer_id, '', :at_ms)"
            " ON CONFLICT (customer_id) DO UPDATE SET offered_ms = excluded.offered_ms",
            {"customer_id": customer_id, "at_ms": at_ms},
        )

    def referral_code(self, customer_id: str, drawn: str, at_ms: int) -> str:
        """The code of this customer: `drawn` (free, see customer_of_referral_code) when there was none yet."""
        self._db.run(
            "INSERT INTO referrers (customer_id, code, offered_ms) VALUES (:customer_id, :drawn, :at_ms)"
            " ON CONFLICT (customer_id) DO UPDATE SET code = excluded.code WHERE referrers.code = ''",
            {"customer_id": customer_id, "drawn": drawn, "at_ms": at_ms},
        )
        row = self._db.one("SELECT code FROM referrers WHERE customer_id = :customer_id", {"customer_id": customer_id})
        assert row is not None
        return str(row[0])

    def customer_of_referral_code(self, code: str) -> str | None:
        """Whose code this is."""
        row = self._db.one("SELECT customer_id FROM referrers WHERE code = :code AND code <> ''", {"code": code})
        return row[0] if row else None

    # --- jobs

    def put_job(self, job: Job, *, claim_for: str = "", lease_until_ms: int = 0) -> Job | None:
        """Queue it. None when its key is used. With `claim_for`, a due job (due_ms ≤ created_ms) whose lane has no
        unfinished job comes back already leased to that owner (attempts 1), saving a claim.

        Raises:
            Conflict: a job with this id exists.
        """
        if claim_for and job.state == "ready" and job.due_ms <= job.created_ms and self.lane_is_free(job.lane):
            job = Job(
                job.id,
                job.kind,
                job.due_ms,
                job.payload,
                job.lane,
                job.key,
                job.channel,
                job.session_id,
                job.customer_id,
                job.asks,
                job.updates,
                job.expires_ms,
                job.created_ms,
                "leased",
                job.attempts + 1,
                claim_for,
                lease_until_ms,
                job.fence + 1,
                job.error,
                job.ref,
            )
        match job.state:
            case "ready":
                claim_ms: int | None = job.due_ms
            case "leased":
                claim_ms = job.lease_until_ms
            case _:
                claim_ms = None
        stored = self._db.run(
            "INSERT INTO jobs (id, kind, due_ms, payload, lane, key, channel, session_id, customer_id, asks, updates,"
            " expires_ms, created_ms, state, attempts, lease_owner, lease_until_ms, fence, error, ref, claim_ms,"
            " finished_ms)"
            " VALUES (:id, :kind, :due_ms, :payload, :lane, :key, :channel, :session_id, :customer_id,"
            " :asks, :updates,"
            " :expires_ms, :created_ms, :state, :attempts, :lease_owner, :lease_until_ms, :fence, :error,"
            " :ref, :claim_ms, :finished_ms)"
            " ON CONFLICT (key) WHERE key <> '' DO NOTHING",
            {
                "id": job.id,
                "kind": job.kind,
                "due_ms": job.due_ms,
                "payload": clean(job.payload),
                "lane": job.lane,
                "key": job.key,
                "channel": job.channel,
                "session_id": job.session_id,
                "customer_id": job.customer_id,
                "asks": job.asks,
                "updates": job.updates,
                "expires_ms": job.expires_ms,
                "created_ms": job.created_ms,
                "state": job.state,
                "attempts": job.attempts,
                "lease_owner": job.lease_owner,
                "lease_until_ms": job.lease_until_ms,
                "fence": job.fence,
                "error": job.error,
                "ref": job.ref,
                "claim_ms": claim_ms,
                "finished_ms": None if job.state in ("ready", "leased", "held") else job.created_ms,
            },
        )
        return job if stored else None

    def lane_is_free(self, lane: str) -> bool:
        """True when no unfinished job is in this lane; always for ""."""
        return (
            lane == ""
            or self._db.one("SELECT 1 FROM jobs WHERE lane = :lane AND finished_ms IS NULL LIMIT 1", {"lane": lane})
            is None
        )

    def claim_jobs(
        self,
        owner: str,
        now_ms: int,
        lease_until_ms: int,
        *,
        limit: int,
        kinds: Sequence[str] = (),
        paused: Sequence[str] = (),
    ) -> list[Job]:
        """Lease due jobs: ready, or leased with the lease run out; only the oldest unfinished of a lane; channels in
        `paused` are left alone. attempts and fence grow by one. Jobs past expires_ms become "expired" instead.
        Earliest due first."""
        self.expire_jobs(now_ms)
        # The guard on claim_ms is repeated outside: inside the sub-select alone it gives one job to two
        # workers on PostgreSQL. An unfinished earlier job keeps its lane whatever its state.
        rows = self._db.all(
            "UPDATE jobs SET state = 'leased', lease_owner = :owner, lease_until_ms = :until_ms, claim_ms = :until_ms,"
            " attempts = attempts + 1, fence = fence + 1"
            " WHERE claim_ms <= :now_ms AND id IN (SELECT j.id FROM jobs AS j"
            " WHERE j.claim_ms <= :now_ms"
            " AND (:kinds = '' OR REPLACE(:kinds, :mark || j.kind || :mark, '') <> :kinds)"
            " AND REPLACE(:paused, :mark || j.channel || :mark, '') = :paused"
            " AND (j.lane = '' OR NOT EXISTS (SELECT 1 FROM jobs AS e"
            " WHERE e.lane = j.lane AND e.finished_ms IS NULL AND e.id < j.id))"
            " ORDER BY j.claim_ms, j.id LIMIT :limit)"
            " RETURNING id, kind, due_ms, payload, lane, key, channel, session_id, customer_id, asks,"
            " updates, expires_ms, created_ms, state, attempts, lease_owner, lease_until_ms, fence, error, ref",
            {
                "owner": owner,
                "until_ms": lease_until_ms,
                "now_ms": now_ms,
                "kinds": _marked(kinds),
                "paused": _marked(paused),
                "mark": _MARK,
                "limit": limit,
            },
        )
        return sorted((Job(*row) for row in rows), key=lambda job: (job.due_ms, job.id))

    def expire_jobs(self, now_ms: int) -> list[Job]:
        """Due jobs past expires_ms become "expired"; those with a key, for whom it matters. Idempotent."""
        rows = self._db.all(
            "UPDATE jobs SET state = 'expired', finished_ms = :now_ms, claim_ms = NULL, lease_until_ms = NULL"
            " WHERE claim_ms <= :now_ms AND expires_ms <= :now_ms"
            " RETURNING id, kind, due_ms, payload, lane, key, channel, session_id, customer_id, asks,"
            " updates, expires_ms, created_ms, state, attempts, lease_owner, lease_until_ms, fence, error, ref",
            {"now_ms": now_ms},
        )
        return [job for job in (Job(*row) for row in rows) if job.key]

    def holds_lease(self, jobs: Iterable[Job]) -> set[str]:
        """Ids of those still leased with the same fence: to be asked right before acting (P27)."""
        return {
            job.id
            for job in jobs
            if self._db.one(
                "SELECT 1 FROM jobs WHERE id = :id AND fence = :fence AND state = 'leased'",
                {"id": job.id, "fence": job.fence},
            )
        }

    def finish_job(self, job: Job, *, state: str, at_ms: int, error: str = "", ref: str = "") -> bool:
        """False for a stale fence, and for a job that is no longer leased. state: done, dead, uncertain, expired,
        cancelled."""
        if state not in ("done", "dead", "uncertain", "expired", "cancelled"):
            raise ValueError(f"a job cannot finish as {state!r}")
        return (
            self._db.run(
                "UPDATE jobs SET state = :state, finished_ms = :at_ms, claim_ms = NULL, lease_until_ms ="
                " NULL,"
                " error = :error, ref = :ref WHERE id = :id AND fence = :fence AND state = 'leased'",
                {
                    "id": job.id,
                    "fence": job.fence,
                    "state": state,
                    "at_ms": at_ms,
                    "error": clean(error),
                    "ref": ref,
                },
            )
            == 1
        )

    def retry_job(self, job: Job, *, due_ms: int, error: str) -> bool:
        """Back to ready, later. False for a stale fence, and for a job that is no longer leased."""
        return (
            self._db.run(
                "UPDATE jobs SET state = 'ready', due_ms = :due_ms, claim_ms = :due_ms, lease_owner = '',"
                " lease_until_ms = NULL, error = :error WHERE id = :id AND fence = :fence AND state = 'leased'",
                {"id": job.id, "fence": job.fence, "due_ms": due_ms, "error": clean(error)},
            )
            == 1
        )

    def put_back_job(self, job: Job, *, due_ms: int, error: str) -> bool:
        """Back to ready, later, the claim undone: nothing was tried, so no attempt counts. False as retry_job."""
        return (
            self._db.run(
                "UPDATE jobs SET state = 'ready', due_ms = :due_ms, claim_ms = :due_ms, lease_owner = '',"
                " lease_until_ms = NULL, error = :error, attempts = attempts - 1"
                " WHERE id = :id AND fence = :fence AND state = 'leased'",
                {"id": job.id, "fence": job.fence, "due_ms": due_ms, "error": clean(error)},
            )
            == 1
        )

    def replay_job(self, job_id: str, now_ms: int) -> bool:
        """A dead, uncertain or held job becomes ready again with attempts 0. Its fence and its expiry stay."""
        return (
            self._db.run(
                "UPDATE jobs SET state = 'ready', due_ms = :now_ms, claim_ms = :now_ms, finished_ms = NULL,"
                " attempts = 0, lease_owner = '', lease_until_ms = NULL"
                " WHERE id = :id AND state IN ('dead', 'uncertain', 'held')",
                {"id": job_id, "now_ms": now_ms},
            )
            == 1
        )

    def cancel_jobs(
        self,
        at_ms: int,
        *,
        session_id: str = "",
        customer_id: str = "",
        key: str = "",
        kinds: Sequence[str] = (),
        channel: str = "",
    ) -> int:
        """Cancel unfinished jobs (ready, leased, held) that match everything given (at least one of session,
        customer, key). Number of jobs. Whoever holds a lease on one loses it: holds_lease says no, finish_job
        refuses."""
        params = {
            "at_ms": at_ms,
            "session_id": session_id,
            "customer_id": customer_id,
            "key": key,
            "kinds": _marked(kinds),
            "mark": _MARK,
            "channel": channel,
        }
        # three texts for three indexes; the rest of the filter is the same
        if key:
            return self._db.run(
                "UPDATE jobs SET state = 'cancelled', finished_ms = :at_ms, claim_ms = NULL, lease_until_ms = NULL"
                " WHERE key = :key AND key <> '' AND finished_ms IS NULL"
                " AND (:session_id = '' OR session_id = :session_id)"
                " AND (:customer_id = '' OR customer_id = :customer_id)"
                " AND (:kinds = '' OR REPLACE(:kinds, :mark || kind || :mark, '') <> :kinds)"
                " AND (:channel = '' OR channel = :channel)",
                params,
            )
        if session_id:
            return self._db.run(
                "UPDATE jobs SET state = 'cancelled', finished_ms = :at_ms, claim_ms = NULL, lease_until_ms = NULL"
                " WHERE session_id = :session_id AND session_id <> '' AND finished_ms IS NULL"
                " AND (:customer_id = '' OR customer_id = :customer_id)"
                " AND (:kinds = '' OR REPLACE(:kinds, :mark || kind || :mark, '') <> :kinds)"
                " AND (:channel = '' OR channel = :channel)",
                params,
            )
        if customer_id:
            return self._db.run(
                "UPDATE jobs SET state = 'cancelled', finished_ms = :at_ms, claim_ms = NULL, lease_until_ms = NULL"
                " WHERE customer_id = :customer_id AND customer_id <> '' AND finished_ms IS NULL"
                " AND (:kinds = '' OR REPLACE(:kinds, :mark || kind || :mark, '') <> :kinds)"
                " AND (:channel = '' OR channel = :channel)",
                params,
            )
        raise ValueError("cancel_jobs needs a session, a customer or a key")

    def release_leases(self, now_ms: int) -> int:
        """At start, under the server's lock: whatever was leased belongs to a dead process. It is due now. Number of
        jobs."""
        return self._db.run(
            "UPDATE jobs SET state = 'ready', claim_ms = :now_ms, lease_owner = '', lease_until_ms = NULL"
            " WHERE claim_ms IS NOT NULL AND state = 'leased'",
            {"now_ms": now_ms},
        )

    def next_due_ms(self, paused: Sequence[str] = ()) -> int | None:
        """Due time of the earliest ready job whose lane is free, None without any; channels in `paused` are left out. A
        job that is leased is not waited for: whoever holds it acts, or its lease runs out and the next claim finds
        it."""
        row = self._db.one(
            "SELECT j.claim_ms FROM jobs AS j WHERE j.claim_ms IS NOT NULL AND j.state = 'ready'"
            " AND REPLACE(:paused, :mark || j.channel || :mark, '') = :paused"
            " AND (j.lane = '' OR NOT EXISTS (SELECT 1 FROM jobs AS e"
            " WHERE e.lane = j.lane AND e.finished_ms IS NULL AND e.id < j.id))"
            " ORDER BY j.claim_ms LIMIT 1",
            {"paused": _marked(paused), "mark": _MARK},
        )
        return row[0] if row else None

    def renew_lease(self, job: Job, lease_until_ms: int) -> bool:
        """Its holder is still at work. False for a stale fence, and for a job that is no longer leased."""
        return (
            self._db.run(
                "UPDATE jobs SET lease_until_ms = :until_ms, claim_ms = :until_ms"
                " WHERE id = :id AND fence = :fence AND state = 'leased'",
                {"id": job.id, "fence": job.fence, "until_ms": lease_until_ms},
            )
            == 1
        )

    def lease_ran_out(self, now_ms: int) -> bool:
        """Whether somebody let a lease run out: dead, frozen, or unable to note how its job ended. The next claim takes
        such a job."""
        return (
            self._db.one(
                "SELECT 1 FROM jobs WHERE claim_ms <= :now_ms AND state = 'leased' LIMIT 1", {"now_ms": now_ms}
            )
            is not None
        )

    def find_job(self, job_id: str) -> Job | None:
        """The job, or None."""
        row = self._db.one(
            "SELECT id, kind, due_ms, payload, lane, key, channel, session_id, customer_id, asks, updates, expires_ms,"
            " created_ms, state, attempts, lease_owner, lease_until_ms, fence, error, ref FROM jobs WHERE id = :id",
            {"id": job_id},
        )
        return Job(*row) if row else None

    def jobs(self, *, state: str = "", kind: str = "", limit: int = 100) -> list[Job]:
        """Oldest first."""
        rows = self._db.all(
            "SELECT id, kind, due_ms, payload, lane, key, channel, session_id, customer_id, asks, updates, expires_ms,"
            " created_ms, state, attempts, lease_owner, lease_until_ms, fence, error, ref FROM jobs"
            " WHERE (:state = '' OR state = :state) AND (:kind = '' OR kind = :kind) ORDER BY id LIMIT :limit",
            {"state": state, "kind": kind, "limit": limit},
        )
        return [Job(*row) for row in rows]

    def job_counts(self) -> dict[tuple[str, str], int]:
        """(kind, state) → count, of those that wait, run, or ended otherwise than done."""
        rows = self._db.all(
            "SELECT kind, state, COUNT(*) FROM jobs WHERE finished_ms IS NOT NULL AND state <> 'done'"
            " GROUP BY kind, state"
            " UNION ALL SELECT kind, state, COUNT(*) FROM jobs WHERE finished_ms IS NULL GROUP BY kind, state"
        )
        return {(kind, state): count for kind, state, count in rows}

    def overdue_jobs(self, now_ms: int) -> tuple[int, int | None]:
        """How many jobs are due and not taken up, and since when the oldest is; (0, None) without any."""
        row = self._db.one(
            "SELECT COUNT(*), MIN(claim_ms) FROM jobs WHERE claim_ms <= :now_ms AND state = 'ready'",
            {"now_ms": now_ms},
        )
        assert row is not None
        return row[0], row[1]

    # --- cases, digests, audit

    def open_cases(self, *, limit: int) -> list[Case]:
        """Cases that staff know of and that are not settled, the one promised soonest first."""
        rows = self._db.all(
            "SELECT id, customer_id, session_id, reason, words, state, contact, opened_ms, due_ms, outcome,"
            " settled_ms, card_ref, assignee, assignee_name, claimed_ms, snoozed_ms, replied_ms, overdue_ms,"
            " apologised_ms, asked_ms, after, reply_token, reply_token_ms FROM cases"
            " WHERE state NOT IN ('grace', 'settled')"
            " ORDER BY due_ms IS NULL, due_ms, opened_ms, id LIMIT :limit",
            {"limit": limit},
        )
        return [Case(*row) for row in rows]

    def open_case(self, customer_id: str) -> Case | None:
        """The one case of this customer that is not settled."""
        row = self._db.one(
            "SELECT id, customer_id, session_id, reason, words, state, contact, opened_ms, due_ms, outcome,"
            " settled_ms, card_ref, assignee, assignee_name, claimed_ms, snoozed_ms, replied_ms, overdue_ms,"
            " apologised_ms, asked_ms, after, reply_token, reply_token_ms FROM cases"
            " WHERE customer_id = :customer_id AND customer_id <> '' AND state <> 'settled' LIMIT 1",
            {"customer_id": customer_id},
        )
        return Case(*row) if row else None

    def put_case(self, case: Case) -> None:
        """Insert or replace by id. Nothing for a customer who was erased.

        Raises:
            Conflict: the customer has another case that is not settled.
        """
        if case.customer_id and self.erased_ms(case.customer_id) is not None:
            return
        self._db.run(
            "INSERT INTO cases (id, customer_id, session_id, reason, words, state, contact, opened_ms,"
            " due_ms, outcome, settled_ms, card_ref, assignee, assignee_name, claimed_ms, snoozed_ms, replied_ms,"
            " overdue_ms, apologised_ms, asked_ms, after, reply_token, reply_token_ms)"
            " VALUES (:id, :customer_id, :session_id, :reason, :words, :state, :contact, :opened_ms,"
            " :due_ms, :outcome, :settled_ms, :card_ref, :assignee, :assignee_name, :claimed_ms, :snoozed_ms,"
            " :replied_ms, :overdue_ms, :apologised_ms, :asked_ms, :after, :reply_token, :reply_token_ms)"
            " ON CONFLICT (id) DO UPDATE SET customer_id = excluded.customer_id, session_id = excluded.session_id,"
            " reason = excluded.reason, words = excluded.words, state = excluded.state, contact = excluded.contact,"
            " opened_ms = excluded.opened_ms, due_ms = excluded.due_ms, outcome = excluded.outcome,"
            " settled_ms = excluded.settled_ms, card_ref = excluded.card_ref, assignee = excluded.assignee,"
            " assignee_name = excluded.assignee_name, claimed_ms = excluded.claimed_ms,"
            " snoozed_ms = excluded.snoozed_ms, replied_ms = excluded.replied_ms, overdue_ms = excluded.overdue_ms,"
            " apologised_ms = excluded.apologised_ms, asked_ms = excluded.asked_ms, after = excluded.after,"
            " reply_token = excluded.reply_token, reply_token_ms = excluded.reply_token_ms",
            {
                "id": case.id,
                "customer_id": case.customer_id,
                "session_id": case.session_id,
                "reason": case.reason,
                "words": clean(case.words),
                "state": case.state,
                "contact": case.contact,
                "opened_ms": case.opened_ms,
                "due_ms": case.due_ms,
                "outcome": case.outcome,
                "settled_ms": case.settled_ms,
                "card_ref": case.card_ref,
                "assignee": case.assignee,
                "assignee_name": clean(case.assignee_name),
                "claimed_ms": case.claimed_ms,
                "snoozed_ms": case.snoozed_ms,
                "replied_ms": case.replied_ms,
                "overdue_ms": case.overdue_ms,
                "apologised_ms": case.apologised_ms,
                "asked_ms": case.asked_ms,
                "after": case.after,
                "reply_token": case.reply_token,
                "reply_token_ms": case.reply_token_ms,
            },
        )

    def find_case(self, case_id: str) -> Case | None:
        """The case, or None."""
        row = self._db.one(
            "SELECT id, customer_id, session_id, reason, words, state, contact, opened_ms, due_ms, outcome,"
            " settled_ms, card_ref, assignee, assignee_name, claimed_ms, snoozed_ms, replied_ms, overdue_ms,"
            " apologised_ms, asked_ms, after, reply_token, reply_token_ms FROM cases"
            " WHERE id = :id",
            {"id": case_id},
        )
        return Case(*row) if row else None

    def cases_of(self, customer_id: str) -> list[Case]:
        """Every case of this customer, oldest first; none for ""."""
        rows = self._db.all(
            "SELECT id, customer_id, session_id, reason, words, state, contact, opened_ms, due_ms, outcome,"
            " settled_ms, card_ref, assignee, assignee_name, claimed_ms, snoozed_ms, replied_ms, overdue_ms,"
            " apologised_ms, asked_ms, after, reply_token, reply_token_ms FROM cases"
            " WHERE customer_id = :customer_id AND customer_id <> ''"
            " ORDER BY opened_ms, id",
            {"customer_id": customer_id},
        )
        return [Case(*row) for row in rows]

    def cases_between(self, start_ms: int, end_ms: int) -> list[Case]:
        """Cases opened in [start, end), oldest first."""
        rows = self._db.all(
            "SELECT id, customer_id, session_id, reason, words, state, contact, opened_ms, due_ms, outcome,"
            " settled_ms, card_ref, assignee, assignee_name, claimed_ms, snoozed_ms, replied_ms, overdue_ms,"
            " apologised_ms, asked_ms, after, reply_token, reply_token_ms FROM cases"
            " WHERE opened_ms >= :start_ms AND opened_ms < :end_ms ORDER BY opened_ms, id",
            {"start_ms": start_ms, "end_ms": end_ms},
        )
        return [Case(*row) for row in rows]

    def cases_page(
        self,
        start_ms: int,
        end_ms: int,
        *,
        after: Case | None = None,
        flow: str = "",
        segment: str = "",
        limit: int = 2_000,
    ) -> list[CaseOrigin]:
        """The next cases opened in [start, end), oldest first, with the survey they came from: those behind `after`,
        the last one of the page before; of one flow and segment, or all. Fewer than `limit` are the last."""
        rows = self._db.all(
            "SELECT c.id, c.customer_id, c.session_id, c.reason, c.words, c.state, c.contact, c.opened_ms,"
            " c.due_ms, c.outcome, c.settled_ms, c.card_ref, c.assignee, c.assignee_name, c.claimed_ms,"
            " c.snoozed_ms, c.replied_ms, c.overdue_ms, c.apologised_ms, c.asked_ms, c.after, c.reply_token,"
            " c.reply_token_ms, COALESCE(s.flow_id, ''), COALESCE(s.survey_kind, ''),"
            " COALESCE(s.touchpoint, ''), COALESCE(s.segment, ''), COALESCE(s.channel, '')"
            " FROM cases AS c LEFT JOIN sessions AS s ON s.id = c.session_id AND c.session_id <> ''"
            " WHERE c.opened_ms >= :from_ms AND c.opened_ms < :end_ms"
            " AND (c.opened_ms > :after_ms OR (c.opened_ms = :after_ms AND c.id > :after_id))"
            " AND (:flow = '' OR s.flow_id = :flow) AND (:segment = '' OR s.segment = :segment)"
            " ORDER BY c.opened_ms, c.id LIMIT :limit",
            {
                "from_ms": start_ms if after is None else after.opened_ms,
                "end_ms": end_ms,
                "after_ms": start_ms - 1 if after is None else after.opened_ms,
                "after_id": "" if after is None else after.id,
                "flow": flow,
                "segment": segment,
                "limit": limit,
            },
        )
        return [CaseOrigin(Case(*row[:-5]), *row[-5:]) for row in rows]

    def cases_span(self) -> tuple[int, int] | None:
        """When the first and the last case were opened, in ms; None while there is none."""
        row = self._db.one("SELECT (SELECT MIN(opened_ms) FROM cases), (SELECT MAX(opened_ms) FROM cases)")
        return None if row is None or row[0] is None else (row[0], row[1])

    def note_case_event(self, event: CaseEvent) -> None:
        """Add to a case's history. Nothing when the case is not there (its customer was erased meanwhile)."""
        self._db.run(
            "INSERT INTO case_events (id, case_id, at_ms, actor, actor_name, kind, words, job_id, ref, message_id)"
            " SELECT :id, :case_id, :at_ms, :actor, :actor_name, :kind, :words, :job_id, :ref, :message_id"
            " WHERE EXISTS (SELECT 1 FROM cases WHERE id = :case_id)",
            {
                "id": event.id,
                "case_id": event.case_id,
                "at_ms": event.at_ms,
                "actor": event.actor,
                "actor_name": clean(event.actor_name),
                "kind": event.kind,
                "words": clean(event.words),
                "job_id": event.job_id,
                "ref": event.ref,
                "message_id": event.message_id,
            },
        )

    def change_heard_message(
        self, customer_id: str, message_id: str, words: str, *, key: str, at_ms: int
    ) -> list[CaseEvent]:
        """The customer took back ("" for `words`) or changed a message that a case's history shows: the entry follows,
        as kind "took_back" without words. Copies of the old words in sent messages go, and the job under `key` + id,
        which shows the entry to staff, is cancelled and its key free again. The changed entries."""
        params = {"customer_id": customer_id, "message_id": message_id, "words": clean(words), "at_ms": at_ms}
        rows = self._db.all(
            "UPDATE case_events SET words = :words, kind = CASE WHEN :words = '' THEN 'took_back' ELSE kind END"
            " WHERE message_id = :message_id AND message_id <> '' AND case_id IN"
            " (SELECT id FROM cases WHERE customer_id = :customer_id AND customer_id <> '')"
            " RETURNING id, case_id, at_ms, actor, actor_name, kind, words, job_id, ref, message_id",
            params,
        )
        if rows:
            self._db.run(
                "UPDATE jobs SET payload = '{}' WHERE customer_id = :customer_id AND session_id = ''"
                " AND kind = 'send' AND state IN ('done', 'expired', 'cancelled')",
                params,
            )
        for row in rows:
            self._db.run(
                "UPDATE jobs SET state = 'cancelled', finished_ms = :at_ms, claim_ms = NULL, lease_until_ms = NULL,"
                " payload = '{}', key = '' WHERE key = :key AND finished_ms IS NULL",
                {"key": f"{key}{row[0]}", "at_ms": at_ms},
            )
        return [CaseEvent(*row) for row in rows]

    def case_events(self, case_id: str) -> list[CaseEvent]:
        """The history of a case, oldest first."""
        rows = self._db.all(
            "SELECT id, case_id, at_ms, actor, actor_name, kind, words, job_id, ref, message_id FROM case_events"
            " WHERE case_id = :case_id ORDER BY id",
            {"case_id": case_id},
        )
        return [CaseEvent(*row) for row in rows]

    def find_case_event(self, event_id: str) -> CaseEvent | None:
        """One entry of a case's history, or None."""
        row = self._db.one(
            "SELECT id, case_id, at_ms, actor, actor_name, kind, words, job_id, ref, message_id FROM case_events"
            " WHERE id = :id",
            {"id": event_id},
        )
        return CaseEvent(*row) if row else None

    def set_case_event_ref(self, event_id: str, ref: str) -> None:
        """Where this entry stands in the card's thread ("C…:ts")."""
        self._db.run("UPDATE case_events SET ref = :ref WHERE id = :id", {"id": event_id, "ref": ref})

    def find_job_by_key(self, key: str) -> Job | None:
        """The job that was put under this key, or None."""
        row = self._db.one(
            "SELECT id, kind, due_ms, payload, lane, key, channel, session_id, customer_id, asks, updates, expires_ms,"
            " created_ms, state, attempts, lease_owner, lease_until_ms, fence, error, ref FROM jobs"
            " WHERE key = :key AND key <> ''",
            {"key": key},
        )
        return Job(*row) if row else None

    def put_digest(self, digest: Digest) -> bool:
        """Insert; False when (id, period) exists."""
        return (
            self._db.run(
                "INSERT INTO digests (id, period, state, content, created_ms, posted_ms, ref)"
                " VALUES (:id, :period, :state, :content, :created_ms, :posted_ms, :ref)"
                " ON CONFLICT (id, period) DO NOTHING",
                {
                    "id": digest.id,
                    "period": digest.period,
                    "state": digest.state,
                    "content": clean(digest.content),
                    "created_ms": digest.created_ms,
                    "posted_ms": digest.posted_ms,
                    "ref": digest.ref,
                },
            )
            == 1
        )

    def find_digest(self, digest_id: str, period: str) -> Digest | None:
        """The digest of this period, or None."""
        row = self._db.one(
            "SELECT id, period, state, content, created_ms, posted_ms, ref FROM digests"
            " WHERE id = :id AND period = :period",
            {"id": digest_id, "period": period},
        )
        return Digest(*row) if row else None

    def mark_digest_posted(self, digest_id: str, period: str, at_ms: int, ref: str) -> None:
        """The platform accepted it; the first time holds."""
        self._db.run(
            "UPDATE digests SET state = 'posted', posted_ms = :at_ms, ref = :ref"
            " WHERE id = :id AND period = :period AND posted_ms IS NULL",
            {"id": digest_id, "period": period, "at_ms": at_ms, "ref": ref},
        )

    def audit(self, entry: AuditEntry) -> None:
        """Keep it for good."""
        self._db.run(
            "INSERT INTO audit (id, at_ms, actor, action, subject, detail)"
            " VALUES (:id, :at_ms, :actor, :action, :subject, :detail)",
            {
                "id": entry.id,
                "at_ms": entry.at_ms,
                "actor": entry.actor,
                "action": entry.action,
                "subject": entry.subject,
                "detail": clean(entry.detail),
            },
        )

    def audit_entries(self, *, limit: int = 100) -> list[AuditEntry]:
        """Newest first."""
        rows = self._db.all(
            "SELECT id, at_ms, actor, action, subject, detail FROM audit ORDER BY at_ms DESC, id DESC LIMIT :limit",
            {"limit": limit},
        )
        return [AuditEntry(*row) for row in rows]

    # --- the trust balance

    def relationship(
        self, customer_id: str, *, instruments: Sequence[str], since_ms: int, types: Sequence[str] = ()
    ) -> Relationship:
        """What happened between the shop and this customer since then: events of these types (or all), counted answers
        to these instruments, opt-outs, and every case."""
        found = self.relationships(customer_id, customer_id, instruments=instruments, since_ms=since_ms, types=types)
        return found[0] if found else Relationship(customer_id)

    def relationships(
        self, first: str, last: str, *, instruments: Sequence[str], since_ms: int, types: Sequence[str] = ()
    ) -> list[Relationship]:
        """The same for all customers with first ≤ id ≤ last of whom there is anything, in order of id. Reads what
        these customers have, by index, and nothing else."""
        params = {
            "first": first,
            "last": last,
            "since_ms": since_ms,
            "types": _marked(types),
            "instruments": _marked(instruments),
            "mark": _MARK,
        }
        # LENGTH(…) = 0 keeps the database from looking for loose events by their empty customer: there may be many
        events = self._db.all(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events"
            " WHERE customer_id >= :first AND customer_id <= :last AND customer_id <> '' AND occurred_ms >= :since_ms"
            " AND (:types = '' OR REPLACE(:types, :mark || type || :mark, '') <> :types)"
            " UNION SELECT l.id, l.type, l.occurred_ms, l.received_ms, o.customer_id, l.data, l.imported"
            " FROM events AS o JOIN events AS l ON l.ticket_id = o.ticket_id AND l.ticket_id <> ''"
            " WHERE o.customer_id >= :first AND o.customer_id <= :last AND o.customer_id <> ''"
            " AND LENGTH(l.customer_id) = 0 AND l.occurred_ms >= :since_ms"
            " AND (:types = '' OR REPLACE(:types, :mark || l.type || :mark, '') <> :types)"
            " UNION SELECT l.id, l.type, l.occurred_ms, l.received_ms, o.customer_id, l.data, l.imported"
            " FROM events AS o JOIN events AS l ON l.order_id = o.order_id AND l.order_id <> ''"
            " WHERE o.customer_id >= :first AND o.customer_id <= :last AND o.customer_id <> ''"
            " AND LENGTH(l.customer_id) = 0 AND l.occurred_ms >= :since_ms"
            " AND (:types = '' OR REPLACE(:types, :mark || l.type || :mark, '') <> :types)"
            " ORDER BY 5, 3, 1",
            params,
        )
        ratings = self._db.all(
            "SELECT customer_id, id, instrument, value, answered_ms FROM answers"
            " WHERE customer_id >= :first AND customer_id <= :last AND customer_id <> ''"
            " AND REPLACE(:instruments, :mark || instrument || :mark, '') <> :instruments"
            " AND missing = '' AND countable = 1 AND answered_ms >= :since_ms ORDER BY customer_id, answered_ms, id",
            params,
        )
        opt_outs = self._db.all(
            "SELECT customer_id, at_ms FROM (SELECT customer_id, at_ms, given, LAG(given) OVER"
            " (PARTITION BY customer_id ORDER BY at_ms) AS before FROM consents"
            " WHERE customer_id >= :first AND customer_id <= :last AND kind = 'surveys') AS said"
            " WHERE given = 0 AND COALESCE(before, 1) = 1 AND at_ms >= :since_ms ORDER BY customer_id, at_ms",
            params,
        )
        cases = self._db.all(
            "SELECT id, customer_id, session_id, reason, words, state, contact, opened_ms, due_ms, outcome,"
            " settled_ms, card_ref, assignee, assignee_name, claimed_ms, snoozed_ms, replied_ms, overdue_ms,"
            " apologised_ms, asked_ms, after, reply_token, reply_token_ms FROM cases"
            " WHERE customer_id >= :first AND customer_id <= :last"
            " AND customer_id <> '' AND opened_ms >= :since_ms ORDER BY customer_id, opened_ms, id",
            params,
        )
        of_events: dict[str, list[Event]] = {}
        for row in events:
            of_events.setdefault(row[4], []).append(_event(row))
        of_ratings: dict[str, list[Rating]] = {}
        for row in ratings:
            of_ratings.setdefault(row[0], []).append(Rating(*row[1:]))
        of_opt_outs: dict[str, list[int]] = {}
        for customer_id, at_ms in opt_outs:
            of_opt_outs.setdefault(customer_id, []).append(at_ms)
        of_cases: dict[str, list[Case]] = {}
        for row in cases:
            of_cases.setdefault(row[1], []).append(Case(*row))
        return [
            Relationship(
                customer_id,
                tuple(of_events.get(customer_id, ())),
                tuple(of_ratings.get(customer_id, ())),
                tuple(of_opt_outs.get(customer_id, ())),
                tuple(of_cases.get(customer_id, ())),
            )
            for customer_id in sorted({*of_events, *of_ratings, *of_opt_outs, *of_cases})
        ]

    def customers_after(self, customer_id: str, *, limit: int) -> list[str]:
        """The next ids of customers of whom anything is stored, in order; "" before the first: for walks over
        everybody, page by page."""
        rows = self._db.all(
            "SELECT id FROM (SELECT id FROM customers WHERE id > :customer_id ORDER BY id LIMIT :limit) AS c"
            " UNION SELECT customer_id FROM (SELECT DISTINCT customer_id FROM answers"
            " WHERE customer_id > :customer_id ORDER BY customer_id LIMIT :limit) AS a"
            " UNION SELECT customer_id FROM (SELECT DISTINCT customer_id FROM events"
            " WHERE customer_id > :customer_id ORDER BY customer_id LIMIT :limit) AS e"
            " ORDER BY 1 LIMIT :limit",
            {"customer_id": customer_id, "limit": limit},
        )
        return [row[0] for row in rows]

    def customers_touched(self, since_ms: int, until_ms: int, *, slack_ms: int) -> list[str]:
        """Customers of whom something was stored whose time lies in [since, until), in order of id: events since
        `since_ms - slack_ms`, whose deadlines may have passed in it, and answers, opt-outs, and cases whose promised
        time lies in it."""
        rows = self._db.all(
            "SELECT customer_id FROM events WHERE occurred_ms >= :events_ms AND occurred_ms < :until_ms"
            " UNION SELECT o.customer_id FROM events AS l JOIN events AS o ON o.ticket_id = l.ticket_id"
            " AND o.ticket_id <> '' WHERE l.occurred_ms >= :events_ms AND l.occurred_ms < :until_ms"
            " AND l.ticket_id <> '' AND LENGTH(l.customer_id) = 0"
            " UNION SELECT o.customer_id FROM events AS l JOIN events AS o ON o.order_id = l.order_id"
            " AND o.order_id <> '' WHERE l.occurred_ms >= :events_ms AND l.occurred_ms < :until_ms"
            " AND l.order_id <> '' AND LENGTH(l.customer_id) = 0"
            " UNION SELECT customer_id FROM answers WHERE answered_ms >= :since_ms AND answered_ms < :until_ms"
            " UNION SELECT customer_id FROM consents"
            " WHERE kind = 'surveys' AND given = 0 AND at_ms >= :since_ms AND at_ms < :until_ms"
            " UNION SELECT customer_id FROM cases WHERE opened_ms < :until_ms AND due_ms >= :since_ms"
            " AND due_ms < :until_ms ORDER BY 1",
            {"since_ms": since_ms, "events_ms": since_ms - slack_ms, "until_ms": until_ms},
        )
        return [row[0] for row in rows if row[0]]

    def promises_since(self, since_ms: int, *, after: tuple[int, str], limit: int) -> list[Event]:
        """Events of type "promise" made since then, in order of (time, id), those after that place."""
        rows = self._db.all(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events"
            " WHERE type = 'promise' AND occurred_ms >= :since_ms"
            " AND (occurred_ms > :after_ms OR (occurred_ms = :after_ms AND id > :after_id))"
            " ORDER BY occurred_ms, id LIMIT :limit",
            {"since_ms": since_ms, "after_ms": after[0], "after_id": after[1], "limit": limit},
        )
        return [_event(row) for row in rows]

    def last_trust_drop_ms(self, customer_id: str) -> int | None:
        """When a drop of this customer's trust balance was found last, None if never."""
        row = self._db.one(
            "SELECT MAX(at_ms) FROM trust_drops WHERE customer_id = :customer_id", {"customer_id": customer_id}
        )
        return row[0] if row else None

    def note_trust_drop(self, drop: TrustDrop) -> bool:
        """Keep it. False when nothing was kept: one of this time is there, or the customer was erased."""
        if self.erased_ms(drop.customer_id) is not None:
            return False
        return (
            self._db.run(
                "INSERT INTO trust_drops (customer_id, at_ms, high, balance, case_id)"
                " VALUES (:customer_id, :at_ms, :high, :balance, :case_id) ON CONFLICT (customer_id, at_ms) DO NOTHING",
                {
                    "customer_id": drop.customer_id,
                    "at_ms": drop.at_ms,
                    "high": drop.high,
                    "balance": drop.balance,
                    "case_id": drop.case_id,
                },
            )
            == 1
        )

    def trust_drops_between(self, start_ms: int, end_ms: int) -> list[TrustDrop]:
        """Drops that were found in [start, end), oldest first."""
        rows = self._db.all(
            "SELECT customer_id, at_ms, high, balance, case_id FROM trust_drops"
            " WHERE at_ms >= :start_ms AND at_ms < :end_ms ORDER BY at_ms, customer_id",
            {"start_ms": start_ms, "end_ms": end_ms},
        )
        return [TrustDrop(*row) for row in rows]

    # --- a person's rights

    def dossier(self, customer_id: str) -> Dossier:
        """Everything that is stored about this customer; a false one when that is nothing.

        Also what was said at the customer's addresses before anybody knew whose they are: there the address stands in
        the place of a customer ("channel:workspace:id").

        Reads all jobs: meant for an operator, not for a loop.
        """
        params = {"customer_id": customer_id}
        most = 1_000_000
        sessions = self.sessions_of(customer_id, limit=most)[::-1] if customer_id else []
        answers = {answer.id: answer for answer in self.answers_of(customer_id, history=True)} if customer_id else {}
        # given before anybody knew whose address it was
        answers |= {a.id: a for session in sessions for a in self.answers_of_session(session.id, history=True)}
        consents = self._db.all(
            "SELECT kind, given, at_ms, source FROM consents WHERE customer_id <> '' AND (customer_id = :customer_id"
            " OR customer_id IN (SELECT channel || ':' || workspace || ':' || external_id FROM addresses"
            " WHERE customer_id = :customer_id AND customer_id <> '')) ORDER BY at_ms, kind",
            params,
        )
        match_keys = self._db.all(
            "SELECT kind, key_hash, source, created_ms FROM match_keys"
            " WHERE customer_id = :customer_id AND customer_id <> '' ORDER BY created_ms, kind",
            params,
        )
        cases = self._db.all(
            "SELECT id, customer_id, session_id, reason, words, state, contact, opened_ms, due_ms, outcome,"
            " settled_ms, card_ref, assignee, assignee_name, claimed_ms, snoozed_ms, replied_ms, overdue_ms,"
            " apologised_ms, asked_ms, after, reply_token, reply_token_ms FROM cases"
            " WHERE customer_id <> '' AND (customer_id = :customer_id"
            " OR customer_id IN (SELECT channel || ':' || workspace || ':' || external_id FROM addresses"
            " WHERE customer_id = :customer_id AND customer_id <> '')) ORDER BY opened_ms, id",
            params,
        )
        history = [event for row in cases for event in self.case_events(row[0])]
        jobs = self._db.all(
            "SELECT id, kind, due_ms, payload, lane, key, channel, session_id, customer_id, asks, updates, expires_ms,"
            " created_ms, state, attempts, lease_owner, lease_until_ms, fence, error, ref FROM jobs"
            " WHERE (customer_id = :customer_id AND customer_id <> '')"
            " OR (session_id <> '' AND session_id IN"
            " (SELECT id FROM sessions WHERE customer_id = :customer_id AND customer_id <> ''))"
            " OR EXISTS (SELECT 1 FROM addresses AS a WHERE a.customer_id = :customer_id AND a.customer_id <> ''"
            " AND a.channel || ':' || a.workspace || ':' || a.external_id IN (jobs.lane, jobs.customer_id))"
            " ORDER BY id",
            params,
        )
        referrer = self._db.one("SELECT code FROM referrers WHERE customer_id = :customer_id", params)
        trust_drops = self._db.all(
            "SELECT customer_id, at_ms, high, balance, case_id FROM trust_drops"
            " WHERE customer_id = :customer_id AND customer_id <> '' ORDER BY at_ms",
            params,
        )
        audit = self._db.all(
            "SELECT id, at_ms, actor, action, subject, detail FROM audit"
            " WHERE subject = :customer_id AND subject <> '' ORDER BY at_ms, id",
            params,
        )
        return Dossier(
            customer_id=customer_id,
            customer=self.find_customer(customer_id),
            addresses=tuple(self.addresses_of(customer_id)),
            match_keys=tuple(MatchKey(*row) for row in match_keys),
            consents=tuple(Consent(row[0], bool(row[1]), row[2], row[3]) for row in consents),
            events=tuple(self.events_of(customer_id, limit=most)[::-1]) if customer_id else (),
            invitations=tuple(self.invitations_of(customer_id, limit=most)[::-1]) if customer_id else (),
            sessions=tuple(sessions),
            answers=tuple(sorted(answers.values(), key=lambda answer: (answer.answered_ms, answer.id))),
            cases=tuple(Case(*row) for row in cases),
            case_events=tuple(history),
            jobs=tuple(Job(*row) for row in jobs),
            audit=tuple(AuditEntry(*row) for row in audit),
            trust_drops=tuple(TrustDrop(*row) for row in trust_drops),
            referral_code=referrer[0] if referrer else "",
        )

    def erase_answers(self, customer_id: str, at_ms: int, *, session_id: str = "") -> int:
        """Forget answers (values, words, engine states; of one session or all): rows go, the roll-up is corrected,
        jobs that carry their words are cancelled. Returns the number of answers.

        Open sessions become "erased" and their version moves on: a step that was under way is refused. Call it after
        save_session of the same step, before putting the jobs that say goodbye.
        """
        sessions = [session_id]
        if not session_id:
            # by customer and by session: answers given before anybody knew whose address it was carry no
            # customer
            sessions = [
                row[0]
                for row in self._db.all(
                    "SELECT id FROM sessions WHERE customer_id = :customer_id AND customer_id <> ''"
                    " UNION SELECT session_id FROM answers WHERE customer_id = :customer_id AND customer_id <> ''"
                    " UNION SELECT session_id FROM former_answers WHERE customer_id = :customer_id"
                    " AND customer_id <> ''",
                    {"customer_id": customer_id},
                )
            ]
        erased = 0
        for session in sessions:
            for answer in self.answers_of_session(session):
                self._stop_counting(answer)
                erased += 1
            erased += self._db.run("DELETE FROM former_answers WHERE session_id = :session_id", {"session_id": session})
            self._forget_session(session, at_ms)
        if not session_id:
            # what was said while they were looked after goes with the answers; who did what when stays
            self._db.run(
                "UPDATE case_events SET words = '' WHERE case_id IN"
                " (SELECT id FROM cases WHERE customer_id = :customer_id AND customer_id <> '')",
                {"customer_id": customer_id},
            )
        # messages about the person that belong to no session quote answers, too: cards for staff, 「私の回答」, what
        # staff wanted to write
        self._db.run(
            "UPDATE jobs SET payload = '{}', error = '', key = '',"
            " state = CASE WHEN finished_ms IS NULL THEN 'cancelled' ELSE state END,"
            " finished_ms = COALESCE(finished_ms, :at_ms), claim_ms = NULL, lease_until_ms = NULL"
            " WHERE customer_id = :customer_id AND customer_id <> '' AND session_id = ''"
            " AND kind IN ('send', 'staff')",
            {"customer_id": customer_id, "at_ms": at_ms},
        )
        return erased

    def forget_before(self, before_ms: int, at_ms: int, *, limit: int) -> int:
        """Forget the answers of conversations whose newest answer was given before `before_ms`, with all that these
        left: words, history, engine states, sent messages. At most `limit` conversations; how many it were.

        The roll-up keeps its counts, which name nobody: for weeks that old it cannot be recomputed any more.
        """
        old = self._db.all(
            "SELECT DISTINCT a.session_id FROM answers AS a WHERE a.answered_ms < :before_ms AND NOT EXISTS"
            " (SELECT 1 FROM answers AS b WHERE b.session_id = a.session_id AND b.answered_ms >= :before_ms)"
            " LIMIT :limit",
            {"before_ms": before_ms, "limit": limit},
        )
        if old:
            # the first Monday after which no answer can have gone, in any zone
            whole = datetime.fromtimestamp(before_ms / 1000, UTC).date() + timedelta(days=2)
            self.set_meta(_KEPT_FROM, (whole + timedelta(days=-whole.weekday() % 7)).isoformat())
        for (session_id,) in old:
            self._db.run("DELETE FROM answers WHERE session_id = :session_id", {"session_id": session_id})
            self._db.run("DELETE FROM former_answers WHERE session_id = :session_id", {"session_id": session_id})
            self._forget_session(session_id, at_ms)
        return len(old)

    def _forget_session(self, session_id: str, at_ms: int) -> None:
        """Everything that a session's conversation left outside of answers."""
        params = {"session_id": session_id, "at_ms": at_ms}
        self._db.run(
            "UPDATE sessions SET state = '', version = version + 1,"
            " ended_ms = CASE WHEN status = 'open' THEN :at_ms ELSE ended_ms END,"
            " status = CASE WHEN status = 'open' THEN 'erased' ELSE status END WHERE id = :session_id",
            params,
        )
        self._db.run("DELETE FROM prompts WHERE session_id = :session_id", params)
        self._db.run("UPDATE cases SET words = '' WHERE session_id = :session_id", params)
        self._db.run(
            "UPDATE case_events SET words = '' WHERE case_id IN"
            " (SELECT id FROM cases WHERE session_id = :session_id AND session_id <> '')",
            params,
        )
        self.cancel_jobs(at_ms, session_id=session_id)
        # what was sent quotes answers (alerts, "your answer: 8"): finished rows keep their history without
        # the body
        self._db.run(
            "UPDATE jobs SET payload = '{}', error = '' WHERE session_id = :session_id AND session_id <> ''",
            params,
        )

    def erase_customer(self, customer_id: str, at_ms: int) -> None:
        """Forget everything but the audit row's pseudonym; a late webhook revives nothing.

        Counts stay without the person: sent and skipped invitations, settled cases, the ids of events and jobs that
        keep a repeated one from happening twice. Answers go altogether, out of the roll-up too. Digests already
        written are documents and stay. The customer's id is dead from now on: verbs that would bring it back do
        nothing.

        Afterwards, outside of the unit, `Store.compact()` empties the write-ahead log of the old pages.
        """
        if not customer_id:
            raise ValueError("erase_customer needs a customer")
        self.erase_answers(customer_id, at_ms)
        pseudonym = self._pseudonym(customer_id, create=True)
        params = {"customer_id": customer_id, "at_ms": at_ms, "pseudonym": pseudonym}
        self._db.run(
            "INSERT INTO tombstones (pseudonym, erased_ms) VALUES (:pseudonym, :at_ms) ON CONFLICT"
            " (pseudonym) DO NOTHING",
            params,
        )
        # Keys and lanes may hold ids of the person. Without its key a job could be put again: its customer cannot.
        # Three statements for three indexes: unfinished ones, those of no session, those of the customer's sessions.
        self._db.run(
            "UPDATE jobs SET state = 'cancelled', finished_ms = :at_ms, claim_ms = NULL, lease_until_ms = NULL,"
            " payload = '{}', customer_id = '', key = '', lane = '', error = '', ref = ''"
            " WHERE customer_id = :customer_id AND customer_id <> '' AND finished_ms IS NULL",
            params,
        )
        self._db.run(
            "UPDATE jobs SET payload = '{}', customer_id = '', key = '', lane = '', error = '', ref = ''"
            " WHERE customer_id = :customer_id AND customer_id <> '' AND session_id = ''",
            params,
        )
        self._db.run(
            "UPDATE jobs SET payload = '{}', customer_id = '', key = '', lane = '', error = '', ref = ''"
            " WHERE session_id IN (SELECT id FROM sessions WHERE customer_id = :customer_id) AND session_id <> ''",
            params,
        )
        self._db.run(
            "UPDATE sessions SET status = 'erased', state = '', customer_id = '', external_id = '', segment = ''"
            " WHERE customer_id = :customer_id",
            params,
        )
        self._db.run(
            "UPDATE invitations SET customer_id = '', event_id = '', segment = '', note = '', override_reason = '',"
            " state = CASE WHEN state = 'planned' THEN 'withdrawn' ELSE state END,"
            " reason = CASE WHEN state = 'planned' THEN 'erased' ELSE reason END"
            " WHERE customer_id = :customer_id",
            params,
        )
        self._db.run(
            "UPDATE case_events SET words = '', ref = '' WHERE case_id IN"
            " (SELECT id FROM cases WHERE customer_id = :customer_id AND customer_id <> '')",
            params,
        )
        self._db.run(
            "UPDATE cases SET customer_id = '', words = '', card_ref = '',"
            " outcome = CASE WHEN state = 'settled' THEN outcome ELSE 'erased' END,"
            " reply_token = '', settled_ms = COALESCE(settled_ms, :at_ms), state = 'settled'"
            " WHERE customer_id = :customer_id",
            params,
        )
        self._db.run(
            "UPDATE events SET customer_id = '', data = '{}', order_id = '', ticket_id = ''"
            " WHERE customer_id = :customer_id",
            params,
        )
        # What was said at the customer's addresses while nobody knew whose they were carries the address in the
        # place of a customer, and so do lanes. Reads all jobs: a finished one is in no index of lanes, and erasing
        # is rare.
        for found in self.addresses_of(customer_id):
            bare = f"{found.channel}:{found.workspace}:{found.external_id}"
            at_address = {"bare": bare, "at_ms": at_ms}
            self._db.run(
                "UPDATE jobs SET state = CASE WHEN finished_ms IS NULL THEN 'cancelled' ELSE state END,"
                " finished_ms = COALESCE(finished_ms, :at_ms), claim_ms = NULL, lease_until_ms = NULL,"
                " payload = '{}', customer_id = '', key = '', lane = '', error = '', ref = ''"
                " WHERE lane = :bare OR customer_id = :bare",
                at_address,
            )
            self._db.run(
                "UPDATE case_events SET words = '', ref = '' WHERE case_id IN"
                " (SELECT id FROM cases WHERE customer_id = :bare)",
                at_address,
            )
            self._db.run(
                "UPDATE cases SET customer_id = '', words = '', card_ref = '', reply_token = '',"
                " outcome = CASE WHEN state = 'settled' THEN outcome ELSE 'erased' END,"
                " settled_ms = COALESCE(settled_ms, :at_ms), state = 'settled' WHERE customer_id = :bare",
                at_address,
            )
            self._db.run("DELETE FROM consents WHERE customer_id = :bare", at_address)
        self._db.run("UPDATE batch_rows SET customer_id = '' WHERE customer_id = :customer_id", params)
        self._db.run("DELETE FROM consents WHERE customer_id = :customer_id", params)
        self._db.run("DELETE FROM trust_drops WHERE customer_id = :customer_id", params)
        self._db.run("DELETE FROM referrers WHERE customer_id = :customer_id", params)
        # Those they referred stay customers; who referred them goes. Reads all events, and erasing is rare.
        for event_id, data in self._db.all("SELECT id, data FROM events WHERE type = 'referral'"):
            told = json.loads(data)
            if isinstance(told, dict) and told.get("referrer") == customer_id:
                self._db.run(
                    "UPDATE events SET data = :data WHERE id = :id",
                    {"id": event_id, "data": json.dumps({**told, "referrer": ""}, ensure_ascii=False)},
                )
        self._db.run("DELETE FROM match_keys WHERE customer_id = :customer_id", params)
        self._db.run("DELETE FROM addresses WHERE customer_id = :customer_id AND customer_id <> ''", params)
        self._db.run("DELETE FROM customers WHERE id = :customer_id", params)
        self._db.run("UPDATE audit SET subject = :pseudonym, detail = '' WHERE subject = :customer_id", params)

    def erased_ms(self, customer_id: str) -> int | None:
        """When this customer was erased; None for everybody else."""
        pseudonym = self._pseudonym(customer_id, create=False)
        if not pseudonym:
            return None
        row = self._db.one("SELECT erased_ms FROM tombstones WHERE pseudonym = :pseudonym", {"pseudonym": pseudonym})
        return row[0] if row else None

    def _pseudonym(self, customer_id: str, *, create: bool) -> str:
        """What stands for an erased customer: a hash keyed with a secret of this database; "" before the first
        erasure."""
        secret = self.get_meta("pseudonym_key")
        if secret is None:
            if not create:
                return ""
            secret = secrets.token_hex(32)
            self.set_meta("pseudonym_key", secret)
        digest = hmac.new(bytes.fromhex(secret), clean(customer_id).encode(), hashlib.sha256).hexdigest()
        return f"erased-{digest[:32]}"

    # --- keeping house

    def get_meta(self, key: str) -> str | None:
        """The text kept under this name, or None."""
        row = self._db.one("SELECT value FROM meta WHERE key = :key", {"key": key})
        return row[0] if row else None

    def set_meta(self, key: str, value: str) -> None:
        """Keep a text under this name."""
        self._db.run(
            "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value ="
            " excluded.value",
            {"key": key, "value": clean(value)},
        )

    def check_integrity(self) -> list[str]:
        """Sentences about what is wrong; empty when all is well."""
        wrong = self._db.damages()
        wrong += [
            f"{count} jobs of lane {lane} are leased at once"
            for lane, count in self._db.all(
                "SELECT lane, COUNT(*) FROM jobs WHERE state = 'leased' AND finished_ms IS NULL AND lane <> ''"
                " GROUP BY lane HAVING COUNT(*) > 1"
            )
        ]
        wrong += [
            f"job {job_id} is {state} and would never be claimed"
            for job_id, state in self._db.all(
                "SELECT id, state FROM jobs WHERE (state IN ('ready', 'leased')) <> (claim_ms IS NOT NULL)"
                " OR (state IN ('ready', 'leased', 'held')) <> (finished_ms IS NULL)"
            )
        ]
        # weeks whose answers are past their retention have counts only
        first = self.get_meta(_KEPT_FROM) or ""
        kept = self.rollup(first, "9999-12-31")
        if kept != (fresh := [cell for cell in self.recompute_rollup() if cell.week >= first]):
            differing = set(kept) ^ set(fresh)
            wrong.append(f"the roll-up differs from a recomputation in {len(differing)} cells")
        return wrong


_KEPT_FROM = "answers.kept_from"
"""Name in meta: the week from which on all answers are there, once some were forgotten for their age."""
_MARK = "\x1f"
"""Surrounds each word of a list given to SQL as one text: `REPLACE(:list, :mark || col || :mark, '') <>
:list` is true when the list has the column's value. Both databases know REPLACE, and no statement has to be
assembled."""


def _marked(words: Sequence[str]) -> str:
    return f"{_MARK}{_MARK.join(words)}{_MARK}" if words else ""


def _order_and_ticket(data: str) -> tuple[str, str]:
    """The order and ticket numbers of an event's data, "" where there is none."""
    try:
        fields = json.loads(data)
    except ValueError:
        return "", ""
    if not isinstance(fields, dict):
        return "", ""
    order, ticket = fields.get("order"), fields.get("ticket")
    return (
        str(order) if isinstance(order, (str, int)) else "",
        str(ticket) if isinstance(ticket, (str, int)) else "",
    )


def _event(row: Row) -> Event:
    return Event(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6]))


def _answer(row: Row) -> Answer:
    return Answer(*(*row[:9], bool(row[9]), *row[10:20], bool(row[20]), *row[21:23], bool(row[23]), *row[24:]))


def _comment(row: Row) -> Comment:
    return Comment(*(*row[:7], "" if row[8] else row[7], row[9], bool(row[10]), row[11]))


class Store:
    """A database that is open. Made by `open_store(url, …)`; close it, or use it as an async context."""

    def __init__(self, engine: SqliteEngine[Tx]) -> None:
        self._engine = engine

    async def write(self, unit: Unit[T], *, first: bool = False) -> T:
        """What `unit` returned, once it is durable. Its exception, if it raised one: then nothing of it is stored.

        A cancelled caller does not undo a unit that has started: it is stored whole or not at all, like any other.
        `first` puts it before the units that wait already: for a short one that makes theirs cheaper.

        Raises:
            StoreBusy: the database is locked or the disk is full; nothing was stored.
            StoreError: it is closed, or refused a statement.
        """
        return await self._engine.write(unit, first=first)

    async def read(self, unit: Unit[T]) -> T:
        """What `unit` returned from a snapshot of the last commit. A unit that writes is refused (StoreError)."""
        return await self._engine.read(unit)

    def glance(self, unit: Unit[T]) -> T:
        """As `read`, at once, on the loop itself: for a look at a few rows by key, where a thread's round trip would
        cost more than the look."""
        return self._engine.glance(unit)

    async def compact(self) -> bool:
        """Empty the write-ahead log, so that what was erased is nowhere on the disk. False when somebody was reading:
        ask again a little later. (The last one to close a database does the same.)

        Raises:
            StoreError: this store is not the server's (P15).
        """
        return await self._engine.compact()

    async def close(self) -> None:
        """Finish what is queued, then close. Further units are refused."""
        await self._engine.close()

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def registrations_in(url: str) -> list[Registration]:
    """The experiments registered in the database at this address, which is left as it is; none where there is none."""
    if not url.startswith("sqlite:///"):
        return []
    rows = peek(Path(url.removeprefix("sqlite:///")), "SELECT id, definition, registered_ms FROM experiments")
    return [Registration(*row) for row in rows]


async def open_store(
    url: str, *, now_ms: int, server: bool = False, create: bool = True, busy_timeout_ms: int | None = None
) -> Store:
    """The database of this address, with the schema of this version.

    Args:
        url: `sqlite:///koe.db` (relative to the working directory) or `sqlite:////var/lib/koe/koe.db`.
        now_ms: the time noted for migrations that are applied now.
        server: take the lock of the one server, and move the write-ahead log into the file now and then.
            Commands that work beside a server leave both alone.
        create: False refuses when there is no file.
        busy_timeout_ms: how long to wait for another process's lock; by default 5 s for a server (a webhook
            waits), 30 s for a command (a busy server leaves small gaps).

    Raises:
        StoreError: the address is not understood, or there is no such file.
        StoreInUse: another server works on this file.
        SchemaTooNew: the file was written by a newer version.
        StoreBusy: it stayed locked.
    """
    if url.startswith(("postgresql://", "postgres://")):
        raise StoreError("this version of Koe stores in SQLite only: set KOE_DATABASE_URL to sqlite:///koe.db")
    path = url.removeprefix("sqlite:///")
    if path == url or path in ("", ":memory:") or "?" in path:
        raise StoreError(
            f"KOE_DATABASE_URL is {url!r}; it must look like sqlite:///koe.db or sqlite:////var/lib/koe/koe.db"
        )
    if busy_timeout_ms is None:
        busy_timeout_ms = 5_000 if server else 30_000
    engine = await SqliteEngine.open(
        Path(path), Tx, now_ms=now_ms, server=server, create=create, busy_timeout_ms=busy_timeout_ms
    )
    return Store(engine)
