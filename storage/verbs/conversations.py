"""Conversations: revisions of flows, sessions, and the messages that show their questions."""

from __future__ import annotations

from msgspec.structs import astuple, replace

from storage.connection import clean, without_nul
from storage.records import Session
from storage.verbs.transaction import Verbs


class ConversationVerbs(Verbs):
    """Revisions of flows, sessions, and their messages."""

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
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            astuple(replace(session, state=clean(session.state))),
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
        was = session.version - 1
        moved = (
            without_nul(session.state),
            session.version,
            session.lang,
            session.started_ms,
            session.ended_ms,
            session.expires_ms,
        )
        # Most steps change neither status nor customer. A statement that does not name these columns leaves
        # their indexes alone: a third of the work, and no page of another hour's sessions touched.
        if self._db.run(
            "UPDATE sessions SET state = ?, version = ?, lang = ?, started_ms = ?, ended_ms = ?, expires_ms = ?"
            " WHERE id = ? AND version = ? AND status = ? AND customer_id = ? AND status <> 'erased'",
            (*moved, session.id, was, session.status, session.customer_id),
        ):
            return True
        # A session that turns out to be another customer's takes its jobs along: cancelling and erasing find them.
        former = self._db.one("SELECT customer_id FROM sessions WHERE id = ? AND version = ?", (session.id, was))
        if former is None:
            return False
        if former[0] != session.customer_id:
            self._db.run(
                "UPDATE jobs SET customer_id = ? WHERE session_id = ? AND session_id <> ''",
                (session.customer_id, session.id),
            )
        return (
            self._db.run(
                "UPDATE sessions SET state = ?, version = ?, lang = ?, started_ms = ?, ended_ms = ?, expires_ms = ?,"
                " status = ?, customer_id = ? WHERE id = ? AND version = ? AND status <> 'erased'",
                (*moved, session.status, session.customer_id, session.id, was),
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
