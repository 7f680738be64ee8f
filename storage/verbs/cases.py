"""Unhappy customers: cases, what happened in them, and the trail of who did what."""

from __future__ import annotations

from storage.connection import clean
from storage.records import AuditEntry, Case, CaseEvent, CaseOrigin
from storage.verbs.transaction import Verbs


class CaseVerbs(Verbs):
    """Cases, their history, and the audit trail."""

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
