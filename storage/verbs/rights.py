"""A person's rights: everything that is kept about them, its erasure, and what is forgotten for its age."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from storage.records import AuditEntry, Case, Consent, Dossier, Job, MatchKey, TrustDrop
from storage.verbs.answers import AnswerVerbs
from storage.verbs.conversations import ConversationVerbs
from storage.verbs.events import EventVerbs
from storage.verbs.invitations import InvitationVerbs
from storage.verbs.jobs import JobVerbs

KEPT_FROM = "answers.kept_from"
"""Name in meta: the week from which on all answers are there, once some were forgotten for their age."""


class RightsVerbs(EventVerbs, InvitationVerbs, ConversationVerbs, AnswerVerbs, JobVerbs):
    """What a person may ask for, and retention."""

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
            self.set_meta(KEPT_FROM, (whole + timedelta(days=-whole.weekday() % 7)).isoformat())
            self._db.run(
                "DELETE FROM week_columns WHERE subject = 'answers' AND start_ms < :before_ms", {"before_ms": before_ms}
            )
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
            "DELETE FROM week_columns WHERE subject = 'events' AND EXISTS (SELECT 1 FROM events AS e"
            " WHERE e.customer_id = :customer_id AND e.occurred_ms >= week_columns.start_ms"
            " AND e.occurred_ms < week_columns.end_ms)",
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
        for event_id, occurred_ms, data in self._db.all(
            "SELECT id, occurred_ms, data FROM events WHERE type = 'referral'"
        ):
            told = json.loads(data)
            if isinstance(told, dict) and told.get("referrer") == customer_id:
                self._drop_columns("events", occurred_ms)
                self._db.run(
                    "UPDATE events SET data = :data WHERE id = :id",
                    {"id": event_id, "data": json.dumps({**told, "referrer": ""}, ensure_ascii=False)},
                )
        self._db.run("DELETE FROM match_keys WHERE customer_id = :customer_id", params)
        self._db.run("DELETE FROM addresses WHERE customer_id = :customer_id AND customer_id <> ''", params)
        self._db.run("DELETE FROM customers WHERE id = :customer_id", params)
        self._db.run("UPDATE audit SET subject = :pseudonym, detail = '' WHERE subject = :customer_id", params)
