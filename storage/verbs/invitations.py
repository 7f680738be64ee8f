"""Who was asked, and who was not and why: invitations, contacts, pauses, surveys to a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from storage.connection import Row, clean
from storage.records import Batch, Contacts, Customer, Invitation, Pause
from storage.verbs.cases import CaseVerbs
from storage.verbs.customers import CustomerVerbs

_DAY_MS = 86_400_000


class InvitationVerbs(CustomerVerbs, CaseVerbs):
    """Invitations, pauses, and surveys to a list."""

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
