"""What reports read: answers beside behaviour, response and delivery, experiments, digests."""

from __future__ import annotations

from collections.abc import Sequence

from storage.connection import Row, clean
from storage.records import (
    Answer,
    Comment,
    DelayCount,
    Digest,
    Exposure,
    Invited,
    LatestCell,
    Registration,
    ResponseCounts,
    ResponsePart,
    SentConversation,
)
from storage.verbs.rows import MARK, answer_of, marked
from storage.verbs.transaction import Verbs


class FigureVerbs(Verbs):
    """What reports and digests read and keep."""

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
        return [answer_of(row) for row in rows]

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
                "anchors": marked(anchors),
                "instruments": marked(instruments),
                "mark": MARK,
            },
        )
        return [answer_of(row) for row in rows]

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

    def latest_cells(
        self, instrument: str, survey_kind: str, touchpoint: str, start_ms: int, end_ms: int
    ) -> list[LatestCell]:
        """Customers by their latest counted valid answer in [start, end): by its value, wording, segment, channel and
        language. Right for windows of several weeks, where adding up weekly roll-ups would count a customer twice.
        Without a customer every answer counts."""
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

    def response_parts(self, start_ms: int, end_ms: int) -> list[ResponsePart]:
        """Invitations sent in [start, end) and what became of them, by segment and channel; of a wave the first session
        is the invitation.

        answered: at least one valid answer, in time, within 7 days of the invitation;
        started: the customer answered anything, completed: the conversation came to its end;
        undeliverable: blocked, or given up by the worker, before anything was answered.
        """
        rows = self._db.all(
            "SELECT i.segment, i.channel, COUNT(*),"
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
            " WHERE i.sent_ms >= :start_ms AND i.sent_ms < :end_ms AND i.part = 1"
            " GROUP BY i.segment, i.channel ORDER BY i.segment, i.channel",
            {"start_ms": start_ms, "end_ms": end_ms},
        )
        return [ResponsePart(*row) for row in rows]

    def response_counts(self, start_ms: int, end_ms: int) -> ResponseCounts:
        """The same of all segments and channels together. `skipped` counts decisions of the same window not to ask."""
        skipped = self._db.all(
            "SELECT reason, COUNT(*) AS times FROM invitations"
            " WHERE state = 'skipped' AND planned_ms >= :start_ms AND planned_ms < :end_ms AND part = 1"
            " GROUP BY reason ORDER BY times DESC, reason",
            {"start_ms": start_ms, "end_ms": end_ms},
        )
        parts = self.response_parts(start_ms, end_ms)
        return ResponseCounts(
            invited=sum(part.invited for part in parts),
            answered=sum(part.answered for part in parts),
            completed=sum(part.completed for part in parts),
            started=sum(part.started for part in parts),
            undeliverable=sum(part.undeliverable for part in parts),
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

    def values_by_delay(self, instrument: str, start_ms: int, end_ms: int, *, early_ms: int) -> list[DelayCount]:
        """Latest valid answers to an instrument, one per customer, survey_kind and touchpoint, of those who were
        invited in [start, end), counted by week, segment, channel, value and whether they came within `early_ms` of the
        invitation."""
        rows = self._db.all(
            "SELECT survey_kind, touchpoint, wording_id, label_set, week, segment, channel, early, value, COUNT(*)"
            " FROM (SELECT a.survey_kind, a.touchpoint, a.wording_id, a.label_set, a.week, a.segment, a.channel,"
            " a.value, a.customer_id,"
            " CASE WHEN a.answered_ms < i.sent_ms + :early_ms THEN 1 ELSE 0 END AS early,"
            " ROW_NUMBER() OVER (PARTITION BY a.customer_id, a.survey_kind, a.touchpoint"
            " ORDER BY a.answered_ms DESC, a.id DESC) AS place"
            " FROM invitations AS i JOIN answers AS a ON a.session_id = i.session_id"
            " WHERE i.sent_ms >= :start_ms AND i.sent_ms < :end_ms AND i.session_id <> ''"
            " AND a.instrument = :instrument AND a.missing = '' AND a.countable = 1) AS valid"
            " WHERE place = 1 OR customer_id = ''"
            " GROUP BY survey_kind, touchpoint, wording_id, label_set, week, segment, channel, early, value"
            " ORDER BY survey_kind, touchpoint, wording_id, label_set, week, segment, channel, early, value",
            {"start_ms": start_ms, "end_ms": end_ms, "instrument": instrument, "early_ms": early_ms},
        )
        return [
            DelayCount(row[0], row[1], row[2], row[3], row[4], row[5], row[6], bool(row[7]), row[8], row[9])
            for row in rows
        ]

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


def _comment(row: Row) -> Comment:
    return Comment(*(*row[:7], "" if row[8] else row[7], row[9], bool(row[10]), row[11]))
