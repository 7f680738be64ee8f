"""The verbs of a transaction, in the words of the domain. SQL stands inside the verb that uses it.

A *unit* is a plain function of a `Tx`. `Store.write(unit)` runs it on the writer's thread in its own savepoint and
returns its result once the shared commit is durable (group commit); an exception rolls back that unit alone and is
raised to its caller. `Store.read(unit)` runs it on a reader's connection, which sees the last commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from storage.records import (
    Address, Answer, AuditEntry, Case, Contacts, Customer, Digest, Event, Invitation, Job, ResponseCounts, RollupCell,
    Session,
)

T = TypeVar("T")
Unit = Callable[["Tx"], T]


class Tx:
    """One transaction. No verb awaits, commits or asks for the time."""

    # --- what came in
    def note_inbound(self, channel: str, workspace: str, event_id: str, at_ms: int) -> bool:
        """True the first time this platform event is seen; False ever after."""

    def note_event(self, event: Event) -> bool:
        """Store a business event. False (and nothing changes) when its id is known."""
    def find_event(self, event_id: str) -> Event | None: ...
    def events_of(self, customer_id: str, *, types: Sequence[str] = (), limit: int = 100) -> list[Event]:
        """Newest first."""
    def events_between(self, start_ms: int, end_ms: int, *, type: str = "") -> list[Event]: ...

    # --- who is who
    def put_customer(self, customer: Customer) -> None:
        """Insert, or fill in name and language when the new ones are not empty."""
    def find_customer(self, customer_id: str) -> Customer | None: ...
    def search_customers(self, words: str, *, limit: int = 20) -> list[Customer]:
        """By id, name or order number (data.order of their events); LIKE-safe."""
    def put_match_key(self, customer_id: str, kind: str, key_hash: str, source: str, at_ms: int) -> None: ...
    def customer_by_key(self, kind: str, key_hash: str) -> str | None: ...
    def put_address(self, address: Address) -> None:
        """Insert, or link / refresh language of the existing one; never unlinks; a block is kept."""
    def find_address(self, channel: str, workspace: str, external_id: str) -> Address | None: ...
    def addresses_of(self, customer_id: str) -> list[Address]: ...
    def set_blocked(self, channel: str, workspace: str, external_id: str, at_ms: int | None) -> None: ...
    def set_consent(self, customer_id: str, kind: str, given: bool, at_ms: int, source: str) -> None:
        """kind: "surveys" (given=False is the opt-out), "news", "quote", "storage". History is kept, the latest holds."""
    def consent(self, customer_id: str, kind: str) -> bool | None: ...

    # --- invitations
    def put_invitation(self, invitation: Invitation) -> None:
        """Insert or replace by id."""
    def find_invitation(self, invitation_id: str) -> Invitation | None: ...
    def open_invitations(self, customer_id: str) -> list[Invitation]:
        """planned, or sent and neither started, ended nor expired."""
    def contacts(self, customer_id: str, *, event_id: str, touchpoint: str, now_ms: int) -> Contacts: ...
    def customers_due(self, trigger_id: str, since_ms: int, *, after: str, limit: int) -> list[Customer]:
        """For `every` rules: customers with a reachable address and no invitation of this trigger planned since
        `since_ms`, in order of id, id > after."""

    # --- conversations
    def put_revision(self, flow_id: str, revision: str, definition: str, at_ms: int) -> None: ...
    def find_revision(self, revision: str) -> str | None: ...
    def new_session(self, session: Session) -> None: ...
    def find_session(self, session_id: str) -> Session | None: ...
    def current_session(self, channel: str, workspace: str, external_id: str) -> Session | None:
        """The open session of this address that was created last, or None."""
    def sessions_of(self, customer_id: str, *, limit: int = 20) -> list[Session]:
        """Newest first."""
    def save_session(self, session: Session) -> bool:
        """Compare-and-set: True if the stored version was session.version - 1."""
    def put_prompt_ref(self, session_id: str, question: str, ref: str) -> None: ...
    def prompt_ref(self, session_id: str, question: str) -> str: ...

    # --- answers
    def record_answer(self, answer: Answer) -> None:
        """Make it the counted answer of its (session, question); the former one stays in the history. Keeps the
        roll-up equal to a recomputation in the same transaction."""
    def retract_answer(self, session_id: str, question: str, at_ms: int) -> None: ...
    def answers_of_session(self, session_id: str, *, history: bool = False) -> list[Answer]: ...
    def answers_of(self, customer_id: str, *, history: bool = False) -> list[Answer]: ...
    def rollup(self, first_week: str, last_week: str, *, instrument: str = "") -> list[RollupCell]: ...
    def recompute_rollup(self) -> list[RollupCell]:
        """The roll-up computed from raw rows, for the checker and for repairs (writes nothing)."""
    def answers_between(self, start_ms: int, end_ms: int, *, instrument: str = "") -> list[Answer]: ...
    def latest_values(self, instrument: str, survey_kind: str, touchpoint: str, start_ms: int, end_ms: int) -> dict[str, int]:
        """value → number of customers whose latest counted valid answer in [start, end) has it: right for windows of
        several weeks, where adding up weekly roll-ups would count a customer twice."""
    def response_counts(self, start_ms: int, end_ms: int) -> ResponseCounts: ...

    # --- jobs
    def put_job(self, job: Job, *, claim_for: str = "", lease_until_ms: int = 0) -> Job | None:
        """Queue it. None when its key is used. With `claim_for`, a due job whose lane is free comes back already
        leased to that owner (attempts 1), saving a claim."""
    def claim_jobs(self, owner: str, now_ms: int, lease_until_ms: int, *, limit: int, kinds: Sequence[str] = (), paused: Sequence[str] = ()) -> list[Job]:
        """Lease due jobs: ready, or leased with the lease run out; only the oldest unfinished of a lane; channels in
        `paused` are left alone. attempts and fence grow by one. Jobs past expires_ms become "expired" instead."""
    def holds_lease(self, jobs: Iterable[Job]) -> set[str]:
        """Ids of those still leased with the same fence: to be asked right before acting (P27)."""
    def finish_job(self, job: Job, *, state: str, at_ms: int, error: str = "", ref: str = "") -> bool:
        """False for a stale fence. state: done, dead, uncertain, expired, cancelled."""
    def retry_job(self, job: Job, *, due_ms: int, error: str) -> bool:
        """Back to ready, later. False for a stale fence."""
    def replay_job(self, job_id: str, now_ms: int) -> bool:
        """A dead, uncertain or held job becomes ready again with attempts 0."""
    def put_off_job(self, key: str, due_ms: int) -> bool:
        """Move a ready job with this key to another time."""
    def cancel_jobs(self, at_ms: int, *, session_id: str = "", customer_id: str = "", key: str = "", kinds: Sequence[str] = (), channel: str = "") -> int:
        """Cancel ready and leased jobs that match everything given (at least one of session, customer, key)."""
    def release_leases(self, now_ms: int) -> int:
        """At start, under the server's lock: whatever was leased belongs to a dead process."""
    def next_due_ms(self) -> int | None:
        """Due time of the earliest ready job (lanes and pauses not considered)."""
    def jobs(self, *, state: str = "", kind: str = "", limit: int = 100) -> list[Job]: ...
    def job_counts(self) -> dict[tuple[str, str], int]:
        """(kind, state) → count."""

    # --- cases, digests, audit
    def open_case(self, customer_id: str) -> Case | None:
        """The one case of this customer that is not settled."""
    def put_case(self, case: Case) -> None:
        """Insert or replace by id; a second unsettled case of a customer is an error."""
    def find_case(self, case_id: str) -> Case | None: ...
    def cases_between(self, start_ms: int, end_ms: int) -> list[Case]: ...
    def put_digest(self, digest: Digest) -> bool:
        """Insert; False when (id, period) exists."""
    def find_digest(self, digest_id: str, period: str) -> Digest | None: ...
    def mark_digest_posted(self, digest_id: str, period: str, at_ms: int, ref: str) -> None: ...
    def audit(self, entry: AuditEntry) -> None: ...
    def audit_entries(self, *, limit: int = 100) -> list[AuditEntry]: ...

    # --- a person's rights
    def erase_answers(self, customer_id: str, at_ms: int, *, session_id: str = "") -> int:
        """Forget answers (values, words, engine states; of one session or all): rows go, the roll-up is corrected,
        jobs that carry their words are cancelled. Returns the number of answers."""
    def erase_customer(self, customer_id: str, at_ms: int) -> None:
        """Forget everything but the audit row's pseudonym; a late webhook revives nothing."""

    # --- keeping house
    def get_meta(self, key: str) -> str | None: ...
    def set_meta(self, key: str, value: str) -> None: ...
    def check_integrity(self) -> list[str]:
        """Sentences about what is wrong; empty when all is well."""


class Store:
    """A database that is open. Made by `open_store(url, …)`."""

    async def write(self, unit: Unit[T]) -> T: ...
    async def read(self, unit: Unit[T]) -> T: ...
    async def close(self) -> None: ...
