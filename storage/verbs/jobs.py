"""The outbox and the timers: jobs in lanes, their leases and their ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import astuple, replace

from storage.connection import clean, without_nul
from storage.records import Job
from storage.verbs.rows import MARK, marked
from storage.verbs.transaction import Verbs

_ASIDE_MS = 30 * 60_000
"""What waits longer than this (the monthly quota, quiet hours) steps out of its lane: the answer to a customer who
writes meanwhile goes first. Shorter waits (retries, pacing, a paused channel) keep the order."""


class JobVerbs(Verbs):
    """The outbox and the timers."""

    def put_job(self, job: Job, *, claim_for: str = "", lease_until_ms: int = 0) -> Job | None:
        """Queue it. None when its key is used. With `claim_for`, a due job (due_ms ≤ created_ms) whose lane has no
        unfinished job comes back already leased to that owner (attempts 1), saving a claim.

        Raises:
            Conflict: a job with this id exists.
        """
        if (
            claim_for
            and job.state == "ready"
            and job.due_ms <= job.created_ms
            and self.lane_is_free(job.lane, job.created_ms)
        ):
            job = replace(
                job,
                state="leased",
                attempts=job.attempts + 1,
                lease_owner=claim_for,
                lease_until_ms=lease_until_ms,
                fence=job.fence + 1,
            )
        match job.state:
            case "ready":
                claim_ms: int | None = job.due_ms
            case "leased":
                claim_ms = job.lease_until_ms
            case _:
                claim_ms = None
        payload = without_nul(job.payload)
        stored = self._db.run(
            "INSERT INTO jobs (id, kind, due_ms, payload, lane, key, channel, session_id, customer_id, asks, updates,"
            " expires_ms, created_ms, state, attempts, lease_owner, lease_until_ms, fence, error, ref, claim_ms,"
            " finished_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (key) WHERE key <> '' DO NOTHING",
            (
                *astuple(job if payload is job.payload else replace(job, payload=payload)),
                claim_ms,
                None if job.state in ("ready", "leased", "held") else job.created_ms,
            ),
        )
        return job if stored else None

    def lane_is_free(self, lane: str, now_ms: int) -> bool:
        """True when no unfinished job holds this lane, those left out that wait for more than half an hour; always for
        ""."""
        return (
            lane == ""
            or self._db.one(
                "SELECT 1 FROM jobs WHERE lane = :lane AND finished_ms IS NULL"
                " AND (state <> 'ready' OR claim_ms <= :aside_ms) LIMIT 1",
                {"lane": lane, "aside_ms": now_ms + _ASIDE_MS},
            )
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
        """Lease due jobs: ready, or leased with the lease run out; only the oldest unfinished of a lane, those left
        out that wait for more than half an hour (a change of a message waits for that too); channels in `paused` are
        left alone. attempts and fence grow by one. Jobs past expires_ms become "expired" instead.
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
            " WHERE e.lane = j.lane AND e.finished_ms IS NULL AND e.id < j.id"
            " AND (e.state <> 'ready' OR e.claim_ms <= :aside_ms OR j.updates <> '')))"
            " ORDER BY j.claim_ms, j.id LIMIT :limit)"
            " RETURNING id, kind, due_ms, payload, lane, key, channel, session_id, customer_id, asks,"
            " updates, expires_ms, created_ms, state, attempts, lease_owner, lease_until_ms, fence, error, ref",
            {
                "owner": owner,
                "until_ms": lease_until_ms,
                "now_ms": now_ms,
                "aside_ms": now_ms + _ASIDE_MS,
                "kinds": marked(kinds),
                "paused": marked(paused),
                "mark": MARK,
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
            if self._db.one("SELECT 1 FROM jobs WHERE id = ? AND fence = ? AND state = 'leased'", (job.id, job.fence))
        }

    def finish_job(
        self, job: Job, *, state: str, at_ms: int, error: str = "", ref: str = "", forget: bool = False
    ) -> bool:
        """False for a stale fence, and for a job that is no longer leased. state: done, dead, uncertain, expired,
        cancelled. `forget`: what it was about need not be kept."""
        if state not in ("done", "dead", "uncertain", "expired", "cancelled"):
            raise ValueError(f"a job cannot finish as {state!r}")
        return (
            self._db.run(
                "UPDATE jobs SET state = ?, finished_ms = ?, claim_ms = NULL, lease_until_ms = NULL, error = ?,"
                " ref = ?, payload = CASE WHEN ? = 1 THEN '{}' ELSE payload END"
                " WHERE id = ? AND fence = ? AND state = 'leased'",
                (state, at_ms, clean(error), ref, int(forget), job.id, job.fence),
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
            "kinds": marked(kinds),
            "mark": MARK,
            "channel": channel,
        }
        # three texts for three indexes; the rest of the filter is the same. A customer's jobs are found by their
        # sessions, where they have one: an index of their own would be two more entries for every answer.
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
                " WHERE id IN (SELECT id FROM jobs WHERE session_id = '' AND customer_id = :customer_id"
                " AND customer_id <> '' UNION ALL SELECT j.id FROM sessions AS s JOIN jobs AS j"
                " ON j.session_id = s.id AND j.session_id <> '' WHERE s.customer_id = :customer_id)"
                " AND customer_id = :customer_id AND finished_ms IS NULL"
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

    def next_due_ms(self, now_ms: int, paused: Sequence[str] = ()) -> int | None:
        """Due time of the earliest ready job whose lane is free (see `claim_jobs`), None without any; channels in
        `paused` are left out. A job that is leased is not waited for: whoever holds it acts, or its lease runs out and
        the next claim finds it."""
        row = self._db.one(
            "SELECT j.claim_ms FROM jobs AS j WHERE j.claim_ms IS NOT NULL AND j.state = 'ready'"
            " AND REPLACE(:paused, :mark || j.channel || :mark, '') = :paused"
            " AND (j.lane = '' OR NOT EXISTS (SELECT 1 FROM jobs AS e"
            " WHERE e.lane = j.lane AND e.finished_ms IS NULL AND e.id < j.id"
            " AND (e.state <> 'ready' OR e.claim_ms <= :aside_ms OR j.updates <> '')))"
            " ORDER BY j.claim_ms LIMIT 1",
            {"paused": marked(paused), "mark": MARK, "aside_ms": now_ms + _ASIDE_MS},
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

    def forget_done(self, before_ms: int, after: tuple[str, ...], *, limit: int) -> tuple[str, ...]:
        """Forget the jobs that ended well before `before_ms` among the `limit` that follow this id in order; of those
        with a key what they said, for the key keeps a repeated event from having its effect again. The last id looked
        at, to go on from; () at the end. () begins."""
        rows = self._db.all(
            "SELECT id, state, key, finished_ms FROM jobs WHERE id > :after ORDER BY id LIMIT :limit",
            {"after": after[0] if after else "", "limit": limit},
        )
        for job_id, state, key, finished_ms in rows:
            if state != "done" or finished_ms >= before_ms:
                continue
            if key:
                self._db.run("UPDATE jobs SET payload = '{}' WHERE id = :id AND kind = 'send'", {"id": job_id})
            else:
                self._db.run("DELETE FROM jobs WHERE id = :id", {"id": job_id})
        return (rows[-1][0],) if len(rows) == limit else ()

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

    def find_job_by_key(self, key: str) -> Job | None:
        """The job that was put under this key, or None."""
        row = self._db.one(
            "SELECT id, kind, due_ms, payload, lane, key, channel, session_id, customer_id, asks, updates, expires_ms,"
            " created_ms, state, attempts, lease_owner, lease_until_ms, fence, error, ref FROM jobs"
            " WHERE key = :key AND key <> ''",
            {"key": key},
        )
        return Job(*row) if row else None
